"""Commands that models bring: analyses that need no fit, as functions whose signature is the command's."""

import argparse
import inspect
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from genarium import registry
from genarium.cli import words
from genarium.declaration import Answer, Model
from genarium.docstrings import parameters_of, summary_of
from genarium.errors import GenariumError


def add(commands: words.Commands, name: str) -> bool:
    """Add a command that a model brings, with all that begin by the same word; False where no model does."""
    found = [
        (words_, run) for model in _models() for words_, run in model.commands.items() if words_.split()[0] == name
    ]
    if not found:
        return False
    for told, run in found:
        first, _, second = told.partition(" ")
        if not second:
            _add(commands, first, run)
            continue
        if first not in commands.choices:
            group = commands.add_parser(first, help="commands of a model", description="Commands of a model.")
            group.set_defaults(inner=group.add_subparsers(dest="inner", required=True, metavar="COMMAND"))
        inner = _add(commands.choices[first].get_default("inner"), second, run)
        words.add_quiet(inner, default=argparse.SUPPRESS)  # what stands before the second word holds, too
    return True


def _models() -> Iterable[Model]:
    for name in registry.names():
        try:
            yield registry.get(name)
        except GenariumError:  # somebody's package that does not import; `genarium list` says so
            continue


def _add(commands: words.Commands, name: str, function: Callable[..., str | Answer]) -> argparse.ArgumentParser:
    command = words.add(commands, name, lambda options: _run(function, options), summary_of(function))
    about, hints = parameters_of(function), get_type_hints(function)
    for one in inspect.signature(function).parameters.values():
        how = _how(hints[one.name])
        told = about.get(one.name, "").replace("%", "%%")
        if one.kind is one.KEYWORD_ONLY:
            required = one.default is one.empty
            if not required and one.default is not None and one.default is not False and one.default != "":
                told += f" (default {one.default})"
            flag = "--" + one.name.replace("_", "-")
            default = None if required else one.default
            command.add_argument(flag, dest=one.name, required=required, default=default, help=told, **how)
        else:
            how.pop("metavar", None)
            command.add_argument(one.name, help=told, metavar=one.name.upper(), **how)
    if hints["return"] is Answer:
        words.add_output(command, "page to write, with figures", ".html", required=False)
        words.add_json(command)
    return command


def _how(hint: Any) -> dict[str, Any]:
    """Say how an argument of a type is written."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(one for one in get_args(hint) if one is not type(None))
    if hint is bool:
        return {"action": "store_true"}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if get_origin(hint) is list:
        return {**_how(get_args(hint)[0]), "nargs": "+"}
    return {"type": hint, "metavar": {Path: "FILE", int: "N", float: "X"}.get(hint, "TEXT")}


def _run(function: Callable[..., str | Answer], options: argparse.Namespace) -> int:
    parameters = inspect.signature(function).parameters
    found = function(**{name: getattr(options, name) for name in parameters})
    if isinstance(found, str):
        print(found)
        return 0
    from genarium.reporting.answers import as_json, as_text, write_page

    if options.output is not None:  # first: `head` may end what is printed
        words.say(f"wrote {write_page(found, options.output)}")
    print(as_json(found) if options.json else as_text(found))
    return 0
