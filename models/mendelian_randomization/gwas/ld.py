"""Correlations of variants (linkage disequilibrium) from a file, signed as the effects are; clumping."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.ledger import Account
from genarium.remedies import option

from ..harmonise import match
from ..linked import require_ld
from .dialects import plain, roles
from .files import begin, split
from .pairing import place_of
from .streams import opened

PAIRS = {
    "first": ("snpa", "ida", "varianta", "snp1", "id1", "rsid1", "variant1"),
    "second": ("snpb", "idb", "variantb", "snp2", "id2", "rsid2", "variant2"),
    "r": ("r", "unphasedr", "phasedr", "corr", "correlation", "ld"),
}
"""Usual names of the columns of a table with a row a pair (PLINK 1 and 2, LDstore)."""

WITH_ALLELES = re.compile(r"(.+?)[:_]([A-Za-z]+|-)[:_]([A-Za-z]+|-)")
"""An identifier that ends in a variant's two alleles."""

SQUARED = ("r2", "rsq", "rsquared", "unphasedr2", "phasedr2")


@dataclass(frozen=True)
class Correlations:
    """Correlations of variants, by their names.

    Attributes
    ----------
    path : Path
    names : list of str
    matrix : ndarray, shape (J, J)
    effect, other : ndarray of str, shape (J,), optional
        The allele that is counted, and the other one.
    """

    path: Path
    names: list[str]
    matrix: Array
    effect: Array | None = None
    other: Array | None = None


def read_correlations(path: Path, alleles: Path | None = None) -> Correlations:
    """Read correlations, and which alleles they are of.

    Parameters
    ----------
    path : Path
        A square table with names of variants in its first row and column; or one with a row a pair (PLINK's ``--r``:
        SNP_A, SNP_B, R), in which pairs that are not named do not correlate.
    alleles : Path, optional
        A table with identifiers and alleles (A1 or ALT, the counted one, and A2 or REF), or PLINK's .bim. Default:
        names such as rs123_A_G or rs123:A:G say it, the counted one first.

    Raises
    ------
    InputError
        If this cannot be read, is no matrix of correlations, or does not say the alleles.
    """
    path = Path(path)
    cells, first = _cells(path)
    found = _long(path, cells, first) if _is_long(path, cells[0]) else _square(path, cells, first)
    names, matrix = found
    require_ld(matrix, np.array(names), f"{path}: the correlation", invertible=False)
    if alleles is not None:
        told = _alleles(Path(alleles))
        missing = next((name for name in names if name not in told), None)
        if missing is not None:
            raise InputError(f"{alleles}: there is no row for variant {missing!r} of {path}. Add its alleles.")
        return Correlations(path, names, matrix, *np.array([told[name] for name in names], dtype=object).T)
    parts = [WITH_ALLELES.fullmatch(name) for name in names]
    if all(parts):
        effect, other = (np.array([part[k].upper() for part in parts if part], dtype=object) for k in (2, 3))
        return Correlations(path, names, matrix, effect, other)
    return Correlations(path, names, matrix)


def _cells(path: Path) -> tuple[list[list[str]], int]:
    """Return the cells of a table, its header first, and the line that the header is in."""
    lines, separator, head = begin(path)
    with opened(path) as stream:
        rest = [line for line in stream.read().splitlines()[len(lines) :] if line.strip()]
    return [split(line, separator) for line in (head, *rest)], len(lines)


def _is_long(path: Path, head: Sequence[str]) -> bool:
    short = {plain(name) for name in head}
    pairs = all(short & set(PAIRS[role]) for role in ("first", "second"))
    if pairs and not short & set(PAIRS["r"]):
        told = "has r squared, which has no sign" if short & set(SQUARED) else "has no column of correlations (R)"
        raise InputError(f"{path}: this {told}. Give r itself: PLINK's --r, or --r-unphased.")
    return pairs


