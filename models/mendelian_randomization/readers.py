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

from .gwas import correlated, pair

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
    region: str | None = "auto",
    error_correlation: str | float = "auto",
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
        Column with the name of the region or sequence that a variant lies in. "auto": a column called region, if there
        is one; None: all lie in one.
    error_correlation : str or float
        Column with the correlation of the errors of a variant's two effects, or one number for all. "auto": a column
        called error_correlation, if there is one, else 0.

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
    if region == "auto":
        region = "region" if "region" in sheet.names else None
    if error_correlation == "auto":
        error_correlation = "error_correlation" if "error_correlation" in sheet.names else 0.0
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


@takes(*TABLES, ".vcf", number=2, example="exposure.tsv outcome.tsv")
def traits(
    paths: Sequence[Path],
    *,
    variant: str | None = None,
    beta: str | None = None,
    se: str | None = None,
    effect_allele: str | None = None,
    other_allele: str | None = None,
    frequency: str | None = "auto",
    scale: Literal["auto", "beta", "odds_ratio"] = "auto",
    incompatible: Literal["error", "drop"] = "error",
    palindromic: Literal["frequency", "drop", "keep"] = "frequency",
    duplicates: Literal["error", "first", "best", "drop"] = "error",
    error_correlation: float = 0.0,
    ld: str | None = None,
    ld_alleles: str | None = None,
    clump: float | None = None,
) -> Told:
    """Read summary statistics of the exposure and of the outcome, and code both by the same alleles.

    Parameters
    ----------
    paths : sequence of Path
        Exposure, then outcome: tables in the dialects of the usual programs (PLINK, METAL, REGENIE, BOLT, SAIGE, GCTA,
        SNPTEST, FinnGen, GWAS-SSF, TwoSampleMR ...), or GWAS-VCF. The variants that both have are read, in the order of
        the first, by identifier, else by chromosome, position and alleles; an identifier used more than once stands for
        as many variants as there are pairs of rows with the same alleles. Nothing else of other rows is looked at.
    variant, beta, se, effect_allele, other_allele : str, optional
        Names of the columns, the same in both tables; default: the usual ones. Odds ratios become log odds; standard
        errors that are not there follow from intervals, Z or p values.
    frequency : str, optional
        Column with the frequency of the effect allele, which tells the strand of palindromic variants (A/T and C/G);
        "auto": that of a usual name, if there is one; None: look at none.
    scale : {"auto", "beta", "odds_ratio"}
        What the effects are: by the column's name, as they are, or odds ratios.
    incompatible : {"error", "drop"}
        What to do with a variant whose alleles do not match in the two tables, on either strand.
    palindromic : {"frequency", "drop", "keep"}
        Palindromic variants: go by the frequency (those near one half, or without one, are left out), leave all out, or
        trust that both tables are on the same strand.
    duplicates : {"error", "first", "best", "drop"}
        What to do with rows that could be the same variant: refuse them, take the first or that with the least standard
        error, or leave all out.
    error_correlation : float
        Of the errors of a variant's two effects (overlapping samples).
    ld : str, optional
        File with the correlations of the variants: a square table by name, PLINK's matrix without names, or a table
        with a row a pair (PLINK's ``--r``). Variants are found by name, else by chromosome, position and alleles. Signs
        follow the exposure's effect alleles; the data are of design "linked" then.
    ld_alleles : str, optional
        File with the alleles that correlations are of, where names (rs123_A_G) do not say it: PLINK's .bim or .pvar, or
        a table. It names the rows of a matrix without names.
    clump : float, optional
        Leave out variants whose squared correlation with a stronger one is as large.

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
    asked = {"beta": beta, "se": se, "effect_allele": effect_allele, "other_allele": other_allele, "variant": variant}
    options.only_texts("traits", **asked, frequency=frequency)
    only_with(
        "reader 'traits'",
        option("palindromic", "frequency"),
        palindromic == "frequency",
        frequency=None if frequency == "auto" else frequency,
    )
    given: dict[str, str | None] = {
        "id" if role == "variant" else role: n for role, n in asked.items() if n is not None
    }
    if frequency != "auto":
        given["frequency"] = frequency
    found = pair(paths, given, scale=scale, incompatible=incompatible, palindromic=palindromic, duplicates=duplicates)
    rho = _correlation(Path(paths[0]), error_correlation)
    x, y = found.exposure, found.outcome
    only_with("reader 'traits'", option("ld"), ld is not None, ld_alleles=ld_alleles, clump=clump)
    keep, names = np.ones(len(x.beta), dtype=bool), found.names
    if ld is not None:
        keep, matrix = correlated(Path(ld), None if ld_alleles is None else Path(ld_alleles), _threshold(clump), found)
        names = names[keep]
    found.rows.read = len(names) + sum(found.rows.left_out.values())
    values = {name: one[keep] for name, one in zip(EFFECTS, (x.beta, x.se, y.beta, y.se), strict=True)}
    every = list(dict.fromkeys(name for file in found.columns for name in file.names))
    columns = Account("column", len(every))
    taken = {name for file in found.columns for name in file.used.values()}
    vcf = any("#CHROM" in file.names for file in found.columns)
    columns.leave("not needed", [] if vcf else [name for name in every if name not in taken])
    ledger = Ledger(found.rows, columns, found.notes)
    if ld is not None:
        return Told(_linked(values, _numbered(names), matrix, float(rho)), ledger, {"design": "linked"})
    return Told(_variables(values, _numbered(names), None, rho), ledger)


def _threshold(clump: Any) -> float | None:
    if clump is None:
        return None
    try:
        return float(clump)
    except (TypeError, ValueError):
        raise InputError(
            f"reader 'traits': {option('clump', clump)} must be a squared correlation, such as 0.01."
        ) from None


def _linked(values: Mapping[str, Array], variant: Array, matrix: Array, rho: float) -> dict[str, Any]:
    import xarray as xr

    out = {name: xr.DataArray(value, coords={"variant": variant}, dims="variant") for name, value in values.items()}
    both = {"variant": variant, "other_variant": variant}
    return {**out, "ld": xr.DataArray(matrix, coords=both, dims=tuple(both)), "error_correlation": xr.DataArray(rho)}


def _numbered(names: Array) -> Array:
    """Return names that are all whole numbers as such."""
    whole = all(name.isdigit() and len(name) < 19 and (name == "0" or name[0] != "0") for name in names)
    return names.astype(np.int64) if whole else names


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
    rho = _correlation(sheet.path, correlation, sheet)
    J = len(found["beta_exposure"])
    labels = None
    if region is not None:
        missing = np.flatnonzero(sheet.frame[region].isna())
        if missing.size:
            raise InputError(
                f"{sheet.path}: {sheet.at(sheet.frame.index[missing[0]])}, column {region!r}: the region is missing "
                f"({missing.size} such). Complete it, or take all variants for one region: {option('region', None)}."
            )
        labels = sheet.texts(region)
    return _variables(found, np.arange(J) if names is None else names, labels, rho)


def _correlation(path: Path, correlation: str | float, sheet: Sheet | None = None) -> Array | float:
    """Return the correlation of errors: a number, or the column of a table."""
    if isinstance(correlation, str):
        try:
            rho: Array | float = float(correlation)
        except ValueError:
            if sheet is None:
                raise InputError(
                    f"{path}: {option('error_correlation', correlation)} must be a number: two tables have no "
                    "column of it."
                ) from None
            if correlation not in sheet.names:
                raise absent(sheet.path, "column", correlation, sheet.names) from None
            rho = _numbers(sheet, correlation)
    elif isinstance(correlation, bool) or not isinstance(correlation, int | float):
        raise InputError(
            f"{path}: {option('error_correlation', correlation)} must be a number, or the name of a column."
        )
    else:
        rho = float(correlation)
    outside = np.flatnonzero(~(np.abs(np.atleast_1d(rho)) < 1))
    if outside.size:
        at = f"{sheet.at(sheet.frame.index[outside[0]])}, column {correlation!r}: " if np.ndim(rho) and sheet else ""
        raise InputError(
            f"{path}: {at}an error correlation of {np.atleast_1d(rho)[outside[0]]:g} must lie between -1 and "
            f"1. Correct it, or leave {option('error_correlation')} out."
        )
    return rho


def _variables(found: Mapping[str, Array], variant: Array, region: Array | None, rho: Array | float) -> dict[str, Any]:
    import xarray as xr

    whole = {
        **found,
        "error_covariance": rho * found["se_exposure"] * found["se_outcome"],
        "region": np.zeros(len(variant), dtype=int) if region is None else region,
    }
    return {name: xr.DataArray(value, coords={"variant": variant}, dims="variant") for name, value in whole.items()}
