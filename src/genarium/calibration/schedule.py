"""Where replicates run: in this process, in several (joblib), or on an existing Dask scheduler."""

import os
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from genarium import progress
from genarium.calibration.plan import Plan
from genarium.calibration.replicate import Record, run
from genarium.engines.workers import client, parse_workers
from genarium.errors import InputError
from genarium.interruption import end_children
from genarium.remedies import flag

WATCH = 0.5
"""Seconds between a worker's looks at whether its parent still runs."""


def replicates(plan: Plan, indices: Sequence[int], workers: int | str) -> Iterator[Record]:
    """Run replicates and yield their records as they finish.

    Parameters
    ----------
    plan : Plan
    indices : sequence of int
    workers : int or str
        Number of processes, or the address of a Dask scheduler.

    Yields
    ------
    dict
        In any order; each is the same wherever it ran.

    Raises
    ------
    InputError
        If a process was ended from outside.
    """
    workers = parse_workers(workers)
    if not indices:
        return
    if isinstance(workers, str):
        yield from _on_dask(plan, indices, workers)
    elif workers == 1:
        yield from (run(plan, index) for index in indices)
    else:
        from joblib import Parallel, delayed

        with warnings.catch_warnings(), unbroken(workers):  # loky replaces workers that have grown, and says so
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
            parallel = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
            yield from parallel(delayed(_in_worker)(os.getpid(), plan, index) for index in indices)


@contextmanager
def unbroken(workers: int | str) -> Iterator[None]:
    """Say what happened where one of several processes was killed.

    Raises
    ------
    InputError
    """
    from concurrent.futures.process import BrokenProcessPool

    try:
        yield
    except BrokenProcessPool as error:
        raise InputError(
            f"one of the {workers} processes was ended from outside, as systems do when memory is short. Take "
            f"fewer ({flag('workers', 1)}); {flag('resume', True)} goes on from the replicates that are kept."
        ) from error


def _in_worker(parent: int, plan: Plan, index: int) -> Record:
    """Run a replicate in a process that says nothing and ends with the one that asked for it."""
    progress.silence()
    _end_with(parent)
    return run(plan, index)


@cache
def _end_with(parent: int) -> None:
    """End this process and its children within a second of its parent's death; joblib's workers would go on."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        end_children()
        os._exit(1)

    if os.name == "posix" and os.getppid() == parent:
        threading.Thread(target=watch, daemon=True).start()


def _on_dask(plan: Plan, indices: Sequence[int], address: str) -> Iterator[Record]:
    with client(address) as connected:
        from dask.distributed import as_completed

        futures: Any = connected.map(partial(run, plan), indices, pure=False)
        for _, record in as_completed(futures, loop=connected.loop, with_results=True):
            yield record
