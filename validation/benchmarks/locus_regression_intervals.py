"""Intervals of locus_regression: ``python validation/benchmarks/locus_regression_intervals.py PART [--runs N]``.

Simulations from the story, fitted by ``vi`` with ``covariance="mean_field"`` and as it is by default; parts:

small    10 genomes, 100 loci, three processes and features, 2000 mutations
joint    the same in the joint form
sparse   the same with exposures drawn under alpha = .3
random   10 genomes, 300 loci with random effects, three processes and features, 3000 mutations
large    50 genomes, 1000 loci, five processes and features, 50,000 mutations

Each row: a run's CPU seconds by both (one thread), and how often 90 % intervals of beta, pi and the signatures cover
the truth. The last row: means over runs with standard errors, ``worst``, the least coverage of a group of 50 quantities
or more, over runs and quantities in order (each group is pooled over runs until it has 500 intervals), and the ratio of
the CPU seconds. Hyperparameters are those of the simulation (``--learn``: empirical Bayes, from tau = alpha = 1).
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

SMALL: dict[str, Any] = {"genome": 10, "locus": 100, "process": 3, "feature": 3, "cell": 2000}
PARTS: dict[str, dict[str, Any]] = {
    "small": SMALL,
    "joint": {**SMALL, "form": "joint"},
    "sparse": {**SMALL, "alpha": 0.3},
    "random": {**SMALL, "locus": 300, "cell": 3000, "loci": "random"},
    "large": {"genome": 50, "locus": 1000, "process": 5, "feature": 5, "cell": 50_000},
}
LEVEL = 0.9


def simulated(part: str, seed: int, learn: bool) -> tuple[Problem, dict[str, Array]]:
    """Simulate a corpus; return the problem and the truth."""
    settings = dict(PARTS[part])
    options = {name: settings.pop(name) for name in ("form", "loci") if name in settings}
    model = gn.get("locus_regression").variant(**options)
    tree = gn.simulate(model, seed=seed, **settings)
    truth = {name: tree["truth"][name].to_numpy() for name in model.unknown.variables}
    return check(model, tree, {}, {"alpha": 1.0, "tau": 1.0} if learn else {}), truth


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


def main() -> None:
    """Print a row a run, as JSON, and one of all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    parser.add_argument("--learn", action="store_true")
    args = parser.parse_args()
    ways = ("mean_field", "corrected")
    problem, _ = simulated(args.part, 1, args.learn)
    vi.vi(problem, np.random.default_rng(0), max_iterations=3, sweeps=8, draws=4)  # compiles
    inside: dict[str, dict[str, list[Array]]] = {way: {} for way in ways}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for run in range(args.seed, args.seed + args.runs):
        problem, truth = simulated(args.part, 1000 + run, args.learn)
        row: dict[str, Any] = {"run": run}
        for way in ways:
            start = time.process_time()
            fitted = vi.vi(problem, np.random.default_rng(run), covariance=way, empirical_bayes=args.learn)
            seconds[way].append(time.process_time() - start)
            draws = {name: value.reshape(-1, *value.shape[2:]) for name, value in fitted.posterior.items()}
            for name, each in covered(draws, truth, problem).items():
                inside[way].setdefault(name, []).append(each)
                row[f"{way}_{name}"] = round(float(each.mean()), 3)
            row[f"{way}_seconds"] = round(seconds[way][-1], 2)
        print(json.dumps(row), flush=True)
    told: dict[str, Any] = {"part": args.part, "runs": args.runs, "learn": args.learn}
    for way in ways:
        for name, runs in inside[way].items():
            means = [float(one.mean()) for one in runs]
            error = float(np.std(means) / np.sqrt(max(1, len(means) - 1)))
            told[f"{way}_{name}"] = f"{np.mean(means):.3f} ({error:.3f}), worst {worst(runs):.3f}"
        told[f"{way}_seconds"] = round(float(np.mean(seconds[way])), 2)
    told["ratio"] = round(float(np.mean(seconds[ways[1]]) / np.mean(seconds[ways[0]])), 2)
    print(json.dumps(told, indent=1), flush=True)


if __name__ == "__main__":
    main()
