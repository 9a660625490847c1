"""The simulation experiment of deep_mr: ``python validation/deep_mr.py --rounds 50``.

A round draws a causal effect and 10,000 labelled sequences, trains five small networks in NumPy, each on a bootstrap
sample, mutates up to 150 held-out sequences with both motifs, and estimates the global effect; without confounding
("none"), with a third motif that acts on both labels ("sequence"), or a batch that sequence does not show ("random").
The table has the truth (sqrt(beta / alpha)), the estimates, and how often 95 % intervals hold the truth, and the mean
of the true effects in the sequences that were used.

Every round is kept in ``validation/replicates/deep_mr`` (not committed): the command goes on where it was stopped, and
``--table`` analyses what is there.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import genarium as gn
from genarium.declaration import Array
from genarium.models.mendelian_randomization.deep_mr import ConvEnsemble, DeepMR, Effects, Mutagenesis, deep_mr
from genarium.models.mendelian_randomization.deep_mr.bayes import widened
from genarium.models.mendelian_randomization.deep_mr.effects import effects
from genarium.models.mendelian_randomization.deep_mr.mutagenesis import mutagenise
from genarium.models.mendelian_randomization.deep_mr.scales import anscombe
from genarium.models.mendelian_randomization.deep_mr.sequence import others
from genarium.models.mendelian_randomization.deep_mr.simulation import (
    BOTH,
    CONFOUNDING,
    draw_strengths,
    local_truth,
    means,
    simulate,
)
from genarium.models.mendelian_randomization.deep_mr.training import train

STORE = Path(__file__).parent / "replicates" / "deep_mr"
SEED, MEMBERS, TRAIN, TEST, MUTATED = 20261122, 5, 10_000, 1000, 150
STRENGTH = 30.0
"""Least F statistic of an instrument."""

VARIANTS = 1000
"""Substitutions that the generative model is given at most."""


def play(confounding: str, number: int, store: Path) -> None:
    """Play a round, unless it is there, and keep its raw effects."""
    path = store / f"{confounding}-{number:03d}.npz"
    if path.exists():
        return
    begin = time.process_time()
    rng = np.random.default_rng([SEED, CONFOUNDING.index(confounding), number])
    alpha, beta = draw_strengths(rng)
    data = simulate(rng, TRAIN, alpha, beta, confounding)
    members = []
    for stream in rng.spawn(MEMBERS):
        some = stream.integers(0, TRAIN, TRAIN)
        members.append(train(data.x[some], data.labels[some], stream))
    trained = time.process_time() - begin
    test = simulate(rng, TEST, alpha, beta, confounding)
    ensemble = ConvEnsemble(members)
    fit = ensemble(test.x).mean(0)
    clean = anscombe(means(test.x, alpha, beta, test.batch, confounding == "sequence"))
    explained = 1 - ((fit - clean) ** 2).mean(0) / clean.var(0)
    both = np.flatnonzero(test.kind == BOTH)[:MUTATED]
    found = mutagenise(ensemble, test.x[both])
    truth = [local_truth(test.x[n], int(test.at[n]), alpha, beta) for n in both]
    large = simulate(rng, 4 * TEST, alpha, beta, confounding)
    whole = [local_truth(large.x[n], int(large.at[n]), alpha, beta) for n in np.flatnonzero(large.kind == BOTH)]
    store.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as stream_out:
        np.savez_compressed(
            stream_out,
            delta=found.delta.astype(np.float32),
            codes=test.x[both].argmax(1).astype(np.int8),
            truth=truth,
            population=float(np.mean(whole)),
            strengths=[alpha, beta],
            explained=explained,
            seconds=[trained, time.process_time() - begin],
        )
    part.rename(path)


def load(path: Path) -> tuple[Mutagenesis, dict[str, Array]]:
    """Raw effects of a round, and the rest of what was kept."""
    with np.load(path) as kept:
        rest = {name: kept[name] for name in kept.files if name != "delta"}
        delta = kept["delta"].astype(float)
    x = (rest["codes"][:, None] == np.arange(4)[:, None]).astype(float)
    return Mutagenesis(delta, np.zeros((len(delta), len(x), 2)), others(x), 0), rest


def estimate(found: Mutagenesis, variances: str) -> DeepMR:
    """Return the pipeline's estimate."""
    return deep_mr(found, None, 0, 1, variances=variances, instruments=STRENGTH, floor=1e-6)


def strongest(found: Mutagenesis, variances: str) -> Effects:
    """Return the substitutions with most to say of the exposure, those of all sequences together."""
    some = effects(found, 0, 1, variances=variances, instruments=STRENGTH, floor=1e-6)
    return some.take(np.sort(np.argsort(-np.abs(some.x), kind="stable")[:VARIANTS]))


