"""The declaration and its simulator."""

import json
import re

import numpy as np
import xarray as xr

import genarium as gn
from genarium.data import check
from genarium.declaration import ROLES
from genarium.home import Home
from genarium.methods import methods
from genarium.testing.cases import Case, each, variants
from genarium.testing.inside import assert_inside

GROUPS = {"known": "constant_data", "unknown": "truth", "hidden": "truth", "observed": "observed_data"}

every_variant = each(variants)


@every_variant
def test_simulation_is_as_declared(case: Case, tree: xr.DataTree) -> None:
    sizes = json.loads(tree.attrs["sizes"])
    for role in ROLES:
        for name in case.model.stage(role).variables:
            assert name in tree[GROUPS[role]], (role, name)
        if case.model.stage(role).variables:
            assert_inside(case.model, tree[GROUPS[role]].to_dataset(), sizes)
    assert set(sizes) == set(case.model.sizes)


@every_variant
def test_seed_decides_the_simulation(case: Case) -> None:
    once, again, other = (gn.simulate(case.model, seed=seed) for seed in (11, 11, 12))
    xr.testing.assert_identical(once, again)
    assert not once["observed_data"].to_dataset().equals(other["observed_data"].to_dataset())


@every_variant
def test_every_size_can_be_set(case: Case) -> None:
    for dim, size in case.model.sizes.items():
        if dim in case.model.labels or dim in case.model.derived_dims:
            continue
        larger = gn.simulate(case.model, seed=1, **{dim: size + 1})
        sizes = case.model.complete({**case.model.sizes, dim: size + 1})
        assert json.loads(larger.attrs["sizes"]) == sizes
        for group in larger.children:
            assert_inside(case.model, larger[group].to_dataset(), sizes)


@every_variant
def test_check_accepts_its_own_simulation(case: Case, tree: xr.DataTree) -> None:
    sizes = json.loads(tree.attrs["sizes"])
    plain = {n: tree[GROUPS[case.model.role(n)]][n].to_numpy() for n in case.model.variables("known", "observed")}
    for problem in (check(case.model, tree), check(case.model, plain, sizes)):
        assert problem.sizes == sizes
        assert not problem.fixed
        for name, values in plain.items():
            np.testing.assert_array_equal(problem[name], values)


@every_variant
def test_edges_point_forward(case: Case) -> None:
    order = {name: i for i, name in enumerate(case.model.variables())}
    edges = list(case.model.edges())
    assert all(order[parent] < order[child] for parent, child in edges)
    assert set(case.model.observed.variables) <= {child for _, child in edges}
    assert set(case.model.unknown.variables) <= {parent for parent, _ in edges}


@every_variant
def test_variables_are_described(case: Case) -> None:
    for name, var in case.model.variables().items():
        assert var.symbol, name
        assert var.about.strip().endswith("."), name
    assert case.model.title
    assert case.model.source


@every_variant
def test_card_names_variables_and_methods(case: Case) -> None:
    folder = Home.of(case.model).folder
    assert folder is not None
    card = (folder / "README.md").read_text(encoding="utf-8")
    quoted = set(re.findall(r"`([^`\n]+)`", card))
    missing = [n for n in [*case.model.variables(), *methods(case.model)] if n not in quoted]
    assert not missing, f"not named (in backticks) by the card: {missing}"
