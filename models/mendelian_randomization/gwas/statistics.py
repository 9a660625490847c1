"""Effects and standard errors of one trait from the columns that a file has.

Odds ratios become log odds; standard errors follow from p values, Z or intervals where there are none. Numbers of rows
that the other trait does not have are never looked at.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.remedies import option, warn

from .columns import Columns

Scale = Literal["auto", "beta", "odds_ratio"]


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
    if scale == "auto":
        if columns.contradicted:
            raise InputError(columns.contradicted)
        scale = columns.scale
    odds = scale == "odds_ratio" or (scale == "auto" and not columns.has("beta") and columns.has("odds_ratio"))
    told = columns.numbers("beta" if columns.has("beta") else "odds_ratio", rows)
    z, samples = columns.numbers("z", rows), columns.numbers("samples", rows)
    frequency = columns.numbers("frequency", rows)
    log10_p = _log10_p(columns, rows)
    fault = np.full(len(rows), "", dtype=object)
    if odds:
        if scale == "auto":
            _refuse_logarithms(columns, told)
        fault[told <= 0] = "an odds ratio that is not positive"
        with np.errstate(invalid="ignore", divide="ignore"):
            beta = np.where(told > 0, np.log(told), np.nan)
    else:
        beta = np.array(told)
    se = np.array(columns.numbers("se", rows))
    ratios = np.full(len(rows), odds)
    if not odds and scale == "auto" and columns.has("beta"):
        _suspect(columns, told, se, log10_p)
        if columns.has("odds_ratio"):
            ratios = _filled(columns, rows, beta)
    if odds and columns.has("se"):
        se = _of_log_odds(columns, rows, told, beta, se, z, log10_p)
    if not columns.has("se"):
        columns.notes.append(f"{columns.path.name}: standard errors follow from {_source(columns)}")
    absent = np.flatnonzero(np.isnan(se))
    if absent.size:
        se[absent] = _derived(columns, rows[absent], beta[absent], z[absent], log10_p[absent], ratios[absent])
    if not (columns.has("beta") or columns.has("odds_ratio")):
        beta, se = _of_z(columns, z, se, frequency, samples)
    fault[(fault == "") & ~np.isfinite(beta)] = "no effect"
    fault[(fault == "") & ~np.isfinite(se)] = "no standard error"
    fault[(fault == "") & ~(se > 0)] = "a standard error that is not positive"
    bad = np.flatnonzero((frequency < 0) | (frequency > 1))
    if bad.size:
        raise InputError(
            f"{columns.path}: line {columns.line(rows[bad[0]])}, column {columns.used['frequency']!r}: "
            f"{frequency[bad[0]]:g} is no frequency ({bad.size} such values). Give the effect allele's, from 0 to 1, "
            f"or {option('frequency', None)}."
        )
    _compare(columns, beta, se, log10_p)
    return Effects(beta, se, frequency, samples, fault, log10_p)


def _source(columns: Columns) -> str:
    return "intervals" if columns.has("low") and columns.has("high") else "Z" if columns.has("z") else "p values"


def _log10_p(columns: Columns, rows: Array) -> Array:
    """-log10 of p values; those below the least number that a computer holds are read as they are written."""
    told = np.array(columns.numbers("log10_p", rows))
    told[told < 0] = np.nan
    if not columns.has("p"):
        return told
    p = columns.numbers("p", rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(np.isnan(told), -np.log10(np.where((p >= 0) & (p <= 1), p, np.nan)), told)
    for j in np.flatnonzero((p < 1e-290) & np.isnan(told)):
        text = str(columns.table["p"][int(rows[j])].as_py())
        parts = re.fullmatch(r"\s*\"?(\d+\.?\d*|\.\d+)[eE](-\d+)\"?\s*", text)
        found[j] = -np.log10(float(parts[1])) - int(parts[2]) if parts and float(parts[1]) > 0 else np.nan
    return found


def z_of(log10_p: Array) -> Array:
    """|Z| of a two-sided p value, from -log10 p: no underflow."""
    from scipy.special import ndtri_exp

    return np.asarray(-ndtri_exp(-log10_p * np.log(10) - np.log(2)))


def _derived(columns: Columns, rows: Array, beta: Array, z: Array, log10_p: Array, odds: Array) -> Array:
    """Return standard errors from an interval, Z or the p value, the surest first.

    Raises
    ------
    InputError
        If p values are needed, and many are above 1.
    """
    found = np.full(len(rows), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        if columns.has("low") and columns.has("high"):
            low, high = columns.numbers("low", rows), columns.numbers("high", rows)
            logs = np.log(low), np.log(high)
            off, of_logs = (np.abs(one + other - 2 * beta) for one, other in ((low, high), logs))
            ratios = np.isfinite(of_logs) & (of_logs < off)  # an effect is in the middle of its interval
            found = np.where(ratios, logs[1] - logs[0], high - low) / (2 * 1.959963984540054)
            _told_of_intervals(columns, ratios & ~odds, "odds ratios, beside effects")
            _told_of_intervals(columns, ~ratios & odds & np.isfinite(found), "logarithms, beside odds ratios")
        needed = ~np.isfinite(found) & ~(np.abs(z) > 0)
        if needed.any() and columns.has("p") and not columns.has("log10_p"):
            _refuse_p_above_one(columns, rows[needed])
        for by in (np.abs(z), z_of(log10_p)):
            own = np.abs(beta) / by
            found = np.where(np.isfinite(found), found, np.where(by > 0, own, np.nan))
    return np.where(found > 0, found, np.nan)


def _told_of_intervals(columns: Columns, some: Array, what: str) -> None:
    if some.any():
        columns.notes.append(f"{columns.path.name}: {some.sum()} intervals are of {what}, by their middles")


def _of_log_odds(
    columns: Columns, rows: Array, ratio: Array, beta: Array, se: Array, z: Array, log10_p: Array
) -> Array:
    """Return standard errors of log odds, which those beside odds ratios are unless Z, p values or intervals differ."""
    by = np.where(np.isnan(z), z_of(log10_p), np.abs(z))
    with np.errstate(divide="ignore", invalid="ignore"):
        own, least = np.where(by > 0.5, np.abs(beta) / by, np.nan), 3
        what = "p values"
        if (np.isfinite(own) & (se > 0)).sum() < least and columns.has("low") and columns.has("high"):
            none = np.full(len(rows), np.nan)
            own, least = _derived(columns, rows, beta, none, none, np.ones(len(rows), dtype=bool)), 1
            what = "intervals"
        usable = np.isfinite(own) & (se > 0)
        if usable.sum() < least:
            columns.notes.append(
                f"{columns.path.name}: standard errors beside odds ratios are taken for those of their logarithms; too "
                "few p values, and no intervals, tell"
            )
            return se
        of_logs = np.median(np.abs(np.log(own[usable] / se[usable])))
        of_ratios = np.median(np.abs(np.log(own[usable] / (se / ratio)[usable])))
    if of_ratios < of_logs - 0.02 and (what == "p values" or of_ratios < 0.1):
        columns.notes.append(
            f"{columns.path.name}: standard errors are of odds ratios, by their {what}; divided by these"
        )
        return np.divide(se, ratio, out=np.full_like(se, np.nan), where=ratio > 0)
    return se


def _of_z(columns: Columns, z: Array, se: Array, frequency: Array, samples: Array) -> tuple[Array, Array]:
    """Effects from Z and standard errors; else in standard deviations of the trait, by frequency and sample size.

    These are after Zhu et al. (2016).
    """
    if columns.has("se"):
        columns.notes.append(f"{columns.path.name}: effects follow from Z and standard errors")
        return z * se, se
    if not (columns.has("frequency") and (columns.has("samples") or columns.size)):
        raise InputError(
            f"{columns.path}: there is Z but no effect; standard errors, or frequencies and sample sizes, are needed "
            "to make effects of it. Give them, or a column of effects."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        se = 1 / np.sqrt(2 * frequency * (1 - frequency) * (samples + z**2))
    columns.notes.append(f"{columns.path.name}: effects follow from Z, in standard deviations of the trait")
    return z * se, se


def _filled(columns: Columns, rows: Array, beta: Array) -> Array:
    """Fill effects that are missing by the logarithms of odds ratios; return which."""
    ratio = columns.numbers("odds_ratio", rows)
    some = np.isnan(beta) & (ratio > 0)
    beta[some] = np.log(ratio[some])
    if some.any():
        columns.notes.append(
            f"{columns.path.name}: {some.sum()} effects that are missing are the logarithms of odds ratios"
        )
    return np.asarray(some)


def _refuse_logarithms(columns: Columns, ratio: Array) -> None:
    """Refuse a column of odds ratios many of which are negative."""
    below = (ratio < 0).sum()
    if below >= max(2, 0.2 * len(ratio)):
        raise InputError(
            f"{columns.path}: column {columns.used['odds_ratio']!r} is taken for odds ratios, but {below} of "
            f"{len(ratio)} are negative, as logarithms are. Give {option('scale', 'beta')} if it holds these, or "
            f"{option('scale', 'odds_ratio')} to leave such rows out."
        )


def _refuse_p_above_one(columns: Columns, rows: Array) -> None:
    """Refuse a column of p values many of which are above 1 where standard errors are to follow from them."""
    above = (columns.numbers("p", rows) > 1).sum()
    if above >= max(2, 0.2 * len(rows)):
        raise InputError(
            f"{columns.path}: column {columns.used['p']!r} is taken for p values, but {above} of {len(rows)} are above "
            "1, as -log10 of them are. If it holds these, call it neg_log10_p; else correct it, or add standard errors."
        )


def _suspect(columns: Columns, beta: Array, se: Array, log10_p: Array) -> None:
    """Say so where effects look like odds ratios: all positive and about 1, or by their p values."""
    known = beta[np.isfinite(beta)]
    if not len(known) or not (known > 0).all():
        return
    low, middle = float(known.min()), float(np.median(known))
    # some on either side of 1; or none below it, of alleles that raise the risk
    looks = len(known) >= 5 and 0.5 < middle < 2 and (low < 1 < known.max() or (low >= 1 and middle < 1.6))
    z = z_of(log10_p)
    with np.errstate(divide="ignore", invalid="ignore"):
        usable = np.isfinite(z) & (z > 0.5) & np.isfinite(beta) & (se > 0)
        if usable.sum() >= 3:  # p values tell
            as_told = np.median(np.abs(np.log(beta[usable] / se[usable] / z[usable])))
            of_logs = np.median(np.abs(np.log(np.abs(np.log(beta[usable])) / se[usable] / z[usable])))
            looks = bool(of_logs < 0.2 and of_logs < as_told - 0.2) or (looks and as_told > 0.2)
    if looks:
        name = columns.used["beta"]
        warn(
            f"{columns.path}: column {name!r} looks like odds ratios (all of {len(known)} are positive, about "
            f"{middle:.3g}), but is taken as it is. Give {option('scale', 'odds_ratio')} for its logarithm, or "
            f"{option('scale', 'beta')}.",
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
            f"them by up to {np.nanmax(off[far]):.1f} orders of magnitude (rounded?); the former are taken"
        )
