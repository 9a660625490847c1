"""What a user asks for as features: a track, its summary, and what is done to it then."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genarium.errors import InputError

from .sources import USUAL, Source
from .tracks import SUMMARIES
from .transforms import STEPS, Step, parse_step

EXAMPLE = "RT=timing.bw:mean:standardise,K27ac=peaks.bed:coverage"


@dataclass(frozen=True)
class Feature:
    """One feature as asked for.

    Attributes
    ----------
    name : str
    group : str
        Covariate group of genomes that it is of; "" for all.
    source : Source
    summary : str
    steps : tuple of Step
        In this order.
    """

    name: str
    group: str
    source: Source
    summary: str
    steps: tuple[Step, ...]


def parse_features(asked: Any, transform: Any) -> list[Feature]:
    """Read the option ``features``.

    Parameters
    ----------
    asked : mapping, str or None
        Feature -> "TRACK:SUMMARY:STEP:STEP", or a sequence of these parts; as text, "NAME=TRACK:SUMMARY" with commas
        between features. ``NAME@GROUP`` is the feature of a covariate group of genomes.
    transform : str, sequence of str or None
        Steps of every feature that names none.

    Raises
    ------
    InputError
    """
    usual = tuple(parse_step(word) for word in _words(transform, "transform"))
    out = []
    for name, told in _pairs(asked):
        if isinstance(told, str | Path):
            told = split_spec(str(told))
        parts = [str(part) for part in told]
        if not parts or not parts[0]:
            raise InputError(f"features: {name!r} names no track. Write {EXAMPLE}.")
        source, summary, steps = _source(parts[0]), "", list[Step]()
        for word in parts[1:]:
            if word in SUMMARIES and not summary and not steps:
                summary = word
            else:
                steps.append(parse_step(word))
        base, _, group = name.partition("@")
        chosen = summary or USUAL.get(source.kind, "coverage")
        out.append(Feature(base.strip(), group.strip(), source, chosen, tuple(steps) or usual))
    names = [(one.name, one.group) for one in out]
    if again := [name for name in names if names.count(name) > 1]:
        raise InputError(f"features: {'@'.join(filter(None, again[0]))!r} is named twice. Name each once.")
    return out


def parse_source(asked: Any, name: str) -> tuple[Source, str]:
    """Read a track and its summary, "TRACK:SUMMARY"; the usual summary where none is named."""
    parts = split_spec(str(asked))
    source = _source(parts[0])
    if len(parts) > 2 or (len(parts) == 2 and parts[1] not in SUMMARIES):
        raise InputError(f"{name}={asked!s} must be a track and one of {', '.join(SUMMARIES)}: TRACK:SUMMARY.")
    return source, parts[1] if len(parts) == 2 else USUAL.get(source.kind, "coverage")


def split_spec(text: str) -> list[str]:
    """Split TRACK:SUMMARY:STEP at the colons before known words; a path may hold colons of its own."""
    parts = text.strip().split(":")
    at = len(parts)
    while at > 1 and (parts[at - 1] in SUMMARIES or parts[at - 1].partition("=")[0] in STEPS):
        at -= 1
    path = ":".join(parts[:at])
    if at > 1 and not Path(path).exists() and not Path(path.partition("@")[0]).exists():
        known = ", ".join((*SUMMARIES, *STEPS))
        raise InputError(f"there is no file {path!r}; if {parts[at - 1]!r} is to be taken of a track, use {known}.")
    return [path, *parts[at:]]


def _source(text: str) -> Source:
    table, at, genes = text.rpartition("@")
    if at and not Path(text).exists():
        return Source(Path(table), Path(genes))
    return Source(Path(text))


def _pairs(asked: Any) -> list[tuple[str, Any]]:
    if asked is None:
        return []
    if isinstance(asked, Mapping):
        return [(str(name), told) for name, told in asked.items()]
    if not isinstance(asked, str):
        raise InputError(f"features={asked!r} must be text such as {EXAMPLE!r}, or a mapping of names to tracks.")
    pairs = []
    for one in asked.split(","):
        name, equals, told = one.partition("=")
        if not equals or not name.strip():
            raise InputError(f"features: {one!r} is not of the form NAME=TRACK:SUMMARY. Write {EXAMPLE}.")
        pairs.append((name.strip(), told.strip()))
    return pairs


def _words(asked: Any, name: str) -> list[str]:
    if asked is None:
        return []
    if not isinstance(asked, str | Iterable):
        raise InputError(f"{name}={asked!r} must be one of {', '.join(STEPS)}, or several with a colon between them.")
    return [word for word in (asked.split(":") if isinstance(asked, str) else map(str, asked)) if word]
