"""What is known of the edges beforehand: forbidden and required ones, tiers, regulators; one matrix says it all."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import listed

FORBIDDEN, OPEN, REQUIRED = -1, 0, 1
"""Entries of a matrix of rules."""

Edges = Iterable[tuple[Any, Any]]


def rules(
    nodes: Iterable[Any],
    *,
    forbidden: Edges = (),
    required: Edges = (),
    tiers: Mapping[Any, float] | Iterable[Any] | None = None,
    regulators: Iterable[Any] | None = None,
) -> Array:
    """Write down what is known of the edges.

    Parameters
    ----------
    nodes : iterable
        Names of the nodes, in the order of the columns of x.
    forbidden, required : iterable of (source, target)
        Edges that no network has, and edges that every network has.
    tiers : mapping, Series or iterable of iterables, optional
        A number for each node, or nodes group by group: no edge leads from a later tier to an earlier one. Nodes
        without a tier are free.
    regulators : iterable, optional
        The only nodes that may be parents, e.g. transcription factors.

    Returns
    -------
    ndarray of int, shape (p, p)
        [i, j] is -1 where i -> j is forbidden, 1 where it is required, 0 elsewhere. For ``rule`` of a fit, of
        :func:`~genarium.models.notmad.notears` and of :func:`~genarium.models.notmad.project_to_dag`.

    Raises
    ------
    InputError
        If a node is not known or named twice, or rules contradict each other.

    Examples
    --------
    >>> rules(["tf", "a", "b"], regulators=["tf"], required=[("tf", "a")])
    array([[ 0,  1,  0],
           [-1,  0, -1],
           [-1, -1,  0]])
    """
    names = [_name(node) for node in nodes]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise InputError(f"notmad: node {double} is there twice. Give every node a name of its own.")
    place = {name: i for i, name in enumerate(names)}

    def at(node: Any, where: str) -> int:
        if _name(node) not in place:
            raise InputError(f"notmad: {where}: node {_name(node)} is not one of {listed(np.array(names))}.")
        return place[_name(node)]

    out = np.full((len(names), len(names)), OPEN, dtype=np.int64)
    if tiers is not None:
        pairs = tiers.items() if hasattr(tiers, "items") else [(n, t) for t, g in enumerate(tiers) for n in _group(g)]
        tier = np.full(len(names), np.nan)
        for node, number in pairs:
            place_of = at(node, "tiers")
            if isinstance(number, bool) or not isinstance(number, int | float | np.number) or not np.isfinite(number):
                raise InputError(f"notmad: tiers: {number!r} of node {node!s} is no finite number.")
            if not np.isnan(tier[place_of]):
                raise InputError(f"notmad: tiers: node {node!s} is there twice. Give it one tier.")
            tier[place_of] = number
        out[tier[:, None] > tier] = FORBIDDEN
    if regulators is not None:
        chosen = {at(node, "regulators") for node in ([regulators] if isinstance(regulators, str) else regulators)}
        out[[i for i in range(len(names)) if i not in chosen]] = FORBIDDEN
    np.fill_diagonal(out, OPEN)
    forbidden, required = _pairs("forbidden", forbidden), _pairs("required", required)
    for source, target in forbidden:
        out[at(source, "forbidden"), at(target, "forbidden")] = FORBIDDEN
    for source, target in required:
        i, j = at(source, "required"), at(target, "required")
        if i == j:
            raise InputError(f"notmad: required: {source!s}->{target!s}: no node is its own parent. Drop it.")
        if out[i, j] == FORBIDDEN:
            raise InputError(f"notmad: required: the edge {source!s}->{target!s} is forbidden by another rule.")
        out[i, j] = REQUIRED
    precedence(out, np.array(names))
    return out


def _name(node: Any) -> str:
    """Return the name of a node, also of an element of a DataArray."""
    return str(node.item() if isinstance(node, xr.DataArray) else node)


def _group(tier: Any) -> Iterable[Any]:
    """Return the nodes of a tier, which may be one."""
    return [tier] if isinstance(tier, str) or not isinstance(tier, Iterable) else tier


def _pairs(name: str, edges: Edges) -> list[tuple[Any, Any]]:
    """Return the edges as pairs of names.

    Raises
    ------
    InputError
        Naming the first one that is no pair.
    """
    out = list(edges.items()) if isinstance(edges, Mapping) else list(edges)
    for edge in out:
        if isinstance(edge, str) or not isinstance(edge, Iterable) or len(tuple(edge)) != 2:
            raise InputError(f"notmad: {name}: {edge!r} is no edge. Give pairs such as ('a', 'b') for a -> b.")
    return out


def checked(rule: Array | None, nodes: int) -> Array:
    """Return a matrix of rules for so many nodes; None is one without any.

    Raises
    ------
    InputError
        If it has another shape or other values, or required edges form a cycle.
    """
    if rule is None:
        return np.full((nodes, nodes), OPEN, dtype=np.int64)
    given = np.asarray(rule)
    if given.shape != (nodes, nodes) or not np.isin(given, (FORBIDDEN, OPEN, REQUIRED)).all():
        raise InputError(
            f"notmad: rule must be a matrix {nodes} x {nodes} of -1 (forbidden), 0 and 1 (required), as rules() makes."
        )
    out = given.astype(np.int64)
    precedence(out)
    np.fill_diagonal(out, OPEN)
    return out


def reach(edges: Array) -> Array:
    """Whether there is a way from i to j over one edge or more; shape (p, p)."""
    out = np.asarray(edges, dtype=bool).copy()
    for k in range(len(out)):
        out |= out[:, [k]] & out[[k]]
    return out


def precedence(rule: Array, names: Array | None = None) -> Array:
    """Which nodes come before which in some order of every best network; shape (p, p) of bool.

    i comes before j if required edges lead from i to j; or if edges that may be there lead from i to j and none from j
    to i: then an order with i first is never worse.

    Raises
    ------
    InputError
        If required edges form a cycle.
    """
    required = reach(rule == REQUIRED)
    loop = np.flatnonzero(np.diagonal(required))
    if loop.size:
        who = loop[0] if names is None else names[loop[0]]
        raise InputError(f"notmad: required edges lead from node {who!s} back to it. Drop one of them.")
    open_ = (rule != FORBIDDEN) & ~required.T
    np.fill_diagonal(open_, False)
    way = reach(open_)
    return np.asarray(reach(required | (way & ~way.T)))


def along(rule: Array, known: Mapping[str, Any]) -> Array:
    """Return the rules, and where nodes have a ``position`` among what is known, those against what goes back in it."""
    if "position" not in known:
        return rule
    position = np.asarray(known["position"])
    return np.where((position[:, None] >= position) & ~np.eye(len(rule), dtype=bool), FORBIDDEN, rule)


def compatible(order: Array, before: Array) -> Array:
    """Change an order as little as goes, so that it keeps to :func:`precedence`."""
    left, out = list(order), []
    while left:
        first = next(node for node in left if not before[left, node].any())
        left.remove(first)
        out.append(first)
    return np.array(out, dtype=np.int64)


def violations(networks: Array, rule: Array) -> int:
    """Count the forbidden edges that networks (..., p, p) have, and the required ones that they have not."""
    present = np.asarray(networks) != 0
    return int((present & (rule == FORBIDDEN)).sum() + (~present & (rule == REQUIRED)).sum())
