"""The genomes that were asked for, and the covariate group of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genarium.errors import InputError
from genarium.readers.messages import absent, listed
from genarium.readers.options import names
from genarium.readers.tables import read_sheet
from genarium.remedies import option


def wanted_samples(asked: Any) -> list[str]:
    """Return the genomes that the option ``samples`` names; none if all are wanted."""
    return names("samples", asked)


def group_of(asked: Any, genomes: Sequence[str]) -> list[str]:
    """Return the covariate group of each genome.

    Parameters
    ----------
    asked : str, Path or mapping
        Genome -> group; or a table with the genome in its first column and the group in the second, or in the one named
        as TABLE:COLUMN.
    genomes : sequence of str

    Raises
    ------
    InputError
        If a genome has no group.
    """
    table = asked if isinstance(asked, Mapping) else _table(asked)
    of = {str(name): str(group) for name, group in table.items()}
    for genome in genomes:
        if genome not in of:
            where = "groups" if isinstance(asked, Mapping) else str(asked)
            raise InputError(
                f"{where}: the genome {genome!r} has no group; there are {listed(of, 5)}. Add a row for it, or leave "
                f"it out: {option('samples')}."
            )
    return [of[genome] for genome in genomes]


def _table(asked: Any) -> Mapping[str, str]:
    if not isinstance(asked, str | Path):
        raise InputError(f"groups={asked!r} must be a table, TABLE:COLUMN, or a mapping of genomes to groups.")
    path, column = Path(asked), ""
    if not path.is_file() and ":" in str(asked):
        head, _, column = str(asked).rpartition(":")
        path = Path(head)
    if not path.is_file():
        raise InputError(f"groups={asked!s}: there is no such file. Give a table of genomes and their groups.")
    sheet = read_sheet(path)
    key = sheet.names[0]
    rest = [name for name in sheet.names if name != key]
    if column and column not in sheet.names:
        raise absent(path, "column", column, sheet.names)
    if not rest:
        raise InputError(f"{path}: the table has one column. Give the genome in the first, its group in the second.")
    chosen = column or rest[0]
    found = sheet.labels(key, "genome", "join its rows")
    return dict(zip(map(str, found), map(str, sheet.frame[chosen]), strict=True))
