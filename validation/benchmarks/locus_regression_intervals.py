"""Intervals of locus_regression: ``python validation/benchmarks/locus_regression_intervals.py [PART] [--runs N]``.

Simulations from the story, fitted by ``vi`` with ``covariance="mean_field"`` and as it is by default; parts (all of
them, if none is named):

small    10 genomes, 100 loci, three processes and features, 2000 mutations
joint    the same in the joint form
sparse   the same with exposures drawn under alpha = .3
single   one genome, 100 loci, three processes and features, 5000 mutations
random   10 genomes, 300 loci with random effects, three processes and features, 3000 mutations
large    50 genomes, 1000 loci, five processes and features, 50,000 mutations

Fits are at all defaults: empirical Bayes, from alpha = tau = 1, concentrations of 1 (and a dispersion of .1), whatever
the simulation has. With ``--given`` they keep to the hyperparameters of the simulation. With ``--concentration C`` the
signatures are as uneven as Dirichlet(C) makes them, contexts and alternatives; half of COSMIC's are below .7.

Each row: a run's CPU seconds by both (one thread), and how often 90 % intervals of beta, pi and the signatures cover
the truth. The last rows are a table: means over runs with standard errors; the least coverage of a group of 50
quantities or more, over runs and quantities in order (each group is pooled over runs until it has 500 intervals); and
the ratio of the CPU seconds.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem

vi = import_module("genarium.models.locus_regression.vi")
CONCENTRATIONS = ("lam_concentration", "rho_concentration")

SMALL: dict[str, Any] = {"genome": 10, "locus": 100, "process": 3, "feature": 3, "cell": 2000}
PARTS: dict[str, dict[str, Any]] = {
    "small": SMALL,
    "joint": {**SMALL, "form": "joint"},
    "sparse": {**SMALL, "alpha": 0.3},
    "single": {**SMALL, "genome": 1, "cell": 5000},
    "random": {**SMALL, "locus": 300, "cell": 3000, "loci": "random"},
    "large": {"genome": 50, "locus": 1000, "process": 5, "feature": 5, "cell": 50_000},
}
LEVEL = 0.9


def simulated(part: str, seed: int, given: bool, concentration: float) -> tuple[Problem, dict[str, Array]]:
    """Simulate a corpus; return the problem and the truth."""
    settings = {**PARTS[part], **dict.fromkeys(CONCENTRATIONS, concentration)}
    options = {name: settings.pop(name) for name in ("form", "loci") if name in settings}
    model = gn.get("locus_regression").variant(**options)
    tree = gn.simulate(model, seed=seed, **settings)
    truth = {name: tree["truth"][name].to_numpy() for name in model.unknown.variables}
    usual = dict.fromkeys(("alpha", "tau", *CONCENTRATIONS), 1.0) | ({"dispersion": 0.1} if "loci" in options else {})
    return check(model, tree, {}, {} if given else usual), truth


def signatures(draws: Mapping[str, Array], problem: Problem) -> Array:
    """Signatures in the genome of the data; shape (..., K, M)."""
    seen = problem["context_exposure"] * (problem["context_opportunity"] @ problem["exposure"])
    each = draws["lam"][..., None] * draws["rho"] * seen[:, None]
    each = each.reshape(*each.shape[:-2], -1)
    return np.asarray(each / each.sum(-1, keepdims=True))


def covered(draws: Mapping[str, Array], truth: Mapping[str, Array], problem: Problem) -> dict[str, Array]:
    """Whether intervals cover the truth, processes matched by their signatures."""
    found, true = signatures(draws, problem), signatures(truth, problem)
    mean = found.mean(0)
    cosine = mean @ true.T / np.linalg.norm(mean, axis=1)[:, None] / np.linalg.norm(true, axis=1)
    _, order = linear_sum_assignment(-cosine)
    pairs = {
        "beta": (draws["beta"], truth["beta"][order]),
        "pi": (draws["pi"], truth["pi"][:, order]),
        "signature": (found, true[order]),
    }
    if "locus_effect" in truth:
        pairs["locus_effect"] = draws["locus_effect"], truth["locus_effect"][order]
    out = {}
    for name, (x, y) in pairs.items():
        low, high = np.quantile(x, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        out[name] = ((low <= y) & (y <= high)).ravel()
    return out


def worst(inside: list[Array], least: int = 500) -> float:
    """Least coverage of a group of quantities, pooled over runs."""
    table = np.array(inside)  # (runs, quantities)
    size = max(50, -(-least // len(table)))
    groups = max(1, table.shape[1] // size)
    return float(min(part.mean() for part in np.array_split(table, groups, axis=1)))


WAYS = "mean_field", "corrected"


def covering(part: str, runs: range, given: bool, concentration: float, sweeps: int) -> list[str]:
    """Simulate and fit, print a row a run as JSON, and return the rows of the table."""
    inside: dict[str, dict[str, list[Array]]] = {way: {} for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for run in runs:
        problem, truth = simulated(part, 1000 + run, given, concentration)
        row: dict[str, Any] = {"part": part, "concentration": concentration, "run": run}
        for way in WAYS:
            start = time.process_time()
            options: dict[str, Any] = {"covariance": way, "empirical_bayes": not given, "sweeps": sweeps}
            fitted = vi.vi(problem, np.random.default_rng(run), **options)
            seconds[way].append(time.process_time() - start)
            draws = {name: value.reshape(-1, *value.shape[2:]) for name, value in fitted.posterior.items()}
            for name, each in covered(draws, truth, problem).items():
                inside[way].setdefault(name, []).append(each)
                row[f"{way}_{name}"] = round(float(each.mean()), 3)
            row[f"{way}_seconds"] = round(seconds[way][-1], 2)
        print(json.dumps(row), flush=True)
    ratio = np.mean(seconds[WAYS[1]]) / np.mean(seconds[WAYS[0]])
    out = []
    for way in WAYS:
        told = [f"[{part}] {len(runs)} runs, concentration {concentration:g}", way]
        told += [_cell(inside[way][name]) for name in ("beta", "pi", "signature")]
        told += [_cell(inside[way]["locus_effect"]) if "locus_effect" in inside[way] else ""]
        out.append(" | ".join([*told, f"{ratio:.1f}" if way == WAYS[1] else ""]))
    return out


def _cell(runs: list[Array]) -> str:
    means = [float(one.mean()) for one in runs]
    error = float(np.std(means) / np.sqrt(max(1, len(means) - 1)))
    return f"{np.mean(means):.3f} ({error:.3f}), least {worst(runs):.3f}"


def main() -> None:
    """Print a row a run, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    parser.add_argument("--given", action="store_true", help="keep to the hyperparameters of the simulation")
    parser.add_argument("--concentration", type=float, default=1.0, help="of the signatures that are simulated")
    parser.add_argument("--sweeps", type=int, default=0, help="of the correction; 0: as many as by default")
    args = parser.parse_args()
    rows = ["simulation | draws | beta | pi | signatures | loci | ratio of CPU s", "---|---|---|---|---|---|---"]
    for part in [args.part] if args.part else PARTS:
        problem, _ = simulated(part, 1, args.given, args.concentration)
        vi.vi(problem, np.random.default_rng(0), max_iterations=3, sweeps=8, draws=4)  # compiles
        rows += covering(part, range(args.seed, args.seed + args.runs), args.given, args.concentration, args.sweeps)
    print("\n".join(f"| {row} |" for row in rows), flush=True)


if __name__ == "__main__":
    main()
