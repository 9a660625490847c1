"""Fits by every method: what a tree holds, and what follows from it."""

import json
import re
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import genarium as gn
from genarium import cli, registry
from genarium.data import check
from genarium.found import found
from genarium.home import Home
from genarium.methods import methods
from genarium.testing.cases import Case, comparable, each, fits, posteriors
from genarium.testing.fixtures import Density, Fit, Same
from genarium.testing.inside import assert_inside
from genarium.tree import RECORDED, arrays, digest

HIGH_K = "ignore:Estimated shape parameter of Pareto distribution"
"""A small simulation may hold an outlier; that az.loo runs is tested, not what it finds."""

TINY = {"draws": 20, "tune": 20, "restarts": 2, "iterations": 100, "max_iterations": 100, "sweeps": 80}
"""Options of fits that are only compared with each other."""

every_fit = each(fits)


@every_fit
def test_fit_holds_what_its_claim_says(case: Case, result: xr.DataTree, numpy_density: Density) -> None:
    model = case.model
    sizes = json.loads(result.attrs["sizes"])
    unknown = set(model.unknown.variables)
    if case.way.claim == "point":
        assert "posterior" not in result
        assert unknown <= set(result["point"].data_vars)
        assert_inside(model, result["point"].to_dataset(), sizes)
        return
    lead = ("chain", "draw")
    posterior, stats = result["posterior"].to_dataset(), result["sample_stats"].to_dataset()
    assert set(posterior.data_vars) == unknown | set(model.derived.variables)
    assert_inside(model, posterior, sizes, lead)
    replicated = result["posterior_predictive"].to_dataset()
    assert set(replicated.data_vars) == set(model.observed.variables)
    assert_inside(model, replicated, sizes, lead)
    for name, var in model.observed.variables.items():  # nothing is rounded on the way
        assert (replicated[name] % 1 != 0).any() or var.support.integer, name
    if model.log_likelihood is None or model.log_prior is None:
        return
    (pointwise,) = result["log_likelihood"].to_dataset().data_vars.values()
    assert pointwise.name in model.observed.variables
    assert pointwise.dims == (*lead, *([model.unit] if model.unit else []))
    assert stats["lp"].dims == lead
    assert np.isfinite(pointwise).all()
    problem = check(model, result)
    for c, s in ((0, 0), (-1, -1)):
        natural = {name: values[c, s] for name, values in arrays(posterior).items()}
        density = numpy_density(problem, natural)
        assert float(stats["lp"][c, s]) == pytest.approx(density, rel=1e-10)
        prior = problem.call(model.log_prior, **natural)
        # the prior of a wild draw (Laplace) is huge: the difference keeps its rounding
        rounding = 1e-14 * max(abs(density), abs(prior))
        assert float(pointwise[c, s].sum()) == pytest.approx(density - prior, rel=1e-10, abs=rounding)


@every_fit
def test_every_dim_has_labels(result: xr.DataTree, tree: xr.DataTree) -> None:
    for group in result.children.values():
        assert set(group.dims) <= set(group.coords), group.path
        for dim in set(group.dims) & set(tree["observed_data"].dims):
            np.testing.assert_array_equal(group[str(dim)], tree["observed_data"][str(dim)])


@every_fit
def test_fit_keeps_the_data(result: xr.DataTree, tree: xr.DataTree) -> None:
    for group in ("constant_data", "observed_data", "truth"):
        xr.testing.assert_identical(result[group].to_dataset(), tree[group].to_dataset())
    assert result.attrs["simulation_seed"] == tree.attrs["simulation_seed"]


@every_fit
def test_attributes_say_what_was_done(case: Case, result: xr.DataTree) -> None:
    attrs = result.attrs
    told = [attrs[name] for name in ("model", "method", "claim", "engine", "seed")]
    assert told == [case.model.name, case.method, case.way.claim, case.way.engine, 1]
    assert json.loads(attrs["model_options"]) == dict(case.model.chosen)
    assert set(json.loads(attrs["options"])) == set(case.way.options)
    assert {"genarium", "numpy"} <= set(json.loads(attrs["versions"])) <= set(RECORDED)
    assert attrs["model_digest"] == digest(case.model)
    assert set(json.loads(attrs["sizes"])) == set(case.model.sizes)
    assert np.isfinite([attrs["seconds"], attrs["cpu_seconds"]]).all()
    assert isinstance(json.loads(attrs["notes"]), dict)


@each(fits, more=True)
def test_netcdf_round_trip(result: xr.DataTree, saved: Path) -> None:
    xr.testing.assert_identical(gn.load(saved), result)


