"""Diagnose: verdicts on a fit, each with what to do next."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.attributes import attribute, source
from genarium.declaration import Array, Arrays, Model, Problem
from genarium.engines.resample import EVEN, KHAT_GOOD, KHAT_USABLE, smoothed
from genarium.errors import InputError
from genarium.evaluate import at_draws, fitted_problem
from genarium.found import found, named
from genarium.methods import methods
from genarium.registry import fitted_model
from genarium.story import prior, replicate
from genarium.tree import arrays, stacked
from genarium.verdicts import Diagnosis, Status, Verdict, verdict
from genarium.words import spelled

RHAT, ESS, EBFMI = 1.01, 400, 0.3
"""Thresholds: Vehtari et al. (2021, Bayesian Analysis 16), Betancourt (2016)."""

FEWEST, FEWEST_TAIL = 10, 25
"""Draws of a chain without which neither R-hat nor ESS says anything; draws without which no tail can be fitted."""

TOGETHER, CHANCE, COMPARED, COMPARED_BY_VALUE = 0.3, 1e-7, 200, 20
"""Chains are taken for copies if their draws correlate by so much, by chance with that probability, in one of so many
numbers at most; and numbers whose values are compared wherever they stand."""

ORDER, PER_WEIGHT = 8, 12
"""Draws before it, at most, from which a draw is foretold, to compare what is new in it; draws for each of their
weights."""

SAME, WITHIN, DISTINCT = 0.1, 4, 20
"""Chains are taken for copies, too, if so many of their values are the same ones, wherever they stand; and if these are
so many times as many as come back within a chain, as rounded ones do. Of so many values at least."""

ONE_VALUE = 0.5
"""Share of a chain's draws at one value from which its ranks say nothing: two rare moves at one draw would be taken for
copies. A number that moves is not held there."""

PRIOR_DRAWS = 50
"""Draws of the prior of a number that does not move, to see whether that can."""

ALARM, TAIL = 0.01, 0.2
"""Share of good fits that predictive checks may warn of, all of a fit's together; share of replications in a tail."""

FAR = 5
"""Standard deviations of a statistic's replications from which on data outside of all of them fail a fit."""

OBSERVATIONS = 50_000
"""Observations that are replicated one by one, at most, where elements stand for several."""

REPLICATES = 200
"""Replicated datasets whose statistics are computed."""

LENGTHS = "max_iterations", "iterations", "sweeps", "epochs"
"""Options that say how long a method searches, the first that it has."""

MANY = 30
"""Unknown numbers from which on a high k-hat is a warning: ratios are off in so many dims, margins less so."""

LOO_UNITS = 5000
"""Observations whose leave-one-out k is computed, at most: the first ones."""


def diagnose(model: str | Path | Model, tree: xr.DataTree, seed: int = 0) -> Diagnosis:
    """Check a fit.

    Parameters
    ----------
    model : str, Path or Model
        The model that the tree was fitted by: its name, its folder or its declaration.
    tree : DataTree
        From :func:`genarium.fit`.
    seed : int
        For replicated data where the tree holds none (point estimates).

    Returns
    -------
    Diagnosis
        Convergence of the method, agreement of chains, quality of the approximation, and predictive checks, as far as
        each applies, after the numbers that the user came for. ``print`` it for a table.

    Raises
    ------
    InputError
        If the tree holds no fit, or one of another model.
    """
    declared = fitted_model(tree, model)
    way = methods(declared).get(tree.attrs["method"])
    verdicts = [
        *_ascent(attribute(tree, "notes"), way.options if way else {}),
        *_chains(declared, tree),
        *_approximation(declared, tree),
        *_leave_one_out(declared, tree),
    ]
    verdicts += _cautions(declared, tree)
    verdicts += _predictive(declared, tree, seed)
    said = found(declared, tree).notes
    return Diagnosis(declared.name, tree.attrs["method"], tree.attrs["claim"], tuple(verdicts), tuple(said))


