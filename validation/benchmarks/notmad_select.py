"""What NOTMAD's ``select`` chooses: ``python validation/benchmarks/notmad_select.py [DATA] [--null N] [--splits S]``.

``--null N`` simulates N data sets whose networks do not depend on the context (five nodes, 120 samples, two covariates
that change the means only in every other one) and counts how often the answer is yes. DATA is the folder of notmad.py:
every set there is split at random, three quarters for training, and the held-out error of the chosen settings is told
beside those of what knows no context in its network: population, one archetype (with and without a mean), mean alone.
Seeds start at ``--first``. All processes should run on one thread (OMP_NUM_THREADS=1).
"""

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from notmad import CASES, read_real  # type: ignore[import-not-found]

import genarium as gn
from genarium.declaration import Array
from genarium.models.notmad import notears, select

SETS: dict[str, dict[str, Any]] = {
    "snare": {"archetypes": (1, 2, 3, 4, 6)},
    "sachs": {"archetypes": (1, 3, 6, 9)},
    "finance": {"archetypes": (1, 2, 3)},
    "softmax6": {"archetypes": (1, 2, 3, 4)},
    "arche8": {"archetypes": (1, 2, 4)},
    "cwx": {"archetypes": (1, 3), "encoder": "additive"},
}
"""Data sets, and the numbers of archetypes (and the encoder) that are tried."""

MOST = 1500
"""Training samples at most."""


def context_free(seed: int) -> tuple[Array, Array]:
    """Return samples of one random network, and contexts that do not change it."""
    rng = np.random.default_rng(seed)
    x, context = np.empty((120, 5)), rng.normal(size=(120, 2))
    network = np.triu(rng.uniform(-1, 1, (5, 5)) * (rng.uniform(size=(5, 5)) < 0.5), 1)
    x = rng.normal(size=(120, 5)) * rng.uniform(0.5, 2, 5) @ np.linalg.inv(np.eye(5) - network)
    if seed % 2:
        x = x + context @ rng.normal(0, 0.5, (2, 5))
    return (x - x.mean(0)) / x.std(0), context


def false_answers(first: int, count: int) -> None:
    """Count the answers yes where nothing in a network depends on the context."""
    said, gains = 0, []
    before = time.process_time()
    for seed in range(first, first + count):
        found = select(*context_free(seed), archetypes=(1, 2, 3), seed=seed)
        said += found.matters
        gains.append(found.gain / max(found.error, 1e-12))
        if (seed - first) % 10 == 9:
            told = f"{said} of {len(gains)} yes; gain {np.mean(gains):.2f} standard errors, {max(gains):.2f} at most"
            print(f"  no effect of the context: {told}; {time.process_time() - before:.0f} CPU s", flush=True)


def sets(folder: Path) -> Iterator[tuple[str, Array, Array]]:
    """Name, values and contexts of each data set."""
    for name in SETS:
        if name in CASES:
            data = np.load(folder / f"{name}_seed0.npz")
            yield name, data["X"], data["C"]
        else:
            yield name, *read_real(folder, name)[:2]


def errors_on(name: str, values: Array, contexts: Array, seed: int) -> None:
    """Print the choice on one split, and the errors beside it."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(values))
    test, train = order[: len(order) // 4], order[len(order) // 4 :][:MOST]
    x, context = ((a - a[train].mean(0)) / a[train].std(0) for a in (values, contexts))
    before = time.process_time()
    found = select(x[train], context[train], seed=seed, **SETS[name])

    def error(**settings: Any) -> float:
        fit = gn.fit("notmad", {"x": x[train], "context": context[train]}, "map", seed, **settings)
        new = {"x": x[test], "context": context[test]}
        return float(gn.predict(fit, new)["predictions"]["error"].mean())

    best_of_one = {
        mean: max(
            (i for i, kind in enumerate(found.candidates) if kind["archetype"] == 1 and kind["mean"] == mean),
            key=lambda i: float(found.score[i]),
        )
        for mean in ("zero", "regressed")
    }
    network = notears(x[train], warn=False).network
    slope = np.linalg.lstsq(np.column_stack([np.ones(len(train)), context[train]]), x[train], rcond=None)[0]
    mean = np.column_stack([np.ones(len(test)), context[test]]) @ slope
    told = {
        "chosen": error(**found.settings),
        "population": float(((x[test] - x[test] @ network) ** 2).mean()),
        **{f"one, {m}": error(**found.candidates[i]) for m, i in best_of_one.items()},
        "mean": float(((x[test] - mean) ** 2).mean()),
    }
    rival = min(value for key, value in told.items() if key != "chosen")
    kind = ", ".join(f"{key}={found.settings[key]}" for key in ("archetype", "mean", "beta"))
    print(f"  {name:9s} {seed:4d} {found!s}; {kind}; " + "  ".join(f"{k} {v:.4f}" for k, v in told.items()))
    print(
        f"  {'':14s} {100 * (told['chosen'] / rival - 1):+.1f} %; {time.process_time() - before:.0f} CPU s", flush=True
    )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--null", type=int, default=0)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--only", choices=list(SETS))
    at = parser.parse_args()
    warnings.simplefilter("ignore")
    if at.null:
        false_answers(at.first, at.null)
    if at.data:
        for name, values, contexts in sets(at.data):
            for seed in range(at.first, at.first + at.splits):
                if at.only in (None, name):
                    errors_on(name, values, contexts, seed)


if __name__ == "__main__":
    main()
