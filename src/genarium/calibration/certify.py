"""Certificates: what a validation found, kept beside the sources it speaks for."""

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from genarium.calibration import Validation, plan_of, validate
from genarium.calibration.plan import told_wrong
from genarium.calibration.recovery import Recovery, recovery
from genarium.certificates import Certificate
from genarium.errors import InputError
from genarium.methods import methods
from genarium.progress import cpu_seconds
from genarium.sources import digest_of_sources
from genarium.tree import provenance
from genarium.verdicts import Verdict, as_plain


@dataclass(frozen=True)
class Effort:
    """How much is spent on a certificate.

    Attributes
    ----------
    simulations : int, optional
        Replicates of calibration. By default what a replicate costs decides, see :func:`replicates`.
    control : int
        Replicates of the negative control, at most.
    truths : int
        Truths whose recovery is followed over growing data.
    n_reference : int
        Replicates of an approximate method that are compared with an exact one.
    """

    simulations: int | None = None
    control: int = 400
    truths: int = 20
    n_reference: int = 50


SMALL = Effort(simulations=40, control=100, truths=4, n_reference=5)
"""Enough to see that everything runs; its certificates say so by their number of replicates."""

TRIED, CHEAP = 10, 0.6
"""Replicates whose cost is measured; CPU seconds of one, up to which there are many."""

MANY, ENOUGH, LEAST = 1000, 300, 100
"""Replicates: of a cheap method held to uniform ranks; of others, to see .25 sd in one of ten; of costly ones."""

BUDGET = 1200.0
"""CPU seconds for which methods that are not cheap get fewer replicates; what they can see is in the certificate."""

REFERENCE = "gibbs", "nuts"
"""Methods that approximate ones are compared with: the first that the model has."""


def certify(
    model: str,
    method: str,
    effort: Effort | None = None,
    workers: int | str = 1,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Certificate:
    """Make the certificate of a method: calibration, negative control, recovery.

    Parameters
    ----------
    model, method : str
    effort : Effort, optional
    workers : int or str
    seed : int
    folder : Path, optional
        Where replicates are kept, in a folder of their own.
    resume : bool
        Go on with the replicates that are there; otherwise they are removed first.
    **settings
        Options of the model or of the method that differ from their default.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If ``resume`` is asked for without a folder.
    """
    if resume and folder is None:
        raise InputError("resume=True needs the folder of the replicates to go on with: folder=...")
    effort = effort or Effort()
    plan = plan_of(model, method, seed, settings)
    own = folder / f"{plan.variant}.{plan.label}-{digest_of_sources(plan.sources)}" if folder else None
    if own is not None and own.is_dir() and not resume:
        shutil.rmtree(own)
    reference = next((m for m in REFERENCE if m in methods(plan.declared)), "")
    compare: dict[str, Any] = {}
    if plan.claim == "approximate" and reference:
        compare = {"reference": reference, "n_reference": effort.n_reference}
        compare["references"] = folder / "references" if folder else None

    def run(part: str, simulations: int, **more: Any) -> Validation:
        out = own / part if own else None
        return validate(model, method, simulations, workers, seed, out=out, resume=own is not None, **more, **settings)

    simulations = effort.simulations
    if simulations is None:
        tried = validate(model, method, TRIED, workers, seed, **settings)
        ranked = plan.claim == "exact" or plan.corrected
        simulations = replicates(float(np.median(tried.tree["runs"]["cpu_seconds"])), ranked)
    main = run("calibration", simulations, **compare)
    verdicts = list(main.verdicts)
    controlled = None
    if plan.claim == "exact" and plan.declared.calibration.control:
        controlled = run("control", effort.control, control=True)
        verdicts.append(_control_verdict(controlled))
    grown = None
    spent = cpu_seconds()
    if plan.declared.calibration.growth and effort.truths:
        grown = recovery(
            plan, plan.declared.calibration.growth, effort.truths, workers if isinstance(workers, int) else 1
        )
        verdicts.append(grown.verdict())
    content = _content(plan.variant, plan.label, main, controlled, grown, verdicts, cpu_seconds() - spent)
    return Certificate(content | {"engine": plan.way.engine, "sources": plan.sources})


def replicates(seconds: float, ranked: bool) -> int:
    """Return how many replicates a method gets whose fit to one takes so many CPU seconds.

    Many are for methods that are held to uniform ranks; others are described.
    """
    return MANY if ranked and seconds <= CHEAP else int(np.clip(BUDGET / max(seconds, CHEAP), LEAST, ENOUGH))


def _control_verdict(controlled: Validation) -> Verdict:
    needed = controlled.simulations
    return Verdict(
        "negative control is rejected",
        "fail" if controlled.calibrated else "pass",
        needed,
        "replicates needed",
        f"fitted with {told_wrong(controlled.plan['wrong'])}",
        "A fit with a wrong known value passes: the validation has no power here." if controlled.calibrated else "",
    )


def _content(
    variant: str,
    label: str,
    main: Validation,
    controlled: Validation | None,
    grown: Recovery | None,
    verdicts: list[Verdict],
    more_cpu: float,
) -> dict[str, Any]:
    told = main.to_dict()
    versions = json.loads(provenance()["versions"])
    out: dict[str, Any] = {
        "variant": variant,
        "label": label,
        "passed": all(v.status != "fail" for v in verdicts),
        "calibrated": main.calibrated,
        "date": datetime.now(UTC).date().isoformat(),
        **{
            n: told[n]
            for n in ("model", "model_options", "model_digest", "method", "claim", "options", "sizes", "values")
        },
        **{n: told[n] for n in ("seed", "ranks", "simulations", "failures")},
        "checks_made": [v.check for v in verdicts],
        "verdicts": as_plain(verdicts),
        "quantities": told["quantities"],
        "reference": {"method": told["reference"], "replicates": told["n_reference"]},
        "versions": versions,
        "power": told["power"],
        "lengths": told["lengths"],
        "cpu_seconds": main.cpu_seconds + (controlled.cpu_seconds if controlled else 0.0) + more_cpu,
        "cpu_seconds_calibration": main.cpu_seconds,
    }
    if controlled is not None:
        out["control"] = {
            "wrong": controlled.plan["wrong"],
            "rejected": not controlled.calibrated,
            "simulations": controlled.simulations,
        }
    if grown is not None:
        out["recovery"] = grown.to_dict()
    return out
