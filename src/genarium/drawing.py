"""Figures as inlined SVG: one style for every figure, and text that is the same on every run."""

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Titled = tuple[str, str, "Figure"]
"""Title, caption and figure: what a page is made of."""

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
"""Exponents as letters."""

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b4c9a", "#7f7f7f")
"""Colours that the colour-blind can tell apart (Okabe and Ito 2008, the yellow replaced: it fades on white)."""

INK, FAINT, MARK = "#222222", "#a3abb5", "#d55e00"
"""Text and axes; what is in the background; what is to be looked at."""

WIDTH = 7.6
"""Width of a full figure, in inches."""

SIZE, SMALL = 9.5, 8
"""Points of all letters of a figure, and of numbers that have to fit into a cell: pages never scale a figure."""

KEPT = "as-is"
"""``gid`` of an artist whose colours a convention gives: in the dark they stay as they are in the light."""

POWERS = 8
"""Powers of ten that are labelled on an axis, at most."""

DPI = 160
"""Resolution of the parts of a figure that are drawn as pixels."""

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#8a9099",
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": SIZE,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": SIZE,
    "figure.facecolor": "none",
    "figure.labelsize": SIZE,
    "figure.titlesize": SIZE,
    "axes.facecolor": "none",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": SIZE,
    "grid.color": "#d9dce1",
    "grid.linewidth": 0.6,
    "legend.fontsize": SIZE,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": "#555b63",
    "ytick.color": "#555b63",
    "xtick.labelsize": SIZE,
    "ytick.labelsize": SIZE,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the report's style, whatever the user's own settings; they are restored afterwards."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def on(color: Any) -> str:
    """Return black or white: the one that is easier to read on a colour."""
    return "#000000" if _luminance(color) > 0.179 else "#ffffff"


def _luminance(color: Any) -> float:
    """Return the luminance of a colour, by which WCAG 2 defines contrast."""
    from matplotlib.colors import to_rgb

    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color))
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


def kept(color: Any) -> str | None:
    """Return the ``gid`` of what has a colour by convention; None where it is too dark to be seen on a dark page."""
    return KEPT if _luminance(color) > 0.06 else None


def shades() -> Any:
    """Return a colour map for dots: none of its colours fades on white, nor on black when it is turned."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](range(180)))


def log_ticks(axis: Any, low: float, high: float, most: int = 12) -> None:
    """Label a logarithmic axis (of a plot or a colour bar) by plain numbers, few whatever its span."""
    span = high / low
    leading = (1, 2, 5) if span < 20 else (1, 3) if span < 1000 else (1,)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = 1 + (last - first) // POWERS  # from one labelled power of ten to the next
    powers = range(first - first % step, last + 1, step)
    ticks = [t for k in powers for m in leading if low * 0.999 <= (t := float(f"{m}e{k}")) <= high * 1.001]
    ticks = ticks[:: -(-len(ticks) // most) or 1]
    axis.set_ticks(ticks, labels=[_plain(t) for t in ticks])
    axis.set_ticks([], minor=True)


def _plain(value: float) -> str:
    """Write a tick in full where it is short, else as a power of ten."""
    exponent = math.floor(math.log10(value) + 1e-9)
    if -5 < exponent < 7:
        return f"{value:,.12g}"
    leading = round(value / 10.0**exponent)
    return f"{f'{leading}·' if leading > 1 else ''}10{str(exponent).translate(RAISED)}"


def _plain_numbers(figure: "Figure") -> None:
    """Write powers of ten on logarithmic axes with raised figures, not small ones, and thousands as tables do."""
    from matplotlib.ticker import Formatter, LogFormatterMathtext, ScalarFormatter

    class Rewritten(Formatter):
        def __init__(self, inner: Formatter) -> None:
            self.inner = inner

        def set_locs(self, locs: Any) -> None:
            self.inner.set_locs(locs)

        def get_offset(self) -> str:
            return self.inner.get_offset()

        def __call__(self, x: float, pos: int | None = None) -> str:
            return with_commas(plain_power(self.inner(x, pos)))

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(found := axis.get_major_formatter(), LogFormatterMathtext | ScalarFormatter):
                axis.set_major_formatter(Rewritten(found))
            if isinstance(found := axis.get_minor_formatter(), LogFormatterMathtext):
                axis.set_minor_formatter(Rewritten(found))


def with_commas(label: str) -> str:
    """Turn a label such as "−14000.5" into "−14,000.5"; others stay."""
    return re.sub(r"(?<![\d.])\d{4,}", lambda found: f"{int(found[0]):,}", label)


def plain_power(label: str) -> str:
    """Turn a label of mathtext such as ``2 times 10^{-3}`` into "2·10⁻³"; others stay."""
    found = re.fullmatch(r"\$\\mathdefault\{(-?)(?:(\S+?)\\times)?10\^\{(-?\d+)\}\}\$", label)
    if found is None:
        return re.sub(r"\$\\mathdefault\{([^{}]*)\}\$", r"\1", label)
    sign, factor, power = found.groups()
    return f"{sign.replace('-', '−')}{factor + '·' if factor else ''}10{power.translate(RAISED)}"


def inline(figure: "Figure", key: str, label: str) -> str:
    """Return a figure as an ``<svg>`` element for an HTML page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    key : str
        Unique on the page; every id of the figure begins with it.
    label : str
        What the figure shows, for those who cannot see it.

    Returns
    -------
    str
        Without date, metadata, name spaces, and ids that nothing points at; the same for the same figure.
    """
    import matplotlib

    _plain_numbers(figure)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": key}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, dpi=DPI)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>", "", text)  # the page's own style says the same
    text = re.sub(r' xmlns(:xlink)?="[^"]*"| version="1.1"', "", text).replace("xlink:href=", "href=")
    text = text.replace(f' id="{KEPT}"', f' class="{KEPT}"')
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="{key}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'(href="|url\()#', rf"\1#{key}-", text)
    return f'<svg role="img" aria-label="{escape(label)}"' + text.removeprefix("<svg")
