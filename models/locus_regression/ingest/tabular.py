"""Readers of MAF files and of tables with a row for each mutation, with a header or without."""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genarium.errors import InputError
from genarium.readers.messages import absent, listed

from .alleles import COMPLEMENT
from .lines import numbered_blocks
from .mutations import Mutations
from .options import Options
from .values import parse_context, parse_weight

BLOCK = 100_000
"""Lines that are in memory at a time."""

NAMES: dict[str, tuple[str, ...]] = {
    "genome": ("tumor_sample_barcode", "sample", "sample_id", "sampleid", "genome_id", "icgc_donor_id", "donor"),
    "chromosome": ("chromosome", "chrom", "chr", "seqnames", "contig"),
    "position": ("start_position", "pos", "position", "start", "pos_start", "chromosome_start"),
    "reference": ("reference_allele", "ref", "reference", "reference_genome_allele"),
    "alternative": ("tumor_seq_allele2", "alt", "alternative", "alternate", "mutated_to_allele"),
    "first": ("tumor_seq_allele1",),
    "strand": ("strand", "chromosome_strand"),
    "filters": ("filter",),
    "build": ("ncbi_build",),
}
"""Names, in small letters, of the columns that a mutation is read from."""

NEEDED = ("genome", "chromosome", "position", "reference", "alternative")
CHROMOSOME = re.compile(r"(chr)?(\d\d?|[XYM]|MT)", re.IGNORECASE)
MISSING = frozenset(("", ".", "na", "nan", "none"))


@dataclass(frozen=True)
class Layout:
    """Where in a line the parts of a mutation are.

    Attributes
    ----------
    columns : dict of str to int
        Part -> number of the column, from 0.
    names : list of str
        Of all columns.
    separator : str
        "" for white space.
    first : int
        Number of the first line with a mutation.
    """

    columns: dict[str, int]
    names: list[str]
    separator: str
    first: int


def read_maf(paths: Sequence[Path], options: Options, wanted: Sequence[str]) -> Mutations:
    """Read the mutations of MAF files; see :func:`read_rows`."""
    return read_rows(paths, options, wanted, maf=True)


def read_table(paths: Sequence[Path], options: Options, wanted: Sequence[str]) -> Mutations:
    """Read the mutations of tables; see :func:`read_rows`."""
    return read_rows(paths, options, wanted, maf=False)


def read_rows(paths: Sequence[Path], options: Options, wanted: Sequence[str], maf: bool) -> Mutations:
    """Read the mutations of tables with a row for each.

    Parameters
    ----------
    paths : sequence of Path
        Plain or gzip. Five columns need no header, in the order chromosome, position, genome, reference, alternative,
        or with the genome first.
    options : Options
    wanted : sequence of str
        Genomes to read; all if empty.
    maf : bool
        Whether names of MAF are demanded.

    Returns
    -------
    Mutations

    Raises
    ------
    InputError
        Naming file, line and remedy.
    """
    out = Mutations(events=[] if options.of_events else None)
    builds: set[str] = set()
    for path in paths:
        layout = _layout(path, options, maf)
        reader = _Rows(path, layout, options, wanted, out)
        for first, rows in _rows(path, layout):
            reader.read(first, rows)
        builds |= reader.builds
    if len(builds) > 1:
        out.notes.append(f"The rows are of several genome builds ({listed(sorted(builds))}); all were read as one.")
    return out


def _layout(path: Path, options: Options, maf: bool) -> Layout:
    """Find the header, or do without."""
    for first, block in numbered_blocks(path, 1000):
        for number, line in enumerate(block, first):
            names = line.lstrip("#").strip()
            if not names or (line.startswith("#") and _is_comment(names)):
                continue
            separator = next((mark for mark in "\t," if mark in line), "")
            fields = [field.strip() for field in (names.split(separator) if separator else names.split())]
            found = _named(fields)
            if not maf and not {"chromosome", "position"} & set(found):
                if name := options.weight or (options.context if options.fasta is None else None):
                    raise InputError(
                        f"{path}: line {number} names no columns, so that there is none called {name!r}. Name the "
                        "columns in the first line."
                    )
                rest = [one for one in block[number - first :] if one.strip()]
                return Layout(_unnamed(path, number, rest, separator), [], separator, number)
            return _with_header(path, options, Layout(found, fields, separator, number + 1))
    raise InputError(f"{path}: the file holds no mutations. Write it again.")


