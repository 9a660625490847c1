"""The page of a validation: one HTML file that needs nothing else."""

import json
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genarium import registry
from genarium.calibration.curves import binomial_band, matrix
from genarium.calibration.figures import DENSITIES, FEW, figures
from genarium.calibration.judge import ALPHA, told_bounds
from genarium.calibration.outcome import told_lengths
from genarium.calibration.plan import told_wrong
from genarium.certificates import told_power
from genarium.declaration import Model
from genarium.drawing import style
from genarium.errors import GenariumError
from genarium.reporting import CLAIMS, inline_figure, tables
from genarium.reporting.page import code, commands, document, number, paragraph, table
from genarium.verdicts import Diagnosis, Verdict
from genarium.words import plural
from genarium.writing import replacing

if TYPE_CHECKING:
    from genarium.calibration.outcome import Outcome
    from genarium.calibration.recovery import Recovery

MEANINGS = {
    "": "has another shape than it should: see the ranks",
    "too low": "lies too low: below the truth more often than above it",
    "too high": "lies too high: above the truth more often than below it",
    "too narrow": "is too narrow: its intervals hold the true value less often than they should",
    "too wide": "is too wide: its intervals could be shorter",
}
"""What the words of :func:`genarium.validate.uniformity.direction` say of a posterior."""

HELD = {
    "exact": "It is held to that: ranks must be uniform and intervals must cover.",
    "approximate": "Its ranks and coverage are reported, with the direction of the error, but do not make it fail.",
    "corrected": "Its intervals are corrected, and must have the coverage that they state.",
    "point": "It has no ranks: it must reach its objective, and its errors are reported.",
}
"""What a method must do to pass, by its claim."""

RANKS = 99
"""Draws that a truth is ranked among unless the user says otherwise."""

BIASED = 3.0
"""Standard errors from which the mean error of a point estimate is told as a bias."""


def write_page(found: "Outcome", path: str | Path, recovery: "Recovery | None" = None) -> Path:
    """Write the page of a validation, whole or not at all.

    Parameters
    ----------
    found : Outcome
    path : str or Path
    recovery : Recovery, optional
        Error against the size of the data.

    Returns
    -------
    Path
        The same results give the same file, byte by byte, but for the seconds that they took.
    """
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_text(render(found, recovery), encoding="utf-8", newline="\n")
    return path


def render(found: "Outcome", recovery: "Recovery | None" = None) -> str:
    """Return the whole page."""
    plan = found.plan
    verdicts = [*found.verdicts, *([recovery.verdict()] if recovery is not None else [])]
    with style():
        drawn = [inline_figure(f"v{i}", one) for i, one in enumerate(figures(found, recovery))]
    few = paragraph(f"Fewer than {FEW} replicates gave a result: too few to be drawn.", kind="soft")
    checks = tables.verdicts(Diagnosis(plan["model"], plan["method"], plan["claim"], tuple(verdicts)))
    sections = [
        ("checks", "Checks", checks),
        ("quantities", "Quantities", quantities(found)),
        ("figures", "Figures", "\n".join(drawn) or few),
        ("failures", "Replicates that failed", failures(found)),
        ("provenance", "Settings and provenance", tables.provenance(found.tree)),
        ("reproduce", "Reproduce", reproduce(found)),
    ]
    declared = _declared(plan)
    title = f"Calibration of {plan['method']}: {declared.title if declared else plan['model']}"
    made = f"genarium {version('genarium')}"
    return document(
        title,
        f"<h1>{escape(title)}</h1>\n{summary(found)}\n{overall(found, verdicts)}",
        [one for one in sections if one[2]],
        paragraph(f"Written by {made}. This page needs no network and no other file."),
        made,
    )


def _declared(plan: Mapping[str, Any]) -> Model | None:
    """Return the model of a plan, if it is here."""
    try:
        return registry.remembered(plan["model"], plan.get("model_origin", ""))
    except GenariumError:
        return None


def summary(found: "Outcome") -> str:
    """Say what was done, and what the method claims."""
    plan = found.plan
    given = plan["kind"] == "posterior"
    sizes = ", ".join(
        f"{n:,} {plural(dim) if n != 1 else dim}" if dim[-1].isalpha() else f"{dim} = {n:,}"
        for dim, n in plan["sizes"].items()
    )
    options = ", ".join(f"{n} = {v}" for n, v in plan["model_options"].items())
    compared = "the estimate was set beside the truth"
    if plan["claim"] != "point":
        compared = f"the truth was ranked among {plan['ranks']} of its draws"
    said = (
        f"{found.simulations:,} times, a truth was drawn from the {'posterior given your data' if given else 'prior'}, "
        f"data were simulated from it ({escape(sizes)}), the method {code(plan['method'])} was fitted to "
        f"them{' and your data together' if given else ''}, and {compared}."
    )
    model = f"The model is {code(plan['model'])}{' (' + escape(options) + ')' if options else ''}."
    wrong = escape(told_wrong(plan["wrong"]))
    control = f"The fits were deliberately wrong about {wrong}: a negative control." if wrong else ""
    corrected = any("(corrected)" in v.check for v in found.verdicts)
    model = " ".join(filter(None, [model, escape(told_lengths(found.lengths))]))
    claimed = f"<strong>Its claim: {plan['claim']}.</strong> {CLAIMS[plan['claim']]}"
    held = HELD["corrected" if corrected else plan["claim"]]
    return paragraph(said, model, control) + "\n" + paragraph(claimed, held)


