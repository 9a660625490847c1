"""Validate: simulation-based calibration of a method, replicate by replicate, with a verdict on what it claims."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from genarium import registry
from genarium.data import Data, check
from genarium.declaration import Model, keyword_options
from genarium.diagnose import Verdict, as_lines, as_plain
from genarium.errors import InputError
from genarium.fit import find_method
from genarium.progress import bar
from genarium.settings import chosen_options, generator, split
from genarium.tree import provenance, save
from genarium.validate import uniformity
from genarium.validate.findings import Findings
from genarium.validate.judge import ALPHA, judge, rejected
from genarium.validate.plan import Given, Plan
from genarium.validate.scalars import flat_draws
from genarium.validate.schedule import parse_workers, replicates
from genarium.validate.store import Store

if TYPE_CHECKING:
    from genarium.validate.recovery import Recovery

TREE, PAGE = "validation.nc", "report.html"


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Attributes
    ----------
    plan : dict
        What was asked for: model, method, options, sizes, seed.
    verdicts : tuple of Verdict
    quantities : dict of str to dict
        Of every ranked scalar: p-value of uniformity, coverage by level, direction of the error, bias, root mean
        square error.
    failures : dict
        How many replicates failed, why, and whether they share a region of the prior.
    simulations : int
        Replicates that were needed: fewer than asked for where the failure was clear before.
    tree : DataTree
        Ranks, PIT values, truths and estimates by replicate; group ``prior_sbc`` is what ArviZ expects.
    cpu_seconds : float
    """

    plan: dict[str, Any]
    verdicts: tuple[Verdict, ...]
    quantities: dict[str, dict[str, Any]]
    failures: dict[str, Any]
    simulations: int
    tree: xr.DataTree
    cpu_seconds: float

    @property
    def passed(self) -> bool:
        """Whether no verdict is "fail"."""
        return all(v.status != "fail" for v in self.verdicts)

    @property
    def calibrated(self) -> bool:
        """Whether ranks and coverage show no departure, whatever the method claims."""
        return not any(v.status != "pass" for v in self.verdicts if v.check.startswith(("ranks", "coverage")))

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, as the CLI prints with ``--json``."""
        return {
            **self.plan,
            "passed": self.passed,
            "simulations": self.simulations,
            "failures": self.failures,
            "cpu_seconds": self.cpu_seconds,
            "verdicts": as_plain(self.verdicts),
            "quantities": {
                name: {n: None if isinstance(v, float) and not np.isfinite(v) else v for n, v in told.items()}
                for name, told in self.quantities.items()
            },
        }

    def report(self, path: str | Path, recovery: "Recovery | None" = None) -> Path:
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
        from genarium.validate.page import write_page

        return write_page(self, path, recovery)

    def __str__(self) -> str:
        plan = self.plan
        wrong = f", deliberately wrong {', '.join(plan['wrong'])}" if plan["wrong"] else ""
        result = "passed" if self.passed else "FAILED"
        head = f"{plan['model']} by {plan['method']} (claim: {plan['claim']}), {self.simulations} replicates{wrong}"
        return "\n".join([f"{head}: {result}", *as_lines(self.verdicts)])


def validate(
    model: str | Model,
    method: str,
    simulations: int = 200,
    workers: int | str = 1,
    seed: int = 0,
    *,
    data: Data | None = None,
    wrong: Mapping[str, Any] | None = None,
    control: bool = False,
    adaptive: bool = True,
    ranks: int = 99,
    reference: str = "",
    references: int = 50,
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
    model : str or Model
        Name of a model, or a declaration.
    method : str
    simulations : int
        Replicates.
    workers : int or str
        Processes, or the address of a Dask scheduler (``tcp://host:8786``). The result does not depend on it.
    seed : int
        Every replicate is a function of the seed and its number.
    data : DataTree, Dataset or mapping of str to array_like, optional
        The user's data, for posterior SBC (Säilynoja et al. 2025): truths are drawn from their posterior, and the
        simulated data are fitted together with them. The method must be exact.
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
        An exact method to measure the distance to, on the first ``references`` replicates.
    references : int
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
        raise InputError(f"simulations={simulations!r} must be a whole number, at least one.")
    declared = registry.get(model) if isinstance(model, str) else model
    given = None
    if data is None:
        settings = _with_own(declared, method, settings)
    else:
        given, settings = _given(declared, method, data, int(simulations), seed, settings)
    if control:
        chosen = chosen_options(declared, settings)
        wrong = {**declared.variant(**{**declared.chosen, **chosen}).calibration.control, **(wrong or {})}
        if not wrong:
            raise InputError(f"{declared.name}: the model declares no negative control. Give wrong={{...}} instead.")
    references = references if reference else 0
    plan = Plan(model, method, settings, int(seed), ranks, dict(wrong or {}), reference, references, given)
    _ = plan.values, plan.misled, plan.options  # refuse what cannot be used before anything is run
    store = Store(Path(out) if out is not None else None, plan.describe(), resume)
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
    found = Findings(plan, store.finish(stop))
    tree = found.tree()
    cpu = float(sum(r["cpu_seconds"] for r in found.records))
    tree.attrs = provenance(**plan.describe(), simulations=stop, seconds=time.perf_counter() - started, cpu_seconds=cpu)
    result = Validation(plan.describe(), judge(found, alpha), found.quantities(), found.failures(), stop, tree, cpu)
    if store.folder is not None:
        save(tree, store.folder / TREE)
        result.report(store.folder / PAGE)
    return result


def plan_of(model: str, method: str, seed: int, settings: Mapping[str, Any]) -> Plan:
    """Return the plan of a plain validation of a method."""
    return Plan(model, method, _with_own(registry.get(model), method, settings), seed)


def _with_own(declared: Model, method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Add the model's settings for calibration, as far as the chosen variant and the method know them."""
    options = chosen_options(declared, settings)
    variant = declared.variant(**{**declared.chosen, **options}) if options else declared
    known = {*variant.sizes, *variant.variables(), *declared.options, *keyword_options(find_method(variant, method)[0])}
    return {n: v for n, v in variant.calibration.settings.items() if n in known} | dict(settings)


def _given(
    declared: Model, method: str, data: Data, simulations: int, seed: int, settings: Mapping[str, Any]
) -> tuple[Given, dict[str, Any]]:
    """Fit the user's data, and keep as many draws as there are replicates."""
    if isinstance(data, xr.DataTree) and not declared.chosen:
        chosen = json.loads(data.attrs.get("model_options", "{}"))
        settings = {**{n: v for n, v in chosen.items() if n in declared.options}, **settings}
    run, claim, _ = find_method(declared, method)
    if claim != "exact":
        raise InputError(f"posterior SBC starts from exact draws of the posterior; {method!r} is {claim}.")
    have = keyword_options(run)
    variant, sizes, values, options = split(declared, settings, have)
    problem = check(variant, data, sizes, values)
    if problem.fixed:
        raise InputError(f"{declared.name}: {', '.join(problem.fixed)} cannot be held fixed in a validation.")
    chains = options.get("chains", have.get("chains", 1))
    enough = max(int(have.get("draws", 1000)), -(-simulations // chains))
    more = {"draws": enough} if "draws" in have else {}
    result = run(problem, np.random.default_rng([seed, 1]), **{**options, **more})
    draws = flat_draws(variant, result)
    count = len(next(iter(draws.values())))
    keep = np.random.default_rng([seed, 2]).permutation(count)[:simulations]
    chosen = {n: v for n, v in settings.items() if n in declared.options or n in options}
    return Given(problem.arrays, {n: v[keep] for n, v in draws.items()}), {**chosen, **problem.sizes}
