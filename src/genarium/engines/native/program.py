"""Programs: machine code of several functions of one table of arrays, and how they are written from graphs."""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.engines.native import machine, scalars
from genarium.engines.native.arrays import Translation
from genarium.engines.native.code import Code, Unsupported, View, expressed, row_major
from genarium.engines.native.operations import OPERATIONS


@dataclass
class Program:
    """Functions that read a table of arrays.

    Attributes
    ----------
    machine_code : bytes
    calls : list of str
        What it calls from outside.
    table : list of (str, str, tuple of int)
        Name, dtype and shape of each array in the table, constants after them left out.
    constants : list of ndarray
        The rest of the table.
    about : dict
        What its user wants to know of it; numbers, strings, lists and dicts.
    """

    machine_code: bytes
    calls: list[str]
    table: list[tuple[str, str, tuple[int, ...]]]
    constants: list[Array]
    about: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def loaded(self) -> machine.Loaded:
        """The functions, in memory."""
        return machine.Loaded(self.machine_code, self.calls)

    def arrays(self, given: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the table of addresses, and the arrays that must live as long as it does."""
        held = []
        for name, dtype, shape in self.table:
            array = np.array(given[name], dtype=dtype, order="C") if name in given else np.zeros(shape, dtype)
            if array.shape != tuple(shape):
                raise ValueError(f"{name} has shape {array.shape}, the program is for {tuple(shape)}")
            held.append(array)
        held += self.constants
        return np.array([array.ctypes.data for array in held], dtype=np.uint64), held

    @cached_property
    def _functions(self) -> dict[str, Any]:
        """Functions by name, as far as they were called."""
        return {}

    def _function(self, name: str, numbers: int, addresses: int) -> Any:
        """Return a function of so many numbers and addresses."""
        if name not in self._functions:
            types = [ctypes.c_int64] * numbers + [ctypes.c_void_p] * addresses
            self._functions[name] = ctypes.CFUNCTYPE(ctypes.c_int64, *types)(self.loaded.address(name))
        return self._functions[name]

    def call(self, name: str, own: Sequence[Array], outputs: Sequence[Array], table: Array) -> int:
        """Call a function written by :meth:`Writer.add`; the outputs are written to."""
        given, written = (np.array([a.ctypes.data for a in arrays], np.uint64) for arrays in (own, outputs))
        return int(self._function(name, 0, 3)(given.ctypes.data, written.ctypes.data, table.ctypes.data))

    def density(self, x: Array, gradient: Array, value: Array, table: Array) -> int:
        """Call ``density``, a function of the kind of that name."""
        addresses = (a.ctypes.data for a in (x, gradient, value, table))
        return int(self._function("density", 1, 4)(x.size, *addresses))

    def expand(self, x: Array, draw: Array, table: Array) -> int:
        """Call ``expand``, a function of the kind of that name."""
        addresses = (a.ctypes.data for a in (x, draw, table))
        return int(self._function("expand", 2, 3)(x.size, draw.size, *addresses))


class Writer:
    """Writes a program.

    Parameters
    ----------
    table : mapping of str to (variable, ndarray)
        Inputs that all functions read from the table: name, variable of static shape, and a value.
    """

    def __init__(self, table: Mapping[str, tuple[Any, Array]]) -> None:
        self.table = dict(table)
        self.constants: list[Array] = []
        self.declared: dict[str, str] = {}
        self.functions: list[str] = []

    def add(
        self,
        name: str,
        own: Sequence[tuple[Any, Array]],
        outputs: Sequence[Any],
        *,
        kind: str = "table",
    ) -> list[Array]:
        """Write a function.

        Parameters
        ----------
        name : str
        own : sequence of (variable, ndarray)
            Its inputs that are not in the table, and their values at a point.
        outputs : sequence of variable
        kind : {"table", "density", "expand"}
            How it is called: ``f(own, outputs, table)`` with tables of addresses; or as nutpie calls a density,
            ``f(n, x, gradient, value, table)``, the outputs being the value and the gradient's parts; or as nutpie
            calls what makes a draw of a point, ``f(n, m, x, draw, table)``, the outputs being parts of the draw.

        Returns
        -------
        list of ndarray
            The outputs at the point, by PyTensor in Python.

        Raises
        ------
        Unsupported
            If an operation or a dtype has no code here.
        """
        try:
            return self._add(name, own, outputs, kind)
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise Unsupported(f"{name}: {type(error).__name__} {error}") from error  # of another version of PyTensor

    def _add(self, name: str, own: Sequence[tuple[Any, Array]], outputs: Sequence[Any], kind: str) -> list[Array]:
        code = Code(declared=self.declared)
        inputs = [v for v, _ in own] + [v for v, _ in self.table.values()]
        graph = rewritten(inputs, outputs)
        pointers = ["%x"] if kind != "table" else [_entry(code, "%own", i) for i in range(len(own))]
        pointers += [_entry(code, "%table", i) for i in range(len(self.table))]

        def constant(array: Array) -> View:
            dtype = str(array.dtype)
            if array.size and len({item.tobytes() for item in array.ravel()[:2]}) == 1 and _uniform(array):
                number = scalars.literal(array.flat[0], dtype)
                return View(number, dtype, array.shape, (0,) * array.ndim, literal=True)
            self.constants.append(np.ascontiguousarray(array))
            pointer = _entry(code, "%table", len(self.table) + len(self.constants) - 1)
            return View(pointer, dtype, array.shape, row_major(array.shape))

        translation = Translation(code, constant, OPERATIONS)
        for variable, value, pointer in zip(
            graph.inputs, [v for _, v in own] + [v for _, v in self.table.values()], pointers, strict=True
        ):
            translation.values[variable] = value
            translation.at[variable] = View(pointer, variable.type.dtype, value.shape, row_major(value.shape))
        translation.run(graph)
        found = [np.asarray(translation.value(v)) for v in graph.outputs]
        at = {"table": 0, "density": -1, "expand": 0}[kind]
        for i, (variable, value) in enumerate(zip(graph.outputs, found, strict=True)):
            if kind == "table":
                target = View(_entry(code, "%out", i), variable.type.dtype, value.shape, row_major(value.shape))
            else:
                pointer = "%value" if at < 0 else "%out"
                target = View(pointer, "float64", value.shape, row_major(value.shape), max(at, 0))
                at += value.size
            made = expressed(translation.operand(variable))
            translation.write(translation.cast(made, target.dtype), target)
        _finish(code, kind, at)
        self.functions.append(machine.function(name, SIGNATURES[kind], code))
        return found

    def program(self, about: dict[str, Any]) -> Program:
        """Return the program."""
        table = [(name, v.type.dtype, tuple(value.shape)) for name, (v, value) in self.table.items()]
        machine_code = machine.assembled(self.functions, self.declared)
        return Program(machine_code, sorted(self.declared), table, self.constants, about)


SIGNATURES = {
    "table": "ptr %own, ptr %out, ptr %table",
    "density": "i64 %n, ptr %x, ptr noalias %out, ptr noalias %value, ptr %table",
    "expand": "i64 %n, i64 %m, ptr %x, ptr noalias %out, ptr %table",
}


def _uniform(array: Array) -> bool:
    first = array.ravel()[:1].tobytes()
    return array.tobytes() == first * array.size


def _entry(code: Code, table: str, i: int) -> str:
    """Load an address from a table, at the head of the function."""
    name = "%" + code.fresh()
    code.head.append(f"  {name}.at = getelementptr inbounds ptr, ptr {table}, i64 {i}")
    code.head.append(f"  {name} = load ptr, ptr {name}.at")
    return name


def _finish(code: Code, kind: str, size: int) -> None:
    """Write what the function returns: 0; 1 after a failure; 3 and 4 where gradient or density are not finite."""
    failed = code.value("load i64, ptr %failed")
    if kind == "density":
        total = code.memory((), "float64")
        code.do(f"store double {scalars.ZERO}, ptr {total.pointer}")
        if size:
            with code.loop([size]) as (i,):
                at = code.value(f"getelementptr inbounds double, ptr %out, i64 {i}")
                nothing = code.value(f"fmul double {code.value(f'load double, ptr {at}')}, {scalars.ZERO}")
                old = code.value(f"load double, ptr {total.pointer}")
                code.do(f"store double {code.value(f'fadd reassoc double {old}, {nothing}')}, ptr {total.pointer}")
        lost = code.value(f"fcmp uno double {code.value(f'load double, ptr {total.pointer}')}, {scalars.ZERO}")
        value = code.value("load double, ptr %value")
        odd = code.value(f"fcmp uno double {code.value(f'fmul double {value}, {scalars.ZERO}')}, {scalars.ZERO}")
        word = code.value(f"select i1 {odd}, i64 4, i64 0")
        word = code.value(f"select i1 {lost}, i64 3, i64 {word}")
        none = code.value(f"icmp eq i64 {failed}, 0")
        code.do(f"%result = select i1 {none}, i64 {word}, i64 1")
    else:
        code.do(f"%result = add i64 {failed}, 0")


def rewritten(inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """Return a FunctionGraph, simplified as PyTensor does before it runs one."""
    from pytensor.compile.mode import Mode
    from pytensor.graph.fg import FunctionGraph

    graph = FunctionGraph(inputs, outputs, clone=True)
    Mode("py", "fast_run").excluding("inplace", "fusion", "BlasOpt").optimizer.rewrite(graph)
    return graph
