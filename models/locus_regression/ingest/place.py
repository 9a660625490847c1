"""Mutations put in their places: duplicates, doublets, contexts, loci; each that is left out is counted."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.remedies import option

from ..channels import BASES, ChannelSet, channel_of
from .contigs import Contigs
from .genome import CONTEXT_OF, NONE, Genome, contexts, count_contexts
from .mutations import Mutations
from .strands import BOTH, Strands, context_table, contexts_on
from .windows import Loci

ADJACENT = "adjacent SNV (doublet)"
DUPLICATE = "duplicate"
BEYOND = "beyond the contig's end"
MISMATCH = "reference mismatch"
NO_CONTEXT = "N in the context"
EDGE = "at the contig's end (no context)"
ELSEWHERE = "outside the windows"
EXCLUDED = "in an excluded region"
NO_STRAND = "where neither strand has an interval"
BOTH_STRANDS = "where both strands have intervals"
NOT_IN_GENOME = "on a contig that the genome does not have"

TOLERATED = 0.1
"""Share of mutations whose reference may differ from the genome's."""


@dataclass
class Placed:
    """Substitutions on one contig, with their contexts.

    Attributes
    ----------
    genome, position, code : ndarray, shape (n,)
        Position from zero.
    context : ndarray of int16, shape (n,)
    weight : ndarray, shape (n,)
    """

    genome: Array
    position: Array
    code: Array
    context: Array
    weight: Array

    def take(self, kept: Array) -> "Placed":
        """Return some of them."""
        return Placed(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))


@dataclass
class Sequence:
    """What a pass through the genome finds.

    Attributes
    ----------
    placed : dict of int to Placed
        By contig.
    opportunity : ndarray, shape (L, C)
        Contexts of the loci; of no rows without a FASTA file.
    usable : ndarray, shape (L,)
        Bases of the loci that are known.
    """

    placed: dict[int, Placed]
    opportunity: Array
    usable: Array


@dataclass
class Mismatches:
    """References that differ from the genome's."""

    seen: int = 0
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def error(self, where: str) -> InputError:
        """Return what to say if they are too many."""
        return InputError(
            f"{self.count} of {self.seen} mutations have another reference base than {where} "
            f"({'; '.join(self.examples)}{'; ...' if self.count > len(self.examples) else ''}). Wrong assembly? "
            f"Give the genome that the mutations were called with: {option('fasta')}."
        )


def by_contig(mutations: Mutations, contigs: Contigs, keep_adjacent: bool) -> dict[int, Placed]:
    """Sort mutations by contig, and leave out those beyond its end, duplicates and doublets.

    Parameters
    ----------
    mutations : Mutations
    contigs : Contigs
    keep_adjacent : bool

    Returns
    -------
    dict of int to Placed
        Their contexts are those of the file (codes of three bases), or -1.
    """
    account = mutations.account
    numbers = np.array([contigs.find(name) for name in mutations.chromosomes] or [-1], dtype=np.int64)
    contig = numbers[mutations.column("chromosome")]
    for name, at in mutations.chromosomes.items():
        if numbers[at] < 0:
            account.leave(NOT_IN_GENOME, int((mutations.column("chromosome") == at).sum()))
            told = account.names.setdefault(NOT_IN_GENOME, [])
            told += [name] if len(told) < 10 else []
    order = np.argsort(contig, kind="stable")
    bounds = np.searchsorted(contig[order], np.arange(len(contigs.names) + 1))
    out, beyond = {}, 0
    for at in range(len(contigs.names)):
        of = order[bounds[at] : bounds[at + 1]]
        if not len(of):
            continue
        position = mutations.column("position")[of].astype(np.int64) - 1
        weight = mutations.column("weight")[of] if len(mutations.weight) else np.ones(len(of))
        context = mutations.column("context")[of] if len(mutations.context) else np.full(len(of), -1)
        placed = Placed(
            mutations.column("genome")[of].astype(np.int64),
            position,
            mutations.column("code")[of].astype(np.int64),
            context.astype(np.int16),
            weight,
        )
        inside = (position >= 0) & (position < contigs.lengths[at])
        beyond += int((~inside).sum())
        placed = _unique(placed.take(inside), mutations)
        if not keep_adjacent:
            alone = _alone(placed)
            account.leave(ADJACENT, int((~alone).sum()))
            placed = placed.take(alone)
        out[at] = placed
    account.leave(BEYOND, beyond)
    if beyond + account.left_out.get(NOT_IN_GENOME, 0) > TOLERATED * len(mutations):
        mutations.notes.append(
            f"Many mutations lie beyond the ends of the contigs of {contigs.source}, or on others. Wrong assembly?"
        )
    return out


