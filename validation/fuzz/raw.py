"""Changes of bytes, and what may stand in a file's place."""

import bz2
import gzip
import io
import lzma
import struct
import zlib
from collections.abc import Callable

from validation.fuzz.case import SPECIAL, Case, Random, sometimes

INTERESTING = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\xff" * 8)
"""Bytes at which lengths and offsets go wrong."""


def flip(r: Random, data: bytearray) -> str:
    """Flip bits."""
    for _ in range(r.choice((1, 1, 1, 2, 8))):
        data[r.randrange(len(data))] ^= 1 << r.randrange(8)
    return "bits flipped"


def cut(r: Random, data: bytearray) -> str:
    """Cut the end."""
    at = r.randrange(len(data)) if sometimes(r, 0.7) else max(0, len(data) - r.randint(1, 8))
    del data[at:]
    return f"cut to {at} bytes"


def duplicate(r: Random, data: bytearray) -> str:
    """Repeat a stretch."""
    low, high = _stretch(r, data)
    data[high:high] = data[low:high]
    return f"bytes {low}:{high} twice"


def drop(r: Random, data: bytearray) -> str:
    """Leave a stretch out."""
    low, high = _stretch(r, data)
    del data[low:high]
    return f"bytes {low}:{high} dropped"


def zero(r: Random, data: bytearray) -> str:
    """Set a stretch to zero."""
    low, high = _stretch(r, data)
    data[low:high] = bytes(high - low)
    return f"bytes {low}:{high} zero"


def insert(r: Random, data: bytearray) -> str:
    """Put bytes in."""
    at = r.randrange(len(data) + 1)
    data[at:at] = r.choice((*INTERESTING, b"\n", b"\r", b'"', b",", b"\t", b" ", r.randbytes(r.randint(1, 16))))
    return f"bytes inserted at {at}"


def overwrite(r: Random, data: bytearray) -> str:
    """Write numbers over bytes."""
    at = r.randrange(len(data))
    word = r.choice((*INTERESTING, struct.pack("<I", r.randrange(2**32)), struct.pack("<q", -r.randrange(2**40))))
    data[at : at + len(word)] = word
    return f"bytes overwritten at {at}"


def swap(r: Random, data: bytearray) -> str:
    """Exchange two stretches of equal length."""
    size = r.randint(1, max(1, len(data) // 4))
    a, b = (r.randrange(max(1, len(data) - size + 1)) for _ in range(2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return f"{size} bytes at {a} and {b} exchanged"


BYTES: tuple[Callable[[Random, bytearray], str], ...] = (
    flip,
    flip,
    cut,
    duplicate,
    drop,
    zero,
    insert,
    overwrite,
    swap,
)


def _stretch(r: Random, data: bytearray) -> tuple[int, int]:
    low = r.randrange(len(data))
    return low, min(len(data), low + r.choice((1, 2, 4, 16, 64, r.randint(1, len(data)))))


def damage(r: Random, data: bytes, steps: list[str]) -> bytes:
    """Change bytes once, or a few times."""
    changed = bytearray(data)
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        if not changed:
            break
        steps.append(r.choice(BYTES)(r, changed))
    return bytes(changed)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def bgzf(data: bytes) -> bytes:
    """Compress in blocks, as BAM files are."""
    out = io.BytesIO()
    for at in (*range(0, len(data), 40000), len(data)):
        part = data[at : at + 40000]
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = packer.compress(part) + packer.flush()
        head = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff\x06\x00BC\x02\x00"
        out.write(head + struct.pack("<H", len(body) + 25) + body + struct.pack("<II", zlib.crc32(part), len(part)))
    return out.getvalue()


def decompressed(data: bytes) -> bytes:
    """Decompress by what the content begins with."""
    try:
        if data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
        if data.startswith(b"BZh"):
            return bz2.decompress(data)
        if data.startswith(b"\xfd7zXZ"):
            return lzma.decompress(data)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
        return data
    return data


def misplace(r: Random, case: Case) -> None:
    """Put something else in the place of a file, or name files wrongly."""
    name = r.choice(list(case.files))
    kind = r.choice((*SPECIAL, "empty", "blank", "absent", "twice", "none", "renamed"))
    case.steps.append(f"{name}: {kind}")
    if kind in SPECIAL:
        case.files[name] = kind
    elif kind in ("empty", "blank"):
        case.files[name] = b"" if kind == "empty" else b" \n\n"
    elif kind == "absent":
        del case.files[name]
    elif kind == "twice":
        case.inputs = [*case.inputs, case.inputs[0]] if case.inputs else []
    elif kind == "none":
        case.inputs = []
    else:
        new = r.choice(("data", "data.csv", "data.gz", "data.npz", "data.parquet", "data.h5ad", "data.mtx", "data.sam"))
        case.files = {new if one == name else one: content for one, content in case.files.items()}
        case.inputs = [new if one == name else one for one in case.inputs]
