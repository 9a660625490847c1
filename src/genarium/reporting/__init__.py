"""Report: a fit as one HTML page that needs nothing else."""

import json
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

from genarium.attributes import attribute
from genarium.completeness import whole
from genarium.declaration import Answer, Claim, Model
from genarium.drawing import Titled, inline, style
from genarium.errors import InputError
from genarium.estimates import Estimate, estimates
from genarium.found import found
from genarium.home import Home
from genarium.methods import find_method, methods
from genarium.readers.ledger import Ledger
from genarium.registry import fitted_model, origin, reference
from genarium.reporting import chains, figures, tables
from genarium.reporting.answers import as_html
from genarium.reporting.graph import story
from genarium.reporting.page import code, commands, document, figure, folded, paragraph
from genarium.reporting.trust import banner, calibration
from genarium.settings import require_options
from genarium.tree import digest, with_groups
from genarium.verbs.diagnose import diagnose
from genarium.verdicts import Diagnosis
from genarium.words import plural
from genarium.writing import replacing

CLAIMS: dict[Claim, str] = {
    "exact": "Its draws come from the posterior distribution itself: once the chains agree, means and intervals are "
    "those of the model, up to Monte Carlo error.",
    "approximate": "Its draws come from an approximation of the posterior distribution: means are usually close, "
    "intervals may be too narrow or too wide.",
    "point": "It finds one best value of every unknown and does not say how uncertain that value is; any intervals in "
    "figures ignore this uncertainty.",
}
"""What each claim means, in plain words."""

AFFORDABLE = 120.0
"""CPU seconds of a fit, at most, whose report offers calibration around its data: hundreds of fits."""

FILES = 3
"""Names of files that the summary of a fit holds, at most."""

FIRST = 2
"""Figures of what was found that stand above the checks."""

LIMITS = (
    "A pass means that this check found nothing wrong with this fit. Whether the method can be trusted on data of this "
    "kind depends on its calibration, which no single fit can show."
)
"""What the checks of one fit cannot say."""


def report(
    tree: xr.DataTree, path: str | Path, seed: int = 0, *, model: str | Path | Model = "", **options: Any
) -> Path:
    """Write the report of a fit: one HTML file, with its figures in it, that refers to no other file.

    Parameters
    ----------
    tree : DataTree
        From :func:`genarium.fit` or :func:`genarium.choose`.
    path : str or Path
        The page to write; it is replaced in one step once the new one is complete.
    seed : int
        For replicated data where the tree holds none (point estimates).
    model : str, Path or Model
        What the tree was fitted by, where that is neither built in nor installed.
    **options
        Of the model's figures (``genarium show MODEL`` lists them), such as a table to compare with.

    Returns
    -------
    Path
        The same tree, seed and options give the same file, byte by byte.

    Raises
    ------
    InputError
        If the tree holds no fit, the figures have no such option, or the page cannot be written there.

    Examples
    --------
    >>> import genarium as gn
    >>> tree = gn.fit("nb_mixture", {"x": [[0, 9], [1, 8], [7, 0], [9, 1]], "phi": 0.3}, "em", component=2)
    >>> gn.report(tree, "report.html").name  # doctest: +SKIP
    'report.html'
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder. Name the page to write, e.g. {path / 'report.html'}.")
    declared = fitted_model(tree, model)
    require_options(f"{declared.name}: the report", options, Home.of(declared).figures)
    with replacing(path) as temporary:
        page = render(declared, tree, seed, options)
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def render(model: Model, tree: xr.DataTree, seed: int, options: Mapping[str, Any] | None = None) -> str:
    """Return the whole page; what the user gave for the figures is looked at before the checks take their time."""
    verdicts = None if options else diagnose(model, tree, seed)
    held = estimates(model, tree)
    with style():
        own = [inline_figure(f"r{i}", one) for i, one in enumerate(figures_of_result(model, tree, held, options))]
    verdicts = verdicts or diagnose(model, tree, seed)
    answer = found(model, tree)
    with style():
        course = [inline_figure(f"c{i}", one) for i, one in enumerate(figures_of_course(model, tree, held, seed))]
        graph = inline(story(model), "g", f"Graph of the model {model.title}")
    sections = [
        ("found", answer.title, "\n".join([answer_tables(answer), *own[:FIRST]])),
        ("checks", "How far to trust it", trust_section(model, tree, verdicts)),
        ("figures", "More figures", "\n".join(own[FIRST:])),
        ("course", "How the fit went", "\n".join(course)),
        ("estimates", "Estimates", estimate_section(model, tree, held)),
        ("model", "The model", model_section(model, tree, graph)),
        ("provenance", "Provenance", stale(model, tree) + folded("What made this fit", tables.provenance(tree))),
        ("reproduce", "Reproduce", reproduce(model, tree)),
    ]
    title = f"{model.title} by {tree.attrs['method']}"
    made = f"genarium {version('genarium')}"
    lead = [paragraph(escape(note), kind="lead") for note in answer.notes]
    trust = [banner(model, verdicts, held, tree.attrs["claim"]), calibration(model, tree)]
    top = [f"<h1>{escape(title)}</h1>", *lead, *trust, summary(model, tree)]
    return document(
        title,
        "\n".join(top),
        [one for one in sections if one[2]],
        paragraph(f"Written by {made}. This page needs no network and no other file."),
        made,
    )


def answer_tables(answer: Answer) -> str:
    """Return the tables of what was found."""
    return "\n".join(f"<h3>{escape(title)}</h3>\n{as_html(title, rows)}" for title, rows in answer.tables.items())


def inline_figure(key: str, one: Titled) -> str:
    """Return a titled figure as HTML."""
    title, caption, drawn = one
    return figure(title, caption, inline(drawn, key, title))


def figures_of_result(
    model: Model, tree: xr.DataTree, held: list[Estimate], options: Mapping[str, Any] | None = None
) -> Iterator[Titled]:
    """Yield the figures of what was found; first those of the model's own module ``figures``, if it has one."""
    own = Home.of(model).figures
    if own is not None:
        here = with_groups(tree, {}, {"model_origin": origin(model)})  # the user may have said where the model is
        with whole(tree):
            yield from own(here, **(options or {}))
    yield from figures.choice(tree)
    yield from figures.intervals(model, held)


