"""Scales of outputs: on a linear predictor's scale a saturated model still shows what a substitution does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .sequence import as_ensemble, limits_of, predict_mutants


def logit(p: Array) -> Array:
    """Log odds; 0 and 1 are taken as the nearest numbers of their own type that have them."""
    p = np.asarray(p)
    p = p if p.dtype.kind == "f" else p.astype(float)
    if ((p < 0) | (p > 1)).any():
        worst = p.ravel()[np.abs(p.ravel().astype(float) - 0.5).argmax()]
        raise InputError(
            f"deep_mr: scale='logit' is for probabilities, but a network puts out {worst:g}. Take another scale: "
            "identity for logits or log counts, log1p for counts."
        )
    kind = np.finfo(p.dtype)
    p = np.clip(p.astype(float), float(kind.tiny), 1 - float(kind.epsneg))
    return np.asarray(np.log(p) - np.log1p(-p))


COARSE = 16
"""Numbers below 1, the last of their type, between which log odds go in steps of more than 1/16."""


def _ends(kind: type[np.floating[Any]]) -> Array:
    """Log odds of 0, of 1 and of the last numbers before it."""
    one = np.asarray(1 - float(np.finfo(kind).epsneg) * np.arange(1, COARSE + 1), dtype=kind)
    return np.concatenate([logit(np.zeros(1, dtype=kind)), logit(one)])


LIMITS = np.concatenate([_ends(kind) for kind in (np.float16, np.float32, np.float64)])
"""Log odds at which a prediction is saturated: its type of number cannot tell it from others."""


def anscombe(count: Array) -> Array:
    """2 sqrt(y + 3/8): the variance of a Poisson count is one on this scale (Anscombe 1948)."""
    return np.asarray(2 * np.sqrt(_exact(count) + 0.375))


def log1p(count: Array) -> Array:
    """Log of 1 + count."""
    return np.asarray(np.log1p(_exact(count)))


def _exact(count: Array) -> Array:
    """Return counts in double precision: a difference of roots or logarithms is lost in that of a small type."""
    return np.asarray(count, dtype=float)


SCALES: dict[str, Callable[[Array], Array]] = {
    "identity": np.asarray,
    "logit": logit,
    "log1p": log1p,
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

    @property
    def limits(self) -> Array:
        """Outputs at which a prediction is saturated."""
        own = LIMITS if self.scale == "logit" else np.empty(0)
        return np.concatenate([own, SCALES[self.scale](limits_of(self.ensemble))])

    def __call__(self, x: Array) -> Array:
        """Predict: (B, 4, L) to (E, B, T)."""
        if isinstance(self.ensemble, Sequence):  # whose types of numbers may differ
            return np.concatenate([Scaled(member, self.scale)(x) for member in self.ensemble])
        return SCALES[self.scale](as_ensemble(self.ensemble)(x))

    def mutations(self, sequence: Array, start: int, stop: int) -> tuple[Array, Array]:
        """Return outputs of a sequence, (E, T), and of its mutants, (E, 3, stop - start, T)."""
        if isinstance(self.ensemble, Sequence):
            members = [Scaled(member, self.scale, self.chunk) for member in self.ensemble]
            pieces = [member.mutations(sequence, start, stop) for member in members]
            return np.concatenate([one for one, _ in pieces]), np.concatenate([many for _, many in pieces])
        reference, mutated = predict_mutants(self.ensemble, sequence, start, stop, self.chunk)
        to = SCALES[self.scale]
        return to(reference), to(mutated)
