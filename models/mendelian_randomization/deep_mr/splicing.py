"""SpliceAI as an ensemble for mutagenesis: how the acceptor of an exon acts on its donor.

The five networks are those of the ``spliceai`` package (Jaganathan et al. 2019; their licence is CC BY-NC), read
from the user's own installation at run time.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .keras import KerasNetwork
from .scales import logit

FLANK = 5000
"""Bases either side of a position that the networks look at."""

ACCEPTOR, DONOR = 1, 2


class SpliceSites:
    """Log odds of an acceptor and of a donor, as outputs 0 and 1 of an ensemble.

    Parameters
    ----------
    networks : sequence of callable
        (B, L + 2 flank, 4) to probabilities (B, L, 3): neither, acceptor, donor.
    acceptor, donor : int
        Positions in the sequence.
    flank : int
        Of zeros that the networks want either side of the sequence.
    """

    def __init__(self, networks: Sequence[Any], acceptor: int, donor: int, *, flank: int = FLANK) -> None:
        self.networks, self.flank = list(networks), flank
        self.acceptor, self.donor = acceptor, donor

    def __call__(self, x: Array) -> Array:
        """Predict: (B, 4, L) to (E, B, 2)."""
        L = x.shape[2]
        for name in ("acceptor", "donor"):
            at = getattr(self, name)
            if not 0 <= at < L:
                raise InputError(f"deep_mr: the {name} at {at} does not lie in a sequence of length {L}.")
        padded = np.pad(x, ((0, 0), (0, 0), (self.flank, self.flank)))
        # nothing further than a flank from either site has a part in it
        low, high = min(self.acceptor, self.donor), max(self.acceptor, self.donor) + 1
        window = padded[:, :, low : high + 2 * self.flank].transpose(0, 2, 1)
        sites = [(self.acceptor - low, ACCEPTOR), (self.donor - low, DONOR)]
        out = []
        for network in self.networks:
            p = network(window)
            out.append(np.stack([logit(p[:, at, which]) for at, which in sites], -1))
        return np.stack(out)


def spliceai(acceptor: int, donor: int) -> SpliceSites:
    """Load the ensemble from the installed ``spliceai`` package (without importing it or its framework).

    Parameters
    ----------
    acceptor, donor : int
        Positions in the sequence.

    Raises
    ------
    InputError
        If the package is not installed.
    """
    found = find_spec("spliceai")
    if found is None or not found.submodule_search_locations:
        raise InputError("deep_mr: the package spliceai is not installed: pip install --no-deps spliceai.")
    folder = Path(found.submodule_search_locations[0]) / "models"
    files = sorted(folder.glob("spliceai*.h5"))
    if not files:
        raise InputError(f"{folder}: there are no networks (spliceai1.h5 ...). Install spliceai again.")
    return SpliceSites([KerasNetwork(file) for file in files], acceptor, donor)
