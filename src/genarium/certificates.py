"""Certificates: what a file that keeps a validation says, beside the sources it speaks for."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from genarium import registry
from genarium.declaration import Method, Model
from genarium.errors import GenariumError, InputError
from genarium.methods import find_method, methods
from genarium.sources import PACKAGES, changed, sources_of
from genarium.tree import provenance
from genarium.verdicts import Verdict, as_lines
from genarium.writing import replacing

Status = str
"""pass, FAIL, stale (older than the model's sources), or what is off: too narrow, too wide, biased."""

NEEDED = {"variant", "label", "model", "model_digest", "passed", "calibrated", "quantities", "verdicts"}
"""What a file must hold to be a certificate."""


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
    def stale(self) -> str:
        """Why it no longer speaks for what is installed; empty while it does."""
        return self.changed_files or self.other_versions

    @cached_property
    def changed_files(self) -> str:
        """Which files that such a fit computes with have changed; empty if none has."""
        told = self.content
        since = f"since {told.get('date', 'it was made')}"
        if "sources" not in told:
            return "it does not say which files it speaks for"
        try:
            model = registry.get(told["model"]).variant(**told.get("model_options", {}))
            now = sources_of(model, find_method(model, told["method"]))
        except GenariumError as error:
            return str(error)
        names = [name.removeprefix("genarium.") for name in changed(told["sources"], now)]
        first, more = names[:3], len(names) - 3
        return f"{', '.join(first)}{f' and {more} more files' if more > 0 else ''} changed {since}" if names else ""

    @property
    def other_versions(self) -> str:
        """Which packages that such a fit computes with are installed in another version; empty if none is."""
        used = PACKAGES.get(self.content.get("engine", ""), PACKAGES["numpy"])
        then, installed = self.content.get("versions", {}), json.loads(provenance()["versions"])
        others = [(name, installed.get(name, "missing"), then.get(name, "missing")) for name in used]
        return ", ".join(f"{name} is {here}, was {there}" for name, here, there in others if here != there)

    @property
    def status(self) -> Status:
        """pass, FAIL or stale; of an approximate method that passes because it claims no more, what is off."""
        return "stale" if self.stale else self.finding

    @property
    def finding(self) -> Status:
        """The status on the day that it was made."""
        return "FAIL" if not self.passed else "pass" if self.content["calibrated"] else self._what_is_off()

    @property
    def told(self) -> str:
        """The status, with its reason where the certificate is stale."""
        return f"stale: {self.stale}" if self.stale else self.finding

    def _what_is_off(self) -> str:
        covered = [q["coverage"]["0.9"] for q in self.content["quantities"].values() if "coverage" in q]
        mean = sum(covered) / len(covered)
        return "too narrow" if mean < 0.88 else "too wide" if mean > 0.92 else "biased"

    @property
    def coverage(self) -> tuple[float, float] | None:
        """The least and the largest share of true values in 90% intervals, over quantities; None without intervals."""
        covered = [q["coverage"]["0.9"] for q in self.content["quantities"].values() if "coverage" in q]
        return (min(covered), max(covered)) if covered else None

    def __str__(self) -> str:
        verdicts = [
            Verdict(**{**v, "value": float("nan") if v["value"] is None else v["value"]})
            for v in self.content["verdicts"]
        ]
        return "\n".join([f"{self.name}: {self.told}", *as_lines(verdicts)])

    def write(self, folder: Path) -> Path:
        """Write it into a folder, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(_rounded(self.content), indent=1) + "\n", encoding="utf-8")
        return path


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


def told_power(power: Mapping[str, float | None]) -> str:
    """Say what a validation would have seen, from its smallest errors; "" where nothing is ranked."""
    if not power:
        return ""
    shift, narrow, wide = (power[name] for name in ("shift", "narrow", "wide"))
    if shift is None or narrow is None or wide is None or not all(map(math.isfinite, (shift, narrow, wide))):
        return "These are too few replicates to see any error of a posterior."
    return (
        f"Four in five such validations would detect a posterior mean that is off by {shift:.2f} posterior sds, or a "
        f"posterior sd that is {narrow:.2f} or {wide:.2f} times the right one, of one quantity."
    )


def of_model(model: str) -> dict[str, Certificate]:
    """Return the certificates of a model, by method; options of the model stand before it."""
    return {
        c.content["label"]
        if c.content["variant"] == model
        else f"{c.content['variant'][len(model) + 1 :]} {c.content['label']}": c
        for c in certificates()
        if c.content["model"] == model
    }


def matrix(model: Model, made: Iterable[Certificate]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return what each method has under each value of each option; no cell is empty.

    Parameters
    ----------
    model : Model
    made : iterable of Certificate

    Returns
    -------
    methods : list of str
    rows : list of (variant, cells)
        A cell is the status of a certificate; ``fits tested`` or ``density tested``, by the tests that every model is
        put to; or ``not offered``.
    """
    made = list(made)
    own = {option: value for option, value in model.calibration.settings.items() if option in model.options}
    chosen = [*([{}] if own else []), *({**own, **given} for given in choices(model))]
    variants = [model.variant(**one) for one in chosen]
    offered = [methods(variant) for variant in variants]
    columns = list(dict.fromkeys(method for ways in offered for method in ways))
    rows = [
        (_label(one), [_cell(one, method, ways.get(method), made) for method in columns])
        for one, ways in zip(variants, offered, strict=True)
    ]
    return columns, rows


def choices(model: Model) -> list[dict[str, str]]:
    """Return the options of every variant that is certified: calibration's own, and each other value of each option."""
    own = model.calibration.settings
    others = ((option, value) for option, values in model.options.items() for value in values[1:])
    return [{}, *({option: value} for option, value in others if own.get(option) != value)]


def _label(variant: Model) -> str:
    changed_options = {o: v for o, v in variant.chosen.items() if v != variant.options[o][0]}
    return ", ".join(f"{option}={value}" for option, value in changed_options.items()) or "default"


def _cell(variant: Model, method: str, way: Method | None, made: Iterable[Certificate]) -> str:
    """Say what a method has under a variant."""
    for one in made:
        told = one.content
        if (told["model"], told["label"]) == (variant.name, method) and variant.has_options(told["model_options"]):
            return "stale" if one.changed_files else one.finding
    if way is None:
        return "not offered"
    return "fits tested" if way.engine == "numpy" or _label(variant) == "default" else "density tested"
