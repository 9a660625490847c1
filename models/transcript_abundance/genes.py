"""Genes of a cohort: sums of transcripts by tximport's three ways, with intervals from replicates.

Sizes: N samples, R replicates, K transcripts, G genes.
"""

import csv
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import listed
from genarium.remedies import flag

from .lines import lines, wrong
from .salmon import per_million

Way = Literal["no", "scaledTPM", "lengthScaledTPM"]
TranscriptWay = Literal["no", "scaledTPM", "lengthScaledTPM", "dtuScaledTPM"]

ATTRIBUTE = re.compile(r'([^\s=;"]+)[ =]+(?:"([^"]*)"|([^;"]*))\s*(?:;|$)')
"""A name and its value in a GTF: between quotation marks, in which ";" is a letter like any other, or without."""


ONCE = "Keep one; of a table, the transcript has to be the first column, and the gene the second"


def transcript_genes(path: str | Path) -> dict[str, str]:
    """Read which gene a transcript belongs to.

    Parameters
    ----------
    path : str or Path
        A table of two columns, transcript and gene (commas or tabs, with a header or without), or a GTF (``.gtf``,
        ``.gff``, also compressed), whose attributes ``transcript_id`` and ``gene_id`` are taken. GFF3 is refused.

    Returns
    -------
    dict of str to str

    Raises
    ------
    InputError
        With file and line; of a transcript with two genes.
    """
    path = Path(path)
    is_gtf = {".gtf", ".gff", ".gff2"} & {suffix.lower() for suffix in path.suffixes}
    found: dict[str, str] = {}
    rows = lines(path)
    if rows[0].startswith("##gff-version 3"):
        raise InputError(f"{path}: this is GFF3. Give a GTF (`gffread in.gff3 -T -o out.gtf`), or a table.")
    for line, row in enumerate(rows, 1):
        if not row.strip() or row.startswith("#"):
            continue
        if is_gtf:
            cells = row.split("\t")
            if len(cells) < 9:
                raise wrong(path, line, f"{len(cells)} columns instead of 9", "Give a GTF file")
            told = {name: (quoted or bare).strip() for name, quoted, bare in ATTRIBUTE.findall(cells[8])}
            transcript, gene = told.get("transcript_id", ""), told.get("gene_id", "")
            if not transcript:
                continue  # the row of a gene
        else:
            cells = next(csv.reader([row], delimiter="\t" if "\t" in row else ","))
            if len(cells) < 2:
                raise wrong(path, line, "there is one column where two are needed", "Give transcript and gene")
            transcript, gene = (cell.strip() for cell in cells[:2])
        if not transcript or not gene:
            raise wrong(path, line, "a transcript or its gene has no name", "Give both, or leave the line out")
        if found.setdefault(transcript, gene) != gene:
            raise wrong(path, line, f"{transcript!r} is of gene {gene!r}, before of {found[transcript]!r}", ONCE)
    if not found:
        raise InputError(f"{path}: no transcript has a gene in it. Give a table of two columns, or a GTF.")
    return found


def unversioned(name: str) -> str:
    """Return a name without its version ("ENST00000513300.5")."""
    stem, dot, version = name.rpartition(".")
    return stem if dot and version.isdigit() else name


