"""What is known of the edges: rules from words and files, and fits that keep to them."""

from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import genarium as gn
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.notmad import by_group, equivalence_class, notears, project_to_dag, rules
from genarium.models.notmad.graphs import is_acyclic
from genarium.models.notmad.knowledge import compatible, precedence, violations
from genarium.models.notmad.rule_files import RuleFiles


def simulated(seed: int, nodes: int, n: int) -> tuple[Array, Array, Array]:
    """Samples of a random graph with two edges a node, its weights, and its order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(nodes)
    network = np.zeros((nodes, nodes))
    pairs = [(i, j) for i in range(nodes) for j in range(i + 1, nodes)]
    for e in rng.choice(len(pairs), min(2 * nodes, len(pairs)), replace=False):
        i, j = pairs[e]
        network[order[i], order[j]] = rng.uniform(0.5, 2) * rng.choice([-1, 1])
    noise = rng.normal(size=(n, nodes)) * rng.uniform(0.5, 2, nodes)
    return noise @ np.linalg.inv(np.eye(nodes) - network), network, order


def random_rules(rng: np.random.Generator, order: Array) -> Array:
    """Rules of every kind that an order of the nodes can keep."""
    p = len(order)
    place = np.argsort(order)
    rule = np.where(rng.uniform(size=(p, p)) < 0.3, -1, 0)
    if rng.uniform() < 0.5:
        tier = place // 2
        rule[tier[:, None] > tier] = -1
    if rng.uniform() < 0.3:
        rule[order[p // 2 :]] = -1
    required = (rng.uniform(size=(p, p)) < 0.15) & (place[:, None] < place)
    rule[required] = 1
    np.fill_diagonal(rule, 0)
    return rule


def test_rules_say_what_words_say() -> None:
    made = rules(["a", "b", "c"], tiers={"c": 0, "a": 1}, forbidden=[("b", "c")], required=[("c", "b")])
    np.testing.assert_array_equal(made, [[0, 0, -1], [0, 0, -1], [0, 1, 0]])
    np.testing.assert_array_equal(rules([0, 1, 2], tiers=[[2], [0, 1]]), [[0, 0, -1], [0, 0, -1], [0, 0, 0]])


def test_nodes_are_named_by_what_holds_their_names() -> None:
    nodes = xr.DataArray(["a", "b", "c"], dims="node", coords={"node": ["a", "b", "c"]})
    wanted = rules("abc", forbidden=[("a", "b")], regulators=["a", "b"], tiers={"a": 1, "c": 0})
    found = rules(nodes, forbidden=[(nodes[0], nodes[1])], regulators=nodes[:2], tiers=pd.Series({"a": 1, "c": 0}))
    np.testing.assert_array_equal(found, wanted)
    one = rules(["tf", "g", "h"], tiers=["tf", ["g", "h"]])
    np.testing.assert_array_equal(one, rules(["tf", "g", "h"], tiers=[["tf"], ["g", "h"]]))
    np.testing.assert_array_equal(one, rules(range(3), tiers=[0, [1, 2]]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"forbidden": [("a", "x")]}, "forbidden: node x is not one of a, b, c"),
        ({"regulators": ["a"], "required": [("b", "c")]}, "edge b->c is forbidden by another rule"),
        ({"forbidden": ["ab"]}, "forbidden: 'ab' is no edge"),
        ({"required": [("a", "a")]}, "a->a: no node is its own parent"),
        ({"tiers": {"a": "first"}}, "tiers: 'first' of node a is no finite number"),
        ({"tiers": [["a"], ["b", "a"]]}, "tiers: node a is there twice"),
        ({"required": [("a", "b"), ("b", "c"), ("c", "a")]}, "required edges lead from node a back to it"),
    ],
    ids=str,
)
def test_rules_that_cannot_be_kept_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        rules(["a", "b", "c"], **given)


@pytest.mark.slow
def test_precedence_loses_no_network() -> None:
    """Of all graphs of three nodes that keep to a rule, each has an order that keeps to its precedence."""
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    for kinds in product((-1, 0, 1), repeat=6):
        rule = np.zeros((3, 3), dtype=np.int64)
        for pair, kind in zip(pairs, kinds, strict=True):
            rule[pair] = kind
        try:
            before = precedence(rule)
        except InputError:
            assert any(rule[a, b] == rule[b, a] == 1 for a, b in pairs) or (
                rule[0, 1] == rule[1, 2] == rule[2, 0] == 1 or rule[0, 2] == rule[2, 1] == rule[1, 0] == 1
            )
            continue
        orders = [np.array(o) for o in permutations(range(3)) if not np.tril(before[np.ix_(o, o)]).any()]
        for present in product((0, 1), repeat=6):
            graph = np.zeros((3, 3))
            for pair, one in zip(pairs, present, strict=True):
                graph[pair] = one
            if is_acyclic(graph) and not violations(graph, rule):
                assert any(not np.tril(graph[np.ix_(o, o)]).any() for o in orders)
        order = compatible(np.array([2, 0, 1]), before)
        assert not np.tril(before[np.ix_(order, order)]).any()


def test_no_population_network_breaks_a_rule() -> None:
    """Forty fits by either search and either kind of noise, and the projections of random matrices."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, _, order = simulated(seed, 6, 40)
        rule = random_rules(rng, order)
        settings: dict[str, Any] = {"search": "path"} if seed % 10 == 0 else {"starts": 2}
        found = notears(x, rule=rule, variances=("unequal", "equal")[seed % 2], **settings).network
        assert not violations(found, rule)
        assert is_acyclic(found)
        projected = project_to_dag(rng.normal(size=(3, 6, 6)), 0.5, rule)
        assert not violations(projected, rule)
        assert is_acyclic(projected).all()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        *(
            pytest.param(c, marks=pytest.mark.slow)
            for c in ({"prior": "hierarchical"}, {"noise": "shared", "mean": "regressed"})
        ),
    ],
    ids=str,
)
def test_no_network_of_a_sample_breaks_a_rule(changes: dict[str, Any]) -> None:
    for seed in range(2):
        x, _, order = simulated(seed, 5, 60)
        rule = random_rules(np.random.default_rng(seed), order)
        context = np.random.default_rng(seed).normal(size=(60, 2))
        data = {"x": x / x.std(0), "context": context, "rule": rule}
        fit = gn.fit("notmad", data, "map", seed, archetype=2, restarts=1, max_iterations=60, **changes)
        found = gn.predict(fit, {"context": context})["predictions"]["network"].to_numpy()
        assert not violations(found, rule)
        assert is_acyclic(found).all()


