"""Variational Bayes by coordinate ascent; equation numbers refer to the card (README.md)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Ascent, Restarts, ascend, best_of
from genarium.errors import InputError
from genarium.simplex import dirichlet_log_norm

from . import search
from .conjugate import ConjugateStep
from .corrected import correct
from .counts import Counts, Sums
from .depth import DepthStep
from .em import em
from .factors import Grid, draw_r, grid_around, known_grid, refined
from .likelihood import Story
from .moves import FEWEST
from .response import respond
from .seeding import k_means_plus_plus
from .updates import DispersionObjective

FEW = 10
"""Starts of the EM that finds where the nodes of r go, for as many cells as variational Bayes starts from itself."""

OWN = 2
"""Starts of its own beside the mode of EM, for some thousand cells: it may prefer fewer components than EM."""


class Step(Protocol):
    """A sweep of coordinate ascent over all factors, for one grid of r."""

    grid: Grid
    nodes: Array

    def __call__(self, state: Any) -> tuple[Any, float]:
        """Update the factors, then the responsibilities; the bound is that of both."""

    def first(self, mu: Array, pi: Array | None = None) -> Any:
        """Return the state that centroids and weights (equal ones) give."""

    def responsibilities(self, state: Any) -> Array:
        """Return q of the groups; shape (K, N)."""

    def concentration(self, state: Any) -> Array:
        """Return the parameter of q(pi), a Dirichlet distribution; shape (K,)."""

    def weight(self, state: Any) -> Array:
        """Return q of the nodes of r; shape (J, K or 1, D or 1)."""

    def parameters(self, state: Any, order: Array) -> dict[str, Any]:
        """Return the parameters of q(mu | phi) with the components in the given order."""

    def draw_mu(self, rng: np.random.Generator, state: Any, r: Array, node: Array) -> tuple[Array, Array]:
        """Draw mu (S, K, D) given r, and the log density of each draw (S,)."""


def vi(
    problem: Problem,
    rng: np.random.Generator,
    *,
    restarts: int = 10,
    tolerance: float = 1e-6,
    max_iterations: int = 2000,
    accelerate: bool = True,
    draws: int = 1000,
    covariance: Literal["mean_field", "linear_response"] = "mean_field",
    polish: bool = False,
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
    accelerate : bool
        With size factors: extrapolate by SQUAREM.
    draws : int
        Draws for the posterior group.
    covariance : {"mean_field", "linear_response"}
        Whether these are draws from q; or of the posterior, by Pareto-smoothed importance resampling from a proposal
        with the linear-response covariance (eqs. 21 to 26).
    polish : bool
        With linear response: where the ratios are too heavy-tailed for that, run NUTS from there instead of refusing.

    Returns
    -------
    Result
        ``variational``: parameters of q, the responsibilities, the bound by restart and iteration; ``posterior``:
        draws from q, with their log density under q in ``sample_stats``; or the corrected draws, with Pareto k-hat
        among the notes and linear-response moments in ``variational``. Components are sorted by decreasing weight.

    Raises
    ------
    InputError
        If an unknown variable is to be held fixed, or ``covariance`` is not known.
    ApproximationError
        With linear response: if Pareto k-hat is too large, or the ascent did not end at an optimum.
    """
    if polish and covariance == "mean_field":
        raise InputError("nb_mixture: option polish=True corrects covariance='linear_response'; give that too.")
    counts = Counts(problem["x"], problem["size_factor"])
    story = Story(problem.option("dispersion"))
    kind: Any = DepthStep if counts.has_depth else ConjugateStep
    many = counts.x.shape[0] > search.MANY and restarts > 1  # then EM, which is faster, looks for the mode
    also = restarts > 1 and problem.sizes["component"] >= FEWEST  # moves reach modes that starts miss
    first_by_em = many or also or story.dispersion != "known"
    found_point = em(problem, rng, restarts=restarts if many else FEW) if first_by_em else None
    if found_point is None or story.dispersion == "known":
        grid = known_grid(problem, story)
    else:
        grid = first_grid(problem, counts, story, found_point, kind.nodes)
    step: Step = kind(problem, counts, story, grid)

    def ascent_by(step: Any, state: Any) -> Ascent[Any]:
        vector = (step.pack, step.unpack) if accelerate and isinstance(step, DepthStep) else None
        return ascend(step, state, tolerance=tolerance, max_iterations=max_iterations, vector=vector)

    def ascent(state: Any) -> Ascent[Any]:
        return ascent_by(step, state)

    def start() -> Any:
        return step.first(k_means_plus_plus(counts.x, counts.size_factor, problem.sizes["component"], rng))

    starts: dict[str, Any] = {}
    if found_point is not None:
        mode = step.first(np.asarray(found_point.point["mu"]), np.asarray(found_point.point["pi"]))
    if many and found_point is not None:
        own = OWN if len(counts.x) <= search.LEAST else 0
        found = best_of((ascent(start() if i else mode) for i in range(1 + own)), "VI from the mode of EM", 1 + own)
        if found.best is found.runs[0]:
            starts = {name: found_point.notes[name] for name in ("restarts", "restarts_at_best")}
    else:
        runs = (ascent(mode if also and not i else start()) for i in range(restarts))
        found = best_of(runs, "VI restarts", restarts)
    step, found = resolved(problem, step, found, lambda grid: kind(problem, counts, story, grid), ascent_by)
    if covariance == "mean_field":
        return collect(problem, step, found, rng, draws, starts)
    state, *response = respond(step, found.best.state)
    settled = replace(found, best=replace(found.best, state=state))
    result = collect(problem, step, settled, rng, draws, starts)
    order = np.argsort(-step.concentration(state), kind="stable")
    return correct(problem, rng, step, result, response, order, draws=draws, polish=polish)


