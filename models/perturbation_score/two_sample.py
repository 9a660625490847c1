"""Distances between two samples of cells, unbiased, and whether they are more than chance (permutation tests).

No model stands behind them: they are the rivals that a learned statistic is held against, and tests in their own right.
"""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.spatial.distance import cdist

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.progress import track
from genarium.readers.messages import listed
from genarium.settings import generator

if TYPE_CHECKING:
    import pandas as pd

Statistic = Literal["energy", "mmd"]


def energy_distance(x: Any, y: Any, *, exponent: float = 1.0) -> float:
    """Estimate the energy distance of two distributions of cells, unbiased (eq. 28).

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Cells of either sample, at least two of each: principal components, say.
    exponent : float
        Of the Euclidean distances, between 0 and 2. At 2 only the means count: twice the squared distance of the two
        means, which is the E-distance of Peidli et al. (2024).

    Returns
    -------
    float
        Zero on average where the two distributions are one, and so negative in half of these cases.

    Raises
    ------
    InputError
        If a sample is no table of finite numbers with two rows or more, or the two have other columns.

    References
    ----------
    Székely and Rizzo (2013), Energy statistics, J Stat Plan Inference 143. Peidli et al. (2024), scPerturb: harmonized
    single-cell perturbation data, Nat Methods 21.
    """
    first, second = _samples(x, y)
    pooled = np.concatenate([first, second])
    return float(_Pairs(_powers(pooled, pooled, exponent), len(first)).observed)


def mmd(x: Any, y: Any, *, bandwidth: float | None = None) -> float:
    """Estimate the squared maximum mean discrepancy of two distributions of cells, unbiased (eq. 29).

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Cells of either sample, at least two of each.
    bandwidth : float, optional
        Standard deviation of the Gaussian kernel. Default: the median distance of two cells of the pooled samples.

    Returns
    -------
    float
        Zero on average where the two distributions are one.

    Raises
    ------
    InputError
        As :func:`energy_distance`, or if the bandwidth is not positive.

    References
    ----------
    Gretton et al. (2012), A kernel two-sample test, JMLR 13.
    """
    first, second = _samples(x, y)
    pooled = np.concatenate([first, second])
    return float(_Pairs(-_kernel(cdist(pooled, pooled, "sqeuclidean"), bandwidth), len(first)).observed)


def permutation_test(
    x: Any,
    y: Any,
    statistic: Statistic = "energy",
    permutations: int = 999,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a distance of two samples, and the share of random divisions of their cells that lie as far apart.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
    statistic : {"energy", "mmd"}
        :func:`energy_distance` or :func:`mmd` at their defaults.
    permutations : int
        The smallest p value is 1 / (permutations + 1).
    seed : int

    Returns
    -------
    distance, p : float
        The observed division counts as one of the permuted ones, so that p is at most .05 in one of twenty cases where
        the cells are exchangeable, whatever their number.

    Raises
    ------
    InputError
        As :func:`energy_distance`, or if the statistic is unknown or there are no permutations.
    """
    first, second = _samples(x, y)
    pairs = _pairs(first, second, cdist(second, second, _METRIC[_known(statistic)]), statistic)
    return pairs.observed, pairs.p(permutations, generator(seed))


def against_control(
    cells: Any,
    labels: Sequence[Hashable],
    control: Hashable,
    *,
    statistic: Statistic = "energy",
    permutations: int = 999,
    control_cells: int = 2000,
    seed: int = 0,
) -> "pd.DataFrame":
    """Test every perturbation against the control.

    Parameters
    ----------
    cells : array_like, shape (n, d)
        Cells of all conditions: principal components, say (``adata.obsm["X_pca"]``).
    labels : sequence of n labels
        The perturbation of each cell (``adata.obs["perturbation"]``).
    control : label
    statistic : {"energy", "mmd"}
    permutations : int
    control_cells : int
        Of more control cells, so many are taken at random.
    seed : int

    Returns
    -------
    DataFrame
        One row a perturbation, the farthest first: ``cells``, ``distance``, ``p`` (permutation test) and ``fdr``
        (Benjamini and Hochberg: the smallest false discovery rate at which it is a hit). ``attrs`` tells how many
        control cells were used and which perturbations, of one cell, were left out.

    Raises
    ------
    InputError
        If cells and labels differ in number, or no cell is a control's.

    Examples
    --------
    >>> import numpy as np
    >>> from genarium.models.perturbation_score import against_control
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 5))
    >>> x[:20] += 2
    >>> against_control(x, ["KO"] * 20 + ["other"] * 20 + ["control"] * 20, "control")["fdr"].round(2).to_dict()
    {'KO': 0.0, 'other': 0.6}
    """
    import pandas as pd
    from scipy.stats import false_discovery_control

    table = _table("cells", cells)
    given = np.asarray(labels, dtype=object)
    if len(given) != len(table):
        raise InputError(
            f"perturbation_score: there are {len(table)} cells but {len(given)} labels. Give one for each."
        )
    if missing := [i for i, one in enumerate(given) if one is None or one != one]:
        raise InputError(
            f"perturbation_score: labels[{missing[0]}] is missing ({len(missing)} such cells). Label it, or drop "
            "the cell."
        )
    rng = generator(seed)
    untreated = np.flatnonzero(given == control)
    names = list(dict.fromkeys(given))
    if len(untreated) < 2:
        raise InputError(
            f"perturbation_score: {len(untreated)} cells are labelled {control!r}, but a control needs two or more; "
            f"labels are {listed(list(map(str, names)))}."
        )
    if len(names) < 2:
        raise InputError(f"perturbation_score: all cells are labelled {control!r}: there is nothing to compare.")
    if len(untreated) > control_cells:
        untreated = np.sort(rng.choice(untreated, control_cells, replace=False))
    second = table[untreated]
    within = cdist(second, second, _METRIC[_known(statistic)])
    rows, alone = [], []
    for name in track([n for n in names if n != control], "perturbations"):
        first = table[given == name]
        if len(first) < 2:
            alone.append(str(name))
            continue
        pairs = _pairs(first, second, within, statistic)
        rows.append((name, len(first), pairs.observed, pairs.p(permutations, rng)))
    found = pd.DataFrame(rows, columns=["perturbation", "cells", "distance", "p"]).set_index("perturbation")
    found["fdr"] = false_discovery_control(found["p"]) if rows else []
    found = found.sort_values("distance", ascending=False, kind="stable")
    found.attrs = {"statistic": statistic, "control_cells": len(untreated), "of_one_cell": alone}
    return found


class _Pairs:
    """A distance of two samples as a sum over pairs of their cells, for any division of these.

    Parameters
    ----------
    apart : ndarray, shape (N, N)
        How far apart cells are (symmetric); a kernel with its sign changed.
    n : int
        The first ones are the first sample.
    """

    def __init__(self, apart: Array, n: int) -> None:
        self.apart, self.n = apart, n
        self.rows = apart.sum(1)
        self.own = np.diagonal(apart)

    @property
    def observed(self) -> float:
        """The distance of the samples as they are."""
        return self.divided(np.arange(self.n))

    def divided(self, chosen: Array) -> float:
        """Return the distance of the chosen cells from the others."""
        n, m = self.n, len(self.apart) - self.n
        all_within, to_all = self.apart[np.ix_(chosen, chosen)].sum(), self.rows[chosen].sum()
        between = to_all - all_within
        within = all_within - self.own[chosen].sum()
        others = self.rows.sum() - 2 * to_all + all_within - (self.own.sum() - self.own[chosen].sum())
        return float(2 * between / (n * m) - within / (n * (n - 1)) - others / (m * (m - 1)))

    def p(self, permutations: int, rng: np.random.Generator) -> float:
        """Return the share of divisions at random, the observed one among them, that lie as far apart."""
        if permutations < 1:
            raise InputError(f"perturbation_score: permutations={permutations!r} must be 1 or more.")
        observed, N = self.observed, len(self.apart)
        as_far = sum(
            self.divided(rng.choice(N, self.n, replace=False)) >= observed - 1e-12 * abs(observed)
            for _ in range(permutations)
        )
        return float(1 + as_far) / (permutations + 1)


_METRIC: dict[str, Literal["euclidean", "sqeuclidean"]] = {"energy": "euclidean", "mmd": "sqeuclidean"}


def _known(statistic: str) -> str:
    if statistic not in _METRIC:
        raise InputError(f"perturbation_score: there is no statistic {statistic!r}; there are energy and mmd.")
    return statistic


def _pairs(first: Array, second: Array, within: Array, statistic: str) -> _Pairs:
    """Return the pairs of two samples; ``within``: distances of the second one's cells."""
    metric = _METRIC[statistic]
    across = cdist(first, second, metric)
    apart = np.block([[cdist(first, first, metric), across], [across.T, within]])
    return _Pairs(apart if statistic == "energy" else -_kernel(apart, None), len(first))


