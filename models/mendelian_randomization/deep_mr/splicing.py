"""SpliceAI as an ensemble for mutagenesis: how the acceptor of an exon acts on its donor.

The five networks are those of the ``spliceai`` package (Jaganathan et al. 2019; their licence is CC BY-NC), read
from the user's own installation at run time.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .cone import Cone
from .keras import keras_network
from .network import Network
from .scales import LIMITS, logit

FLANK = 5000
"""Bases either side of a position that the networks look at."""

ACCEPTOR, DONOR = 1, 2


class SpliceSites:
    """Log odds of an acceptor and of a donor, as outputs 0 and 1 of an ensemble.

    Parameters
    ----------
    networks : sequence of Network
        (B, L + 2 flank, 4) to probabilities (B, L, 3): neither, acceptor, donor.
    acceptor, donor : int
        Positions in the sequence.
    flank : int
        Of zeros that the networks want either side of the sequence.
    """

    def __init__(self, networks: Sequence[Network], acceptor: int, donor: int, *, flank: int = FLANK) -> None:
        self.networks, self.flank = list(networks), flank
        self.acceptor, self.donor = acceptor, donor

    limits = LIMITS

    def __call__(self, x: Array) -> Array:
        """Predict: (B, 4, L) to (E, B, 2)."""
        window, low = self._window(x)
        return np.stack([self._log_odds(network(window), low) for network in self.networks])

    def mutations(self, sequence: Array, start: int, stop: int) -> tuple[Array, Array]:
        """Return outputs of a sequence, (E, 2), and of its mutants, (E, 3, stop - start, 2)."""
        window, low = self._window(sequence[None])
        width = window.shape[1]
        shift = self.flank - low  # of a position of the sequence in the window
        first, last = (min(max(at + shift, 0), width) for at in (start, stop))
        sites = np.unique([self.acceptor - low, self.donor - low])
        references, mutants = [], []
        for network in self.networks:
            reference, mutated = Cone(network, width, sites).mutations(window[0], first, last)
            references.append(self._log_odds(reference, low, sites))
            whole = np.broadcast_to(references[-1], (3, stop - start, 2)).copy()
            if first < last:
                whole[:, first - shift - start : last - shift - start] = self._log_odds(mutated, low, sites)
            mutants.append(whole)
        return np.stack(references), np.stack(mutants)

    def _window(self, x: Array) -> tuple[Array, int]:
        """Bases that the sites look at, (B, width, 4), and the first of the sites."""
        L = x.shape[2]
        for name in ("acceptor", "donor"):
            at = getattr(self, name)
            if not 0 <= at < L:
                raise InputError(f"deep_mr: the {name} at {at} does not lie in a sequence of length {L}.")
        padded = np.pad(x, ((0, 0), (0, 0), (self.flank, self.flank)))
        low, high = sorted((self.acceptor, self.donor))
        return padded[:, :, low : high + 1 + 2 * self.flank].transpose(0, 2, 1), low

    def _log_odds(self, p: Array, low: int, positions: Array | None = None) -> Array:
        """Of both sites, (..., 2), from probabilities (..., n, 3) at positions (default: all) of the window."""
        sites = [(self.acceptor - low, ACCEPTOR), (self.donor - low, DONOR)]
        rows = [at if positions is None else int(np.searchsorted(positions, at)) for at, _ in sites]
        return np.stack([logit(p[..., row, which]) for row, (_, which) in zip(rows, sites, strict=True)], -1)


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
    return SpliceSites([keras_network(file) for file in files], acceptor, donor)
