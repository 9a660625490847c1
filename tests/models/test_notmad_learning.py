"""Orders of nodes with a link, learnt from data, against all orders; and the regressions that they rest on."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import genarium as gn
from genarium.models.notmad import learn_order, learning, links, regressions, rules


def in_order(kind: str, seed: int, p: int, density: float) -> Any:
    """Return samples of one network along the order of the columns, and another order that these are brought to."""
    rng, edges = np.random.default_rng(seed), p * (p - 1) // 2
    weights = (
        rng.choice([-1, 1], (1, edges)) * rng.uniform(0.5, 2, (1, edges)) * (rng.uniform(size=(1, edges)) < density)
    )
    known = {"edge_weight": weights / (1 + (kind == "count")), "slope": np.zeros((1, 1)), "intercept": np.zeros(1)}
    sizes = {"sample": 800, "node": p, "covariate": 1, "archetype": 1}
    tree = gn.simulate("notmad", seed, order="given", nodes=kind, **sizes, **known)
    return tree["observed_data"]["x"].to_numpy(), rng.permutation(p)


@pytest.mark.parametrize("kind", ["logistic", "count"])
def test_an_order_is_learnt_that_has_nearly_the_highest_density_of_all(kind: str) -> None:
    rule = rules(range(5))
    for seed in range(5):
        x, order = in_order(kind, seed, 5, 0.5)
        x = x[:, order]
        features = learning._features(links.passed(kind, x, links.level(kind, x)), np.zeros((len(x), 1)))
        score = learning.Score(kind, x, features, rule, 5.0)
        found = score(np.argsort(learn_order(x, np.zeros((len(x), 1)), nodes=kind)))
        assert found > max(score(np.array(one)) for one in permutations(range(5))) - 5 * learning.GAIN


def test_a_node_that_others_determine_is_between_its_parents_and_its_children() -> None:
    rng = np.random.default_rng(0)
    first, second, other = rng.uniform(size=(3, 2000)) < np.array([[0.2], [0.3], [0.5]])
    either = first | second
    child = rng.uniform(size=2000) < np.where(either, 0.95, 0.05)
    x = np.column_stack([child, other, either, second, first]).astype(float)
    place = learn_order(x, np.zeros((2000, 1)))
    assert max(place[3], place[4]) < place[2] < place[0]


@pytest.mark.parametrize("kind", ["logistic", "count"])
def test_regressions_with_a_penalty_reach_the_maximum(kind: str) -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(300, 4))
    eta = 0.3 + features @ [1.0, -0.5, 0.05, 0.0]
    x = np.asarray(links.draw(kind, rng, eta, 0.5), dtype=float)
    value, weights = regressions.fit(kind, x, 0.2, features, 10.0)

    def loss(parts: Any) -> float:  # weights as differences of what is not negative
        up, down = parts[1:5], parts[5:9]
        there = 0.2 + parts[0] + features @ (up - down)
        return float(10.0 * (up + down).sum() - links.log_density(kind, x, there, np.exp(parts[9])).sum())

    start, bounds = np.append(np.full(9, 0.1), -1.0), [(None, None), *[(0, None)] * 8, (None, None)]
    least = minimize(loss, start, bounds=bounds, options={"maxfun": 10**5})
    assert value == pytest.approx(-least.fun, abs=5e-3)
    np.testing.assert_allclose(weights[1:], least.x[1:5] - least.x[5:9], atol=2e-3)
    curved = regressions.curvature(kind, eta, 0.5)
    if kind == "logistic":
        step = 1e-4
        ahead, back = (links.log_density(kind, x, eta + d, 0.5) for d in (step, -step))
        second = (ahead + back - 2 * links.log_density(kind, x, eta, 0.5)) / step**2
    else:
        mean = np.exp(eta)
        second = -mean / (1 + 0.5 * mean)
    np.testing.assert_allclose(curved, -second, rtol=1e-4, atol=1e-6)