@pytest.mark.slow
def test_no_fit_of_a_thousand_breaks_a_rule() -> None:
    broken = 0
    for seed in range(1000):
        x, _, order = simulated(seed, 4, 40)
        rule = random_rules(np.random.default_rng(seed), order)
        context = np.random.default_rng(seed).normal(size=(40, 1))
        data = {"x": x / x.std(0), "context": context, "rule": rule}
        fit = gn.fit("notmad", data, "map", seed, archetype=2, restarts=1, max_iterations=40)
        broken += violations(gn.predict(fit)["predictions"]["network"].to_numpy(), rule)
    assert broken == 0


@pytest.mark.slow
def test_true_tiers_halve_the_errors() -> None:
    """Five graphs of 20 nodes, 100 samples: the mean distance of the graphs (ten seeds: 8.9 and 3.3)."""
    distance = np.zeros(2)
    for seed in range(5):
        x, truth, order = simulated(seed, 20, 100)
        for at, rule in enumerate((None, rules(range(20), tiers=[[int(node)] for node in order]))):
            wrong = (notears(x, rule=rule, starts=4).network != 0) != (truth != 0)
            distance[at] += np.triu(wrong | wrong.T).sum()
    assert distance[1] <= 0.5 * distance[0]


def test_knowledge_directs_what_follows_from_it() -> None:
    """A chain a - b - c without v-structure: one edge known directs the other; rule 4 of Meek by its own graph."""
    chain = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(equivalence_class(chain), chain | chain.T)
    np.testing.assert_array_equal(equivalence_class(chain, rules(range(3), required=[(0, 1)])), chain)
    # d -> c -> b known, a near all three, d and b strangers: b -> a would make a -> c or a cycle of both
    a, b, c, d = range(4)
    dag = np.zeros((4, 4), dtype=bool)
    dag[a, b] = dag[a, c] = dag[a, d] = dag[d, c] = dag[c, b] = True
    known = rules(range(4), required=[(d, c), (c, b)])
    found = equivalence_class(dag, known)
    members = []
    for ends in product((0, 1), repeat=5):
        graph = np.zeros((4, 4), dtype=bool)
        for end, (i, j) in zip(ends, np.argwhere(dag), strict=True):
            graph[(i, j) if end else (j, i)] = True
        same = is_acyclic(graph) and (equivalence_class(graph) == equivalence_class(dag)).all()
        members += [graph] if same and not violations(graph, known) else []
    np.testing.assert_array_equal(found, np.any(members, axis=0))


