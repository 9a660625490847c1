"""One table: every estimator on the same variants, and what its assumptions can be checked by."""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.settings import generator

from .estimates import Variants, check_iterations, check_level, error_covariance, interval, numbers, variants
from .medians import contamination_mixture, weighted_median
from .modes import mode
from .outliers import presso
from .profiled import divw, maximum_likelihood, pivw
from .regression import egger, ivw, whitened
from .robust_score import raps


@dataclass(frozen=True)
class Row:
    """An estimate of the table.

    Attributes
    ----------
    method : str
    variants : int
        That it uses.
    estimate, se : float
        NaN where there is none: ``note`` says why.
    ci : tuple of float
    p_value : float
    note : str
        What it assumes beyond the others, or what was seen.
    """

    method: str
    variants: int
    estimate: float
    se: float
    ci: tuple[float, float]
    p_value: float
    note: str = ""


@dataclass(frozen=True)
class Steiger:
    """Direction: whether variants explain more of the exposure than of the outcome (Hemani et al. 2017).

    Attributes
    ----------
    r2_exposure, r2_outcome : float
        Share of each trait's variance that the variants explain.
    p_value : float
        Of their being the same.
    forward : bool
        Whether it is more of the exposure.
    """

    r2_exposure: float
    r2_outcome: float
    p_value: float
    forward: bool


@dataclass(frozen=True)
class MrTable:
    """Every estimator on the same variants.

    Attributes
    ----------
    rows : list of Row
    mean_f : float
        Mean F statistic of the instruments.
    heterogeneity : tuple of (str, float, int, float)
        Method, Q, degrees of freedom, p value: of IVW, and of Egger regression.
    pleiotropy : tuple of float, optional
        Egger's intercept, its standard error and p value.
    steiger : Steiger, optional
        Where sample sizes are known.
    without : list of Row
        IVW without each variant.
    names : tuple of str
    data : Variants
    level : float
        Of the intervals.
    """

    rows: list[Row]
    mean_f: float
    heterogeneity: tuple[tuple[str, float, int, float], ...]
    pleiotropy: tuple[float, float, float] | None
    steiger: Steiger | None
    without: list[Row]
    names: tuple[str, ...]
    data: Variants
    level: float = 0.95

    def __getitem__(self, method: str) -> Row:
        """Return the row of a method."""
        for row in self.rows:
            if row.method == method:
                return row
        raise InputError(
            f"mr_table: there is no method {method!r}; there are {', '.join(r.method for r in self.rows)}."
        )


def wald_ratio(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    covariance: ArrayLike = 0.0,
    weights: str = "simple",
    level: float = 0.95,
) -> Row:
    """Estimate from one variant: the ratio of its effects.

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (1,) or ()
    covariance : array_like
        Of the two errors; used by ``weights="delta"``.
    weights : {"simple", "delta"}
        Standard error to first order, s_y / |x|, or with the exposure's error.
    level : float

    Returns
    -------
    Row

    Raises
    ------
    InputError
        If there is more than one variant, it has no effect on the exposure, or its numbers cannot be used.
    """
    data = variants(beta_exposure, se_exposure, beta_outcome, se_outcome, 1)
    if len(data) != 1 or data.x[0] == 0:
        raise InputError("mendelian_randomization: the Wald ratio is of one variant, with an effect on the exposure.")
    ratio = float(data.ratio[0])
    variance = float(data.ratio_se(weights)[0]) ** 2
    if weights == "delta":
        variance -= 2 * ratio * float(error_covariance(data, covariance)[0]) / float(data.x[0]) ** 2
    se = variance**0.5
    ci, p_value = interval(ratio, se, level)
    return Row("Wald ratio", 1, ratio, se, ci, p_value)


