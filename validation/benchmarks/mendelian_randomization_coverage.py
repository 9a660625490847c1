"""Coverage and bias of the Bayesian model, IVW and RAPS, in worlds that the model's own prior does not make.

``python validation/benchmarks/mendelian_randomization_coverage.py``: a fixed effect of 0.4, 200 variants (standard
errors 1), balanced pleiotropy of sd 0.5 unless said otherwise.

``weak`` normal effects of sd 1 (mean F 2); ``spike and slab`` nine in ten variants do nothing, mean F 3; ``overlap``
errors correlated by .5, told; ``regions`` 20 regions of 10 variants, effects of sd .2 around .4 (coverage of the
regions' own effects); ``directional`` pleiotropy of mean 1 of the alleles that raise the exposure, ``slight`` of mean
.3; ``correlated`` triples of variants correlated by .6, told (design "linked"; IVW by generalised least squares).

Where an assumption is broken and not told (``BROKEN``, strong variants): ``InSIDE`` pleiotropy correlated by .6 with
the variant's effect on the exposure; ``outliers`` one variant in twenty has pleiotropy of sd 5; ``overlap untold``
errors correlated by .5; ``correlated untold`` the triples; ``reverse`` a third of the variants act on the outcome and
through it on the exposure.

Of the fit by ``vi``
with linear response (``independence`` for the last; without the predictive checks that ``genarium fit`` adds): bias
with its Monte-Carlo error, root mean square error, coverage of 95 % intervals, CPU seconds of a fit. One core.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from card_tables import Table, run  # type: ignore[import-not-found]

import genarium as gn
from genarium.data import check
from genarium.declaration import Array
from genarium.errors import GenariumError
from genarium.models.mendelian_randomization import ivw, raps
from genarium.models.mendelian_randomization.independence import independence
from genarium.models.mendelian_randomization.vi import vi

NAME = "mendelian_randomization"
EFFECT, J = 0.4, 200
SPREAD = 0.2
"""Sd of effects between regions."""

World = dict[str, Any]


def effects(rng: np.random.Generator, gamma: Array, theta: Array | float = EFFECT, **more: float) -> World:
    """Observe effects of given truth: ``overlap`` of errors, ``directed`` pleiotropy."""
    rho = more.get("overlap", 0.0)
    first, second = rng.normal(size=(2, len(gamma)))
    y = theta * gamma + rng.normal(0, 0.5, len(gamma)) + more.get("directed", 0.0) * np.sign(gamma)
    one = np.ones(len(gamma))
    return {
        "beta_exposure": gamma + first,
        "se_exposure": one,
        "beta_outcome": y + rho * first + np.sqrt(1 - rho**2) * second,
        "se_outcome": one,
        "error_covariance": rho * one,
    }


def weak(rng: np.random.Generator) -> World:
    return effects(rng, rng.normal(size=J))


def spike_and_slab(rng: np.random.Generator) -> World:
    return effects(rng, np.where(rng.uniform(size=J) < 0.1, rng.normal(0, 20**0.5, J), 0.0))


def overlap(rng: np.random.Generator) -> World:
    return effects(rng, rng.normal(0, 1.5, J), overlap=0.5)


def directional(rng: np.random.Generator) -> World:
    return effects(rng, rng.normal(0, 3, J), directed=1.0)


def slight(rng: np.random.Generator) -> World:
    return effects(rng, rng.normal(0, 3, J), directed=0.3)


def regions(rng: np.random.Generator) -> World:
    of = np.arange(J) // 10
    theta = rng.normal(EFFECT, SPREAD, 20)
    return {**effects(rng, rng.normal(0, 3, J), theta[of]), "region": of, "truth": theta}


def linked(rng: np.random.Generator, sd: float) -> World:
    at = np.arange(J)
    R = np.where(at[:, None] // 3 == at // 3, 0.6, 0.0)
    np.fill_diagonal(R, 1)
    root = np.linalg.cholesky(R)
    gamma, direct = rng.normal(0, sd, J), rng.normal(0, 0.5, J)
    x = R @ gamma + root @ rng.normal(size=J)
    y = R @ (EFFECT * gamma + direct) + root @ rng.normal(size=J)
    one = np.ones(J)
    return {"beta_exposure": x, "se_exposure": one, "beta_outcome": y, "se_outcome": one, "ld": R}


def correlated(rng: np.random.Generator) -> World:
    return linked(rng, 1.5)


def inside(rng: np.random.Generator) -> World:
    gamma = rng.normal(0, 3, J)
    made = effects(rng, gamma)
    return made | {"beta_outcome": made["beta_outcome"] + 0.6 / 0.8 * 0.5 * gamma / 3}


def outliers(rng: np.random.Generator) -> World:
    made = effects(rng, rng.normal(0, 3, J))
    return made | {"beta_outcome": made["beta_outcome"] + np.where(rng.uniform(size=J) < 0.05, rng.normal(0, 5, J), 0)}


def overlap_untold(rng: np.random.Generator) -> World:
    made = overlap(rng)
    return {key: value for key, value in made.items() if key != "error_covariance"}


def correlated_untold(rng: np.random.Generator) -> World:
    return {key: value for key, value in linked(rng, 3).items() if key != "ld"}


def reverse(rng: np.random.Generator) -> World:
    """Of a third of the variants the effect on the outcome comes first; the exposure follows it with slope .4."""
    made = effects(rng, rng.normal(0, 3, J))
    first = rng.normal(0, 3, J)
    turned = rng.uniform(size=J) < 1 / 3
    x, y = 0.4 * first + rng.normal(size=J), first + rng.normal(size=J)
    return made | {
        "beta_exposure": np.where(turned, x, made["beta_exposure"]),
        "beta_outcome": np.where(turned, y, made["beta_outcome"]),
    }


TOLD: dict[str, Callable[[np.random.Generator], World]] = {
    "weak, mean F 2": weak,
    "spike and slab, mean F 3": spike_and_slab,
    "overlap .5, given": overlap,
    "20 regions": regions,
    "directional pleiotropy": directional,
    "slight directional pleiotropy": slight,
    "triples correlated by .6, given": correlated,
}

BROKEN: dict[str, Callable[[np.random.Generator], World]] = {
    "InSIDE: pleiotropy correlated by .6 with the effect on the exposure": inside,
    "outliers: one variant in twenty has pleiotropy of sd 5": outliers,
    "errors correlated by .5 (overlapping samples)": overlap_untold,
    "triples of variants correlated by .6": correlated_untold,
    "a third of the variants act on the outcome first": reverse,
}


def estimates(name: str, world: World, seed: int) -> dict[str, Any]:
    """Error, whether it is covered, and CPU seconds, for each method; lists over regions, if there are several."""
    data = {key: value for key, value in world.items() if key != "truth"}
    truth = np.atleast_1d(world.get("truth", EFFECT))
    start = time.process_time()
    rng = np.random.default_rng(seed)
    try:
        if name == "correlated":
            fit = independence(check(gn.get(NAME).variant(design="linked"), data), rng)
        else:
            fit = vi(check(gn.get(NAME), data), rng, polish=False)
        draws = np.asarray(fit.posterior["theta"])
        draws = draws.reshape(draws.shape[0] * draws.shape[1], -1)
        low, high = np.quantile(draws, (0.025, 0.975), axis=0)
        found = {"model": ((draws.mean(0) - truth).tolist(), ((low <= truth) & (truth <= high)).tolist())}
    except GenariumError:
        found = {}  # refused: counted
    seconds = time.process_time() - start
    given = tuple(data[key] for key in ("beta_exposure", "se_exposure", "beta_outcome", "se_outcome"))
    for method in ("IVW", "RAPS"):
        errors, covered = [], []
        for s, theta in enumerate(truth):
            some = data.get("region", np.zeros(J, dtype=int)) == s
            part = tuple(value[some] for value in given)
            try:
                if method == "IVW":
                    one: Any = ivw(*part, correlation=data.get("ld"))
                else:
                    one = raps(*part, covariance=data["error_covariance"][some] if "error_covariance" in data else 0.0)
            except GenariumError:
                continue
            errors.append(one.estimate - theta)
            covered.append(one.ci[0] <= theta <= one.ci[1])
        found[method] = errors, [bool(one) for one in covered]
    return {"found": found, "seconds": seconds}


def one(what: str, size: None, seed: int) -> dict[str, float]:
    """Simulate, fit and compare."""
    worlds = {**TOLD, **BROKEN}
    rng = np.random.default_rng([FIRST + seed, list(worlds).index(what)])
    found = estimates("correlated" if what == "triples correlated by .6, given" else what, worlds[what](rng), seed)
    out = {"seconds": found["seconds"], "refused": float("model" not in found["found"])}
    for method, (errors, covered) in found["found"].items():
        if errors:
            out[f"{method}_bias"] = float(np.mean(errors))
            out[f"{method}_rms"] = float(np.mean(np.square(errors)))
            out[f"{method}_covered"] = float(np.mean(covered))
    return out


FIRST = 7000
"""Seed of the first simulation: earlier ones have been looked at while the methods were made."""

SHOWN = ("model", "RAPS", "IVW")
COLUMNS = {
    f"{method}_{of}": heading if of != "bias" else f"{method}: bias"
    for method in SHOWN
    for of, heading in (("bias", "bias"), ("rms", "RMS error"), ("covered", "coverage"))
}
ROOTS = [f"{method}_rms" for method in SHOWN]


def table(worlds: dict[str, Any], name: str, first: str, simulations: int) -> Table:
    columns = {**COLUMNS, "seconds": "CPU s", "refused": "refused"} if name == "told" else COLUMNS
    each = dict.fromkeys(worlds, (None,))
    return Table("mendelian_randomization_coverage", NAME, each, one, columns, simulations, name, first, ROOTS)


TABLES = [table(TOLD, "told", "world", 200), table(BROKEN, "broken", "what is broken", 100)]

if __name__ == "__main__":
    run(TABLES, __doc__)
