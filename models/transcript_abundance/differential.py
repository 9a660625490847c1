"""Differential abundance and usage between two conditions, the uncertainty of the quantification carried through.

Equation numbers refer to the card (README.md). Sizes: N samples, R replicates, F features, P columns of the design.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import absent, listed
from genarium.remedies import flag

from .cohort import feature, replicates_of
from .genes import genes_by_transcript
from .shrinkage import CENTRES, SPREADS, WIDTHS, shrink

LN2 = float(np.log(2))

ONCE, TWICE = 0.5, 1.0
"""Reads added before logarithms, so that these are centred: to counts, and to replicates, noisy twice (eq. 31)."""


def differential(
    cohort: xr.Dataset,
    condition: str | Sequence[Any],
    *,
    covariates: Sequence[str] | Mapping[str, Sequence[Any]] = (),
    between: Sequence[str] = (),
    by: Literal["abundance", "usage"] = "abundance",
    gene_of: Mapping[str, str] | None = None,
    ignore_version: bool = False,
    least: float = 10.0,
    probability: float = 0.9,
) -> xr.Dataset:
    """Compare two conditions, feature by feature (eqs. 31 to 35).

    Parameters
    ----------
    cohort : Dataset
        Transcripts or genes of many samples (:func:`cohort`, :func:`genes`); ``replicates`` say how sure counts are.
        Without them only the noise of counting is known.
    condition : str or sequence
        The coordinate of the samples, or its values; the change is from the first of two in order to the second.
    covariates : names, or mapping of name to values
        What else differs between samples: numbers enter as they are, words as an indicator of each but the first.
    between : sequence of str
        The two values of the condition that are compared, the change being from the first to the second; other samples
        are left out.
    by : {"abundance", "usage"}
        Whether it is the abundance that is compared, or a transcript's share in its gene.
    gene_of : mapping
        Genes of the transcripts; only for usage.
    ignore_version : bool
        Whether to cut off versions of the transcripts' names where genes are looked up.
    least : float
        Reads that a feature must have in at least as many samples as the smaller condition has.
    probability : float
        Of the intervals.

    Returns
    -------
    Dataset
        By feature: posterior mean, sd and interval of ``log2_fold_change``; ``lfsr`` (local false sign rate), ``lfdr``
        (probability of no change), ``q_value`` (mean lfdr of all features that are at least as sure), ``log2_mean`` and
        ``inferential_sd`` (log2). Attributes: the weights of both mixtures.

    Raises
    ------
    InputError
        Of a condition without two values, fewer than two samples of one, a design in which it cannot be told apart, or
        a sample without reads.
    """
    cohort, X, second, levels = compared(cohort, condition, covariates, between)
    dim = feature(cohort)
    counts = cohort["counts"].to_numpy().astype(float)
    if not counts.any(1).all():
        empty = [str(name) for name in cohort["sample"].to_numpy()[~counts.any(1)]]
        raise InputError(f"samples without any reads cannot be compared: {listed(empty, 3)}. Leave them out.")
    smaller = int(min(second.sum(), (~second).sum()))
    keep = (counts >= least).sum(0) >= smaller
    groups = _groups(cohort, by, gene_of, ignore_version, keep)
    keep &= groups >= 0
    if keep.sum() < 2:
        alike = " and another such transcript of their gene" if by == "usage" else ""
        raise InputError(f"{int(keep.sum())} features have {least:g} reads in {smaller} samples{alike}. Lower `least`.")
    told = cohort.isel({dim: np.flatnonzero(keep)})
    total = _totals(cohort, groups, keep) if by == "usage" else None
    y, v, mean = _measured(told, counts[:, keep], size_factors(counts[:, keep]), total)
    v = by_feature_and_sample(v)
    fitted = shrink(y, v, X, probability)
    columns = {name: (dim, values) for name, values in fitted.columns().items()}
    columns |= {"log2_mean": (dim, mean), "inferential_sd": (dim, np.sqrt(v.mean(0)))}
    attrs = {
        "effect_mean": CENTRES,
        "effect_sd": WIDTHS,
        "effect_weight": fitted.effect_weight,
        "spread_sd": SPREADS,
        "spread_weight": fitted.spread_weight,
        "left_out": int((~keep).sum()),
        "by": by,
        "between": [str(level) for level in levels],
        "samples": [int((~second).sum()), int(second.sum())],
    }
    return xr.Dataset(columns, {dim: told[dim]}, attrs)


def compared(
    cohort: xr.Dataset, condition: Any, covariates: Any = (), between: Sequence[str] = ()
) -> tuple[xr.Dataset, Array, Array, Array]:
    """Return the samples that are compared, their design, which of them are of the second condition, and both names.

    Parameters
    ----------
    cohort : Dataset
    condition, covariates, between
        As of :func:`differential`.

    Returns
    -------
    cohort : Dataset
    X : ndarray, shape (N, P)
        The condition's indicator is the last column.
    second : ndarray of bool, shape (N,)
    levels : ndarray, shape (2,)

    Raises
    ------
    InputError
    """
    values = _values(cohort, condition)
    named = covariates if isinstance(covariates, Mapping) else {name: _values(cohort, name) for name in covariates}
    named = {name: np.asarray(given) for name, given in named.items()}
    for name, given in (("condition", values), *named.items()):
        if given.shape != (cohort.sizes["sample"],):
            raise InputError(
                f"{name} has shape {given.shape}, but there are {cohort.sizes['sample']} samples. Give one for each."
            )
    values = _plain(values)
    levels = np.unique(values)
    if between:
        text = np.array([str(value) for value in values])
        for level in between:
            if level not in text:
                raise absent("between", "condition", level, np.unique(text))
        if len(set(between)) != 2 or len(between) != 2:
            raise InputError(f"between={list(between)} must be two different values of the condition.")
        some = np.flatnonzero(np.isin(text, list(between)))
        cohort, values, levels = cohort.isel(sample=some), text[some], np.array(list(between))
        named = {name: column[some] for name, column in named.items()}
    named = {name: _plain(column) for name, column in named.items()}
    for name, given in (("condition", values), *named.items()):
        lacking = given == "" if given.dtype.kind == "U" else ~np.isfinite(given.astype(float))
        if lacking.any():
            at = cohort["sample"].to_numpy()[lacking]
            raise InputError(
                f"{name} is missing or not finite in {len(at)} samples ({listed(list(map(str, at)), 3)}). Fill it in, "
                "or leave these samples or this column out."
            )
    if len(levels) != 2:
        raise InputError(
            f"the condition has {len(values)} values for {cohort.sizes['sample']} samples, {len(levels)} of them "
            f"different ({listed(levels, 6)}). Give one for each sample, of two kinds; of more, say which two to "
            f"compare ({flag('between')})."
        )
    second = values == levels[1]
    if min(second.sum(), (~second).sum()) < 2:
        raise InputError("one of the conditions has fewer than two samples: what differs within it cannot be learned.")
    columns = [np.ones(len(values))]
    for column in named.values():
        if column.dtype.kind in "fiu":
            columns.append(column - column.mean())
        else:
            columns.extend((column == level).astype(float) for level in np.unique(column)[1:])
    X = np.column_stack([*columns, second.astype(float)])
    if np.linalg.matrix_rank(X) < X.shape[1]:
        raise InputError("the covariates tell the condition already, or one another: leave one of them out.")
    if len(X) <= X.shape[1]:
        raise InputError(f"{len(X)} samples do not suffice for {X.shape[1]} coefficients. Leave covariates out.")
    return cohort, X, second, levels


def _plain(values: Array) -> Array:
    """Return numbers as they are, and all else as text, empty where it is missing."""
    if values.dtype.kind in "fiub":
        return values
    return np.array(["" if v is None or v != v else str(v) for v in values.tolist()])


def _values(cohort: xr.Dataset, name: Any) -> Array:
    if not isinstance(name, str):
        return np.asarray(name)
    known = [str(n) for n, v in cohort.coords.items() if v.dims == ("sample",) and n != "sample"]
    if name not in known:
        raise absent("the samples", "column", name, known)
    return cohort[name].to_numpy()


def _groups(cohort: xr.Dataset, by: str, gene_of: Mapping[str, str] | None, ignore_version: bool, keep: Array) -> Array:
    """Return the number of each feature's gene; -1 for one that has no say in usage."""
    if by == "abundance":
        return np.zeros(len(keep), dtype=np.int64)
    if gene_of is None:
        raise InputError("usage is a transcript's share in its gene: give gene_of.")
    gene, said = genes_by_transcript(cohort, gene_of, ignore_version=ignore_version)
    if said:
        warnings.warn(said, stacklevel=3)
    _, number = np.unique(gene, return_inverse=True)
    several = np.bincount(number[keep], minlength=number.max() + 1) > 1
    return np.where((gene != "") & several[number], number, -1)


