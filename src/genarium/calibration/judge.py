"""Verdicts on a method: it is held to what it claims."""

from collections.abc import Mapping, Sequence

import numpy as np

from genarium.calibration import uniformity as test
from genarium.calibration.findings import LEVEL, Findings
from genarium.calibration.replicate import CHANCE, RHAT
from genarium.calibration.scalars import DENSITIES
from genarium.engines.resample import KHAT_USABLE
from genarium.verdicts import Status, Verdict, verdict

ALPHA = 0.01
"""Chance that a calibrated method is rejected, over all quantities, tests and looks."""

SLACK = 0.02
"""Corrected intervals must cover within it, and their ranks be uniform."""

FEW = 0.02
"""Share of failed replicates up to which a failure is a warning."""

LAG = 0.05
"""Mean correlation of neighbouring draws (give or take three standard errors) up to which they count
as independent."""


def rejected(found: Findings, alpha: float) -> bool:
    """Say whether the replicates so far show a clear failure of what the method is held to."""
    if not found.ranked or len(found.good) < 20:
        return False
    if not held(found):
        return False
    ranks = test.holm(found.p[held_quantities(found)])
    return min(float(ranks.min()), float(_coverage_p(found).min())) <= alpha / 2


def held(found: Findings) -> bool:
    """Whether the method is held to calibration: an exact one, or one whose intervals are corrected."""
    return found.plan.claim == "exact" or found.plan.corrected


def level(found: Findings, alpha: float) -> float:
    """Return what the test of ranks may spend of alpha: half where coverage is held to as well."""
    return alpha / 2 if held(found) else alpha


def _coverage_p(found: Findings) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    slack = SLACK if found.plan.corrected else 0.0
    return test.holm(test.coverage_p(found.pit[:, held_quantities(found)], LEVEL, slack))


def held_quantities(found: Findings) -> list[int]:
    """Return which quantities the coverage is judged by: all, or those that a corrected method corrects."""
    only = found.plan.declared.calibration.corrected if found.plan.corrected else ()
    return [j for j, name in enumerate(found.names) if not only or name.split("[")[0] in only]


def judge(found: Findings, alpha: float = ALPHA) -> tuple[Verdict, ...]:
    """Give the verdicts on a method.

    Parameters
    ----------
    found : Findings
    alpha : float
        What the last look may spend of the chance of a false rejection.

    Returns
    -------
    tuple of Verdict
    """
    out = [_failures(found)]
    if not found.good:
        return tuple(out)
    if found.ranked:
        out += _calibration(found, alpha)
    if found.plan.claim == "exact":
        out += _chains(found)
    if found.plan.claim == "approximate" and (khat := found.statistic("khat")).size:
        usable = float((khat <= KHAT_USABLE).mean())
        median = float(np.median(khat))
        advice = "The approximation misses the posterior in most replicates: use a corrected or an exact method."
        out.append(
            verdict(
                "Pareto k-hat",
                median <= KHAT_USABLE,
                median,
                f"median <= {KHAT_USABLE}",
                f"usable in {usable:.0%}",
                advice,
                "warn",
            )
        )
    if (falls := found.statistic("largest_fall")).size:
        worst = float(falls.max())
        advice = "The bound or objective falls: an update is wrong."
        out.append(verdict("bound never falls", worst == 0, worst, "= 0 nats", "largest fall", advice))
    if (gain := found.statistic("gain_on_truth")).size:
        missed = float((gain < -1e-6).mean())
        advice = "Where the truth is better than the estimate, the optimum was missed: raise restarts."
        out.append(
            verdict(
                "optimum found",
                missed <= FEW,
                missed,
                f"<= {FEW:.0%} of replicates",
                "objective below that of the truth",
                advice,
            )
        )
    out += _distance(found)
    return tuple(out)


def _failures(found: Findings) -> Verdict:
    told = found.failures()
    share = told["count"] / max(told["of"], 1)
    reasons = "; ".join(f"{count} x {reason}" for reason, count in told["reasons"].items())
    where = "; ".join(filter(None, [f"{reasons} {told['region']}".strip(), told_bounds(told["bounds"])]))
    status: Status = "pass" if share == 0 else "warn" if share <= FEW else "fail"
    advice = "" if status == "pass" else "Look at the replicates that failed: what is left speaks for the others only."
    return Verdict("replicates that failed", status, told["count"], f"= 0 of {told['of']}", where, advice)


def told_bounds(bounds: Mapping[str, Sequence[float]]) -> str:
    """Say what replicates that failed could have changed: "" where none did."""
    if not bounds:
        return ""
    (worst, best), (low, high) = bounds["p"], bounds["coverage"]
    return (
        f"had they ended, the smallest p of uniform ranks would lie between {worst:.2g} and {best:.2g}, and the "
        f"coverage of {LEVEL:.0%} intervals between {low:.3f} and {high:.3f}"
    )


