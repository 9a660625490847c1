"""The variants that two tables have in common: by identifier, and by alleles where that is used more than once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.ledger import Account
from genarium.readers.sheet import MISSING, Sheet

from .harmonise import match

NONE = [*MISSING, "."]
"""What stands for no identifier."""


def in_common(sheets: Sequence[Sheet], variant: str, effect: str, other: str) -> tuple[list[Sheet], Array, Account]:
    """Pair the rows of two tables.

    Parameters
    ----------
    sheets : sequence of Sheet
        Exposure and outcome.
    variant, effect, other : str
        Columns: identifiers and alleles.

    Returns
    -------
    sheets : list of Sheet
        The paired rows of each, in the order of the first.
    names : ndarray, shape (J,)
        Of the pairs; those of an identifier with several have their alleles added.
    rows : Account
        Of the variants that only one table has, and of rows without an identifier.

    Raises
    ------
    InputError
        If nothing is in common, or two rows of a table could be the same variant of the other.
    """
    import pandas as pd

    labels = [_identifiers(sheet, variant) for sheet in sheets]
    named = [np.flatnonzero(label != "") for label in labels]
    first, second = (pd.Index(label[at]) for label, at in zip(labels, named, strict=True))
    if not first.isin(second).any():
        raise InputError(f"{sheets[0].path} and {sheets[1].path} have no variant in common. Check the variants' names.")
    again = set(first[first.duplicated()]) | set(second[second.duplicated()])
    once = second[~second.isin(again)]
    place = once.get_indexer(first)
    left = np.flatnonzero((place >= 0) & ~first.isin(again))
    right = np.flatnonzero(~second.isin(again))[place[left]]
    pairs = [*zip(named[0][left].tolist(), named[1][right].tolist(), strict=True)]
    names: dict[tuple[int, int], str] = dict(zip(pairs, map(str, first[left]), strict=True))
    rows = Account("variant")
    shared: list[str] = sorted(map(str, again & set(first) & set(second)))
    for name in shared:
        own = [np.flatnonzero(label == name).tolist() for label in labels]
        some = _by_alleles(sheets, own, (effect, other), name)
        written = alleles_of(taken_from(sheets[0], np.array([i for i, _ in some])), effect, other)
        for (i, k), a, b in zip(some, *written, strict=True):
            pairs.append((i, k))
            names[i, k] = f"{name}:{a}:{b}" if len(some) > 1 else name
        for trait, row, side in (("exposure", own[0], 0), ("outcome", own[1], 1)):
            spare = len(row) - len({pair[side] for pair in some})
            rows.leave(f"in the {trait} only", [name] * spare)
    pairs.sort()
    for side_of, mine, others, label in (
        ("exposure", first, second, labels[0]),
        ("outcome", second, first, labels[1]),
    ):
        rows.leave(f"in the {side_of} only", mine[~mine.isin(others)].tolist())
        rows.leave(f"without an identifier in the {side_of}", int((label == "").sum()))
    rows.read = len(pairs) + sum(rows.left_out.values())
    both = np.array(pairs, dtype=int)
    text: Any = pd.Series([names[pair] for pair in pairs])
    whole = text.str.fullmatch(r"0|[1-9]\d{0,17}").all()
    found = text.astype(np.int64).to_numpy() if whole else text.to_numpy(dtype=object)
    return [taken_from(sheet, both[:, side]) for side, sheet in enumerate(sheets)], np.asarray(found), rows


def taken_from(sheet: Sheet, rows: Array) -> Sheet:
    """Return some rows of a table, which know their place in the file."""
    written = sheet.source

    def source(name: str) -> Any:
        return written(name).iloc[rows] if written else None

    return replace(sheet, frame=sheet.frame.iloc[rows], source=source if written else None)


def alleles_of(sheet: Sheet, effect: str, other: str) -> tuple[Array, Array]:
    """Return alleles in upper case; empty where there is none."""

    def column(name: str) -> Array:
        text = sheet.frame[name].astype(str).str.strip().str.upper()
        return np.asarray(text.mask(sheet.frame[name].isna() | text.isin(["", ".", "NA", "NAN"]), "").to_numpy(object))

    return column(effect), column(other)


def _identifiers(sheet: Sheet, name: str) -> Array:
    """Return a column of identifiers, each empty where there is none."""
    column = sheet.frame[name]
    text = column.astype(str).str.strip()
    return np.asarray(text.mask(column.isna() | text.isin(NONE), "").to_numpy(object))


def _by_alleles(
    sheets: Sequence[Sheet], rows: Sequence[Sequence[int]], columns: tuple[str, str], name: str
) -> list[tuple[int, int]]:
    """Pair the rows of one identifier by their alleles; the first two, for their alleles to be refused, if none fit."""
    text = [
        list(zip(*alleles_of(taken_from(s, np.array(r)), *columns), strict=True))
        for s, r in zip(sheets, rows, strict=True)
    ]
    pairs = [
        (i, k)
        for i, one in zip(rows[0], text[0], strict=True)
        for k, two in zip(rows[1], text[1], strict=True)
        if match(*one, *two)
    ]
    for side, sheet in enumerate(sheets):
        taken = [pair[1 - side] for pair in pairs]
        for pair in pairs:
            if taken.count(pair[1 - side]) > 1:
                where = [sheet.at(sheet.frame.index[p[side]]) for p in pairs if p[1 - side] == pair[1 - side]]
                raise InputError(
                    f"{sheet.path}: variant {name} is in {' and '.join(where)} with the same alleles. Keep one row."
                )
    return pairs or [(rows[0][0], rows[1][0])]
