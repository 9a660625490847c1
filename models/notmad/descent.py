"""L-BFGS within bounds, and what one run of it leaves."""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

from .pack import Packed


@dataclass(frozen=True)
class Run:
    """One restart: where it ended, the objective by iteration of its last stage (nats), and whether it converged."""

    vector: Array
    values: Array
    converged: bool

    @property
    def value(self) -> float:
        """Minus the log density at the end, without constants."""
        return float(self.values[-1])


def descend(packed: Packed, start: Array, max_iterations: int, tolerance: float) -> Run:
    """Minimise by L-BFGS within bounds (Byrd et al. 1995); the values never rise."""
    from scipy.optimize import minimize

    n = packed.objective.total
    values = [packed(start)[0] * n]
    found = minimize(
        packed,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=packed.bounds,
        callback=lambda intermediate_result: values.append(float(intermediate_result.fun) * n),
        options={
            "maxiter": max_iterations,
            "maxfun": 2 * max_iterations,
            "maxcor": 20,
            "ftol": tolerance,
            "gtol": 1e-7,
        },
    )
    return Run(np.asarray(found.x), np.array(values), bool(found.success))
