"""Population networks of NOTMAD's folder and their peers: ``python validation/benchmarks/notmad_population.py``.

Erdős-Rényi networks of 2p expected edges and weights +-U(.5, 2), under three noises: of one size, of standard deviation
U(.5, 2), and the latter with columns standardised. With ``--peers PYTHON``, a Python that has dagma and causal-learn,
these run on the same data (notmad_peers.py). With ``--gbn FOLDER`` the Gaussian networks of
``NAME_W_parent_to_child.csv`` and ``NAME_implied_cov.csv`` are sampled as well. All processes should run on
one thread (OMP_NUM_THREADS=1).
"""

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from notmad import peer  # type: ignore[import-not-found]

from genarium.declaration import Array
from genarium.models.notmad import notears
from genarium.models.notmad.equivalence import equivalence_class
from genarium.models.notmad.graphs import compare

NOISES = ("equal", "unequal", "standardised")


def simulated(seed: int, p: int, n: int, noise: str) -> tuple[Array, Array]:
    """Return samples of a network, and the network."""
    rng = np.random.default_rng(seed)
    present = np.triu(rng.uniform(size=(p, p)) < 4 / (p - 1), 1)
    truth = present * rng.uniform(0.5, 2, (p, p)) * rng.choice([-1, 1], (p, p))
    order = rng.permutation(p)
    truth = truth[np.ix_(order, order)]
    sd = np.ones(p) if noise == "equal" else rng.uniform(0.5, 2, p)
    x = (rng.normal(size=(n, p)) * sd) @ np.linalg.inv(np.eye(p) - truth)
    return (x / x.std(0) if noise == "standardised" else x), truth


def distances(network: Array, class_: Array, truth: Array) -> tuple[float, float, float]:
    """SHD of the network, SHD of its class (a pair that is another counts one), F1 of the pairs of neighbours."""
    real = equivalence_class(truth)
    differ = class_ != real
    found, near = ((a | a.T) for a in (class_, real))
    f1 = 2 * (found & near).sum() / max(1, int(found.sum() + near.sum()))
    return compare(network, truth, 1e-9)["shd"], float(np.triu(differ | differ.T, 1).sum()), float(f1)


def methods(x: Array, noise: str, python: str | None, peers: list[str]) -> Iterator[tuple[str, Array, Array, float]]:
    """Name, network, class and CPU seconds of each method."""
    settings: dict[str, dict[str, Any]] = {"notears": {}, "notears, equal": {"variances": "equal"}}
    for name, options in settings.items():
        if options and noise != "equal":
            continue
        before = time.process_time()
        found = notears(x, warn=False, **options)
        known = equivalence_class(found.network)
        yield name, found.network, known, time.process_time() - before
    if python and "dagma" in peers:
        dag, seconds = peer(python, "dagma", {"lambda1": 0.02}, x=x)
        yield "dagma", dag, equivalence_class(dag), seconds
    if python and "pc" in peers:
        class_, seconds = peer(python, "pc", {"alpha": 0.01}, x=x)
        yield "PC", class_, class_ != 0, seconds
    if python and "ges" in peers:
        class_, seconds = peer(python, "ges", {}, x=x)
        yield "GES", class_, class_ != 0, seconds


def table(cases: list[tuple[int, int, int]], python: str | None, peers: list[str]) -> None:
    """Print mean distances over seeds, the worst SHD, and CPU seconds."""
    notears(simulated(0, 5, 50, "equal")[0], warn=False)  # compiles
    print("nodes, samples, noise, method: SHD (worst), SHD of classes, F1 of neighbours, CPU seconds; means over seeds")
    for p, n, seeds in cases:
        for noise in NOISES:
            rows: dict[str, list[tuple[float, ...]]] = {}
            for seed in range(seeds):
                x, truth = simulated(seed, p, n, noise)
                for name, network, class_, seconds in methods(x, noise, python, peers):
                    rows.setdefault(name, []).append((*distances(network, class_, truth), seconds))
            for name, values in rows.items():
                shd, classes, f1, seconds = np.mean(values, 0)
                worst = max(value[0] for value in values)
                print(
                    f"  {p:4d} {n:5d} {noise:13s} {name:15s} {shd:7.1f} ({worst:.0f}) {classes:7.1f} {f1:6.3f} "
                    f"{seconds:8.2f}  ({seeds} seeds)",
                    flush=True,
                )


def real_networks(folder: Path) -> None:
    """Gaussian networks that were fitted to real data: five samples of 500 of each."""
    import pandas as pd

    print("\nnetworks of real data: edges, SHD (worst) and F1 of neighbours, as sampled and the path alone")
    for path in sorted(folder.glob("*_W_parent_to_child.csv")):
        name = path.name.removesuffix("_W_parent_to_child.csv")
        truth = pd.read_csv(path, index_col=0).to_numpy()
        covariance = pd.read_csv(folder / f"{name}_implied_cov.csv", index_col=0).to_numpy()
        rows = []
        for seed in range(5):
            x = np.random.default_rng(seed).multivariate_normal(np.zeros(len(truth)), covariance, size=500)
            found = notears(x, warn=False).network
            shd, _, f1 = distances(found, equivalence_class(found), truth)
            loose = notears(x / x.std(0), search="path", threshold=0.1, warn=False).network
            rows.append((shd, f1, compare(loose, truth, 1e-9)["shd"]))
        shd, f1, path_shd = np.mean(rows, 0)
        print(
            f"  {name:12s} {int((truth != 0).sum())} edges: {shd:.1f} ({max(r[0] for r in rows):.0f}), {f1:.3f}; path "
            f"alone, standardised {path_shd:.1f}",
            flush=True,
        )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="a Python that has dagma and causal-learn")
    known = ["dagma", "pc", "ges"]
    parser.add_argument("--methods", nargs="*", choices=known, default=known[:2], help="of the peers")
    parser.add_argument("--gbn", type=Path, help="folder of Gaussian networks")
    parser.add_argument("--nodes", type=int, nargs="*", default=[20, 50, 100, 200])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=10)
    at = parser.parse_args()
    warnings.simplefilter("ignore")
    table([(p, at.samples, at.seeds) for p in at.nodes], at.peers, at.methods)
    noise = [int((notears(np.random.default_rng(s).normal(size=(30, 25))).network != 0).sum()) for s in range(10)]
    print(f"\nedges of 30 samples of 25 independent nodes, ten seeds: {noise}")
    if at.gbn:
        real_networks(at.gbn)


if __name__ == "__main__":
    main()
