"""Adam on random batches of samples, for data too large for full gradients (Kingma and Ba 2015)."""

import numpy as np

from genarium.declaration import Array

from .objective import Objective
from .pack import Packed


def adam(
    packed: Packed, start: Array, rng: np.random.Generator, *, batch: int, epochs: int, rate: float = 0.02
) -> Array:
    """Minimise by projected Adam steps with a rate that falls to zero; w+ and w- stay non-negative.

    Parameters
    ----------
    packed : Packed
        The whole objective.
    start : ndarray
    rng : Generator
        Shuffles the samples.
    batch : int
        Samples of a step.
    epochs : int
        Passes over the data.
    rate : float
        First length of a step.

    Returns
    -------
    ndarray
        The last iterate.
    """
    problem, total = packed.objective.problem, packed.objective.total
    vector, mean, square = start.copy(), np.zeros_like(start), np.zeros_like(start)
    steps = epochs * max(1, total // batch)
    step, bounds = 0, packed.bounds.T
    for _ in range(epochs):
        order = rng.permutation(total)
        for rows in np.array_split(order, max(1, total // batch)):
            part = Packed(Objective(problem, rows))
            part.alpha = packed.alpha
            value, gradient = part(vector)
            step += 1
            if value >= 1e300:
                vector *= 0.9  # outside the domain of the log determinant: shrink
                continue
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.99 * square + 0.01 * gradient**2
            move = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
            vector = vector - rate * (1 - (step - 1) / steps) * move
            vector = np.clip(vector, *bounds)
    return vector
