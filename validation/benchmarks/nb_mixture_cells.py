"""Speed on single cells: size factors and phi by gene; ``python validation/benchmarks/nb_mixture_cells.py``.

Groups that are separated, and groups that overlap. CPU milliseconds of an EM iteration, CPU seconds of ``em`` and
``vi`` from ten starts, beside scikit-learn's GaussianMixture on log(1 + x / s) from as many starts (no public package
fits a mixture of negative binomials), with the adjusted Rand index against the truth of each. ``--wide`` reads and fits
files of many genes by ``em``, five datasets of either kind. ``--million N`` fits N
cells from a file, block by block, and says what memory that takes, beside scikit-learn's MiniBatchKMeans on the same.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import time
import warnings
from typing import Any

import numpy as np

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.engines.ascent import ascend
from genarium.models.nb_mixture.em import em
from genarium.models.nb_mixture.em_step import Step
from genarium.models.nb_mixture.seeding import k_means_plus_plus
from genarium.models.nb_mixture.vi import vi

SPREAD = {"separated": 1.0, "overlapping": 0.25}
"""Standard deviation of ln mu between components."""


def cells(N: int, D: int, K: int, spread: float, seed: int = 0) -> tuple[Array, Array, Array]:
    """Draw counts, size factors and groups."""
    rng = np.random.default_rng(seed)
    mu = rng.lognormal(1.5, 1, D) * np.exp(spread * rng.normal(size=(K, D)))
    r = 1 / rng.lognormal(np.log(0.4), 0.5, D)
    s, group = rng.lognormal(0, 0.4, N), rng.choice(K, N, p=rng.dirichlet(np.full(K, 5.0)))
    mean = s[:, None] * mu[group]
    return rng.negative_binomial(r, r / (r + mean)), s, group


def problem(N: int, D: int, K: int, spread: float, depth: bool = True) -> tuple[Problem, Array]:
    """Return the problem with phi by gene, and the true groups."""
    x, s, group = cells(N, D, K, spread)
    data: dict[str, Any] = {"x": x, "size_factor": s} if depth else {"x": x}
    return check(gn.get("nb_mixture").variant(dispersion="gene"), data, {"component": K}), group


def timed(work: Any) -> tuple[Any, float]:
    """Return what a function returns, and its CPU seconds."""
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


def iteration(given: Problem) -> float:
    """CPU milliseconds of an EM iteration."""
    step = Step(given)
    mu = k_means_plus_plus(given["x"], given["size_factor"], given.sizes["component"], np.random.default_rng(0))
    state, _ = step(step.start_at(mu))
    times = []
    for _ in range(15):
        (state, _), seconds = timed(lambda state=state: step(state))
        times.append(1e3 * seconds)
    return float(np.median(times))


def rand(q: Array, group: Array) -> float:
    """Return the adjusted Rand index of the most probable groups."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(group, q.argmax(1)))


