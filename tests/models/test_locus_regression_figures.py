"""The figures of locus regression, as data: what is drawn is what was fitted."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

import genarium as gn
from genarium.declaration import Array
from genarium.drawing import FAINT, INK, MARK, PALETTE, inline, style
from genarium.errors import InputError
from genarium.found import found
from genarium.models.locus_regression.axis import axis_of, staggered
from genarium.models.locus_regression.channels import CHANNELS, CONTEXTS
from genarium.models.locus_regression.panels import SUBSTITUTIONS
from genarium.registry import fitted_model
from genarium.reporting import figures_of_result

module = import_module("genarium.models.locus_regression.figures")
along = import_module("genarium.models.locus_regression.along")
of_fit = import_module("genarium.models.locus_regression.shown")
SIZES = {"genome": 9, "locus": 40, "feature": 2, "cell": 1200}
TITLES = [
    "Signatures", "Effects of the features", "Rates along the genome", "Exposures of the genomes",
    "Similarity of the processes",
]  # fmt: skip
Fits = Callable[[str], xr.DataTree]
Drawn = dict[str, tuple[str, Figure]]


def sharp(processes: int, seed: int = 0) -> dict[str, Array]:
    """Processes that a small table tells apart, and genomes that lean to one each."""
    rng = np.random.default_rng(seed)
    return {
        "lam": rng.dirichlet(np.full(32, 0.2), processes),
        "pi": rng.dirichlet(np.full(processes, 0.5), SIZES["genome"]),
    }


def fit(data: Any, **settings: Any) -> xr.DataTree:
    return gn.fit("locus_regression", data, "vi", seed=1, restarts=1, draws=60, sweeps=400, **settings)


def pointed(tree: xr.DataTree) -> xr.DataTree:
    """The same fit as a point estimate."""
    means = tree["posterior"].to_dataset().mean(("chain", "draw"))
    kept = {name: tree[name].to_dataset() for name in ("constant_data", "observed_data", "truth")}
    out = xr.DataTree.from_dict({**kept, "point": means})
    out.attrs = {**tree.attrs, "claim": "point"}
    return out


@pytest.fixture(scope="module")
def fits() -> Fits:
    """A fit of three processes, by draws (vi) and as a point."""
    data = gn.simulate("locus_regression", seed=3, process=3, **SIZES, **sharp(3))

    @cache
    def make(kind: str) -> xr.DataTree:
        return fit(data) if kind == "vi" else pointed(make("vi"))

    return make


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with style():
        yield


def drawn(tree: xr.DataTree) -> Drawn:
    return {title: (caption, figure) for title, caption, figure in module.figures(tree)}


def one_of(tree: xr.DataTree, wanted: str) -> tuple[str, Figure]:
    """Caption and figure; those behind it are not made."""
    return next((caption, figure) for title, caption, figure in module.figures(tree) if title == wanted)


def panels(tree: xr.DataTree, title: str) -> list[Axes]:
    return [axes for axes in one_of(tree, title)[1].axes if axes.get_visible()]


def steps(axes: Axes) -> list[StepPatch]:
    return [patch for patch in axes.patches if isinstance(patch, StepPatch)]


def heights(patch: StepPatch) -> Array:
    return np.asarray(patch.get_data()[0])


def segments(axes: Axes, count: int) -> Array:
    """The only collection of that many lines; shape (count, 2 ends, 2)."""
    (found,) = (
        c for c in axes.collections if isinstance(c, LineCollection) and len(c.get_segments()) == count
    )  # fmt: skip
    return np.asarray(found.get_segments())


def of_marker(axes: Axes, marker: str) -> list[Array]:
    return [np.asarray(line.get_xydata()) for line in axes.lines if line.get_marker() == marker]


def mean_of(tree: xr.DataTree, name: str) -> Array:
    return tree["point"][name].to_numpy() if "point" in tree else tree["posterior"][name].to_numpy().mean((0, 1))


def naive(tree: xr.DataTree, lam: Array, rho: Array) -> Array:
    """Signatures (.., K, 96) in percent, channel by channel found by its name."""
    known = tree["constant_data"]
    t = (known["context_opportunity"].to_numpy() * known["exposure"].to_numpy()).sum(1)
    out = np.empty((*lam.shape[:-1], 96))
    for m, name in enumerate(CHANNELS):
        c = CONTEXTS.index(f"{name[:3]}{name[5:]}")
        out[..., m] = lam[..., c] * t[c] * rho[..., c, "ACGT".replace(name[2], "").index(name[4])]
    return np.asarray(100 * out / out.sum(-1, keepdims=True))


def true_of(tree: xr.DataTree) -> list[int]:
    """The true process nearest to each fitted one, by its contexts."""
    distance = np.abs(mean_of(tree, "lam")[:, None] - tree["truth"]["lam"].to_numpy()).sum(-1)
    return [int(k) for k in distance.argmin(1)]


each_kind = pytest.mark.parametrize("kind", ["vi", "point"])


@pytest.mark.slow
@each_kind
def test_figures_that_can_be_inlined(kind: str, fits: Fits) -> None:
    tree = fits(kind)
    assert sorted(true_of(tree)) == [0, 1, 2]  # the fit has found the processes, else this file tests little
    every, again = drawn(tree), drawn(tree)
    assert list(every) == list(again) == TITLES
    for title, (caption, figure) in every.items():
        assert caption.endswith(".")
        assert "Look for" in caption
        assert ("90%" in caption) == (kind == "vi" and title in TITLES[:2])
        assert inline(figure, "k", "label") == inline(again[title][1], "k", "label")


def test_the_report_finds_them(fits: Fits) -> None:
    assert [title for title, *_ in figures_of_result(gn.get("locus_regression"), fits("vi"), [])] == TITLES


@pytest.mark.parametrize(
    "options",
    [
        *(pytest.param(o, marks=pytest.mark.slow) for o in ({"form": "joint"}, {"groups": "several"})),
        {"spectra": "given"},
    ],
    ids=str,
)
def test_variants(options: dict[str, str]) -> None:
    model = gn.get("locus_regression").variant(**options)
    tree = fit(gn.simulate(model, seed=1, process=2, **SIZES), **options)
    assert list(drawn(tree)) == TITLES[:4]  # two processes have but one similarity
    total = heights(steps(panels(tree, "Rates along the genome")[0])[0])
    np.testing.assert_allclose(total, np.bincount(tree["observed_data"]["locus"], minlength=40))


# -- signatures --------------------------------------------------------------------------------------------------------


@each_kind
def test_bars_are_the_signatures_in_the_colours_of_cosmic(kind: str, fits: Fits) -> None:
    tree = fits(kind)
    group = tree["posterior" if kind == "vi" else "point"]
    every = naive(tree, group["lam"].to_numpy(), group["rho"].to_numpy())
    expected = every.mean((0, 1)) if kind == "vi" else every
    axes = panels(tree, "Signatures")
    assert len(axes) == 3
    for k, one in enumerate(axes):
        bars = steps(one)
        assert [bar.get_label() for bar in bars] == ["C>A", "C>G", "C>T", "T>A", "T>C", "T>G"]
        assert [to_hex(bar.get_facecolor()) for bar in bars] == list(SUBSTITUTIONS.values())
        table = np.array([heights(bar) for bar in bars])  # (6, bar, gap, ... bar)
        np.testing.assert_allclose(table[:, ::2].ravel(), expected[k])
        assert not table[:, 1::2].any()
        middles = [(edges[::2] + edges[1::2]) / 2 for _, edges, _ in (bar.get_data() for bar in bars)]
        np.testing.assert_allclose(np.ravel(middles), np.arange(96))
        if kind == "vi":
            lines = segments(one, 96)
            np.testing.assert_allclose(lines[:, :, 0], np.arange(96)[:, None].repeat(2, 1))
            np.testing.assert_allclose(lines[:, :, 1].T, np.quantile(every[:, :, k], (0.05, 0.95), axis=(0, 1)))
            assert one.get_ylim()[1] > lines[:, :, 1].max()
        else:
            assert not [c for c in one.collections if isinstance(c, LineCollection) and len(c.get_segments()) > 1]
    assert [text.get_text() for text in axes[-1].get_xticklabels()] == list("ACGT") * 6


@each_kind
def test_signatures_beside_the_truth_and_their_shares(kind: str, fits: Fits) -> None:
    tree = fits(kind)
    true = naive(tree, tree["truth"]["lam"].to_numpy(), tree["truth"]["rho"].to_numpy())[true_of(tree)]
    share = gn.predict(tree)["predictions"]["probability"].mean("cell").to_numpy()
    for k, axes in enumerate(panels(tree, "Signatures")):
        (dots,) = of_marker(axes, "o")
        np.testing.assert_allclose(dots, np.column_stack([np.arange(96), true[k]]))
        bars = np.concatenate([heights(bar)[::2] for bar in steps(axes)])
        cosine = bars @ true[k] / np.linalg.norm(bars) / np.linalg.norm(true[k])
        title = axes.get_title(loc="left")
        found = re.fullmatch(rf"process {k}: ([\d.]+)%; cosine to truth ([\d.]+)", title)
        assert found is not None, title
        assert float(found[1]) == pytest.approx(100 * share[k], abs=1)  # of what is expected, not of what is assigned
        assert float(found[2]) == pytest.approx(cosine, abs=5.1e-4)


@pytest.mark.slow
def test_without_truth(fits: Fits) -> None:
    tree = fits("vi").copy()
    del tree["truth"]
    every = drawn(tree)
    for caption, _ in every.values():
        assert "tru" not in caption
    for axes in panels(tree, "Signatures"):
        assert not of_marker(axes, "o")
        assert "truth" not in axes.get_title(loc="left")
    assert not [line for axes in panels(tree, TITLES[1]) for line in of_marker(axes, "D")]
    assert len(panels(tree, TITLES[3])) == 2


@pytest.mark.slow
def test_nearest_signatures_of_a_table(fits: Fits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = fits("vi")
    group = tree["posterior"]
    mine = naive(tree, group["lam"].to_numpy(), group["rho"].to_numpy()).mean((0, 1))
    mixed = (mine[1] + mine[2]) / 2
    table = pd.DataFrame({"SBS1": mine[2], "SBS2": mine[0], "SBS40": mixed}, index=list(CHANNELS))
    table.rename_axis("Type").to_csv(tmp_path / "table.txt", sep="\t")
    close = mixed @ mine[1] / np.linalg.norm(mixed) / np.linalg.norm(mine[1])
    expected = [("SBS2", "1.00"), ("SBS40", f"{close:.2f}"), ("SBS1", "1.00")]
    for reference in (table, str(tmp_path / "table.txt")):
        caption, figure = next((c, f) for t, c, f in module.figures(tree, reference=reference) if t == "Signatures")
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        for title, (name, value) in zip(titles, expected, strict=True):
            assert f"; nearest {name}, cosine {value}; cosine to truth" in title
        assert "table that was given" in caption
    page = gn.report(tree, tmp_path / "page.html", reference=table).read_text()
    assert f"nearest SBS40, cosine {close:.2f}" in page
    monkeypatch.setattr("genarium.reporting.diagnose", None)  # a table that is not there is told before the checks
    with pytest.raises(InputError, match="nowhere"):
        gn.report(tree, tmp_path / "page.html", reference=str(tmp_path / "nowhere.txt"))
    with pytest.raises(InputError, match=r"has no option 'refrence'\. Its options are reference"):
        gn.report(tree, tmp_path / "other.html", refrence=table)
    assert not (tmp_path / "other.html").exists()


@pytest.mark.slow
def test_a_process_that_no_true_one_corresponds_to(fits: Fits) -> None:
    data = fits("vi").copy()
    own = ["alpha", "tau", "lam_concentration", "rho_concentration", "process"]
    data["constant_data"] = xr.DataTree(data["constant_data"].to_dataset().drop_vars(own))
    tree = fit(data, process=4)
    every = drawn(tree)
    axes = every["Signatures"][1].axes
    titles = [one.get_title(loc="left") for one in axes]
    assert sum("cosine to truth" in title for title in titles) == 3
    assert [len(of_marker(one, "o")) for one in axes] == ["truth" in title for title in titles]
    for _, figure in every.values():
        assert not re.search(r"\bnan\b", inline(figure, "k", "label").lower())  # images may hold the letters


# -- effects -----------------------------------------------------------------------------------------------------------


@each_kind
def test_effects_their_intervals_and_the_truth(kind: str, fits: Fits) -> None:
    tree = fits(kind)
    true = tree["truth"]["beta"].to_numpy()[true_of(tree)]
    axes = panels(tree, "Effects of the features")
    assert [one.get_title(loc="left") for one in axes] == ["process 0", "process 1", "process 2"]
    for k, one in enumerate(axes):
        (dots,), (diamonds,) = of_marker(one, "|" if kind == "vi" else "o"), of_marker(one, "D")
        np.testing.assert_allclose(dots, np.column_stack([mean_of(tree, "beta")[k], [0, 1]]))
        np.testing.assert_allclose(diamonds, np.column_stack([true[k], [0, 1]]))
        (mark,) = (line for line in one.lines if line.get_marker() == "D")
        assert mark.get_markeredgecolor() == MARK
        if kind == "vi":
            ends = np.quantile(tree["posterior"]["beta"].to_numpy()[:, :, k], (0.05, 0.95), axis=(0, 1))
            np.testing.assert_allclose(segments(one, 2)[:, :, 0], ends.T)
            (bars,) = (c for c in one.collections if isinstance(c, LineCollection))
            sure = [module.SURE if low > 0 or high < 0 else FAINT for low, high in ends.T]
            assert [to_hex(color) for color in np.atleast_2d(np.asarray(bars.get_edgecolor()))] == sure
            assert np.min(bars.get_linewidth()) >= 5  # seen, however short
        else:
            assert not one.collections
        assert one.get_ylim() == (1.6, -0.6)  # the first feature on top
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["feature 0", "feature 1"]


@pytest.mark.slow
def test_features_with_the_largest_effects_are_kept(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEATURES", 1)
    tree = fits("vi")
    largest = int(np.abs(mean_of(tree, "beta")).max(0).argmax())
    caption, figure = one_of(tree, "Effects of the features")
    assert "Drawn: the 1 of 2 features with the largest effects" in caption
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [f"feature {largest}"]
    np.testing.assert_allclose(of_marker(figure.axes[1], "|")[0][:, 0], mean_of(tree, "beta")[1, largest])


# -- rates -------------------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("bins", [pytest.param(250, marks=pytest.mark.slow), 13])
def test_rates_and_observed_mutations(kind: str, bins: int, fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(along, "BINS", bins)
    tree = fits(kind)
    caption, figure = one_of(tree, "Rates along the genome")
    assert ("Means over 4 neighbouring loci" in caption) == (bins == 13)  # 40 loci in 13 steps at most
    predicted = gn.predict(tree)["predictions"]
    locus = tree["observed_data"]["locus"].to_numpy()
    rate, observed = predicted["rate"].to_numpy(), np.bincount(locus, minlength=40)
    assigned = np.array([predicted["probability"].to_numpy()[locus == at].sum(0) for at in range(40)])  # (L, K)
    expected = [(rate.sum(1), observed), *zip(rate.T, assigned.T, strict=True)]
    assert len(figure.axes) == 4
    for k, (axes, (line, area)) in enumerate(zip(figure.axes, expected, strict=True)):
        behind, front = steps(axes)
        for patch, values in ((behind, area), (front, line)):
            binned = values if bins == 250 else values.reshape(10, 4).mean(1)
            np.testing.assert_allclose(heights(patch), binned, atol=1e-9)
            assert axes.get_ylim()[1] > binned.max()
        assert to_hex(front.get_edgecolor()) == [INK, *PALETTE][k]
        assert axes.get_ylabel() == ["all", "process 0", "process 1", "process 2"][k]
        assert axes.get_xlim() == (-0.5, 39.5)
        np.testing.assert_allclose(front.get_data()[1][[0, -1]], [-0.5, 39.5])
    assert figure.axes[-1].get_xlabel() == "locus, by its index"
    assert figure.get_supylabel() == "mutations per locus"


def labelled(loci: list[str], genomes: int = 3) -> dict[str, Any]:
    """A table whose mutations are counted, with named loci and features."""
    rng = np.random.default_rng(0)
    L = len(loci)
    X = xr.DataArray(
        rng.normal(size=(1, L)), dims=("feature", "locus"), coords={"feature": ["timing"], "locus": loci}
    )  # fmt: skip
    draw: dict[str, Array] = {name: rng.integers(0, n, 60) for name, n in (("locus", L), ("channel", 96))}
    return {"genome": np.arange(60) % genomes, "count": rng.integers(1, 9, 60), "features": X, **draw}


@pytest.mark.slow
def test_chromosomes_and_counts() -> None:
    data = labelled(
        [f"chr{c}:{i}00000-{i + 1}00000" for c, n in (("1", 6), ("2", 4), ("X", 2)) for i in range(1, n + 1)]
    )
    tree = fit(data, process=2)
    _, figure = one_of(tree, "Rates along the genome")
    each = np.bincount(data["locus"], data["count"], 12)
    np.testing.assert_allclose(heights(steps(figure.axes[0])[0]), 10 * each)  # 0.1 Mb
    assert figure.get_supylabel() == "mutations per megabase"
    axis = figure.axes[-1].xaxis
    assert [text.get_text() for text in axis.get_minorticklabels()] == ["chr1", "chr2", "chrX"]
    np.testing.assert_allclose(np.array(axis.get_minorticklocs()), [0.3, 0.8, 1.1])
    assert [text.get_text() for text in axis.get_majorticklabels()] == ["0.2", "0.4", "0.6", "0.2", "0.4", "0.2"]
    np.testing.assert_allclose(
        np.array(axis.get_majorticklocs()), [0.1, 0.3, 0.5, 0.7, 0.9, 1.1]
    )  # chromosomes begin at 0.1
    assert figure.axes[-1].get_xlabel() == "chromosome, place in Mb"
    effects = panels(tree, "Effects of the features")
    assert [text.get_text() for text in effects[0].get_yticklabels()] == ["timing"]
    count = heights(steps(panels(tree, "Exposures of the genomes")[0])[-1])
    np.testing.assert_allclose(sorted(count), sorted(np.bincount(data["genome"], data["count"])))


def test_loci_stand_where_they_lie() -> None:
    """Unsorted loci, bins that end with a chromosome, a gap, blocks that are shorter than their span, kilobases."""
    loci = ["b:500-600", "a:300-400", "a:0-100", "a:100-200", "b:600-700"]
    known = xr.Dataset(coords={"locus": loci})
    axis = axis_of(known, 3)  # two loci a bin, at most
    assert [one.name for one in axis.chromosomes] == ["b", "a"]
    np.testing.assert_array_equal(axis.order, [0, 4, 2, 3, 1])
    np.testing.assert_allclose(1e6 * axis.low, [0, 200, 500])
    np.testing.assert_allclose(axis.binned(np.arange(1.0, 6)[:, None])[:, 0], [6 / 200e-6, 7 / 200e-6, 2 / 100e-6])
    values, edges = axis.outline(np.array([1.0, 2, 3]))
    np.testing.assert_array_equal(values, [1, 2, np.nan, 3])
    np.testing.assert_allclose(1e6 * edges, [0, 200, 400, 500, 600])
    axes = Figure().subplots()
    axis.label(axes)
    assert axes.get_xlabel() == "chromosome, place in kb"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.5", "0.6", "0", "0.1", "0.2", "0.3", "0.4"]
    of_blocks = known.assign_coords(
        {
            "chrom": ("locus", ["c"] * 5),
            "start": ("locus", [0, 100, 200, 300, 400]),
            "end": ("locus", [90, 200, 300, 400, 500]),
            "blocks": ("locus", ["0-10,80-90", "100-200", "200-300", "300-400", "400-500"]),
        }
    )
    np.testing.assert_allclose(1e6 * axis_of(of_blocks, 5).size, [20, 100, 100, 100, 100])
    assert not axis_of(of_blocks.assign_coords(end=("locus", [150, 200, 300, 400, 500])), 5).chromosomes  # overlapping
    assert not axis_of(known.assign_coords(locus=["b:500-600", *"acde"]), 5).chromosomes


def test_names_that_do_not_fit_are_lowered_or_left_out() -> None:
    assert staggered(["1", "21", "22", "X", "decoy"], [50, 8, 8, 50, 2], 4) == ["1", "\n21", "22", "X", ""]


@pytest.mark.slow
def test_too_many_chromosomes_are_not_named() -> None:
    tree = fit(labelled([f"scaffold{i}:1-9" for i in range(41)]), process=2)
    assert one_of(tree, "Rates along the genome")[1].axes[-1].get_xlabel() == "locus, by its index"


# -- exposures ---------------------------------------------------------------------------------------------------------


@each_kind
def test_exposures_are_stacked_and_ordered(kind: str, fits: Fits) -> None:
    tree = fits(kind)
    pi = mean_of(tree, "pi")
    true = tree["truth"]["pi"].to_numpy()[:, true_of(tree)]
    _, figure = one_of(tree, "Exposures of the genomes")
    count, found, truth = figure.axes
    mutations = np.bincount(tree["constant_data"]["genome"], minlength=9)
    order = [int(text.get_text()) for text in truth.get_xticklabels()]
    assert sorted(order) == list(range(9))
    assert order == sorted(range(9), key=lambda g: (pi[g].argmax(), -pi[g].max()))
    for axes, table in ((count, pi * mutations[:, None]), (found, pi), (truth, true)):
        assert [to_hex(patch.get_facecolor()) for patch in steps(axes)] == list(PALETTE[:3])
        foot = np.zeros(9)
        for k, patch in enumerate(steps(axes)):
            np.testing.assert_allclose(np.asarray(patch.get_data()[2]), foot)
            np.testing.assert_allclose(heights(patch) - foot, table[order, k], atol=1e-12)
            foot = heights(patch)
        np.testing.assert_allclose(foot, mutations[order] if axes is count else 1)
        assert len(segments(axes, 8)) == 8  # gaps between genomes
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["process 0", "process 1", "process 2"]


@pytest.mark.slow
def test_many_genomes_are_thin_bars_without_names(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMED", 8)
    for axes in panels(fits("vi"), "Exposures of the genomes"):
        assert not axes.get_xticklabels()
        assert not axes.collections
    assert axes.get_xlabel() == "genomes (9)"
    assert len(heights(steps(axes)[0])) == 9


def test_numbers_of_mutations_that_differ_much_are_on_a_logarithmic_axis() -> None:
    data = labelled([str(i) for i in range(12)])
    data["count"] = np.where(data["genome"] == 0, 300, 1)
    count = panels(fit(data, process=2), "Exposures of the genomes")[0]
    assert count.get_yscale() == "log"
    assert heights(steps(count)[0]).max() == 6000


# -- likeness, and many processes --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_likeness_is_the_cosine(fits: Fits) -> None:
    tree = fits("vi")
    caption, figure = one_of(tree, "Similarity of the processes")
    signature = naive(tree, tree["posterior"]["lam"].to_numpy(), tree["posterior"]["rho"].to_numpy()).mean((0, 1))
    rate = gn.predict(tree)["predictions"]["rate"].to_numpy().T
    for axes, rows in zip(figure.axes[:2], (signature, rate), strict=True):
        (mesh,) = (c for c in axes.collections if isinstance(c, QuadMesh))
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        values = np.ma.getdata(np.ma.asarray(mesh.get_array())).reshape(3, 3)
        np.testing.assert_allclose(values, unit @ unit.T, atol=1e-9)
        assert [text.get_text() for text in axes.texts] == [f"{v:.2f}".removeprefix("0") for v in values.ravel()]
        if rows is signature:
            assert f"the largest between two signatures is {values[~np.eye(3, dtype=bool)].max():.2f}." in caption


@pytest.mark.slow
def test_pages_and_more_processes_than_colours(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = fits("vi")
    for one in (module, of_fit):
        monkeypatch.setattr(one, "PAGE", 2)
    monkeypatch.setattr(of_fit, "COLORS", PALETTE[:2])
    every = drawn(tree)
    pages = [f"{title} ({i} of 2)" for title in TITLES[:3] for i in (1, 2)]
    assert list(every) == [*pages, *TITLES[3:]]
    for title in TITLES[:2]:
        shown = [axes.get_title(loc="left")[:9] for i in (1, 2) for axes in panels(tree, f"{title} ({i} of 2)")]
        assert shown == ["process 0", "process 1", "process 2"]
    tracks = [[axes.get_ylabel() for axes in every[page][1].axes] for page in pages[4:]]
    assert tracks == [["all", "process 0", "process 1"], ["all", "process 2"]]
    for title in (*pages[4:], TITLES[3]):
        assert "There are only 2 colours" in every[title][0]
    assert to_rgba(steps(every[pages[5]][1].axes[1])[1].get_edgecolor()) == to_rgba(PALETTE[0])


@pytest.mark.slow
def test_twelve_processes_stand_in_two_columns() -> None:
    tree = fit(gn.simulate("locus_regression", seed=1, process=11, **SIZES), max_iterations=3)
    every = drawn(tree)
    figure = every["Signatures"][1]
    assert len(figure.axes) == 12
    assert [axes.get_visible() for axes in figure.axes] == [True] * 11 + [False]
    at = [figure.axes[k].get_title(loc="left").split(":")[0] for k in (0, 1, 10)]
    assert at == ["process 0", "process 1", "process 10"]
    named = [axes for axes in figure.axes[:11] if any(t.get_text() for t in axes.get_xticklabels())]
    assert named == [figure.axes[9], figure.axes[10]]  # the feet of both columns
    assert [axes.get_visible() for axes in every["Effects of the features"][1].axes] == [True] * 11 + [False]


def test_without_features_there_are_signatures_and_exposures_alone() -> None:
    """Effects that no data bear on, and the rate of the only locus, are no results."""
    cells = {"genome": [0, 0, 1, 1], "channel": [3, 5, 3, 9], "locus": [0, 0, 0, 0], "count": [20, 30, 40, 9]}
    tree = gn.fit("locus_regression", cells, "vi", 1, process=3, restarts=1, draws=30)
    every = drawn(tree)
    assert list(every) == ["Signatures", "Exposures of the genomes", "Similarity of the processes"]
    caption, figure = every["Similarity of the processes"]
    assert [axes.get_title(loc="left") for axes in figure.axes[:-1]] == ["signatures"]
    assert "rates" not in caption
    answer = found(fitted_model(tree), tree)
    (rows,) = answer.tables.values()
    assert rows[0] == ["process", "share of mutations", "commonest channels"]
    assert not any("effect" in text for text in (answer.title, *answer.notes))
