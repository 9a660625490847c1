"""Files of summary statistics: tables of many dialects, GWAS-VCF and Parquet, of which only what is needed is read."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from genarium.errors import InputError
from genarium.readers.files import present, whole_blocks
from genarium.remedies import option

from .columns import MISSING, NUMBERS, Columns
from .dialects import NAMES, build_of, roles
from .streams import UNREADABLE, arrow, damaged, not_text, opened, uneven
from .vcf import read_vcf


def read_columns(path: Path, given: Mapping[str, str | None]) -> Columns:
    """Read the columns of a file that play a role.

    Parameters
    ----------
    path : Path
        A table (tabs, commas, semicolons or blanks between the columns) or GWAS-VCF, compressed or not; Parquet.
    given : mapping of str to str
        Role -> column, where the name is not a usual one.

    Raises
    ------
    InputError
        If the file cannot be read, or a needed column is not found.
    """
    path = present(path)
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic == b"PAR1":
        return _parquet(path, given)
    lines, separator, head = begin(path)
    _below(path, len(lines))
    if lines[0].startswith("##fileformat=VCF") or head.split("\t")[7:9] == ["INFO", "FORMAT"]:
        return read_vcf(path, lines, head, given)
    names = split(head, separator)
    _once(path, names)
    used = chosen(path, names, given)
    table = _read(path, names, used, separator, len(lines))
    found = Columns(path, table, used, names, len(lines) + 1, build_of([*lines[:-1], *names]))
    _told(found)
    return found


def _below(path: Path, header: int) -> None:
    """Check that there are rows below the header."""
    with opened(path) as stream:
        try:
            there = any(line.strip() for line in islice(stream, header, None))
        except (*UNREADABLE, UnicodeDecodeError):
            return  # told of where the rows are read
    if not there:
        raise InputError(f"{path}: there is nothing below line {header}. Give a header and a row for each variant.")


def _once(path: Path, names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: two columns are called {twice!r}. Name each once.")


def chosen(path: Path, names: Sequence[str], given: Mapping[str, str | None]) -> dict[str, str]:
    """Return which column plays which role, and check that what is needed is there."""
    used = roles(names)
    for role, name in given.items():
        if name is None:
            used.pop(role, None)
        elif name in names:
            used[role] = name
            if role == "other_allele":  # it says what the reference and the alternative would
                used.pop("reference", None)
                used.pop("alternative", None)
    effect = {"beta", "odds_ratio", "z"} & set(used)
    place = "id" in used or {"chromosome", "position"} <= set(used)
    for what, role, named, there in (
        ("an effect (beta, OR, Z)", "beta", "beta", bool(effect)),
        ("the effect allele (A1, ALT, effect_allele)", "effect_allele", "effect_allele", "effect_allele" in used),
        ("identifiers, or chromosome and position", "id", "variant", place),
        (
            "standard errors, p values, Z or an interval",
            "se",
            "se",
            bool({"se", "p", "log10_p", "z", "low"} & set(used)),
        ),
    ):
        if not there:
            for asked, name in given.items():
                if name is not None and name not in names:
                    raise _no_column(str(path), asked, name, names)
            raise InputError(
                f"{path}: no column is known to hold {what}. The columns are {', '.join(names[:30])}; usual names are "
                f"{', '.join(NAMES[role][:6])} ... Say which it is: {option(named, 'COLUMN')}."
            )
    return used


def check_given(files: Sequence[Columns], given: Mapping[str, str | None]) -> None:
    """Check that a column that an option names is in a file; one that has it not goes by usual names.

    Raises
    ------
    InputError
    """
    for role, name in given.items():
        if name is not None and not any(name in file.names for file in files):
            raise _no_column(" and ".join(str(file.path) for file in files), role, name, files[0].names)


def _no_column(paths: str, role: str, name: str, names: Sequence[str]) -> InputError:
    return InputError(
        f"{paths}: there is no column {name!r} ({option('variant' if role == 'id' else role, name)}); the columns are "
        f"{', '.join(names[:30])}."
    )


def _told(found: Columns) -> None:
    """Note what the columns were taken for."""
    pairs = ", ".join(f"{role.replace('_', ' ')} {name!r}" for role, name in found.used.items())
    found.notes.append(f"{found.path.name}: columns taken: {pairs}")


def begin(path: Path) -> tuple[list[str], str, str]:
    """Return the lines up to the header, what separates columns, and the header."""
    lines: list[str] = []
    try:
        whole_blocks(path)
        with opened(path) as stream:
            for line in stream:
                line = line if lines else line.removeprefix("\ufeff")
                lines.append(line.rstrip("\r\n"))
                remark = line.startswith("#") and (line.startswith("##") or max(map(len, _cut(line))) < 4)
                if line.strip() and not remark:
                    break
                if len(lines) > 100_000:
                    break
    except UnicodeDecodeError as error:
        raise not_text(path, error) from error
    except UNREADABLE as error:
        raise damaged(path, error) from error
    if not lines or not lines[-1].strip():
        raise InputError(f"{path}: there is nothing in this file. Give a table of summary statistics.")
    head = lines[-1]
    separator = next((one for one in ("\t", ",", ";") if one in head), " ")
    return lines, separator, head


def _cut(line: str) -> list[list[str]]:
    return [line.split(one) for one in ("\t", ",", None)]


def split(line: str, separator: str) -> list[str]:
    """Return the cells of a line."""
    cells = line.split() if separator == " " else line.split(separator)
    return [cell.strip().strip('"').removeprefix("#") for cell in cells]


def _read(path: Path, names: list[str], used: Mapping[str, str], separator: str, skip: int) -> Any:
    """Read columns as an Arrow table of texts, by roles."""
    import pyarrow as pa
    from pyarrow import csv

    wanted = {name: role for role, name in used.items()}
    if separator == " ":
        return _blanks(path, names, used, skip)
    numeric = {used[role] for role in NUMBERS if role in used}
    kinds = {name: pa.float64() if name in numeric and name != used.get("p") else pa.string() for name in wanted}
    parse = csv.ParseOptions(delimiter=separator)
    start = csv.ReadOptions(column_names=names, skip_rows=skip, block_size=1 << 24)

    def load(types: Mapping[str, Any]) -> Any:
        how = csv.ConvertOptions(
            include_columns=list(wanted), column_types=types, null_values=MISSING, strings_can_be_null=True
        )
        with arrow(path) as stream:
            return csv.read_csv(stream, start, parse, how)

    try:
        try:
            table = load(kinds)
        except pa.ArrowInvalid as error:
            if "conversion error" not in str(error):
                raise
            table = load(
                dict.fromkeys(wanted, pa.string())
            )  # a text among the numbers: it may be of no row that counts
    except (pa.ArrowInvalid, OSError) as error:
        uneven(path, skip, separator, len(names))
        told = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: this cannot be read as a table ({told}). Every line needs {len(names)} cells."
        ) from error
    roles_of: dict[str, list[str]] = {}
    for role, name in used.items():
        roles_of.setdefault(name, []).append(role)
    return _without_zeros(path, used, pa.table({role: table[name] for name, many in roles_of.items() for role in many}))


def _without_zeros(path: Path, used: Mapping[str, str], table: Any) -> Any:
    """Refuse zero bytes, which texts of NumPy lose at their end: two names could become one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for role in table.column_names:
        if pa.types.is_string(table[role].type) and pc.any(pc.match_substring(table[role], "\0")).as_py():
            raise InputError(
                f"{path}: there are zero bytes in the column {used[role]!r}: it is damaged. Fetch it again."
            )
    return table


