"""Where transcript_abundance breaks: coverage and error when the data are not what the model says.

``python validation/benchmarks/transcript_abundance_stress.py``: transcripts of genes as in
``transcript_abundance_prior.py``, 40 % absent, and one thing wrong at a time, at three sizes of it. For the default fit
(``gibbs``, sparse prior; the posterior mean) beside plain EM it measures the share of reads that are given to the wrong
transcript, the coverage of 90 % intervals of transcripts with more than 5 reads, and how many of the absent ones have
an interval that includes zero (``card_tables.py``).
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import warnings
from typing import Any

import numpy as np
from card_tables import Table, run  # type: ignore[import-not-found]
from transcript_abundance_prior import simulate  # type: ignore[import-not-found]

import genarium as gn
from genarium.declaration import Array

NAME = "transcript_abundance"

TRANSCRIPTS, READS, DRAWS = 120, 24_000, 300

WORLDS: dict[str, tuple[float | None, ...]] = {
    "nothing": (None,),
    "mapping errors: share of reads in a random class": (0.01, 0.05, 0.2),
    "unannotated isoforms: share of those that are there": (0.05, 0.15, 0.3),
    "fragment bias: sd of log weights of classes": (0.1, 0.3, 0.6),
    "sparsity: share of transcripts absent": (0.6, 0.8, 0.95),
}


def stressed(rng: np.random.Generator, what: str, size: float, transcripts: int, reads: int) -> tuple[Any, Array]:
    """Return data that go wrong, and the true reads of the transcripts that are annotated."""
    kind = what.partition(":")[0]
    data, nu = simulate(rng, transcripts, reads, size if kind == "sparsity" else 0.4)
    e, k, w = data["entry_class"], data["entry_transcript"], data["weight"]
    E = len(data["count"])
    true = w * np.exp(size * rng.normal(size=E))[e] if kind == "fragment bias" else w
    p = np.bincount(e, true * nu[k], E)
    count = rng.multinomial(reads, p / p.sum())
    if kind == "mapping errors":
        lost = rng.binomial(count, size)
        count = count - lost + rng.multinomial(lost.sum(), np.full(E, 1 / E))
    if kind == "unannotated isoforms":
        there = np.flatnonzero(nu > 0)
        gone = rng.choice(there, int(size * len(there)), replace=False)
        keep = ~np.isin(k, gone)
        left = np.setdiff1d(np.arange(len(nu)), gone)
        number = np.full(len(nu), -1)
        number[left] = np.arange(len(left))
        seen = np.zeros(E, dtype=bool)
        seen[e[keep]] = True  # other classes fit no transcript: their reads are not mapped
        row = np.cumsum(seen) - 1
        e, k, w, count = row[e[keep]], number[k[keep]], w[keep], count[seen]
        nu, data = nu[left], {**data, "effective_length": data["effective_length"][left]}
        return {**data, "entry_class": e, "entry_transcript": k, "weight": w, "count": count}, nu * reads
    return {**data, "count": count}, nu * reads


def one(what: str, size: float | None, seed: int) -> dict[str, float]:
    """Simulate, fit and compare."""
    data, true = stressed(np.random.default_rng(seed), what, size or 0.0, TRANSCRIPTS, READS)
    told = {"chains": 2, "draws": DRAWS, "tune": DRAWS // 2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = gn.fit(NAME, data, "gibbs", seed, **told)
        plain = gn.fit(NAME, data, "em")
    draws = fit["posterior"]["counts"].to_numpy()
    low, high = np.quantile(draws, (0.05, 0.95), axis=(0, 1))
    some, none = true > 5, true == 0
    off = [np.abs(x - true).sum() / 2 for x in (draws.mean((0, 1)), plain["point"]["counts"].to_numpy())]
    held = (low <= true) & (true <= high)
    return {
        "wrong_gibbs": float(off[0] / true.sum()),
        "wrong_em": float(off[1] / true.sum()),
        "covered": float(held[some].mean()),
        "absent_include_0": float((low[none] == 0).mean()) if none.any() else np.nan,
    }


COLUMNS = {
    "wrong_gibbs": "reads to the wrong transcript: `gibbs`",
    "wrong_em": "`em`",
    "covered": "90 % intervals cover (> 5 reads)",
    "absent_include_0": "absent: includes 0",
}

TABLES = [Table("transcript_abundance_stress", NAME, WORLDS, one, COLUMNS, simulations=5)]

if __name__ == "__main__":
    run(TABLES, __doc__)
