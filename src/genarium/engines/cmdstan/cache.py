"""The user's cache folder: where it is, how big it is, and one builder at a time in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genarium import caches

from .base import Progress


def folder() -> Path:
    """Return the folder of everything built for Stan, which need not exist."""
    return caches.folder("stan")


def size(path: Path) -> int:
    """Return the bytes of the files under a folder, links not followed; 0 where there is no such folder."""
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


@contextmanager
def sole_builder(target: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock beside ``target``, so that one process at a time builds it.

    The operating system frees the lock of a process that dies, however it dies.

    Parameters
    ----------
    target : Path
        What is to be built. The lock is the file ``<target>.lock``.
    progress : callable
        Told when another process holds the lock.
    """
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f"{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(f"waiting for another process, which is building {target.name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
