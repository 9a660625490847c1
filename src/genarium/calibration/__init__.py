"""Validate: simulation-based calibration of a method, replicate by replicate, with a verdict on what it claims."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium import registry
from genarium.adopted.digests import digest_of
from genarium.adopted.pymc import from_pymc, is_pymc
from genarium.adopted.stan import Simulator, from_stan
from genarium.attributes import attribute
from genarium.calibration import uniformity
from genarium.calibration.findings import Findings
from genarium.calibration.judge import ALPHA, held_quantities, judge, level, rejected
from genarium.calibration.outcome import Outcome
from genarium.calibration.page import write_page
from genarium.calibration.plan import Given, Plan
from genarium.calibration.quantities import Quantities, with_quantities
from genarium.calibration.recovery import Recovery
from genarium.calibration.replicate import DRAWS, Record, rank_again
from genarium.calibration.replicate import simulate as simulate_replicate
from genarium.calibration.scalars import DENSITIES, flat_draws, scalars
from genarium.calibration.schedule import replicates
from genarium.calibration.store import PLAN, Store
from genarium.data import check
from genarium.declaration import Model, Problem
from genarium.engines.workers import parse_workers
from genarium.errors import InputError
from genarium.holding import Data
from genarium.methods import find_method
from genarium.progress import bar
from genarium.remedies import either, flag
from genarium.settings import generator, split, varied
from genarium.tree import provenance, save

TREE, PAGE = "validation.nc", "report.html"


class Validation(Outcome):
    """What a validation found, and its page."""

    def report(self, path: str | Path, recovery: Recovery | None = None) -> Path:
        """Write the page of this validation: one HTML file, with its figures in it, that refers to no other file.

        Parameters
        ----------
        path : str or Path
        recovery : Recovery, optional
            Error against the size of the data, drawn and judged besides.

        Returns
        -------
        Path
        """
        return write_page(self, path, recovery)


def validate(
    model: str | Path | Model,
    method: str,
    simulations: int = 200,
    workers: int | str = 1,
    seed: int = 0,
    *,
    data: Data | None = None,
    layer: str = "",
    wrong: Mapping[str, Any] | None = None,
    control: bool = False,
    adaptive: bool = True,
    ranks: int = 99,
    reference: str = "",
    n_reference: int | None = None,
    references: str | Path | None = None,
    quantities: Quantities | None = None,
    keep: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Validation:
    """Validate a method by simulation-based calibration.

    Every replicate draws unknown variables from the prior, simulates data from them, fits the method, and ranks the
    truth among ``ranks`` nearly independent draws, for every unknown variable without meaningless labels, every
    quantity of the model, the joint log likelihood and the log prior. Uniform ranks are what a method that draws from
    the posterior must give (Talts et al. 2018; Modrák et al. 2023).

    Parameters
    ----------
    model : str, Path, Model or pymc.Model
        Name of a model, its folder, or a declaration; or a PyMC model with observed data (:func:`genarium.from_pymc`).
    method : str
        One of the model's methods.
    simulations : int
        Replicates.
    workers : int or str
        Processes, or the address of a Dask scheduler (``tcp://host:8786``). The result does not depend on it.
    seed : int
        Every replicate is a function of the seed and its number.
    data : DataTree, Dataset, mapping of str to array_like, AnnData, DataFrame, Series, DataArray or matrix, optional
        The user's data, for posterior SBC (Säilynoja et al. 2025): truths are drawn from their posterior, and the
        simulated data are fitted together with them. The method must be exact.
    layer : str
        Of an AnnData, the layer that takes the place of ``X``.
    wrong : mapping, optional
        Known variables that the fit, not the simulation, is given another value of; options of the model that the
        simulation, not the fit, has: a negative control.
    control : bool
        Use the model's own negative control as ``wrong``.
    adaptive : bool
        Look at 50, 100, 200 ... replicates and stop at a clear failure; alpha is split over the looks.
    ranks : int
        Number L of draws that a truth is ranked among.
    reference : str
        An exact method to measure the distance to, on the first ``n_reference`` replicates (50 where not given).
    n_reference : int, optional
        Only with ``reference``.
    references : str or Path, optional
        Folder where what ``reference`` found is kept: other methods that are validated with it, by the same seed, take
        it from there. Only with ``reference``.
    quantities : callable, optional
        More test quantities: a function of unknown, known and observed variables, by their names, at one draw, that
        returns scalars or arrays by name.
    keep : bool
        Keep the draws that truths are ranked among, for :func:`validate_quantities`; only with ``out``, and without
        ``data``.
    out : str or Path, optional
        Folder for the replicates (appended one by one), the ranks, the tree, and the report.
    resume : bool
        Go on with the replicates in ``out``.
    **settings
        Sizes, options of the model, values of known variables, options of the method; those not given are the
        model's own for calibration.

    Returns
    -------
    Validation
        What was found; ``print`` it, or write its page with ``report``.

    Raises
    ------
    InputError
        If a setting cannot be used, or ``out`` holds another run.

    Examples
    --------
    >>> import genarium as gn
    >>> found = gn.validate("nb_mixture", "gibbs", simulations=20, seed=1, cell=50, component=2)
    >>> found.simulations
    20
    """
    parse_workers(workers)
    generator(seed)
    if isinstance(simulations, bool) or not isinstance(simulations, int | np.integer) or simulations < 1:
        raise InputError(f"{flag('simulations', simulations)} must be a whole number, at least one.")
    if is_pymc(model):
        model = from_pymc(model)
    declared = registry.resolve(model)
    if keep and out is None:
        raise InputError(f"{flag('keep', True)} needs a folder for the draws: {either('out=...', '--out DIR')}.")
    if keep and data is not None:
        raise InputError(
            f"{flag('keep', True)} is of no use with data: only truths from the prior are ranked again. Name further "
            f"quantities now: {either('quantities=...', '--quantities MODULE:FUNCTION')}."
        )
    given = None
    if layer and data is None:
        raise InputError(f"layer={layer!r} is one of an AnnData: give that as data=...")
    if data is None:
        settings = _with_own(declared, method, settings)
    else:
        given, settings = _given(declared, method, data, layer, int(simulations), seed, settings)
    asked = ""
    if quantities is not None:  # of the variant that the settings choose, which may have variables of its own
        model = with_quantities(varied(declared, settings), quantities)
        asked = f"{getattr(quantities, '__name__', 'function')} {digest_of(quantities)[:12]}"
    if control:
        wrong = {**varied(declared, settings).calibration.control, **(wrong or {})}
        if not wrong:
            raise InputError(
                f"{declared.name}: the model declares no negative control. Give "
                f"{either('wrong={...}', '--wrong NAME=VALUE')} instead."
            )
    if n_reference is not None and not reference:
        raise InputError(
            f"{flag('n_reference', n_reference)} needs the method to compare with, such as {flag('reference', 'nuts')}."
        )
    if references is not None and not reference:
        raise InputError(
            f"{flag('references', str(references))} needs the method whose results it keeps, such as "
            f"{flag('reference', 'nuts')}."
        )
    if resume and out is None:
        raise InputError(
            f"{flag('resume', True)} needs the folder of the run to go on with: {either('out=...', '--out DIR')}."
        )
    n_reference = (50 if n_reference is None else n_reference) if reference else 0
    kept = Path(references) if references is not None else None
    of_run = (dict(wrong or {}), reference, n_reference, given, keep, kept, asked)
    plan = Plan(model, method, settings, int(seed), ranks, *of_run)
    _ = plan.values, plan.misled, plan.options  # refuse what cannot be used before anything is run
    with Store(Path(out) if out is not None else None, plan.describe(), resume) as store:
        return collect(plan, store, int(simulations), workers, adaptive)


def collect(plan: Plan, store: Store, simulations: int, workers: int | str, adaptive: bool) -> Validation:
    """Run the replicates that the store lacks, look by look, and judge.

    Parameters
    ----------
    plan : Plan
    store : Store
    simulations : int
    workers : int or str
    adaptive : bool

    Returns
    -------
    Validation
    """
    started = time.perf_counter()
    _refuse_other_quantities(plan, store)
    stops = uniformity.looks(simulations) if adaptive else [simulations]
    alphas = uniformity.spent(ALPHA, len(stops))
    with bar(f"{plan.variant} by {plan.label}", simulations) as advance:
        advance(len([i for i in store.records if i < simulations]))
        for stop, alpha in zip(stops, alphas, strict=True):
            for record in replicates(plan, [i for i in range(stop) if i not in store.records], workers):
                store.append(record)
                advance(1)
            found = Findings(plan, [store.records[i] for i in range(stop)])
            if rejected(found, alpha):
                break
    result = _judged(plan, store.finish(stop), alpha, started)
    if store.folder is not None:
        save(result.tree, store.folder / TREE)
        result.report(store.folder / PAGE)
    return result


def _refuse_other_quantities(plan: Plan, store: Store) -> None:
    """Refuse to go on with replicates that rank other quantities than the plan."""
    good = next((record for record in store.records.values() if "names" in record), None)
    if good is None:
        return
    one = simulate_replicate(plan, int(good["index"]))
    if isinstance(one.problem, Problem):
        names, _ = scalars(one.problem, {name: value[None] for name, value in one.truth.items()})
        if good["names"][: len(names)] != names or set(good["names"][len(names) :]) - {*DENSITIES, "log_density"}:
            raise InputError(
                f"{store.folder} holds replicates that rank other quantities ({', '.join(good['names'])}). Give "
                "the same ones, or choose another folder."
            )


def validate_stan(
    program: str | Path,
    simulate: Simulator | str | Path,
    data: Mapping[str, Any] | None = None,
    method: str = "stan",
    simulations: int = 200,
    workers: int | str = 1,
    seed: int = 0,
    **settings: Any,
) -> Validation:
    """Validate a Stan program by simulation-based calibration.

    Every parameter is ranked, and the joint log density, which sees a posterior that ignores the data.

    Parameters
    ----------
    program : str or Path
        The ``.stan`` file that is fitted.
    simulate : callable, str or Path
        A function of a generator that returns the program's parameters, drawn from the prior, and the data simulated
        from them; or a Stan program without parameters that generates them. See :func:`genarium.from_stan`.
    data : mapping, optional
        Data of the program that are the same in every simulation.
    method : str
        ``stan`` (NUTS), ``stan-pathfinder``, ``stan-advi`` or ``stan-laplace``.
    simulations, workers, seed
        As for :func:`validate`.
    **settings
        Further arguments of :func:`validate`; options of the method.

    Returns
    -------
    Validation
        As of :func:`validate`.
    """
    return validate(from_stan(program, simulate, data), method, simulations, workers, seed, **settings)


def validate_quantities(
    folder: str | Path, quantities: Quantities, model: str | Path | Model | None = None
) -> Validation:
    """Rank the truths of a validation by other test quantities; nothing is fitted again.

    Parameters
    ----------
    folder : str or Path
        The ``out`` of a validation with ``keep=True``.
    quantities : callable
        Of unknown, known and observed variables, by their names, at one draw; returns scalars or arrays by name.
    model : str, Path, Model or pymc.Model, optional
        The model that was validated, where it is not one of the registry.

    Returns
    -------
    Validation
        Of the unknown variables and these quantities.

    Raises
    ------
    InputError
        If the folder keeps no draws, or its replicates are those of another model or other settings.
    """
    folder = Path(folder)
    if not (folder / PLAN).is_file() or not (folder / DRAWS).is_dir():
        raise InputError(f"{folder} keeps no draws. Validate with keep=True, out=... (--keep --out DIR).")
    told = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    if is_pymc(model):
        model = from_pymc(model)
    declared = registry.resolve(model if model is not None else told["model"])
    variant = declared.variant(**told["model_options"])
    sizes = {dim: size for dim, size in told["sizes"].items() if dim not in variant.derived_dims}
    settings = {**told["model_options"], **sizes, **told["values"], **told["options"]}
    asked = with_quantities(variant, quantities, only=True)
    plan = Plan(asked, told["method"], settings, told["seed"], told["ranks"], dict(told["wrong"]))
    of_run = {n: told[n] for n in ("reference", "n_reference", "quantities") if n in told}
    with Store(folder, {**plan.describe(), **of_run}, True) as store:
        records = []
        for index, record in sorted(store.records.items()):
            path = folder / DRAWS / f"{index}.npz"
            if "error" in record:
                records.append(record)
                continue
            if not path.is_file():
                raise InputError(
                    f"{path}: replicate {index} was run without keep=True. Validate in a new folder with it."
                )
            with np.load(path) as draws:
                records.append(rank_again(plan, record, {name: draws[name] for name in draws.files}))
    return _judged(plan, records, ALPHA)


def _judged(plan: Plan, records: Sequence[Record], alpha: float, started: float | None = None) -> Validation:
    """Judge the replicates that a run ended with."""
    found = Findings(plan, records)
    tree = found.tree()
    cpu = float(sum(r["cpu_seconds"] for r in found.records))
    seconds = time.perf_counter() - started if started is not None else 0.0
    tree.attrs = provenance(**plan.describe(), simulations=len(records), seconds=seconds, cpu_seconds=cpu)
    told = (judge(found, alpha), found.quantities(), found.failures(), len(records), tree, cpu, level(found, alpha))
    return Validation(plan.describe(), *told, len(held_quantities(found)) if found.ranked else 0)


def plan_of(model: str, method: str, seed: int, settings: Mapping[str, Any]) -> Plan:
    """Return the plan of a plain validation of a method."""
    return Plan(model, method, _with_own(registry.get(model), method, settings), seed)


def _with_own(declared: Model, method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Add the model's settings for calibration, as far as the chosen variant and the method know them."""
    variant = varied(declared, settings)
    known = {*variant.sizes, *variant.variables(), *declared.options, *find_method(variant, method).options}
    return {n: v for n, v in variant.calibration.settings.items() if n in known} | dict(settings)


def _given(
    declared: Model, method: str, data: Data, layer: str, simulations: int, seed: int, settings: Mapping[str, Any]
) -> tuple[Given, dict[str, Any]]:
    """Fit the user's data, and keep as many draws as there are replicates."""
    if hasattr(declared.density, "__fingerprint__"):  # an adopted model, whose graph knows its shapes
        raise InputError(
            f"{declared.name}: the shapes of a PyMC model are fixed, so that given data cannot be joined with "
            "simulated ones. Leave the data out, or make a model folder of it (genarium new)."
        )
    if isinstance(data, xr.DataTree):
        registry.resolve(declared, data)  # checks the tree
    if isinstance(data, xr.DataTree) and not declared.chosen:
        chosen = attribute(data, "model_options")
        settings = {**{n: v for n, v in chosen.items() if n in declared.options}, **settings}
    way = find_method(varied(declared, settings), method)
    if way.claim != "exact":
        raise InputError(f"posterior SBC starts from exact draws of the posterior; {method!r} is {way.claim}.")
    have = way.options
    variant, sizes, values, options = split(declared, settings, way.function)
    problem = check(variant, data, sizes, values, layer=layer)
    if problem.fixed:
        raise InputError(f"{declared.name}: {', '.join(problem.fixed)} cannot be held fixed in a validation.")
    chains = options.get("chains", have.get("chains", 1))
    enough = max(int(have.get("draws", 1000)), -(-simulations // chains))
    more = {"draws": enough} if "draws" in have else {}
    result = way.function(problem, np.random.default_rng([seed, 1]), **{**options, **more})
    draws = flat_draws(variant, result)
    count = len(next(iter(draws.values())))
    keep = np.random.default_rng([seed, 2]).permutation(count)[:simulations]
    chosen = {n: v for n, v in settings.items() if n in declared.options or n in options}
    return Given(problem.arrays, {n: v[keep] for n, v in draws.items()}), {**chosen, **problem.sizes}
