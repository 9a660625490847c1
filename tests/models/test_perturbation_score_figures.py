"""Figures of perturbation_score, as data."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium.drawing import style
from genarium.models.perturbation_score import rank, score
from genarium.models.perturbation_score.figures import MOST, figures

NAME = "perturbation_score"


@pytest.mark.parametrize("cells", [None, 5])
def test_figures_show_what_is_ranked(simulated: Callable[..., xr.DataTree], cells: int | None) -> None:
    tree = simulated(NAME) if cells is None else gn.simulate(NAME, seed=2, perturbation=60, cells=cells)
    fit = gn.fit(NAME, tree, "conjugate")
    with style():
        found = list(figures(fit))
    assert [title for title, _, _ in found] == ["Scores", "What few cells do to a ranking", "Shares of the states"]
    ranked = rank(score(fit))
    (axes,) = found[0][2].axes
    np.testing.assert_allclose(np.asarray(axes.lines[0].get_xdata(), dtype=float), ranked["score"][:MOST])
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels[0] == f"{ranked['perturbation'].to_numpy()[0]} ({int(ranked['cells'][0])})"
    bars: Any = found[2][2].axes[0].patches
    widths = np.array([bar.get_width() for bar in bars]).reshape(5, -1)
    np.testing.assert_allclose(widths.sum(0), 1)
    np.testing.assert_allclose(widths[:, 0], fit["constant_data"]["target"])
    best = fit["point"]["concentration"].sel(perturbation=ranked["perturbation"][0])
    np.testing.assert_allclose(widths[:, 1], best / best.sum())
    assert ("(the best 40)" in found[0][1]) == (tree["observed_data"].sizes["perturbation"] >= MOST)
