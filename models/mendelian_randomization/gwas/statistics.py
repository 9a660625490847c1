"""Summary statistics of one trait: files of many dialects to effects, standard errors, alleles and keys.

Columns are read by Arrow, only those that are needed; numbers of rows that the other trait does not have are never
looked at. Odds ratios become log odds; standard errors follow from p values, Z or intervals where there are none.
"""

import gzip
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.files import present
from genarium.remedies import option

from .dialects import NAMES, build_of, roles

MISSING = ["", "NA", "#NA", "N/A", "NaN", "nan", "null", "NULL", ".", "-", "None", "Inf", "inf", "-inf"]
"""What stands for no value."""

TEXTS = ("id", "chromosome", "effect_allele", "other_allele", "reference", "alternative")
NUMBERS = ("beta", "odds_ratio", "se", "low", "high", "z", "p", "log10_p", "frequency", "samples", "position")
Scale = Literal["auto", "beta", "odds_ratio"]


@dataclass
class Columns:
    """Columns of one file by their roles, unread numbers as text.

    Attributes
    ----------
    path : Path
    table : pyarrow.Table
        Texts, one column a role.
    used : mapping of str to str
        Role -> the file's own name of the column.
    names : list of str
        All columns of the file.
    first : int
        Line of the first row.
    build : str, optional
        Of the genome, where the file tells it.
    notes : list of str
    lost : dict of str to int
        Rows that were left out already, by reason.
    """

    path: Path
    table: Any
    used: Mapping[str, str]
    names: list[str]
    first: int
    build: str | None
    notes: list[str] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def has(self, role: str) -> bool:
        """Whether there is a column of a role."""
        return role in self.used

    def text(self, role: str, rows: Array | None = None) -> Array:
        """Return texts of a role, empty where there is none."""
        if role not in self.used:
            return np.full(len(self) if rows is None else len(rows), "", dtype=object)
        column = self.table[role] if rows is None else self.table[role].take(rows)
        found = column.to_numpy(zero_copy_only=False).astype(object)
        found[[one is None for one in found]] = ""
        return np.asarray(found)

    def numbers(self, role: str, rows: Array) -> Array:
        """Return numbers of a role at some rows, NaN where there is none.

        Raises
        ------
        InputError
            With file, line, column and value of the first that is no number.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if role not in self.used:
            return np.full(len(rows), np.nan)
        column = self.table[role].take(rows)
        if not pa.types.is_string(column.type):
            return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
        try:
            return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False))
        except pa.ArrowInvalid:
            return self._slowly(column, role, rows)

    def _slowly(self, column: Any, role: str, rows: Array) -> Array:
        found = np.full(len(rows), np.nan)
        for j, text in enumerate(column.to_pylist()):
            if text is None:
                continue
            try:
                found[j] = float(text.strip().strip('"'))
            except ValueError:
                raise InputError(
                    f"{self.path}: line {self.first + int(rows[j])}, column {self.used[role]!r}: {text!r} is no number. "
                    "Correct it, or leave it empty."
                ) from None
        return found


def read_columns(path: Path, given: Mapping[str, str | None]) -> Columns:
    """Read the columns of a file that play a role.

    Parameters
    ----------
    path : Path
        A table (tabs, commas, semicolons or blanks between the columns) or GWAS-VCF, compressed by gzip or not; Parquet.
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
    lines, separator, head = _begin(path)
    if lines[0].startswith("##fileformat=VCF") or head.startswith("#CHROM\tPOS"):
        from .vcf import read_vcf

        return read_vcf(path, lines, head, given)
    names = _split(head, separator)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: two columns are called {twice!r}. Name each once.")
    used = chosen(path, names, given)
    table = _read(path, names, used, separator, len(lines))
    found = Columns(path, table, used, names, len(lines) + 1, build_of([*lines[:-1], *names]))
    _told(found)
    return found


