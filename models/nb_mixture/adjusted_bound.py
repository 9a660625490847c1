"""The expected log density under normal factors of the logs, and its slopes (eqs. 34 to 37 of the card).

EM is the case without width: the factors are points, and their density is maximised instead of the bound.

Shapes: N cells, D genes, K components, P covariates, B batches, T nodes, I points of the quadrature.
"""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array, Arrays, Problem
from genarium.simplex import dirichlet_divergence, dirichlet_expected_log, normalised

from .adjusted_sums import Cells, Lost, Told
from .counts import Logits, rising_table

POINTS = 9
"""Points of the Gauss-Hermite rule in the width of a factor."""

WORK = 400_000
"""Numbers in a work array, at most."""

LEAST_SD, MOST_SD = np.log(1e-6), np.log(20.0)
"""Where the log of a factor's sd may go."""

HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


@dataclass(frozen=True)
class State:
    """Factors of the parameters.

    Attributes
    ----------
    centre, log_sd : mapping of str to ndarray
        Of the normal factors: ``log_mu`` (K, D), ``log_r`` (that of phi), ``shift`` (D, B - 1), ``effect`` (P, K - 1),
        as far as the variant has them; the last two in an orthonormal basis of what sums to zero. ``log_sd`` is empty
        for points.
    weight : ndarray, shape (K,)
        Parameter of the Dirichlet factor of pi, or pi.
    zero : ndarray, shape (2, D) or (1, D)
        Parameters of the Beta factors of w, or w; D is 0 where no counts are lost.
    """

    centre: Arrays
    log_sd: Arrays
    weight: Array
    zero: Array


def basis(size: int) -> Array:
    """Return an orthonormal basis of what sums to zero; shape (size, size - 1) (Helmert's)."""
    out = np.zeros((size, size - 1))
    for j in range(1, size):
        out[:j, j - 1], out[j, j - 1] = 1, -j
        out[:, j - 1] /= np.sqrt(j * (j + 1))
    return out