def _is_comment(text: str) -> bool:
    """Whether a line that began with # is no header."""
    return not any(field in NAMES["chromosome"] for field in re.split(r"[\t, ]+", text.lower()))


def _named(fields: list[str]) -> dict[str, int]:
    at = {field.lower(): i for i, field in reversed(list(enumerate(fields)))}
    return {part: at[name] for part, names in NAMES.items() for name in reversed(names) if name in at}


def _with_header(path: Path, options: Options, layout: Layout) -> Layout:
    for part in NEEDED:
        if part not in layout.columns:
            raise InputError(
                f"{path}: line {layout.first - 1} names no column of the {part} (such as {NAMES[part][0]!r}); its "
                f"columns are {listed(layout.names)}. Rename one."
            )
    columns = dict(layout.columns)
    for part, name in (("weight", options.weight), ("context", options.context if options.fasta is None else None)):
        if name is not None:
            if name not in layout.names:
                raise absent(path, "column", name, layout.names)
            columns[part] = layout.names.index(name)
    return Layout(columns, layout.names, layout.separator, layout.first)


def _unnamed(path: Path, number: int, block: list[str], separator: str) -> dict[str, int]:
    """Tell the columns of a table without header."""
    rows = [[field.strip() for field in (line.split(separator) if separator else line.split())] for line in block]
    width = len(rows[0])
    if width != 5:
        raise InputError(
            f"{path}: line {number} names no columns, and has {width} fields. A table without header has five: "
            "chromosome, position, genome, reference, alternative. Else name the columns in the first line."
        )
    columns = list(zip(*(row for row in rows if len(row) == 5), strict=True))
    whole = [all(text.isdecimal() for text in column) for column in columns]
    named = [all(CHROMOSOME.fullmatch(text) for text in column) for column in columns]
    if whole[2] and (not whole[1] or (named[1] and not named[0])):
        return dict(zip(NEEDED, range(5), strict=True))
    if whole[1]:
        return dict(zip(("chromosome", "position", "genome", "reference", "alternative"), range(5), strict=True))
    raise InputError(
        f"{path}: line {number} ({listed(rows[0])}): neither the second nor the third of its five columns holds a "
        "position in every line. Name the columns in the first line."
    )


def _rows(path: Path, layout: Layout) -> Iterator[tuple[Sequence[int], dict[str, list[str]]]]:
    """Yield line numbers and columns, as text, a block of lines at a time."""
    import pandas as pd

    wanted = sorted(set(layout.columns.values()))
    for first, block in numbered_blocks(path, BLOCK):
        kept = [
            i for i, line in enumerate(block) if first + i >= layout.first and line.strip() and not line.startswith("#")
        ]
        if not kept:
            continue
        if short := next((i for i in kept if _width(block[i], layout) <= wanted[-1]), None):
            raise _ragged(path, layout, [(first + short, block[short])], ValueError())
        text = "\n".join([block[i] for i in kept])
        try:
            frame = pd.read_csv(
                io.StringIO(text),
                sep=layout.separator or r"\s+",
                header=None,
                usecols=wanted,
                dtype=str,
                quoting=3 if layout.separator == "\t" else 0,
                keep_default_na=False,
                na_filter=False,
            )
            if len(frame) != len(kept):
                raise ValueError("line breaks within quotation marks")
        except ValueError as error:
            raise _ragged(path, layout, [(first + i, block[i]) for i in kept], error) from error
        yield [first + i for i in kept], {part: frame[at].tolist() for part, at in layout.columns.items()}


