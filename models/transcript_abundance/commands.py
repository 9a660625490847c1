"""Commands ``genarium transcripts ...``: from many samples to genes, differences, and other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import xarray as xr

from genarium.declaration import Answer
from genarium.errors import InputError
from genarium.found import short
from genarium.writing import replacing

from .cohort import feature, open_cohort, save_cohort
from .cohort_exports import about_samples, export_cohort
from .differential import compared, differential
from .differential_figures import drawn, order
from .genes import TranscriptWay, Way, genes, genes_by_transcript, intervals, scaled_transcripts

if TYPE_CHECKING:
    import pandas as pd

LISTED = 50
"""Features in the table of an answer at most; the file of ``--table`` holds all."""

TABLES = {".csv": ",", ".tsv": "\t"}


def gather(samples: Path, *, out: Path, most_replicates: int = 100) -> Answer:
    """Read a table of samples, quantified by salmon, kallisto, RSEM, oarfish, alevin-fry or fits, into one cohort.

    Parameters
    ----------
    samples : Path
        Table with the columns sample and path; others (condition, batch) are kept.
    out : Path
        Cohort to write (.nc), for the other commands.
    most_replicates : int
        Largest number of bootstraps, or draws, to keep for each sample.

    Returns
    -------
    Answer
        The samples, with reads and replicates of each.

    Raises
    ------
    InputError
        If the table or a sample's files cannot be read, or samples have other transcripts.
    """
    found = open_cohort(samples, most_replicates=most_replicates)
    save_cohort(found, out)
    return Answer(f"Cohort {out.name}", {"Samples": _samples(found)}, [*_notes(found), f"Written: {out}."])


def add_up(
    cohort: Path,
    *,
    genes_of: Path,
    out: Path,
    counts: Way = "no",
    ignore_version: bool = False,
    table: Path | None = None,
) -> Answer:
    """Add up the transcripts of each gene, in all replicates, as tximport does.

    Parameters
    ----------
    cohort : Path
        Cohort (.nc), or a table of samples.
    genes_of : Path
        Genes of the transcripts: a table of two columns, or a GTF.
    out : Path
        Cohort of genes to write (.nc).
    counts : {"no", "scaledTPM", "lengthScaledTPM"}
        tximport's countsFromAbundance.
    ignore_version : bool
        Remove version suffixes (.5) from the names.
    table : Path
        Table to write: sample, gene, counts, tpm, effective length, and 90 % intervals where there are replicates.

    Returns
    -------
    Answer
        The samples, with reads of their genes.

    Raises
    ------
    InputError
        If the cohort or the table of genes cannot be read, or they do not match.
    """
    whole = open_cohort(cohort)
    found = genes(whole, genes_of, counts=counts, ignore_version=ignore_version)
    save_cohort(found, out)
    notes = [
        *_notes(found),
        f"{found.sizes['gene']:,} genes of {whole.sizes['transcript']:,} transcripts. Written: {out}.",
    ]
    if table is not None:
        wide = found.drop_vars("replicates", errors="ignore")
        wide = xr.merge([wide, intervals(found)]) if "replicates" in found else wide
        columns = ["sample", "gene", *map(str, wide.data_vars)]
        _write_table(wide.to_dataframe().reset_index()[columns], table)
    return Answer(f"Genes {out.name}", {"Samples": _samples(found)}, notes)


def scale(
    cohort: Path, *, out: Path, counts: TranscriptWay, genes_of: Path | None = None, ignore_version: bool = False
) -> Answer:
    """Make the counts of transcripts from their TPM, in all replicates, as tximport does with txOut=TRUE.

    Parameters
    ----------
    cohort : Path
        Cohort (.nc), or a table of samples.
    out : Path
        Cohort to write (.nc).
    counts : {"no", "scaledTPM", "lengthScaledTPM", "dtuScaledTPM"}
        tximport's countsFromAbundance; dtuScaledTPM, for differential usage, needs --genes-of.
    genes_of : Path
        Genes of the transcripts: a table of two columns, or a GTF.
    ignore_version : bool
        Remove version suffixes (.5) from the names.

    Returns
    -------
    Answer
        The samples, with their counts.

    Raises
    ------
    InputError
        If the cohort or the table of genes cannot be read, or ``dtuScaledTPM`` has no genes.
    """
    found = scaled_transcripts(open_cohort(cohort), counts, genes_of, ignore_version=ignore_version)
    save_cohort(found, out)
    return Answer(f"Cohort {out.name}", {"Samples": _samples(found)}, [*_notes(found), f"Written: {out}."])


def compare(
    cohort: Path,
    *,
    condition: str,
    between: list[str] | None = None,
    covariates: list[str] | None = None,
    by: Literal["abundance", "usage"] = "abundance",
    genes_of: Path | None = None,
    sum_genes: bool = False,
    counts: TranscriptWay | None = None,
    ignore_version: bool = False,
    least: float = 10.0,
    level: float = 0.05,
    table: Path | None = None,
) -> Answer:
    """Compare transcripts or genes between two conditions: fold changes, false sign rates and false discovery rates.

    Parameters
    ----------
    cohort : Path
        Cohort (.nc) of transcripts or genes, or a table of samples.
    condition : str
        Column with the condition of each sample.
    between : list of str
        The two conditions to compare; the change is from the first to the second. Default: in alphabetical order.
    covariates : list of str
        Columns with further covariates of the samples: numbers enter as they are, text as a factor.
    by : {"abundance", "usage"}
        Compare abundances, or transcripts' shares in their genes (with --genes-of).
    genes_of : Path
        Genes of the transcripts: a table of two columns, or a GTF.
    sum_genes : bool
        Add up the transcripts of each gene, and compare genes.
    counts : {"no", "scaledTPM", "lengthScaledTPM", "dtuScaledTPM"}
        tximport's countsFromAbundance, for genes (--sum-genes) or transcripts (dtuScaledTPM: with --genes-of); default:
        no.
    ignore_version : bool
        Cut versions (.5) off the names of transcripts.
    least : float
        Smallest number of reads of a feature, in at least as many samples as the smaller condition has.
    level : float
        False discovery rate up to which features are counted and marked.
    table : Path
        Table to write (.csv, .tsv), one row per feature, the most certain change first.

    Returns
    -------
    Answer
        The number of changes, the surest ones, and the figures of its page.

    Raises
    ------
    InputError
        If options do not go together, or the samples do not bear the comparison.
    """
    if not 0 < level < 1:
        raise InputError(f"--level {level:g} must lie between 0 and 1. Give 0.05, say.")
    if (sum_genes or by == "usage") and genes_of is None:
        raise InputError("there is no table of transcripts and genes, and no GTF. Give --genes-of.")
    if sum_genes and by == "usage":
        raise InputError("usage is a transcript's share in its gene, of which genes have none. Leave --sum-genes out.")
    of_genes = counts == "dtuScaledTPM"
    if genes_of is not None and not sum_genes and by == "abundance" and not of_genes:
        raise InputError("--genes-of would be dropped. Add --sum-genes, or --by usage.")
    if of_genes and (sum_genes or genes_of is None):
        remedy = "Leave --sum-genes out" if sum_genes else "Give --genes-of"
        raise InputError(f"--counts dtuScaledTPM is of transcripts, by the lengths of their genes. {remedy}.")
    if ignore_version and genes_of is None:
        raise InputError("--ignore-version would be dropped: no genes are looked up. Give --genes-of.")
    whole = open_cohort(cohort)
    gene_of: dict[str, str] | None = None
    if genes_of is not None and sum_genes:
        whole = genes(whole, genes_of, counts=cast("Way", counts or "no"), ignore_version=ignore_version)
    elif counts is not None:
        whole = scaled_transcripts(whole, counts, genes_of if of_genes else None, ignore_version=ignore_version)
    if genes_of is not None and not sum_genes:
        found, _ = genes_by_transcript(whole, genes_of, ignore_version=ignore_version)
        gene_of = dict(zip(map(str, whole["transcript"].to_numpy()), map(str, found), strict=True))
    told = differential(
        whole,
        condition,
        covariates=covariates or (),
        between=between or (),
        by=by,
        gene_of=gene_of,
        least=least,
    )
    if table is not None:
        _write_table(_results(told, gene_of), table)
    some, _, second, _ = compared(whole, condition, covariates or (), between or ())
    return Answer(
        _title(told),
        {"Differences": _found(told, level), "The surest changes": _rows(told)},
        [_answer(told, level), *_notes(whole), *_beside(some, covariates or ()), *_said(told)],
        lambda: drawn(told, some, second, level, gene_of),
    )


def export(cohort: Path, *, out: Path, format: Literal["salmon", "tables", "h5ad"] = "salmon") -> str:  # noqa: A002
    """Write a cohort for tximport, tximeta, fishpond and edgeR, as tables, or as AnnData.

    Parameters
    ----------
    cohort : Path
        Cohort (.nc) of transcripts or genes, or a table of samples.
    out : Path
        New folder, or file (h5ad).
    format : {"salmon", "tables", "h5ad"}
        salmon's folders with replicates and samples.tsv (names, files: tximeta's coldata); tables of counts, TPM and
        lengths; AnnData with layers tpm, effective_length, infRep1 ...

    Returns
    -------
    str
        What was written, in one line.

    Raises
    ------
    InputError
        If the cohort cannot be read, or the folder or file exists.
    """
    found = open_cohort(cohort)
    path = export_cohort(found, out, format)
    many = found.sizes.get("replicate", 0)
    what = f"{many} replicates each" if many else "without replicates"
    return f"wrote {path}: {found.sizes['sample']} samples, {found.sizes[feature(found)]:,} {feature(found)}s, {what}"


COMMANDS: dict[str, Any] = {
    "transcripts cohort": gather,
    "transcripts genes": add_up,
    "transcripts scale": scale,
    "transcripts differential": compare,
    "transcripts export": export,
}


def _notes(cohort: xr.Dataset) -> list[str]:
    return [line for line in str(cohort.attrs.get("notes", "")).split("\n") if line]


def _samples(cohort: xr.Dataset) -> list[list[str]]:
    """Return the table of the samples."""
    about = about_samples(cohort)
    dim = feature(cohort)
    reads, seen = cohort["counts"].sum(dim).to_numpy(), (cohort["counts"] > 0).sum(dim).to_numpy()
    head = ["sample", "reads", f"{dim}s with reads", f"{dim}s", "replicates", *map(str, about.columns)]
    replicates = f"{cohort.sizes.get('replicate', 0)} ({cohort.attrs.get('replicates', 'none')})"
    rows = []
    for i, (name, row) in enumerate(about.iterrows()):
        sizes = [f"{reads[i]:.0f}", f"{int(seen[i])}", f"{cohort.sizes[dim]}"]
        rows.append([str(name), *sizes, replicates, *(str(value) for value in row)])
    return [head, *rows]


def _title(told: xr.Dataset) -> str:
    first, second = told.attrs["between"]
    what = "Usage" if told.attrs["by"] == "usage" else "Abundance"
    return f"{what} of {told['log2_fold_change'].dims[0]}s: {second} against {first}"


def _found(told: xr.Dataset, level: float) -> list[list[str]]:
    """Return the table of how many changes there are."""
    dim = str(told["log2_fold_change"].dims[0])
    found = told["q_value"].to_numpy() <= level
    up = told["log2_fold_change"].to_numpy() > 0
    share = 1 - float(np.asarray(told.attrs["effect_weight"])[0])
    head = ["samples", f"{dim}s", "not compared", "share that changes", f"q ≤ {level:g}", "up", f"lfsr ≤ {level:g}"]
    row = [" + ".join(map(str, told.attrs["samples"])), f"{len(found):,}", f"{told.attrs['left_out']:,}"]
    row += [f"{share:.3f}", f"{found.sum():,}", f"{(found & up).sum():,}"]
    return [head, [*row, f"{int((told['lfsr'].to_numpy() <= level).sum()):,}"]]


def _rows(told: xr.Dataset) -> list[list[str]]:
    dim = str(told["log2_fold_change"].dims[0])
    names = ("log2_fold_change", "log2_fold_change_low", "log2_fold_change_high", "lfsr", "q_value", "log2_mean")
    rows = [[dim, "log2 fold change", "low", "high", "lfsr", "q value", "log2 mean", "inferential sd"]]
    for i in order(told)[:LISTED]:
        # changes that are drawn to none are 0, not 1e-50
        cells = [short(round(float(told[name][i]), 9) + 0.0) for name in names[:3]]
        cells += [short(float(told[name][i])) for name in (*names[3:], "inferential_sd")]
        rows.append([str(told[dim].to_numpy()[i]), *cells])
    return rows


def _beside(cohort: xr.Dataset, covariates: Sequence[str]) -> list[str]:
    """Say how covariates enter: a patient's number, say, is no quantity."""
    number = [name for name in covariates if cohort[name].dtype.kind in "fiu"]
    ways = [f"{name} {'as a number, with one slope' if name in number else 'by level'}" for name in covariates]
    codes = " If a number is the code of a batch or a patient, write it as text (b1, b2)." if number else ""
    return [f"Beside the condition: {', '.join(ways)}.{codes}"] if ways else []


