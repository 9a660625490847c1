"""From raw effects of substitutions to summary statistics: means over members, errors, covariance, instruments."""

import operator
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.settings import only_with

from .moderation import moderated
from .mutagenesis import Mutagenesis

VARIANCES = ("own", "moderated")


@dataclass(frozen=True)
class Effects:
    """Summary statistics of J substitutions.

    Attributes
    ----------
    x, se_x, y, se_y : ndarray, shape (J,)
        Effects on exposure and outcome, and their standard errors.
    covariance : ndarray, shape (J,)
        Of the two errors.
    sequence, position, alternative : ndarray of int, shape (J,)
        Where the substitution is, and the base put in.
    """

    x: Array
    se_x: Array
    y: Array
    se_y: Array
    covariance: Array
    sequence: Array
    position: Array
    alternative: Array

    def __len__(self) -> int:
        return len(self.x)

    def take(self, some: Array) -> "Effects":
        """Return some of the substitutions."""
        return Effects(*(getattr(self, name)[some] for name in self.__dataclass_fields__))

    def data(self) -> Mapping[str, Any]:
        """Return the data of ``genarium.fit("mendelian_randomization", ...)``; regions are the sequences left."""
        _, region = np.unique(self.sequence, return_inverse=True)
        return {
            "beta_exposure": self.x,
            "se_exposure": self.se_x,
            "beta_outcome": self.y,
            "se_outcome": self.se_y,
            "error_covariance": self.covariance,
            "region": region,
            "signs_given": 1,  # of mutants less their sequence
        }


def effects(
    found: Mutagenesis,
    exposure: int,
    outcome: int,
    *,
    error: str = "mean",
    variances: str = "own",
    members: Sequence[int] | None = None,
    instruments: float | None = None,
    select: Sequence[int] | None = None,
    factor: tuple[float, float] = (1.0, 1.0),
    floor: float = 0.0,
    saturated: str = "drop",
) -> Effects:
    """Summarise the members' effects.

    Parameters
    ----------
    found : Mutagenesis
        With E members.
    exposure, outcome : int
        Outputs.
    error : {"mean", "member"}
        Standard error of the ensemble's mean (sd / sqrt(E)), or of a single member's prediction (sd, as the paper has
        it). Both with E - 1 in the sd's denominator.
    variances : {"own", "moderated"}
        Variances over members as they are, or drawn towards those of effects of the same size (:func:`moderated`):
        better for a handful of members.
    members : sequence of int, optional
        Those that estimate. Default: all, or all but ``select``.
    instruments : float, optional
        Keep substitutions whose F statistic of the exposure is at least this.
    select : sequence of int, optional
        Members that choose the ``instruments``, and only with these; must not be among those that estimate, or the
        winner's curse is back.
    factor : (float, float)
        Of the standard errors, from held-out data: :func:`factor_of`, or :meth:`Calibration.moments` if sds are of many
        members.
    floor : float
        Least standard error of either effect, for members that agree to the last digit.
    saturated : {"drop", "keep"}
        What to do with substitutions whose effect on either output a member predicts from or to a limit of its scale
        (a probability of 1, as its type of number holds it): such an effect is cut off. They are left out with a
        warning that says how many.

    Returns
    -------
    Effects
        Flattened in the order sequence, alternative, position.

    Raises
    ------
    InputError
        If an option is not known or out of its range, fewer than two members estimate, or one both selects and
        estimates.
    """
    E = len(found.delta)
    if error not in ("mean", "member"):
        raise InputError(f"deep_mr: error={error!r} is not known; use mean or member.")
    if variances not in VARIANCES:
        raise InputError(f"deep_mr: variances={variances!r} is not known; use {' or '.join(VARIANCES)}.")
    for name, least in (("instruments", instruments), ("floor", floor)):
        if least is not None and not 0 <= least < np.inf:
            raise InputError(f"deep_mr: {name}={least:g} must be zero or more, and finite.")
    only_with("deep_mr", "instruments=", instruments is not None, select=select)
    chosen = list(range(E)) if members is None else member_numbers(members, E, "members")
    if select is not None:
        select = member_numbers(select, E, "select")
        if members is None:
            chosen = [e for e in chosen if e not in select]
        if both := sorted(set(chosen) & set(select)):
            raise InputError(f"deep_mr: member {both[0]} both selects instruments and estimates. Use disjoint members.")
    if len(chosen) < 2:
        raise InputError(
            f"deep_mr: {len(chosen)} of {E} networks estimate{'s' * (len(chosen) == 1)}, but standard errors come from "
            "the disagreement of two or more. Give more networks of the same kind."
        )
    N, _, W = found.alternative.shape
    how = (exposure, outcome, error, variances, factor, floor)
    keep = _resolved(found, [exposure, outcome], [*chosen, *(select or [])], saturated)
    flat = found.delta.reshape(E, N * 3 * W, -1)[:, keep]
    x, sx, y, sy, c = _moments(flat[chosen], *how)
    limit = (1 - 1e-9) * sx * sy
    shape = np.broadcast_shapes((N, 3, W))
    sequence, alternative, position = (np.broadcast_to(a, shape).ravel()[keep] for a in np.ogrid[:N, :3, :W])
    out = Effects(
        x,
        sx,
        y,
        sy,
        np.clip(c, -limit, limit),
        sequence,
        position + found.start,
        found.alternative[sequence, alternative, position],
    )
    if instruments is None:
        return out
    if select is not None:
        x, sx, *_ = _moments(flat[select], *how)
    return out.take((x / sx) ** 2 >= instruments)


