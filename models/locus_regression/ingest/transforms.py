"""What is done to features once they are measured; its parameters are kept, so that new data are treated alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import ndtri

from genarium.declaration import Array
from genarium.errors import InputError

from ..features import resolutions, windowed

KNOTS = 1001
"""Values by which the rank of a new one is told, at most."""


@dataclass(frozen=True)
class Step:
    """One step: its name, and the whole numbers that it takes (blocks of ``resolutions``, offsets of ``lags``)."""

    name: str
    numbers: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.name + ("=" + "/".join(map(str, self.numbers)) if self.numbers else "")


def parse_step(text: str) -> Step:
    """Read a step: "log1p", "standardise", "rank", "resolutions=1/4/16" or "lags=-1/0/1"."""
    name, _, numbers = text.strip().partition("=")
    if name not in STEPS:
        raise InputError(f"transform {name!r} is not known; use one of {', '.join(STEPS)}.")
    takes = name in ("resolutions", "lags")
    try:
        found = tuple(int(number) for number in numbers.split("/")) if numbers else ()
    except ValueError:
        found = ()
    if takes != bool(found) or (numbers and not found):
        example = "resolutions=1/4/16 or lags=-1/0/1"
        raise InputError(f"transform {text!r}: {'write' if takes else 'it takes no numbers, unlike'} {example}.")
    return Step(name, found)


def apply(
    X: xr.DataArray, step: Step, segment: Array, stored: dict[str, Any] | None
) -> tuple[xr.DataArray, dict[str, Any]]:
    """Apply a step to the columns that one feature has become.

    Parameters
    ----------
    X : DataArray
        (feature, locus).
    step : Step
    segment : ndarray, shape (L,)
        Contig of each locus.
    stored : dict, optional
        Parameters from other data; default: from these.

    Returns
    -------
    DataArray
    dict
        The parameters, as JSON takes them.
    """
    return STEPS[step.name](X, step, segment, stored)


def _log1p(X: xr.DataArray, step: Step, segment: Array, stored: Any) -> tuple[xr.DataArray, dict[str, Any]]:
    values = X.to_numpy()
    bad = np.argwhere(values <= -1)
    if len(bad):
        feature, locus = bad[0]
        raise InputError(
            f"features: {X['feature'].to_numpy()[feature]} is {values[feature, locus]:g} in the window "
            f"{X['locus'].to_numpy()[locus]}, so that log1p cannot be taken. Use standardise or rank."
        )
    return X.copy(data=np.log1p(values)), {}


def _standardise(X: xr.DataArray, step: Step, segment: Array, stored: Any) -> tuple[xr.DataArray, dict[str, Any]]:
    values = X.to_numpy()
    if stored is None:
        sd = values.std(-1)
        flat = np.flatnonzero(sd <= 1e-12 * np.abs(values).max(-1))
        if flat.size:
            raise InputError(
                f"features: {X['feature'].to_numpy()[flat[0]]} is {values[flat[0], 0]:g} in every window, so that it "
                "cannot be standardised. Drop it: its effect cannot be told."
            )
        stored = {"mean": values.mean(-1).tolist(), "sd": sd.tolist()}
    mean, sd = np.array(stored["mean"]), np.array(stored["sd"])
    return X.copy(data=(values - mean[:, None]) / sd[:, None]), stored


def _rank(X: xr.DataArray, step: Step, segment: Array, stored: Any) -> tuple[xr.DataArray, dict[str, Any]]:
    """Take normal scores: the standard normal quantile of (rank - 1/2) / L, equal values sharing their mean rank."""
    values = X.to_numpy()
    if stored is None:
        stored = {"values": [], "scores": []}
        for row in values:
            unique, count = np.unique(row, return_counts=True)
            score = ndtri((np.cumsum(count) - count / 2) / len(row))
            pick = np.arange(len(unique))
            if len(unique) > KNOTS:  # even in the score, of which none is then off by more than two knots' distance
                pick = np.unique(np.searchsorted(score, np.linspace(score[0], score[-1], KNOTS)))
            stored["values"].append(unique[pick].tolist())
            stored["scores"].append(score[pick].tolist())
    pairs = zip(values, stored["values"], stored["scores"], strict=True)
    return X.copy(data=np.array([np.interp(row, x, y) for row, x, y in pairs])), stored


def _resolutions(X: xr.DataArray, step: Step, segment: Array, stored: Any) -> tuple[xr.DataArray, dict[str, Any]]:
    return resolutions(X, step.numbers, segment), {}


def _lags(X: xr.DataArray, step: Step, segment: Array, stored: Any) -> tuple[xr.DataArray, dict[str, Any]]:
    return windowed(X, step.numbers, segment), {}


type Apply = Callable[[xr.DataArray, Step, Array, Any], tuple[xr.DataArray, dict[str, Any]]]

STEPS: dict[str, Apply] = {
    "log1p": _log1p,
    "standardise": _standardise,
    "rank": _rank,
    "resolutions": _resolutions,
    "lags": _lags,
}


def run(
    X: xr.DataArray, steps: Sequence[Step], segment: Array, stored: Sequence[dict[str, Any]] | None
) -> tuple[xr.DataArray, list[dict[str, Any]]]:
    """Apply steps one after another; returns also the parameters of each."""
    kept = []
    for i, step in enumerate(steps):
        X, parameters = apply(X, step, segment, None if stored is None else stored[i])
        kept.append(parameters)
    return X, kept