def compare(N: int, D: int, K: int, kind: str, depth: bool) -> dict[str, float]:
    """Fit by EM, by variational Bayes and by scikit-learn."""
    from sklearn.mixture import GaussianMixture

    given, group = problem(N, D, K, SPREAD[kind], depth)
    out = {"em_iteration_ms": iteration(given)}
    for name, method in (("em", em), ("vi", vi)):
        found, seconds = timed(lambda method=method: method(given, np.random.default_rng(1)))
        groups = found.point if name == "em" else found.variational
        out |= {
            f"{name}_s": seconds,
            f"{name}_bound": found.notes["bound"],
            f"{name}_iterations": found.notes["iterations"],
        }
        out |= {f"{name}_rand": rand(groups["responsibility"][1], group)}
    logs = np.log1p(given["x"] / given["size_factor"][:, None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where it does not converge within its own limit
        peer = GaussianMixture(K, covariance_type="diag", n_init=10, random_state=1)
        _, seconds = timed(lambda: peer.fit(logs))
    return {**out, "sklearn_s": seconds, "sklearn_rand": rand(peer.predict_proba(logs), group)}


def million(N: int) -> dict[str, float]:
    """Fit N cells, 30 genes, K = 10 from a file ``.h5ad``; compare with EM on all of them in the end."""
    import resource
    import tempfile

    import anndata
    from scipy import sparse
    from sklearn.cluster import MiniBatchKMeans

    from genarium.models.nb_mixture.stores import fit_file

    with tempfile.TemporaryDirectory() as folder:
        x, s, group = cells(N, 30, 10, SPREAD["overlapping"])
        file = f"{folder}/cells.h5ad"
        made = anndata.AnnData(sparse.csr_matrix(x.astype(np.float32)))
        made.obs["s"] = s
        made.write_h5ad(file)
        del made
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        tree, seconds = timed(lambda: fit_file(gn.get("nb_mixture"), file, component=10, size_factor="s"))
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        bounds = tree["point"]["bound"].to_numpy()[0]
        given = check(gn.get("nb_mixture").variant(dispersion="gene"), {"x": x, "size_factor": s}, {"component": 10})
        step = Step(given)
        state = step.start_at(tree["point"]["mu"].to_numpy())
        state = step.hold(type(state)(tree["point"]["pi"].to_numpy(), state.mu, tree["point"]["phi"].to_numpy()))
        on = ascend(step, state, tolerance=1.0, max_iterations=60, vector=(step.pack, step.unpack))
        logs = np.log1p(x / s[:, None]).astype(np.float32)
        peer, peer_seconds = timed(lambda: MiniBatchKMeans(10, n_init=10, random_state=1).fit(logs))
        from sklearn.metrics import adjusted_rand_score

        return {
            "online_s": seconds,
            "more_memory_gb": more / 1e6,
            "relative_to_full_em": (on.bound - bounds[-1]) / abs(on.bound),
            "relative_after_small_steps": (on.bound - bounds[0]) / abs(on.bound),
            "rand": rand(step.counts.assign(step.logits(on.state)[0])[0].T, group),
            "minibatch_kmeans_s": peer_seconds,
            "minibatch_kmeans_rand": float(adjusted_rand_score(group, peer.labels_)),
        }


def wide(N: int, D: int, K: int, kind: str, seed: int) -> dict[str, float]:
    """Read and fit a file ``.h5ad`` of many genes at the defaults of ``em``."""
    import tempfile

    import anndata
    from scipy import sparse

    x, _, group = cells(N, D, K, SPREAD[kind], seed)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/cells.h5ad"
        anndata.AnnData(sparse.csr_matrix(x.astype(np.float32))).write_h5ad(file)
        given, reading = timed(lambda: gn.read("nb_mixture", file, "h5ad", size_factor="total"))
        tree, fitting = timed(lambda: gn.fit("nb_mixture", given, "em", seed, component=K, dispersion="gene"))
    q = tree["point"]["responsibility"].to_numpy()
    return {"read_s": reading, "em_s": fitting, "rand": rand(q, group), "converged": converged(tree)}


def converged(tree: Any) -> float:
    """Return whether a fit says that it converged."""
    return float(json.loads(tree.attrs["notes"])["converged"])


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="20000x30x8,1500x40x8", help="cells x genes x components, a comma between")
    parser.add_argument("--million", type=int, default=0, metavar="N", help="cells of the fit from a file; 0: none")
    parser.add_argument("--wide", default="", metavar="SHAPE", help="cells x genes x components of files of many genes")
    options = parser.parse_args()
    if options.wide:
        N, D, K = (int(part) for part in options.wide.split("x"))
        for kind in SPREAD:
            for seed in range(5):
                print(json.dumps({f"{options.wide} {kind}, seed {seed}": wide(N, D, K, kind, seed)}), flush=True)
        return
    if options.million:
        print(json.dumps({f"{options.million} cells": million(options.million)}))
        return
    for shape in options.shapes.split(","):
        N, D, K = map(int, shape.split("x"))
        for kind in SPREAD:
            for depth in (True, False):
                what = f"{shape} {kind}{' with size factors' if depth else ''}"
                found = {name: float(f"{value:.7g}") for name, value in compare(N, D, K, kind, depth).items()}
                print(json.dumps({what: found}), flush=True)


if __name__ == "__main__":
    main()
