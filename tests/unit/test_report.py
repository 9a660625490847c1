"""The report: what stands on the page is what is in the tree, and the page needs nothing else."""

import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Polygon

import genarium as gn
from genarium import cli
from genarium.declaration import ROLES, Array, Model, Stage, Var
from genarium.drawing import KEPT, Titled, inline, kept, log_ticks, shades, style
from genarium.estimates import Estimate, centres, estimates, match, matched_truth
from genarium.reporting import (  # fmt: skip
    chains,
    estimate_section,
    figures,
    figures_of_result,
    render,
    report,
    reproduce,
    stale,
    summary,
    tables,
)
from genarium.reporting.graph import arrange, story
from genarium.reporting.page import number, short
from genarium.reporting.tables import estimate_tables
from genarium.reporting.trust import banner, beside_truth
from genarium.supports import label, positive, real, simplex
from genarium.verbs.diagnose import diagnose, replicated_statistics
from genarium.verdicts import Diagnosis, verdict

MU = np.array([[10.0, 300.0], [300.0, 10.0], [90.0, 90.0]])
PI = np.array([0.2, 0.3, 0.5])
VOID = {"meta", "br", "hr", "img", "link", "input"}
SECTIONS = ["found", "checks", "figures", "course", "estimates", "model", "provenance", "reproduce"]