def mr_table(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    covariance: ArrayLike = 0.0,
    names: Sequence[Any] | None = None,
    samples_exposure: ArrayLike | None = None,
    samples_outcome: ArrayLike | None = None,
    model: bool = True,
    iterations: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    correlation: ArrayLike | None = None,
) -> MrTable:
    """Estimate a causal effect by every method, with checks of their assumptions.

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
        One variant gives its Wald ratio; two IVW and the maximum of the likelihood; three or more every estimator.
    covariance : array_like, shape (J,) or ()
        Of the errors of a variant's two effects (overlapping samples): RAPS, dIVW, pIVW, maximum likelihood and the
        model take it into account.
    names : sequence, optional
        Of the variants.
    samples_exposure, samples_outcome : array_like, shape (J,) or (), optional
        Sample sizes: for the direction.
    model : bool
        Whether the Bayesian model is fitted, too: by variational Bayes with linear response, or Gibbs sampling where
        that cannot be corrected.
    iterations, seed : int
        Of bootstraps and of PRESSO's simulations (which has more where the number of variants asks for it).
    level : float
        Of the intervals.
    correlation : array_like, shape (J, J), optional
        Of the variants, signed by their effect alleles: the methods that take it are IVW, Egger regression and the
        model (design "linked"); the others, which need independent variants, are left out.

    Returns
    -------
    MrTable
        A method that fails has a row with the reason.

    Raises
    ------
    InputError
        If the summary statistics cannot be used, or names, covariances, correlations or sample sizes do not belong to
        them.
    """
    check_level(level)
    check_iterations(iterations)
    generator(seed)  # refuses what is no seed
    data = variants(beta_exposure, se_exposure, beta_outcome, se_outcome, 1)
    given = (data.x, data.sx, data.y, data.sy)
    c = error_covariance(data, covariance)
    J = len(data)
    labels = tuple(map(str, range(J) if names is None else names))
    if len(labels) != J:
        raise InputError(
            f"mr_table: there are {len(labels)} names for {J} variants. Give one for each, in their order."
        )
    matrix = None if correlation is None or J == 1 else numbers("correlation", correlation)
    direction = steiger(data, samples_exposure, samples_outcome, matrix)
    if J == 1:
        rows = [_row(lambda: wald_ratio(*given, covariance=c, level=level), "Wald ratio", 1)]
        return MrTable(rows, data.mean_f, (), None, direction, [], labels, data, level)
    if matrix is not None:
        return _correlated(given, c, matrix, labels, direction, model, seed, level)
    rows = []
    for method, run, least in _methods(given, c, iterations, seed, level):
        if least <= J:
            rows.append(_row(run, method, J, labels))
    if model and J >= 3:
        rows.append(_row(lambda: _bayes(given, c, seed, level), "Bayesian model", J))
    spread: list[tuple[str, float, int, float]] = []
    pleiotropy = None
    first = ivw(*given, level=level)
    spread.append(("IVW", first.Q, J - 1, first.Q_p))
    if J >= 3 and rows[1].method == "Egger" and np.isfinite(rows[1].estimate):
        tilted = egger(*given, level=level)
        spread.append(("Egger", tilted.Q, J - 2, tilted.Q_p))
        pleiotropy = tilted.intercept, tilted.intercept_se, tilted.intercept_p
    without = []
    if J >= 4:
        for j, name in enumerate(labels):
            rest = tuple(np.delete(part, j) for part in given)
            without.append(_row(partial(ivw, *rest, level=level), name, J - 1))
    return MrTable(rows, data.mean_f, tuple(spread), pleiotropy, direction, without, labels, data, level)


def _correlated(
    given: tuple[Array, Array, Array, Array],
    c: Array,
    R: Array,
    labels: tuple[str, ...],
    direction: "Steiger | None",
    model: bool,
    seed: int,
    level: float,
) -> MrTable:
    """Estimate by the methods that take correlated variants."""
    data = variants(*given, 2)
    J = len(data)
    methods: list[Method] = [
        ("IVW", lambda: ivw(*given, correlation=R, level=level), 3),
        ("Egger", lambda: egger(*given, correlation=R, level=level), 3),
        ("IVW (fixed)", lambda: ivw(*given, correlation=R, model="fixed", level=level), 3),
    ]
    rows = [_row(run, method, J) for method, run, least in methods if least <= J]
    if not rows:
        raise InputError(f"mr_table: {J} correlated variants are too few. Clump them, and leave correlations out.")
    if model:
        rows.append(_row(lambda: _linked(given, c, R, seed, level), "Bayesian model", J))
    first = ivw(*given, correlation=R, level=level)
    spread: list[tuple[str, float, int, float]] = [("IVW", first.Q, J - 1, first.Q_p)]
    pleiotropy = None
    if np.isfinite(rows[1].estimate):
        tilted = egger(*given, correlation=R, level=level)
        spread.append(("Egger", tilted.Q, J - 2, tilted.Q_p))
        pleiotropy = tilted.intercept, tilted.intercept_se, tilted.intercept_p
    return MrTable(rows, data.mean_f, tuple(spread), pleiotropy, direction, [], labels, data, level)


