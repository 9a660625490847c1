"""One update of EM or variational Bayes with covariates, batches or lost counts; equations of the card (README.md)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from genarium.declaration import Array, Arrays, Problem
from genarium.supports import LARGEST

from .adjusted import Adjusted, zero_summed
from .adjusted_bound import LEAST_SD, MOST_SD, Bound, State, climb
from .adjusted_sums import Cells, Told
from .likelihood import FLOOR
from .moves import divided, merged
from .nodes import ERROR
from .seeding import k_means_plus_plus
from .updates import PHI_RANGE

STEPS = 6
"""Steps of L-BFGS in an update."""

FIRST_ZERO, LEAST_ZERO = 0.02, 1e-9
"""Share of lost counts to start from, and the least one of a point."""

FIRST_SD = -5.0
"""Log of the sd of factors before the data tell their width."""


class Step:
    """One update, ``step(state) -> (next state, bound of state)``.

    Parameters
    ----------
    problem : Problem
    point : bool
        EM, in place of variational Bayes.
    error : float
        Of the interpolation over size factors.
    like : Cells, optional
        More cells than those of the problem, whose nodes and distinct counts are taken: sums can be added up.
    """

    def __init__(self, problem: Problem, point: bool, error: float = ERROR, like: Cells | None = None) -> None:
        self.problem, self.point = problem, point
        self.story = Adjusted.of(problem)
        self.cells = Cells(problem, self.story, error, like)
        self.bound = Bound(problem, self.cells, point)

    def start_at(self, mu: Array, shift: Array) -> State:
        """Return the state with equal weights at centroids (K, D) and shifts (D, B)."""
        sizes, model = self.problem.sizes, self.problem.model
        centre: dict[str, Array] = {"log_mu": np.log(np.maximum(mu, FLOOR))}
        if self.bound.estimates_phi:
            centre["log_r"] = np.full(model.shape("phi", sizes), -np.log(self.problem["phi0"]))
        if self.story.batches:
            centre["shift"] = shift @ self.bound.of_batch
        if self.story.covariates:
            centre["effect"] = np.zeros((sizes["covariate"], sizes["component"] - 1))
        K, zero = len(mu), np.full((1, sizes["gene"] if self.story.inflated else 0), FIRST_ZERO)
        return self.widened(State(centre, {}, np.full(K, 1 / K), zero))

    def started(self, rng: np.random.Generator, corrected: bool) -> State:
        """Start from k-means++, of what is left when the batches' mean differences are off if ``corrected``."""
        problem, x = self.problem, self.problem["x"]
        shift = np.zeros((problem.sizes["gene"], problem.sizes.get("batch", 1)))
        if self.story.batches and corrected:
            shift = first_shift(problem)
            x = x / np.exp(shift.T[problem["batch"]])
        return self.start_at(k_means_plus_plus(x, problem["size_factor"], problem.sizes["component"], rng), shift)

    def uncorrected(self, state: State) -> Array:
        """Return the counts (N, D) without the shifts of the batches."""
        x = self.problem["x"]
        if not self.story.batches:
            return x
        shift = state.centre["shift"] @ self.bound.of_batch.T
        return np.asarray(x / np.exp(shift.T[self.problem["batch"]]))

    def merged(self, state: State, i: int, j: int) -> State:
        """Return the point in which component i stands for i and j, and j for no cell."""
        weight, mu = merged(state.weight, np.exp(state.centre["log_mu"]), i, j)
        return replace(state, centre={**state.centre, "log_mu": np.log(mu)}, weight=weight)

    def divided(self, state: State, k: int, j: int, two: Array) -> State:
        """Return the point in which components k and j have the cells of k, at two centroids."""
        weight, mu = divided(state.weight, np.exp(state.centre["log_mu"]), k, j, two)
        centre = {**state.centre, "log_mu": np.log(mu)}
        if self.story.dispersion == "component" and "log_r" in centre:
            centre["log_r"] = centre["log_r"].copy()
            centre["log_r"][j] = centre["log_r"][k]
        if self.story.covariates:
            effect = centre["effect"] @ self.bound.of_component.T
            effect[:, j] = effect[:, k]
            centre["effect"] = effect @ self.bound.of_component
        return replace(state, centre=centre, weight=weight)

    def widened(self, state: State) -> State:
        """Give a state of points the widths that the data suggest, if this is variational Bayes."""
        if self.point:
            return state
        N = len(self.cells.counts.x)
        alpha = float(self.problem["alpha0"]) + N * state.weight
        zero = np.empty((2, 0))
        if self.story.inflated:
            zero = np.concatenate([1 + N * state.zero, float(self.problem["zero_b"]) + N * (1 - state.zero)])
        narrow = {name: np.full(value.shape, FIRST_SD) for name, value in state.centre.items()}
        at = State(state.centre, narrow, alpha, zero)
        told, _, _ = self.bound.expect(at)
        wide = {name: -0.5 * np.log(curvature) for name, curvature in self.curvature(at, told).items()}
        return replace(at, log_sd={name: np.clip(value, LEAST_SD, 0) for name, value in wide.items()})

    def responsibilities(self, state: State) -> Array:
        """Return q of the groups; shape (K, N)."""
        return self.bound.expect(state, keep=True)[1]

    def estimate(self, state: State, order: Array) -> dict[str, Array]:
        """Return the unknown variables at the means of the logs, components in the given order."""
        own = self.story.dispersion == "component"
        out: dict[str, Array] = {}
        if "log_r" in state.centre:
            phi = np.exp(-state.centre["log_r"])
            out["phi"] = phi[order] if own else phi
        out |= {"pi": state.weight[order] / state.weight.sum(), "mu": np.exp(state.centre["log_mu"])[order]}
        if "effect" in state.centre:
            out["effect"] = zero_summed(state.centre["effect"] @ self.bound.of_component.T)[:, order]
        if "shift" in state.centre:
            out["shift"] = zero_summed(state.centre["shift"] @ self.bound.of_batch.T)
        if self.story.inflated:
            out["zero"] = state.zero[0]
        return out

    def __call__(self, state: State) -> tuple[State, float]:
        """Update all factors given the responsibilities; the bound is that of the state that came in."""
        told, _, bound = self.bound.expect(state)
        return self.maximised(state, told), bound

    def maximised(self, state: State, told: Told) -> State:
        """Return the factors that the sums of an E-step lead to."""
        size = np.maximum(told.weight.sum(0), 0)
        if not self.story.covariates:
            weight = size / size.sum() if self.point else float(self.problem["alpha0"]) + size
            state = replace(state, weight=weight)
        if self.story.inflated:
            state = replace(state, zero=self.shares(told))
        state = self.raised(state, told, [name for name in state.centre if name != "effect"])
        return self.weights(state, told) if self.story.covariates else state

    def shares(self, told: Told) -> Array:
        """Return the factors of the shares of lost counts (eq. 33)."""
        lost, N, b = np.maximum(told.lost.sum((0, 1)), 0), len(self.cells.counts.x), float(self.problem["zero_b"])
        if self.point:
            return np.asarray(np.clip(lost / max(N + b - 1, 1e-9), LEAST_ZERO, 1 - LEAST_ZERO))[None]
        return np.stack([1 + lost, b + np.maximum(N - lost, 0)])

    def curvature(self, state: State, told: Told) -> dict[str, Array]:
        """Guess the curvature of the bound by the means of the factors."""
        mean, _ = self.bound.odds(state)
        at = self.cells.at[:, None, None] * np.exp(np.minimum(mean, 300))[self.cells.batch_of_node]
        share = at / (1 + at)
        weight = told.weight[..., None] - told.lost
        each = (told.total + weight * self.bound.mean_r(state)) * share * (1 - share)  # (T, K, D)
        out = {"log_mu": each.sum(0) + 1e-2}
        if self.story.batches:
            by_batch = each.sum(1).reshape(self.cells.batches, -1, each.shape[-1]).sum(1)  # (B, D)
            out["shift"] = (self.bound.of_batch**2).T.dot(by_batch).T + float(self.problem["sd_shift"]) ** -2
        if "log_r" in state.centre:
            h = 1e-3
            near = replace(state, centre={**state.centre, "log_r": state.centre["log_r"] + h})
            slope, slope_near = (self.bound.means_and_slopes(one, told)[1]["log_r"] for one in (state, near))
            out["log_r"] = np.maximum((slope - slope_near) / h, 0.1)
        if self.story.covariates:
            size = told.weight.sum(0)
            spread = size.sum() * np.mean(self.bound.rows**2, 0)[:, None] / len(size)
            out["effect"] = np.broadcast_to(
                spread + float(self.problem["sd_effect"]) ** -2, state.centre["effect"].shape
            )
        return out

    def raised(self, state: State, told: Told, names: list[str]) -> State:
        """Raise the bound in means, shifts and dispersion by a few steps."""
        curvature = self.curvature(state, told)

        def objective(vector: Array) -> tuple[float, Array]:
            at = self.put(state, names, vector)
            value, slope, wide = self.bound.means_and_slopes(at, told)
            return value, self.gradient(at, names, slope, wide)

        at = self.take(state, names)
        scale = np.concatenate([curvature[name].ravel() ** -0.5 for name in names])
        if not self.point:
            scale = np.concatenate([scale, np.full(len(scale), 0.7)])
        return self.put(state, names, climb(objective, at, scale, self.limits(state, names), STEPS))

    def weights(self, state: State, told: Told) -> State:
        """Raise the bound in weights and effects."""
        names, K = ["effect"], self.bound.K

        def unpacked(vector: Array) -> State:
            weight = np.exp(np.clip(vector[:K], -300, 300))
            return replace(self.put(state, names, vector[K:]), weight=weight / weight.sum() if self.point else weight)

        def objective(vector: Array) -> tuple[float, Array]:
            at = unpacked(vector)
            value, by_weight, slope, wide = self.bound.weights_and_slopes(at, told)
            return value, np.concatenate([by_weight, self.gradient(at, names, {"effect": slope}, {"effect": wide})])

        start = np.concatenate([np.log(np.maximum(state.weight, 1e-100)), self.take(state, names)])
        size = np.maximum(told.weight.sum(0), 1)
        scale = [size**-0.5, np.broadcast_to(self.curvature(state, told)["effect"], state.centre["effect"].shape)]
        steps = np.concatenate([scale[0], scale[1].ravel() ** -0.5])
        if not self.point:
            steps = np.concatenate([steps, np.full(state.centre["effect"].size, 0.7)])
        limits = np.concatenate([np.tile([-300.0, 300.0], (K, 1)), self.limits(state, names)])
        return unpacked(climb(objective, start, steps, limits, 2 * STEPS))

    def gradient(self, state: State, names: list[str], slope: Arrays, wide: Arrays) -> Array:
        """Return slopes by what :meth:`take` returns."""
        parts = [slope[name].ravel() for name in names]
        if not self.point:
            parts += [(2 * self.bound.variance(state, name) * wide[name]).ravel() for name in names]
        return np.concatenate(parts)

    def take(self, state: State, names: list[str]) -> Array:
        """Return means, and for variational Bayes logs of sds, as a vector."""
        parts = [state.centre[name].ravel() for name in names]
        return np.concatenate([*parts, *(state.log_sd[name].ravel() for name in names if state.log_sd)])

    def put(self, state: State, names: list[str], vector: Array) -> State:
        """Return the state with means and sds of a vector."""
        centre, log_sd, low = dict(state.centre), dict(state.log_sd), 0
        for into in [centre] if self.point else [centre, log_sd]:
            for name in names:
                size = state.centre[name].size
                into[name] = vector[low : low + size].reshape(state.centre[name].shape)
                low += size
        return replace(state, centre=centre, log_sd=log_sd)

    def limits(self, state: State, names: list[str]) -> Array:
        """Return where means and logs of sds may go; shape (V, 2)."""
        ends = {"log_mu": (np.log(FLOOR), np.log(LARGEST)), "log_r": tuple(-np.log(PHI_RANGE[::-1]))}
        out = [np.tile(ends.get(name, (-30.0, 30.0)), (state.centre[name].size, 1)) for name in names]
        widths = [] if self.point else [np.tile([LEAST_SD, MOST_SD], (len(part), 1)) for part in out]
        return np.concatenate([*out, *widths])

    def vector(self, like: State) -> tuple[Callable[[State], Array], Callable[[Array], State]]:
        """Return how a state becomes an unconstrained vector, and one a state."""
        return self.pack, lambda at: self.unpack(at, like)

    def pack(self, state: State) -> Array:
        """Map a state to an unconstrained vector."""
        zero = np.log(state.zero / (1 - state.zero)) if self.point else np.log(state.zero)
        weight = np.log(np.maximum(state.weight, 1e-300))
        return np.concatenate([weight, zero.ravel(), self.take(state, list(state.centre))])

    def unpack(self, vector: Array, like: State) -> State:
        """Map an unconstrained vector to a state."""
        from scipy.special import expit

        K, D = self.bound.K, like.zero.size
        weight = np.exp(np.clip(vector[:K] - vector[:K].max() * self.point, -300, 300))
        zero = vector[K : K + D].reshape(like.zero.shape)
        zero = np.clip(expit(zero), LEAST_ZERO, 1 - LEAST_ZERO) if self.point else np.exp(np.clip(zero, -300, 300))
        names = list(like.centre)
        limits = self.limits(like, names)
        at = self.put(like, names, np.clip(vector[K + D :], limits[:, 0], limits[:, 1]))
        return replace(at, weight=weight / weight.sum() if self.point else weight, zero=zero)


def first_shift(problem: Problem) -> Array:
    """Log ratios of the genes' mean counts by batch to the geometric mean over batches, shrunk; shape (D, B)."""
    x, s, batch = problem["x"], problem["size_factor"], problem["batch"]
    B = problem.sizes["batch"]
    total = np.stack([x[batch == b].sum(0) for b in range(B)], 1) + 1.0
    depth = np.array([s[batch == b].sum() for b in range(B)]) + 1.0
    logs = np.log(total / depth)
    return np.asarray(logs - logs.mean(1, keepdims=True))
