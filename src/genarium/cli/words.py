"""Words of the command line that several commands share: arguments, settings, what is said and written."""

import argparse
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genarium.errors import InputError
from genarium.literals import parse_settings

SETTINGS = "NAME=VALUE"

TREES = (".nc", ".nc4", ".netcdf", ".cdf", ".h5", ".hdf5", "")
"""Ends of the names of trees to write; a name without one says nothing else."""

TABLES = (".csv", ".tsv")
"""Ends of the names of tables to write."""

ANNOTATED = (".h5ad",)
"""Ends of the names of files that hold predictions beside the data."""

EXAMPLES = {
    "list": "genarium list",
    "show": "genarium show nb_mixture",
    "new": "genarium new bursts",
    "doctor": "genarium doctor",
    "gallery": "genarium gallery -o site",
    "completion": "genarium completion bash > ~/.local/share/bash-completion/completions/genarium",
    "read": "genarium read nb_mixture cells.h5ad --set phi=0.3 -o data.nc",
    "simulate": "genarium simulate nb_mixture --seed 1 --set cell=500 -o data.nc",
    "fit": "genarium fit nb_mixture data.nc --method vi --set component=5 -o fit.nc",
    "fit-each": "genarium fit-each transcript_abundance samples.csv --method gibbs --out fits",
    "summary": "genarium summary fit.nc --variables mu,pi",
    "predict": "genarium predict fit.nc new.nc -o predictions.csv",
    "diagnose": "genarium diagnose fit.nc",
    "report": "genarium report fit.nc -o report.html",
    "export": "genarium export fit.nc --as salmon -o folder",
    "validate": "genarium validate nb_mixture --method gibbs --simulations 200 --workers 2 --out calibration",
    "stan": "genarium stan status",
}
"""A call of each command."""

Commands = Any
"""What ``add_subparsers`` returns (its class is private to argparse)."""


def add(commands: Commands, name: str, run: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
    """Add a command, with the function that runs it; its help ends with an example."""
    example = EXAMPLES.get(name, "")
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=about,
        epilog=f"example:\n  {example}" if example else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def add_model(command: argparse.ArgumentParser) -> None:
    """Add the model that a command is about."""
    command.add_argument("model", metavar="MODEL", help="name of a model (see `genarium list`), or path of its folder")


def imported(place: str) -> Any:
    """Return an object that a user names as ``module:object``; modules are looked for in the working folder too.

    Raises
    ------
    InputError
        If there is no such module, or it holds no such object, or it ends with an error.
    """
    name, _, attribute = place.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise InputError(
            f"{place}: {type(error).__name__}: {error}. Name a module of this folder, or an installed one, and what it "
            "holds, as in my_models:model."
        ) from error
    return found


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return what files are called: the stem of each, with the folders above as far as that tells them apart.

    Raises
    ------
    InputError
        If a file is given twice.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"{', '.join(map(str, paths))}: a file is given twice. Give each once.")
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path.with_suffix("")) for path in paths]


def add_given_model(command: argparse.ArgumentParser) -> None:
    """Add the model of a fit, which usually says itself by which it was made."""
    command.add_argument(
        "--model",
        default="",
        metavar="MODEL",
        help="the model of the fit, or its folder, if the model is not installed",
    )


def add_settings(command: argparse.ArgumentParser, what: str) -> None:
    """Add ``--set NAME=VALUE``."""
    command.add_argument("--set", action="append", default=[], metavar=SETTINGS, dest="settings", help=what)


def settings_of(options: argparse.Namespace, verb: Callable[..., Any]) -> dict[str, Any]:
    """Return what ``--set`` and ``--option`` give a verb.

    Raises
    ------
    InputError
        Also if one is given both ways, or has the name of one of the verb's own parameters.
    """
    parameters = inspect.signature(verb).parameters.values()
    taken = {one.name for one in parameters if one.kind is not one.VAR_KEYWORD}
    out: dict[str, Any] = {}
    for word, pairs in (("--set", options.settings), ("--option", getattr(options, "options", ()))):
        found = parse_settings(pairs, word)
        if wrong := [name for name in found if name in taken]:
            raise InputError(
                f"{word} {wrong[0]}=...: {wrong[0]!r} is an argument of the command, not a setting. See "
                f"`genarium {options.command} --help`."
            )
        if twice := [name for name in found if name in out]:
            raise InputError(f"{twice[0]!r} is given by --set and by --option. Give it once.")
        out |= found
    return out


def add_options(command: argparse.ArgumentParser, what: str) -> None:
    """Add ``--option NAME=VALUE``."""
    command.add_argument("--option", action="append", default=[], metavar=SETTINGS, dest="options", help=what)


def add_output(command: argparse.ArgumentParser, what: str, *ends: str, required: bool = True) -> None:
    """Add the file to write, whose name may end so."""

    def named(text: str) -> Path:
        path = Path(text)
        if path.suffix.lower() not in ends and not path.is_char_device():
            may = ", ".join(filter(None, ends))
            raise argparse.ArgumentTypeError(
                f"{text} ends in {path.suffix or 'nothing'!r}, but this command writes {may}. "
                f"Name it {path.with_suffix(next(filter(None, ends)))}, for example."
            )
        return path

    command.add_argument("-o", "--output", type=named, required=required, metavar="FILE", help=what)


def add_json(command: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    command.add_argument("--json", action="store_true", help="print JSON")


def add_seed(command: argparse.ArgumentParser) -> None:
    """Add ``--seed``."""
    command.add_argument("--seed", type=int, default=0, help="seed of every random stream (default 0)")


def add_quiet(command: argparse.ArgumentParser, default: Any = False) -> None:
    """Add ``--quiet``."""
    command.add_argument("--quiet", action="store_true", default=default, help="show no progress on stderr")


def say(message: str) -> None:
    """Print a message for people, on stderr."""
    print(message, file=sys.stderr)


def write(tree: Any, path: Path) -> int:
    """Write a tree, and say where; return the exit code."""
    from genarium.tree import save

    save(tree, path)
    say(f"wrote {path}")
    return 0
