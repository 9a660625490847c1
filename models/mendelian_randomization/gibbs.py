"""Gibbs sampling; equation numbers refer to the card (README.md)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from genarium.declaration import Array, Arrays, Problem, Result
from genarium.engines import chains as engine

from . import intercepts
from .kernels import effects
from .likelihood import log_sign, pair, spread
from .start import start
from .story import BALANCED, CONFOUNDED, HETEROGENEITY, INTERCEPT, MEAN_SD, PLEIOTROPY, WEAK, orientation


def gibbs(
    problem: Problem,
    rng: np.random.Generator,
    *,
    chains: int = 4,
    draws: int = 1000,
    tune: int = 500,
    thin: int = 1,
) -> Result:
    """Sample true effects of variants, regional effects and variances in turn.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    chains, draws, tune, thin : int
        Chains; draws kept of each; draws thrown away before; one draw in ``thin`` is kept.

    Returns
    -------
    Result
        ``posterior`` of all unknown variables.
    """
    return Result(posterior=engine.run(Sampler(problem), rng, chains=chains, draws=draws, tune=tune, thin=thin))


FEW = 9.0
"""Of the Beta(1, FEW) by which a small share of strong variants is proposed."""

AROUND = 0.3
"""Sd of ln sigma around what leaves the spread of all effects as it is, where another share is proposed."""

FURTHEST, ACROSS = 1.5, 4.0
"""Of the slope that makes up for an intercept, how much at most; first guess of a slice's width, in prior sd."""

EM_STEPS = 10
"""Steps of EM towards the share of confounded variants around which it is proposed."""


class State(NamedTuple):
    """What the moves share: scalars, theta and intercepts by region, and what confounding adds to slopes (J,)."""

    whole: Array
    tau: Array
    theta: Array
    alpha: Array
    sd: Array
    omega: Array
    strong: Array
    more: Array


NAMES = {
    "whole": "global_effect",
    "tau": "heterogeneity",
    "theta": "theta",
    "alpha": "intercept",
    "sd": "exposure_sd",
    "omega": "pleiotropy_sd",
    "strong": "strong_share",
}
"""Names of the unknown variables, by those of a state."""


