"""Time spent, and progress on the terminal: shown on stderr after two seconds, silent elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

PATIENCE = 2.0
"""Seconds before anything is shown."""


def track[T](items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yield the items; draw a progress bar where stderr is a terminal and patience has run out.

    Parameters
    ----------
    items : iterable
    label : str
        What is being done.
    total : int, optional
        Number of items, where ``len(items)`` does not tell.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(label, total) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def bar(label: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
    """Yield a function that advances a progress bar by a number of steps."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    start, done, shown = time.monotonic(), 0.0, None
    task: Any = None

    def advance(step: float) -> None:
        nonlocal done, shown, task
        done += step
        if shown is None and time.monotonic() - start > PATIENCE:
            shown = _rich_bar()
            shown.start()
            task = shown.add_task(label, total=total)
        if shown is not None:
            shown.update(task, completed=done)

    try:
        yield advance
    finally:
        if shown is not None:
            shown.stop()


@contextmanager
def spinner(label: str) -> Iterator[Callable[[str], None]]:
    """Show that something of unknown length is going on; yields a function that changes the label."""
    if not sys.stderr.isatty():
        yield lambda said: None
        return
    from rich.console import Console

    with Console(stderr=True).status(label) as status:
        yield lambda said: status.update(f"{label}: {said}")


def _rich_bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def cpu_seconds() -> float:
    """CPU seconds of this process and of those it has run (Stan samples in its own)."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
