"""The figures of a report: what they draw, and for which fits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.patches import Rectangle

import genarium as gn
from genarium.models.transcript_abundance.figures import abundances, explained, figures, shared
from genarium.models.transcript_abundance.sparse import from_classes

NAME = "transcript_abundance"


@pytest.fixture(scope="module")
def simulated() -> xr.DataTree:
    return gn.simulate(NAME, 1, prior="dirichlet")


@pytest.mark.parametrize("method", ["em", "vi", "gibbs"])
def test_every_fit_has_its_figures(simulated: xr.DataTree, method: str) -> None:
    few: dict[str, Any] = {"chains": 2, "draws": 50, "tune": 20} if method == "gibbs" else {}
    titles = [title for title, _, _ in figures(gn.fit(NAME, simulated, method, **few))]
    assert titles == ["Transcripts per million", "Where the reads come from", "How well classes are explained"]


def test_abundances_are_sorted_and_the_truth_is_beside_them(simulated: xr.DataTree) -> None:
    tree = gn.fit(NAME, simulated, "em")
    _, caption, figure = abundances(tree)
    dots, truth = figure.axes[0].lines
    np.testing.assert_allclose(np.asarray(dots.get_xdata()), np.sort(tree["point"]["tpm"].to_numpy())[::-1])
    assert "true values" in caption
    rate = simulated["truth"]["nu"].to_numpy() / simulated["constant_data"]["effective_length"].to_numpy()
    assert sorted(np.asarray(truth.get_xdata())) == pytest.approx(sorted(1e6 * rate / rate.sum()))


def test_bars_add_up_to_the_reads(simulated: xr.DataTree) -> None:
    _, _, figure = shared(gn.fit(NAME, simulated, "em"))
    bars = [bar for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    assert sum(bar.get_width() for bar in bars) == pytest.approx(2000)


def test_ridges_are_drawn_as_ranges_and_salmons_weights_have_no_residuals() -> None:
    data = from_classes([([0, 1], [0.5, 0.5], 60), ([2], [1.0], 40)], [100, 100, 100], names=["a", "b", "c"])
    tree = gn.fit(NAME, data, "em")
    assert [title for title, _, _ in figures(tree)] == ["Transcripts per million", "Where the reads come from"]
    _, caption, figure = abundances(tree)
    assert "only the sum" in caption
    (lines,) = figure.axes[0].collections
    ends = np.array([np.asarray(path.vertices)[:, 0] for path in lines.get_paths()])
    np.testing.assert_allclose(ends, [[0, 6e5], [0, 6e5]], atol=1)


def test_residuals_are_standardised(simulated: xr.DataTree) -> None:
    _, _, figure = explained(gn.fit(NAME, simulated, "em"))
    residual = np.asarray(figure.axes[0].lines[-1].get_ydata())
    # 20 classes less 8 parameters: the sum of squares is about chi-square with 12 degrees of freedom
    assert 1 < (residual**2).sum() < 40


@pytest.mark.parametrize("method", ["em", pytest.param("vi", marks=pytest.mark.slow)])
def test_a_report_of_salmons_classes_is_written(tmp_path: Path, method: str) -> None:
    data = from_classes([([0, 1], [0.5, 0.5], 60), ([2, 1], [0.3, 0.7], 40)], [100, 100, 100], names=["a", "b", "c"])
    page = gn.report(gn.fit(NAME, data, method, prior="dirichlet"), tmp_path / "report.html").read_text()
    assert "Where the reads come from" in page
