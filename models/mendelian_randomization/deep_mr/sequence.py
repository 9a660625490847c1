"""Sequences as numbers, their substitutions, and what a predictor of sequences is asked for."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

BASES = "ACGT"
Predict = Callable[[Array], Array]
"""Maps sequences, shape (B, 4, L), to outputs of one member, (B, T), or of all, (E, B, T)."""


def one_hot(sequences: str | Sequence[str]) -> Array:
    """Code sequences; an unknown base (N) is a column of zeros.

    Parameters
    ----------
    sequences : str or sequence of str
        Of one length.

    Returns
    -------
    ndarray, shape (N, 4, L)

    Raises
    ------
    InputError
        If the sequences are of unlike length, or hold anything but A, C, G, T and N.
    """
    texts = [sequences] if isinstance(sequences, str) else list(sequences)
    if not texts or len({len(text) for text in texts}) != 1 or not texts[0]:
        raise InputError("deep_mr: sequences must be one or more texts of one length. Cut them to a common window.")
    codes = np.frombuffer("".join(texts).upper().encode(), dtype=np.uint8).reshape(len(texts), -1)
    known = np.frombuffer((BASES + "N").encode(), dtype=np.uint8)
    strange = np.argwhere(~np.isin(codes, known))
    if strange.size:
        n, at = strange[0]
        raise InputError(f"deep_mr: sequence {n} has {texts[n][at]!r} at position {at}. Use A, C, G, T or N.")
    return np.asarray(codes[:, None] == known[:4, None], dtype=float)


def others(window: Array) -> Array:
    """Return the three other bases at each position, in alphabetical order; shape (N, 3, W)."""
    base = window.argmax(1)[:, None]  # (N, 1, W)
    rank = np.arange(3)[None, :, None]
    return np.asarray(rank + (rank >= base))


@runtime_checkable
class Mutates(Protocol):
    """An ensemble that knows a faster way than to predict every mutant from scratch."""

    def mutations(self, sequence: Array, start: int, stop: int) -> tuple[Array, Array]:
        """Return outputs of the sequence, (E, T), and of its mutants, (E, 3, stop - start, T)."""


def as_ensemble(ensemble: Any) -> Predict:
    """Return a callable with outputs of shape (E, B, T)."""
    if isinstance(ensemble, Sequence):
        members = [as_ensemble(member) for member in ensemble]
        if not members:
            raise InputError("deep_mr: the ensemble has no members.")

        def all_of_them(x: Array) -> Array:
            return np.concatenate([member(x) for member in members])

        return all_of_them

    def predict(x: Array) -> Array:
        out = np.asarray(ensemble(x))
        out = out if out.dtype.kind == "f" else out.astype(float)  # a scale needs to know the type
        out = out[None] if out.ndim == 2 else out
        if out.ndim != 3 or out.shape[1] != len(x):
            raise InputError(
                f"deep_mr: for sequences of shape {x.shape} the ensemble returned {out.shape}, but must return "
                "(B, T) or (E, B, T)."
            )
        return out

    return predict


def limits_of(ensemble: Any) -> Array:
    """Return the outputs at which an ensemble says that it is saturated, by its attribute ``limits``."""
    if isinstance(ensemble, Sequence):
        return np.concatenate([limits_of(member) for member in ensemble])
    return np.asarray(getattr(ensemble, "limits", ()), dtype=float)


def mutants(sequence: Array, start: int, stop: int, chunk: int) -> Iterator[Array]:
    """Yield all single substitutions in blocks, shape (B, 4, L): the three of a base's alternatives lie W apart."""
    W = stop - start
    to = others(sequence[None, :, start:stop])[0].ravel()  # (3 W,)
    at = np.tile(np.arange(start, stop), 3)
    for low in range(0, 3 * W, chunk):
        some = slice(low, min(low + chunk, 3 * W))
        block = np.repeat(sequence[None], some.stop - low, 0)
        rows = np.arange(len(block))
        block[rows, :, at[some]] = 0
        block[rows, to[some], at[some]] = 1
        yield block


def predict_mutants(ensemble: Any, sequence: Array, start: int, stop: int, chunk: int) -> tuple[Array, Array]:
    """Return outputs of a sequence, (E, T), and of its mutants, (E, 3, stop - start, T), in the ensemble's own way."""
    if isinstance(ensemble, Mutates):
        return ensemble.mutations(sequence, start, stop)
    if isinstance(ensemble, Sequence) and any(isinstance(member, Mutates) for member in ensemble):
        pieces = [predict_mutants(member, sequence, start, stop, chunk) for member in ensemble]
        return np.concatenate([one for one, _ in pieces]), np.concatenate([many for _, many in pieces])
    return _naive(as_ensemble(ensemble), sequence, start, stop, chunk)


def _naive(predict: Predict, sequence: Array, start: int, stop: int, chunk: int) -> tuple[Array, Array]:
    reference = predict(sequence[None])[:, 0]
    found = np.concatenate([predict(block) for block in mutants(sequence, start, stop, chunk)], 1)
    return reference, found.reshape(len(found), 3, stop - start, -1)
