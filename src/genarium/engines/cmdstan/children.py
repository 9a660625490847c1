"""Compilers as children that do not outlive this process, however it ends."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

WATCH = 'read _; kill -KILL "-$0"'
"""A shell that waits for its standard input to end, as it does when this process dies, and then kills a group."""


def run(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, lock: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command and all that it starts, to its end or to ours.

    Parameters
    ----------
    command : sequence of str
    env : mapping of str to str, optional
        Its environment; ours by default.
    lock : int, optional
        File descriptor of the lock that covers the command's products. The command holds it too: until its last
        process has ended, nobody else can take the lock.

    Returns
    -------
    CompletedProcess
        With what it wrote, as text.
    """
    if os.name != "posix":
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        process_group=0,
        pass_fds=() if lock is None else (lock,),
    )
    with process, _watched(process.pid):
        try:
            out, err = process.communicate()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@contextmanager
def _watched(group: int) -> Iterator[None]:
    """Have a group of processes killed if this process dies before the context ends."""
    end, ours = os.pipe()
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", WATCH, str(group)],
        stdin=end,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    os.close(end)
    try:
        yield
    finally:
        watcher.kill()
        watcher.wait()
        os.close(ours)
