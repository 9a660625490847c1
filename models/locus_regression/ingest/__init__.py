"""Readers of sequencing files: mutations of VCF, MAF and tables, a genome, windows and tracks make a corpus.

One idea a file: :mod:`.alleles` (what a change is), :mod:`.contigs` (names of chromosomes), :mod:`.genome` (contexts),
:mod:`.windows` (loci), :mod:`.vcf` and :mod:`.tabular` (mutations), :mod:`.sources` (tracks), :mod:`.tracks` and
:mod:`.transforms` (features), :mod:`.place` (mutations to cells), :mod:`.assemble` (all of it).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genarium.errors import InputError
from genarium.readers.files import existing
from genarium.readers.formats import takes
from genarium.readers.messages import listed

from .assemble import corpus
from .cohort import wanted_samples
from .options import Options, reader
from .tabular import read_maf, read_table
from .values import require_samples
from .vcf import read_vcf

EXAMPLE = "--option fasta=genome.fa --option windows=10kb --option features=RT=rt.bw:mean,K27ac=peaks.bed:coverage"


@takes(".vcf", ".bcf", example=f"a.vcf b.vcf.gz {EXAMPLE}")
@reader
def vcf(paths: Sequence[Path], options: Options) -> Mapping[str, Any]:
    """Read the mutations of VCF or BCF files of one genome or several, with a genome, windows and tracks."""
    return _read("vcf", read_vcf, paths, options)


@takes(".maf", example=f"cohort.maf {EXAMPLE}")
@reader
def maf(paths: Sequence[Path], options: Options) -> Mapping[str, Any]:
    """Read the mutations of MAF files, with a genome, windows and tracks."""
    return _read("maf", read_maf, paths, options)


@takes(example=f"mutations.txt {EXAMPLE}")
@reader
def table(paths: Sequence[Path], options: Options) -> Mapping[str, Any]:
    """Read tables with a row for each mutation (five columns need no header), with a genome, windows and tracks."""
    return _read("table", read_table, paths, options)


def _read(name: str, read: Any, paths: Sequence[Path], options: Options) -> Mapping[str, Any]:
    wanted = wanted_samples(options.samples)
    mutations = read(existing(name, paths), options, wanted)
    require_samples(wanted, list(mutations.every), paths)
    if not mutations.every:
        told = listed([str(path) for path in paths], 3)
        raise InputError(f"{told}: there is no mutation of any genome here. Check that this is what is meant.")
    return corpus(mutations, options, wanted)


READERS = {"vcf": vcf, "maf": maf, "table": table}
"""File format -> reader."""
