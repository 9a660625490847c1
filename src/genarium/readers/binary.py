"""Arrays and sparse matrices in files: ``.npz`` archives of NumPy and SciPy, and Matrix Market.

What a file claims is checked before anything of that size is made or handed on: NumPy would ask for the memory, SciPy
would read outside of it.
"""

import io
import math
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import files
from genarium.readers.h5ad import sound

NUMBERS = "numbers or text"
"""What an array of an archive may hold; anything else would have to be unpickled, and could run what it likes."""


def npz(path: Path) -> Mapping[str, Array]:
    """Read all arrays that ``numpy.savez`` or ``savez_compressed`` wrote to a file.

    Raises
    ------
    InputError
        If the file is no such archive, is damaged, or an array holds anything but numbers or text.
    """
    files.present(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            return {member.filename.removesuffix(".npy"): _array(path, archive, member) for member in members}
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy's parser of headers raise a dozen kinds
        raise InputError(
            f"{path}: this is not a valid archive of arrays ({_said(error)}). Save the arrays by numpy.savez; if the "
            "file is damaged or cut short, fetch it again."
        ) from error


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Read one array of an archive, if it is as large as it says and holds numbers or text."""
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"array {name!r} has the unknown form {version}")
        shape, by_column, kind = header(stream)
        if kind.hasobject or kind.names or kind.kind not in "biufcSU":
            raise InputError(
                f"{path}: array {name!r} holds {'Python objects' if kind.hasobject else kind}, not {NUMBERS}. Convert "
                "it (.astype(float), .astype(str)) and save the file again."
            )
        size = math.prod(shape) * kind.itemsize
        if min(shape, default=0) < 0 or size != member.file_size - stream.tell():
            raise ValueError(f"array {name!r} claims the shape {shape}, but its data are of another size")
        values = np.frombuffer(stream.read(), dtype=kind) if size else np.empty(math.prod(shape), kind)
        if kind.kind == "U" and values.size and kind.itemsize:
            points = values.view(np.dtype(np.uint32).newbyteorder(kind.byteorder))
            if (points > sys.maxunicode).any():
                raise ValueError(f"array {name!r} holds {points.max()} where a character should be")
        if len(values) != math.prod(shape):
            raise ValueError(f"array {name!r} is cut short")
    found = values.reshape(shape[::-1]).T if by_column else values.reshape(shape)
    return found.copy()


def sparse_matrix(path: Path) -> Any:
    """Read a matrix as saved by ``scipy.sparse.save_npz``, or a Matrix Market file (``.mtx``, compressed or not).

    Returns
    -------
    SciPy sparse array, shape (N, K)
        In the form of rows, its positions checked.

    Raises
    ------
    InputError
    """
    return _scipy(path) if path.suffix == ".npz" else matrix_market(path)


def _scipy(path: Path) -> Any:
    from scipy import sparse

    stored = {name: values.astype(values.dtype.newbyteorder("="), copy=False) for name, values in npz(path).items()}
    again = "Save the matrix by scipy.sparse.save_npz(file, matrix.tocsr())."
    kind = stored.get("format", np.array(""))
    form = kind.item() if kind.ndim == 0 else ""
    form = form.decode(errors="replace") if isinstance(form, bytes) else str(form)
    if form not in ("csr", "csc", "coo"):
        raise InputError(f"{path}: the sparse matrix has the form {form!r}, of csr, csc and coo. {again}")
    wanted = ("row", "col") if form == "coo" else ("indices", "indptr")
    for name in ("shape", "data", *wanted):
        if name not in stored:
            raise InputError(
                f"{path}: there is no array {name!r} of a sparse matrix (it has {', '.join(stored)}). {again}"
            )
        if stored[name].dtype.kind not in ("iu" if name != "data" else "biuf") or stored[name].ndim != 1:
            raise InputError(f"{path}: array {name!r} of a sparse matrix must be a list of numbers. {again}")
    shape = tuple(int(n) for n in stored["shape"])
    if len(shape) != 2 or min(shape) < 0 or max(shape) >= 2**31:
        raise InputError(f"{path}: the sparse matrix claims the shape {shape}. {again}")
    if form == "coo":
        return _positioned(path, shape, stored["row"], stored["col"], stored["data"])
    kind_of = sparse.csr_array if form == "csr" else sparse.csc_array
    major = shape[0] if form == "csr" else shape[1]
    if len(stored["indptr"]) != major + 1:
        raise InputError(
            f"{path}: indptr of the sparse matrix has {len(stored['indptr'])} entries of {major + 1}. {again}"
        )
    data = stored["data"].astype(np.float32) if stored["data"].dtype == np.float16 else stored["data"]
    matrix: Any = kind_of(shape, dtype=data.dtype)
    matrix.data = data
    matrix.indices, matrix.indptr = (
        at.astype(np.int64) if at.dtype.kind in "iu" else at for at in (stored["indices"], stored["indptr"])
    )
    return sparse.csr_array(sound(path, "the matrix", matrix))


def _positioned(path: Path, shape: tuple[int, int], row: Array, column: Array, data: Array) -> Any:
    """Make a sparse array of entries and their positions, counted from zero."""
    from scipy import sparse

    if not len(row) == len(column) == len(data):
        raise InputError(
            f"{path}: {len(row)} rows, {len(column)} columns and {len(data)} values of entries. Fetch it again."
        )
    for what, at, most in (("row", row, shape[0]), ("column", column, shape[1])):
        bad = np.flatnonzero((at < 0) | (at >= most))
        if bad.size:
            raise InputError(
                f"{path}: entry {bad[0] + 1} lies in {what} {at[bad[0]] + 1:g}, but there are {most}. Correct it, or "
                "fetch the file again."
            )
    if data.dtype == np.float16:  # which SciPy does not take
        data = data.astype(np.float32)
    return sparse.csr_array(sparse.coo_array((data, (row.astype(np.int64), column.astype(np.int64))), shape=shape))


def matrix_market(path: Path) -> Any:
    """Read a matrix in the exchange format of NIST's Matrix Market: real, integer or pattern, of general form.

    Source: Boisvert, Pozo, Remington (1996), The Matrix Market exchange formats, NISTIR 5935.

    Returns
    -------
    SciPy sparse array, shape (N, K)

    Raises
    ------
    InputError
        Naming the line, counted from one.
    """
    import pandas as pd

    lines = files.content(path)
    head, _, rest = lines.partition(b"\n")
    words = head.decode("latin-1").lower().split()
    if not words or words[0] != "%%matrixmarket":
        begins = head[:40].decode("latin-1")
        raise InputError(
            f"{path}: this is not a Matrix Market file; it begins {begins!r}. Name it after its true format."
        )
    if (
        words[1:3] != ["matrix", "coordinate"]
        or words[3:4] not in (["real"], ["integer"], ["pattern"])
        or words[4:] != ["general"]
    ):
        raise InputError(
            f"{path}: line 1 says {' '.join(words[1:])!r}; only `matrix coordinate`, `real`, `integer` or `pattern`, "
            "`general` can be read. Write it again by scipy.io.mmwrite(file, matrix, symmetry='general')."
        )
    number = 2
    while rest.startswith(b"%") or (rest and not rest.split(b"\n", 1)[0].strip()):
        rest = rest.partition(b"\n")[2]
        number += 1
    sizes, _, body = rest.partition(b"\n")
    told = sizes.split()
    if len(told) != 3 or not all(part.isdigit() and len(part) < 16 for part in told):
        line = sizes[:60].decode("latin-1")
        raise InputError(
            f"{path}: line {number} is {line!r}, but must be numbers of rows, columns and entries. Fetch it again."
        )
    rows, columns, entries = map(int, told)
    width = 2 if words[3] == "pattern" else 3
    if max(rows, columns) >= 2**31 or 2 * width * entries > len(body) + 1:
        raise InputError(
            f"{path}: line {number} promises {rows} rows, {columns} columns and {entries} entries, more than the file "
            "holds. It is cut short: fetch it again."
        )
    try:
        table = pd.read_csv(
            io.BytesIO(body),
            sep=r"\s+",
            header=None,
            names=list(range(width)),
            comment="%",
            low_memory=False,
            encoding="latin-1",
        )
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: the entries below line {number} cannot be read ({_said(error)}). Fetch it again."
        ) from error
    found = table.apply(
        lambda one: one if one.dtype.kind in "iuf" else pd.to_numeric(one.astype(str), errors="coerce").astype(float)
    )
    at = np.flatnonzero(found.isna().any(axis=1) | (found[[0, 1]] != found[[0, 1]].round()).any(axis=1))
    if at.size or not isinstance(table.index, pd.RangeIndex):
        k = int(at[0]) if at.size else 0
        shown, wanted = " ".join(map(str, table.iloc[k])), ["row", "column", "value"][:width]
        raise InputError(
            f"{path}: entry {k + 1} below line {number} is {shown!r}, but must be {', '.join(wanted)} in numbers. "
            "Correct it; if the file is cut short, fetch it again."
        )
    if len(found) != entries:
        raise InputError(
            f"{path}: line {number} promises {entries} entries, and there are {len(found)}. It is cut short or "
            "damaged: fetch it again."
        )
    data = found[2].to_numpy(dtype=float) if width > 2 else np.ones(entries)
    row, column = (found[i].to_numpy(dtype=float) - 1 for i in (0, 1))
    matrix = _positioned(path, (rows, columns), row, column, data)
    if matrix.nnz < entries:
        k = int(np.flatnonzero(found[[0, 1]].duplicated())[0])
        raise InputError(
            f"{path}: entry {k + 1} below line {number} lies in row {row[k] + 1:g}, column {column[k] + 1:g}, as an "
            "earlier one does. Keep the right one of each, or write the matrix again."
        )
    return matrix
