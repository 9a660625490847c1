"""Reader of VCF and BCF files: genotypes, filters, weights, several samples or several files."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from genarium.errors import InputError
from genarium.readers.fasta import htslib
from genarium.readers.messages import listed

from .lines import lines
from .mutations import Mutations
from .options import Options
from .values import parse_context, parse_weight

NOT_CARRIED = frozenset(("0/0", "0|0", "./.", ".|.", "0", ".", "0/.", "./0", "0|.", ".|0"))

TUMOUR, NORMAL = ("TUMOR", "TUMOUR"), ("NORMAL",)
"""Names that callers give the two samples of every file."""

NORMAL_SAMPLE = re.compile(r"##normal_sample=(.+)")
COMMON = 8
"""Columns before FORMAT."""


@dataclass
class Header:
    """What the lines with # say.

    Attributes
    ----------
    line : int
        Of the names of columns.
    samples : list of str
    normal : set of str
        Those said to be matched normals.
    """

    line: int
    samples: list[str]
    normal: set[str] = field(default_factory=set)


def read_vcf(paths: Sequence[Path], options: Options, wanted: Sequence[str]) -> Mutations:
    """Read the mutations of VCF files.

    Parameters
    ----------
    paths : sequence of Path
        Plain, gzip, bgzip or BCF; sorted or not.
    options : Options
    wanted : sequence of str
        Genomes to read; all if empty.

    Returns
    -------
    Mutations

    Raises
    ------
    InputError
        Naming file, line and remedy.
    """
    out = Mutations(events=[] if options.of_events else None)
    seen: dict[str, str] = {}
    for path in paths:
        if _read_one(path, options, wanted, out, seen, True):
            _read_one(path, options, wanted, out, seen, False)
    return out


def stem(path: Path) -> str:
    """Return a file's name without its endings."""
    name = path.name
    for end in (".gz", ".bgz", ".vcf", ".bcf"):
        name = name.removesuffix(end)
    return name


def _records(path: Path) -> Iterator[str]:
    """Yield the lines of a VCF file, or those that a BCF file would have."""
    if path.suffix.lower() != ".bcf":
        yield from lines(path)
        return
    pysam = htslib("a BCF file")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file. Check the path.")
    try:
        with pysam.VariantFile(str(path)) as file:
            yield from str(file.header).splitlines()
            for record in file:
                yield str(record).rstrip("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the BCF file cannot be read ({error}). Fetch it again.") from error


def header_of(path: Path, stream: Iterator[str]) -> Header:
    """Read the header of a VCF file, up to the line #CHROM.

    Raises
    ------
    InputError
        If there is none.
    """
    normal: set[str] = set()
    number = 0
    for number, line in enumerate(stream, 1):
        if line.startswith("##"):
            if found := NORMAL_SAMPLE.match(line):
                normal.add(found[1].strip())
        elif line.startswith("#"):
            columns = line.lstrip("#").split("\t")
            if columns[:5] != ["CHROM", "POS", "ID", "REF", "ALT"] or len(columns) < COMMON:
                raise InputError(
                    f"{path}: line {number} must name the columns CHROM, POS, ID, REF, ALT, QUAL, FILTER and INFO, "
                    f"with tabs between them; it names {listed(columns)}."
                )
            samples = columns[COMMON + 1 :]
            if len(set(samples)) < len(samples):
                twice = next(name for name in samples if samples.count(name) > 1)
                raise InputError(f"{path}: line {number}: the sample {twice!r} is there twice. Rename one.")
            if any(name.upper() in TUMOUR for name in samples):
                normal |= {name for name in samples if name.upper() in NORMAL}
            return Header(number, samples, normal & set(samples))
        elif line.strip():
            width = len(line.split())
            hint = " Read a table without header, such as this one, with format 'table'." if width == 5 else ""
            raise InputError(
                f"{path}: line {number} comes before the line #CHROM that names the columns: this is no VCF file.{hint}"
            )
    raise InputError(f"{path}: {'there is no line #CHROM' if number else 'the file is empty'}. Fetch the file again.")


def _names(path: Path, header: Header, genotypes: bool, seen: dict[str, str], out: Mutations) -> list[str]:
    """Return the genome that each sample column is; "" for a matched normal."""
    if not genotypes or not header.samples:
        return [stem(path)]
    names = []
    for sample in header.samples:
        if sample in header.normal:
            names.append("")
            continue
        name = stem(path) if sample.upper() in TUMOUR else sample
        if name in seen and seen[name] != str(path):
            out.notes.append(f"{name!r} is in {Path(seen[name]).name} and in {path.name}: read as one genome.")
        seen[name] = str(path)
        names.append(name)
    if header.normal:
        out.notes.append(f"{path.name}: {listed(sorted(header.normal))} is the matched normal, and was left out.")
    return names


def _read_one(
    path: Path, options: Options, wanted: Sequence[str], out: Mutations, seen: dict[str, str], genotypes: bool
) -> bool:
    """Read one file; return whether its only sample carries nothing, so that it might be a matched normal's column."""
    stream = _records(path)
    header = header_of(path, stream)
    names = _names(path, header, genotypes, seen, out)
    tumours = [name for name in names if name]
    out.every |= dict.fromkeys(tumours)
    if not genotypes:
        out.notes.append(
            f"{path.name}: {header.samples[0]} carries none of its alleles (as a matched normal does): they were "
            f"counted for the genome {names[0]!r}, after the file's name."
        )
        out.genomes.pop(header.samples[0], None)
        out.every.pop(header.samples[0], None)
    reader = _Reader(path, options, out, names, wanted, genotypes and bool(header.samples))
    for number, line in enumerate(stream, header.line + 1):
        if line:
            reader.record(number, line, COMMON + 1 + len(header.samples) if header.samples else COMMON)
    alone = genotypes and len(tumours) == 1 and len(header.samples) == 1 and reader.not_carried == reader.records > 0
    if alone:
        seen.pop(names[0])
    elif reader.not_carried:
        out.notes.append(f"{path.name}: {reader.not_carried} records are carried by no sample.")
    return alone


