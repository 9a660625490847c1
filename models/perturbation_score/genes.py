"""Features of genes from the sequence around their transcription starts: windows, each embedded, then their mean."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genarium.errors import InputError
from genarium.readers.fasta import opened
from genarium.readers.messages import listed
from genarium.readers.tables import read_sheet

if TYPE_CHECKING:
    import pandas as pd

BASES = "ACGT"

COMPLEMENT = str.maketrans("ACGTacgt", "TGCAtgca")

Embedding = Callable[[Sequence[str]], Any]
"""Windows as strings to one row of numbers each."""

COLUMNS = ("gene", "chrom", "position", "strand")


def gene_features(
    fasta: str | Path,
    starts: Any,
    genes: Sequence[str] | None = None,
    *,
    windows: int = 200,
    width: int = 512,
    stride: int = 32,
    embed: int | Embedding = 4,
    scaled: bool = True,
) -> "pd.DataFrame":
    """Make features of genes from the sequence around their transcription starts.

    Parameters
    ----------
    fasta : path
        The genome, plain or compressed by bgzip.
    starts : path or DataFrame
        A row for each gene: columns gene, chrom, position (of the transcription start, from 1), strand (+ or -).
    genes : sequence of str, optional
        Those wanted, in this order. Default: all of ``starts``.
    windows, width, stride : int
        So many windows of ``width`` bases, ``stride`` apart, the middle one's centre at the start (the defaults are
        those of the source: 200 windows of 512 bases at stride 32). Genes are read along their strand; bases beyond a
        contig's end are N.
    embed : int or callable
        A length k: shares of the k-mers of a window, those of both strands together (136 of length 4). Or a function
        of a list of windows (text) that returns a row of numbers for each, such as a language model's embeddings.
    scaled : bool
        Shift and scale every feature to mean 0 and sd 1 over the genes, and leave out those that are constant.

    Returns
    -------
    DataFrame
        A row for each gene, for ``features=``; means over its windows. ``attrs``: ``mean`` and ``sd`` of the features
        before scaling, and ``without`` the constant ones left out.

    Raises
    ------
    InputError
        If a gene has no start or two, lies on no contig of the genome or beyond its end, or its sequence has no k-mer.

    Examples
    --------
    >>> from genarium.models.perturbation_score import gene_features
    >>> features = gene_features("genome.fa", "starts.tsv", ["Tcf7", "Tox"])  # doctest: +SKIP
    """
    import pandas as pd

    for name, value in (("windows", windows), ("width", width), ("stride", stride)):
        if value < 1:
            raise InputError(f"perturbation_score: {name}={value!r} must be 1 or more.")
    table = _starts(starts)
    wanted = list(table.index) if genes is None else [str(gene) for gene in genes]
    lacking = [gene for gene in wanted if gene not in table.index]
    if lacking:
        raise InputError(
            f"perturbation_score: there is no transcription start of {listed(lacking)}. Add a row for each of them."
        )
    if not (callable(embed) or isinstance(embed, int)):
        raise InputError(
            f"perturbation_score: embed={embed!r} must be a length of words, such as 4, or a function of a list of "
            "windows."
        )
    function = kmer_shares(embed) if isinstance(embed, int) else embed
    rows, columns = [], None
    for gene, sequence in zip(wanted, _sequences(Path(fasta), table.loc[wanted], windows, width, stride), strict=True):
        each = [sequence[i * stride : i * stride + width] for i in range(windows)]
        told = function(each)
        columns = list(told.columns) if hasattr(told, "columns") else columns
        numbers = np.asarray(told, dtype=float)
        if numbers.ndim != 2 or len(numbers) != windows:
            raise InputError(
                f"perturbation_score: embed returned shape {numbers.shape} for {windows} windows. Return one row each."
            )
        seen = numbers[np.isfinite(numbers).all(1)]
        if not len(seen):
            raise InputError(f"perturbation_score: the sequence around the start of {gene!r} has no known bases.")
        rows.append(seen.mean(0))
    values = np.stack(rows)
    named = [str(name) for name in columns or [f"e{i}" for i in range(values.shape[1])]]
    found = pd.DataFrame(values, index=pd.Index(wanted, name="perturbation"), columns=pd.Index(named, name="feature"))
    return _scaled(found) if scaled else found


def kmer_shares(k: int) -> Embedding:
    """Return a function of windows that gives the shares of their k-mers, those of both strands together.

    Parameters
    ----------
    k : int
        1 to 8.

    Returns
    -------
    callable
        Windows (text) to a DataFrame, a row for each window; missing where a window has no k-mer without an N.
    """
    import pandas as pd

    if not 1 <= k <= 8:
        raise InputError(f"perturbation_score: k-mers of length {k} are not offered; 1 to 8 are.")
    words = ["".join(letters) for letters in product(BASES, repeat=k)]
    both = [min(word, word.translate(COMPLEMENT)[::-1]) for word in words]
    names = sorted(set(both))
    group = np.array([names.index(word) for word in both])
    codes = np.full(256, -1)
    for i, base in enumerate(BASES):
        codes[[ord(base), ord(base.lower())]] = i

    def shares(windows: Sequence[str]) -> "pd.DataFrame":
        out = np.full((len(windows), len(names)), np.nan)
        for row, window in zip(out, windows, strict=True):
            code = codes[np.frombuffer(window.encode("ascii", "replace"), dtype=np.uint8)]
            if len(code) < k:
                continue
            each = np.lib.stride_tricks.sliding_window_view(code, k)
            each = each[(each >= 0).all(1)]
            if len(each):
                count = np.bincount(group[each @ 4 ** np.arange(k)[::-1]], minlength=len(names))
                row[:] = count / len(each)
        return pd.DataFrame(out, columns=names)

    return shares


def _starts(starts: Any) -> "pd.DataFrame":
    """Return the table of starts, by gene."""
    import pandas as pd

    where = "starts" if hasattr(starts, "columns") else str(starts)
    table: pd.DataFrame = starts if hasattr(starts, "columns") else read_sheet(Path(starts), "gene").frame
    lacking = [name for name in COLUMNS if name not in table.columns]
    if lacking:
        raise InputError(f"{where}: there is no column {lacking[0]!r}. The columns are {', '.join(COLUMNS)}.")
    table = table.assign(gene=table["gene"].astype(str)).set_index("gene")
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise InputError(f"{where}: the gene {twice!r} has two starts. Keep one row of it.")
    odd = table.index[~table["strand"].astype(str).isin(["+", "-"])]
    if len(odd):
        raise InputError(f"{where}: the strand of {odd[0]!r} is {table.loc[odd[0], 'strand']!r}, not + or -.")
    try:
        position = table["position"].astype(float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: column 'position' holds a value that is not a whole number ({error}).") from error
    odd = table.index[~(position == np.floor(position))]  # of missing ones, too
    if len(odd):
        raise InputError(f"{where}: the position of {odd[0]!r} is {position[odd[0]]}, which is not a whole number.")
    return table.assign(position=position.astype(np.int64))


def _sequences(fasta: Path, table: "pd.DataFrame", windows: int, width: int, stride: int) -> list[str]:
    """Return the sequence around each start along its strand, N beyond the ends of a contig."""
    whole = (windows - 1) * stride + width
    out = []
    with opened(fasta) as genome:
        lengths = dict(zip(genome.references, genome.lengths, strict=True))
        for gene, row in table.iterrows():
            given = str(row["chrom"])
            chrom = next((n for n in (given, f"chr{given}", given.removeprefix("chr")) if n in lengths), None)
            if chrom is None:
                raise InputError(
                    f"{fasta}: there is no contig {given!r}, on which {gene!r} lies; there are {listed(list(lengths))}."
                )
            start = int(row["position"]) - 1
            if not 0 <= start < lengths[chrom]:
                raise InputError(
                    f"{fasta}: {gene!r} starts at {start + 1}, but {chrom} has {lengths[chrom]} bases. Wrong assembly?"
                )
            low = start - whole // 2 if row["strand"] == "+" else start - (whole - 1) // 2
            high = low + whole
            found = genome.fetch(chrom, max(low, 0), min(high, lengths[chrom]))
            found = "N" * max(-low, 0) + found + "N" * max(high - lengths[chrom], 0)
            out.append(found if row["strand"] == "+" else found.translate(COMPLEMENT)[::-1])
    return out


def _scaled(found: "pd.DataFrame") -> "pd.DataFrame":
    """Return features of mean 0 and sd 1, without those that are constant."""
    mean, sd = found.mean(), found.std(ddof=0)
    kept = found.columns[sd.to_numpy() > 1e-12 * np.maximum(np.abs(mean.to_numpy()), 1e-300)]
    if not len(kept):
        raise InputError(
            f"perturbation_score: no feature differs between the {len(found)} genes. Give more genes, or another "
            "embed=."
        )
    out = (found[kept] - mean[kept]) / sd[kept]
    out.attrs = {
        "mean": mean[kept].to_dict(),
        "sd": sd[kept].to_dict(),
        "without": [str(name) for name in found.columns.difference(kept)],
    }
    return out
