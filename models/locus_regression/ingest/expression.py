"""Expression of genes as a track: a table of genes and an annotation that says where they are."""

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import absent, listed
from genarium.readers.tables import read_sheet

from .intervals import Gene, by_contig, read_genes
from .sources import Source
from .sums import Sums
from .windows import Loci


def expression(source: Source, summary: str, loci: Loci, notes: list[str], lost: dict[str, int]) -> Array:
    """Return mean over all bases of a locus (those of no gene are zero), or the highest, of genes' expression."""
    assert source.genes is not None
    genes = read_genes(source.genes, loci.contigs, lost)
    sheet = read_sheet(source.path)
    key = sheet.identifiers("auto", "gene", [])
    numeric = [name for name in sheet.names if name != key and sheet.is_numeric(name)]
    if key is None or not numeric:
        raise absent(source.path, "column", "gene and a column of numbers", sheet.names)
    if len(numeric) > 1:
        notes.append(f"{source.path.name}: of its {len(numeric)} columns of numbers, {numeric[0]!r} was taken.")
    values = sheet.numbers(numeric[0], "leave the gene out").astype(float)
    if (bad := np.flatnonzero(~np.isfinite(values))).size:
        raise InputError(f"{source.path}: {numeric[0]!r} is {values[bad[0]]} for gene {bad[0] + 1}. Correct it.")
    of = {str(name): float(value) for name, value in zip(sheet.labels(key, "gene", "add them up"), values, strict=True)}
    of |= {name.partition(".")[0]: value for name, value in of.items() if name.startswith("ENS")}
    told = [_value(gene, of) for gene in genes]
    known = [i for i, value in enumerate(told) if value is not None]
    if not known:
        raise InputError(
            f"{source.path}: none of its genes ({listed(of, 3)}) is in {source.genes.name} "
            f"({listed([gene.names[0] for gene in genes if gene.names], 3)}). Name genes as the annotation does."
        )
    if len(known) < len(genes):
        notes.append(f"{source.path.name}: {len(genes) - len(known)} of {len(genes)} genes have no value; taken as 0.")
    sums = Sums(loci)
    for one in by_contig([genes[i] for i in known], np.array([told[i] for i in known], dtype=float)):
        sums.add(one)
    if summary == "max":
        return np.where(sums.bases > 0, sums.most, 0.0)
    return np.asarray(sums.total / loci.lengths)


def _value(gene: Gene, values: dict[str, float]) -> float | None:
    for name in gene.names:
        for form in (name, name.partition(".")[0]):
            if form in values:
                return values[form]
    return None
