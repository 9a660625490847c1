"""The tables of a report."""

import json
from html import escape
from itertools import islice
from typing import Any

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.declaration import ROLES, Array, Model
from genarium.estimates import LEVEL, Estimate
from genarium.readers.ledger import Ledger
from genarium.reporting.page import code, folded, number, paragraph, short, table
from genarium.verbs.diagnose import RHAT
from genarium.verdicts import Diagnosis

ROWS = 24
"""Rows of a table of estimates; a longer one is folded, and says what is left out."""

FEW = 5
"""True values that say something of coverage, at least."""

UNBROKEN = 12
"""Letters of a limit that stand in one line."""

SIGNS = {"pass": "✓", "warn": "!", "fail": "✗"}


def sign(kind: str) -> str:
    """Return the sign of a status, which those who hear the page need not."""
    return f'<span class="sign" aria-hidden="true">{SIGNS[kind]}</span>'


def verdicts(found: Diagnosis) -> str:
    """Return the table of checks."""
    rows = [
        (
            f'<span class="status">{SIGNS[v.status]} {v.status}</span>',
            escape(v.check) + (f'<span class="advice">{escape(v.advice)}</span>' if v.advice else ""),
            v.shown if np.isfinite(v.value) else "–",
            escape(_limit(v.limit)),
            escape(v.where),
        )
        for v in found.verdicts
    ]
    head = ("Status", "Check", "Found", "Limit", "Where")
    return table(head, rows, numeric=[2], prose=1, kinds=[v.status for v in found.verdicts], label="Checks")


def _limit(text: str) -> str:
    """Write a limit with the signs of print; a short one is not broken into lines."""
    text = text.replace(">=", "≥").replace("<=", "≤")
    return text.replace(" ", "\u00a0") if len(text) <= UNBROKEN else text


def estimate_tables(model: Model, found: list[Estimate], exact: bool) -> str:
    """Return a table for each variable, under its name and meaning."""
    return "\n".join(_estimate(model, one, exact) for one in found)


def _estimate(model: Model, one: Estimate, exact: bool) -> str:
    var = model.variables()[one.name]
    head = [escape(dim) for dim in one.dims]
    first = len(head)
    percent = (f"{(1 - LEVEL) / 2:.0%}", f"{(1 + LEVEL) / 2:.0%}")
    low, high = one.interval if one.draws is not None else (None, None)
    head += ["mean", "sd", *percent] if one.draws is not None else ["estimate"]
    head += ["ESS", "R-hat"] if exact and one.draws is not None else []
    if one.truth is not None:
        head += ["truth", "inside" if one.draws is not None else "estimate − truth"]
    inside = one.inside
    sd = one.sd if one.draws is not None else None
    rows = []
    places = _places(one)
    for index in islice(places, ROWS):
        row = [escape(str(labels[i])) for labels, i in zip(one.labels, index, strict=True)]
        row.append(number(one.centre[index]))
        if sd is not None and low is not None and high is not None:
            row += [number(sd[index], 3), number(low[index]), number(high[index])]
            if exact:
                ess, rhat = one.chain_statistics(index)
                row.append(f"{ess:.0f}" if np.isfinite(ess) else "–")
                row.append(
                    f'<span class="out">{rhat:.3f}</span>' if rhat >= RHAT else f"{rhat:.3f}".replace("nan", "–")
                )
        if one.truth is not None:
            row.append(number(one.truth[index]))
            row.append(_beside_truth(one, inside, index))
        rows.append(row)
    body = table(head, rows, numeric=range(first, len(head)), label=f"Estimates of {one.name}")
    zero = one.centre.size - len(places)
    if zero:
        body = paragraph(f"{zero:,} of {one.centre.size:,} estimates are zero and have no row.", kind="soft") + body
    left = len(places) - len(rows)
    if left:
        note = f"The first {len(rows):,} of {len(places):,} rows; {left:,} are left out."
        body = paragraph(f"{note} {code('genarium summary FIT')} has them all.", kind="soft") + body
    symbol = escape(var.symbol) + " " if var.symbol != one.name else ""
    title = f"<h3>{symbol}{code(one.name)}</h3>" + paragraph(escape(var.about), kind="soft")
    shown = folded(f"{one.centre.size:,} numbers", body) if one.centre.size > 1 else body
    return title + shown + _coverage(one)


