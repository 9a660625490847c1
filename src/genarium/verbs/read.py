"""Read: from files to a checked tree, through the readers that a model declares."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from genarium.attributes import attribute
from genarium.data import check
from genarium.declaration import Model, Problem
from genarium.errors import DeclarationError, InputError
from genarium.holding import alternatives
from genarium.methods import methods
from genarium.readers.files import no_file_twice
from genarium.readers.formats import guessed
from genarium.readers.ledger import Account, Ledger, Told
from genarium.readers.streams import without_streams
from genarium.registry import reference, resolve
from genarium.remedies import flag, option, setting
from genarium.settings import require_choice, split
from genarium.signatures import choices, keyword_options, plain_kinds
from genarium.tree import data_tree, provenance, with_coordinates
from genarium.words import did_you_mean


def read(
    model: str | Path | Model,
    paths: str | Path | Sequence[str | Path],
    format: str = "",  # noqa: A002
    **settings: Any,
) -> xr.DataTree:
    """Read files into a tree that the other verbs take.

    Parameters
    ----------
    model : str, Path or Model
        Name of a model, its folder, or a declaration.
    paths : path or sequence of paths
        "-" is the standard input; a pipe that the shell has opened, ``<(...)``, is read to its end, too.
    format : str
        One of the model's readers; where none is named, it is told from the files, if these leave no doubt.
    **settings
        Options of the reader, sizes, options of the model, and values of known variables (``phi=0.3``).

    Returns
    -------
    DataTree
        Groups ``constant_data`` and ``observed_data``. What the files and the settings do not tell (the number of
        components, say) can be given when fitting. The attribute ``ledger`` (JSON) accounts for every row and column
        of the files: ``read``, ``kept``, ``left_out`` by reason.

    Raises
    ------
    InputError
        If a file cannot be read, or its content does not agree with the declaration.
    DeclarationError
        If the reader's ledger does not add up.
    """
    declared = resolve(model)
    files = _paths(declared.name, paths)
    no_file_twice(files)
    with without_streams(files) as opened:
        if format not in declared.readers:
            format = _format(declared, format, opened)  # noqa: A001
        reader = declared.readers[format]
        options = keyword_options(reader)
        own = {name: settings.pop(name) for name in list(settings) if name in options}
        for name, value in own.items():
            require_choice(f"{declared.name}: reader {format!r}", name, value, choices(reader))
            own[name] = _of_kind(f"reader {format!r}", name, value, plain_kinds(reader).get(name))
        variant, sizes, values, _ = split(
            declared,
            settings,
            tables={f"options of the format {format}": options},
            elsewhere=lambda: {flag("format", name): keyword_options(one) for name, one in declared.readers.items()},
        )
        found = reader(opened, **own)
    if isinstance(found, Told) and found.options:
        variant = variant.variant(**{**variant.chosen, **found.options})
    if isinstance(found, Told):
        sizes, own = {**found.sizes, **sizes}, {**own, **found.again}
    try:
        problem = check(variant, {**found, **values}, sizes, partial=True)
    except InputError as error:
        raise InputError(f"{', '.join(map(str, files))}: {error.marked}") from error
    ledger = accounts(f"{declared.name}: reader {format!r}", found, problem)
    attrs = provenance(files=[path.name for path in files], format=format, reader_options=own, ledger=ledger.to_dict())
    return with_coordinates(data_tree(problem, attrs=attrs), {**found, **values})


def _paths(name: str, paths: Any) -> list[Path]:
    """Return the paths of files; refuse data that are in memory already."""
    several = isinstance(paths, Iterable) and not isinstance(paths, str | Mapping) and not hasattr(paths, "shape")
    every = list(paths) if several else [paths]
    odd = [one for one in every if not isinstance(one, str | os.PathLike)]
    if odd:
        kind = type(odd[0]).__name__
        raise InputError(
            f"{name}: read takes the paths of files, not {'an' if kind[0] in 'AEIOU' else 'a'} {kind}. Give the file's "
            "path. What is in memory goes straight to fit: AnnData as it is, tables in a dict by names of variables."
        )
    return [Path(path) for path in every]


def _of_kind(where: str, name: str, value: Any, kind: type | None) -> Any:
    """Return an option of a reader as the number or truth value that it has to be; without a kind, as it is."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is None or (isinstance(value, kind) and isinstance(value, bool) == (kind is bool)):
        return value
    must = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
    raise InputError(f"{where}: {option(name, value)} must be {must}.")


