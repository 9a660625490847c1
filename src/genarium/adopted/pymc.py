"""A user's PyMC model as a declaration: prior and data are drawn by its own random variables, and NUTS samples it."""

import hashlib
import io
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np

from genarium import caches
from genarium.adopted import identifiers, sizes_of, variables
from genarium.adopted.digests import digest_of
from genarium.adopted.functions import Batched, Forward
from genarium.adopted.refused import refuse_draws_that_fail, refuse_other_supports, refuse_what_nothing_draws
from genarium.declaration import Array, Arrays, Model, Problem, Stage
from genarium.errors import InputError
from genarium.signatures import with_parameters

LARGE = 20
"""Elements of a deterministic variable, at most, that are test quantities."""


def is_pymc(model: Any) -> bool:
    """Whether something is a PyMC model; PyMC is not imported to find out."""
    return any(cls.__module__.startswith("pymc.") and cls.__name__ == "Model" for cls in type(model).__mro__)


def from_pymc(model: Any, name: str = "") -> Model:
    """Declare a PyMC model: what Genarium does with its own models, it then does with this one.

    Free random variables are the unknown variables, observed ones the observed; everything else (constants, data)
    belongs to the model and stays as it is. Test quantities are the deterministic variables of at most 20 elements.

    Parameters
    ----------
    model : pymc.Model
        With observed data, whose shapes and types are those of every simulation.
    name : str
        What the model is called; its own name where none is given, else ``pymc_model``.

    Returns
    -------
    Model
        A declaration that every verb takes.

    Raises
    ------
    InputError
        If the model has no observed or no unknown variables; or potentials, flat priors and other distributions without
        draws, which have no generative process; or unknown variables that are whole numbers, which no gradient leads
        to; or transforms to values that the prior does not draw (an order); or missing parts of vectors, parameters
        below data, or minibatches, whose data would not be those of the density.

    Examples
    --------
    >>> import pymc as pm, genarium as gn
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu")
    ...     y = pm.Normal("y", mu, observed=[1.0, 2.0])
    >>> gn.validate(gn.from_pymc(model), "nuts", simulations=20).passed
    True
    """
    caches.give_pytensor_one()
    if not is_pymc(model):
        raise InputError(f"from_pymc takes a pymc.Model, not {type(model).__name__}.")
    what = name or model.name or "pymc_model"
    refuse_what_nothing_draws(what, model)
    graphs = Graphs(model)
    refuse_draws_that_fail(what, graphs)
    refuse_other_supports(what, graphs)
    free = {graphs.plain[rv.name]: value for rv, value in zip(graphs.free, graphs.prior(0), strict=True)}
    seen = {graphs.plain[rv.name]: np.asarray(_observed(model, rv)) for rv in model.observed_RVs}
    dims = {graphs.plain[n]: tuple(d and graphs.plain[d] for d in own) for n, own in model.named_vars_to_dims.items()}
    unknown, observed = variables(free, "unknown", dims), variables(seen, "observed", dims)
    sizes = sizes_of({**unknown, **observed}, {**free, **seen})
    one = next(iter(observed.values()))
    density = with_parameters(observed, partial(build, graphs))
    density.__fingerprint__ = graphs.digest  # type: ignore[attr-defined]
    return Model(
        name=graphs.plain.get(what) or next(iter(identifiers([what], what).values())),
        title=f"PyMC model {what}",
        sizes=sizes,
        known=Stage({}),
        unknown=Stage(unknown, graphs.draw_unknown),
        hidden=Stage({}),
        observed=Stage(observed, with_parameters(["rng", *unknown], graphs.draw_observed)),
        density=density,
        start=graphs.start,
        log_likelihood=with_parameters([*unknown, *observed], graphs.log_likelihood),
        log_prior=with_parameters(unknown, graphs.log_prior),
        test_quantities=with_parameters([*unknown, *observed], graphs.quantities) if graphs.told else None,
        vectorized=True,
        unit=one.dims[0] if len(observed) == 1 and len(one.dims) == 1 else "",
        check=partial(refuse_other_shapes, what, {name: np.shape(value) for name, value in seen.items()}),
    )


def refuse_other_shapes(what: str, shapes: Mapping[str, tuple[int, ...]], problem: Problem) -> None:
    """Refuse data of another shape than the model's own: its graph is of this one."""
    for name, shape in shapes.items():
        if problem[name].shape != shape:
            raise InputError(
                f"{what}: {name} has shape {problem[name].shape}, but the PyMC model is of {shape}. Build the model "
                "with data of the new shape, and adopt that."
            )


def _observed(model: Any, rv: Any) -> Array:
    """Return the data of an observed variable."""
    value = model.rvs_to_values[rv]
    return np.asarray(value.eval() if value.owner is not None or hasattr(value, "get_value") else value.data)


