"""Numbers of processes by held-out loci: parts, what is predicted of them, what is chosen."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.errors import InputError
from genarium.models.locus_regression.folds import folds

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
