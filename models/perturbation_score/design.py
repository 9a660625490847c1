"""The design of a screen with replicates: which perturbation and batch each of them is of, from columns of labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import absent
from genarium.readers.sheet import Sheet
from genarium.remedies import option

MARKS = ("_", ":", "|", " of ")
"""What may stand between the names of a perturbation and of its replicate: the first that tells all of them apart."""


@dataclass
class Design:
    """Perturbation and batch of each replicate, by its name.

    Attributes
    ----------
    condition, batch : dict of str to str
        ``batch`` is empty where there are none.
    """

    condition: dict[str, str] = field(default_factory=dict)
    batch: dict[str, str] = field(default_factory=dict)

    def join(self, path: Path, condition: Array, replicate: Array, batch: Array | None) -> Array:
        """Name the replicate of every record, and keep what it is of.

        Parameters
        ----------
        path : Path
            For messages.
        condition, replicate : ndarray of str, shape (N,)
        batch : ndarray of str, shape (N,), or None

        Returns
        -------
        ndarray of str, shape (N,)
            The replicate's own label where it is of one perturbation in all of the file, else after the perturbation's.

        Raises
        ------
        InputError
            If a replicate is of two batches, or was in another file already.
        """
        pairs = {(c, r) for c, r in zip(condition, replicate, strict=True)}
        own = len({r for _, r in pairs}) == len(pairs)
        mark = next((one for one in MARKS if len({f"{c}{one}{r}" for c, r in pairs}) == len(pairs)), None)
        if mark is None:
            raise InputError(
                f"{path}: names of perturbations and of their replicates run into each other, such as "
                f"{f'{condition[0]}_{replicate[0]}'!r}. Give the replicates other names."
            )
        names = np.array(
            [r if own else f"{c}{mark}{r}" for c, r in zip(condition, replicate, strict=True)], dtype=object
        )
        if again := [str(name) for name in dict.fromkeys(names) if name in self.condition]:
            raise InputError(
                f"{path}: the replicate {again[0]!r} is in another file already. Name the replicates apart, or give "
                "each file once."
            )
        self.condition |= dict(zip(names, condition, strict=True))
        for i, name in enumerate(names if batch is not None else ()):
            assert batch is not None
            if self.batch.setdefault(name, batch[i]) != batch[i]:
                raise InputError(
                    f"{path}: the replicate {name!r} is in the batches {self.batch[name]!r} and {batch[i]!r}. Name its "
                    "parts as replicates of their own."
                )
        return names

    def variables(self, rows: Sequence[str]) -> dict[str, Any]:
        """Return the perturbation, and the batch where there are some, of replicates, as Series."""
        import pandas as pd

        index = pd.Index(rows, name="replicate")
        out = {"condition": pd.Series([self.condition[row] for row in rows], index, dtype=object)}
        if self.batch:
            out["batch"] = pd.Series([self.batch[row] for row in rows], index, dtype=object)
        return out

    @property
    def options(self) -> dict[str, str]:
        """Options of the model that go with the design."""
        return {"replicates": "batched" if len(set(self.batch.values())) > 1 else "nested"}


CONDITIONS = ("condition", "perturbation")
"""What a column with the perturbations is called, wherever it stands."""


def of_sheet(
    sheet: Sheet, key: str | None, replicate: str | None, batch: str | None, split: str | None, design: Design
) -> tuple[Sheet, str]:
    """Replace the names of perturbations in a sheet by those of replicates.

    Parameters
    ----------
    sheet : Sheet
    key : str, optional
        Column with the perturbations; "auto" for the one that is called so, else the first.
    replicate, batch : str, optional
        Columns.
    split : str, optional
        Without such a column: what stands between a perturbation and the name of its replicate.
    design : Design
        What is found is added to it.

    Returns
    -------
    sheet : Sheet
        Without the columns of the design.
    key : str
        Column with the names of the replicates.
    """
    for name in filter(None, (replicate, batch)):
        if name not in sheet.names:
            raise absent(sheet.path, "column", name, sheet.names)
    if key == "auto":
        taken = (replicate, batch)
        key = next((one for one in sheet.names if one.lower() in CONDITIONS and one not in taken), key)
    found = sheet.identifiers(key, "condition", [one for one in (replicate, batch) if one])
    if found is None:
        raise InputError(f"{sheet.path}: no column names the perturbations. Name it: {option('conditions', 'COLUMN')}.")
    condition = texts(sheet, found)
    batches = texts(sheet, batch) if batch else None
    if replicate or batch:
        names = texts(sheet, replicate or batch or "")
    else:
        names = condition
        mark = split or "_"
        if not any(mark in name for name in names):
            raise InputError(
                f"{sheet.path}: column {found!r}: no name has {mark!r} in it ({names[0]!r} is the first), so that "
                f"{option('split', mark)} tells no replicates. Correct it, or name their column with "
                f"{option('replicate', 'COLUMN')}."
            )
        condition = np.array([name.rpartition(split or "_")[0] or name for name in names], dtype=object)
    frame = sheet.frame.drop(columns=[one for one in dict.fromkeys((replicate, batch)) if one and one != found])
    frame[found] = design.join(sheet.path, condition, names, batches)
    return replace(sheet, frame=frame, source=None), found


def texts(sheet: Sheet, name: str) -> Array:
    """Return a column of labels, complete, as text."""
    column = sheet.frame[name]
    written = sheet.source(name) if sheet.source and column.dtype.kind in "iufb" else column
    text = written.astype(str).str.strip().mask(column.isna(), "")
    if (empty := text == "").any():
        raise InputError(
            f"{sheet.path}: {sheet.at(empty.idxmax())}, column {name!r}: there is no label. Give one, or delete the "
            "line."
        )
    return np.asarray(text.to_numpy(dtype=object))


def nested(told: Mapping[str, Any], design: Design) -> dict[str, Any]:
    """Return variables of replicates: counts by row, and what each row is of."""
    import pandas as pd

    out = dict(told)
    rows = [str(name) for name in out["count"].index]
    out["count"] = out["count"].set_axis(pd.Index(rows, name="replicate"))
    return out | design.variables(rows)
