"""Signals that ask a command to end: SIGTERM and SIGHUP do what Ctrl-C does."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
"""Those that end a command; SIGHUP stays ignored where it is (``nohup``)."""


class Ended(KeyboardInterrupt):
    """The process was asked to end; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def code(self) -> int:
        """The exit code of a process that a signal has ended, by the shell's custom: 128 and the signal's number."""
        return 128 + self.number


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Raise :class:`Ended` where a signal asks this process to end; its children are told to end as well.

    Signals are a matter of the main thread; in another, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        end_children()  # a fit by Stan waits for its chains, which only the terminal's Ctrl-C reaches by itself
        raise Ended(number)

    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    own = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in own:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in own:
            signal.signal(number, before[number])


def end_children() -> None:
    """Ask all that this process has started, and what that has started, to end."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(os.getpid()).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.terminate()
