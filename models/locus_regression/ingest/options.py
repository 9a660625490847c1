"""The options that every reader of sequencing files has, said once."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from genarium.errors import InputError
from genarium.remedies import option

from ..channels import SETS, ChannelSet

NOT_OF_EVENTS = ("context", "opportunities", "weight")
"""Options that doublets and indels have no use for."""


@dataclass(frozen=True)
class Options:
    """Options of the readers ``vcf``, ``maf`` and ``table``.

    Attributes
    ----------
    fasta : str or Path, optional
        The genome, plain or compressed by bgzip.
    windows : int, str or Path, optional
        Bases of a window (10000, "10kb"), or a BED or BED12 file. Default: the whole genome is one locus.
    sizes : str or Path, optional
        Chromosomes and their lengths: those that windows of one size are laid on (default: all of the FASTA file).
    features : mapping or str, optional
        Feature -> "TRACK:SUMMARY:STEP:STEP"; as text, "NAME=TRACK:SUMMARY,NAME=TRACK:SUMMARY". Summaries: mean, max, sd
        (over the bases that a track covers), coverage, distance, density. Steps: log1p, standardise, rank,
        resolutions=1/4/16, lags=-1/0/1. "NAME@GROUP" is a feature of one covariate group. Expression: TABLE@GENES.gtf.
    transform : str, optional
        Steps of the features that name none, "log1p:standardise".
    missing : {"mean", "zero", "drop"}
        What becomes of windows that a track says nothing of: they get the mean of the others, or zero, or are dropped.
    exposure : str or Path, optional
        Track whose sum over a window's bases is its exposure, TRACK:mean or TRACK:coverage. Default: its bases.
    exclude : str or Path, or several, optional
        BED files of regions that count for nothing: no mutation, context or base of theirs.
    channels : {"SBS96", "SBS192", "SBS288", "DBS78", "ID83"}, optional
        What mutations are told apart. Default: SBS96; SBS288 with ``strand``. DBS78 are doublets (two SNVs side by side
        in a genome, MNV and DNP of two bases), ID83 insertions and deletions as SigProfiler tells them.
    strand : str or Path, optional
        GTF or GFF3 file of genes, or BED file with a strand in its sixth column (genes; stretches whose replication
        fork moves right, +, or left, -). Substitutions and contexts are split by the strand that their pyrimidine is
        on: the one that the polymerase reads (T: the transcribed strand, or the leading strand's template) or the
        other (U); N where neither or both strands have an interval, which ``channels="SBS192"`` leaves out.
    samples : sequence of str or str, optional
        The genomes to read. Default: all.
    groups : str, Path or mapping, optional
        Covariate group of each genome: a table whose first column names the genome, "TABLE:COLUMN".
    adjacent : {"doublet", "keep"}
        Whether SNVs of one genome side by side are doublets, which are left out, or are kept.
    context : str, optional
        Where no FASTA is given: column (or INFO tag) with the bases around a mutation, ACG, TTACGTA or A[C>T]G.
    opportunities : str or Path, optional
        Where no FASTA is given: table with a row for each of the 32 contexts, and a column for each window, or one.
    weight : str, optional
        Column, or tag of INFO or FORMAT, with a mutation's weight, a whole number. Default: each counts once.
    filters : {"pass", "any"}
        Which of the filtered: those of PASS (and "." and empty), or all.
    like : str, Path or DataTree, optional
        A corpus or fit, whose windows, opportunities, exposures and features (or the parameters of their steps) are
        taken, for new genomes.
    """

    fasta: Any = None
    windows: Any = None
    sizes: Any = None
    features: Any = None
    transform: Any = None
    missing: Literal["mean", "zero", "drop"] = "mean"
    exposure: Any = None
    exclude: Any = None
    channels: Literal["SBS96", "SBS192", "SBS288", "DBS78", "ID83"] | None = None
    strand: Any = None
    samples: Any = None
    groups: Any = None
    adjacent: Literal["doublet", "keep"] = "doublet"
    context: Any = None
    opportunities: Any = None
    weight: Any = None
    filters: Literal["pass", "any"] = "pass"
    like: Any = None

    def __post_init__(self) -> None:
        for name in ("fasta", "sizes", "opportunities", "strand"):
            value = getattr(self, name)
            if not isinstance(value, str | Path | None):
                raise InputError(f"{name}={value!r} must be the path of a file.")
        for name in ("context", "weight"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise InputError(f"{name}={value!r} must be a name.")
        if self.channels not in (None, *SETS):
            raise InputError(f"{option('channels', self.channels)} is not known; use one of {', '.join(SETS)}.")
        if bool(self.kinds.strands) != (self.strand is not None):
            raise InputError(
                f"{option('channels', self.kinds.name)} tells no strands apart. Leave {option('strand')} out, or "
                "choose SBS192 or SBS288."
                if self.strand is not None
                else f"{option('channels', self.kinds.name)} tells strands apart. Say which they are: "
                f"{option('strand', 'genes.gtf')}."
            )
        if self.of_events and (dropped := [n for n in NOT_OF_EVENTS if getattr(self, n) is not None]):
            raise InputError(
                f"{option('channels', self.kinds.name)} takes no {option(dropped[0])}: that is of single-base "
                "substitutions. Leave it out."
            )
        if self.strand is not None and self.opportunities is not None:
            raise InputError(
                f"{option('opportunities')} does not tell strands apart. Give the genome instead: "
                f"{option('fasta', 'genome.fa')}."
            )

    @property
    def of_events(self) -> bool:
        """Whether the channels are of doublets or indels."""
        return len(self.kinds.alternatives) == 1

    @property
    def kinds(self) -> ChannelSet:
        """The channel set."""
        return SETS[self.channels or ("SBS96" if self.strand is None else "SBS288")]


PATHS = "paths : sequence of Path\n    Files, plain or compressed."

REST = """Returns
-------
Told
    Known and observed variables, coordinates of loci, and what was left out.

Raises
------
InputError
    Naming file, line, value and remedy."""

Read = Callable[[Sequence[Path], Options], Mapping[str, Any]]


def reader(read: Read) -> Callable[..., Mapping[str, Any]]:
    """Make a model's reader, with the options as keyword-only parameters, of a function that takes them together."""

    def shown(paths: Sequence[Path], **given: Any) -> Mapping[str, Any]:
        return read(paths, Options(**given))

    kind = inspect.Parameter.KEYWORD_ONLY
    first = inspect.Parameter("paths", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    own = [inspect.Parameter(f.name, kind, default=f.default, annotation=f.type) for f in fields(Options)]
    shown.__signature__ = inspect.Signature([first, *own])  # type: ignore[attr-defined]
    shown.__name__, shown.__module__ = read.__name__, read.__module__
    told = inspect.cleandoc(Options.__doc__ or "").partition("Attributes\n----------\n")[2]
    shown.__doc__ = f"{inspect.cleandoc(read.__doc__ or '')}\n\nParameters\n----------\n{PATHS}\n{told}\n\n{REST}"
    return shown
