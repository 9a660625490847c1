"""Cells of a screen as the network takes them, gene-level splits, and batches for a step."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.counts import first_odd
from genarium.readers.labels import levels, stripped
from genarium.readers.messages import absent, listed

from .presets import Preset


@dataclass(frozen=True)
class Screen:
    """Cells grouped by perturbation.

    Attributes
    ----------
    cells : ndarray, shape (N, G)
        Normalised expression, perturbation after perturbation.
    first : ndarray of int, shape (P + 1,)
        Where each perturbation's cells begin.
    share : ndarray, shape (P, K)
        Shares of the states that a distance is taken from: true ones in a simulation, observed ones otherwise.
    features : ndarray, shape (P, D)
    names : ndarray, shape (P,)
    state : ndarray of int, shape (N,)
        State of each cell.
    genes, states : tuple of str
        Names, in the order of the columns of ``cells`` and ``share``; empty where they are not known.
    """

    cells: Array
    first: Array
    share: Array
    features: Array
    names: Array
    state: Array
    genes: tuple[str, ...] = ()
    states: tuple[str, ...] = ()

    @property
    def numbers(self) -> Array:
        """Cells of each perturbation."""
        return np.diff(self.first)

    def rows(self, p: int) -> slice:
        """Where the cells of a perturbation stand."""
        return slice(int(self.first[p]), int(self.first[p + 1]))


def normalise(counts: Any, dtype: str = "float32", total: float = 1e4) -> Array:
    """Log of one plus counts per ten thousand; (N, G), dense.

    Parameters
    ----------
    counts : array_like or sparse matrix, shape (N, G)
        Raw counts of N cells.
    dtype : str
        Of the result.
    total : float
        Counts that each cell is scaled to.

    Returns
    -------
    ndarray, shape (N, G)
        Zero or more.

    Raises
    ------
    InputError
        If a cell has no counts, or a value is no whole number, negative or missing.
    """
    counts = counts if hasattr(counts, "toarray") else np.asarray(counts)
    depth = depths(counts)
    out = (counts.toarray() if hasattr(counts, "toarray") else counts).astype(dtype)
    out *= (total / depth)[:, None].astype(dtype)
    return np.asarray(np.log1p(out, out=out))


def depths(counts: Any) -> Array:
    """Return the total of each cell, shape (N,), or raise an error if a value is no raw count or a cell has none."""
    if odd := first_odd(counts):
        i, j, value = odd
        raise InputError(
            f"perturbation_score.statistic: counts: cell {i}, gene {j} is {value}, but raw counts are whole numbers "
            "not below zero. Pass raw counts, not normalised expression (such as a layer, or adata.raw.X)."
        )
    depth = np.asarray(counts.sum(1, dtype=np.float64)).ravel()
    if (depth == 0).any():
        at = int(np.flatnonzero(depth == 0)[0])
        raise InputError(f"perturbation_score.statistic: cell {at} has no counts at all. Drop it.")
    return depth


def matrix(counts: Any) -> Any:
    """Return counts as an array, or a sparse matrix whose rows can be taken; of a DataFrame or any sparse one."""
    if hasattr(counts, "obs") and hasattr(counts, "X"):
        raise InputError(
            "perturbation_score.statistic: counts is an AnnData. Give the matrix of its raw counts, and the labels "
            "apart: screen(adata.X, adata.obs['condition'], adata.obs['state'], features)."
        )
    if hasattr(counts, "tocsr"):
        return counts.tocsr()
    out = np.asarray(counts)
    if out.ndim != 2 or out.dtype.kind not in "biuf":
        raise InputError(
            f"perturbation_score.statistic: counts is a {type(counts).__name__} of shape {out.shape} and type "
            f"{out.dtype}. Give numbers, a row for each cell and a column for each gene."
        )
    return out


def table_of(features: Any) -> Any:
    """Return features as they are if they are a DataFrame of finite numbers, or raise an error."""
    import pandas as pd

    if not isinstance(features, pd.DataFrame):
        raise InputError(
            f"perturbation_score.statistic: features is a {type(features).__name__}. Give a DataFrame with a row for "
            "each perturbed gene, named by its index: genes are found by name."
        )
    for name, column in features.items():
        if column.dtype.kind not in "biuf":
            raise InputError(
                f"perturbation_score.statistic: feature {name!r} holds {column.dtype}, not numbers. Convert or drop it."
            )
        if np.isinf(column.to_numpy(dtype=float)).any():
            at = int(np.flatnonzero(np.isinf(column.to_numpy(dtype=float)))[0])
            raise InputError(
                f"perturbation_score.statistic: feature {name!r} of {features.index[at]!r} is infinite. Correct it, or "
                "drop the gene."
            )
    return features


def labels(name: str, values: Any) -> Array:
    """Return the labels of cells as text, shape (N,), or raise an error that names the first missing one."""
    import pandas as pd

    given = pd.Series(values)
    if given.isna().any():
        at = int(np.flatnonzero(given.isna().to_numpy())[0])
        raise InputError(
            f"perturbation_score.statistic: {name}[{at}] is missing ({int(given.isna().sum())} such cells). Label it, "
            "or drop the cell."
        )
    return stripped(given).astype(str)


def screen(
    counts: Any,
    condition: Any,
    state: Any,
    features: Any,
    states: Any = None,
    dtype: str = "float32",
    control: str | None = None,
    genes: Any = None,
) -> Screen:
    """Group cells by perturbation.

    Parameters
    ----------
    counts : array or sparse matrix, shape (N, G)
        Raw counts.
    condition, state : array_like of str, shape (N,)
        Perturbed gene, and state, of each cell.
    features : DataFrame
        A row for each perturbed gene, named by its index.
    states : sequence of str, optional
        States in their order. Default: those that occur, in the order of their categories, whole numbers as numbers,
        else sorted.
    dtype : str
    control : str, optional
        Name of the unperturbed condition, which must be there; its features are zero unless given.
    genes : sequence of str, optional
        Names of the columns of ``counts`` (``adata.var_names``), by which another screen is aligned to this one.
        Default: the columns of a DataFrame, else none.

    Returns
    -------
    Screen

    Raises
    ------
    InputError
        For a gene without features, an unknown or missing label, lengths that differ, counts that are not raw.
    """
    import pandas as pd

    from ..readers import align

    genes = getattr(counts, "columns", ()) if genes is None else genes
    told = tuple(str(name) for name in genes)
    counts = matrix(counts)
    if told and (len(told) != counts.shape[1] or len(set(told)) < len(told)):
        raise InputError(
            f"perturbation_score.statistic: genes: {len(told)} names, {len(set(told))} of them different, for "
            f"{counts.shape[1]} columns of counts. Give each column a name of its own."
        )
    features = table_of(features)
    given_states = pd.Series(state)
    condition, state = labels("condition", condition), labels("state", state)
    if not len(condition) == len(state) == counts.shape[0]:
        raise InputError(
            f"perturbation_score.statistic: there are {counts.shape[0]} cells, {len(condition)} conditions and "
            f"{len(state)} states. Give one of each for every cell."
        )
    kinds = levels(given_states) if states is None else [str(one) for one in states]
    if odd := sorted({str(one) for one in state} - {str(one) for one in kinds}):
        raise InputError(f"perturbation_score.statistic: the state {odd[0]!r} is none of {', '.join(kinds)}. Add it.")
    if len(set(kinds)) < max(2, len(kinds)):
        raise InputError(
            f"perturbation_score.statistic: the states are {', '.join(kinds)}: two different ones or more are needed, "
            "so that there are shares."
        )
    depths(counts)  # before sorting, so that errors name the caller's cells
    order = np.argsort(condition, kind="stable")
    names, number = np.unique(condition, return_counts=True)
    if control is not None and control not in names:
        raise absent("perturbation_score.statistic: condition", "control", control, names)
    first = np.concatenate([[0], np.cumsum(number)])
    label = np.searchsorted(np.sort(kinds), state[order])
    label = np.argsort(np.array(kinds), kind="stable")[label]
    table = np.zeros((len(names), len(kinds)))
    np.add.at(table, (np.repeat(np.arange(len(names)), number), label), 1)
    known = align(features, list(names), control).to_numpy()
    return Screen(
        normalise(counts[order], dtype),
        first,
        table / number[:, None],
        known,
        names,
        label,
        told,
        tuple(map(str, kinds)),
    )


def aligned(one: Screen, genes: tuple[str, ...], states: tuple[str, ...]) -> Screen:
    """Return a screen with its genes and states in another screen's order, found by name; names that miss are told.

    Where a screen has no names, it has to have as many genes and states, and they are taken to be in order.

    Parameters
    ----------
    one : Screen
    genes, states : tuple of str
        Names in the order that is wanted.

    Returns
    -------
    Screen

    Raises
    ------
    InputError
        If a gene or state lacks, or there are cells of a state that is not wanted.
    """
    orders: list[Array | None] = []
    for what, have, want in (("gene", one.genes, genes), ("state", one.states, states)):
        if not have or not want:
            orders.append(None)
            continue
        if lacking := [name for name in want if name not in set(have)]:
            raise InputError(
                f"perturbation_score.statistic: the screen lacks {len(lacking)} of the {len(want)} {what}s that the "
                f"statistic was trained on: {listed(lacking)}. Add them"
                + (" (zero where it was not seen), or train on the genes of both." if what == "gene" else ": states=.")
            )
        orders.append(np.array([have.index(name) for name in want]))
    by_gene, by_state = orders
    if by_gene is not None:
        one = replace(one, cells=one.cells[:, by_gene], genes=genes)
    if by_state is not None:
        if more := [name for name in one.states if name not in states]:
            raise InputError(
                f"perturbation_score.statistic: the statistic was not trained on the state {more[0]!r}. There are: "
                f"{listed(states)}. Leave its cells out, or train anew."
            )
        place = np.argsort(by_state)
        one = replace(one, share=one.share[:, by_state], state=place[one.state], states=states)
    return one


def split(perturbations: int, rng: np.random.Generator, parts: tuple[float, ...] = (0.6, 0.2, 0.2)) -> list[Array]:
    """Split perturbed genes (never cells) at random: a gene is in one part with all its cells.

    Parameters
    ----------
    perturbations : int
    rng : Generator
    parts : tuple of float
        Fractions; the last part takes the rest.

    Returns
    -------
    list of ndarray
        Sorted positions of each part.
    """
    order = rng.permutation(perturbations)
    ends = np.round(np.cumsum(parts)[:-1] * perturbations).astype(int)
    return [np.sort(part) for part in np.split(order, ends)]


def draw_targets(share: Array, number: int, noise: float, rng: np.random.Generator) -> Array:
    """Targets near observed shares: (q_j + ε u) / sum, u uniform (eq. 17); shape (J, K)."""
    near = share[rng.integers(len(share), size=number)] + noise * rng.uniform(size=(number, share.shape[1]))
    return np.asarray(near / near.sum(1, keepdims=True))


def draw_cells(one: Screen, p: Array, n: Array, most: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw cells without replacement.

    Parameters
    ----------
    one : Screen
    p : ndarray of int, shape (B,)
        Perturbations.
    n : ndarray of int, shape (B,)
        Cells of each; fewer where it has not so many.
    most : int
        The batch has B x ``most`` rows whatever ``n`` is, so that compiled functions see one shape.
    rng : Generator

    Returns
    -------
    index : ndarray of int, shape (B * most,)
    average : ndarray, shape (B, B * most)
        1 / n at a perturbation's cells.
    """
    B = len(p)
    index = np.zeros(B * most, dtype=np.int64)
    average = np.zeros((B, B * most), dtype=one.cells.dtype)
    numbers = one.numbers
    for b, (perturbation, wanted) in enumerate(zip(p, n, strict=True)):
        have = int(numbers[perturbation])
        take = min(int(wanted), have)
        at = slice(b * most, b * most + take)
        index[at] = one.first[perturbation] + rng.choice(have, take, replace=False)
        average[b, at] = 1 / take
    return index, average


