"""Simple rivals of the learned statistic, fitted to the same training perturbations: what it must beat."""

from functools import cached_property

import numpy as np
from scipy.special import log_softmax

from genarium.declaration import Array
from genarium.simplex import log_sum_exp

from ..distance import l1
from ..two_sample import energy_distance, mmd
from .samplers import Screen, draw_cells

COMPONENTS = 30
"""Principal components of cells, at most."""

PENALTIES = 10.0 ** np.arange(-4, 5)
"""Ridge penalties that are tried, relative to the mean square of a feature."""

TRAINING = 8
"""Samples of n cells of each training perturbation that the regression sees."""

TESTED = 200
"""Control or pooled cells that a distance is taken from, at most."""


class Rivals:
    """Principal components of training cells, and what predicts shares from them.

    Parameters
    ----------
    one : Screen
    fitting : ndarray of int
        Training perturbations: nothing of the others is looked at.
    rng : Generator
    """

    def __init__(self, one: Screen, fitting: Array, rng: np.random.Generator) -> None:
        self.one, self.fitting, self.rng = one, fitting, rng
        cells = one.cells[self._cells].astype(np.float64)
        self.centre = cells.mean(0)
        values, vectors = np.linalg.eigh(np.cov(cells, rowvar=False))
        self.axes = vectors[:, ::-1][:, : min(COMPONENTS, int((values > 1e-12 * values[-1]).sum()))]

    @cached_property
    def _cells(self) -> Array:
        return np.concatenate([np.arange(self.one.first[p], self.one.first[p + 1]) for p in self.fitting])

    def project(self, index: Array) -> Array:
        """Principal components of cells."""
        return np.asarray((self.one.cells[index] - self.centre) @ self.axes)

    @cached_property
    def _classes(self) -> tuple[Array, Array]:
        """Means of the states, (K, d), and the inverse of their common covariance (linear discriminants)."""
        x, state = self.project(self._cells), self.one.state[self._cells]
        K = self.one.share.shape[1]
        mean = np.stack([x[state == k].mean(0) if (state == k).any() else np.full(x.shape[1], 1e6) for k in range(K)])
        residual = x - mean[state]
        covariance = residual.T @ residual / max(1, len(x) - K)
        return mean, np.linalg.inv(covariance + 1e-6 * np.trace(covariance) / len(covariance) * np.eye(len(covariance)))

    def ridge(self, rows: Array, n: int, Q: Array) -> Array:
        """Return distances from targets, (P, J): shares by ridge regression on means of n cells."""
        x, y, group = [], [], []
        for _ in range(TRAINING):
            index, average = draw_cells(self.one, self.fitting, np.full(len(self.fitting), n), n, self.rng)
            x.append(average @ self.project(index))
            y.append(self.one.share[self.fitting])
            group.append(np.arange(len(self.fitting)))
        X, Y, G = np.concatenate(x), np.concatenate(y), np.concatenate(group)
        weights = _ridge(X, Y, G)
        index, average = draw_cells(self.one, rows, np.full(len(rows), n), n, self.rng)
        told = np.column_stack([np.ones(len(rows)), average @ self.project(index)]) @ weights
        return l1(told[:, None], Q)

    def classifier(self, rows: Array, n: int, Q: Array) -> Array:
        """Return expected distances from targets, (P, J): linear discriminants of n cells, training shares as atoms."""
        mean, inverse = self._classes
        atoms = np.maximum(self.one.share[self.fitting], 1e-6)  # (A, K)
        known = l1(atoms[:, None], Q)  # (A, J)
        out = []
        for p in rows:
            index, _ = draw_cells(self.one, np.array([p]), np.array([n]), n, self.rng)
            x = self.project(index[: min(n, int(self.one.numbers[p]))])
            apart = x[:, None] - mean  # (n, K, d)
            log = -0.5 * np.einsum("nkd,de,nke->nk", apart, inverse, apart)
            log_weight = log_sum_exp(np.log(atoms)[:, None] + log, -1).sum(-1)  # (A,)
            out.append(np.exp(log_softmax(log_weight)) @ known)
        return np.stack(out)

    def distances(self, rows: Array, n: int) -> dict[str, Array]:
        """Energy distance and MMD of two disjoint samples of n cells from the training cells; shape (2, P, 1) each."""
        able = rows[self.one.numbers[rows] >= 2 * n]
        if len(able) < 3 or n < 2:
            return {name: np.full((2, 3, 1), np.nan) for name in ("energy", "mmd")}
        pool = self.project(self.rng.choice(self._cells, min(TESTED, len(self._cells)), replace=False))
        out: dict[str, list[list[float]]] = {"energy": [[], []], "mmd": [[], []]}
        for p in able:
            index, _ = draw_cells(self.one, np.array([p]), np.array([2 * n]), 2 * n, self.rng)
            for half in range(2):
                x = self.project(index[half * n : (half + 1) * n])
                out["energy"][half].append(energy_distance(x, pool))
                out["mmd"][half].append(mmd(x, pool))
        return {name: np.array(found)[..., None] for name, found in out.items()}

    def whole(self, rows: Array) -> dict[str, Array]:
        """Energy distance and MMD of 200 cells at most of perturbations from training cells; shape (P, 1) each.

        Missing where a perturbation has a single cell.
        """
        pool = self.project(self.rng.choice(self._cells, min(TESTED, len(self._cells)), replace=False))
        out: dict[str, list[float]] = {"energy": [], "mmd": []}
        for p in rows:
            index, _ = draw_cells(self.one, np.array([p]), np.array([TESTED]), TESTED, self.rng)
            x = self.project(index[: min(TESTED, int(self.one.numbers[p]))])
            out["energy"].append(energy_distance(x, pool) if len(x) > 1 else np.nan)
            out["mmd"].append(mmd(x, pool) if len(x) > 1 else np.nan)
        return {name: np.array(found)[:, None] for name, found in out.items()}

    def pairs(self, rows: Array, n: int) -> Array:
        """Means of principal components of two disjoint samples of n cells; shape (2, P, d)."""
        able = rows[self.one.numbers[rows] >= 2 * n]
        if len(able) < 3:
            return np.full((2, 3, 1), np.nan)
        index, _ = draw_cells(self.one, able, np.full(len(able), 2 * n), 2 * n, self.rng)
        return self.project(index).reshape(len(able), 2, n, -1).mean(2).transpose(1, 0, 2)


def _ridge(X: Array, Y: Array, group: Array) -> Array:
    """Coefficients (1 + d, K) of a ridge regression whose penalty leaves out groups of rows best."""
    names = np.unique(group)
    parts = np.array_split(np.random.default_rng(0).permutation(names), min(5, len(names)))
    scale = float((X**2).mean())

    def solve(rows: Array, penalty: float) -> Array:
        Z = np.column_stack([np.ones(rows.sum()), X[rows]])
        shrink = penalty * scale * rows.sum() * np.eye(Z.shape[1])
        shrink[0, 0] = 0
        return np.linalg.solve(Z.T @ Z + shrink, Z.T @ Y[rows])

    def error(penalty: float) -> float:
        total = 0.0
        for part in parts:
            out = np.isin(group, part)
            told = np.column_stack([np.ones(out.sum()), X[out]]) @ solve(~out, penalty)
            total += float(((told - Y[out]) ** 2).sum())
        return total

    best = min(PENALTIES, key=error)
    return solve(np.ones(len(X), dtype=bool), float(best))
