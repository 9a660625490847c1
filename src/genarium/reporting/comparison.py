"""A page that sets fits side by side: what each was, what it predicts, and the estimates of each number."""

import warnings
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.declaration import Model
from genarium.drawing import PALETTE, WIDTH, Titled, inline, log_ticks, style
from genarium.errors import InputError
from genarium.estimates import LEVEL, Estimate, estimates, match, relabelled
from genarium.evaluate import fitted_problem
from genarium.found import found as answer
from genarium.found import listed
from genarium.registry import fitted_model
from genarium.reporting.figures import WIDE
from genarium.reporting.page import code, document, figure, folded, number, paragraph, table
from genarium.verbs.diagnose import diagnose
from genarium.words import plural
from genarium.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODERATE = 40
"""Elements of a variable, over all fits, that an interval plot has room for."""

LISTED = 200
"""Rows of a table of estimates at most; the others are counted."""


def compare(trees: Mapping[str, xr.DataTree], path: str | Path, *, model: str | Path | Model = "") -> Path:
    """Write a page that sets fits side by side: one HTML file that refers to no other.

    Parameters
    ----------
    trees : mapping of str to DataTree
        Two fits or more, by the names that the page calls them; of one model or of several.
    path : str or Path
        The page to write.
    model : str, Path or Model
        What the trees were fitted by, where that is neither built in nor installed.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If there are fewer than two, or the page cannot be written there.

    Examples
    --------
    >>> import genarium as gn
    >>> data = gn.simulate("nb_mixture", seed=1, cell=100, component=2)
    >>> fits = {method: gn.fit("nb_mixture", data, method) for method in ("em", "gibbs")}
    >>> gn.compare(fits, "both.html").name  # doctest: +SKIP
    'both.html'
    """
    if len(trees) < 2:
        raise InputError(f"a comparison needs two fits or more, and there are {len(trees)}. Use `report` for one fit.")
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder. Name the page to write, e.g. {path / 'comparison.html'}.")
    models = {name: fitted_model(tree, model) for name, tree in trees.items()}
    found = {name: {one.name: one for one in estimates(models[name], tree)} for name, tree in trees.items()}
    found = _with_the_labels_of_the_first(models, found)
    title = f"{len(trees)} fits side by side"
    made = f"genarium {version('genarium')}"
    sections = [
        ("found", "What each found", _answers(models, trees)),
        ("fits", "The fits", _fits(models, trees)),
        ("prediction", "Prediction of single observations", _prediction(models, trees)),
        ("estimates", "Estimates", _estimates(models, found)),
    ]
    foot = paragraph(f"Written by {made}. This page needs no network and no other file.")
    with replacing(path) as temporary:
        page = document(
            title, f"<h1>{escape(title)}</h1>\n{_summary(found)}", [one for one in sections if one[2]], foot, made
        )
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def _with_the_labels_of_the_first(
    models: Mapping[str, Model], found: dict[str, dict[str, Estimate]]
) -> dict[str, dict[str, Estimate]]:
    """Match labels that carry no meaning (components of a mixture) to those of the first fit, of the same model."""
    first, *others = found
    out = {first: found[first]}
    for name in others:
        out[name], model = found[name], models[name]
        if model.name == models[first].name:
            here, there = ({n: one.centre for n, one in found[which].items()} for which in (first, name))
            order = match(model, here, there)
            if order is not None and sorted(order) == list(range(len(order))):
                out[name] = {n: relabelled(model, one, order) for n, one in found[name].items()}
    return out


