"""Mendelian randomisation of two tables of summary statistics: the command ``genarium mr``."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genarium.declaration import Answer, Array
from genarium.drawing import Titled
from genarium.errors import InputError
from genarium.found import short
from genarium.readers.files import no_file_twice
from genarium.remedies import flag
from genarium.settings import by_flags, only_with

from .estimates import shown_p
from .gwas import Paired, correlated, pair, taken_of
from .mr_table import MrTable, Row, mr_table


def mr(
    exposure: Path,
    outcome: Path,
    *,
    p_value: float | None = None,
    scale: Literal["auto", "beta", "odds_ratio"] = "auto",
    error_correlation: float = 0.0,
    samples_exposure: float | None = None,
    samples_outcome: float | None = None,
    palindromic: Literal["frequency", "drop", "keep"] = "frequency",
    incompatible: Literal["error", "drop"] = "drop",
    duplicates: Literal["error", "first", "best", "drop"] = "error",
    variant: str | None = None,
    beta: str | None = None,
    se: str | None = None,
    effect_allele: str | None = None,
    other_allele: str | None = None,
    frequency: str = "auto",
    ld: Path | None = None,
    ld_alleles: Path | None = None,
    clump: float | None = None,
    no_model: bool = False,
    iterations: int = 2000,
    seed: int = 0,
) -> Answer:
    """Mendelian randomisation of two tables: the estimate of every method, and checks of their assumptions.

    Parameters
    ----------
    exposure : Path
        Summary statistics of the exposure for independent variants: a table in any usual format, or GWAS-VCF.
    outcome : Path
        Summary statistics of the outcome; its effects are recoded to the alleles of the exposure.
    p_value : float
        Take only variants whose effect on the exposure has a p value below this; default: all.
    scale : {"auto", "beta", "odds_ratio"}
        Scale of the effects: as the name of their column says, effects, or odds ratios.
    error_correlation : float
        Correlation between the errors of a variant's two effects (overlapping samples).
    samples_exposure : float
        Sample size of the exposure's study, where the table has none; used by Steiger's test of the direction.
    samples_outcome : float
        Sample size of the outcome's study, where the table has none.
    palindromic : {"frequency", "drop", "keep"}
        Palindromic variants: resolve them by frequency, leave all out, or keep them, both tables being on one strand.
    incompatible : {"error", "drop"}
        What to do with variants whose alleles do not match.
    duplicates : {"error", "first", "best", "drop"}
        What to do with rows of the same variant.
    variant : str
        Column of the variants' identifiers, in either table or both; default: one with a usual name.
    beta : str
        Column of the effects.
    se : str
        Column of their standard errors.
    effect_allele : str
        Column of the effect allele.
    other_allele : str
        Column of the other allele.
    frequency : str
        Column of the effect allele's frequency; "auto": one with a usual name; "null": use none.
    ld : Path
        Correlations of the variants: a square table with names, PLINK's matrix without names, or a table with a row for
        each pair (PLINK's --r). Only methods for correlated variants are then used.
    ld_alleles : Path
        Alleles to which the correlations refer, where names (rs123_A_G) do not give them: PLINK's .bim or .pvar, or a
        table. It also names the rows of a matrix without names.
    clump : float
        Leave out variants whose squared correlation with a stronger one is at least this; at 0.01 or less, the
        remaining variants are taken as independent, and every method is used.
    no_model : bool
        Leave out the Bayesian model, which takes seconds.
    iterations : int
        Number of bootstrap samples and simulations.
    seed : int
        Seed of the bootstrap, the simulations and the model.

    Returns
    -------
    Answer
        Tables and notes, with the figures of its page.

    Raises
    ------
    InputError
        If a file cannot be read, options do not go together, or the files have no variant in common.
    """
    no_file_twice([exposure, outcome])
    with by_flags():
        only_with("mr", flag("ld", "FILE"), ld is not None, ld_alleles=ld_alleles, clump=clump)
    named = {"id": variant, "beta": beta, "se": se, "effect_allele": effect_allele, "other_allele": other_allele}
    given: dict[str, str | None] = {role: name for role, name in named.items() if name is not None}
    if frequency != "auto":
        given["frequency"] = None if frequency == "null" else frequency
    how: dict[str, Any] = {"palindromic": palindromic, "incompatible": incompatible, "duplicates": duplicates}
    matrix = None
    with by_flags():
        told = pair([exposure, outcome], given, scale=scale, **how)
        if ld is not None:
            told, matrix = _linked(told, ld, ld_alleles, clump)
    names = told.names
    x, sx, y, sy = told.exposure.beta, told.exposure.se, told.outcome.beta, told.outcome.se
    keep = np.ones(len(x), dtype=bool)
    if p_value is not None:
        from scipy.stats import norm

        if not 0 < p_value <= 1:
            raise InputError(f"mr: p_value={p_value:g} must lie between 0 and 1. Give 5e-8, say.")
        keep = np.abs(x / sx) > -norm.ppf(p_value / 2)
        if not keep.any():
            raise InputError(f"mr: no variant has a p value below {p_value:g} in {exposure}. Raise it.")
    if matrix is not None:
        matrix = matrix[np.ix_(keep, keep)]
        independent = clump is not None and clump <= INDEPENDENT
    found = mr_table(
        x[keep],
        sx[keep],
        y[keep],
        sy[keep],
        covariance=(error_correlation * sx * sy)[keep],
        names=names[keep].tolist(),
        samples_exposure=_samples(told.exposure.samples[keep], samples_exposure),
        samples_outcome=_samples(told.outcome.samples[keep], samples_outcome),
        model=not no_model,
        iterations=iterations,
        seed=seed,
        correlation=None if matrix is None or independent else matrix,
    )
    left = [*told.notes, *(_left_out(n, why) for why, n in told.rows.left_out.items() if n)]
    if not keep.all():
        left.append(_left_out(int((~keep).sum()), f"p value on the exposure of {p_value:g} or more"))
    names_of = [
        f"{file.trait} ({path.name})" if file.trait else path.name
        for file, path in zip(told.columns, (exposure, outcome), strict=True)
    ]
    return answer(found, f"Causal effect of {names_of[0]} on {names_of[1]}", left)


INDEPENDENT = 0.01
"""Squared correlation up to which variants are taken as independent."""


def _left_out(count: int, why: str) -> str:
    """Say how many variants are left out."""
    return f"{count:,} variant{'s' * (count != 1)} left out: {why}"


def _linked(told: Paired, ld: Path, alleles: Path | None, threshold: float | None) -> tuple[Paired, Array]:
    """Return the variants whose correlations are known, clumped, and these."""
    keep, matrix = correlated(ld, alleles, threshold, told)
    own = told.alleles[0][keep], told.alleles[1][keep]
    effects = taken_of(told.exposure, keep), taken_of(told.outcome, keep)
    return replace(told, names=told.names[keep], alleles=own, exposure=effects[0], outcome=effects[1]), matrix


def _samples(told: Array, given: float | None) -> Array | float | None:
    """Return sample sizes: what is given, or else the file's own where it tells all."""
    if given is not None:
        return given
    return told if np.isfinite(told).all() else None


def answer(found: MrTable, title: str = "Mendelian randomisation", notes: list[str] | None = None) -> Answer:
    """Return a table of estimates as text and figures.

    Parameters
    ----------
    found : MrTable
    title : str
    notes : list of str, optional
        Said last.
    """
    tables = {"Causal effect of the exposure on the outcome": [HEAD, *map(_cells, found.rows)]}
    if found.heterogeneity:
        head = ["method", "Q", "degrees of freedom", "p value"]
        tables["Heterogeneity"] = [head, *([m, f"{q:.4g}", f"{d}", shown_p(p)] for m, q, d, p in found.heterogeneity)]
    if found.pleiotropy is not None:
        cells = [*(f"{value:.4g}" for value in found.pleiotropy[:2]), shown_p(found.pleiotropy[2], 4)]
        tables["Directional pleiotropy"] = [["Egger's intercept", "se", "p value"], cells]
    if found.steiger is not None:
        one = found.steiger
        cells = [f"{one.r2_exposure:.4g}", f"{one.r2_outcome:.4g}", shown_p(one.p_value)]
        same = one.r2_exposure == one.r2_outcome
        direction = "neither" if same else "exposure first" if one.forward else "outcome first"
        head = ["r2 of the exposure", "r2 of the outcome", "p value", "direction"]
        tables["Direction (Steiger)"] = [head, [*cells, direction]]
    if found.without:
        failed = any(row.note for row in found.without)  # a column that would be empty is none
        ends = len(HEAD) - (not failed)
        head = ["variant left out", *HEAD[2:ends]]
        tables["IVW without each variant"] = [
            head,
            *([row.method, *_cells(row)[2:ends]] for row in found.without),
        ]
    first = next((row for row in found.rows if np.isfinite(row.estimate)), found.rows[0])
    low, high = first.ci
    said = [f"{first.method}: {short(first.estimate)}, {100 * found.level:g}% interval {short(low)} to {short(high)}."]
    said.append(
        f"Low and high are the ends of {100 * found.level:g}% intervals. An estimate is the change in the outcome, in "
        "its own units, for each unit of the exposure."
    )
    said.append(f"Mean F statistic of the {len(found.data)} instruments: {found.mean_f:.3g}.")
    if found.steiger is None:
        said.append("The direction (Steiger) was not tested: this needs the sample sizes of both studies.")
    if found.mean_f < 10:
        allowing = [row.method for row in found.rows if row.method in ALLOWING and np.isfinite(row.estimate)]
        advice = "rely on" if allowing else "the table has no estimate that allows for it, of"
        said.append(f"The instruments are weak (mean F below 10): {advice} {', '.join(allowing or ALLOWING)}.")
    said += notes or []
    return Answer(title, tables, said, (lambda: _figures(found)) if len(found.data) > 2 else None)


ALLOWING = ("RAPS", "dIVW", "Bayesian model")
"""Methods for weak instruments."""

HEAD = ["method", "variants", "estimate", "se", "low", "high", "p value", "note"]


def _cells(row: Row) -> list[str]:
    numbers = [row.estimate, row.se, *row.ci]
    shown = ["–" if np.isnan(v) else f"{v:#.5g}".rstrip(".") for v in numbers]
    return [row.method, f"{row.variants}", *shown, shown_p(row.p_value), row.note]


def _figures(found: MrTable) -> Iterator[Titled]:
    from .table_figures import drawn

    return drawn(found)