class Bound:
    """Expectations under the factors of one problem.

    Parameters
    ----------
    problem : Problem
    cells : Cells
    point : bool
        Whether the factors are points.
    """

    def __init__(self, problem: Problem, cells: Cells, point: bool) -> None:
        self.problem, self.cells, self.point, self.story = problem, cells, point, cells.story
        self.K, self.D = problem.sizes["component"], problem.sizes["gene"]
        self.estimates_phi = cells.story.dispersion != "known"
        if point:
            self.points, self.mass = np.zeros(1), np.ones(1)
        else:
            self.points, self.mass = np.polynomial.hermite_e.hermegauss(POINTS)
            self.mass = self.mass / self.mass.sum()
        self.of_batch = basis(cells.batches)  # (B, B - 1)
        self.of_component = basis(self.K)  # (K, K - 1)
        if not self.estimates_phi:
            self.known_log_r = -np.log(self.wide_r(problem["phi"])), np.zeros((self.K, self.D))
        if cells.covariates is not None:
            self.rows, often = np.unique(cells.covariates, axis=0, return_counts=True)  # (U, P)
            self.often = often.astype(float)

    def at_covariates(self, some: Problem) -> "Bound":
        """Return the bound whose weights are normalised over the covariates of some cells, scaled to all."""
        out = copy(self)
        out.rows, often = np.unique(some["covariates"], axis=0, return_counts=True)
        out.often = often * (self.often.sum() / often.sum())
        return out

    def wide_r(self, value: Array) -> Array:
        """Give every component and gene what belongs to its dispersion."""
        return self.story.spread(value, np.empty((self.K, self.D)))

    def log_r(self, state: State) -> tuple[Array, Array]:
        """Mean and variance of ln r by component and gene; both (K, D)."""
        if not self.estimates_phi:
            return self.known_log_r
        return self.wide_r(state.centre["log_r"]), self.wide_r(self.variance(state, "log_r"))

    def variance(self, state: State, name: str) -> Array:
        """Variance of a factor."""
        return np.exp(2 * state.log_sd[name]) if state.log_sd else np.zeros_like(state.centre[name])

    def shift(self, state: State) -> tuple[Array, Array]:
        """Mean and variance of the shifts at the nodes' batches; both (B, D)."""
        if not self.story.batches:
            return np.zeros((1, self.D)), np.zeros((1, self.D))
        return self.of_batch @ state.centre["shift"].T, self.of_batch**2 @ self.variance(state, "shift").T

    def odds(self, state: State) -> tuple[Array, Array]:
        """Mean (B, K, D) and variance (B, K, D) of ln(mu e^shift / r)."""
        mean_r, var_r = self.log_r(state)
        mean_b, var_b = self.shift(state)
        mean = state.centre["log_mu"] - mean_r + mean_b[:, None]
        return mean, self.variance(state, "log_mu") + var_r + var_b[:, None]

    def blocks(self) -> Iterator[slice]:
        """Split the genes so that work arrays stay small."""
        step = max(1, WORK // (len(self.cells.at) * self.K))
        return (slice(low, low + step) for low in range(0, self.D, step))

    def softplus(self, mean: Array, variance: Array) -> tuple[Array, Array, Array]:
        """Return the expectation of ln(1 + e^y) for a normal y, and its slopes by mean and variance."""
        from scipy.special import expit

        sd = np.sqrt(variance)
        value, slope, wide = np.zeros(mean.shape), np.zeros(mean.shape), np.zeros(mean.shape)
        for point, mass in zip(self.points, self.mass, strict=True):
            y = mean + sd * point
            value += mass * np.logaddexp(0, y)
            at = mass * expit(y)
            slope += at
            wide += at * point
        return value, slope, wide / np.maximum(2 * sd, 1e-12) if not self.point else wide

    def curves(self, state: State, genes: slice) -> tuple[Array, ...]:
        """Expect ln(1 + s mu/r) and of r ln(1 + s mu/r) at the nodes, each with slopes; (T, K, d).

        Returns
        -------
        tuple of ndarray
            Value, slope by mean and by variance of the first; the same of the second, over R = E r.
        """
        mean, variance = (each[..., genes] for each in self.odds(state))
        at = self.cells.batch_of_node
        eta, variance = mean[at] + np.log(self.cells.at)[:, None, None], variance[at]
        first = self.softplus(eta, variance)
        var_r = self.log_r(state)[1][:, genes]
        # E r g(y) = E r times E g(y + cov(ln r, y)), and that covariance is minus the variance of ln r
        return (*first, *(self.softplus(eta - var_r, variance) if var_r.any() else first))

    def mean_r(self, state: State) -> Array:
        """E r; shape (K, D)."""
        mean, variance = self.log_r(state)
        return np.asarray(np.exp(mean + variance / 2))

    def log_shares(self, state: State) -> tuple[Array, Array]:
        """Expect ln w and ln(1 - w); both (D,)."""
        from scipy.special import psi

        if self.point:
            return np.log(state.zero[0]), np.log1p(-state.zero[0])
        a, b = state.zero
        return psi(a) - psi(a + b), psi(b) - psi(a + b)

    def log_pi(self, state: State) -> Array:
        """Expect ln pi; (K,)."""
        return np.log(np.maximum(state.weight, 1e-300)) if self.point else dirichlet_expected_log(state.weight)

    def expect(self, state: State, keep: bool = False) -> tuple[Told, Array, float]:
        """Take the sums over cells, the responsibilities if asked for, and the bound (eq. 34)."""
        T = len(self.cells.at)
        slope, cost = np.empty((T, self.K, self.D)), np.empty((T, self.K, self.D))
        R = self.mean_r(state)
        mean = self.odds(state)[0][self.cells.batch_of_node]
        for genes in self.blocks():
            first, _, _, second, _, _ = self.curves(state, genes)
            slope[..., genes] = mean[..., genes] - first
            cost[..., genes] = R[:, genes] * second
        constant, table = self.rising_expected(state)
        constant += self.cells.counts.log_depth - self.cells.counts.factorial
        lost = None
        if self.story.inflated:
            lost = Lost(-cost, *self.log_shares(state))
            constant += len(self.cells.counts.x) * lost.log_rest.sum()
        offset = None
        if self.cells.covariates is not None:
            effect, _ = self.effects(state)
            offset = (self.cells.covariates @ effect).T
            constant -= self.normaliser(state.weight, *self.effects(state))[0]
        logits = Logits(slope, self.log_pi(state) - cost.sum(-1), table)
        told, q = self.cells.expect(logits, offset, lost, keep)
        return told, q, told.log_sum + constant + self.apart(state)

    def effects(self, state: State) -> tuple[Array, Array]:
        """Mean and variance of the effects; both (P, K)."""
        return state.centre["effect"] @ self.of_component.T, self.variance(state, "effect") @ self.of_component.T**2

    def normaliser(self, weight: Array, mean: Array, variance: Array) -> tuple[float, Array]:
        """Bound the expected log of the sum of the weights over cells; and their shares (U, K) (eq. 35)."""
        logs = np.log(np.maximum(weight / weight.sum(), 1e-300)) + self.rows @ mean + self.rows**2 @ variance / 2
        share, norm = normalised(logs)
        return float(self.often @ norm), self.often[:, None] * share

    def rising_expected(self, state: State) -> tuple[float, Array | None]:
        """Expect ln Gamma(x + r) - ln Gamma(r): the sum over cells, or by distinct count (K, U)."""
        counts = self.cells.counts
        mean, variance = self.log_r(state)
        if not self.cells.own_r:
            mean, variance = mean[0], variance[0]
        table = sum(
            mass * rising_table(counts, np.exp(mean + np.sqrt(variance) * point))
            for point, mass in zip(self.points, self.mass, strict=True)
        )
        return (0.0, np.asarray(table)) if self.cells.own_r else (float(np.asarray(table) @ counts.frequency), None)

    def rising_slopes(self, state: State, told: Told) -> tuple[float, Array, Array]:
        """Sum it over cells; slopes by mean and variance of ln r, (K, D) or (1, D)."""
        from scipy.special import psi

        counts, own = self.cells.counts, self.cells.own_r
        mean, variance = (each if own else each[:1] for each in self.log_r(state))
        often = counts.frequency[None] if told.frequency is None else told.frequency
        size, sd = counts.by_gene(often), np.sqrt(variance)
        value, slope, wide = 0.0, np.zeros(mean.shape), np.zeros(mean.shape)
        for point, mass in zip(self.points, self.mass, strict=True):
            r = np.exp(mean + sd * point)
            value += mass * float((rising_table(counts, r) * often).sum())
            each = mass * r * (counts.by_gene(psi(counts.values + r[:, counts.gene]) * often) - size * psi(r))
            slope += each
            wide += each * point / np.maximum(2 * sd, 1e-12)
        return value, slope, wide

    def apart(self, state: State) -> float:
        """Return what no cell has a part in: minus the divergences of the factors from the prior, or its density."""
        out = sum(self.normal_terms(state, name)[0] for name in state.centre)
        if not self.point:
            out += self.prior_of_means(state)[0] - dirichlet_divergence(state.weight, float(self.problem["alpha0"]))
        if self.story.inflated:
            b0 = float(self.problem["zero_b"])
            if self.point:
                out += float((np.log(b0) + (b0 - 1) * np.log1p(-state.zero[0])).sum())
            else:
                out -= dirichlet_divergence(np.ascontiguousarray(state.zero.T), np.array([1.0, b0]))
        return float(out)

    def normal_terms(self, state: State, name: str) -> tuple[float, Array, Array]:
        """Entropy of a normal factor and expected log of its normal prior, with slopes by mean and variance.

        Points have neither entropy nor, of means and dispersion, a prior: their likelihood is maximised.
        """
        centre, variance = state.centre[name], self.variance(state, name)
        value, slope, wide = 0.0, 0.0 * centre, 0.0 * centre
        prior = {"log_r": "tau", "shift": "sd_shift", "effect": "sd_effect"}.get(name, "")
        if prior and not (self.point and name == "log_r"):
            sd = float(self.problem[prior])
            away = centre + np.log(self.problem["phi0"]) if name == "log_r" else centre
            value -= float((0.5 * (away**2 + variance) / sd**2 + np.log(sd) + HALF_LOG_2PI).sum())
            slope, wide = -away / sd**2, np.full(centre.shape, -0.5 / sd**2)
        if not self.point:
            value += float((0.5 + HALF_LOG_2PI + state.log_sd[name]).sum())
            wide = wide + 0.5 / variance
        return value, slope, wide

    def prior_of_means(self, state: State) -> tuple[float, Array, Array]:
        """Expect the log prior density of ln mu given r, with slopes by mean and variance of ln(mu / r)."""
        from scipy.special import betaln

        a0, b0 = float(self.problem["a0"]), float(self.problem["b0"])
        mean_r, var_r = self.log_r(state)
        odds = state.centre["log_mu"] - mean_r
        value, slope, wide = self.softplus(odds, self.variance(state, "log_mu") + var_r)
        total = float((b0 * odds - (a0 + b0) * value - betaln(a0, b0)).sum())
        return total, b0 - (a0 + b0) * slope, -(a0 + b0) * wide

    def means_and_slopes(self, state: State, told: Told) -> tuple[float, dict[str, Array], dict[str, Array]]:
        """Expect the log density of counts, means, shifts and dispersion, as a function of their factors (eq. 36).

        Returns
        -------
        value : float
        slope, wide : dict of str to ndarray
            Slopes by the means and the variances of the factors.
        """
        R, cells = self.mean_r(state), self.cells
        B = cells.batches
        by_mean, by_variance = np.zeros((B, self.K, self.D)), np.zeros((B, self.K, self.D))
        of_r, tilted, value = np.zeros((self.K, self.D)), np.zeros((self.K, self.D)), 0.0
        mean = self.odds(state)[0][cells.batch_of_node]
        for genes in self.blocks():
            total = told.total[..., genes]
            weight = told.weight[..., None] - (told.lost[..., genes] if told.lost.shape[-1] > 1 else told.lost)
            weight = weight * R[:, genes]
            first, slope, wide, second, slope_2, wide_2 = self.curves(state, genes)
            cost = weight * second
            value += float((total * (mean[..., genes] - first) - cost).sum())
            gain, width = total * (1 - slope) - weight * slope_2, -total * wide - weight * wide_2
            by_mean[..., genes] = gain.reshape(B, -1, *gain.shape[1:]).sum(1)
            by_variance[..., genes] = width.reshape(B, -1, *gain.shape[1:]).sum(1)
            of_r[:, genes] = cost.sum(0)
            tilted[:, genes] = (weight * slope_2).sum(0)
        slopes, wides = {"log_mu": by_mean.sum(0)}, {"log_mu": by_variance.sum(0)}
        if self.story.batches:
            slopes["shift"] = (self.of_batch.T @ by_mean.sum(1)).T
            wides["shift"] = ((self.of_batch**2).T @ by_variance.sum(1)).T
        prior = (0.0, 0.0 * by_mean[0], 0.0 * by_mean[0]) if self.point else self.prior_of_means(state)
        value += prior[0]
        slopes["log_mu"], wides["log_mu"] = slopes["log_mu"] + prior[1], wides["log_mu"] + prior[2]
        if self.estimates_phi:
            up, slope_r, wide_r = self.rising_slopes(state, told)
            value += up
            slopes["log_r"] = self.reduce(-by_mean.sum(0) - of_r - prior[1]) + self.reduce(slope_r)
            wides["log_r"] = self.reduce(by_variance.sum(0) + tilted - of_r / 2 + prior[2]) + self.reduce(wide_r)
        for name in slopes:
            more, slope, wide = self.normal_terms(state, name)
            value, slopes[name], wides[name] = value + more, slopes[name] + slope, wides[name] + wide
        return value, slopes, wides

    def reduce(self, terms: Array) -> Array:
        """Sum (K, D) terms to the dims of phi."""
        return np.asarray(terms.sum({"shared": None, "gene": 0, "component": 1}[self.story.dispersion]))

    def weights_and_slopes(self, state: State, told: Told) -> tuple[float, Array, Array, Array]:
        """Expect the log density of the groups as a function of weights and effects (eq. 35).

        Returns
        -------
        value : float
        by_weight : ndarray, shape (K,)
            Slope by the log of the Dirichlet parameter; of points, by ln pi before it is normalised.
        slope, wide : ndarray, shape (P, K - 1)
        """
        from scipy.special import polygamma

        assert told.covariates is not None
        mean, variance = self.effects(state)
        size, share = told.weight.sum(0), state.weight / state.weight.sum()
        norm, shares = self.normaliser(state.weight, mean, variance)
        taken = shares.sum(0)
        more, slope, wide = self.normal_terms(state, "effect")
        value = float((told.covariates.T * mean).sum()) - norm + more + float(size @ self.log_pi(state))
        slope = slope + (told.covariates.T - self.rows.T @ shares) @ self.of_component
        wide = wide - 0.5 * ((self.rows**2).T @ shares) @ self.of_component**2
        by_weight = size.sum() * share - taken  # of the normaliser, whose shares are those of the mean
        if self.point:
            return value, size - taken, slope, wide
        alpha, alpha0 = state.weight, float(self.problem["alpha0"])
        value -= dirichlet_divergence(alpha, alpha0)
        left = size + alpha0 - alpha
        by_weight += alpha * (left * polygamma(1, alpha) - left.sum() * polygamma(1, alpha.sum()))
        return value, by_weight, slope, wide


Objective = Callable[[Array], tuple[float, Array]]

PROMISED, FARTHEST, SHORTER, REMEMBERED = 1e-6, 2.0, 8, 20
"""Nats that a step must promise; how far it may go in a coordinate; how often it is made a quarter of its length; steps
from which curvature is read."""


def climb(objective: Objective, start: Array, scale: Array, limits: Array, steps: int) -> Array:
    """Raise an objective by a few steps of L-BFGS in scaled coordinates; never lower than the start.

    It stands beside SciPy's because an update takes few and cheap evaluations, which that one's own work outweighs.

    Parameters
    ----------
    objective : callable
        Returns value and gradient.
    start, scale : ndarray, shape (V,)
        ``scale`` is a guess of one over the root of the curvature.
    limits : ndarray, shape (V, 2)
    steps : int
    """
    low, high = limits.T
    x = np.clip(start, low, high)
    value, gradient = objective(x)
    memory: list[tuple[Array, Array]] = []
    for _ in range(steps):
        stuck = ((x <= low) & (gradient < 0)) | ((x >= high) & (gradient > 0))
        slope = np.where(stuck, 0, scale * gradient)
        along = _direction(slope, memory)
        along = np.where(stuck, 0, along) if along @ slope > 0 else slope
        promised = float(along @ slope)
        if promised < PROMISED:
            break
        length = min(1.0, FARTHEST / float(np.abs(scale * along).max()))
        for _ in range(SHORTER):
            there = np.clip(x + length * scale * along, low, high)
            new, its = objective(there)
            if np.isfinite(new) and new >= value + 1e-4 * length * promised:
                break
            length /= 4
        else:
            break
        moved, change = (there - x) / scale, scale * (gradient - its)
        if moved @ change > 1e-10 * (change @ change):
            memory = [*memory[1 - REMEMBERED :], (moved, change)]
        x, value, gradient = there, new, its
    return x


def _direction(slope: Array, memory: list[tuple[Array, Array]]) -> Array:
    """Apply the inverse curvature that past steps show to a slope (the two loops of L-BFGS)."""
    out, kept = slope.copy(), list[float]()
    for moved, change in reversed(memory):
        kept.append(float(moved @ out) / float(moved @ change))
        out -= kept[-1] * change
    if memory:
        moved, change = memory[-1]
        out *= float(moved @ change) / float(change @ change)
    for (moved, change), share in zip(memory, reversed(kept), strict=True):
        out += (share - float(change @ out) / float(moved @ change)) * moved
    return out
