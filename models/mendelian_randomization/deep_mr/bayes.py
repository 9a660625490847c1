"""The generative model's global effect, with what all sequences' effects share in its interval."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .effects import Effects, effects
from .mutagenesis import Mutagenesis
from .pipeline import deep_mr


@dataclass(frozen=True)
class GlobalEffect:
    """Posterior of the mean effect over sequences.

    Attributes
    ----------
    mean, sd : float
    ci : tuple of float
    shared : float
        Standard deviation of what the networks' errors add to the effects of all sequences alike; in ``sd`` and ``ci``.
    draws : ndarray, shape (D,)
    """

    mean: float
    sd: float
    ci: tuple[float, float]
    shared: float
    draws: Array


def bayesian(
    found: Mutagenesis,
    exposure: int,
    outcome: int,
    *,
    members: str = "bagged",
    method: str = "ivw",
    strongest: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    **options: Any,
) -> GlobalEffect:
    """Fit the generative model to the strongest substitutions, and add what the members' errors share (eq. 22b).

    Parameters
    ----------
    found : Mutagenesis
    exposure, outcome : int
    members : {"bagged", "same_data", "ignore"}
        As of :func:`deep_mr`, whose global estimates by single members tell the variance that is shared.
    method : str
        Of :func:`deep_mr`, for what members share.
    strongest : int
        Substitutions that the model is fitted to, those with the largest effects on the exposure.
    level : float
    seed : int
    **options
        Of :func:`effects` (error, variances, instruments, factor, floor ...).

    Returns
    -------
    GlobalEffect

    Raises
    ------
    InputError
        If ``level`` is no proportion; and as :func:`deep_mr` and :func:`effects`.
    """
    from genarium import data, registry

    from ..gibbs import gibbs

    if not 0 < level < 1:
        raise InputError(f"deep_mr: level={level:g} must lie between 0 and 1.")
    whole = deep_mr(found, None, exposure, outcome, members=members, method=method, **options)
    some = effects(found, exposure, outcome, **options)
    some = _strongest(some, strongest)
    problem = data.check(registry.get("mendelian_randomization"), some.data())
    fit = gibbs(problem, np.random.default_rng(seed), chains=2, draws=500, tune=300)
    several = len(np.unique(some.sequence)) > 1
    draws = np.ravel(np.asarray(fit.posterior["global_effect" if several else "theta"]))
    E = len(found.delta) - len(options.get("select") or ())  # those that estimate
    shared = {
        "bagged": whole.between_members, "same_data": whole.between_members / E**0.5, "ignore": 0.0
    }[members]  # fmt: skip
    drawn = widened(draws, shared, E, np.random.default_rng(seed))
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    return GlobalEffect(float(drawn.mean()), float(drawn.std()), (float(low), float(high)), shared, drawn)


def widened(draws: Array, shared: float, members: int, rng: np.random.Generator) -> Array:
    """Add an error that all sequences share, whose variance E members tell: t of E - 1 degrees of freedom (eq. 22b)."""
    from scipy.special import stdtrit

    many = np.repeat(draws, 4)
    levels = (rng.permutation(len(many)) + 0.5) / len(many)  # quantiles themselves, for tails without chance
    return np.asarray(many + shared * stdtrit(max(members - 1, 1), levels))


def _strongest(some: Effects, count: int) -> Effects:
    return some.take(np.sort(np.argsort(-np.abs(some.x), kind="stable")[:count]))
