"""The command line: one command a verb; results on stdout, messages on stderr.

Exit codes: 0 done, 1 a verdict failed, 2 the input cannot be used; 130, 143 and 129 ended by Ctrl-C, SIGTERM or SIGHUP.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from genarium import interruption, progress
from genarium.cli import analyses, data, exports, fits, models, proofs, words
from genarium.errors import GenariumError
from genarium.literals import parse_settings
from genarium.remedies import in_shell
from genarium.writing import FULL, destination

__all__ = ["main", "parse_settings"]

OPTIONS = "; options of a reader or method are given by --option NAME=VALUE, those of a model by --set NAME=VALUE"
"""What is said of words that a command does not know."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Returns
    -------
    int
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(next((one for one in given if not one.startswith("-")), ""))
    options, beyond = parser.parse_known_args(given)
    if beyond:
        flags = hasattr(options, "settings") or hasattr(options, "options")
        parser.error(f"unrecognized arguments: {' '.join(beyond)}{OPTIONS if flags else ''}")
    run: Callable[[argparse.Namespace], int] = options.run
    before = progress.silenced()
    progress.silence(options.quiet or before)
    try:
        if getattr(options, "output", None) is not None:
            destination(options.output)  # said before the work, not after it
        with interruption.heeded(), progress.lines(f"genarium {options.command}"), warnings.catch_warnings():
            warnings.showwarning = _warn
            code = run(options)
            sys.stdout.flush()
        return code
    except GenariumError as error:
        print(f"genarium {options.command}: {error.in_shell}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in FULL:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"genarium {options.command}: the standard output cannot be written ({error.strerror}).", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        kept = options.command == "validate" and options.out is not None
        said = f"continue with --resume --out {options.out}" if kept else "nothing was written"
        print(f"genarium {options.command}: interrupted; {said}.", file=sys.stderr)
        return error.code if isinstance(error, interruption.Ended) else 130
    finally:
        progress.silence(before)


def _warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Show a warning to a person; what is meant for programmers stays out of sight."""
    if issubclass(category, UserWarning):
        print(f"genarium: warning: {in_shell(getattr(message, 'marked', str(message)))}", file=sys.stderr)


def _parser(first: str = "") -> argparse.ArgumentParser:
    """Return the parser of all commands; that of a model, if it is the ``first`` word, is looked up only then."""
    parser = argparse.ArgumentParser(
        prog="genarium",
        description="A zoo of generative models for genomics.",
        epilog="Models bring commands of their own: see `genarium show MODEL`.\n\nexample:\n  genarium show nb_mixture",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in (models, data, fits, exports, proofs):
        group.add(commands)
    if first and first not in commands.choices:
        analyses.add(commands, first)
    for command in commands.choices.values():
        words.add_quiet(command)
    commands.choices["completion"].set_defaults(parser=lambda: parser)
    return parser


def _version() -> str:
    from importlib.metadata import version

    return f"genarium {version('genarium')}"