def draw_pairs(one: Screen, p: Array, n: Array, most: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw two samples of cells without a cell in common, of n each or half of what there is; as :func:`draw_cells`.

    The rows of ``average`` are first one sample of every perturbation, (B,), then the other one.
    """
    B = len(p)
    index = np.zeros(2 * B * most, dtype=np.int64)
    average = np.zeros((2 * B, 2 * B * most), dtype=one.cells.dtype)
    numbers = one.numbers
    for b, (perturbation, wanted) in enumerate(zip(p, n, strict=True)):
        have = int(numbers[perturbation])
        take = max(1, min(int(wanted), have // 2))
        chosen = one.first[perturbation] + rng.choice(have, min(2 * take, have), replace=False)
        for half, cells in enumerate((chosen[:take], chosen[-take:])):
            row = half * B + b
            at = slice(row * most, row * most + take)
            index[at], average[row, at] = cells, 1 / take
    return index, average


def batch(one: Screen, rows: Array, settings: Preset, step: int, rng: np.random.Generator) -> Mapping[str, Array]:
    """Draw what a training step takes, beside the cells themselves.

    Parameters
    ----------
    one : Screen
    rows : ndarray of int
        Training perturbations; targets are made of their shares too.
    settings : Preset
    step : int
    rng : Generator

    Returns
    -------
    dict
        ``index``, ``average``, ``features``, ``target``, ``truth`` (see ``network.losses``).
    """
    most = settings.cells[min(step * len(settings.cells) // settings.steps, len(settings.cells) - 1)]
    B = min(settings.batch, len(rows))
    p = rng.choice(rows, B, replace=False)
    n = rng.integers(2, most + 1, B) if settings.vary else np.full(B, most)
    if any(settings.terms[1:]):
        index, average = draw_pairs(one, p, n, max(settings.cells), rng)
        p = np.concatenate([p, p])
    else:
        index, average = draw_cells(one, p, n, max(settings.cells), rng)
    target = draw_targets(one.share[rows], settings.targets, settings.noise, rng)
    truth = np.abs(one.share[p][:, None] - target).sum(-1)
    dtype = settings.dtype
    return {
        "index": index,
        "average": average.astype(dtype),
        "features": one.features[p].astype(dtype),
        "target": target.astype(dtype),
        "truth": truth.astype(dtype),
    }
