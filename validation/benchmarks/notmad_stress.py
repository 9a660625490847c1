"""Where NOTMAD breaks: ``OMP_NUM_THREADS=1 python validation/benchmarks/notmad_stress.py``.

Six nodes, three archetypes, 500 samples, weights that follow two covariates, unit noise: that world, and others that
break an assumption. Error of the weights (W-RMSE) and held-out error above that of the truth, of the default fit (three
archetypes), the population network and W = 0; and the coverage of the 90 % intervals of NUTS in the same worlds with
three nodes, 150 samples and an order that is given (``card_tables.py``).
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from card_tables import Table, run  # type: ignore[import-not-found]

import genarium as gn
from genarium.declaration import Array
from genarium.models.notmad import notears
from genarium.models.notmad.graphs import compare

World = tuple[Array, Array, Array]


def weights(context: Array, rng: np.random.Generator) -> Array:
    """Archetypes' weights that are linear in the context before the softmax."""
    logit = context @ rng.normal(0, 2, (context.shape[1], 3))
    e = np.exp(logit - logit.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def bumps(context: Array, rng: np.random.Generator) -> Array:
    """Archetypes' weights that peak at centres of the context: no encoder here is of that form."""
    distance = ((context[:, None] - rng.normal(0, 1, (3, context.shape[1]))) ** 2).sum(-1)
    e = np.exp(-3 * distance)
    return np.asarray(e / e.sum(1, keepdims=True))


def made(
    seed: int,
    n: int,
    p: int,
    mix: Callable[[Array, np.random.Generator], Array] = weights,
    noise: Callable[[np.random.Generator, int, int], Array] = lambda rng, n, p: rng.normal(size=(n, p)),
    hidden: int = 0,
) -> World:
    """Values, contexts and true networks; the first ``hidden`` nodes are not seen."""
    rng = np.random.default_rng(seed)
    q = p + hidden
    context = rng.normal(size=(n, 2))
    W = rng.uniform(0.5, 1.5, (3, q, q)) * rng.choice([-1, 1], (3, q, q)) * (rng.uniform(size=(3, q, q)) < 0.4)
    truth = np.tensordot(mix(context, rng), np.triu(W, 1), 1)
    x = noise(rng, n, q)
    for j in range(q):
        x[:, j] += (x * truth[:, :, j]).sum(1)
    return x[:, hidden:], context, truth[:, hidden:, hidden:]


MADE: dict[str, Callable[[int, int, int], World]] = {
    "as assumed": lambda s, n, p: made(s, n, p),
    "noise of sd U(.3, 3)": lambda s, n, p: made(
        s, n, p, noise=lambda r, n, p: r.normal(size=(n, p)) * r.uniform(0.3, 3, p)
    ),
    "tails of t, 3 df": lambda s, n, p: made(s, n, p, noise=lambda r, n, p: r.standard_t(3, size=(n, p)) / 3**0.5),
    "2 % outliers of 10 sd": lambda s, n, p: made(
        s, n, p, noise=lambda r, n, p: r.normal(size=(n, p)) * np.where(r.uniform(size=(n, p)) < 0.02, 10, 1)
    ),
    "two hidden causes": lambda s, n, p: made(s, n, p, hidden=2),
    "context by bumps": lambda s, n, p: made(s, n, p, mix=bumps),
}
"""Worlds, by what is unlike the model in them."""


def excess(x: Array, network: Array, truth: Array) -> float:
    """Held-out mean squared error above that of the truth."""

    def error(W: Array) -> float:
        return float(((x - np.einsum("ni,nij->nj", x, np.broadcast_to(W, truth.shape))) ** 2).mean())

    return error(network) - error(truth)


def fits(world: Callable[[int, int, int], World], seed: int) -> list[float]:
    """W-RMSE and excess error of the default fit, the population network and W = 0."""
    x, context, truth = world(seed, 900, 6)
    fit = gn.fit("notmad", {"x": x[:500], "context": context[:500]}, "map", seed, archetype=3)
    ours = gn.predict(fit, {"context": context[500:]})["predictions"]["network"].to_numpy()
    out: list[float] = []
    for network in (ours, notears(x[:500], warn=False).network, np.zeros((6, 6))):
        out += [compare(np.broadcast_to(network, truth[500:].shape), truth[500:])["rmse"]]
        out += [excess(x[500:], network, truth[500:])]
    return out


def coverage(world: Callable[[int, int, int], World], seed: int) -> float:
    """Share of weights that the 90 % intervals of NUTS hold, order given."""
    x, context, truth = world(seed, 200, 3)
    settings: dict[str, Any] = {"order": "given", "archetype": 3, "draws": 250, "tune": 250}
    fit = gn.fit("notmad", {"x": x[:150], "context": context[:150]}, "nuts", seed, **settings)
    found = gn.predict(fit, {"context": context[150:]})["predictions"]
    free = np.triu(np.ones((3, 3), dtype=bool), 1)
    low, high, real = (a[:, free] for a in (found["low"].to_numpy(), found["high"].to_numpy(), truth[150:]))
    return float(((low <= real) & (real <= high)).mean())


def one(what: str, size: None, seed: int) -> dict[str, float]:
    """Simulate, fit and compare; intervals of two seeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numbers = fits(MADE[what], seed)
        held = coverage(MADE[what], seed) if seed < INTERVALS else np.nan
    return dict(zip(COLUMNS, [*numbers, held], strict=True))


INTERVALS = 3
"""Seeds of which NUTS is run, too."""

COLUMNS = {
    "rmse": "W-RMSE: default",
    "excess": "error above the truth's",
    "rmse_population": "W-RMSE: population",
    "excess_population": "error",
    "rmse_none": "W-RMSE: W = 0",
    "excess_none": "error",
    "covered": "90 % intervals of `nuts` cover",
}

TABLES = [Table("notmad_stress", "notmad", dict.fromkeys(MADE, (None,)), one, COLUMNS, simulations=5, first="world")]

if __name__ == "__main__":
    run(TABLES, __doc__)