def _number(path: Path, line: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{path}: line {line}: {text!r} is no number. Give correlations, from -1 to 1.") from None


def _square(path: Path, cells: list[list[str]], first: int) -> tuple[list[str], Array]:
    """Read a square table; R's write.table leaves its first row one cell short."""
    head, rows = cells[0], cells[1:]
    names = head if len(head) == len(rows) else head[1:]
    if len(names) != len(rows) or len(set(names)) != len(names):
        raise InputError(
            f"{path}: this has {len(rows)} rows and {len(head)} columns, but is to be square, with the names of "
            "variants, each once, in its first row and column."
        )
    matrix = np.empty((len(names), len(names)))
    for k, row in enumerate(rows):
        line = first + 1 + k
        if len(row) != len(names) + 1 or row[0] != names[k]:
            raise InputError(
                f"{path}: line {line} begins with {row[0]!r} and has {len(row)} cells, where {names[k]!r} and "
                f"{len(names)} correlations are due. Keep rows and columns in the same order."
            )
        matrix[k] = [_number(path, line, text) for text in row[1:]]
    return names, matrix


def _long(path: Path, cells: list[list[str]], first: int) -> tuple[list[str], Array]:
    """Read a table with a row a pair."""
    short = [plain(name) for name in cells[0]]
    at = [next(k for k, name in enumerate(short) if name in PAIRS[role]) for role in ("first", "second", "r")]
    rows = []
    for k, row in enumerate(cells[1:]):
        if len(row) != len(cells[0]):
            raise InputError(f"{path}: line {first + 1 + k} has {len(row)} cells, but the header {len(cells[0])}.")
        rows.append((row[at[0]], row[at[1]], _number(path, first + 1 + k, row[at[2]])))
    names = list(dict.fromkeys(name for one, two, _ in rows for name in (one, two)))
    index = {name: k for k, name in enumerate(names)}
    matrix = np.eye(len(names))
    seen: dict[tuple[int, int], float] = {}
    for one, two, r in rows:
        i, j = sorted((index[one], index[two]))
        if seen.setdefault((i, j), r) != r:
            raise InputError(f"{path}: {one} and {two} correlate by {seen[i, j]:g} in one row, by {r:g} in another.")
        matrix[i, j] = matrix[j, i] = r
    return names, matrix


def _alleles(path: Path) -> dict[str, tuple[str, str]]:
    """Read which alleles variants have, the counted one first."""
    cells, _ = _cells(path)
    used = roles(cells[0])
    if {"id", "effect_allele", "other_allele"} <= set(used):
        at = [cells[0].index(used[role]) for role in ("id", "effect_allele", "other_allele")]
        rows = cells[1:]
    elif len(cells[0]) == 6:  # PLINK's .bim has no header: chromosome, name, morgans, position, A1, A2
        at, rows = [1, 4, 5], cells
    else:
        raise InputError(f"{path}: identifiers and alleles are needed (columns ID, A1, A2, or PLINK's .bim).")
    short = next((row for row in rows if len(row) <= max(at)), None)
    if short is not None:
        raise InputError(f"{path}: a row has {len(short)} cells ({' '.join(short)[:60]}). Complete it.")
    return {row[at[0]]: (row[at[1]].upper(), row[at[2]].upper()) for row in rows}


def aligned(found: Correlations, names: Array, effect: Array, other: Array, account: Account) -> tuple[Array, Array]:
    """Return which variants have correlations, and these, signed by the variants' own effect alleles.

    Parameters
    ----------
    found : Correlations
    names, effect, other : ndarray of str, shape (J,)
        Of the variants.
    account : Account
        Takes those that are left out.

    Returns
    -------
    keep : ndarray of bool, shape (J,)
    ld : ndarray, shape (K, K)

    Raises
    ------
    InputError
        If nothing is left, or the alleles that are counted are not known.
    """
    index: dict[str, list[int]] = {}
    for k, name in enumerate(found.names):
        for key in _keys(name):
            index.setdefault(key, []).append(k)
    rows = [next((index[key] for key in _keys(str(name)) if key in index), []) for name in names]
    keep = np.array([len(some) > 0 for some in rows], dtype=bool)
    account.leave("without a correlation in the file of linkage disequilibrium", names[~keep].tolist())
    if found.effect is None or found.other is None:
        raise InputError(
            f"{found.path}: this does not say of which alleles the correlations are, so that their signs mean nothing. "
            f"Name variants like rs123_A_G, the counted allele first, or give {option('ld_alleles', 'FILE')}."
        )
    sign, at = np.zeros(len(names)), np.zeros(len(names), dtype=int)
    for j in np.flatnonzero(keep):  # several rows where a place has several pairs of alleles
        signs = [match(effect[j], other[j], str(found.effect[k]), str(found.other[k])) for k in rows[j]]
        sign[j], at[j] = next(((one, k) for one, k in zip(signs, rows[j], strict=True) if one), (0, 0))
    wrong = keep & (sign == 0)
    account.leave("of other alleles in the file of linkage disequilibrium", names[wrong].tolist())
    keep &= ~wrong
    if not keep.any():
        raise InputError(f"{found.path}: none of the variants is there with its alleles. Compare their names.")
    taken = at[keep]
    return keep, found.matrix[np.ix_(taken, taken)] * np.outer(sign[keep], sign[keep])


def _keys(name: str) -> list[str]:
    """Return what a variant may be called, the surest first: its name, that without alleles, its place."""
    told = WITH_ALLELES.fullmatch(name)
    keys = [name, *([told[1]] if told else []), place_of(name)]
    return [key for key in dict.fromkeys(keys) if key]


def clump(ld: Array, strength: Array, threshold: float) -> Array:
    """Return which variants to keep: the strongest first, none that correlates with a stronger one that is kept.

    Parameters
    ----------
    ld : ndarray, shape (J, J)
    strength : ndarray, shape (J,)
        |Z| of the effects on the exposure.
    threshold : float
        Squared correlation at or above which a variant goes.

    Returns
    -------
    ndarray of bool, shape (J,)
    """
    if not 0 < threshold <= 1:
        raise InputError(f"mendelian_randomization: {option('clump', threshold)} must lie between 0 and 1 (r squared).")
    keep = np.zeros(len(ld), dtype=bool)
    open_ = np.ones(len(ld), dtype=bool)
    for j in np.argsort(-strength, kind="stable"):
        if open_[j]:
            keep[j] = True
            open_ &= ld[j] ** 2 < threshold
    return keep


def correlated(path: Path, alleles: Path | None, threshold: float | None, paired: Any) -> tuple[Array, Array]:
    """Return which variants of two traits to keep, and their correlations; what goes is in the account.

    Parameters
    ----------
    path, alleles : Path
        As of :func:`read_correlations`.
    threshold : float, optional
        Squared correlation to clump by.
    paired : Paired

    Returns
    -------
    keep : ndarray of bool, shape (J,)
    ld : ndarray, shape (K, K)
    """
    keep, ld = aligned(
        read_correlations(path, alleles), paired.names, paired.alleles[0], paired.alleles[1], paired.rows
    )
    if threshold is not None:
        z = np.abs(paired.exposure.beta / paired.exposure.se)[keep]
        some = clump(ld, z, threshold)
        rows = np.flatnonzero(keep)
        paired.rows.leave(f"clumped (r2 of {threshold:g} or more)", paired.names[rows[~some]].tolist())
        keep[rows[~some]] = False
        ld = ld[np.ix_(some, some)]
    require_ld(ld, paired.names[keep], f"{path}: the correlation")
    return keep, ld
