"""Fingerprints of functions: what a function computes from, as a digest that is the same in every process.

Two functions of one fingerprint compute the same from the same arguments. The digest holds

- the code: instructions, constants, names, signature, and that of the functions and classes within it;
- defaults, attributes (``__signature__``, say) and the values that the function closes over;
- the globals that it names and, of modules that it names, the attributes that it may ask them for;
- of functions, methods, partials, classes and objects among these: the same again, however deep;
- of functions that bring a fingerprint of their own (``__fingerprint__``), that;
- of packages that are :data:`TRUSTED` the version, and the name of what is taken from them; what is put into such a
  package as it runs is not noticed.

What cannot be told with certainty raises :class:`UncertainError`: objects of unknown kind, arrays of objects, functions
that look names up as they run, or that look at the values of data.
"""

import builtins
import dis
import functools
import hashlib
import importlib
import inspect
import platform
import sys
import types
from abc import ABCMeta
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import resolve_name
from typing import Any

import numpy as np

PACKAGES = ("numpy", "scipy", "pymc", "pytensor")
STANDARD = (
    "builtins math cmath functools operator itertools typing types collections abc dataclasses enum fractions numbers "
    "string inspect contextlib reprlib _operator _functools _thread"
)
TRUSTED = frozenset({*PACKAGES, *STANDARD.split()})
"""Packages that are known by their version (those of Python, by its own)."""

DYNAMIC = frozenset({"globals", "locals", "vars", "eval", "exec", "compile", "open", "input", "getattr", "__import__"})
"""Builtin functions that reach what the code does not name."""

PEEKING = frozenset({"get_value", "eval", "coords", "random", "__dict__", "__globals__", "__closure__", "f_globals"})
"""Attributes that are more than the code says: values of data, chance, namespaces."""

_SKIPPED = (
    "__dict__ __weakref__ __doc__ __module__ __annotations__ __annotate_func__ __annotations_cache__ __firstlineno__ "
    "__static_attributes__ _abc_impl __dataclass_params__ __dataclass_fields__"
)
SKIPPED = frozenset(_SKIPPED.split())
"""Items of a class that compute nothing."""


class UncertainError(Exception):
    """What a function computes from cannot be told."""


def fingerprint(*things: Any) -> str:
    """Return a digest of functions and of plain values.

    Parameters
    ----------
    *things
        Functions; numbers, strings, arrays, and tuples, lists, dicts and sets of these.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    UncertainError
    """
    sha = hashlib.sha256(f"{sys.implementation.cache_tag} {platform.python_version()}\n".encode())
    for part in _Walk().parts(things):
        sha.update(b"%d:" % len(part) + part)
    return sha.hexdigest()


@functools.cache
def versions() -> str:
    """Versions of the packages that are known by these."""
    return " ".join(f"{name} {version(name)}" for name in PACKAGES)


def _trusted(module: str | None) -> bool:
    return (module or "").partition(".")[0] in TRUSTED


