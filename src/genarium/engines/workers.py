"""Where independent parts of one computation run: in this process, in several, or on an existing Dask scheduler."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from genarium.errors import InputError

RETRIES = 3
"""Times that a part is done again where it fails or its worker dies."""

SPAWN = {"MALLOC_TRIM_THRESHOLD_": 2**30, "MALLOC_MMAP_THRESHOLD_": 2**30, "NUMBA_NUM_THREADS": 1}
"""Environment of new processes: memory that arrays have left is taken again (Dask's own setting gives it back each
time, which costs a third of the time), and a process computes in one thread."""

Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[Any]]
"""Calls a function with each tuple of arguments and yields the results in their order."""


def parse_workers(workers: int | str) -> int | str:
    """Check a number of workers or the address of a scheduler.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(workers, str) and "://" in workers:
        return workers
    try:
        count = int(workers)
    except ValueError:
        count = 0
    if count < 1:
        raise InputError(
            f"workers={workers!r} is neither a number of processes nor the address of a Dask scheduler, such as "
            "tcp://host:8786."
        )
    return count


@contextmanager
def client(workers: int | str) -> Iterator[Any]:
    """Connect to the Dask scheduler of that address, or start one with as many processes of one thread each.

    Raises
    ------
    InputError
        If Dask is missing, or no scheduler answers.
    """
    try:
        import dask
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError(
            f"workers={workers!r} needs Dask. Install the extra `dask`: pip install 'genarium[dask]'."
        ) from error
    if isinstance(workers, str):
        try:
            connected: Any = Client(workers, timeout=10, set_as_default=False)
        except OSError as error:
            raise InputError(f"workers={workers!r}: no Dask scheduler answers there ({error}).") from error
        with connected:
            yield connected
        return
    spawn = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in SPAWN.items()}
    with (
        dask.config.set(spawn),
        LocalCluster(workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as connected,
    ):
        yield connected


@contextmanager
def running(workers: int | str) -> Iterator[Run]:
    """Yield what runs parts of a computation: here if ``workers`` is 1, else by Dask.

    A part whose worker dies is done again by another one, at most ``RETRIES`` times. As results come in the order of
    the arguments, sums over them do not depend on the workers.
    """
    workers = parse_workers(workers)
    if workers == 1:
        yield lambda function, parts: (function(*part) for part in parts)
        return
    with client(workers) as connected:

        def run(function: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
            futures = [connected.submit(function, *part, pure=False, retries=RETRIES) for part in parts]
            for at, future in enumerate(futures):
                yield future.result()
                futures[at] = None  # so that the worker forgets it

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sending large graph")
            yield run
