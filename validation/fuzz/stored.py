"""HDF5 files: AnnData to start from, changes of what HDF5 holds, and a strict parser of AnnData over plain h5py."""

import io
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from validation.fuzz.case import Random, UnlikeError, sometimes
from validation.fuzz.raw import damage

LARGE = 10**7
"""Values of a dataset that are read; what is larger is made up of nothing."""


@cache
def base(kind: str, part: int, size: int = 6) -> bytes:
    """Return an AnnData file with everything that the readers can be asked for, made by anndata."""
    import anndata
    import pandas as pd
    from scipy import sparse

    rng = np.random.default_rng(part)
    x = rng.poisson(3, (size, 4))
    x[:, 0] += 1
    obs = pd.DataFrame(
        {
            "kind": pd.Categorical([f"k{i % 3}" for i in range(size)]),
            "number": pd.Categorical([i % 3 for i in range(size)]),
            "batch": [f"b{i % 2}" for i in range(size)],
            "depth": np.linspace(0.5, 2, size),
            "count": np.arange(size),
            "keep": [i != 1 for i in range(size)],
            "maybe": pd.array([None, *range(1, size)], dtype="Int64"),
            "condition": pd.Categorical([("control", "A", "B")[i % 3] for i in range(size)]),
            "state": pd.Categorical([("p", "q")[i // 3 % 2] for i in range(size)]),
        },
        index=[f"c{part}.{i}" for i in range(size)],
    )
    var = pd.DataFrame({"highly_variable": [True, False, True, True]}, index=[f"g{j + 1}" for j in range(4)])
    form = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}.get(kind, np.asarray)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = anndata.AnnData(form(x.astype(np.float32 if kind == "norm" else np.int64)), obs, var)
        data.layers["counts"] = form(x)
        data.layers["norm"] = np.log1p(x)
        data.obsm["X_pca"] = rng.normal(size=(size, 2))
        data.raw = data.copy()
        if kind == "norm":
            data.X = np.log1p(x)
        return inside(None, lambda file: anndata.io.write_elem(file, "/", data))


def inside(start: bytes | None, write: Callable[[Any], Any]) -> bytes:
    """Return the bytes of an HDF5 file that is written, or changed, in memory."""
    import h5py

    with h5py.File.in_memory(start) as file:
        write(file)
        file.flush()
        return bytes(file.id.get_file_image())


def h5ad(r: Random, steps: list[str], part: int = 0, size: int = 6) -> bytes:
    """Make an AnnData file, changed somehow."""
    data = base(r.choice(("dense", "csr", "csc", "norm")), part, size)
    if sometimes(r, 0.75):
        data = changed(r, data, steps)
    return damage(r, data, steps) if sometimes(r, 0.25) else data


def changed(r: Random, data: bytes, steps: list[str]) -> bytes:
    """Change what an HDF5 file holds, once or a few times."""

    def change(file: Any) -> None:
        for _ in range(r.choice((1, 1, 1, 2, 3))):
            names: list[str] = []
            file.visit(names.append)
            if not names:
                return
            try:
                steps.append(r.choice(CHANGES)(r, file, r.choice(sorted(names))))
            except (LookupError, OSError, ValueError, TypeError, RuntimeError, OverflowError, AttributeError):
                continue

    return inside(data, change)


def _delete(r: Random, file: Any, name: str) -> str:
    del file[name]
    return f"{name} deleted"


def _rename(r: Random, file: Any, name: str) -> str:
    new = name.rpartition("/")[0] + "/" + r.choice(("x", "X", "obs", "_index", "é", "a b", "categories"))
    file.move(name, new)
    return f"{name} is now {new}"


def _exchange(r: Random, file: Any, name: str) -> str:
    names: list[str] = []
    file.visit(names.append)
    other = r.choice(sorted(names))
    del file[name]
    file.copy(other, file, name)
    return f"{name} is a copy of {other}"


def _link(r: Random, file: Any, name: str) -> str:
    import h5py

    del file[name]
    there = r.choice(("/nowhere", "/", f"/{name}"))
    file[name] = h5py.SoftLink(there) if sometimes(r, 0.5) else h5py.ExternalLink("other.h5", there)
    return f"{name} is a link to {there}"


def _put(file: Any, name: str, value: Any, **options: Any) -> None:
    """Replace a dataset, keeping its attributes."""
    old = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, data=value, **options)
    for key, attr in old.items():
        file[name].attrs[key] = attr


def _dataset(r: Random, file: Any, name: str) -> tuple[str, Any]:
    """Return a dataset at or near a name, and its values."""
    import h5py

    if not isinstance(file[name], h5py.Dataset):
        names: list[str] = []
        file[name].visit(names.append)
        name = f"{name}/{r.choice(sorted(n for n in names if isinstance(file[f'{name}/{n}'], h5py.Dataset)))}"
    return name, file[name][()] if file[name].size is None or file[name].size < LARGE else np.zeros(1)


def _kind(r: Random, file: Any, name: str) -> str:
    import h5py

    name, values = _dataset(r, file, name)
    kind = r.choice(("f2", "f4", "f8", "i1", "u1", "u8", "i8", "?", "c16", "S3", "text", "opaque", "enum", ">i4"))
    if kind == "text":
        _put(file, name, np.asarray(values).astype(str).astype(object), dtype=h5py.string_dtype())
    elif kind == "opaque":
        _put(file, name, np.zeros(np.shape(values), dtype="V4"))
    elif kind == "enum":
        enum = h5py.enum_dtype({"FALSE": 0, "TRUE": 1}, basetype="i1")
        _put(file, name, np.zeros(np.shape(values), dtype="i1"), dtype=enum)
    else:
        with np.errstate(all="ignore"):
            _put(file, name, np.asarray(values).astype(kind))
    return f"{name} as {kind}"


def _shape(r: Random, file: Any, name: str) -> str:
    name, values = _dataset(r, file, name)
    values = np.asarray(values)
    turned = r.choice(
        (
            lambda a: a[:-1],
            lambda a: np.concatenate([a, a[:1]]),
            lambda a: a[:0],
            lambda a: a.T,
            lambda a: a[None],
            lambda a: a.ravel(),
            lambda a: a.ravel()[0],
            lambda a: a[::-1],
            lambda a: np.concatenate([a] * 50),
        )
    )(values)
    _put(file, name, turned)
    return f"{name} of shape {np.shape(turned)}"


def _value(r: Random, file: Any, name: str) -> str:
    name, values = _dataset(r, file, name)
    values = np.array(values)
    index = tuple(r.randrange(n) for n in values.shape)
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        value: Any = r.choice((-1, 0, 1, 100, 5, limits.max, limits.min, 2**31, 2**53 + 1))
        values[index] = max(limits.min, min(limits.max, value))
    elif values.dtype.kind == "f":
        value = r.choice((np.nan, np.inf, -np.inf, -1, 0.5, 1e300, -0.0, 2.0**53, 1e-300, 3))
        with np.errstate(all="ignore"):
            values[index] = value
    elif values.dtype.kind == "b":
        values[index] = value = not values[index]
    else:
        value = r.choice((values.ravel()[0], b"", b"x", "é".encode(), b"\xff\xfe", b" k0", b"nan", b"1", b"a" * 3000))
        values[index] = value
    _put(file, name, values)
    return f"{name}{list(index)} is {value!r:.20}"


def _huge(r: Random, file: Any, name: str) -> str:
    name, values = _dataset(r, file, name)
    old, kind = dict(file[name].attrs), np.asarray(values).dtype
    shape = tuple(r.choice((2**40, 10**9, n)) for n in (np.shape(values) or (1,)))
    del file[name]
    file.create_dataset(name, shape=shape, dtype=kind, chunks=tuple(min(n, 1024) for n in shape))
    for key, attr in old.items():
        file[name].attrs[key] = attr
    return f"{name} of shape {shape}, never written"


def _group(r: Random, file: Any, name: str) -> str:
    old = dict(file[name].attrs)
    del file[name]
    if sometimes(r, 0.5):
        file.create_group(name)
    else:
        file[name] = r.choice((0, 1.5, "text", np.arange(3), b"\x00"))
    for key, attr in old.items():
        file[name].attrs[key] = attr
    return f"{name} is something else"


def _attribute(r: Random, file: Any, name: str) -> str:
    name = r.choice((name, "/"))
    attributes = file[name].attrs
    key = r.choice(sorted(attributes))
    if sometimes(r, 0.3):
        del attributes[key]
        return f"attribute {key} of {name} deleted"
    other = r.choice(
        (
            *(
                "dataframe",
                "array",
                "csr_matrix",
                "csc_matrix",
                "categorical",
                "string-array",
                "nullable-integer",
                "",
                "é",
            ),
            *("0.0.1", "9.9.9", 0, -1, 3.5, np.nan, np.arange(3), np.array([2**40, 4]), np.array([-1, 4]), b"\xff"),
            *(np.array([6, 4]), np.array([4, 6]), True, "null", "[]", "{}", "text", np.array(["a"], dtype=object)),
        )
    )
    attributes[key] = other
    return f"attribute {key} of {name} is {other!r:.40}"


def _add(r: Random, file: Any, name: str) -> str:
    group = file[name].parent
    new = r.choice(("extra", "é", "a b", "X2"))
    group[new] = r.choice((np.arange(3), "text", 1.5, np.array([b"a", b"b"]), np.zeros((2, 2))))
    return f"{group.name}/{new} added"


CHANGES: tuple[Callable[[Random, Any, str], str], ...] = (
    *(_delete, _rename, _exchange, _link, _kind, _kind, _shape, _shape, _value, _value, _value, _value),
    *(_huge, _group, _attribute, _attribute, _attribute, _add),
)


class AnnData:
    """An AnnData file, read over h5py by the letter of its format; what contradicts itself is refused."""

    def __init__(self, data: bytes) -> None:
        import h5py

        try:
            self.file = h5py.File(io.BytesIO(data), "r")
        except Exception as error:
            raise UnlikeError(f"no HDF5: {error}") from None

    def _read(self, where: str) -> Any:
        try:
            return self.file[where][()]
        except Exception as error:
            raise UnlikeError(f"no AnnData: {where}: {error}") from None

    def _attribute(self, where: str, key: str) -> Any:
        try:
            return self.file[where].attrs[key]
        except Exception as error:
            raise UnlikeError(f"no AnnData: {where}: {error}") from None

    def names(self, axis: str) -> list[str]:
        """Return the index of ``obs`` or ``var``."""
        return [str(one).strip() for one in self.column(axis, str(self._attribute(axis, "_index")))]

    def column(self, axis: str, name: str) -> Any:
        """Return a column: an array, of objects where it holds text; None is missing."""
        import h5py

        where = f"{axis}/{name}"
        if where not in self.file:
            raise UnlikeError(f"no AnnData: there is no {where}")
        if isinstance(self.file[where], h5py.Dataset):
            return _text(self._read(where))
        if "codes" in self.file[where]:
            codes, levels = self._read(f"{where}/codes"), _text(self._read(f"{where}/categories"))
            if codes.dtype.kind not in "iu" or not ((codes >= -1) & (codes < len(levels))).all():
                raise UnlikeError(f"no AnnData: codes of {where} are out of range")
            return np.array([None if code < 0 else levels[code] for code in codes.tolist()], dtype=object)
        values = _text(self._read(f"{where}/values")).astype(object)
        values[self._read(f"{where}/mask").astype(bool)] = None
        return values

    def matrix(self, layer: str | None = None, whole: bool = False) -> Any:
        """Return X or a layer, dense; without a layer and with ``whole``, it must hold whole numbers."""
        import h5py

        where = "X" if layer is None else "raw/X" if layer == ".raw" else f"layers/{layer}"
        if where not in self.file:
            raise UnlikeError(f"no AnnData: there is no {where}")
        if isinstance(self.file[where], h5py.Dataset):
            return self._read(where)
        kind, shape = str(self._attribute(where, "encoding-type")), self._attribute(where, "shape")
        data, indices, indptr = (self._read(f"{where}/{part}") for part in ("data", "indices", "indptr"))
        lines, across = (int(n) for n in (shape if kind == "csr_matrix" else np.asarray(shape)[::-1]))
        if len(indptr) != lines + 1 or indptr[0] != 0 or (np.diff(indptr.astype(object)) < 0).any():
            raise UnlikeError(f"no AnnData: indptr of {where} is damaged")
        if indptr[-1] != len(data) or len(indices) != len(data):
            raise UnlikeError(f"no AnnData: lengths of {where} disagree")
        if not ((indices >= 0) & (indices < across)).all():
            raise UnlikeError(f"no AnnData: indices of {where} are out of range")
        out = np.zeros((lines, across), dtype=data.dtype)
        for i in range(lines):
            for k in range(int(indptr[i]), int(indptr[i + 1])):
                out[i, indices[k]] += data[k]
        return out if kind == "csr_matrix" else out.T


def _text(values: Any) -> Any:
    values = np.asarray(values)
    if values.dtype.kind not in "OS":
        return values
    try:
        return np.array([v.decode() if isinstance(v, bytes) else v for v in values.tolist()], dtype=object)
    except UnicodeDecodeError as error:
        raise UnlikeError(f"no AnnData: {error.reason}") from None
