"""Looks HDF5 files over, in a process of its own: a damaged file may crash HDF5, or keep it for ever.

Run as a script; nothing of genarium is imported. Each line of its input asks for one file (an object in JSON: ``path``,
``seconds`` of processor time, ``patience`` and ``starved``, see :mod:`genarium.readers.hdf5`), and is answered by one
line: what is wrong with the file, in JSON, or an empty text. Each file is looked over by a fork, so that HDF5 is loaded
once; where there are no forks, by this process, which then answers no more if HDF5 crashes.
"""

import contextlib
import json
import math
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

READ = 1 << 24
"""Bytes of data that are read on trial in all (16 MiB); of what is larger, the index of its pieces is gone through."""

BIG = 1 << 28
"""Bytes from which on a dataset must hold what it says (256 MiB): what is missing would be filled up in memory."""

DEEP = 32
"""Groups within groups, at most."""

MEMORY = 4 << 30
"""Bytes of memory that looking a file over may take."""

LONG = 2000
"""Characters of what is wrong, at most."""


class DamagedError(Exception):
    """Something in the file that cannot be."""


def limit(seconds: int) -> None:
    """Limit the memory and the processor time of this process."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_AS)
    most = MEMORY if most == resource.RLIM_INFINITY else min(most, MEMORY)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def look_over(path: str) -> None:
    """Go through all groups, attributes and datasets of a file."""
    import h5py
    import numpy as np

    left = READ
    seen: set[int] = set()

    def attributes(what: Any) -> None:
        for name in what.attrs:
            value = what.attrs.get_id(name)
            if value.shape and math.prod(value.shape) * value.dtype.itemsize > READ:
                raise DamagedError(f"attribute {name!r} of {what.name} claims the shape {value.shape}")
            follow(what.attrs[name])

    def follow(found: Any) -> None:
        """Look at what references point to, as those do that tie a netCDF variable to its dims."""
        values = np.asarray(found)
        for name in values.dtype.names or ():
            follow(values[name])
        for one in values.ravel() if values.dtype.kind == "O" else ():
            if isinstance(one, h5py.Reference) and one:
                file[one]
            elif isinstance(one, np.ndarray):
                follow(one)

    def data(one: Any) -> None:
        nonlocal left
        labelled = one.attrs.get("DIMENSION_LIST", ())
        if np.shape(labelled) not in ((0,), one.shape and (len(one.shape),)):  # HDF5 would write beyond its memory
            raise DamagedError(f"{one.name} has {len(one.shape or ())} dims, and labels of {np.size(labelled)}")
        if one.is_virtual or one.external:
            raise DamagedError(f"{one.name} refers to another file")
        size = math.prod(one.shape or ()) * one.dtype.itemsize if one.shape is not None else 0
        if one.chunks and size:
            pieces = math.prod(-(-n // c) for n, c in zip(one.shape, one.chunks, strict=True))
            have = one.id.get_num_chunks()
            if have > pieces or (size > BIG and have < pieces):
                raise DamagedError(
                    f"{one.name} claims the shape {one.shape}, but {have} of its {pieces} pieces are there"
                )
        elif size > BIG and one.id.get_storage_size() < size:
            raise DamagedError(f"{one.name} claims the shape {one.shape}, but less is there")
        if size <= left:
            left -= size
            one[()]

    def group(within: Any, depth: int) -> None:
        if depth > DEEP:
            raise DamagedError(f"{within.name} lies {depth} groups deep")
        attributes(within)
        for name in within:
            kind = within.get(name, getlink=True)
            if not isinstance(kind, h5py.HardLink):
                raise DamagedError(f"{within.name.rstrip('/')}/{name} is a link to {kind.path}, not data")
            one = within[name]
            address = h5py.h5o.get_info(one.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(one, h5py.Group):
                group(one, depth + 1)
            elif isinstance(one, h5py.Dataset):
                attributes(one)
                data(one)

    with h5py.File(path, "r") as file:
        group(file, 0)


def wrong_with(path: str) -> str:
    """Look over a file, and say what is wrong with it."""
    try:
        look_over(path)
    except Exception as problem:  # h5py raises a dozen kinds
        return (" ".join(str(problem).split()) or type(problem).__name__)[:LONG]
    return ""


def asked(path: str, seconds: int, patience: float, starved: float) -> str:
    """Let a fork look over a file, and say what is wrong with the file, or how HDF5 ended on it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _in_fork(path, seconds, writing)
    os.close(writing)
    try:
        said = _said(reading, child, seconds, patience, starved)
    finally:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)  # nothing where it has ended
        os.close(reading)
        _, status = os.waitpid(child, 0)
    return "HDF5 comes to no end with it" if said is None else _outcome(said, os.waitstatus_to_exitcode(status))


def _in_fork(path: str, seconds: int, writing: int) -> NoReturn:
    """Look over a file, write what is wrong with it, and end without closing anything: HDF5 may crash as it closes."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    limit(seconds)
    try:
        os.write(1, f"\n{json.dumps(wrong_with(path))}\n".encode())
        os._exit(0)
    except BaseException as problem:
        os.write(1, f"\n{problem}\n".encode())
        os._exit(1)


def _said(reading: int, child: int, seconds: int, patience: float, starved: float) -> bytes | None:
    """Return what the fork has said when it ends; None if it does not, and had the time to."""
    said = b""
    begun = time.monotonic()
    while True:
        left = begun + patience - time.monotonic()
        if left <= 0:
            if patience >= starved or worked(child) > seconds / 2:
                return None
            patience = starved  # other work keeps the machine from it
        elif select.select([reading], [], [], left)[0]:
            data = os.read(reading, 1 << 16)
            if not data:
                return said
            said = (said + data)[-2 * LONG :]


def _outcome(said: bytes, code: int) -> str:
    last = said.decode(errors="replace").strip().rpartition("\n")[2]
    if code == 0:
        return str(json.loads(last))
    if code > 0:
        return f"HDF5 ends with code {code} on it: {last}"
    name = signal.Signals(-code).name
    return "HDF5 comes to no end with it" if name == "SIGXCPU" else f"HDF5 ends by {name} on it"


def worked(process: int) -> float:
    """Return the processor time that a process has had, in seconds; infinite where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return float("inf")


def main() -> None:
    """Answer until nobody asks any more."""
    import h5py  # noqa: F401
    import numpy  # noqa: F401

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks is told, and ends this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for line in sys.stdin:
        ask = json.loads(line)
        answer = asked(**ask) if hasattr(os, "fork") else wrong_with(ask["path"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
