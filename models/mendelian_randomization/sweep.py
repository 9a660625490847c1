"""A sweep of coordinate ascent over the factors of q; equation numbers refer to the card (README.md)."""

from dataclasses import dataclass, replace

import numpy as np

from genarium.declaration import Array, Labelled, Problem

from . import intercepts
from .start import start
from .story import HETEROGENEITY, INTERCEPT, MEAN_SD, PLEIOTROPY, WEAK

LOG_2PI = float(np.log(2 * np.pi))
NODES, RESOLVED, DEPTH = 61, 25, 28.0
"""Nodes of a factor; how many of them it must cover, down to this many nats below its top."""

EDGE = 5.0
"""Nats below its top that a factor must have fallen to at either end of its nodes."""


@dataclass(frozen=True)
class Regions:
    """Normal densities of theta and alpha, by whether pleiotropy in a region is balanced or directional.

    Attributes
    ----------
    log_share : ndarray, shape (2, S)
        Log probabilities of the two.
    mean : ndarray, shape (2, S, 2)
    covariance : ndarray, shape (2, S, 2, 2)
    """

    log_share: Array
    mean: Array
    covariance: Array

    def moments(self) -> tuple[Array, Array]:
        """Return mean, shape (S, 2), and covariance, shape (S, 2, 2), whichever it is."""
        share = np.exp(self.log_share)[..., None]
        mean = (share * self.mean).sum(0)
        apart = self.mean - mean
        covariance = self.covariance + apart[..., :, None] * apart[..., None, :]
        return mean, (share[..., None] * covariance).sum(0)


@dataclass(frozen=True)
class Factors:
    """The factors of q. Shapes: J variants, S regions, N nodes.

    Attributes
    ----------
    gamma, gamma_var : ndarray, shape (J, C)
        Of the normal densities that true effects have, cut off at zero, for each kind: strong or not, and each sign
        (C = 4, or 2 where signs are given: not cut off).
    kind : ndarray, shape (J, C)
        Log probabilities of the kinds.
    share : ndarray, shape (2,)
        Beta density of the share of strong variants.
    regions : Regions
        Of theta and alpha.
    mean, covariance : ndarray, shape (S, 2) and (S, 2, 2)
        Their moments.
    whole, whole_var : float
        Moments of Theta.
    tau, sd, omega : ndarray, shape (N,)
        Log weights of the nodes; they sum to one.
    """

    gamma: Array
    gamma_var: Array
    kind: Array
    share: Array
    regions: Regions
    mean: Array
    covariance: Array
    whole: float
    whole_var: float
    tau: Array
    sd: Array
    omega: Array


@dataclass(frozen=True)
class Tilt:
    """Added to the log density: Theta, ln tau, theta, alpha, ln sigma, ln omega, logit p times these (eq. 19)."""

    whole: float
    tau: float
    theta: Array
    alpha: Array
    sd: float
    omega: float
    share: float


