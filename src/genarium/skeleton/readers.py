"""A reader: from tables of counts to the model's variables."""

from collections.abc import Sequence
from pathlib import Path

from genarium.readers import options
from genarium.readers.files import existing
from genarium.readers.formats import TABLES, takes
from genarium.readers.ledger import Told
from genarium.readers.matrix import Terms, join
from genarium.readers.tables import read_sheet, wide

COUNTS = Terms("sample", "gene", "counts")


@takes(*TABLES, example="counts.csv")
def table(
    paths: Sequence[Path],
    *,
    samples: str | None = "auto",
    genes: str | Sequence[str] = (),
    drop: str | Sequence[str] = (),
    exposure: str = "",
) -> Told:
    """Read wide tables of counts, one row a sample and one column a gene.

    Parameters
    ----------
    paths : sequence of Path
        CSV, TSV or Parquet, also compressed. Samples of several files follow each other.
    samples : str, optional
        Column with the samples' names; "auto": the first one, if it can hold names; None: they are numbered.
    genes : str or sequence of str
        Columns to read (a comma between them). Default: all; one of text, or that looks like a total, a running number
        or a label, is an error then.
    drop : str or sequence of str
        Columns that hold no counts.
    exposure : str
        Column with the samples' exposures; "" for none.

    Returns
    -------
    Told
        ``count``: DataFrame (sample, gene); ``exposure``: Series (sample), where asked for. Its ledger accounts for
        every row and column of the files.

    Raises
    ------
    InputError
        Naming file, line, column, value and remedy.
    """
    apart = {exposure: "exposure"} if exposure else {}
    chosen, left_out = options.names("genes", genes), options.names("drop", drop)
    sheets = [read_sheet(path, samples) for path in existing("table", paths)]
    whole = join([wide(sheet, COUNTS, samples, columns=chosen, drop=left_out, apart=apart) for sheet in sheets])
    found = {"exposure": whole.series(whole.apart[exposure])} if exposure else {}
    return Told({"count": whole.frame(), **found}, whole.ledger())
