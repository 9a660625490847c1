"""Readers of counts: wide tables, AnnData files, and what Cell Ranger writes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import depth, options
from genarium.readers.depth import Reference
from genarium.readers.files import existing, no_file_twice
from genarium.readers.formats import TABLES, takes
from genarium.readers.h5ad import COUNTS, read_stored, same_marks
from genarium.readers.ledger import Told
from genarium.readers.long import widened
from genarium.readers.matrix import Matrix, join
from genarium.readers.tables import read_sheet, wide
from genarium.remedies import option

from . import columns
from .genes import most_variable
from .tenx import EXPRESSION, apart, matrix

Empty = Literal["keep", "drop"]

FEW = 100
"""Genes up to which it is told that their own totals are the size factors; of more, they hardly depend on them."""


@takes(*TABLES, example="counts.csv --set phi=0.3")
def table(
    paths: Sequence[Path],
    *,
    cells: str | None = "auto",
    genes: str | Sequence[str] | None = None,
    drop: str | Sequence[str] = "",
    transpose: bool = False,
    size_factor: str | Reference | None = None,
    long: str | Sequence[str] = "",
    empty: Empty = "keep",
    covariates: str | Sequence[str] = "",
    reference: str | Sequence[str] = "",
    batch: str | None = None,
) -> Told:
    """Read tables of counts, one row a cell and one column a gene, or one line a cell and gene.

    Parameters
    ----------
    paths : sequence of Path
        CSV (``.csv``), TSV (``.tsv``, ``.tab``), columns between white space (``.tbl``) or Parquet (``.parquet``,
        ``.pq``); of any other name, the header tells the delimiter. Also compressed (``.gz``, ``.bz2``, ``.xz``). The
        first line names the columns; it may begin with ``#``. Cells of several files follow each other.
    cells : str, optional
        Column with the cells' identifiers. "auto": the first column if it holds text, has no name, or is called cell,
        cell_id, barcode or index. None: the cells are numbered.
    genes : str or sequence of str, optional
        Genes to read (a comma between them), in this order. Default: every column; one of text, or that looks like a
        total, a running number or a label, is an error then.
    drop : str or sequence of str
        Columns that hold no counts, such as a label coded as a number.
    transpose : bool
        Genes are in rows and cells in columns; ``cells`` then tells where the genes' names are, and ``drop`` may also
        name genes.
    size_factor : str or mapping, optional
        Column with size factors, or how to compute them from all counts of the file, dropped columns aside and before
        ``genes`` are chosen: "total" (a cell's total over the mean total) or "median" (median of the ratios to the
        genes' geometric means, over genes without zeros; Anders and Huber 2010, eq. 5). The mean total, or the
        geometric means, are kept with the fit (attribute ``reader_options``), and those of new cells are relative to
        them, too: {"total": MEAN, "columns": GENES}, {"median": {GENE: LOG MEAN}}.
    long : str or sequence of str
        Columns of a long table (a comma between them): the cell, the gene and the count. A pair without a line is zero.
    empty : {"keep", "drop"}
        What to do with cells without any count, in all genes of the file or in those that are chosen.
    covariates : str or sequence of str
        Columns (a comma between them) that the weights of the components depend on: numbers, or text, of which every
        value but one makes a covariate of zeros and ones. The model's option ``weights`` follows.
    reference : str or sequence of str
        Of columns of text, the value that effects are beside, such as "sex=f" (a comma between several). Default: the
        first in alphabetical order. It is kept with the fit, so that other values of new cells are told of.
    batch : str, optional
        Column with the batch of each cell. The model's option ``means`` follows.

    Returns
    -------
    Told
        ``x``: DataFrame (cell, gene); ``size_factor``, ``batch``: Series (cell), ``covariates``: DataFrame (cell,
        covariate), where asked for.

    Raises
    ------
    InputError
        Naming file, line, column, value and remedy.
    """
    options.only_texts("table", cells=cells, **_named(size_factor))
    if not isinstance(transpose, bool):
        raise InputError(f"reader 'table': {option('transpose', transpose)} must be true or false.")
    chosen, dropped = options.names("genes", genes), options.names("drop", drop)
    if both := [name for name in chosen if name in dropped]:
        raise InputError(
            f"reader 'table': {both[0]!r} is named by {option('genes')} and by {option('drop')}. Take it "
            "out of one of them."
        )
    computed = depth.is_computed(size_factor)
    apart = {str(size_factor): "size factor"} if size_factor and not computed else {}
    beside, levels = columns.asked(covariates, batch), columns.references(reference, covariates)
    if beside and (transpose or long):
        raise InputError(
            f"reader 'table': {option('covariates')} and {option('batch')} name columns of a table with a row for each "
            "cell. Write it so."
        )
    parts = []
    for path in existing("table", paths):
        sheet = widened(read_sheet(path, cells), COUNTS, options.names("long", long))
        depth.not_a_column(path, "size_factor", size_factor, set(sheet.names) - set(dropped))
        used = [columns.column_of(name, sheet.names)[0] for name in beside]
        out = list(dict.fromkeys([*dropped, *used]))
        part = wide(sheet, COUNTS, cells, columns=chosen, every=computed, drop=out, apart=apart, transpose=transpose)
        parts.append(columns.take(part, sheet, beside, levels))
    entries = ("column", "row") if transpose else ("row", "column")
    return _variables(parts, chosen, size_factor, "drop that row", entries=entries, empty=empty, reference=levels)


@takes(".h5ad", example="cells.h5ad --option genes=2000 --option size_factor=total --set dispersion=gene")
def h5ad(
    paths: Sequence[Path],
    *,
    layer: str | None = None,
    genes: str | Sequence[str] | int | None = None,
    size_factor: str | Reference | None = None,
    cells: str | None = None,
    empty: Empty = "keep",
    covariates: str | Sequence[str] = "",
    reference: str | Sequence[str] = "",
    batch: str | None = None,
) -> Told:
    """Read raw counts from AnnData files.

    Parameters
    ----------
    paths : sequence of Path
        Files written by ``AnnData.write_h5ad``. Cells of several files follow each other.
    layer : str, optional
        Layer with the raw counts, or ".raw" for ``adata.raw``. Default: ``adata.X``, if it holds raw counts.
    genes : str, sequence of str or int, optional
        Names of genes (a comma between them); "highly_variable" for those that ``adata.var`` marks so; or the number
        of genes to take, those that vary most beyond a negative binomial of one group (eq. 29 of the card). Default:
        all.
    size_factor : str or mapping, optional
        Numeric column of ``adata.obs``, or "total" or "median" as in :func:`table`, from all genes of the file.
    cells : str, optional
        Boolean column of ``adata.obs`` that marks the cells to read. Default: all.
    empty : {"keep", "drop"}
        What to do with cells without any count, in all genes of the file or in those that are chosen.
    covariates : str or sequence of str
        Columns of ``adata.obs`` (a comma between them) that the weights of the components depend on: numbers, or text,
        of which every value but one makes a covariate of zeros and ones. The model's option ``weights`` follows.
    reference : str or sequence of str
        As in :func:`table`.
    batch : str, optional
        Column of ``adata.obs`` with the batch of each cell. The model's option ``means`` follows.

    Returns
    -------
    Told
        ``x``: DataFrame (cell, gene), dense; ``size_factor``, ``batch``: Series (cell), ``covariates``: DataFrame
        (cell, covariate), where asked for.

    Raises
    ------
    InputError
        Naming file, place, value and remedy.
    """
    options.only_texts("h5ad", layer=layer, cells=cells, **_named(size_factor))
    if isinstance(genes, str) and genes.strip().isdecimal():
        genes = int(genes)
    flag = "highly_variable" if genes == "highly_variable" else ""
    apart = [str(size_factor)] if size_factor and not depth.is_computed(size_factor) else []
    beside, levels = columns.asked(covariates, batch), columns.references(reference, covariates)
    parts: list[Matrix] = []
    marks: dict[Path, list[str]] = {}
    for path in existing("h5ad", paths):
        stored = read_stored(path, layer)
        depth.not_a_column(path, "size_factor", size_factor, stored.obs)
        parts.append(columns.take(stored.matrix(cells, apart), stored.sheet(cells), beside, levels))
        marks |= {path: stored.marked(flag)} if flag else {}
    chosen = same_marks(marks, flag) if flag else genes if isinstance(genes, int) else options.names("genes", genes)
    remedy = f"leave it out with {option('cells', '<a boolean column of obs>')}"
    reason = f"not marked {flag}" if flag else "vary less" if isinstance(genes, int) else "not among genes"
    return _variables(parts, chosen, size_factor, remedy, reason, ("cell", "gene"), empty, levels)


@takes(".h5", folder=True, example="filtered_feature_bc_matrix --option genes=2000 --option size_factor=total")
def tenx(
    paths: Sequence[Path],
    *,
    genes: str | Sequence[str] | int | None = None,
    size_factor: str | Reference | None = None,
    feature_type: str = EXPRESSION,
    empty: Empty = "keep",
) -> Told:
    """Read raw counts as Cell Ranger or bustools write them.

    Parameters
    ----------
    paths : sequence of Path
        Folders with ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv`` (or ``genes.tsv``; each may be ``.gz``), or
        HDF5 files; or folders of bustools with ``NAME.mtx``, ``NAME.barcodes.txt`` and ``NAME.genes.txt`` (kb-python's
        ``counts_filtered``). Cells of several follow each other; where they share barcodes, the number at the end
        becomes that of the file (AAAC-2 in the second), as ``cellranger aggr`` writes it.
    genes : str, sequence of str or int, optional
        Symbols of genes (a comma between them; symbol and identifier, "HBA1 (ENSG...)", where several share a symbol),
        or the number of genes to take, as in :func:`h5ad`. Default: all.
    size_factor : str or mapping, optional
        "total" or "median", as in :func:`table`, from all genes of the type.
    feature_type : str
        Type of the features to read.
    empty : {"keep", "drop"}
        What to do with cells without any count, in all genes or in those that are chosen.

    Returns
    -------
    Told
        ``x``: DataFrame (cell, gene), dense; ``size_factor``: Series (cell), where asked for.

    Raises
    ------
    InputError
        Naming file, place, value and remedy.
    """
    if isinstance(genes, str) and genes.strip().isdecimal():
        genes = int(genes)
    if not paths:
        raise InputError("reader '10x': no folder or file was given. Name at least one.")
    if size_factor is not None and not depth.is_computed(size_factor):
        raise InputError(f"reader '10x': {option('size_factor', size_factor)} must be total or median.")
    no_file_twice(paths)
    parts = apart([matrix(path, feature_type) for path in paths])
    chosen = genes if isinstance(genes, int) else options.names("genes", genes)
    remedy = f"leave such cells out with {option('empty', 'drop')}"
    reason = "vary less" if isinstance(genes, int) else "not among genes"
    return _variables(parts, chosen, size_factor, remedy, reason, ("barcode", "feature"), empty)


def _variables(
    parts: list[Matrix],
    chosen: list[str] | int,
    size_factor: str | Reference | None,
    remedy: str,
    reason: str = "not among genes",
    entries: tuple[str, str] = ("row", "column"),
    empty: Empty = "keep",
    reference: Mapping[str, str] | None = None,
) -> Told:
    """Join files; compute size factors, then choose genes; ``entries``: what rows and columns of the files are."""
    whole = join(parts)
    if empty == "drop":
        whole = with_counts(whole)
    again = dict[str, Any]()
    if size_factor is not None and depth.is_computed(size_factor):
        remedy = f"{remedy}, or {option('empty', 'drop')}"
        factors, again["size_factor"] = depth.from_counts(whole, "size_factor", size_factor, remedy)
        whole.apart["size_factor"] = factors
    elif size_factor is not None:
        whole.apart["size_factor"] = whole.apart[str(size_factor)]
    picks = most_variable(whole, chosen) if isinstance(chosen, int) else whole.positions(chosen or whole.columns)
    taken = whole.take(picks, reason)
    if "total" in again.get("size_factor", ()):
        taken = replace(taken, notes=[*taken.notes, *_of_few(taken, whole)])
    if empty == "drop":
        taken = with_counts(taken)
    elif many := int((~counted(taken)).sum()):
        note = f"{many:,} cells have no count of these genes, and are kept: empty=drop would leave them out."
        taken = replace(taken, notes=[*taken.notes, note])
    found = {"size_factor": taken.series(taken.apart["size_factor"])} if size_factor is not None else {}
    more, model_options, beside = columns.variables(taken, reference or {})
    again |= {"reference": beside} if beside else {}
    return Told({"x": taken.frame(), **found, **more}, taken.ledger(*entries), model_options, again=again)


def _of_few(taken: Matrix, whole: Matrix) -> list[str]:
    """Say where totals are mostly those of the few genes that are read, so that these depend on one another."""
    genes, share = len(taken.columns), float(taken.entries.sum()) / max(float(whole.entries.sum()), 1e-300)
    if genes > FEW or share < 0.5:
        return []
    return [
        f"Size factors are totals of which the {genes} genes read are {share:.0%}: given its total, a cell's counts "
        f"depend on one another (correlations near {-share / max(genes - 1, 1):.2g}), and the predictive check of gene "
        "correlation may fail for that alone. Totals of more genes, or a column with the depth, are better."
    ]


def _named(size_factor: Any) -> dict[str, Any]:
    """Return the option by its name, if it has to be text."""
    return {} if isinstance(size_factor, Mapping) else {"size_factor": size_factor}


def counted(matrix: Matrix) -> Array:
    """Return which cells have counts; shape (N,)."""
    return np.asarray((matrix.entries != 0).sum(1)).ravel() > 0


def with_counts(matrix: Matrix) -> Matrix:
    """Return the matrix without the cells that have no counts."""
    rows = counted(matrix)
    if not rows.any():
        raise InputError(f"{matrix.paths[0]}: no cell has any count of these genes. Choose others.")
    return matrix if rows.all() else matrix.rest(rows, "without counts")
