"""The processes of single mutations, written into a copy of their VCF file."""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import listed
from genarium.registry import fitted_model
from genarium.remedies import option
from genarium.writing import replacing

from .answers import stretches
from .channels import BASES, SETS, ChannelSet, channel_of
from .ingest.alleles import change
from .ingest.contigs import Contigs
from .ingest.genome import Genome, contexts
from .ingest.lines import lines
from .ingest.strands import Strands, contexts_on, read_strands
from .ingest.vcf import TUMOUR, carried, header_of, stem
from .posteriors import Attribution

TAGS = ("PROCESS", "PROCESS_P")


def vcf(
    fitted: xr.DataTree, path: Path, *, source: str = "", fasta: str = "", genome: str = "", strand: str = ""
) -> list[Path]:
    """Write a VCF file again, with the processes of its single-base substitutions in INFO.

    ``PROCESS`` is the most probable process of each alternative allele and ``PROCESS_P`` its probability of every
    process, allele by allele; where several genomes carry it, the mean over them. Header and records are kept as they
    are; what is no substitution, lies outside the loci or is carried by no genome of the fit gets no tag.

    Parameters
    ----------
    fitted : DataTree
        Of a corpus whose loci have chromosomes, starts and ends.
    path : Path
        If it ends in ``.gz``, it is compressed by blocks (bgzip) and indexed (tabix), and must be sorted.
    source : str
        The VCF file, plain or compressed.
    fasta : str
        The genome.
    genome : str
        Whose mutations they are, where the file names no sample; empty: the name of the file.
    strand : str
        Genes or intervals as of the corpus, where its channels tell strands apart.

    Returns
    -------
    list of Path
        The file, and its index.

    Raises
    ------
    InputError
        If a file is missing or no VCF, the loci have no places, none of the genomes is in the fit, or its channels are
        no substitutions.
    """
    kinds = SETS[fitted_model(fitted).option("channels")]
    if len(kinds.alternatives) == 1:
        raise InputError(
            f"locus_regression: the channels of the fit are {kinds.name}; a VCF file is annotated with the processes "
            "of single-base substitutions."
        )
    if bool(kinds.strands) != bool(strand):
        raise InputError(
            f"locus_regression: the channels of the fit are {kinds.name}, which "
            + (
                f"tell strands apart. Give what the corpus was read with: {option('strand', 'genes.gtf')}."
                if kinds.strands
                else f"tell no strands apart. Leave {option('strand', strand)} out."
            )
        )
    for name, given in (("source", source), ("fasta", fasta)):
        if not given:
            what = "VCF file to annotate" if name == "source" else "genome that it was called on"
            raise InputError(f"locus_regression: the {what} is missing. Give it: {option(name)}.")
    attribution = Attribution.of(fitted)
    records = _Records(Path(source), attribution, genome)
    sequence = Genome(Path(fasta))
    strands = read_strands(strand, sequence.contigs, []) if strand else None
    found = _placed(records, fitted, sequence, kinds, strands)
    probability = attribution.probability(*(found[name] for name in ("genome", "locus", "channel")))
    return _write(records, path, found, probability)


class _Records:
    """The records of a VCF file, read as often as wanted, and which genome of the fit each sample is."""

    def __init__(self, path: Path, attribution: Attribution, genome: str) -> None:
        self.path, self.processes = path, attribution.processes
        self.header = list(takewhile(lambda line: line.startswith("#"), lines(path)))
        told = header_of(path, iter(self.header))
        samples, number = told.samples, {name: g for g, name in enumerate(attribution.genomes)}
        self.alone = number.get(genome or stem(path), -1)
        unnamed = [name for name in samples if name.upper() in TUMOUR or len(samples) == 1]
        self.samples = [
            -1 if name in told.normal else number.get(name, self.alone if name in unnamed else -1) for name in samples
        ]
        if max(self.samples, default=self.alone) < 0:
            names = samples or [genome or stem(path)]
            raise InputError(
                f"{path}: none of its genomes ({listed(names, 3)}) is in the fit, which has "
                f"{listed(attribution.genomes, 5)}. Name one of these by genome=..., where the file has no sample."
            )

    def __iter__(self) -> Iterator[list[str]]:
        for line in lines(self.path):
            if line and not line.startswith("#"):
                yield line.split("\t")

    def carriers(self, fields: list[str], allele: int) -> list[int]:
        """Return the genomes of the fit that carry an alternative allele (from 1)."""
        if not self.samples or fields[8].split(":")[0] != "GT":
            return [g for g in (*self.samples, self.alone) if g >= 0][:1]
        if self.bare:
            return [self.samples[0]]
        genotypes = zip(self.samples, map(_alleles, fields[9:]), strict=True)
        return sorted({g for g, alleles in genotypes if g >= 0 and allele in alleles})

    @cached_property
    def bare(self) -> bool:
        """Whether there is one sample, which carries nothing in the whole file, as a matched normal does."""
        return len(self.samples) == 1 and not any(_alleles(fields[9]) for fields in self)


def _alleles(told: str) -> tuple[int, ...]:
    """Return the alternative alleles that a sample carries, of what a record says of it."""
    return carried(told.partition(":")[0]) or ()