def chosen(path: Path, names: Sequence[str], given: Mapping[str, str | None]) -> dict[str, str]:
    """Return which column plays which role, and check that what is needed is there."""
    used = roles(names)
    for role, name in given.items():
        if name is None:
            used.pop(role, None)
            continue
        if name not in names:
            raise InputError(
                f"{path}: there is no column {name!r} ({option(role, name)}); the columns are {', '.join(names[:30])}."
            )
        used[role] = name
    effect = {"beta", "odds_ratio", "z"} & set(used)
    place = "id" in used or {"chromosome", "position"} <= set(used)
    for what, there in (
        ("an effect (beta, OR, Z)", bool(effect)),
        ("the effect allele (A1, ALT, effect_allele)", "effect_allele" in used),
        ("identifiers, or chromosome and position", place),
        ("standard errors, p values, Z or an interval", bool({"se", "p", "log10_p", "z", "low"} & set(used))),
    ):
        if not there:
            usual = ", ".join(sorted({one for name in ("beta", "se", "effect_allele") for one in NAMES[name][:4]}))
            raise InputError(
                f"{path}: no column is known to hold {what}. The columns are {', '.join(names[:30])}; usual names are "
                f"{usual} ... Say which it is, by option."
            )
    return used


def _told(found: Columns) -> None:
    """Note what the columns were taken for."""
    pairs = ", ".join(f"{role.replace('_', ' ')} {name!r}" for role, name in found.used.items())
    found.notes.append(f"{found.path.name}: taken were {pairs}")


def _open(path: Path) -> Any:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return (
        gzip.open(path, "rt", encoding="utf-8", errors="replace")
        if packed
        else path.open(encoding="utf-8", errors="replace")
    )


def _begin(path: Path) -> tuple[list[str], str, str]:
    """Return the lines up to the header, what separates columns, and the header."""
    lines: list[str] = []
    try:
        with _open(path) as stream:
            for line in stream:
                lines.append(line.rstrip("\r\n"))
                if (
                    line.strip()
                    and not line.startswith("##")
                    and not (line.startswith("#") and "\t" not in line and "," not in line and len(line.split()) < 4)
                ):
                    break
                if len(lines) > 100_000:
                    break
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: this cannot be read ({error}). Fetch it again.") from error
    if not lines or not lines[-1].strip():
        raise InputError(f"{path}: there is nothing in this file. Give a table of summary statistics.")
    head = lines[-1].lstrip("\ufeff")
    separator = next((one for one in ("\t", ",", ";") if one in head), " ")
    return lines, separator, head


def _split(line: str, separator: str) -> list[str]:
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
        return csv.read_csv(path, start, parse, how)

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
        told = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: this cannot be read as a table ({told}). Every line needs {len(names)} cells."
        ) from error
    roles_of: dict[str, list[str]] = {}
    for role, name in used.items():
        roles_of.setdefault(name, []).append(role)
    return pa.table({role: table[name] for name, many in roles_of.items() for role in many})


def _blanks(path: Path, names: list[str], used: Mapping[str, str], skip: int) -> Any:
    import pandas as pd
    import pyarrow as pa

    try:
        frame = pd.read_csv(
            path, sep=r"\s+", names=names, skiprows=skip, header=None, dtype=str, usecols=sorted(set(used.values())),
            na_values=MISSING, keep_default_na=False, compression="infer", index_col=False,
        )  # fmt: skip
    except (ValueError, OSError, pd.errors.ParserError) as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: this cannot be read as a table ({told}). Every line needs {len(names)} cells."
        ) from error
    return pa.table({role: pa.array(frame[name], pa.string(), from_pandas=True) for role, name in used.items()})


