"""Methods with known faults, for tests of validation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import norm

from genarium.calibration import Validation
from genarium.declaration import Claim, Method, Model, Problem, Result
from genarium.verdicts import Verdict

Array = NDArray[Any]
Run = Callable[..., Result]


def moments(problem: Problem, prior: bool = True) -> tuple[float, float]:
    """Mean and sd of the posterior of theta."""
    precision = problem.sizes["item"] / problem["sigma"] ** 2 + prior / problem["tau"] ** 2
    return float(problem["y"].sum() / problem["sigma"] ** 2 / precision), float(precision**-0.5)


def sampler(
    *, shift: float = 0.0, stretch: float = 1.0, rho: float = 0.0, prior: bool = True, likelihood: bool = True
) -> Run:
    """Draw from the posterior moved by ``shift`` sds, ``stretch`` times as wide, by chains of autocorrelation rho."""

    def run(problem: Problem, rng: np.random.Generator, *, chains: int = 2, draws: int = 200) -> Result:
        mean, sd = moments(problem, prior) if likelihood else (0.0, float(problem["tau"]))
        steps = rng.normal(size=(chains, draws)) * np.sqrt(1 - rho**2)
        steps[:, 0] /= np.sqrt(1 - rho**2)
        z = lfilter([1], [1, -rho], steps)
        theta = mean + sd * (shift + stretch * z)
        return Result(
            posterior={"theta": theta}, sample_stats={"log_q": norm.logpdf(theta, mean + sd * shift, sd * stretch)}
        )

    return run


def trying(toy: Model, run: Run, claim: Claim = "exact", **changes: Any) -> Model:
    """The example model with one more method, ``tried``."""
    return replace(toy, methods={**toy.methods, "tried": Method(run, claim, "A method under test.")}, **changes)


def verdict(found: Validation, check: str) -> Verdict:
    """The verdict on a check."""
    (one,) = (v for v in found.verdicts if v.check.startswith(check))
    return one
