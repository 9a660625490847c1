"""Where locus_regression breaks: coverage and error when mutations are not what the model says.

``python validation/benchmarks/locus_regression_stress.py``: 20 genomes, 200 windows, three processes, three features
and 10,000 mutations from the model's own generative process (signatures as uneven as real ones: Dirichlet(.2) over
contexts, Dirichlet(.5) over alternatives), and one thing wrong at a time, at several sizes of it.
For the default fit (``vi`` with its correction, K given) beside non-negative matrix factorisation of the genomes'
channel counts (scikit-learn, Kullback-Leibler, best of three starts) it measures the least cosine of a signature with
its truth, the mean absolute error of exposures, and, of the model, how often 90 % intervals of effects, exposures and
signatures cover (``card_tables.py``).
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from card_tables import Table, run  # type: ignore[import-not-found]
from locus_regression_intervals import covered, signatures  # type: ignore[import-not-found]
from scipy.optimize import linear_sum_assignment

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.models.locus_regression.channels import split_channel

NAME = "locus_regression"
PROCESSES = 3
CHANNELS = 96
SIZES = {"genome": 20, "locus": 200, "feature": 3, "cell": 10_000}

WORLDS: dict[str, tuple[float | None, ...]] = {
    "nothing": (None,),
    "windows vary beyond their features: variance of log rates": (0.1, 0.5),
    "showers: share of mutations in ten windows of one genome each": (0.02, 0.1),
    "artefacts: share of mutations of any channel, anywhere": (0.02, 0.1),
    "features measured with error: its sd": (0.3, 1.0),
    "one process too few: share of mutations by a fourth": (0.05, 0.15),
}


def world(what: str, size: float, seed: int) -> tuple[dict[str, Any], Problem, dict[str, Array]]:
    """Return the data to fit, the problem as simulated, and the truth."""
    kind, rng = what.partition(":")[0], np.random.default_rng([seed, int(1000 * size)])
    varied = kind.startswith("windows")
    model = gn.get(NAME).variant(**({"loci": "random"} if varied else {}))
    sharp = {"lam": rng.dirichlet(np.full(32, 0.2), PROCESSES), "rho": rng.dirichlet(np.full(3, 0.5), (PROCESSES, 32))}
    settings = {**SIZES, **sharp, **({"dispersion": size} if varied else {})}
    tree = gn.simulate(model, seed=seed, process=PROCESSES, **settings)
    problem = check(model, tree)
    truth = {name: tree["truth"][name].to_numpy() for name in ("beta", "lam", "rho", "pi")}
    data = {name: problem[name].copy() for name in ("genome", "locus", "channel", "features", "exposure")}
    data |= {name: problem[name] for name in ("context_opportunity", "context_exposure")}
    G, L, N = len(truth["pi"]), data["features"].shape[1], len(data["locus"])
    hit = rng.uniform(size=N) < size
    if kind == "showers":
        windows, channel = rng.integers(L, size=10), int(rng.integers(CHANNELS))
        of = rng.integers(10, size=hit.sum())
        data["locus"][hit], data["genome"][hit] = windows[of], rng.integers(G, size=10)[of]
        data["channel"][hit] = channel
    if kind == "artefacts":
        data["locus"][hit], data["channel"][hit] = (
            rng.integers(L, size=hit.sum()),
            rng.integers(CHANNELS, size=hit.sum()),
        )
    if kind == "features measured with error":
        data["features"] = data["features"] + size * rng.normal(size=data["features"].shape)
    if kind == "one process too few":
        spectrum = rng.dirichlet(np.full(CHANNELS, 0.1))
        slope = np.exp(data["features"].T @ rng.normal(size=len(data["features"])))
        some = (rng.uniform(size=N) < 3 * size) & (data["genome"] % 3 == 0)  # in a third of the genomes
        data["locus"][some] = rng.choice(L, size=some.sum(), p=slope / slope.sum())
        data["channel"][some] = rng.choice(CHANNELS, size=some.sum(), p=spectrum)
    return data, problem, truth


def factorised(data: Mapping[str, Array], genomes: int) -> tuple[Array, Array]:
    """Signatures, shape (K, 96), and exposures, shape (G, K), by non-negative matrix factorisation."""
    from sklearn.decomposition import NMF

    counts = np.zeros((genomes, CHANNELS))
    context, alternative = split_channel(data["channel"])
    np.add.at(counts, (data["genome"], 3 * context + alternative), 1)
    best: Any = None
    for start in range(3):
        one = NMF(PROCESSES, init="random", beta_loss="kullback-leibler", solver="mu", max_iter=500, random_state=start)
        weights = one.fit_transform(counts)
        if best is None or one.reconstruction_err_ < best[0]:
            best = one.reconstruction_err_, one.components_, weights
    _, components, weights = best
    weights = weights * components.sum(1)
    return components / components.sum(1, keepdims=True), weights / weights.sum(1, keepdims=True)


def compared(found: Array, pi: Array, true: Array, true_pi: Array) -> tuple[float, float]:
    """Least cosine of matched signatures, and mean absolute error of exposures."""
    cosine = found @ true.T / np.linalg.norm(found, axis=1)[:, None] / np.linalg.norm(true, axis=1)
    rows, order = linear_sum_assignment(-cosine)
    return float(cosine[rows, order].min()), float(np.abs(pi - true_pi[:, order]).mean())


def one(what: str, size: float | None, seed: int) -> dict[str, float]:
    """Simulate, fit and compare."""
    data, problem, truth = world(what, size or 0.0, seed)
    true = signatures(truth, problem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = gn.fit(NAME, data, "vi", seed, process=PROCESSES)
        rival = factorised(data, len(truth["pi"]))
    draws = {name: fit["posterior"][name].to_numpy().reshape(-1, *truth[name].shape) for name in truth}
    inside = {f"covered_{name}": float(each.mean()) for name, each in covered(draws, truth, problem).items()}
    model = compared(signatures(draws, problem).mean(0), draws["pi"].mean(0), true, truth["pi"])
    names = ("cosine", "pi_error", "cosine_nmf", "pi_error_nmf")
    return dict(zip(names, (*model, *compared(*rival, true, truth["pi"])), strict=True)) | inside


COLUMNS = {
    "cosine": "least cosine of a signature",
    "cosine_nmf": "NMF",
    "pi_error": "error of exposures",
    "pi_error_nmf": "NMF",
    "covered_beta": "90 % intervals cover: effects",
    "covered_pi": "exposures",
    "covered_signature": "signatures",
}

TABLES = [Table("locus_regression_stress", NAME, WORLDS, one, COLUMNS, simulations=5)]

if __name__ == "__main__":
    run(TABLES, __doc__)
