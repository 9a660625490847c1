"""Many traits at once: the causal effect of every trait that networks predict on every other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .loading import SequenceNetwork
from .mutagenesis import Mutagenesis
from .pipeline import DeepMR, deep_mr


class Stacked:
    """A member whose outputs are those of several networks, one after the other.

    Parameters
    ----------
    networks : sequence of SequenceNetwork
        Of one length.
    """

    def __init__(self, networks: Sequence[SequenceNetwork]) -> None:
        self.networks = list(networks)

    def __call__(self, x: Array) -> Array:
        """Predict: (B, 4, L) to (B, T)."""
        return np.concatenate([network(x) for network in self.networks], -1)

    def mutations(self, sequence: Array, start: int, stop: int) -> tuple[Array, Array]:
        """Return outputs of a sequence, (1, T), and of its mutants, (1, 3, stop - start, T)."""
        found = [network.mutations(sequence, start, stop) for network in self.networks]
        return np.concatenate([one for one, _ in found], -1), np.concatenate([many for _, many in found], -1)


@dataclass(frozen=True)
class PairEffect:
    """The effect of one trait on another.

    Attributes
    ----------
    exposure, outcome : str
    found : DeepMR, optional
        None where there are too few instruments: ``fault`` says so.
    fault : str
    """

    exposure: str
    outcome: str
    found: DeepMR | None
    fault: str = ""


def every_pair(
    raw: Mutagenesis,
    names: Sequence[str],
    *,
    exposures: Sequence[str] | None = None,
    outcomes: Sequence[str] | None = None,
    **options: Any,
) -> list[PairEffect]:
    """Estimate the effects of traits on each other.

    Parameters
    ----------
    raw : Mutagenesis
        With T outputs.
    names : sequence of str
        Of the outputs.
    exposures, outcomes : sequence of str, optional
        Default: all.
    **options
        Of :func:`deep_mr`.

    Returns
    -------
    list of PairEffect
        Exposure by exposure.
    """
    T = raw.reference.shape[2]
    if len(names) != T or len(set(names)) != T:
        raise InputError(
            f"deep_mr: there are {len(names)} names of traits for {T} outputs. Give a name of its own to each."
        )
    chosen = []
    for what, some in (("exposure", exposures), ("outcome", outcomes)):
        lost = next((name for name in some or () if name not in names), None)
        if lost is not None:
            raise InputError(f"deep_mr: {what} {lost!r} is none of the traits {', '.join(names[:20])}.")
        chosen.append(list(some or names))
    rows = []
    for exposure in chosen[0]:
        for outcome in chosen[1]:
            if exposure == outcome:
                continue
            try:
                one = deep_mr(raw, None, names.index(exposure), names.index(outcome), **options)
                rows.append(PairEffect(exposure, outcome, one))
            except InputError as error:
                rows.append(PairEffect(exposure, outcome, None, str(error).removeprefix("deep_mr: ")))
    return rows


def influence(rows: Sequence[PairEffect]) -> dict[str, float]:
    """Mean size of each exposure's effects, as far as their intervals leave out zero; strongest first."""
    found: dict[str, list[float]] = {}
    for row in rows:
        own = found.setdefault(row.exposure, [])
        sure = row.found is not None and row.found.ci[0] * row.found.ci[1] > 0
        own.append(abs(row.found.estimate) if row.found is not None and sure else 0.0)
    means = {name: float(np.mean(sizes)) for name, sizes in found.items()}
    return dict(sorted(means.items(), key=lambda one: -one[1]))


def shown(rows: Sequence[PairEffect]) -> list[str]:
    """Return lines for a person: one a pair."""
    wide = max((len(f"{row.exposure} -> {row.outcome}") for row in rows), default=0)
    lines = []
    for row in rows:
        head = f"{row.exposure} -> {row.outcome}".ljust(wide)
        if row.found is None:
            lines.append(f"{head}  none: {row.fault}")
            continue
        low, high = row.found.ci
        count = len(row.found.local.estimate)
        lines.append(f"{head}  {row.found.estimate:7.3f}  [{low:7.3f}, {high:7.3f}]  {count} sequences")
    return lines
