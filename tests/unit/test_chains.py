"""Purpose-built chains: the slice update against distributions in closed form, thinning, streams, relabelling."""

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from genarium.engines.chains import run, slice_update
from genarium.engines.labels import relabel

Array = NDArray[Any]

FALSE_ALARM = 1e-3
"""A correct sampler fails a test with this probability, over seeds; the seed is fixed."""


# The slice update


def log_gamma(x: Array) -> Array:
    """Log density of Gamma(2.5, 1)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x > 0, 1.5 * np.log(x) - x, -np.inf)


def log_bimodal(x: Array) -> Array:
    """Log density of 0.3 Normal(-2, 0.5) + 0.7 Normal(2, 1)."""
    return np.asarray(
        np.logaddexp(*(np.log(w) + stats.norm.logpdf(x, m, s) for w, m, s in ((0.3, -2, 0.5), (0.7, 2, 1))))
    )


def bimodal_cdf(x: Array) -> Array:
    return np.asarray(0.3 * stats.norm.cdf(x, -2, 0.5) + 0.7 * stats.norm.cdf(x, 2, 1))


def bimodal_draws(rng: np.random.Generator, n: int) -> Array:
    low = rng.uniform(size=n) < 0.3
    return np.where(low, rng.normal(-2, 0.5, n), rng.normal(2, 1, n))


TARGETS: dict[str, tuple[Callable[[Array], Array], Any, Callable[[np.random.Generator, int], Array]]] = {
    "gamma": (log_gamma, stats.gamma(2.5).cdf, lambda rng, n: rng.gamma(2.5, size=n)),
    "bimodal": (log_bimodal, bimodal_cdf, bimodal_draws),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("width", "most"), [(1.0, 50), (0.3, 3), (20.0, 2)])
def test_slice_update_leaves_the_density_as_it_is(target: str, width: float, most: int) -> None:
    log_density, cdf, draws = TARGETS[target]
    rng = np.random.default_rng(1)
    x = draws(rng, 20_000)
    for _ in range(5):
        x = slice_update(log_density, x, width, rng, most)
    assert stats.kstest(x, cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("target", ["gamma", pytest.param("bimodal", marks=pytest.mark.slow)])
def test_slice_chain_reaches_the_density(target: str) -> None:
    log_density, cdf, _ = TARGETS[target]
    rng = np.random.default_rng(2)
    x = np.full((40, 5), 4.0)  # 200 chains at once, all from one place
    kept = []
    for step in range(600):
        x = slice_update(log_density, x, 3.0, rng)
        if step >= 100 and step % 50 == 0:
            kept.append(x.copy())
    assert stats.kstest(np.ravel(kept), cdf).pvalue > FALSE_ALARM


def test_slice_update_takes_a_width_for_each_scalar() -> None:
    rng = np.random.default_rng(3)
    scale = np.array([0.01, 1.0, 100.0])
    x = rng.normal(size=(5000, 3)) * scale
    for _ in range(3):
        x = slice_update(lambda v: -0.5 * (v / scale) ** 2, x, scale, rng)
    for column in (x / scale).T:
        assert stats.kstest(column, stats.norm.cdf).pvalue > FALSE_ALARM


def test_slice_update_of_a_scalar_is_that_of_an_array_of_one() -> None:
    """With a width far below the slice's, which must be stepped out."""
    scalar, array = (
        slice_update(lambda v: -0.5 * v**2, at, 0.05, np.random.default_rng(3)) for at in (np.zeros(()), np.zeros(1))
    )
    assert scalar.shape == ()
    assert scalar == array[0]
    assert abs(scalar) > 0.05


def test_slice_update_leaves_its_argument_alone() -> None:
    x = np.array(1.0)
    new = slice_update(log_gamma, x, 1.0, np.random.default_rng(0))
    assert new.shape == ()
    assert x == 1.0
    assert new != x


# Chains


