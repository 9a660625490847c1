"""A trial: one case, run in this process, and what came of it."""

import contextlib
import io
import os
import shutil
import signal
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from validation.fuzz.case import UNREADABLE, Case

KINDS = ("clean", "equal", "different", "traceback", "signal", "hang")
"""What may come of a case: refused by an error of Genarium's own; accepted, and equal to what another parser reads, or
different; an exception of any other kind; the end of the process; no end within the limit."""

FAILURES = KINDS[2:]


@dataclass
class Outcome:
    """What came of a case.

    Attributes
    ----------
    number : int
    what : str
        Model and format.
    kind : str
        One of ``KINDS``.
    group : str
        Equal for failures that are likely one fault: exception and innermost frame in Genarium, or the difference.
    message : str
    unnamed : bool
        Whether an error names none of the files, and none of the options given.
    """

    number: int
    what: str
    kind: str
    group: str = ""
    message: str = ""
    unnamed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON takes."""
        return asdict(self)


class Hang(BaseException):
    """The limit of time has passed."""


def lay(case: Case, folder: Path) -> None:
    """Write a case's files into an empty folder."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content == "fifo":
            os.mkfifo(path)
        elif content == "folder":
            path.mkdir()
        elif content == "dangling":
            path.symlink_to("nowhere")
        elif content == "loop":
            path.symlink_to(path.name)
        elif content == "null":
            path.symlink_to("/dev/null")
        else:
            path.write_bytes(UNREADABLE)
            path.chmod(0)


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise :class:`Hang` where the body takes longer."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def attempt(case: Case, number: int, folder: Path, limit: float) -> Outcome:
    """Run a case in a folder, which is emptied first and becomes the working directory."""
    for old in folder.iterdir():
        old.chmod(0o700) if not old.is_symlink() else None
        shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    lay(case, folder)
    os.chdir(folder)
    what = f"{case.model} {case.format}"
    from genarium.errors import DeclarationError, GenariumError

    try:
        with limited(limit), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            accepted, error = _run(case)
    except DeclarationError as fault:  # the reader's own: not the user's
        return Outcome(number, what, "traceback", f"DeclarationError at {where(fault)}", str(fault))
    except GenariumError as refusal:
        text = str(refusal)
        return Outcome(number, what, "clean", where(refusal), text, not _names(case, text))
    except Hang as hang:
        return Outcome(number, what, "hang", where(hang), f"no end within {limit:g} s")
    except (Exception, SystemExit) as failure:
        told = traceback.format_exception_only(failure)[-1].strip()
        return Outcome(number, what, "traceback", f"{type(failure).__name__} at {where(failure)}", told)
    if error is not None:
        return Outcome(number, what, "clean", "command line", error, not _names(case, error))
    try:
        with limited(limit), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrong = case.check(accepted)
    except (Exception, Hang) as failure:  # an oracle that cannot judge has found something, in the file or in itself
        wrong = f"oracle: {type(failure).__name__} at {where(failure, 'validation')}: {failure}"
    if wrong is None:
        return Outcome(number, what, "equal")
    return Outcome(number, what, "different", f"{what}: {wrong.partition(':')[0]}", wrong)


def _names(case: Case, text: str) -> bool:
    """Whether a message names a file of the case, or an option that it gives."""
    files = (name for given in (*case.files, *case.inputs) for name in Path(given).parts)
    return not case.inputs or any(name in text for name in (*files, *case.options))


def _run(case: Case) -> tuple[Any, str | None]:
    """Run a case: return the accepted tree, or the message of an error on the command line."""
    if not case.arguments:
        from genarium.verbs.read import read

        return read(case.model, [Path(name) for name in case.inputs], case.format, **case.options), None
    from genarium.cli import main
    from genarium.tree import load

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(case.arguments))
        except SystemExit as stop:
            code = 2 if stop.code == 2 else -1
    if code not in (0, 1, 2):
        raise RuntimeError(f"exit code {code}: {err.getvalue()}")
    leftover = [path.name for path in Path().iterdir() if path.name.endswith(".part")]
    if leftover:
        raise RuntimeError(f"left behind: {leftover}")
    if code == 2:
        if not err.getvalue().strip():
            raise RuntimeError("exit code 2 without a message")
        return None, err.getvalue()
    return load("out.nc") if Path("out.nc").exists() else None, None


def where(error: BaseException, part: str = "genarium") -> str:
    """Return the innermost frame in Genarium that an exception came through."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if f"/{part}/" in frame.filename] or frames
    if not inside:
        return "nowhere"
    last = inside[-1]
    return f"{last.filename.rpartition(f'/{part}/')[2]}:{last.lineno} {last.name}"