def figures_of_course(model: Model, tree: xr.DataTree, held: list[Estimate], seed: int) -> Iterator[Titled]:
    """Yield the figures of how the fit went, as far as the groups of the tree allow."""
    yield from figures.bound(tree)
    if tree.attrs["claim"] == "exact":
        yield from chains.chains(model, tree, held)
    yield from figures.predictive(model, tree, seed)


def summary(model: Model, tree: xr.DataTree) -> str:
    """Say what was fitted to what."""
    sizes = attribute(tree, "sizes")
    many = {dim: f"{n:,} {escape((dim if n == 1 else plural(dim)).replace('_', ' '))}" for dim, n in sizes.items()}
    observed = model.observed.variables.items()
    shape = {name: " × ".join(many[dim] for dim in var.dims) or "one number" for name, var in observed}
    data = ", ".join(f"{code(name)} ({text})" for name, text in shape.items())
    rest = ", ".join(text for dim, text in many.items() if all(dim not in var.dims for _, var in observed))
    chosen = {name: value for name, value in model.chosen.items() if value != model.options[name][0]}
    options = ", ".join(f"{escape(k)} = {escape(v)}" for k, v in chosen.items())
    said = (
        f"<strong>{escape(model.title)}</strong> ({code(model.name)}{': ' + options if options else ''}) was fitted to "
        f"{data}{', with ' + rest if rest else ''}, by the method {code(tree.attrs['method'])}."
    )
    simulated = "The data are simulated, so that the truth is known." if "truth" in tree else ""
    return paragraph(said, read_from(tree), simulated, kind="soft")


def read_from(tree: xr.DataTree) -> str:
    """Say what was read from which files, and what was left out; nothing of data that no reader read."""
    if "ledger" not in tree.attrs:
        return ""
    names = [Path(name).name for name in attribute(tree, "files")] if "files" in tree.attrs else []
    more = f" and {len(names) - FILES:,} more files" if len(names) > FILES else ""
    files = ", ".join(code(name) for name in names[:FILES]) + more
    read = Ledger.from_dict(attribute(tree, "ledger")).told()[0]
    return f"Read from {files}: {escape(read)}." if files else f"Read: {escape(read)}."


def trust_section(model: Model, tree: xr.DataTree, verdicts: Diagnosis) -> str:
    """Return the checks, and what the method claims."""
    method = tree.attrs["method"]
    about = table[method].about if method in (table := methods(model)) else ""
    claim: Claim = tree.attrs["claim"]
    claimed = f"<strong>Its claim: {claim}.</strong> {CLAIMS[claim]}"
    parts = [
        tables.verdicts(verdicts),
        paragraph(LIMITS, kind="soft"),
        f"<h3>The method {code(method)}</h3>",
        paragraph(escape(about), claimed),
    ]
    return "\n".join(parts)


