"""Cost of calibration by simulation against simuk, in one run: ``python validation/benchmarks/sbc.py``.

CPU seconds (of the process and its children) for a replicate: simulate from the prior, fit, rank the truth. The model
is nb_mixture with two components and 100 cells. simuk samples its PyMC model as its documentation says and compiles it
for each replicate; genarium compiles once. Each runs in a process of its own with empty caches; simuk's first
replicate, which fills its caches, is left out.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy is imported

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Arrays, Problem, Result
from genarium.tree import arrays

MODEL = "nb_mixture"
SIZES = {"cell": 100, "component": 2}
LONG = {"chains": 2, "tune": 500, "draws": 500}
SHORT = {"chains": 2, "tune": 200, "draws": 300}
"""Enough for 100 effective draws of each quantity in more than 95 % of the replicates."""

ARMS: dict[str, tuple[str, dict[str, int]]] = {
    "simuk": ("simuk", LONG),
    "nuts": ("nuts", LONG),
    "nuts, short": ("nuts", SHORT),
    "nuts-jax": ("nuts-jax", LONG),
    "nuts-jax, short": ("nuts-jax", SHORT),
}


def cpu() -> float:
    """CPU seconds of this process and its children."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def simulations(count: int) -> tuple[list[Problem], list[Arrays]]:
    """Draw datasets from the prior, with the truth of each."""
    model = gn.get(MODEL)
    trees = [gn.simulate(MODEL, seed=seed, **SIZES) for seed in range(count)]
    return [check(model, tree) for tree in trees], [arrays(tree["truth"].to_dataset()) for tree in trees]


def quantities(problem: Problem, unknown: Arrays) -> Array:
    """Label-invariant quantities of one draw, in one vector."""
    function = problem.model.quantities
    assert function is not None
    return np.concatenate([np.ravel(v) for v in problem.call(function, **unknown).values()])


def rank(problem: Problem, truth: Arrays, posterior: Arrays, each: int = 99) -> Array:
    """Fraction of (thinned) draws below the truth, for each quantity."""
    flat = {name: v.reshape(-1, *v.shape[2:]) for name, v in posterior.items()}
    picks = np.linspace(0, len(next(iter(flat.values()))) - 1, each).astype(int)
    drawn = np.stack([quantities(problem, {name: v[i] for name, v in flat.items()}) for i in picks])
    true = quantities(problem, {name: truth[name] for name in posterior})
    below: Array = (drawn < true).mean(0)
    return below


def fits(method: str, problems: Sequence[Problem], options: dict[str, int]) -> list[Result]:
    """Fit every dataset by an engine's own function."""
    from genarium.engines import blackjax, pymc

    rngs = [np.random.default_rng(seed) for seed in range(len(problems))]
    if method == "nuts-jax":
        return blackjax.nuts_many(problems, rngs, **options)
    return [pymc.nuts(problem, rng, **options) for problem, rng in zip(problems, rngs, strict=True)]


def genarium_arm(method: str, options: dict[str, int], replicates: int) -> dict[str, float]:
    """Return CPU seconds of the first replicate (which compiles) and of each of the others."""
    from scipy.stats import kstest

    begin = cpu()
    problems, truths = simulations(replicates)
    simulated = cpu() - begin
    first = fits(method, problems[:1], options)
    compiled = cpu()
    rest = fits(method, problems[1:], options)
    ranks = np.stack(
        [
            rank(problem, truth, {n: np.asarray(v) for n, v in found.posterior.items()})
            for problem, truth, found in zip(problems, truths, first + rest, strict=True)
        ]
    )
    total = cpu() - begin
    each = (cpu() - compiled) / (replicates - 1) + simulated / replicates
    p_value = min(kstest(column, "uniform").pvalue for column in ranks.T) * ranks.shape[1]
    return {"with_compilation": total / replicates, "without_compilation": each, "p_value": float(min(p_value, 1))}


def simuk_arm(options: dict[str, int], replicates: int) -> dict[str, float]:
    """Return CPU seconds of a replicate, the first one apart."""
    import simuk

    from genarium.engines import pymc

    model = pymc.build(simulations(1)[0][0])
    spent = []
    for count in (1, replicates):
        begin = cpu()
        sbc = simuk.SBC(model, num_simulations=count, sample_kwargs=dict(options), seed=1, progress_bar=False)
        sbc.run_simulations()
        spent.append(cpu() - begin)
    return {"with_compilation": spent[1] / replicates}


def in_own_process(arm: str, replicates: int) -> dict[str, float]:
    """Run an arm in a process of its own, with empty caches."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {"PYTENSOR_FLAGS": f"base_compiledir={folder}/pytensor", "NUMBA_CACHE_DIR": f"{folder}/numba"}
        command = [sys.executable, __file__, "--arm", arm, "--replicates", str(replicates)]
        done = subprocess.run(command, env=os.environ | caches, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm", choices=ARMS, help="run only this one, in this process")
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--peer-replicates", type=int, default=6)
    args = parser.parse_args()
    if args.arm:
        warnings.simplefilter("ignore")  # simuk's samplers warn about short chains
        method, options = ARMS[args.arm]
        found = (
            simuk_arm(options, args.replicates) if method == "simuk" else genarium_arm(method, options, args.replicates)
        )
        print(json.dumps(found))
        return
    results: dict[str, Any] = {}
    print("CPU seconds a replicate (and how many times faster than simuk)")
    for arm, (method, options) in ARMS.items():
        results[arm] = in_own_process(arm, args.peer_replicates if method == "simuk" else args.replicates)
        peer = results["simuk"]["with_compilation"]
        told = [
            f"{results[arm][kind]:.3f} ({peer / results[arm][kind]:.0f}) {kind.replace('_', ' ')}"
            for kind in ("with_compilation", "without_compilation")
            if kind in results[arm]
        ]
        size = "{chains} x ({tune} + {draws})".format(**options)
        print(f"{method:<9} {size:<18} {', '.join(told)}  {results[arm].get('p_value', '')}", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