def _parquet(path: Path, given: Mapping[str, str | None]) -> Columns:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        names = list(file.schema_arrow.names)
        used = chosen(path, names, given)
        table = file.read(columns=sorted(set(used.values())))
        made = pa.table(
            {
                role: table[name] if pa.types.is_floating(table[name].type) else table[name].cast(pa.string())
                for role, name in used.items()
            }
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: this cannot be read as Parquet ({told}). Write it again.") from error
    found = Columns(path, made, used, names, 1, build_of(names))
    _told(found)
    return found


@dataclass
class Effects:
    """Effects of some rows.

    Attributes
    ----------
    beta, se, frequency, samples : ndarray, shape (J,)
        NaN where there is none.
    fault : ndarray of str, shape (J,)
        Why a row has no effect; empty where it has.
    log10_p : ndarray, shape (J,)
        -log10 of the p value that the file tells; NaN where it tells none.
    """

    beta: Array
    se: Array
    frequency: Array
    samples: Array
    fault: Array
    log10_p: Array


def effects_of(columns: Columns, rows: Array, scale: Scale = "auto") -> Effects:
    """Work out effects and standard errors of some rows.

    Parameters
    ----------
    columns : Columns
    rows : ndarray of int, shape (J,)
    scale : {"auto", "beta", "odds_ratio"}
        What the column of effects holds; "auto" goes by its name.

    Returns
    -------
    Effects
    """
    odds = scale == "odds_ratio" or (scale == "auto" and not columns.has("beta") and columns.has("odds_ratio"))
    told = columns.numbers("odds_ratio" if odds and not columns.has("beta") else "beta", rows)
    z, samples = columns.numbers("z", rows), columns.numbers("samples", rows)
    frequency = columns.numbers("frequency", rows)
    log10_p = _log10_p(columns, rows)
    fault = np.full(len(rows), "", dtype=object)
    if odds:
        fault[told <= 0] = "an odds ratio that is not positive"
        with np.errstate(invalid="ignore", divide="ignore"):
            beta = np.where(told > 0, np.log(told), np.nan)
    else:
        beta = told
        if scale == "auto" and columns.has("beta"):
            _suspect(columns, told)
    se = columns.numbers("se", rows)
    if odds and columns.has("se"):
        se = _of_log_odds(columns, told, beta, se, z, log10_p)
    derived = _derived(columns, rows, beta, z, log10_p, odds)
    if not columns.has("se"):
        se = derived
        columns.notes.append(f"{columns.path.name}: standard errors follow from {_source(columns)}")
    else:
        se = np.where(np.isnan(se), derived, se)
    if not (columns.has("beta") or columns.has("odds_ratio")):
        beta, se = _standardised(columns, z, frequency, samples)
    fault[(fault == "") & ~np.isfinite(beta)] = "no effect"
    fault[(fault == "") & ~np.isfinite(se)] = "no standard error"
    fault[(fault == "") & ~(se > 0)] = "a standard error that is not positive"
    bad = np.flatnonzero((frequency < 0) | (frequency > 1))
    if bad.size:
        raise InputError(
            f"{columns.path}: line {columns.first + int(rows[bad[0]])}, column {columns.used['frequency']!r}: "
            f"{frequency[bad[0]]:g} is no frequency ({bad.size} such values). Give the effect allele's, from 0 to 1, or "
            f"{option('frequency', None)}."
        )
    _compare(columns, beta, se, log10_p)
    return Effects(beta, se, frequency, samples, fault, log10_p)


def _source(columns: Columns) -> str:
    return "intervals" if columns.has("low") and columns.has("high") else "Z" if columns.has("z") else "p values"


def _log10_p(columns: Columns, rows: Array) -> Array:
    """-log10 of p values; those below the least number that a computer holds are read as they are written."""
    if columns.has("log10_p"):
        found = columns.numbers("log10_p", rows)
        return np.where(found < 0, np.nan, found)
    if not columns.has("p"):
        return np.full(len(rows), np.nan)
    p = columns.numbers("p", rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = -np.log10(np.where((p >= 0) & (p <= 1), p, np.nan))
    for j in np.flatnonzero(p < 1e-290):
        text = str(columns.table["p"][int(rows[j])].as_py())
        parts = re.fullmatch(r"\s*\"?(\d*\.?\d+)[eE](-\d+)\"?\s*", text)
        found[j] = -np.log10(float(parts[1])) - int(parts[2]) if parts and float(parts[1]) > 0 else np.nan
    return found


def z_of(log10_p: Array) -> Array:
    """|Z| of a two-sided p value, from -log10 p: no underflow."""
    from scipy.special import ndtri_exp

    return np.asarray(-ndtri_exp(-log10_p * np.log(10) - np.log(2)))


def _derived(columns: Columns, rows: Array, beta: Array, z: Array, log10_p: Array, odds: bool) -> Array:
    """Standard errors from an interval, Z or the p value, the surest first."""
    found = np.full(len(rows), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        if columns.has("low") and columns.has("high"):
            low, high = columns.numbers("low", rows), columns.numbers("high", rows)
            low, high = (np.log(low), np.log(high)) if odds else (low, high)
            found = (high - low) / (2 * 1.959963984540054)
        for by in (np.abs(z), z_of(log10_p)):
            own = np.abs(beta) / by
            found = np.where(np.isfinite(found), found, np.where(by > 0, own, np.nan))
    return np.where(found > 0, found, np.nan)


def _of_log_odds(columns: Columns, ratio: Array, beta: Array, se: Array, z: Array, log10_p: Array) -> Array:
    """Standard errors beside odds ratios are those of log odds, unless Z or p say that they are of the ratios."""
    by = np.where(np.isnan(z), z_of(log10_p), np.abs(z))
    with np.errstate(divide="ignore", invalid="ignore"):
        usable = np.isfinite(by) & (by > 0.5) & np.isfinite(beta) & (se > 0)
        if usable.sum() < 3:
            return se
        of_logs = np.median(np.abs(np.log(np.abs(beta / se)[usable] / by[usable])))
        of_ratios = np.median(np.abs(np.log(np.abs(beta / (se / ratio))[usable] / by[usable])))
    if of_ratios < of_logs - 0.02:
        columns.notes.append(
            f"{columns.path.name}: standard errors are of odds ratios, by their p values; divided by these"
        )
        return np.asarray(se / ratio)
    return se


def _standardised(columns: Columns, z: Array, frequency: Array, samples: Array) -> tuple[Array, Array]:
    """Effects in standard deviations of the trait, from Z, the frequency and the sample size (Zhu et al. 2016)."""
    if not (columns.has("frequency") and columns.has("samples")):
        raise InputError(
            f"{columns.path}: there is Z but no effect; frequencies and sample sizes are needed to make effects of it. "
            "Give them, or a column of effects."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        se = 1 / np.sqrt(2 * frequency * (1 - frequency) * (samples + z**2))
    columns.notes.append(f"{columns.path.name}: effects follow from Z, in standard deviations of the trait")
    return z * se, se


def _suspect(columns: Columns, beta: Array) -> None:
    """Say so where effects look like odds ratios."""
    known = beta[np.isfinite(beta)]
    if len(known) >= 5 and (known > 0).all() and 0.5 < np.median(known) < 2 and (known < 1).any() and (known > 1).any():
        name = columns.used["beta"]
        warnings.warn(
            f"{columns.path}: column {name!r} looks like odds ratios (all of {len(known)} are positive, about 1), but is "
            f"taken as it is. Give {option('scale', 'odds_ratio')} for their logarithm, or {option('scale', 'beta')}.",
            stacklevel=2,
        )


def _compare(columns: Columns, beta: Array, se: Array, log10_p: Array) -> None:
    """Note where effects and standard errors do not give the p values beside them."""
    if not columns.has("se"):
        return
    from scipy.special import log_ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        own = -(log_ndtr(-np.abs(beta / se)) + np.log(2)) / np.log(10)
        off = np.abs(own - log10_p)
    far = np.isfinite(off) & (off > np.maximum(1, 0.1 * log10_p))
    if far.any():
        columns.notes.append(
            f"{columns.path.name}: {far.sum()} effects and standard errors give p values that differ from those beside "
            f"them by up to {np.nanmax(off[far]):.1f} orders of magnitude (rounded?); effects and standard errors are taken"
        )
