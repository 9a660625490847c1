"""The JAX engine: NUTS of the PyMC density through blackjax, a whole chain in one compiled function (extra ``jax``).

The function takes start, seed and data as arguments, so that one compilation serves every dataset of the same sizes,
and a fit's draws do not depend on the fits around it.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from genarium.declaration import Array, Claim, Problem, Result
from genarium.engines.hoist import hoist
from genarium.engines.pymc import COMPILED, Compiled, compiled
from genarium.errors import InputError
from genarium.progress import track

METHODS: dict[str, tuple[Claim, str]] = {
    "nuts-jax": ("exact", "Hamiltonian Monte Carlo of the PyMC density on JAX (blackjax)."),
}

JITTER = 0.1
"""Chains start uniformly within so much of the model's starting point, on the unconstrained scale."""


def nuts(
    problem: Problem,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    target_accept: float = 0.9,
    max_treedepth: int = 10,
) -> Result:
    """Sample the posterior by NUTS.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    draws, tune, chains : int
    target_accept : float
        Acceptance that the step size is adapted to.
    max_treedepth : int

    Returns
    -------
    Result
        ``posterior`` and ``sample_stats``.

    Raises
    ------
    InputError
        If JAX or blackjax is missing, the model has no density, or unknown variables are fixed.
    """
    (found,) = nuts_many(
        [problem],
        [rng],
        draws=draws,
        tune=tune,
        chains=chains,
        target_accept=target_accept,
        max_treedepth=max_treedepth,
    )
    return found


def nuts_many(
    problems: Sequence[Problem],
    rngs: Sequence[np.random.Generator],
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    target_accept: float = 0.9,
    max_treedepth: int = 10,
) -> list[Result]:
    """Sample the posteriors of many datasets; each result is that of :func:`nuts` on its own.

    Parameters
    ----------
    problems : sequence of Problem
        Those of one model, variant and sizes share a compilation.
    rngs : sequence of Generator
        One for each problem.
    draws, tune, chains : int
    target_accept : float
    max_treedepth : int

    Returns
    -------
    list of Result
    """
    try:
        import blackjax  # noqa: F401
        import jax
    except ImportError as error:
        raise InputError(
            f"method 'nuts-jax' needs JAX and blackjax ({error}). Install them with `pip install 'genarium[jax]'`, "
            "or use method 'nuts'."
        ) from error
    if tune < 1:
        raise InputError(f"option tune={tune} must be 1 or more: the step size and the metric are adapted.")
    waiting = []
    with _double_precision(), jax.default_device(jax.local_devices(backend="cpu")[0]):
        for problem, rng in track(list(zip(problems, rngs, strict=True)), "NUTS (JAX)"):
            density = compiled(problem)
            sample = _sampler(density, draws, tune, target_accept, max_treedepth)
            data = [value.astype(v.dtype) for v, value in zip(_data(density), _values(density), strict=True)]
            streams = rng.spawn(chains)
            starts = [density.start(stream) for stream in streams]
            starts = [at + s.uniform(-JITTER, JITTER, at.shape) for at, s in zip(starts, streams, strict=True)]
            keys = [stream.integers(2**32, size=2, dtype=np.uint32) for stream in streams]
            # a call returns at once; what it computes runs in JAX's threads while the next one is prepared
            waiting.append([sample(key, at, data) for key, at in zip(keys, starts, strict=True)])
        done = [jax.tree.map(lambda *each: np.stack(each), *each) for each in waiting]
    names = list(problems[0].model.unknown.variables) if problems else []
    return [
        Result(
            posterior={name: natural[name] for name in names},
            sample_stats=stats,
            notes={"max_treedepth": max_treedepth},
        )
        for natural, stats in done
    ]


@contextmanager
def _double_precision() -> Iterator[None]:
    """Compute in 64 bits here, and leave JAX's setting for others as it was: importing PyTensor's bridge changes it."""
    import jax

    if "pytensor.link.jax.dispatch" not in sys.modules:
        before = jax.config.jax_enable_x64
        import_module("pytensor.link.jax.dispatch")
        jax.config.update("jax_enable_x64", before)
    with jax.enable_x64(True):
        yield


