"""Commands about models themselves and where they run: list, show, new, gallery, doctor, completion."""

import argparse
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path

from genarium.cli import words
from genarium.literals import parse_settings

LINE = 95
"""Letters of a line about a model."""


def add(commands: words.Commands) -> None:
    """Add the commands."""
    words.add_json(words.add(commands, "list", _list, "List the models."))

    show = words.add(commands, "show", _show, "Show a model: its variables, graph, methods and settings.")
    words.add_model(show)
    words.add_settings(show, "an option of the model, e.g. dispersion=gene")
    words.add_json(show)

    new = words.add(commands, "new", _new, "Write the folder of a model of your own, to start from.")
    new.add_argument("name", metavar="NAME", help="name of the model (a valid Python name)")
    new.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where to write it (default: here)")

    gallery = words.add(
        commands, "gallery", _gallery, "Write a static site of the models, how-to pages and the reference."
    )
    gallery.add_argument(
        "-o", "--output", dest="folder", type=Path, required=True, metavar="DIR", help="folder to write"
    )
    gallery.add_argument("--no-examples", action="store_true", help="leave out the example fits, which take a minute")

    completion = words.add(commands, "completion", _completion, "Print a script that completes commands in your shell.")
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))

    about = "Show versions, cores, extras, Stan and caches of this machine, and what is missing."
    words.add_json(words.add(commands, "doctor", _doctor, about))


def _list(options: argparse.Namespace) -> int:
    from genarium.verbs.models import models

    rows = models()
    if options.json:
        keys = ("name", "title", "methods", "certificates", "stale", "origin", "error")
        print(json.dumps([{key: getattr(row, key) for key in keys} for row in rows], indent=2))
        return 0
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        if row.error:
            print(f"{row.name:{width}}  cannot be used: {row.error}")
            continue
        print(f"{row.name:{width}}  {row.title}")
        lines = [*_grouped(row.methods), *(_grouped(row.certificates, "certificates: ") or ["no certificates"])]
        lines += [f"stale: {reason}" for reason in dict.fromkeys(row.stale.values())]
        if row.origin != "built-in":
            lines.append(f"from the {row.origin}")
        for line in lines:
            print(
                textwrap.indent(
                    textwrap.fill(line, LINE, subsequent_indent="  ", break_on_hyphens=False), " " * (width + 2)
                )
            )
    return 0


def _grouped(values: Mapping[str, str], before: str = "") -> list[str]:
    """Names by what is said of them, a line each: "exact: gibbs, nuts"."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    return [f"{before}{value}: {', '.join(names)}" for value, names in groups.items()]


def _show(options: argparse.Namespace) -> int:
    from genarium.registry import get
    from genarium.verbs.show import as_text, describe

    model = get(options.model).variant(**parse_settings(options.settings))
    print(json.dumps(describe(model), indent=2, ensure_ascii=False) if options.json else as_text(model))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from genarium.verbs.doctor import as_text, doctor

    told = doctor()
    print(json.dumps(told, indent=2) if options.json else as_text(told))
    return 0


def _gallery(options: argparse.Namespace) -> int:
    from genarium.site import gallery

    print(gallery(options.folder, examples=not options.no_examples))
    return 0


def _completion(options: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(options.parser(), options.shell))
    return 0


def _new(options: argparse.Namespace) -> int:
    from genarium.verbs.new import new

    made = new(options.name, options.folder)
    print(made)
    shown = made if made.is_absolute() else f"./{made}"
    words.say(f"the model works as it is; next: genarium simulate {shown} --seed 1 -o data.nc")
    return 0
