"""Where nb_mixture breaks: grouping and intervals when the data are not what the model says.

``python validation/benchmarks/nb_mixture_stress.py``: 400 cells of four groups (of 40, 30, 20 and 10 %) and 12
genes, of which half differ between groups; then one thing is wrong at a time, at three sizes of it. ``vi`` with
dispersion by gene and the true size factors is compared with scikit-learn's ``GaussianMixture`` (diagonal) and k-means
on log(1 + x/s), all with the same number of starts: adjusted Rand index of the groups; and of ``vi`` the coverage of
90 % intervals of means and weights, components matched to the groups by their centroids (``card_tables.py``).
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import warnings
from dataclasses import dataclass

import numpy as np
from card_tables import Table, run  # type: ignore[import-not-found]

import genarium as gn
from genarium.declaration import Array

NAME = "nb_mixture"

WORLDS: dict[str, tuple[float | None, ...]] = {
    "nothing": (None,),
    "dependent genes: sd of a factor's loadings": (0.2, 0.4, 0.8),
    "doublets: share of cells": (0.02, 0.1, 0.2),
    "ambient counts: share of a cell's": (0.05, 0.15, 0.3),
    "zero inflation that is not modelled: share lost": (0.05, 0.15, 0.3),
    "dispersion that varies by cell: sd of its logarithm": (0.5, 1.0, 1.5),
    "size factors that are not modelled: sd of the logarithm": (0.2, 0.5, 1.0),
    "components, where there are four groups": (2, 3, 6),
}

PI = np.array([0.4, 0.3, 0.2, 0.1])

PHI, DEPTH = 0.3, 0.3
"""Dispersion, and sd of the logarithm of size factors."""

CELLS, GENES, STARTS = 400, 12, 4


@dataclass(frozen=True)
class World:
    """Counts (N, D) and size factors as the fit is told them, true groups, centroids (4, D), and K to fit."""

    x: Array
    s: Array
    group: Array
    mu: Array
    components: int


def world(rng: np.random.Generator, what: str, size: float, cells: int, genes: int) -> World:
    """Simulate."""
    kind = what.partition(":")[0].partition(",")[0].partition(" that")[0]
    differs = rng.uniform(size=genes) < 0.5
    mu = np.exp(rng.normal(np.log(8), 0.8, genes) + differs * rng.normal(0, 1.2, (len(PI), genes)))
    group = rng.choice(len(PI), cells, p=PI)
    s = np.exp(rng.normal(0, size if kind == "size factors" else DEPTH, cells))
    s /= s.mean()
    mean = s[:, None] * mu[group]
    phi = np.full((cells, 1), PHI)
    if kind == "dependent genes":
        loading = rng.normal(0, size, genes)
        mean = mean * np.exp(rng.normal(size=(cells, 1)) * loading - loading**2 / 2)  # means stay
    if kind == "doublets":
        both = rng.uniform(size=cells) < size
        mean = mean + both[:, None] * s[:, None] * mu[rng.choice(len(PI), cells, p=PI)]
    if kind == "ambient counts":
        mean = (1 - size) * mean + size * s[:, None] * (PI @ mu)
    if kind == "dispersion":
        phi = PHI * np.exp(rng.normal(0, size, (cells, 1)))
    x = rng.negative_binomial(1 / phi, 1 / (1 + phi * mean))
    if kind == "zero inflation":
        x = np.where(rng.uniform(size=x.shape) < size, 0, x)
    told = np.ones(cells) if kind == "size factors" else s
    return World(x, told, group, mu, int(size) if kind == "components" else len(PI))


def one(what: str, size: float | None, seed: int) -> dict[str, float]:
    """Return what became of a simulation."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score
    from sklearn.mixture import GaussianMixture

    at = world(np.random.default_rng(seed), what, size or 0, CELLS, GENES)
    logs, K = np.log1p(at.x / at.s[:, None]), at.components
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = {"x": at.x, "size_factor": at.s}
        fit = gn.fit(NAME, data, "vi", seed, component=K, dispersion="gene", draws=200, restarts=STARTS)
        normal = GaussianMixture(K, covariance_type="diag", n_init=STARTS, random_state=seed).fit_predict(logs)
        means = KMeans(K, n_init=STARTS, random_state=seed).fit_predict(logs)
    own = fit["variational"]["responsibility"].to_numpy().argmax(1)
    mu, pi = (fit["posterior"][name].to_numpy()[0] for name in ("mu", "pi"))
    distance = ((np.log(mu.mean(0))[:, None] - np.log(at.mu)) ** 2).sum(-1)  # (K, 4)
    ours, theirs = linear_sum_assignment(distance)
    held = []
    for draws, truth in ((mu[:, ours], at.mu[theirs]), (pi[:, ours], PI[theirs])):
        low, high = np.quantile(draws, (0.05, 0.95), axis=0)
        held.append(float(((low <= truth) & (truth <= high)).mean()))
    scores = [float(adjusted_rand_score(at.group, found)) for found in (own, normal, means)]
    return dict(zip(COLUMNS, [*scores, *held], strict=True))


COLUMNS = {
    "ari_vi": "Rand index: `vi`",
    "ari_gaussian": "Gaussian mixture",
    "ari_kmeans": "k-means",
    "covered_means": "cover means",
    "covered_weights": "cover weights",
}

TABLES = [Table("nb_mixture_stress", NAME, WORLDS, one, COLUMNS, simulations=3)]

if __name__ == "__main__":
    run(TABLES, __doc__)