def test_groups_keep_to_rules() -> None:
    x, _, order = simulated(1, 5, 80)
    rule = random_rules(np.random.default_rng(1), order)
    found = by_group(x, x[:, :1], np.arange(80) % 2, rule=rule)
    assert not violations(found.networks, rule)


def test_files_say_what_is_known(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = "\n".join(",".join(f"{v:.3f}" for v in row) for row in rng.normal(size=(20, 4)))
    (tmp_path / "x.csv").write_text("age,tf,g,h\n" + rows)
    (tmp_path / "edges.tsv").write_text("source\ttarget\trule\ntf\tg\trequired\ng\tmyc\tforbidden\n")
    (tmp_path / "tiers.csv").write_text("node,tier\ntf,1\nh,2\n")
    (tmp_path / "tfs.txt").write_text("# regulators\ntf\nh\nmyc\n")
    known = {"known_edges": "edges.tsv", "tiers": "tiers.csv", "regulators": "tfs.txt"}
    read = gn.read("notmad", tmp_path / "x.csv", context="age", **{k: str(tmp_path / v) for k, v in known.items()})
    np.testing.assert_array_equal(read["constant_data"]["rule"], [[0, 1, 0], [-1, 0, -1], [-1, 0, 0]])
    assert "1 regulators that are not among the nodes were left out: myc" in read.attrs["ledger"]
    fit = gn.fit("notmad", read, "map", archetype=2, restarts=1)
    assert not violations(
        gn.predict(fit)["predictions"]["network"].to_numpy(), read["constant_data"]["rule"].to_numpy()
    )
    (tmp_path / "edges.tsv").write_text("source\ttarget\trule\ntf\tg\tnever\n")
    with pytest.raises(
        InputError, match=r"edges\.tsv: row 1, column 'rule': 'never' is not one of forbidden, required"
    ):
        gn.read("notmad", tmp_path / "x.csv", context="age", known_edges=str(tmp_path / "edges.tsv"))


def test_names_in_files_of_rules_are_as_written(tmp_path: Path) -> None:
    """Leading zeros, decimals and words for truth; and a mark of the byte order before the first regulator."""
    names = ["001", "1.50", "TRUE"]
    (tmp_path / "edges.csv").write_text("source,target,rule\n001,1.50,forbidden\n1.50,001,required\n")
    (tmp_path / "tiers.csv").write_text("node,tier\nTRUE,2\nFALSE,1\n")
    (tmp_path / "both.csv").write_text("node,tier\n001,1\n1.50,0\n")
    (tmp_path / "tfs.txt").write_bytes("\ufeff001\r\n1.50\r\n".encode())

    def told(**files: str) -> list[Any]:
        notes: list[str] = []
        rule = RuleFiles(**{kind: str(tmp_path / name) for kind, name in files.items()}).read(names, notes)
        assert rule is not None
        return [*np.argwhere(rule < 0).tolist(), *np.argwhere(rule > 0).tolist(), len(notes)]

    assert told(known_edges="edges.csv") == [[0, 1], [1, 0], 0]
    assert told(tiers="tiers.csv") == [1]  # FALSE is no node
    assert told(tiers="both.csv") == [[0, 1], 0]
    assert told(regulators="tfs.txt") == [[2, 0], [2, 1], 0]
    (tmp_path / "tfs.txt").write_bytes("gène".encode("latin-1"))
    with pytest.raises(InputError, match=r"tfs\.txt: this is not text in UTF-8"):
        told(regulators="tfs.txt")


def test_required_edges_that_go_back_are_refused_where_the_order_is_given() -> None:
    x, _, _ = simulated(1, 3, 30)
    data = {"x": x, "context": x[:, :1] * 0 + np.arange(30)[:, None], "rule": rules(range(3), required=[(2, 0)])}
    with pytest.raises(InputError, match="edge 2->0 is required, and goes back in the order"):
        gn.fit("notmad", data, "map", archetype=2, order="given")
