"""Doublets and indels as events of DBS78 and ID83: which channel each is, by its alleles and the genome around it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.remedies import option

from ..channels import BASES, DOUBLETS, OWN_COMPLEMENT, ChannelSet
from .alleles import COMPLEMENT, INDEL, MNV
from .contigs import Contigs
from .genome import CONTEXT_OF, Genome, count_contexts
from .mutations import Event, Mutations
from .place import (
    BEYOND,
    DUPLICATE,
    MISMATCH,
    NO_CONTEXT,
    NOT_IN_GENOME,
    TOLERATED,
    Mismatches,
    Placed,
    Sequence,
    by_contig,
)
from .windows import Loci

SINGLE = "single-base substitution"
SECOND = "second base of a doublet"
LONGER = "three or more SNVs side by side"
COMPLEX = "complex indel"
LARGEST = 5
"""Sizes, repeats and shared bases are counted up to it."""


class Change(NamedTuple):
    """What is left of two alleles without the bases that they share at their ends, and how far it is from the start."""

    reference: str
    alternative: str
    offset: int


def trimmed(reference: str, alternative: str) -> Change:
    """Take from alleles what they share at their ends, from the last base on; "-" is no base."""
    ref, alt = (allele.strip().upper().replace("-", "") for allele in (reference, alternative))
    while ref and alt and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    offset = 0
    while offset < min(len(ref), len(alt)) and ref[offset] == alt[offset]:
        offset += 1
    return Change(ref[offset:], alt[offset:], offset)


def doublet(reference: str, alternative: str) -> str:
    """Return the channel of a doublet substitution, on the strand that COSMIC names it by."""
    other = [text.translate(COMPLEMENT)[::-1] for text in (reference, alternative)]
    own = OWN_COMPLEMENT.get(reference)
    turned = reference not in DOUBLETS or (own is not None and alternative not in own)
    return ">".join(other) if turned else f"{reference}>{alternative}"


def indel(change: Change, at: int, around: str) -> str:
    """Return the channel of an insertion or a deletion, as SigProfiler tells those that are aligned to the left.

    Where it could as well be written some bases further left, it is taken there, so that the channel does not depend
    on how a caller writes it: copies of it, or the bases that it shares with what is around, follow it then.

    Parameters
    ----------
    change : Change
        One of its alleles is empty.
    at : int
        Where ``around`` has the first base that is deleted, or the one after the insertion.
    around : str
        Bases of the genome, as many on either side as repeats may take.

    Returns
    -------
    str
    """
    bases = change.reference or change.alternative
    n, deleted = len(bases), bool(change.reference)
    while at and around[at - 1] == bases[-1]:
        bases, at = bases[-1] + bases[:-1], at - 1
    after = at + n if deleted else at
    copies = next(i for i in range(LARGEST + 1) if i == LARGEST or not around.startswith(bases, after + i * n))
    size, repeats = min(n, LARGEST), min(copies, LARGEST)
    kind = "Del" if deleted else "Ins"
    if n == 1:
        return f"1:{kind}:{'C' if bases in 'CG' else 'T'}:{repeats}"
    if deleted and not copies and (shared := max(i for i in range(n) if around.startswith(bases[:i], after))):
        return f"{size}:Del:M:{min(shared, LARGEST)}"
    return f"{size}:{kind}:R:{repeats}"


def from_events(
    genome: Genome | None, mutations: Mutations, contigs: Contigs, loci: Loci, kinds: ChannelSet
) -> Sequence:
    """Place doublets or indels, and count the doublets that the loci could have mutated.

    Parameters
    ----------
    genome : Genome, optional
        Indels cannot be told without.
    mutations : Mutations
        Its account is told of what is left out: substitutions of other classes too.
    contigs : Contigs
    loci : Loci
    kinds : ChannelSet
        DBS78 or ID83.

    Returns
    -------
    Sequence
        The contexts of what is placed are channels. Opportunities of doublets are how often their reference is there;
        those of indels are not known (of no columns).

    Raises
    ------
    InputError
        If indels come without a genome, or references differ from the genome's.
    """
    doublets = kinds.name == "DBS78"
    if genome is None and not doublets:
        raise InputError(
            f"{kinds.name}: repeats and microhomology are told from the genome. Give it: "
            f"{option('fasta', 'genome.fa')}."
        )
    found = Sequence({}, np.zeros((len(loci), len(kinds.channels) if doublets else 0)), np.zeros(len(loci)))
    events = dict(_by_contig(mutations, contigs, doublets))
    number = {name: m for m, name in enumerate(kinds.channels)}
    wrong = Mismatches()
    if genome is None:
        for contig, rows in events.items():
            found.placed[contig] = _placed([(e, doublet(*c[:2])) for e, c in rows], number, mutations)
        return Sequence(found.placed, np.zeros((len(loci), 0)), loci.lengths)
    small = np.zeros((len(loci), 32))
    pairs = np.zeros((len(loci), len(DOUBLETS)))
    here = [int(c) for c in np.unique(loci.piece_contig)]
    count: Any = count_contexts
    for contig, codes in genome.each(sorted({*here, *events})):
        of = loci.on(contig)
        stretches = (loci.piece_start[of], loci.piece_end[of], loci.piece_locus[of])
        count(codes, *stretches, np.zeros(len(stretches[0]), dtype=np.int64), CONTEXT_OF[None], small, found.usable)
        count_doublets(codes, *stretches, DOUBLET_OF, pairs)
        if contig in events:
            told = _told(events[contig], codes, contigs.names[contig], mutations, wrong, doublets)
            found.placed[contig] = _placed(told, number, mutations)
    if wrong.count > TOLERATED * max(wrong.seen, 1):
        raise wrong.error(str(genome.path))
    if doublets:
        of_channel = [DOUBLETS.index(name[:2]) for name in kinds.channels]
        found.opportunity[:] = pairs[:, of_channel]
    return found


def _by_contig(
    mutations: Mutations, contigs: Contigs, doublets: bool
) -> Iterator[tuple[int, list[tuple[Event, Change]]]]:
    """Yield the events of each contig, with what changes; what is none is left out."""
    account = mutations.account
    out: dict[int, list[tuple[Event, Change]]] = {}
    for contig, placed in by_contig(mutations, contigs, True).items():
        out[contig] = _pairs(placed, mutations) if doublets else []
        if not doublets:
            account.leave(SINGLE, len(placed.position))
    for event in mutations.events or ():
        contig = contigs.find(event.chromosome)
        change = trimmed(event.reference, event.alternative)
        at = event.position - 1 + change.offset
        is_doublet = len(change.reference) == len(change.alternative) == 2
        if contig < 0:
            account.leave(NOT_IN_GENOME, 1)
        elif not 0 <= at < contigs.lengths[contig]:
            account.leave(BEYOND, 1)
        elif not doublets and change.reference and change.alternative:
            account.leave(MNV if len(change.reference) == len(change.alternative) else COMPLEX, 1)
        elif doublets and not is_doublet:
            account.leave(MNV if len(change.reference) == len(change.alternative) else INDEL, 1)
        else:
            after = event.reference.strip() == "-"  # an insertion behind the base that MAF names
            out.setdefault(contig, []).append((event._replace(position=at + 1 + after), change))
    yield from out.items()


def _pairs(placed: Placed, mutations: Mutations) -> list[tuple[Event, Change]]:
    """Return the doublets that two SNVs side by side in a genome make; leave out the others."""
    n = len(placed.position)
    follows = (np.diff(placed.genome) == 0) & (np.diff(placed.position) <= 1)  # the same place, or the next one
    run = np.cumsum(np.r_[True, ~follows])[:n]
    out: list[tuple[Event, Change]] = []
    for rows in np.split(np.arange(n), np.flatnonzero(np.diff(run)) + 1) if n else ():
        positions = placed.position[rows]
        if len(rows) == 2 and positions[1] == positions[0] + 1:
            ref, alt = ("".join(BASES[c] for c in part) for part in np.divmod(placed.code[rows], 4))
            out.append((Event(int(placed.genome[rows[0]]), "", int(positions[0]) + 1, ref, alt), Change(ref, alt, 0)))
            mutations.account.leave(SECOND, 1)
        else:
            mutations.account.leave(LONGER if np.ptp(positions) > 1 else SINGLE, len(rows))
    return out


def _told(
    rows: list[tuple[Event, Change]], codes: Array, name: str, mutations: Mutations, wrong: Mismatches, doublets: bool
) -> list[tuple[Event, str]]:
    """Return the channels of the events of a contig, references checked."""
    letters = np.full(256, ord("N"), dtype=np.uint8)
    letters[:4] = [ord(base) for base in BASES]
    out = []
    for event, change in rows:
        size = max(len(change.reference), len(change.alternative))
        at, reach = event.position - 1, (LARGEST + 1) * size
        low = max(at - reach, 0)
        around = letters[codes[low : at + size + reach]].tobytes().decode()
        here = around[at - low : at - low + len(change.reference)]
        wrong.seen += 1
        if "N" in here:
            mutations.account.leave(NO_CONTEXT, 1)
        elif here != change.reference:
            mutations.account.leave(MISMATCH, 1)
            wrong.count += 1
            if len(wrong.examples) < 3:
                wrong.examples.append(f"{name}:{event.position} {change.reference}, where the genome has {here}")
        else:
            out.append((event, doublet(*change[:2]) if doublets else indel(change, at - low, around)))
    return out


def _placed(told: list[tuple[Event, str]], number: dict[str, int], mutations: Mutations) -> Placed:
    """Return events of a contig, each once in a genome."""
    unique = {(event.genome, event.position, event.alternative, channel): None for event, channel in told}
    mutations.account.leave(DUPLICATE, len(told) - len(unique))
    genome, position, channel = (
        np.array([key[0] for key in unique], dtype=np.int64),
        np.array([key[1] - 1 for key in unique], dtype=np.int64),
        np.array([number[key[3]] for key in unique], dtype=np.int16),
    )
    return Placed(genome, position, np.zeros(len(unique), dtype=np.int64), channel, np.ones(len(unique)))


def _doublet_table() -> Array:
    names = [one + two for one in BASES for two in BASES]
    turned = [name if name in DOUBLETS else name.translate(COMPLEMENT)[::-1] for name in names]
    return np.array([DOUBLETS.index(name) for name in turned])


DOUBLET_OF = _doublet_table()
"""Doublet of two bases, by 4 times the first plus the second."""


@njit(cache=True)
def count_doublets(codes: Array, start: Array, end: Array, locus: Array, doublet_of: Array, out: Array) -> None:
    """Add the doublets that begin in stretches of a contig to those of their loci (L, 10)."""
    last = len(codes) - 1
    for p in range(len(start)):
        for i in range(start[p], min(end[p], last)):
            if codes[i] < 4 and codes[i + 1] < 4:
                out[locus[p], doublet_of[4 * codes[i] + codes[i + 1]]] += 1