def overall(found: "Outcome", verdicts: Sequence[Verdict]) -> str:
    """Return the verdict on the method, and the direction of its errors."""
    worst = {status: [v.check for v in verdicts if v.status == status] for status in ("fail", "warn")}
    kind = "fail" if worst["fail"] else "warn" if worst["warn"] or not found.telling else "pass"
    power = escape(told_power(found.power))
    if kind == "pass":
        text = f"<strong>Passed</strong> all {len(verdicts)} checks. {power}"
    elif kind == "warn" and not worst["warn"]:
        text = f"<strong>Too few replicates to tell.</strong> {power}"
    else:
        head = "<strong>Failed</strong>" if kind == "fail" else "<strong>Passed with reservations</strong> in"
        which = escape("; ".join(worst[kind]))
        text = f"{head} {len(worst[kind])} of {len(verdicts)} checks: {which}. {power}"
    if found.plan["wrong"] and found.calibrated:
        text += " Given a wrong value it should be off: this validation has no power."
    elif found.plan["wrong"]:
        text += " The negative control was rejected, as it must be."
    elif kind == "fail":
        text += " Do not rely on this method here."
    said = "\n".join(f"<li>{line}</li>" for line in directions(found))
    return paragraph(tables.sign(kind), text, kind=f"verdict {kind}") + (f"\n<ul>\n{said}\n</ul>" if said else "")


def directions(found: "Outcome") -> list[str]:
    """Say in plain words which quantities are off, and to which side; lines of HTML."""
    if not found.quantities:
        return []
    ranked = {name: told for name, told in found.quantities.items() if "p_holm" in told}
    if not ranked:
        return _point_directions(found)
    off: dict[str, list[str]] = {}
    for name, told in ranked.items():
        if told["p_holm"] <= ALPHA:
            off.setdefault(told["direction"], []).append(name)
    lines = []
    for direction, names in off.items():
        meaning = ", and ".join(MEANINGS[word] for word in direction.split(" and ") if word)
        lines.append(
            f"The posterior of {_listed(names)} {meaning or 'has another shape than it should: see its ranks'}."
        )
    if not off:
        least = min(told["p_holm"] for told in ranked.values())
        lines.append(
            f"No quantity departs from uniform ranks (smallest p = {number(least, 2)}, adjusted for {len(ranked)})."
        )
    R = matrix(found.tree, "truth")[1].shape[0]
    error = 1.96 * np.sqrt(0.9 * 0.1 / R)
    lines.append(
        f"With {R:,} replicates the coverage of a 90% interval is known to about ±{error:.2f}; smaller errors may go "
        "unseen."
    )
    return lines


def _point_directions(found: "Outcome") -> list[str]:
    errors = mean_errors(found)
    sides = {"high": [n for n, (_, z) in errors.items() if z > BIASED]}
    sides["low"] = [n for n, (_, z) in errors.items() if z < -BIASED]
    lines = [f"Estimates of {_listed(names)} are too {side} on average." for side, names in sides.items() if names]
    return lines or [f"No estimate is off by more than {BIASED:g} standard errors on average."]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(code(name) for name in names)


def mean_errors(found: "Outcome") -> dict[str, tuple[float, float]]:
    """Return the mean error (estimate minus truth) of each quantity, as it is and in standard errors."""
    names, mean = matrix(found.tree, "estimate")
    error = mean - matrix(found.tree, "truth")[1][:, : mean.shape[1]]
    out = {}
    for j, name in enumerate(names):
        if name not in DENSITIES:
            spread = error[:, j].std(ddof=1) if len(error) > 1 else 0.0
            bias = float(error[:, j].mean())
            out[name] = bias, bias / float(spread) * len(error) ** 0.5 if spread > 0 else 0.0
    return out