def build(graphs: "Graphs", /, **data: Any) -> None:
    """Make the open PyMC model a copy of the user's, with the given data in the places of its own."""
    import pymc as pm
    import pytensor.tensor as pt
    from pymc.model.fgraph import clone_model

    built, own = pm.modelcontext(None), clone_model(graphs.model)
    shared = {variable.name: variable for variable in data.values()}
    built.__dict__.update({key: value for key, value in own.__dict__.items() if key != "_parent"})
    for name, variable in shared.items():
        built.named_vars[name] = variable
    for rv in built.free_RVs:
        _rename(built, rv, graphs.plain[rv.name])
    for rv in built.observed_RVs:
        value = data[graphs.plain[rv.name]]
        value = value if value.dtype == rv.dtype else pt.cast(value, rv.dtype)
        del built.values_to_rvs[built.rvs_to_values[rv]]
        built.rvs_to_values[rv], built.values_to_rvs[value] = value, rv


def _rename(model: Any, rv: Any, name: str) -> None:
    """Give a free random variable and its value another name."""
    if rv.name != name:
        value = model.rvs_to_values[rv]
        value.name = f"{name}{value.name.removeprefix(rv.name)}"
        del model.named_vars[rv.name]
        if rv.name in model.named_vars_to_dims:
            model.named_vars_to_dims[name] = model.named_vars_to_dims.pop(rv.name)
        rv.name = name
        model.named_vars[name] = rv


def cloned(model: Any) -> tuple[Any, dict[str, Array]]:
    """Return a copy of a PyMC model, its data and dims constant, and where the user has its variables start.

    A copy cannot hold the latter.
    """
    from pymc.initial_point import make_initial_point_fn
    from pymc.model.transform.optimization import freeze_dims_and_data

    asked = dict(model.rvs_to_initial_values)
    chosen = [rv.name for rv, value in asked.items() if value is not None]
    initial: dict[str, Array] = {}
    if chosen:
        found = make_initial_point_fn(model=model, return_transformed=False)(0)
        initial = {name: np.asarray(found[name]) for name in chosen}
    try:
        model.rvs_to_initial_values.update(dict.fromkeys(asked))
        return freeze_dims_and_data(model), initial
    finally:
        model.rvs_to_initial_values.update(asked)


