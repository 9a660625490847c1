"""What is easily misread in a fit: components that are copies of one group, and zeros that no component explains."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import xarray as xr

from genarium.declaration import Array, Arrays, Caution, Problem
from genarium.simplex import log_sum_exp, normalised

from .adjusted import Adjusted

CELLS = 5000
"""Cells whose likelihood is looked at, at most, evenly spread; what they lose stands for all."""

FEWEST = 2
"""Components of fewer cells than this are empty, not copies."""


def cautions(tree: xr.DataTree, problem: Problem) -> Iterator[Caution]:
    """Yield what a user of a fit should know."""
    fitted = tree["posterior" if "posterior" in tree else "point"].to_dataset()
    lead = [dim for dim in ("chain", "draw") if dim in fitted.dims]
    held = {name: np.asarray(fitted[name].mean(lead)) for name in problem.model.unknown.variables if name in fitted}
    yield copies(problem, held)
    yield zeros(problem, held)


def seen(problem: Problem, held: Arrays) -> dict[str, Array]:
    """Return the variables of some cells, evenly spread, with estimates of the unknown ones."""
    N, dims = problem.sizes["cell"], {name: var.dims for name, var in problem.model.variables().items()}
    some = np.unique(np.linspace(0, N - 1, min(N, CELLS)).astype(int))
    arrays = {name: a[some] if dims[name][:1] == ("cell",) else a for name, a in problem.arrays.items()}
    return {**arrays, **problem.fixed, **held}


def copies(problem: Problem, held: Arrays) -> Caution:
    """Name the components that one component could replace: BIC grants more than the likelihood would lose.

    Parameters
    ----------
    problem : Problem
    held : mapping of str to ndarray
        Estimates of the unknown variables.
    """
    check, sets, lost = "components with equal centroids", list[set[int]](), 0.0
    cells, genes = problem["x"].shape
    by_component = problem.option("dispersion") == "component"
    effects = problem.sizes.get("covariate", 0)
    granted = 0.5 * (genes + 1 + by_component + effects) * np.log(cells)
    pi = {**problem.fixed, **held}["pi"]
    for pair in combinations(np.flatnonzero(pi * cells >= FEWEST).tolist(), 2):
        loss = merging_loss(problem, held, pair)
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
        f"The components of such a set are one group of cells: replacing any two by one component lowers the log "
        f"likelihood by at most {max(lost, 0.0):.1f} nats, less than the BIC penalty of {granted:.1f}. Add up their "
        f"weights, or ask for {more} fewer."
    )
    return Caution(check, sum(len(one) for one in sets), where, advice)


def zeros(problem: Problem, held: Arrays) -> Caution:
    """Name the genes in which zero inflation would gain more than BIC charges, and chance gives to one of the genes.

    Of a fit that has zero inflation, say where it gains no more than that.
    """
    cells, genes = problem["x"].shape
    inflated = problem.option("zeros") == "inflated"
    gain, share = (gained if inflated else inflation)(problem, held)
    limit = 0.5 * np.log(cells) + np.log(genes)
    many, names = np.flatnonzero(gain > limit), problem.coords["gene"]
    order = many[np.argsort(-gain[many])]
    where = ", ".join(f"{names[d]} ({share[d]:.0%})" for d in order[:5]) + (", ..." if many.size > 5 else "")
    if inflated:
        check = "genes whose zero inflation is not needed"
        if many.size:
            return Caution(check, 0, f"needed: {where}")
        advice = (
            f"No gene has more zeros than its components explain: without zero inflation the log likelihood falls by "
            f"at most {max(float(gain.max()), 0.0):.1f} nats per gene, less than the penalty of {limit:.1f} for one "
            "parameter (BIC) and the number of genes. Fit with the option zeros=plain."
        )
        return Caution(check, genes, "all", advice)
    check = "zeros beyond the negative binomial"
    if not many.size:
        return Caution(check, 0)
    advice = (
        "These genes have more zeros than any component explains; setting a share of their counts (in brackets) to "
        f"zero would raise the log likelihood by up to {gain.max():.0f} nats. More components, dispersion by gene, or "
        "size factors usually explain such zeros; leave out genes that are not measured in some cells, or fit with "
        "the option zeros=inflated. In the other genes zero inflation is not needed."
    )
    return Caution(check, int(many.size), where, advice)


def inflation(problem: Problem, held: Arrays) -> tuple[Array, Array]:
    """Return what zero inflation of each gene alone gains, and the share of zeros that does so (eq. 30).

    With everything else held, the gain is the sum over cells of ln(1 - w + w R), where R is zero for a count and for a
    zero the expectation, over the groups of the cell, of one over the probability of a zero.

    Returns
    -------
    gain : ndarray, shape (D,)
        Nats of log likelihood.
    share : ndarray, shape (D,)
        The best w.
    """
    N = problem.sizes["cell"]
    q, log_zero, x = of_zeros(problem, held)
    ratio = (q[:, :, None] * np.exp(np.minimum(-log_zero, 600))).sum(0)
    ratio[x > 0] = 0
    low, high = np.zeros(x.shape[1]), np.full(x.shape[1], 1 - 1e-9)
    for _ in range(40):  # the gain is concave in w: bisection of its slope
        w = (low + high) / 2
        up = ((ratio - 1) / (1 - w + w * ratio)).sum(0) > 0
        low, high = np.where(up, w, low), np.where(up, high, w)
    return np.log1p(low * (ratio - 1)).sum(0) * N / len(x), low


def gained(problem: Problem, held: Arrays) -> tuple[Array, Array]:
    """Return what the zero inflation of each gene has gained in a fit that has it, all else held, and its share.

    Returns
    -------
    gain, share : ndarray, shape (D,)
    """
    q, log_zero, x = of_zeros(problem, held)
    w = {**problem.fixed, **held}["zero"]
    without = (q[:, :, None] * np.exp(log_zero - np.logaddexp(np.log(w), np.log1p(-w) + log_zero))).sum(0)  # (N, D)
    gain = np.where(x == 0, -np.log(np.maximum(without, 1e-300)), np.log1p(-w))
    return gain.sum(0) * problem.sizes["cell"] / len(x), w


def of_zeros(problem: Problem, held: Arrays) -> tuple[Array, Array, Array]:
    """Return probabilities of the groups (K, N), logs of that of a zero not lost (K, N, D), and counts (N, D)."""
    story, values = Adjusted.of(problem), seen(problem, held)
    mu = values["mu"]
    wide = story.spread(values["phi"], mu)[:, None]
    q, _ = normalised(story.joint(values), 0)
    depth = values["size_factor"][:, None] * story.fold(values)
    return q, -np.log1p(depth * mu[:, None] * wide) / wide, values["x"]


def merging_loss(problem: Problem, held: Arrays, pair: tuple[int, int]) -> float:
    """Nats of log likelihood that are lost when two components become one, with their mean by weight."""
    story, (k, j), values = Adjusted.of(problem), pair, seen(problem, held)
    joint = story.joint(values)
    pi, mu, phi = values["pi"], values["mu"], values["phi"]
    share = pi[[k, j]] / pi[[k, j]].sum()
    one_phi = (share @ phi[[k, j]])[None] if story.dispersion == "component" else phi
    density = story.log_density({**values, "mu": (share @ mu[[k, j]])[None], "phi": one_phi})
    merged = log_sum_exp(story.log_weights(values)[[k, j]], -2) + density
    others = np.delete(joint, [k, j], axis=0)
    after = log_sum_exp(np.concatenate([others, merged]), -2)
    return float((log_sum_exp(joint, -2) - after).sum() * problem.sizes["cell"] / joint.shape[1])
