"""Exposures of given signatures, and of new genomes: ``python validation/benchmarks/locus_regression_refit.py PART``.

Parts:

refit   a matrix of the 96 channels by genome (``--matrix``), columns of COSMIC's table (``--cosmic``): exposures by
        ``vi`` with and without empirical Bayes, ``gibbs`` and ``map``, beside maximum likelihood (EM) on the flat model
sparse  all of COSMIC's signatures at once: how many stay, with and without dropping those that the bound does without
new     200 new genomes of 20 mutations each, alpha .1: MAE of pi under the alpha that the fit learned and under the one
        that it was given, coverage of 90 % intervals; simulated here

CPU seconds of one thread.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import genarium as gn
from genarium.declaration import Array
from genarium.models.locus_regression.metrics import match
from genarium.models.locus_regression.metrics import signatures as signatures_of
from genarium.models.locus_regression.tables import read_table

Row = dict[str, Any]

COLUMNS = ["SBS1", "SBS2", "SBS3", "SBS5", "SBS8", "SBS13", "SBS17a", "SBS17b", "SBS18"]
"""Signatures of breast cancers."""


def by_em(counts: Array, signatures: Array, steps: int = 20_000) -> Array:
    """Shares by maximum likelihood, of mixtures of given signatures."""
    pi = np.full((len(counts), len(signatures)), 1 / len(signatures))
    for _ in range(steps):
        pi = pi * ((counts / (pi @ signatures)) @ signatures.T) / counts.sum(1, keepdims=True)
    return pi


def fitted(data: Any, args: argparse.Namespace, method: str, **options: Any) -> tuple[Any, Array, float]:
    """Fit; return the tree, its exposures in the order of the matrix, and CPU seconds."""
    start = time.process_time()
    tree = gn.fit("locus_regression", data, method, seed=1, signatures=args.cosmic, **options)
    group = tree["posterior"].mean(("chain", "draw")) if "posterior" in tree else tree["point"]
    names = read_table(args.matrix).coords["reference"].to_numpy().tolist()
    return tree, group["pi"].sel(genome=names).to_numpy(), time.process_time() - start


def refit(args: argparse.Namespace) -> Iterable[Row]:
    """Compare with EM."""
    data = gn.read("locus_regression", args.matrix, "matrix")
    counts, table = read_table(args.matrix).to_numpy(), read_table(args.cosmic)
    expected = by_em(counts, np.maximum(table.sel(reference=COLUMNS).to_numpy(), 1e-10))
    ways: list[tuple[str, Row]] = [("vi", {"empirical_bayes": False}), ("vi", {}), ("map", {})]
    ways.append(("gibbs", {"chains": 2, "draws": 500, "tune": 200}))
    for method, options in ways:
        _, found, seconds = fitted(data, args, method, columns=COLUMNS, **options)
        gap = np.abs(found - expected)
        few = int(counts.sum(1).min())
        yield {"method": method, **options, "mean": gap.mean(), "most": gap.max(), "fewest": few, "seconds": seconds}


def sparse(args: argparse.Namespace) -> Iterable[Row]:
    """Fit all signatures of the table."""
    data = gn.read("locus_regression", args.matrix, "matrix")
    names = read_table(args.cosmic).coords["reference"].to_numpy()
    for drop in (False, True):
        tree, found, seconds = fitted(data, args, "vi", sparse=drop)
        kept = tree["variational"]["alpha"].to_numpy() > 1e-3
        told = {str(names[k]): round(found[:, k].mean(), 3) for k in np.argsort(-found.mean(0))[:12]}
        yield {"sparse": drop, "signatures": len(names), "kept": int(kept.sum()), "largest": told, "seconds": seconds}


def new(args: argparse.Namespace) -> Iterable[Row]:
    """Predict for genomes that a fit did not see."""
    known = ("features", "exposure", "context_opportunity")
    sizes = {"locus": 100, "feature": 3, "process": 5}
    for seed in range(3):
        tree = gn.simulate("locus_regression", seed=seed, genome=50, cell=50_000, alpha=0.1, **sizes)
        same = {name: tree["constant_data"][name].to_numpy() for name in known}
        fit = gn.fit("locus_regression", {**same, **mutations(tree)}, "vi", seed=1, process=5)
        truth = {name: tree["truth"][name].to_numpy() for name in ("beta", "lam", "rho")}
        others = gn.simulate(
            "locus_regression", seed=100 + seed, genome=200, cell=4000, alpha=0.1, **sizes, **same, **truth
        )
        pi, order = others["truth"]["pi"].to_numpy(), match(signatures_of({**truth, **same}), signatures_of(fit))
        row: Row = {"seed": seed}
        ways: dict[str, Row] = {"learned": {}, "given": {"alpha": np.full(5, 1.0 + 1e-9)}}
        for name, given in ways.items():
            found = gn.predict(fit, mutations(others), **given)["predictions"]
            mean, low, high = (found[one].to_numpy()[:, order] for one in ("pi", "pi_lower", "pi_upper"))
            row |= {f"{name}_mae": np.abs(mean - pi).mean(), f"{name}_covers": ((low <= pi) & (pi <= high)).mean()}
        yield row


def mutations(tree: Any) -> dict[str, Array]:
    """Return the cells of a simulation."""
    genome = tree["constant_data"].to_dataset().variables["genome"].values
    return {"genome": genome, **{name: tree["observed_data"][name].to_numpy() for name in ("locus", "channel")}}


PARTS = {part.__name__: part for part in (refit, sparse, new)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--matrix", type=Path, help="table of the 96 channels by genome")
    parser.add_argument("--cosmic", type=Path, help="COSMIC's table of SBS signatures")
    args = parser.parse_args()
    for row in PARTS[args.part](args):
        print(json.dumps({k: round(float(v), 5) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


if __name__ == "__main__":
    main()
