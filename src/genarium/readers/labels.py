"""Labels of rows: text without blanks around it, and its levels in an order that means something."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from genarium.declaration import Array

WHOLE = re.compile(r"-?\d{1,18}")


def stripped(column: Any) -> Array:
    """Return a column of pandas as text without blanks around it; whole numbers without a fraction."""
    values = column.astype(object)
    return np.array([_text(value) for value in values], dtype=object)


def levels(column: Any) -> list[str]:
    """Return the different labels in a column of pandas, in their order.

    That is the order of the categories where the column has them, unless these are whole numbers, which are ordered as
    such ("2" before "10"); else that of the alphabet.

    Parameters
    ----------
    column : Series
        Categorical, text or numbers; without missing values.

    Returns
    -------
    list of str
        Those that occur.
    """
    import pandas as pd

    present = dict.fromkeys(stripped(column))
    if isinstance(column.dtype, pd.CategoricalDtype) and not _numbered(present):
        return [name for name in dict.fromkeys(_text(value) for value in column.cat.categories) if name in present]
    return in_order(present)


def in_order(names: Iterable[str]) -> list[str]:
    """Sort labels: as numbers where all are whole numbers, else by the alphabet."""
    names = list(dict.fromkeys(names))
    return sorted(names, key=int) if _numbered(names) else sorted(names)


def common_order(lists: Iterable[list[str]]) -> list[str]:
    """Return all labels of several ordered lists: as in the first, those of later ones after it, or sorted anew."""
    orders = list(lists)
    every = list(dict.fromkeys(name for order in orders for name in order))
    return in_order(every) if all(order == in_order(order) for order in orders) else every


def _text(value: Any) -> str:
    whole = isinstance(value, float | np.floating) and np.isfinite(value) and value == np.floor(value)
    return str(int(value)) if whole and abs(value) < 2**53 else str(value).strip()


def _numbered(names: Iterable[str]) -> bool:
    return all(WHOLE.fullmatch(name) for name in names)
