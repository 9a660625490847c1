"""Saturation mutagenesis in silico: what every substitution does to the predictions of every member of an ensemble."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .sequence import limits_of, others, predict_mutants


@dataclass(frozen=True)
class Mutagenesis:
    """Raw effects of substitutions.

    Attributes
    ----------
    delta : ndarray, shape (E, N, 3, W, T)
        Output of the mutant less that of the sequence: E members, N sequences, W positions, T outputs.
    reference : ndarray, shape (E, N, T)
        Outputs of the sequences.
    alternative : ndarray of int, shape (N, 3, W)
        The base put in (0 to 3 for A, C, G, T).
    start : int
        First position of the window.
    saturated : ndarray of bool, shape (E, N, 3, W, T), optional
        Where the output of the mutant or of the sequence is at a limit of its scale, so that the effect could be any
        larger one, or one of the other sign. None: nowhere.
    """

    delta: Array
    reference: Array
    alternative: Array
    start: int
    saturated: Array | None = None


def mutagenise(
    ensemble: Any, sequences: Array, *, start: int = 0, stop: int | None = None, chunk: int = 1024
) -> Mutagenesis:
    """Predict every substitution in a window of every sequence.

    Parameters
    ----------
    ensemble : callable, sequence of callables, or an object with a method ``mutations``
        A callable takes (B, 4, L) and returns (B, T), or (E, B, T) for an ensemble in one.
    sequences : ndarray, shape (N, 4, L)
        One-hot, every position of the window a known base.
    start, stop : int
        The window; default: all.
    chunk : int
        Mutants predicted at once.

    Returns
    -------
    Mutagenesis
        Three substitutions a position: identity edits are not predicted.

    Raises
    ------
    InputError
        If the sequences are not one-hot in the window, or outputs have the wrong shape or are not finite.
    """
    sequences = np.asarray(sequences, dtype=float)
    if sequences.ndim != 3 or sequences.shape[1] != 4:
        raise InputError(f"deep_mr: sequences have shape {sequences.shape}, but must have (N, 4, L). Use one_hot().")
    if not len(sequences):
        raise InputError("deep_mr: there is no sequence to mutate. Give one or more.")
    L = sequences.shape[2]
    stop = L if stop is None else stop
    if not 0 <= start < stop <= L:
        raise InputError(f"deep_mr: the window from {start} to {stop} does not lie in sequences of length {L}.")
    inside = sequences[:, :, start:stop]
    bad = np.argwhere((inside.sum(1) != 1) | ((inside != 0) & (inside != 1)).any(1))
    if bad.size:
        n, at = bad[0]
        raise InputError(
            f"deep_mr: sequence {n} has no base at position {start + at} of the window. Choose a window without N."
        )
    pieces = [predict_mutants(ensemble, sequence, start, stop, chunk) for sequence in sequences]
    reference = np.stack([one for one, _ in pieces], 1).astype(float)  # (E, N, T)
    mutated = np.stack([many for _, many in pieces], 1).astype(float)  # (E, N, 3, W, T)
    if not (np.isfinite(reference).all() and np.isfinite(mutated).all()):
        raise InputError("deep_mr: the ensemble predicts values that are not finite. Check its scale.")
    limits = limits_of(ensemble)
    saturated = None
    if limits.size:
        saturated = np.isin(mutated, limits) | np.isin(reference, limits)[:, :, None, None]
    return Mutagenesis(mutated - reference[:, :, None, None], reference, others(inside), start, saturated)
