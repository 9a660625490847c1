"""HDF5 files from outside: looked over in a process of its own before this one opens them.

HDF5 trusts what it reads: a damaged file may end the process by a signal, keep it in a circle or fill the memory. The
process that looks first (:mod:`genarium.readers.hdf5_child`) has limits of time and memory, and takes about .2 s of
processor time; its word holds as long as the file stays the same.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from genarium.errors import InputError
from genarium.readers import hdf5_child

SIGNATURE = b"\x89HDF\r\n\x1a\n"

SECONDS = 1
"""Processor time to look a small file over (it takes some .2 s); large ones are given more."""

PATIENCE = 8
"""Seconds to wait for it, unless other work keeps the machine from doing it at all."""

STARVED = 60
"""Seconds to wait then."""

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
    command = [sys.executable, "-P", str(Path(hdf5_child.__file__)), str(path.absolute()), str(seconds)]
    alone = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env={**os.environ, **alone}
    ) as child:
        try:
            said, complaint = _end_of(child, seconds)
        except BaseException as error:
            child.kill()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return "HDF5 comes to no end with it"
    if child.returncode == 0:
        return str(json.loads(said)["error"])
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return "HDF5 comes to no end with it" if name == "SIGXCPU" else f"HDF5 ends by {name} on it"
    told = complaint.decode(errors="replace").strip().rpartition("\n")[2]
    return f"HDF5 ends with code {child.returncode} on it: {told}"


def _end_of(child: subprocess.Popen[bytes], seconds: int) -> tuple[bytes, bytes]:
    """Wait for the other process; longer only as long as it has not been let run."""
    patience = PATIENCE + seconds - SECONDS
    try:
        return child.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        if _worked(child.pid) > seconds / 2:
            raise
        return child.communicate(timeout=STARVED - PATIENCE)


def _worked(process: int) -> float:
    """Return the processor time that a process has had, in seconds; infinite where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return float("inf")