def _resolved(found: Mutagenesis, outputs: list[int], members: list[int], saturated: str) -> Array:
    """Return which substitutions, in their flattened order, no member predicts at a limit of the scale."""
    if saturated not in ("drop", "keep"):
        raise InputError(f"deep_mr: saturated={saturated!r} is not known; use drop or keep.")
    every = np.ones(found.alternative.size, dtype=bool)
    if found.saturated is None or saturated == "keep":
        return every
    keep = ~found.saturated[members][..., outputs].any((0, -1)).ravel()
    if not keep.any():
        raise InputError(
            "deep_mr: a network predicts every substitution at a limit of its scale (a probability of 0 or 1). Take "
            "its output before the last activation."
        )
    if not keep.all():
        warnings.warn(
            f"deep_mr: {(~keep).sum()} of {keep.size} substitutions are left out: a member's prediction is at a limit "
            "of its scale (a probability of 0 or 1), where an effect is cut off",
            stacklevel=3,
        )
    return keep


def member_numbers(given: Sequence[int], E: int, option: str) -> list[int]:
    """Check members: whole numbers, from the end where negative, each once."""
    chosen = [operator.index(e) for e in given]
    for at, e in enumerate(chosen):
        if not -E <= e < E:
            raise InputError(f"deep_mr: {option}[{at}] is {e}, but there are {E} members, 0 to {E - 1}. Correct it.")
    chosen = [e % E for e in chosen]
    twice = [e for at, e in enumerate(chosen) if e in chosen[:at]]
    if twice:
        raise InputError(f"deep_mr: {option} names member {twice[0]} twice. Name each once.")
    return chosen


def _moments(
    delta: Array,
    exposure: int,
    outcome: int,
    error: str,
    variances: str,
    factor: tuple[float, float],
    floor: float,
) -> tuple[Array, Array, Array, Array, Array]:
    """Means, standard errors and covariance over members of (E, J, T)."""
    E = len(delta)
    if E < 2:
        raise InputError(f"deep_mr: {E} members; standard errors need two or more.")
    dx, dy = delta[..., exposure], delta[..., outcome]
    x, y = dx.mean(0), dy.mean(0)
    share = E if error == "mean" else 1
    c = ((dx - x) * (dy - y)).sum(0) / (E - 1) / share * factor[0] * factor[1]
    standard = []
    for d, size, by in ((dx, x, factor[0]), (dy, y, factor[1])):
        se = np.maximum(d.std(0, ddof=1) / np.sqrt(share) * by, floor)
        if not (se > 0).all():
            raise InputError(
                "deep_mr: the members agree exactly on a substitution, which has no standard error. Pass floor=."
            )
        standard.append(se)
        if variances == "moderated":
            standard[-1] = np.sqrt(moderated(se**2, size, E - 1))
            c *= standard[-1] / se  # the correlation stays
    sx, sy = standard
    return x, sx, y, sy, c
