"""Where perturbation_score breaks: coverage and error when counts are not what the model says.

``python validation/benchmarks/perturbation_score_stress.py``: 100 perturbations, five states, 50 cells in the median
(sd 1 of the log), shares from a Dirichlet of concentration 20 around the control's, and one thing wrong at a time, at
several sizes of it. For ``conjugate`` without features beside plug-in shares (intervals by Jeffreys' prior,
Dirichlet(1/2)) it measures how often 90 % intervals of shares cover, the mean squared error of the distance to a
target, and the rank correlation of scores with the truth (``card_tables.py``).
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import numpy as np
from card_tables import Table, run  # type: ignore[import-not-found]
from scipy.stats import beta, spearmanr

import genarium as gn
from genarium.declaration import Array
from genarium.models.perturbation_score import score

NAME = "perturbation_score"
CONTROL = np.array([0.07, 0.21, 0.31, 0.39, 0.02])
TARGET = np.array([1.0, 0, 0, 0, 0])
PERTURBATIONS = 100

WORLDS: dict[str, tuple[float | None, ...]] = {
    "nothing": (None,),
    "wells vary: shares drawn anew with this concentration": (200.0, 40.0),
    "clones: cells of the same state come together, by this number": (2.0, 5.0),
    "strong hits: share of perturbations of concentration 0.5": (0.1, 0.3),
    "escapees: share of cells that were not hit": (0.2, 0.5),
    "wrong labels: share of cells given to any state": (0.05, 0.2),
}


def world(what: str, size: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return counts and true shares; both (P, K)."""
    kind = what.partition(":")[0]
    q = rng.dirichlet(20 * CONTROL, PERTURBATIONS)
    if kind == "strong hits":
        hit = rng.uniform(size=PERTURBATIONS) < size
        q[hit] = rng.dirichlet(np.full(5, 0.5 / 5), hit.sum())
    cells = np.maximum(2, rng.lognormal(np.log(50), 1, PERTURBATIONS).astype(int))
    shown = q
    if kind == "wells vary":
        shown = np.stack([rng.dirichlet(size * one + 1e-9) for one in q])
    if kind == "escapees":
        shown = (1 - size) * q + size * CONTROL
    if kind == "wrong labels":
        shown = (1 - size) * q + size / 5
    together = int(size) if kind == "clones" else 1
    return rng.multinomial(np.maximum(1, cells // together), shown) * together, q


def one(what: str, size: float | None, seed: int) -> dict[str, float]:
    """Simulate, fit and compare."""
    counts, q = world(what, size or 0.0, np.random.default_rng([seed, int(1000 * (size or 0))]))
    fit = gn.fit(NAME, {"count": counts, "target": TARGET}, "conjugate", seed, regression="none")
    distance = np.abs(TARGET - q).sum(1)
    found: dict[str, float] = {}
    plug_in = counts / counts.sum(1, keepdims=True)
    scores = score(fit)
    for name, a, d in (
        ("", fit["point"]["concentration"].to_numpy(), -scores["score"].to_numpy()),
        ("_plug_in", counts + 0.5, np.abs(TARGET - plug_in).sum(1)),
    ):
        low, high = np.asarray(beta.ppf([[[0.05]], [[0.95]]], a, a.sum(1, keepdims=True) - a))
        found |= {
            f"covered{name}": float(((low <= q) & (q <= high)).mean()),
            f"mse{name}": float(((d - distance) ** 2).mean()),
            f"rank{name}": float(spearmanr(d, distance).statistic),
        }
    return found


COLUMNS = {
    "covered": "90 % intervals of shares cover",
    "covered_plug_in": "plug-in",
    "mse": "MSE of the distance",
    "mse_plug_in": "plug-in",
    "rank": "rank correlation of scores",
    "rank_plug_in": "plug-in",
}

TABLES = [Table("perturbation_score_stress", NAME, WORLDS, one, COLUMNS, simulations=50)]

if __name__ == "__main__":
    run(TABLES, __doc__)