def accounts(where: str, found: Mapping[str, Any], problem: Problem) -> Ledger:
    """Return a reader's ledger, checked; of a reader without one, what was kept.

    Parameters
    ----------
    where : str
        The reader, for messages.
    found : Told or mapping
        What it returned.
    problem : Problem
        Its data, checked.

    Raises
    ------
    DeclarationError
        If more was left out than read, or what was kept is not what the data hold: the reader's mistake.
    """
    if not isinstance(found, Told):
        dims = next((var.dims for var in problem.model.observed.variables.values() if var.dims), ())
        kept = [Account(dim, problem.sizes.get(dim, 0)) for dim in dims[:2]]
        kept += [Account("variable", len(found))] * (2 - len(kept))
        return Ledger(kept[0], kept[1], ["The reader does not tell what it left out: this is what it kept."])
    for account in (found.ledger.rows, found.ledger.columns):
        size = problem.sizes.get(account.unit, account.kept)
        if account.kept < 0 or account.kept != size:
            raise DeclarationError(
                f"{where}: by its ledger, {account.read} {account.unit} entries were read and "
                f"{account.read - account.kept} left out, but the data hold {size}."
            )
    return found.ledger


def told(tree: xr.DataTree) -> list[str]:
    """Return what a tree's ledger says to a person, line by line.

    Parameters
    ----------
    tree : DataTree
        From :func:`read`.

    Returns
    -------
    list of str
        Such as "1,600 cells x 1 gene; left out: column dilution (asked for)", then the notes.
    """
    found = attribute(tree, "ledger")
    return Ledger(Account.from_dict(found["rows"]), Account.from_dict(found["columns"]), found["notes"]).told()


def next_command(model: Model, tree: xr.DataTree, path: Path) -> list[str]:
    """Return the command that fits a tree just read, and what of it must be filled in, line by line.

    Parameters
    ----------
    model : Model
    tree : DataTree
    path : Path
        Where the tree was written.

    Returns
    -------
    list of str
    """
    variant = model.variant(**attribute(tree, "model_options"))
    have = {str(name) for group in tree.children for name in tree[group].data_vars}
    sizes = attribute(tree, "sizes")
    lack = [dim for dim in variant.sizes if dim not in sizes and dim not in variant.derived_dims]
    values = [name for name, var in variant.known.variables.items() if name not in have and var.default is None]
    ways = methods(variant)
    own = [name for name in variant.methods if ways[name].claim == "exact"]
    method = next(iter([*own, *variant.methods, *ways]))
    words = ["genarium", "fit", reference(model) or model.name, str(path), "--method", method]
    for name, guess in [*((dim, str(variant.sizes[dim])) for dim in lack), *((name, "...") for name in values)]:
        words += ["--set", f"{name}={guess}"]
    lines = [f"next: {shlex.join([*words, '-o', 'fit.nc'])}"]
    if lack:
        bounds = [name for name in variant.methods if ways[name].claim == "approximate"]
        compare = f"; --method {bounds[0]} --choose {lack[0]}=1:8 compares several" if bounds else ""
        if not bounds and variant.folds is not None:
            compare = f"; --choose {lack[0]}=1:4 --by held_out compares several"
        lines.append(f"choose: {' and '.join(lack)}, which the files do not tell{compare}")
    for name in values:
        without = "".join(f", or {setting(*choice)}" for choice in alternatives(variant, name))
        lines.append(f"give: {name} ({variant.known.variables[name].about.rstrip('.')}){without}")
    return lines


def _format(model: Model, given: str, files: Sequence[Path]) -> str:
    """Return the format of files of which the user has named none, or refuse the one named."""
    if not model.readers:
        raise InputError(f"{model.name}: the model reads no files. Give its data as arrays in Python.")
    if not given:
        return guessed(model.name, model.readers, files)
    raise InputError(
        f"{model.name}: there is no format {given!r}.{did_you_mean(given, model.readers)} "
        f"The formats are {', '.join(model.readers)}."
    )
