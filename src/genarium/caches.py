"""Where what is built once a machine is kept, and whether what lies there may be run.

What is kept is run later: code that another user could have put there is not. So every folder from ``genarium`` down
must be the user's own, and writable by nobody else; folders made here are open to the user alone.
"""

import atexit
import errno
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from genarium.errors import GenariumError

OTHERS = stat.S_IWGRP | stat.S_IWOTH


class CacheError(GenariumError, RuntimeError):
    """A folder of the cache that cannot be used; the message says why and what to do."""


def folder(name: str) -> Path:
    """Return the folder of one kind of thing, which need not exist.

    Parameters
    ----------
    name : str
        "stan" for Stan's toolchain and programs, "compiled" for densities.

    Returns
    -------
    Path
        ``genarium/<name>`` in ``$XDG_CACHE_HOME``, or else in the platform's place for a user's caches; of a user who
        has no home, ``genarium-<user id>/genarium/<name>`` in the folder for temporary files.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        if root:
            base = Path(root)
        elif sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path.home() / ".cache"
    except RuntimeError:  # no $HOME, and a user who is in no list
        base = Path(tempfile.gettempdir()) / f"genarium-{os.getuid()}"
    return base.absolute() / "genarium" / name


def prepared(path: Path) -> Path:
    """Return a folder of the cache, made where it is not there, once it is sure that it is the user's own.

    Parameters
    ----------
    path : Path
        From :func:`folder`, or below.

    Raises
    ------
    CacheError
        If it cannot be made or written to, belongs to another user, or others may write to it.
    """
    try:
        made(path)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise CacheError(
            f"{path}: the folder of compiled programs cannot be used ({error.strerror}). Set XDG_CACHE_HOME to a "
            "folder that you can write to."
        ) from error
    trusted(path)
    return path


def made(path: Path) -> None:
    """Make a folder of the cache where it is not there, open to the user alone."""
    ours = _ours(path)
    ours[0].parent.mkdir(parents=True, exist_ok=True)
    for each in ours:
        each.mkdir(mode=0o700, exist_ok=True)


def trusted(path: Path) -> None:
    """Refuse a file or folder that another user owns or can write to, or that lies in such a folder of the cache.

    Parameters
    ----------
    path : Path
        What does not exist is trusted.

    Raises
    ------
    CacheError
        Which names the folder or file, and what to do.
    """
    if not hasattr(os, "getuid"):
        return
    for each in _ours(path):
        try:
            found = [each.lstat(), each.stat()]  # a link, and what it leads to
        except OSError:
            continue
        for one in found:
            if one.st_uid != os.getuid():
                raise CacheError(
                    f"{each} belongs to another user (id {one.st_uid}, yours is {os.getuid()}): what is compiled there "
                    "is not run. Remove it, or set XDG_CACHE_HOME to a folder of your own."
                )
        if found[1].st_mode & OTHERS:
            raise CacheError(
                f"{each} can be written to by other users (mode {stat.S_IMODE(found[1].st_mode):o}): what is compiled "
                f"there is not run. If you trust what it holds: chmod -R go-w {each}; if not, remove it."
            )


def give_pytensor_one() -> None:
    """Name a temporary folder for what PyTensor compiles where there is no home to write to: it would not start."""
    flags = os.environ.get("PYTENSOR_FLAGS", "")
    if "pytensor" in sys.modules or "compiledir" in flags:
        return
    try:
        home = Path.home()
        usable = os.access(next(each for each in (home / ".pytensor", home) if each.exists()), os.W_OK | os.X_OK)
    except (OSError, RuntimeError, StopIteration):
        usable = False
    if not usable:
        place = tempfile.mkdtemp(prefix="genarium-pytensor-")
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        os.environ["PYTENSOR_FLAGS"] = ",".join(filter(None, (flags, f"base_compiledir={place}")))
        print(f"genarium: no home folder to write to; PyTensor compiles in {place}", file=sys.stderr)


def _ours(path: Path) -> list[Path]:
    """Return the path and those of its folders that are the cache's, from the top: all from ``genarium`` down."""
    chain = [path, *path.parents]
    tops = [i for i, each in enumerate(chain) if each.name == "genarium"]
    return chain[: tops[0] + 1][::-1] if tops else [path]