EFFECTS = ("beta_exposure", "se_exposure", "beta_outcome", "se_outcome")

Method = tuple[str, Callable[[], Any], int]


def _methods(
    given: tuple[Array, Array, Array, Array], c: Array, iterations: int, seed: int, level: float
) -> list[Method]:
    """Every estimator: its name, a call, and how many variants it needs."""
    J = len(given[0])
    own: dict[str, Any] = {"iterations": iterations, "seed": seed}
    enough = max(iterations, 40 * J)  # for the corrected p values of PRESSO
    return [
        ("IVW", lambda: ivw(*given, level=level), 2),
        ("Egger", lambda: egger(*given, level=level), 3),
        ("IVW (fixed)", lambda: ivw(*given, model="fixed", level=level), 2),
        ("Simple median", lambda: weighted_median(*given, weighting="simple", level=level, **own), 3),
        ("Weighted median", lambda: weighted_median(*given, level=level, **own), 3),
        ("Penalised median", lambda: weighted_median(*given, weighting="penalised", level=level, **own), 3),
        ("Weighted mode", lambda: mode(*given, level=level, **own), 3),
        ("Maximum likelihood", lambda: maximum_likelihood(*given, covariance=c, level=level), 2),
        ("dIVW", lambda: divw(*given, covariance=c, level=level), 3),
        ("pIVW", lambda: pivw(*given, covariance=c, level=level), 3),
        ("RAPS", lambda: raps(*given, covariance=c, level=level), 3),
        ("Contamination mixture", lambda: contamination_mixture(*given, level=level), 3),
        ("PRESSO", lambda: presso(*given, iterations=enough, seed=seed, level=level), 4),
    ]


NAMED = 5
"""Outliers that are named."""


def _row(run: Callable[[], Any], method: str, J: int, names: Sequence[str] = ()) -> Row:
    """Run an estimator; what it says of itself, or why it fails, is the row's note. Outliers are named by ``names``."""
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            one = run()
    except InputError as error:
        none = float("nan")
        return Row(method, J, none, none, (none, none), none, _without_source(str(error)))
    notes = [_without_source(str(w.message)) for w in told if issubclass(w.category, UserWarning)]
    if isinstance(one, Row):
        return Row(
            method, one.variants, one.estimate, one.se, one.ci, one.p_value, "; ".join([*notes, one.note]).strip("; ")
        )
    out = getattr(one, "outliers", ())
    left = len(out)
    if left:
        named = ", ".join(names[j] for j in out[:NAMED]) + (f" and {left - NAMED} more" if left > NAMED else "")
        notes.append(f"outliers: {named}; distortion {one.distortion:+.1%} (p {one.distortion_p:.2g})")
    if method == "PRESSO":
        notes.insert(0, f"global test p {one.global_p:.2g}")
    if len(getattr(one, "intervals", ())) > 1:
        notes.append(f"{len(one.intervals)} intervals: groups of variants disagree")
    if method == "RAPS" and one.roots:
        notes.append(f"{len(one.roots)} further roots")
    return Row(method, J - left, one.estimate, one.se, one.ci, one.p_value, "; ".join(notes))


def _without_source(message: str) -> str:
    """Return a message without the function that it is of: the row of the table has its name."""
    return re.sub(r"^mendelian_randomization: (?:[a-z_]+: )?", "", message)


def _bayes(given: tuple[Array, Array, Array, Array], c: Array, seed: int, level: float) -> Row:
    """Fit the model with all variants in one region, by variational Bayes with linear response, else Gibbs sampling."""
    from genarium import data, registry
    from genarium.errors import ApproximationError

    from .gibbs import gibbs
    from .vi import vi

    problem = data.check(
        registry.get("mendelian_randomization"), {**dict(zip(EFFECTS, given, strict=True)), "error_covariance": c}
    )
    rng = np.random.default_rng(seed)
    try:
        found = vi(problem, rng, polish=False, draws=4000)
    except ApproximationError:  # what it would resample is too far from the posterior
        found = gibbs(problem, rng, chains=2, draws=1000, tune=500)
    return _posterior(found, given, level)


