"""Reader of a matrix of channels by genome, as SigProfiler's and COSMIC's tables are laid out: one locus."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genarium.errors import InputError
from genarium.readers.files import existing
from genarium.readers.ledger import Account, Ledger, Told
from genarium.readers.messages import listed

from .channels import chosen_channels, set_of
from .tables import read_table

LOCUS = "whole genome"
"""Name of the one locus."""

MOST = 2**53 - 1
"""The largest count that a table of numbers holds exactly."""


def matrix(paths: Sequence[Path], *, samples: str = "") -> Told:
    """Read numbers of mutations by channel and genome.

    Parameters
    ----------
    paths : sequence of Path
        One file: a row for each channel of SBS96 (``A[C>A]A`` ...), SBS192 or SBS288 (``T:A[C>A]A`` ...), DBS78
        (``AC>CA`` ...) or ID83 (``1:Del:C:0`` ...), in any order, named by a column ``Type`` or ``MutationType`` or by
        a first column without a name; a column of counts for each genome. Separated by tabs, or by commas if it is a
        ``.csv``; it may be compressed.
    samples : str
        Genomes to keep, separated by commas; empty: all.

    Returns
    -------
    Told
        ``genome`` and ``channel`` by name, ``locus`` ("whole genome" everywhere) and ``count`` of every cell that is
        not zero. Genomes without mutations are left out.

    Raises
    ------
    InputError
        Naming channels that are missing, unknown or there twice, entries that are no counts, and genomes that are not
        there.
    """
    if len(existing("matrix", paths)) != 1:
        raise InputError(f"reader 'matrix' takes one file, not {len(paths)}. Join the tables by their channels.")
    table = read_table(paths[0], "genomes")  # (genome, channel)
    channels = table.coords["channel"].to_numpy().astype(str)
    kinds = set_of(channels)
    assert kinds is not None  # read_table has told it
    counts, names = table.to_numpy(), table.coords["reference"].to_numpy().astype(str)
    odd = np.argwhere(counts != np.floor(counts))
    if len(odd):
        g, m = odd[0]
        raise InputError(
            f"{paths[0]}: {names[g]!r} has {counts[g, m]:g} mutations of {channels[m]}, but counts are whole numbers "
            f"({len(odd)} entries are not). Give counts; a table of signatures goes into signatures=."
        )
    if (counts > MOST).any():
        g, m = np.argwhere(counts > MOST)[0]
        raise InputError(
            f"{paths[0]}: {names[g]!r} has {counts[g, m]:g} mutations of {channels[m]}, more than are counted exactly "
            f"({MOST}). Correct it."
        )
    genomes = Account("genome", read=len(names))
    kept = np.ones(len(names), dtype=bool)
    if wanted := [name.strip() for name in samples.split(",") if name.strip()]:
        if lacking := [name for name in wanted if name not in names]:
            raise InputError(f"{paths[0]}: there is no genome {lacking[0]!r} (it has {listed(names, 5)}).")
        kept = np.isin(names, wanted)
        genomes.leave("not asked for", names[~kept])
    bare = kept & (counts.sum(1) == 0)
    genomes.leave("without mutations", names[bare])
    kept &= ~bare
    if not kept.any():
        raise InputError(f"{paths[0]}: no genome has a mutation. Give a table of counts.")
    genome, channel = np.nonzero(counts[kept])
    ledger = Ledger(rows=Account("channel", read=len(channels)), columns=genomes)
    ledger.notes.append(f"{counts[kept].sum():.0f} mutations; where they lie is not told: all are in one locus.")
    cells = {
        "genome": names[kept][genome],
        "channel": channels[channel],
        "locus": np.full(len(genome), LOCUS),
        "count": counts[kept][genome, channel].astype(np.int64),
    }
    return Told(cells, ledger, chosen_channels(kinds))
