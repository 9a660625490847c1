"""The same story in PyMC; written from the card and not from the NumPy densities, so that each checks the other."""

from typing import Any

from genarium.declaration import Sizes


def density(sizes: Sizes, count: Any, exposure: Any, shape: Any, a0: Any, b0: Any) -> None:
    """Build the PyMC model inside an open ``pm.Model`` context."""
    import pymc as pm

    inverse_scale = pm.Gamma("inverse_scale", alpha=a0, beta=b0)
    rate = pm.Gamma("rate", alpha=shape, beta=inverse_scale, dims="gene")
    pm.Poisson("count", exposure[:, None] * rate, observed=count, dims=("sample", "gene"))