class Step:
    """One sweep of coordinate ascent: ``step(factors)`` returns the next ones and the bound of those given."""

    def __init__(self, problem: Problem, nodes: tuple[Array, Array, Array] | None = None) -> None:
        self.problem = problem
        self.x, self.y = problem["beta_exposure"], problem["beta_outcome"]
        self.region, self.S = problem["region"], problem.sizes["region"]
        self.variants = [np.flatnonzero(self.region == s) for s in range(self.S)]
        self.sx2 = problem["se_exposure"] ** 2
        self.k = problem["error_covariance"] / self.sx2
        self.v = problem["se_outcome"] ** 2 - self.k**2 * self.sx2
        self.t = self.y - self.k * self.x  # (theta - k) gamma + sign alpha + noise of variance omega² + v
        self.cut = not bool(problem["signs_given"])
        self.spreads = np.array([1.0, 1.0, WEAK, WEAK]) if self.cut else np.array([1.0, WEAK])
        self.signs = np.array([1.0, -1.0, 1.0, -1.0]) if self.cut else np.ones(2)
        self.mu = float(problem["exposure_mean"])
        self.Sx, self.Sy = float(problem["exposure_scale"]), float(problem["outcome_scale"])
        ratio = self.Sy / self.Sx
        self.scales = (HETEROGENEITY * ratio, self.Sx, PLEIOTROPY * self.Sy)  # of tau, sigma, omega
        self.whole_prior = (MEAN_SD * ratio) ** -2
        wide = tuple(np.log(h) + np.linspace(-10, 1.8, NODES) for h in self.scales)
        self.nodes: tuple[Array, ...] = nodes or wide
        self.prior = [_half_normal(log_s, h) for log_s, h in zip(self.nodes, self.scales, strict=True)]
        variance = np.exp(2 * self.nodes[2])[:, None] + self.v  # (N, J)
        self.inverse, self.half_log = 1 / variance, 0.5 * np.log(variance)

    def first(self, rng: np.random.Generator, strong: float = 0.5) -> Factors:
        """Start at moments of the data, moved a little; with a share of strong variants, of so much wider effects."""
        at = dict(start(self.problem, rng))
        width, narrow = (p + WEAK**2 * (1 - p) for p in (strong, float(at["strong_share"])))
        at["exposure_sd"] = at["exposure_sd"] * np.sqrt(narrow / width)
        theta = at["theta"] + 0.3 * float(at["heterogeneity"]) * rng.normal(size=self.S)
        mean = np.stack([theta, at["intercept"]], 1)
        size = np.array([float(at["heterogeneity"]), INTERCEPT * self.Sy]) * 0.3
        names = ("heterogeneity", "exposure_sd", "pleiotropy_sd")
        tau, sd, omega = (
            normalised(-0.5 * ((n - np.log(at[name])) / 0.5) ** 2) for n, name in zip(self.nodes, names, strict=True)
        )
        kinds = np.ones_like(self.signs)
        likely = np.outer(np.sign(self.x), self.signs) if self.cut else 0.0
        first = np.log(np.where(self.spreads == 1, strong, 1 - strong)) + 2 * likely * np.ones((len(self.x), 1))
        covariance = np.broadcast_to(np.diag(size**2), (self.S, 2, 2)).copy()
        return Factors(
            np.outer(self.x, kinds),
            np.outer(self.sx2, kinds),
            first - np.logaddexp.reduce(first, axis=1, keepdims=True),
            1 + len(self.x) * np.array([strong, 1 - strong]),
            self._either(mean, covariance),
            mean,
            covariance,
            float(at["global_effect"]),
            float(at["heterogeneity"]) ** 2 / self.S,
            tau,
            sd,
            omega,
        )

    def _either(self, mean: Array, covariance: Array) -> Regions:
        """Return the densities of regions that are the same whether pleiotropy is directional or not."""
        log_share = intercepts.log_kinds(mean[:, 1] ** 2 + covariance[:, 1, 1], self.Sy)
        both = (np.stack([value, value]) for value in (mean, covariance))
        return Regions(log_share - np.logaddexp(*log_share), *both)

    def moved(self, state: Factors, mean: Array) -> Factors:
        """Return the state with effects and intercepts around others, shape (S, 2)."""
        return replace(state, regions=self._either(mean, state.covariance), mean=mean)

    def __call__(self, state: Factors) -> tuple[Factors, float]:
        """Sweep."""
        return self.sweep(state), self.bound(state)

    def sweep(self, state: Factors, tilt: Tilt | None = None) -> Factors:
        """Update every factor in turn (eqs. 12 to 17), under a tilt."""
        t = tilt or Tilt(0, 0, np.zeros(self.S), np.zeros(self.S), 0, 0, 0)
        state = self._gamma(state)
        sd = _log_weights(self.nodes[1], len(self.x), self._own(state), self.prior[1], t.sd)
        strong = np.exp(state.kind[:, self.spreads == 1]).sum()
        share = np.array([1 + strong + t.share, 1 + len(self.x) - strong - t.share])
        state = replace(state, sd=sd, share=share)
        log_omega = -self.half_log.sum(1) - 0.5 * self.inverse @ self._residual(state) + self.prior[2]
        state = replace(state, omega=normalised(log_omega + t.omega * self.nodes[2]))
        tau = _log_weights(self.nodes[0], self.S, self._apart(state), self.prior[0], t.tau)
        state = self._regions(replace(state, tau=tau), t)
        T = self._inverse_square(state.tau, 0)
        total = self.S * T + self.whole_prior
        whole = (T * state.mean[:, 0].sum() + t.whole) / total
        return replace(state, whole=float(whole), whole_var=float(1 / total))

    def _inverse_square(self, log_weight: Array, which: int) -> float:
        return float(np.exp(log_weight) @ np.exp(-2 * self.nodes[which]))

    def _moments(self, state: Factors) -> tuple[Array, Array, Array, Array, Array]:
        """E b, E b², E alpha, E b alpha and E alpha² of each variant's region, with b = theta - k."""
        theta, alpha = state.mean[self.region].T
        V = state.covariance[self.region]
        b = theta - self.k
        return b, b**2 + V[:, 0, 0], alpha, b * alpha + V[:, 0, 1], alpha**2 + V[:, 1, 1]

    def _gamma(self, state: Factors) -> Factors:
        """Update the true effects, and kinds of variants (eq. 12)."""
        from scipy.special import digamma, log_ndtr

        b, b2, alpha, b_alpha, _ = self._moments(state)
        W, own = np.exp(state.omega) @ self.inverse, self._inverse_square(state.sd, 1) / self.spreads**2
        precision = own + (1 / self.sx2 + W * b2)[:, None]
        pull = self.mu * own + (self.x / self.sx2 + W * b * self.t)[:, None] - np.outer(W * b_alpha, self.signs)
        kind = np.where(self.spreads == 1, *digamma(state.share)) - np.log(self.spreads) - 0.5 * self.mu**2 * own
        kind = kind - 0.5 * np.log(precision) + 0.5 * pull**2 / precision
        kind = kind + np.outer(W * self.t * alpha, self.signs)
        if self.cut:
            kind = kind + log_ndtr(self.signs * pull / np.sqrt(precision))
        kind = kind - np.logaddexp.reduce(kind, axis=1, keepdims=True)
        return replace(state, gamma=pull / precision, gamma_var=1 / precision, kind=kind)

    def _by_kind(self, state: Factors) -> tuple[Array, Array]:
        """Return the first two moments of the true effects of each kind, shape (J, C)."""
        from scipy.special import erfcx

        m, v = state.gamma, state.gamma_var
        if not self.cut:
            return m, m**2 + v
        sd = np.sqrt(v)
        z = self.signs * m / sd
        hazard = np.sqrt(2 / np.pi) / erfcx(-np.sqrt(0.5) * z)
        first = m + self.signs * sd * hazard
        return first, np.maximum(v + m * first, first**2)

    def _effects(self, state: Factors) -> tuple[Array, Array, Array, Array]:
        """Return E gamma, E gamma², E of the sign's factor of alpha, and of this times gamma."""
        r, (first, second) = np.exp(state.kind), self._by_kind(state)
        return (r * first).sum(1), (r * second).sum(1), r @ self.signs, (r * first) @ self.signs

    def _own(self, state: Factors) -> float:
        """Return the expected sum of squares of deviations, those of variants that are not strong enlarged."""
        first, second = self._by_kind(state)
        squares = (second - 2 * self.mu * first + self.mu**2) / self.spreads**2
        return float((np.exp(state.kind) * squares).sum())

    def _residual(self, state: Factors) -> Array:
        """Return the expected square of t - b gamma - sign alpha (eq. 14)."""
        b, b2, alpha, b_alpha, alpha2 = self._moments(state)
        m, m2, o, om = self._effects(state)
        return np.asarray(self.t**2 - 2 * self.t * (b * m + o * alpha) + b2 * m2 + 2 * b_alpha * om + alpha2)

    def _apart(self, state: Factors) -> float:
        """Return the expected sum of squares of theta - Theta."""
        theta = state.mean[:, 0]
        return float(((theta - state.whole) ** 2 + state.covariance[:, 0, 0]).sum() + self.S * state.whole_var)

    def _regions(self, state: Factors, tilt: Tilt) -> Factors:
        """Effect and intercept of each region, and whether its pleiotropy is directional (eqs. 16, 16b)."""
        W, T = np.exp(state.omega) @ self.inverse, self._inverse_square(state.tau, 0)
        m, m2, o, om = self._effects(state)
        parts = (W * m2, W * om, W, W * (self.t * m + self.k * m2), W * (self.t * o + self.k * om))
        g2, g, one, pull_theta, pull_alpha = (np.bincount(self.region, part, self.S) for part in parts)
        of_theta, of_alpha = g2 + T, one + (intercepts.SPREADS * self.Sy)[:, None] ** -2
        determinant = of_theta * of_alpha - g**2
        covariance = np.empty((2, self.S, 2, 2))
        covariance[..., 0, 0], covariance[..., 1, 1] = of_alpha / determinant, of_theta / determinant
        covariance[..., 0, 1] = covariance[..., 1, 0] = -g / determinant
        pull = np.stack([pull_theta + T * state.whole + tilt.theta, pull_alpha + tilt.alpha], 1)
        mean = (covariance * pull[:, None, :]).sum(-1)
        fit = 0.5 * (mean * pull).sum(-1) - 0.5 * np.log(determinant)
        log_share = intercepts.log_kinds(np.zeros(self.S), self.Sy) + fit
        regions = Regions(log_share - np.logaddexp(*log_share), mean, covariance)
        moments = regions.moments()
        return replace(state, regions=regions, mean=moments[0], covariance=moments[1])

    def bound(self, state: Factors) -> float:
        """Evidence lower bound (eq. 18)."""
        J, S = len(self.x), self.S
        tau, sd, omega = (np.exp(log) for log in (state.tau, state.sd, state.omega))
        m, m2, *_ = self._effects(state)
        fit = -0.5 * (np.log(self.sx2) + (self.x**2 - 2 * self.x * m + m2) / self.sx2).sum()
        fit -= (omega @ self.half_log).sum() + 0.5 * (omega @ self.inverse * self._residual(state)).sum()
        fit -= J * sd @ self.nodes[1] + 0.5 * self._inverse_square(state.sd, 1) * self._own(state)
        fit += self._strong_bound(state) - J * LOG_2PI
        fit -= S * tau @ self.nodes[0] + 0.5 * self._inverse_square(state.tau, 0) * self._apart(state)
        of = state.regions
        squares = of.mean[..., 1] ** 2 + of.covariance[..., 1, 1]
        each = np.stack([intercepts.log_kinds(squares[k], self.Sy)[k] for k in range(2)]) + 0.5 * LOG_2PI
        each = each + 0.5 * np.log(_determinant(of.covariance)) + 1 - of.log_share
        fit += (np.exp(of.log_share) * each).sum()
        fit -= 0.5 * self.whole_prior * (state.whole**2 + state.whole_var) - 0.5 * np.log(self.whole_prior)
        fit += 0.5 * (np.log(state.whole_var) + 1)
        for log_weight, prior, nodes in zip((state.tau, state.sd, state.omega), self.prior, self.nodes, strict=True):
            fit += np.exp(log_weight) @ (prior + np.log(nodes[1] - nodes[0]) - log_weight)
        return float(fit)

    def _strong_bound(self, state: Factors) -> float:
        """Return what true effects and kinds of variants add to the bound, and the factor of the strong ones' share."""
        from scipy.special import betaln, digamma, log_ndtr

        r, (a, b) = np.exp(state.kind), state.share
        expected = digamma(state.share) - digamma(a + b)
        first, second = self._by_kind(state)
        m, v = state.gamma, state.gamma_var
        entropy = 0.5 * np.log(v) + 0.5 * (second - 2 * m * first + m**2) / v
        if self.cut:
            entropy = entropy + log_ndtr(self.signs * m / np.sqrt(v))
        each = np.where(self.spreads == 1, *expected) - np.log(self.spreads) + entropy - state.kind
        return float((r * each).sum() + betaln(a, b) - (state.share - 1) @ expected)

    def refined(self, state: Factors) -> "tuple[Step, Factors] | None":
        """Nodes that reach beyond a factor's ends and resolve it, where it has outgrown its own; None if none has."""
        new, moved = [], []
        for nodes, log_weight in zip(self.nodes, (state.tau, state.sd, state.omega), strict=True):
            top = log_weight.max()
            some = np.flatnonzero(log_weight > top - DEPTH)
            below, above = (log_weight[end] > top - EDGE for end in (0, -1))
            if below or above or len(some) < RESOLVED:
                low, high = nodes[max(some[0] - 1, 0)], nodes[min(some[-1] + 1, NODES - 1)]
                more = max(1.0, float(nodes[-1] - nodes[0]))
                low, high = low - more * below, high + more * above
                finer = np.linspace(low, high, NODES)
                new.append(finer)
                moved.append(normalised(np.interp(finer, nodes, log_weight)))
            else:
                new.append(nodes)
                moved.append(log_weight)
        if all(a is b for a, b in zip(new, self.nodes, strict=True)):
            return None
        return Step(self.problem, (new[0], new[1], new[2])), replace(state, tau=moved[0], sd=moved[1], omega=moved[2])

    def draw(self, state: Factors, rng: np.random.Generator, draws: int) -> tuple[dict[str, Array], Array]:
        """Draw from q, with the log density of every draw."""
        from scipy.stats import beta

        whole = rng.normal(state.whole, np.sqrt(state.whole_var), draws)
        log_q = -0.5 * (whole - state.whole) ** 2 / state.whole_var - 0.5 * np.log(state.whole_var) - 0.5 * LOG_2PI
        of, each = state.regions, np.arange(self.S)
        kind = (np.log(rng.uniform(size=(draws, self.S))) > of.log_share[0]).astype(int)
        factor = np.linalg.cholesky(of.covariance)[kind, each]
        both = of.mean[kind, each] + (factor @ rng.normal(size=(draws, self.S, 2, 1)))[..., 0]
        log_q += np.logaddexp(*self.log_regions(state, both)).sum(-1)
        posterior = {"global_effect": whole[None], "theta": both[None, ..., 0], "intercept": both[None, ..., 1]}
        names = ("heterogeneity", "exposure_sd", "pleiotropy_sd")
        for name, nodes, log_weight in zip(names, self.nodes, (state.tau, state.sd, state.omega), strict=True):
            width = nodes[1] - nodes[0]
            at = rng.choice(NODES, draws, p=np.exp(log_weight))
            log_value = nodes[at] + width * rng.uniform(-0.5, 0.5, draws)
            posterior[name] = np.exp(log_value)[None]
            log_q += log_weight[at] - np.log(width) - log_value
        share = rng.beta(state.share[0], state.share[1], draws)
        posterior["strong_share"] = share[None]
        log_q += beta(*state.share).logpdf(share)
        return posterior, log_q[None]

    def log_regions(self, state: Factors, both: Array) -> Array:
        """Log density of effects and intercepts, (draws, S, 2), and of either kind of region; shape (2, draws, S)."""
        of = state.regions
        apart = both[None] - of.mean[:, None]
        x, y = apart[..., 0], apart[..., 1]
        of_x, of_both, of_y = (np.linalg.inv(of.covariance)[:, None, :, i, j] for i, j in ((0, 0), (0, 1), (1, 1)))
        squares = of_x * x**2 + 2 * of_both * x * y + of_y * y**2
        return np.asarray((of.log_share - 0.5 * np.log(_determinant(of.covariance)) - LOG_2PI)[:, None] - 0.5 * squares)

    def parameters(self, state: Factors) -> dict[str, Labelled]:
        """Label the parameters of q."""
        gamma, square, *_ = self._effects(state)
        out: dict[str, Labelled] = {
            "gamma_mean": (("variant",), gamma),
            "gamma_sd": (("variant",), np.sqrt(square - gamma**2)),
            "strong_probability": (("variant",), np.exp(state.kind[:, self.spreads == 1]).sum(1)),
            "strong_share_mean": ((), np.asarray(state.share[0] / state.share.sum())),
            "theta_mean": (("region",), state.mean[:, 0]),
            "theta_sd": (("region",), np.sqrt(state.covariance[:, 0, 0])),
            "intercept_mean": (("region",), state.mean[:, 1]),
            "intercept_sd": (("region",), np.sqrt(state.covariance[:, 1, 1])),
            "global_effect_mean": ((), np.asarray(state.whole)),
            "global_effect_sd": ((), np.sqrt(np.asarray(state.whole_var))),
        }
        names = ("heterogeneity", "exposure_sd", "pleiotropy_sd")
        for name, nodes, log_weight in zip(names, self.nodes, (state.tau, state.sd, state.omega), strict=True):
            out |= {f"{name}_node": (("node",), np.exp(nodes)), f"{name}_weight": (("node",), np.exp(log_weight))}
        return out


def _determinant(V: Array) -> Array:
    """Return the determinants of matrices of two rows, shape (..., 2, 2)."""
    return np.asarray(V[..., 0, 0] * V[..., 1, 1] - V[..., 0, 1] ** 2)


def _half_normal(log_s: Array, scale: float) -> Array:
    """Log density of the logarithm of a half-normal variable."""
    return np.asarray(0.5 * np.log(2 / np.pi) - np.log(scale) - 0.5 * (np.exp(log_s) / scale) ** 2 + log_s)


def _log_weights(log_s: Array, count: int, squares: float, prior: Array, tilt: float) -> Array:
    """Factor of a standard deviation of ``count`` normal deviations (eqs. 13 and 15)."""
    return normalised(prior + (tilt - count) * log_s - 0.5 * squares * np.exp(-2 * log_s))


def normalised(log_weight: Array) -> Array:
    """Return the logarithms of weights that add up to one."""
    top = log_weight.max()
    return np.asarray(log_weight - top - np.log(np.exp(log_weight - top).sum()))
