"""Differential transcripts: realised false discovery rate, power and speed.

``python validation/benchmarks/transcript_abundance_differential.py``:
two conditions of ``--samples`` samples each, of transcripts of genes as in ``transcript_abundance_prior.py``;
abundances are log-normal (standard deviation 2), differ between samples of a condition by a log-normal factor whose
spread differs between transcripts, and between conditions for one in ten, by log2 fold changes of .5 to 3 either way.
Every sample is quantified from its classes (``--by``: draws of ``gibbs`` under either prior, or 20 bootstraps of EM).
``differential`` is compared, on the same replicates, with a Wilcoxon statistic that is averaged over replicates and
has its null distribution from permuted labels, over all transcripts (swish's idea), and with Welch's t on log counts
under Benjamini and Hochberg's rule. ``--speed`` times 12 samples x 100,000 transcripts instead; ``--calibrate N`` draws
changes, spreads and measurements from the layer's own story (eqs. 32 and 33) N times, weights of the mixtures anew each
time, and prints what it claims beside what holds.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import resource
import time
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats
from transcript_abundance_prior import resumed, simulate  # type: ignore[import-not-found]

from genarium.declaration import Array
from genarium.engines.chains import run
from genarium.models.transcript_abundance.differential import differential
from genarium.models.transcript_abundance.em import ascend
from genarium.models.transcript_abundance.gibbs import Sampler, SparseSampler
from genarium.models.transcript_abundance.shrinkage import CENTRES, SPREADS, WIDTHS, shrink
from genarium.models.transcript_abundance.table import tabulate


def cohort_of(
    rng: np.random.Generator, transcripts: int, each: int, reads: int, boots: int, by: str, thin: int = 10
) -> tuple[xr.Dataset, Array]:
    """Simulate a cohort; returns it and the true log2 fold changes of the nucleotide abundances."""
    data, nu = simulate(rng, transcripts, 1000, 0.3)
    e, k, w, length = (data[n] for n in ("entry_class", "entry_transcript", "weight", "effective_length"))
    K, E, N = len(nu), len(data["count"]), 2 * each
    change = rng.uniform(0.5, 3, K) * rng.choice([-1, 1], K) * (rng.uniform(size=K) < 0.1)
    spread = np.sqrt(0.05 / rng.gamma(2.0, 0.5, K))  # in natural logarithms
    counts, drawn = np.empty((N, K)), np.empty((N, boots, K), dtype=np.float32)
    for s in range(N):
        at = nu * np.exp(spread * rng.normal(size=K) + (np.log(2) * change if s >= each else 0))
        p = np.bincount(e, w * at[k], E)
        c = rng.multinomial(rng.poisson(reads * rng.uniform(0.7, 1.4)), p / p.sum())
        if by == "em":
            for r in range(-1, boots):
                again = c if r < 0 else rng.multinomial(c.sum(), c / c.sum())
                a = ascend(tabulate(e, k, w, again.astype(float), K), tolerance=0.5, max_iterations=300).a
                if r < 0:
                    counts[s] = a
                else:
                    drawn[s, r] = a
            continue
        table = tabulate(e, k, w, c.astype(float), K)
        sampler = SparseSampler(table, length) if by == "sparse" else Sampler(table, np.ones(K))
        told = run(sampler, rng, chains=1, draws=boots, tune=100, thin=thin)
        drawn[s] = told["nu"][0] * c.sum()
        counts[s] = drawn[s].mean(0)
    dims = ("sample", "transcript")
    found = {"counts": (dims, counts), "replicates": (("sample", "replicate", "transcript"), drawn)}
    found["effective_length"] = (dims, np.tile(length, (N, 1)))
    coords = {"sample": np.arange(N), "transcript": np.arange(K), "condition": ("sample", np.repeat(["a", "b"], each))}
    return xr.Dataset(found, coords, {"replicates": "bootstrap"}), change


def wilcoxon(cohort: xr.Dataset, keep: Array, most: int = 200) -> Array:
    """Return q-values of the mean Wilcoxon statistic over replicates, by permutation of the samples."""
    drawn = cohort["replicates"].to_numpy()[:, :, keep].astype(float)  # (N, R, F)
    log = np.log(cohort["counts"].to_numpy()[:, keep] + 0.5)
    scaled = (drawn + 0.5) / np.exp(np.median(log - log.mean(0), 1))[:, None, None]
    rank = stats.rankdata(scaled, axis=0).mean(1)  # (N, F): the statistic is linear in ranks
    N, half = len(rank), len(rank) // 2

    def statistic(second: Array) -> Array:
        return np.asarray(np.abs(rank[second].sum(0) - half * (N + 1) / 2))

    found = statistic(np.arange(half, N))
    every = list(combinations(range(N), half))
    rng = np.random.default_rng(0)
    some = [every[i] for i in rng.permutation(len(every))[:most]]
    null = np.sort(np.concatenate([statistic(np.array(one)) for one in some]))
    p = 1 - np.searchsorted(null, found - 1e-9) / len(null)
    share = min(1.0, float((p > 0.5).mean() / 0.5))  # of transcripts without a change (Storey)
    return adjusted(p) * share


def adjusted(p: Array) -> Array:
    """Return Benjamini and Hochberg's q-values."""
    order = np.argsort(p)[::-1]
    q = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    out = np.empty_like(q)
    out[order] = q
    return np.minimum(out, 1)


