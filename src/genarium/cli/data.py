"""Commands that make data: read, simulate."""

import argparse
import json
from pathlib import Path

from genarium.cli import words
from genarium.remedies import in_shell


def add(commands: words.Commands) -> None:
    """Add the commands."""
    read = words.add(commands, "read", _read, "Read data files, check them, and write them as one file.")
    words.add_model(read)
    read.add_argument("files", nargs="+", type=Path, metavar="FILE", help="file to read; - for the standard input")
    read.add_argument("--format", default="", help="one of the model's formats (see `genarium show MODEL`)")
    words.add_settings(read, "a known variable or a size, e.g. phi=0.3")
    words.add_options(read, "an option of the reader, e.g. drop=type")
    words.add_json(read)
    words.add_output(read, "data file to write (netCDF)", *words.TREES)

    simulate = words.add(commands, "simulate", _simulate, "Simulate data from a model.")
    words.add_model(simulate)
    words.add_seed(simulate)
    words.add_settings(simulate, "a size, an option of the model or a variable, e.g. cell=500")
    words.add_output(simulate, "data file to write (netCDF)", *words.TREES)


def _read(options: argparse.Namespace) -> int:
    from genarium.registry import get
    from genarium.verbs.read import next_command, read, told

    given = words.settings_of(options, read)
    tree = read(options.model, options.files, options.format, **given)
    words.write(tree, options.output)
    for line in [*told(tree), *next_command(get(options.model), tree, options.output)]:
        words.say(in_shell(line))
    if options.json:
        print(json.dumps(json.loads(tree.attrs["ledger"]), indent=2, ensure_ascii=False))
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from genarium.verbs.simulate import simulate

    return words.write(simulate(options.model, options.seed, **words.settings_of(options, simulate)), options.output)