def _unique(placed: Placed, mutations: Mutations) -> Placed:
    """Leave out all but the first of the same substitutions; sorted by genome and position."""
    order = np.lexsort((placed.code, placed.position, placed.genome))
    placed = placed.take(order)
    same = np.zeros(len(order), dtype=bool)
    same[1:] = (np.diff(placed.genome) == 0) & (np.diff(placed.position) == 0) & (np.diff(placed.code) == 0)
    mutations.account.leave(DUPLICATE, int(same.sum()))
    return placed.take(~same)


def _alone(placed: Placed) -> Array:
    """Whether no substitution of the same genome is at the next base, on either side."""
    n = len(placed.position)
    new = np.r_[True, (np.diff(placed.genome) != 0) | (np.diff(placed.position) != 0)][:n]  # the first at a position
    site = np.cumsum(new) - 1
    genome, position = placed.genome[new], placed.position[new]
    joined = (np.diff(genome) == 0) & (np.diff(position) == 1)
    beside = np.zeros(len(position), dtype=bool)
    beside[:-1] |= joined
    beside[1:] |= joined
    return np.asarray(~beside[site]) if n else np.zeros(0, dtype=bool)


def through_genome(
    genome: Genome,
    placed: dict[int, Placed],
    loci: Loci,
    mutations: Mutations,
    kinds: ChannelSet,
    strands: Strands | None,
) -> Sequence:
    """Look up contexts in the genome, one contig in memory at a time, and count those of the loci, strand by strand.

    The contexts of the mutations do not tell strands yet.

    Raises
    ------
    InputError
        If more than a tenth of the mutations have another reference than the genome.
    """
    L = len(loci)
    found = Sequence({}, np.zeros((L, len(kinds.contexts))), np.zeros(L))
    table = context_table(kinds.strands)
    wrong = Mismatches()
    here = [int(c) for c in np.unique(loci.piece_contig)]
    for contig, codes in genome.each(sorted({*here, *placed})):
        of = loci.on(contig)
        stretches: tuple[Array, ...] = (loci.piece_start[of], loci.piece_end[of], loci.piece_locus[of])
        if strands is None:
            stretches = (*stretches, np.zeros(len(stretches[0]), dtype=np.int64))
        else:
            stretches = strands.cut(contig, *stretches)
        count: Any = count_contexts
        count(codes, *stretches, table, found.opportunity, found.usable)
        if contig in placed:
            found.placed[contig] = _with_contexts(placed[contig], codes, genome, contig, mutations, wrong)
    if wrong.count > TOLERATED * wrong.seen:
        raise wrong.error(str(genome.path))
    return found


def _with_contexts(
    placed: Placed, codes: Array, genome: Genome, contig: int, mutations: Mutations, wrong: Mismatches
) -> Placed:
    account, last = mutations.account, len(codes) - 1
    edge = (placed.position == 0) | (placed.position == last)
    account.leave(EDGE, int(edge.sum()))
    placed = placed.take(~edge)
    at = placed.position
    base, reference = codes[at], placed.code // 4
    placed.context = contexts(codes[at - 1], base, codes[at + 1])
    differ = (base != reference) & (base != NONE)
    wrong.seen += int((base != NONE).sum())
    wrong.count += int(differ.sum())
    for i in np.flatnonzero(differ)[: 3 - len(wrong.examples)]:
        ref, alt = BASES[reference[i]], BASES[placed.code[i] % 4]
        where = f"{genome.contigs.names[contig]}:{at[i] + 1}"
        wrong.examples.append(f"{where} {ref}>{alt}, where the genome has {BASES[base[i]]}")
    account.leave(MISMATCH, int(differ.sum()))
    unknown = ~differ & (placed.context < 0)
    account.leave(NO_CONTEXT, int(unknown.sum()))
    return placed.take(~differ & ~unknown)


