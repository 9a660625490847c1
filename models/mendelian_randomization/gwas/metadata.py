"""Metadata beside summary statistics: what the YAML file of GWAS-SSF tells, where the table does not."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from genarium.errors import InputError
from genarium.remedies import option, warn

from .columns import Columns
from .dialects import build_of, plain

ENDS = ("-meta.yaml", "-meta.yml")
"""What the metadata's file has after the name of the table."""

SCALES: Mapping[str, Literal["beta", "odds_ratio"]] = {
    "beta": "beta", "oddsratio": "odds_ratio", "hazardratio": "odds_ratio",
}  # fmt: skip
"""Names of kinds of effects, and the scale that they are on."""

OPEN = ("effect", "effects", "effectsize", "es", "estimate", "coefficient")
"""Names of columns of effects that do not say their kind."""


def complete(columns: Columns) -> None:
    """Take what the metadata beside a table tells and the table does not, and note it.

    These are the build of the genome, whether positions are counted from 0, the kind of effects, p values that are
    logarithms, the sample size and the name of the trait.

    Raises
    ------
    InputError
        If the metadata cannot be read, or contradict the table.
    """
    path = columns.path
    stems = dict.fromkeys((path.name, path.name.removesuffix(".gz")))
    there = [found for stem in stems for end in ENDS if (found := path.with_name(stem + end)).is_file()]
    if not there:
        return
    meta = there[0]
    told = _read(meta)
    if told is None:
        return
    said: list[str] = []
    _build(columns, meta, told, said)
    if str(told.get("coordinatesystem", "")).lower().startswith("0") and columns.has("position"):
        columns.from_zero = True
        said.append("positions from 0, to which 1 is added")
    _scale(columns, meta, told, said)
    if told.get("pvalueisneglog10") is True and columns.has("p") and not columns.has("log10_p"):
        columns.table = columns.table.rename_columns(
            [{"p": "log10_p"}.get(name, name) for name in columns.table.column_names]
        )
        columns.used = {{"p": "log10_p"}.get(role, role): name for role, name in columns.used.items()}
        said.append("p values that are -log10 of these")
    size = _size(meta, told)
    if size and not columns.has("samples"):
        columns.size = size
        said.append(f"{size:,.0f} samples")
    trait = told.get("traitdescription") or told.get("trait")
    if trait:
        columns.trait = ", ".join(map(str, trait)) if isinstance(trait, list) else str(trait)
        said.append(f"trait {columns.trait!r}")
    if said:
        columns.notes.append(f"{path.name}: {meta.name} tells {'; '.join(said)}")


def _read(meta: Path) -> dict[str, Any] | None:
    """Return the metadata by their names in lower case, letters and digits only; None without PyYAML."""
    try:
        import yaml
    except ImportError:
        warn(
            f"{meta}: this is not read, as PyYAML is not installed: the build of the genome, the sample size and the "
            "kind of effects are those that the table tells. Install it: pip install 'genarium[yaml]'.",
            stacklevel=2,
        )
        return None
    try:
        told = yaml.safe_load(meta.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{meta}: this cannot be read as YAML ({reason}). Correct it, or move it away.") from error
    if isinstance(told, dict) and len(told) == 1 and isinstance(next(iter(told.values())), dict):
        told = next(iter(told.values()))  # version 0.1: all below summaryStatisticsMetadata
    if not isinstance(told, dict):
        raise InputError(f"{meta}: this has no names with values, as metadata do. Correct it, or move it away.")
    return {plain(str(name)): value for name, value in told.items()}


def _build(columns: Columns, meta: Path, told: Mapping[str, Any], said: list[str]) -> None:
    name = told.get("genomeassembly")
    text = f"b{name}" if re.fullmatch(r"3[678]", str(name)) else str(name or "")
    build = build_of([text])
    if build is None:
        return
    if columns.build not in (None, build):
        raise InputError(
            f"{columns.path} is of build {columns.build} of the genome, but {meta.name} says {name}. Correct either."
        )
    if columns.build is None:
        columns.build = build
        said.append(f"build {build} of the genome")


def _scale(columns: Columns, meta: Path, told: Mapping[str, Any], said: list[str]) -> None:
    kind = told.get("effectstatistic") or told.get("effecttype") or told.get("effectsizetype")
    scale = SCALES.get(plain(str(kind)))
    if scale is None or not columns.has("beta"):
        return
    name = columns.used["beta"]
    if plain(name) in OPEN:
        columns.scale = scale
        said.append(f"effects in column {name!r} that are {kind}")
    elif scale == "odds_ratio" and not columns.has("odds_ratio"):
        columns.contradicted = (
            f"{columns.path}: the name of column {name!r} says effects, but {meta.name} says {kind}. Give "
            f"{option('scale', 'beta')} or {option('scale', 'odds_ratio')}."
        )


def _size(meta: Path, told: Mapping[str, Any]) -> float:
    """Return the number of samples, of all groups together; 0 if it is not told."""
    groups = told.get("samples")
    found = [one for one in groups if isinstance(one, dict)] if isinstance(groups, list) else []
    sizes = [value for one in found for name, value in one.items() if plain(str(name)) == "samplesize"]
    sizes = [size for size in sizes or [told.get("samplesize")] if size is not None]
    total = 0.0
    for size in sizes:
        text = str(size).replace(",", "").replace(" ", "")
        if not re.fullmatch(r"\d+(\.0*)?", text):
            raise InputError(f"{meta}: sample size {size!r} is no whole number. Correct it, or move the file away.")
        total += float(text)
    return total