class Sampler:
    """The Markov chain, ``sampler(rng)`` yields its draws. Shapes: J variants, S regions."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.mixture = "confounded_share" in problem.model.unknown.variables
        self.x, self.y = problem["beta_exposure"], problem["beta_outcome"]
        self.region, self.S = problem["region"], problem.sizes["region"]
        self.each = np.arange(len(self.x))
        self.sx2 = problem["se_exposure"] ** 2
        self.slope = problem["error_covariance"] / self.sx2  # of the outcome's error on the exposure's
        self.residual2 = problem["se_outcome"] ** 2 - self.slope**2 * self.sx2
        self.mean = float(problem["exposure_mean"])
        self.signs_given = bool(problem["signs_given"])
        self.sign = orientation(problem["signs_given"], self.x)  # drawn anew in every sweep, if signs are not given
        self.Sx, self.Sy = float(problem["exposure_scale"]), float(problem["outcome_scale"])
        self.ratio = self.Sy / self.Sx
        weights = [self.sign * self.x * problem["se_outcome"] ** -2, (self.x / problem["se_outcome"]) ** 2]
        across, along = (np.bincount(self.region, weight, self.S) for weight in weights)
        self.lever = across / np.maximum(along, 1e-300)  # slope through zero that a constant gives the effects

    def __call__(self, rng: np.random.Generator) -> Iterator[Arrays]:
        """Yield draws of the unknown variables."""
        first = start(self.problem, rng)
        named = {short: np.asarray(first[name], dtype=float) for short, name in NAMES.items()}
        at = State(**named, more=np.zeros(len(self.x)))
        share, eta = CONFOUNDED[0] / sum(CONFOUNDED), 0.0
        scales = self._stretched, self._exposure_sd, self._strong_share, self._omega
        moves = *scales, self._kinds_changed, self._share_redrawn, self._intercepts, self._mirrored, self._turned
        while True:
            if self.mixture:
                at, share, eta = self._roles_exchanged(rng, at, share, eta)
            for move in moves:
                at = move(rng, at)
            scale, self.sign = self._strong(rng, at)
            spreads, z = at.sd * scale, np.zeros(len(self.x))
            if self.mixture:
                z = self._confounded(rng, at, spreads, share, eta)
                share = float(rng.beta(CONFOUNDED[0] + z.sum(), CONFOUNDED[1] + len(z) - z.sum()))
                at = at._replace(more=eta * z)
            gamma = self._gamma(rng, at, spreads)
            rest = self.y - self.slope * (self.x - gamma)  # slope gamma + sign alpha + noise of variance v
            v = at.omega**2 + self.residual2
            ridge = self._directional(rng, at.alpha)
            precision, score = self._regions(gamma, rest - at.more * gamma, v, ridge)
            tau, whole = self._between(rng, precision, score, at.tau)
            if self.mixture:
                eta = self._confounded_effect(rng, precision, z * gamma, gamma, rest, v, ridge, tau, whole)
                precision, score = self._regions(gamma, rest - eta * z * gamma, v, ridge)
            theta, alpha = self._regional(rng, precision, score, tau, whole)
            at = at._replace(whole=np.asarray(whole), tau=tau, theta=theta, alpha=alpha, more=eta * z)
            drawn = {name: getattr(at, short) for short, name in NAMES.items()}
            if self.mixture:
                drawn |= {"confounded_share": np.asarray(share), "confounded_effect": np.asarray(eta)}
            yield drawn

    def _strong(self, rng: np.random.Generator, at: State) -> tuple[Array, Array]:
        """Draw which variants are strong, and signs, true effects summed out (eq. 5b).

        Returns
        -------
        scale, sign : ndarray, shape (J,)
            Spreads over that of strong variants; signs.
        """
        kinds = [(own, sign) for own in (1.0, WEAK) for sign in ((1.0,) if self.signs_given else (1.0, -1.0))]
        log_share = {1.0: np.log(at.strong), WEAK: np.log1p(-at.strong)}
        slope = at.theta[self.region] + at.more
        values = [log_share[own] + self._pair(at, slope, (own * at.sd) ** 2, sign) for own, sign in kinds]
        noisy = np.array(values) + rng.gumbel(size=(len(kinds), len(slope)))
        scale, sign = np.array(kinds)[noisy.argmax(0)].T
        return scale, sign

    def _pair(self, at: State, slope: Array, between: Array, sign: Array | float) -> Array:
        """Log density of effects and of the sign of the true one, which is summed out."""
        errors = self.sx2, self.problem["se_outcome"] ** 2 + at.omega**2, self.problem["error_covariance"]
        given = slope, between, self.x, self.y - sign * at.alpha[self.region], self.mean, *errors
        return pair(*given) if self.signs_given else pair(*given) + log_sign(*given, sign)

    def _confounded(self, rng: np.random.Generator, at: State, spreads: Array, share: float, eta: float) -> Array:
        """Draw which variants are confounded, true effects summed out (eq. 10)."""
        slope = at.theta[self.region]
        without, with_it = (self._pair(at, b, spreads**2, self.sign) for b in (slope, slope + eta))
        odds = np.log(share) - np.log1p(-share) + with_it - without
        return np.asarray(rng.logistic(size=len(odds)) < odds, dtype=float)

    def _confounded_effect(
        self,
        rng: np.random.Generator,
        precision: Array,
        design: Array,
        gamma: Array,
        rest: Array,
        v: Array,
        ridge: Array,
        tau: Array,
        whole: float,
    ) -> float:
        """Draw eta, regional effects and intercepts summed out (eq. 11); ``design`` is z gamma."""
        full, score = self._with_prior(precision, self._regions(gamma, rest, v, ridge)[1], tau, whole)
        border = np.stack(
            [np.bincount(self.region, w, self.S) for w in (design * gamma / v, design * self.sign / v)], 1
        )
        known = np.linalg.solve(full, np.stack([border, score], -1))  # (S, 2, 2)
        total = (design**2 / v).sum() + (MEAN_SD * self.ratio) ** -2 - (border * known[..., 0]).sum()
        pull = (design * rest / v).sum() - (border * known[..., 1]).sum()
        return float(rng.normal(pull / total, total**-0.5))

    def _roles_exchanged(
        self, rng: np.random.Generator, at: State, share: float, eta: float
    ) -> tuple[State, float, float]:
        """Propose that the effect be that of the confounded variants, the others being confounded (eq. 11b).

        The new share is drawn from a Beta density that depends on the slopes alone. Then z is drawn anew; it is summed
        out before, with true effects, signs and which variants are strong.
        """
        without, with_it = (self._densities(at._replace(more=np.full(len(self.x), b))) for b in (0.0, eta))
        gain = with_it - without
        log_old, _ = _of_share(gain, share=share)
        log_new, proposed = _of_share(-gain, rng)
        moved = at._replace(whole=at.whole + eta, theta=at.theta + eta)
        prior = 0.5 * (at.whole**2 - moved.whole**2) / (MEAN_SD * self.ratio) ** 2
        if np.log(rng.random()) < gain.sum() + prior + log_new - log_old:
            at, share, eta, gain = moved, proposed, -eta, -gain
        z = rng.logistic(size=len(gain)) < np.log(share) - np.log1p(-share) + gain
        return at._replace(more=eta * z), share, eta

    def _gamma(self, rng: np.random.Generator, at: State, spreads: Array) -> Array:
        """Draw the true effects, given all else (eq. 5)."""
        b = at.theta[self.region] + at.more - self.slope  # rest = b gamma + ..., the errors' slope times x moved over
        v = at.omega**2 + self.residual2
        precision = 1 / spreads**2 + 1 / self.sx2 + b**2 / v
        pull = self.mean / spreads**2 + self.x / self.sx2
        pull = pull + b * (self.y - self.slope * self.x - self.sign * at.alpha[self.region]) / v
        if self.signs_given:
            return np.asarray(rng.normal(pull / precision, precision**-0.5))
        return self.sign * above_zero(rng, self.sign * pull / precision, precision**-0.5)

    def _density(self, at: State) -> float:
        """Log density of the data: true effects, their signs and which variants are strong are summed out (eq. 4)."""
        return float(self._densities(at).sum())

    def _densities(self, at: State) -> Array:
        """Return them by variant; shape (J,)."""
        slope, alpha = at.theta[self.region] + at.more, at.alpha[self.region]
        noise = self.problem["se_outcome"] ** 2
        if self.signs_given:
            errors = self.sx2, noise + at.omega**2, self.problem["error_covariance"]
            return spread(slope, alpha, at.sd, at.strong, self.x, self.y, self.mean, *errors, True)
        of_fit = slope[None], alpha[None], at.sd[None], at.omega[None] ** 2, at.strong[None]
        of_data = self.each, self.x, self.y, self.sx2, noise, self.problem["error_covariance"]
        return np.asarray(effects(*of_fit, *of_data, WEAK)[0])

    def _stretched(self, rng: np.random.Generator, at: State) -> State:
        """Slice update of ln tau with (theta - Theta) / tau held (eq. 9b)."""
        z = (at.theta - at.whole) / at.tau

        def log_density(log_tau: Array) -> Array:
            value = self._density(at._replace(theta=at.whole + np.exp(log_tau) * z))
            return np.asarray(value - 0.5 * np.exp(2 * log_tau) / (HETEROGENEITY * self.ratio) ** 2 + log_tau)

        tau = np.exp(engine.slice_update(log_density, np.log(at.tau), 1.0, rng))
        return at._replace(tau=tau, theta=at.whole + tau * z)

    def _exposure_sd(self, rng: np.random.Generator, at: State) -> State:
        """Slice update of ln sigma (eq. 6)."""

        def log_density(log_sd: Array) -> Array:
            return np.asarray(self._of_sd(at._replace(sd=np.exp(log_sd))))

        return at._replace(sd=np.exp(engine.slice_update(log_density, np.log(at.sd), 0.3, rng)))

    def _of_sd(self, at: State) -> float:
        """Log density of the data and ln sigma."""
        return float(self._density(at) - 0.5 * (at.sd / self.Sx) ** 2 + np.log(at.sd))

    def _strong_share(self, rng: np.random.Generator, at: State) -> State:
        """Slice update of logit p (eq. 5b); the prior of p is uniform."""

        def log_density(logit: Array) -> Array:
            # ln p (1 - p), also where p is 1 to rounding
            volume = -np.logaddexp(0, logit) - np.logaddexp(0, -logit)
            return np.asarray(self._density(at._replace(strong=expit(logit))) + volume)

        logit = np.log(at.strong) - np.log1p(-at.strong)
        return at._replace(strong=np.asarray(expit(engine.slice_update(log_density, logit, 1.0, rng))))

    def _kinds_changed(self, rng: np.random.Generator, at: State) -> State:
        """Propose that the strong variants be the weak ones, with a new share of others, or the reverse (eq. 6b).

        Where few variants are of one kind, both readings are modes, which steps of sigma or p alone do not connect.
        """
        up = rng.random() < 0.5
        strong = np.asarray(rng.beta(1, FEW) if up else rng.random())
        trial = at._replace(sd=at.sd / WEAK if up else at.sd * WEAK, strong=strong)
        few = strong if up else at.strong  # of which the density of the proposal is FEW (1 - p)^(FEW - 1)
        proposed = np.log(FEW) + (FEW - 1) * np.log1p(-few)
        ratio = self._of_sd(trial) - self._of_sd(at) + (-proposed if up else proposed)
        return trial if np.log(rng.random()) < ratio else at

    def _share_redrawn(self, rng: np.random.Generator, at: State) -> State:
        """Propose another share of strong variants, and sigma such that all effects spread as before (eq. 6c).

        With weak instruments, few strong variants of wide effects and many of narrow ones are both modes.
        """
        strong = np.asarray(rng.beta(1, FEW) if rng.random() < 0.5 else rng.random())
        wide, width = (p + WEAK**2 * (1 - p) for p in (strong, at.strong))
        trial = at._replace(sd=at.sd * np.sqrt(width / wide) * np.exp(AROUND * rng.normal()), strong=strong)
        new, old = (np.log(0.5 + 0.5 * FEW * (1 - p) ** (FEW - 1)) for p in (strong, at.strong))
        ratio = self._of_sd(trial) - self._of_sd(at) + old - new
        return trial if np.log(rng.random()) < ratio else at

    def _omega(self, rng: np.random.Generator, at: State) -> State:
        """Slice update of ln omega, pleiotropic effects summed out, too (eq. 7)."""

        def log_density(log_omega: Array) -> Array:
            omega = np.exp(log_omega)
            value = self._density(at._replace(omega=omega))
            return np.asarray(value - 0.5 * (omega / (PLEIOTROPY * self.Sy)) ** 2 + log_omega)

        return at._replace(omega=np.exp(engine.slice_update(log_density, np.log(at.omega), 1.0, rng)))

    def _intercepts(self, rng: np.random.Generator, at: State) -> State:
        """Slice update of the intercepts (eq. 9c)."""

        def log_density(alpha: Array) -> Array:
            return self._by_region(at._replace(alpha=alpha)) + intercepts.log_prior(alpha, self.Sy)

        return at._replace(alpha=engine.slice_update(log_density, at.alpha, INTERCEPT * self.Sy, rng))

    def _by_region(self, at: State) -> Array:
        """Log density of the data by region; shape (S,)."""
        return np.bincount(self.region, self._densities(at), self.S)

    def _mirrored(self, rng: np.random.Generator, at: State) -> State:
        """Propose -alpha, theta on the other side of Theta, or both, in each region (eq. 9d); the prior is the same."""
        kind = rng.integers(3)
        theta = 2 * at.whole - at.theta if kind != 0 else at.theta
        alpha = -at.alpha if kind != 1 else at.alpha
        gain = self._by_region(at._replace(theta=theta, alpha=alpha)) - self._by_region(at)
        taken = np.log(rng.random(self.S)) < gain
        return at._replace(theta=np.where(taken, theta, at.theta), alpha=np.where(taken, alpha, at.alpha))

    def _turned(self, rng: np.random.Generator, at: State) -> State:
        """Slice update of the intercepts, effects moving along so that the fit to many variants stays (eq. 9e).

        With many variants in a region, both signs of its intercept are modes, between which effects differ as well.
        """
        lever = self.lever * rng.uniform(0, FURTHEST, self.S)

        def moved(by: Array) -> State:
            return at._replace(theta=at.theta - lever * by, alpha=at.alpha + by)

        def log_density(by: Array) -> Array:
            to = moved(by)
            prior = intercepts.log_prior(to.alpha, self.Sy) - 0.5 * ((to.theta - at.whole) / at.tau) ** 2
            return np.asarray(self._by_region(to) + prior)

        return moved(engine.slice_update(log_density, np.zeros(self.S), ACROSS * INTERCEPT * self.Sy, rng))

    def _directional(self, rng: np.random.Generator, alpha: Array) -> Array:
        """Draw where pleiotropy is directional (eq. 7b), and return the precisions that the intercepts' priors have."""
        balanced, directional = intercepts.log_kinds(alpha**2, self.Sy)
        is_directional = rng.logistic(size=self.S) < directional - balanced
        return np.asarray((np.where(is_directional, INTERCEPT, BALANCED) * self.Sy) ** -2)

    def _regions(self, gamma: Array, rest: Array, v: Array, ridge: Array) -> tuple[Array, Array]:
        """Return precision (S, 2, 2) and score (S, 2) of theta and alpha in each region, alpha's prior included."""
        sums = [
            np.bincount(self.region, weight, self.S)
            for weight in (gamma**2 / v, gamma * self.sign / v, self.sign**2 / v)
        ]
        precision = np.empty((self.S, 2, 2))
        precision[:, 0, 0], precision[:, 0, 1], precision[:, 1, 0] = sums[0], sums[1], sums[1]
        precision[:, 1, 1] = sums[2] + ridge
        score = np.stack(
            [np.bincount(self.region, weight, self.S) for weight in (gamma * rest / v, self.sign * rest / v)], 1
        )
        return precision, score

    def _between(self, rng: np.random.Generator, precision: Array, score: Array, tau: Array) -> tuple[Array, float]:
        """Draw tau and Theta, regional effects summed out (eq. 8).

        A region says theta_s ~ Normal(m_s, 1 / W_s), flat where it holds no information.
        """
        W = precision[:, 0, 0] - precision[:, 0, 1] ** 2 / precision[:, 1, 1]
        pull = score[:, 0] - precision[:, 0, 1] / precision[:, 1, 1] * score[:, 1]  # W m
        prior = (MEAN_SD * self.ratio) ** -2

        def log_density(log_tau: Array) -> Array:
            between = np.exp(2 * log_tau)
            shrunk = 1 / (1 + between * W)  # of each region: W / (1 + tau² W) is the precision of m_s around Theta
            total = (W * shrunk).sum() + prior
            mean = (pull * shrunk).sum() / total
            # sum of -(m - Theta)² W shrunk / 2 with Theta summed out, but for what does not depend on tau
            fit = 0.5 * (between * pull**2 * shrunk).sum() + 0.5 * total * mean**2
            value = fit + 0.5 * np.log(shrunk).sum() - 0.5 * np.log(total)
            return np.asarray(value - 0.5 * between / (HETEROGENEITY * self.ratio) ** 2 + log_tau)

        tau = np.exp(engine.slice_update(log_density, np.log(tau), 1.0, rng))
        shrunk = 1 / (1 + tau**2 * W)
        total = float((W * shrunk).sum() + prior)
        return tau, float(rng.normal(float((pull * shrunk).sum()) / total, total**-0.5))

    def _regional(
        self, rng: np.random.Generator, precision: Array, score: Array, tau: Array, whole: float
    ) -> tuple[Array, Array]:
        """Draw effect and intercept of each region together (eq. 9)."""
        full, pull = self._with_prior(precision, score, tau, whole)
        factor = np.linalg.cholesky(full)
        mean = np.linalg.solve(full, pull[..., None])[..., 0]
        noise = np.linalg.solve(factor.transpose(0, 2, 1), rng.normal(size=(self.S, 2, 1)))[..., 0]
        both = mean + noise
        return both[:, 0], both[:, 1]

    def _with_prior(self, precision: Array, score: Array, tau: Array, whole: float) -> tuple[Array, Array]:
        """Add what Theta and tau say of theta."""
        full, pull = precision.copy(), score.copy()
        full[:, 0, 0] += tau**-2.0
        pull[:, 0] += whole * tau**-2.0
        return full, pull