def quantities(found: "Outcome") -> str:
    """Return the table of the quantities, with a note on how to read it."""
    if not found.quantities:
        return paragraph("No replicate gave a result.")
    first = next(iter(found.quantities.values()))
    ranked, compared = "p" in first, any("sd_ratio" in told for told in found.quantities.values())
    levels = list(first["coverage"]) if ranked else []
    errors = mean_errors(found)
    R = matrix(found.tree, "truth")[1].shape[0]
    rows = []
    for name, told in found.quantities.items():
        row = [code(name.replace(" ", "\u00a0"))]  # a name is not to be broken
        if ranked:
            row += [number(told["p"], 2), _marked(number(told["p_holm"], 2), told["p_holm"] <= ALPHA)]
            for level in levels:
                low, high = binomial_band(R, np.array(float(level)))
                share = told["coverage"][level]
                row.append(_marked(f"{share:.3f}", not low - 1e-9 <= share <= high + 1e-9))
            row.append(escape(told["direction"]) or "–")
        row += [number(errors[name][0], 3) if name in errors else "–"]
        row += [number(told["rmse"], 3), number(told["sd_of_truth"], 3)]
        if compared:
            row += [number(told[key], 3) if key in told else "–" for key in ("sd_ratio", "shift_in_sd")]
        rows.append(row)
    head = ["Quantity", *(["p", "Holm p", *(f"{float(v):.0%}" for v in levels), "Direction"] if ranked else [])]
    head += ["Bias", "RMSE", "sd of truth", *(["sd ratio", "Shift"] if compared else [])]
    numeric = [i for i, name in enumerate(head) if name not in ("Quantity", "Direction")]
    notes = ["Bias: mean of estimate − truth. RMSE: root mean square of the same."]
    if ranked:
        notes.insert(0, "p: of uniform ranks; Holm p: adjusted for the number of quantities. Percentages: coverage of")
        notes[0] += " central intervals, coloured where chance (95%) does not explain it. Direction: of the posterior,"
        notes[0] += " where it is off by more than two standard errors; of many quantities some are by chance."
    if compared:
        notes.append(
            f"sd ratio and shift: posterior sd and mean (in sd) against {code(found.plan['reference'])}, medians over "
            f"the first {found.plan['n_reference']:,} replicates."
        )
    return table(head, rows, numeric=numeric, label="Quantities") + paragraph(*notes, kind="soft")


def _marked(text: str, odd: bool) -> str:
    return f'<span class="out">{text}</span>' if odd else text


def failures(found: "Outcome") -> str:
    """Return how many replicates failed, why, and where."""
    told = found.failures
    if not told["count"]:
        return paragraph(f"None: all {told['of']:,} replicates gave a result.")
    which = ", ".join(map(str, told["replicates"])) + (" …" if told["count"] > len(told["replicates"]) else "")
    rows = [(escape(reason), f"{count:,}") for reason, count in told["reasons"].items()]
    region = told["region"]
    return "\n".join(
        [
            paragraph(
                f"{told['count']:,} of {told['of']:,} replicates failed and are left out of all else on this page, "
                "which speaks for the others only."
            ),
            *(
                [paragraph(f"{bounded[0].upper()}{bounded[1:]}.")]
                if (bounded := escape(told_bounds(told["bounds"])))
                else []
            ),
            table(("Reason", "Replicates"), rows, numeric=[1], label="Reasons"),
            paragraph(f"They lie together, {escape(region)}." if region else "They share no region of the truths."),
            paragraph(f"Their numbers: {which}.", kind="soft"),
        ]
    )


def reproduce(found: "Outcome") -> str:
    """Return the calls that repeat the validation, on the command line and in Python."""
    plan, given = found.plan, found.plan["kind"] == "posterior"
    settings: Mapping[str, Any] = {**plan["model_options"], **({} if given else plan["sizes"]), **plan["values"]}
    compared = {"reference": plan["reference"], "n_reference": plan["n_reference"]} if plan["reference"] else {}
    declared = _declared(plan)
    named = registry.reference(declared) if declared else ""
    words = ["genarium", "validate", named, "--method", plan["method"]]
    words += ["--simulations", str(found.simulations), "--seed", str(plan["seed"])]
    flags = {"--set": settings, "--option": plan["options"], "--wrong": plan["wrong"]}
    words += [w for flag, pairs in flags.items() for n, v in pairs.items() for w in (flag, f"{n}={_word(v)}")]
    words += [w for n, v in compared.items() for w in (f"--{n}", str(v))]
    words += [*(["--data", "data.nc"] if given else []), "--out", "again"]
    keywords: dict[str, Any] = {**({"wrong": plan["wrong"]} if plan["wrong"] else {}), **compared}
    keywords |= {"ranks": plan["ranks"]} if plan["ranks"] != RANKS else {}
    listed = "".join(f", {n}={v!r}" for n, v in {**keywords, **settings, **plan["options"]}.items())
    data = ', data=gn.load("data.nc")' if given else ""
    python = (
        f"import genarium as gn\n\n"
        f"gn.validate({repr(named) if named else 'model'}, {plan['method']!r}, {found.simulations}, "
        f'seed={plan["seed"]}{data}{listed}, out="again")'
    )
    parts = []
    if named and plan["ranks"] == RANKS:
        parts += [paragraph("On the command line:"), commands(_lines(words))]
    parts += [paragraph("In Python:"), f"<pre>{escape(python)}</pre>"]
    parts.append(
        paragraph(
            "A replicate is a function of the settings, the seed and its own number, under the same package versions; "
            "how many there are, and how many workers, changes none of them. Times differ. If more replicates were "
            "asked for and the run stopped early, its limit of p was stricter than that of a run of this length.",
            kind="soft",
        )
    )
    return "\n".join(parts)


def _lines(words: Sequence[str]) -> str:
    """Join words of the shell, broken into lines before flags."""
    lines = [""]
    for word in map(shlex.quote, words):
        if len(lines[-1]) > 60 and word.startswith("--"):
            lines.append(" ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