def _ascent(notes: dict[str, Any], options: Mapping[str, Any]) -> list[Verdict]:
    """Verdicts on an iterative maximisation, from what the method noted; ``options``: those that it has."""
    out = []
    if "converged" in notes:
        longer = next((name for name in LENGTHS if name in options), None)
        advice = f"Raise {longer}." if longer else "Fit again with another seed."
        where = f"after {notes['iterations']} iterations" if "iterations" in notes else ""
        out.append(verdict("converged", bool(notes["converged"]), notes["converged"], "= 1", where, advice))
    if "largest_fall" in notes:
        advice = "The bound must never fall: this is a defect of the method. Please report it with the data."
        fall = notes["largest_fall"]
        out.append(verdict("largest fall of the bound", fall == 0, fall, "= 0 nats", "over all restarts", advice))
    if notes.get("restarts", 1) > 1 and "restarts_at_best" in notes:
        advice = "Only one start reached the best mode: raise restarts until several agree."
        n = notes["restarts_at_best"]
        where = f"of {notes['restarts']}"
        out.append(verdict("restarts at the best mode", n > 1, n, "two or more", where, advice, "warn"))
    if "starts_agreeing" in notes:
        n = notes["starts_agreeing"]
        advice = "Only one start found this mode, and another run may find a better one: raise restarts."
        where = f"of {notes['restarts']}, within one nat"
        out.append(verdict("independent starts that agree", n > 1, n, "two or more", where, advice))
    if "empty_components" in notes:
        n = notes["empty_components"]
        out.append(verdict("empty components", n == 0, n, "= 0", "", "Ask for fewer components.", "warn"))
    return out


def _chains(model: Model, tree: xr.DataTree) -> list[Verdict]:
    """Verdicts on Markov chains: mixing, effective sample size, and the geometry that NUTS met."""
    polished = attribute(tree, "notes").get("polished")
    if (tree.attrs["claim"] != "exact" and not polished) or "posterior" not in tree:
        return []
    from arviz_stats.base import array_stats

    group = tree["posterior"].to_dataset()
    posterior = arrays(group, [str(n) for n, draws in group.data_vars.items() if draws.dims[:2] == ("chain", "draw")])
    posterior |= _quantity_draws(model, tree, posterior)
    posterior = {n: v + 0 for n, v in posterior.items() if v.dtype.kind in "biuf"}  # truth values as numbers, no text
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree else xr.Dataset()
    if "lp" in stats and not np.isnan(stats["lp"]).any():
        posterior["lp"] = stats["lp"].to_numpy()
    chains, count = next(iter(posterior.values())).shape[:2]
    if count < FEWEST:
        advice = "Too few draws to tell whether the chains agree: fit again with more draws (say, 1,000 per chain)."
        return [verdict("draws", False, count, f">= {FEWEST} per chain", "too few draws", advice)]
    table: dict[str, tuple[float, str]] = {}
    for name, draws in posterior.items():
        flat = draws.reshape(*draws.shape[:2], -1)
        varies = np.flatnonzero(np.ptp(flat, axis=(0, 1)) > 0)  # a constant has neither R-hat nor ESS
        labels = list(_labels(group, name, draws.shape[2:]))
        where = [labels[i] for i in varies]
        if not where:
            continue
        for statistic in ("rhat", "ess_bulk", "ess_tail"):
            if statistic == "rhat" and chains < 2:
                continue
            ary = flat[..., varies].transpose(2, 0, 1)
            with np.errstate(divide="ignore", invalid="ignore"):  # chains that stand still, each at its own place
                if statistic == "rhat":
                    rhat = array_stats.rhat(ary, chain_axis=-2, draw_axis=-1)
                    values = np.nan_to_num(np.asarray(rhat), nan=np.inf, posinf=np.inf)
                else:
                    tail = {"prob": (0.05, 0.95)} if statistic == "ess_tail" else {}
                    ess = array_stats.ess(ary, chain_axis=-2, draw_axis=-1, method=statistic[4:], **tail)
                    values = np.nan_to_num(np.asarray(ess), nan=0.0)
            worst = int(np.argmax(values) if statistic == "rhat" else np.argmin(values))
            value = float(values[worst])
            sign = -1 if statistic == "rhat" else 1
            if statistic not in table or sign * value < sign * table[statistic][0]:
                table[statistic] = (value, where[worst])
    if not table:
        advice = "No variable changed in any draw: fit again with a longer warm-up (tune), or from other starts (seed)."
        return [verdict("draws", False, count, "more than one value", "the chains stand still", advice)]
    out = _still(model, tree, posterior) + (_copies(posterior) if chains > 1 else [])
    if "rhat" in table:
        value, where_ = table["rhat"]
        advice = "The chains disagree: run longer (tune, draws), or look for several modes."
        out.append(verdict("R-hat", value < RHAT, value, f"< {RHAT}", where_, advice))
    else:
        out.append(
            Verdict("R-hat", "warn", np.nan, f"< {RHAT}", "one chain", "Run four chains: one cannot show disagreement.")
        )
    for kind in ("bulk", "tail"):
        value, where_ = table[f"ess_{kind}"]
        advice = f"Too few independent draws: raise draws by a factor of about {np.ceil(ESS / max(value, 1)):.0f}."
        out.append(verdict(f"{kind} ESS", value >= ESS, value, f">= {ESS}", where_, advice))
    if "diverging" in stats:
        n = int(stats["diverging"].sum())
        advice = (
            "Raise target_accept (0.95, 0.99); if divergences remain, NUTS cannot enter some region of the posterior."
        )
        out.append(verdict("divergences", n == 0, n, "= 0", "", advice))
    if "tree_depth" in stats and "max_treedepth" in (notes := attribute(tree, "notes")):
        share = float((stats["tree_depth"] >= notes["max_treedepth"]).mean())
        advice = "Trajectories end before their U-turn: raise max_treedepth, or rescale the data."
        out.append(verdict("draws at the deepest tree", share == 0, share, "= 0", "", advice, "warn"))
    if "energy" in stats:
        value = float(np.min(np.asarray(array_stats.bfmi(stats["energy"].to_numpy()))))
        advice = "Heavy tails slow the chains down: run longer, or use stronger priors."
        out.append(verdict("E-BFMI", value > EBFMI, value, f"> {EBFMI}", "", advice, "warn"))
    return out


