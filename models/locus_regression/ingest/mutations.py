"""Mutations as the files give them: substitutions in compact columns, and the account of what else there was."""

from array import array
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from genarium.declaration import Array
from genarium.readers.ledger import Account

from .alleles import INDEL, MNV, change

MOST = 2**32 - 1


class Event(NamedTuple):
    """A doublet, an indel or another change of several bases, as a file writes it; the position counts from 1."""

    genome: int
    chromosome: str
    position: int
    reference: str
    alternative: str


@dataclass
class Mutations:
    """Single-base substitutions of genomes, as they are read; 17 bytes each, and more with weights or contexts.

    Attributes
    ----------
    account : Account
        Of mutations: an allele that a genome carries is one.
    genomes, chromosomes : dict of str to int
        Names, and the numbers that the columns have for them.
    every : dict of str to None
        Names of all genomes of the files, those not asked for too.
    genome, chromosome, position, code : array
        Position from 1, code as in :class:`~.alleles.Change`.
    weight, context : array
        Empty where there are none.
    events : list of Event, optional
        Changes of several bases; None where only substitutions of one are wanted, and others are left out.
    unfiltered, filtered : int
        Mutations whose filter is "." and whose filter is PASS.
    notes : list of str
    """

    account: Account = field(default_factory=lambda: Account("mutation"))
    genomes: dict[str, int] = field(default_factory=dict)
    chromosomes: dict[str, int] = field(default_factory=dict)
    every: dict[str, None] = field(default_factory=dict)
    genome: "array[int]" = field(default_factory=lambda: array("i"))
    chromosome: "array[int]" = field(default_factory=lambda: array("i"))
    position: "array[int]" = field(default_factory=lambda: array("L"))
    code: "array[int]" = field(default_factory=lambda: array("B"))
    weight: "array[float]" = field(default_factory=lambda: array("d"))
    context: "array[int]" = field(default_factory=lambda: array("b"))
    events: list[Event] | None = None
    unfiltered: int = 0
    passed: int = 0
    notes: list[str] = field(default_factory=list)

    def number(self, genome: str) -> int:
        """Return the number of a genome, which is a new one if its name is."""
        return self.genomes.setdefault(genome, len(self.genomes))

    def add(
        self,
        genome: int,
        chromosome: str,
        position: int,
        reference: str,
        alternative: str,
        weight: float | None = None,
        context: int | None = None,
    ) -> None:
        """Add a mutation, or note why it is none of a single base.

        Parameters
        ----------
        genome : int
        chromosome : str
        position : int
            Of the reference allele's first base, from 1.
        reference, alternative : str
        weight : float, optional
        context : int, optional
            As of :func:`~.alleles.context_code`.
        """
        self.account.read += 1
        found = change(reference, alternative)
        if self.events is not None and found.reason in (MNV, INDEL):
            self.chromosomes.setdefault(chromosome, len(self.chromosomes))
            self.events.append(Event(genome, chromosome, position, reference, alternative))
            return
        if found.reason:
            self.account.leave(found.reason, 1)
            return
        at = self.chromosomes.get(chromosome)
        if at is None:
            at = self.chromosomes[chromosome] = len(self.chromosomes)
        self.genome.append(genome)
        self.chromosome.append(at)
        self.position.append(min(max(position + found.offset, 0), MOST))
        self.code.append(found.code)
        if weight is not None:
            self.weight.append(weight)
        if context is not None:
            self.context.append(context)

    def leave(self, reason: str, number: int = 1) -> None:
        """Note mutations that are left out before their alleles are looked at."""
        self.account.read += number
        self.account.leave(reason, number)

    def column(self, name: str) -> Array:
        """Return a column as an array that shares its memory."""
        held: Any = getattr(self, name)
        return np.frombuffer(held, dtype=held.typecode) if len(held) else np.empty(0, dtype=held.typecode)

    def __len__(self) -> int:
        return len(self.genome)
