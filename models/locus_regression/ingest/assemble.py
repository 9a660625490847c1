"""From mutations to a corpus: loci, opportunities, exposures, features, cells, and the ledger of it all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.ledger import Account, Ledger, Told
from genarium.readers.messages import listed
from genarium.remedies import option

from ..channels import chosen_channels
from . import earlier
from .cohort import group_of
from .contigs import Contigs
from .covariates import assembled, fill, measured, with_stored_steps
from .events import from_events
from .genome import LONGEST, Genome, read_sizes
from .mutations import Mutations
from .options import Options
from .place import Placed, by_contig, cells, on_strands, through_genome, with_file_contexts
from .spec import Feature, parse_features, parse_source
from .strands import read_strands
from .tables_of_contexts import read_opportunities
from .tracks import regions, total
from .windows import Loci, from_windows, whole


def corpus(mutations: Mutations, options: Options, wanted: Sequence[str]) -> Told:
    """Make a corpus of mutations.

    Parameters
    ----------
    mutations : Mutations
    options : Options
    wanted : sequence of str
        The genomes asked for; all if empty.

    Returns
    -------
    Told
        ``genome``, ``locus``, ``channel``, ``count`` (cell); ``exposure`` (locus), whose coordinates say where loci
        are; ``context_opportunity`` (context, locus); ``features`` ([covariate_group,] feature, locus) and ``group``
        (cell) where they were asked for.

    Raises
    ------
    InputError
    """
    if options.fasta is None and options.context is None and not options.of_events:
        raise InputError(
            f"the contexts of mutations are not known. Give the genome: {option('fasta', 'genome.fa')}, or the column "
            f"or INFO tag that holds the bases around each mutation: {option('context')}."
        )
    notes = mutations.notes
    like = earlier.load_like(options)
    genome = Genome(Path(options.fasta)) if options.fasta is not None else None
    contigs = _contigs(genome, options, mutations, like)
    loci = _loci(options, contigs, like, genome, notes)
    inner = loci
    if options.exclude is not None:
        several = [options.exclude] if isinstance(options.exclude, str | Path) else list(options.exclude)
        each = [one for text in several for one in str(text).split(",")]
        inner = loci.without(regions([parse_source(one, "exclude")[0] for one in each], contigs, notes))
    kinds, strands = options.kinds, None
    if options.strand is not None:
        strands = read_strands(options.strand, contigs, notes)
        inner = inner if "N" in kinds.strands else strands.within(inner)
    bases, opportunity = inner.lengths, None
    if options.of_events:
        found = from_events(genome, mutations, contigs, inner, kinds)
        placed, bases = found.placed, found.usable
        opportunity = found.opportunity.T if found.opportunity.size else None
    elif genome is not None:
        placed = by_contig(mutations, contigs, options.adjacent == "keep")
        found = through_genome(genome, placed, inner, mutations, kinds, strands)
        placed, bases, opportunity = found.placed, found.usable, found.opportunity.T
    else:
        placed = with_file_contexts(by_contig(mutations, contigs, options.adjacent == "keep"), mutations)
        if options.opportunities is not None:
            opportunity = read_opportunities(Path(options.opportunities), loci)
    if strands is not None:
        placed = on_strands(placed, strands, kinds, mutations)
    if options.exposure is not None:
        exposure = total(*parse_source(options.exposure, "exposure"), inner, notes)
    else:
        exposure = bases.astype(float)
    if like is not None:
        exposure, opportunity = like.exposure, like.opportunity
    return _finish(options, mutations, placed, loci, inner, exposure, opportunity, like, wanted)


def _finish(
    options: Options,
    mutations: Mutations,
    placed: dict[int, Placed],
    loci: Loci,
    inner: Loci,
    exposure: Array,
    opportunity: Array | None,
    like: "earlier.Like | None",
    wanted: Sequence[str],
) -> Told:
    notes = mutations.notes
    stored = like.recipe if like is not None else None
    features: list[Feature]
    if stored and options.features is not None:
        features = with_stored_steps(options.features, options.transform, stored)
    else:
        features, stored = parse_features(options.features, options.transform), None
    kept = exposure > 0
    if not kept.all() and kept.any():
        why = "no exposure" if options.exposure is not None else "no known base outside excluded regions"
        why += " on one strand" if options.kinds.strands == "TU" else ""
        notes.append(f"{(~kept).sum()} of {len(kept)} windows have {why}, and were dropped.")
    if not kept.any():
        raise InputError("no window has a known base and an exposure above zero. Check windows, exclude and exposure.")
    values = measured(features, loci, notes)
    if options.missing == "drop" and values:
        silent = np.isnan(values).any(0)
        if (silent & kept).any():
            notes.append(f"{(silent & kept).sum()} windows that a track says nothing of were dropped.")
        kept &= ~silent
    if not kept.all():
        inner, loci = inner.keep(kept), loci.keep(kept)
        exposure, values = exposure[kept], [row[kept] for row in values]
        opportunity = opportunity if opportunity is None else opportunity[:, kept]
    genome, locus, channel, count = cells(placed, inner, loci, mutations, options.kinds)
    names, columns = _genomes(mutations, genome, wanted)
    if not len(genome):
        genome, locus, channel, count = (np.zeros(len(names), dtype=np.int64) for _ in range(4))
        genome += [mutations.number(name) for name in names]
        notes.append("No mutation was kept: there is nothing to fit. What was left out says why.")
    where = _coordinates(loci)
    out: dict[str, Any] = {
        "genome": np.array(list(mutations.genomes))[genome],
        "locus": locus,
        "channel": channel,
        "count": count,
        "exposure": xr.DataArray(exposure, dims="locus", coords=where),
    }
    if opportunity is not None:
        labels = {"context": list(options.kinds.contexts), **where}
        out["context_opportunity"] = xr.DataArray(opportunity, dims=("context", "locus"), coords=labels)
    chosen = chosen_channels(options.kinds)
    groups: list[str] = []
    if options.groups is not None:
        of = dict(zip(names, group_of(options.groups, names), strict=True))
        groups = like.groups if like is not None and like.groups else sorted(set(of.values()))
        if unknown := sorted(set(of.values()) - set(groups)):
            raise InputError(f"groups: {unknown[0]!r} is not a group of {option('like')}; there are {listed(groups)}.")
        number = {name: groups.index(group) for name, group in of.items()}
        out["group"] = np.array([number[name] for name in out["genome"]], dtype=np.int64)
        chosen["groups"] = "several"
        if not features and (like is None or like.features is None):
            raise InputError(
                f"groups give genomes features of their own, but there are none. Add {option('features')}."
            )
    if features:
        fills = fill(features, values, options.missing, stored, notes)
        out["features"] = assembled(features, values, fills, loci, groups, stored, notes).assign_coords(where)
    elif like is not None and like.features is not None:
        out["features"] = like.features
    notes += _said(mutations, loci.contigs)
    return Told(out, Ledger(mutations.account, columns, notes), chosen)


def _contigs(genome: Genome | None, options: Options, mutations: Mutations, like: "earlier.Like | None") -> Contigs:
    if genome is not None:
        return genome.contigs
    if options.sizes is not None:
        return read_sizes(Path(options.sizes))
    names = list(dict.fromkeys(like.contigs)) if like is not None else _bed_contigs(options) or [*mutations.chromosomes]
    return Contigs(names, [LONGEST] * len(names), "the windows" if options.windows else "the files")


def _bed_contigs(options: Options) -> list[str]:
    """Return the chromosomes of a BED file of windows, where nothing else names any."""
    if not isinstance(options.windows, str | Path) or not Path(options.windows).is_file():
        if options.windows is not None and options.like is None:
            raise InputError(
                f"windows={options.windows}: the lengths of chromosomes are not known. Add the genome, "
                f"{option('fasta')}, or a chromosome-sizes file, {option('sizes')}, or give windows as a BED file."
            )
        return []
    from .intervals import HEADER
    from .lines import lines

    rows = (line.split() for line in lines(Path(options.windows)) if line.strip() and not line.startswith(HEADER))
    return list(dict.fromkeys(row[0] for row in rows))


def _loci(
    options: Options, contigs: Contigs, like: "earlier.Like | None", genome: Genome | None, notes: list[str]
) -> Loci:
    if like is not None:
        return like.loci(contigs)
    if options.windows is None:
        notes.append("No windows were given: the whole genome is one locus.")
        return whole(contigs)
    loci, said = from_windows(options.windows, contigs)
    notes += said
    if genome is not None and options.sizes is not None:
        chosen = read_sizes(Path(options.sizes))
        numbers = [contigs.find(name) for name in chosen.names]
        for name, at, length in zip(chosen.names, numbers, chosen.lengths, strict=True):
            if at >= 0 and contigs.lengths[at] != length:
                raise InputError(
                    f"{options.sizes}: {name} has {length} bases, and {contigs.lengths[at]} in {genome.path}. Give "
                    "both of one assembly."
                )
        loci = loci.keep(np.isin(loci.contig, numbers))
        if not len(loci):
            raise InputError(f"{options.sizes}: none of its chromosomes ({listed(chosen.names, 3)}) is in the genome.")
    return loci


def _genomes(mutations: Mutations, genome: Array, wanted: Sequence[str]) -> tuple[list[str], Account]:
    """Return the genomes with mutations, or all where none has any, and the account of them."""
    every = [name for name in mutations.every if not wanted or name in wanted]
    columns = Account("genome", read=len(mutations.every))
    columns.leave("not asked for", [name for name in mutations.every if name not in every])
    names = list(mutations.genomes)
    have = {names[i] for i in np.unique(genome)}
    if not have:
        return every, columns
    columns.leave("without a mutation that was kept", [name for name in every if name not in have])
    return [name for name in every if name in have], columns


def _coordinates(loci: Loci) -> dict[str, Any]:
    chromosome = [loci.contigs.names[c] if c >= 0 else "." for c in loci.contig]
    out: dict[str, Any] = {
        "locus": loci.names,
        "chrom": ("locus", np.array(chromosome)),
        "start": ("locus", loci.start),
        "end": ("locus", loci.end),
        "strand": ("locus", loci.strand),
    }
    if len(loci.piece_locus) > len(loci) and (loci.contig >= 0).all():
        out["blocks"] = ("locus", np.array(loci.blocks()))
    return out


def _said(mutations: Mutations, contigs: Contigs) -> list[str]:
    said = contigs.notes()
    if mutations.unfiltered:
        said.append(f"Unfiltered mutations (FILTER '.') were kept: {mutations.unfiltered}.")
    return said