def with_file_contexts(placed: dict[int, Placed], mutations: Mutations) -> dict[int, Placed]:
    """Take contexts from the files, on the strand of the reference or folded to the pyrimidine.

    Raises
    ------
    InputError
        If more than a tenth of the mutations have another base in the middle.
    """
    out, seen, differing = {}, 0, 0
    for contig, one in placed.items():
        known = one.context >= 0
        middle, reference = one.context // 4 % 4, one.code // 4
        fits = known & ((middle == reference) | (middle == 3 - reference))
        mutations.account.leave(NO_CONTEXT, int((~known).sum()))
        mutations.account.leave(MISMATCH, int((known & ~fits).sum()))
        seen, differing = seen + int(known.sum()), differing + int((known & ~fits).sum())
        kept = one.take(fits)
        kept.context = CONTEXT_OF[kept.context]
        out[contig] = kept
    if differing > TOLERATED * seen:
        raise InputError(
            f"{differing} of {seen} mutations have a context whose middle base is not the reference. The mutated base "
            "must stand in the middle of the context."
        )
    return out


def on_strands(
    placed: dict[int, Placed], strands: Strands, kinds: ChannelSet, mutations: Mutations
) -> dict[int, Placed]:
    """Let the contexts of mutations tell strands; where the set has no such strand, they are left out."""
    out, alone, both = {}, 0, 0
    for contig, one in placed.items():
        side = strands.at(contig, one.position)
        alone, both = alone + int((side == 0).sum()), both + int((side == BOTH).sum())
        one.context = contexts_on(side, one.code // 4 % 2 == 0, one.context, kinds.strands)
        out[contig] = one.take(one.context >= 0)
    if "N" in kinds.strands:
        total = sum(len(one.position) for one in placed.values())
        mutations.notes.append(
            f"Strands: {alone + both} of {total} mutations are N: {alone} {NO_STRAND}, {both} {BOTH_STRANDS}."
        )
    else:
        mutations.account.leave(NO_STRAND, alone)
        mutations.account.leave(BOTH_STRANDS, both)
    return out


def channels(placed: Placed, kinds: ChannelSet) -> Array:
    """Return the channel of each mutation; substitutions are folded to the pyrimidine."""
    if len(kinds.alternatives) == 1:
        return placed.context
    reference, alternative = placed.code // 4, placed.code % 4
    purine = (reference == 0) | (reference == 2)
    base, to = np.where(purine, 3 - reference, reference), np.where(purine, 3 - alternative, alternative)
    return channel_of(placed.context, np.where(to > base, to - 1, to), len(kinds.contexts))


def cells(
    placed: dict[int, Placed], inner: Loci, outer: Loci, mutations: Mutations, kinds: ChannelSet
) -> tuple[Array, Array, Array, Array]:
    """Add up the mutations of a genome, a locus and a channel.

    Parameters
    ----------
    placed : dict of int to Placed
    inner, outer : Loci
        Without and with the excluded regions.
    mutations : Mutations
        Whose account is told of what lies elsewhere.
    kinds : ChannelSet

    Returns
    -------
    genome, locus, channel : ndarray of int64, shape (I,)
    count : ndarray, shape (I,)
    """
    L, M, account = len(inner), len(kinds.channels), mutations.account
    keys, counts = [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for contig, one in placed.items():
        locus = inner.find(contig, one.position)
        excluded = (locus < 0) & (outer.find(contig, one.position) >= 0)
        account.leave(EXCLUDED, int(excluded.sum()))
        account.leave(ELSEWHERE, int(((locus < 0) & ~excluded).sum()))
        inside = locus >= 0
        kept = one.take(inside)
        key = (kept.genome * L + locus[inside]) * M + channels(kept, kinds)
        unique, inverse = np.unique(key, return_inverse=True)
        keys.append(unique)
        counts.append(np.bincount(inverse, kept.weight, len(unique)))
    unique, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    count = np.bincount(inverse, np.concatenate(counts), len(unique))
    rest, channel = np.divmod(unique, M)
    genome, locus = np.divmod(rest, L)
    return genome, locus, channel, count