def _width(line: str, layout: Layout) -> int:
    return line.count(layout.separator) + 1 if layout.separator else len(line.split())


def _ragged(path: Path, layout: Layout, numbered: list[tuple[int, str]], error: Exception) -> InputError:
    want = max(layout.columns.values()) + 1
    for number, line in numbered:
        have = _width(line, layout)
        if have < want or (layout.names and have > len(layout.names)) or (not layout.names and have != want):
            return InputError(
                f"{path}: line {number} has {have} columns where {len(layout.names) or want} are needed. The file may "
                "be cut short: fetch it again, or complete the line."
            )
    return InputError(f"{path}: the lines from {numbered[0][0]} on cannot be read as a table ({error}).")


class _Rows:
    """Reads the rows of one file into mutations."""

    def __init__(self, path: Path, layout: Layout, options: Options, wanted: Sequence[str], out: Mutations) -> None:
        self.path, self.layout, self.out = path, layout, out
        self.any_filter = options.filters == "any"
        self.wanted, self.weight, self.context = set(wanted), options.weight, options.context
        self.builds: set[str] = set()

    def read(self, lines: Sequence[int], columns: dict[str, list[str]]) -> None:
        """Take a block of rows."""
        n = len(lines)
        blank: list[str] = [""] * n
        parts = [columns.get(part, blank) for part in ("genome", "chromosome", "position", "reference", "alternative")]
        more = [columns.get(part, blank) for part in ("first", "strand", "filters", "weight", "context")]
        self.builds |= set(columns.get("build", ())) - {""}
        has_filter = "filters" in columns
        for line, *row in zip(lines, *parts, *more, strict=True):
            self._row(line, has_filter, *row)

    def _row(self, line: int, has_filter: bool, *row: str) -> None:
        genome, chromosome, position, reference, second, first, strand, filters, weight, context = row
        where, out = f"{self.path}: line {line}", self.out
        genome = genome.strip()
        if not position.strip().isdecimal():
            column = self._column("position")
            raise InputError(f"{where}: column {column}: the position is {position!r}, no whole number. Correct it.")
        if not genome or not reference.strip():
            part = "genome" if not genome else "reference"
            raise InputError(f"{where}: column {self._column(part)} is empty. Write the {part} there.")
        alternatives = self._alternatives(reference, first, second)
        out.every[genome] = None
        if self.wanted and genome not in self.wanted:
            out.leave("of a genome not asked for", len(alternatives))
            return
        passed = filters.strip()
        if has_filter and passed not in ("PASS", ".", "") and not self.any_filter:
            out.leave(f"filter {passed}", len(alternatives))
            return
        out.passed += len(alternatives) * (passed == "PASS")
        out.unfiltered += len(alternatives) * (has_filter and passed in (".", ""))
        number = out.number(genome)
        count = parse_weight(where, self.weight, weight) if self.weight else None
        code = (
            parse_context(where, self.context, context) if self.context and "context" in self.layout.columns else None
        )
        minus = strand.strip() in ("-", "-1")
        for alternative in alternatives:
            ref, alt = (reference, alternative)
            if minus:
                ref, alt = (allele.strip().translate(COMPLEMENT)[::-1] for allele in (ref, alt))
            out.add(number, chromosome, int(position), ref, alt, count, code)

    @staticmethod
    def _alternatives(reference: str, first: str, second: str) -> list[str]:
        """Return the alleles that differ from the reference; one if both are the same."""
        ref = reference.strip().upper()
        found = dict.fromkeys(
            allele for text in (second, first) for allele in text.split(",") if allele.strip().lower() not in MISSING
        )
        differ = [allele for allele in found if allele.strip().upper() != ref]
        return differ or [reference]

    def _column(self, part: str) -> Any:
        at = self.layout.columns[part]
        return repr(self.layout.names[at]) if self.layout.names else at + 1
