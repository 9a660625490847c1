"""Replicates: draw from the prior, simulate, fit, and rank the truth among draws from the posterior."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.calibration.plan import Given, Plan, fingerprint
from genarium.calibration.scalars import flat_draws, scalars, with_densities
from genarium.calibration.thinning import ROUNDING, autocorrelation, effective, potential_scale, thinned
from genarium.data import check
from genarium.declaration import Array, Arrays, Method, Model, Problem, Result
from genarium.engines.resample import smoothed
from genarium.errors import ApproximationError, GenariumError
from genarium.evaluate import at_draws
from genarium.methods import find_method
from genarium.progress import cpu_seconds
from genarium.signatures import keyword_options, parents_of
from genarium.sources import digest_of_sources, sources_of
from genarium.story import draw_stage
from genarium.writing import replacing

ENOUGH = 1.5
"""Effective draws for each draw that is kept: so that neighbours kept have a correlation of at most about 0.05."""

RHAT, CHANCE = 1.01, 4.0
"""A replicate's R-hat may exceed 1.01 by this number over its effective draws: so much is chance in chains so short."""

LONGEST = 64
"""How many times longer than at first a replicate is run, at most, until its draws suffice."""

Record = dict[str, Any]

DRAWS = "draws"
"""What a record calls the draws that the truth is ranked among: arrays, which the store keeps apart."""


@dataclass(frozen=True)
class Simulated:
    """A simulated problem and the truth behind it.

    Attributes
    ----------
    index : int
    problem : Problem or str
        What the method gets to see; a message where the data cannot be used.
    truth : mapping of str to ndarray
        Unknown variables; none where they are drawn together with data that cannot be.
    """

    index: int
    problem: Problem | str
    truth: Arrays


def simulate(plan: Plan, index: int) -> Simulated:
    """Draw a truth and its data.

    Parameters
    ----------
    plan : Plan
    index : int
        Number of the replicate.

    Returns
    -------
    Simulated
    """
    drawing, model = plan.rng(index, "simulate"), plan.declared
    medians: dict[str, Array] = {}
    if plan.given is None:
        values, around = dict(plan.values), dict[str, Array]()
        if learned := plan.learned:
            draw_stage(plan.simulated, "known", drawing, plan.sizes, values, around)
            medians = {name: around[name] for name in learned}
            for name, sd in learned.items():
                values[name] = medians[name] * np.exp(sd * drawing.normal(size=np.shape(medians[name])))
        drawn: dict[str, Array] = {}
        try:
            for role in ("known", "unknown", "hidden", "observed"):
                draw_stage(plan.simulated, role, drawing, plan.sizes, values, drawn)
        except (ArithmeticError, ValueError) as error:  # of this replicate, as a rate that is too large
            truth = {name: drawn[name] for name in model.unknown.variables if name in drawn}
            return Simulated(index, f"no data can be simulated: {type(error).__name__}: {error}", truth)
        sizes: Mapping[str, int] = plan.sizes
    else:
        drawn, sizes = _augmented(model, plan.given, index, drawing, plan.sizes)
    data = {name: drawn[name] for name in model.variables("known", "observed") if name in drawn} | medians | plan.misled
    problem: Problem | str
    try:
        problem = check(model, data, sizes)
    except GenariumError as error:
        problem = f"{type(error).__name__}: {error}"
    return Simulated(index, problem, {name: drawn[name] for name in model.unknown.variables})


def _augmented(
    model: Model, given: Given, index: int, rng: np.random.Generator, sizes: Mapping[str, int]
) -> tuple[dict[str, Array], dict[str, int]]:
    """Draw a truth from the posterior of given data, and join data simulated from it with the given ones."""
    out = {name: given.arrays[name] for name in model.known.variables}
    out |= {name: values[index] for name, values in given.draws.items()}
    for role in ("hidden", "observed"):
        draw_stage(model, role, rng, sizes, {}, out)
    joined = dict(out)
    if (many := model.multiplicity) in model.observed.variables:  # the same units, seen more often; totals follow
        joined[many] = given.arrays[many] + out[many]
        known = model.known.variables.items()
        totals = [name for name, var in known if callable(var.default) and many in parents_of(var.default)]
        return {name: value for name, value in joined.items() if name not in totals}, dict(sizes)
    for name, var in model.variables("known", "observed").items():
        if model.unit in var.dims:
            joined[name] = np.concatenate([given.arrays[name], out[name]], axis=var.dims.index(model.unit))
    return joined, {**sizes, model.unit: 2 * sizes[model.unit]}


