"""How far to trust a fit, and what to do: the banner of a report, and what the method's calibration says."""

import shlex
from collections.abc import Sequence
from html import escape

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.certificates import Certificate, of_model, told_power
from genarium.declaration import Claim, Model
from genarium.estimates import LEVEL, Estimate
from genarium.methods import find_method
from genarium.registry import reference
from genarium.reporting import tables
from genarium.reporting.page import code, paragraph
from genarium.verdicts import Diagnosis
from genarium.words import plural

RARE = 1e-3
"""Probability by chance below which missed true values are a reservation."""

FAR = 0.5
"""Error of a point estimate, in units of the spread of the true values, from which the truth counts as missed."""

OFF = {
    "too narrow": "its intervals were too narrow",
    "too wide": "its intervals were too wide",
    "biased": "some of its posteriors were biased, although its intervals covered the true value about as often as "
    "they should on average",
}
"""What is off in an approximation that passes because it claims no more, in words."""

ADVISED = 3
"""Pieces of advice in the banner at most; the table of the checks has all."""


def banner(model: Model, verdicts: Diagnosis, found: Sequence[Estimate], claim: Claim) -> str:
    """Return the verdict on the whole fit, what to do next, and what a known truth says of it.

    Parameters
    ----------
    model : Model
    verdicts : Diagnosis
    found : sequence of Estimate
    claim : {"exact", "approximate", "point"}

    Returns
    -------
    str
        One element of HTML.
    """
    kind, text = overall(verdicts)
    parts = [text]
    if claim == "point":
        parts.append(
            "A point estimate does not say how uncertain it is; any intervals on this page ignore this uncertainty."
        )
    elif claim == "approximate":
        parts.append("Intervals are those of an approximation.")
    missed, said = beside_truth(model, found)
    if missed and kind == "pass":
        kind = "warn"
    worst_first = [v for status in ("fail", "warn") for v in verdicts.verdicts if v.status == status and v.advice]
    advice: dict[str, tuple[list[str], str]] = {}
    for v in worst_first:  # one line for each kind of advice, with the last of its kind and all its checks
        kind_of = v.advice.partition(":")[0]
        advice[kind_of] = ([*advice.get(kind_of, ([], ""))[0], v.check], v.advice)
    more = f"<li>{len(advice) - ADVISED} more: see the table of the checks.</li>" if len(advice) > ADVISED else ""
    lines = list(advice.values())[:ADVISED]
    steps = "".join(f"<li><em>{escape('; '.join(checks))}</em>: {escape(told)}</li>" for checks, told in lines) + more
    body = paragraph(tables.sign(kind), *parts)
    body += f"\n{paragraph('What to do:')}\n<ul>{steps}</ul>" if steps else ""
    body += "\n" + paragraph(said) if said else ""
    return f'<div class="verdict {kind}">\n{body}\n</div>'


def overall(verdicts: Diagnosis) -> tuple[str, str]:
    """Return the worst status, and what the checks say together, as HTML."""
    count = {status: sum(v.status == status for v in verdicts.verdicts) for status in ("pass", "warn", "fail")}
    total = len(verdicts.verdicts)
    worst = [v.check for v in verdicts.verdicts if v.status == ("fail" if count["fail"] else "warn")]
    named = f"{len(worst)} of {total} checks: {escape('; '.join(worst))}."
    if count["fail"]:
        return "fail", f"<strong>Do not rely on this fit.</strong> It failed {named}"
    if count["warn"]:
        return "warn", f"<strong>Passed with reservations</strong> in {named}"
    if total:
        return "pass", f"<strong>Passed</strong> all {total} checks of this fit."
    return "warn", "<strong>Unchecked</strong>: there are no checks for this kind of fit."


def beside_truth(model: Model, found: Sequence[Estimate]) -> tuple[bool, str]:
    """Say how the estimates of simulated data stand to the known truth, and whether they miss it.

    Returns
    -------
    missed : bool
        Intervals hold fewer true values than chance explains, or a point estimate is off by more than ``FAR``.
    said : str
        A sentence as HTML; empty where no truth is known.
    """
    from scipy.stats import binom

    known = [one for one in found if one.truth is not None and one.name in model.unknown.variables]
    drawn = [one for one in known if one.inside is not None]
    if drawn:
        inside = sum(int(one.inside.sum()) for one in drawn if one.inside is not None)
        total = sum(int(np.isfinite(one.truth).sum()) for one in drawn if one.truth is not None)
        if not total:
            return False, ""
        missed = bool(binom.cdf(inside, total, LEVEL) < RARE)
        text = (
            f"The truth is known: {inside:,} of {total:,} true values lie in their {LEVEL:.0%} intervals, where about "
        )
        text += f"{LEVEL * total:.3g} are expected."
        return missed, text + (" <strong>The intervals miss it.</strong>" if missed else "")
    off = {one.name: error for one in known if (error := _relative_error(one)) is not None}
    far = {name: error for name, error in off.items() if error > FAR}
    if far:
        told = ", ".join(f"{code(name)} ({error:.2g})" for name, error in far.items())
        return True, (
            "<strong>The known truth is missed</strong> by these estimates (root mean square error, in units of the "
            f"spread of the true values): {told}."
        )
    if off:
        return False, f"The truth is known: estimates differ from it by at most {max(off.values()):.2g} of its spread."
    return False, ""