def generative(some: Effects, shared: float, **options: str) -> tuple[float, float, float]:
    """Posterior mean and 95 % interval of the global effect, with what the members' errors share."""
    tree = gn.fit("mendelian_randomization", some.data(), "gibbs", 1, chains=2, draws=300, tune=200, **options)
    draws = tree["posterior"]["global_effect"].to_numpy().ravel()
    draws = widened(draws, shared, MEMBERS, np.random.default_rng(1))
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(draws.mean()), float(low), float(high)


def analyse(path: Path, models: bool, variances: str) -> dict[str, Any]:
    """Estimates of a round."""
    cache = path.with_suffix(f".{variances}.json")
    if models and cache.exists():
        out: dict[str, Any] = json.loads(cache.read_text())
        return out
    found, rest = load(path)
    ours = estimate(found, variances)
    out = {
        "truth": float(np.sqrt(rest["strengths"][1] / rest["strengths"][0])),
        "used_truth": float(rest["truth"][ours.local.sequence].mean()),
        "population_truth": float(rest["population"]),
        "estimate": ours.estimate,
        "ci": ours.ci,
        "paper_ci": ours.meta.ci,
        "prediction_interval": ours.prediction_interval,
        "between_members": ours.between_members,
        "se_reml": ours.meta.se,
        "explained": rest["explained"].tolist(),
        "seconds": rest["seconds"].tolist(),
    }
    if models:
        begin = time.process_time()
        some = strongest(found, variances)
        out["hierarchical"] = generative(some, ours.between_members)
        out["mixture"] = generative(some, ours.between_members, correlated_pleiotropy="mixture")
        out["model_seconds"] = time.process_time() - begin
        cache.write_text(json.dumps(out))
    return out


def table(store: Path, models: bool, variances: str = "moderated") -> dict[str, Any]:
    """Return the table, by scenario."""
    out: dict[str, Any] = {}
    for confounding in CONFOUNDING:
        rows = [analyse(path, models, variances) for path in sorted(store.glob(f"{confounding}-*.npz"))]
        if not rows:
            continue

        def mean(name: str, rows: list[dict[str, Any]] = rows) -> float:
            return float(np.mean([row[name] for row in rows]))

        def covers(name: str, of: str = "truth", rows: list[dict[str, Any]] = rows) -> float:
            return float(np.mean([row[name][-2] <= row[of] <= row[name][-1] for row in rows]))

        truth = np.array([row["truth"] for row in rows])
        entry = {
            "rounds": len(rows),
            "true_effect": mean("truth"),
            "estimated_effect": mean("estimate"),
            "relative_error": float(np.mean([row["estimate"] for row in rows] / truth - 1)),
            "root_mean_square": float(np.sqrt(np.mean(([row["estimate"] for row in rows] / truth - 1) ** 2))),
            "coverage": covers("ci"),
            "coverage_of_local_mean": covers("ci", "used_truth"),
            "coverage_without_shared_errors": covers("paper_ci"),
            "coverage_of_prediction_interval": covers("prediction_interval"),
            "explained": np.mean([row["explained"] for row in rows], 0).tolist(),
            "cpu_seconds_a_round": float(np.mean([row["seconds"][1] for row in rows])),
        }
        if models:
            for name in ("hierarchical", "mixture"):
                errors = np.array([row[name][0] for row in rows]) / truth - 1
                entry[name] = {
                    "relative_error": float(errors.mean()),
                    "root_mean_square": float(np.sqrt((errors**2).mean())),
                    "coverage": covers(name),
                }
            entry["model_seconds"] = mean("model_seconds")
        out[confounding] = entry
    return out


def main() -> None:
    """Play the rounds that are missing, then print the table as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--confounding", choices=CONFOUNDING, nargs="*", default=list(CONFOUNDING))
    parser.add_argument("--models", action="store_true", help="also fit the generative model, and its mixture")
    parser.add_argument("--table", action="store_true", help="only analyse what is there")
    parser.add_argument("--variances", choices=("moderated", "own"), default="moderated", help="over members")
    parser.add_argument("--store", type=Path, default=STORE)
    options = parser.parse_args()
    if not options.table:
        for number in range(options.rounds):
            for confounding in options.confounding:
                play(confounding, number, options.store)
                print(f"{confounding} {number + 1}/{options.rounds}", flush=True)
    print(json.dumps(table(options.store, options.models, options.variances), indent=2))


if __name__ == "__main__":
    main()
