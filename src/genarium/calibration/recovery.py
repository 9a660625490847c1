"""Recovery: the error of the estimates against the truth as the data grow; expected to fall as N to the power -1/2."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.calibration.plan import Plan
from genarium.calibration.replicate import fit_once
from genarium.calibration.scalars import flat_draws, scalars
from genarium.calibration.schedule import unbroken
from genarium.data import check
from genarium.declaration import Array
from genarium.methods import find_method
from genarium.signatures import keyword_options
from genarium.story import draw
from genarium.verdicts import Status, Verdict, verdict

DRAWS = {"chains": 2, "draws": 300, "tune": 300}
"""Options of methods that sample: only the mean is needed."""

EXPECTED, WIDE = -0.5, 3.0
"""The slope of log error on log N, and how many standard errors it may be away."""

BOOTSTRAP = 500


@dataclass(frozen=True)
class Recovery:
    """Error against size.

    Attributes
    ----------
    sizes : tuple of int
        Units N of each dataset.
    names : list of str
        Quantities, but for those that the model says more data do not determine.
    error : ndarray, shape (truths, sizes, quantities)
        Estimate minus truth; NaN where the fit failed.
    slope, standard_error : float
        Of the mean of ln |error| over truths and quantities, on ln N; standard error by bootstrap over truths.
    """

    sizes: tuple[int, ...]
    names: list[str]
    error: Array
    slope: float
    standard_error: float

    def verdict(self) -> Verdict:
        """Hold the slope to -1/2."""
        z = (self.slope - EXPECTED) / max(self.standard_error, 1e-12)
        where = (
            f"standard error {self.standard_error:.3f}; {len(self.error)} truths, N = {', '.join(map(str, self.sizes))}"
        )
        advice = "Errors do not fall with the data as they must: the estimate is biased, or optima are missed."
        if z < 0:
            advice = "Errors fall faster than expected: the smallest data are too small for this model."
        status: Status = "warn" if z < 0 else "fail"
        return verdict(
            "error falls as N^-1/2",
            abs(z) <= WIDE,
            self.slope,
            f"{EXPECTED} within {WIDE:g} standard errors",
            where,
            advice,
            status,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for a certificate."""
        log_error = np.log(np.maximum(np.abs(self.error), 1e-300))
        fitted = (~np.isnan(log_error)).sum(0)
        typical = np.where(fitted > 0, np.exp(np.nansum(log_error, 0) / np.maximum(fitted, 1)), np.nan)
        return {
            "sizes": list(self.sizes),
            "truths": len(self.error),
            "slope": self.slope,
            "standard_error": self.standard_error,
            "failed": int(np.isnan(self.error[..., 0]).sum()),
            "geometric_mean_error": {n: [float(v) for v in typical[:, j]] for j, n in enumerate(self.names)},
        }


def recovery(plan: Plan, sizes: Sequence[int], truths: int, workers: int = 1) -> Recovery:
    """Fit data of growing size from the same truths.

    Parameters
    ----------
    plan : Plan
    sizes : sequence of int
        Units of each dataset.
    truths : int
        Draws from the prior.
    workers : int
        Processes.

    Returns
    -------
    Recovery
    """
    from joblib import Parallel, delayed

    with unbroken(workers):
        found = Parallel(n_jobs=workers)(delayed(_errors)(plan, tuple(sizes), index) for index in range(truths))
    ends = [one for row in found for one in row if one is not None]
    growing = {name.split("[")[0] for one in ends for name in set(one) ^ set(ends[0])}  # elements of single units
    names = [name for name in ends[0] if name.split("[")[0] not in growing] if ends else ["(every fit failed)"]
    lost = dict.fromkeys(names, np.nan)
    error = np.array([[[(one or lost)[name] for name in names] for one in row] for row in found])
    log_error = np.log(np.maximum(np.abs(error), 1e-300))
    kept = log_error[~np.isnan(log_error).any((1, 2))]
    if not len(kept):
        return Recovery(tuple(sizes), names, error, np.nan, np.nan)
    rng = np.random.default_rng(plan.seed)
    slopes = [_slope(kept[rng.integers(0, len(kept), len(kept))], sizes) for _ in range(BOOTSTRAP)]
    return Recovery(tuple(sizes), names, error, _slope(kept, sizes), float(np.std(slopes)))


def _slope(log_error: Array, sizes: Sequence[int]) -> float:
    return float(np.polyfit(np.log(sizes), log_error.mean((0, 2)), 1)[0])


def _errors(plan: Plan, sizes: tuple[int, ...], index: int) -> list[dict[str, float] | None]:
    """Errors of one truth at every size, by quantity, without those of single units; None for a fit that failed."""
    model = plan.declared
    values = {**plan.values, **{name: np.asarray(value) for name, value in model.calibration.growing.items()}}
    first = draw(model, plan.rng(index, "simulate", 1), {**plan.sizes, model.unit: sizes[0]}, values)
    truth = {n: first[n] for n in model.unknown.variables}
    grown = [n for n, var in model.unknown.variables.items() if model.unit in var.dims]
    for name in grown:
        del truth[name]  # it belongs to the units and is drawn anew with them
    method = find_method(model, plan.method).function
    options = plan.options | {n: v for n, v in DRAWS.items() if n in keyword_options(method) and plan.claim == "exact"}
    apart = {*grown, *model.calibration.undetermined}
    out: list[dict[str, float] | None] = []
    for step, size in enumerate(sizes):
        shape = {**plan.sizes, model.unit: size}
        drawn = draw(model, plan.rng(index, "simulate", 2 + step), shape, {**values, **truth})
        try:
            problem = check(model, {n: drawn[n] for n in model.variables("known", "observed")}, shape)
        except ValueError:
            out.append(None)
            continue
        result = fit_once(method, problem, plan.rng(index, "fit", 100 + step), options)
        if isinstance(result, str):
            out.append(None)
            continue
        every, estimate = scalars(problem, flat_draws(model, result))
        _, target = scalars(problem, {n: drawn[n][None] for n in model.unknown.variables})
        off = (estimate.mean(0) - target[0]).tolist()
        out.append({name: e for name, e in zip(every, off, strict=True) if name.split("[")[0] not in apart})
    return out