@each(fits, more=True)
def test_seed_decides_the_fit(case: Case, tree: xr.DataTree, quick: Fit, same: Same) -> None:
    before = tree.copy(deep=True)
    once, again, other = (quick(case.model, tree, case.method, seed, **TINY) for seed in (1, 1, 2))
    same(once, again)
    xr.testing.assert_identical(tree, before)
    if case.way.claim != "point":
        for name in case.model.unknown.variables:
            assert not (once["posterior"][name].to_numpy() == other["posterior"][name].to_numpy()).all()


@each(fits, more=True)
def test_diagnose_gives_verdicts(case: Case, result: xr.DataTree) -> None:
    before = result.copy(deep=True)
    told = gn.diagnose(case.model, result)
    assert told.verdicts
    assert (told.model, told.method) == (case.model.name, case.method)
    assert json.loads(json.dumps(told.to_dict(), allow_nan=False))["passed"] == told.passed
    xr.testing.assert_identical(result, before)


@each(fits, more=True)
def test_what_was_found_is_told(case: Case, result: xr.DataTree) -> None:
    answer = found(case.model, result)
    assert answer.title
    if Home.of(case.model).found is not None:
        assert answer.notes
    for note in answer.notes:
        assert note.endswith(".")
        assert "nan" not in note.split()
    for title, (head, *rows) in answer.tables.items():
        assert title
        assert rows
        assert all(len(row) == len(head) for row in rows)


@each(fits, more=True)
def test_predict_on_the_data_of_the_fit(case: Case, result: xr.DataTree, tree: xr.DataTree) -> None:
    if case.model.predict is None:
        pytest.skip("the model predicts nothing")
    before = result.copy(deep=True)
    own, given = gn.predict(result), gn.predict(result, tree)
    xr.testing.assert_identical(own["predictions"].to_dataset(), given["predictions"].to_dataset())
    assert own["predictions"].data_vars
    for values in own["predictions"].data_vars.values():
        assert np.isfinite(values).all(), values.name
    xr.testing.assert_identical(result, before)


@each(fits, more=True)
def test_predictions_make_tables(case: Case, result: xr.DataTree, saved: Path, tmp_path: Path) -> None:
    if case.model.predict is None:
        pytest.skip("the model predicts nothing")
    words = ["--model", registry.reference(case.model)] if registry.reference(case.model) else []
    assert cli.main(["predict", str(saved), "-o", str(tmp_path / "x.csv"), *words]) == 0
    made = sorted(tmp_path.iterdir())
    told = gn.predict(result)["predictions"].to_dataset()
    assert sum(pd.read_csv(file).size for file in made) >= sum(v.size for v in told.data_vars.values())
    assert {file.name for file in made} == {"x.csv"} or all(re.fullmatch(r"x\.[\w-]+\.csv", file.name) for file in made)


def _come_again(result: xr.DataTree) -> bool:
    """Whether some densities are the same at many draws, whose tail ArviZ refuses: of posteriors with atoms."""
    (pointwise,) = result["log_likelihood"].to_dataset().data_vars.values()
    rows = pointwise.to_numpy().reshape(pointwise.sizes["chain"] * pointwise.sizes["draw"], -1).T
    return any(np.unique(row, return_counts=True)[1].max() > 0.05 * len(row) for row in rows)


@each(posteriors, more=True)
@pytest.mark.filterwarnings(HIGH_K)
@pytest.mark.filterwarnings("ignore:invalid value encountered in scalar divide")  # of what is the same at every draw
@pytest.mark.filterwarnings("ignore:The point-wise LOO is the same")  # where all data are one unit
def test_arviz_reads_the_fit(case: Case, result: xr.DataTree) -> None:
    table = az.summary(result, var_names=list(case.model.unknown.variables))
    sizes = json.loads(result.attrs["sizes"])
    assert len(table) == sum(int(np.prod(case.model.shape(n, sizes))) for n in case.model.unknown.variables)
    if case.model.log_likelihood is not None and not _come_again(result):
        loo = az.loo(result)
        assert np.isfinite(loo.elpd)
        assert loo.n_data_points == (sizes[case.model.unit] if case.model.unit else 1)


@each(comparable, more=True)
@pytest.mark.filterwarnings(HIGH_K)
def test_exact_fits_can_be_compared(case: Case, fitted: Fit) -> None:
    ways = methods(case.model).items()
    exact = [name for name, way in ways if way.claim == "exact" and way.engine not in ("stan", "blackjax")]
    first, last = fitted(case.name, exact[0]), fitted(case.name, exact[-1], seed=1 if len(exact) > 1 else 2)
    if _come_again(first) or _come_again(last):
        pytest.skip("densities come again, draw after draw: ArviZ fits no tail to them")
    table = az.compare({"first": first, "last": last})
    assert set(table.index) == {"first", "last"}
    assert np.isfinite(table["elpd"].astype(float)).all()