def _of_share(gain: Array, rng: np.random.Generator | None = None, share: float = 0.5) -> tuple[float, float]:
    """Return density over proposal, in logs, of a share of confounded variants, and that share, drawn if told.

    The proposal is a Beta density around its mode given what a variant's log density gains by being confounded.
    """
    from scipy.special import betaln

    a, b = CONFOUNDED
    J, mode = len(gain), a / (a + b)
    for _ in range(EM_STEPS):
        mode = (a + expit(np.log(mode) - np.log1p(-mode) + gain).sum()) / (a + b + J)
    first, second = a + 0.5 * J * mode, b + 0.5 * J * (1 - mode)
    q = share if rng is None else float(rng.beta(first, second))
    log_q, log_rest = np.log(q), np.log1p(-q)
    value = np.logaddexp(log_rest, log_q + gain).sum() + (a - 1) * log_q + (b - 1) * log_rest
    return float(value - (first - 1) * log_q - (second - 1) * log_rest + betaln(first, second)), q


def above_zero(rng: np.random.Generator, mean: Array, sd: Array) -> Array:
    """Draw from normal densities cut off below zero."""
    from scipy.special import log_ndtr, ndtri_exp

    log_u = np.log(rng.uniform(size=len(mean))) + log_ndtr(mean / sd)  # of the chance to lie higher
    return np.asarray(np.maximum(mean - sd * ndtri_exp(log_u), 0.0))