@dataclass
class Node:
    """An element of a page."""

    tag: str
    attrs: dict[str, str | None]
    children: "list[Node | str]" = field(default_factory=list)

    def every(self, *tags: str) -> "Iterator[Node]":
        for child in self.children:
            if isinstance(child, Node):
                if child.tag in tags:
                    yield child
                yield from child.every(*tags)

    def find(self, tag: str, **attrs: str) -> "Node":
        found = [node for node in self.every(tag) if attrs.items() <= node.attrs.items()]
        assert len(found) == 1, (tag, attrs, len(found))
        return found[0]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class Page(HTMLParser):
    """Parses a page into nodes, and fails where tags are not balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]
        self.feed(html)
        self.close()
        assert self.open == [self.root], [node.tag for node in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def rows(page: Node, name: str) -> list[dict[str, str]]:
    """Rows of the table with a label, by the names of its columns."""
    table = page.find("table", **{"aria-label": name})
    head = [cell.text for cell in table.every("th")]
    return [
        dict(zip(head, (cell.text for cell in row.every("td")), strict=True)) for row in table.find("tbody").every("tr")
    ]


def section(page: Node, key: str) -> Node:
    return page.find("section", id=key)


@pytest.fixture(scope="module")
def data() -> xr.DataTree:
    """Three groups that are easy to tell apart."""
    return gn.simulate("nb_mixture", seed=3, cell=80, mu=MU, pi=PI)


Fits = Callable[[str], xr.DataTree]
Pages = Callable[[str], Node]


@pytest.fixture(scope="module")
def fits(data: xr.DataTree) -> Fits:
    options: dict[str, dict[str, Any]] = {
        "em": {"restarts": 3},
        "vi": {"restarts": 3, "draws": 200},
        "gibbs": {"chains": 2, "draws": 150, "tune": 100},
    }
    return cache(lambda method: gn.fit("nb_mixture", data, method, seed=1, **options[method]))


@pytest.fixture(scope="module")
def written(fits: Fits, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder = tmp_path_factory.mktemp("pages")
    return cache(lambda method: report(fits(method), folder / f"{method}.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pages(written: Callable[[str], str]) -> Pages:
    return cache(lambda method: Page(written(method)).root)


each_method = pytest.mark.parametrize(
    "method", ["gibbs", *(pytest.param(method, marks=pytest.mark.slow) for method in ("em", "vi"))]
)


# -- the page ----------------------------------------------------------------------------------------------------------


@each_method
def test_page_is_whole(method: str, written: Callable[[str], str], pages: Pages) -> None:
    html, page = written(method), pages(method)
    assert html.startswith("<!DOCTYPE html>\n<html lang=")
    assert page.find("title").text == page.find("h1").text == f"Negative binomial mixture by {method}"
    found = [node.attrs["id"] for node in page.every("section")]
    assert found == SECTIONS
    assert [node.attrs["href"] for node in page.find("nav").every("a")] == [f"#{key}" for key in SECTIONS]
    assert all(len(list(node.every("h2"))) == 1 and len(node.text) > 80 for node in page.every("section"))


@each_method
def test_page_needs_no_other_file(method: str, written: Callable[[str], str], pages: Pages) -> None:
    html, page = written(method), pages(method)
    assert not re.search(r"https?:|//www|@import|url\((?!#)", html)
    assert not list(page.every("script", "link", "iframe", "img", "object"))
    every = list(
        page.every(*{node.tag for node in page.every("svg")} | {"a", "use", "image", "g", "path", "rect", "text"})
    )
    links = [node.attrs[name] or "" for node in every for name in ("href", "src", "xlink:href") if name in node.attrs]
    assert links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)


@each_method
def test_ids_are_unique_and_every_reference_has_one(method: str, written: Callable[[str], str]) -> None:
    html = written(method)
    ids = Counter(re.findall(r'\sid="([^"]*)"', html))
    assert max(ids.values()) == 1
    references = set(re.findall(r'(?:href="|url\()#([^")]+)', html))
    assert references <= set(ids)
    assert any(name.startswith("r0-") for name in references)


@each_method
def test_every_figure_is_named_and_explained(method: str, pages: Pages) -> None:
    every = list(pages(method).every("figure"))
    assert len(every) >= 6
    for one in every:
        svg = one.find("svg")
        assert svg.attrs["role"] == "img"
        assert svg.attrs["aria-label"]
        assert len(one.find("h3").text) > 5
        caption = one.find("figcaption").text
        assert caption.endswith(".")
        assert len(caption) > 60
    assert sum("ook for" in one.find("figcaption").text for one in every) == len(every) - 1  # all but the model's graph


def test_colours_of_a_convention_stay_in_the_dark_unless_they_are_black(root: Path) -> None:
    colours = ("#cac9c9", "#a1ce63", "#e32926", "#016601", "#4c0198", "#010101")
    assert [kept(colour) for colour in colours] == [*[KEPT] * 4, None, None]
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    for i in range(2):
        axes.stairs([1.0], [i, i + 1], fill=True, color="#cac9c9", gid=KEPT)
    axes.stairs([1.0], [2, 3], fill=True, color="#010101")
    html = inline(figure, "k", "a figure")
    assert html.count(f'class="{KEPT}"') == 2
    assert f'id="{KEPT}"' not in html
    css = (root / "src" / "genarium" / "reporting" / "style.css").read_text(encoding="utf-8")
    assert f".drawn svg .{KEPT} {{ filter: invert(1) hue-rotate(180deg); }}" in css  # twice, so that it is as before


def test_shades_fade_neither_on_white_nor_on_black_where_they_are_turned() -> None:
    luminance = shades()(np.linspace(0, 1, 50))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert luminance.max() < 0.65
    assert (1 - luminance).min() > 0.35


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


@pytest.mark.parametrize("method", ["em", *(pytest.param(m, marks=pytest.mark.slow) for m in ("gibbs", "vi"))])
def test_same_tree_same_bytes(method: str, fits: Fits, written: Callable[[str], str], tmp_path: Path) -> None:
    tree, before = fits(method), fits(method).copy(deep=True)
    settings = {name: value for name, value in mpl.rcParams.items() if name != "backend"}
    path = tmp_path / "report.html"
    path.write_text("an older page", encoding="utf-8")
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.fonttype": "path", "axes.grid": False}):
        assert report(tree, path) == path
    assert path.read_text(encoding="utf-8") == written(method)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert {name: value for name, value in mpl.rcParams.items() if name != "backend"} == settings
    xr.testing.assert_identical(tree, before)


@pytest.mark.slow
def test_tree_from_a_file_gives_the_same_page(fits: Fits, written: Callable[[str], str], tmp_path: Path) -> None:
    tree = gn.load(gn.save(fits("em"), tmp_path / "fit.nc"))
    assert report(tree, tmp_path / "report.html").read_text(encoding="utf-8") == written("em")


def test_text_is_escaped(fits: Fits) -> None:
    tree = fits("em").copy()
    tree.attrs |= {"files": '["<b>&.tsv"]', "remark": "<script>alert(1)</script>", "broken": "{not JSON"}
    page = Page(tables.provenance(tree)).root
    said = {row["Attribute"]: row["Value"] for row in rows(page, "Provenance")}
    assert said["files"] == "<b>&.tsv"
    assert said["remark"] == "<script>alert(1)</script>"
    assert said["broken"] == "{not JSON"
    assert not list(page.every("script", "b"))


def test_refusals(fits: Fits, data: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(gn.InputError, match="no fit"):
        report(data, tmp_path / "report.html")
    with pytest.raises(gn.InputError, match="does not exist"):
        report(fits("em"), tmp_path / "absent" / "report.html")
    with pytest.raises(gn.InputError, match="is a folder"):
        report(fits("em"), tmp_path)
    assert not list(tmp_path.iterdir())


# -- the words ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_summary(pages: Pages) -> None:
    head = pages("vi").find("header").text
    assert "was fitted to x (80 cells × 2 genes), with 3 components, by the method vi." in head
    assert "The data are simulated" in head
    trust = {method: section(pages(method), "checks").text for method in ("em", "vi", "gibbs")}
    assert "Its claim: approximate. Its draws come from an approximation" in trust["vi"]
    assert "Its claim: point. It finds one best value" in trust["em"]
    assert "Its claim: exact. Its draws come from the posterior" in trust["gibbs"]


def test_the_answer_stands_above_all_else(pages: Pages) -> None:
    head = pages("gibbs").find("header")
    told = [child.text for child in head.children if isinstance(child, Node)]
    assert told[1].startswith("3 groups among 80 cells, which hold ")
    assert "verdict" in str(next(node.attrs["class"] for node in head.every("div")))
    groups = rows(pages("gibbs"), "Groups, the largest first")
    shares = [float(row["share of cells"]) for row in groups]
    assert shares == sorted(shares, reverse=True)
    np.testing.assert_allclose(sum(shares), 1, atol=0.005)
    assert all(float(row["5%"]) < float(row["share of cells"]) < float(row["95%"]) for row in groups)


@each_method
def test_checks_are_those_of_diagnose(method: str, fits: Fits, pages: Pages) -> None:
    found = diagnose("nb_mixture", fits(method)).verdicts
    table = rows(pages(method), "Checks")
    assert [row["Status"] for row in table] == [f"{tables.SIGNS[v.status]} {v.status}" for v in found]
    assert [row["Check"] for row in table] == [v.check + v.advice for v in found]
    assert [row["Found"] for row in table] == [v.shown.replace("nan", "–") for v in found]
    classes = [
        row.attrs["class"] for row in pages(method).find("table", **{"aria-label": "Checks"}).find("tbody").every("tr")
    ]
    assert classes == [v.status for v in found]


def test_overall_verdict(data: xr.DataTree) -> None:
    good = gn.fit("nb_mixture", data, "em", seed=1, restarts=1)
    empty = good.copy()
    empty.attrs["notes"] = good.attrs["notes"].replace('"empty_components": 0', '"empty_components": 1')
    early = gn.fit("nb_mixture", data, "em", seed=1, restarts=1, max_iterations=1)
    model = gn.get("nb_mixture")

    def box(found: Diagnosis) -> Node:
        return Page(banner(model, found, [], "exact")).root.find("div")

    boxes = [box(diagnose("nb_mixture", tree)) for tree in (good, empty, early)]
    assert [one.attrs["class"] for one in boxes] == ["verdict pass", "verdict warn", "verdict fail"]
    assert boxes[0].text.strip() == "✓ Passed all 11 checks of this fit."
    assert boxes[1].text.strip().startswith("! Passed with reservations in 1 of 11 checks: empty components.")
    assert [one.text for one in boxes[1].every("li")] == ["empty components: Ask for fewer components."]
    assert boxes[2].text.strip().startswith("✗ Do not rely on this fit. It failed 1 of 11 checks: converged.")
    assert "there are no checks" in box(Diagnosis("nb_mixture", "em", "point", ())).text


def test_advice_is_told_once_with_all_its_checks() -> None:
    advice = "Their intervals are rough: run longer."
    found = [verdict(check, False, 2, "= 0", "", advice, "warn") for check in ("effects", "exposures")]
    box = banner(gn.get("nb_mixture"), Diagnosis("nb_mixture", "vi", "approximate", tuple(found)), [], "approximate")
    assert [one.text for one in Page(box).root.every("li")] == [f"effects; exposures: {advice}"]


def test_the_page_says_what_was_read_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("cell,plate,g\n" + "".join(f"c{i},{i % 2},{i % 7}\n" for i in range(30)))
    data = gn.read("nb_mixture", path, "table", drop=["plate"], phi=0.3)
    tree = gn.fit("nb_mixture", data, "em", component=2, restarts=1, seed=1)
    said = "30 cells x 1 gene; left out: column plate (asked for)"
    assert f"Read from cells.csv: {said}" in Page(summary(gn.get("nb_mixture"), tree)).root.text
    table = rows(Page(tables.provenance(tree)).root, "Provenance")
    assert next(row["Value"] for row in table if row["Attribute"] == "ledger").startswith(said)


def test_a_missed_truth_reaches_the_banner(fits: Fits) -> None:
    model = gn.get("nb_mixture")
    passed = Diagnosis("nb_mixture", "gibbs", "exact", ())
    good = estimates(model, fits("gibbs"))
    missed, said = beside_truth(model, good)
    assert not missed
    assert "of 9 true values lie in their 90% intervals, where about 8.1 are expected" in said
    bad = [replace(one, truth=one.truth + 1e3) for one in good if one.truth is not None]
    assert beside_truth(model, bad)[0]
    box = Page(banner(model, passed, bad, "exact")).root.find("div")
    assert box.attrs["class"] == "verdict warn"
    assert "0 of 9 true values" in box.text
    point = estimates(model, fits("em"))
    assert not beside_truth(model, point)[0]
    bad = [replace(one, truth=np.roll(one.truth, 1, -1)) for one in point if one.truth is not None]
    missed, said = beside_truth(model, bad)
    assert missed
    assert "known truth is missed" in said
    assert "mu" in said
    assert not beside_truth(model, [replace(one, truth=None) for one in point])[1]


def test_changed_sources_are_told(fits: Fits, pages: Pages) -> None:
    tree, model = fits("em").copy(), gn.get("nb_mixture")
    said = "sources of the model have changed"
    assert said not in section(pages("em"), "provenance").text
    assert not stale(model, tree)
    tree.attrs["model_digest"] = "0" * 12
    assert said in stale(model, tree)


def test_provenance_has_every_attribute(fits: Fits, pages: Pages) -> None:
    table = rows(pages("gibbs"), "Provenance")
    said = {row["Attribute"]: row["Value"] for row in table}
    assert set(said) == {str(name).replace("_", " ") for name in fits("gibbs").attrs}
    assert said["options"] == "chains 2, draws 150, tune 100, thin 1"
    assert said["seed"] == "1"
    assert said["simulation seed"] == "3"
    assert said["fixed"] == "none"
    assert table[0]["Attribute"] == "model"
    assert table[-1]["Attribute"] == "versions"


def test_variables(fits: Fits, pages: Pages) -> None:
    model = gn.get("nb_mixture")
    table = rows(pages("em"), "Variables of the model")
    assert [row["Name"] for row in table] == list(model.variables())
    here = {row["Name"]: row["Here"] for row in table}
    x = fits("em")["observed_data"]["x"]
    assert here["phi"] == "0.3"
    assert here["alpha0"] == "2"
    assert here["x"] == f"{int(x.min())} to {int(x.max())}"
    assert here["mu"] == here["group"] == ""


def test_variables_with_missing_values() -> None:
    model = gn.get("notmad").variant(missing="integrated")
    tree = gn.simulate(model, seed=1, sample=20, node=3)
    x = tree["observed_data"].to_dataset()["x"]
    x[3, 1] = np.nan
    table = rows(Page(tables.variables(model, tree)).root, "Variables of the model")
    here = {row["Name"]: row["Here"] for row in table}
    assert here["x"] == f"{short(float(x.min()))} to {short(float(x.max()))}, 1 missing"


@pytest.mark.parametrize("method", ["em", *(pytest.param(m, marks=pytest.mark.slow) for m in ("gibbs", "vi"))])
def test_reproduce(
    method: str,
    fits: Fits,
    pages: Pages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    same: Callable[[xr.DataTree, xr.DataTree], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    tree = gn.load(gn.save(fits(method), Path("fit.nc")))
    python, shell, *around = (node.text for node in section(pages(method), "reproduce").every("pre"))
    code, last = python.rsplit("\n", 1)
    space: dict[str, Any] = {}
    exec(code, space)
    same(space["again"], tree)
    assert last == 'gn.report(again, "report.html")'
    fit, page = shell.splitlines()
    assert cli.main(shlex.split(fit)[1:]) == 0
    same(gn.load("again.nc"), tree)
    assert page == "genarium report again.nc -o report.html"
    offered = "genarium validate nb_mixture --method gibbs --simulations 100 --data fit.nc --out calibration"
    assert around == ([offered] if method == "gibbs" else [])


def test_reproduce_with_a_variable_held_fixed(data: xr.DataTree) -> None:
    tree, model = gn.fit("nb_mixture", data, "em", seed=1, restarts=2, mu=MU), gn.get("nb_mixture")
    (python,) = (node.text for node in Page(reproduce(model, tree)).root.every("pre"))
    assert 'gn.fit("nb_mixture", tree, "em", seed=1, restarts=2, mu=tree["point"]["mu"])' in python
    assert "Held fixed: mu." in Page(estimate_section(model, tree, [])).root.text
    table = rows(Page(tables.variables(model, tree)).root, "Variables of the model")
    assert {row["Name"]: row["Here"] for row in table}["mu"] == "held fixed"


# -- the numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [pytest.param("vi", marks=pytest.mark.slow), "gibbs"])
@pytest.mark.parametrize("name", ["pi", "mu"])
def test_estimates_from_draws(method: str, name: str, fits: Fits, pages: Pages) -> None:
    draws = fits(method)["posterior"][name].to_numpy()
    columns = {
        "mean": draws.mean((0, 1)),
        "sd": draws.std((0, 1)),
        "5%": np.quantile(draws, 0.05, axis=(0, 1)),
        "95%": np.quantile(draws, 0.95, axis=(0, 1)),
    }
    table = rows(pages(method), f"Estimates of {name}")
    assert len(table) == draws[0, 0].size
    for column, values in columns.items():
        np.testing.assert_allclose(
            [float(row[column]) for row in table], values.ravel(), rtol=6e-3 if column == "sd" else 6e-4
        )
    assert ("R-hat" in table[0]) == ("ESS" in table[0]) == (method == "gibbs")
    if method == "gibbs":
        from arviz_stats.base import array_stats

        flat = draws.reshape(*draws.shape[:2], -1).transpose(2, 0, 1)
        rhat = array_stats.rhat(flat, chain_axis=1, draw_axis=2)
        assert [row["R-hat"] for row in table] == [f"{value:.3f}" for value in rhat]
        ess = array_stats.ess(flat, chain_axis=1, draw_axis=2, method="bulk")
        assert [row["ESS"] for row in table] == [f"{value:.0f}" for value in ess]


def signed(text: str) -> float:
    """Read a number whose minus sign is no hyphen."""
    return float(text.replace("\u2212", "-"))


@pytest.mark.parametrize("name", ["pi", "mu"])
def test_point_estimates(name: str, fits: Fits, pages: Pages) -> None:
    table = rows(pages("em"), f"Estimates of {name}")
    values = fits("em")["point"][name].to_numpy().ravel()
    np.testing.assert_allclose([signed(row["estimate"]) for row in table], values, rtol=6e-4)
    assert not {"mean", "sd", "R-hat", "inside"} & set(table[0])
    apart = [signed(row["estimate − truth"]) for row in table]
    truth = matched_truth(gn.get("nb_mixture"), fits("em"))[name].ravel()
    np.testing.assert_allclose(apart, values - truth, rtol=6e-4, atol=1e-12)


@each_method
def test_truth_stands_beside_its_estimate(method: str, fits: Fits, pages: Pages) -> None:
    """Estimates are sorted by weight, the truth is not: the labels must have been matched."""
    right = np.argsort(-PI)
    for name, true in {"pi": PI[right], "mu": MU[right]}.items():
        table = rows(pages(method), f"Estimates of {name}")
        np.testing.assert_allclose([float(row["truth"]) for row in table], true.ravel(), rtol=6e-4)
        if method != "em":
            inside = [float(row["5%"]) <= float(row["truth"]) <= float(row["95%"]) for row in table]
            assert [row["inside"] for row in table] == ["yes" if one else "no" for one in inside]
            said = f"{sum(inside)} of {true.size} true values lie in their 90% intervals"
            assert (said in section(pages(method), "estimates").text) == (name == "mu")  # three values say nothing
    assert "renumbered" in section(pages(method), "estimates").text


def test_data_without_truth(data: xr.DataTree) -> None:
    model, x = gn.get("nb_mixture"), data["observed_data"]["x"].to_numpy()
    tree = gn.fit("nb_mixture", {"x": x, "phi": 0.3}, "em", seed=1, component=3, restarts=2)
    page = Page(estimate_section(model, tree, estimates(model, tree))).root
    assert list(rows(page, "Estimates of pi")[0]) == ["component", "estimate"]
    assert "renumbered" not in page.text
    assert "The data are simulated" not in summary(model, tree)
    assert matched_truth(model, tree) == {}


def test_long_tables_say_what_they_leave_out() -> None:
    data, model = gn.simulate("nb_mixture", seed=1, cell=40, gene=30, component=2), gn.get("nb_mixture")
    tree = gn.fit("nb_mixture", data, "vi", seed=1, restarts=2, draws=50)
    found = estimates(model, tree)
    page = Page(estimate_section(model, tree, found)).root
    table = rows(page, "Estimates of mu")
    assert [(row["component"], row["gene"]) for row in table] == [("0", str(g)) for g in range(24)]
    assert "The first 24 of 60 rows; 36 are left out." in page.text
    folded = [node.find("table").attrs["aria-label"] for node in page.every("details")]
    assert "Estimates of mu" in folded
    (mu,) = (one for one in found if one.name == "mu")
    assert mu.inside is not None
    assert f"{int(mu.inside.sum())} of 60 true values" in page.text  # over all rows, not those shown
    ((_, caption, _),) = figures.intervals(model, found)
    assert "Too large to be drawn: mu (2 × 30)." in caption


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (13984.968, "13985"),
        (2084.05, "2084"),
        (31.274, "31.27"),
        (-0.0012345, "−0.001234"),
        (1.5e-9, "1.500e-09"),
        (3.2e8, "3.200e+08"),
        (np.nan, "–"),
        (-np.inf, "–"),
        (7, "7.000"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


# -- matching labels ---------------------------------------------------------------------------------------------------


def test_hidden_labels_are_matched(fits: Fits) -> None:
    model = gn.get("nb_mixture")
    for method in ("em", "vi"):
        tree = fits(method)
        group = tree["point" if method == "em" else "variational"]["responsibility"].argmax("component").to_numpy()
        raw = tree["truth"]["group"].to_numpy()
        assert (matched_truth(model, tree)["group"] == group).mean() > 0.9
        assert (raw == group).mean() < 0.5


@pytest.mark.parametrize("components", [2, 4])
def test_other_number_of_components_than_the_truth(components: int, data: xr.DataTree) -> None:
    tree = gn.fit("nb_mixture", data, "em", seed=1, component=components, restarts=3)
    model = gn.get("nb_mixture")
    true = matched_truth(model, tree)
    assert true["mu"].shape == (components, 2)
    lacking = np.isnan(true["mu"]).all(1)
    assert lacking.sum() == max(0, components - 3)
    assert (np.isnan(true["pi"]) == lacking).all()
    shared = {tuple(row) for row in true["mu"][~lacking]}
    assert shared <= {tuple(row) for row in MU}
    counts = Counter(true["group"].tolist())
    assert (counts[-1] > 0) == (components < 3)
    assert set(counts) - {-1} == set(np.flatnonzero(~lacking).tolist())
    page = Page(estimate_section(model, tree, estimates(model, tree))).root
    assert [row["truth"] == "–" for row in rows(page, "Estimates of pi")] == lacking.tolist()


def toy_mixture(exchangeable: str = "kind") -> Model:
    """A declaration with every shape that matching meets; it is never fitted."""
    unknown = {
        "w": Var(("kind",), simplex, "Weight.", "w"),
        "scale": Var(("kind",), positive, "Scale.", "s"),
        "centre": Var(("site", "kind"), real, "Centre.", "c"),
        "common": Var((), real, "Common.", "a"),
    }
    return Model(
        name="toy_mixture",
        title="Toy",
        sizes={"kind": 3, "site": 2, "item": 4},
        known=Stage({}),
        unknown=Stage(unknown, {name: lambda: 0 for name in unknown}),
        hidden=Stage({"z": Var(("item",), label("kind"), "Kind.", "z")}, {"z": lambda w: 0}),
        observed=Stage(
            {"y": Var(("item",), real, "Value.", "y"), "n": Var((), real, "Another.", "n")},
            {"y": lambda z, centre, scale, common: 0, "n": lambda y: 0},
        ),
        exchangeable=exchangeable,
    )


def test_match_along_any_axis() -> None:
    rng = np.random.default_rng(0)
    order = np.array([2, 0, 1])
    true = {
        "w": np.array([0.2, 0.3, 0.5]),
        "scale": np.array([1e-3, 1.0, 1e3]),
        "centre": rng.normal(size=(2, 3)),
        "common": np.array(1.0),
    }
    estimate = {name: value[..., order] * 1.01 if value.ndim else value for name, value in true.items()}
    found = match(toy_mixture(), estimate, true)
    assert found is not None
    assert found.tolist() == order.tolist()
    for name in ("w", "scale", "centre"):
        alone = match(toy_mixture(), {name: estimate[name]}, {name: true[name]})
        assert alone is not None
        assert alone.tolist() == order.tolist(), name
    assert match(toy_mixture(), {"common": true["common"]}, {"common": true["common"]}) is None
    assert match(toy_mixture(""), estimate, true) is None


# -- the figures -------------------------------------------------------------------------------------------------------


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


# -- the graph ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"dispersion": "gene"}])
def test_graph_has_every_variable_and_arrow(options: dict[str, str]) -> None:
    model = gn.get("nb_mixture").variant(**options)
    figure = story(model)
    (axes,) = figure.axes
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == len(list(model.edges()))
    assert len(axes.patches) - len(arrows) == len(model.variables())
    said = {text.get_text() for text in axes.texts}
    assert {f"{var.symbol}  {name}" for name, var in model.variables().items() if var.symbol != name} <= said


def test_graph_of_the_toys(toy: Model) -> None:
    for model in (toy, toy_mixture()):
        figure = story(model)
        headings = [text.get_text() for text in figure.axes[0].texts]
        used = [role for role in ROLES if model.variables(role)]
        assert headings[: len(used)] == used
        width, height = figure.get_size_inches()
        for text in figure.axes[0].texts:
            x, y = text.get_position()
            assert figure.axes[0].get_xlim()[0] < x < figure.axes[0].get_xlim()[1]
            assert abs(y) < height / 2
        assert width > 2


def test_arrange_untangles() -> None:
    column = {"a": 0, "b": 0, "c": 1, "d": 1, "e": 3}
    edges = [("a", "d"), ("b", "c"), ("c", "e"), ("a", "e")]
    at = arrange(column, edges)
    assert set(at) == {("a", 0), ("b", 0), ("c", 1), ("d", 1), ("e", 3), ("c", 2), ("a", 1), ("a", 2)}
    assert (at["a", 0] - at["b", 0]) * (at["d", 1] - at["c", 1]) > 0  # the two arrows do not cross
    for c in range(4):
        heights = sorted(y for (_, place), y in at.items() if place == c)
        assert all(high - low == 1 for low, high in pairwise(heights))
        assert sum(heights) == 0


# -- the SVG -----------------------------------------------------------------------------------------------------------


def plot(x: Array) -> Figure:
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot(x, "o", label="a")
    return figure


def test_inlined_figures_share_no_id() -> None:
    with style():
        one, other = (inline(plot(np.arange(3.0)), key, 'a "b" <c>') for key in ("x", "y"))
    ids = [set(re.findall(r'id="([^"]+)"', text)) for text in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert all(name.startswith("x-") for name in ids[0])
    assert one.startswith('<svg role="img" aria-label="a &quot;b&quot; &lt;c&gt;"')
    assert one.endswith("</svg>")
    assert not re.search("metadata|xmlns|xlink|<style|<!--|http", one)
    Page(one)


def test_style_is_undone_after_an_error() -> None:
    before = mpl.rcParams["svg.fonttype"]

    def fail() -> None:
        with style():
            assert mpl.rcParams["svg.fonttype"] == "none"
            raise KeyError("figure")

    with pytest.raises(KeyError):
        fail()
    assert mpl.rcParams["svg.fonttype"] == before


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (3, 40, ["5", "10", "20"]),
        (28, 2100, ["30", "100", "300", "1,000"]),
        (0.02, 900, ["0.1", "1", "10", "100"]),
        (1, 10, ["1", "2", "5", "10"]),
        (1e-31, 3, ["10⁻³⁰", "10⁻²⁵", "10⁻²⁰", "10⁻¹⁵", "10⁻¹⁰", "10⁻⁵", "1"]),
    ],
)
def test_log_ticks(low: float, high: float, labels: list[str]) -> None:
    axes = Figure().subplots()
    axes.set_xscale("log")
    log_ticks(axes.xaxis, low, high)
    assert [text.get_text() for text in axes.get_xticklabels()] == labels
    assert not len(axes.get_xticks(minor=True))


@pytest.mark.parametrize(
    ("ends", "labels"),
    [((0, 5286), {"1,000", "5,000"}), ((-603000, -600000), {"\u2212603,000"}), ((0, 0.0012), {"0.0002", "0.0010"})],
)
def test_thousands_have_commas(ends: tuple[float, float], labels: set[str]) -> None:
    with style():
        figure = Figure()
        figure.subplots().set_xlim(*ends)
        drawn = inline(figure, "a", "a")
    assert labels <= set(re.findall(r">([^<>]+)</text>", drawn))


# -- another model -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_model_with_scalars_only(toy: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("genarium.tree", "genarium.reporting"):
        monkeypatch.setattr(sys.modules[module], "digest", lambda name: "0" * 12)  # the toy has no folder in models/
    tree = gn.fit(toy, gn.simulate(toy, seed=5, theta=1.5), "conjugate", seed=1, draws=100)
    page = Page(render(toy, tree, 0)).root
    (row,) = rows(page, "Estimates of theta")
    assert list(row) == ["mean", "sd", "5%", "95%", "ESS", "R-hat", "truth", "inside"]
    assert row["truth"] == "1.500"
    assert float(row["mean"]) == pytest.approx(float(tree["posterior"]["theta"].mean()), abs=5e-4)
    assert [node.text for node in section(page, "found").every("h3")] == ["Estimates with their intervals"]
    assert [node.text for node in section(page, "course").every("h3")] == ["Chains", "Predictive checks"]
    assert "carry no meaning" not in section(page, "estimates").text
    assert "y (30 items), by the method conjugate." in page.find("header").text
    assert centres(toy, tree)["theta"].shape == ()


def test_zeros_of_a_sparse_point_have_no_rows() -> None:
    """A variable as a point of twelve, three of which are not zero."""
    centre = np.zeros(12)
    centre[[2, 5, 7]] = [1.5, -2.5, 3.5]
    labels = (np.array([f"e{i}" for i in range(12)]),)
    model = gn.get("notmad")
    name = "edge_weight"
    page = estimate_tables(model, [Estimate(name, ("item",), labels, centre)], False)
    assert "9 of 12 estimates are zero and have no row." in page
    assert page.count("<tr>") == 4
    assert all(text in page for text in ("e2", "e5", "e7", "1.5"))
    assert "e3" not in page
    full = estimate_tables(model, [Estimate(name, ("item",), labels, centre, truth=centre)], False)
    assert full.count("<tr>") == 13