def _data(density: Compiled) -> list[Any]:
    return [density.pymc[name] for name in density._data(density.problem)]


def _values(density: Compiled) -> list[Array]:
    return list(density._data(density.problem).values())


@cache
def _sampler(density: Compiled, draws: int, tune: int, target_accept: float, max_treedepth: int) -> Any:
    """Return ``sample(key, start, data)``, compiled: a chain's natural draws and their statistics."""
    import blackjax
    import jax
    from blackjax.adaptation.base import get_filter_adapt_info_fn

    constant, log_density, constrain = _functions(density)
    step = blackjax.nuts.build_kernel()

    def sample(key: Any, start: Any, data: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        COMPILED["nuts-jax"] += 1  # Python runs this only while JAX compiles
        hoisted = constant(*data)

        def density_at(vector: Any) -> Any:
            return log_density(vector, *data, *hoisted)[0]

        warming, sampling = jax.random.split(jax.random.wrap_key_data(key, impl="threefry2x32"))
        adaptation = blackjax.window_adaptation(
            blackjax.nuts,
            density_at,
            target_acceptance_rate=target_accept,
            max_num_doublings=max_treedepth,
            adaptation_info_fn=get_filter_adapt_info_fn(),
        )
        (state, adapted), _ = adaptation.run(warming, start, tune)
        step_size, metric = adapted["step_size"], adapted["inverse_mass_matrix"]

        def draw(state: Any, key: Any) -> tuple[Any, Any]:
            state, info = step(key, state, density_at, step_size, metric, max_treedepth)
            stats = {
                "diverging": info.is_divergent,
                "energy": info.energy,
                "acceptance_rate": info.acceptance_rate,
                "n_steps": info.num_integration_steps,
                "tree_depth": info.num_trajectory_expansions,
                "step_size": step_size,
            }
            return state, (state.position, stats)

        _, (vectors, stats) = jax.lax.scan(draw, state, jax.random.split(sampling, draws))
        natural = jax.vmap(lambda vector: constrain(vector, *data))(vectors)
        return {rv.name: v for rv, v in zip(density.pymc.free_RVs, natural, strict=True)}, stats

    return jax.jit(sample)


def _functions(density: Compiled) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Return JAX functions of the data, of (vector, data, hoisted) and of (vector, data).

    Returns
    -------
    constant : callable
        What the log density takes from the data alone.
    log_density : callable
        On the unconstrained scale, with the Jacobian.
    constrain : callable
        Natural values of the unknown variables.
    """
    from pytensor.graph.replace import clone_replace

    joined, pieces, _ = density._joined
    data, mapped = _data(density), density._constrain
    outputs = clone_replace([density.pymc.logp(), *mapped.outputs[:-1]], replace={**pieces, **_sizes(density)})
    split = hoist(outputs[:1])
    return (
        _jaxified(data, split.sources),
        _jaxified([joined, *data, *split.shared], split.outputs),
        _jaxified([joined, *data], outputs[1:]),
    )


def _sizes(density: Compiled) -> dict[Any, Any]:
    """Lengths of dims as constants in place of PyMC's shared variables: JAX needs to know its shapes."""
    import pytensor.tensor as pt

    return {v: pt.constant(v.get_value()) for v in density.pymc.dim_lengths.values() if hasattr(v, "get_value")}


def _jaxified(inputs: list[Any], outputs: list[Any]) -> Callable[..., Any]:
    """Return a PyTensor graph as a JAX function; a parameter out of its range gives a density of zero."""
    if not outputs:
        return lambda *_: ()
    from pytensor.compile.mode import get_mode
    from pytensor.graph.fg import FunctionGraph
    from pytensor.link.jax.dispatch import jax_funcify

    graph = FunctionGraph(inputs=inputs, outputs=outputs, clone=True)
    get_mode("JAX").including("local_check_parameter_to_ninf_switch").optimizer.rewrite(graph)
    function: Callable[..., Any] = jax_funcify(graph)
    return function


RUN: dict[str, Callable[..., Result]] = {"nuts-jax": nuts}
