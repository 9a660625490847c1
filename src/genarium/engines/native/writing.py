"""From a compiled PyMC model to the program of its log density."""

from typing import Any

import numpy as np

from genarium.declaration import Array, Arrays
from genarium.engines.hoist import Hoisted
from genarium.engines.native.code import Unsupported
from genarium.engines.native.program import Program, Writer

TOLERANCE = 1e-8
"""Difference from PyTensor's own evaluation at one point, relative to the largest value, that a program may have."""


def write(compiled: Any, hoisted: Hoisted) -> Program:
    """Write the program of a density: ``density``, ``expand``, ``unconstrain`` and ``hoist``.

    Parameters
    ----------
    compiled : Compiled
    hoisted : Hoisted
        Its log density, on either scale.

    Returns
    -------
    Program

    Raises
    ------
    Unsupported
        If a part of the density has no code here, or the code does not give what PyTensor gives.
    """
    import pytensor.tensor as pt
    from pytensor.graph.replace import clone_replace
    from pytensor.graph.rewriting.utils import rewrite_graph

    model = compiled.pymc
    data = {name: (model[name], model[name].get_value()) for name in compiled._data(compiled.problem)}
    data |= {v.name: (v, v.get_value()) for v in hoisted.shared}
    static = {v: pt.TensorType(v.type.dtype, a.shape)(name) for name, (v, a) in data.items()}
    static |= {v: pt.constant(v.get_value()) for v in model.dim_lengths.values() if hasattr(v, "get_value")}
    _, pieces, names = compiled._joined
    x = pt.TensorType("float64", (len(names),))("x")
    joined = dict(zip(pieces, _pieces(compiled, x), strict=True))

    def fixed(outputs: list[Any]) -> list[Any]:
        shaped = clone_replace(outputs, replace=joined, rebuild_strict=False)
        return list(clone_replace(shaped, replace=static, rebuild_strict=False))

    log_density = rewrite_graph(hoisted.outputs[0], include=["canonicalize", "stabilize"])
    gradient = pt.grad(log_density, list(pieces), disconnected_inputs="ignore")  # 0: a simplex of one, a flat prior
    parts = [log_density, *gradient]
    naturals = {rv: rv.type() for rv in model.free_RVs}
    writer = Writer({name: (static[v], a) for name, (v, a) in data.items()})

    start = _natural_start(compiled)
    shapes = {rv: np.shape(start[rv.name]) for rv in model.free_RVs}
    given = [(pt.TensorType(rv.type.dtype, shapes[rv])(rv.name), start[rv.name]) for rv in naturals]
    unconstrain = compiled._unconstrain
    swapped = dict(zip(unconstrain.inputs, [v for v, _ in given], strict=True))
    back = clone_replace(unconstrain.outputs, replace=swapped, rebuild_strict=False)
    (at,) = writer.add("unconstrain", given, fixed(list(back)))
    at = np.asarray(at, dtype=float)
    at = at + np.random.default_rng(1).uniform(-0.1, 0.1, at.shape)

    expected = writer.add("density", [(x, at)], fixed(parts), kind="density")
    constrain = compiled._constrain
    draw = clone_replace(constrain.outputs[:-1], replace={constrain.inputs[0]: x}, rebuild_strict=False)
    drawn = writer.add("expand", [(x, at)], fixed(list(draw)), kind="expand")
    if hoisted.shared:
        writer.add("hoist", [], fixed(hoisted.sources))
    about = {
        "n": len(names),
        "names": names,
        "drawn": [[rv.name, list(v.shape)] for rv, v in zip(model.free_RVs, drawn, strict=True)],
        "natural": [[v.name, v.type.dtype] for v, _ in given],
        "data": dict(zip(compiled._data(compiled.problem), compiled._wanted, strict=True)),
        "hoisted": [v.name for v in hoisted.shared],
    }
    program = writer.program(about)
    _prove(program, {name: a for name, (_, a) in data.items()}, at, expected, drawn)
    return program


def _pieces(compiled: Any, x: Any) -> list[Any]:
    """Return the parts of the flat vector that are each value variable."""
    initial, low, found = compiled.pymc.initial_point(0), 0, []
    for value in compiled._values:
        shape = initial[value.name].shape
        size = int(np.prod(shape))
        found.append(x[low : low + size].reshape(shape))
        low += size
    return found


def _natural_start(compiled: Any) -> dict[str, Array]:
    """Return a point on the natural scale, where the program is written and proven."""
    if compiled.model.start is not None:
        found = compiled.model.start(compiled.problem, np.random.default_rng(0))
    else:
        found = compiled.constrained(compiled.start(np.random.default_rng(0)))[0]
    return {rv.name: np.asarray(found[rv.name], dtype=rv.type.dtype) for rv in compiled.pymc.free_RVs}


def _prove(program: Program, data: Arrays, at: Array, expected: list[Array], drawn: list[Array]) -> None:
    """Compare a program with PyTensor's evaluation of the same graph in Python."""
    table, held = program.arrays(data)
    if program.about["hoisted"]:
        own = [held[i].copy() for i, (name, *_) in enumerate(program.table) if name in program.about["hoisted"]]
        program.call("hoist", [], own, table)
        _compare([data[name] for name in program.about["hoisted"]], own)
    out, value = np.empty_like(at), np.empty(())
    program.density(at, out, value, table)
    _compare([np.concatenate([np.ravel(v) for v in expected])], [np.append(value, out)])
    draw = np.empty(sum(v.size for v in drawn))
    program.expand(at, draw, table)
    _compare([np.concatenate([np.ravel(v) for v in drawn])], [draw])


def _compare(expected: list[Array], found: list[Array]) -> None:
    for a, b in zip(expected, found, strict=True):
        finite = np.abs(a[np.isfinite(a)])
        if not np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * float(finite.max(initial=0.0)), equal_nan=True):
            raise Unsupported("the machine code gives other values than PyTensor")
