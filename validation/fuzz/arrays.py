"""Arrays in npz files: how they are changed, and written with headers that lie."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from validation.fuzz.case import Random, UnlikeError, sometimes
from validation.fuzz.raw import damage

type Arrays = dict[str, Any]


def _value(r: Random, arrays: Arrays, name: str) -> str:
    values = np.array(arrays[name])
    index = tuple(r.randrange(n) for n in values.shape)
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        value: Any = max(
            limits.min, min(limits.max, r.choice((-1, 0, 3, 31, 32, 95, 96, 1000, 2**40, 2**63 - 1, -(2**63))))
        )
    elif values.dtype.kind in "fc":
        value = r.choice((np.nan, np.inf, -np.inf, -1.0, 0.5, 1e300, -0.0, 2.0**53, 1e-300))
    else:
        value = values.ravel()[0]
    with np.errstate(all="ignore"):
        values[index] = value
    arrays[name] = values
    return f"{name}{list(index)} is {value!r:.20}"


def _kind(r: Random, arrays: Arrays, name: str) -> str:
    kind = r.choice(
        ("f2", "f4", "f8", "f16", "i1", "u1", "u2", "u8", ">i4", "?", "c16", "U5", "S3", "O", "M8[s]", "m8[s]")
    )
    with np.errstate(all="ignore"):
        arrays[name] = np.array(arrays[name]).astype(kind)
    return f"{name} as {kind}"


def _shape(r: Random, arrays: Arrays, name: str) -> str:
    turn: Callable[[Any], Any] = r.choice(
        (
            lambda a: a[:-1],
            lambda a: np.concatenate([a, a[:1]]),
            lambda a: a[:0],
            lambda a: a.T,
            lambda a: a[None],
            lambda a: a[..., None],
            lambda a: a.ravel(),
            lambda a: a.ravel()[0],
            lambda a: a[::-1],
            lambda a: np.concatenate([a] * 30),
            lambda a: np.asfortranarray(a),
        )
    )
    arrays[name] = turn(np.array(arrays[name]))
    return f"{name} of shape {np.shape(arrays[name])}"


def _delete(r: Random, arrays: Arrays, name: str) -> str:
    del arrays[name]
    return f"{name} deleted"


def _rename(r: Random, arrays: Arrays, name: str) -> str:
    new = r.choice(("x", "", "g", "n", "a", "names", "count", "é", "a/b", "../x", "data", "shape", "group", *arrays))
    arrays[new] = arrays.pop(name)
    return f"{name} is called {new!r}"


def _exchange(r: Random, arrays: Arrays, name: str) -> str:
    arrays[name] = arrays[r.choice(list(arrays))]
    return f"{name} is a copy of another"


def _add(r: Random, arrays: Arrays, name: str) -> str:
    new = r.choice(("c", "a", "names", "count", "exposure", "group", "extra", "t", "ell", "n", "context_exposure"))
    size = r.choice((0, 1, 3, len(np.atleast_1d(arrays[name])), 32))
    arrays[new] = r.choice(
        (np.ones(size), np.arange(size), np.array(["f"] * size), np.array([None] * size), np.array(3))
    )
    return f"{new} added"


CHANGES: tuple[Callable[[Random, Arrays, str], str], ...] = (
    *(_value, _value, _value, _kind, _kind, _shape, _shape, _delete, _rename, _exchange, _add),
)


def npz(r: Random, arrays: Arrays, steps: list[str]) -> bytes:
    """Write arrays as ``numpy.savez`` does, changed somehow."""
    for _ in range(r.choice((0, 1, 1, 1, 2, 3))):
        if arrays:
            try:
                steps.append(r.choice(CHANGES)(r, arrays, r.choice(sorted(arrays))))
            except (IndexError, ValueError, TypeError, OverflowError, RuntimeError):
                continue
    out = io.BytesIO()
    arrays = {name.replace("\x00", ""): values for name, values in arrays.items()}
    with zipfile.ZipFile(out, "w", r.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, values in arrays.items():
            member = npy(np.asanyarray(values))
            if sometimes(r, 0.04):
                member = _lying(r, member, steps)
            elif sometimes(r, 0.04):
                member = damage(r, member, steps)
            info = zipfile.ZipInfo(name + ("" if sometimes(r, 0.01) else ".npy"))
            info.compress_type = archive.compression
            archive.writestr(info, member)
        if sometimes(r, 0.02):
            archive.writestr(zipfile.ZipInfo(r.choice(("readme.txt", "genome.npy", "é.npy", "sub/x.npy"))), b"text")
    return damage(r, out.getvalue(), steps) if sometimes(r, 0.3) else out.getvalue()


def npy(values: Any) -> bytes:
    """Write one array."""
    out = io.BytesIO()
    np.lib.format.write_array(out, values, allow_pickle=True)
    return out.getvalue()


def _lying(r: Random, member: bytes, steps: list[str]) -> bytes:
    """Change the header of an array."""
    head, _, body = member.partition(b"\n")
    words = (
        (b"False", b"True"),
        (b"(", b"(1, "),
        (b"(", b"(-"),
        (b"'<i8'", b"'<f8'"),
        (b"'<i8'", b"'|O'"),
        (b"8", b"9"),
    )
    old, new = r.choice((*words, (b"(", b"(9999999999999, "), (b"shape", b"forme"), (b"'<", b"'>"), (b"{", b"[")))
    size = len(head)
    head = head.replace(old, new, 1).rstrip(b" ").ljust(size, b" ")[:size]
    steps.append(f"header of an array: {old!r} is {new!r}")
    return head + b"\n" + body


def parsed(data: bytes) -> Arrays:
    """Read an npz file strictly, array by array; those that hold objects are left out."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception as error:
        raise UnlikeError(f"no npz: {error}") from None
    out = {}
    for name, member in members.items():
        if not member.startswith(np.lib.format.MAGIC_PREFIX):
            continue
        stream = io.BytesIO(member)
        try:
            out[name.removesuffix(".npy")] = np.lib.format.read_array(stream, allow_pickle=False)
        except ValueError:
            continue
    return out
