"""The population network: parents, orders and classes by enumeration; what it finds; what is refused."""

import re
import warnings
from collections.abc import Callable
from importlib import import_module
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.notmad import (
    bootstrap,
    by_group,
    clustered,
    consensus,
    equivalence_class,
    group_average,
    learn_order,
    lioness,
    notears,
    project_to_dag,
    select,
)
from genarium.models.notmad.baselines import held_out_error
from genarium.models.notmad.equivalence import representative
from genarium.models.notmad.graphs import compare, is_acyclic
from genarium.models.notmad.orders import choose_parents, local_score, residual_variance

_module = import_module("genarium.models.notmad.notears")
Search, by_variance = _module.Search, _module.by_variance


def simulated(seed: int, p: int, n: int, *, spread: tuple[float, float] = (0.5, 2.0)) -> tuple[Array, Array]:
    """Samples of an Erdos-Renyi network of 2p expected edges, weights +-U(.5, 2), noise of unlike sizes."""
    rng = np.random.default_rng(seed)
    present = np.triu(rng.uniform(size=(p, p)) < min(1.0, 4 / (p - 1)), 1)
    truth = present * rng.uniform(0.5, 2, (p, p)) * rng.choice([-1, 1], (p, p))
    order = rng.permutation(p)
    truth = truth[np.ix_(order, order)]
    return (rng.normal(size=(n, p)) * rng.uniform(*spread, p)) @ np.linalg.inv(np.eye(p) - truth), truth


def adjacent_f1(a: Array, b: Array) -> float:
    """F1 of the pairs that are neighbours."""
    one, other = ((w != 0) | (w != 0).T for w in (a, b))
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def naive_score(x: Array, y: int, parents: tuple[int, ...], unit: float) -> float:
    """n ln of the mean squared residual of a regression, and the cost of its parents, by least squares."""
    n = len(x)
    r = x - x.mean(0)
    e = r[:, y]
    if parents:
        e = e - r[:, parents] @ np.linalg.lstsq(r[:, parents], r[:, y], rcond=None)[0]
    return float(n * np.log((e**2).mean()) + unit * len(parents) * n / (n - len(parents) - 2))


def test_local_scores_are_those_of_regressions() -> None:
    x, _ = simulated(0, 6, 40)
    covariance = np.cov(x.T, bias=True)
    for parents in [(), (0,), (3, 1), (0, 1, 2, 3, 4)]:
        given = np.array([*parents, 0], dtype=np.int64)
        found = local_score(residual_variance(covariance, 5, given, len(parents)), len(parents), 40.0, 5.0, 0.0)
        assert found == pytest.approx(naive_score(x, 5, parents, 5.0), rel=1e-10)


def test_parents_are_the_best_of_all_sets() -> None:
    """Growing and shrinking against every subset of six candidates: at least 28 of 30 the same, and never better."""
    same = 0
    for seed in range(30):
        x, _ = simulated(seed, 7, 60)
        covariance = np.cov(x.T, bias=True)
        y = seed % 7
        candidates = np.array([j for j in range(7) if j != y], dtype=np.int64)
        out = np.empty(6, dtype=np.int64)
        none = np.zeros((7, 7), dtype=np.int64)
        score, k = choose_parents(covariance, none, y, candidates, 6, 60.0, np.full(7, 8.0), 0.0, 6, out)
        sets = [s for size in range(7) for s in combinations(candidates.tolist(), size)]
        best = min(sets, key=lambda s: naive_score(x, y, s, 8.0))
        assert score == pytest.approx(naive_score(x, y, tuple(out[:k].tolist()), 8.0), rel=1e-9)
        assert score >= naive_score(x, y, best, 8.0) - 1e-7
        same += set(out[:k].tolist()) == set(best)
    assert same >= 28


def test_parents_are_never_worse_than_one_or_none() -> None:
    """Growth passes by the best single parent; shrinking from more of them may end at others."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(60, 7)) @ np.linalg.inv(np.eye(7) - np.triu(rng.normal(0, 0.5, (7, 7)), 1))
        S, n = np.asarray(np.corrcoef(x.T)), 60.0
        for y in range(7):
            others = np.array([j for j in range(7) if j != y], dtype=np.int64)
            units, out = np.full(7, np.log(n) + 2 * np.log(7)), np.empty(6, dtype=np.int64)
            score, k = choose_parents(S, np.zeros((7, 7), np.int64), y, others, 6, n, units, 0.0, 6, out)
            assert score == pytest.approx(local_score(residual_variance(S, y, out, k), k, n, units[y], 0.0))
            few = [residual_variance(S, y, np.array([j]), m) for j in others for m in (0, 1)]
            assert score <= min(local_score(v, i % 2, n, units[y], 0.0) for i, v in enumerate(few)) + 1e-9


def levelled(seed: int, p: int, n: int, levels: int) -> Array:
    """Samples of a tree cut into levels of one size: many networks fit exactly as well."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, p))
    for j in range(1, p):
        z[:, j] += 1.2 * z[:, rng.integers(j)]
    return np.argsort(np.argsort(z, axis=0), axis=0) * levels // n + 0.0


