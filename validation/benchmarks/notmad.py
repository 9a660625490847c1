"""NOTMAD and its baselines on simulated and real data: ``python validation/benchmarks/notmad.py [DATA]``.

DATA is a folder with softmax6_seed0.npz, arche8_seed0.npz, cwx_seed0.npz and snare/; without it only population graphs
are learned, from simulations. All processes should run on one thread (OMP_NUM_THREADS=1). The public numbers that the
card sets beside these were measured elsewhere and are named there.
"""

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import genarium as gn
from genarium.declaration import Array
from genarium.models.notmad import by_group, clustered, lioness, notears, project_to_dag
from genarium.models.notmad.baselines import bootstrap_error, group_average, held_out_error
from genarium.models.notmad.graphs import compare

CASES: dict[str, dict[str, Any]] = {
    "softmax6": {"archetype": 3, "beta": 10.0},
    "arche8": {"archetype": 4, "beta": 10.0},
    "cwx": {"archetype": 3, "encoder": "additive", "beta": 1.0},
}
"""The rate of the Laplace prior is about that of the true weights over the noise's standard deviation."""


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the CPU seconds it took."""
    before = time.process_time()
    return function(), time.process_time() - before


def networks(fit: Any, x: Array, context: Array) -> Array:
    """Projected networks of test samples."""
    out: Array = gn.predict(fit, {"x": x, "context": context})["predictions"]["network"].to_numpy()
    return out


def simulated_case(folder: Path, case: str) -> None:
    """Fit one of the simulated cases and its baselines."""
    data = np.load(folder / f"{case}_seed0.npz")
    train, test = data["train"], data["test"]
    context = (data["C"] - data["C"][train].mean(0)) / data["C"][train].std(0)
    x, truth, settings = data["X"], data["W"], CASES[case]
    rng = np.random.default_rng(0)
    K, n = settings["archetype"], len(test)

    def ours(**changes: Any) -> Array:
        fit = gn.fit("notmad", {"x": x[train], "context": context[train]}, "map", 1, **{**settings, **changes})
        return networks(fit, x[test], context[test])

    zero = np.zeros((n, *truth.shape[1:]))
    fits: dict[str, Callable[[], Array]] = {
        "W = 0": lambda: zero,
        "population": lambda: zero + notears(x[train], beta=0.02, threshold=0.1).network,
        "clustered": lambda: clustered(x[train], context[train], K, rng).predict(context[test]),
        "MAP": ours,
        "MAP, beta = 5": lambda: ours(beta=5.0),
        "MAP, one archetype": lambda: ours(archetype=1),
        "truth": lambda: truth[test],
    }
    print(f"\n{case}: held-out MSE (projected), W-RMSE, SHD, F1 (entries above 0.1), CPU seconds")
    for name, function in fits.items():
        network, seconds = timed(function)
        found = compare(network, truth[test])
        error = held_out_error(x[test], network)
        print(
            f"  {name:20s} {error:8.4f} {found['rmse']:7.3f} {found['shd']:6.2f} {found['f1']:6.3f} {seconds:7.2f}",
            flush=True,
        )


def population_graphs() -> None:
    """Erdos-Renyi graphs with 2p expected edges, weights +-U(.5, 2), unit noise, 1000 samples."""
    print("\npopulation graphs: nodes, seed, SHD, F1, CPU seconds")
    for p in (20, 50):
        for seed in range(3):
            rng = np.random.default_rng(seed)
            present = np.triu(rng.uniform(size=(p, p)) < 4 / (p - 1), 1)
            truth = present * rng.uniform(0.5, 2, (p, p)) * rng.choice([-1, 1], (p, p))
            order = rng.permutation(p)
            truth = truth[np.ix_(order, order)]
            x = rng.normal(size=(1000, p)) @ np.linalg.inv(np.eye(p) - truth)
            found, seconds = timed(lambda x=x: notears(x).network)  # type: ignore[misc]
            told = compare(found, truth, 1e-9)
            print(f"  {p:3d} {seed} {told['shd']:5.0f} {told['f1']:6.3f} {seconds:7.2f}", flush=True)


def single_cells(folder: Path, splits: int = 5) -> None:
    """Table 1's comparison on SNARE-seq: five RNA components given five ATAC components, over random splits."""
    rna = np.load(folder / "snare" / "SNAREseq_rna_feat.npy")[:, :5]
    atac = np.load(folder / "snare" / "SNAREseq_atac_feat.npy")[:, :5]
    types = np.loadtxt(folder / "snare" / "SNAREseq_rna_types.txt", dtype=int)
    rows: dict[str, list[float]] = {}
    spreads: dict[str, list[float]] = {}
    for split in range(splits):
        rng = np.random.default_rng(split)
        order = rng.permutation(len(rna))
        test, train = order[: len(rna) // 4], order[len(rna) // 4 :]
        x, context = ((a - a[train].mean(0)) / a[train].std(0) for a in (rna, atac))

        def ours(x: Array = x, context: Array = context, train: Array = train, **settings: Any) -> Any:
            return gn.fit(
                "notmad", {"x": x[train], "context": context[train]}, "map", 1, **{"archetype": 4, **settings}
            )

        def errors(network: Array, mean: Array | float = 0.0, x: Array = x, test: Array = test) -> Array:
            r = x[test] - mean
            full = np.broadcast_to(network, (len(r), 5, 5))
            return np.asarray(((r - np.einsum("ni,nij->nj", r, full)) ** 2).mean(1))

        oracle = by_group(x[train], context[train], types[train])
        plain, centred = ours(), ours(mean="regressed")
        own = networks(plain, x[test], context[test])
        mean = context[test] @ centred["point"]["mean_slope"].to_numpy() + centred["point"]["mean_intercept"].to_numpy()
        found = {
            "W = 0": errors(np.zeros((5, 5))),
            "population": errors(notears(x[train], beta=0.02, threshold=0.1).network),
            "clustered": errors(clustered(x[train], context[train], 4, rng).predict(context[test])),
            "oracle-clustered": errors(oracle.networks[np.searchsorted(np.unique(types), types[test])]),
            "one archetype": errors(networks(ours(archetype=1), x[test], context[test])),
            "mixture, type's average": errors(group_average(own, types[test])),
            "NOTMAD": errors(own),
            "mean alone": errors(np.zeros((5, 5)), mean),
            "NOTMAD with mean": errors(networks(centred, x[test], context[test]), mean),
        }
        for name, each in found.items():
            value, spread = bootstrap_error(each, rng)
            rows.setdefault(name, []).append(value)
            spreads.setdefault(name, []).append(spread)
    print(f"\nSNARE-seq, {splits} splits: held-out MSE of projected networks, sd over splits, mean bootstrap sd")
    for name, values in rows.items():
        print(f"  {name:24s} {np.mean(values):7.3f} {np.std(values, ddof=1):6.3f} {np.mean(spreads[name]):6.3f}")


def main(arguments: list[str]) -> None:
    """Run what the data allow."""
    warnings.simplefilter("ignore", UserWarning)
    warm = gn.simulate("notmad", 0, sample=20)
    gn.fit("notmad", warm, "map", restarts=1)  # compiles the kernels
    project_to_dag(np.zeros((2, 2)))
    lioness(warm["observed_data"]["x"].to_numpy()[:5])
    population_graphs()
    if arguments:
        folder = Path(arguments[0])
        for case in CASES:
            simulated_case(folder, case)
        single_cells(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
