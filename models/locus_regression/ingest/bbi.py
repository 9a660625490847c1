"""The sizes that a bigWig or bigBed file tells of itself, looked at before its reader sets memory aside for them.

The reader ends the whole process where there is no such memory. Layout: Kent et al., Bioinformatics 26 (2010), 2204.
"""

import struct
from pathlib import Path

import numpy as np

from genarium.errors import InputError

MAGIC = {0x888FFC26: "bigWig", 0x8789F2EB: "bigBed"}
TREE_MAGIC, INDEX_MAGIC = 0x78CA8C91, 0x2468ACE0
HEADER, TREE = "IHHQQQHHQQIQ", "IIIIQQ"
INDEX_HEAD = 48
"""Bytes before the first node of the index."""

VALUE = 8
"""Bytes of what the tree of chromosomes says of each: number and length."""

RATIO = 1100
"""How many times its size what is compressed in a file may be: deflate gets to 1032."""


def look_over(path: Path) -> None:
    """Check that the sizes in a file's header, its table of chromosomes and its index fit into the file.

    Raises
    ------
    InputError
        If they do not, or it is neither bigWig nor bigBed.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(struct.calcsize(f"<{HEADER}"))
        order = next((mark for mark in "<>" if head[:4] in [struct.pack(f"{mark}I", magic) for magic in MAGIC]), "")
        if not order or len(head) < struct.calcsize(f"<{HEADER}"):
            raise _damaged(path, "it does not begin as one")
        told = struct.unpack(f"{order}{HEADER}", head)
        tree_at, buffer = told[3], told[10]
        if buffer > RATIO * size:
            raise _damaged(path, f"its header announces blocks of {buffer:,} bytes, in a file of {size:,}")
        if tree_at >= size:
            raise _damaged(path, f"its chromosomes are said to be at byte {tree_at:,} of {size:,}")
        stream.seek(tree_at)
        tree = stream.read(struct.calcsize(f"<{TREE}"))
    if len(tree) < struct.calcsize(f"<{TREE}"):
        raise _damaged(path, "it is cut short")
    magic, _, key, value, count, _ = struct.unpack(f"{order}{TREE}", tree)
    if magic != TREE_MAGIC or value != VALUE or count * (key + VALUE) > size:
        raise _damaged(path, "its table of chromosomes is not valid")
    _index(path, told[5], size, order)


def _index(path: Path, at: int, size: int, order: str) -> None:
    """Check that the blocks of data that the index tells of lie in the file."""
    with path.open("rb") as stream:
        stream.seek(min(at, size))
        (magic,) = struct.unpack(f"{order}I", stream.read(4).ljust(4, b"\0"))
        if magic != INDEX_MAGIC:
            raise _damaged(path, f"its index is not at byte {at:,}")
        waiting, seen = [at + INDEX_HEAD], set[int]()
        while waiting:
            place = waiting.pop()
            if place in seen or place >= size:
                raise _damaged(path, "its index is not valid")
            seen.add(place)
            stream.seek(place)
            leaf, _, count = struct.unpack(f"{order}BBH", stream.read(4).ljust(4, b"\0"))
            kind = np.dtype(
                [("place", f"{order}u4", 4), ("offset", f"{order}u8"), ("bytes", f"{order}u8")][: 2 + leaf % 2]
            )
            text = stream.read(count * kind.itemsize)
            if leaf > 1 or len(text) < count * kind.itemsize:
                raise _damaged(path, "its index is cut short")
            rows = np.frombuffer(text, dtype=kind)
            if not leaf:
                waiting += rows["offset"].tolist()
            elif count and ((rows["offset"] > size) | (rows["bytes"] > size - np.minimum(rows["offset"], size))).any():
                raise _damaged(path, "its index points beyond its end")


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path}: this cannot be read as bigWig or bigBed ({why}). Fetch it again.")
