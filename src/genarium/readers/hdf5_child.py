"""Looks over one HDF5 file, in a process of its own: a damaged file may crash HDF5, or keep it for ever.

Run as a script, with the file as its argument; nothing of genarium is imported. It prints one object in JSON:
``error``, empty for a sound file.
"""

import json
import math
import os
import sys
from typing import Any

READ = 1 << 24
"""Bytes of data that are read on trial in all (16 MiB); of what is larger, the index of its pieces is gone through."""

BIG = 1 << 28
"""Bytes from which on a dataset must hold what it says (256 MiB): what is missing would be filled up in memory."""

DEEP = 32
"""Groups within groups, at most."""


class DamagedError(Exception):
    """Something in the file that cannot be."""


def limit(seconds: int) -> None:
    """Limit the memory and the processor time of this process."""
    try:
        import resource
    except ImportError:  # no such limits on Windows; whoever waits for us has one
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def look_over(path: str) -> None:
    """Go through all groups, attributes and datasets of a file."""
    import h5py
    import numpy as np

    left = READ
    seen: set[int] = set()

    def attributes(what: Any) -> None:
        for name in what.attrs:
            value = what.attrs.get_id(name)
            if value.shape and math.prod(value.shape) * value.dtype.itemsize > READ:
                raise DamagedError(f"attribute {name!r} of {what.name} claims the shape {value.shape}")
            follow(what.attrs[name])

    def follow(found: Any) -> None:
        """Look at what references point to, as those do that tie a netCDF variable to its dims."""
        values = np.asarray(found)
        for name in values.dtype.names or ():
            follow(values[name])
        for one in values.ravel() if values.dtype.kind == "O" else ():
            if isinstance(one, h5py.Reference) and one:
                file[one]
            elif isinstance(one, np.ndarray):
                follow(one)

    def data(one: Any) -> None:
        nonlocal left
        if one.is_virtual or one.external:
            raise DamagedError(f"{one.name} refers to another file")
        size = math.prod(one.shape or ()) * one.dtype.itemsize if one.shape is not None else 0
        if one.chunks and size:
            pieces = math.prod(-(-n // c) for n, c in zip(one.shape, one.chunks, strict=True))
            have = one.id.get_num_chunks()
            if have > pieces or (size > BIG and have < pieces):
                raise DamagedError(
                    f"{one.name} claims the shape {one.shape}, but {have} of its {pieces} pieces are there"
                )
        elif size > BIG and one.id.get_storage_size() < size:
            raise DamagedError(f"{one.name} claims the shape {one.shape}, but less is there")
        if size <= left:
            left -= size
            one[()]

    def group(within: Any, depth: int) -> None:
        if depth > DEEP:
            raise DamagedError(f"{within.name} lies {depth} groups deep")
        attributes(within)
        for name in within:
            kind = within.get(name, getlink=True)
            if not isinstance(kind, h5py.HardLink):
                raise DamagedError(f"{within.name.rstrip('/')}/{name} is a link to {kind.path}, not data")
            one = within[name]
            address = h5py.h5o.get_info(one.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(one, h5py.Group):
                group(one, depth + 1)
            elif isinstance(one, h5py.Dataset):
                attributes(one)
                data(one)

    with h5py.File(path, "r") as file:
        group(file, 0)


def main(path: str, seconds: int) -> None:
    """Look over a file and print what was found."""
    limit(seconds)
    try:
        look_over(path)
        error = ""
    except Exception as problem:  # h5py raises a dozen kinds
        error = " ".join(str(problem).split()) or type(problem).__name__
    print(json.dumps({"error": error}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
    os._exit(0)  # HDF5 may crash as it closes
