"""Commands that make data: read, simulate."""

import argparse
from pathlib import Path
from typing import Any

from genarium.cli import words
from genarium.remedies import in_shell


def add(commands: words.Commands) -> None:
    """Add the commands."""
    read = words.add(commands, "read", _read, "Read files into a checked tree.")
    words.add_model(read)
    read.add_argument("files", nargs="+", type=Path, metavar="FILE")
    read.add_argument("--format", default="", help="one of the model's formats (see `genarium show MODEL`)")
    words.add_settings(read, "a known variable or a size, e.g. phi=0.3")
    words.add_options(read, "an option of the reader, e.g. drop=type")
    words.add_output(read, "tree to write (netCDF)", *words.TREES)

    simulate = words.add(commands, "simulate", _simulate, "Simulate data from a model.")
    words.add_model(simulate)
    words.add_seed(simulate)
    words.add_settings(simulate, "a size, an option of the model or a variable, e.g. cell=500")
    words.add_output(simulate, "tree to write (netCDF)", *words.TREES)


def _read(options: argparse.Namespace) -> int:
    from genarium.verbs.read import read

    given = words.parse_settings(options.settings) | words.parse_settings(options.options, "--option")
    tree = read(options.model, options.files, options.format, **given)
    code = words.write(tree, options.output)
    words.say(f"next: {_next(options.model, tree, options.output)}")
    return code


def _next(named: str, tree: Any, path: Path) -> str:
    """Return the command that fits what was read, with what it lacks."""
    from genarium.methods import methods
    from genarium.registry import resolve
    from genarium.verbs.missing import missing

    model = resolve(named, tree)
    first = next(iter(methods(model)), "METHOD")
    lacks = " ".join(map(in_shell, missing(model, tree)))
    return f"genarium fit {named} {path} --method {first} {lacks}{' ' if lacks else ''}-o fit.nc"


def _simulate(options: argparse.Namespace) -> int:
    from genarium.verbs.simulate import simulate

    return words.write(simulate(options.model, options.seed, **words.parse_settings(options.settings)), options.output)
