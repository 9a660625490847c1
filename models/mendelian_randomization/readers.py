"""Readers of summary statistics: one table with both effects, or a table for each trait, harmonised."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import options
from genarium.readers.files import existing
from genarium.readers.formats import TABLES, takes
from genarium.readers.ledger import Account, Ledger, Told
from genarium.readers.messages import absent
from genarium.readers.sheet import Sheet
from genarium.readers.tables import read_sheet
from genarium.remedies import flag, option
from genarium.settings import only_with

from .harmonise import Alleles, harmonise
from .matching import alleles_of, in_common, taken_from

REMEDY = "leave the row out"
EFFECTS = ("beta_exposure", "se_exposure", "beta_outcome", "se_outcome")


@takes(*TABLES, number=1, example="effects.csv --option variant=rsid")
def table(
    paths: Sequence[Path],
    *,
    beta_exposure: str = "beta_exposure",
    se_exposure: str = "se_exposure",
    beta_outcome: str = "beta_outcome",
    se_outcome: str = "se_outcome",
    variant: str | None = "auto",
    region: str | None = None,
    error_correlation: str | float = 0.0,
) -> Told:
    """Read a table with a row for each variant.

    Parameters
    ----------
    paths : sequence of Path
        One table: CSV, TSV, columns between white space or Parquet, compressed or not.
    beta_exposure, se_exposure, beta_outcome, se_outcome : str
        Names of the columns.
    variant : str, optional
        Column with the variants' names. "auto": a column called variant, SNP, snp, rsid or id, if there is one.
    region : str, optional
        Column with the name of the region or sequence that a variant lies in; regions are numbered in the order of the
        table. Default: all lie in one.
    error_correlation : str or float
        Column with the correlation of the errors of a variant's two effects, or one number for all.

    Returns
    -------
    Told
        The known and observed variables, labelled by variant.

    Raises
    ------
    InputError
        Naming file, line, column, value and remedy.
    """
    if len(existing("table", paths)) != 1:
        raise InputError(
            f"reader 'table' takes one table, not {len(paths)}. For a table a trait, use {flag('format', 'traits')}."
        )
    names = dict(zip(EFFECTS, (beta_exposure, se_exposure, beta_outcome, se_outcome), strict=True))
    options.texts("table", **names)
    options.only_texts("table", variant=variant, region=region)
    sheet = read_sheet(Path(paths[0]), _key(variant))
    for name in [*names.values(), *filter(None, [region])]:
        if name not in sheet.names:
            raise absent(sheet.path, "column", name, sheet.names)
    found = {name: _numbers(sheet, column) for name, column in names.items()}
    key = _key_column(sheet, variant)
    data = _labelled(sheet, found, _names(sheet, key), region, error_correlation)
    taken = [key, region, error_correlation if isinstance(error_correlation, str) else None]
    return Told(
        data, Ledger(Account("variant", len(sheet.frame), entry="row"), _columns([sheet], [*names.values(), *taken]))
    )


FREQUENCIES = (
    *("eaf", "effect_allele_frequency", "effect_allele_freq", "effect_allele_af", "freq_effect_allele"),
    *("a1freq", "a1_freq", "freq1", "frequency", "freq", "frq"),
)
"""Usual names, in lower case, of the column with the frequency of the effect allele."""


@takes(*TABLES, number=2, example="exposure.tsv outcome.tsv --option frequency=A1_FREQ")
def traits(
    paths: Sequence[Path],
    *,
    variant: str = "SNP",
    beta: str = "beta",
    se: str = "se",
    effect_allele: str = "effect_allele",
    other_allele: str = "other_allele",
    frequency: str | None = "auto",
    incompatible: Literal["error", "drop"] = "error",
    palindromic: Literal["frequency", "drop", "keep"] = "frequency",
    error_correlation: float = 0.0,
) -> Told:
    """Read a table of the exposure and one of the outcome, and code both by the same alleles.

    Parameters
    ----------
    paths : sequence of Path
        Exposure, then outcome. The variants that both have are read, in the order of the first; an identifier used
        more than once stands for as many variants as there are pairs of rows with the same alleles. Nothing else of
        other rows is looked at.
    variant, beta, se, effect_allele, other_allele : str
        Names of the columns, the same in both tables.
    frequency : str, optional
        Column with the frequency of the effect allele: tells the strand of palindromic variants (A/T and C/G). "auto":
        the column of a usual name (eaf, effect_allele_frequency, a1freq, freq1, freq, ...) of each table, if there is
        one.
    incompatible : {"error", "drop"}
        What to do with a variant whose alleles do not match in the two tables, on either strand.
    palindromic : {"frequency", "drop", "keep"}
        Palindromic variants: go by the frequency (those near one half, or without one, are left out), leave all out, or
        trust that both tables are on the same strand.
    error_correlation : float
        Of the errors of a variant's two effects (overlapping samples).

    Returns
    -------
    Told

    Raises
    ------
    InputError
        Naming file, variant, alleles and remedy.
    """
    if len(existing("traits", paths)) != 2:
        raise InputError(f"reader 'traits' takes two tables, exposure and outcome, not {len(paths)}.")
    columns = {"variant": variant, "beta": beta, "se": se, "effect_allele": effect_allele, "other_allele": other_allele}
    options.texts("traits", **columns)
    options.only_texts("traits", frequency=frequency)
    told = None if frequency == "auto" else frequency
    only_with("reader 'traits'", option("palindromic", "frequency"), palindromic == "frequency", frequency=told)
    sheets = [read_sheet(Path(path), variant) for path in paths]
    for sheet in sheets:
        for name in [*columns.values(), *filter(None, [told])]:
            if name not in sheet.names:
                raise absent(sheet.path, "column", name, sheet.names)
    frequencies = [_frequency(sheet, frequency) if palindromic == "frequency" else None for sheet in sheets]
    found_in, names, rows = in_common(sheets, variant, effect_allele, other_allele)
    alleles = [
        Alleles(effect, other, _frequencies(sheet, name))
        for sheet, (effect, other), name in zip(
            found_in, (alleles_of(sheet, effect_allele, other_allele) for sheet in found_in), frequencies, strict=True
        )
    ]
    sign, unclear = harmonise(alleles[0], alleles[1], names, incompatible=incompatible, palindromic=palindromic)
    keep = np.flatnonzero(sign)
    if not keep.size:
        raise InputError(
            f"{sheets[0].path}: no variant is left after harmonisation. Give {option('frequency')}, or check alleles."
        )
    kept = [taken_from(sheet, keep) for sheet in found_in]
    (bx, by), (sx, sy) = ([_numbers(sheet, column) for sheet in kept] for column in (beta, se))
    found = dict(zip(EFFECTS, (bx, sx, by * sign[keep], sy), strict=True))
    rows.leave(
        "palindromic with no telling frequency" if palindromic == "frequency" else "palindromic",
        names[unclear].tolist(),
    )
    rows.leave("alleles do not match", names[(sign == 0) & ~unclear].tolist())
    used = [variant, beta, se, effect_allele, other_allele, *frequencies]
    data = _labelled(kept[0], found, names[keep], None, error_correlation)
    return Told(data, Ledger(rows, _columns(sheets, used)))


def _frequency(sheet: Sheet, frequency: str | None) -> str | None:
    """Return the name of the column with frequencies, if there is one."""
    if frequency != "auto":
        return frequency
    return next((name for usual in FREQUENCIES for name in sheet.names if name.lower() == usual), None)


def _frequencies(sheet: Sheet, name: str | None) -> Array | None:
    if name is None:
        return None
    found = sheet.numbers(name, "leave the frequency empty").astype(float)
    bad = np.flatnonzero((found < 0) | (found > 1))
    if bad.size:
        raise InputError(
            f"{sheet.path}: {sheet.at(sheet.frame.index[bad[0]])}, column {name!r}: {found[bad[0]]:g} is no frequency "
            f"({bad.size} such values). Give the effect allele's, from 0 to 1, or {option('frequency', None)}."
        )
    return found


def _columns(sheets: Sequence[Sheet], taken: Sequence[str | None]) -> Account:
    """Account for the columns of tables by name."""
    every = list(dict.fromkeys(name for sheet in sheets for name in sheet.names))
    account = Account("column", len(every))
    account.leave("not named in an option", [name for name in every if name not in taken])
    return account


def _key(variant: str | None) -> str | None:
    return None if variant == "auto" else variant


def _key_column(sheet: Sheet, variant: str | None) -> str | None:
    """Return the column with the variants' names, if there is one."""
    usual = ("variant", "SNP", "snp", "rsid", "id")
    name = next((n for n in usual if n in sheet.names), None) if variant == "auto" else variant
    if name is not None and name not in sheet.names:
        raise absent(sheet.path, "column", name, sheet.names)
    return name


