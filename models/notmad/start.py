"""Where NUTS, ADVI and the other engines start: near a mode, found by one short run of the method ``map``.

It runs L-BFGS for every chain, up to 100 iterations from a random point, with the problem's own alpha instead of the
continuation of ``map``: 0.03 CPU seconds for 200 samples of three nodes, 4 for 2000 samples of ten.
"""

import numpy as np

from genarium.declaration import Arrays, Problem

from .descent import descend
from .incomplete import whole
from .objective import Objective
from .pack import Packed

ITERATIONS = 100
"""Of L-BFGS at most."""

APART = 0.01
"""Standard deviation of what is added to the edges: the mode has exact zeros, where the density has a kink."""


def start(problem: Problem, rng: np.random.Generator) -> Arrays:
    """Start the engines near a mode of the density with the problem's own alpha, away from exact zeros."""
    packed = Packed(Objective(whole(problem)))
    found = descend(packed, packed.random(rng), ITERATIONS, 1e-7)
    at = packed.unpack(found.vector)
    moved = {name: at[name] + rng.normal(0, APART, at[name].shape) for name in packed.objective.edges}
    return {**at, **moved}