def run(plan: Plan, index: int) -> Record:
    """Run a replicate.

    Parameters
    ----------
    plan : Plan
    index : int
        Number of the replicate.

    Returns
    -------
    dict
        Ready for JSON: names, truth, ranks, PIT values, summaries and statistics of the run, or the error that ended
        it.
    """
    before = cpu_seconds()
    one = simulate(plan, index)
    record = _fitted(plan, one, one.problem) if isinstance(one.problem, Problem) else _failed(one, one.problem)
    return {**record, "cpu_seconds": cpu_seconds() - before}


def _failed(one: Simulated, error: str) -> Record:
    return {"index": one.index, "unknown": _plain(one.truth), "error": error}


def _fitted(plan: Plan, one: Simulated, problem: Problem) -> Record:
    """Fit until the draws suffice, or the run would be longer than the longest."""
    method = plan.way.function
    longest = LONGEST if "draws" in plan.options else 1
    usual = {**keyword_options(method), **plan.options}
    stretched = [name for name in ("tune", "thin" if "thin" in usual else "draws") if name in usual]
    length = 1
    while True:
        longer = {name: length * usual[name] for name in stretched}
        options = plan.options | (longer if length > 1 else {})
        result = fit_once(method, problem, plan.rng(one.index, "fit", length), options)
        if isinstance(result, str):
            return {**_failed(one, result), "length": length}
        record, enough = _record(plan, one, problem, result)
        record["length"] = length
        if enough:
            return record
        if length >= longest:
            return {**record, "error": "not converged: ESS {ess:.0f}, R-hat {rhat:.3f}".format(**record["stats"])}
        length = _longer(plan, record, length)


def _longer(plan: Plan, record: Record, length: int) -> int:
    """How long a run must be, a power of two, by the effective draws of the one before."""
    needed = 1.2 * ENOUGH * plan.ranks / record["stats"]["ess"]
    factor: int = 2 ** max(1, int(np.ceil(np.log2(needed))))
    return min(LONGEST, length * factor)


def fit_once(method: Any, problem: Problem, rng: np.random.Generator, options: Mapping[str, Any]) -> Result | str:
    """Fit; whatever ends a fit is a finding about the method, told as a message, and no reason to stop."""
    try:
        result: Result = method(problem, rng, **options)
    except Exception as error:
        if isinstance(error, ApproximationError):
            return f"{type(error).__name__}: k-hat {error.khat:.2f}"
        return f"{type(error).__name__}: {error}"
    return result


def _plain(arrays: Arrays) -> dict[str, Any]:
    return {name: np.asarray(value).tolist() for name, value in arrays.items()}


