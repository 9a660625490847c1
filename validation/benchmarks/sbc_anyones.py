"""Calibration of models that are not ours, beside simuk in one run: ``python validation/benchmarks/sbc_anyones.py``.

Twelve PyMC models as textbooks and posteriordb have them. Of each: verdict, smallest p of uniform ranks, and CPU
seconds a replicate with everything that was compiled, by ``genarium.validate`` and by simuk, of equal chains
(2 x (500 + 500)). The centred eight schools must be rejected; the others must pass. simuk compiles for each replicate,
so that few tell its cost (``--peer``; the first, which fills caches, is left out); it gives no verdict.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pymc as pm

import genarium as gn

EQUAL: dict[str, Any] = {"chains": 2, "tune": 500, "draws": 500}

DESIGN = np.random.default_rng(0).normal(size=(40, 3))
GROUP = np.repeat(np.arange(8), 5)
SD = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def schools(centred: bool) -> None:
    """Eight schools (Rubin 1981)."""
    mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
    effect = pm.Normal("theta", mu, tau, shape=8) if centred else mu + tau * pm.Normal("z", shape=8)
    pm.Normal("y", effect, SD, observed=pm.Data("data", np.zeros(8)))


def linear() -> None:
    """Linear regression (kidscore)."""
    mean = pm.Normal("alpha", 0, 2) + DESIGN @ pm.Normal("beta", 0, 1, shape=3)
    pm.Normal("y", mean, pm.HalfNormal("sigma", 1), observed=pm.Data("data", np.zeros(40)))


def student() -> None:
    """Robust regression."""
    mean = DESIGN @ pm.Normal("beta", 0, 1, shape=3)
    pm.StudentT("y", 4, mu=mean, sigma=pm.HalfNormal("sigma", 1), observed=pm.Data("data", np.zeros(40)))


def logistic() -> None:
    """Logistic regression (wells)."""
    logit = pm.Normal("alpha", 0, 1) + DESIGN @ pm.Normal("beta", 0, 1, shape=3)
    pm.Bernoulli("y", logit_p=logit, observed=pm.Data("data", np.zeros(40, dtype=int)))


def poisson() -> None:
    """Poisson regression (GLM_Poisson)."""
    rate = pm.math.exp(pm.Normal("alpha", 1, 0.5) + DESIGN @ pm.Normal("beta", 0, 0.5, shape=3))
    pm.Poisson("y", rate, observed=pm.Data("data", np.zeros(40, dtype=int)))


def negative_binomial() -> None:
    """Overdispersed counts (roaches)."""
    rate = pm.math.exp(pm.Normal("alpha", 1, 0.5) + DESIGN @ pm.Normal("beta", 0, 0.5, shape=3))
    shape = pm.Gamma("shape", 4, 1)
    pm.NegativeBinomial("y", mu=rate, alpha=shape, observed=pm.Data("data", np.zeros(40, dtype=int)))


def varying() -> None:
    """Varying intercepts (radon)."""
    tau, sigma = pm.HalfNormal("tau", 1), pm.HalfNormal("sigma", 1)
    intercept = pm.Normal("mu", 0, 1) + tau * pm.Normal("z", shape=8)
    mean = intercept[GROUP] + pm.Normal("slope", 0, 1) * DESIGN[:, 0]
    pm.Normal("y", mean, sigma, observed=pm.Data("data", np.zeros(40)))


def rats() -> None:
    """Tumours in groups of rats: Beta-binomial (Gelman et al. 2013, section 5.3), with a proper prior."""
    share, size = pm.Beta("share", 2, 6), pm.LogNormal("size", 2, 0.7)
    rate = pm.Beta("rate", share * size, (1 - share) * size, shape=12)
    pm.Binomial("y", 20, rate, observed=pm.Data("data", np.zeros(12, dtype=int)))


def autoregression() -> None:
    """AR(1) (arK), as conditional means of the last values."""
    rho, sigma = pm.Uniform("rho", -0.95, 0.95), pm.HalfNormal("sigma", 1)
    noise = pm.Normal.dist(0, sigma)
    pm.AR(
        "y", rho=[rho], sigma=sigma, init_dist=noise, steps=39, constant=False, observed=pm.Data("data", np.zeros(40))
    )


def mixture() -> None:
    """Two normal components in order (low_dim_gauss_mix)."""
    mean = pm.Normal("mean", [-1.5, 1.5], 1, shape=2, transform=pm.distributions.transforms.ordered)
    weight = pm.Dirichlet("weight", np.full(2, 4.0))
    pm.NormalMixture("y", weight, mean, 0.7, observed=pm.Data("data", np.zeros(40)))


def weibull() -> None:
    """Survival times."""
    pm.Weibull("y", pm.Gamma("shape", 8, 4), pm.Gamma("scale", 8, 4), observed=pm.Data("data", np.ones(40)))


MODELS: dict[str, Callable[[], None]] = {
    "eight schools": lambda: schools(False),
    "eight schools, centred": lambda: schools(True),
    **{f.__name__: f for f in (linear, student, logistic, poisson, negative_binomial, varying, rats, weibull)},
    **{f.__name__: f for f in (autoregression, mixture)},
}

REJECTED = {"eight schools, centred"}


def cpu() -> float:
    """CPU seconds of this process and its children."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def built(story: Callable[[], None]) -> Any:
    """Build a model."""
    with pm.Model() as model:
        story()
    return model


def ours(story: Callable[[], None], replicates: int, method: str) -> tuple[gn.Validation, float]:
    """Validate, and return CPU seconds a replicate, compilation included."""
    begin = cpu()
    found = gn.validate(built(story), method, replicates, seed=1, adaptive=False, **EQUAL)
    return found, (cpu() - begin) / replicates


def peers(story: Callable[[], None], replicates: int) -> float:
    """Return simuk's CPU seconds a replicate, compilation included; NaN where it is not installed."""
    try:
        import simuk
    except ImportError:
        return float("nan")
    logging.disable(logging.WARNING)
    chains = {**EQUAL, "progressbar": False, "cores": 1}
    spent = []
    for count in (1, replicates):
        begin = cpu()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = simuk.SBC(built(story), num_simulations=count, sample_kwargs=chains, seed=1, progress_bar=False)
            run.run_simulations()
        spent.append(cpu() - begin)
    return spent[1] / replicates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="*", help="only these")
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--peer", type=int, default=5, help="replicates of simuk; 0: none")
    parser.add_argument("--method", default="nuts")
    options = parser.parse_args()
    print(f"{'model':24} {'verdict':>8} {'least p':>8} {'failed':>6} {'CPU s':>7} {'simuk':>7} {'ratio':>6}")
    for name, story in MODELS.items():
        if options.models and name not in options.models:
            continue
        found, spent = ours(story, options.replicates, options.method)
        least = min(told["p_holm"] for told in found.quantities.values())
        beside = peers(story, options.peer) if options.peer else float("nan")
        said = "passed" if found.passed else "FAILED"
        wrong = "" if found.passed is (name not in REJECTED) else "  <- unexpected"
        row = f"{name:24} {said:>8} {least:8.2g} {found.failures['count']:6} {spent:7.3f} {beside:7.2f}"
        print(f"{row} {beside / spent:6.0f}{wrong}", flush=True)


if __name__ == "__main__":
    main()
