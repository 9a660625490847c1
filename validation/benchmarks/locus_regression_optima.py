"""Where ``vi`` of locus_regression ends, beside its ascent from the truth (``python locus_regression_optima.py``).

Thirty simulations of ten processes, 100 genomes, 100 windows and 20,000 mutations, six of each world: plain (flat
signatures), uneven (processes of very different sizes), alike (two signatures of cosine near .9), sparse (signatures
from small concentrations) and few (60 genomes of 100 mutations); alpha is .1, .2 or .5. Printed, in nats above the end
of the ascent that starts from the true processes of all mutations: where the agreeing ascents end, where the moves out
of local optima lead from there (switches alone; with exchanges and births; all of them, Gibbs sweeps too), and CPU
seconds. ``--from`` and ``--to`` give a range. With ``--corpora``: ELBOs of forty breast cancer genomes and a third of
the windows, where these are seeds. With ``--windows``: of 10^6 mutations in so many windows, from one start.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from locus_regression_sets import breast  # type: ignore[import-not-found]

import genarium as gn
from genarium.data import check
from genarium.declaration import Problem
from genarium.engines.ascent import Ascent, ascend
from genarium.models.locus_regression.channels import by_context
from genarium.models.locus_regression.corpus import corpus
from genarium.models.locus_regression.escapes import GAIN, moved
from genarium.models.locus_regression.resampling import resampled
from genarium.models.locus_regression.sweep import PATIENCE, State, Step
from genarium.models.locus_regression.switches import settled

vi = import_module("genarium.models.locus_regression.vi")

WORLDS = ("plain", "uneven", "alike", "sparse", "few")
K = 10


def world(number: int) -> tuple[str, Any]:
    """Simulate a corpus; return its kind and its tree."""
    rng, kind = np.random.default_rng(1000 + number), WORLDS[number % len(WORLDS)]
    alpha: Any = float(rng.choice([0.1, 0.2, 0.5]))
    sizes: dict[str, Any] = {"genome": 100, "locus": 100, "feature": 3, "process": K, "cell": 20_000}
    if kind == "uneven":
        alpha = 0.02 + alpha * rng.gamma(1, 1, K)
    if kind in ("uneven", "sparse"):
        sizes |= {"lam_concentration": 0.3, "rho_concentration": 0.5}
    if kind == "alike":
        lam, rho = rng.dirichlet(np.full(32, 0.5), K), rng.dirichlet(np.full(3, 0.7), (K, 32))
        lam[1], rho[1] = 0.6 * lam[0] + 0.4 * lam[1], 0.6 * rho[0] + 0.4 * rho[1]
        sizes |= {"lam": lam, "rho": rho}
    if kind == "few":
        sizes |= {"genome": 60, "cell": 6000}
    return kind, gn.simulate("locus_regression", seed=number, alpha=alpha, **sizes)


def from_truth(step: Step, problem: Problem, tree: Any) -> State:
    """Return the state in which all mutations are of their true processes."""
    truth = tree["truth"].to_dataset()
    z, state = truth["z"].to_numpy(), step.first(problem, np.random.default_rng(0))
    by_genome, by_channel = np.zeros(state.gamma.shape), np.zeros((K, problem.sizes["channel"]))
    np.add.at(by_genome, (problem["genome"], z), problem["count"])
    np.add.at(by_channel, (z, problem["channel"]), problem["count"])
    lam = truth["lam"].to_numpy() * by_channel.sum(1, keepdims=True)
    state = replace(
        state,
        gamma=state.alpha + by_genome,
        delta=state.lam_concentration[:, None] + lam,
        omega=step.alternatives(state, by_context(by_channel, lam.shape[1])),
        effects=replace(state.effects, mean=truth["beta"].to_numpy()),
        age=PATIENCE + 1,
    )
    return step.normalised(state)


def ended(
    step: Step, problem: Problem, seed: int, starts: int = 3
) -> tuple[dict[str, float], dict[str, float], list[Ascent[State]]]:
    """Ascend and move; return ELBOs, CPU seconds and the ascents."""
    rng, start = np.random.default_rng(seed), time.process_time()
    settings = {"restarts": starts, "agreeing": min(2, starts), "tolerance": 0.003, "max_iterations": 2000}
    scouts, best = vi.climbed(step, problem, rng, None, **settings)
    climbed, done = time.process_time(), sum(len(scout.bounds) for scout in scouts)
    switched = settled(step, scouts[best], 0.003)
    found = moved(step, switched, 0.003, done)
    exchanged = time.process_time()
    every = resampled(step, found, problem, rng, 0.003)
    if every.bound > found.bound + GAIN:
        every = moved(step, every, 0.003, done)
    seconds = {"ascents": climbed - start, "moves": exchanged - climbed, "gibbs": time.process_time() - exchanged}
    ends = {"before": scouts[best].bound, "switches": switched.bound, "exchanges": found.bound, "after": every.bound}
    return ends, seconds, scouts


def measured(number: int) -> dict[str, Any]:
    """Fit a corpus, starting from itself and from the truth."""
    kind, tree = world(number)
    problem = check(gn.get("locus_regression"), tree)
    step = Step(corpus(problem), empirical_bayes=True)
    ends, seconds, scouts = ended(step, problem, number)
    pack: Any = (step.pack, step.unpack)
    truth = ascend(step, from_truth(step, problem, tree), tolerance=0.003, max_iterations=2000, vector=pack).bound
    agreed = sum(scout.bound > ends["before"] - 0.05 for scout in scouts)
    return {
        "world": kind,
        "number": number,
        "agreed": int(agreed),
        **{name: round(end - truth, 2) for name, end in ends.items()},
        **{name: round(value, 2) for name, value in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, help="instead: where the breast cancer genomes are")
    parser.add_argument("--processes", type=int, default=8, help="of these")
    parser.add_argument("--from", dest="low", type=int, default=0)
    parser.add_argument("--to", dest="high", type=int, default=30)
    parser.add_argument("--windows", type=int, help="instead: of one large corpus")
    args = parser.parse_args()
    if args.windows:
        tree = gn.simulate(
            "locus_regression", 1, genome=100, locus=args.windows, feature=9, process=10, cell=10**6, tau=0.3
        )
        problem = check(gn.get("locus_regression"), tree)
        print(json.dumps(ended(Step(corpus(problem), empirical_bayes=True), problem, 1, starts=1)[:2]))
        return
    if args.corpora:
        problem = breast(args.corpora, args.processes)
        for seed in range(args.low, args.high):
            print(json.dumps(ended(Step(corpus(problem), empirical_bayes=True), problem, seed)[:2]), flush=True)
        return
    rows = []
    for number in range(args.low, args.high):
        rows.append(measured(number))
        print(json.dumps(rows[-1]), flush=True)
    for name in ("before", "switches", "exchanges", "after"):
        below = [row[name] < -1 for row in rows]
        print(f"{name}: {sum(below)} of {len(below)} end more than a nat below the ascent from the truth")


if __name__ == "__main__":
    main()