def test_networks_of_few_values_are_acyclic() -> None:
    """A parent that moves behind its child is lost also where another one is exactly as good."""
    for seed, levels in [(38, 2), (58, 2), (61, 2), (67, 2), (4, 3), (33, 3), (108, 3)]:
        found = notears(levelled(seed, 4 + seed % 6, 30, levels), warn=False)
        assert is_acyclic(found.network)
        assert is_acyclic(representative(found.equivalence_class))


@pytest.mark.parametrize("variances", ["unequal", "equal"])
def test_how_columns_are_listed_and_scaled_does_not_matter(variances: Any) -> None:
    """Where there are few samples, so that starts end at many orders, and where networks fit exactly as well."""
    for seed, x in enumerate([simulated(0, 20, 50)[0], simulated(1, 30, 60)[0], levelled(2, 12, 50, 3)]):
        rng, p = np.random.default_rng(seed), x.shape[1]
        found = notears(x, variances=variances, warn=False)
        order = rng.permutation(p)
        listed = notears(x[:, order], variances=variances, warn=False)
        assert listed.score == pytest.approx(found.score, rel=1e-9)
        np.testing.assert_array_equal(listed.equivalence_class, found.equivalence_class[np.ix_(order, order)])
        if variances == "unequal":
            scale = 10 ** rng.uniform(-4, 4, p) * rng.choice([-1, 1], p)
            scaled = notears(x * scale, warn=False)
            np.testing.assert_allclose(scaled.network * scale[:, None] / scale, found.network, atol=1e-9)


def test_two_samples_have_no_edges() -> None:
    found = notears(np.random.default_rng(0).normal(size=(2, 3)), warn=False)
    assert not found.network.any()
    assert (found.score, found.starts_at_best) == (0.0, 10)


def test_the_order_found_is_the_best_of_all_orders() -> None:
    """Every order of five nodes with every set of parents: within half a nat of the least score, mostly at it."""
    at_best = 0
    for seed in range(5):
        x, _ = simulated(seed, 5, 80)
        unit = x / x.std(0)
        cost = np.log(80) + 2 * np.log(5)
        best: dict[tuple[int, frozenset[int]], float] = {}
        for y in range(5):
            others = [j for j in range(5) if j != y]
            for size in range(5):
                for allowed in combinations(others, size):
                    sets = [s for k in range(size + 1) for s in combinations(allowed, k)]
                    best[y, frozenset(allowed)] = min(naive_score(unit, y, s, cost) for s in sets)
        totals = [sum(best[y, frozenset(o[:i])] for i, y in enumerate(o)) for o in permutations(range(5))]
        beyond = notears(x).score - min(totals)
        assert -1e-6 < beyond < 0.5
        at_best += beyond < 1e-6
    assert at_best >= 4


def every_dag(p: int) -> list[Array]:
    pairs = list(combinations(range(p), 2))
    found = []
    for states in product((0, 1, 2), repeat=len(pairs)):
        w = np.zeros((p, p))
        for (i, j), state in zip(pairs, states, strict=True):
            w[i, j], w[j, i] = state == 1, state == 2
        if is_acyclic(w):
            found.append(w)
    return found


def v_structures(dag: Array) -> frozenset[tuple[int, int, int]]:
    near = (dag + dag.T) > 0
    return frozenset(
        (a, b, c)
        for c in range(len(dag))
        for a, b in combinations(np.flatnonzero(dag[:, c]).tolist(), 2)
        if not near[a, b]
    )


def test_classes_are_those_of_all_networks_with_the_same_v_structures() -> None:
    """All 543 networks of four nodes: an edge is decided where every network of the class has it the same way."""
    dags = every_dag(4)
    assert len(dags) == 543
    classes: dict[Any, list[Array]] = {}
    for dag in dags:
        key = (tuple(((dag + dag.T) > 0).ravel().tolist()), v_structures(dag))
        classes.setdefault(key, []).append(dag)
    assert len(classes) == 185  # Andersson, Madigan and Perlman (1997)
    for members in classes.values():
        union = np.array(members).any(0)
        for dag in members:
            np.testing.assert_array_equal(equivalence_class(dag), union)
        assert any((representative(union) == dag).all() for dag in members)