def _named(thing: Any) -> str | None:
    """Where a function or class of a trusted package is found under its name, that name."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", getattr(thing, "__name__", None))
    if isinstance(thing, np.ufunc):
        module = "numpy" if getattr(np, thing.__name__, None) is thing else "scipy.special"
    if not isinstance(name, str) or not _trusted(module):
        return None
    found: Any = sys.modules.get(str(module))
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is thing else None


class _Walk:
    """One walk through what a function computes from."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[int, Any]] = {}  # by identity: order of visit, and the object, so that it stays

    def parts(self, thing: Any, names: frozenset[str] = frozenset()) -> Iterator[bytes]:
        """Yield the parts of the digest of anything; ``names`` are the attributes that may be asked of a module."""
        if thing is None or thing is Ellipsis or thing is NotImplemented:
            yield repr(thing).encode()
        elif type(thing) in (bool, int, float, complex, str, bytes, range):
            yield f"{type(thing).__name__} {thing!r}".encode()
        elif isinstance(thing, np.ndarray | np.generic) and type(thing) in (np.ndarray, *np.sctypeDict.values()):
            if thing.dtype.hasobject:
                raise UncertainError("an array of objects")
            yield f"array {thing.dtype.descr} {thing.shape}".encode()
            yield thing.tobytes()
        elif type(thing) is tuple:
            yield from self._all("tuple", thing, names)
        elif type(thing) in (set, frozenset):
            yield f"set {len(thing)}".encode()
            yield from sorted(fingerprint(item).encode() for item in thing)
        elif isinstance(thing, np.dtype | slice) or getattr(type(thing), "__module__", "") == "typing":
            yield f"{type(thing).__name__} {thing!r}".encode()
        elif isinstance(thing, types.CodeType):
            yield from self._code(thing)
        elif isinstance(thing, types.ModuleType):
            yield from self._module(thing, names)
        elif (name := _named(thing)) is not None:
            yield f"named {name} {versions()}".encode()
        elif id(thing) in self.seen:
            yield b"seen %d" % self.seen[id(thing)][0]
        else:
            self.seen[id(thing)] = (len(self.seen), thing)
            yield from self._once(thing, names)

    def _all(self, kind: str, things: Any, names: frozenset[str] = frozenset()) -> Iterator[bytes]:
        yield f"{kind} {len(things)}".encode()
        for thing in things:
            yield from self.parts(thing, names)

    def _once(self, thing: Any, names: frozenset[str]) -> Iterator[bytes]:
        """Yield the parts of what may be met again."""
        if isinstance(thing, types.FunctionType) and (told := vars(thing).get("__fingerprint__")):
            yield f"told {told}".encode()
        elif type(thing) is list:
            yield from self._all("list", thing, names)
        elif type(thing) in (dict, types.MappingProxyType):
            yield from self._all("dict", [part for item in thing.items() for part in item], names)
        elif isinstance(thing, types.FunctionType):
            yield from self._function(thing)
        elif isinstance(thing, types.MethodType):
            yield from self._all("method", (thing.__func__, thing.__self__))
        elif isinstance(thing, functools.partial) and type(thing) is functools.partial:
            yield from self._all("partial", (thing.func, thing.args, thing.keywords), names)
        elif isinstance(thing, staticmethod | classmethod):
            yield from self._all(type(thing).__name__, (thing.__func__,))
        elif isinstance(thing, property):
            yield from self._all("property", (thing.fget, thing.fset, thing.fdel))
        elif isinstance(thing, types.MemberDescriptorType):
            yield f"member {thing.__name__}".encode()
        elif isinstance(thing, inspect.Signature):
            yield from self._all("signature", [(p.name, int(p.kind), p.default) for p in thing.parameters.values()])
        elif isinstance(thing, type):
            yield from self._class(thing)
        else:
            yield from self._object(thing)

    def _function(self, function: types.FunctionType) -> Iterator[bytes]:
        yield f"function {function.__name__}".encode()
        yield from self._code(function.__code__)
        names, attributes, modules = _reach(function.__code__)
        attributes_of = {k: v for k, v in vars(function).items() if k not in SKIPPED}
        yield from self.parts((function.__defaults__, function.__kwdefaults__, attributes_of))
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                raise UncertainError(f"{function.__name__} closes over a name without a value") from None
            yield from self.parts(content, attributes)
        for name in sorted(names):
            yield name.encode()
            if name in function.__globals__:
                yield from self.parts(function.__globals__[name], attributes)
            elif name in DYNAMIC:
                raise UncertainError(f"{function.__name__} calls {name}")
            else:
                yield b"builtin" if hasattr(builtins, name) else b"missing"
        for level, name in sorted(modules):
            yield from self._imported(function, level, name, attributes)

    def _imported(self, function: types.FunctionType, level: int, name: str, names: frozenset[str]) -> Iterator[bytes]:
        """Yield the parts of a module that a function imports as it runs."""
        if not level and _trusted(name):
            yield f"module {name} {versions()}".encode()
            return
        try:
            whole = resolve_name("." * level + name, function.__globals__.get("__package__")) if level else name
            for i in range(whole.count(".") + 1):
                upper = whole.split(".")[: i + 1]
                yield from self._module(importlib.import_module(".".join(upper)), names)
        except ImportError as error:
            raise UncertainError(f"{function.__name__} imports {name}, which fails: {error}") from None

    def _module(self, module: types.ModuleType, names: frozenset[str]) -> Iterator[bytes]:
        """Yield what a function of these attributes may take from a module."""
        yield f"module {module.__name__}".encode()
        if _trusted(module.__name__):
            yield versions().encode()
            return
        if not names:
            raise UncertainError(f"the module {module.__name__} is handed on")
        if "__getattr__" in vars(module):
            raise UncertainError(f"the module {module.__name__} makes its attributes when asked for them")
        for name in sorted(names & vars(module).keys()):
            value = vars(module)[name]
            mark = (id(module), name)
            if mark not in self.seen:  # type: ignore[comparison-overlap]
                self.seen[mark] = (len(self.seen), value)  # type: ignore[index]
                yield name.encode()
                yield from self.parts(value, names)

    def _code(self, code: types.CodeType) -> Iterator[bytes]:
        """Yield the parts of code; neither file nor line numbers."""
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        yield f"code {code.co_name} {counts}".encode()
        yield from (code.co_code, code.co_exceptiontable)
        yield from self.parts((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
        yield from self._all("constants", code.co_consts)

    def _class(self, cls: type) -> Iterator[bytes]:
        if type(cls) not in (type, ABCMeta):
            raise UncertainError(f"the class {cls.__qualname__} is made by a class of its own")
        yield f"class {cls.__qualname__}".encode()
        yield from self._all("bases", cls.__bases__)
        fields = getattr(cls, "__dataclass_fields__", {})
        yield from self.parts([(f.name, f.init, f.kw_only) for f in fields.values()])
        yield from self.parts({name: value for name, value in vars(cls).items() if name not in SKIPPED})

    def _object(self, thing: Any) -> Iterator[bytes]:
        """Yield the class and the attributes of an object whose class is plain Python."""
        cls = type(thing)
        plain = all(base is object or not _trusted(base.__module__) for base in cls.__mro__)
        if not plain or cls.__flags__ & (1 << 9) == 0 or isinstance(thing, BaseException):
            raise UncertainError(f"an object of class {cls.__module__}.{cls.__qualname__}")
        yield b"object"
        yield from self.parts(cls)
        slots = [s for base in cls.__mro__ for s in _slots(base)]
        yield from self.parts({name: getattr(thing, name) for name in slots if hasattr(thing, name)})
        yield from self.parts(dict(getattr(thing, "__dict__", {})))


def _slots(cls: type) -> tuple[str, ...]:
    own = vars(cls).get("__slots__", ())
    return tuple(s for s in ((own,) if isinstance(own, str) else own) if s not in SKIPPED)


def _reach(code: types.CodeType) -> tuple[frozenset[str], frozenset[str], frozenset[tuple[int, str]]]:
    """Return the globals that code and the functions in it name, the attributes, and what they import."""
    names, attributes, modules = set[str](), set[str](), set[tuple[int, str]]()
    level: Any = 0
    before: list[dis.Instruction] = []
    for step in (s for s in dis.get_instructions(code) if s.opname not in ("CACHE", "EXTENDED_ARG")):
        if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            raise UncertainError(f"{code.co_name} writes the global {step.argval}")
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            names.add(str(step.argval))
        elif step.opname == "IMPORT_NAME":
            level = before[-2].argval  # pushed before the list of names
            if not isinstance(level, int):
                raise UncertainError(f"{code.co_name} imports {step.argval} in an unknown way")
            modules.add((level, str(step.argval)))
        elif "ATTR" in step.opname or "METHOD" in step.opname or step.opname == "IMPORT_FROM":
            attributes.add(str(step.argval[0] if isinstance(step.argval, tuple) else step.argval))
        before.append(step)
    if peeked := attributes & PEEKING:
        raise UncertainError(f"{code.co_name} asks for {', '.join(sorted(peeked))}")
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _reach(constant)
            names |= inner[0]
            attributes |= inner[1]
            modules |= inner[2]
    return frozenset(names), frozenset(attributes), frozenset(modules)
