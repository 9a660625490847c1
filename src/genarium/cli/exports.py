"""The command that writes what a fit says as files of the field's formats."""

import argparse
from pathlib import Path

from genarium.cli import words
from genarium.literals import parse_settings


def add(commands: words.Commands) -> None:
    """Add the command."""
    export = words.add(commands, "export", _export, "Write the results of a fit in a file format of the field.")
    export.add_argument("fitted", type=Path, metavar="FIT", help="fit to use, from `genarium fit`")
    export.add_argument(
        "--as",
        required=True,
        dest="kind",
        metavar="KIND",
        help="one of the model's exports (see `genarium show MODEL`)",
    )
    words.add_options(export, "an option of the export, e.g. source=mutations.vcf")
    words.add_given_model(export)
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="file to write")


def _export(options: argparse.Namespace) -> int:
    from genarium.tree import load
    from genarium.verbs.export import export

    given = parse_settings(options.options, "--option")
    for path in export(load(options.fitted), options.kind, options.output, model=options.model, **given):
        words.say(f"wrote {path}")
    return 0
