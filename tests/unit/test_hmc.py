"""The no-U-turn sampler: its integrator by its laws, its draws against moments in closed form."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from arviz_stats.base import array_stats
from numpy.typing import NDArray
from scipy import stats
from scipy.special import digamma, polygamma

from genarium.engines import hmc

Array = NDArray[Any]
Target = Callable[[Array], tuple[float, Array]]

COVARIANCE = np.array([[4.0, 1.8, 0.0], [1.8, 1.0, 0.1], [0.0, 0.1, 0.25]])
PRECISION = np.linalg.inv(COVARIANCE)
MEAN = np.array([1.0, -2.0, 0.5])
STATS = {"diverging", "acceptance_rate", "n_steps", "step_size", "energy", "tree_depth"}


def normal(x: Array) -> tuple[float, Array]:
    gradient = -PRECISION @ (x - MEAN)
    return 0.5 * float((x - MEAN) @ gradient), gradient


def log_gamma(x: Array) -> tuple[float, Array]:
    """Logs of independent Gamma(a, 1), skewed to the left."""
    a = np.array([0.7, 2.5])
    return float((a * x - np.exp(x)).sum()), a - np.exp(x)


def logistic(x: Array) -> tuple[float, Array]:
    return float((-x - 2 * np.log1p(np.exp(-x))).sum()), -np.tanh(x / 2)


def quartic(x: Array) -> tuple[float, Array]:
    return -float((x**4).sum()), -4 * x**3


def chains(target: Target, n: int, factor: Array, *, draws: int = 700, seed: int = 1, **more: Any) -> Array:
    """Four chains, shape (4, draws, n)."""
    streams = np.random.default_rng(seed).spawn(4)
    return np.stack([hmc.sample(target, np.zeros(n), factor, s, draws=draws, tune=200, **more)[0] for s in streams])


def assert_moments(draws: Array, mean: float, variance: float, fourth: float) -> None:
    """Mean and variance within 4 standard errors, by the effective sample sizes of x and of its square.

    ``fourth`` is the fourth central moment over the squared variance.
    """
    effective = float(array_stats.ess(draws, method="mean"))
    assert abs(draws.mean() - mean) < 4 * np.sqrt(variance / effective)
    squares = (draws - mean) ** 2
    effective = float(array_stats.ess(squares, method="mean"))
    assert abs(squares.mean() / variance - 1) < 4 * np.sqrt((fourth - 1) / effective)


# The integrator


def point(target: Target, position: Array, momentum: Array) -> hmc.Point:
    return hmc.Point(position, momentum, *target(position))


def along(target: Target, factor: Array, start: hmc.Point, step: float, steps: int) -> hmc.Point:
    for _ in range(steps):
        start = hmc.leapfrog(target, factor, start, step)
    return start


FACTOR = np.linalg.cholesky(np.array([[2.0, 0.5], [0.5, 0.3]]))


def test_leapfrog_goes_back_to_where_it_came_from() -> None:
    start = point(log_gamma, np.array([0.3, -0.2]), np.array([1.0, -0.7]))
    there = along(log_gamma, FACTOR, start, 0.1, 20)
    assert np.abs(there.position - start.position).max() > 0.5
    for back in (
        along(log_gamma, FACTOR, there, -0.1, 20),
        along(log_gamma, FACTOR, there._replace(momentum=-there.momentum), 0.1, 20),
    ):
        np.testing.assert_allclose(back.position, start.position, atol=1e-12)
        np.testing.assert_allclose(np.abs(back.momentum), np.abs(start.momentum), atol=1e-12)


def test_leapfrog_keeps_the_energy_to_second_order() -> None:
    start = point(log_gamma, np.array([0.3, -0.2]), np.array([1.0, -0.7]))
    errors = [
        abs(along(log_gamma, FACTOR, start, 0.8 / steps, steps).energy - start.energy) for steps in (20, 40, 80, 160)
    ]
    ratios = np.array(errors[:-1]) / errors[1:]
    np.testing.assert_allclose(ratios, 4, rtol=0.05)


def test_leapfrog_keeps_the_volume() -> None:
    def step(state: Array) -> Array:
        new = hmc.leapfrog(log_gamma, FACTOR, point(log_gamma, state[:2], state[2:]), 0.4)
        return np.concatenate([new.position, new.momentum])

    at = np.array([0.3, -0.2, 1.0, -0.7])
    jacobian = np.array([(step(at + e) - step(at - e)) / 2e-5 for e in 1e-5 * np.eye(4)])
    assert np.linalg.det(jacobian) == pytest.approx(1, abs=1e-8)
    assert np.abs(jacobian - np.eye(4)).max() > 0.1


def test_metric_is_a_change_of_variables() -> None:
    """Sampling x = L w under the metric L L' is sampling w under the unit metric."""

    def whitened(w: Array) -> tuple[float, Array]:
        value, gradient = log_gamma(FACTOR @ w)
        return value, FACTOR.T @ gradient

    settings: dict[str, Any] = {"draws": 50, "tune": 20}
    x, table = hmc.sample(log_gamma, np.zeros(2), FACTOR, np.random.default_rng(1), **settings)
    w, other = hmc.sample(whitened, np.zeros(2), np.eye(2), np.random.default_rng(1), **settings)
    np.testing.assert_allclose(x, w @ FACTOR.T, atol=1e-6)
    np.testing.assert_array_equal(table["n_steps"], other["n_steps"])


