"""From a fit to what is known of proportions, of seen and of unseen perturbations (eqs. 2, 4, 8, 9, 31)."""

from collections.abc import Iterator
from itertools import repeat

import numpy as np
import xarray as xr
from scipy.special import gammaln, softmax

from genarium.declaration import Array, Problem
from genarium.errors import InputError
from genarium.remedies import verb
from genarium.tree import arrays, stacked

from .distance import expected_l1, l1
from .likelihood import Story, dirichlet_multinomial
from .points import shares
from .predictor import JITTER, SMALLEST, Predictor, factor, kernel
from .story import centred, draw_proportion

MOST = 500
"""Draws used at most."""


def draws_of(fitted: xr.DataTree, names: list[str], most: int = MOST) -> dict[str, Array]:
    """Return draws of the unknown variables, shape (S, ...), evenly thinned; a point estimate counts as one draw."""
    if "posterior" not in fitted and "point" not in fitted:
        raise InputError(
            f"perturbation_score: the tree holds no fit (groups posterior or point). Run {verb('fit')} first."
        )
    if "posterior" not in fitted:
        return {name: fitted["point"][name].to_numpy()[None] for name in names}
    return stacked(arrays(fitted["posterior"].to_dataset(), names), most)


def concentrations(fitted: xr.DataTree, problem: Problem, rng: np.random.Generator, most: int = MOST) -> Array:
    """Concentrations a = alpha + N of every perturbation's proportions at every draw, shape (S, P, K).

    Parameters
    ----------
    fitted : DataTree
    problem : Problem
        Perturbations to speak of; those without cells are unseen ones, whose a is the prior's.
    rng : Generator
        For what a draw leaves open: cell numbers of unseen perturbations where these are modelled, and values of a
        Gaussian process at new features. Each perturbation sees the same numbers, so that it does not matter which
        others there are.
    most : int
        Draws at most.

    Returns
    -------
    ndarray
    """
    draws = draws_of(fitted, Story(problem.option("regression"), problem.option("abundance")).names()[0], most)
    eta = predicted(fitted, problem, draws, problem.option("abundance"), rng)
    prior = np.maximum(draws["kappa"][:, None, None] * softmax(eta, axis=-1), SMALLEST)
    return np.asarray(prior + problem["count"])


def predicted(
    fitted: xr.DataTree, problem: Problem, draws: dict[str, Array], abundance: str, rng: np.random.Generator
) -> Array:
    """Return what features, and cell numbers where these are modelled, say of log shares, (S, P, K); P may be 1."""
    regression = problem.option("regression")
    more: dict[str, Array] = {"features": problem["features"]} if regression == "linear" else {}
    if abundance == "joint":
        more["cells"] = cell_numbers(problem["count"].sum(1), draws, rng)
    eta = Predictor("linear" if regression == "linear" else "none", abundance).eta({**draws, **more})
    if regression == "gaussian_process":
        eta = eta + surface(fitted["constant_data"].to_dataset(), problem["features"], draws, rng)
    return eta


def worth(problem: Problem, rho: Array) -> Array:
    """Add up what the replicates' cells of each perturbation are worth (eq. 31), by draw; shape (S, P, K)."""
    count, cells = problem["count"], problem["count"].sum(1)
    each = count * ((rho[:, None] + 1) / (rho[:, None] + cells))[..., None]  # (S, R, K)
    out = np.zeros((len(rho), problem.sizes["perturbation"], count.shape[1]))
    for r, p in enumerate(problem["condition"]):
        out[:, p] += each[:, r]
    return out


class Shares:
    """What is known of the shares of P perturbations: Dirichlet distributions by draw, or draws of shares themselves.

    Parameters
    ----------
    a : ndarray, shape (S, P, K)
        Concentrations, or shares.
    drawn : bool
        Whether ``a`` are shares.
    """

    def __init__(self, a: Array, drawn: bool = False) -> None:
        self.a, self.drawn = a, drawn

    def mean(self) -> Array:
        """Return posterior means, shape (P, K)."""
        return np.asarray((self.a / self.a.sum(-1, keepdims=True)).mean(0))

    def points(self) -> Iterator[Array]:
        """Yield equally likely shares of each perturbation, shape (points, K)."""
        return iter(self.a.transpose(1, 0, 2)) if self.drawn else shares(self.a)

    def expected_distance(self, target: Array) -> Array:
        """Return the expected distance from a target, shape (P,)."""
        return np.asarray((l1(self.a, target) if self.drawn else expected_l1(target, self.a)).mean(0))


