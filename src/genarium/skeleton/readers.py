"""A reader: from tables of counts to the model's variables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genarium.readers.files import existing
from genarium.readers.formats import TABLES, takes
from genarium.readers.matrix import Terms, join
from genarium.readers.tables import read_sheet, wide

COUNTS = Terms("sample", "gene", "counts")


@takes(*TABLES, example="counts.csv")
def table(
    paths: Sequence[Path], *, samples: str | None = "auto", drop: Sequence[str] = (), exposure: str = ""
) -> Mapping[str, Any]:
    """Read wide tables of counts, one row a sample and one column a gene.

    Parameters
    ----------
    paths : sequence of Path
        CSV, TSV or Parquet, also compressed. Samples of several files follow each other.
    samples : str, optional
        Column with the samples' names; "auto": the first one, if it can hold names; None: they are numbered.
    drop : sequence of str
        Columns that hold no counts.
    exposure : str
        Column with the samples' exposures; "" for none.

    Returns
    -------
    dict
        ``count``: DataFrame (sample, gene); ``exposure``: Series (sample), where asked for.

    Raises
    ------
    InputError
        Naming file, line, column, value and remedy.
    """
    apart = {exposure: "exposure"} if exposure else {}
    left_out = [drop] if isinstance(drop, str) else drop
    sheets = [read_sheet(path, samples) for path in existing("table", paths)]
    whole = join([wide(sheet, COUNTS, samples, drop=left_out, apart=apart) for sheet in sheets])
    found = {"exposure": whole.series(whole.apart[exposure])} if exposure else {}
    return {"count": whole.frame(), **found}
