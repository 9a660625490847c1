"""Time spent, and progress on stderr: a bar on a terminal after two seconds, elsewhere a line every 30 seconds."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

PATIENCE = 2.0
"""Seconds before a bar is shown."""

EVERY = 30.0
"""Seconds between lines where stderr is no terminal."""

_silent = False


def silence(silent: bool = True) -> None:
    """Show no progress in this process, or show it again."""
    global _silent
    _silent = silent


def silenced() -> bool:
    """Whether no progress is shown."""
    return _silent


def _bars() -> bool:
    """Whether progress is drawn: on a terminal."""
    return sys.stderr.isatty() and not _silent


def track[T](items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yield the items; show progress as :func:`bar` does.

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
    """Yield a function that advances progress by a number of steps."""
    if not _bars():
        with _told(label, total) as task:
            yield task.advance
        return
    start, done, shown = time.monotonic(), 0.0, None
    task_: Any = None

    def advance(step: float) -> None:
        nonlocal done, shown, task_
        done += step
        if shown is None and time.monotonic() - start > PATIENCE:
            shown = _rich_bar()
            shown.start()
            task_ = shown.add_task(label, total=total)
        if shown is not None:
            shown.update(task_, completed=done)

    try:
        yield advance
    finally:
        if shown is not None:
            shown.stop()


@contextmanager
def spinner(label: str) -> Iterator[Callable[[str], None]]:
    """Show that something of unknown length is going on; yields a function that changes the label."""
    if not _bars():
        with _told(label) as task:
            yield task.say
        return
    from rich.console import Console

    with Console(stderr=True).status(label) as status:
        yield lambda said: status.update(f"{label}: {said}")


@contextmanager
def lines(label: str) -> Iterator[None]:
    """Show that something is going on by lines only: on a terminal, what is done inside draws for itself."""
    if _bars():
        yield
        return
    with _told(label):
        yield


@dataclass(eq=False)
class _Task:
    """Something that is going on: ``done`` of ``total`` steps, or what was said last."""

    label: str
    total: float | None
    done: float = 0
    said: str = ""

    def advance(self, step: float) -> None:
        self.done += step

    def say(self, said: str) -> None:
        self.said = said

    def __str__(self) -> str:
        if self.said:
            return f"{self.label}: {self.said}"
        if not self.done:
            return self.label
        return f"{self.label}: {self.done:,.0f}" + (f" of {self.total:,.0f}" if self.total else "")


_going_on: list[_Task] = []
"""From the outermost to the innermost; one thread tells of them all."""


@contextmanager
def _told(label: str, total: float | None = None) -> Iterator[_Task]:
    """Have a line written every 30 seconds while the context lasts."""
    task = _Task(label, total)
    if _silent or threading.current_thread() is not threading.main_thread():
        yield task
        return
    _going_on.append(task)
    over = threading.Event()
    if len(_going_on) == 1:
        threading.Thread(target=_tell, args=(over, time.monotonic()), daemon=True).start()
    try:
        yield task
    finally:
        _going_on.remove(task)
        over.set()


def _tell(over: threading.Event, start: float) -> None:
    """Write what is going on, until it is over."""
    while not over.wait(EVERY):
        print(f"{'; '.join(map(str, list(_going_on)))} ({time.monotonic() - start:.0f} s)", file=sys.stderr, flush=True)


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