def _labels(group: xr.Dataset, name: str, shape: tuple[int, ...]) -> Iterator[str]:
    """Yield the names of the numbers of a variable: by the labels of its dims, as tables and figures write them."""
    names = [group[dim].to_numpy() for dim in group[name].dims[2:]] if name in group else [np.arange(n) for n in shape]
    for index in np.ndindex(*shape):
        at = ", ".join(str(labels[i]) for labels, i in zip(names, index, strict=True))
        yield f"{name}[{at}]" if at else name


def _still(model: Model, tree: xr.DataTree, posterior: Arrays) -> list[Verdict]:
    """Return a verdict where an unknown number has one value in most draws of a chain, and its prior has no such value.

    Left out are whole numbers, which may be certain, and shares and the like that have been rounded to 0 or 1.
    """
    found: list[tuple[float, str, int]] = []  # share of the draws of a chain, variable, element
    for name, var in model.unknown.variables.items():
        if name in posterior and not var.support.integer:
            flat = posterior[name].reshape(*posterior[name].shape[:2], -1)
            middle = np.median(flat, axis=1, keepdims=True)  # where more than half of the draws are, if they are at one
            share = (flat == middle).mean(1)
            if var.support.name != "real":
                share[np.isin(middle[:, 0], (0, 1))] = 0
            found += [(float(share[:, i].max()), name, int(i)) for i in np.flatnonzero((share > ONE_VALUE).any(0))]
    if not found:
        return []
    problem = fitted_problem(model, tree)
    found = [one for one in found if one[1] not in problem.fixed]
    try:
        drawn = {name: each[0] for name, each in prior(problem, PRIOR_DRAWS, np.random.default_rng(0)).items()}
    except (InputError, ArithmeticError, ValueError):  # what the prior would do is not known
        return []
    found = [one for one in found if len(np.unique(drawn[one[1]].reshape(PRIOR_DRAWS, -1)[:, one[2]])) == PRIOR_DRAWS]
    if not found:
        return []
    most, name, element = max(found)
    where = list(_labels(tree["posterior"].to_dataset(), name, posterior[name].shape[2:]))[element]
    where += f" and {len(found) - 1} more" if len(found) > 1 else ""
    advice = (
        "The sampler left it where it was: all proposals were rejected (a step that is too long, a density that is not "
        "finite around the start), the density has no gradient, or an update is missing. Fit again from other starts "
        "(seed), with a longer warm-up (tune), or with data in other units."
    )
    return [verdict("draws of a chain at one value", False, most, f"<= {ONE_VALUE}", where, advice)]