def size_factors(counts: Array) -> Array:
    """Return size factors (N,), of geometric mean one: medians of ratios to the features' geometric means."""
    log = np.log(counts + 0.5)
    factor = np.median(log - log.mean(0), axis=1)
    return np.asarray(np.exp(factor - factor.mean()))


def _totals(cohort: xr.Dataset, groups: Array, keep: Array) -> list[Array]:
    """Return the reads of the gene of each transcript that is compared, by sample (R or 1, F).

    All transcripts of a gene count, and what is added to each that is compared.
    """
    drawn, counts = replicates_of(cohort), cohort["counts"].to_numpy()
    some, size = np.flatnonzero(groups >= 0), int(groups.max()) + 1
    added = (ONCE if drawn is None else TWICE) * np.bincount(groups[keep], minlength=size)
    out = []
    for s in range(len(counts)):
        each = (counts[s][None] if drawn is None else drawn[s])[:, some].astype(float)
        out.append(np.stack([np.bincount(groups[some], row, size) + added for row in each])[:, groups[keep]])
    return out


def _measured(
    cohort: xr.Dataset, counts: Array, factor: Array, total: list[Array] | None
) -> tuple[Array, Array, Array]:
    """Return log2 abundances or shares (N, F), their variances (N, F), and mean log2 counts (F,) (eq. 31)."""
    drawn = replicates_of(cohort)
    added = ONCE if drawn is None else TWICE
    y, v = np.empty_like(counts), np.empty_like(counts)
    for s in range(len(counts)):
        c = counts[s][None] if drawn is None else drawn[s].astype(float)
        log = np.log2((c + added) / factor[s])
        shot = 1 / (counts[s] + 0.5)
        if total is not None:
            log = np.log2((c + added) / total[s])
            shot = np.maximum(shot - 1 / total[s].mean(0), 1e-6)
        y[s] = log.mean(0)
        v[s] = np.maximum(log.var(0, ddof=1) if len(log) > 1 else 0.0, shot / LN2**2)
    if drawn is None:
        warnings.warn(
            "there are no replicates (bootstraps, Gibbs samples): only the noise of counting is allowed for.",
            stacklevel=3,
        )
    return y, v, np.log2((counts / factor[:, None]).mean(0) + 0.5)


def by_feature_and_sample(v: Array) -> Array:
    """Return variances (N, F) that follow the feature and the sample alone (eq. 31b).

    Those of single measurements follow the values: a sample in which a transcript happens to look absent has a large
    one. Weighed by these, the others would decide, and surer than they are.
    """
    mean = v.mean(0)
    of_sample = np.exp(np.log(v / mean).mean(1))
    return np.asarray(mean * (of_sample / of_sample.mean())[:, None])
