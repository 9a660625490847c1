"""A PyMC density compiled: once for a model and its sizes, with data swapped in."""

from collections import Counter
from functools import cache, cached_property
from typing import Any

import numpy as np

from genarium import caches
from genarium.declaration import Array, Arrays, Model, Problem
from genarium.engines.hoist import Hoisted, hoist
from genarium.engines.narrow import narrowed
from genarium.engines.native import density as native
from genarium.engines.sharing import shared
from genarium.errors import InputError
from genarium.progress import spinner
from genarium.signatures import call, parents_of

COMPILED: Counter[str] = Counter()
"""How often each kind of function was compiled in this process (a second fit of the same sizes adds nothing)."""


def compiled(problem: Problem) -> "Compiled":
    """Return the compiled density of a problem's model and sizes, with the problem's data in it."""
    model = problem.model
    if model.density is None:
        raise InputError(f"{model.name}: the model has no PyMC density.")
    found: Compiled = shared(problem, uniform(problem), Compiled)
    found.swap(problem)
    return found


def uniform(problem: Problem) -> frozenset[str]:
    """Names of the arrays of known real numbers that were left at their default, a number."""
    return frozenset(
        name
        for name, var in problem.model.known.variables.items()
        if isinstance(var.default, float) and problem[name].ndim and (problem[name] == var.default).all()
    )


def build(problem: Problem) -> Any:
    """Build the PyMC model of a problem, with the known and observed variables as ``pm.Data``.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    pymc.Model
    """
    caches.give_pytensor_one()
    import pymc as pm

    model = problem.model
    assert model.density is not None
    wanted = parents_of(model.density)
    with pm.Model(coords={dim: list(labels) for dim, labels in problem.coords.items()}) as built:
        data = {name: _data(_data_name(model, name), problem[name]) for name in wanted}
        call(model.density, {"sizes": problem.sizes, **data})
    have, declared = {rv.name for rv in built.free_RVs}, set(model.unknown.variables)
    if have != declared:
        raise TypeError(f"{model.name}: the density defines {sorted(have)}, the declaration {sorted(declared)}")
    return built


def _data(name: str, value: Array) -> Any:
    """Put a variable into the PyMC model; missing values, which ``pm.Data`` refuses, are for the density to treat."""
    import pymc as pm

    if not np.isnan(value).any():
        return pm.Data(name, value)
    held = pm.Data(name, np.nan_to_num(value))
    held.set_value(value)
    return held


def _data_name(model: Model, name: str) -> str:
    """Name of a variable's data in the PyMC model, where observed variables and dims have names too."""
    return f"{name}_data" if name in model.observed.variables or name in model.sizes else name


def _parents(rv: Any, values: dict[Any, Any]) -> list[Any]:
    """Return the inputs of a random variable, which its transform may need, with other variables at their values."""
    from pytensor.graph.replace import clone_replace
    from pytensor.graph.traversal import ancestors

    inputs = list(rv.owner.inputs)
    if not set(ancestors(inputs)) & set(values):
        return inputs
    return list(clone_replace(inputs, replace=values, rebuild_strict=False))


