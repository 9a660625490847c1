"""How far 90 % intervals hold where transcripts are absent.

``python validation/benchmarks/transcript_abundance_prior.py``:

Genes of 1 to 12 isoforms, random subsets of 3 to 10 exons, 606 transcripts in all; fragments of 200 nt start uniformly,
and a class is the set of exons that a fragment touches within a transcript. Of the transcripts 20 to 65 % are absent;
the others have log-normal TPM (standard deviation 2). 100,000 reads. For each prior of ``gibbs`` (the sparse one, and
Dirichlet(1) beside it) it prints the coverage by the true reads, how often intervals of absent ones
include zero, the highest R-hat and the CPU seconds; and by bins of the posterior probability of absence, what it claims
and how many are absent. One line of JSON a simulation, and the sums at the end; ``--store FILE`` keeps the lines there,
and goes on after the simulations that it has.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import genarium as gn
from genarium.declaration import Array

NAME = "transcript_abundance"

STRATA = {"absent": (0.0, 0.0), "<5": (0.0, 5.0), "5-50": (5.0, 50.0), "50-500": (50.0, 500.0), ">500": (500.0, np.inf)}
"""True reads: above the first number, and at most the second."""

CLAIMS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.01)
"""Edges of the bins of the posterior probability of absence."""

FRAGMENT = 200.0
"""Nucleotides."""


def isoforms(rng: np.random.Generator, most: int) -> list[tuple[Array, Array]]:
    """Draw a gene: of each isoform the numbers of its exons and their lengths."""
    exons, wanted = int(rng.integers(3, 11)), min(int(rng.integers(1, 13)), most)
    length = rng.lognormal(5.3, 0.6, exons) + 60
    found: set[tuple[int, ...]] = set()
    for _ in range(500):
        some = tuple(int(i) for i in np.flatnonzero(rng.uniform(size=exons) < 0.65))
        if len(some) > 1:
            found.add(some)
        if len(found) == wanted:
            break
    return [(np.array(one), length[list(one)]) for one in sorted(found)]


def footprints(exons: Array, length: Array) -> tuple[dict[tuple[int, ...], float], float]:
    """Return how many starts of a fragment touch each set of exons, and the number of starts."""
    end = np.cumsum(length)
    begin, starts = end - length, max(float(end[-1]) - FRAGMENT, 1.0)
    edges = np.concatenate([[0, starts], end, begin, end - FRAGMENT, begin - FRAGMENT])
    cut = np.unique(np.clip(edges, 0, starts))
    out: dict[tuple[int, ...], float] = {}
    for left, right in pairwise(cut):
        middle = (left + right) / 2
        touched = tuple(int(e) for e in exons[(begin < middle + FRAGMENT) & (end > middle)])
        out[touched] = out.get(touched, 0.0) + right - left
    return out, starts


def simulate(rng: np.random.Generator, transcripts: int, reads: int, absent: float) -> tuple[dict[str, Any], Array]:
    """Return the data of a sample, and the true abundances."""
    classes, members, weights, lengths, k, E = [], [], [], [], 0, 0
    while k < transcripts:
        numbered: dict[tuple[int, ...], int] = {}
        for exons, length in isoforms(rng, transcripts - k):
            starts_of, starts = footprints(exons, length)
            for touched, some in starts_of.items():
                if touched not in numbered:
                    numbered[touched] = E
                    E += 1
                classes.append(numbered[touched])
                members.append(k)
                weights.append(some / starts)
            lengths.append(starts)
            k += 1
    e, m, w, effective = np.array(classes), np.array(members), np.array(weights), np.array(lengths)
    nu = rng.lognormal(0, 2, k) * effective * (rng.uniform(size=k) >= absent)
    nu /= nu.sum()
    p = np.bincount(e, w * nu[m], E)
    data = {"entry_class": e, "entry_transcript": m, "weight": w, "effective_length": effective}
    return {**data, "count": rng.multinomial(reads, p / p.sum())}, nu


def one(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return what became of a simulation, by prior and stratum: (held, of how many, below the truth)."""
    rng = np.random.default_rng(seed)
    absent = rng.uniform(0.2, 0.65)
    data, nu = simulate(rng, options.transcripts, options.reads, absent)
    found: dict[str, Any] = {"seed": seed, "absent": absent}
    for prior in options.priors:
        told = {"draws": options.draws, "tune": options.tune, "chains": options.chains, "thin": options.thin}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = gn.fit(NAME, data, "gibbs", seed, prior=prior, **told)
        draws = tree["posterior"]["nu"].to_numpy()
        low, high = np.quantile(draws, (0.05, 0.95), axis=(0, 1))
        held, true = (low <= nu) & (nu <= high), nu * options.reads
        by = {}
        for name, (least, most) in STRATA.items():
            some = nu == 0 if most == 0 else (true > least) & (true <= most)
            by[name] = [int(held[some].sum()), int(some.sum()), int((high < nu)[some].sum())]
        gone = (draws == 0).mean((0, 1))
        bins = [gone[(low <= gone) & (gone < high)] for low, high in pairwise(CLAIMS)]
        absent_there = [int((nu == 0)[(low <= gone) & (gone < high)].sum()) for low, high in pairwise(CLAIMS)]
        claims = [[float(b.sum()), n, len(b)] for b, n in zip(bins, absent_there, strict=True)]
        found[prior] = {
            "strata": by,
            "claims": claims,
            "rhat": highest_rhat(draws),
            "cpu_seconds": tree.attrs["cpu_seconds"],
        }
    return found


def highest_rhat(draws: Array) -> float:
    """Return the highest R-hat of the abundances that vary."""
    from arviz_stats.base import array_stats

    moving = draws[:, :, draws.std((0, 1)) > 0].transpose(2, 0, 1)
    return float(np.nanmax([array_stats.rhat(each, chain_axis=0, draw_axis=1) for each in moving]))


def resumed(store: Path | None) -> list[dict[str, Any]]:
    """Return the simulations that a file has."""
    if store is None or not store.exists():
        return []
    return [json.loads(line) for line in store.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--transcripts", type=int, default=606)
    parser.add_argument("--reads", type=int, default=100_000)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--tune", type=int, default=500)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--thin", type=int, default=1)
    parser.add_argument("--priors", nargs="+", default=["sparse", "dirichlet"])
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    told = resumed(options.store)
    for seed in range(options.first, options.first + options.simulations):
        if any(each["seed"] == seed for each in told):
            continue
        told.append(one(seed, options))
        print(json.dumps(told[-1]), flush=True)
        if options.store:
            with options.store.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told[-1]) + "\n")
    for prior in options.priors:
        total = {name: np.sum([each[prior]["strata"][name] for each in told], 0) for name in STRATA}
        rates = {name: {"covered": h / n, "of": int(n), "below": b / n} for name, (h, n, b) in total.items() if n}
        claimed, absent, of = np.sum([each[prior]["claims"] for each in told], 0).T
        by = [
            {"claimed": c / n, "absent": a / n, "of": int(n)} for c, a, n in zip(claimed, absent, of, strict=True) if n
        ]
        print(json.dumps({f"{prior}: absence, by what it claims": by}, indent=2))
        rhats, cpu = [each[prior]["rhat"] for each in told], [each[prior]["cpu_seconds"] for each in told]
        print(json.dumps({prior: rates, "highest_rhat": max(rhats), "cpu_seconds": float(np.mean(cpu))}, indent=2))


if __name__ == "__main__":
    main()
