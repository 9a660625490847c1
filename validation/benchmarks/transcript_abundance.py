"""Speed and coverage of transcript_abundance, on one core: ``python validation/benchmarks/transcript_abundance.py``.

``em``: EM by salmon's rule on a case of the size of salmon's (582 classes, 200 transcripts) against the same iterations
with SciPy's sparse products, in CPU milliseconds. salmon 1.10.1's own log stamps for its EM phase on such a case are
15 to 18 ms. ``large``: EM on simulated gene families, 100,000 classes and 200,000 transcripts, until the optimality
bound is below one nat. ``sampling``: effective draws a CPU second of Gibbs sampling (with and without the moves that
cross flat directions), NUTS and Stan. ``arc``: how often 90 % intervals cover the truth on reads of the course's locus
simulated anew, by the likelihood that knows positions and by the uniform one.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import genarium as gn
from genarium.declaration import Array
from genarium.models.transcript_abundance.em import CHANGE, FLOOR, LEAST, ascend
from genarium.models.transcript_abundance.kernels import until_changes_are_small
from genarium.models.transcript_abundance.locus import ARC_NU, Locus
from genarium.models.transcript_abundance.online import salmon_start
from genarium.models.transcript_abundance.table import Table, tabulate

NAME = "transcript_abundance"


def cpu(work: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def families(classes: int, transcripts: int, reads: int, seed: int) -> Table:
    """Simulate classes of genes with about six isoforms each; one class in fifty reaches into another gene."""
    rng = np.random.default_rng(seed)
    length = rng.lognormal(7.2, 0.6, transcripts) + 150
    nu = rng.lognormal(0, 2, transcripts) * (rng.uniform(size=transcripts) < 0.5) * length
    gene = np.sort(rng.integers(0, max(transcripts // 6, 1), transcripts))
    rows: list[Array] = []
    for k in rng.integers(0, transcripts, classes):
        mine = np.arange(*np.searchsorted(gene, (gene[k], gene[k] + 1)))
        some = mine[rng.uniform(size=len(mine)) < 0.6]
        extra = [rng.integers(0, transcripts)] if rng.uniform() < 0.02 else []
        rows.append(np.unique(np.concatenate([[k], some, extra]).astype(np.int64)))
    e, k = np.repeat(np.arange(classes), [len(row) for row in rows]), np.concatenate(rows)
    w = rng.gamma(2, 1, len(e)) / length[k]
    p = np.bincount(e, w * nu[k], classes)
    return tabulate(e, k, w, rng.multinomial(reads, p / p.sum()).astype(float), transcripts)


def em(repeats: int) -> dict[str, float]:
    """CPU milliseconds by salmon's rule, ours and SciPy's; medians."""
    from scipy import sparse

    table = families(582, 200, 200_000, 1)
    W = sparse.csr_array((table.weight, table.column, table.first), shape=(len(table.count), 200))
    T = W.T.tocsr()
    steps = [0]

    def ours() -> None:
        a = salmon_start(table, np.full(200, 1000.0))
        steps[0] = until_changes_are_small(
            table.first, table.column, table.weight, table.count, table.sole, a, 0.0, LEAST, 10_000, CHANGE, FLOOR
        )

    def theirs() -> None:
        a = salmon_start(table, np.full(200, 1000.0))
        for _ in range(steps[0]):
            a = table.sole + a * (T @ (table.count / (W @ a)))

    ours()
    found = 1e3 * np.median([(cpu(ours), cpu(theirs)) for _ in range(repeats)], axis=0)
    bounded = [cpu(lambda: ascend(table, tolerance=0.01, max_iterations=10_000)) for _ in range(repeats)]
    return {
        "iterations": steps[0],
        "genarium_ms": found[0],
        "scipy_ms": found[1],
        "scipy_over_genarium": found[1] / found[0],
        "to_a_bound_of_0.01_nat_ms": 1e3 * float(np.median(bounded)),
    }


def large() -> dict[str, float]:
    """CPU seconds to a bound of one nat."""
    ascend(families(200, 100, 10_000, 1), tolerance=0.01, max_iterations=1000)  # compile
    table = families(100_000, 200_000, 20_000_000, 2)
    start = time.process_time()
    found = ascend(table, tolerance=1.0, max_iterations=10_000)
    return {
        "seconds": time.process_time() - start,
        "bound_nats": found.gap,
        "sweeps": found.sweeps,
        "components": len(table.mass),
        "largest_component": int(np.bincount(table.label[table.hit]).max()),
    }


def sampling() -> dict[str, dict[str, float]]:
    """Effective draws a CPU second of the slowest abundance, on the default simulation; nothing left to compile."""
    from arviz_stats.base import array_stats

    from genarium.models.transcript_abundance import directions

    tree = gn.simulate(NAME, seed=1, prior="dirichlet")
    out: dict[str, dict[str, float]] = {}
    for name in ("gibbs", "gibbs without directions", "nuts", "stan"):
        method, largest = name.split(maxsplit=1)[0], directions.LARGEST
        if name != method:
            directions.LARGEST = 0
        gn.fit(NAME, tree, method, seed=1)
        fitted = gn.fit(NAME, tree, method, seed=2)
        directions.LARGEST = largest
        nu = fitted["posterior"]["nu"].to_numpy().transpose(2, 0, 1)
        ess = float(np.min(array_stats.ess(nu, chain_axis=-2, draw_axis=-1, method="bulk")))
        rhat = float(np.max(array_stats.rhat(nu, chain_axis=-2, draw_axis=-1)))
        seconds = fitted.attrs["cpu_seconds"]
        found = {"cpu_seconds": seconds, "min_bulk_ess": ess, "max_rhat": rhat}
        out[name] = {**found, "ess_per_cpu_second": ess / seconds}
    return out


def arc(replicates: int, reads: int) -> dict[str, dict[str, float]]:
    """Coverage of Gibbs sampling's 90 % intervals over isoforms and replicates, and twice the nats of the truth."""
    from genarium.models.transcript_abundance.likelihood import log_likelihood

    locus, nu = Locus(), ARC_NU / ARC_NU.sum()
    out: dict[str, dict[str, float]] = {}
    for protocol in ("fragments", "uniform"):
        covered, deviance, rhats, first = [], [], [], []
        for seed in range(replicates):
            data = locus.classes(locus.simulate(np.random.default_rng(seed), nu, reads), protocol)
            tree = gn.fit(NAME, data, "gibbs", seed, prior="dirichlet", draws=400, tune=100, chains=2)
            low, high = np.quantile(tree["posterior"]["nu"].to_numpy(), (0.05, 0.95), axis=(0, 1))
            covered.append((low <= nu) & (nu <= high))
            verdicts = {v.check: v.value for v in gn.diagnose(NAME, tree).verdicts}
            rhats.append(verdicts["R-hat"])
            best = gn.fit(NAME, data, "em")["point"]["nu"].to_numpy()
            first.append(best[0] * reads)
            arrays = {n: np.asarray(data[n]) for n in ("count", "weight", "entry_class", "entry_transcript")}
            total = [float(log_likelihood(at, **arrays).sum()) for at in (best, nu)]
            deviance.append(2 * (total[0] - total[1]))
        out[protocol] = {
            "coverage": float(np.mean(covered)),
            "standard_error": float(np.std(np.mean(covered, 1)) / np.sqrt(replicates)),
            "mean_deviance": float(np.mean(deviance)),
            "highest_rhat": float(max(rhats)),
            "arc1_mean": float(np.mean(first)),
            "arc1_truth": float(nu[0] * reads),
        }
    return out


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("em", "large", "sampling", "arc"))
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument("--reads", type=int, default=100_000)
    options = parser.parse_args()
    parts: dict[str, Callable[[], Any]] = {
        "em": lambda: em(options.repeats),
        "large": large,
        "sampling": sampling,
        "arc": lambda: arc(options.replicates, options.reads),
    }
    for name, run in parts.items():
        if options.only in (None, name):
            print(json.dumps({name: run()}, indent=2), flush=True)


if __name__ == "__main__":
    main()