# Where a trajectory ends


def turns(momenta: Array, cut: int) -> bool:
    """The criterion, spelled out for a list of momenta made of two stretches."""
    first, second = momenta[:cut], momenta[cut:]
    stretches = [momenta, np.vstack([first, second[:1]]), np.vstack([first[-1:], second])]
    return any(min(s[0] @ s.sum(0), s[-1] @ s.sum(0)) <= 0 for s in stretches)


def test_turns_are_seen_over_the_whole_and_across_the_middle() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(2000):
        momenta = rng.normal(0.5, 1, (4, 2))
        a, b = momenta[:2], momenta[2:]
        goes_on = hmc.goes_on(a[0], a[-1], a.sum(0), b[0], b[-1], momenta.sum(0))
        assert goes_on == (not turns(momenta, 2))
        found.append(goes_on)
    assert 0.2 < np.mean(found) < 0.8


@pytest.mark.parametrize("step", np.linspace(0.3, 1.9, 17).round(2))
def test_no_trajectory_goes_round_and_round(step: float) -> None:
    """Of independent normals every trajectory is a circle: without the checks across the middle some are missed."""
    rng = np.random.default_rng(1)

    def independent(x: Array) -> tuple[float, Array]:
        return -0.5 * float(x @ x), -x

    at = point(independent, rng.normal(size=100), np.zeros(100))
    period = 2 * np.arcsin(step / 2)  # angle of a leapfrog step
    for _ in range(20):
        at, table = hmc.transition(independent, np.eye(100), at, step, rng)
        assert table["n_steps"] * period < 2.2 * np.pi or table["n_steps"] <= 3


@pytest.mark.parametrize("step", [0.07, 0.15, 0.31])
def test_trajectories_go_half_round(step: float) -> None:
    """Of independent normals the ends turn towards each other after half a circle."""
    rng = np.random.default_rng(1)

    def independent(x: Array) -> tuple[float, Array]:
        return -0.5 * float(x @ x), -x

    at = point(independent, rng.normal(size=400), np.zeros(400))
    for _ in range(20):
        at, table = hmc.transition(independent, np.eye(400), at, step, rng)
        assert table["n_steps"] * 2 * np.arcsin(step / 2) > 0.85 * np.pi - 2 * step


def test_point_is_drawn_by_its_weight() -> None:
    """Along one stretch of a trajectory, whose points differ in energy as the steps are long."""
    start = point(log_gamma, np.array([0.3, -0.2]), np.array([0.4, -0.3]))
    points = [start]
    for _ in range(4):
        points.append(hmc.leapfrog(log_gamma, FACTOR, points[-1], 1.2))
    weights = np.exp([start.energy - p.energy for p in points[1:]])
    assert weights.max() > 5 * weights.min()
    rng = np.random.default_rng(1)
    counts = np.zeros(4)
    for _ in range(4000):
        tree = hmc._Growth(log_gamma, FACTOR, 1.2, rng, start.energy).grow(2, start, 1)
        assert tree.log_weight == pytest.approx(np.log(weights.sum()))
        counts[[p.value == tree.proposal.value for p in points[1:]]] += 1
    assert stats.chisquare(counts, 4000 * weights / weights.sum()).pvalue > 1e-3


def test_trajectory_stops_at_the_deepest_tree() -> None:
    _, table = hmc.sample(normal, MEAN, 1e-3 * np.eye(3), np.random.default_rng(1), draws=5, tune=0, max_treedepth=3)
    # the first step found is long, the metric a thousandth: every tree is cut
    assert (table["tree_depth"] <= 3).all()
    assert (table["n_steps"] <= 7).all()


# The draws


@pytest.mark.parametrize(
    "factor",
    [np.linalg.cholesky(COVARIANCE), pytest.param(np.diag([1.5, 1.0, 0.5]), marks=pytest.mark.slow)],
    ids=["own", "other"],
)
def test_correlated_normal(factor: Array) -> None:
    draws = chains(normal, 3, factor)
    for i in range(3):
        assert_moments(draws[..., i], MEAN[i], COVARIANCE[i, i], 3)
    sums, differences = draws @ [1.0, 1.0, 1.0], draws @ [1.0, -2.0, 0.0]
    assert_moments(sums, MEAN.sum(), COVARIANCE.sum(), 3)
    assert_moments(differences, 5, 4 + 4 - 4 * 1.8, 3)