def genes(
    cohort: xr.Dataset, gene_of: str | Path | Mapping[str, str], *, counts: Way = "no", ignore_version: bool = False
) -> xr.Dataset:
    """Add up the transcripts of each gene.

    Parameters
    ----------
    cohort : Dataset
        From :func:`~genarium.models.transcript_abundance.cohort.cohort`.
    gene_of : path or dict
        For :func:`transcript_genes`, or genes by transcript.
    counts : {"no", "scaledTPM", "lengthScaledTPM"}
        As tximport's ``countsFromAbundance``: sums of counts; TPM scaled to the reads of the sample; TPM times the mean
        length of the gene over samples, scaled to the reads.
    ignore_version : bool
        Whether to cut off versions of the names (what follows the last dot, if it is a number), in the cohort and in
        the table.

    Returns
    -------
    Dataset
        ``counts``, ``tpm``, ``effective_length`` (sample, gene): the length is the mean of the transcripts', by
        TPM; where a gene has none, the geometric mean over the other samples, or the plain mean of its transcripts.
        ``replicates`` (sample, replicate, gene), treated alike, where the cohort has some.

    Raises
    ------
    InputError
        If no transcript has a gene, or the cohort counts genes.
    """
    told, said = genes_by_transcript(cohort, gene_of, ignore_version=ignore_version)
    some, told = _with_a_gene(cohort, told, said)
    labels, index = np.unique(told, return_inverse=True)
    add = _Adder(index, len(labels))
    c, tpm, length = (some[name].to_numpy() for name in ("counts", "tpm", "effective_length"))
    gene_counts, gene_tpm = add(c), add(tpm)
    gene_length = _lengths(add, tpm, length, gene_tpm)
    dims = ("sample", "gene")
    found: dict[str, Any] = {
        "counts": (dims, _scaled(counts, gene_counts, gene_tpm, gene_length)),
        "tpm": (dims, gene_tpm),
        "effective_length": (dims, gene_length),
    }
    if "replicates" in some:
        drawn = some["replicates"].to_numpy()  # (N, R, K)
        out = np.empty((*drawn.shape[:2], len(labels)), dtype=np.float32)
        for r in range(drawn.shape[1]):
            each = drawn[:, r].astype(float)
            out[:, r] = _scaled(counts, add(each), add(per_million(each, length)), gene_length)
        found["replicates"] = (("sample", "replicate", "gene"), out)
    kept = {str(n): v for n, v in cohort.coords.items() if v.dims == ("sample",)}
    return xr.Dataset(found, {**kept, "gene": labels}, {**some.attrs, "counts": counts})


def scaled_transcripts(
    cohort: xr.Dataset,
    counts: TranscriptWay,
    gene_of: str | Path | Mapping[str, str] | None = None,
    *,
    ignore_version: bool = False,
) -> xr.Dataset:
    """Make the counts of transcripts from their TPM, as tximport does with ``txOut=TRUE``.

    Parameters
    ----------
    cohort : Dataset
        Of transcripts.
    counts : {"no", "scaledTPM", "lengthScaledTPM", "dtuScaledTPM"}
        tximport's ``countsFromAbundance``: counts as they are; TPM scaled to the reads of the sample; TPM times the
        mean effective length over samples, scaled to the reads; or, for differential usage, TPM times the median of
        these mean lengths over the transcripts of the gene, scaled to the reads.
    gene_of : path or dict
        As of :func:`genes`; only for "dtuScaledTPM", for which transcripts without a gene are left out, with a warning.
    ignore_version : bool
        As of :func:`genes`.

    Returns
    -------
    Dataset
        The cohort with these ``counts`` and ``replicates``, treated alike.

    Raises
    ------
    InputError
        If the cohort counts genes, or there is no ``gene_of`` for "dtuScaledTPM", or one for another way.
    """
    if "transcript" not in cohort.dims:
        raise InputError("the cohort counts genes, and no transcripts: there are no counts of transcripts to make.")
    if (counts == "dtuScaledTPM") != (gene_of is not None):
        need = "needs the genes of the transcripts: give" if gene_of is None else "looks up no genes: leave out"
        raise InputError(f"counts={counts!r} {need} `gene_of` ({flag('genes_of')}).")
    gene = np.zeros(cohort.sizes["transcript"], dtype=str)
    if gene_of is not None:
        gene, said = genes_by_transcript(cohort, gene_of, ignore_version=ignore_version)
        cohort, gene = _with_a_gene(cohort, gene, said)
    c, tpm, length = (cohort[name].to_numpy() for name in ("counts", "tpm", "effective_length"))
    way: Way = "lengthScaledTPM" if counts == "dtuScaledTPM" else counts
    taken = _medians(length.mean(0), gene)[None] if counts == "dtuScaledTPM" else length
    found: dict[str, Any] = {"counts": (cohort["counts"].dims, _scaled(way, c, tpm, taken))}
    if "replicates" in cohort:
        drawn = cohort["replicates"].to_numpy()  # (N, R, K)
        out = np.empty_like(drawn)
        for r in range(drawn.shape[1]):
            each = drawn[:, r].astype(float)
            out[:, r] = _scaled(way, each, per_million(each, length), taken)
        found["replicates"] = (cohort["replicates"].dims, out)
    return cohort.assign(found).assign_attrs(counts=counts)


def _with_a_gene(cohort: xr.Dataset, gene: Array, said: str) -> tuple[xr.Dataset, Array]:
    """Leave out transcripts without a gene, and say so in a warning and in the cohort's notes."""
    if said:
        warnings.warn(said, stacklevel=3)
        cohort = cohort.assign_attrs(notes="\n".join(filter(None, [str(cohort.attrs.get("notes", "")), said])))
    known = gene != ""
    return cohort.isel(transcript=np.flatnonzero(known)), gene[known]


