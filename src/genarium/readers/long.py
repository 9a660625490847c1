"""Long tables: a line for each row and column of a matrix, told apart from wide ones and made wide."""

from collections.abc import Sequence

import numpy as np

from genarium.errors import InputError
from genarium.readers.matrix import Terms
from genarium.readers.messages import absent
from genarium.readers.sheet import Sheet
from genarium.remedies import option

VALUES = {"count", "counts", "n", "value", "values", "umi", "umis", "reads", "expression", "cells"}
"""Usual names of the column with the numbers."""

FEWEST = 4
"""Lines from which on a form is recognised by what stands in them."""


def widened(sheet: Sheet, terms: Terms, long: Sequence[str] = ()) -> Sheet:
    """Return a wide sheet: the given one, or a long one spread out.

    Parameters
    ----------
    sheet : Sheet
    terms : Terms
        What the matrix is of.
    long : sequence of str
        Names of three columns: that of the rows' names, that of the columns' names, and that of the numbers. Without,
        the sheet must be wide.

    Returns
    -------
    Sheet
        Rows and columns in the order in which they first appear; a pair that has no line is zero.

    Raises
    ------
    InputError
        If the sheet seems to be long and the columns are not named, one is not there, or a pair has two lines.
    """
    if not long:
        if found := _long_form(sheet, terms):
            raise InputError(
                f"{sheet.path}: this is a long table, with a line for each {terms.row} and {terms.column} (columns "
                f"{', '.join(map(repr, found))}), but one row a {terms.row} and one column a {terms.column} is "
                f"expected. Read it with {option('long', ','.join(found))}."
            )
        return sheet
    if len(long) != 3:
        raise InputError(
            f"{sheet.path}: {option('long', ','.join(long))} must name three columns: that of the {terms.row}s, that "
            f"of the {terms.column}s, and that of the {terms.entries}."
        )
    for name in long:
        if name not in sheet.names:
            raise absent(sheet.path, "column", name, sheet.names)
    return _spread(sheet, terms, *long)


def _spread(sheet: Sheet, terms: Terms, row: str, column: str, value: str) -> Sheet:
    import pandas as pd

    frame = sheet.frame[[row, column]].astype(str).apply(lambda labels: labels.str.strip())
    for name, what in ((row, terms.row), (column, terms.column)):
        if (empty := (frame[name] == "") | sheet.frame[name].isna()).any():
            raise InputError(
                f"{sheet.path}: {sheet.at(empty.idxmax())}, column {name!r}: the {what} has no name. Give it one, or "
                "delete the line."
            )
    if (again := frame.duplicated()).any():
        record = again.idxmax()
        pair = frame.loc[record]
        first = (frame == pair).all(axis=1).idxmax()
        raise InputError(
            f"{sheet.path}: {sheet.at(record)}: {terms.row} {pair[row]!r} and {terms.column} {pair[column]!r} stand in "
            f"{sheet.at(first)} already. Keep one of the lines, or add them up."
        )
    numbers = pd.Series(sheet.numbers(value, "delete the line"), index=frame.index)
    if (missing := numbers.isna()).any():
        raise InputError(
            f"{sheet.path}: {sheet.at(missing.idxmax())}, column {value!r}: there is no number. Complete the line, or "
            "delete it: a pair without a line is zero."
        )
    (rows, row_names), (columns, column_names) = (pd.factorize(frame[name]) for name in (row, column))
    values = np.zeros((len(row_names), len(column_names)), dtype=numbers.to_numpy().dtype)
    values[rows, columns] = numbers
    spread = pd.DataFrame(values, columns=pd.Index(column_names, dtype=object))
    label = terms.row if terms.row not in spread else f"unnamed {terms.row}"
    spread.insert(0, label, row_names)
    return Sheet(sheet.path, spread, 1, f"{terms.row} number")


def _long_form(sheet: Sheet, terms: Terms) -> tuple[str, str, str] | None:
    """Return the three columns of a table that seems to be long."""
    lower = {name.strip().lower(): name for name in sheet.names}

    def called(*usual: str) -> str | None:
        return next((lower[name] for name in usual if name in lower), None)

    row = called(terms.row, f"{terms.row}s", f"{terms.row}_id", "barcode", "perturbation", "condition")
    column = called(
        terms.column, f"{terms.column}s", f"{terms.column}_id", f"{terms.column}_name", "feature", "cluster"
    )
    value = called(*sorted(VALUES))
    named = row and column and value
    if named and (len(sheet.names) == 3 or not sheet.is_numeric(column or "")):
        return str(row), str(column), str(value)
    text = [name for name in sheet.names if not sheet.is_numeric(name)]
    numeric = [name for name in sheet.names if name not in text]
    if len(sheet.names) != 3 or len(text) != 2 or len(sheet.frame) < FEWEST:
        return None
    pairs = sheet.frame[text]
    if pairs.duplicated().any() or any(pairs[name].is_unique for name in text):
        return None
    return text[0], text[1], numeric[0]
