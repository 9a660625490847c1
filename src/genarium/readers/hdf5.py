"""HDF5 files from outside: looked over in a process of its own before this one opens them.

HDF5 trusts what it reads: a damaged file may end the process by a signal, keep it in a circle or fill the memory. The
process that looks first (:mod:`genarium.readers.hdf5_child`) has limits of time and memory; its word holds as long as
the file stays the same. It takes about .25 s of processor time to start, and stays for further files.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from genarium.errors import InputError
from genarium.readers import hdf5_child

SIGNATURE = b"\x89HDF\r\n\x1a\n"

SECONDS = 1
"""Processor time to look a small file over (it takes some .01 s); large ones are given more."""

PATIENCE = 8
"""Seconds to wait for it, unless other work keeps the machine from doing it at all."""

STARVED = 60
"""Seconds to wait then."""

START = 60
"""Seconds more in which it is to start."""

PACE = 8 << 20
"""Bytes of a file for which a second more is given."""

Mark = tuple[int, int, int, int]

_SOUND: set[Mark] = set()
"""Files that were looked over, or written, by this process."""


def look_over(path: Path, what: str, remedy: str) -> None:
    """Check that HDF5 can read all of a file.

    Parameters
    ----------
    path : Path
    what : str
        What the file should be, with its article.
    remedy : str
        What to do if it cannot be read.

    Raises
    ------
    InputError
        If it is no HDF5 file, is damaged, or refers to other files.
    """
    try:
        mark = _mark(path)
        if mark in _SOUND:
            return
        with path.open("rb") as stream:
            if not _begins(stream.read(1 << 12)):
                raise unreadable(path, what, ValueError("it is no HDF5 file"), remedy)
        wrong = _asked(path)
    except OSError as error:
        raise unreadable(path, what, error, remedy) from error
    if wrong:
        raise unreadable(path, what, ValueError(wrong), remedy)
    _SOUND.add(mark)


def trust(path: Path) -> None:
    """Take a file that this process has just written as sound, wherever it is moved to."""
    _SOUND.add(_mark(path))


def unreadable(path: Path, what: str, error: Exception, remedy: str) -> InputError:
    """Return the error about a file that cannot be read."""
    why = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{path}: this cannot be read as {what} ({why}). {remedy}.")


def _begins(head: bytes) -> bool:
    """Whether a file that starts so is HDF5: a block of the user's may stand before the signature."""
    return any(head[at : at + len(SIGNATURE)] == SIGNATURE for at in (0, 512, 1024, 2048))


def _mark(path: Path) -> Mark:
    told = path.stat()
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns


def _asked(path: Path) -> str:
    """Let another process look a file over; "" if it is sound."""
    seconds = SECONDS + path.stat().st_size // PACE
    patience = PATIENCE + seconds - SECONDS
    limit = max(patience, STARVED)
    ask = {"path": str(path.absolute()), "seconds": seconds, "patience": patience, "starved": limit}
    with _LOCK:
        for _ in range(2):  # the process may have been ended by others since it was last asked
            if said := _answer(json.dumps(ask), limit + START):
                return str(json.loads(said))
    return "the process that reads it ends"


def _answer(ask: str, limit: float) -> str:
    """Return the line by which the other process answers, started if it is not there; "" where it has ended."""
    if not _RUNNING:
        _RUNNING.append(_started())
    child = _RUNNING[0]
    assert child.stdin
    assert child.stdout
    watch = threading.Timer(limit, child.kill)
    watch.start()
    said = ""
    try:
        child.stdin.write(ask + "\n")
        child.stdin.flush()
        said = child.stdout.readline()
    except BrokenPipeError:
        pass
    finally:
        watch.cancel()
        if not said:
            _end()
    return said


def _started() -> subprocess.Popen[str]:
    alone = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", str(Path(hdf5_child.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=os.sep,
        env={**os.environ, **alone},
    )


def _end() -> None:
    """End the other process."""
    while _RUNNING:
        child = _RUNNING.pop()
        child.terminate()
        try:
            child.communicate(timeout=1)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            child.kill()
            child.wait()


def _forget() -> None:
    """In a fork of this process: the other one answers its parent alone."""
    while _RUNNING:
        _RUNNING.pop().returncode = 0  # not ours to wait for


_LOCK = threading.Lock()
_RUNNING: list[subprocess.Popen[str]] = []
"""The process that looks files over, once one was asked for."""

atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