class _Reader:
    """Reads the records of one file into mutations."""

    def __init__(
        self, path: Path, options: Options, out: Mutations, names: list[str], wanted: Sequence[str], genotypes: bool
    ) -> None:
        self.path, self.out, self.genotypes = path, out, genotypes
        self.any_filter = options.filters == "any"
        self.weight, self.context = options.weight, options.context if options.fasta is None else None
        self.genome = [out.number(name) if name and (not wanted or name in wanted) else -1 for name in names]
        self.reason = ["of a genome not asked for" if name else "of the matched normal" for name in names]
        self.single = len([name for name in names if name]) == 1
        self.records = self.not_carried = 0

    def record(self, number: int, line: str, width: int) -> None:
        """Take one line."""
        self.records += 1
        fields = line.split("\t")
        if len(fields) != width:
            what = "be cut short" if len(fields) < width else "have lost the end of a line"
            raise InputError(
                f"{self.path}: line {number} has {len(fields)} columns where the header names {width}. The file may "
                f"{what}: fetch it again, or correct the line."
            )
        chromosome, position, _, reference, alternatives, _, filters, info = fields[:COMMON]
        filters = filters.strip()
        if not position.isdecimal():
            raise InputError(f"{self.path}: line {number}: the position is {position!r}, no whole number. Correct it.")
        several = alternatives.split(",")
        carriers = self._carriers(number, fields, len(several)) if self.genotypes else [(0, range(1, len(several) + 1))]
        out, at = self.out, int(position)
        for column, alleles in carriers:
            genome = self.genome[column]
            if genome < 0:
                out.leave(self.reason[column], len(alleles))
                continue
            if filters not in ("PASS", ".", "") and not self.any_filter:
                out.leave(f"filter {filters}", len(alleles))
                continue
            if filters == "PASS":
                out.passed += len(alleles)
            elif filters in (".", ""):
                out.unfiltered += len(alleles)
            for allele in alleles:
                weight = self._weight(number, info, fields, column, allele, len(several)) if self.weight else None
                context = self._context(number, info) if self.context else None
                out.add(genome, chromosome, at, reference, several[allele - 1], weight, context)

    def _carriers(self, number: int, fields: list[str], count: int) -> list[tuple[int, Sequence[int]]]:
        """Return the samples that carry alternative alleles, and which."""
        if fields[COMMON][:3] not in ("GT", "GT:"):
            if not self.single:
                raise InputError(
                    f"{self.path}: line {number} has no genotypes (GT comes first in FORMAT), so that which of the "
                    "samples carries the allele cannot be told. Give one file a sample, or files with genotypes."
                )
            return [(next(i for i, g in enumerate(self.reason) if g != "of the matched normal"), range(1, count + 1))]
        found: list[tuple[int, Sequence[int]]] = []
        for column, text in enumerate(fields[COMMON + 1 :]):
            if text[:3] not in NOT_CARRIED or text[3:4] not in ("", ":"):  # of more than two chromosomes: 0/0/1
                alleles = carried(text.partition(":")[0])
                if alleles is None or (alleles and alleles[-1] > count):
                    raise InputError(
                        f"{self.path}: line {number}: the genotype {text!r} is none of {count} alternative alleles. "
                        "Correct it."
                    )
                if alleles:
                    found.append((column, alleles))
        self.not_carried += not found
        return found

    def _tag(self, info: str, tag: str) -> str | None:
        key = f"{tag}="
        return next((one[len(key) :] for one in info.split(";") if one.startswith(key)), None)

    def _weight(self, number: int, info: str, fields: list[str], column: int, allele: int, count: int) -> float:
        """Return the weight of an allele: of INFO or FORMAT, one for all alleles or one for each."""
        assert self.weight is not None
        place, _, tag = self.weight.rpartition("/")
        told = self._tag(info, tag) if place.upper() != "FORMAT" else None
        if told is None and place.upper() != "INFO" and len(fields) > COMMON:
            keys = fields[COMMON].split(":")
            values = fields[COMMON + 1 + column].split(":")
            told = dict(zip(keys, values, strict=False)).get(tag)
        values = (told or ".").split(",")
        text = values[allele - 1] if len(values) == count else values[0]
        return parse_weight(f"{self.path}: line {number}", tag, text)

    def _context(self, number: int, info: str) -> int:
        assert self.context is not None
        tag = self.context.rpartition("/")[2]
        return parse_context(f"{self.path}: line {number}", tag, self._tag(info, tag))


@lru_cache(maxsize=1 << 14)
def carried(genotype: str) -> tuple[int, ...] | None:
    """Return the alternative alleles of a genotype, in order; None if it is no genotype.

    The phase of the first allele may stand before it (VCF 4.4, section 1.6.2).
    """
    parts: list[Any] = genotype.replace("|", "/").removeprefix("/").split("/")
    if not all(part.isdecimal() or part == "." for part in parts):
        return None
    return tuple(sorted({int(part) for part in parts if part not in (".", "0")}))
