"""The JAX engine: NUTS of the PyMC density through blackjax, a whole chain in one compiled function (extra ``jax``).

The function takes start, seed and data as arguments, so that one compilation serves every dataset of the same sizes,
and a fit's draws do not depend on the fits around it.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.compiled import COMPILED, Compiled, compiled
from genarium.engines.hoist import hoist
from genarium.errors import InputError

JITTER = 0.1
"""Chains start uniformly within so much of the model's starting point, on the unconstrained scale."""

TINY = 1e-10
"""Added to sums of squares: a chain that did not move keeps a unit metric."""


def nuts(
    problem: Problem,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    tune: int = 1000,
    thin: int = 1,
    chains: int = 4,
    target_accept: float = 0.9,
    max_treedepth: int = 10,
) -> Result:
    """Sample the posterior by NUTS.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    draws, tune, thin, chains : int
        Draws kept of each chain; draws thrown away before; one draw in ``thin`` is kept; chains. Another ``tune`` or
        ``thin`` needs no compilation.
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
        If JAX or blackjax is missing, or the model has no density.
    """
    try:
        import blackjax  # noqa: F401
        import jax
    except ImportError as error:
        raise InputError(
            f"method 'nuts-jax' needs JAX and blackjax ({error}). Install them with `pip install 'genarium[jax]'`, "
            "or use method 'nuts'."
        ) from error
    for name, number in (("tune", tune), ("thin", thin)):
        if number < 1:
            raise InputError(f"option {name}={number} must be 1 or more.")
    with double_precision(), jax.default_device(jax.local_devices(backend="cpu")[0]):
        density = compiled(problem)
        sample = _sampler(density, draws, target_accept, max_treedepth)
        data = [value.astype(v.dtype) for v, value in zip(_data(density), _values(density), strict=True)]
        streams = rng.spawn(chains)
        starts = [density.start(stream) for stream in streams]
        starts = [at + s.uniform(-JITTER, JITTER, at.shape) for at, s in zip(starts, streams, strict=True)]
        keys = [stream.integers(2**32, size=2, dtype=np.uint32) for stream in streams]
        windows = slow_windows(tune)
        # a call returns at once: the chains run beside each other in JAX's threads
        found = [sample(key, at, data, windows, tune, thin) for key, at in zip(keys, starts, strict=True)]
        natural, stats = jax.tree.map(lambda *each: np.stack(each), *found)
    return Result(
        posterior={name: natural[name] for name in problem.model.unknown.variables},
        sample_stats=stats,
        notes={"max_treedepth": max_treedepth},
    )


def slow_windows(tune: int) -> Array:
    """Plan where the metric is learnt: windows that double between two stretches for the step size alone.

    They begin sooner and shorter than Stan's: with gradients a metric takes fewer draws.

    Parameters
    ----------
    tune : int

    Returns
    -------
    ndarray of int, shape (32,)
        Begin of the first window, then the end of each; padded with -1.
    """
    first, width, last = 20, 20, 50
    if tune < first + width + last:
        first, last = int(0.15 * tune), int(0.1 * tune)
        width = tune - first - last
    edges = [first]
    stop = tune - last
    while edges[-1] + width < stop:
        # a window too short for the one after it to be twice as long goes on to the stop
        edges.append(edges[-1] + width if edges[-1] + 3 * width <= stop else stop)
        width *= 2
    if edges[-1] < stop:
        edges.append(stop)
    return np.array(edges + [-1] * (32 - len(edges)))


@contextmanager
def double_precision() -> Iterator[None]:
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


class _Adapted(NamedTuple):
    """Step size by dual averaging (Hoffman and Gelman 2014, equation 6) and metric, and what they are learnt from."""

    step_size: Any
    error: Any
    log_average: Any
    count: Any
    centre: Any
    metric: Any
    position: Any
    positions: Any
    gradient: Any
    gradients: Any
    seen: Any


def _restarted(step_size: Any, metric: Any) -> _Adapted:
    """Forget what was seen, at a step size and a metric."""
    import jax.numpy as jnp

    zero, none = jnp.zeros(()), jnp.zeros_like(metric)
    return _Adapted(step_size, zero, zero, zero, jnp.log(10 * step_size), metric, none, none, none, none, zero)


