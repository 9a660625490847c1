"""Show: a model's declaration as a table and a graph, for people and for machines."""

import inspect
import json
from typing import TYPE_CHECKING, Any

from genarium.declaration import ROLES, Model
from genarium.methods import methods
from genarium.registry import program, reference
from genarium.signatures import parents_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def describe(model: Model) -> dict[str, Any]:
    """Return a declaration as plain types.

    Parameters
    ----------
    model : Model

    Returns
    -------
    dict
        name, title, source, sizes, options, variables (by role), edges, methods, start, readers.
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
        "readers": list(model.readers),
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
    lines.append("Formats for read: " + (", ".join(told["readers"]) or "none"))
    lines += ["", "For other tools, in Python (sizes, options and values as in gn.fit)", *_exports(model)]
    return "\n".join(line for line in lines if line is not None)


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


def table_of(data: "xr.Dataset") -> "pd.DataFrame":
    """Spread a dataset over a table: one row a label of the first dim, one column a variable and remaining label.

    Parameters
    ----------
    data : Dataset
        Variables of one or two dims that share their first one.

    Returns
    -------
    DataFrame
    """
    import pandas as pd

    columns: dict[str, Any] = {}
    for name, values in data.data_vars.items():
        if values.ndim == 1:
            columns[str(name)] = values.to_numpy()
        else:
            for i, at in enumerate(values[values.dims[1]].to_numpy()):
                columns[f"{name}[{at}]"] = values.to_numpy()[:, i]
    first = next(iter(data.data_vars.values())).dims[0]
    return pd.DataFrame(columns, index=pd.Index(data[first].to_numpy(), name=str(first)))
