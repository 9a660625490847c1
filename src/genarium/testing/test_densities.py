"""Two readings of one model: the NumPy density and the PyMC density."""

from typing import Any

import numpy as np
import pytest

from genarium.testing.cases import densities, each
from genarium.testing.fixtures import Density, Reading

every_variant = each(densities)


@every_variant
def test_densities_differ_by_a_constant(reading: Reading, numpy_density: Density) -> None:
    rows = []
    for point in reading.points:
        natural, _ = reading.density.constrained(point)
        rows.append((reading.density.log_density(point)[0], numpy_density(reading.problem, natural)))
    there, here = np.array(rows).T
    assert np.ptp(here) > 1  # the points do differ
    assert np.ptp(there - here) < 1e-8 * max(1, np.abs(here).max())


@each(densities, more=True)
def test_gradient_is_that_of_the_numpy_density(reading: Reading, numpy_density: Density) -> None:
    def slope(point: Any, along: Any, step: float) -> float:
        """Five-point rule: truncation about step**4 times the fifth derivative, rounding 1e-16 |f| / step."""
        vectors = [point + k * step * along for k in (-2, -1, 1, 2)]
        f = [numpy_density(reading.problem, reading.density.constrained(vector)[0]) for vector in vectors]
        return float((f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step))

    for point in reading.points[:3]:
        value, gradient = reading.density.log_density(point)
        for along in directions(len(point)):
            slopes = [slope(point, along, step) for step in (1e-3, 1e-4, 1e-5)]  # a sharp bend needs a short one
            near = min(slopes, key=lambda one: abs(one - gradient @ along))
            assert gradient @ along == pytest.approx(near, rel=1e-6, abs=1e-8 * max(1, abs(value)))


def directions(size: int) -> Any:
    """Thirty coordinate directions or so, and three that every coordinate has a part in."""
    rng = np.random.default_rng(1)
    mixed = rng.choice([-1.0, 1.0], (3, size)) / np.sqrt(size)
    return np.vstack([np.eye(size)[:: max(1, size // 30)], mixed])


@every_variant
def test_unconstrained_values_come_back(reading: Reading) -> None:
    for point in reading.points:
        natural, _ = reading.density.constrained(point)
        np.testing.assert_allclose(reading.density.unconstrained(natural), point, rtol=1e-8, atol=1e-8)
