"""Intervals of files: BED, bedGraph and peaks, block by block; genes of a GTF or GFF3 file."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.delimited import is_number

from .contigs import Contigs
from .lines import lines, numbered_blocks

BLOCK = 500_000
"""Lines that are in memory at a time."""

HEADER = ("#", "track", "browser")

ATTRIBUTE = re.compile(r'(\w+)[ =]"?([^";]+)"?')


@dataclass(frozen=True)
class Intervals:
    """Intervals on one contig, half open, counted from zero.

    Attributes
    ----------
    contig : int
    start, end : ndarray of int64, shape (n,)
        Sorted by start.
    value : ndarray, shape (n,)
        One where the file has none.
    line : ndarray of int64, shape (n,)
        Of the file.
    """

    contig: int
    start: Array
    end: Array
    value: Array
    line: Array


def read_bed(path: Path, contigs: Contigs, column: int | None, lost: dict[str, int]) -> Iterator[Intervals]:
    """Yield the intervals of a BED-like file, a block of lines and a contig at a time.

    Parameters
    ----------
    path : Path
    contigs : Contigs
    column : int, optional
        Number of the column with the value, from 0.
    lost : dict
        Intervals on contigs that the genome does not have are counted here, by the contig's name.

    Raises
    ------
    InputError
        Naming the line.
    """
    import pandas as pd

    for first, block in numbered_blocks(path, BLOCK):
        kept = [i for i, line in enumerate(block) if line.strip() and not line.startswith(HEADER)]
        if not kept:
            continue
        wanted = [0, 1, 2, *([] if column is None else [column])]
        separator = "\t" if "\t" in block[kept[0]] else r"\s+"
        text = "\n".join([block[i] for i in kept])
        try:
            frame = pd.read_csv(io.StringIO(text), sep=separator, header=None, usecols=wanted, dtype={0: str})
            number = np.asarray(kept) + first
            start, end = (frame[i].to_numpy() for i in (1, 2))
            value = np.ones(len(frame)) if column is None else frame[column].to_numpy(dtype=float)
            if len(frame) != len(kept) or {start.dtype.kind, end.dtype.kind} != {"i"} or (start < 0).any():
                raise ValueError("not whole numbers")
        except (ValueError, IndexError, KeyError) as error:
            raise _first_bad(path, [(first + i, block[i]) for i in kept], column) from error
        if (empty := np.flatnonzero(end < start)).size:
            at = int(empty[0])
            raise InputError(
                f"{path}: line {number[at]}: the interval ends before it starts ({start[at]} to {end[at]}). Correct it."
            )
        codes, names = pd.factorize(frame[0])
        for code, name in enumerate(names):
            of = np.flatnonzero(codes == code)
            contig = contigs.find(name)
            if contig < 0:
                lost[name] = lost.get(name, 0) + len(of)
                continue
            of = of[np.argsort(start[of], kind="stable")]
            yield Intervals(contig, start[of], end[of], value[of], number[of])


def _first_bad(path: Path, numbered: list[tuple[int, str]], column: int | None) -> InputError:
    """Say which line is no interval."""
    for number, line in numbered:
        fields = line.split("\t") if "\t" in line else line.split()
        if len(fields) < 3:
            what = f"has {len(fields)} columns; an interval has three: chromosome, start, end"
        elif not (fields[1].strip().isdecimal() and fields[2].strip().isdecimal()):
            what = f"has start {fields[1]!r} and end {fields[2]!r}, which must be whole numbers from 0"
        elif column is not None and len(fields) <= column:
            what = f"has {len(fields)} columns; its value is looked for in column {column + 1}"
        elif column is not None and not is_number(fields[column]):
            what = f"has {fields[column]!r} in column {column + 1}, where a number is looked for"
        else:
            continue
        return InputError(f"{path}: line {number} {what}. Correct it, or name the file after its true format.")
    return InputError(f"{path}: the lines from {numbered[0][0]} on have differing numbers of columns. Make them alike.")


@dataclass(frozen=True)
class Gene:
    """A gene of an annotation."""

    contig: int
    start: int
    end: int
    names: tuple[str, ...]
    line: int
    strand: str = "."


def read_genes(path: Path, contigs: Contigs, lost: dict[str, int]) -> list[Gene]:
    """Read the genes of a GTF or GFF3 file: its rows of type gene, or else the hull of what has one gene_id.

    Raises
    ------
    InputError
        Naming the line.
    """
    genes: list[Gene] = []
    hulls: dict[tuple[int, str], list[int]] = {}
    strands: dict[tuple[int, str], str] = {}
    for number, line in enumerate(lines(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) < 9 or not all(text.isdecimal() and len(text) < 13 for text in fields[3:5]):
            raise InputError(
                f"{path}: line {number} is not one of GTF: nine columns between tabs, the fourth and fifth being "
                "start and end. Correct it, or name the file after its true format."
            )
        contig = contigs.find(fields[0])
        if contig < 0:
            lost[fields[0]] = lost.get(fields[0], 0) + 1
            continue
        start, end = int(fields[3]) - 1, int(fields[4])
        is_gene = fields[2] == "gene"
        if not is_gene and genes:
            continue
        told = dict(ATTRIBUTE.findall(fields[8]))
        if is_gene:
            names = tuple(told[key] for key in ("gene_id", "gene_name", "ID", "Name", "gene") if key in told)
            genes.append(Gene(contig, start, end, names, number, fields[6].strip()))
        elif key := told.get("gene_id", ""):
            hull = hulls.setdefault((contig, key), [start, end, number])
            hull[:2] = [min(hull[0], start), max(hull[1], end)]
            strands.setdefault((contig, key), fields[6].strip())
    if not genes:
        genes = [Gene(at[0], start, end, at[1:], line, strands[at]) for at, (start, end, line) in hulls.items()]
    if not genes and not lost:
        raise InputError(f"{path}: there are no genes: no row of type gene, and none with a gene_id. Give a GTF file.")
    return genes


def by_contig(genes: list[Gene], values: Array) -> Iterator[Intervals]:
    """Yield the intervals of genes, contig by contig, with a value each."""
    contig = np.array([gene.contig for gene in genes], dtype=np.int64)
    start = np.array([gene.start for gene in genes], dtype=np.int64)
    end = np.array([gene.end for gene in genes], dtype=np.int64)
    line = np.array([gene.line for gene in genes], dtype=np.int64)
    for one in np.unique(contig):
        of = np.flatnonzero(contig == one)
        of = of[np.argsort(start[of], kind="stable")]
        yield Intervals(int(one), start[of], end[of], values[of], line[of])


def merged(start: Array, end: Array) -> tuple[Array, Array]:
    """Return the union of intervals that are sorted by start."""
    if not len(start):
        return start, end
    reach = np.maximum.accumulate(end)
    opens = np.flatnonzero(np.r_[True, start[1:] > reach[:-1]])
    return start[opens], reach[np.r_[opens[1:] - 1, len(start) - 1]]