def _answer(told: xr.Dataset, level: float) -> str:
    """Say how many changes there are."""
    dim, second = str(told["log2_fold_change"].dims[0]), told.attrs["between"][1]
    found = told["q_value"].to_numpy() <= level
    some, up = int(found.sum()), int((found & (told["log2_fold_change"].to_numpy() > 0)).sum())
    at = f"at a false discovery rate of {level:g}"
    if not some:
        return f"No {dim} changes {at}."
    verb = f"change{'s' * (some == 1)}"
    return f"{some:,} of {len(found):,} {dim}s {verb} {at}: {up:,} up and {some - up:,} down in {second}."


def _said(told: xr.Dataset) -> list[str]:
    dim = str(told["log2_fold_change"].dims[0])
    out = [
        "Changes are posterior means with 90% intervals (low to high); those in doubt are drawn towards none. lfsr: "
        "probability that the sign is wrong, or that there is no change. q value: share of false ones among all that "
        "are as sure. log2 mean: of the reads, by size factors; inferential sd: how uncertain "
        "the quantification of a sample is, in log2."
    ]
    if told.attrs["left_out"]:
        why = (
            "too few reads" if told.attrs["by"] == "abundance" else "too few reads, or no other transcript of the gene"
        )
        out.append(f"{told.attrs['left_out']:,} {dim}s are not compared: {why}.")
    return out


def _results(told: xr.Dataset, gene_of: dict[str, str] | None) -> "pd.DataFrame":
    """Return one row a feature, the surest change first."""
    dim = str(told["log2_fold_change"].dims[0])
    table = told.isel({dim: order(told)}).to_dataframe().reset_index()
    if gene_of is not None:
        table.insert(1, "gene", [gene_of.get(str(name), "") for name in table[dim]])
    return table


def _write_table(table: "pd.DataFrame", path: Path) -> None:
    separator = TABLES.get(path.suffix.lower())
    if separator is None:
        raise InputError(f"{path}: the name of a table ends in .csv or .tsv. Name it {path.with_suffix('.tsv')}, say.")
    with replacing(path) as temporary:
        table.to_csv(temporary, sep=separator, index=False)
