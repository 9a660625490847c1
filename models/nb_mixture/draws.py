"""Log density of many draws at once; shapes: S draws, N cells, K components, D genes, U distinct counts."""

from collections.abc import Callable

import numpy as np

from genarium.declaration import Array, Problem

from .counts import Counts, log_weights, logits_at, rising_table
from .likelihood import Story

SMALL, ERROR = 100_000, 1e-8
"""Counts times components above which :func:`pointwise` computes constants once; error of its ln(1 + s mu / r)."""

CHUNK = 100_000
"""Numbers in a work array, at most: it stays in the processor's cache."""


def log_density(problem: Problem, counts: Counts, story: Story, pi: Array, mu: Array, phi: Array) -> Array:
    """Log of likelihood and prior at every draw, as the sum of what ``Story`` gives one draw at a time.

    Parameters
    ----------
    problem : Problem
    counts : Counts
        Of the problem.
    story : Story
    pi : ndarray, shape (S, K)
    mu : ndarray, shape (S, K, D)
    phi : ndarray, shape (S, ...)
        With the shape of a gene's, a component's or the one dispersion; or known phi, (D,).

    Returns
    -------
    ndarray, shape (S,)
    """
    wide = story.spread(phi, mu[:1] if story.dispersion == "known" else mu)  # (S or 1, K, D)
    prior: Array = problem.call(story.log_prior, pi=pi, mu=mu, phi=phi)
    return log_likelihood(counts, story, pi, mu, 1 / wide) + prior


def pointwise(problem: Problem) -> Callable[..., Array]:
    """Return the log likelihood of each cell as a function of draws, with all constants computed once.

    Returns
    -------
    callable
        ``function(pi, mu, phi)``, draws leading in each, to (S, N).
    """
    story = Story(problem.option("dispersion"))
    x, s = problem["x"], problem["size_factor"]
    if x.size * problem.sizes["component"] < SMALL:
        return story.log_likelihood
    counts, own = Counts(x, s, ERROR), story.dispersion == "component"
    constant = x @ np.zeros(x.shape[1])
    factorial = counts.looked_up(rising_table(counts, np.ones(x.shape[1]))[None])[0]
    if counts.has_depth:
        constant = x.sum(1) * np.log(s)
    constant -= factorial

    def one(pi: Array, mu: Array, phi: Array) -> Array:
        r = 1 / story.spread(phi, mu)
        table = rising_table(counts, r if own else r[:1])
        logits = logits_at(counts.nodes.at, log_weights(pi), mu, r, table if own else None)
        out = counts.assign(logits)[1] + constant
        return out if own else out + counts.looked_up(table)[0]

    def function(pi: Array, mu: Array, phi: Array) -> Array:
        wide = np.broadcast_to(phi, (len(pi), *np.shape(phi))) if story.dispersion == "known" else phi
        return np.stack([one(*each) for each in zip(pi, mu, wide, strict=True)])

    return function


def log_likelihood(counts: Counts, story: Story, pi: Array, mu: Array, r: Array) -> Array:
    """Log density of all cells, groups summed out, at every draw; shape (S,)."""
    S, K, _ = mu.shape
    N, own = len(counts.x), story.dispersion == "component"
    total = np.full(S, -counts.factorial)
    if not own:  # the rising factorials are those of all components
        block = max(1, CHUNK // len(counts.values))
        for low in range(0, len(r), block):
            each = slice(low, low + block) if len(r) > 1 else slice(None)  # one r for all draws where phi is known
            total[each] += rising_table(counts, r[low : low + block, :1])[:, 0] @ counts.frequency
    step, width = max(1, CHUNK // (K * N)), max(1, CHUNK // K)
    for low in range(0, S, step):
        some = slice(low, low + step)
        shape = np.broadcast_to(r, mu.shape)[some]  # (B, K, D)
        table = rising_table(counts, shape) if own else None  # (B, K, U)
        for first in range(0, N, width):
            cells = slice(first, first + width)
            logits = log_joint(counts, cells, pi[some], mu[some], shape)  # (B, K, n)
            if table is not None:
                for column in counts.inverse[cells].T:
                    logits += table[..., column]
            top = logits.max(1, keepdims=True)
            logits -= top
            np.exp(logits, out=logits)  # in place: a tenth faster than `log_sum_exp`
            total[some] += (top[:, 0] + np.log(logits.sum(1))).sum(1)
    return total


def log_joint(counts: Counts, cells: slice, pi: Array, mu: Array, r: Array) -> Array:
    """Log of pi_k times the density of each cell, without the rising and the plain factorial; shape (B, K, n)."""
    if not counts.has_depth:
        total = r + mu
        intercept = np.log(pi) + (r * np.log(r / total)).sum(-1)
        weights = np.concatenate([intercept[..., None], np.log(mu / total)], -1)  # (B, K, 1 + D)
        return np.asarray(weights @ counts.transposed[:, cells])
    constant = np.log(pi) + (r * np.log(r)).sum(-1)  # (B, K)
    weights = np.concatenate([constant[..., None], np.log(mu)], -1)
    out = weights @ counts.transposed[:, cells]
    s = counts.size_factor[cells]
    out += (counts.x[cells] * np.log(s)[:, None]).sum(1)
    for d, x in enumerate(counts.x[cells].T):
        at = r[..., d, None]
        out -= (x + at) * np.log(at + s * mu[..., d, None])
    return np.asarray(out)