def one(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return discoveries at 5 %, how many are false, and how many changes there are to be found."""
    size = (options.transcripts, options.samples, options.reads, options.boots)
    cohort, change = cohort_of(np.random.default_rng(seed), *size, options.by, options.thin)
    return compared(seed, cohort, change, options.samples)


def compared(seed: int, cohort: xr.Dataset, change: Array, half: int) -> dict[str, Any]:
    """Return what each way finds in a cohort of known changes."""
    start = time.process_time()
    told = differential(cohort, "condition")
    seconds = time.process_time() - start
    keep = told["transcript"].to_numpy()
    log = np.log2(cohort["counts"].to_numpy()[:, keep] + 0.5)
    log -= np.median(log - log.mean(0), 1)[:, None]
    welch = np.asarray(stats.ttest_ind(log[half:], log[:half], equal_var=False).pvalue)
    true = change[keep]
    ways = {"differential": told["q_value"].to_numpy(), "wilcoxon": wilcoxon(cohort, keep), "welch": adjusted(welch)}
    low, high = told["log2_fold_change_low"].to_numpy(), told["log2_fold_change_high"].to_numpy()
    changed = true != 0
    out: dict[str, Any] = {"seed": seed, "transcripts": len(keep), "changed": int(changed.sum()), "seconds": seconds}
    held = (low <= true) & (true <= high)
    out["interval_coverage"] = [float(held.mean()), float(held[changed].mean())]
    discovered = ways["differential"] <= 0.05
    out["held_of_discovered"] = [int(held[discovered].sum()), int(discovered.sum())]
    for name, q in ways.items():
        found = q <= 0.05
        out[name] = [int(found.sum()), int((found & ~changed).sum())]
    sure = told["lfsr"].to_numpy() <= 0.05
    wrong = sure & (np.sign(true) != np.sign(told["log2_fold_change"].to_numpy()))
    out["lfsr"] = [int(sure.sum()), int(wrong.sum())]
    return out


def calibration(replicates: int, features: int = 1000, each: int = 6) -> list[dict[str, Any]]:
    """Claims of the layer, and how often they hold, by bins of the claim; changes come from its own story."""
    told: dict[str, list[Array]] = {"lfdr": [], "lfsr": [], "q_value": [], "covered": []}
    true: dict[str, list[Array]] = {name: [] for name in told}
    X = np.column_stack([np.ones(2 * each), np.repeat([0.0, 1.0], each)])
    for seed in range(replicates):
        rng = np.random.default_rng(seed)
        w = np.concatenate([[rng.uniform(0.5, 0.95)], rng.dirichlet(np.full(len(CENTRES) - 1, 0.3))])
        w[1:] *= 1 - w[0]
        m = rng.choice(len(w), features, p=w)
        change = rng.normal(CENTRES[m], WIDTHS[m])
        spread = rng.choice(SPREADS, features, p=rng.dirichlet(np.full(len(SPREADS), 0.3)))
        v = np.exp(rng.normal(-3, 1, (2 * each, features)))
        y = X[:, 1:] * change + rng.normal(0, 3, features) + np.sqrt(v + spread**2) * rng.normal(size=v.shape)
        found = shrink(y, v, X)
        order = np.argsort(found.lfdr, kind="stable")
        q = np.empty(features)
        q[order] = np.cumsum(found.lfdr[order]) / np.arange(1, features + 1)
        for name, values in (("lfdr", found.lfdr), ("lfsr", found.lfsr), ("q_value", q)):
            told[name].append(values)
            wrong = np.sign(change) != np.sign(found.mean) if name == "lfsr" else change == 0
            true[name].append(wrong)
        told["covered"].append(np.full(features, 0.9))
        true["covered"].append((found.low <= change) & (change <= found.high))
    rows = []
    for name, parts in told.items():
        claim, holds = np.concatenate(parts), np.concatenate(true[name])
        edges = (
            [0, 0.05] if name == "q_value" else [0, 1] if name == "covered" else [0, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 1]
        )
        for low, high in pairwise(edges):
            some = (claim >= low) & (claim <= high)
            mean = holds[some].mean() if name == "q_value" else claim[some].mean()
            by = [
                holds[i * features : (i + 1) * features][some[i * features : (i + 1) * features]]
                for i in range(replicates)
            ]
            rate = np.array([part.mean() for part in by if len(part)])
            row = {"of": name, "from": low, "to": high, "claimed": 0.05 if name == "q_value" else float(mean)}
            error = float(rate.std(ddof=1) / np.sqrt(len(rate)))
            rows.append({**row, "found": float(holds[some].mean()), "se": error, "features": int(some.sum())})
    return rows


def speed(transcripts: int, replicates: int) -> dict[str, float]:
    """CPU seconds and memory of a comparison of 12 samples."""
    rng = np.random.default_rng(0)
    mean = rng.lognormal(3, 2, transcripts)
    drawn = np.empty((12, replicates, transcripts), dtype=np.float32)
    for s in range(12):
        at = mean * np.exp(0.3 * rng.normal(size=transcripts))
        drawn[s] = rng.poisson(at, (replicates, transcripts))
    found = {
        "counts": (("sample", "transcript"), drawn.mean(1).astype(float)),
        "replicates": (("sample", "replicate", "transcript"), drawn),
    }
    cohort = xr.Dataset(found, {"condition": ("sample", np.repeat(["a", "b"], 6))})
    cohort = cohort.assign_coords(transcript=np.arange(transcripts))
    start = time.process_time()
    told = differential(cohort, "condition", least=0.0)
    return {
        "seconds": time.process_time() - start,
        "features": told.sizes["transcript"],
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--transcripts", type=int, default=2000)
    parser.add_argument("--reads", type=int, default=400_000)
    parser.add_argument("--boots", type=int, default=20)
    parser.add_argument("--by", choices=("sparse", "dirichlet", "em"), default="sparse")
    parser.add_argument("--thin", type=int, default=10)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--calibrate", type=int, default=0, metavar="N")
    parser.add_argument("--store", type=Path, help="a file that keeps the simulations; it is gone on with")
    options = parser.parse_args()
    if options.calibrate:
        for row in calibration(options.calibrate):
            print(json.dumps(row))
        return
    if options.speed:
        print(json.dumps(speed(100_000, 50)))
        return
    told = resumed(options.store)
    for seed in range(options.first, options.first + options.simulations):
        if any(each["seed"] == seed for each in told):
            continue
        told.append(one(seed, options))
        print(json.dumps(told[-1]), flush=True)
        if options.store:
            with options.store.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told[-1]) + "\n")
    changed = sum(each["changed"] for each in told)
    for name in ("differential", "wilcoxon", "welch"):
        found, false = np.sum([each[name] for each in told], 0)
        print(json.dumps({name: {"realised_fdr": false / max(found, 1), "power": (found - false) / changed}}))
    sure, wrong = np.sum([each["lfsr"] for each in told], 0)
    coverage = np.mean([each["interval_coverage"] for each in told], 0).tolist()
    held, found = np.sum([each["held_of_discovered"] for each in told], 0)
    about = {
        "of": int(sure),
        "coverage_of_all_and_of_changed": coverage,
        "coverage_of_discovered": held / max(found, 1),
    }
    print(json.dumps({"false_signs_at_lfsr_0.05": wrong / max(sure, 1), **about}))


if __name__ == "__main__":
    main()
