"""What the figures of a fit show: estimates, names and colours of the processes, rates of the loci."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.drawing import PALETTE
from genarium.estimates import Estimate, estimates
from genarium.evaluate import fitted_problem, predictions
from genarium.registry import fitted_model

from .metrics import compare, signatures

COLORS = (*PALETTE, "#332288", "#999933", "#882255", "#117733")
"""Of processes; a thirteenth has the first one's."""

PAGE = 12
"""Processes of one figure at most."""


@dataclass(frozen=True)
class Fitted:
    """A fit as the figures show it: K processes, M channels, F features, L loci, G genomes.

    Attributes
    ----------
    signature, beta, pi : Estimate
        (K, M), normalised to the opportunities of the whole genome; (K, F); (G, K).
    rate, assigned : ndarray, shape (L, K)
        Mutations that are expected, and those observed, each shared out by the probabilities of the processes.
    mutations : ndarray, shape (G,)
    known : Dataset
        Known variables and the labels of loci, with their places where these are known.
    nearest : list of (str, float)
        For each process the most similar signature of a reference table, and the cosine; empty without one.
    trees : bool
        Whether the rates have trees beside their linear effects.
    """

    signature: Estimate
    beta: Estimate
    pi: Estimate
    rate: Array
    assigned: Array
    mutations: Array
    known: xr.Dataset
    nearest: list[tuple[str, float]]
    trees: bool

    @property
    def processes(self) -> list[tuple[str, str]]:
        """Name and colour of each process."""
        return [(named("process", at, 14), COLORS[k % len(COLORS)]) for k, at in enumerate(self.beta.labels[0])]

    @property
    def pages(self) -> list[tuple[str, Array]]:
        """What is added to a title, and the processes, of each of the figures that are needed to show all."""
        K = len(self.processes)
        parts = np.array_split(np.arange(K), -(-K // PAGE))
        return [(f" ({i} of {len(parts)})" if len(parts) > 1 else "", part) for i, part in enumerate(parts, 1)]

    @property
    def few(self) -> str:
        """What a caption says where there are fewer colours than processes."""
        some = len(self.processes) > len(COLORS)
        return f" There are only {len(COLORS)} colours: the order tells." if some else ""


def without_features(known: xr.Dataset) -> bool:
    """Whether no feature differs between loci, so that there are signatures and exposures alone: effects are prior."""
    return bool(np.ptp(known["features"].to_numpy(), axis=-1).max() == 0)


def collect(tree: xr.DataTree, reference: Any = "") -> Fitted:
    """Take from a fitted tree what the figures show, and compare its signatures with those of a table."""
    found = {one.name: one for one in estimates(fitted_model(tree), tree)}
    lam, rho, beta = found.get("lam"), found.get("rho"), found["beta"]
    known = tree["constant_data"].to_dataset()
    shape = signatures(tree, keep_draws=True)  # ([chain, draw,] K, M)
    truth = None
    if lam is not None and lam.truth is not None and rho is not None and rho.truth is not None:
        truth = np.full(shape.shape[-2:], np.nan)
        there = np.isfinite(lam.truth).all(-1)
        truth[there] = signatures({**known, "lam": lam.truth[there], "rho": rho.truth[there]})
    draws = shape.to_numpy() if beta.draws is not None else None
    centre = shape.to_numpy() if draws is None else draws.mean((0, 1))
    labels = beta.labels[0], shape["channel"].to_numpy()
    model = fitted_model(tree)
    predicted = predictions(model, tree, fitted_problem(model, tree))
    n, rate = known["count"].to_numpy(), predicted["rate"].to_numpy()
    assigned = np.zeros(rate.shape)
    np.add.at(assigned, tree["observed_data"]["locus"].to_numpy(), n[:, None] * predicted["probability"].to_numpy())
    return Fitted(
        Estimate("signature", ("process", "channel"), labels, centre, draws, truth),
        beta,
        found["pi"],
        rate,
        assigned,
        np.bincount(known["genome"].to_numpy(), n, len(found["pi"].centre)),
        known,
        nearest(xr.DataArray(centre, dims=("process", "channel")), reference),
        "leaf_value" in found,
    )


def nearest(signature: xr.DataArray, reference: Any) -> list[tuple[str, float]]:
    """Return the most similar signature of a table, and the cosine, for each process; none without a table."""
    if isinstance(reference, str) and not reference:
        return []
    found = compare(signature, reference, best=1)
    pairs = zip(found["match"].to_numpy()[:, 0], found["match_cosine"].to_numpy()[:, 0], strict=True)
    return [(str(name), float(value)) for name, value in pairs]


def named(dim: str, label: object, most: int = 32) -> str:
    """Name one of a dim, cut if it is long; one that only has a number by the dim."""
    name = str(label)
    if name.isdecimal():
        return f"{dim} {name}"
    return name if len(name) <= most else f"{name[: most - 1]}…"
