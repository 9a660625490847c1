"""Independence Metropolis sampling, for densities of few unknown variables; equation 34 of the card (README.md).

Proposals come from a multivariate t density that importance sampling has fitted to the posterior beforehand, or from a
mixture of them, one for each place where the posterior was found to have mass. They do not depend on where a chain is,
so that the density is evaluated at all of them at once.
"""

from collections.abc import Callable, Sequence

import numpy as np

from genarium.declaration import Array, Arrays, Problem, Result
from genarium.engines import importance
from genarium.evaluate import at_draws, likelihood_of

from . import intercepts

STAY, LONGEST = 5.0, 20
"""Steps at one proposal that draws bear; steps for a draw at most."""

STARTS = 40
"""How often the model is asked for a start: it may have several."""

WITHIN, APART = 10.0, 2.0
"""Nats below the largest mass up to which a place counts; standard deviations that lie between two places."""

LEAST = 0.02
"""Share of the proposals that each place has at least, relative to the largest."""


def independence(
    problem: Problem,
    rng: np.random.Generator,
    *,
    chains: int = 4,
    draws: int = 1000,
    tune: int = 100,
    fitting: int = 2000,
) -> Result:
    """Sample by Metropolis steps to proposals that do not depend on where the chain is.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    chains, draws, tune : int
        Chains; draws kept of each; draws thrown away before.
    fitting : int
        Draws of each round that fits the proposal's density.

    Returns
    -------
    Result
        ``posterior`` of all unknown variables; the share of proposals accepted in the notes.
    """
    space = Coordinates(problem)
    places = space.places(rng)
    proposal = Proposal([importance.sample(space.log_density, *place, rng, draws=fitting) for place in places])
    fitted = importance.pooled(proposal.parts)
    every = thinning(fitted.log_ratio)
    found, accepted = [], 0.0
    for _ in range(chains):
        proposed = proposal.draw(rng, every * (tune + draws))
        ratio = space.log_density(proposed) - proposal.log_density(proposed)
        kept = metropolis(np.where(np.isfinite(ratio), ratio, -np.inf), rng)
        accepted += float((np.diff(kept) != 0).mean()) / chains
        kept = kept[every * tune :: every]
        found.append(space.natural(proposed[kept]))
    posterior = {name: np.stack([one[name] for one in found]) for name in found[0]}
    notes = {"accepted": accepted, "khat": fitted.khat, "thin": every, "parts": len(proposal.parts)}
    return Result(posterior=posterior, notes=notes)


class Proposal:
    """A mixture of multivariate t densities, each with the share of the posterior that it was found to hold."""

    def __init__(self, parts: Sequence[importance.Sampled]) -> None:
        self.parts = parts
        self.factors = [np.linalg.cholesky(part.covariance) for part in parts]
        self.log_volume = np.array([np.log(np.diag(factor)).sum() for factor in self.factors])
        mass = self.log_volume + [np.logaddexp.reduce(one.log_ratio[np.isfinite(one.log_ratio)]) for one in parts]
        share = np.maximum(np.exp(mass - mass.max()), LEAST)
        self.share = share / share.sum()

    def draw(self, rng: np.random.Generator, draws: int) -> Array:
        """Draw from it; shape (draws, P)."""
        of = rng.choice(len(self.parts), draws, p=self.share)
        noise = importance.student(rng, draws, len(self.parts[0].mean))
        drawn = np.stack([p.mean + noise @ factor.T for p, factor in zip(self.parts, self.factors, strict=True)])
        return np.asarray(drawn[of, np.arange(draws)])

    def log_density(self, at: Array) -> Array:
        """Log of its density, up to a constant; shape (S,)."""
        identity = np.eye(at.shape[1])[None]
        of_parts = [
            np.log(share) - volume + importance.log_proposal(at, part.mean, factor, identity)
            for share, volume, part, factor in zip(self.share, self.log_volume, self.parts, self.factors, strict=True)
        ]
        return np.asarray(np.logaddexp.reduce(of_parts))


