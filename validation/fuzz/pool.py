"""Child processes that run cases, watched from outside: one that dies or hangs costs its case, and the next goes on."""

import contextlib
import faulthandler
import gc
import json
import os
import re
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from validation.fuzz.trial import Outcome

BLOCK = 250
"""Cases that a process runs before another takes its place, so that leaks and damage to memory do not add up."""

GRACE = 3.0
"""Seconds after which a case that its own alarm could not end is killed."""

MEMORY = 2 * 2**30
"""Bytes that a case may take beside what the process had at its start."""

type Attempt = Callable[[int, Path], Outcome]


@dataclass
class _Child:
    """A process at work on some numbers."""

    pid: int
    pipe: int
    log: Path
    numbers: list[int]
    since: float = field(default_factory=time.monotonic)
    pending: bytes = b""
    killed: bool = False


def outcomes(numbers: Sequence[int], attempt: Attempt, workers: int, limit: float) -> Iterator[Outcome]:
    """Run cases by number in child processes.

    Parameters
    ----------
    numbers : sequence of int
    attempt : callable
        Runs a case in a folder of its own.
    workers : int
    limit : float
        Seconds a case may take; ``attempt`` is to end itself then, and is killed a little later.

    Yields
    ------
    Outcome
        In the order in which they come.
    """
    blocks = [list(numbers[at : at + BLOCK]) for at in range(0, len(numbers), BLOCK)][::-1]
    children: list[_Child] = []
    gc.collect()
    gc.freeze()
    try:
        while blocks or children:
            while blocks and len(children) < workers:
                children.append(_start(blocks.pop(), attempt))
            ready, _, _ = select.select([child.pipe for child in children], [], [], 0.5)
            for child in list(children):
                data = os.read(child.pipe, 1 << 16) if child.pipe in ready else None
                if data:
                    yield from _received(child, data)
                elif data == b"":
                    children.remove(child)
                    left, outcome = _ended(child)
                    if outcome:
                        yield outcome
                    if left:
                        blocks.append(left)
                elif (late := time.monotonic() - child.since - limit) > GRACE:
                    os.kill(child.pid, signal.SIGKILL if late > 2 * GRACE else signal.SIGABRT)  # the first tells where
                    child.killed = True
    finally:
        gc.unfreeze()
        for child in children:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)


def _start(numbers: list[int], attempt: Attempt) -> _Child:
    reading, writing = os.pipe()
    handle, name = tempfile.mkstemp(prefix="fuzz-", suffix=".log")
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        os.close(handle)
        return _Child(pid, reading, Path(name), numbers)
    try:
        os.close(reading)
        _work(numbers, attempt, writing, handle)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(99)


def _work(numbers: list[int], attempt: Attempt, writing: int, log: int) -> None:
    """Run cases in a child, and write what comes of them to a pipe; what libraries print goes to a log."""
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable(log)
    _limit_memory()
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_shared()) as folder, contextlib.chdir("/"):
        for number in numbers:
            outcome = attempt(number, Path(folder))
            os.write(writing, json.dumps(outcome.to_dict()).encode() + b"\n")
        os.chdir("/")


def _shared() -> str | None:
    """Return a folder in memory, where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _limit_memory() -> None:
    import resource

    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _received(child: _Child, data: bytes) -> Iterator[Outcome]:
    *lines, child.pending = (child.pending + data).split(b"\n")
    for line in lines:
        child.numbers.pop(0)
        child.since = time.monotonic()
        yield Outcome(**json.loads(line))


def _ended(child: _Child) -> tuple[list[int], Outcome | None]:
    """Return the numbers that an ended child left, and what came of the case at which it died."""
    os.close(child.pipe)
    _, status = os.waitpid(child.pid, 0)
    log = child.log.read_text(errors="replace")
    child.log.unlink()
    if not child.numbers:
        return [], None
    number, *left = child.numbers
    ended = os.waitstatus_to_exitcode(status)
    told = f"signal {signal.Signals(-ended).name}" if ended < 0 else f"exit code {ended}"
    kind = "hang" if child.killed else "signal"
    said = log.partition("\nExtension modules")[0]
    return left, Outcome(number, "", kind, f"{told} at {_frame(said)}", said[-1500:])


def _frame(log: str) -> str:
    """Return the innermost frame in Genarium of what faulthandler wrote."""
    found = re.findall(r'File "[^"]*/genarium/([^"]+)", line (\d+) in (\w+)', log)
    return "{}:{} {}".format(*found[0]) if found else "?"
