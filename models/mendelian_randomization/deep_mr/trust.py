"""Whether a causal reading of a deep_mr result is safe: what its assumptions can be checked by, with numbers.

The six conditions of the paper's discussion: predictions are accurate, their uncertainty is calibrated, instruments are
strong, effects are not cut off, outputs change in proportion (local linearity), and what a substitution does to the
outcome by other ways does not go with its effect on the exposure (InSIDE).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .effects import Effects, effects
from .mutagenesis import Mutagenesis
from .pipeline import DeepMR

STRONG = 10.0
"""Mean F statistic of instruments."""

SATURATED = 0.01
"""Share of substitutions whose effect is cut off."""

BEND = 0.25
"""Change of the slope from small to large effects, or from losses to gains, over the slope."""

DIRECTED = 0.25
"""Share of the outcome's direct effects that goes with the strength of the instrument (a correlation)."""

CALIBRATED = (0.8, 1.25)
"""Factor of the standard deviations that held-out data ask for."""

ACCURATE = 0.5
"""Correlation of predictions with held-out measurements."""

Status = Literal["pass", "warn", "fail", "not measured"]


@dataclass(frozen=True)
class Finding:
    """One condition.

    Attributes
    ----------
    condition : str
    value : float
        NaN where it was not measured.
    limit : str
    status : {"pass", "warn", "fail", "not measured"}
    remedy : str
    """

    condition: str
    value: float
    limit: str
    status: Status
    remedy: str

    def __str__(self) -> str:
        shown = "–" if np.isnan(self.value) else f"{self.value:.3g}"
        more = "" if self.status == "pass" else f" -> {self.remedy}"
        return f"{self.status}: {self.condition} {shown} ({self.limit}){more}"


@dataclass(frozen=True)
class HeldOut:
    """Predictions of members for sequences that none was trained on, and measurements.

    Attributes
    ----------
    predicted : ndarray, shape (E, N, 2)
        Of exposure and outcome.
    measured : ndarray, shape (N, 2)
    """

    predicted: Array
    measured: Array


def diagnose(
    found: Mutagenesis,
    result: DeepMR,
    exposure: int,
    outcome: int,
    *,
    instruments: float | None = None,
    held_out: HeldOut | None = None,
    **options: object,
) -> list[Finding]:
    """Say whether the effect of one output on another may be read as a causal one.

    Parameters
    ----------
    found : Mutagenesis
    result : DeepMR
        Of :func:`deep_mr` on it.
    exposure, outcome : int
    instruments : float, optional
        As given to :func:`deep_mr`.
    held_out : HeldOut, optional
        For accuracy and calibration.
    **options
        More of :func:`effects`. Calibration is judged with standard deviations times ``factor``.

    Returns
    -------
    list of Finding
        In the order of the conditions above.
    """
    some = effects(found, exposure, outcome, instruments=instruments, **options)  # type: ignore[arg-type]
    factor = np.asarray(options.get("factor", (1.0, 1.0)), dtype=float)
    some = some.take(np.isin(some.sequence, result.local.sequence))
    slope = dict(zip(result.local.sequence.tolist(), result.local.estimate.tolist(), strict=True))
    theta = np.array([slope[s] for s in some.sequence.tolist()])
    strength = float(((some.x / some.se_x) ** 2).mean())
    cut = 0.0 if found.saturated is None else float(found.saturated[..., [exposure, outcome]].any((0, -1)).mean())
    return [
        *_predictions(held_out, factor),
        _least("instrument strength, mean F", strength, STRONG, "ask for stronger ones (instruments=), or use divw"),
        _most("saturated substitutions, share", cut, SATURATED, "take outputs before the last activation"),
        _most("local linearity, bend of the slope", bend(some, theta), BEND, "take another scale (scale=)"),
        _most(
            "InSIDE, direct effects that go with strength", inside(some, theta), DIRECTED,
            "look for a motif that acts on both; compare method='weighted_median'",
        ),
    ]  # fmt: skip


def _least(condition: str, value: float, limit: float, remedy: str) -> Finding:
    status: Status = "pass" if value >= limit else "warn" if value >= limit / 2 else "fail"
    return Finding(condition, value, f"at least {limit:g}", status, remedy)


def _most(condition: str, value: float, limit: float, remedy: str) -> Finding:
    status: Status = "pass" if value <= limit else "warn" if value <= 2 * limit else "fail"
    return Finding(condition, value, f"at most {limit:g}", status, remedy)


def _predictions(held_out: HeldOut | None, factor: Array) -> list[Finding]:
    """Return accuracy and calibration of both outputs on held-out sequences, the worse one."""
    low, high = CALIBRATED
    names = "accuracy on held-out sequences, correlation", "calibration, factor of the standard deviations"
    limits = f"at least {ACCURATE:g}", f"{low:g} to {high:g}"
    remedies = "give measurements of sequences that no member was trained on", "calibrate (factor=) on held-out data"
    if held_out is None:
        return [
            Finding(name, float("nan"), limit, "not measured", remedies[0])
            for name, limit in zip(names, limits, strict=True)
        ]
    if held_out.predicted.shape[1:] != held_out.measured.shape or held_out.measured.shape[-1] != 2:
        raise InputError(
            f"deep_mr: predictions of held-out sequences have shape {held_out.predicted.shape} and measurements "
            f"{held_out.measured.shape}. Give (members, sequences, 2) and (sequences, 2)."
        )
    mean, sd = held_out.predicted.mean(0), held_out.predicted.std(0, ddof=1)
    r = min(float(np.corrcoef(mean[:, t], held_out.measured[:, t])[0, 1]) for t in (0, 1))
    z = (held_out.measured - mean) / (sd * factor)
    factors = [factor_of(z[:, t]) for t in (0, 1)]
    worst = max(factors, key=lambda f: abs(np.log(f)))
    kept: Status = "pass" if low <= worst <= high else "warn"
    return [
        _least(names[0], r, ACCURATE, "train on more data: effects of a wrong model are no effects"),
        Finding(names[1], worst, limits[1], kept, remedies[1]),
    ]


