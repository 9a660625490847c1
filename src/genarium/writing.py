"""Files that are written whole or not at all."""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from genarium import leftovers
from genarium.errors import InputError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says where a file does not fit."""

REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
"""What it says where nothing may be written."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of ``path`` on success and is removed on failure.

    Parameters
    ----------
    path : Path
        A new file or one to replace. A symbolic link stays one: what it points to is written, be it there or not. What
        is written to the null device is dropped.

    Yields
    ------
    Path
        Beside the file that is written.

    Raises
    ------
    InputError
        If nothing can be written there, or the file does not fit.
    """
    target = destination(path)
    if target is not None:
        leftovers.sweep(target.parent, path.name)
    try:
        handle, name = tempfile.mkstemp(
            dir=None if target is None else target.parent, prefix=leftovers.prefix(path.name), suffix=".part"
        )
    except OSError as error:
        raise failed(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if target is not None:
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(target)
    except OSError as error:
        if error.errno in FULL | REFUSED:
            raise failed(path, error) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def destination(path: Path) -> Path | None:
    """Return the file that is written where a user names a path; None for the null device.

    Raises
    ------
    InputError
        If the path is a folder, a device, a pipe, write-protected or in no folder.
    """
    if not path.name or str(path) == "-":
        raise InputError(f"{str(path)!r} cannot be the name of a file to write. Name one, e.g. result.nc.")
    mode = 0
    try:
        target = Path(os.path.realpath(path, strict=False))
        with contextlib.suppress(FileNotFoundError):
            mode = target.stat().st_mode
    except (OSError, ValueError) as error:  # a name too long, links in a circle
        raise failed(path, error) from error
    through = "" if target == path.absolute() else f" (a link to {target})"
    streams = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder. Name a file to write, e.g. {path / 'result.nc'}.")
    if str(target) == os.devnull and stat.S_ISCHR(mode):
        return None
    if str(path.absolute()).startswith(streams) or (mode and not stat.S_ISREG(mode)):
        raise InputError(
            f"{path} is {kind(mode)}{through}, and is left as it is. Name a regular file to write; {os.devnull} takes "
            "what is not wanted."
        )
    if not target.parent.is_dir():
        what = "is no folder" if os.path.lexists(target.parent) else "does not exist"
        raise InputError(f"{path}{through}: the folder {target.parent} {what}. Create it first, or name another.")
    if mode and not mode & 0o222:
        raise InputError(f"{path}{through} is write-protected. Name another file, or allow it: chmod u+w {target}.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise failed(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return target


def kind(mode: int) -> str:
    """Say what a file of this mode is that is no regular one."""
    kinds = {
        stat.S_IFIFO: "a named pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
        stat.S_IFDIR: "a folder",
    }
    return kinds.get(stat.S_IFMT(mode), "a stream of this process")


def failed(path: Path, error: Exception) -> InputError:
    """Return the error about a file that cannot be written."""
    number = getattr(error, "errno", None)
    why = getattr(error, "strerror", None) or str(error)
    if number in FULL:
        return InputError(
            f"{path} was not written: the disk is full, or a limit is reached ({why}). Free some space, or name a file "
            "on another disk."
        )
    if number in REFUSED:
        return InputError(
            f"{path} was not written: nothing may be written in {path.parent} ({why}). Name a file in a folder of "
            "yours, or change its permissions."
        )
    return InputError(f"{path} cannot be written ({why}). Name another file.")
