"""What no variable shows alone: constant or repeated nodes, contexts that say nothing, data of unlike scale."""

import warnings

import numpy as np
from scipy.special import stdtr

from genarium.declaration import Array, Problem
from genarium.errors import InputError
from genarium.remedies import setting

from . import doors, knowledge

RATIO = 100.0
"""Ratio of the largest to the smallest variance of a node from which a warning is given."""

OFF_ZERO, CHANCE = 0.5, 1e-6
"""Nodes' means that should be zero are warned of beyond so many standard deviations, with p (t test) below that."""


def check(problem: Problem) -> None:
    """Reject data that cannot be fitted, and warn of data that fit for the wrong reason.

    Raises
    ------
    InputError
        Naming variable, position and remedy.
    """
    x, context = problem["x"], problem["context"]
    n, p = x.shape
    nodes = problem.coords["node"]
    if problem.sizes["archetype"] > n:
        raise InputError(
            f"notmad: {setting('archetype', problem.sizes['archetype'])} is more than the {n} samples. Ask for fewer "
            "archetypes."
        )
    if problem.option("nodes") != "gaussian" and problem.option("missing") == "integrated":
        raise InputError(
            f"notmad: {setting('missing', 'integrated')} is of Gaussian nodes only. Drop samples with missing "
            "values, or impute them, and leave it out."
        )
    if n < 2:
        return
    _check_rules(problem)
    if problem.sizes["archetype"] > 1 and not np.ptp(context, axis=0).any():
        raise InputError(
            "notmad: known variable 'context' (sample, covariate): every sample has the same context, so that "
            "archetypes cannot be distinguished. Fit archetype=1, or give contexts that vary."
        )
    if n < p:
        warnings.warn(
            f"notmad: there are {n} samples for {p} nodes; edges follow from the prior beta={float(problem['beta']):g} "
            "more than from the data.",
            UserWarning,
            stacklevel=2,
        )
    if problem.option("nodes") == "gaussian":  # with a link, nothing is lost if nodes are constant or the same
        _check_values(_filled(x, nodes) if np.isnan(x).any() else x, problem)


def _check_values(x: Array, problem: Problem) -> None:
    """Reject Gaussian nodes that are constant or functions of others, and warn of means and scales."""
    n, p = x.shape
    nodes = problem.coords["node"]
    spread = x.std(0)
    constant = np.flatnonzero(spread <= 1e-12 * np.maximum(np.abs(x).max(0), 1e-300))
    if constant.size:
        raise InputError(
            f"notmad: observed variable 'x' (sample, node): node {nodes[constant[0]]!s} is {x[0, constant[0]]:g} in "
            "every sample, so that no edge to or from it can be told. Drop it."
        )
    unit = (x - x.mean(0)) / spread
    same = np.argwhere(np.triu(np.abs(unit.T @ unit) / n > 1 - 1e-10, 1)) if n > 2 else np.empty((0, 2), dtype=int)
    if same.size:
        i, j = same[0]
        raise InputError(
            f"notmad: observed variable 'x' (sample, node): nodes {nodes[i]!s} and {nodes[j]!s} are the same up to "
            "scale, so that their edges cannot be distinguished. Drop one of them."
        )
    if n > p + 1:
        column = doors.first_dependent(unit.T @ unit / n)
        if column is not None:
            raise InputError(
                f"notmad: observed variable 'x' (sample, node): node {nodes[column]!s} is an exact sum of multiples of "
                "nodes before it, so that its edges cannot be told from theirs. Drop one of them."
            )
    doors.warn_of_two_values(x, nodes)
    ratio = float((spread.max() / spread.min()) ** 2)
    if ratio > RATIO:
        warnings.warn(
            f"notmad: the variances of the nodes differ by a factor of {ratio:.3g} ({nodes[spread.argmax()]!s} against "
            f"{nodes[spread.argmin()]!s}). Fits are not invariant to scale: standardise x unless the scales mean "
            "something.",
            UserWarning,
            stacklevel=2,
        )
    off = np.abs(x.mean(0)) / spread
    at = int(off.argmax())
    by_chance = 2 * float(stdtr(n - 1, -off[at] * (n - 1) ** 0.5))
    if problem.option("mean") == "zero" and off[at] > OFF_ZERO and by_chance < CHANCE:
        warnings.warn(
            f"notmad: the mean of node {nodes[at]!s} is {x[:, at].mean():.3g}, {off[at]:.3g} standard deviations from "
            "zero, where the model has it by default: edges would stand for the means. Fit with mean='regressed', or "
            "standardise x.",
            UserWarning,
            stacklevel=2,
        )


def _filled(x: Array, nodes: Array) -> Array:
    """Put the means of nodes where values are missing; refuse nodes and samples with too few values."""
    there = ~np.isnan(x)
    few = np.flatnonzero(there.sum(0) < 2)
    if few.size:
        raise InputError(
            f"notmad: observed variable 'x' (sample, node): node {nodes[few[0]]!s} has {there[:, few[0]].sum()} values "
            "that are not missing; two are needed. Drop it."
        )
    return np.where(there, x, np.nanmean(x, 0))


def _check_rules(problem: Problem) -> None:
    """Refuse required edges that go back."""
    rule, nodes = problem["rule"], problem.coords["node"]
    knowledge.precedence(rule, nodes)
    position = problem.arrays.get("position")
    if position is not None:
        wrong = np.argwhere((rule > 0) & (position[:, None] >= position))
        same = np.argsort(position, kind="stable")
        equal = np.flatnonzero(np.diff(position[same]) == 0)
        if wrong.size or equal.size:
            i, j = wrong[0] if wrong.size else same[equal[0] : equal[0] + 2]
            told = (
                f"the edge {nodes[i]!s}->{nodes[j]!s} is required, and goes back"
                if wrong.size
                else (f"nodes {nodes[i]!s} and {nodes[j]!s} have one place")
            )
            raise InputError(
                f"notmad: known variable 'position' (node): {told}. Leave it out, which learns an order, or give "
                "position=learn_order(x, context, nodes=..., rule=rule)."
            )
    back = np.argwhere(np.tril(rule > 0)) if problem.option("order") == "given" else np.argwhere(np.diag(rule) > 0)
    if back.size:
        i, j = back[0][0], back[0][-1]
        raise InputError(
            f"notmad: known variable 'rule' (source, target): the edge {nodes[i]!s}->{nodes[j]!s} is required, and "
            "goes back in the order of the nodes. List the nodes in topological order, or fit with order='free'."
        )
