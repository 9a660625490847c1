"""Hoisting: the graph without its data-only parts is the same function, and those parts follow the data."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from pytensor.graph.traversal import applys_between
from scipy.special import gammaln

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.declaration import Problem
from genarium.engines import compiled as densities
from genarium.engines.hoist import hoist
from genarium.tree import arrays

X = np.arange(1.0, 31.0)


def operations(outputs: list[Any]) -> set[str]:
    return {str(getattr(node.op, "scalar_op", node.op)) for node in applys_between([], outputs)}


@pytest.fixture
def data() -> Any:
    return pytensor.shared(X, name="x")


def test_largest_part_is_taken_out(data: Any) -> None:
    theta = pt.dscalar("theta")
    density = (data * theta - pt.gammaln(data + 1) + pt.log(2.0)).sum() + pt.gammaln(data).sum() * theta
    split = hoist([density])
    assert [v.name for v in split.shared] == ["hoisted_0", "hoisted_1"]
    assert "gammaln" not in operations(split.outputs)
    assert "gammaln" in operations(split.sources)
    np.testing.assert_allclose(split.values()["hoisted_0"], gammaln(X).sum())
    np.testing.assert_allclose(split.values()["hoisted_1"], gammaln(X + 1))


def test_arithmetic_and_a_few_numbers_stay(data: Any) -> None:
    theta, few = pt.dscalar("theta"), pytensor.shared(np.ones(3), name="few", shape=(3,))
    split = hoist([(2 * data[:, None] + 1) * theta * pt.gammaln(few)])
    assert not split.sources
    assert not split.values()


def test_masks_stay_and_outputs_may_be_data_only(data: Any) -> None:
    theta = pt.dscalar("theta")
    split = hoist([pt.switch(pt.isnan(data), theta, 0.0), pt.exp(data)])
    assert len(split.sources) == 1
    assert split.outputs[1] is split.shared[0]


def test_values_follow_the_data(data: Any) -> None:
    theta = pt.dscalar("theta")
    split = hoist([pt.gammaln(data + 1).sum() * theta])
    function = pytensor.function([theta], split.outputs, mode="FAST_COMPILE")
    data.set_value(X + 5)
    assert function(1.0)[0] == pytest.approx(gammaln(X + 1).sum())  # until they are put in
    split.shared[0].set_value(split.values()["hoisted_0"])
    assert function(1.0)[0] == pytest.approx(gammaln(X + 6).sum())


def nutpie_density(ready: Any, at: Any) -> tuple[float, Any]:
    """Log density and gradient as nutpie's sampler gets them: from pointers."""
    value, gradient, pointer = np.empty(()), np.empty_like(at), ctypes.POINTER(ctypes.c_double)
    inputs = [v.ctypes.data_as(pointer) for v in (at, gradient, value)]
    code = ready.compiled_logp_func.ctypes(len(at), *inputs, ctypes.c_void_p(ready.user_data.ctypes.data))
    assert code == 0
    return float(value), gradient


@pytest.mark.slow
def test_nutpie_gets_the_density_of_the_data(simulated: Callable[..., xr.DataTree]) -> None:
    model, tree = registry.get("nb_mixture"), simulated("nb_mixture")
    other = gn.simulate("nb_mixture", seed=9, cell=tree["observed_data"].sizes["cell"], alpha0=5.0, phi=0.8)
    problems: list[Problem] = [check(model, tree), check(model, other), check(model, tree)]
    rng = np.random.default_rng(0)
    for problem in problems:
        density = densities.compiled(problem)
        assert density._hoisted.shared
        ready = density.nuts_with_data()
        centre = density.unconstrained(arrays(tree["truth"].to_dataset(), model.unknown.variables))
        for _ in range(3):
            at = centre + rng.normal(0, 0.5, centre.shape)
            expected, slope = density.log_density(at, jacobian=True)
            value, gradient = nutpie_density(ready, at)
            assert value == pytest.approx(expected, rel=1e-10)
            np.testing.assert_allclose(gradient, slope, rtol=1e-8, atol=1e-8)
    assert "logp" not in vars(density.pymc)
