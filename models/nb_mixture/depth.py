"""Variational Bayes with size factors: the Beta prior is no longer conjugate, so q(ln mu | r) lives on nodes.

Every q(ln mu_kd | r_j) is a log-concave density in one dimension. Its mode is found by Newton's method, and it is
summed by the trapezoidal rule over a coordinate in which it is nearly normal (eq. 20 of the card). Sums over cells are
sums over the nodes of their size factors, so that a sweep passes over the cells once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem
from genarium.simplex import dirichlet_divergence, dirichlet_expected_log, normalised

from .counts import Counts, Logits, Sums, log_weights, logits_at
from .factors import Grid, RisingTable
from .likelihood import Story

NODES = np.linspace(-4.5, 4.5, 9)
"""Nodes of the coordinate z of ln mu in which q(ln mu | r) is nearly normal."""

CHUNK = 200_000
"""Numbers in a work array, at most: it stays in the processor's cache."""

KEPT = 4_000_000
"""Numbers in the table of ln(1 + s mu / r), at most, that is kept from one half of a sweep to the other."""


@dataclass(frozen=True)
class NearNormal:
    """A coordinate z of ln mu in which q(ln mu | r) is nearly standard normal (eq. 20).

    With few counts, q is far from normal in ln mu itself: its left tail falls by no more than mu^(b0 + counts).

    Attributes
    ----------
    mode, sd : ndarray, shape (J, K, D)
        Mode of ln mu, and the sd that the curvature there gives.
    right, left : ndarray, shape (J, K, D)
        How fast the steps of ln mu grow to either side.
    """

    mode: Array
    sd: Array
    right: Array
    left: Array

    @classmethod
    def around(cls, mode: Array, curvature: Array, slope: Array) -> "NearNormal":
        """Match the third and fourth derivative of a Beta's logit with this curvature and, to the left, this slope."""
        p = 1 - curvature / slope
        skew, square = (1 - 2 * p) / (3 * np.sqrt(curvature)), (1 + 5 * p * (1 - p)) / (18 * curvature)
        root = np.sqrt(skew**2 + 4 * square)
        return cls(mode, curvature**-0.5, (root - skew) / 2, (root + skew) / 2)

    def at(self, index: Any) -> "NearNormal":
        """Return the coordinates of some densities."""
        return NearNormal(self.mode[index], self.sd[index], self.right[index], self.left[index])

    def log_mu(self, z: Array) -> tuple[Array, Array]:
        """Return ln mu at ``z``, and the logarithm of its derivative; all shapes broadcast."""
        both = self.right + self.left
        right, left = np.expm1(self.right * z), np.expm1(-self.left * z)
        slope = (self.right * (1 + right) + self.left * (1 + left)) / both
        return self.mode + self.sd * (right - left) / both, np.log(self.sd * slope)


@dataclass(frozen=True)
class Factors:
    """Factors given the responsibilities; shapes: J nodes of r, I nodes of ln mu.

    Attributes
    ----------
    weight : ndarray, shape (J, K or 1, D or 1)
        q of each node of r.
    coordinate : NearNormal
        Of every q(ln mu | r).
    log_mu : ndarray, shape (J, K, D, I)
        Nodes of ln mu.
    share : ndarray, shape (J, K, D, I)
        q of each node of ln mu given r.
    divergence : float
        KL from the prior.
    """

    weight: Array
    coordinate: NearNormal
    log_mu: Array
    share: Array
    divergence: float


@dataclass(frozen=True)
class State:
    """Logits of the responsibilities, the sums over cells that these give, and the modes of ln mu, shape (J, K, D)."""

    logits: Logits
    sums: Sums
    mode: Array


