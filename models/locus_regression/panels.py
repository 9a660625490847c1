"""How the bars of a signature are grouped, coloured and named: as COSMIC does, for each channel set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

from .channels import set_of

SUBSTITUTIONS = {
    "C>A": "#03bcee", "C>G": "#010101", "C>T": "#e32926", "T>A": "#cac9c9", "T>C": "#a1ce63", "T>G": "#ecc6c5",
}  # fmt: skip
DOUBLETS = {
    "AC": "#03bcec", "AT": "#0366cb", "CC": "#a1ce63", "CG": "#016601", "CT": "#fe9898", "GC": "#e32926",
    "TA": "#feb065", "TC": "#fe8001", "TG": "#cb98fe", "TT": "#4c0198",
}  # fmt: skip
INDELS = {
    "1:Del:C": "#fdbe6f", "1:Del:T": "#ff8001", "1:Ins:C": "#b0dd8b", "1:Ins:T": "#36a12e",
    "2:Del:R": "#fdcab5", "3:Del:R": "#fc8a6a", "4:Del:R": "#f14432", "5:Del:R": "#bc141a",
    "2:Ins:R": "#d0e1f2", "3:Ins:R": "#94c4df", "4:Ins:R": "#4a98c9", "5:Ins:R": "#1764ab",
    "2:Del:M": "#e2e2ef", "3:Del:M": "#b6b6d8", "4:Del:M": "#8683bd", "5:Del:M": "#61409b",
}  # fmt: skip
"""Groups of channels in order, in COSMIC's colours."""

FADED = {"T": 1.0, "U": 0.55, "N": 0.25}
"""How opaque the bars of a strand are."""


@dataclass(frozen=True)
class Bars:
    """Bars of a signature.

    Attributes
    ----------
    groups : list of (str, str, ndarray)
        Name, colour and positions.
    opaque : ndarray, shape (M,)
    ticks : tuple of (ndarray, list of str)
    axis, told : str
        What the ticks are, and what a caption adds.
    """

    groups: list[tuple[str, str, Array]]
    opaque: Array
    ticks: tuple[Array, list[str]]
    axis: str
    told: str = ""


def bars(labels: Sequence[str]) -> Bars:
    """Return how the bars of channels are drawn."""
    names, at = [str(label) for label in labels], np.arange(len(labels))
    kinds, ones = set_of(names), np.ones(len(names))
    if kinds is None or len(kinds.channels) != len(names):
        return Bars([("", "#7b7b7b", at)], ones, (at[:0], []), "channel")
    if kinds.name == "DBS78":
        return Bars(_grouped(names, DOUBLETS), ones, (at[:0], []), "channel, by the doublet after, in alphabetic order")
    if kinds.name == "ID83":
        axis = "channel: type and size; within each, by repeats (R) or bases of microhomology (M)"
        return Bars(_grouped(names, INDELS), ones, (at[:0], []), axis)
    flanks = [name.partition("[")[0][-1] + name[-1] for name in names]
    ticks = at[::4] + 1.5, [flanks[i][0] for i in at[::4]]
    groups = _grouped(names, SUBSTITUTIONS)
    axis = "channel, by the base before; within each letter, by the base after (A, C, G, T)"
    if not kinds.strands:
        return Bars(groups, ones, ticks, axis)
    told = " Within a substitution by strand, from dark to pale: T, which the polymerase reads, U, the other one"
    told += ", N, where no strand is told." if "N" in kinds.strands else "."
    return Bars(groups, np.array([FADED[name[0]] for name in names]), (at[:0], []), "channel, by strand", told)


def _grouped(names: list[str], colors: dict[str, str]) -> list[tuple[str, str, Array]]:
    """Return the channels of each group: those whose name has the group's."""
    return [
        (group, color, np.array([i for i, name in enumerate(names) if _has(name, group)]))
        for group, color in colors.items()
    ]


def _has(name: str, group: str) -> bool:
    return f"[{group}]" in name or name.startswith((f"{group}>", f"{group}:"))
