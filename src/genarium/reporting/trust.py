"""How far to trust a fit, and what to do: the banner of a report."""

from collections.abc import Sequence
from html import escape

import numpy as np

from genarium.declaration import Claim, Model
from genarium.estimates import LEVEL, Estimate
from genarium.reporting import tables
from genarium.reporting.page import code, paragraph
from genarium.verdicts import Diagnosis

RARE = 1e-3
"""Probability by chance below which missed true values are a reservation."""

FAR = 0.5
"""Error of a point estimate, in units of the spread of the true values, from which the truth counts as missed."""

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
        parts.append("A point estimate has no intervals: it does not say how uncertain it is.")
    elif claim == "approximate":
        parts.append("Its intervals are those of an approximation.")
    missed, said = beside_truth(model, found)
    if missed and kind == "pass":
        kind = "warn"
    worst_first = [v for status in ("fail", "warn") for v in verdicts.verdicts if v.status == status and v.advice]
    advice = list({v.advice.partition(":")[0]: v.advice for v in worst_first}.values())  # the last of each kind
    more = f"<li>{len(advice) - ADVISED} more: see the table of the checks.</li>" if len(advice) > ADVISED else ""
    steps = "".join(f"<li>{escape(one)}</li>" for one in advice[:ADVISED]) + more
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
    return "warn", "<strong>Unchecked</strong>: there is no check for such a fit."


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
        text += f"{LEVEL * total:.3g} should."
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
        return False, f"The truth is known: estimates are off by at most {max(off.values()):.2g} of its spread."
    return False, ""


def _relative_error(one: Estimate) -> float | None:
    """Root mean square error of a point estimate over the sd of the true values; None where these are too few."""
    assert one.truth is not None
    finite = np.isfinite(one.truth)
    if finite.sum() < tables.FEW or not (spread := float(one.truth[finite].std())) > 0:
        return None
    return float(np.sqrt(((one.centre - one.truth)[finite] ** 2).mean())) / spread
