"""Mutations counted slowly: the oracle of the readers of VCF, MAF and tables."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from validation.fuzz.case import Case, UnlikeError
from validation.fuzz.oracles import ledger, variable
from validation.fuzz.raw import decompressed

type Genome = dict[str, str]
type Carried = Callable[[str, list[str]], Iterator["Mutation"]]
"""From a file's name and its lines to the mutations it has."""

MISSING = ("", ".", "na", "nan", "none")
NAMES = {
    "genome": ("tumor_sample_barcode", "sample"),
    "chromosome": ("chromosome", "chrom", "chr"),
    "position": ("start_position", "pos", "start"),
    "reference": ("reference_allele", "ref", "reference"),
    "alternative": ("tumor_seq_allele2", "alt", "alternative"),
}


class UnclearError(Exception):
    """What the files say is left to the reader: only its sums are checked."""


@dataclass(frozen=True)
class Mutation:
    """An allele that a genome carries."""

    genome: str
    chromosome: str
    position: str
    reference: str
    alternative: str
    filters: str


def verify(tree: Any, case: Case, genome: Genome, rows: Carried, sound: bool) -> None:
    """Check the ledger's sums, that they are the tree's, and both against a slow count where there is one."""
    told = ledger(tree)
    if told is None:
        raise UnlikeError("no ledger: the tree has none")
    kept = told["rows"]["kept"]
    total = float(variable(tree, "count").sum())
    if not case.options.get("weight") and total != kept:
        raise UnlikeError(f"ledger: {kept} mutations were kept, the tree has {total:g}")
    try:
        every = [one for name in case.inputs for one in rows(name, _lines(case.content(name)))]
    except UnclearError:
        return
    if told["rows"]["read"] != len(every):
        raise UnlikeError(f"ledger: {told['rows']['read']} mutations were read, the files have {len(every)}")
    if not sound:
        return
    try:
        count = _kept(every, genome, case.options)
    except UnclearError:
        return
    if kept != count:
        raise UnlikeError(f"kept: {kept} mutations instead of {count}")


def _lines(data: bytes) -> list[str]:
    try:
        return re.split("\r\n|\r|\n", decompressed(data).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UnlikeError(f"no text: {error.reason}") from None


def vcf_rows(name: str, lines: list[str]) -> Iterator[Mutation]:
    """Return the mutations of a VCF file."""
    at = next(i for i, line in enumerate(lines) if line.startswith("#") and not line.startswith("##"))
    samples = lines[at].split("\t")[9:]
    if any(one.upper() in ("TUMOR", "TUMOUR") for one in samples) or any("normal_sample" in line for line in lines):
        raise UnclearError
    records = [line.split("\t") for line in lines[at + 1 :] if line]
    if samples and any(row[8].split(":")[0] != "GT" for row in records):
        raise UnclearError
    stem = re.sub(r"\.vcf(\.gz)?$", "", name)
    found, carried = [], False
    for row in records:
        alternatives = row[4].split(",")
        for sample, call in zip(samples, row[9:], strict=True):
            alleles = {int(a) for a in re.split(r"[/|]", call.split(":")[0]) if a not in (".", "0")}
            carried |= bool(alleles)
            found += [
                Mutation(sample, row[0], row[1], row[3], alternatives[a - 1], row[6]) for a in sorted(alleles) if a
            ]
    if not samples or (len(samples) == 1 and not carried):
        found = [
            Mutation(stem, row[0], row[1], row[3], alternative, row[6])
            for row in records
            for alternative in row[4].split(",")
        ]
    yield from found


def maf_rows(name: str, lines: list[str]) -> Iterator[Mutation]:
    """Return the mutations of a MAF file."""
    return _rows(lines, True)


def table_rows(name: str, lines: list[str]) -> Iterator[Mutation]:
    """Return the mutations of a table."""
    return _rows(lines, False)


def _rows(lines: list[str], named: bool) -> Iterator[Mutation]:
    lines = [line for line in lines if line.strip()]
    if any('"' in line or line.startswith("#") for line in lines):
        raise UnclearError
    mark = next((one for one in "\t," if one in lines[0]), None)
    blank = re.compile("[ \t]+")  # no other space separates columns
    rows = [[cell.strip() for cell in (line.split(mark) if mark else blank.split(line.strip()))] for line in lines]
    at: dict[str, int] = {}
    header = [cell.lower() for cell in rows[0]]
    for field, names in NAMES.items():
        found = [header.index(one) for one in names if one in header]
        at |= {field: found[0]} if found else {}
    if named or {"chromosome", "position"} & set(at):
        rows = rows[1:]
        if len(at) < len(NAMES):
            raise UnclearError  # by another name
        first, filters = (header.index(one) if one in header else None for one in ("tumor_seq_allele1", "filter"))
        if "strand" in header:
            raise UnclearError
    else:
        first = filters = None
        at = dict(zip(("chromosome", "position", "genome", "reference", "alternative"), range(5), strict=True))
        if not all(row[1].isdecimal() for row in rows):
            at |= {"genome": 0, "chromosome": 1, "position": 2}
        elif all(row[2].isdecimal() for row in rows):
            raise UnclearError
    for row in rows:
        if len(row) <= max(at.values()):
            raise UnlikeError(f"rows: {row!s:.60} is too short")
        part = {name: row[j] for name, j in at.items()}
        several = part["alternative"].split(",") + (row[first].split(",") if first is not None else [])
        real = dict.fromkeys(one for one in several if one.strip().lower() not in MISSING)
        differ = [one for one in real if one.strip().upper() != part["reference"].upper()] or [part["reference"]]
        passed = row[filters] if filters is not None else "PASS"
        for alternative in differ:
            yield Mutation(part["genome"], part["chromosome"], part["position"], part["reference"], alternative, passed)


def _kept(every: list[Mutation], genome: Genome, options: dict[str, Any]) -> int:
    """Count the mutations that a corpus of the whole genome keeps."""
    samples = options.get("samples") or []
    asked = samples.split(",") if isinstance(samples, str) else samples
    wanted = {one.strip() for one in asked if one.strip()}
    places = set()
    for one in every:
        if wanted and one.genome not in wanted:
            continue
        if one.filters.strip() not in ("PASS", ".", "") and options.get("filters") != "any":
            continue
        ref, alt = one.reference.strip().upper(), one.alternative.strip().upper()
        if not re.fullmatch("[ACGT]+", ref + alt) or len(ref) != len(alt):
            continue
        differ = [i for i in range(len(ref)) if ref[i] != alt[i]]
        if len(differ) != 1:
            continue
        chromosome = one.chromosome if one.chromosome in genome else f"chr{one.chromosome}"
        if chromosome not in genome:
            raise UnclearError
        at = int(one.position) - 1 + differ[0]
        if 0 <= at < len(genome[chromosome]):
            places.add((one.genome, chromosome, at, ref[differ[0]], alt[differ[0]]))
    sites = {place[:3] for place in places}
    kept = 0
    for name, chromosome, at, ref, _ in places:
        beside = {(name, chromosome, at - 1), (name, chromosome, at + 1)} & sites
        around = genome[chromosome][max(at - 1, 0) : at + 2].upper()
        fits = re.fullmatch("[ACGT]{3}", around) is not None and around[1] == ref
        kept += fits and (not beside or options.get("adjacent") == "keep")
    return kept
