"""A case: files, what is asked of Genarium with them, and the oracle for what it accepts."""

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

type Random = random.Random
type Oracle = Callable[[Any], str | None]
"""From an accepted tree to what is wrong with it, or None; a reason reads "kind: details"."""

SPECIAL = ("fifo", "folder", "dangling", "loop", "null", "unreadable")
"""What may stand in a file's place: a named pipe, a folder, symbolic links, a device, a file without permissions."""

UNREADABLE = b"1,2\n"
"""What the file without permissions holds: root reads it all the same."""


@dataclass
class Case:
    """One input.

    Attributes
    ----------
    model, format : str
        A model's reader; of a case for the command line, what it is about.
    files : dict of str to bytes or str
        Content by relative path; a word of ``SPECIAL`` stands for what is no regular file.
    inputs : sequence of str
        The files that are named to the reader.
    options : dict
        Settings and options of the reader, by name.
    check : callable
        The oracle.
    arguments : sequence of str, optional
        Run the command line with these instead of a reader; the oracle gets the tree it wrote, if it did.
    steps : list of str
        What was changed, in words.
    """

    model: str
    format: str
    files: dict[str, bytes | str]
    inputs: Sequence[str]
    options: dict[str, Any] = field(default_factory=dict)
    check: Oracle = lambda tree: None
    arguments: Sequence[str] = ()
    steps: list[str] = field(default_factory=list)

    def content(self, name: str | int) -> bytes:
        """Return the content of a regular file, by its name or place."""
        found = self.files[name] if isinstance(name, str) else list(self.files.values())[name]
        if found == "unreadable" and os.geteuid() == 0:
            return UNREADABLE
        if isinstance(found, str):
            raise UnlikeError(f"no regular file was accepted: {found}")
        return found


class UnlikeError(Exception):
    """What was accepted differs from what an independent parser reads, or cannot be read by it at all."""


def stream(seed: int, number: int) -> Random:
    """Return the random stream of a case."""
    return random.Random(f"{seed}:{number}")


def weighted[T](r: Random, choices: Mapping[T, float]) -> T:
    """Choose a key by its weight."""
    return r.choices(list(choices), list(choices.values()))[0]


def sometimes(r: Random, share: float) -> bool:
    """Whether something happens that does so with a probability."""
    return r.random() < share
