"""Variational Bayes by coordinate ascent; equation numbers refer to the card (README.md)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Ascent, Restarts, ascend, best_of
from genarium.errors import InputError

from .counts import Counts, Moments
from .em import DispersionObjective, em
from .factors import Conjugate, Factors, Grid, grid_around, known_grid
from .likelihood import Story, log_joint
from .start import k_means_plus_plus


@dataclass(frozen=True)
class State:
    """Sums over the responsibilities; all factors follow from them."""

    moments: Moments
    frequency: Array | None  # (K, U), where components have their own unknown r


def vi(
    problem: Problem,
    rng: np.random.Generator,
    *,
    restarts: int = 10,
    tolerance: float = 1e-4,
    max_iterations: int = 2000,
    draws: int = 1000,
) -> Result:
    """Fit q(G) q(pi) q(phi) q(mu | phi) by coordinate ascent from several k-means++ starts.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    restarts : int
        Number of starts.
    tolerance : float
        Nats of the evidence lower bound that may be left to gain.
    max_iterations : int
    draws : int
        Draws from q for the posterior group.

    Returns
    -------
    Result
        ``variational``: parameters of q, the responsibilities, the bound by restart and iteration; ``posterior``:
        draws from q, with their log density under q in ``sample_stats``. Components are sorted by decreasing weight.
    """
    if problem.fixed:
        raise InputError(
            f"nb_mixture: method 'vi' cannot hold {', '.join(problem.fixed)} fixed; method 'em' can"
            + (", and dispersion='known' takes phi as given." if "phi" in problem.fixed else ".")
        )
    counts = Counts(problem["x"], problem["size_factor"])
    if counts.has_depth:
        from .depth import vi_with_depth

        return vi_with_depth(problem, counts, rng, restarts, tolerance, max_iterations, draws)
    story = Story(problem.model.chosen.get("dispersion", "known"))
    grid = known_grid(problem, story) if story.dispersion == "known" else _first_grid(problem, counts, story, rng)
    step = Step(problem, counts, story, grid)
    settings = {"tolerance": tolerance, "max_iterations": max_iterations}

    def run() -> Ascent[State]:
        mu = k_means_plus_plus(problem["x"], problem["size_factor"], problem.sizes["component"], rng)
        return ascend(step, step.first(mu), **settings)

    found = best_of((run() for _ in range(restarts)), "VI restarts", restarts)
    for _ in range(20):  # until the nodes resolve the factor of r
        better = step.refined(found.best.state)
        if better is None:
            break
        step = Step(problem, counts, story, better)
        found = Restarts(*_replace_best(found, ascend(step, found.best.state, **settings)))
    return step.result(found, rng, draws)


def _replace_best(found: Restarts[State], run: Ascent[State]) -> tuple[Ascent[State], tuple[Ascent[State], ...]]:
    return run, tuple(run if other is found.best else other for other in found.runs)


def _first_grid(problem: Problem, counts: Counts, story: Story, rng: np.random.Generator) -> Grid:
    """Centre the nodes on the EM estimate, with the width of its likelihood."""
    point = em(problem, rng, restarts=3).point
    phi, mu = np.asarray(point["phi"]), np.asarray(point["mu"])
    responsibility = point["responsibility"]
    assert isinstance(responsibility, tuple)
    _, _, curvature = DispersionObjective(responsibility[1].T, counts, mu, story)(-np.log(phi))
    tau = float(problem["tau"])
    information = np.maximum(-curvature, 0) + tau**-2
    limit = np.log(problem["phi0"]) + 6 * tau * np.array([-1, 1])
    log_r = -np.clip(np.log(phi), *limit)
    if story.dispersion == "component":  # the restarts number the components anew: one grid that covers all
        between = np.ptp(log_r) / 4
        log_r, information = np.full_like(log_r, log_r.mean()), np.full_like(log_r, 1 / (between**2 + (1 / information).max()))
    return grid_around(problem, _wide(log_r, story), _wide(information**-0.5, story))


def _wide(values: Array, story: Story) -> Array:
    """Give a value of phi's shape the shape (K or 1, D or 1)."""
    values = np.asarray(values)
    return values[:, None] if story.dispersion == "component" else values.reshape(1, -1)


