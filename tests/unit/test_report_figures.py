"""The report's figures of a fit: bounds, choices, intervals, predictive checks and chains."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon

import genarium as gn
from genarium.declaration import Array
from genarium.drawing import Titled
from genarium.estimates import estimates
from genarium.reporting import chains, estimate_section, figures, figures_of_result
from genarium.verbs.diagnose import diagnose, replicated_statistics
from report_pages import MU, PI, Fits, Page, Pages, each_method, rows, section


def test_figures_keep_text_as_text(pages: Pages) -> None:
    graph = section(pages("em"), "model").find("svg")
    assert {node.text for node in graph.every("text")} >= {
        "known",
        "unknown",
        "hidden",
        "observed",
        "π  pi",
        "G  group",
        "x",
    }


@each_method
def test_figures_belong_to_what_the_tree_holds(method: str, pages: Pages) -> None:
    titles = [node.text for node in section(pages(method), "course").every("h3")]
    expected = {
        "em": ["Bound by iteration", "Predictive checks"],
        "vi": ["Bound by iteration", "Predictive checks"],
        "gibbs": ["Chains", "Predictive checks"],
    }
    assert titles == expected[method]
    found = [node.text for node in section(pages(method), "found").every("h3")]
    assert found == ["Groups, the largest first", "Weights and centroids", "Cells and components"]
    found = [node.text for node in section(pages(method), "figures").every("h3")]
    assert found[-1] == ("Estimates beside the truth" if method == "em" else "Estimates with their intervals")


def title_of(axes: Axes) -> str:
    """Title of a panel, on whichever side the style in force puts it."""
    return axes.get_title("left") or axes.get_title()


def xdata(line: Line2D) -> Array:
    return np.asarray(line.get_xdata(), dtype=float)


def ydata(line: Line2D) -> Array:
    return np.asarray(line.get_ydata(), dtype=float)


def only(every: Iterator[Titled]) -> Figure:
    ((_, _, figure),) = every
    return figure


def test_bound_shows_every_restart(fits: Fits) -> None:
    tree = fits("em")
    table = tree["point"]["bound"].to_numpy()
    left, right = only(figures.bound(tree)).axes
    assert len(left.lines) == len(right.lines) == len(table) == 3
    ends = np.array([row[np.isfinite(row)][-1] for row in table])
    kept = table[ends.argmax()]
    last = left.lines[-1]  # drawn on top: the restart that was kept
    np.testing.assert_array_equal(ydata(last), kept[np.isfinite(kept)])
    low, high = left.get_ylim()
    assert low < table[:, 1:][np.isfinite(table[:, 1:])].min()
    assert high > ends.max()
    assert right.get_yscale() == "log"
    gap = ydata(right.lines[-1])
    np.testing.assert_allclose(gap[0], np.nanmax(table) - kept[0])
    assert gap[-1] == pytest.approx(1e-6)


def test_bound_of_one_start_advises_nothing_on_others(fits: Fits) -> None:
    tree = fits("em").copy()
    tree["point"] = tree["point"].to_dataset().isel(restart=[0])
    caption = next(figures.bound(tree))[1]
    assert "one start" in caption
    assert "more than one" not in caption


def test_bound_of_a_long_restart_is_compressed(fits: Fits) -> None:
    tree = fits("em").copy()
    climb = -100 * np.exp(-np.arange(900) / 100.0) - 50
    table = np.full((2, 900), np.nan)
    table[0, :6] = -(0.5 ** np.arange(6))
    table[1] = climb
    tree["point"] = xr.DataTree(xr.Dataset({"bound": (("restart", "iteration"), table)}))
    for axes in only(figures.bound(tree)).axes:
        assert axes.get_xscale() == "symlog"
        assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "5", "10", "100"]
        assert axes.get_xlim()[0] > -1
        assert len(xdata(axes.lines[0])) <= figures.POINTS


def test_noisy_bound_is_smoothed(fits: Fits) -> None:
    tree = fits("vi").copy()
    rng = np.random.default_rng(0)
    values = -1000 * np.exp(-np.arange(2000) / 50.0) + rng.normal(size=2000)
    tree["variational"] = xr.DataTree(xr.Dataset({"bound": (("restart", "iteration"), values[None])}))
    tree.attrs["notes"] = '{"noisy_bound": 1}'
    (axes,) = only(figures.bound(tree)).axes
    raw, smooth = axes.lines
    assert len(xdata(raw)) == len(xdata(smooth)) == figures.POINTS
    assert ydata(smooth)[-200:].std() < 0.4
    assert -5 < axes.get_ylim()[0] < -1
    assert xdata(smooth)[-1] == 1999


def test_choice_by_what_is_held_out_marks_the_chosen_one() -> None:
    """Where the bound and the best say another, the diamond stands at what was chosen; bars are errors."""
    dim = "component_candidate"
    columns = {
        "bound": [-9.0, -5.0, -6.0, -3.0],
        "held_out": [-8.0, -7.0, -4.5, -4.0],
        "behind_error": [2.0, 1.5, 0.7, 0],
        "chosen": [False, False, True, False],
    }
    table = xr.Dataset({name: (dim, values) for name, values in columns.items()}, {dim: [1, 2, 3, 4]})
    ((_, caption, figure),) = figures.choice(xr.DataTree.from_dict({"choice": table}))
    assert "How far the log density of held-out data of each candidate lies below the best" in caption
    assert "the diamond is the chosen one (3)" in caption
    axes: Any = figure.axes[0]
    bars, _, diamond = axes.collections
    np.testing.assert_array_equal(diamond.get_offsets(), [[3, 0.5]])
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, [[2.0, 6.0], [1.5, 4.5], [-0.2, 1.2], [0.0, 0.0]])


def test_choice() -> None:
    data = gn.simulate("nb_mixture", seed=3, cell=60, mu=MU, pi=PI)
    tree = gn.choose("nb_mixture", data, "component", range(1, 5), seed=1, restarts=2, draws=20)
    ((title, caption, figure),) = figures.choice(tree)
    assert title == "Choice of the number of components"
    bound = tree["choice"]["bound"].to_numpy()
    best = int(bound.argmax()) + 1
    assert f"the diamond is the chosen one ({best})" in caption
    (axes,) = figure.axes
    np.testing.assert_allclose(ydata(axes.lines[0]), bound.max() - bound)
    diamond = axes.collections[1].get_offsets()
    np.testing.assert_allclose(np.asarray(diamond), [[best, 0]])
    assert [text.get_text() for text in axes.texts][best - 1] == "0"
    model = gn.get("nb_mixture")
    assert title in [name for name, _, _ in figures_of_result(model, tree, estimates(model, tree))]


def test_intervals(fits: Fits) -> None:
    model, tree = gn.get("nb_mixture"), fits("gibbs")
    figure = only(figures.intervals(model, estimates(model, tree)))
    assert [title_of(axes) for axes in figure.axes] == ["π  pi  by component", "μ  mu  by component, gene"]
    draws = tree["posterior"]["mu"].to_numpy()
    wide, narrow = figure.axes[1].collections
    for lines, q in ((wide, 0.05), (narrow, 0.25)):
        ends = np.array([segment[:, 0] for segment in lines.get_segments()])  # type: ignore[attr-defined]
        np.testing.assert_allclose(ends[:, 0], np.quantile(draws, q, axis=(0, 1)).ravel())
        np.testing.assert_allclose(ends[:, 1], np.quantile(draws, 1 - q, axis=(0, 1)).ravel())
    mean, diamond = figure.axes[1].lines
    np.testing.assert_allclose(xdata(mean), draws.mean((0, 1)).ravel())
    np.testing.assert_allclose(xdata(diamond), MU[np.argsort(-PI)].ravel())
    assert figure.axes[1].get_xscale() == "log"
    assert figure.axes[0].get_xscale() == "linear"
    assert figure.axes[1].get_ylim()[0] > figure.axes[1].get_ylim()[1]  # the first element on top


def test_no_interval_figure_for_a_point_without_truth(fits: Fits) -> None:
    tree = fits("em").copy()
    del tree["truth"]
    model = gn.get("nb_mixture")
    assert not list(figures.intervals(model, estimates(model, tree)))


@each_method
def test_predictive_figure_agrees_with_the_verdicts(method: str, fits: Fits) -> None:
    model, tree = gn.get("nb_mixture"), fits(method)
    observed, again = replicated_statistics(model, tree, seed=4)
    p = {v.check.removeprefix("predictive check: "): v.value for v in diagnose("nb_mixture", tree, seed=4).verdicts}
    ((_, _, figure),) = figures.predictive(model, tree, seed=4)
    assert len(figure.axes) == len(observed) == 6
    for axes, (name, value) in zip(figure.axes, observed.items(), strict=True):
        above = (again[name] > value).mean() + (again[name] == value).mean() / 2
        assert min(1, 2 * min(above, 1 - above)) == pytest.approx(p[name.replace("_", " ")])
        assert title_of(axes) == name.replace("_", " ")
        assert axes.get_xlabel().endswith(f"; p {p[name.replace('_', ' ')]:.2g}")
        np.testing.assert_allclose(xdata(axes.lines[0]), value)
        (outline,) = axes.patches
        assert isinstance(outline, Polygon)
        np.testing.assert_allclose(outline.get_xy()[:, 0].min(), again[name].min())
        np.testing.assert_allclose(outline.get_xy()[:, 0].max(), again[name].max())


def test_predictive_statistic_that_is_not_finite(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    model = gn.get("nb_mixture")
    object.__setattr__(model, "statistics", lambda x: {"nothing": np.nan, "constant": 2.0})
    figure = only(figures.predictive(model, fits("gibbs"), seed=0))
    assert [axes.get_xlabel() for axes in figure.axes] == ["data nan; p –", "data 2; p 1"]


def test_statistics_over_a_wide_range_have_a_logarithmic_axis(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    """One far replication among many does not leave a single bar of them."""
    again = {"far": np.append(np.linspace(2, 3, 99), 4000), "near": np.linspace(2, 3, 100)}
    monkeypatch.setattr(figures, "replicated_statistics", lambda *_: ({"far": 2.5, "near": 2.5}, again))
    far, near, *_ = only(figures.predictive(gn.get("nb_mixture"), fits("gibbs"), seed=0)).axes
    assert (far.get_xscale(), near.get_xscale()) == ("log", "linear")
    assert [text.get_text() for text in far.get_xticklabels()] == ["10", "100", "1,000"]


def test_chains_show_the_worst_element(fits: Fits) -> None:
    model, tree = gn.get("nb_mixture"), fits("gibbs").copy(deep=True)
    posterior = tree["posterior"].to_dataset()
    posterior["mu"][{"chain": 1, "component": 2, "gene": 1}] += 1000
    tree["posterior"] = xr.DataTree(posterior)
    picked = chains.worst_mixing(model, tree, estimates(model, tree))
    names = [name for name, _ in picked]
    assert re.fullmatch(r"π\[\d\](   R-hat \d\.\d+)?", names[0])
    assert names[1].startswith("μ[2, 1]   R-hat ")
    assert names[2] == "log density"
    np.testing.assert_array_equal(picked[1][1], posterior["mu"][..., 2, 1])
    figure = only(chains.chains(model, tree, estimates(model, tree)))
    trace, rank = figure.axes[2:4]
    assert [len(ydata(line)) for line in trace.lines] == [150, 150]
    bars = np.array([bar.get_height() for bar in rank.patches]).reshape(2, -1)  # type: ignore[attr-defined]
    np.testing.assert_allclose(bars.sum(1), 0.45 * bars.shape[1])  # level, each would be at 0.45
    assert (bars[0, 10:] == 0).all()
    assert (bars[1, :10] == 0).all()


def test_divergent_draws_are_marked(fits: Fits) -> None:
    model, tree = gn.get("nb_mixture"), fits("gibbs").copy(deep=True)
    diverging = np.zeros((2, 150), dtype=bool)
    diverging[0, 7] = diverging[1, 20] = True
    stats = tree["sample_stats"].to_dataset().assign(diverging=(("chain", "draw"), diverging))
    tree["sample_stats"] = xr.DataTree(stats)
    ((_, caption, figure),) = chains.chains(model, tree, estimates(model, tree))
    assert "Ticks at the bottom: divergent transitions." in caption
    assert xdata(figure.axes[0].lines[-1]).tolist() == [7, 20]


def test_one_chain(fits: Fits) -> None:
    model, tree = gn.get("nb_mixture"), fits("gibbs").isel(chain=[0])
    found = estimates(model, tree)
    page = Page(estimate_section(model, tree, found)).root
    assert {row["R-hat"] for row in rows(page, "Estimates of mu")} == {"–"}
    names = [name for name, _ in chains.worst_mixing(model, tree, found)]
    assert [name[0] for name in names] == ["π", "μ", "l"]
    assert not any("R-hat" in name for name in names)