def _linked(given: tuple[Array, Array, Array, Array], c: Array, R: Array, seed: int, level: float) -> Row:
    """Fit the model of correlated variants."""
    from genarium import data, registry

    from .independence import independence

    rho = c / (given[1] * given[3])
    if np.ptp(rho) > 1e-6:
        raise InputError("correlated variants need one correlation of errors for all of them.")
    known = {"ld": R, "error_correlation": float(rho[0])}
    declared = registry.get("mendelian_randomization").variant(design="linked")
    problem = data.check(declared, {**dict(zip(EFFECTS, given, strict=True)), **known})
    return _posterior(independence(problem, np.random.default_rng(seed), chains=2), given, level)


def _posterior(found: Any, given: tuple[Array, Array, Array, Array], level: float) -> Row:
    """Return the row of the model."""
    theta = np.asarray(found.posterior["theta"]).ravel()
    low, high = np.quantile(theta, ((1 - level) / 2, (1 + level) / 2))
    other = int(min((theta > 0).sum(), (theta < 0).sum()))
    p_value = min(1.0, 2 * (1 + other) / (1 + len(theta)))  # so many draws tell no smaller one
    omega = float(np.median(np.asarray(found.posterior["pleiotropy_sd"])))
    note = f"posterior mean and quantiles; p: twice the share of draws of the other sign; sd of pleiotropy {omega:.2g}"
    return Row(
        "Bayesian model",
        len(given[0]),
        float(theta.mean()),
        float(theta.std()),
        (float(low), float(high)),
        p_value,
        note,
    )


def steiger(
    data: Variants,
    samples_exposure: ArrayLike | None,
    samples_outcome: ArrayLike | None,
    correlation: Array | None = None,
) -> Steiger | None:
    """Compare the shares of variance that variants explain, by Fisher's z of their roots.

    Each explains r² = F / (F + n - 2). Independent ones add up; of correlated ones R, with the signs of their effects,
    all together explain r'R⁻¹r.

    Parameters
    ----------
    data : Variants
    samples_exposure, samples_outcome : array_like, shape (J,) or (), optional
        None: no comparison.
    correlation : ndarray, shape (J, J), optional
        Of the variants, signed by their effect alleles.

    Returns
    -------
    Steiger, optional
    """
    from scipy.stats import norm

    if samples_exposure is None or samples_outcome is None:
        return None
    shares, sizes = [], []
    for name, n, b, se in (
        ("exposure", samples_exposure, data.x, data.sx),
        ("outcome", samples_outcome, data.y, data.sy),
    ):
        n = numbers(f"samples_{name}", n)
        if n.shape not in ((), b.shape):
            raise InputError(
                f"mr_table: samples_{name} has shape {n.shape}, beta_exposure {b.shape}. Give one number for each "
                "variant, or one for all."
            )
        n = np.broadcast_to(n, b.shape)
        if not (np.isfinite(n).all() and (n > 3).all()):
            raise InputError(f"mr_table: sample sizes of the {name} must be above 3. Correct them, or leave them out.")
        F = (b / se) ** 2
        r = np.sign(b) * np.sqrt(F / (F + n - 2))
        if correlation is not None:
            r = whitened(r[:, None], correlation, np.ones(len(r)))[1]
        shares.append(float(r @ r))
        sizes.append(float(n.mean()))
    if max(shares) >= 1:
        why = "they are correlated" if correlation is None else "the correlations do not fit them"
        raise InputError(
            f"mr_table: the variants explain {max(shares):.2g} times the variance of a trait: {why}, or sample sizes "
            "are too small. Give independent variants."
        )
    x, y = (np.arctanh(np.sqrt(share)) for share in shares)
    z = (x - y) / np.sqrt(1 / (sizes[0] - 3) + 1 / (sizes[1] - 3))
    return Steiger(shares[0], shares[1], float(2 * norm.sf(abs(z))), shares[0] > shares[1])