class Step:
    """One sweep of coordinate ascent, ``step(state) -> (next state, bound of state)``."""

    def __init__(self, problem: Problem, counts: Counts, story: Story, grid: Grid) -> None:
        self.problem, self.counts, self.story = problem, counts, story
        self.conjugate = Conjugate(problem, counts, story, grid)
        self.needs_frequency = story.dispersion == "component"

    def first(self, mu: Array) -> State:
        """Take the sums of the responsibilities that centroids give."""
        K = len(mu)
        J = len(self.conjugate.r) // 2
        phi = np.broadcast_to(1 / self.conjugate.r[J], mu.shape)
        logits = log_joint(self.problem["x"], self.counts.size_factor, np.full(K, 1 / K), mu, phi)
        q, _ = self.counts.responsibilities(logits)
        frequency = self.counts.weighted_frequency(q) if self.needs_frequency else None
        return State(Moments(0.0, q.sum(1), q @ self.problem["x"]), frequency)

    def __call__(self, state: State) -> tuple[State, float]:
        """Update the factors, then the responsibilities; the bound is that of both (eq. 12)."""
        factors, alpha = self.factors(state)
        log_pi, divergence_pi = _dirichlet(alpha, float(self.problem["alpha0"]))
        rising, extra = self.conjugate.expected_rising(factors)
        intercept = log_pi + factors.intercept.sum(1)
        bound = rising - self.counts.factorial - divergence_pi - factors.divergence
        if self.needs_frequency:
            logits = self.counts.linear(factors.slope, intercept) + (0 if extra is None else extra)
            q, log_sum = self.counts.responsibilities(logits)
            moments = Moments(log_sum, q.sum(1), q @ self.problem["x"])
            return State(moments, self.counts.weighted_frequency(q)), bound + log_sum
        moments = self.counts.sweep(factors.slope, intercept, extra)
        return State(moments, None), bound + moments.log_sum

    def factors(self, state: State) -> tuple[Factors, Array]:
        """Return q(phi) q(mu | phi), and the concentration of q(pi) (eq. 8)."""
        factors = self.conjugate(state.moments, state.frequency)
        return factors, float(self.problem["alpha0"]) + state.moments.weight

    def logits(self, state: State) -> Array:
        """Logits of the responsibilities, up to a constant of the cell; shape (K, N)."""
        factors, alpha = self.factors(state)
        log_pi, _ = _dirichlet(alpha, float(self.problem["alpha0"]))
        _, extra = self.conjugate.expected_rising(factors)
        out = self.counts.linear(factors.slope, log_pi + factors.intercept.sum(1))
        return out if extra is None else out + extra

    def refined(self, state: State) -> Grid | None:
        """Return a better grid where this one is too coarse or misses mass; None where it is good."""
        grid = self.conjugate.grid
        if len(grid.log_r) == 1:
            return None
        weight = self.factors(state)[0].weight
        centre = (weight * grid.log_r).sum(0)
        sd = np.sqrt((weight * (grid.log_r - centre) ** 2).sum(0))
        edge = np.maximum(weight[0], weight[-1])
        coarse, cut = sd < 0.8 * 4 * grid.spacing, edge > 1e-7
        if not (coarse | cut).any() or (sd > 4.5 * grid.spacing).all() and (edge < 1e-5).all():
            return None
        wider = np.where(cut, np.maximum(1.5 * sd, 4 * grid.spacing), np.maximum(sd, grid.spacing))
        return grid_around(self.problem, centre, wider)

    def result(self, found: Restarts[State], rng: np.random.Generator, draws: int) -> Result:
        """Collect the factors, sort the components and draw from q."""
        state = found.best.state
        factors, alpha = self.factors(state)
        q, _ = self.counts.responsibilities(self.logits(state))
        order = np.argsort(-alpha, kind="stable")
        grid = self.conjugate.grid
        by_component = factors.weight.shape[1] > 1
        weight = factors.weight[:, order] if by_component else factors.weight
        log_r = grid.log_r[:, order] if grid.log_r.shape[1] > 1 else grid.log_r
        spacing = grid.spacing[order] if grid.spacing.shape[0] > 1 else grid.spacing
        alpha, a, b = alpha[order], factors.a[:, order], factors.b[order]
        samples, log_q = draw(rng, draws, self.problem, self.story, alpha, a, b, weight, log_r, spacing)
        variational: dict[str, Any] = {
            "alpha": (("component",), alpha),
            "responsibility": (("cell", "component"), q[order].T),
            "bound": found.trace,
        }
        if len(log_r) == 1:
            variational |= {"a": (("component", "gene"), a[0]), "b": (("component", "gene"), b)}
        else:
            dims = self.problem.model.variables()["phi"].dims
            sizes = [self.problem.sizes[d] for d in dims]
            variational |= {
                "b": (("component", "gene"), b),
                "phi_node": (("node", *dims), np.exp(-log_r).reshape(len(log_r), *sizes)),
                "phi_weight": (("node", *dims), weight.reshape(len(log_r), *sizes)),
            }
        return Result(variational=variational, posterior=samples, sample_stats={"log_q": log_q[None]}, notes=found.notes)