def _record(plan: Plan, one: Simulated, problem: Problem, result: Result) -> tuple[Record, bool]:
    """Summarise a fit; also say whether its draws suffice."""
    record: Record = {"index": one.index, "unknown": _plain(one.truth)}
    flat = flat_draws(plan.declared, result)
    unusable = [name for name, value in flat.items() if np.isnan(value).any()]
    if unusable:
        return {**record, "error": f"{unusable[0]} is NaN"}, True
    true = {name: value[None] for name, value in one.truth.items()}
    names, truth = with_densities(problem, true, scalars(problem, true))
    found = scalars(problem, flat)
    if undefined := _undefined(names, truth, found[1]):
        return {**record, "error": undefined}, True
    record |= {"names": names, "truth": truth[0].tolist()}
    stats: dict[str, Any] = {"notes": {k: _number(v) for k, v in result.notes.items() if not isinstance(v, str)}}
    trace = {**result.point, **result.variational}.get("bound")
    if "largest_fall" in result.notes:
        stats["largest_fall"] = float(result.notes["largest_fall"])
    elif isinstance(trace, tuple) and not result.notes.get("noisy_bound"):
        stats["largest_fall"] = _largest_fall(np.asarray(trace[1]))
    if not result.posterior:
        estimate = with_densities(problem, flat, found)[1][0]
        record["mean"] = estimate.tolist()
        stats |= _optimality(names, estimate, truth[0], result)
        return {**record, "stats": stats}, True
    count, own = found[1].shape
    enough = True
    if plan.claim == "exact":
        chains = found[1].reshape(*np.asarray(result.posterior[next(iter(flat))]).shape[:2], own)  # (C, S, Q)
        ess, rhat = effective(chains), potential_scale(chains)
        stats |= {"ess": float(ess.min()), "rhat": float(rhat.max())}
        enough = stats["ess"] >= ENOUGH * plan.ranks and stats["rhat"] <= RHAT + CHANCE / stats["ess"]
        if "diverging" in result.sample_stats:
            stats["divergences"] = int(np.sum(np.asarray(result.sample_stats["diverging"])))
    if count < plan.ranks:
        return {**record, "error": f"{count} draws, too few to rank among {plan.ranks}", "stats": stats}, enough
    keep = thinned(count, plan.ranks)
    some = {name: value[keep] for name, value in flat.items()}
    _, values = with_densities(problem, some, (found[0], found[1][keep]))
    if problem.model.log_density is not None and "log_density" in result.sample_stats:
        each = np.ravel(np.asarray(result.sample_stats["log_density"]))[keep]
        truth = np.append(truth, problem.model.log_density(problem, one.truth))[None]
        values = np.column_stack([values, each])
        record |= {"names": [*names, "log_density"], "truth": truth[0].tolist()}
    mean, sd = values.mean(0), values.std(0, ddof=1)
    if plan.claim == "approximate":  # its draws are independent, and there are more of them
        stats["khat"] = _khat(problem, result, flat)
        mean[:own], sd[:own] = found[1].mean(0), found[1].std(0, ddof=1)
    record |= {**_ranked(plan, one.index, truth, values), "mean": mean.tolist(), "sd": sd.tolist()}
    if plan.claim == "exact":
        stats["autocorrelation"] = autocorrelation(values).tolist()
    if plan.keep:
        record[DRAWS] = some
    if plan.reference and one.index < plan.n_reference:
        record["reference"] = _reference(plan, problem, one.index)
    return {**record, "stats": stats}, enough


def rank_again(plan: Plan, record: Record, draws: Arrays) -> Record:
    """Rank the truth of a record by the plan's test quantities, among draws that were kept.

    Parameters
    ----------
    plan : Plan
    record : dict
        Of a replicate of the same seed.
    draws : mapping of str to ndarray, shape (L, ...)

    Returns
    -------
    dict
        A record of these quantities alone.
    """
    one = simulate(plan, int(record["index"]))
    if not isinstance(one.problem, Problem):
        return _failed(one, one.problem)
    names, truth = scalars(one.problem, {name: value[None] for name, value in one.truth.items()})
    _, values = scalars(one.problem, draws)
    out: Record = {name: record[name] for name in ("index", "unknown", "length", "cpu_seconds") if name in record}
    if undefined := _undefined(names, truth, values):
        return {**out, "error": undefined}
    out["stats"] = {name: value for name, value in record["stats"].items() if name != "autocorrelation"}
    out |= {"names": names, "truth": truth[0].tolist(), **_ranked(plan, one.index, truth, values)}
    return {**out, "mean": values.mean(0).tolist(), "sd": values.std(0, ddof=1).tolist()}


def _undefined(names: list[str], truth: Array, values: Array) -> str:
    """Say which scalar is NaN at the truth, shape (1, Q), or at a draw, shape (S, Q): it has no rank; "" for none."""
    own = values.shape[1]
    lacking = np.flatnonzero(np.isnan(truth[0, :own]) | np.isnan(values).any(0))
    return f"{names[lacking[0]]} is NaN" if len(lacking) else ""


