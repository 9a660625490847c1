"""The report: what stands on the page is what is in the tree, and the page needs nothing else."""

import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium import cli
from genarium.declaration import Model
from genarium.estimates import centres, estimates
from genarium.reporting import (
    estimate_section,
    render,
    report,
    reproduce,
    stale,
    summary,
    tables,
)
from genarium.reporting.page import short
from genarium.reporting.trust import banner, beside_truth
from genarium.verbs.diagnose import diagnose
from genarium.verdicts import Diagnosis, verdict
from report_pages import MU, SECTIONS, Fits, Node, Page, Pages, each_method, rows, section

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


def test_refusals(fits: Fits, three_groups: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(gn.InputError, match="no fit"):
        report(three_groups, tmp_path / "report.html")
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


def test_overall_verdict(three_groups: xr.DataTree) -> None:
    good = gn.fit("nb_mixture", three_groups, "em", seed=1, restarts=1)
    empty = good.copy()
    empty.attrs["notes"] = good.attrs["notes"].replace('"empty_components": 0', '"empty_components": 1')
    early = gn.fit("nb_mixture", three_groups, "em", seed=1, restarts=1, max_iterations=1)
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


def test_reproduce_with_a_variable_held_fixed(three_groups: xr.DataTree) -> None:
    tree, model = gn.fit("nb_mixture", three_groups, "em", seed=1, restarts=2, mu=MU), gn.get("nb_mixture")
    (python,) = (node.text for node in Page(reproduce(model, tree)).root.every("pre"))
    assert 'gn.fit("nb_mixture", tree, "em", seed=1, restarts=2, mu=tree["point"]["mu"])' in python
    assert "Held fixed: mu." in Page(estimate_section(model, tree, [])).root.text
    table = rows(Page(tables.variables(model, tree)).root, "Variables of the model")
    assert {row["Name"]: row["Here"] for row in table}["mu"] == "held fixed"


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