def _names(sheet: Sheet, name: str | None) -> Array | None:
    return None if name is None else sheet.labels(name, "variant", f"number them with {option('variant', None)}")


def _numbers(sheet: Sheet, name: str) -> Array:
    """Return a column of numbers, none missing."""
    found = sheet.numbers(name, REMEDY).astype(float)
    missing = np.flatnonzero(np.isnan(found))
    if missing.size:
        raise InputError(
            f"{sheet.path}: {sheet.at(sheet.frame.index[missing[0]])}, column {name!r}: there is no value "
            f"({missing.size} of {found.size} are missing). Complete it, or {REMEDY}."
        )
    return found


def _labelled(
    sheet: Sheet, found: Mapping[str, Array], names: Array | None, region: str | None, correlation: str | float
) -> dict[str, Any]:
    import xarray as xr

    J = len(found["beta_exposure"])
    variant = np.arange(J) if names is None else names
    if isinstance(correlation, str):
        try:
            rho: Array | float = float(correlation)
        except ValueError:
            if correlation not in sheet.names:
                raise absent(sheet.path, "column", correlation, sheet.names) from None
            rho = _numbers(sheet, correlation)
    elif isinstance(correlation, bool) or not isinstance(correlation, int | float):
        raise InputError(
            f"{sheet.path}: {option('error_correlation', correlation)} must be a number, or the name of a column."
        )
    else:
        rho = float(correlation)
    outside = np.flatnonzero(~(np.abs(np.atleast_1d(rho)) < 1))
    if outside.size:
        where = f"{sheet.at(sheet.frame.index[outside[0]])}, column {correlation!r}: " if np.ndim(rho) else ""
        raise InputError(
            f"{sheet.path}: {where}an error correlation of {np.atleast_1d(rho)[outside[0]]:g} must lie between -1 and "
            f"1. Correct it, or leave {option('error_correlation')} out."
        )
    whole = {**found, "error_covariance": rho * found["se_exposure"] * found["se_outcome"]}
    labels = np.zeros(J, dtype=int)
    if region is not None:  # numbered in their order in the table
        _, first, inverse = np.unique(
            sheet.frame[region].astype(str).str.strip().to_numpy(), return_index=True, return_inverse=True
        )
        labels = np.argsort(np.argsort(first, kind="stable"), kind="stable")[inverse]
    out: dict[str, Any] = {
        name: xr.DataArray(value, coords={"variant": variant}, dims="variant") for name, value in whole.items()
    }
    out["region"] = xr.DataArray(labels, coords={"variant": variant}, dims="variant")
    return out
