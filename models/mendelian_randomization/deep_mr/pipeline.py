"""A causal effect for each sequence, and over all of them: confidence interval of the mean, prediction of a new one."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.settings import only_with

from ..medians import weighted_median
from ..meta import MetaAnalysis, meta_analysis
from ..profiled import HeterogeneityWarning, divw, maximum_likelihood
from ..regression import egger, ivw
from .effects import Effects, effects, member_numbers
from .mutagenesis import Mutagenesis, mutagenise

LOCAL: dict[str, Callable[..., Any]] = {
    "ivw": ivw,
    "egger": egger,
    "divw": divw,
    "maximum_likelihood": maximum_likelihood,
    "weighted_median": partial(weighted_median, iterations=300),
}
LEAST = {"ivw": 2, "egger": 3, "divw": 2, "maximum_likelihood": 2, "weighted_median": 3}

CORRELATED = ("divw", "maximum_likelihood")
"""Methods that take the covariance of a substitution's two errors into account."""


@dataclass(frozen=True)
class LocalEffects:
    """Causal effects of k sequences.

    Attributes
    ----------
    estimate, se : ndarray, shape (k,)
    sequence : ndarray of int, shape (k,)
        Those with instruments enough.
    instruments : ndarray of int, shape (k,)
    """

    estimate: Array
    se: Array
    sequence: Array
    instruments: Array


@dataclass(frozen=True)
class DeepMR:
    """Causal effect of one output on another, over sequences.

    Attributes
    ----------
    estimate, se : float
    ci : tuple of float
        Of the mean effect: how well it is known.
    prediction_interval : tuple of float
        Where the effect in a new sequence lies: heterogeneity included.
    tau2 : float
        Variance of effects between sequences.
    between_members : float
        Standard deviation of the global estimates by single members. Their errors are shared by all sequences, so
        averaging over sequences does not remove them; ``se`` holds it.
    local : LocalEffects
    meta : MetaAnalysis
        Of the local effects alone, as the paper has it: without what members share.
    """

    estimate: float
    se: float
    ci: tuple[float, float]
    prediction_interval: tuple[float, float]
    tau2: float
    between_members: float
    local: LocalEffects
    meta: MetaAnalysis


def local_effects(found: Effects, method: str = "ivw", least: int | None = None) -> LocalEffects:
    """Estimate the causal effect in each sequence.

    Parameters
    ----------
    found : Effects
    method : {"ivw", "egger", "divw", "maximum_likelihood", "weighted_median"}
        The last goes by the majority of a sequence's instruments: right where those that act on the outcome in other
        ways are the lesser part. "divw" and "maximum_likelihood" correct for the exposure's errors, and for their
        covariance with the outcome's: the same networks predict both. The others, for strong instruments, do not. With
        few members the correction is a rough one: covariance and weights are estimates from the same E, and it falls
        short by about 2 / (E - 1).
    least : int, optional
        Substitutions that a sequence needs.

    Returns
    -------
    LocalEffects

    Raises
    ------
    InputError
        If the method is not known, no sequence has enough instruments, or the method fails on one.
    """
    if method not in LOCAL:
        raise InputError(f"deep_mr: method={method!r} is not known; use one of {', '.join(LOCAL)}.")
    needed = max(LEAST[method], least or 0)
    rows: list[tuple[float, float, int, int]] = []
    for sequence in np.unique(found.sequence):
        some = found.take(found.sequence == sequence)
        if len(some) < needed or not some.x.any():
            continue
        one = _estimated(some, method, int(sequence))
        rows.append((one.estimate, one.se, int(sequence), len(some)))
    if not rows:
        raise InputError(
            f"deep_mr: no sequence has {needed} instruments. Lower the threshold, or mutate more sequences."
        )
    estimate, se, index, count = (np.array(column) for column in zip(*rows, strict=True))
    return LocalEffects(estimate, se, index, count)


def _estimated(some: Effects, method: str, sequence: int) -> Any:
    """Estimate the effect in a sequence from its substitutions."""
    more = {"covariance": some.covariance} if method in CORRELATED else {}
    try:
        with warnings.catch_warnings():  # said of each sequence, it would be of no use
            warnings.simplefilter("ignore", HeterogeneityWarning)
            one = LOCAL[method](some.x, some.se_x, some.y, some.se_y, **more)
    except InputError as error:
        raise InputError(f"deep_mr: method {method!r} fails on sequence {sequence}. {error}") from error
    if not np.isfinite([one.estimate, one.se]).all() or one.se <= 0:
        raise InputError(
            f"deep_mr: {method} gives sequence {sequence} the effect {one.estimate:g} with standard error {one.se:g}, "
            f"from {len(some)} substitutions. Leave the sequence out, or use another method."
        )
    return one