def _copies(posterior: Arrays) -> list[Verdict]:
    """Return a verdict where chains move together, draw by draw, or share values, which R-hat takes for agreement."""
    from scipy.stats import norm, rankdata

    flat = np.concatenate([draws.reshape(*draws.shape[:2], -1) for draws in posterior.values()], -1)
    mostly_one = (flat == np.median(flat, axis=1, keepdims=True)).mean(1).max(0) > ONE_VALUE
    flat = flat[..., np.all(np.ptp(flat, axis=1) > 0, axis=0) & ~mostly_one]
    flat = flat[..., np.unique(np.linspace(0, flat.shape[-1] - 1, COMPARED).astype(int))] if flat.size else flat
    chains, _, columns = flat.shape
    if not columns:
        return []
    advice = "Agreement of chains that are copies, or share random numbers, shows nothing: give each its own seed."
    ranks = rankdata(flat, axis=1)
    ranks = (ranks - ranks.mean(1, keepdims=True)) / ranks.std(1, keepdims=True)
    new = _innovations(ranks)
    sums, squares = (np.einsum("adk,bdk->kab", part, part) for part in (new, new**2))
    own = np.einsum("kaa->ka", sums)[:, :, None] * np.einsum("kaa->ka", sums)[:, None, :]
    r = sums / np.sqrt(own)
    z = np.arctanh(np.minimum(np.abs(r), 1 - 1e-12)) * np.sqrt(np.maximum(own / squares - 3, 0))  # few large products
    together = np.where(norm.sf(z) * columns * chains * (chains - 1) < CHANCE, r, 0)
    together[:, *np.tril_indices(chains)] = 0
    worst = np.unravel_index(np.argmax(np.abs(together)), together.shape)
    if abs(together[worst]) >= TOGETHER:
        where, told = f"chains {worst[1]} and {worst[2]}, draw by draw", float(together[worst])
        return [verdict("correlation of chains", False, told, f"{-TOGETHER} to {TOGETHER}", where, advice)]
    share, (one, other) = _shared(flat)
    if share < SAME:
        return []
    return [verdict("values in two chains", False, share, f"< {SAME}", f"chains {one} and {other}", advice)]