def _placed(
    records: _Records, fitted: xr.DataTree, genome: Genome, kinds: ChannelSet, strands: Strands | None
) -> dict[str, Array]:
    """Return genome, locus and channel of every substitution that has them, with its record and allele."""
    places = stretches(fitted)
    names = list(dict.fromkeys(place[0] for place in places))
    ours = Contigs(names, [0] * len(names), "the fit")
    by_contig = {name: np.array([place[1:] for place in places if place[0] == name]) for name in names}
    for name, rows in by_contig.items():
        by_contig[name] = rows[np.argsort(rows[:, 0], kind="stable")]
    wanted: dict[str, list[tuple[int, int, int, int, int]]] = {}
    for number, fields in enumerate(records):
        for allele, alternative in enumerate(fields[4].split(","), 1):
            told = change(fields[3], alternative)
            if not told.reason:
                at = int(fields[1]) - 1 + told.offset
                wanted.setdefault(fields[0], []).extend(
                    (number, allele, at, told.code, g) for g in records.carriers(fields, allele)
                )
    out: dict[str, list[Array]] = {name: [] for name in ("record", "allele", "genome", "locus", "channel")}
    for chrom, seen in wanted.items():
        contig, mine = genome.contigs.find(chrom), ours.find(chrom)
        if contig < 0 or mine < 0 or not seen:
            continue
        record, allele, at, code, g = np.array(seen).T
        ((_, bases),) = genome.each([contig])
        stretch = by_contig[names[mine]]
        index = np.maximum(np.searchsorted(stretch[:, 0], at, "right") - 1, 0)
        inside = (at >= stretch[index, 0]) & (at < stretch[index, 1]) & (at > 0) & (at < len(bases) - 1)
        near = np.clip(at, 1, len(bases) - 2)
        context = contexts(bases[near - 1], bases[near], bases[near + 1])
        if strands is not None:
            context = contexts_on(strands.at(contig, near), code // 4 % 2 == 0, context, kinds.strands)
        ok = inside & (context >= 0) & (bases[near] == code // 4)
        for name, value in (
            ("record", record),
            ("allele", allele),
            ("genome", g),
            ("locus", stretch[index, 2]),
            ("channel", channel_of(context, _alternative(code), len(kinds.contexts))),
        ):
            out[name].append(value[ok])
    return {name: np.concatenate(values) if values else np.empty(0, dtype=int) for name, values in out.items()}


def _alternative(code: Array) -> Array:
    """Return which of the three alternatives a change is, folded to the pyrimidine."""
    reference, alternative = np.divmod(code, 4)
    purine = (reference == BASES.index("A")) | (reference == BASES.index("G"))
    reference, alternative = (np.where(purine, 3 - base, base) for base in (reference, alternative))
    return np.asarray(alternative - (alternative > reference))


def _write(records: _Records, path: Path, found: dict[str, Array], probability: Array) -> list[Path]:
    """Write the copy with its tags."""
    import pysam

    sums: dict[tuple[int, int], Array] = {}
    carriers: Counter[tuple[int, int]] = Counter()
    for record, allele, each in zip(found["record"].tolist(), found["allele"].tolist(), probability, strict=True):
        sums[record, allele] = sums.get((record, allele), 0) + each
        carriers[record, allele] += 1
    packed = path.suffix == ".gz"
    with replacing(path) as temporary:
        file: Any = pysam.BGZFile(str(temporary), "wb", None) if packed else temporary.open("wb")
        with file:
            for line in _header(records):
                file.write(f"{line}\n".encode())
            for number, fields in enumerate(records):
                alleles = range(1, fields[4].count(",") + 2)
                if any((number, allele) in sums for allele in alleles):
                    fields[7] = _info(
                        fields[7],
                        records.processes,
                        [sums[number, a] / carriers[number, a] if (number, a) in sums else None for a in alleles],
                    )
                file.write(("\t".join(fields) + "\n").encode())
        if not packed:
            return [path]
        index = path.with_name(f"{path.name}.tbi")
        try:
            with replacing(index) as beside:
                pysam.tabix_index(str(temporary), preset="vcf", force=True, index=str(beside))
        except OSError as error:
            raise InputError(
                f"{records.path}: the records cannot be indexed, which sorted ones can. Sort the file, or name the "
                "output .vcf to write it without an index."
            ) from error
    return [path, index]


def _info(told: str, processes: list[str], each: list[Array | None]) -> str:
    kept = [one for one in told.split(";") if one not in (".", "") and one.partition("=")[0] not in TAGS]
    best = ",".join("." if p is None else _word(processes[int(p.argmax())]) for p in each)
    flat = ",".join(",".join(["."] * len(processes)) if p is None else ",".join(f"{x:.4f}" for x in p) for p in each)
    return ";".join([*kept, f"PROCESS={best}", f"PROCESS_P={flat}"])


def _word(name: str) -> str:
    return f"process{name}" if name.isdecimal() else name.replace(" ", "_")


def _header(records: _Records) -> list[str]:
    names = ",".join(map(_word, records.processes))
    ours = [
        '##INFO=<ID=PROCESS,Number=A,Type=String,Description="Most probable mutational process of the allele">',
        f'##INFO=<ID=PROCESS_P,Number=.,Type=Float,Description="Probabilities, allele by allele, of {names}">',
    ]
    told = tuple(f"##INFO=<ID={tag}," for tag in TAGS)
    kept = [line for line in records.header[:-1] if not line.startswith(told)]
    return [*kept, *ours, records.header[-1]]
