"""Columns beside the counts that say what a cell is: covariates of the weights, and the batch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import options
from genarium.readers.matrix import Matrix
from genarium.readers.messages import absent, listed
from genarium.readers.sheet import Sheet
from genarium.remedies import option, warn

USUAL = (0.1, 10.0)
"""Standard deviations of a covariate for which the prior of its effect is made."""

COVARIATE, BATCH = "covariate ", "batch"
"""What these columns are called among the numbers of a matrix's rows."""


def asked(covariates: str | Sequence[str], batch: str | None) -> dict[str, str]:
    """Return the columns that a user names, and what each is."""
    options.only_texts("columns", batch=batch)
    found = {name: f"{COVARIATE}{name}" for name in options.names("covariates", covariates)}
    if batch in found:
        raise InputError(f"{batch!r} is named by {option('covariates')} and by {option('batch')}. Take it out of one.")
    return found | ({batch: BATCH} if batch else {})


def references(reference: str | Sequence[str], covariates: str | Sequence[str]) -> dict[str, str]:
    """Return the values of columns of text that effects are beside, by column, as a user or a fit names them."""
    named = [name.partition("=")[0] for name in options.names("covariates", covariates)]
    found = {}
    for one in options.names("reference", reference):
        column, _, value = one.partition("=")
        if not value:
            raise InputError(
                f"{option('reference', one)}: name a column and a value of it: {option('reference', 'sex=f')}."
            )
        if column not in named:
            raise absent(option("reference", one), "covariate", column, named)
        found[column] = value
    return found


def column_of(name: str, names: Sequence[str]) -> tuple[str, str]:
    """Return the column that a name means, and the value of it that is asked for ("sex=male"), or "" for all of it."""
    column, _, value = name.partition("=")
    return (column, value) if value and name not in names and column in names else (name, "")


def take(matrix: Matrix, sheet: Sheet, columns: Mapping[str, str], reference: Mapping[str, str]) -> Matrix:
    """Add columns of a sheet, which has a record for each row of the matrix, to what stands beside it."""
    for asked_, what in columns.items():
        name, value = column_of(asked_, sheet.names)
        if name not in sheet.names:
            raise absent(sheet.path, "column", name, sheet.names)
        column = sheet.frame[name]
        if len(column) != matrix.entries.shape[0]:
            raise InputError(f"{sheet.path}: column {name!r} has no value for each cell. Leave it out.")
        if (missing := np.flatnonzero(column.isna())).size:
            raise InputError(
                f"{sheet.path}: {sheet.at(column.index[missing[0]])}, column {name!r}: the value is missing "
                f"({missing.size} such). Fill it in, or leave these cells out."
            )
        if value:
            _tell_others(sheet, name, sheet.texts(name), columns, reference.get(name, ""))
            matrix.apart[what] = (sheet.texts(name) == value).astype(float)
            continue
        counted = what != BATCH and column.dtype.kind != "b" and sheet.is_numeric(name)
        values = sheet.numbers(name, "choose another column").astype(float) if counted else sheet.texts(name)
        matrix.apart[what] = values
    used = {column_of(name, sheet.names)[0]: what.split(" ")[0] for name, what in columns.items()}
    left = {name: f"taken as {used[name]}" if name in used else why for name, why in matrix.columns_left.items()}
    return replace(matrix, columns_left=left)


def _tell_others(sheet: Sheet, name: str, values: Array, columns: Mapping[str, str], reference: str) -> None:
    """Warn where values that are not asked for are others than what effects are beside: they have the same weights."""
    taken = {value for column, value in (column_of(one, sheet.names) for one in columns) if column == name}
    others = sorted(set(values) - taken)
    if strange := [value for value in others if value != reference] if reference else others[1:] and others:
        beside = f" ({reference})" if reference else ""
        warn(
            f"{sheet.path}: column {name!r} has the values {listed(strange)}, which are not among those of the "
            f"covariates ({listed(sorted(taken))}): all of them are taken for what the effects of these are "
            f"beside{beside}.",
            stacklevel=2,
        )


def variables(matrix: Matrix, reference: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Return the variables that the columns make, and the options of the model that go with them.

    Of a column of text, every value but one (the first in alphabetical order, if none is named) makes a covariate of
    zeros and ones.

    Returns
    -------
    variables : dict
        ``covariates``: DataFrame (cell, covariate); ``batch``: Series.
    options : dict of str to str
    reference : list of str
        What effects are beside, such as "sex=f".
    """
    import pandas as pd

    found, chosen, beside = dict[str, Any](), dict[str, str](), dict(reference)
    made: dict[str, Array] = {}
    for what, values in matrix.apart.items():
        if not what.startswith(COVARIATE):
            continue
        name = what.removeprefix(COVARIATE)
        if values.dtype != object:
            made[name] = values
            if set(values) <= {0.0, 1.0}:
                continue
            if not USUAL[0] <= (sd := float(values.std())) <= USUAL[1]:
                matrix.notes.append(
                    f"Covariate {name!r} has standard deviation {sd:.3g}: effects are of one unit, with prior sd 1. "
                    "Divide it by about that, or set sd_effect."
                )
            continue
        levels = sorted(set(values))
        if len(levels) == 1:
            raise InputError(f"{matrix.paths[0]}: covariate {name!r} is {levels[0]!r} in all cells. Leave it out.")
        first = beside.setdefault(name, levels[0])
        if first not in levels:
            raise absent(matrix.paths[0], f"value of column {name!r}", first, levels)
        others = [level for level in levels if level != first]
        made |= {f"{name}={level}": (values == level).astype(float) for level in others}
        matrix.notes.append(f"Covariate {name!r}: effects of {', '.join(others)} are beside {first!r}.")
    if made:
        found["covariates"] = pd.DataFrame(made, index=matrix.index())
        chosen["weights"] = "covariates"
    if BATCH in matrix.apart:
        found["batch"] = matrix.series(matrix.apart[BATCH])
        chosen["means"] = "batch"
    return found, chosen, [f"{name}={value}" for name, value in beside.items()]