def test_the_graph_does_not_change_with_the_scale_of_columns() -> None:
    x, _ = simulated(3, 15, 300)
    scale = 10.0 ** np.random.default_rng(0).uniform(-4, 4, 15)
    plain, scaled = notears(x), notears(x * scale + 5 * scale)
    np.testing.assert_array_equal(plain.equivalence_class, scaled.equivalence_class)
    np.testing.assert_allclose(scaled.network * scale[:, None] / scale, plain.network, rtol=1e-6, atol=1e-9)
    assert scaled.score == pytest.approx(plain.score, rel=1e-9)


def test_unequal_noise_and_standardised_columns_lead_to_the_graph() -> None:
    found = []
    for seed in range(4):
        x, truth = simulated(seed, 20, 1000)
        result = notears(x / x.std(0))
        found.append((compare(result.network, truth, 1e-9)["shd"], adjacent_f1(result.network, truth), result.decided))
        assert is_acyclic(result.network)
    shd, f1, decided = np.mean(found, 0)
    assert shd <= 4
    assert f1 >= 0.97
    assert 0.6 < decided < 1


def test_equal_noise_tells_directions_that_others_do_not() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=2000)
    x = np.column_stack([a + rng.normal(size=2000), a])  # second -> first: one edge, of either direction
    either, known = notears(x), notears(x, variances="equal")
    assert either.decided == 0
    assert either.equivalence_class.sum() == 2
    assert known.decided == 1
    assert known.network[1, 0] == pytest.approx(1, abs=0.1)
    assert known.network[0, 1] == 0
    x, truth = simulated(1, 20, 1000, spread=(1, 1))
    assert compare(notears(x, variances="equal").network, truth, 1e-9)["shd"] == 0


