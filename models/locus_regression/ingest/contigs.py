"""Chromosome names: those of files, found among those of the genome."""

import re
from collections.abc import Iterable

from genarium.errors import InputError

NUMBERED = {"23": "x", "24": "y", "26": "mt", "m": "mt", "mtdna": "mt"}
"""Numbers that stand for chromosomes of letters, as PLINK writes them, and other names of the mitochondrial one."""

REFSEQ = re.compile(r"nc_0+(\d+)\.\d+")
"""RefSeq accessions: NC_000001.11 is human chromosome 1, NC_012920.1 the mitochondrial one."""


def plain(name: str) -> str:
    """Return what names of the same chromosome have in common: "1" for chr1, Chr1 and NC_000001.11."""
    name = name.strip().lower()
    if found := REFSEQ.fullmatch(name):
        name = {"12920": "mt"}.get(found[1], found[1])
    name = name.removeprefix("chr")
    return NUMBERED.get(name, name)


class Contigs:
    """The contigs of a genome, in its order.

    Parameters
    ----------
    names : iterable of str
    lengths : iterable of int
        In bases.
    source : str
        The file they are from, for messages.

    Attributes
    ----------
    names : list of str
    lengths : list of int
    mapped : dict of str to str
        Names that files use otherwise, and the genome's.
    """

    def __init__(self, names: Iterable[str], lengths: Iterable[int], source: str) -> None:
        self.names, self.lengths, self.source = list(names), [int(length) for length in lengths], source
        self.mapped: dict[str, str] = {}
        self._found = {name: i for i, name in enumerate(self.names)}
        if len(self._found) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise InputError(f"{source}: the contig {twice!r} is there twice. Name each once.")
        same: dict[str, list[int]] = {}
        for i, name in enumerate(self.names):
            same.setdefault(plain(name), []).append(i)
        self._plain = {key: at[0] for key, at in same.items() if len(at) == 1}

    def find(self, name: str) -> int:
        """Return the number of the contig that a name stands for; -1 if there is none."""
        at = self._found.get(name)
        if at is None:
            at = self._found[name] = self._plain.get(plain(name), -1)
            if at >= 0:
                self.mapped[name] = self.names[at]
        return at

    def notes(self) -> list[str]:
        """Say which names were mapped."""
        if not self.mapped:
            return []
        some = ", ".join(f"{name} is {ours}" for name, ours in list(self.mapped.items())[:3])
        more = ", ..." if len(self.mapped) > 3 else ""
        n = len(self.mapped)
        names = f"{n} chromosome names were" if n > 1 else "1 chromosome name was"
        return [f"{names} mapped to those of {self.source} ({some}{more})."]