def _ranked(plan: Plan, index: int, truth: Array, values: Array) -> Record:
    """Ranks and PIT values of a truth, shape (1, Q), among draws, shape (L, Q); ties are broken at random."""
    ties = plan.rng(index, "ties")
    same = np.isclose(values, truth[0], rtol=ROUNDING, atol=0)
    below, equal = ((values < truth[0]) & ~same).sum(0), same.sum(0)
    rank = below + ties.integers(0, equal + 1)
    pit = (rank + ties.uniform(size=len(rank))) / (plan.ranks + 1)
    return {"rank": rank.tolist(), "pit": pit.tolist()}


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _khat(problem: Problem, result: Result, flat: Arrays) -> float | None:
    """Pareto k-hat of an approximation; None where it does not say how dense its draws are."""
    if "khat" in result.notes:
        return float(result.notes["khat"])
    stats, model = result.sample_stats, problem.model
    if "log_ratio" in stats:
        return smoothed(np.ravel(np.asarray(stats["log_ratio"])))[1]
    if "log_q" not in stats or model.log_likelihood is None or model.log_prior is None:
        return None
    likelihood = at_draws(problem, model.log_likelihood, flat)
    lp = likelihood.reshape(len(likelihood), -1).sum(1) + at_draws(problem, model.log_prior, flat)
    return smoothed(lp - np.ravel(np.asarray(stats["log_q"])))[1]


def _largest_fall(trace: Array) -> float:
    """Largest fall of a bound from one iteration to the next, beyond what rounding explains."""
    steps = np.diff(np.atleast_2d(trace), axis=1)
    falls = -steps[np.isfinite(steps)]
    rounding = 1e-9 * max(1.0, float(np.abs(trace[np.isfinite(trace)]).max(initial=0.0)))
    fall = float(falls.max(initial=0.0))
    return fall if fall > rounding else 0.0


def _optimality(names: list[str], estimate: Array, truth: Array, result: Result) -> dict[str, float]:
    """How much better the objective is at the estimate than at the truth; an optimum is never worse.

    What a method says that is left to gain (note ``optimality_gap``, in nats) counts as gained: that claim is tried.
    """
    at = {name: i for i, name in enumerate(names)}
    if "log_likelihood" not in at or "bound" not in result.notes:
        return {}
    likelihood = at["log_likelihood"]
    joint = [likelihood, at["log_prior"]] if "log_prior" in at else [likelihood]
    for part in ([likelihood], joint):  # the objective is whichever of the two the method says it reached
        reached = float(estimate[part].sum())
        if abs(reached - float(result.notes["bound"])) <= 1e-6 * max(1.0, abs(reached)):
            left = float(result.notes.get("optimality_gap", 0.0))
            return {"gain_on_truth": reached + left - float(truth[part].sum())}
    return {}


def _reference(plan: Plan, problem: Problem, index: int) -> Record:
    """Mean and sd by an exact method on the same data; what another validation has found there is taken."""
    way = find_method(plan.declared, plan.reference)
    told = digest_of_sources(sources_of(plan.declared, way))
    name = f"{plan.variant}.{plan.reference}-{told}-{plan.seed}-{index}-{fingerprint(problem.arrays)}.json"
    kept = plan.references / name if plan.references is not None else None
    if kept is not None and kept.is_file():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    found = _by_reference(way, plan, problem, plan.rng(index, "reference"))
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    return found


def _by_reference(way: Method, plan: Plan, problem: Problem, rng: np.random.Generator) -> Record:
    method = way.function
    options = {n: v for n, v in {"chains": 2, "draws": 500, "tune": 500}.items() if n in keyword_options(method)}
    result = fit_once(method, problem, rng, options)
    if isinstance(result, str):
        return {"error": result}
    _, values = scalars(problem, flat_draws(plan.declared, result))
    return {"mean": values.mean(0).tolist(), "sd": values.std(0, ddof=1).tolist()}


def line(record: Record) -> str:
    """Return a record as one line of JSON, without draws; numbers come back from it exactly."""
    record = {name: value for name, value in record.items() if name != DRAWS}
    return json.dumps(record, separators=(",", ":"))