def thinning(log_ratio: Array) -> int:
    """Return how many steps to make for a draw: a chain stays at its rarest proposal about as long as that weighs."""
    finite = log_ratio[np.isfinite(log_ratio)]
    heaviest = float(finite.max() - np.logaddexp.reduce(finite)) + float(np.log(len(finite)))
    return int(np.clip(np.ceil(np.exp(heaviest) / STAY), 1, LONGEST))


def metropolis(log_ratio: Array, rng: np.random.Generator) -> Array:
    """Return which proposal a chain is at after each, from the logarithms of density over proposal (eq. 34)."""
    level = -rng.exponential(size=len(log_ratio))
    at, kept = int(np.argmax(log_ratio > -np.inf)), np.empty(len(log_ratio), dtype=int)
    for t in range(len(log_ratio)):
        if log_ratio[t] - log_ratio[at] >= level[t]:
            at = t
        kept[t] = at
    return kept


STEPS = 10.0 ** np.arange(-20, 21)
"""What is tried to find how wide a prior is: effects may have any unit."""


INTERCEPT = "intercept"


class Coordinates:
    """The unknown variables in a row, the positive ones by their logarithms, others in standard deviations of priors.

    Steps of differences are thus right whatever the units of the traits. An intercept is in the coordinate in which its
    prior is standard normal.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        sizes = problem.sizes
        self.variables = problem.model.unknown.variables
        self.shapes = {n: tuple(sizes[dim] for dim in var.dims) for n, var in self.variables.items()}
        likelihood, prior = likelihood_of(problem), problem.model.log_prior
        assert likelihood is not None
        assert prior is not None
        self.likelihood: Callable[..., Array] = likelihood
        self.prior: Callable[..., Array | float] = prior
        self.scale = float(problem["outcome_scale"])
        self.units: dict[str, Array | float] = dict.fromkeys(self.variables, 1.0)

    def _positive(self, name: str) -> bool:
        return self.variables[name].support.name == "positive"

    def first(self, rng: np.random.Generator) -> Array:
        """Return the coordinates of the model's starting point."""
        assert self.problem.model.start is not None
        at = self.problem.model.start(self.problem, rng)
        given = [n for n in self.variables if self._positive(n) or n == INTERCEPT]
        self.units = {n: 1.0 if n in given else self._widths(at, n) for n in self.variables}
        return np.concatenate([np.ravel(self._coordinate(n, at[n])) for n in self.variables])

    def _coordinate(self, name: str, value: Array) -> Array:
        if self._positive(name):
            return np.log(value)
        if name == INTERCEPT:
            return intercepts.coordinate_of(value, self.scale)
        return value / self.units[name]

    def _of_coordinate(self, name: str, part: Array) -> tuple[Array, Array | float]:
        """Return the variable, and the log of its derivative by the coordinate, up to a constant."""
        if self._positive(name):
            return np.exp(part), part
        if name == INTERCEPT:
            value = intercepts.intercept_of(part, self.scale)
            return value, -0.5 * part**2 - intercepts.log_prior(value, self.scale)
        return part * self.units[name], 0.0

    def _widths(self, at: Arrays, name: str) -> Array:
        """Return standard deviations of normal priors, by their second differences."""
        size, many = int(np.prod(self.shapes[name])), len(STEPS)
        moves = (np.eye(size)[:, None, None] * np.array([1, -1, 0])[:, None, None] * STEPS[:, None]).reshape(-1, size)
        unknown = {n: np.broadcast_to(at[n], (len(moves), *self.shapes[n])) for n in self.variables}
        unknown[name] = unknown[name] + moves.reshape(-1, *self.shapes[name])
        with np.errstate(over="ignore", invalid="ignore"):
            up, down, here = np.moveaxis(
                np.asarray(at_draws(self.problem, self.prior, unknown)).reshape(size, 3, many), 1, 0
            )
            fall = here - (up + down) / 2  # of a normal density: step² / 2 sd²
        best = np.where(np.isfinite(fall) & (fall > 0), np.abs(np.log(np.abs(fall) + 1e-300)), np.inf).argmin(1)
        return np.asarray(STEPS[best] / np.sqrt(2 * fall[np.arange(size), best])).reshape(self.shapes[name])

    def natural(self, coordinates: Array) -> Arrays:
        """Return unknown variables at coordinates, shape (S, P)."""
        return self._natural(coordinates)[0]

    def _natural(self, coordinates: Array) -> tuple[dict[str, Array], Array]:
        """Return unknown variables, and the log of the volume that the coordinates give them, shape (S,)."""
        out, log_volume, low = {}, np.zeros(len(coordinates)), 0
        for name, shape in self.shapes.items():
            high = low + int(np.prod(shape))
            out[name], log_slope = self._of_coordinate(name, coordinates[:, low:high].reshape(-1, *shape))
            log_volume += np.broadcast_to(log_slope, out[name].shape).reshape(len(coordinates), -1).sum(-1)
            low = high
        return out, log_volume

    def log_density(self, coordinates: Array) -> Array:
        """Log posterior density of coordinates, up to a constant; shape (S,)."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # far out: without weight
            unknown, log_volume = self._natural(coordinates)
            value = at_draws(self.problem, self.likelihood, unknown)
            if self.problem.model.unit:
                value = value.sum(-1)
            return np.asarray(value + at_draws(self.problem, self.prior, unknown) + log_volume)

    def places(self, rng: np.random.Generator) -> list[tuple[Array, Array]]:
        """Return points where the posterior has mass, with the inverse curvature there.

        They are the maxima above the model's starts and, if it has several, those of them that lie on shoulders.
        """
        starts = np.unique([self.first(stream) for stream in rng.spawn(STARTS)], axis=0)
        found: list[tuple[Array, Array]] = []
        for at in (*map(self.mode, starts), *(starts if len(starts) > 1 else ())):
            away = [(at - other, wide) for other, wide in found]
            if all(d @ np.linalg.solve(wide, d) > APART**2 for d, wide in away):
                found.append((at, self.curvature(at)))
        mass = self.log_density(np.array([at for at, _ in found]))
        mass += [0.5 * np.linalg.slogdet(wide)[1] for _, wide in found]
        return [found[i] for i in np.flatnonzero(mass >= mass.max() - WITHIN)]

    def mode(self, first: Array) -> Array:
        """Climb from a point to a maximum."""
        from scipy.optimize import minimize

        def both(at: Array) -> tuple[float, Array]:
            step = 1e-5 * np.eye(len(at))
            value = self.log_density(np.concatenate([at[None], at + step, at - step]))
            if not np.isfinite(value).all():
                return 1e10, np.zeros(len(at))
            up, down = value[1:].reshape(2, -1)
            return -float(value[0]), -(up - down) / 2e-5

        return np.asarray(minimize(both, first, jac=True, method="BFGS", options={"maxiter": 200}).x)

    def curvature(self, at: Array) -> Array:
        """Return the inverse of minus the second derivatives, by differences; its eigenvalues bounded."""
        P, h = len(at), 1e-3
        pairs = [(i, k) for i in range(P) for k in range(i, P)]
        signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
        unit = h * np.eye(P)
        points = np.array([at + a * unit[i] + b * unit[k] for i, k in pairs for a, b in signs])
        value = self.log_density(points).reshape(-1, 4) @ np.array([1, -1, -1, 1]) / (4 * h * h)
        hessian = np.empty((P, P))
        for (i, k), one in zip(pairs, value, strict=True):
            hessian[i, k] = hessian[k, i] = -one
        values, vectors = np.linalg.eigh(np.where(np.isfinite(hessian), hessian, 0) + 1e-12 * np.eye(P))
        return np.asarray((vectors / np.clip(values, 0.1, 1e12)) @ vectors.T)