@pytest.mark.slow
def test_logs_of_gamma_variables() -> None:
    draws = chains(log_gamma, 2, np.array([[1.3, 0.0], [0.3, 0.6]]))
    for i, a in enumerate((0.7, 2.5)):
        variance = float(polygamma(1, a))
        assert_moments(draws[..., i], float(digamma(a)), variance, 3 + float(polygamma(3, a)) / variance**2)


def test_logistic() -> None:
    draws = chains(logistic, 1, np.eye(1))
    assert_moments(draws[..., 0], 0, np.pi**2 / 3, 4.2)


def test_transitions_leave_the_density_as_it_is() -> None:
    """A curved ridge, b ~ Normal(a², 0.5): started from draws of it, whatever the step, it ends in draws of it."""

    def banana(x: Array) -> tuple[float, Array]:
        a, b = x
        slope = 4 * (b - a**2)
        return float(-0.5 * a**2 - 0.5 * (b - a**2) * slope), np.array([-a + 2 * a * slope, -slope])

    rng = np.random.default_rng(1)
    n = 2000
    a = rng.normal(size=n)
    ends = []
    for x in np.column_stack([a, rng.normal(a**2, 0.5)]):
        at = point(banana, x, np.zeros(2))
        for _ in range(2):
            at, _ = hmc.transition(banana, FACTOR, at, 0.35, rng)
        ends.append(at.position)
    new = np.array(ends)
    assert abs(np.corrcoef(a, new[:, 0])[0, 1]) < 0.9  # they did move
    assert stats.kstest(new[:, 0], stats.norm.cdf).pvalue > 1e-3
    assert stats.kstest(2 * (new[:, 1] - new[:, 0] ** 2), stats.norm.cdf).pvalue > 1e-3
    assert abs((new[:, 0] ** 2).mean() - 1) < 4 * np.sqrt(2 / n)


@pytest.mark.slow
def test_acceptance_is_near_its_target() -> None:
    """Rather above it."""
    rates = []
    for target in (0.6, 0.8, 0.95):
        streams = np.random.default_rng(1).spawn(4)
        runs = [hmc.sample(normal, MEAN, np.eye(3), s, draws=200, tune=200, target_accept=target) for s in streams]
        rates.append(float(np.mean([table["acceptance_rate"] for _, table in runs])))
        assert -0.03 < rates[-1] - target < 0.15
    assert rates == sorted(rates)


def test_statistics_of_a_run() -> None:
    draws, table = hmc.sample(normal, MEAN, np.eye(3), np.random.default_rng(1), draws=200, tune=100)
    assert draws.shape == (200, 3)
    assert set(table) == STATS
    assert all(values.shape == (200,) for values in table.values())
    assert not table["diverging"].any()
    assert len(set(table["step_size"])) == 1
    assert (table["n_steps"] < 2 ** (table["tree_depth"] + 1)).all()
    potential = np.array([-normal(x)[0] for x in draws])
    kinetic = table["energy"] - potential
    assert (kinetic > 0).all()
    assert kinetic.mean() == pytest.approx(1.5, abs=0.4)  # half a nat a dim


def test_seed_decides_the_run() -> None:
    once, again, other = (
        hmc.sample(normal, MEAN, np.eye(3), np.random.default_rng(seed), draws=20, tune=10) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(once[0], again[0])
    assert all((once[1][name] == again[1][name]).all() for name in STATS)
    assert not (once[0] == other[0]).any()


# Where the integrator fails


def test_divergence_is_flagged() -> None:
    """A step beyond the stable length of a density with thin tails gains energy without end."""
    rng = np.random.default_rng(1)
    with np.errstate(over="ignore", invalid="ignore"):
        found = [hmc.transition(quartic, np.eye(3), point(quartic, np.ones(3), np.zeros(3)), 3.0, rng) for _ in "1234"]
    assert all(table["diverging"] for _, table in found)
    assert all(np.isfinite(at.position).all() for at, _ in found)
    calm = [hmc.transition(quartic, np.eye(3), point(quartic, np.ones(3), np.zeros(3)), 0.1, rng) for _ in "1234"]
    assert not any(table["diverging"] for _, table in calm)


def test_outside_the_support_is_a_divergence_and_never_drawn() -> None:
    def exponential(x: Array) -> tuple[float, Array]:
        return (-float(x[0]), -np.ones(1)) if x[0] > 0 else (-np.inf, np.full(1, np.nan))

    draws, table = hmc.sample(exponential, np.ones(1), np.eye(1), np.random.default_rng(1), draws=300, tune=50)
    assert (draws > 0).all()
    assert table["diverging"].any()


def test_start_without_density_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match="the log density is -inf where the chain starts"):
        hmc.sample(lambda x: (-np.inf, x), np.zeros(2), np.eye(2), np.random.default_rng(1), draws=1, tune=1)
