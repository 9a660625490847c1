"""The mixture's own figures, as data: what is drawn is what was fitted."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from scipy.stats import nbinom

import genarium as gn
from genarium.declaration import Array
from genarium.drawing import PALETTE, inline, style
from genarium.estimates import matched_truth

module = import_module("genarium.models.nb_mixture.figures")
MU = np.array([[10.0, 20.0, 300.0], [300.0, 22.0, 10.0], [90.0, 18.0, 90.0]])
PI = np.array([0.2, 0.3, 0.5])
OPTIONS: dict[str, dict[str, Any]] = {
    "em": {"restarts": 3},
    "vi": {"restarts": 3, "draws": 100},
    "gibbs": {"chains": 1, "draws": 60, "tune": 60},
}
Fits = Callable[[str], xr.DataTree]
Titled = tuple[str, str, Figure]


@pytest.fixture(scope="module")
def fits() -> Fits:
    """Fits of a small table whose second gene does not tell the groups apart."""
    data = gn.simulate("nb_mixture", seed=3, cell=80, gene=3, mu=MU, pi=PI)
    return cache(lambda method: gn.fit("nb_mixture", data, method, seed=1, **OPTIONS[method]))


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with style():
        yield


def drawn(tree: xr.DataTree) -> dict[str, tuple[str, Figure]]:
    every: list[Titled] = list(module.figures(tree))
    return {title: (caption, figure) for title, caption, figure in every}


def the_axes(tree: xr.DataTree, title: str) -> Axes:
    return drawn(tree)[title][1].axes[0]


def dots(axes: Axes) -> PathCollection:
    (found,) = (c for c in axes.collections if isinstance(c, PathCollection))
    return found


def mu_of(tree: xr.DataTree) -> Array:
    return tree["point"]["mu"].to_numpy() if "point" in tree else tree["posterior"]["mu"].to_numpy().mean((0, 1))


def group_of(tree: xr.DataTree) -> Array:
    return gn.predict(tree)["predictions"]["group"].to_numpy()


each_method = pytest.mark.parametrize(
    "method", ["em", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vi", "gibbs"))]
)


@each_method
def test_three_figures_that_can_be_inlined(method: str, fits: Fits) -> None:
    every, again = drawn(fits(method)), drawn(fits(method))
    assert list(every) == ["Weights and centroids", "Cells and components", "Certainty of the groups"]
    for title, (caption, figure) in every.items():
        assert caption.endswith(".")
        assert "Look for" in caption
        assert inline(figure, "k", "label") == inline(again[title][1], "k", "label")


# -- cells and components ----------------------------------------------------------------------------------------------


@each_method
def test_cells_lie_at_their_counts(method: str, fits: Fits) -> None:
    tree = fits(method)
    axes = the_axes(tree, "Cells and components")
    assert [axes.get_xlabel(), axes.get_ylabel()] == ["gene 0: count", "gene 2: count"]  # the second tells nothing
    at = np.expm1(np.asarray(dots(axes).get_offsets()))
    x = tree["observed_data"]["x"].to_numpy()[:, [0, 2]]
    assert np.abs(at - x).max() <= 0.5
    for (low, high), values in zip((axes.get_xlim(), axes.get_ylim()), np.log1p(x).T, strict=True):
        assert low <= values.min()
        assert high >= values.max()
        assert high - low < 1.4 * np.ptp(values) + 1


@each_method
def test_colour_is_group_and_opacity_is_certainty(method: str, fits: Fits) -> None:
    tree = fits(method)
    colors = np.asarray(dots(the_axes(tree, "Cells and components")).get_facecolor())
    probability = module.collect(tree).probability
    np.testing.assert_allclose(probability.sum(1), 1)
    expected = np.array([to_rgba(PALETTE[k])[:3] for k in group_of(tree)])
    np.testing.assert_allclose(colors[:, :3], expected)
    by_certainty = np.argsort(probability.max(1))
    assert (np.diff(colors[by_certainty, 3]) >= -1e-12).all()
    assert colors[:, 3].min() >= 0.12
    assert colors[:, 3].max() <= 0.7


@each_method
def test_centroids_and_their_intervals(method: str, fits: Fits) -> None:
    tree = fits(method)
    axes = the_axes(tree, "Cells and components")
    rings = [line for line in axes.lines if line.get_marker() == "o"]
    at = np.expm1([[float(np.ravel(line.get_xdata())[0]), float(np.ravel(line.get_ydata())[0])] for line in rings])
    np.testing.assert_allclose(at, mu_of(tree)[:, [0, 2]])
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]
    bars = [c for c in axes.collections if isinstance(c, LineCollection)]
    if method == "em":
        assert not bars
        assert "interval" not in drawn(tree)["Cells and components"][0]
        return
    across, along = (np.expm1(np.array([bar.get_segments()[0] for bar in bars[i::2]])) for i in (0, 1))
    low, high = np.quantile(tree["posterior"]["mu"].to_numpy(), (0.05, 0.95), axis=(0, 1))
    np.testing.assert_allclose(across[:, :, 0], np.stack([low[:, 0], high[:, 0]], 1))
    np.testing.assert_allclose(along[:, :, 1], np.stack([low[:, 2], high[:, 2]], 1))
    assert "with their 90% intervals" in drawn(tree)["Cells and components"][0]


@pytest.mark.parametrize("mu", [[300.0, 10.0], [0.02, 5.0], [2e4, 1e-8]])
def test_envelope_touches_the_quantiles(mu: list[float]) -> None:
    mean, phi = np.array(mu), np.array([0.3, 1.5])
    line = np.expm1(module.envelope(mean, phi))
    np.testing.assert_allclose(line[0], line[-1], atol=1e-9)
    r = 1 / phi
    for extreme, q in ((line.min(0), 0.05), (line.max(0), 0.95)):
        np.testing.assert_allclose(extreme, nbinom.ppf(q, r, r / (r + mean)), atol=1e-9)


def test_envelopes_follow_the_dispersion_of_each_component() -> None:
    data = gn.simulate("nb_mixture", seed=2, cell=60, dispersion="component", component=2)
    tree = gn.fit("nb_mixture", data, "em", seed=1, restarts=2, dispersion="component")
    fitted = module.collect(tree)
    np.testing.assert_array_equal(fitted.phi, np.repeat(tree["point"]["phi"].to_numpy()[:, None], 2, 1))
    closed = [line for line in the_axes(tree, "Cells and components").lines if line.get_marker() != "o"]
    expected = module.envelope(fitted.mu[1], fitted.phi[1])
    np.testing.assert_allclose(np.asarray(closed[1].get_xydata()), expected)


def test_size_factors_are_divided_out() -> None:
    s = np.random.default_rng(0).uniform(0.3, 3, 60)
    data = gn.simulate("nb_mixture", seed=3, cell=60, mu=MU[:, [0, 2]], size_factor=s)
    tree = gn.fit("nb_mixture", data, "em", seed=1, restarts=2)
    axes = the_axes(tree, "Cells and components")
    assert axes.get_xlabel() == "gene 0: count / size factor"
    at = np.expm1(np.asarray(dots(axes).get_offsets()))
    assert np.abs(at - data["observed_data"]["x"].to_numpy() / s[:, None]).max() <= 0.5


@pytest.mark.parametrize("method", ["em", "gibbs"])
def test_many_cells_are_thinned_and_drawn_as_pixels(method: str, fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = fits(method)
    assert not dots(the_axes(tree, "Cells and components")).get_rasterized()
    monkeypatch.setattr(module, "CELLS", 30)
    monkeypatch.setattr(module, "VECTOR", 20)
    every = drawn(tree)
    shown = dots(every["Cells and components"][1].axes[0])
    assert len(np.asarray(shown.get_offsets())) == 30
    assert shown.get_rasterized()
    assert "<image" in inline(every["Cells and components"][1], "k", "label")
    for title in ("Cells and components", "Certainty of the groups"):
        assert "Drawn: 30 of 80 cells" in every[title][0]
    fitted = module.collect(tree)
    np.testing.assert_array_equal(fitted.group, group_of(tree)[fitted.cells])
    assert fitted.cells[0] == 0
    assert fitted.cells[-1] == 79


def test_names_of_genes_and_more_components_than_colours() -> None:
    rng = np.random.default_rng(0)
    x = xr.DataArray(
        rng.poisson(rng.uniform(1, 400, (120, 2))), dims=("cell", "gene"), coords={"gene": ["kiwi", "fig"]}
    )
    tree = gn.fit("nb_mixture", {"x": x, "phi": 0.05}, "em", seed=1, component=9, restarts=1)
    caption, figure = drawn(tree)["Cells and components"]
    assert figure.axes[0].get_xlabel() == "kiwi: count"
    assert figure.axes[0].get_ylabel() == "fig: count"
    assert "There are only 8 colours" in caption
    assert [text.get_text() for text in figure.axes[0].texts] == [str(k) for k in range(9)]


def test_one_gene_has_no_scatter() -> None:
    data = gn.simulate("nb_mixture", seed=1, cell=40, gene=1, component=2)
    tree = gn.fit("nb_mixture", data, "em", seed=1, restarts=2)
    assert list(drawn(tree)) == ["Weights and centroids", "Certainty of the groups"]


# -- weights and centroids ---------------------------------------------------------------------------------------------


@each_method
def test_weights_and_heat_map(method: str, fits: Fits) -> None:
    tree = fits(method)
    _, figure = drawn(tree)["Weights and centroids"]
    bars, heat = figure.axes[:2]
    pi = tree["point"]["pi"].to_numpy() if method == "em" else tree["posterior"]["pi"].to_numpy().mean((0, 1))
    widths = [bar.get_width() for bar in bars.patches if isinstance(bar, Rectangle)]
    np.testing.assert_allclose(widths, pi)
    (mesh,) = (c for c in heat.collections if isinstance(c, QuadMesh))
    np.testing.assert_allclose(np.ma.getdata(np.ma.asarray(mesh.get_array())), mu_of(tree))
    assert [text.get_text() for text in heat.get_xticklabels()] == ["0", "1", "2"]
    assert [text.get_text() for text in heat.texts] == [f"{value:,.3g}" for value in mu_of(tree).ravel()]
    assert heat.get_ylim() == bars.get_ylim() == (2.5, -0.5)  # the first component on top, in both


def test_heat_map_keeps_the_genes_that_differ_most() -> None:
    rng = np.random.default_rng(5)
    mu = np.exp(rng.normal(3, 1, (2, 40)))
    mu[1, ::2] = mu[0, ::2] * rng.uniform(0.97, 1.03, 20)
    data = gn.simulate("nb_mixture", seed=1, cell=100, gene=40, component=2, mu=mu, pi=[0.5, 0.5])
    tree = gn.fit("nb_mixture", data, "em", seed=1, restarts=2)
    caption, figure = drawn(tree)["Weights and centroids"]
    heat = figure.axes[1]
    kept = [int(text.get_text()) for text in heat.get_xticklabels()]
    fitted = module.collect(tree)
    assert set(kept) == set(np.argsort(-fitted.spread)[:30].tolist())
    assert "of the 30 genes with the largest variance between components (10 are left out)" in caption
    (mesh,) = (c for c in heat.collections if isinstance(c, QuadMesh))
    values = np.ma.getdata(np.ma.asarray(mesh.get_array())).reshape(2, 30)
    np.testing.assert_allclose(values, tree["point"]["mu"].to_numpy()[:, kept])
    assert (np.diff(values.argmax(0)) >= 0).all()  # genes of the same component stand together
    assert not heat.texts
    weighted = fitted.pi @ (np.log1p(fitted.mu) - fitted.pi @ np.log1p(fitted.mu)) ** 2
    np.testing.assert_allclose(fitted.spread, weighted)


def test_heat_map_of_a_gene_without_counts() -> None:
    x = np.random.default_rng(0).poisson(np.repeat([[5.0, 80.0, 0.0], [80.0, 5.0, 0.0]], 20, 0))
    tree = gn.fit("nb_mixture", {"x": x, "phi": 0.1}, "em", seed=1, component=2, restarts=2)
    for _, figure in drawn(tree).values():
        inline(figure, "k", "label")
    (mesh,) = (c for c in drawn(tree)["Weights and centroids"][1].axes[1].collections if isinstance(c, QuadMesh))
    assert np.ma.getdata(np.ma.asarray(mesh.get_array())).min() == pytest.approx(0.01)


# -- certainty ---------------------------------------------------------------------------------------------------------


def heights(polygon: Polygon, edges: Array) -> Array:
    """Height of a filled step line within each bin."""
    xy = np.asarray(polygon.get_xy())
    middle = (edges[1:] + edges[:-1]) / 2
    top = xy[: len(xy) // 2 + 1]
    return np.array([max(top[i, 1] for i in range(len(top) - 1) if top[i, 0] <= m <= top[i + 1, 0]) for m in middle])


@each_method
def test_certainty_counts_cells(method: str, fits: Fits) -> None:
    tree = fits(method)
    caption, figure = drawn(tree)["Certainty of the groups"]
    (axes,) = figure.axes
    every, wrong = (patch for patch in axes.patches if isinstance(patch, Polygon))
    fitted = module.collect(tree)
    edges = np.arange(int(40 * min(fitted.largest.min(), 0.5)), 41) / 40  # no empty piece on the left
    np.testing.assert_array_equal(heights(every, edges), np.histogram(fitted.largest, edges)[0])
    true = matched_truth(gn.get("nb_mixture"), tree)["group"]
    missed = group_of(tree) != true
    np.testing.assert_array_equal(heights(wrong, edges), np.histogram(fitted.largest[missed], edges)[0])
    first, second, third = (float(p) for p in re.findall(r"([\d.]+)%", caption))
    assert first == pytest.approx(100 * (fitted.largest >= 0.9).mean(), abs=0.051)
    assert second == pytest.approx(100 * (1 - fitted.largest).mean(), abs=0.051)
    assert third == pytest.approx(100 * missed.mean(), abs=0.051)
    assert axes.get_xlim() == (edges[0], 1.0)


def test_certainty_without_truth(fits: Fits) -> None:
    tree = fits("em").copy()
    del tree["truth"]
    caption, figure = drawn(tree)["Certainty of the groups"]
    assert len(figure.axes[0].patches) == 1
    assert figure.axes[0].get_legend() is None
    assert "By the truth" not in caption


def test_one_component_has_no_figure_of_who_is_sure() -> None:
    tree = gn.fit("nb_mixture", gn.simulate("nb_mixture", seed=1, component=1, cell=30), "em")
    assert len(list(module.figures(tree))) == 2
