"""What files of Keras hold: a configuration, weights by the layers that they are of, and what a call is given."""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.leftovers import scratch
from genarium.readers import hdf5

Weights = Mapping[tuple[str, ...], Mapping[str, Array]]
"""Weights of layers by their names, those of nested models first."""


def read_keras(path: Path) -> tuple[Any, Weights]:
    """Read a file's configuration and weights.

    Raises
    ------
    InputError
        If it is damaged, or no whole model.
    """
    return (_archive if zipfile.is_zipfile(path) else _hdf5)(path)


def _hdf5(path: Path) -> tuple[Any, Weights]:
    import h5py

    hdf5.look_over(path, "a Keras model", "Save it again, in the form .h5")
    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
        if config is None:
            raise InputError(
                f"{path}: there is no Keras model in this file, only weights or something else. Save the whole model: "
                "model.save('model.h5')."
            )
        found: dict[tuple[str, ...], dict[str, Array]] = {}
        top = file["model_weights"]
        for layer in _strings(top, "layer_names") or list(top):
            twice = set()
            names = _strings(top[layer], "weight_names")
            for name, value in _datasets(top[layer]):
                *place, leaf = name.split("/")
                own = leaf.partition(":")[0]
                # of a nested model's layer the file may tell the whole way or only the layer
                for key in {(layer,), (layer, *place), *((layer, part) for part in place)}:
                    values = found.setdefault(key, {})
                    if own in values or names.count(name) > 1:
                        twice.add((key, own))
                    values[own] = value
            for key, own in twice:  # of which layer they are is not told
                del found[key][own]
        whole = json.loads(config)
        if isinstance(whole, dict) and whole.get("class_name") == "Model" and _version(file) >= (2, 5):
            whole["registered_name"] = "Model"  # a class of its author's: Keras' own is Functional since 2.4
        return whole, found


def _strings(group: Any, name: str) -> list[str]:
    """Read an attribute of texts, which a large one is cut into pieces of."""
    raw = group.attrs.get(name)
    many = [raw] if raw is not None else []
    while f"{name}{len(many)}" in group.attrs:
        many.append(group.attrs[f"{name}{len(many)}"])
    texts = [_text(text) for piece in many for text in np.atleast_1d(piece)]
    return [text for text in texts if text in group]


def _version(file: Any) -> tuple[int, ...]:
    parts = str(file.attrs.get("keras_version", "")).split(".")
    return tuple(int(part) for part in parts[:2] if part.isdigit())


def _datasets(group: Any) -> Iterator[tuple[str, Array]]:
    found: list[tuple[str, Array]] = []

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            found.append((name, np.asarray(item)))

    group.visititems(visit)
    return iter(found)


def _archive(path: Path) -> tuple[Any, Weights]:
    """Read a file of Keras 3: a zip archive of a configuration and of weights by their numbers."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        missing = next((name for name in ("config.json", "model.weights.h5") if name not in names), None)
        if missing:
            raise InputError(f"{path}: the archive has no {missing}, so it is not a Keras model. Save it again.")
        try:
            config = json.loads(archive.read("config.json"))
            raw = archive.read("model.weights.h5")
        except (ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{path}: the archive is damaged ({error}). Save the model again.") from error
    found: dict[tuple[str, ...], dict[str, Array]] = {}
    with scratch("keras") as folder:
        inner = folder / "model.weights.h5"
        inner.write_bytes(raw)
        try:
            hdf5.look_over(inner, "weights of a Keras model", "Save the model again")
        except InputError as error:
            raise InputError(f"{path}: {str(error).partition(': ')[2]}") from error
        with h5py.File(inner, "r") as file:
            _numbered(file, config, (), found)
    return config, found


def _numbered(group: Any, config: Any, above: tuple[str, ...], found: dict[tuple[str, ...], dict[str, Array]]) -> None:
    """Collect weights of a model's layers, each in a group ``vars``.

    The group bears the layer's name, or, in files of Keras before 3.6, its place alone is known: the layer's class, and
    how many of that class are before it.
    """
    held = group.get("layers", {})
    named = {_text(held[key]["vars"].attrs["name"]): key for key in held
             if "vars" in held[key] and "name" in held[key]["vars"].attrs}  # fmt: skip
    seen: dict[str, int] = {}
    for layer in _layers(config):
        own = name_of(layer)
        key = _snake(str(layer.get("class_name")))
        seen[key] = seen.get(key, -1) + 1
        key = named.get(own, "") if named else f"{key}_{seen[key]}" if seen[key] else key
        if key not in held:
            continue
        if "vars" in held[key]:
            values = held[key]["vars"]
            found[(*above, own)] = {number: np.asarray(values[number]) for number in values}
        _numbered(held[key], layer, (*above, own), found)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _snake(name: str) -> str:
    """Return what Keras calls the first layer of a class."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _layers(config: Any) -> list[Any]:
    """Layers of a model's configuration; none of another's."""
    inner = config.get("config") if isinstance(config, dict) else None
    layers = inner if isinstance(inner, list) else inner.get("layers") if isinstance(inner, dict) else None
    return layers if isinstance(layers, list) else []


def name_of(layer: Any) -> str:
    """Return a layer's name by its configuration."""
    return str(layer.get("name") or layer["config"]["name"])


def links_of(node: Any) -> list[tuple[str, int, int]]:
    """Find the tensors that a configuration names, as (layer, call, output)."""
    return given_to(node)[0]


def given_to(node: Any) -> tuple[list[tuple[str, int, int]], str]:
    """Find the tensors that a call takes, in Keras 2's lists or Keras 3's mappings; and what else it is given."""
    links: list[tuple[str, int, int]] = []
    faults: list[str] = []

    def options(given: Any) -> None:
        faults.extend(f"is called with {key}={_short(value)}" for key, value in given.items() if not _empty(value))

    def walk(value: Any) -> None:
        if isinstance(value, dict) and "args" in value and "kwargs" in value:
            walk(value["args"])
            options(value["kwargs"])
        elif isinstance(value, dict) and "class_name" in value:
            history = (value.get("config") or {}).get("keras_history")
            if history:
                walk(history)
            else:
                faults.append(f"takes {_short(value.get('config'))} besides outputs of layers")
        elif isinstance(value, dict):
            for key in sorted(value):
                walk(value[key])
        elif isinstance(value, list | tuple):
            if len(value) >= 3 and isinstance(value[0], str) and all(isinstance(i, int) for i in value[1:3]):
                links.append((value[0], int(value[1]), int(value[2])))
                for given in value[3:]:
                    options(given)
            else:
                for one in value:
                    walk(one)
        elif not _empty(value):
            faults.append(f"takes {_short(value)} besides outputs of layers")

    walk(node)
    remedy = ", which is not understood. Take the output of a layer before it."
    return links, faults[0] + remedy if faults else ""


def _empty(value: Any) -> bool:
    if isinstance(value, list | tuple | dict):
        return all(_empty(one) for one in (value.values() if isinstance(value, dict) else value))
    return value is None or value is False


def _short(value: Any) -> str:
    found = links_of(value) if isinstance(value, dict | list) else []
    return f"the output of {found[0][0]!r}" if found else repr(value)[:60]