def _summary(found: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Say where the fits differ most, in units of the larger sd."""
    furthest, place = 0.0, ""
    names = list(found)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            for variable in found[first].keys() & found[second].keys():
                a, b = found[first][variable], found[second][variable]
                if a.draws is None or b.draws is None or a.centre.shape != b.centre.shape:
                    continue
                sd = np.maximum(a.sd, b.sd)
                apart = np.abs(a.centre - b.centre) / np.where(sd > 0, sd, np.inf)
                if apart.size and apart.max() > furthest:
                    index = tuple(int(j) for j in np.unravel_index(int(apart.argmax()), apart.shape))
                    furthest = float(apart.max())
                    place = f"{variable}{f'[{a.label(index)}]' if index else ''} of {first} and {second}"
    if not place:
        return paragraph(
            "No two of these fits hold draws of the same quantities; their estimates are side by side below."
        )
    return paragraph(
        f"The largest difference of means, {number(furthest, 2)} times the larger posterior sd, is that of",
        f"{escape(place)}.",
    )


def _answers(models: Mapping[str, Model], trees: Mapping[str, xr.DataTree]) -> str:
    """Set what each fit answers side by side."""
    rows = [(escape(name), escape(" ".join(answer(models[name], tree).notes[:2]))) for name, tree in trees.items()]
    if not any(said for _, said in rows):
        return ""
    return table(("fit", "what it found"), rows, prose=1, label="What each found")


def _fits(models: Mapping[str, Model], trees: Mapping[str, xr.DataTree]) -> str:
    rows = []
    for name, tree in trees.items():
        checks = diagnose(models[name], tree)
        worst = next((s for s in ("fail", "warn") if any(v.status == s for v in checks.verdicts)), "pass")
        off = "; ".join(v.check for v in checks.verdicts if v.status == worst) if worst != "pass" else ""
        options = ", ".join(f"{o} = {v}" for o, v in models[name].chosen.items() if v != models[name].options[o][0])
        many = attribute(tree, "sizes").items()
        sizes = ", ".join(f"{n:,} {dim if n == 1 else plural(dim)}".replace("_", " ") for dim, n in many)
        told = {"fail": "failed", "warn": "warned", "pass": "passed"}[worst]
        rows.append(
            (
                escape(name),
                f"{code(models[name].name)} {escape(options)}",
                code(tree.attrs["method"]),
                escape(str(tree.attrs["claim"])),
                escape(sizes),
                number(float(tree.attrs["cpu_seconds"]), 2),
                escape(f"{told}: {off}" if off else told),
            )
        )
    head = ("fit", "model", "method", "claim", "sizes", "CPU\u00a0s", "checks")
    return table(head, rows, numeric=(5,), prose=6, label="The fits")


def _prediction(models: Mapping[str, Model], trees: Mapping[str, xr.DataTree]) -> str:
    """Compare by leave-one-out cross-validation, where all fits are of the same data and hold pointwise likelihoods."""
    without = [name for name, tree in trees.items() if "log_likelihood" not in tree]
    classes = [name for name, tree in trees.items() if name not in without and _of_many(models[name], tree)]
    trees = {name: tree for name, tree in trees.items() if name not in {*without, *classes}}
    others = (
        [f"Left out, as they have no pointwise likelihoods at draws: {escape(listed(without))}."] if without else []
    )
    if classes:  # of whole classes of reads or cells of mutations, all at once, which is no prediction of one of them
        others.append(
            f"Left out, as each element of the likelihood stands for many observations: {escape(listed(classes))}."
        )
    left = paragraph(*others) if others else ""
    if len(trees) < 2:
        none = "A comparison needs two fits of single observations that have pointwise likelihoods at draws."
        return paragraph(none, *others) if others else ""
    datas = [tree["observed_data"].to_dataset() for tree in trees.values()]
    if any(not datas[0].equals(other) for other in datas[1:]):
        return paragraph("The fits have different data, so that their predictions cannot be compared.")
    import arviz as az

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # high k is told in the table
        ranked = az.compare(dict(trees), round_to="none")
        high = {
            name: float(np.mean(np.asarray(az.loo(tree, pointwise=True).pareto_k) > 0.7))
            for name, tree in trees.items()
        }
    rows = [
        (
            escape(str(name)),
            *(number(float(row[c])) for c in ("elpd", "se")),
            *((number(float(row[c]), 3) if rank else "–") for c in ("elpd_diff", "dse")),  # the first is the best
            f"{row['weight']:.2f}",
            f"{high[str(name)]:.1%}",
        )
        for rank, (name, row) in enumerate(ranked.iterrows())
    ]
    head = ("fit", "elpd", "se", "difference", "its se", "weight", "k > 0.7")
    said = paragraph(
        "Expected log predictive density by Pareto-smoothed leave-one-out cross-validation, the best fit first;",
        "differences of less than about twice their standard error, or of less than 4, say little. Weights are those",
        "of stacking.",
        kind="soft",
    )
    return table(head, rows, numeric=range(1, 7), label="Leave-one-out cross-validation") + said + left


def _of_many(model: Model, tree: xr.DataTree) -> bool:
    """Whether elements of a fit's likelihood stand for many observations each."""
    return bool(model.multiplicity) and bool((fitted_problem(model, tree)[model.multiplicity] > 1).any())


def _estimates(models: Mapping[str, Model], found: Mapping[str, Mapping[str, Estimate]]) -> str:
    parts = []
    first = next(iter(found))
    names = dict.fromkeys(variable for told in found.values() for variable in told)
    for i, variable in enumerate(names):
        held = {name: told[variable] for name, told in found.items() if variable in told}
        shapes = {one.centre.shape for one in held.values()}
        if len(held) < 2 or len(shapes) > 1:
            sizes = ", ".join(
                f"{name}: {' × '.join(map(str, one.centre.shape)) or 'one number'}" for name, one in held.items()
            )
            parts.append(
                f"<h3>{escape(variable)}</h3>\n{paragraph(f'Not of the same shape in all fits ({escape(sizes)}).')}"
            )
            continue
        size = next(iter(held.values())).centre.size
        with style():
            title, caption, drawn = _intervals(variable, held) if size <= MODERATE else _scatter(variable, held)
            about = models[first].variables().get(variable)
            shown = figure(title, f"{about.about} {caption}" if about else caption, inline(drawn, f"e{i}", title))
        parts.append(shown + folded("The numbers", _numbers(held)))
    return "\n".join(parts)


def _intervals(variable: str, held: Mapping[str, Estimate]) -> Titled:
    """Draw the estimates of each fit beside each other, row by row."""
    from matplotlib.figure import Figure

    one = next(iter(held.values()))
    drawn = Figure(figsize=(WIDTH, one.centre.size * (0.12 + 0.13 * len(held)) + 1.0), layout="constrained")
    axes = drawn.subplots()
    ends = []
    for i, (name, each) in enumerate(held.items()):
        rows = np.arange(each.centre.size) + (i - (len(held) - 1) / 2) * 0.7 / len(held)
        colour = PALETTE[i % len(PALETTE)]
        if each.draws is not None:
            low, high = (end.ravel() for end in each.interval)
            axes.hlines(rows, low, high, color=colour, lw=1.6)
            ends += [low, high]
        axes.plot(each.centre.ravel(), rows, "o", color=colour, markersize=5, label=name)
        ends.append(each.centre.ravel())
    _scaled(axes, "x", np.concatenate(ends))
    labels = [one.label(index) for index in np.ndindex(*one.centre.shape)]
    axes.set_yticks(np.arange(one.centre.size) if one.dims else [], labels if one.dims else [])
    axes.set_ylim(one.centre.size - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    caption = f"Dot: mean, or the estimate; line: the middle {LEVEL:.0%} of the draws."
    return f"{variable}{f' by {", ".join(one.dims)}' if one.dims else ''}", caption, drawn


def _scatter(variable: str, held: Mapping[str, Estimate]) -> Titled:
    """Draw the estimates of each fit against those of the first."""
    from matplotlib.figure import Figure

    first, *others = held
    drawn = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = drawn.subplots()
    x = held[first].centre.ravel()
    for i, name in enumerate(others, 1):
        axes.plot(
            x, held[name].centre.ravel(), ".", color=PALETTE[i % len(PALETTE)], label=name, rasterized=len(x) > 2000
        )
    span = float(x.min()), float(x.max())
    axes.plot(span, span, color="#8a9099", lw=1)
    _scaled(axes, "xy", np.concatenate([held[name].centre.ravel() for name in held]))
    axes.set(xlabel=first, ylabel="the other fits" if len(others) > 1 else others[0])
    if len(others) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    return f"{variable} ({len(x):,} numbers)", "Each dot is one number; on the line the fits agree.", drawn


def _scaled(axes: "Axes", which: str, values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> None:
    """Put positive numbers that differ much on logarithmic axes."""
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() > WIDE * values.min():
        axes.set(**{f"{letter}scale": "log" for letter in which})
        for letter in which:
            log_ticks(getattr(axes, f"{letter}axis"), *getattr(axes, f"get_{letter}lim")())


def _numbers(held: Mapping[str, Estimate]) -> str:
    """Return the estimates as a table, a row a number."""
    one = next(iter(held.values()))
    indices: Sequence[tuple[int, ...]] = list(np.ndindex(*one.centre.shape))
    rows = []
    for index in indices[:LISTED]:
        cells = []
        for each in held.values():
            told = number(float(each.centre[index]))
            if each.draws is not None:
                told += f" [{number(float(each.interval[0][index]), 3)}, {number(float(each.interval[1][index]), 3)}]"
            cells.append(told)
        rows.append((escape(one.label(index)), *cells))
    more = paragraph(f"{len(indices) - LISTED:,} more are not listed.", kind="soft") if len(indices) > LISTED else ""
    head = (", ".join(one.dims) or "", *map(escape, held))
    return table(head, rows, numeric=range(1, len(held) + 1), label=f"Estimates of {one.name}") + more