def _medians(values: Array, groups: Array) -> Array:
    """Return the median of its group for each of the values (K,)."""
    import pandas as pd

    return np.asarray(pd.Series(values).groupby(groups).transform("median"))


def genes_by_transcript(
    cohort: xr.Dataset, gene_of: str | Path | Mapping[str, str], *, ignore_version: bool = False
) -> tuple[Array, str]:
    """Return the gene of each transcript of a cohort.

    Parameters
    ----------
    cohort, gene_of, ignore_version
        As of :func:`genes`. Of a name that is not in the table, what is before the first "|" is looked up (GENCODE).

    Returns
    -------
    genes : ndarray of str, shape (K,)
        Empty where a transcript has none.
    said : str
        How many have none, and how many reads; empty if all have one.

    Raises
    ------
    InputError
        If no transcript has a gene, or the cohort counts genes.
    """
    if "transcript" not in cohort.dims:
        raise InputError("the cohort counts genes already, and no transcripts: there is nothing to add up.")
    table = gene_of if isinstance(gene_of, Mapping) else transcript_genes(gene_of)
    names = [str(name) for name in cohort["transcript"].to_numpy()]
    names = [name if name in table else name.partition("|")[0] for name in names]
    if ignore_version:
        names = [unversioned(name) for name in names]
        table = _unversioned(table)
    found = np.array([table.get(name, "") for name in names])
    known = found != ""
    if not known.any():
        how = "another table" if ignore_version else f"{flag('ignore_version', True)}, or another table"
        raise InputError(f"no transcript has a gene ({listed(names, 3)}). Try {how}.")
    lost = [name for name, has in zip(names, known, strict=True) if not has]
    counts = cohort["counts"].to_numpy()
    share = float(counts[:, ~known].sum() / max(counts.sum(), 1e-300))
    said = f"{len(lost)} transcripts have no gene and are left out ({listed(lost, 3)}; {share:.2%} of the reads)."
    return found, said if lost else ""


def _unversioned(table: Mapping[str, str]) -> dict[str, str]:
    """Return genes by transcripts without their versions."""
    found: dict[str, str] = {}
    for name, gene in table.items():
        if found.setdefault(unversioned(name), gene) != gene:
            raise InputError(
                f"transcript {unversioned(name)!r} is of genes {found[unversioned(name)]!r} and {gene!r}, by version. "
                "Keep one, or keep the versions."
            )
    return found


class _Adder:
    """Adds up columns by gene."""

    def __init__(self, index: Array, genes: int) -> None:
        from scipy import sparse

        self.of = sparse.csr_array((np.ones(len(index)), (np.arange(len(index)), index)), shape=(len(index), genes))

    def __call__(self, values: Array) -> Array:
        return np.asarray(values @ self.of)


def _lengths(add: _Adder, tpm: Array, length: Array, gene_tpm: Array) -> Array:
    """Return the genes' lengths (N, G)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.where(gene_tpm > 0, add(tpm * length) / gene_tpm, np.nan)
        seen = np.isfinite(out)
        log = np.where(seen, np.log(np.where(seen, out, 1.0)), 0.0).sum(0) / seen.sum(0)
        mean = add(length.mean(0)[None])[0] / add(np.ones((1, length.shape[1])))[0]
        stand_in = np.where(seen.any(0), np.exp(log), mean)
    return np.where(seen, out, stand_in)


def _scaled(way: Way, counts: Array, tpm: Array, length: Array) -> Array:
    """Return counts (N, G) by one of tximport's ways; each sample keeps its sum."""
    if way == "no":
        return counts
    new = tpm * length.mean(0) if way == "lengthScaledTPM" else tpm
    total = new.sum(-1, keepdims=True)
    return np.asarray(new * (counts.sum(-1, keepdims=True) / np.where(total > 0, total, 1.0)))


def intervals(cohort: xr.Dataset, probability: float = 0.9) -> xr.Dataset:
    """Return ``counts_low`` and ``counts_high`` (sample, feature): central intervals of the replicates.

    Raises
    ------
    InputError
        If there are no replicates.
    """
    if "replicates" not in cohort:
        raise InputError("the cohort has no replicates (bootstraps, or draws of a posterior), and so no intervals.")
    tail = (1 - probability) / 2
    drawn = cohort["replicates"]
    low, high = (drawn.quantile(q, "replicate").drop_vars("quantile") for q in (tail, 1 - tail))
    return xr.Dataset({"counts_low": low, "counts_high": high})