def deep_mr(
    ensemble: Any,
    sequences: Array | None,
    exposure: int,
    outcome: int,
    *,
    method: str = "ivw",
    error: str = "mean",
    variances: str = "own",
    instruments: float | None = None,
    select: Sequence[int] | None = None,
    members: str = "bagged",
    window: tuple[int, int | None] | None = None,
    chunk: int | None = None,
    level: float = 0.95,
    **options: Any,
) -> DeepMR:
    """Estimate the causal effect of an ensemble's output on another one.

    Parameters
    ----------
    ensemble : object
        As :func:`mutagenise` takes it; or a :class:`Mutagenesis`, with ``sequences`` None.
    sequences : ndarray, shape (N, 4, L)
    exposure, outcome : int
        Outputs.
    method : {"ivw", "egger", "divw", "maximum_likelihood", "weighted_median"}
        Of each sequence's effect.
    error, variances, instruments, select
        Of :func:`effects`.
    members : {"bagged", "same_data", "ignore"}
        What members' disagreement on the global effect says: "bagged" members, each trained on a bootstrap sample of
        the data, differ by as much as the whole ensemble would on new data; members trained on the same data differ by
        their starts, which averaging reduces (sd / sqrt(E)); or leave it out of the interval, as the paper does.
    window : (int, int or None), optional
        Positions to mutate; default: all. Not with a :class:`Mutagenesis`, nor is ``chunk``.
    chunk : int, optional
        Of :func:`mutagenise`.
    level : float
        Of the intervals.
    **options
        More of :func:`effects`.

    Returns
    -------
    DeepMR

    Raises
    ------
    InputError
        If fewer than two sequences have instruments, sequences are given with a :class:`Mutagenesis` or lack without
        one, or an option is not known.
    """
    from scipy.stats import t

    if members not in ("bagged", "same_data", "ignore"):
        raise InputError(f"deep_mr: members={members!r} is not known; use bagged, same_data or ignore.")
    if isinstance(ensemble, Mutagenesis):
        if sequences is not None:
            raise InputError("deep_mr: sequences would be dropped: a Mutagenesis has its own. Give None instead.")
        only_with("deep_mr", "an ensemble that is still to be run", False, window=window, chunk=chunk)
        found = ensemble
    else:
        if sequences is None:
            raise InputError("deep_mr: give the sequences to mutate.")
        start, stop = window or (0, None)
        how = {} if chunk is None else {"chunk": chunk}
        found = mutagenise(ensemble, sequences, start=start, stop=stop, **how)
    some = effects(
        found, exposure, outcome, error=error, variances=variances, instruments=instruments, select=select, **options
    )
    local = local_effects(some, method)
    if len(local.estimate) < 2:
        raise InputError("deep_mr: one sequence only has instruments; its effect is local_effects(...). Give more.")
    whole = meta_analysis(local.estimate, local.se**2, level=level)
    selecting = [] if select is None else member_numbers(select, len(found.delta), "select")
    using = [e for e in range(len(found.delta)) if e not in selecting]
    # a member's errors are those of one, not of the mean over members
    wider = len(using) if error == "mean" else 1
    single = replace(some, se_x=some.se_x * wider**0.5, se_y=some.se_y * wider**0.5, covariance=some.covariance * wider)
    alone = np.array([_alone(found, single, e, exposure, outcome, local, method) for e in using])
    spread = float(alone.std(ddof=1)) if len(using) > 1 else float("nan")
    shared = {"bagged": spread**2, "same_data": spread**2 / len(using), "ignore": 0.0}[members]
    variance = whole.se**2 + shared
    # Satterthwaite: E - 1 degrees of freedom for what members share, k - 1 for the sequences
    k = len(local.estimate)
    degrees = variance**2 / (whole.se**4 / (k - 1) + shared**2 / max(len(using) - 1, 1))
    reach = float(t(degrees).ppf(0.5 + level / 2))
    se = float(np.sqrt(variance))
    wide = float(np.hypot(se, np.sqrt(whole.tau2)))
    return DeepMR(
        whole.mu,
        se,
        (whole.mu - reach * se, whole.mu + reach * se),
        (whole.mu - reach * wide, whole.mu + reach * wide),
        whole.tau2,
        spread,
        local,
        whole,
    )


def _alone(
    found: Mutagenesis, some: Effects, member: int, exposure: int, outcome: int, local: LocalEffects, method: str
) -> float:
    """Global effect by one member: its effects in the same sequences, by the same method, averaged as the whole's."""
    N, _, W = found.alternative.shape
    place = _place(found, some)
    dx, dy = (found.delta[member, ..., t].reshape(N * 3 * W)[place] for t in (exposure, outcome))
    meta = meta_analysis(local.estimate, local.se**2)
    share = 1 / (local.se**2 + meta.tau2)
    own = replace(some, x=dx, y=dy)
    total = weight = 0.0
    for sequence, part in zip(local.sequence, share, strict=True):
        one = own.take(own.sequence == sequence)
        if one.x.any():
            total += part * _estimated(one, method, int(sequence)).estimate
            weight += part
    return total / weight


def _place(found: Mutagenesis, some: Effects) -> Array:
    """Where the substitutions stand in a flattened (N, 3, W)."""
    _, _, W = found.alternative.shape
    position = some.position - found.start
    row = (found.alternative[some.sequence, :, position] == some.alternative[:, None]).argmax(1)
    return np.asarray((some.sequence * 3 + row) * W + position)