def resolved(
    problem: Problem,
    step: Step,
    found: Restarts[Any],
    made: Callable[[Grid], Step],
    ascent: Callable[[Step, Any], Ascent[Any]],
) -> tuple[Step, Restarts[Any]]:
    """Move the nodes of r, and ascend again, until they resolve the factor of r."""
    for _ in range(20):
        better = refined(problem, step.grid, step.weight(found.best.state), step.nodes)
        if better is None:
            break
        step = made(better)
        again = ascent(step, found.best.state)
        found = Restarts(again, tuple(again if run is found.best else run for run in found.runs))
    return step, found


def first_grid(problem: Problem, counts: Counts, story: Story, found: Result, nodes: Array) -> Grid:
    """Centre the nodes on the EM estimate, with the width of its likelihood."""
    phi, mu = np.asarray(found.point["phi"]), np.asarray(found.point["mu"])
    responsibility = found.point["responsibility"]
    assert isinstance(responsibility, tuple)
    return grid_at(problem, counts, story, phi, mu, counts.sums(responsibility[1].T), nodes)


def grid_at(problem: Problem, counts: Counts, story: Story, phi: Array, mu: Array, sums: Sums, nodes: Array) -> Grid:
    """Centre the nodes on an estimate of phi, with the width of its likelihood given the sums of an E-step."""
    _, _, curvature = DispersionObjective(sums, counts, mu, story)(-np.log(phi))
    tau = float(problem["tau"])
    variance = 1 / (np.maximum(-curvature, 0) + tau**-2)
    limit = np.log(problem["phi0"]) + 6 * tau * np.array([-1, 1])
    log_r = -np.clip(np.log(phi), *limit)
    if story.dispersion != "component":
        return grid_around(problem, log_r.reshape(1, -1), np.sqrt(variance).reshape(1, -1), nodes)
    # every restart numbers the components anew: one grid that covers them all
    sd = np.sqrt((np.ptp(log_r) / 4) ** 2 + variance.max())
    return grid_around(problem, np.full((len(mu), 1), log_r.mean()), np.full((len(mu), 1), sd), nodes)


def collect(
    problem: Problem, step: Step, found: Restarts[Any], rng: np.random.Generator, draws: int, starts: Mapping[str, Any]
) -> Result:
    """Draw from q, and label its parameters with the components sorted by decreasing weight; ``starts``: more notes."""
    state = found.best.state
    alpha, weight = step.concentration(state), step.weight(state)
    order = np.argsort(-alpha, kind="stable")
    pi = np.maximum(rng.dirichlet(alpha, draws), 1e-300)
    log_q = ((alpha - 1) * np.log(pi)).sum(1) + dirichlet_log_norm(alpha)
    variational: dict[str, Any] = {
        "alpha": (("component",), alpha[order]),
        "responsibility": (("cell", "component"), step.responsibilities(state)[order].T),
        "bound": found.trace,
        **step.parameters(state, order),
    }
    posterior: dict[str, Array] = {}
    if len(weight) == 1:
        r, node = np.exp(step.grid.log_r), np.zeros((1, 1, 1), dtype=int)
    else:
        r, node, log_q_r = draw_r(rng, draws, step.grid, weight)
        log_q = log_q + log_q_r + np.log(r).sum((1, 2))  # d phi = phi d ln r
        own = order if r.shape[1] > 1 else slice(None)
        dims = problem.model.variables()["phi"].dims
        shape = problem.model.shape("phi", problem.sizes)
        posterior["phi"] = (1 / r[:, own]).reshape(1, draws, *shape)
        nodes = np.exp(-step.grid.log_r)[:, own].reshape(-1, *shape)
        variational |= {
            "phi_node": (("node", *dims), nodes),
            "phi_weight": (("node", *dims), weight[:, own].reshape(-1, *shape)),
        }
    mu, log_q_mu = step.draw_mu(rng, state, np.broadcast_to(r, (draws, *r.shape[1:])), node)
    posterior |= {"pi": pi[None, :, order], "mu": mu[None, :, order]}
    return Result(
        variational=variational,
        posterior=posterior,
        sample_stats={"log_q": (log_q + log_q_mu)[None]},
        notes={**found.notes, **starts},
    )
