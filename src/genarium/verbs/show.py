"""Show: a model's declaration as a table and a graph, for people and for machines."""

import inspect
import json
import re
import textwrap
from collections.abc import Callable
from typing import Any

from genarium.declaration import ROLES, Model
from genarium.docstrings import parameters_of, summary_of
from genarium.home import Home
from genarium.methods import methods
from genarium.readers.formats import taken_by
from genarium.registry import program, reference
from genarium.remedies import in_shell
from genarium.remedies import option as option_
from genarium.signatures import choices, keyword_options, parents_of


def describe(model: Model) -> dict[str, Any]:
    """Return a declaration as plain types.

    Parameters
    ----------
    model : Model

    Returns
    -------
    dict
        name, title, source, sizes, options, variables (by role), edges, methods, start, readers,
        exports, commands, report (options of the model's figures).
    """
    return {
        "name": model.name,
        "title": model.title,
        "source": model.source,
        "sizes": dict(model.sizes),
        "options": {name: list(values) for name, values in model.options.items()},
        "variables": [
            {
                "role": role,
                "name": name,
                "symbol": var.symbol,
                "dims": list(var.dims),
                "support": var.support.name,
                "default": f"from {', '.join(parents_of(var.default))}" if callable(var.default) else var.default,
                "about": var.about,
            }
            for role in ROLES
            for name, var in model.stage(role).variables.items()
        ],
        "edges": [list(edge) for edge in model.edges()],
        "methods": {
            name: {
                "claim": method.claim,
                "engine": method.engine,
                "about": method.about,
                "options": method.options,
                "holds": list(method.holds),
            }
            for name, method in methods(model).items()
        },
        "start": (inspect.getdoc(model.start) or "").partition("\n")[0] if model.start else "",
        "readers": {name: _reader(model, name) for name in model.readers},
        "exports": {
            name: {"about": summary_of(writer), "options": _options(writer)} for name, writer in model.exports.items()
        },
        "commands": {name: summary_of(run) for name, run in model.commands.items()},
        "report": _options(own) if (own := Home.of(model).figures) else {},
    }


def _options(function: Callable[..., Any]) -> dict[str, Any]:
    """Return a function's options, their defaults and meanings, as plain types."""
    about = parameters_of(function)
    return {name: {"default": one, "about": about.get(name, "")} for name, one in keyword_options(function).items()}


def _reader(model: Model, name: str) -> dict[str, Any]:
    """Return what a reader takes and understands, as plain types."""
    reader = model.readers[name]
    takes, about, allowed = taken_by(reader), dict(parameters_of(reader)), choices(reader)
    for option, text in about.items():  # what another reader of the model says of the same option
        if (other := re.fullmatch(r"As in (\w+)\.", text)) and other[1] in model.readers:
            about[option] = parameters_of(model.readers[other[1]]).get(option, text)
    return {
        "about": summary_of(reader),
        "takes": {"ends": list(takes.ends), "number": takes.number, "folder": takes.folder},
        "options": {
            option: {"default": default, "choices": list(allowed.get(option, ())), "about": about.get(option, "")}
            for option, default in keyword_options(reader).items()
        },
        "example": f"genarium read {reference(model) or model.name} {takes.example} --format {name} -o data.nc",
    }