def _learnt(now: _Adapted, state: Any, acceptance: Any, target: float, slow: Any, end: Any) -> _Adapted:
    """Learn from a transition; at the end of a slow window the metric becomes what was seen in it.

    That is the ratio of the standard deviations of positions and of gradients (as nutpie has it), which is the
    variance of a normal posterior whatever the number of draws.
    """
    import jax.numpy as jnp

    count = now.count + 1
    error = now.error + (target - acceptance - now.error) / (count + 10)
    log_step = now.centre - jnp.sqrt(count) / 0.05 * error
    log_average = now.log_average + count**-0.75 * (log_step - now.log_average)
    seen = now.seen + slow

    def gathered(mean: Any, squares: Any, value: Any) -> tuple[Any, Any]:
        delta = slow * (value - mean)
        mean = mean + delta / jnp.maximum(seen, 1)
        return mean, squares + delta * (value - mean)

    position, positions = gathered(now.position, now.positions, state.position)
    gradient, gradients = gathered(now.gradient, now.gradients, state.logdensity_grad)
    metric = jnp.sqrt((positions + TINY) / (gradients + TINY))
    going = _Adapted(
        jnp.exp(log_step), error, log_average, count, now.centre,
        now.metric, position, positions, gradient, gradients, seen,
    )  # fmt: skip
    fresh = _restarted(jnp.exp(log_average), metric)
    return _Adapted(*(jnp.where(end, a, b) for a, b in zip(fresh, going, strict=True)))


@cache
def _sampler(density: Compiled, draws: int, target_accept: float, max_treedepth: int) -> Any:
    """Return ``sample(key, start, data, windows, tune, thin)``, compiled: a chain's natural draws and statistics."""
    import blackjax
    import jax
    import jax.numpy as jnp

    constant, log_density, constrain = _functions(density)
    step = blackjax.nuts.build_kernel()

    def sample(
        key: Any, start: Any, data: Any, windows: Any, tune: Any, thin: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        COMPILED["nuts-jax"] += 1  # Python runs this only while JAX compiles
        hoisted = constant(*data)
        stream = jax.random.wrap_key_data(key, impl="threefry2x32")

        def density_at(vector: Any) -> Any:
            return log_density(vector, *data, *hoisted)[0]

        def transition(i: Any, carry: Any) -> Any:
            state, now, vectors, told = carry
            warm = i < tune
            step_size = jnp.where(warm, now.step_size, jnp.exp(now.log_average))
            own = jax.random.fold_in(stream, i)
            state, info = step(own, state, density_at, step_size, now.metric, max_treedepth)
            slow = (i >= windows[0]) & (i < windows.max())
            end = (windows[1:] == i + 1).any()
            after = _learnt(now, state, info.acceptance_rate, target_accept, slow, end)
            now = jax.tree.map(lambda a, b: jnp.where(warm, a, b), after, now)
            stats = {
                "diverging": info.is_divergent,
                "energy": info.energy,
                "acceptance_rate": info.acceptance_rate,
                "n_steps": info.num_integration_steps,
                "tree_depth": info.num_trajectory_expansions,
                "step_size": step_size,
            }
            at = jnp.maximum(i - tune, 0) // thin  # the last of each group stays; those of the warm-up are overwritten
            told = {name: told[name].at[at].set(value) for name, value in stats.items()}
            return state, now, vectors.at[at].set(state.position), told

        numbers = {"energy": float, "acceptance_rate": float, "step_size": float, "diverging": bool}
        empty = {name: jnp.zeros(draws, kind) for name, kind in numbers.items()}
        empty |= {name: jnp.zeros(draws, jnp.int64) for name in ("n_steps", "tree_depth")}
        state = blackjax.nuts.init(start, density_at)
        begun = (state, _restarted(jnp.ones(()), jnp.ones_like(start)), jnp.zeros((draws, len(start))), empty)
        _, _, vectors, told = jax.lax.fori_loop(0, tune + draws * thin, transition, begun)
        natural = jax.vmap(lambda vector: constrain(vector, *data))(vectors)
        return {rv.name: v for rv, v in zip(density.pymc.free_RVs, natural, strict=True)}, told

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
    outputs = clone_replace([density.graph(), *mapped.outputs[:-1]], replace={**pieces, **_sizes(density)})
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
    with warnings.catch_warnings():  # shapes are compared when JAX traces, not by the graph's own assertions
        warnings.filterwarnings("ignore", r"Skipping Assert\{msg='Could not broadcast", UserWarning)
        function: Callable[..., Any] = jax_funcify(graph)
    return function
