"""Log densities as kept machine code; a process that finds one on disk needs neither PyMC nor PyTensor to sample it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from genarium.declaration import Array, Problem
from genarium.engines import sharing
from genarium.engines.fingerprint import UncertainError, versions
from genarium.engines.native import kept, machine
from genarium.engines.native.code import Unsupported
from genarium.engines.native.program import Program
from genarium.progress import spinner

Kind = Literal["nuts", "density", "density_jacobian"]

_KNOWN: dict[str, Program | None] = {}
_OF: "WeakKeyDictionary[Any, dict[Kind, Program | None]]" = WeakKeyDictionary()


def density(problem: Problem, uniform: frozenset[str], compiled: Callable[[], Any], count: Counter[str]) -> Any:
    """Return a problem's log density for nutpie, from memory, from disk, or compiled now.

    Parameters
    ----------
    problem : Problem
    uniform : frozenset of str
        Arrays that are at their default.
    compiled : callable
        ``compiled()`` returns the problem's :class:`Compiled`, building the PyMC model; called where nothing is kept.
    count : Counter
        Of compilations.

    Returns
    -------
    Kept or Compiled
        The latter where the density has parts that no machine code is written for here.
    """
    program = _find(problem, uniform, "nuts", compiled, count)
    if program is None:
        return compiled()
    try:
        return Kept(program, problem, compiled)
    except Unsupported:
        return compiled()


class Evaluated:
    """A compiled model's log density and gradient, by machine code as far as there can be.

    Parameters
    ----------
    compiled : Compiled
    jacobian : bool
    slowly : callable
        ``slowly()`` returns PyTensor's own function: where there is no machine code, and to say what is wrong.
    count : Counter
        Of compilations.
    """

    def __init__(self, compiled: Any, jacobian: bool, slowly: Callable[[], Any], count: Counter[str]) -> None:
        self.compiled, self.slowly = compiled, slowly
        kind: Kind = "density_jacobian" if jacobian else "density"
        self.program = _find(compiled.problem, compiled.uniform, kind, lambda: compiled, count)
        self.kept: Kept | None = None

    def __call__(self, vector: Array) -> tuple[Array, Array]:
        """Return value and gradient at a flat vector, with the data that the compiled model holds."""
        if self.program is not None:
            try:
                if self.kept is None or self.kept.problem is not self.compiled.problem:
                    self.kept = Kept(self.program, self.compiled.problem, lambda: self.compiled)
                failed, value, gradient = self.kept.evaluate(vector)
                if not failed:
                    return value, gradient
            except Unsupported:
                self.program = None
        value, gradient = self.slowly()(vector)
        return value, gradient


def _find(
    problem: Problem, uniform: frozenset[str], kind: Kind, compiled: Callable[[], Any], count: Counter[str]
) -> Program | None:
    """Return a program from memory, from disk, or written now; None where there can be none."""
    try:
        own = _name(problem, uniform, kind)
    except UncertainError:
        return _written(compiled(), kind, count)
    if own not in _KNOWN:
        _KNOWN[own] = kept.load(own)
        if _KNOWN[own] is None:
            made = _KNOWN[own] = _written(compiled(), kind, count)
            if made is not None:
                kept.save(own, made)
    return _KNOWN[own]


def _name(problem: Problem, uniform: frozenset[str], kind: Kind) -> str:
    """Return everything that a program depends on, as hexadecimal digits."""
    parts = (kind, sharing.key(problem, uniform), versions(), kept.sources(), machine.identity())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _written(compiled: Any, kind: Kind, count: Counter[str]) -> Program | None:
    """Return the program of a compiled model, None where there can be none."""
    from genarium.engines.hoist import hoist
    from genarium.engines.native.writing import write

    own = _OF.setdefault(compiled, {})
    if kind not in own:
        own[kind] = None
        try:
            with spinner("compiling the PyMC density"):
                own[kind] = write(compiled, hoist([compiled.graph(jacobian=kind != "density")]))
            count["nuts" if kind == "nuts" else "density"] += 1
        except Unsupported:
            pass
    return own[kind]


@dataclass(eq=False)
class Kept:
    """A kept density with a problem's data in it; stands in for Compiled where nutpie samples.

    Parameters
    ----------
    program : Program
    problem : Problem
    compiled : callable
        ``compiled()`` returns the problem's :class:`Compiled`, for a start that only PyMC knows.

    Raises
    ------
    Unsupported
        If the machine code cannot be loaded here, or fails on the data.
    """

    program: Program
    problem: Problem
    compiled: Callable[[], Any]

    def __post_init__(self) -> None:
        about, _ = self.program.about, self.program.loaded
        given = {name: self.problem[variable] for name, variable in about["data"].items()}
        self.table, self.held = self.program.arrays(given)
        if about["hoisted"]:
            rows = {name: i for i, (name, *_) in enumerate(self.program.table)}
            outputs = [self.held[rows[name]] for name in about["hoisted"]]
            if self.program.call("hoist", [], outputs, self.table):
                raise Unsupported("what the density takes from the data alone")  # PyMC says what is wrong with it

    def start(self, rng: np.random.Generator) -> Array:
        """Return an unconstrained starting point: the model's own, else PyMC's."""
        if self.problem.model.start is None:
            found: Array = self.compiled().start(rng)
            return found
        return self.unconstrained(self.problem.model.start(self.problem, rng))

    def unconstrained(self, natural: Mapping[str, Any]) -> Array:
        """Map natural values of the unknown variables to the flat unconstrained vector."""
        about = self.program.about
        own = [np.array(natural[name], dtype=dtype, order="C") for name, dtype in about["natural"]]
        for array, (name, shape) in zip(own, about["drawn"], strict=True):
            if array.shape != tuple(shape):
                raise ValueError(f"{name} has shape {array.shape}; it must have {tuple(shape)}")
        out = np.empty(about["n"])
        self.program.call("unconstrain", own, [out], self.table)
        return out

    def evaluate(self, vector: Array) -> tuple[int, Array, Array]:
        """Return 1 if the density failed, its value at a flat vector, and its gradient."""
        at = np.ascontiguousarray(vector, dtype=float)
        value, gradient = np.empty(()), np.empty(self.program.about["n"])
        if at.shape != gradient.shape:
            raise ValueError(f"a vector of shape {at.shape}; it must have {gradient.shape}")
        status = self.program.density(at, gradient, value, self.table)
        return int(status == 1), value, gradient

    def nuts_with_data(self) -> Any:
        """Return the density and its gradient as nutpie takes them."""
        from genarium.engines.native.sampler import model_of

        return model_of(self)
