"""Tables of a card that a command writes: what was measured is kept, row by row, and no number is typed by hand.

A script lists its tables in ``TABLES``. Run on its own it measures the rows that ``results/`` does not hold yet, keeps
each as a line of JSON, and puts the table into the card, between ``<!-- written by SCRIPT: TABLE -->`` and
``<!-- end -->``. ``python -m validation benchmarks`` lists all tables, and with ``--write`` writes them again from the
rows that are kept.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results"
CARDS = HERE.parents[1] / "models"
END = "<!-- end -->\n"

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """What a script measures.

    Attributes
    ----------
    script, model : str
        Name of the file without ``.py``; the model whose card it is for.
    worlds : mapping of str to sequence
        What is measured, or goes wrong, at which sizes; one size that is None where there are none.
    one : callable
        ``one(what, size, seed)``: numbers of one simulation, by column; NaN where there is none.
    columns : mapping of str to str
        Heading of each number.
    simulations : int
    name : str
        Of one of several tables of a script.
    first : str
        Heading of the worlds.
    roots : sequence of str
        Columns that are means of squares, and shown as their roots.
    """

    script: str
    model: str
    worlds: Mapping[str, Sequence[Any]]
    one: Callable[[str, Any, int], Mapping[str, float]]
    columns: Mapping[str, str]
    simulations: int
    name: str = ""
    first: str = "what is wrong"
    roots: Sequence[str] = field(default=())

    @property
    def label(self) -> str:
        """How the card's mark names it."""
        return f"{self.script}.py" + (f": {self.name}" if self.name else "")

    @property
    def file(self) -> Path:
        """Where the rows are kept."""
        return RESULTS / f"{self.script}{'_' * bool(self.name)}{self.name}.jsonl"

    def rows(self) -> list[Row]:
        """Return what is kept, in the order of the worlds; a later row of the same world and size replaces it."""
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.is_file() else []
        kept = {(row["what"], row["size"]): row for row in map(json.loads, lines)}
        return [kept[what, size] for what, sizes in self.worlds.items() for size in sizes if (what, size) in kept]

    def measure(self, what: str, size: Any, simulations: int) -> Row:
        """Run the simulations of a row."""
        before = time.process_time()
        runs = [self.one(what, size, seed) for seed in range(simulations)]
        row: Row = {"what": what, "size": size, "simulations": simulations, "mean": {}, "se": {}}
        for name in self.columns:
            values = np.array([run.get(name, np.nan) for run in runs], dtype=float)
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            row["mean"][name] = round(float(values.mean()), 5)
            if len(values) > 1:
                row["se"][name] = round(float(values.std(ddof=1) / np.sqrt(len(values))), 5)
        row["cpu_seconds"] = round(time.process_time() - before, 1)
        return row | {"date": datetime.now(UTC).date().isoformat()}

    def text(self) -> str:
        """Return the table, and below it how many simulations and which errors."""
        rows = self.rows()
        sizes = any(size is not None for row in rows for size in [row["size"]])
        head = [self.first, *(["size"] if sizes else []), *self.columns.values()]
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        before = ""
        for row in rows:
            label, before = ("" if row["what"] == before else row["what"]), row["what"]
            cells = [label, *([told(row["size"], 4) if row["size"] else ""] if sizes else [])]
            lines.append("| " + " | ".join([*cells, *(self.cell(row, name) for name in self.columns)]) + " |")
        return "\n".join(lines) + "\n\n" + self.errors(rows) + "\n"

    def cell(self, row: Row, name: str) -> str:
        """Write a mean."""
        value = row["mean"].get(name)
        if value is None:
            return ""
        return told(np.sqrt(value) if name in self.roots else value)

    def errors(self, rows: Sequence[Row]) -> str:
        """Say how many simulations there are, and what the largest standard errors are."""
        many = sorted({row["simulations"] for row in rows})
        said = f"Means of {' or '.join(map(str, many))} simulations"
        worst = [max((row["se"].get(n, 0) for row in rows), default=0) for n in self.columns if n not in self.roots]
        return f"{said}; largest standard errors, by column: {', '.join(map(told, worst))}."

    def write(self) -> None:
        """Put the table into the card."""
        card, begin = CARDS / self.model / "README.md", f"<!-- written by {self.label} -->\n"
        before, rest = card.read_text(encoding="utf-8").split(begin)
        _, after = rest.split(END, 1)
        card.write_text(f"{before}{begin}\n{self.text()}\n{END}{after}", encoding="utf-8")


def told(value: float, digits: int | None = None) -> str:
    """Write a number without a zero before the point: in so many digits, or to hundredths, if small to thousandths."""
    text = f"{value:.{digits}g}" if digits else f"{value:.{0 if abs(value) >= 100 else 2 if abs(value) >= 0.1 else 3}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("-0.", "-.") if text.startswith("-") else text.removeprefix("0") if "." in text else text


def run(tables: Sequence[Table], doc: str | None) -> None:
    """Measure what is not kept yet, and write the tables: the command of a script."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, help="of each row (default: as declared)")
    parser.add_argument("--only", nargs="*", help="worlds to measure")
    parser.add_argument("--again", action="store_true", help="measure rows that are kept, too")
    options = parser.parse_args()
    known = [what for table in tables for what in table.worlds]
    for what in options.only or []:
        if what not in known:
            parser.error(f"there is no {what!r}; known: {', '.join(map(repr, known))}")
    for table in tables:
        kept = {(row["what"], row["size"]) for row in table.rows()}
        for what, sizes in table.worlds.items():
            for size in sizes:
                if (options.only and what not in options.only) or ((what, size) in kept and not options.again):
                    continue
                row = table.measure(what, size, options.simulations or table.simulations)
                table.file.parent.mkdir(exist_ok=True)
                with table.file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
        table.write()


def every() -> list[Table]:
    """Return the tables of all scripts."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    scripts = [path for path in sorted(HERE.glob("*.py")) if "\nTABLES = " in path.read_text(encoding="utf-8")]
    return [table for path in scripts for table in importlib.import_module(path.stem).TABLES]


def main(arguments: Sequence[str]) -> int:
    """List the tables, or write them from the rows that are kept."""
    parser = argparse.ArgumentParser(prog="python -m validation benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write all tables again, from the rows that are kept")
    options = parser.parse_args(arguments)
    for table in every():
        rows = table.rows()
        if options.write:
            table.write()
        count = sum(len(sizes) for sizes in table.worlds.values())
        dates = sorted({row["date"] for row in rows})
        when = f", {dates[0]}" + (f" to {dates[-1]}" if len(dates) > 1 else "") if dates else ""
        print(f"{table.model:24s} python validation/benchmarks/{table.label}: {len(rows)} of {count} rows{when}")
    return 0
