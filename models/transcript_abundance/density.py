"""The model as a PyMC density, origins of the reads summed out; written from the generative process alone."""

from typing import Any

import numpy as np

from genarium.declaration import Sizes


def density(sizes: Sizes, alpha: Any, weight: Any, entry_class: Any, entry_transcript: Any, count: Any) -> None:
    """Add nu and the counts to the open PyMC model."""
    import pymc as pm

    nu = pm.Dirichlet("nu", a=alpha, dims="transcript")
    _add_reads(sizes, nu, weight, entry_class, entry_transcript, count)


def relaxed_density(
    sizes: Sizes,
    effective_length: Any,
    reads: Any,
    weight: Any,
    entry_class: Any,
    entry_transcript: Any,
    count: Any,
) -> None:
    """Add the same under the relaxed prior (eq. 39), presence of each transcript summed out."""
    import pymc as pm
    import pytensor.tensor as pt

    presence = pm.Uniform("presence", 0, 1)
    spread = pm.LogNormal("spread", np.log(2.0), 0.5)
    log_rate = pm.Flat("log_rate", dims="transcript")
    drop = pt.log(pt.maximum(reads / sizes["transcript"], 1.0)) + 4.0
    there = pt.log(presence) + pm.logp(pm.Normal.dist(0, spread), log_rate)
    absent = pt.log1p(-presence) + pm.logp(pm.Normal.dist(-drop, 2.0), log_rate)
    some = pt.log1mexp(-pt.softplus(there - absent).sum())  # of the mixture, less the case that none is there
    possible = pt.log1mexp(sizes["transcript"] * pt.log1p(-presence))
    pm.Potential("abundances", pt.logaddexp(there, absent).sum() + some - possible)
    nu = pm.math.softmax(log_rate + pt.log(effective_length), axis=0)
    _add_reads(sizes, nu, weight, entry_class, entry_transcript, count)


def _add_reads(sizes: Sizes, nu: Any, weight: Any, entry_class: Any, entry_transcript: Any, count: Any) -> None:
    import pymc as pm
    import pytensor.tensor as pt

    joint = weight * nu[entry_transcript]  # of each entry: transcript, start and orientation
    p = pt.inc_subtensor(pt.zeros(sizes["equivalence_class"])[entry_class], joint)
    seen = pt.gt(count, 0)
    pm.Potential("likelihood", pt.switch(seen, count * pt.log(pt.switch(seen, p, 1.0)), 0.0).sum())