def estimate_section(model: Model, tree: xr.DataTree, held: list[Estimate]) -> str:
    """Return the tables of estimates, with what a reader must know of them."""
    claim = tree.attrs["claim"]
    notes = []
    if model.exchangeable:
        notes.append(f"The labels of {code(model.exchangeable)} carry no meaning: any other numbering is the same fit.")
        if "truth" in tree:
            notes.append(
                "The true ones are renumbered, so that each stands beside its nearest estimate (matched one to one, by "
                "the smallest sum of squared distances)."
            )
    if claim == "approximate" and "posterior" in tree:
        notes.append("The draws are independent draws of the approximation; R-hat and ESS do not apply.")
    if fixed := attribute(tree, "fixed"):
        notes.append(f"Held fixed: {', '.join(code(n) for n in fixed)}.")
    return paragraph(*notes, kind="soft") + tables.estimate_tables(model, held, claim == "exact")


def model_section(model: Model, tree: xr.DataTree, graph: str) -> str:
    """Return the model's source, graph and variables."""
    source = paragraph(f"Source: {escape(model.source)}", kind="soft") if model.source else ""
    caption = (
        "Each variable is drawn given those from which an arrow leads to it. Known variables are grey, observed ones "
        "blue, and hidden ones (one for each observation) dashed."
    )
    listed = folded("Its variables", tables.variables(model, tree))
    return source + figure("Graph of the generative process", caption, graph) + listed


def stale(model: Model, tree: xr.DataTree) -> str:
    """Warn where the model's sources have changed since the fit."""
    if not (now := digest(model)):
        return paragraph("No file holds this model, so that changes since the fit cannot be detected.", kind="soft")
    if tree.attrs.get("model_digest") == now:
        return ""
    return paragraph(
        tables.sign("warn"),
        "The sources of the model have changed since this fit was made; this page describes the model as it is now.",
        kind="verdict warn",
    )


def reproduce(model: Model, tree: xr.DataTree) -> str:
    """Return the calls that repeat the fit, in Python and on the command line."""
    method, seed = tree.attrs["method"], int(tree.attrs["seed"])
    defaults = find_method(model, method).options
    stored = attribute(tree, "options")
    options = {name: value for name, value in stored.items() if defaults.get(name) != value or name not in defaults}
    held = tree["point"].data_vars if "point" in tree else {}
    names = attribute(tree, "fixed")
    fixed = {name: f'tree["point"]["{name}"]' if name in held else "..." for name in names}
    settings = "".join(f", {name}={value!r}" for name, value in options.items())
    settings += "".join(f", {name}={value}" for name, value in fixed.items())
    named = reference(model)
    given = "" if named == model.name else f", model={json.dumps(named) if named else 'model'}"
    python = (
        "import genarium as gn\n\n"
        'tree = gn.load("fit.nc")  # this fit, saved by gn.save: it holds its data\n'
        f'again = gn.fit({json.dumps(named) if named else "model"}, tree, "{method}", seed={seed}{settings})\n'
        f'gn.report(again, "report.html"{given})'
    )
    flags = "".join(f" --option {name}={json.dumps(value)}" for name, value in options.items())
    shell = (
        f"genarium fit {shlex.quote(named)} fit.nc --method {method} --seed {seed}{flags} -o again.nc\n"
        f"genarium report again.nc -o report.html{f' --model {shlex.quote(named)}' if named != model.name else ''}"
    )
    parts = [paragraph("In Python:"), f"<pre>{escape(python)}</pre>"]
    if named and not fixed:
        parts += [paragraph("On the command line:"), commands(shell)]
    same = "The same data, seed, settings and package versions (see Provenance) give the same numbers; times differ."
    parts.append(paragraph(same, kind="soft"))
    if named and not fixed and _can_go_around(model, tree):
        call = f"genarium validate {shlex.quote(named)} --method {method}"
        around = f"{call} --simulations 100 --data fit.nc --out calibration"
        said = (
            "To check calibration for data like these, with true values drawn from this posterior (each replicate is a "
            "fit to twice the data):"
        )
        parts += [paragraph(said), commands(around)]
    return "\n".join(parts)


def _can_go_around(model: Model, tree: xr.DataTree) -> bool:
    """Whether posterior SBC is defined for a fit, and may be had in hours."""
    by_unit = any(model.unit in var.dims for var in model.unknown.variables.values())
    exact = tree.attrs["claim"] == "exact" and bool(model.unit) and not by_unit
    return exact and float(tree.attrs["cpu_seconds"]) <= AFFORDABLE