def factor_of(residuals: Array) -> float:
    """Return what standard deviations are to be multiplied by, from residuals in units of them.

    The median distance to the median, over a normal variable's. The sd of the residuals would not do: standard
    deviations over few members are far too small at times, and residuals in units of them have long tails (with five
    members that are right their variance is 2.4, with three it is infinite).

    Parameters
    ----------
    residuals : ndarray
        Measurements less predictions, over the standard deviations.

    Returns
    -------
    float
        One where the standard deviations are right.
    """
    return float(np.median(np.abs(residuals - np.median(residuals))) / 0.6744897501960817)


def bend(some: Effects, theta: Array) -> float:
    """Return how much slopes change with the size of an effect, or with its sign, over the slope: the larger of both.

    Residuals are regressed on x |x| and on |x|, in units of the root mean square of x in their sequence; 0 where the
    regression says nothing (below two standard errors).
    """
    size = _by_sequence(some, some.x**2) ** 0.5
    weight = 1 / _noise(some, theta)
    rest = some.y - theta * some.x
    level = float((weight * theta * some.x * some.x).sum() / (weight * some.x**2).sum())
    changes = []
    for design in (some.x * np.abs(some.x) / size, np.abs(some.x)):
        own = design - some.x * _ratio(some, weight * design * some.x, weight * some.x**2)  # the slope is fitted, too
        information = float((weight * own**2).sum())
        if information <= 0:
            continue
        found = float((weight * own * rest).sum()) / information
        scale = (float((weight * (rest - found * own) ** 2).sum()) / max(_told_of(some) - 1, 1)) ** 0.5
        if abs(found) > 2 * max(1.0, scale) * information**-0.5:
            changes.append(abs(found))
    return max(changes, default=0.0) / max(abs(level), 1e-300) if changes else 0.0


def inside(some: Effects, theta: Array) -> float:
    """Return the rank correlation of the size of direct effects with that of effects on the exposure.

    The direct effect of a substitution on the outcome is what the sequence's slope leaves. Under InSIDE its variance
    does not go with the instrument's strength, while that of its errors may: its square is over the sum of both, one
    variance of direct effects being that which brings the mean of such squares to 1. Of either the slope leaves a
    part, the smaller the more it goes by the substitution (its leverage), as it does in sequences with few. 0 where the
    correlation is not told from 0 (two standard errors).
    """
    part = _left(some, np.ones(len(some)))
    known = part > 1e-6  # a slope through one substitution leaves nothing of it
    square, noise = ((some.y - theta * some.x) ** 2)[known], _left(some, _noise(some, theta))[known]
    direct = square / (noise + _excess(square, noise, part[known]) * part[known])
    strength = np.abs(some.x[known])
    rank = np.argsort(np.argsort(direct)).astype(float), np.argsort(np.argsort(strength)).astype(float)
    r = float(np.corrcoef(*rank)[0, 1]) if len(direct) > 3 else 0.0
    return abs(r) if abs(r) > 2 / np.sqrt(max(_told_of(some) - 2, 1)) else 0.0


def _noise(some: Effects, theta: Array) -> Array:
    """Return the variance of y - theta x by errors: those of the same networks correlate."""
    return np.asarray(some.se_y**2 + (theta * some.se_x) ** 2 - 2 * theta * some.covariance)


def _left(some: Effects, variance: Array) -> Array:
    """Return the variance that y less its sequence's slope times x has, by those of y; the slope being IVW's."""
    weight = some.x / some.se_y**2
    whole = _sums(some, weight * some.x)
    return np.asarray(
        variance * (1 - 2 * weight * some.x / whole) + some.x**2 * _sums(some, weight**2 * variance) / whole**2
    )


def _told_of(some: Effects) -> int:
    """Return how many numbers are left to judge by, a slope having been fitted to each sequence."""
    return len(some) - len(np.unique(some.sequence))


def _excess(square: Array, noise: Array, part: Array) -> float:
    """Return the variance, a part of it in each, that squares have beyond their noise: over the sum their mean is 1."""
    from scipy.optimize import brentq

    def over(variance: float) -> float:
        return float((square / (noise + variance * part)).mean()) - 1

    return 0.0 if over(0.0) <= 0 else float(brentq(over, 0.0, float((square / part).mean()), rtol=1e-9))


def _ratio(some: Effects, above: Array, below: Array) -> Array:
    """Return a ratio of sums over each sequence, at its substitutions."""
    return np.asarray(_sums(some, above) / np.maximum(_sums(some, below), 1e-300))


def _sums(some: Effects, values: Array) -> Array:
    """Return sums over each sequence, at its substitutions."""
    _, of = np.unique(some.sequence, return_inverse=True)
    return np.asarray(np.bincount(of, values)[of])


def _by_sequence(some: Effects, values: Array) -> Array:
    return np.maximum(_ratio(some, values, np.ones(len(some))), 1e-300)


def as_lines(findings: Sequence[Finding]) -> list[str]:
    """Return the conditions as text, a line each."""
    return [str(one) for one in findings]
