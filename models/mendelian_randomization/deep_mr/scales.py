"""Scales of outputs: on a linear predictor's scale a saturated model still shows what a substitution does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .sequence import as_ensemble, predict_mutants


def logit(p: Array) -> Array:
    """Log odds; 0 and 1 are taken as the nearest numbers that have them."""
    p = np.clip(p, np.finfo(float).tiny, 1 - np.finfo(float).epsneg)
    return np.log(p) - np.log1p(-p)


def anscombe(count: Array) -> Array:
    """2 sqrt(y + 3/8): the variance of a Poisson count is one on this scale (Anscombe 1948)."""
    return np.asarray(2 * np.sqrt(count + 0.375))


SCALES: dict[str, Callable[[Array], Array]] = {
    "identity": np.asarray,
    "logit": logit,
    "log1p": np.log1p,
    "anscombe": anscombe,
}


@dataclass(frozen=True)
class Scaled:
    """An ensemble with its outputs on another scale, before differences are taken.

    Attributes
    ----------
    ensemble : object
        As :func:`mutagenise` takes it.
    scale : {"identity", "logit", "log1p", "anscombe"}
    chunk : int
        Mutants predicted at once, where the ensemble knows no faster way.
    """

    ensemble: Any
    scale: str
    chunk: int = 1024

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InputError(f"deep_mr: scale={self.scale!r} is not known; use one of {', '.join(SCALES)}.")

    def __call__(self, x: Array) -> Array:
        """Predict: (B, 4, L) to (E, B, T)."""
        return SCALES[self.scale](as_ensemble(self.ensemble)(x))

    def mutations(self, sequence: Array, start: int, stop: int) -> tuple[Array, Array]:
        """Return outputs of a sequence, (E, T), and of its mutants, (E, 3, stop - start, T)."""
        reference, mutated = predict_mutants(self.ensemble, sequence, start, stop, self.chunk)
        to = SCALES[self.scale]
        return to(reference), to(mutated)
