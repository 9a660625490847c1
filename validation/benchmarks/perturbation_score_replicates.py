"""Whether intervals of a new replicate cover, on real and on simulated replicates.

    python validation/benchmarks/perturbation_score_replicates.py                                    # simulated
    python validation/benchmarks/perturbation_score_replicates.py --table counts.csv --split _       # left out in turn

Printed: the share of counts of left-out replicates inside their 90 % intervals, and the same with a randomised tail
(a count at an interval's end counts in part), which is .90 for true intervals however few the cells are.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

import argparse
import time
from typing import Any

import numpy as np
import pandas as pd

import genarium as gn
from genarium.declaration import Array
from genarium.models.perturbation_score import contrasts, new_replicate
from genarium.models.perturbation_score.contrasts import replicated

NAME = "perturbation_score"


def fitted(counts: Array, condition: Any, method: str, kind: str) -> Any:
    """Fit replicates without features."""
    quick = {} if method == "conjugate" else {"draws": 500, "tune": 500, "chains": 2, "target_accept": 0.9}
    names = [f"r{i}" for i in range(len(counts))]
    data = {
        "count": pd.DataFrame(counts, index=pd.Index(names, name="replicate")).rename_axis(columns="state"),
        "condition": pd.Series(condition, index=pd.Index(names, name="replicate"), dtype=object),
    }
    return gn.fit(NAME, data, method, seed=1, regression="none", replicates=kind, **quick)


def inside(drawn: Array, seen: Array) -> tuple[Array, Array]:
    """Return whether counts (..., K) lie in the 90 % intervals of draws (S, ..., K), and their mid-probability."""
    low, high = np.quantile(drawn, (0.05, 0.95), axis=0)
    below, same = (drawn < seen).mean(0), (drawn == seen).mean(0)
    part = np.clip((below + same - 0.05) / np.maximum(same, 1e-12), 0, 1)  # share of the atom above .05
    part = np.where(same > 0, np.minimum(part, np.clip((0.95 - below) / np.maximum(same, 1e-12), 0, 1)), part)
    alone = (below > 0.05) & (below < 0.95)
    return (low <= seen) & (seen <= high), np.where(same > 0, part, alone)


def table(path: str, split: str, control: str, method: str, kind: str) -> None:
    """Leave replicates of a table out in turn."""
    counts = pd.read_csv(path, index_col=0)
    condition = np.array([str(name).rpartition(split)[0] for name in counts.index])
    plain: list[Any] = []
    exact: list[Any] = []
    for r in range(len(counts)):
        rest = np.arange(len(counts)) != r
        if condition[r] not in condition[rest]:
            continue
        fit = fitted(counts.to_numpy()[rest], condition[rest], method, kind)
        own = list(new_replicate(fit, 1)["perturbation"].to_numpy()).index(condition[r])
        drawn = replicated(fit, int(counts.to_numpy()[r].sum()))[:, own]
        for kept, found in zip((plain, exact), inside(drawn, counts.to_numpy()[r]), strict=True):
            kept.append(found)
    print(f"{path}: {np.mean(plain):.3f} of {np.size(plain)} counts inside; randomised {np.mean(exact):.3f}")
    if control in condition:
        told = contrasts(fitted(counts.to_numpy(), condition, method, kind), control).to_dataframe()
        print(told.loc[told["lfsr"] < 0.05, ["log2_fold", "fold_low", "fold_high", "lfsr"]].round(3))


def simulated(screens: int, method: str, kind: str, concentration: float = 40.0, perturbations: int = 20) -> None:
    """Simulate three replicates of each perturbation, and hold out a fourth."""
    print("cells   inside  randomised  rho or s       CPU s a fit")
    for cells in (10, 40, 150, 600, 3000):
        plain: list[Any] = []
        exact: list[Any] = []
        rho: list[Any] = []
        start = time.process_time()
        for seed in range(screens):
            rng = np.random.default_rng([seed, cells])
            mean = np.log([0.0675, 0.2097, 0.3134, 0.3921, 0.0173]) + 0.5 * rng.normal(size=(perturbations, 5))
            q = np.exp(mean) / np.exp(mean).sum(1, keepdims=True)
            u = np.stack([rng.dirichlet(concentration * one, 4) for one in q])  # (P, 4, K)
            counts = rng.multinomial(cells, u)
            names = np.repeat([f"p{p:02d}" for p in range(perturbations)], 3)
            fit = fitted(counts[:, :3].reshape(-1, 5), names, method, kind)
            drawn = replicated(fit, cells)
            group = fit["posterior" if "posterior" in fit else "point"]
            rho.append(float(group["rho" if "rho" in group else "replicate_spread"].median()))
            for kept, found in zip((plain, exact), inside(drawn, counts[:, 3]), strict=True):
                kept.append(found)
        spent = (time.process_time() - start) / screens
        print(
            f"{cells:5}   {np.mean(plain):.3f}   {np.mean(exact):.3f}       {np.median(rho):8.1f}     {spent:8.1f}",
            flush=True,
        )


def main() -> None:
    """Print coverages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--table", help="counts of replicates (CSV: names, then a column for each state)")
    parser.add_argument("--split", default="_", help="what stands before the name of a replicate")
    parser.add_argument("--control", default="Control")
    parser.add_argument("--screens", type=int, default=10)
    parser.add_argument("--method", default="nuts")
    parser.add_argument("--replicates", default="nested", help="the model's option: nested, logistic_normal")
    told = parser.parse_args()
    if told.table:
        table(told.table, told.split, told.control, told.method, told.replicates)
    else:
        simulated(told.screens, told.method, told.replicates)


if __name__ == "__main__":
    main()