def _relative_error(one: Estimate) -> float | None:
    """Root mean square error of a point estimate over the sd of the true values; None where these are too few."""
    assert one.truth is not None
    finite = np.isfinite(one.truth)
    if finite.sum() < tables.FEW or not (spread := float(one.truth[finite].std())) > 0:
        return None
    return float(np.sqrt(((one.centre - one.truth)[finite] ** 2).mean())) / spread


def calibration(model: Model, tree: xr.DataTree) -> str:
    """Say what the certificate of the method says: its status, the coverage, and the errors that it would have seen.

    Parameters
    ----------
    model : Model
        With the options of the fit.
    tree : DataTree
        The fit.

    Returns
    -------
    str
        A paragraph of HTML.
    """
    method, given = tree.attrs["method"], attribute(tree, "options")
    head = f"Calibration of {code(method)}"
    one = _certificate(model, method, given)
    if one is None:
        call = f" {code(_validating(model, method, given))} measures it." if reference(model) else ""
        return paragraph(
            f"<strong>{head}: no certificate.</strong> How well this method is calibrated for this model, with these "
            f"options, has not been recorded.{call}",
            kind="soft",
        )
    if one.stale:
        when = f" on {one.content['date']}" if "date" in one.content else ""
        return paragraph(
            f"<strong>{head}: the certificate is stale</strong> and certifies nothing until it is renewed "
            f"({escape(one.stale)}). What it said{when}:",
            _finding(one, model, given),
            kind="soft",
        )
    status = {"pass": "certified", "FAIL": "failed"}.get(one.finding, "known errors")
    return paragraph(f"<strong>{head}: {status}.</strong>", _finding(one, model, given), kind="soft")


def _validating(model: Model, method: str, given: dict[str, object]) -> str:
    """Return the command that validates a method with the options of a fit: the model's, and its own that are words."""
    defaults = find_method(model, method).options
    sets = [f"--set {name}={value}" for name, value in model.chosen.items() if value != model.options[name][0]]
    own = [
        f"--option {name}={given[name]}"
        for name, value in defaults.items()
        if isinstance(value, str) and given.get(name, value) != value
    ]
    return " ".join(["genarium validate", shlex.quote(reference(model)), f"--method {method}", *sets, *own])


def _certificate(model: Model, method: str, given: dict[str, object]) -> Certificate | None:
    """Return the certificate of a method with these options of the model, and its own options that are words."""
    defaults = find_method(model, method).options

    def words(options: dict[str, object]) -> dict[str, object]:
        return {name: options.get(name, value) for name, value in defaults.items() if isinstance(value, str) and value}

    made = (
        one
        for one in of_model(model.name).values()
        if one.content["method"] == method
        and model.has_options(one.content["model_options"])
        and words(one.content.get("options", {})) == words(given)
    )
    return next(made, None)


def _finding(one: Certificate, model: Model, given: dict[str, object]) -> str:
    """Say what a validation found, and on what; sentences of HTML."""
    told = one.content
    defaults = find_method(model, told["method"]).options
    sizes = ", ".join(f"{n:,} {dim if n == 1 else plural(dim)}".replace("_", " ") for dim, n in told["sizes"].items())
    on = f"{told['simulations']:,} datasets simulated from the model ({escape(sizes)})"
    parts = [f"On {on}, {_result(one)}"]
    if one.coverage:
        low, high = (f"{share:.0%}" for share in one.coverage)
        share = low if low == high else f"{low} to {high}"
        parts.append(f"The 90% intervals of its quantities covered the true value in {share} of these.")
        power = escape(told_power(told.get("power") or {}))
        parts.append(power or "Which errors it could have detected is not recorded.")
        parts.append("Smaller errors may have gone undetected." if power.startswith("Detected") else "")
    switches = {
        name: value
        for name, value in {**defaults, **told.get("options", {})}.items()
        if isinstance(value, bool) and value != {**defaults, **given}.get(name, value)
    }
    if switches:
        named = ", ".join(code(f"{name}={value}") for name, value in switches.items())
        parts.append(f"It was made with {named}, unlike this fit.")
    parts.append("This says nothing about data that the model does not describe.")
    return " ".join(filter(None, parts))


def _result(one: Certificate) -> str:
    if one.finding == "FAIL":
        return "the method did not do what it claims."
    if one.content["claim"] == "point":
        return (
            "its estimates passed the checks of a point estimate; it has no intervals whose coverage could be measured."
        )
    return f"{OFF[one.finding]}." if one.finding in OFF else "no departure from calibration was found."
