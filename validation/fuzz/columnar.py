"""Tables as Parquet files, with columns of any type."""

import io
from typing import Any

from validation.fuzz.case import Random, sometimes
from validation.fuzz.parsers import number_or_text
from validation.fuzz.raw import damage
from validation.fuzz.text import Grid


def parquet(r: Random, grid: Grid, steps: list[str]) -> bytes:
    """Write a grid of text as Parquet; cells become numbers where all of a column are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    width = len(grid.header)
    rows = [[*row[:width], *[""] * (width - len(row))] for row in grid.rows]
    columns = [_array(pa, [row[j] for row in rows]) for j in range(width)]
    if columns and sometimes(r, 0.3):
        j = r.randrange(width)
        kind, column = _types(pa)[at := r.randrange(len(_types(pa)))], columns[j]
        try:
            columns[j] = column.dictionary_encode() if at == 0 else column.cast(kind)
            steps.append(f"column {j + 1} as {columns[j].type}")
        except (pa.ArrowException, ValueError):
            pass
    names = [name.replace("\x00", "0") for name in grid.header]
    table: Any = pa.Table.from_arrays(columns, names=names)
    if columns and sometimes(r, 0.15):
        frame = table.to_pandas()
        if frame.columns.is_unique:
            table = pa.Table.from_pandas(frame.set_index(frame.columns[0]))
            steps.append("the first column as index")
    out = io.BytesIO()
    pq.write_table(table, out, compression=r.choice(("snappy", "none", "gzip", "zstd")))
    return damage(r, out.getvalue(), steps) if sometimes(r, 0.3) else out.getvalue()


def _types(pa: Any) -> list[Any]:
    return [
        *(pa.string(), pa.int8(), pa.uint8(), pa.uint64(), pa.int64(), pa.float16(), pa.float32(), pa.float64()),
        *(pa.decimal128(20, 3), pa.bool_(), pa.date32(), pa.timestamp("ns"), pa.large_string(), pa.binary(), pa.null()),
        *(pa.duration("s"), pa.string_view()),
    ]


def _array(pa: Any, cells: list[Any]) -> Any:
    values = [number_or_text(cell) for cell in cells]
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, int) and abs(value) < 2**63 for value in present):
        return pa.array(values, pa.int64())
    if present and all(
        isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**53) for value in present
    ):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([str(cell) for cell in cells], pa.string())
