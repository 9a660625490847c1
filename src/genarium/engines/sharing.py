"""One compilation for all fits that ask for the same: which compiled density a problem may share.

The key of a compiled density holds everything that it depends on but the values of the data:

- the density function, by its :func:`~genarium.engines.fingerprint.fingerprint`;
- the sizes, and the shape and type of each array that the density asks for, and which arrays are at their default;
- the names of the variables, and the environment's settings of PyTensor and Numba.

Where a density has no certain fingerprint, its PyMC model is built at every fit and compared with those there are,
operation by operation and constant by constant (:func:`same_graphs`).
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Problem
from genarium.engines.fingerprint import UncertainError, fingerprint
from genarium.signatures import parents_of

_CERTAIN: dict[str, Any] = {}
_UNCERTAIN: dict[str, list[Any]] = {}


def key(problem: Problem, uniform: frozenset[str], *, certain: bool = True) -> str:
    """Return the key of a problem's compiled density, the same in every process.

    Parameters
    ----------
    problem : Problem
    uniform : frozenset of str
        Arrays that are at their default, each one number.
    certain : bool
        Whether the density itself is part of the key; without it, the key says too little to share by.

    Returns
    -------
    str

    Raises
    ------
    UncertainError
        If what the density computes from cannot be told.
    """
    model = problem.model
    assert model.density is not None
    arrays = {name: (problem[name].dtype.str, problem[name].shape) for name in parents_of(model.density)}
    return fingerprint(
        model.density if certain else None,
        dict(sorted(problem.sizes.items())),
        arrays,
        sorted(uniform),
        {name: var.dims for name, var in model.unknown.variables.items()},
        (sorted(model.observed.variables), sorted(model.sizes)),
        _settings(),
    )


def _settings() -> list[str]:
    """Return what environment and files tell PyTensor and Numba, and PyTensor's width of numbers, if changed."""
    told = {n: v for n, v in os.environ.items() if n.startswith(("PYTENSOR", "NUMBA")) and "CACHE" not in n}
    flags = [flag for flag in told.pop("PYTENSOR_FLAGS", "").split(",") if flag and "compiledir" not in flag]
    files = [Path(path).expanduser() for path in told.pop("PYTENSORRC", "~/.pytensorrc").split(os.pathsep)]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file()]
    loaded = sys.modules.get("pytensor")
    width = getattr(getattr(loaded, "config", None), "floatX", "float64")
    changed = [width] if width != "float64" else []
    return [*flags, *texts, *changed, *(f"{name}={value}" for name, value in sorted(told.items()))]


def shared(problem: Problem, uniform: frozenset[str], make: Callable[[Problem], Any]) -> Any:
    """Return the compiled density that a problem may share, made now if there is none.

    Parameters
    ----------
    problem : Problem
    uniform : frozenset of str
        Arrays that are at their default, each one number.
    make : callable
        ``make(problem)``: builds the PyMC model; it has ``pymc``, ``graph``, ``_constrain`` and ``_values``.

    Returns
    -------
    Compiled
    """
    try:
        own = key(problem, uniform)
    except UncertainError:
        new = make(problem)
        known = _UNCERTAIN.setdefault(key(problem, uniform, certain=False), [])
        for old in known:
            if same_graphs(old, new):
                return old
        known.append(new)
        return new
    if own not in _CERTAIN:
        _CERTAIN[own] = make(problem)
    return _CERTAIN[own]


def same_graphs(a: Any, b: Any) -> bool:
    """Whether two densities are the same operations of the same constants, on either scale, and start alike."""
    from pytensor.graph.basic import equal_computations

    parts: list[tuple[list[Any], list[Any]]] = []
    for density in (a, b):
        joined, pieces, _ = density._joined
        data = [density.pymc[name] for name in density._data(density.problem)]
        dims = [v for v in density.pymc.dim_lengths.values() if hasattr(v, "get_value")]
        outputs = [density.pymc.logp(jacobian=True), density.pymc.logp(jacobian=False), *density._constrain.outputs]
        parts.append((outputs, [joined, *pieces, *data, *dims]))
    (outputs_a, inputs_a), (outputs_b, inputs_b) = parts
    if [v.type for v in inputs_a] != [v.type for v in inputs_b] or a.names != b.names:
        return False
    if not equal_computations(outputs_a, outputs_b, inputs_a, inputs_b):
        return False
    starts = [density.pymc.initial_point(0) for density in (a, b)]
    return all(np.array_equal(starts[0][name], starts[1][name]) for name in starts[0])