class Graphs:
    """The graphs of a PyMC model, compiled on first use; shapes as in the model, with draws in front.

    Parameters
    ----------
    model : pymc.Model
    """

    def __init__(self, model: Any) -> None:
        self.model, self.initial = cloned(model)
        self.names = [rv.name for rv in model.free_RVs], [rv.name for rv in model.observed_RVs]
        names = [*self.model.named_vars, *self.model.dim_lengths]
        self.plain = identifiers(dict.fromkeys(names), model.name or "pymc_model")
        self.digest = self._digest()

    @property
    def free(self) -> list[Any]:
        """The free random variables, in the order of the user's model: that of a copy is another one."""
        return [self.model[name] for name in self.names[0]]

    @property
    def seen(self) -> list[Any]:
        """The observed random variables, in the order of the user's model."""
        return [self.model[name] for name in self.names[1]]

    def __getstate__(self) -> dict[str, Any]:
        """Keep the model as bytes: joblib's own pickler does not take all that PyMC's classes hold."""
        import cloudpickle

        kept = {name: getattr(self, name) for name in ("plain", "digest", "names", "initial")}
        return {"pickled": cloudpickle.dumps(self.model), **kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        import cloudpickle

        self.model = cloudpickle.loads(state["pickled"])
        self.__dict__.update({name: value for name, value in state.items() if name != "pickled"})

    def _digest(self) -> str:
        """Return a digest of the density: its operations and constants; and of functions that draw in its place."""
        import pytensor
        from pytensor.graph.basic import Constant
        from pytensor.graph.traversal import ancestors

        outputs = [self.model.logp(jacobian=True), self.model.logp(jacobian=False)]
        text = io.StringIO()
        pytensor.dprint(outputs, file=text, print_type=True)
        sha = hashlib.sha256(text.getvalue().encode())
        for one in ancestors(outputs):
            value = one.get_value() if hasattr(one, "get_value") else one.data if isinstance(one, Constant) else None
            if value is not None:
                sha.update(repr(one.type).encode() + np.ascontiguousarray(value).tobytes())
        for rv in [*self.free, *self.seen]:
            drawing = getattr(type(rv.owner.op), "_random_fn", None)  # of a pm.CustomDist
            if drawing is not None:
                sha.update(f"{rv.name} {digest_of(drawing)}".encode())
        return sha.hexdigest()

    @cached_property
    def told(self) -> list[Any]:
        """The deterministic variables that are test quantities: functions of the variables alone, without own noise."""
        own = [one for one in self.model.deterministics if not self._noisy(one)]
        drawn = Forward([], own)(0) if own else []
        return [d for d, value in zip(own, drawn, strict=True) if 0 < value.size <= LARGE]

    def _noisy(self, deterministic: Any) -> bool:
        from pymc.pytensorf import collect_default_updates

        named = [*self.free, *self.seen]
        return bool(collect_default_updates(deterministic, inputs=named, must_be_shared=False))

    # Draws

    @cached_property
    def _prior(self) -> "Forward":
        return Forward([], self.free)

    @cached_property
    def _predictive(self) -> "Forward":
        from pytensor.graph.replace import clone_replace

        given = {rv: rv.type() for rv in self.free}
        return Forward(list(given.values()), clone_replace(self.seen, replace=given, rebuild_strict=False))

    def prior(self, seed: int) -> list[Array]:
        """Draw the free random variables."""
        return self._prior(seed)

    def draw_unknown(self, rng: np.random.Generator) -> dict[str, Array]:
        """Draw the unknown variables from their prior."""
        drawn = self.prior(int(rng.integers(2**31)))
        return {self.plain[rv.name]: value for rv, value in zip(self.free, drawn, strict=True)}

    def draw_observed(self, /, rng: np.random.Generator, **unknown: Array) -> dict[str, Array]:
        """Simulate data."""
        drawn = self._predictive(int(rng.integers(2**31)), *self._ordered(unknown))
        return {self.plain[rv.name]: value for rv, value in zip(self.seen, drawn, strict=True)}

    def _ordered(self, unknown: Arrays) -> list[Array]:
        return [np.asarray(unknown[self.plain[rv.name]], dtype=rv.dtype) for rv in self.free]

    @cached_property
    def _initial(self) -> Any:
        from pymc.initial_point import make_initial_point_fn

        return make_initial_point_fn(model=self.model, return_transformed=False)

    def start(self, problem: Problem, rng: np.random.Generator) -> dict[str, Array]:
        """Return PyMC's starting point."""
        found = self._initial(int(rng.integers(2**31)))
        return {self.plain[rv.name]: np.asarray(self.initial.get(rv.name, found[rv.name])) for rv in self.free}

    # Densities

    @cached_property
    def _natural(self) -> tuple[Any, list[Any], list[Any]]:
        """The model on the natural scale, its value variables, and an input for each observed variable."""
        from pymc.model.transform.conditioning import remove_value_transforms

        natural = remove_value_transforms(self.model)
        data = []
        for rv in (natural[name] for name in self.names[1]):
            value = rv.type(f"{rv.name}_data")
            del natural.values_to_rvs[natural.rvs_to_values[rv]]
            natural.rvs_to_values[rv], natural.values_to_rvs[value] = value, rv
            data.append(value)
        return natural, [natural.rvs_to_values[natural[name]] for name in self.names[0]], data

    @cached_property
    def _likelihood(self) -> "Batched":
        natural, values, data = self._natural
        return Batched(values, data, [sum(part.sum() for part in natural.logp(natural.observed_RVs, sum=False))])

    @cached_property
    def _pointwise(self) -> "Batched":
        natural, values, data = self._natural
        return Batched(values, data, natural.logp(natural.observed_RVs, sum=False))

    @cached_property
    def _prior_density(self) -> "Batched":
        natural, values, _ = self._natural
        return Batched(values, [], [natural.logp(natural.free_RVs, jacobian=False)])

    @cached_property
    def _quantities(self) -> "Batched":
        from pytensor.graph.replace import clone_replace

        given, data = ({rv: rv.type() for rv in own} for own in (self.free, self.seen))
        told = clone_replace(self.told, replace={**given, **data}, rebuild_strict=False)
        return Batched(list(given.values()), list(data.values()), told)

    def log_likelihood(self, /, **values: Array) -> Array:
        """Log density of the data: by element where it is one variable of one dim, else the sum."""
        one = len(self.seen) == 1 and self.seen[0].ndim == 1
        (found,) = (self._pointwise if one else self._likelihood)(self._ordered(values), self._data(values))
        return found

    def _data(self, values: Arrays) -> list[Array]:
        return [np.asarray(values[self.plain[rv.name]], dtype=rv.dtype) for rv in self.seen]

    def log_prior(self, /, **unknown: Array) -> Array:
        """Log density of the prior."""
        return self._prior_density(self._ordered(unknown), [])[0]

    def quantities(self, /, **values: Array) -> Mapping[str, Array]:
        """Return the deterministic variables, given the unknown and the observed ones."""
        found = self._quantities(self._ordered(values), self._data(values))
        return {self.plain[d.name]: value for d, value in zip(self.told, found, strict=True)}