def counting(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Yield 0, 1, 2 ... and a random vector."""
    for i in range(10**6):
        yield {"i": i, "z": rng.normal(size=(2, 3))}


def test_draws_are_kept_after_tuning_and_thinned() -> None:
    out = run(counting, np.random.default_rng(0), chains=2, draws=4, tune=3, thin=2)
    assert out["i"].tolist() == [[3, 5, 7, 9]] * 2
    assert out["z"].shape == (2, 4, 2, 3)


def test_without_tuning_every_draw_is_kept() -> None:
    assert run(counting, np.random.default_rng(0), chains=1, draws=3, tune=0)["i"].tolist() == [[0, 1, 2]]


def test_chains_have_streams_of_their_own() -> None:
    z = run(counting, np.random.default_rng(0), chains=4, draws=500, tune=0)["z"].reshape(4, -1)
    correlation = np.corrcoef(z)[np.triu_indices(4, 1)]
    assert (np.abs(correlation) < 4.5 / np.sqrt(z.shape[1])).all()


def test_more_chains_leave_the_first_ones_as_they_are() -> None:
    two = run(counting, np.random.default_rng(0), chains=2, draws=3, tune=1)["z"]
    four = run(counting, np.random.default_rng(0), chains=4, draws=3, tune=1)["z"]
    np.testing.assert_array_equal(four[:2], two)


def test_state_that_is_changed_in_place_is_copied() -> None:
    def chain(rng: np.random.Generator) -> Iterator[dict[str, Array]]:
        x = np.zeros(2)
        while True:
            x += 1
            yield {"x": x}

    assert run(chain, np.random.default_rng(0), chains=1, draws=3, tune=0)["x"][0, :, 0].tolist() == [1, 2, 3]


# Labels

DIMS = {"weight": ("k",), "mean": ("k", "gene"), "loading": ("gene", "k"), "shift": ("gene",)}


@pytest.fixture
def clean() -> dict[str, Array]:
    """Draws of four separated components in the order of decreasing weight; 2 chains of 50."""
    rng = np.random.default_rng(4)
    centre = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    lead = (2, 50)
    return {
        "weight": np.array([0.4, 0.3, 0.2, 0.1]) + 0.01 * rng.normal(size=(*lead, 4)),
        "mean": centre + 0.5 * rng.normal(size=(*lead, 4, 2)),
        "loading": rng.normal(size=(*lead, 2, 4)),
        "shift": rng.normal(size=(*lead, 2)),
    }


def permuted(draws: dict[str, Array], order: Array) -> dict[str, Array]:
    """Permute the labels of every draw; ``order`` has shape (chain, draw, K)."""
    out = dict(draws)
    out["weight"] = np.take_along_axis(draws["weight"], order, -1)
    out["mean"] = np.take_along_axis(draws["mean"], order[..., None], -2)
    out["loading"] = np.take_along_axis(draws["loading"], order[..., None, :], -1)
    return out


def test_random_permutations_are_undone(clean: dict[str, Array]) -> None:
    order = np.random.default_rng(5).permuted(np.tile(np.arange(4), (2, 50, 1)), axis=-1)
    mixed = permuted(clean, order)
    before = {name: values.copy() for name, values in mixed.items()}
    out = relabel(mixed, mixed["mean"], DIMS, "k")
    for name, values in clean.items():
        np.testing.assert_array_equal(out[name], values, err_msg=name)
        np.testing.assert_array_equal(mixed[name], before[name])


def best_match(row: Array, pivot: Array) -> list[int]:
    """The permutation of least squared distance, by enumeration."""
    return min(map(list, permutations(range(len(row)))), key=lambda order: float(((row[order] - pivot) ** 2).sum()))


@pytest.fixture(params=range(5))
def overlapping(request: pytest.FixtureRequest) -> Array:
    """Two features of three components that overlap; shape (chain, draw, component, feature)."""
    rng = np.random.default_rng(request.param)
    mean: Array = np.array([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]]) + rng.normal(size=(2, 20, 3, 2))
    return mean


def matched(mean: Array) -> Array:
    return relabel({"mean": mean}, mean, DIMS, "k")["mean"]


def test_labels_depend_on_the_draws_alone(overlapping: Array) -> None:
    expected = matched(overlapping)
    rng = np.random.default_rng(8)
    order = rng.permuted(np.tile(np.arange(3), (2, 20, 1)), axis=-1)
    np.testing.assert_array_equal(matched(np.take_along_axis(overlapping, order[..., None], -2)), expected)
    scale, last = overlapping.std((0, 1, 2)), overlapping[0, -1]
    agreeing = np.array(  # with the draw that the search starts from
        [[row[best_match(row / scale, last / scale)] for row in chain] for chain in overlapping]
    )
    np.testing.assert_array_equal(matched(agreeing), expected)


def test_every_draw_is_matched_to_the_mean_at_least_cost(overlapping: Array) -> None:
    scale = overlapping.std((0, 1, 2))
    out = (matched(overlapping) / scale).reshape(-1, 3, 2)
    for row in out:
        assert best_match(row, out.mean(0)) == [0, 1, 2]


def test_without_weights_labels_are_sorted_by_the_first_feature() -> None:
    mean = np.array([9.0, 3.0, 6.0])[:, None] + 0.1 * np.random.default_rng(0).normal(size=(2, 10, 3, 1))
    assert (np.diff(matched(mean).mean((0, 1))[:, 0]) > 0).all()


def test_features_are_compared_on_their_own_scales(clean: dict[str, Array]) -> None:
    order = np.random.default_rng(5).permuted(np.tile(np.arange(4), (2, 50, 1)), axis=-1)
    mixed = permuted(clean, order)
    noise = 1e6 * np.random.default_rng(7).normal(size=(2, 50, 4, 1))
    constant = np.ones((2, 50, 4, 1))
    scaled = np.concatenate([mixed["mean"] * [1e-9, 1e9], constant, 0 * noise], -1)
    out = relabel(mixed, scaled, DIMS, "k")
    np.testing.assert_array_equal(out["mean"], clean["mean"])


def test_one_label_is_left_alone() -> None:
    draws = {"weight": np.ones((2, 5, 1)), "mean": np.random.default_rng(0).normal(size=(2, 5, 1, 2))}
    out = relabel(draws, draws["mean"], DIMS, "k")
    np.testing.assert_array_equal(out["mean"], draws["mean"])