def known_shares(fitted: xr.DataTree, problem: Problem, rng: np.random.Generator, most: int = MOST) -> Shares:
    """Return what a fit says of the shares of perturbations.

    Parameters
    ----------
    fitted, problem, rng, most
        As of :func:`concentrations`.

    Returns
    -------
    Shares
        Dirichlet distributions where a row is all of a perturbation. Where there are replicates, draws: the fit's own
        of what it has seen; for others, draws from features alone, weighed by how well they explain their replicates.
    """
    of_counts(problem)
    if problem.option("replicates") == "pooled":
        return Shares(concentrations(fitted, problem, rng, most))
    place = among_fitted(fitted, problem)
    if place is None:
        return Shares(weighed(fitted, problem, rng, most), drawn=True)
    if "posterior" not in fitted and "concentration" in fitted["point"]:
        return Shares(fitted["point"]["concentration"].to_numpy()[None, place])
    return Shares(draws_of(fitted, ["proportion"], 4 * most)["proportion"][:, place], drawn=True)


def of_counts(problem: Problem) -> None:
    """Refuse a fit of cells, which holds its scores itself."""
    if problem.option("observed") == "expression":
        raise InputError(
            "perturbation_score: this fit is of cells with expression, and says nothing of shares. Its scores are "
            "fit['point']['score'], its programs programs(fit); for shares, fit the counts of the states."
        )