class DepthStep:
    """One sweep of coordinate ascent, ``step(state) -> (next state, bound of state)``."""

    nodes = np.linspace(-4.8, 4.8, 9)
    """Nodes of ln r in posterior sd: fewer than without size factors, for each multiplies those of ln mu."""

    def __init__(self, problem: Problem, counts: Counts, story: Story, grid: Grid) -> None:
        self.problem, self.counts, self.grid = problem, counts, grid
        self.alpha0, self.a0, self.b0 = (float(problem[name]) for name in ("alpha0", "a0", "b0"))
        self.K, self.D = problem.sizes["component"], problem.sizes["gene"]
        self.own_r = story.dispersion == "component"
        self.rising = RisingTable(counts, grid, not self.own_r, (self.K, self.D))
        self.r = self.rising.r
        self.constant = counts.log_depth - counts.factorial
        self.at = counts.nodes.at

    def first(self, mu: Array, pi: Array | None = None) -> State:
        """Take the responsibilities that centroids and weights (equal ones) give."""
        middle = len(self.r) // 2
        table = self.rising.table[middle] if self.own_r else None
        log_pi = np.zeros(1) if pi is None else log_weights(pi)
        logits = logits_at(self.at, log_pi, mu, self.r[middle], table)
        return State(logits, self.counts.expect(logits), np.broadcast_to(np.log(mu), self.r.shape).copy())

    def __call__(self, state: State) -> tuple[State, float]:
        """Update the factors, then the responsibilities; the bound is that of both (eq. 12)."""
        logits, mode, bound = self.update(state)
        sums = self.counts.expect(logits)
        return State(logits, sums, mode), sums.log_sum + bound

    def update(self, state: State) -> tuple[Logits, Array, float]:
        """Return the logits that the factors give, the modes, and the bound without the cells' share."""
        factors, mode, kept = self.factors(state)
        alpha = self.concentration(state)
        logits, rising = self.logits(factors, alpha, kept)
        divergence_pi = dirichlet_divergence(alpha, self.alpha0)
        return logits, mode, rising + self.constant - divergence_pi - factors.divergence

    def pack(self, state: State) -> Array:
        """Map a state to a vector: any logits are those of some responsibilities."""
        parts = (state.logits.intercept, state.logits.slope, state.logits.table)
        return np.concatenate([part.ravel() for part in (*parts, state.mode) if part is not None])

    def unpack(self, vector: Array) -> State:
        """Map a vector to a state."""
        T, K, D = len(self.at), self.K, self.D
        intercept, slope, rest = np.split(vector, [T * K, T * K * (1 + D)])
        table, mode = np.split(rest, [len(rest) - self.r.size])
        logits = Logits(slope.reshape(T, K, D), intercept.reshape(T, K), table.reshape(K, -1) if len(table) else None)
        return State(logits, self.counts.expect(logits), mode.reshape(self.r.shape))

    def newton(self, sums: Sums, mode: Array) -> tuple[Array, Array]:
        """Find the mode of every q(ln mu | r) and the curvature there; both (J, K, D)."""
        out, curvature = mode.copy(), np.empty_like(mode)
        both, total = self.a0 + self.b0, sums.total.sum(0)
        for genes in self.blocks(self.K * len(self.at) * len(self.r)):
            r = self.r[..., genes]
            weight = sums.total[:, None, :, genes] + sums.weight[:, None, :, None] * r  # (T, J, K, d)
            for _ in range(30):
                mu = np.exp(out[..., genes])
                prior = mu / (r + mu)
                mean = self.at[:, None, None, None] * mu
                share = mean / (r + mean)
                part = weight * share
                gone = part.sum(0)
                first = self.b0 + total[:, genes] - both * prior - gone
                second = both * prior * (1 - prior) + gone - np.einsum("tjkd,tjkd->jkd", part, share)
                step = np.clip(first / second, -2, 2)
                out[..., genes] += step
                if (np.abs(step) * np.sqrt(second)).max() < 1e-3:
                    break
            curvature[..., genes] = second
        return out, curvature

    def factors(self, state: State) -> tuple[Factors, Array, list[Array] | None]:
        """Return the optimal factors, their modes, and ln(1 + s mu / r) by block of genes where that is kept."""
        from scipy.special import betaln

        sums = state.sums
        mode, curvature = self.newton(sums, state.mode)
        coordinate = NearNormal.around(mode, curvature, self.b0 + sums.total.sum(0))
        log_mu, log_slope = coordinate.at((..., None)).log_mu(NODES)  # (J, K, D, I)
        odds = log_mu - np.log(self.r)[..., None]
        log_prior = self.b0 * odds - (self.a0 + self.b0) * np.log1p(np.exp(odds)) - betaln(self.a0, self.b0)
        log_prior += log_slope + np.log(NODES[1] - NODES[0])
        kept = self.log_ratios(odds)
        data = self.data(sums, odds, kept)
        share, log_z = normalised(log_prior + data)
        divergence_mu = (share * data).sum(-1) - log_z  # (J, K, D)
        weight_r, divergence_r = self.rising.weight(log_z, self.rising.own(sums.frequency))
        divergence = float((weight_r * divergence_mu).sum()) + divergence_r
        return Factors(weight_r, coordinate, log_mu, share, divergence), mode, kept

    def data(self, sums: Sums, odds: Array, kept: list[Array] | None) -> Array:
        """Sum over cells the share of the counts in ln q(ln mu | r) at its nodes; shape (J, K, D, I)."""
        out = np.asarray(sums.total.sum(0)[..., None] * odds)
        for genes, logs in self.table(odds, kept):
            weight = np.broadcast_to(sums.weight.T[:, None], (self.K, logs.shape[1], len(self.at)))
            pair = np.stack([np.moveaxis(sums.total[..., genes], 0, -1), weight], 2)  # (K, d, 2, T)
            of_x, of_r = np.moveaxis((pair @ logs).reshape(*logs.shape[:2], 2, len(self.r), -1), (2, 3), (0, 1))
            out[:, :, genes] -= of_x + self.r[:, :, genes, None] * of_r
        return out

    def log_ratios(self, odds: Array) -> list[Array] | None:
        """Return the blocks of :meth:`table`, where they are few enough to keep."""
        return [logs for _, logs in self.table(odds)] if odds.size * len(self.at) <= KEPT else None

    def table(self, odds: Array, kept: list[Array] | None = None) -> Iterator[tuple[slice, Array]]:
        """Yield blocks of genes and :meth:`log_ratio` of each."""
        for i, genes in enumerate(self.blocks(odds.size // self.D * len(self.at))):
            yield genes, self.log_ratio(odds, genes) if kept is None else kept[i]

    def blocks(self, width: int) -> Iterator[slice]:
        """Split the genes so that a work array of ``width`` numbers a gene stays small."""
        step = max(1, CHUNK // width)
        return (slice(low, low + step) for low in range(0, self.D, step))

    def log_ratio(self, odds: Array, genes: slice) -> Array:
        """Return ln(1 + s mu / r) at all nodes, for ln(mu / r) of shape (J, K, D, I); shape (K, d, T, J I)."""
        some = np.moveaxis(odds[:, :, genes], 0, 2)  # (K, d, J, I)
        ratio = np.exp(some.reshape(*some.shape[:2], 1, -1))
        return np.log1p(self.at[:, None] * ratio)

    def logits(self, factors: Factors, alpha: Array, kept: list[Array] | None = None) -> tuple[Logits, float]:
        """Logits of the responsibilities, and the sum over cells of what is the same for all components."""
        weight = np.broadcast_to(factors.weight, self.r.shape)
        odds = factors.log_mu - np.log(self.r)[..., None]
        joint = weight[..., None] * factors.share  # (J, K, D, I)
        T = len(self.at)
        slope = np.repeat((joint * odds).sum((0, -1))[None], T, 0)  # (T, K, D)
        intercept = np.repeat(dirichlet_expected_log(alpha)[None], T, 0)
        for genes, logs in self.table(odds, kept):
            some = np.stack([joint[:, :, genes], self.r[:, :, genes, None] * joint[:, :, genes]], -1)
            pair = np.moveaxis(some, 0, 2).reshape(*logs.shape[:2], -1, 2)  # (K, d, J I, 2)
            expected = logs @ pair  # (K, d, T, 2)
            slope[..., genes] -= np.moveaxis(expected[..., 0], -1, 0)
            intercept -= expected[..., 1].sum(1).T
        rising, table = self.rising.expected(factors.weight)
        return Logits(slope, intercept, table), rising

    def concentration(self, state: State) -> Array:
        """Return the parameter of q(pi) (eq. 8)."""
        return np.asarray(self.alpha0 + np.maximum(state.sums.weight.sum(0), 0))

    def weight(self, state: State) -> Array:
        """Return q of the nodes of r."""
        return self.factors(state)[0].weight

    def responsibilities(self, state: State) -> Array:
        """Return q of the groups."""
        return self.counts.assign(self.update(state)[0])[0]

    def given(self, q: Array, like: State) -> State:
        """Return the state of given responsibilities."""
        return State(like.logits, self.counts.sums(q), like.mode)

    def parameters(self, state: State, order: Array) -> dict[str, Any]:
        """Return mean and sd of ln mu, phi integrated out."""
        factors, _, _ = self.factors(state)
        mean, sd = moments(factors.share, factors.log_mu)
        centre = (factors.weight * mean).sum(0)
        spread = np.sqrt((factors.weight * (sd**2 + (mean - centre) ** 2)).sum(0))
        dims = ("component", "gene")
        return {"log_mu_mean": (dims, centre[order]), "log_mu_sd": (dims, spread[order])}

    def draw_mu(self, rng: np.random.Generator, state: State, r: Array, node: Array) -> tuple[Array, Array]:
        """Draw mu, whose coordinate is normal with the factor's moments at the nearest node of r."""
        factors, _, _ = self.factors(state)
        at = np.broadcast_to(node, (len(r), self.K, self.D))
        drawn = (at, np.arange(self.K)[:, None], np.arange(self.D))
        mean, sd = (moment[drawn] for moment in moments(factors.share, NODES))
        noise = rng.normal(size=mean.shape)
        log_mu, log_slope = factors.coordinate.at(drawn).log_mu(mean + sd * noise)
        log_q = -0.5 * noise**2 - np.log(sd) - 0.5 * np.log(2 * np.pi) - log_slope - log_mu
        return np.exp(log_mu), log_q.sum((1, 2))


def moments(share: Array, value: Array) -> tuple[Array, Array]:
    """Mean and sd of values at nodes (..., I) with weights ``share`` (J, K, D, I)."""
    mean = (share * value).sum(-1)
    return mean, np.sqrt((share * (value - mean[..., None]) ** 2).sum(-1))