def test_noise_has_nearly_no_edges() -> None:
    """30 samples of 25 independent nodes: of 300 pairs at most one on average over eight."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [notears(np.random.default_rng(seed).normal(size=(30, 25))).network for seed in range(8)]
    assert np.mean([(w != 0).sum() for w in found]) <= 1


def test_few_samples_are_warned_of_and_weights_stay_small() -> None:
    x, _ = simulated(0, 30, 40)
    with pytest.warns(UserWarning, match="there are 40 samples for 30 nodes"):
        found = notears(x, starts=3)
    assert np.abs(found.network).max() < 5
    with pytest.warns(UserWarning, match=r"in group 1 \(the smallest of 2\), there are 10 samples for 30 nodes"):
        by_group(x, np.zeros((40, 1)), np.repeat([0, 1], [30, 10]))


@pytest.mark.parametrize("penalty", ["logdet", pytest.param("notears", marks=pytest.mark.slow)])
def test_paths_find_the_graph_of_equal_noise(penalty: Any) -> None:
    truth = np.zeros((4, 4))
    truth[2, 0], truth[0, 1], truth[3, 1] = 1.5, -1.0, 1.2
    x = np.random.default_rng(0).normal(size=(1000, 4)) @ np.linalg.inv(np.eye(4) - truth)
    found = notears(x, search="path", beta=0.05, threshold=0.3, penalty=penalty)
    np.testing.assert_array_equal(found.network != 0, truth != 0)
    assert found.h > 0


def arrays_refused() -> dict[str, tuple[Callable[[], Any], str]]:
    x, _ = simulated(0, 4, 50)
    context = np.zeros((50, 1))
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], [20, 30])
    summed = np.column_stack([x, x[:, 0] + x[:, 2]])
    return {
        "1-d": (lambda: notears(x[:, 0]), "x has the shape (50,)"),
        "no columns": (lambda: notears(x[:, :0]), "x has the shape (50, 0)"),
        "text": (lambda: notears(np.array([["a", "b"], ["c", "d"]])), "x must be a matrix of numbers"),
        "weights": (lambda: notears(x, weight=np.ones(49)), "weight has the shape (49,); it must be (50,)"),
        "negative weight": (lambda: notears(x, weight=np.r_[-1, np.ones(49)]), "weight[0] = -1 is negative"),
        "one weight": (lambda: notears(x, weight=np.r_[1, np.zeros(49)]), "1 of 50 are positive"),
        "beta": (lambda: notears(x, search="path", beta=-1), "beta=-1 must be a finite number, zero or larger"),
        "dropped": (lambda: notears(x, beta=0.1), "beta=0.1 would be dropped"),
        "threshold": (lambda: notears(x, threshold=-0.1), "threshold=-0.1 must be"),
        "starts": (lambda: notears(x, starts=0), "starts=0 must be a whole number, 1 or larger"),
        "variances": (lambda: notears(x, variances="same"), "variances='same' is not known"),  # type: ignore[arg-type]
        "constant": (lambda: notears(np.column_stack([x, np.ones(50)])), "column 4 is 1 in every sample"),
        "duplicate": (lambda: notears(np.column_stack([x, -2 * x[:, 1]])), "columns 1 and 4 are the same up to scale"),
        "sum": (lambda: notears(summed), "column 4 is an exact sum of multiples of columns before it"),
        "group": (lambda: by_group(x, context, np.zeros(3)), "group has the shape (3,); it must be (50,)"),
        "context": (lambda: by_group(x, context[:9], np.zeros(50)), "context has 9 rows, x has 50"),
        "groups": (lambda: clustered(x, context, 0, rng), "groups=0 must be a whole number"),
        "many groups": (lambda: clustered(x, context, 51, rng), "groups=51 is more than the 50 samples"),
        "no generator": (lambda: clustered(x, context, 1, 3), "Give numpy.random.default_rng(seed)"),  # type: ignore[arg-type]
        "in a group": (
            lambda: by_group(np.column_stack([x, label * x[:, 0] ** 2]), context, label),
            "in group 0: x: column 4 is 0",
        ),
        "no group": (lambda: by_group(x, context, np.array([None, *"a" * 49])), "group[0] = None: 1 samples have no"),
        "new contexts": (lambda: by_group(x, context, label).predict(np.ones((2, 2))), "2 covariates, the fit had 1"),
        "left out": (lambda: lioness(x, samples=np.array([50])), "positions of rows of x, whole numbers from 0 to 49"),
        "averaged": (lambda: group_average(np.zeros((3, 2, 2)), label), "give one network for each of 50"),
        "scored": (lambda: held_out_error(x, np.zeros((3, 4, 4))), "networks of shape (3, 4, 4) for x of shape"),
        "compared": (lambda: compare(np.zeros((0, 2, 2)), np.zeros((0, 2, 2))), "there is no network in it"),
        "large": (lambda: notears(x * [1, 1, 1e200, 1]), "column 2 are of size"),
        "small": (lambda: notears(x * 1e-200), "squares of these cannot be held"),
        "masked": (lambda: notears(np.ma.masked_equal(x, x[3, 1])), "x[3, 1] = nan is not finite (1 of 200 values"),
        "masked network": (lambda: compare(np.ma.masked_equal(np.eye(2), 1), np.eye(2)), "estimate[0, 0] = nan"),
        "rules of a class": (
            lambda: equivalence_class(np.eye(2, k=1), np.zeros((3, 3))),
            "rule must be a matrix 2 x 2",
        ),
        "class against rules": (lambda: equivalence_class(np.eye(2, k=1), -np.eye(2, k=1)), "do not allow this edge"),
        "class": (lambda: equivalence_class(np.ones((2, 2))), "must be one acyclic network"),
        "bootstrap": (lambda: next(bootstrap(x, context[:9], rng)), "context has 9 rows, x has 50"),
        "ensemble": (lambda: consensus(np.zeros((2, 4, 4))), "give (members, samples, nodes, nodes)"),
        "Booleans": (lambda: learn_order(x, context), "with nodes='logistic' every value must be zero or one"),
        "complex": (lambda: notears(x * 1j), "x must be a matrix of numbers"),
        "half a start": (lambda: notears(x, starts=2.5), "starts=2.5 must be a whole number"),  # type: ignore[arg-type]
        "seed": (lambda: notears(x, seed=-1), "seed=-1 must be a whole number"),
        "text weight": (lambda: notears(x, weight="a"), "weight must be an array of real numbers"),  # type: ignore[arg-type]
        "text cut": (lambda: notears(x, threshold="a"), "threshold='a' must be"),  # type: ignore[arg-type]
        "loop": (lambda: notears(x, rule=np.eye(4)), "required edges lead from node 0 back to it"),
        "ragged": (lambda: project_to_dag([[1.0, 2.0], [3.0]]), "networks must be an array of weights"),  # type: ignore[arg-type]
        "parts": (lambda: select(x, context, restarts=0), "restarts=0 must be a whole number"),
        "rates": (lambda: select(x, context, betas=()), "betas, means and priors need one value or more each"),
        "none": (lambda: project_to_dag(np.zeros((0, 3, 3))), "no network"),
        "square": (lambda: project_to_dag(np.zeros((2, 3))), "networks of shape (2, 3)"),
        "cut": (lambda: project_to_dag(np.zeros((3, 3)), -1.0), "threshold=-1.0 must be"),
        "nan": (lambda: project_to_dag(np.full((2, 2), np.nan)), "networks[0, 0] = nan"),
    }


@pytest.mark.parametrize("case", arrays_refused())
def test_arrays_that_are_refused(case: str) -> None:
    function, said = arrays_refused()[case]
    with pytest.raises(InputError, match=re.escape(said)):
        function()


def test_nodes_of_two_values_are_warned_of() -> None:
    x, _ = simulated(0, 4, 50)
    x[:, 2] = np.where(x[:, 2] > 0, 1.3, -0.7)
    with pytest.warns(UserWarning, match=r"nodes that take only two values \(1: 2\)"):
        notears(x)


def test_moves_along_the_order_of_the_truth_do_not_leave_it_for_worse() -> None:
    """Collinear ancestors: parents grown one by one may be worse than those at hand, and must not replace them."""
    rng, p, n = np.random.default_rng(0), 40, 1000
    truth = np.triu(rng.uniform(size=(p, p)) < 4 / (p - 1), 1) * rng.uniform(0.5, 2, (p, p))
    truth *= rng.choice([-1, 1], (p, p))
    x = rng.normal(size=(n, p)) @ np.linalg.inv(np.eye(p) - truth)
    S = np.cov(x.T, bias=True)
    search = Search(S, n, equal=True, rule=np.zeros((p, p), dtype=np.int64))
    score, _, _ = search.improved(S, np.arange(p), shared=1.0)
    expected = 0.0
    for j in range(p):
        k = np.flatnonzero(truth[:, j])
        rss = S[j, j] - S[j, k] @ np.linalg.solve(S[np.ix_(k, k)], S[k, j])
        expected += local_score(rss, len(k), n, search.units[j], 1.0)
    assert score <= expected + 1e-6
    order, variance = by_variance(S, n)
    place = np.argsort(order)
    assert all(place[i] < place[j] for i, j in zip(*np.nonzero(truth), strict=True))
    assert variance == pytest.approx(1, abs=0.02)


def test_groups_are_in_the_order_of_their_labels() -> None:
    """Whole numbers as such, also in an array of objects; networks differ by the weight of their edge."""
    group = np.repeat([2, 10, 9], 100)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    x[:, 1] += np.choose(group % 3, [-2, 1, 2]) * x[:, 0]  # 9: -2, 10: 1, 2: 2
    held: list[Any] = [group, group.astype(object), group.tolist(), [f"{g:02d}" for g in group]]
    for labels in held:
        found = by_group(x, x[:, :1], labels)
        np.testing.assert_allclose(np.linalg.norm(found.networks, axis=(1, 2)) > 1.5, [True, True, False])
        np.testing.assert_array_equal(found.group, np.repeat([0, 2, 1], 100))
    stages = pd.Categorical(np.choose(group % 3, ["high", "low", "mid"]), ["low", "mid", "high", "none"], ordered=True)
    held = [stages, pd.Series(stages, index=range(5, 305)), pd.CategoricalIndex(stages)]
    for labels in held:
        np.testing.assert_array_equal(by_group(x, x[:, :1], labels).group, np.repeat([1, 0, 2], 100))


@pytest.mark.parametrize(
    "missing",
    [
        [float("nan"), "a"],
        pd.array([None, "a"], dtype="string"),
        pd.Categorical([None, "a"]),
        np.ma.masked_equal([1, 2], 1),
    ],
)
def test_samples_without_a_group_are_refused(missing: Any) -> None:
    group = missing[[0, 1] * 10] if not isinstance(missing, list) else missing * 10
    with pytest.raises(InputError, match=r"10 samples have no group"):
        by_group(np.random.default_rng(0).normal(size=(20, 2)), np.arange(20.0)[:, None], group)


def test_fewer_clusters_than_asked_for_are_told() -> None:
    x, context = np.random.default_rng(0).normal(size=(40, 2)), np.repeat([[0.0], [1.0]], 20, 0)
    with pytest.warns(UserWarning, match="groups=5, but the contexts fall into 2 only"):
        assert len(clustered(x, context, 5, np.random.default_rng(0)).networks) == 2
