"""Numbers of processes by held-out loci: parts, what is predicted of them, what is chosen."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.errors import InputError
from genarium.evaluate import fitted_problem
from genarium.models.locus_regression.folds import folds
from genarium.verbs.diagnose import one_by_one, replicated_statistics, tail
from genarium.verbs.held_out import predicted_density

NAME = "locus_regression"


def problem_of(**options: str) -> Any:
    model = registry.get(NAME).variant(**options)
    tree = gn.simulate(model, seed=1, genome=6, locus=17, feature=2, process=2, cell=600)
    return check(model, tree)


@pytest.mark.parametrize("options", [{}, {"form": "joint", "groups": "several"}], ids=["one", "joint-several"])
def test_every_mutation_is_held_out_once(options: dict[str, str]) -> None:
    problem = problem_of(**options)
    parts = list(folds(problem, 4, np.random.default_rng(1)))
    assert sum(len(part.test["locus"]) for part in parts) == 600
    seen = np.concatenate([part.test["locus"] for part in parts])
    np.testing.assert_array_equal(np.sort(seen), np.sort(problem["locus"]))
    for part in parts:
        held = np.unique(part.test["locus"])
        assert part.train["features"].shape[-1] == part.train["exposure"].size
        assert len(part.train["locus"]) == 600 - len(part.test["locus"])
        kept = [at for at in range(17) if problem["exposure"][at] in part.train["exposure"]]
        assert not set(kept) & set(held.tolist())
        np.testing.assert_allclose(
            part.train["features"][..., part.train["locus"]],
            problem["features"][..., problem["locus"][~np.isin(problem["locus"], held)]],
        )


def test_genomes_without_mutations_elsewhere_are_in_neither_part() -> None:
    problem = problem_of()
    data = {name: problem[name] for name in ("features", "exposure", "context_opportunity", "locus", "channel")}
    genome = np.where(np.arange(600) == 0, 0, 1 + problem["genome"] % 5)
    parts = list(folds(check(problem.model, {**data, "genome": genome}, {"process": 2}), 3, np.random.default_rng(1)))
    for part in parts:
        assert part.sizes["genome"] in (5, 6)
        assert set(part.test["genome"]) <= set(part.train["genome"]) == set(range(part.sizes["genome"]))
    assert [part.sizes["genome"] for part in parts].count(5) == 1


@pytest.mark.slow
def test_the_number_of_processes_is_chosen_by_held_out_loci() -> None:
    data = gn.simulate(NAME, seed=2, process=3, cell=12_000, genome=20, locus=60)
    best = gn.choose(NAME, data, "process", [1, 2, 3, 5], seed=1, by="held_out", draws=50)
    table = best["choice"].to_dataset()
    score = table["held_out"].to_numpy()
    assert best["posterior"].sizes["process"] == 3
    assert list(table["chosen"]) == [False, False, True, False]
    assert score[2] - score[1] > 100
    assert (table["behind"][2] <= table["behind_error"][2]).item()  # whether superfluous ones are ahead is chance
    np.testing.assert_allclose(table["held_out_by_part"].sum("part"), score)
    assert best.attrs["chosen_by"] == "held_out"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "aic"}, "by='aic' is not known"),
        ({"by": "held_out", "folds": 1}, "folds=1 must be at least 2"),
        ({"by": "held_out", "folds": 500}, "200 loci cannot be held out in 500 parts"),
        ({"by": "held_out", "loci": "random"}, "Choose by the bound"),
    ],
)
def test_what_cannot_be_held_out_is_said(settings: dict[str, Any], message: str) -> None:
    data = gn.simulate(NAME, seed=1, cell=300)
    with pytest.raises(InputError, match=message):
        gn.choose(NAME, data, "process", [2], seed=1, max_iterations=3, **settings)


def test_a_model_that_does_not_say_how_data_are_held_out_is_told() -> None:
    model = replace(gn.get(NAME), folds=None)
    with pytest.raises(InputError, match="does not say how data are held out"):
        gn.choose(model, gn.simulate(NAME, seed=1, cell=300), "process", [2], by="held_out", max_iterations=3)


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, Any]]:
    """The same mutations, a row for each, and a row for those of a genome, locus and channel with their count."""
    tree = gn.simulate(NAME, seed=3, genome=3, locus=4, feature=1, process=2, cell=400)
    every = {n: v.to_numpy() for group in ("constant_data", "observed_data") for n, v in tree[group].data_vars.items()}
    same = {name: every[name] for name in ("features", "exposure", "context_opportunity")}
    rows = np.stack([every[name] for name in ("genome", "locus", "channel")])
    cells, count = np.unique(rows, axis=1, return_counts=True)
    assert count.max() > 3
    names = ("genome", "locus", "channel")
    return {
        "rows": {**same, **dict(zip(names, rows, strict=True))},
        "cells": {**same, **dict(zip(names, cells, strict=True)), "count": count},
    }


def test_criteria_count_mutations_and_not_cells(tables: dict[str, dict[str, Any]]) -> None:
    found = {}
    for name, data in tables.items():
        fit = gn.choose(NAME, data, "process", [2], seed=1, draws=30)
        found[name] = [float(fit["choice"].to_dataset()[of][0]) for of in ("bic", "icl")]
    means = {n: v.mean(("chain", "draw")).to_numpy() for n, v in fit["posterior"].to_dataset().data_vars.items()}
    at = {n: tables["rows"][n] for n in ("genome", "locus", "channel")}
    theta = tables["rows"]["exposure"] * np.exp(means["beta"] @ tables["rows"]["features"])
    preference = means["lam"][..., None] * tables["rows"]["context_opportunity"]  # (process, context, locus)
    context = (preference / preference.sum(1, keepdims=True))[:, :, None] * means["rho"][..., None]
    in_cosmic_order = context.reshape(2, 2, 16, 3, 4).transpose(0, 1, 3, 2, 4).reshape(2, 96, 4)
    of_channel = (theta / theta.sum(1, keepdims=True))[:, None] * in_cosmic_order
    density = (means["pi"][at["genome"]] * of_channel[:, at["channel"], at["locus"]].T).sum(1)
    free = 2 * 1 + 2 * 31 + 2 * 32 * 2 + 3 * 1  # effects, contexts, alternatives, shares
    assert found["cells"][0] == pytest.approx(free * np.log(400) - 2 * np.log(density).sum(), rel=1e-9)
    assert found["cells"] == pytest.approx(found["rows"], rel=1e-3)


def test_what_is_held_out_are_mutations_and_not_cells(tables: dict[str, dict[str, Any]]) -> None:
    rows, cells = (predicted_density(NAME, tables[n], "vi", 1, 2, process=2, draws=30) for n in ("rows", "cells"))
    assert sum(map(len, rows)) == sum(map(len, cells)) == 400
    assert sum(part.sum() for part in cells) == pytest.approx(sum(part.sum() for part in rows), rel=1e-3)


def test_one_mutation_is_left_out_and_not_a_cell(tables: dict[str, dict[str, Any]]) -> None:
    told = {}
    for name, data in tables.items():
        checks = {v.check: v for v in gn.diagnose(NAME, gn.fit(NAME, data, "vi", seed=1, process=2)).verdicts}
        told[name] = float(checks["observations with high LOO k"].where.split()[2])
    assert told["cells"] == pytest.approx(told["rows"], abs=0.35)


def test_predictive_checks_replicate_mutations_and_not_cells(tables: dict[str, dict[str, Any]]) -> None:
    """Replicated cell by cell, channels clump, and data are told to be too even."""
    fit = gn.fit(NAME, tables["cells"], "vi", seed=1, process=2)
    problem, statistics = fitted_problem(gn.get(NAME), fit), gn.get(NAME).statistics
    assert statistics is not None
    alone = one_by_one(problem, np.random.default_rng(0))
    assert alone is not None
    assert alone.sizes["cell"] == 400
    assert one_by_one(alone, np.random.default_rng(0)) is None
    observed, replicated = replicated_statistics(gn.get(NAME), fit, 0)
    by_cells = fit["posterior_predictive"].to_dataset()
    copies = [
        {str(n): v.to_numpy()[0, i] for n, v in by_cells.data_vars.items()} for i in range(by_cells.sizes["draw"])
    ]
    whole = [float(problem.call(statistics, **copy)["channel_entropy"]) for copy in copies]
    assert np.mean(whole) < replicated["channel_entropy"].mean() - replicated["channel_entropy"].std()
    assert tail(observed["channel_entropy"], replicated["channel_entropy"]) > 0.01
