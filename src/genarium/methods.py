"""Every way to fit a model: its own methods, and those of the engines, as one table of ``Method``."""

from contextlib import suppress
from dataclasses import replace

from genarium.declaration import Method, Model, Problem
from genarium.errors import GenariumError, InputError
from genarium.registry import program
from genarium.remedies import setting
from genarium.words import did_you_mean

ENGINES = "genarium.engines"

PYMC: dict[str, Method] = {
    "nuts": Method(
        f"{ENGINES}.pymc:nuts", "exact", "Hamiltonian Monte Carlo of the PyMC density (nutpie).", engine="pymc"
    ),
    "advi": Method(
        f"{ENGINES}.advi:advi",
        "approximate",
        "Mean-field automatic differentiation variational inference of the PyMC density.",
        engine="pymc",
    ),
    "dadvi": Method(
        f"{ENGINES}.dadvi:dadvi",
        "approximate",
        "ADVI with fixed draws, minimised to a small gradient; covariance by linear response.",
        engine="pymc",
    ),
    "map": Method(f"{ENGINES}.pymc_modes:maximum", "point", "Maximum of the PyMC density, by L-BFGS.", engine="pymc"),
    "nuts-jax": Method(
        f"{ENGINES}.blackjax:nuts",
        "exact",
        "Hamiltonian Monte Carlo of the PyMC density on JAX (blackjax).",
        engine="blackjax",
    ),
}
"""Methods of every model that has a PyMC density."""

STAN: dict[str, Method] = {
    "stan": Method(f"{ENGINES}.stan:nuts", "exact", "Hamiltonian Monte Carlo of the Stan program (NUTS).", "stan"),
    "stan-pathfinder": Method(
        f"{ENGINES}.stan:pathfinder",
        "approximate",
        "Normal approximations along optimisation paths, of the Stan program.",
        engine="stan",
    ),
    "stan-advi": Method(
        f"{ENGINES}.stan:advi",
        "approximate",
        "Stan's automatic differentiation variational inference.",
        engine="stan",
    ),
    "stan-laplace": Method(
        f"{ENGINES}.stan:laplace", "approximate", "Normal approximation at the mode, of the Stan program.", "stan"
    ),
    "stan-map": Method(
        f"{ENGINES}.stan_modes:maximum", "point", "Maximum of the Stan program's density, by L-BFGS.", engine="stan"
    ),
}
"""Methods of every model variant that has a Stan program."""


def methods(model: Model) -> dict[str, Method]:
    """Return the methods that a model can be fitted by, its own first; no engine is imported."""
    table = dict(model.methods)
    if model.density is not None:
        table = {**PYMC, **table}
    if program(model) is not None:
        table = {**STAN, **table}
    if model.engine_defaults:
        engines = {name: replace(way, defaults=model.engine_defaults) for name, way in table.items()}
        table = {**engines, **model.methods}
    order = [*model.methods, *PYMC, *STAN]
    return {name: table[name] for name in dict.fromkeys(order) if name in table and name not in model.unsupported}


def find_method(model: Model, name: str) -> Method:
    """Return a method of a model.

    Raises
    ------
    InputError
        If the model has no such method.
    """
    available = methods(model)
    if name in available:
        return available[name]
    if name in model.unsupported:
        raise InputError(f"{model.name}: method {name!r} is not offered: {model.unsupported[name]}.")
    lines = ", ".join(f"{each} ({method.claim})" for each, method in available.items())
    hint = _elsewhere(model, name) or did_you_mean(name, available)
    raise InputError(f"{model.name}: there is no method {name!r}.{hint} The methods are {lines or 'none'}.")


def _elsewhere(model: Model, name: str) -> str:
    """Return a sentence that says under which option of the model there is such a method; empty if under none."""
    for option, values in model.options.items():
        for value in values:
            with suppress(GenariumError):  # an option that goes with another one alone
                if name in methods(model.variant(**{option: value})):
                    return f" It is offered with {setting(option, value)}."
    return ""


def require_free(problem: Problem, name: str) -> None:
    """Refuse values of unknown variables that a method cannot hold fixed, and one that the variant does not have.

    Raises
    ------
    InputError
        Naming the variables, and the methods that can hold them.
    """
    available = methods(problem.model)
    held = set(problem.fixed) - set(find_method(problem.model, name).holds)
    if not held:
        return
    able = [each for each, method in available.items() if set(problem.fixed) <= set(method.holds)]
    remedy = f", or use a method that can ({', '.join(able)})" if able else ""
    names = ", ".join(n for n in problem.fixed if n in held)
    raise InputError(
        f"{problem.model.name}: method {name!r} cannot hold {names} fixed. Leave it out of the data{remedy}."
    )
