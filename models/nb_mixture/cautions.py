"""What is easily misread in a fit: components that are copies of one group, and zeros that no component explains."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import xarray as xr

from genarium.declaration import Array, Caution, Problem
from genarium.simplex import log_sum_exp, normalised

from .likelihood import Story, log_joint

CELLS = 5000
"""Cells whose likelihood is looked at, at most, evenly spread; what they lose stands for all."""

FEWEST = 2
"""Components of fewer cells than this are empty, not copies."""


def cautions(tree: xr.DataTree, problem: Problem) -> Iterator[Caution]:
    """Yield what a user of a fit should know."""
    fitted = tree["posterior" if "posterior" in tree else "point"].to_dataset()
    lead = [dim for dim in ("chain", "draw") if dim in fitted.dims]
    known = {**problem.arrays, **problem.fixed}
    pi, mu, phi = (
        np.asarray(fitted[name].mean(lead)) if name in fitted else known[name] for name in ("pi", "mu", "phi")
    )
    yield copies(problem, pi, mu, phi)
    yield zeros(problem, pi, mu, phi)


def copies(problem: Problem, pi: Array, mu: Array, phi: Array) -> Caution:
    """Name the components that one component could replace: BIC grants more than the likelihood would lose.

    Parameters
    ----------
    problem : Problem
    pi, mu, phi : ndarray, shapes (K,), (K, D), that of the variant
    """
    check, sets, lost = "components with equal centroids", list[set[int]](), 0.0
    cells, genes = problem["x"].shape
    by_component = problem.option("dispersion") == "component"
    granted = 0.5 * (genes + 1 + by_component) * np.log(cells)
    for pair in combinations(np.flatnonzero(pi * cells >= FEWEST).tolist(), 2):
        loss = merging_loss(problem, pi, mu, phi, pair)
        if loss >= granted:
            continue
        lost = max(lost, loss)
        touched = [one for one in sets if one & set(pair)]
        sets = [*(one for one in sets if one not in touched), set(pair).union(*touched)]
    if not sets:
        return Caution(check, 0)
    names = problem.coords["component"]
    where = "; ".join(", ".join(str(names[k]) for k in sorted(one)) for one in sets)
    more = sum(len(one) - 1 for one in sets)
    advice = (
        f"The components of such a set are one group of cells: one component in place of any two lowers ln L by at "
        f"most {max(lost, 0.0):.1f} nats, and BIC grants {granted:.1f}. Add up their weights, or ask for {more} fewer."
    )
    return Caution(check, sum(len(one) for one in sets), where, advice)


def zeros(problem: Problem, pi: Array, mu: Array, phi: Array) -> Caution:
    """Name the genes in which zero inflation would gain more than BIC charges, and chance gives to one of the genes."""
    cells, genes = problem["x"].shape
    gain, share = inflation(problem, pi, mu, phi)
    many = np.flatnonzero(gain > 0.5 * np.log(cells) + np.log(genes))
    check = "zeros beyond the negative binomial"
    if not many.size:
        return Caution(check, 0)
    order, names = many[np.argsort(-gain[many])], problem.coords["gene"]
    where = ", ".join(f"{names[d]} ({share[d]:.0%})" for d in order[:5]) + (", ..." if many.size > 5 else "")
    advice = (
        "So many genes have more zeros than any component gives them; setting a share of the counts (in brackets) to "
        f"zero would raise ln L by up to {gain.max():.0f} nats. More components, dispersion by gene, or size factors "
        "explain such zeros most times; leave out genes that are not measured in some cells. In the other genes zero "
        "inflation is not needed."
    )
    return Caution(check, int(many.size), where, advice)


def inflation(problem: Problem, pi: Array, mu: Array, phi: Array) -> tuple[Array, Array]:
    """Return what zero inflation of each gene alone would gain, and the share of zeros that does so (eq. 30).

    With everything else held, the gain is the sum over cells of ln(1 - w + w R), where R is zero for a count and for a
    zero the expectation, over the groups of the cell, of one over the probability of a zero.

    Returns
    -------
    gain : ndarray, shape (D,)
        Nats of log likelihood.
    share : ndarray, shape (D,)
        The best w.
    """
    story, N = Story(problem.option("dispersion")), len(problem["x"])
    some = np.unique(np.linspace(0, N - 1, min(N, CELLS)).astype(int))
    x, s = problem["x"][some], problem["size_factor"][some]
    wide = story.spread(phi, mu)
    q, _ = normalised(log_joint(x, s, pi, mu, wide), 0)  # (K, N)
    ratio = np.zeros(x.shape)
    for k in range(len(pi)):
        log_zero = np.log1p(s[:, None] * mu[k] * wide[k]) / wide[k]  # of one over the probability
        ratio += q[k][:, None] * np.exp(np.minimum(log_zero, 600))
    ratio[x > 0] = 0
    low, high = np.zeros(x.shape[1]), np.full(x.shape[1], 1 - 1e-9)
    for _ in range(40):  # the gain is concave in w: bisection of its slope
        w = (low + high) / 2
        up = ((ratio - 1) / (1 - w + w * ratio)).sum(0) > 0
        low, high = np.where(up, w, low), np.where(up, high, w)
    return np.log1p(low * (ratio - 1)).sum(0) * N / len(some), low


def merging_loss(problem: Problem, pi: Array, mu: Array, phi: Array, pair: tuple[int, int]) -> float:
    """Nats of log likelihood that are lost when two components become one, with their mean by weight."""
    story, (k, j) = Story(problem.option("dispersion")), pair
    N = len(problem["x"])
    some = np.unique(np.linspace(0, N - 1, min(N, CELLS)).astype(int))
    x, s = problem["x"][some], problem["size_factor"][some]
    joint = log_joint(x, s, pi, mu, story.spread(phi, mu))
    share = pi[[k, j]] / pi[[k, j]].sum()
    centroid = (share @ mu[[k, j]])[None]
    one_phi = (share @ phi[[k, j]])[None] if story.dispersion == "component" else phi
    merged = log_joint(x, s, pi[[k, j]].sum(keepdims=True), centroid, story.spread(one_phi, centroid))
    others = np.delete(joint, [k, j], axis=0)
    after = log_sum_exp(np.concatenate([others, merged]), -2)
    return float((log_sum_exp(joint, -2) - after).sum() * N / len(some))
