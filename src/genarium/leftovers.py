"""What a process that was killed has left behind: told by names that say who makes it, and removed by the next one."""

import contextlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

OLD = 86_400.0
"""Seconds after which what nobody has touched is no longer being made, whoever makes it."""


def prefix(name: str) -> str:
    """Return how the name of a temporary file or folder begins: after what it is for, this machine and process."""
    return f".{name[:100]}.{_machine()}-{os.getpid()}."


def sweep(folder: Path, name: str) -> None:
    """Remove what dead processes have left in a folder of temporary files and folders of one name.

    Parameters
    ----------
    folder : Path
    name : str
        What :func:`prefix` was given. Of this machine, what its maker no longer runs for goes; of another, with which
        the folder is shared, what nobody has touched for a day. What cannot be removed stays.
    """
    pattern = re.compile(rf"\.{re.escape(name[:100])}\.(.+)-(\d+)\.[^.]+(\.part)?")
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):  # names alone: a folder of temporary files may hold thousands
            found = pattern.fullmatch(entry)
            if found is None:
                continue
            path = folder / entry
            with contextlib.suppress(OSError):
                ours = found[1] == _machine()
                if not _alive(int(found[2])) if ours else time.time() - path.lstat().st_mtime > OLD:
                    _remove(path)


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Yield a temporary folder that is removed at the end, or where this process is killed, by the next that asks."""
    place = Path(tempfile.gettempdir())
    sweep(place, name)
    with tempfile.TemporaryDirectory(prefix=prefix(name), dir=place) as folder:
        yield Path(folder)


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Let temporary files and folders that others make meanwhile bear a name by which :func:`sweep` finds them."""
    sweep(Path(tempfile.gettempdir()), name)
    before, tempfile.template = tempfile.template, prefix(name)
    try:
        yield
    finally:
        tempfile.template = before


def _machine() -> str:
    """Return the name of this machine, as far as a file's name can hold it."""
    return re.sub(r"[^A-Za-z0-9]", "_", platform.node())[:40] or "here"


def _alive(process: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(process))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
