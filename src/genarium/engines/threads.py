"""How many threads linear algebra takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS take one thread meanwhile.

    For many operations on small matrices: threads that share them wait for each other longer than they work. A fit of
    notmad took 2.5 times the CPU time, eigenvalues on busy cores 80 times as long. Enter it once around a whole fit:
    threads that are let go on afterwards spin for some 30 ms before they sleep.
    """
    with _blas().limit(limits=1):
        yield