def _calibration(found: Findings, alpha: float) -> list[Verdict]:
    """Uniformity and coverage; of approximate methods they are told, and only corrected ones are held to them."""
    claim, corrected, those = found.plan.claim, found.plan.corrected, held_quantities(found)
    adjusted = test.holm(found.p[those])
    least = int(np.argmin(adjusted))
    worst = those[least]
    bias, width = test.bias_z(found.pit), test.width_z(found.pit)
    said = test.direction(bias[worst], width[worst])
    told = (
        f"the posterior of {found.names[worst]} is {said}" if said else f"look at the histogram of {found.names[worst]}"
    )
    status: Status = "fail" if held(found) else "warn"
    limit = level(found, alpha)
    out = [
        verdict(
            "ranks are uniform" + (" (corrected)" if corrected else ""),
            bool(adjusted[least] > limit),
            float(adjusted[least]),
            f"p > {limit:.2g} (Holm over {len(adjusted)})",
            found.names[worst],
            f"{told[0].upper()}{told[1:]}.",
            status,
        )
    ]
    p, R = _coverage_p(found), len(found.pit)
    share = test.inside(found.pit[:, those], LEVEL) / R
    least = int(np.argmin(p)) if p.min() < 1 else int(np.argmax(np.abs(share - LEVEL)))
    low, high = test.interval(round(share[least] * R), R)
    side = "too narrow" if share[least] < LEVEL else "too wide"
    out.append(
        verdict(
            f"coverage of {LEVEL:.0%} intervals" + (" (corrected)" if corrected else ""),
            bool(p.min() > limit),
            float(share[least]),
            f"{LEVEL:g}" + (f" within {SLACK:g}" if corrected else ""),
            f"{found.names[those[least]]}, 95% interval {low:.3f} to {high:.3f}; mean of "
            f"{'all' if len(those) == len(found.names) else 'those corrected'} {share.mean():.3f}",
            f"Intervals are {side}.",
            status,
        )
    )
    if claim == "approximate":
        own = [j for j, name in enumerate(found.names) if name not in DENSITIES]  # densities are lopsided by nature
        asymmetry = test.holm(found.asymmetry[own])
        at = own[int(np.argmin(asymmetry))]
        side = "low" if bias[at] > 0 else "high"
        advice = f"The approximation of {found.names[at]} lies too {side}: its location is biased, not only its width."
        out.append(
            verdict(
                "symmetry (VSBC)",
                bool(asymmetry.min() > alpha),
                float(asymmetry.min()),
                f"p > {alpha:.2g}",
                found.names[at],
                advice,
                "warn",
            )
        )
    return out


def _chains(found: Findings) -> list[Verdict]:
    out = []
    status: Status
    divergences = found.statistic("divergences")
    every = [r["stats"] for r in found.records if "rhat" in r.get("stats", {})]  # those that never converged too
    if every:
        rhat, ess = (np.array([stats[name] for stats in every]) for name in ("rhat", "ess"))
        above = float((rhat > RHAT + CHANCE / ess).mean())
        where = (
            f"share of replicates above {RHAT} + {CHANCE:g}/ESS; median {np.median(rhat):.3f}, highest {rhat.max():.3f}"
        )
        advice = "The chains disagree: run longer."
        status = "warn" if above <= FEW else "fail"
        out.append(verdict("R-hat beyond chance", above == 0, above, "= 0", where, advice, status))
    if divergences.size:
        share = float((divergences > 0).mean())
        status = "pass" if share == 0 else "warn" if share <= FEW else "fail"
        advice = "" if status == "pass" else "Raise target_accept, or use another parametrisation."
        out.append(
            Verdict(
                "replicates with divergences", status, share, "= 0", f"{int(divergences.sum())} divergent draws", advice
            )
        )
    rows = [r["stats"]["autocorrelation"] for r in found.good if "autocorrelation" in r["stats"]]
    if rows:
        mean = np.mean(rows, axis=0)
        error = np.std(rows, axis=0) / np.sqrt(len(rows))
        worst = int(np.argmax(mean - 3 * error))
        advice = "Draws are not independent, so that ranks pile up at the ends: thin more (raise draws)."
        out.append(
            verdict(
                "thinned draws are independent",
                bool(mean[worst] - 3 * error[worst] <= LAG),
                float(mean[worst]),
                f"lag-1 correlation <= {LAG}",
                found.names[worst],
                advice,
                "warn",
            )
        )
    return out


def _distance(found: Findings) -> list[Verdict]:
    """Distance to the reference, told for the quantity where it is largest."""
    distances = found.distances()
    if not distances:
        return []
    worst = max(distances, key=lambda name: distances[name]["distance_in_sd"])
    value, ratio = distances[worst]["distance_in_sd"], distances[worst]["sd_ratio"]
    compared = sum("mean" in r.get("reference", {}) for r in found.good)
    where = f"{worst}, sd {ratio:.2f} times that of {found.plan.reference}, {compared} replicates"
    advice = "Means are off by more than half a posterior sd."
    return [
        verdict(f"distance to {found.plan.reference}", value <= 0.5, value, "<= 0.5 sd (median)", where, advice, "warn")
    ]
