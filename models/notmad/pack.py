"""Between named parameters and the flat vector that optimisers move: w+ and w-, not negative, ln sigma (eq. 13)."""

from collections.abc import Mapping

import numpy as np

from genarium.declaration import Array

from .objective import Objective, Terms


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
        self.edges = int(np.prod(self.shapes["edge_weight"]))
        self.rate = objective.known("beta")
        self.alpha = objective.known("alpha")
        self.calls = 0
        self.last = Terms(0.0, 0.0, 0.0)

    def pack(self, at: Mapping[str, Array]) -> Array:
        """Return the vector of a point."""
        w = np.ravel(at["edge_weight"])
        rest = [np.ravel(at[name]) for name in self.objective.names[1:-1]]
        return np.concatenate([np.maximum(w, 0), np.maximum(-w, 0), *rest, np.log(np.atleast_1d(at["sigma"]))])

    def unpack(self, vector: Array) -> dict[str, Array]:
        """Return the point of a vector."""
        low = 2 * self.edges
        out = {"edge_weight": (vector[: self.edges] - vector[self.edges : low]).reshape(self.shapes["edge_weight"])}
        for name in self.objective.names[1:-1]:
            size = int(np.prod(self.shapes[name]))
            out[name] = vector[low : low + size].reshape(self.shapes[name])
            low += size
        return {**out, "sigma": np.exp(vector[low])}

    def __call__(self, vector: Array) -> tuple[float, Array]:
        """Minus the log density a sample, without constants, and its gradient; infinite outside the domain."""
        self.calls += 1
        at = self.unpack(vector)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self.last, gradient = self.objective(at, self.alpha)
            value = self.last.smooth + self.rate * float(vector[: 2 * self.edges].sum())
        if not np.isfinite(value):
            return 1e300, np.zeros_like(vector)
        edges: Array = np.ravel(gradient["edge_weight"])
        rest = [np.ravel(gradient[name]) for name in self.objective.names[1:-1]]
        parts = [edges + self.rate, self.rate - edges, *rest, np.atleast_1d(gradient["sigma"] * at["sigma"])]
        n = self.objective.total
        return value / n, np.concatenate(parts) / n

    @property
    def bounds(self) -> list[tuple[float | None, float | None]]:
        """Bounds of the vector's elements; ln sigma is kept within reason."""
        others = sum(int(np.prod(self.shapes[name])) for name in self.objective.names[1:-1])
        return [(0.0, None)] * (2 * self.edges) + [(None, None)] * others + [(-12.0, 12.0)]

    def random(self, rng: np.random.Generator) -> Array:
        """Return a start: small edges, an encoder that tells contexts apart, sigma of the data's size."""
        at = {}
        for name in self.objective.names:
            size = 0.05 if name == "edge_weight" else 0.1 if "intercept" in name or name == "mean_slope" else 1.0
            at[name] = rng.normal(0, size, self.shapes[name])
        at["sigma"] = np.asarray(max(1e-3, float(self.objective.x.std())))
        return self.pack(at)