def as_text(model: Model) -> str:
    """Return a declaration as text: the variable table, the graph, the methods and the settings.

    Parameters
    ----------
    model : Model

    Returns
    -------
    str
    """
    told = describe(model)
    lines = [f"{told['name']}: {told['title']}", f"Source: {told['source']}" if told["source"] else "", ""]
    rows: list[tuple[str, ...]] = [("role", "variable", "symbol", "dims", "support", "default", "about")]
    for var in told["variables"]:
        told_default = var["default"]
        default = f"{told_default:g}" if isinstance(told_default, int | float) else told_default or ""
        rows.append(
            (var["role"], var["name"], var["symbol"], ", ".join(var["dims"]), var["support"], default, var["about"])
        )
    lines += [*_table(rows), "", "Graph (parents -> variable)"]
    for name in model.variables():
        parents = [parent for parent, child in model.edges() if child == name]
        if parents:
            lines.append(f"  {', '.join(parents)} -> {name}")
    lines += ["", "Methods"]
    lines += [f"  {line}" for line in _table([(n, m["claim"], m["about"]) for n, m in told["methods"].items()])]
    for name, method in told["methods"].items():
        lines.append(f"  options of {name}: " + ", ".join(f"{k}={v}" for k, v in method["options"].items()))
    if told["start"]:
        lines.append(f"Starts of the engines: {told['start']}")
    lines += ["", "Sizes (defaults of simulate): " + ", ".join(f"{d}={n}" for d, n in told["sizes"].items())]
    for name, values in told["options"].items():
        lines.append(f"Option {name}: {', '.join(values)} (default {values[0]})")
    if model.prepare is not None:
        lines.append(f"Settings in short: {(inspect.getdoc(model.prepare) or '').partition(chr(10))[0]}")
    lines += [
        "",
        "Formats for read" if told["readers"] else "Formats for read: none; give the data as arrays in Python",
    ]
    before: dict[str, dict[str, Any]] = {}
    for name, reader in told["readers"].items():
        alike = next((other for other, one in before.items() if one and one == reader["options"]), "")
        lines += _format(name, reader, str(taken_by(model.readers[name])), alike)
        before[name] = reader["options"]
    if told["exports"]:
        lines.append("Answers as files: genarium export FIT --as KIND -o FILE")
    for name, one in told["exports"].items():
        lines.append(f"  {name}: {one['about']}")
        for option, of in one["options"].items():
            lines += _option(option, of["default"], of["about"])
    if told["commands"]:
        lines.append("Commands of its own (--help tells more)")
    lines += [f"  genarium {name}: {about}" for name, about in told["commands"].items()]
    if told["report"]:
        lines.append("Options of the report: genarium report FIT -o FILE.html")
    for name, one in told["report"].items():
        lines += _option(name, one["default"], one["about"])
    lines += ["", "For other tools, in Python (sizes, options and values as in gn.fit)", *_exports(model)]
    return "\n".join(line for line in lines if line is not None)


def _format(name: str, reader: dict[str, Any], takes: str, alike: str = "") -> list[str]:
    """Return the lines on a reader: what it takes, its options (or who has the same), and an example."""
    lines = [f"  {name}: {reader['about']}{f' ({takes})' if takes else ''}"]
    if alike:
        lines.append(f"    options: those of {alike}")
    for option, told in () if alike else reader["options"].items():
        of = f" ({', '.join(map(str, told['choices']))})" if told["choices"] else ""
        lines += _option(option, told["default"], told["about"], of)
    return [*lines, f"    example: {reader['example']}", ""]


def _option(name: str, default: Any, about: str, choices: str = "") -> list[str]:
    """Return the lines on an option: how it is written, its choices, and what it means."""
    line = f"{in_shell(option_(name, default))}{choices}  {about}"
    return textwrap.wrap(line, 116, initial_indent=" " * 4, subsequent_indent=" " * 8)


def _exports(model: Model) -> list[str]:
    """Return the calls that give what the model is made of."""
    options = "".join(f", {name}={value!r}" for name, value in model.chosen.items())
    named = json.dumps(reference(model)) if reference(model) else "model"
    calls: list[tuple[str, ...]] = []
    if model.density is not None:
        calls.append(("PyMC model", f"gn.pymc_model({named}, data{options})"))
    if program(model) is not None:
        calls.append(("Stan program", f"gn.stan_program({named}{options})"))
        calls.append(("its data", f"gn.stan_data({named}, data{options})"))
    return [f"  {line}" for line in _table(calls)] if calls else ["  none: it has neither a PyMC density nor a program"]


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
