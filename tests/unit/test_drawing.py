"""How figures are drawn and put into a page: style, colours, ticks, ids."""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from genarium.declaration import Array
from genarium.drawing import FAINT, KEPT, STYLE, inline, kept, log_ticks, shades, style
from genarium.reporting import figures
from report_pages import Page


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


def test_few_log_ticks() -> None:
    axes = Figure().subplots()
    axes.set_xscale("log")
    log_ticks(axes.xaxis, 1, 900, most=3)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "10", "100"]


def test_thousands_are_written_as_in_tables() -> None:
    with style():
        drawn = Figure()
        drawn.subplots().plot([0.001, 0.0025], [-14000, -12000])
        text = inline(drawn, "f", "A figure")
    assert ">\u221214,000</text>" in text
    assert ">0.0010</text>" in text


def test_grid_and_background_are_seen_in_the_light_and_in_the_dark() -> None:
    css = (Path(figures.__file__).parent / "style.css").read_text()
    pages = re.findall(r"--page: (#\w{6})", css)
    assert len(pages) == 2

    def luminance(red: float, green: float, blue: float) -> float:
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
        return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))

    for page, dark in zip(pages, (False, True), strict=True):
        for color, least in ((str(STYLE["grid.color"]), 1.12), (FAINT, 2.2)):
            drawn: Array = np.array([*to_rgb(color)])
            if dark:  # invert(1) hue-rotate(180deg)
                drawn = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]]) @ (1 - drawn)
            low, high = sorted((luminance(*to_rgb(page)), luminance(*drawn)))
            assert (high + 0.05) / (low + 0.05) >= least, (color, dark)