def _innovations(draws: Array) -> Array:
    """Return what is new in each draw: the residuals of an autoregression of each column of each chain (Yule-Walker).

    Draws of slow or rhythmic chains correlate by chance, for few of them are independent; what is new in them does not.

    Parameters
    ----------
    draws : ndarray, shape (C, S, K)
        Of mean zero.

    Returns
    -------
    ndarray, shape (C, S - order, K)
    """
    S = draws.shape[1]
    order = min(ORDER, max(2, S // PER_WEIGHT))
    lags = np.stack([np.einsum("csk,csk->ck", draws[:, : S - lag], draws[:, lag:]) for lag in range(order + 1)], -1)
    lags[..., 0] *= 1 + 1e-6  # of a constant rhythm the equations have no one solution
    matrix = lags[..., np.abs(np.subtract.outer(range(order), range(order)))]  # (C, K, order, order)
    weights = np.linalg.solve(matrix, lags[..., 1:, None])[..., 0]
    out: Array = draws[:, order:].copy()
    for lag in range(1, order + 1):
        out -= weights[:, None, :, lag - 1] * draws[:, order - lag : S - lag]
    return out


def _shared(flat: Array) -> tuple[float, tuple[int, int]]:
    """Return the largest share of a chain's values that another one has, the median over columns; and which two."""
    chains, _, columns = flat.shape
    found: dict[tuple[int, int], list[float]] = {pair: [] for pair in combinations(range(chains), 2)}
    for column in range(0, columns, -(-columns // COMPARED_BY_VALUE)):
        own = [np.unique(chain) for chain in flat[..., column]]
        if min(map(len, own)) < DISTINCT:
            continue
        for one, other in found:
            both, fewer = np.intersect1d(own[one], own[other], assume_unique=True), min(len(own[one]), len(own[other]))
            first, last = (np.unique(half) for half in np.array_split(flat[one, :, column], 2))
            back = np.intersect1d(first, last, assume_unique=True).size / max(min(len(first), len(last)), 1)
            share = both.size / fewer
            found[one, other].append(share if share > WITHIN * back else 0.0)
    medians = {pair: float(np.median(shares)) for pair, shares in found.items() if shares}
    pair = max(medians, key=lambda pair: medians[pair], default=(0, 1))
    return medians.get(pair, 0.0), pair


def _quantity_draws(model: Model, tree: xr.DataTree, posterior: Arrays) -> dict[str, Array]:
    """Label-invariant quantities at every draw."""
    if model.test_quantities is None:
        return {}
    problem = fitted_problem(model, tree)
    chains, draws = next(iter(posterior.values())).shape[:2]
    found: dict[str, Array] = at_draws(problem, model.test_quantities, stacked(posterior))
    return {name: v.reshape(chains, draws, *v.shape[1:]) for name, v in found.items()}


def _approximation(model: Model, tree: xr.DataTree) -> list[Verdict]:
    """Pareto k-hat of the importance ratios between density and approximation."""
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree else xr.Dataset()
    notes = attribute(tree, "notes")
    if notes.get("polished"):  # its draws are those of chains, which have verdicts of their own
        return []
    if "khat" in notes:  # the draws are resampled: what they were chosen from is gone
        khat, where = float(notes["khat"]), "before resampling"
    elif "log_ratio" in stats or {"lp", "log_q"} <= set(stats):
        log_ratio = stats["log_ratio"] if "log_ratio" in stats else stats["lp"] - stats["log_q"]
        ratio = log_ratio.to_numpy().ravel()
        known = ratio[~np.isnan(ratio)]  # of large data, the density is known at some draws only
        if known.size < FEWEST_TAIL:
            advice = "Too few draws to tell how far the approximation is from the posterior: fit again with more draws."
            return [verdict("draws", False, known.size, f">= {FEWEST_TAIL}", "too few draws", advice)]
        khat = smoothed(known)[1]
        where = f"{known.size} draws"
    else:
        return []
    exact = [name for name, method in methods(model).items() if method.claim == "exact"]
    status: Status = "pass" if khat < KHAT_GOOD else "warn" if khat < KHAT_USABLE else "fail"
    advice = {
        "pass": "",
        "warn": "Usable, but intervals are slightly wrong. Compare with an exact method before relying on tails.",
        "fail": f"The approximation misses the posterior: use an exact method ({', '.join(exact)}).",
    }[status]
    scalars = sum(int(v[0, 0].size) for n, v in tree["posterior"].data_vars.items() if n in model.unknown.variables)
    if status == "fail" and scalars > MANY:
        status = "warn"
        advice = (
            f"With {scalars} unknown numbers, small misfits add up in the importance ratios: means may be usable, but "
            f"intervals are likely too narrow. Compare with an exact method first ({', '.join(exact)})."
        )
    return [
        Verdict(
            "Pareto k-hat of q",
            status,
            khat,
            f"< {KHAT_GOOD} good, < {KHAT_USABLE} usable",
            where,
            advice,
        )
    ]


def _cautions(model: Model, tree: xr.DataTree) -> list[Verdict]:
    """Verdicts on what the model itself has to say of the fit."""
    found = model.cautions(tree, fitted_problem(model, tree)) if model.cautions else ()
    return [verdict(one.check, one.value == 0, one.value, "= 0", one.where, one.advice, "warn") for one in found]


def _leave_one_out(model: Model, tree: xr.DataTree) -> list[Verdict]:
    """Observations that the posterior cannot do without (Pareto k of PSIS-LOO)."""
    if "log_likelihood" not in tree:
        return []
    from arviz_stats.base import array_stats

    pointwise = next(iter(tree["log_likelihood"].data_vars.values()))
    values = pointwise.to_numpy()
    flat = values.reshape(values.shape[0] * values.shape[1], -1)
    if len(flat) < FEWEST_TAIL:
        return []
    some = flat.T[:LOO_UNITS]
    if model.multiplicity:  # one of the observations that an element stands for is left out, not all of them
        some = some / np.maximum(fitted_problem(model, tree)[model.multiplicity][:LOO_UNITS, None], 1)
    k, efficiency = np.full(len(some), -np.inf), _efficiency(tree)
    limit = min(1 - 1 / np.log10(len(flat)), KHAT_USABLE)
    for i in np.flatnonzero(np.ptp(some, axis=1) > 0):  # a constant has no tail to look at
        with contextlib.suppress(ValueError):  # nor have a few draws that come again and again
            k[i] = float(array_stats.psislw(some[i], r_eff=efficiency, axis=-1)[1])
        ratio = np.exp(some[i].min() - some[i])
        if k[i] > limit and ratio.sum() ** 2 > EVEN * ratio.size * (ratio**2).sum():  # no weight matters, nor its tail
            k[i] = -np.inf
    k[np.isnan(k)] = -np.inf  # ArviZ found no tail
    if np.isneginf(k).all():
        return []
    bad, worst = int((k > limit).sum()), int(np.argmax(k))
    place = zip(pointwise.dims[2:], np.unravel_index(worst, values.shape[2:]), strict=True)
    at = ", ".join(named(str(dim), pointwise[dim].to_numpy()[i]) for dim, i in place)
    advice = "az.loo is unreliable for these observations, which may be outliers: look at them."
    return [
        verdict(
            "observations with high LOO k",
            bad == 0,
            bad,
            f"= 0 with k > {limit:.2f}",
            f"highest k {k[worst]:.2f} at {at}" if at else f"highest k {k[worst]:.2f}",
            advice,
            "warn",
        )
    ]


def _efficiency(tree: xr.DataTree) -> float:
    """Return the effective share of the draws, a mean over all numbers, as ``az.loo`` takes it for its tails."""
    from arviz_stats.base import array_stats

    group = tree["posterior"].to_dataset()
    if group.sizes["chain"] == 1:
        return 1.0
    draws = [
        v.to_numpy() for v in group.data_vars.values() if v.dims[:2] == ("chain", "draw") and v.dtype.kind in "iuf"
    ]
    flat = [each.reshape(*each.shape[:2], -1).transpose(2, 0, 1) for each in draws]
    ess = [array_stats.ess(each, chain_axis=-2, draw_axis=-1, method="mean") for each in flat]
    return float(np.nanmean(np.concatenate(ess))) / (group.sizes["chain"] * group.sizes["draw"])


def replicated_statistics(model: Model, tree: xr.DataTree, seed: int) -> tuple[dict[str, float], dict[str, Array]]:
    """Return each declared statistic of the data, and of replicated data.

    Parameters
    ----------
    model : Model
        With ``statistics``.
    tree : DataTree
        A fit. Replications are those of its posterior predictive, or are drawn from its point estimate. What is missing
        in the data (NaN) is missing in each of them. Where elements stand for several observations each (mutations of a
        cell), these are replicated one by one, and compared with as many of the data.
    seed : int
        For drawing them.

    Returns
    -------
    observed : dict of str to float
    replicated : dict of str to ndarray, shape (replications,)
    """
    assert model.statistics is not None
    problem, rng = fitted_problem(model, tree), np.random.default_rng(seed)
    alone = one_by_one(problem, rng)
    if alone and "posterior" in tree:
        problem = alone
        drawn = tree["posterior"].to_dataset()
        if "posterior_predictive" in tree:
            drawn = drawn.sel(draw=tree["posterior_predictive"]["draw"])
        flat = stacked(arrays(drawn, [n for n in model.unknown.variables if n in drawn]), REPLICATES)
        count = len(next(iter(flat.values())))
        copies = [dict(replicate(problem, {n: v[i] for n, v in flat.items()}, rng)) for i in range(count)]
    elif "posterior_predictive" in tree:
        replicated = arrays(tree["posterior_predictive"].to_dataset(), model.observed.variables)
        flat = stacked(replicated, REPLICATES)  # spread over all chains
        copies = [{name: v[i] for name, v in flat.items()} for i in range(len(next(iter(flat.values()))))]
    elif "point" not in tree:
        raise InputError(
            f"{source(tree)}: there are no replications of the data (group 'posterior_predictive') to compare the "
            "data with. Fit again, or give the tree as it was written."
        )
    else:
        problem = alone or problem
        unknown = {n: tree["point"][n].to_numpy() for n in model.unknown.variables if n in tree["point"]}
        copies = [dict(replicate(problem, unknown, rng)) for _ in range(REPLICATES)]
    observed = {name: float(v) for name, v in problem.call(model.statistics).items()}
    gone = {n: np.isnan(v) for n in model.observed.variables if (v := problem[n]).dtype.kind == "f"}
    gone = {name: mask for name, mask in gone.items() if mask.any()}
    copies = [copy | {name: np.where(mask, np.nan, copy[name]) for name, mask in gone.items()} for copy in copies]
    rows = [problem.call(model.statistics, **copy) for copy in copies]
    return observed, {name: np.array([float(row[name]) for row in rows]) for name in observed}


def one_by_one(problem: Problem, rng: np.random.Generator) -> Problem | None:
    """Give each observation that elements of known multiplicity stand for an element of its own (at most, some).

    Returns
    -------
    Problem or None
        None if every element is one observation.
    """
    model, unit = problem.model, problem.model.unit
    if model.multiplicity not in model.known.variables or (problem[model.multiplicity] <= 1).all():
        return None
    many = problem[model.multiplicity]
    if many.sum() > OBSERVATIONS:
        many = rng.multivariate_hypergeometric(many, OBSERVATIONS, method="marginals")
    at = np.repeat(np.arange(len(many)), many)
    variables = {**model.known.variables, **model.observed.variables}
    parts = {
        name: np.take(values, at, variables[name].dims.index(unit)) if unit in variables[name].dims else values
        for name, values in problem.arrays.items()
    }
    parts[model.multiplicity] = np.ones_like(at)
    coords = {**problem.coords, unit: np.arange(len(at))}
    return replace(problem, arrays=parts, sizes={**problem.sizes, unit: len(at)}, coords=coords)


def _predictive(model: Model, tree: xr.DataTree, seed: int) -> list[Verdict]:
    """Two-sided predictive p-value of each declared statistic of the data."""
    if model.statistics is None:
        return []
    observed, replicated = replicated_statistics(model, tree, seed)
    out = []
    for name, value in observed.items():
        again = replicated[name]
        p, limit = tail(value, again), ALARM / len(observed)
        advice = (
            f"It is {value:.4g} in the data, but {again.mean():.4g} (sd {again.std():.3g}) in replications: the model "
            "does not reproduce this property of the data."
        )
        where = f"{len(again)} replications"
        far = abs(value - again.mean()) > FAR * again.std() and not again.min() <= value <= again.max()
        if far:
            advice += f" None comes near the data ({FAR} sd): do not rely on results that depend on it."
        status: Status = "fail" if far else "warn"
        check = f"predictive check: {spelled(name)}"
        out.append(verdict(check, p >= limit, p, f"p >= {limit:.2g}", where, advice, status))
    return out


def tail(value: float, again: Array) -> float:
    """Two-sided predictive p-value of a statistic, ties counted in half.

    Outside of all replications, their number alone would say p = 0: a generalised Pareto distribution of their own
    tail, at least as heavy as an exponential one, is followed instead.
    """
    above, ties = float((again > value).mean()), float((again == value).mean())
    p = 2 * min(above + ties / 2, 1 - above - ties / 2)
    if p > 0 or len(again) < FEWEST_TAIL:
        return min(1.0, p)
    outward = again if value > again.max() else -again
    start = float(np.quantile(outward, 1 - TAIL))
    beyond = np.sort(outward[outward > start] - start)
    if not len(beyond) or beyond[-1] <= 0:
        return 0.0
    weight = 1 - (np.arange(1, len(beyond) + 1) - 0.35) / len(beyond)
    mean, weighted = float(beyond.mean()), float((weight * beyond).mean())  # Hosking and Wallis (1987), eq. 6
    shape = float(np.clip(2 - mean / (mean - 2 * weighted), 0, 0.5)) if mean > 2 * weighted else 0.0
    far = ((value if value > again.max() else -value) - start) / (mean * (1 - shape))
    return float(2 * len(beyond) / len(again) * (np.exp(-far) if shape < 1e-6 else (1 + shape * far) ** (-1 / shape)))
