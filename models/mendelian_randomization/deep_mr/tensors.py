"""Tensors of PyTorch's files, without PyTorch, and without running anything that a file says.

A checkpoint is a pickle, which can name any function and have it called. Here names are looked up in a short table of
our own: tensors, storages and ordered dictionaries; any other ends the reading. Files are those of ``torch.save``, zip
archives (since 1.6) or what it wrote before.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

MAGIC = 0x1950A86A20F9469CFC6C
"""What the older files begin with."""

TYPES: Mapping[str, str] = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "?",
    "BFloat16Storage": "bfloat16",
}  # fmt: skip

LARGEST = 1 << 33
"""Numbers in a tensor, at most."""


@dataclass(frozen=True, slots=True)
class _Type:
    """Stands for a class of storages."""

    name: str


class _Refused(Exception):  # noqa: N818
    pass


def read_tensors(path: str | Path) -> dict[str, Array]:
    """Read the tensors of a state dict.

    Parameters
    ----------
    path : path
        Of a file of ``torch.save(model.state_dict(), path)``; or of a checkpoint with one in its entry ``state_dict``,
        ``model_state_dict`` or ``model``.

    Returns
    -------
    dict of str to ndarray
        In double precision; whole numbers as they are.

    Raises
    ------
    InputError
        If the file is none of these, is damaged, or names anything but tensors.
    """
    path = Path(path)
    try:
        found = _archive(path) if zipfile.is_zipfile(path) else _older(path)
    except OSError as error:
        raise InputError(f"{path}: this cannot be read ({error.strerror}). Check the path.") from error
    except _Refused as error:
        raise InputError(f"{path}: {error}") from None
    except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, ValueError, TypeError, KeyError, IndexError,
            AttributeError, OverflowError, MemoryError, RuntimeError, NotImplementedError) as error:  # fmt: skip
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: this cannot be read as a state dict of PyTorch ({told}). Save it again.") from error
    return _state(path, found)


def _state(path: Path, found: Any) -> dict[str, Array]:
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    tensors = found.items() if isinstance(found, Mapping) else ()
    out = {str(name): value for name, value in tensors if isinstance(value, np.ndarray)}
    if not out:
        raise InputError(
            f"{path}: there are no named tensors in this file. Save them: torch.save(model.state_dict(), path)."
        )
    return {name: value.astype(float) if value.dtype.kind == "f" else value for name, value in out.items()}


def _archive(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        data = next((name for name in names if name.endswith("/data.pkl") or name == "data.pkl"), None)
        if data is None:
            raise _Refused("this zip archive has no data.pkl, so it is not a file of torch.save. Give one that is.")
        if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
            raise _Refused(
                "this is a program of TorchScript, which would have to be run. Save its state dict: "
                "torch.save(model.state_dict(), path)."
            )
        root = data[: -len("data.pkl")]
        order = archive.read(root + "byteorder").decode() if root + "byteorder" in names else "little"

        def storage(kind: str, key: str, numel: int) -> Array:
            told = archive.getinfo(f"{root}data/{key}")
            if told.file_size > 100 * max(told.compress_size, 1 << 16):
                raise _Refused(f"storage {key!r} would unpack to {told.file_size} bytes. Save the file again.")
            return _numbers(archive.read(told), kind, numel, order)

        with archive.open(data) as stream:
            return _settled(_Tensors(stream, storage).load())


def _older(path: Path) -> Any:
    with path.open("rb") as stream:
        if _Tensors(stream, _none).load() != MAGIC:
            raise _Refused("this is not a file of torch.save (it does not begin as one). Give one that is.")
        _Tensors(stream, _none).load()  # version of the protocol
        system = _Tensors(stream, _none).load()
        big = isinstance(system, Mapping) and system.get("little_endian") is False
        wanted: dict[str, tuple[str, Array]] = {}

        def later(kind: str, key: str, numel: int) -> Array:
            """Make room for a storage: its numbers follow."""
            if key not in wanted:
                if not 0 <= numel <= LARGEST or numel * _width(kind) > path.stat().st_size:
                    raise _Refused(f"storage {key!r} should have {numel} numbers, which the file cannot hold.")
                wanted[key] = kind, np.empty(numel, dtype=np.float32 if kind == "BFloat16Storage" else TYPES[kind])
            return wanted[key][1]

        found = _Tensors(stream, later).load()
        for key in _Tensors(stream, _none).load():
            numel = int.from_bytes(stream.read(8), "big" if big else "little", signed=True)
            kind, room = wanted[key]
            if numel != len(room):
                raise _Refused(
                    f"storage {key!r} has {numel} numbers, but should have {len(room)}. The file is damaged."
                )
            raw = stream.read(numel * _width(kind))
            room[:] = _numbers(raw, kind, numel, "big" if big else "little")
        return _settled(found)


def _none(kind: str, key: str, numel: int) -> Array:
    raise _Refused("a tensor stands where none belongs. The file is damaged.")


def _width(kind: str) -> int:
    return 2 if kind == "BFloat16Storage" else np.dtype(TYPES[kind]).itemsize


def _numbers(raw: bytes, kind: str, numel: int, order: str) -> Array:
    if len(raw) < numel * _width(kind):
        raise _Refused(f"a storage of {numel} numbers has {len(raw)} bytes only. The file is damaged; copy it again.")
    raw = raw[: numel * _width(kind)]
    swap = ">" if order == "big" else "<"
    if kind == "BFloat16Storage":  # the upper half of a float32
        return (np.frombuffer(raw, dtype=f"{swap}u2").astype("u4") << 16).view("f4")
    kind = TYPES[kind]
    return np.frombuffer(raw, dtype=kind.replace("<", swap))


class _Tensors(pickle.Unpickler):
    """Reads pickles in which nothing but tensors, storages and plain containers may be named."""

    def __init__(self, stream: IO[bytes], storage: Callable[[str, str, int], Array]) -> None:
        super().__init__(stream, encoding="utf-8")
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up in our own table; nothing is imported."""
        if module in ("torch", "torch.storage") and (name in TYPES or name == "UntypedStorage"):
            return _Type(name)
        found = ALLOWED.get((module, name))
        if found is None:
            raise _Refused(
                f"the file names {module}.{name}, which would have to be run; read are tensors only. Save them alone: "
                "torch.save(model.state_dict(), path)."
            )
        return found

    def persistent_load(self, pid: Any) -> Array:
        """Return the numbers that a tensor refers to."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], _Type):
            raise _Refused("a storage is not described as PyTorch does. The file is damaged.")
        _, kind, key, _, numel = pid[:5]
        if kind.name not in TYPES:
            raise _Refused(f"the numbers are of type {kind.name}, which is not understood. Save them as float32.")
        if len(pid) > 5 and pid[5] is not None:
            raise _Refused(
                "a storage is a view of another, as in files of PyTorch before 0.4. Save it with a newer one."
            )
        return self.storage(kind.name, str(key), int(numel))


@dataclass(frozen=True)
class _View:
    """A tensor whose numbers are still to come: a strided view of a storage."""

    storage: Array
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def settled(self) -> Array:
        """Return the tensor. What a pickle can make of this object is checked again."""
        whole = (self.offset, *self.shape, *self.strides)
        if not isinstance(self.storage, np.ndarray) or not all(type(n) is int for n in whole):
            raise _Refused("a tensor is not described as PyTorch does. The file is damaged.")
        size = self.storage.itemsize
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        empty = any(n == 0 for n in self.shape)
        if min(self.offset, *self.shape, *self.strides, 0) < 0 or (not empty and last >= len(self.storage)):
            raise _Refused(f"a tensor of shape {self.shape} reaches beyond its storage. The file is damaged.")
        if np.prod(self.shape, dtype=float) > LARGEST or np.prod(self.shape, dtype=float) > 4 * len(self.storage):
            raise _Refused(f"a tensor of shape {self.shape} repeats {len(self.storage)} numbers. Save it as it is.")
        strides = tuple(s * size for s in self.strides)
        return np.lib.stride_tricks.as_strided(self.storage[self.offset :], self.shape, strides).copy()


class _Call:
    """A function that a pickle can call, but not change."""

    __slots__ = ("_run",)
    _run: Callable[..., Any]

    def __init__(self, run: Callable[..., Any]) -> None:
        object.__setattr__(self, "_run", run)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _Refused("the file changes what it is read by. It is not a state dict of PyTorch.")

    def __call__(self, *given: Any) -> Any:
        return self._run(*given)


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _View:
    if not isinstance(storage, np.ndarray) or len(shape) != len(strides):
        raise _Refused("a tensor is not described as PyTorch does. The file is damaged.")
    return _View(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _settled(found: Any) -> Any:
    """Replace views by arrays, in containers."""
    if isinstance(found, _View):
        return found.settled()
    if isinstance(found, Mapping):
        return {key: _settled(value) for key, value in found.items()}
    return found


ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_rebuild),
    ("torch._utils", "_rebuild_tensor"): _Call(_rebuild),
    ("torch._utils", "_rebuild_parameter"): _Call(_parameter),
}
"""All that a file may name."""