def _powers(x: Array, y: Array, exponent: float) -> Array:
    if not isinstance(exponent, int | float | np.number) or not 0 < exponent <= 2:
        raise InputError(f"perturbation_score: exponent={exponent!r} must lie above 0 and at most at 2.")
    return np.asarray(cdist(x, y, "sqeuclidean") ** (exponent / 2))


def _kernel(squared: Array, bandwidth: float | None) -> Array:
    """Gaussian kernel of squared distances."""
    if bandwidth is None:
        typical = float(np.median(squared[np.triu_indices(len(squared), 1)])) or float(squared.mean()) or 1.0
    elif isinstance(bandwidth, int | float | np.number) and 0 < bandwidth < np.inf:
        typical = bandwidth**2
    else:
        raise InputError(f"perturbation_score: bandwidth={bandwidth!r} must be positive.")
    return np.exp(-squared / (2 * typical))


def _samples(x: Any, y: Any) -> tuple[Array, Array]:
    named = [list(one.columns) if hasattr(one, "columns") else None for one in (x, y)]
    if named[0] is not None and named[1] is not None and named[0] != named[1]:  # columns are found by name
        if sorted(map(str, named[0])) != sorted(map(str, named[1])):
            odd = sorted(set(map(str, named[0])) ^ set(map(str, named[1])))
            raise InputError(f"perturbation_score: of x and y, one alone has the columns {listed(odd)}. Give the same.")
        y = y[named[0]]
    first, second = _table("x", x), _table("y", y)
    if first.shape[1] != second.shape[1]:
        raise InputError(
            f"perturbation_score: x has {first.shape[1]} columns and y {second.shape[1]}. Give the same ones of both."
        )
    for name, sample in (("x", first), ("y", second)):
        if len(sample) < 2:
            raise InputError(f"perturbation_score: {name} has {len(sample)} cells, but two or more are needed.")
    return first, second


def _table(name: str, values: Any) -> Array:
    """Return cells as a table of finite numbers."""
    try:
        table = np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"perturbation_score: {name} must be a table of numbers, cells and numbers of each.") from None
    if table.ndim != 2:
        raise InputError(
            f"perturbation_score: {name} has {table.ndim} dims, but must have two: cells and numbers of each."
        )
    if not np.isfinite(table).all():
        i, j = np.argwhere(~np.isfinite(table))[0]
        raise InputError(f"perturbation_score: {name} at cell {i}, column {j} is {table[i, j]}. Leave such cells out.")
    return table
