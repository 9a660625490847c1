"""The user's cache folder: where it is, how big it is, one builder at a time in it, and what in it is whole."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genarium import caches

from .base import Progress

DIGEST = "sha256"
"""Name of the file beside an executable that holds its digest."""


def folder() -> Path:
    """Return the folder of everything built for Stan, which need not exist."""
    return caches.folder("stan")


def size(path: Path) -> int:
    """Return the bytes of the files under a folder, links not followed; 0 where there is no such folder."""
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def seal(executable: Path) -> None:
    """Store the digest of an executable beside it."""
    executable.with_name(DIGEST).write_text(_digest(executable), encoding="ascii")


def whole(executable: Path) -> bool:
    """Whether an executable is there and is what its stored digest says.

    Raises
    ------
    CacheError
        If it is not the user's own, or others may write to it or to its folders.
    """
    caches.trusted(executable)
    try:
        return executable.with_name(DIGEST).read_text(encoding="ascii") == _digest(executable)
    except (OSError, UnicodeDecodeError):
        return False


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def sole_builder(target: Path, progress: Progress) -> Iterator[int | None]:
    """Hold the lock beside ``target``, so that one process at a time builds it; yield its file descriptor.

    The operating system frees the lock of a process that dies, however it dies, once the children that were given the
    descriptor have ended too.

    Parameters
    ----------
    target : Path
        What is to be built. The lock is the file ``<target>.lock``.
    progress : callable
        Told when another process holds the lock.

    Raises
    ------
    CacheError
        If the folder cannot be written to, or is not the user's alone.
    """
    from filelock import FileLock, Timeout

    caches.prepared(target.parent)
    lock = FileLock(target.with_name(f"{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(f"waiting for another process, which is building {target.name}")
        lock.acquire()
    try:
        yield lock._context.lock_file_fd
    finally:
        lock.release()
