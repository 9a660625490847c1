"""Chains of purpose-built samplers, and the slice update they share."""

from collections.abc import Callable, Iterator

import numpy as np

from genarium.declaration import Array, Arrays
from genarium.progress import bar


def run(
    chain: Callable[[np.random.Generator], Iterator[Arrays]],
    rng: np.random.Generator,
    *,
    chains: int,
    draws: int,
    tune: int,
    thin: int = 1,
) -> dict[str, Array]:
    """Run a sampler several times and stack its draws.

    Parameters
    ----------
    chain : callable
        ``chain(rng)`` yields a draw of every variable, endlessly.
    rng : Generator
        Every chain gets a stream of its own, spawned from it.
    chains, draws, tune : int
        Chains; draws kept of each; draws thrown away before.
    thin : int
        Keep every ``thin``-th draw.

    Returns
    -------
    dict of str to ndarray
        Each with leading dims (chains, draws).
    """
    stacked: list[dict[str, Array]] = []
    with bar("sampling", chains * (tune + draws * thin)) as advance:
        for stream in rng.spawn(chains):
            kept: dict[str, Array] = {}
            for i, state in enumerate(chain(stream)):
                advance(1)
                at, rest = divmod(i - tune, thin)
                if i < tune or rest:
                    continue
                for name, value in state.items():
                    if name not in kept:
                        kept[name] = np.empty((draws, *np.shape(value)))
                    kept[name][at] = value
                if at == draws - 1:
                    break
            stacked.append(kept)
    return {name: np.stack([kept[name] for kept in stacked]) for name in stacked[0]}


def slice_update(
    log_density: Callable[[Array], Array],
    at: Array,
    width: Array | float,
    rng: np.random.Generator,
    most: int = 50,
) -> Array:
    """Update independent scalars by slice sampling with stepping out and shrinkage (Neal 2003, figures 3 and 5).

    Parameters
    ----------
    log_density : callable
        Log density of each scalar, evaluated for all at once.
    at : ndarray
        Current values, of any shape.
    width : float or ndarray
        First guess of the slice's width.
    rng : Generator
    most : int
        Steps out at most; the randomised limit keeps the update valid.

    Returns
    -------
    ndarray, same shape as ``at``
    """
    level = log_density(at) - rng.exponential(size=at.shape)
    low = np.asarray(at - width * rng.uniform(size=at.shape))
    high = np.asarray(low + width)  # arrays, also of no dimension: they are stepped out in place
    left = np.floor(most * rng.uniform(size=at.shape))
    right = most - 1 - left
    for end, steps, sign in ((low, left, -1), (high, right, 1)):
        while True:
            out = (steps > 0) & (log_density(end) > level)
            if not out.any():
                break
            end += np.where(out, sign * width, 0)
            steps -= out
    new = at.copy()
    open_ = np.ones(at.shape, dtype=bool)
    for _ in range(1000):
        trial = np.where(open_, low + (high - low) * rng.uniform(size=at.shape), new)
        inside = log_density(trial) > level
        new = np.where(open_ & inside, trial, new)
        open_ &= ~inside
        if not open_.any():
            return new
        low = np.where(open_ & (trial < at), trial, low)
        high = np.where(open_ & (trial >= at), trial, high)
    return new