def weighed(fitted: xr.DataTree, problem: Problem, rng: np.random.Generator, most: int) -> Array:
    """Draw shares of perturbations that were not fitted, (S, P, K), by importance resampling (eqs. 37, 38)."""
    told = Story(problem.option("regression"), problem.option("abundance"), problem.option("replicates"))
    rest = [name for name in told.replicate_names()[0] if name != "replicate_deviation"]
    draws = draws_of(fitted, [*told.names()[0], *rest], most)
    times = max(1, -(-4 * most // len(draws["mu"])))
    draws = {name: np.repeat(value, times, axis=0) for name, value in draws.items()}
    S, P, K = len(draws["mu"]), problem.sizes["perturbation"], problem.sizes["state"]
    seed = int(rng.integers(2**62))
    centre = np.broadcast_to(predicted(fitted, problem, draws, "given", rng), (S, P, K))
    shift = batch_shift(fitted, problem, draws, told.batched, rng)  # (S, B, K), or none
    out = np.empty((S, P, K))
    for p in range(P):
        own = np.random.default_rng(seed)  # the same numbers for each, whatever others there are
        rows = problem["condition"] == p
        eta, spread = centre[:, p], draws["spread"][:, None]
        if not rows.any():
            out[:, p] = softmax(eta + spread * centred(own.normal(size=(S, K))), axis=-1)
            continue
        count = problem["count"][rows]
        rho = alike(draws, softmax(eta, axis=-1))[:, None]
        value = (count * ((rho + 1) / (rho + count.sum(1)))[..., None]).sum(1)  # (S, K), eq. 31
        b = value + np.clip(K / spread**2, 1, 200) * np.maximum(softmax(eta, axis=-1), 1e-3)
        q = np.maximum(draw_proportion(own, b), SMALLEST)
        log = np.log(q)
        weight = -0.5 * (centred(log - eta) ** 2).sum(-1) / spread[:, 0] ** 2 - (K - 1) * np.log(spread[:, 0])
        weight -= gammaln(b.sum(-1)) + (b * log - gammaln(b)).sum(-1)  # of the proposal, on the log scale
        moved = log[:, None] + (shift[:, problem["batch"][rows]] if shift is not None else 0.0)
        if told.abundance == "joint":
            moved = moved + draws["growth"][:, None] * np.log(count.sum(1) / draws["typical"][:, None])[..., None]
        alpha = np.maximum(rho[..., None] * softmax(moved, axis=-1), SMALLEST)
        weight += dirichlet_multinomial(count, alpha).sum(-1)
        out[:, p] = q[by_weight(weight)]
    return out


def by_weight(log_weight: Array) -> Array:
    """Choose as many draws as there are, each as often as its weight tells (systematic resampling); their places."""
    S, weight = len(log_weight), np.exp(log_weight - log_weight.max())
    at = np.searchsorted(np.cumsum(weight), (np.arange(S) + 0.5) / S * weight.sum())
    return np.asarray(at.clip(max=S - 1))


def alike(draws: dict[str, Array], share: Array) -> Array:
    """Return rho at each draw, or the concentration whose shares vary as much in all (eq. 38b); shape (S,)."""
    if "rho" in draws:
        return draws["rho"]
    squared = (share**2).sum(-1, keepdims=True)
    varies = draws["replicate_spread"] ** 2 * (share**2 * (1 - 2 * share + squared)).sum(-1)
    return np.asarray(np.clip((1 - squared[:, 0]) / np.maximum(varies, 1e-12) - 1, 1e-3, 1e12))


def batch_shift(
    fitted: xr.DataTree, problem: Problem, draws: dict[str, Array], batched: bool, rng: np.random.Generator
) -> Array | None:
    """Return effects of a problem's batches at each draw: the fit's own by name, of a new batch drawn; (S, B, K)."""
    if not batched:
        return None
    labels = known_batches(fitted)
    new = [str(one) for one in problem.coords["batch"]]
    out = 0.5 * centred(rng.normal(size=(len(draws["mu"]), len(new), problem.sizes["state"])))
    for i, name in enumerate(new):
        if name in labels:
            out[:, i] = draws["batch_effect"][:, labels.index(name)]
    return np.asarray(out)


def known_batches(fitted: xr.DataTree) -> list[str]:
    """Return the names of a fit's batches."""
    group = fitted["posterior" if "posterior" in fitted else "point"]
    return [str(one) for one in group["batch_effect"]["batch"].to_numpy()]


def among_fitted(fitted: xr.DataTree, problem: Problem) -> Array | None:
    """Return where a problem's perturbations stand in the fit that has seen their replicates; None if one is another.

    Replicates are the same in whatever order: those of a perturbation by its name, in a batch by its name.
    """
    known = fitted["constant_data"].to_dataset()
    group = fitted["posterior" if "posterior" in fitted else "point"]
    old, new = group["deviation"]["perturbation"].to_numpy().tolist(), problem.coords["perturbation"].tolist()
    if not set(new) <= set(old):
        return None
    place = np.array([old.index(name) for name in new])
    if "features" in problem.arrays and not np.array_equal(known["features"].to_numpy()[place], problem["features"]):
        return None
    batched = "batch" in problem.arrays
    before = zip(known["condition"].to_numpy(), fitted["observed_data"]["count"].to_numpy().tolist(), strict=True)
    after = zip(problem["condition"], problem["count"].tolist(), strict=True)
    batches = [known_batches(fitted)[i] for i in known["batch"].to_numpy()] if batched else repeat("")
    others = [str(problem.coords["batch"][i]) for i in problem["batch"]] if batched else repeat("")
    seen = sorted((old[p], batch, row) for (p, row), batch in zip(before, batches, strict=False) if old[p] in new)
    same = seen == sorted((new[p], batch, row) for (p, row), batch in zip(after, others, strict=False))
    return place if same else None


def cell_numbers(seen: Array, draws: dict[str, Array], rng: np.random.Generator) -> Array:
    """Return cell numbers by draw: what was seen, and new draws where nothing was; shape (S, P)."""
    r, mean = draws["evenness"][:, None], draws["typical"][:, None]
    return np.where(seen > 0, seen, 1 + rng.negative_binomial(r, r / (r + mean)))


def surface(data: xr.Dataset, new: Array, draws: dict[str, Array], rng: np.random.Generator) -> Array:
    """Draw tau times a Gaussian process at new features, given its values at the fitted ones (eq. 8); (S, P, K)."""
    old, lengthscale = data["features"].to_numpy(), data["lengthscale"].to_numpy()
    L = factor(old, lengthscale)
    across = np.linalg.solve(L, kernel(old, new, lengthscale)).T  # (P, P_fitted)
    left = np.maximum(1 + JITTER - (across**2).sum(1), 0.0)
    left = np.where(left < 10 * JITTER, 0.0, left)  # a fitted gene is not drawn anew
    noise = rng.normal(size=(len(draws["tau"]), 1, draws["mu"].shape[-1]))
    noise -= noise.mean(-1, keepdims=True)
    values = across @ draws["weight"] + np.sqrt(left)[:, None] * noise
    return np.asarray(draws["tau"][:, None, None] * values)
