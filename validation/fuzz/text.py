"""Tables as grids of text: how they are changed, and written in a dialect."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from validation.fuzz.case import Random, sometimes
from validation.fuzz.raw import COMPRESS, damage

NUMBERS = (
    *("", "NA", "nan", "inf", "-inf", "-1", "1.5", "1e3", "1E+02", "1e400", "99999999999999999999", "1e-400"),
    *("9007199254740993", "9007199254740992", "9223372036854775807", "9223372036854775808", "18446744073709551616"),
    *("1,234", "1.234,5", "3,0", "1_000", "0x10", "٣", "１", "1 000", "1\u00a0000", "+3", ".5", "5.", "1e-3", "True"),
    *("-0", "0.0", "007", '"3"', "'3'", "3;4", "#3", "=1+1", "NULL", "None", "text", "1e", "--1", "½", "1d3", "1e300"),
    *("1.0000000000000002", "0.1", "0.30000000000000004", "123456789.123456789", "4.35", "1/2", "3%", "$4", "−1"),
    *("2024-01-01", "1:2", "\x00", " 3 ", "\t3", "3\u200b", "TRUE", "1.7976931348623157e308", "4.9e-324", "#N/A"),
)
NAMES = (
    *(
        "",
        " ",
        "g1 ",
        " g1",
        "g\t1",
        "g,1",
        'g"1',
        "g'1",
        "g;1",
        "#g",
        "total",
        "id",
        "sample",
        "cell",
        "index",
        "gene",
    ),
    *("Unnamed: 0", "1", "01", "é", "e\u0301", "基因", "\u200bg", "\ufeffg", "a\nb", "nan", "NA", "None", "True", "g1"),
    *(
        "x" * 5000,
        "size_factor",
        "count",
        "..",
        "a/b",
        "=x",
        "1e5",
        "\u202eabc",
        "😀",
        "%s",
        "{0}",
        "[red]",
        "\x1b[31m",
    ),
    *("0", "-1", "a=b", "null", "g1.1", "<NA>", "a b", "σ", "unnamed 1", "unnamed 2", "\x00", "cells", "barcode"),
)


@dataclass
class Grid:
    """A table: names of its columns, and rows of cells; cells of a parsed table need not be text."""

    header: list[str]
    rows: list[list[Any]]

    def column(self, name: str) -> list[Any]:
        """Return the cells of a column."""
        at = self.header.index(name)
        return [row[at] for row in self.rows]

    def transposed(self, corner: str = "") -> "Grid":
        """Return the table with rows and columns exchanged, its first column being names unless it is the only one."""
        named = len(self.header) > 1
        columns = [[row[j] for row in self.rows] for j in range(named, len(self.header))]
        rows = [[name, *column] for name, column in zip(self.header[named:], columns, strict=True)]
        return Grid([corner, *(str(row[0]).strip() if named else str(i) for i, row in enumerate(self.rows))], rows)


def _cell(r: Random, g: Grid) -> str:
    i, j = r.randrange(len(g.rows)), r.randrange(len(g.header))
    g.rows[i][j] = value = r.choice(NUMBERS)
    return f"row {i + 1}, column {j + 1} is {value!r}"


def _label(r: Random, g: Grid) -> str:
    i = r.randrange(len(g.rows))
    g.rows[i][0] = value = r.choice(NAMES)
    return f"row {i + 1} is called {value[:20]!r}"


def _column(r: Random, g: Grid) -> str:
    j, value = r.randrange(len(g.header)), r.choice(NUMBERS)
    for row in g.rows:
        if sometimes(r, 0.8):
            row[j] = value
    return f"column {j + 1} is mostly {value!r}"


def _rename(r: Random, g: Grid) -> str:
    j = r.randrange(len(g.header))
    g.header[j] = name = r.choice((*NAMES, r.choice(g.header)))
    return f"column {j + 1} is called {name[:20]!r}"


def _drop_column(r: Random, g: Grid) -> str:
    j = r.randrange(len(g.header))
    del g.header[j]
    for row in g.rows:
        del row[j]
    return f"column {j + 1} dropped"


def _repeat_column(r: Random, g: Grid) -> str:
    j = r.randrange(len(g.header))
    _add(g, r.choice((g.header[j], f"{g.header[j]}_2")), [row[j] for row in g.rows], len(g.header))
    return f"column {j + 1} twice"


def _swap_columns(r: Random, g: Grid) -> str:
    i, j = r.randrange(len(g.header)), r.randrange(len(g.header))
    for row in (g.header, *g.rows):
        row[i], row[j] = row[j], row[i]
    return f"columns {i + 1} and {j + 1} exchanged"


def _drop_row(r: Random, g: Grid) -> str:
    for _ in range(r.choice((1, 1, len(g.rows)))):
        del g.rows[r.randrange(len(g.rows))]
    return "rows dropped"


def _repeat_row(r: Random, g: Grid) -> str:
    i = r.randrange(len(g.rows))
    g.rows.insert(r.randrange(len(g.rows) + 1), list(g.rows[i]))
    return f"row {i + 1} twice"


def _repeat_label(r: Random, g: Grid) -> str:
    g.rows[r.randrange(len(g.rows))][0] = g.rows[0][0]
    return "the first label twice"


def _shuffle(r: Random, g: Grid) -> str:
    r.shuffle(g.rows)
    return "rows shuffled"


def _ragged(r: Random, g: Grid) -> str:
    row = r.choice([g.header, *g.rows])
    if sometimes(r, 0.5):
        row.append(r.choice(("", "7", "x")))
        return "a row has one field more"
    row.pop()
    return "a row has one field less"


def _sums(r: Random, g: Grid) -> str:
    def total(row: list[str]) -> str:
        return str(sum(int(cell) for cell in row if cell.isascii() and cell.isdigit()))

    _add(g, r.choice(("total", "sum", "n")), [total(row) for row in g.rows], r.choice((1, len(g.header))))
    return "a column of row sums"


def _numbers(r: Random, g: Grid) -> str:
    first = r.choice((0, 1))
    _add(g, r.choice(("id", "sample", "nr")), [str(first + i) for i in range(len(g.rows))], r.choice((0, 1)))
    return "a column of running numbers"


def _texts(r: Random, g: Grid) -> str:
    _add(g, r.choice(("type", "batch")), [r.choice("ab") for _ in g.rows], r.randrange(len(g.header) + 1))
    return "a column of text"


def _nothing(r: Random, g: Grid) -> str:
    _add(g, r.choice(("", "empty")), ["" for _ in g.rows], r.choice((0, len(g.header))))
    return "an empty column"


def _flags(r: Random, g: Grid) -> str:
    values = r.choice((("0", "1"), ("True", "False"), ("yes", "no"), ("T", "F")))
    _add(g, "flag", [r.choice(values) for _ in g.rows], r.randrange(len(g.header) + 1))
    return "a column of flags"


def _decimal_commas(r: Random, g: Grid) -> str:
    j = r.randrange(len(g.header))
    for row in g.rows:
        row[j] = f"{row[j]},{r.choice('05')}" if "." not in row[j] else row[j].replace(".", ",")
    return f"decimal commas in column {j + 1}"


def _thousands(r: Random, g: Grid) -> str:
    j, mark = r.randrange(len(g.header)), r.choice((",", ".", " ", "'", "\u202f"))
    for row in g.rows:
        if sometimes(r, 0.7):
            row[j] = f"{r.randint(1, 9)}{mark}{r.randrange(1000):03d}"
    return f"{mark!r} between thousands in column {j + 1}"


def _spaces(r: Random, g: Grid) -> str:
    row = r.choice([g.header, *g.rows])
    j = r.randrange(len(row))
    row[j] = r.choice((" {}", "{} ", "\u00a0{}", "{}\t", '"{}"', "'{}'", '{}"', '"{}', "{}\n", "\n{}")).format(row[j])
    return f"blanks or quotation marks about {row[j][:20]!r}"


def _transpose(r: Random, g: Grid) -> str:
    turned = g.transposed(g.header[0])
    g.header, g.rows = turned.header, turned.rows
    return "rows and columns exchanged"


def _no_header(r: Random, g: Grid) -> str:
    if len(g.rows) > 1:
        g.header = list(g.rows.pop(0))
    return "no header"


def _two_headers(r: Random, g: Grid) -> str:
    g.rows.insert(0, list(g.header))
    return "the header twice"


def _many(r: Random, g: Grid) -> str:
    if sometimes(r, 0.5):
        for j in range(300):
            _add(g, f"more{j}", ["1" for _ in g.rows], len(g.header))
        return "300 columns more"
    g.rows += [[f"more{i}", *g.rows[0][1:]] for i in range(500)]
    return "500 rows more"


def _add(g: Grid, name: str, values: Sequence[str], at: int) -> None:
    g.header.insert(at, name)
    for row, value in zip(g.rows, values, strict=False):
        row.insert(at, value)


GRIDS: tuple[Callable[[Random, Grid], str], ...] = (
    *(_cell, _cell, _cell, _cell, _label, _label, _column, _rename, _rename, _drop_column, _repeat_column),
    *(_swap_columns, _drop_row, _repeat_row, _repeat_label, _shuffle, _ragged, _sums, _numbers, _texts, _nothing),
    *(_flags, _decimal_commas, _thousands, _spaces, _spaces, _transpose, _no_header, _two_headers),
)


def alter(r: Random, grid: Grid, steps: list[str]) -> None:
    """Change a table once, or a few times; some tables are left as they are."""
    for _ in range(r.choice((0, 1, 1, 1, 1, 2, 2, 3))):
        if not grid.rows or not all(grid.rows) or not grid.header:
            return
        try:
            steps.append((_many if sometimes(r, 0.01) else r.choice(GRIDS))(r, grid))
        except (IndexError, ValueError):  # no such place in a table that was changed before
            continue


SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".tbl": " ", ".txt": "\t", "": ",", ".CSV": ",", ".dat": ";"}


def written(r: Random, name: str, grid: Grid, steps: list[str]) -> tuple[str, bytes]:
    """Write a table in some dialect; return the name of the file and its content."""
    suffix = r.choice((".csv", ".csv", ".tsv", *SUFFIXES))
    usual = sometimes(r, 0.85)
    mark = SUFFIXES[suffix] if usual else r.choice(",;\t |")
    end = "\n" if sometimes(r, 0.8) else r.choice(("\r\n", "\r", "\n\n", "\n\r"))
    quoting: Any = csv.QUOTE_MINIMAL if sometimes(r, 0.85) else r.choice((csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC))
    out = io.StringIO()
    write = csv.writer(out, delimiter=mark, lineterminator=end, quoting=quoting)
    rows = [grid.header, *grid.rows]
    if sometimes(r, 0.04) and rows[0]:
        rows[0] = rows[0][1:]  # as R does
        steps.append("no name for the column of names")
    write.writerows(rows)
    text = out.getvalue()
    if sometimes(r, 0.15):
        text = r.choice(_LAYOUTS)(text, mark)
        steps.append("layout changed")
    encoding = "utf-8" if sometimes(r, 0.9) else r.choice(("utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf-32"))
    data = text.encode(encoding, "replace")
    if encoding != "utf-8":
        steps.append(f"encoded as {encoding}")
    if sometimes(r, 0.25):
        data = damage(r, data, steps)
    name += suffix
    if sometimes(r, 0.12):
        kind = r.choice(list(COMPRESS))
        name += kind if sometimes(r, 0.85) else r.choice((".gz", "", ".zip", ".Z"))
        data = COMPRESS[kind](data)
        if sometimes(r, 0.3):
            data = damage(r, data, steps)
    return name, data


_LAYOUTS: tuple[Callable[[str, str], str], ...] = (
    lambda text, mark: f"#{text}",
    lambda text, mark: f"# a comment\n# {mark} 1\n{text}",
    lambda text, mark: f"\n\n{text}",
    lambda text, mark: f"{text}\n \n",
    lambda text, mark: f"{text}# the end\n",
    lambda text, mark: text.rstrip("\r\n"),
    lambda text, mark: "\n".join(line + mark for line in text.splitlines()),
    lambda text, mark: "\n".join(mark + line for line in text.splitlines()),
    lambda text, mark: "\n".join(line.replace(mark, mark + " ") for line in text.splitlines()),
    lambda text, mark: text.replace("\n", "\n\n", 2),
    lambda text, mark: f"sep={mark}\n{text}",
    lambda text, mark: text + mark * 3 + "\n",
    lambda text, mark: text + text,
    lambda text, mark: f'"{text}',
    lambda text, mark: "".join(f'"{line}"\n' for line in text.splitlines()),
)
