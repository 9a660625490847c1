"""Columns of numbers that are no measurements, by all appearances: totals, running numbers, labels coded as numbers."""

from collections.abc import Sequence

import numpy as np

from genarium.declaration import Array

TOTALS = {
    *("total", "totals", "sum", "rowsum", "librarysize", "libsize", "depth", "totalcounts", "totalumis", "totalreads"),
    *("ncounts", "ncountrna", "numi", "numis", "nreads", "ncells", "ngenes", "ngenesbycounts", "nfeaturerna"),
}
"""Names of totals, without case, blanks and punctuation."""

NUMBERS = {
    *("id", "ids", "idx", "index", "row", "rows", "rowid", "no", "nr", "number", "cell", "cells", "cellid", "barcode"),
    *("sample", "samples", "sampleid", "gene", "geneid", "entrez", "entrezid", "subject", "subjectid", "patient"),
    *("patientid", "donor", "donorid"),
}
"""Names of running numbers and identifiers, likewise."""

LABELS = {
    *("batch", "batchid", "cluster", "clusters", "clusterid", "label", "labels", "celltype", "type", "group", "plate"),
    *("replicate", "condition", "louvain", "leiden", "seuratclusters"),
}
"""Names of labels, likewise."""

FEWEST = 3
"""With fewer rows, what values look like is taken for chance."""


def suspects(names: Sequence[str], entries: Array) -> dict[str, str]:
    """Find columns that are no measurements, by all appearances.

    Parameters
    ----------
    names : sequence of str, length D
    entries : ndarray, shape (N, D)

    Returns
    -------
    dict of str to str
        What each of them looks like, as in "column 'id' ...".
    """
    found: dict[str, str] = {}
    values = np.asarray(entries, dtype=float)
    rows = len(values)
    with np.errstate(invalid="ignore", over="ignore"):
        total = values.sum(1)
        several = len(names) > 2 and rows >= FEWEST and len(np.unique(total)) >= FEWEST
        for j, name in enumerate(names):
            column, plain = values[:, j], "".join(c for c in name.lower() if c.isalnum())
            whole = bool((column == np.floor(column)).all())
            running = any((column == np.arange(first, first + rows)).all() for first in (0, 1))
            if several and np.allclose(2 * column, total, rtol=1e-9, atol=0):
                found[name] = "is the sum of the other columns in every row"
            elif plain in TOTALS:
                found[name] = "is called as a total is"
            elif running and rows >= FEWEST and (plain in NUMBERS or (len(names) > 1 and rows >= 2 * FEWEST)):
                found[name] = f"holds running numbers, from {column[0]:.0f}"
            elif whole and plain in NUMBERS:
                found[name] = "is called as an identifier is"
            elif whole and plain in LABELS:
                found[name] = "is called as a label is"
    return found