def _dirichlet(alpha: Array, alpha0: float) -> tuple[Array, float]:
    """Expected ln pi under Dirichlet(alpha), and KL from the symmetric prior."""
    from scipy.special import gammaln, psi

    expected = psi(alpha) - psi(alpha.sum())
    K = len(alpha)
    log_norm = gammaln(alpha.sum()) - gammaln(alpha).sum()
    log_norm0 = gammaln(K * alpha0) - K * gammaln(alpha0)
    return expected, float(log_norm - log_norm0 + ((alpha - alpha0) * expected).sum())


def draw(
    rng: np.random.Generator,
    draws: int,
    problem: Problem,
    story: Story,
    alpha: Array,
    a: Array,
    b: Array,
    weight: Array,
    log_r: Array,
    spacing: Array,
) -> tuple[dict[str, Array], Array]:
    """Draw from q and give the log density of each draw.

    Returns
    -------
    draws : dict
        pi (1, S, K), mu (1, S, K, D) and, where unknown, phi (1, S, ...).
    log_q : ndarray, shape (S,)
        With respect to Lebesgue measure on pi, mu and phi.
    """
    from scipy.special import betaln, gammaln

    S = draws
    pi = np.maximum(rng.dirichlet(alpha, S), 1e-300)
    log_q = ((alpha - 1) * np.log(pi)).sum(1) + gammaln(alpha.sum()) - gammaln(alpha).sum()
    samples: dict[str, Array] = {}
    if len(log_r) == 1:
        r = np.broadcast_to(np.exp(log_r), (S, *b.shape))
        a_r = np.broadcast_to(a, r.shape)
    else:
        cumulative = weight.cumsum(0)
        u = rng.uniform(size=(S, 1, *spacing.shape))
        node = (u > cumulative[:-1]).sum(1)  # (S, K or 1, D or 1)
        width = rng.uniform(-0.5, 0.5, node.shape) * spacing
        picked = np.take_along_axis(log_r, node, 0) + width
        density = np.log(np.take_along_axis(weight, node, 0) / spacing)
        log_q = log_q + density.sum((1, 2)) + picked.sum((1, 2))  # d phi = phi d ln r
        samples["phi"] = np.exp(-picked).reshape(1, S, *problem.model.shape("phi", problem.sizes))
        r = np.broadcast_to(np.exp(picked), (S, *b.shape))
        rate = (a[1:2] - a[:1]) / (np.exp(log_r[1:2]) - np.exp(log_r[:1]))  # a is linear in r
        a_r = a[:1] + rate * (r - np.exp(log_r[:1]))
    p = np.clip(rng.beta(a_r, b), 1e-300, 1 - 1e-16)
    mu = r * (1 - p) / p
    log_q = log_q + (
        (a_r + 1) * np.log(p) + (b - 1) * np.log1p(-p) - betaln(a_r, b) - np.log(r)
    ).sum((1, 2))
    return {**samples, "pi": pi[None], "mu": mu[None]}, log_q