class Compiled:
    """Functions of one PyMC model, each compiled on first use.

    Parameters
    ----------
    problem : Problem
        Its model and sizes are compiled, and which data are at their default; data can be swapped by :meth:`swap`.
    interpreted : bool
        Leave the log density to Python, as it is written: ready at once and slow to run, for a few evaluations.
    """

    def __init__(self, problem: Problem, *, interpreted: bool = False) -> None:
        self.model: Model = problem.model
        self.interpreted = interpreted
        self.pymc = build(problem)
        self.problem = problem
        self.uniform = uniform(problem)

    def swap(self, problem: Problem) -> None:
        """Put other data of the same sizes in; what was left at its default must be so again."""
        assert self.uniform <= uniform(problem)
        self.model, self.problem = problem.model, problem  # the declaration may start elsewhere
        for name, value in self._data(problem).items():
            variable = self.pymc[name]
            variable.set_value(value.astype(variable.get_value(borrow=True).dtype))

    def graph(self, *, jacobian: bool = True) -> Any:
        """Log density as a graph of PyMC's value variables, computed once along dims that the data do not vary in."""
        same = [self.pymc[_data_name(self.model, name)] for name in self._wanted if name in self.uniform]
        return narrowed([self.pymc.logp(jacobian=jacobian)], same)[0]

    def _data(self, problem: Problem) -> dict[str, Array]:
        return {_data_name(self.model, name): problem[name] for name in self._wanted}

    @cached_property
    def _wanted(self) -> list[str]:
        """Names of the known and observed variables in the density."""
        assert self.model.density is not None
        return list(parents_of(self.model.density))

    @cached_property
    def nuts(self) -> Any:
        """The density and its gradient, compiled by nutpie."""
        import nutpie

        COMPILED["nuts"] += 1
        with spinner("compiling the PyMC density"):
            (density,) = self._hoisted.outputs
            self.pymc.logp = lambda: density  # what nutpie asks the model for
            try:
                return nutpie.compile_pymc_model(self.pymc)
            finally:
                del self.pymc.logp

    @cached_property
    def _hoisted(self) -> Hoisted:
        """The density, what follows from the data alone being computed once for a dataset."""
        return hoist([self.graph()])

    def nuts_with_data(self) -> Any:
        """Return the density and its gradient with the data that were last put in."""
        values = {**self._data(self.problem), **self._hoisted.values()}
        wanted = {variable.name for variable in self.nuts.shared_var_keys}
        return self.nuts.with_data(**{name: value for name, value in values.items() if name in wanted})

    @cached_property
    def _values(self) -> list[Any]:
        return [self.pymc.rvs_to_values[rv] for rv in self.pymc.free_RVs]

    @cached_property
    def _unconstrain(self) -> Any:
        import pytensor.tensor as pt

        parts = []
        naturals = {rv: rv.type() for rv in self.pymc.free_RVs}
        for rv, natural in naturals.items():
            transform = self.pymc.rvs_to_transforms[rv]
            part = natural if transform is None else transform.forward(natural, *_parents(rv, naturals))
            parts.append(part.ravel())
        inputs = list(naturals.values())
        return _Mapped(inputs, [pt.concatenate(parts)])

    @cached_property
    def _joined(self) -> tuple[Any, dict[Any, Any], list[str]]:
        """The flat vector, each value variable as a piece of it, and the names of its elements."""
        import pytensor.tensor as pt

        joined, pieces, names, low = pt.dvector("unconstrained"), {}, [], 0
        initial = self.pymc.initial_point(0)
        for value in self._values:
            shape = initial[value.name].shape
            size = int(np.prod(shape))
            pieces[value] = joined[low : low + size].reshape(shape)
            names += [f"{value.name}{list(i) if i else ''}" for i in np.ndindex(*shape)]
            low += size
        return joined, pieces, names

    @cached_property
    def _constrain(self) -> Any:
        """Function from the flat vector to natural values and the log Jacobian determinant."""
        import pytensor.tensor as pt
        from pytensor.graph.replace import clone_replace

        joined, pieces, _ = self._joined
        natural: dict[Any, Any] = {}
        jacobian = pt.constant(0.0)
        for rv, value in zip(self.pymc.free_RVs, self._values, strict=True):
            transform = self.pymc.rvs_to_transforms[rv]
            if transform is None:
                natural[rv] = value
            else:
                parents = _parents(rv, natural)
                natural[rv] = transform.backward(value, *parents)
                jacobian = jacobian + transform.log_jac_det(value, *parents).sum()
        return _Mapped([joined], clone_replace([*natural.values(), jacobian], replace=pieces))

    @cached_property
    def _density(self) -> Any:
        """Function from the flat vector to log density and gradient, on the natural scale of the parameters."""
        return self._compile_density(jacobian=False)

    @cached_property
    def _density_jacobian(self) -> Any:
        return self._compile_density(jacobian=True)

    def _compile_density(self, jacobian: bool) -> Any:
        slowly = cache(lambda: self._compile_density_slowly(jacobian))
        return slowly() if self.interpreted else native.Evaluated(self, jacobian, slowly, COMPILED)

    def _compile_density_slowly(self, jacobian: bool) -> Any:
        import pytensor
        import pytensor.tensor as pt
        from pytensor.graph.replace import clone_replace

        COMPILED["density"] += 1
        joined, pieces, _ = self._joined
        (log_density,) = clone_replace([self.graph(jacobian=jacobian)], replace=pieces)
        # without rewrites: they take longer than the evaluations, and join more terms than Python adds at once
        mode = pytensor.Mode("py", "merge") if self.interpreted else None
        return pytensor.function([joined], [log_density, pt.grad(log_density, joined)], mode=mode)

    def unconstrained(self, natural: Arrays) -> Array:
        """Map natural values of the unknown variables to the flat unconstrained vector."""
        out: Array = self._unconstrain.one(*self._ordered(natural))[0]
        return out

    def unconstrained_draws(self, natural: Arrays) -> Array:
        """Map draws of the unknown variables, each of shape (S, ...), to unconstrained vectors, shape (S, n)."""
        out: Array = self._unconstrain.many(*self._ordered(natural))[0]
        return out

    def _ordered(self, natural: Arrays) -> list[Array]:
        return [np.asarray(natural[rv.name], dtype=float) for rv in self.pymc.free_RVs]

    def constrained(self, vector: Array) -> tuple[dict[str, Array], float]:
        """Map a flat vector to natural values; also give the log Jacobian determinant."""
        *values, jacobian = self._constrain.one(vector)
        return {rv.name: v for rv, v in zip(self.pymc.free_RVs, values, strict=True)}, float(jacobian)

    def constrained_draws(self, vectors: Array) -> tuple[dict[str, Array], Array]:
        """Map vectors, shape (S, n), to natural values, (S, ...), and log Jacobian determinants, (S,)."""
        *values, jacobian = self._constrain.many(vectors)
        return {rv.name: v for rv, v in zip(self.pymc.free_RVs, values, strict=True)}, jacobian

    def log_density(self, vector: Array, *, jacobian: bool = False) -> tuple[float, Array]:
        """Log density at a flat vector, and its gradient.

        Parameters
        ----------
        vector : ndarray, shape (n,)
            Unconstrained values, in the order of :attr:`names`.
        jacobian : bool
            Whether the density is that of the unconstrained vector (as for sampling) or of the natural parameters.

        Returns
        -------
        value : float
            Minus infinity where a parameter leaves its support, as a standard deviation that underflows to zero.
        gradient : ndarray, shape (n,)
        """
        from pymc.logprob.utils import ParameterValueError

        try:
            value, gradient = (self._density_jacobian if jacobian else self._density)(vector)
        except ParameterValueError:
            return -np.inf, np.zeros(len(vector))
        return float(value), gradient

    @property
    def names(self) -> list[str]:
        """Names of the elements of the flat vector."""
        return self._joined[2]

    def start(self, rng: np.random.Generator) -> Array:
        """Return an unconstrained starting point: the model's own, else PyMC's."""
        if self.model.start is not None:
            return self.unconstrained(self.model.start(self.problem, rng))
        initial = self.pymc.initial_point(int(rng.integers(2**31)))
        return np.concatenate([np.ravel(initial[value.name]) for value in self._values])


class _Mapped:
    """A map between scales: of one point, and of many along a leading dim, each compiled on first use."""

    def __init__(self, inputs: list[Any], outputs: list[Any]) -> None:
        self.inputs, self.outputs = inputs, outputs

    @cached_property
    def one(self) -> Any:
        return _transform_function(self.inputs, self.outputs)

    @cached_property
    def many(self) -> Any:
        import pytensor.tensor as pt
        from pytensor.graph.replace import vectorize_graph

        stacked = [pt.tensor(shape=(None, *v.type.shape), dtype="float64") for v in self.inputs]
        lead = stacked[0].shape[0]
        outputs = vectorize_graph(self.outputs, replace=dict(zip(self.inputs, stacked, strict=True)))
        full = [
            new if new.ndim > old.ndim else pt.broadcast_to(new, (lead, *new.shape))  # it depends on no input
            for new, old in zip(outputs, self.outputs, strict=True)
        ]
        return _transform_function(stacked, full)


def _transform_function(inputs: list[Any], outputs: list[Any]) -> Any:
    import pytensor

    COMPILED["transforms"] += 1
    return pytensor.function(inputs, outputs, on_unused_input="ignore", mode="FAST_COMPILE")
