"""When networks differ between samples, and when not: by what is held out."""

from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.notmad import select
from genarium.models.notmad.selection import compared

FEW: dict[str, Any] = {
    "archetypes": (1, 2),
    "betas": (3.0, 12.0),
    "means": ("zero",),
    "priors": ("independent",),
    "folds": 3,
    "restarts": 1,
}
"""Candidates of a quick choice."""


def samples(seed: int, n: int, follows: bool) -> tuple[Array, Array]:
    """Samples of three nodes; two edges change sign with the first covariate, or are the same for all."""
    rng = np.random.default_rng(seed)
    context = rng.normal(size=(n, 2))
    share = np.tanh(2 * context[:, 0]) if follows else np.full(n, 0.7)
    a = rng.normal(size=n)
    b = a * share + rng.normal(size=n)
    c = -b * share + rng.normal(size=n)
    return np.column_stack([a, b, c]), context


@pytest.mark.slow
def test_networks_that_follow_the_context_are_told_from_one_network() -> None:
    x, context = samples(0, 120, True)
    found = select(x, context, **FEW)
    assert found.matters
    assert found.settings["archetype"] == 2
    assert str(found).startswith("context matters: yes, +")
    fit = gn.fit("notmad", {"x": x, "context": context}, "map", restarts=1, **found.settings)
    assert fit["point"].sizes["archetype"] == 2
    x, context = samples(0, 120, False)
    found = select(x, context, **FEW)
    assert not found.matters
    assert found.settings["archetype"] == 1
    assert str(found).startswith("context matters: no, ")
    assert len(found.candidates) == len(found.score) == 4


def test_gains_are_those_of_settings_chosen_on_the_other_parts() -> None:
    rng = np.random.default_rng(0)
    score, part = rng.normal(size=(5, 30)), np.arange(30) % 3
    several = np.array([True, False, True, True, False])
    expected = []
    for i in range(30):
        rest = [k for k in range(30) if part[k] != part[i]]
        best = {
            kind: max((c for c in range(5) if several[c] == kind), key=lambda c: score[c, rest].mean())
            for kind in (True, False)
        }
        expected.append(score[best[True], i] - score[best[False], i])
    gain, error = compared(score, several, part)
    assert gain == pytest.approx(np.mean(expected))
    assert error == pytest.approx(np.std(expected, ddof=1) * np.sqrt((1 + 3 / 2) / 30))


def test_the_number_of_archetypes_is_chosen_by_what_is_held_out() -> None:
    x, context = samples(1, 100, True)
    best = gn.choose(
        "notmad", {"x": x, "context": context}, "archetype", [1, 2], "map", by="held_out", folds=3, restarts=1
    )
    table = best["choice"].to_dataset()
    assert best["point"].sizes["archetype"] == 2
    assert float(table["gain"][0]) == 0
    assert float(table["gain"][1]) * 100 == pytest.approx(float(table["held_out"][1] - table["held_out"][0]))
    assert float(table["gain"][1]) > 2 * float(table["gain_error"][1])


def test_too_many_parts_are_refused() -> None:
    x, context = samples(1, 10, True)
    with pytest.raises(InputError, match="folds=6 of 10 samples: give at least two"):
        select(x, context, folds=6)
    with pytest.raises(InputError, match="10 samples cannot be held out in 6 parts"):
        gn.choose("notmad", {"x": x, "context": context}, "archetype", [1], "map", by="held_out", folds=6)
    with pytest.raises(InputError, match=r"Choose by what is held out \(by='held_out'\) or with method='advi'"):
        gn.choose("notmad", {"x": x, "context": context}, "archetype", [1], "map", restarts=1)
