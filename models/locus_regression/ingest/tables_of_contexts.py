"""Opportunities of contexts that the user gives, where no genome is at hand."""

from pathlib import Path

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import absent, listed
from genarium.readers.tables import read_sheet

from ..channels import CONTEXTS
from .alleles import context_code
from .genome import CONTEXT_OF
from .windows import Loci


def read_opportunities(path: Path, loci: Loci) -> Array:
    """Read how often contexts occur.

    Parameters
    ----------
    path : Path
        Table whose first column names the 32 contexts (ACG or A[C]G; purines are folded and added up), with a column
        for each window, or a single one, which is split among the windows by their length.
    loci : Loci

    Returns
    -------
    ndarray, shape (32, L)

    Raises
    ------
    InputError
        Naming context or window.
    """
    sheet = read_sheet(path)
    key = sheet.names[0]
    columns = [name for name in sheet.names if name != key]
    labels = [str(label) for label in sheet.labels(key, "context", "add them up")]
    codes = [context_code(label) for label in labels]
    if bad := [label for label, code in zip(labels, codes, strict=True) if code < 0]:
        raise InputError(
            f"{path}: {bad[0]!r} is not a context. Write three bases with the mutated one in the middle, ACG."
        )
    context = CONTEXT_OF[np.array(codes)]
    if lacking := [name for i, name in enumerate(CONTEXTS) if i not in context]:
        raise InputError(f"{path}: the contexts {listed(lacking, 3)} are missing. Give all 32.")
    if len(columns) > 1 and (lost := [name for name in loci.names if name not in columns]):
        raise absent(path, "column for the window", lost[0], columns)
    taken = columns if len(columns) == 1 else loci.names
    values = np.column_stack([sheet.numbers(name, "write a number").astype(float) for name in taken])
    out = np.zeros((len(CONTEXTS), len(taken)))
    np.add.at(out, context, values)
    if (out < 0).any() or not np.isfinite(out).all():
        raise InputError(f"{path}: opportunities must be numbers, not below zero.")
    return np.asarray(out * (loci.lengths / loci.lengths.sum()) if len(columns) == 1 else out)