def _places(one: Estimate) -> list[tuple[int, ...]]:
    """Return the places of the estimates with a row: all, or those that are not zero of a point that mostly is."""
    sparse = one.draws is None and one.truth is None and 2 * np.count_nonzero(one.centre) < one.centre.size
    return [tuple(at) for at in np.argwhere(one.centre != 0 if sparse else np.ones(one.centre.shape, dtype=bool))]


def _beside_truth(one: Estimate, inside: Array | None, index: tuple[int, ...]) -> str:
    assert one.truth is not None
    if np.isnan(one.truth[index]):
        return "–"
    if inside is None:
        return number(one.centre[index] - one.truth[index])
    return '<span class="in">yes</span>' if inside[index] else '<span class="out">no</span>'


def _coverage(one: Estimate) -> str:
    """Say how many true values lie in their intervals, over all rows."""
    inside = one.inside
    if inside is None or one.truth is None:
        return ""
    known = int(np.isfinite(one.truth).sum())
    if known < FEW:
        return ""
    return paragraph(
        f"{int(inside.sum()):,} of {known:,} true values lie in their {LEVEL:.0%} intervals; with correct intervals "
        f"about {LEVEL * known:.3g} are expected.",
        kind="soft",
    )


def variables(model: Model, tree: xr.DataTree) -> str:
    """Return the table of the model's variables, with the values of the known ones and the ranges of the data."""
    values = {
        str(name): array.to_numpy()
        for group in ("constant_data", "observed_data")
        if group in tree
        for name, array in tree[group].to_dataset().data_vars.items()
    }
    fixed = attribute(tree, "fixed")
    rows = [
        (
            role,
            escape(var.symbol),
            code(name),
            escape(", ".join(var.dims)) or "scalar",
            escape(str(var.support)),
            "held fixed" if name in fixed else _range(values[name]) if name in values else "",
            escape(var.about),
        )
        for role in ROLES
        for name, var in model.stage(role).variables.items()
    ]
    head = ("Role", "Symbol", "Name", "Dims", "Support", "Here", "What it is")
    return table(head, rows, prose=6, label="Variables of the model")


def _range(values: Array) -> str:
    gone = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    if gone == values.size:
        return "missing"
    low, high = np.nanmin(values).item(), np.nanmax(values).item()
    return (short(low) if low == high else f"{short(low)} to {short(high)}") + (f", {gone:,} missing" if gone else "")


def provenance(tree: xr.DataTree) -> str:
    """Return the table of the tree's attributes: what made the fit."""
    rows = [
        (escape(key.replace("_", " ")), _ledger(tree) if key == "ledger" else _attribute(tree.attrs[key]))
        for key in sorted(map(str, tree.attrs), key=_place)
    ]
    return table(("Attribute", "Value"), rows, label="Provenance")


FIRST = (
    "model", "model_options", "method", "engine", "claim", "seed", "options", "fixed", "notes", "sizes", "chosen_size",
    "chosen_by",
    "simulation_seed", "files", "format", "reader_options", "created_at", "seconds", "cpu_seconds", "model_origin",
    "model_digest",
)  # fmt: skip


def _place(key: str) -> tuple[int, str]:
    return (FIRST.index(key) if key in FIRST else len(FIRST) + (key == "versions"), key)


def _ledger(tree: xr.DataTree) -> str:
    """Return what became of every row and column, in words."""
    return "<br>".join(map(escape, Ledger.from_dict(attribute(tree, "ledger")).told()))


def _attribute(value: Any) -> str:
    """Write an attribute; those that hold JSON are spread out."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return escape(value)
    if isinstance(value, dict):
        return ", ".join(f"{escape(str(k))} {_attribute(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_attribute(v) for v in value) or "none"
    if isinstance(value, float | np.floating):
        text = f"{float(value):.6g}"
        return f'<span class="whole">{text}</span>' if "e-" in text else text  # not broken after its hyphen
    return "–" if value is None else escape(str(value)) or "none"
