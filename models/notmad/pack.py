"""Between named parameters and the flat vector that optimisers move: w+ and w-, not negative, ln sigma (eq. 13)."""

from collections.abc import Mapping

import numpy as np

from genarium.declaration import Array

from .objective import MEAN, Objective, Terms
from .story import EDGES, FACTORS

SIZES = {
    **dict.fromkeys(EDGES, 0.05),
    **dict.fromkeys(FACTORS, 0.3),
    **dict.fromkeys(("intercept", *MEAN), 0.1),
}
"""Standard deviations of random starts; of other variables, one."""

ALONE = 3.0
"""Logit of an archetype that has nearly all the weight."""


class Packed:
    """The whole objective as a function of a flat vector, in nats a sample.

    With w = w+ - w- and w+, w- >= 0, the L1 norm is linear, and bounded minimisation finds exact zeros.

    Parameters
    ----------
    objective : Objective
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        problem = objective.problem
        sizes = {**problem.sizes, "edge": len(objective.source)}
        dims = {name: var.dims for name, var in problem.model.unknown.variables.items()}
        self.shapes = {name: tuple(sizes[dim] for dim in dims[name]) for name in objective.names}
        self.edges = sum(self._size(name) for name in objective.edges)
        kinds = [self._kinds(name) for name in objective.edges]
        none = np.zeros(0), np.zeros(0, dtype=bool), np.zeros(0, dtype=bool)
        self.rates, free, open_ = (np.concatenate(parts) for parts in zip(none, *kinds, strict=True))
        self.signed = np.concatenate([~free, np.ones(self.edges, dtype=bool)])
        self.open = np.concatenate([open_, open_ & ~free])
        self.alpha = objective.known("alpha")
        self.last = Terms(0.0, 0.0, 0.0)

    def _size(self, name: str) -> int:
        return int(np.prod(self.shapes[name]))

    def _kinds(self, name: str) -> tuple[Array, Array, Array]:
        """Rate of the prior of each weight of an edge; whether it is required, whose prior is smooth; allowed."""
        objective, shape = self.objective, self.shapes[name]
        required = np.broadcast_to(objective.required[name], shape).ravel()
        rate = np.where(required, 0.0, objective.known(EDGES[name]))
        return rate, required, np.broadcast_to(objective.allowed, shape).ravel()

    def l1(self, vector: Array) -> float:
        """Minus the log prior of the edges that are not required, without constants."""
        return float(self.rates @ (vector[: self.edges] + vector[self.edges : 2 * self.edges]))

    def pack(self, at: Mapping[str, Array]) -> Array:
        """Return the vector of a point."""
        w = np.concatenate([np.zeros(0), *(np.ravel(at[name]) for name in self.objective.edges)])
        high = np.where(self.signed[: self.edges], np.maximum(w, 0), w)
        rest = [np.ravel(at[name]) for name in self.objective.others]
        spreads = [np.log(np.atleast_1d(at[name])) for name in self.objective.spreads]
        found = np.concatenate([high, high - w, *rest, *spreads])
        found[: 2 * self.edges][~self.open] = 0
        return found

    def unpack(self, vector: Array) -> dict[str, Array]:
        """Return the point of a vector."""
        out, low = {}, 0
        for name in self.objective.edges:
            high, size = low + self._size(name), self.edges
            out[name] = (vector[low:high] - vector[size + low : size + high]).reshape(self.shapes[name])
            low = high
        low = 2 * self.edges
        for name in self.objective.others:
            out[name] = vector[low : low + self._size(name)].reshape(self.shapes[name])
            low += self._size(name)
        return out | {name: np.exp(vector[low:]).reshape(self.shapes[name]) for name in self.objective.spreads}

    def __call__(self, vector: Array) -> tuple[float, Array]:
        """Minus the log density a sample, without constants, and its gradient; infinite outside the domain."""
        at = self.unpack(vector)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self.last, gradient = self.objective(at, self.alpha)
            value = self.last.smooth + self.l1(vector)
        if not np.isfinite(value):
            return 1e300, np.zeros_like(vector)
        edges = np.concatenate([np.zeros(0), *(np.ravel(gradient[name]) for name in self.objective.edges)])
        rest = [np.ravel(gradient[name]) for name in self.objective.others]
        spreads = [np.ravel(gradient[name] * at[name]) for name in self.objective.spreads]
        parts = [edges + self.rates, self.rates - edges, *rest, *spreads]
        n = self.objective.total
        return value / n, np.concatenate(parts) / n

    @property
    def bounds(self) -> Array:
        """Bounds of the vector's elements (two columns); ln sigma is kept within reason."""
        others, sigmas = (sum(map(self._size, names)) for names in (self.objective.others, self.objective.spreads))
        low = np.concatenate([np.where(self.signed, 0.0, -np.inf), np.full(others, -np.inf), np.full(sigmas, -12.0)])
        high = np.concatenate([np.full(2 * self.edges + others, np.inf), np.full(sigmas, 12.0)])
        low[: 2 * self.edges][~self.open] = high[: 2 * self.edges][~self.open] = 0
        return np.column_stack([low, high])

    def random(self, rng: np.random.Generator, alone: bool = False) -> Array:
        """Return a start: small edges, an encoder that tells contexts apart, sigma of the data's size.

        ``alone``: the first archetype has nearly all the weight, as where one network does for all contexts.
        """
        at = {}
        for name in self.objective.names:
            at[name] = rng.normal(0, SIZES.get(name, 1.0), self.shapes[name])
        if alone:
            at["intercept"][0] += ALONE
        if "sigma" in at:
            spread = self.objective.x.std(0) if self.shapes["sigma"] else self.objective.x.std()
            at["sigma"] = np.maximum(1e-3, spread)
        if "dispersion" in at:
            at["dispersion"] = np.full(self.shapes["dispersion"], self.objective.known("dispersion0"))
        return self.pack(at)
