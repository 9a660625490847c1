"""Cases of locus_regression: a matrix of the 96 channels by genome."""

import csv
import io
import json
from itertools import product
from typing import Any

from validation.fuzz import parsers
from validation.fuzz.case import Case, Random, UnlikeError, sometimes
from validation.fuzz.oracles import account, ledger, oracle, variable
from validation.fuzz.raw import decompressed
from validation.fuzz.text import NAMES, Grid, alter, written

MODEL = "locus_regression"
CHANNELS = [f"{five}[{ref}>{alt}]{three}" for ref, alts in (("C", "AGT"), ("T", "ACG")) for alt in alts
            for five, three in product("ACGT", repeat=2)]  # fmt: skip
HEADS = ("Type", "MutationType", "Mutation Types", "Mutation Type", "")


def matrix(r: Random) -> Case:
    """Make a case of the reader of matrices."""
    names = [f"s{j + 1}" for j in range(r.randint(1, 4))]
    rows = [[channel, *(str(int(r.expovariate(0.2))) for _ in names)] for channel in CHANNELS]
    grid, steps = Grid([r.choice(HEADS), *names], rows), list[str]()
    if sometimes(r, 0.3):
        r.shuffle(rows)
    options: dict[str, Any] = {}
    if sometimes(r, 0.15):
        options["samples"] = r.choice(("s1", "s2,s1", "s9", "", " s1 , s2", r.choice(NAMES)))
    alter(r, grid, steps)
    file, data = written(r, "m", grid, steps)
    case = Case(MODEL, "matrix", {file: data}, [file], options, steps=steps)
    case.check = oracle(lambda tree: _check(tree, case))
    return case


def _check(tree: Any, case: Case) -> None:
    ledger(tree)
    wanted = [one.strip() for one in case.options.get("samples", "").split(",") if one.strip()]
    genomes, cells = _parsed(case.content(case.inputs[0]), wanted)
    labels = json.loads(tree.attrs["labels"])["genome"]
    places = (variable(tree, name).to_numpy().tolist() for name in ("genome", "channel", "count"))
    have = {(labels[g].strip(), CHANNELS[c]): n for g, c, n in zip(*places, strict=True)}
    if set(have) != set(cells):
        raise UnlikeError(f"labels: {sorted(set(have) ^ set(cells))[:3]}")
    for place, cell in cells.items():
        if not parsers.same_number(have[place], cell):
            raise UnlikeError(f"values: {cell!r} was read as {have[place]!r} at {place}")
    account(tree, "rows", len(CHANNELS), len(CHANNELS))
    account(tree, "columns", genomes, len({name for name, _ in cells}))


def _parsed(data: bytes, wanted: list[str]) -> tuple[int, dict[tuple[str, str], str]]:
    """Return the number of genomes, and the cells that are not zero of those wanted, by Python's csv."""
    text = decompressed(data).decode("utf-8-sig")
    for mark in "\t,":
        records = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if "".join(row).strip()]
        if records and {len(row) for row in records[1:]} == {len(records[0])} and len(records[0]) > 1:
            break
    else:
        raise UnlikeError("no table: the file is not rectangular under any delimiter")
    header = [cell.strip() for cell in records[0]]
    key = next((header.index(head) for head in HEADS if head in header), 0)
    names = [j for j in range(len(header)) if j != key]
    if len(set(header)) < len(header):
        raise UnlikeError("columns: a name is used twice")
    if sorted(row[key].strip() for row in records[1:]) != sorted(CHANNELS):
        raise UnlikeError("rows: they are not the 96 channels")
    cells = {(header[j], row[key].strip()): row[j] for row in records[1:] for j in names}
    return len(names), {
        place: cell for place, cell in cells.items() if parsers.number(cell) != 0 and (not wanted or place[0] in wanted)
    }
