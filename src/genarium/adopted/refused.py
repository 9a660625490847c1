"""PyMC models that prior and data cannot be drawn from as their density says."""

from typing import Any

import numpy as np

from genarium.adopted.functions import Forward
from genarium.errors import InputError

RESTRICTING = ("Ordered", "Chain", "SumTo1", "SimplexTransform", "ZeroSumTransform")
"""Transforms to a part of the space that a distribution may draw from."""


def refuse_what_nothing_draws(what: str, model: Any) -> None:
    """Refuse a model whose variables are not drawn, parameters first and then data, from what its density is of.

    Parameters
    ----------
    what : str
        Name of the model.
    model : pymc.Model

    Raises
    ------
    InputError
    """
    from pytensor.graph.traversal import ancestors

    if not model.observed_RVs:
        raise InputError(f"{what}: the model has no observed variables. Give one of them `observed=...`.")
    if not model.free_RVs:
        raise InputError(f"{what}: the model has no unknown variables. Leave one of them without `observed`.")
    if model.potentials:
        told = ", ".join(one.name for one in model.potentials)
        raise InputError(
            f"{what}: data cannot be simulated from the potential {told}, which is not a random variable. Write it as "
            "one (pm.CustomDist with `dist` or `random`)."
        )
    whole = [rv.name for rv in model.free_RVs if rv.dtype.startswith(("int", "uint", "bool"))]
    if whole:
        raise InputError(
            f"{what}: {', '.join(whole)} are whole numbers, which methods that follow gradients cannot sample. "
            "Sum them out (pm.Mixture, or marginalize of pymc-extras)."
        )
    for rv in model.observed_RVs:
        if _is(rv, "SimulatorRV"):
            raise InputError(f"{what}: {rv.name} is a pm.Simulator, which has no density. Give it a distribution.")
        if _is(rv, "MinibatchRandomVariable") and any(
            getattr(total, "data", None) not in (None, n)
            for total, n in zip(rv.owner.inputs[1:], rv.shape.eval(), strict=True)
        ):
            raise InputError(
                f"{what}: the density counts each observation of {rv.name} more than once (total_size), but a "
                "simulated one is one. Build the model with all data, without minibatches."
            )
    for rv in model.free_RVs:
        if _is(rv, "PartialObservedRV"):
            raise InputError(
                f"{what}: {rv.name} are missing values of a distribution of several numbers, which are not drawn apart "
                "from those that were observed. Write the whole as an unknown variable, observed with noise where it "
                "was, or leave the incomplete cases out."
            )
        before = set(ancestors([rv]))
        if above := [seen.name for seen in model.observed_RVs if seen in before]:
            raise InputError(
                f"{what}: the prior of {rv.name} depends on the observed {above[0]}, but parameters are drawn before "
                f"data. Write {rv.name} as a Deterministic of {above[0]} and of a variable that does not depend on it "
                "(mean + sd * z)."
            )


def _is(rv: Any, name: str) -> bool:
    """Whether the operation of a random variable is of a class of PyMC's."""
    return any(cls.__name__ == name for cls in type(rv.owner.op).__mro__)


def refuse_draws_that_fail(what: str, graphs: Any) -> None:
    """Refuse random variables that PyMC has no draws of (a flat prior, a distribution of which only the density is).

    Parameters
    ----------
    what : str
    graphs : Graphs
        Of the model.

    Raises
    ------
    InputError
    """
    try:
        graphs.draw_observed(np.random.default_rng(0), **graphs.draw_unknown(np.random.default_rng(0)))
    except NotImplementedError as failed:
        for rv in [*graphs.free, *graphs.seen]:
            try:
                Forward([], [rv])(0)
            except NotImplementedError as error:
                raise InputError(
                    f"{what}: nothing can be drawn from the distribution of {rv.name}. Give it a proper prior in the "
                    "place of pm.Flat or pm.HalfFlat, and a pm.CustomDist its `dist` or `random`."
                ) from error
        raise InputError(f"{what}: nothing can be drawn from this model: {failed}.") from failed
    except Exception:  # of these parameters, and perhaps of no others: the replicate says so
        return


def refuse_other_supports(what: str, graphs: Any) -> None:
    """Refuse transforms whose values the prior does not draw: its density then is of another distribution."""
    model = graphs.model
    some = [rv for rv in graphs.free if type(model.rvs_to_transforms.get(rv)).__name__ in RESTRICTING]
    if not some:
        return
    ways = [model.rvs_to_transforms[rv] for rv in some]
    again = [t.backward(t.forward(rv, *rv.owner.inputs), *rv.owner.inputs) for rv, t in zip(some, ways, strict=True)]
    drawing = Forward([], [*some, *again])
    with np.errstate(all="ignore"):
        drawn = [drawing(seed) for seed in range(5)]
    for i, (rv, way) in enumerate(zip(some, ways, strict=True)):
        if not all(np.allclose(one[i], one[len(some) + i], equal_nan=False) for one in drawn):
            raise InputError(
                f"{what}: the prior draws values of {rv.name} that its transform ({type(way).__name__}) cannot have: "
                "draws from the prior and its density are not of one distribution. Write the restriction as a part of "
                "the model, such as pt.sort of a variable without it."
            )
