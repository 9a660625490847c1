"""Coverage and bias of the Bayesian model, IVW and RAPS, in worlds that the model's own prior does not make.

``python validation/benchmarks/mendelian_randomization_coverage.py``: a fixed effect of 0.4, 200 variants (standard
errors 1), balanced pleiotropy of sd 0.5 unless said otherwise.

``weak`` normal effects of sd 1 (mean F 2); ``spike and slab`` nine in ten variants do nothing, mean F 3; ``overlap``
errors correlated by .5, told; ``regions`` 20 regions of 10 variants, effects of sd .2 around .4 (coverage of the
regions' own effects); ``directional`` pleiotropy of mean 1 of the alleles that raise the exposure; ``correlated``
triples of variants correlated by .6, told (design "linked"; IVW by generalised least squares).

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

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

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


BROKEN: dict[str, Callable[[np.random.Generator], World]] = {
    "InSIDE": inside,
    "outliers": outliers,
    "overlap untold": overlap_untold,
    "correlated untold": correlated_untold,
    "reverse": reverse,
}

WORLDS: dict[str, Callable[[np.random.Generator], World]] = {
    "weak": weak,
    "spike and slab": spike_and_slab,
    "overlap": overlap,
    "regions": regions,
    "directional": directional,
    "correlated": correlated,
    **BROKEN,
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


def table(store: dict[str, list[Any]]) -> str:
    """Return the table of all worlds."""
    lines = ["| world | replicates | CPU s | method | bias | RMS error | coverage |", "|---|---|---|---|---|---|---|"]
    for name, rounds in store.items():
        seconds = float(np.median([one["seconds"] for one in rounds]))
        for method in ("model", "RAPS", "IVW"):
            have = [one["found"][method] for one in rounds if method in one["found"]]
            per = np.array([np.mean(errors) for errors, _ in have if errors])
            errors = np.concatenate([errors for errors, _ in have])
            covered = np.concatenate([covered for _, covered in have])
            bias = f"{per.mean():+.3f} ± {per.std() / len(per) ** 0.5:.3f}"
            rms = float(np.sqrt((errors**2).mean()))
            lines.append(
                f"| {name} | {len(have)} of {len(rounds)} | {f'{seconds:.2f}' if method == 'model' else ''} | "
                f"{method} | {bias} | {rms:.3f} | {covered.mean():.3f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run what is not stored yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--first", type=int, default=0, help="seed of the first replicate (a store holds one such run)")
    parser.add_argument("--only", nargs="*", choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument("--store", type=Path, help="file that keeps rounds, to go on from there")
    options = parser.parse_args()
    store: dict[str, list[Any]] = {}
    if options.store is not None and options.store.exists():
        store = json.loads(options.store.read_text())
    for seed in range(options.first, options.first + options.replicates):
        for name in options.only:
            rounds = store.setdefault(name, [])
            if len(rounds) == seed - options.first:
                rng = np.random.default_rng([seed, list(WORLDS).index(name)])
                rounds.append(estimates(name, WORLDS[name](rng), seed))
        if options.store is not None and seed % 5 == 4:
            options.store.write_text(json.dumps(store))
    if options.store is not None:
        options.store.write_text(json.dumps(store))
    print(table(store))


if __name__ == "__main__":
    main()
