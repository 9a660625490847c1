"""The model as a PyMC density, origins of the reads summed out; written from the story alone."""

from typing import Any

from genarium.declaration import Sizes


def density(sizes: Sizes, alpha: Any, weight: Any, entry_class: Any, entry_transcript: Any, count: Any) -> None:
    """Add nu and the counts to the open PyMC model."""
    import pymc as pm
    import pytensor.tensor as pt

    nu = pm.Dirichlet("nu", a=alpha, dims="transcript")
    joint = weight * nu[entry_transcript]  # of each entry: transcript, start and orientation
    p = pt.inc_subtensor(pt.zeros(sizes["equivalence_class"])[entry_class], joint)
    seen = pt.gt(count, 0)
    pm.Potential("reads", pt.switch(seen, count * pt.log(pt.switch(seen, p, 1.0)), 0.0).sum())
