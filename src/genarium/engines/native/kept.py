"""Programs on disk, for the next process.

They lie in ``genarium/compiled`` of the user's cache folder, or in the folder that ``$GENARIUM_COMPILED`` names; where
that is set to nothing, none are kept. A file is whole or not there: it is written beside its place and renamed. What
cannot be read, or is not what its checksum says, counts as missing; what cannot be written is not. A folder or file
that another user owns or can write to is not used, which is said once.
"""

import hashlib
import io
import json
import os
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from genarium import caches
from genarium.engines.native.program import Program

MOST = 200
"""Programs kept; those that were used last stay."""

HEAD = b"genarium compiled 1\n"


def folder() -> Path | None:
    """Return the folder of kept programs, which need not exist; None where none are to be kept."""
    named = os.environ.get("GENARIUM_COMPILED")
    if named is None:
        return caches.folder("compiled")
    return Path(named).absolute() if named else None


@cache
def sources() -> str:
    """Digest of the code that writes programs: those of another version of it are others."""
    sha = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        sha.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()


def load(name: str) -> Program | None:
    """Return a kept program, or None.

    Parameters
    ----------
    name : str
        Everything that the program depends on, as hexadecimal digits.
    """
    place = folder()
    if place is None:
        return None
    path = place / name
    if not _trusted(path):
        return None
    try:
        content = path.read_bytes()
        head, digest, payload = content[: len(HEAD)], content[len(HEAD) :][:32], content[len(HEAD) + 32 :]
        if head != HEAD or hashlib.sha256(payload).digest() != digest:
            return None
        with np.load(io.BytesIO(payload), allow_pickle=False) as file:
            told = json.loads(file["told"].tobytes())
            return Program(
                machine_code=file["machine_code"].tobytes(),
                calls=told["calls"],
                table=[(name, dtype, tuple(shape)) for name, dtype, shape in told["table"]],
                constants=[file[f"constant_{i}"] for i in range(told["constants"])],
                about=told["about"],
            )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    finally:
        with suppress(OSError):
            os.utime(path)


def save(name: str, program: Program) -> None:
    """Keep a program, if the folder can be written to."""
    place = folder()
    if place is None or not _trusted(place):
        return
    told = {
        "calls": program.calls,
        "table": program.table,
        "constants": len(program.constants),
        "about": program.about,
    }
    arrays: dict[str, Any] = {f"constant_{i}": array for i, array in enumerate(program.constants)}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        machine_code=np.frombuffer(program.machine_code, np.uint8),
        told=np.frombuffer(json.dumps(told).encode(), np.uint8),
        **arrays,
    )
    payload = buffer.getvalue()
    with suppress(OSError):
        caches.made(place)
        handle, temporary = tempfile.mkstemp(dir=place, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(HEAD + hashlib.sha256(payload).digest() + payload)
            Path(temporary).replace(place / name)
        finally:
            Path(temporary).unlink(missing_ok=True)
        _forget(place)


def _trusted(path: Path) -> bool:
    """Whether a folder or file is the user's own; what is not is said once."""
    try:
        caches.trusted(path)
    except caches.CacheError as error:
        _say_once(f"genarium: compiled densities are not kept: {error}")
        return False
    return True


@cache
def _say_once(message: str) -> None:
    print(message, file=sys.stderr)


def _forget(place: Path) -> None:
    """Remove what was used longest ago, beyond the number that is kept, and what a dead process left half written."""
    kept = sorted((path.stat().st_mtime, path) for path in place.iterdir() if path.is_file())
    newest = kept[-1][0] if kept else 0.0
    for path in [path for _, path in kept if not path.name.startswith(".")][:-MOST]:
        with suppress(OSError):
            path.unlink()
    for time, path in kept:
        if path.suffix == ".part" and time < newest - 3600:
            with suppress(OSError):
                path.unlink()
