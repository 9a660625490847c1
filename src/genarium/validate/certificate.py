"""Certificates: what a validation found, kept beside the sources it speaks for."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from genarium import registry
from genarium.diagnose import Verdict, as_lines, as_plain
from genarium.errors import InputError
from genarium.fit import cpu_seconds
from genarium.tree import digest, provenance, replacing
from genarium.validate import Validation, plan_of, validate
from genarium.validate.plan import told_wrong
from genarium.validate.recovery import Recovery, recovery

Status = str
"""pass, FAIL, stale (older than the model's sources), or what is off: too narrow, too wide, biased."""


@dataclass(frozen=True)
class Effort:
    """How much is spent on a certificate.

    Attributes
    ----------
    simulations : int
        Replicates of calibration.
    control : int
        Replicates of the negative control, at most.
    truths : int
        Truths whose recovery is followed over growing data.
    references : int
        Replicates of an approximate method that are compared with an exact one.
    """

    simulations: int = 300
    control: int = 400
    truths: int = 20
    references: int = 50


SMALL = Effort(simulations=40, control=100, truths=4, references=5)
"""Enough to see that everything runs; its certificates say so by their number of replicates."""

NEEDED = {"variant", "label", "model", "model_digest", "passed", "calibrated", "quantities", "verdicts"}
"""What a file must hold to be a certificate."""

REFERENCE = "gibbs", "nuts"
"""Methods that approximate ones are compared with: the first that the model has."""


@dataclass(frozen=True)
class Certificate:
    """A certificate.

    Attributes
    ----------
    content : dict
        What the file holds.
    """

    content: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the file, without its ending."""
        return f"{self.content['variant']}.{self.content['label']}"

    @property
    def passed(self) -> bool:
        """Whether the method is held to what it claims."""
        return bool(self.content["passed"])

    @property
    def stale(self) -> bool:
        """Whether the model's sources have changed since."""
        return bool(self.content["model_digest"] != digest(self.content["model"]))

    @property
    def status(self) -> Status:
        """pass, FAIL or stale; of an approximate method that passes because it claims no more, what is off."""
        if self.stale or not self.passed:
            return "stale" if self.stale else "FAIL"
        return "pass" if self.content["calibrated"] else self._what_is_off()

    def _what_is_off(self) -> str:
        covered = [q["coverage"]["0.9"] for q in self.content["quantities"].values() if "coverage" in q]
        mean = sum(covered) / len(covered)
        return "too narrow" if mean < 0.88 else "too wide" if mean > 0.92 else "biased"

    def __str__(self) -> str:
        verdicts = [
            Verdict(**{**v, "value": float("nan") if v["value"] is None else v["value"]})
            for v in self.content["verdicts"]
        ]
        return "\n".join([f"{self.name}: {self.status}", *as_lines(verdicts)])

    def write(self, folder: Path) -> Path:
        """Write it into a folder, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(_rounded(self.content), indent=1) + "\n", encoding="utf-8")
        return path


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
    """
    effort = effort or Effort()
    plan = plan_of(model, method, seed, settings)
    own = folder / f"{plan.variant}.{plan.label}-{digest(model)}" if folder else None
    if own is not None and own.is_dir() and not resume:
        shutil.rmtree(own)
    reference = next((m for m in REFERENCE if m in registry.methods(plan.declared)), "")
    compare = (
        {"reference": reference, "references": effort.references} if plan.claim == "approximate" and reference else {}
    )

    def run(part: str, simulations: int, **more: Any) -> Validation:
        out = own / part if own else None
        return validate(model, method, simulations, workers, seed, out=out, resume=own is not None, **more, **settings)

    main = run("calibration", effort.simulations, **compare)
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
    return Certificate(_content(plan.variant, plan.label, main, controlled, grown, verdicts, cpu_seconds() - spent))


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
        "reference": {"method": told["reference"], "replicates": told["references"]},
        "versions": versions,
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


def _rounded(value: Any) -> Any:
    """Cut numbers to six significant digits: a certificate is read and compared by people."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {name: _rounded(v) for name, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value


def certificates() -> Iterator[Certificate]:
    """Yield the certificates that come with this installation, sorted by name."""
    folder = Path(str(files("genarium"))) / "certificates"
    for path in sorted(folder.glob("*.json")):
        yield read_certificate(path)


def read_certificate(path: Path) -> Certificate:
    """Read a certificate.

    Raises
    ------
    InputError
        If the file is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = NEEDED - content.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read as a certificate ({error}).") from error
    if missing:
        raise InputError(f"{path} is no certificate: it lacks {', '.join(sorted(missing))}.")
    return Certificate(content)


def statuses(model: str) -> dict[str, Status]:
    """Return the status of every certificate of a model, by method; options of the model stand before it."""
    return {
        c.content["label"]
        if c.content["variant"] == model
        else f"{c.content['variant'][len(model) + 1 :]} {c.content['label']}": c.status
        for c in certificates()
        if c.content["model"] == model
    }