def _blanks(path: Path, names: list[str], used: Mapping[str, str], skip: int) -> Any:
    import pandas as pd
    import pyarrow as pa

    uneven(path, skip, " ", len(names))
    try:
        with opened(path) as stream:
            frame = pd.read_csv(
                stream, sep=r"\s+", names=names, skiprows=skip, header=None, dtype=str,
                usecols=sorted(set(used.values())), na_values=MISSING, keep_default_na=False, index_col=False,
            )  # fmt: skip
    except (ValueError, OSError, pd.errors.ParserError) as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: this cannot be read as a table ({told}). Every line needs {len(names)} cells."
        ) from error
    made = pa.table({role: pa.array(frame[name], pa.string(), from_pandas=True) for role, name in used.items()})
    return _without_zeros(path, used, made)


def _parquet(path: Path, given: Mapping[str, str | None]) -> Columns:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        names = list(file.schema_arrow.names)
        _once(path, names)
        used = chosen(path, names, given)
        table = file.read(columns=sorted(set(used.values())))
        made = pa.table(
            {
                role: table[name]
                if role in NUMBERS and pa.types.is_floating(table[name].type)
                else table[name].cast("string")
                for role, name in used.items()
            }
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: this cannot be read as Parquet ({told}). Write it again.") from error
    found = Columns(path, made, used, names, 1, build_of(names))
    _told(found)
    return found
