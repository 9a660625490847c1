"""Fingerprints: the same for what computes the same, other for all that it computes from, none where that is unsure."""

import functools
import math
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genarium import registry
from genarium.engines.fingerprint import UncertainError, fingerprint

SCALE = 1.0
TABLE = {"a": [1, 2]}


def made(sd: Any) -> Callable[[float], Any]:
    return lambda x: x * sd


def uses_global(x: float) -> float:
    return x * SCALE


def uses_function_that_uses_global(x: float) -> float:
    return uses_global(x)


def uses_table(x: str) -> Any:
    return TABLE[x]


def nested(sd: float) -> Callable[[float], Any]:
    def outer(x: float) -> Any:
        def inner(y: float) -> float:
            return y * sd

        return [inner(i) for i in (x, x)]

    return outer


def with_default(sd: Any) -> Callable[..., Any]:
    def function(x: float, sd: Any = sd, *, more: Any = sd) -> Any:
        return x * sd * more

    return function


@dataclass
class Prior:
    sd: Any

    def __call__(self, x: float) -> Any:
        return self.scaled(x)

    def scaled(self, x: float) -> Any:
        return x * self.sd


class Slotted:
    __slots__ = ("sd",)

    def __init__(self, sd: float) -> None:
        self.sd = sd

    def __call__(self, x: float) -> float:
        return x * self.sd


def of(cls: Any) -> Any:
    return lambda x: cls().scaled(x)


def subclass(sd: float) -> Any:
    class Own(Prior):
        width = sd

        def scaled(self, x: float) -> Any:
            return x * self.width

    return Own


def with_attribute(sd: float) -> Any:
    function: Any = made(1)
    function.sd = sd
    return function


FACTORIES: dict[str, Callable[[Any], Any]] = {
    "closure": made,
    "closure of a nested function": nested,
    "defaults": with_default,
    "partial": lambda sd: functools.partial(lambda sd, x: sd * x, sd),
    "keyword of a partial": lambda sd: functools.partial(lambda x, sd: sd * x, sd=sd),
    "partial of a closure": lambda sd: functools.partial(made(sd), 1),
    "object": Prior,
    "object with slots": Slotted,
    "method": lambda sd: Prior(sd).scaled,
    "method of a closed-over object": lambda sd: made(Prior(sd).scaled),
    "class attribute": lambda sd: subclass(sd)(1.0),
    "class of a closure": lambda sd: of(subclass(sd)),
    "list": lambda sd: made([1, [sd]]),
    "dict": lambda sd: made({"a": {"b": sd}}),
    "function in a dict": lambda sd: made({"a": made(sd)}),
    "attribute of the function": lambda sd: with_attribute(sd),
}


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
def test_values_that_a_function_holds_are_part_of_it(factory: Callable[[Any], Any]) -> None:
    assert fingerprint(factory(100.0)) == fingerprint(factory(100.0))
    assert fingerprint(factory(100.0)) != fingerprint(factory(0.1))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 1.0), (1, True), (0.0, -0.0), ("a", b"a"), ((1, 2), [1, 2]), (None, "None"), ((1, (2, 3)), ((1, 2), 3)),
        (["ab"], ["a", "b"]), ({1}, {1, 2}), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (np.zeros(3), np.zeros((3, 1))),
        (np.zeros(3), np.zeros(3, int)), (np.array([0.0]), np.array([-0.0])), (np.float64(1), 1.0),
        (np.ones(3), [1.0, 1.0, 1.0]), (math.log, math.exp), (np.log, np.exp), (float, int), (range(3), range(4)),
    ],
    ids=str,
)  # fmt: skip
def test_values_of_other_kind_differ(a: Any, b: Any) -> None:
    assert fingerprint(a) == fingerprint(a)
    assert fingerprint(a) != fingerprint(b)
    assert fingerprint(made(a)) != fingerprint(made(b))


def test_not_a_number_is_itself() -> None:
    assert fingerprint(float("nan")) == fingerprint(float("nan"))
    assert fingerprint(np.full(3, np.nan)) == fingerprint(np.full(3, np.nan))


def test_globals_are_part_of_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = (uses_global, uses_function_that_uses_global)
    before = [fingerprint(f) for f in functions]
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    after = [fingerprint(f) for f in functions]
    assert not set(before) & set(after)
    monkeypatch.setitem(globals(), "SCALE", 1.0)
    assert before == [fingerprint(f) for f in functions]


def test_globals_are_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "TABLE", {"a": [1, 2]})
    before = fingerprint(uses_table)
    TABLE["a"].append(3)
    assert fingerprint(uses_table) != before


def test_a_global_that_is_not_named_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(uses_global)
    monkeypatch.setitem(globals(), "TABLE", {})
    assert fingerprint(uses_global) == before


def test_code_is_part_of_a_function() -> None:
    functions: list[Any] = [
        lambda x: x + 1, lambda x: x + 2, lambda x: x - 1, lambda y: y + 1, lambda x=1: x + 1, lambda *x: x,
        lambda x: [y + 1 for y in x], lambda x: [y + 2 for y in x], lambda x: (lambda z: z + 1)(x),
    ]  # fmt: skip
    assert len({fingerprint(f) for f in functions}) == len(functions)


def test_the_line_does_not_matter() -> None:
    space: dict[str, Any] = {}
    exec("f = lambda x: x + 1\n\n\ng = lambda x: x + 1", space)
    assert fingerprint(space["f"]) == fingerprint(space["g"])


def test_modules_count_by_the_attributes_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("constants_of_a_test")
    module.WIDTH, module.OTHER = 1.0, 1.0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(globals(), "constants", module)

    def asks(x: float) -> float:
        return x * constants.WIDTH  # type: ignore[name-defined, no-any-return] # noqa: F821

    def imports(x: float) -> float:
        from constants_of_a_test import WIDTH  # type: ignore[import-not-found]

        return x * WIDTH  # type: ignore[no-any-return]

    def imports_all_of_it(x: float) -> float:
        import constants_of_a_test as c

        return x * c.WIDTH  # type: ignore[no-any-return]

    functions = (asks, imports, imports_all_of_it)
    before = [fingerprint(f) for f in functions]
    module.OTHER = 2.0  # type: ignore[attr-defined]
    assert before == [fingerprint(f) for f in functions]
    module.WIDTH = 2.0  # type: ignore[attr-defined]
    assert not set(before) & {fingerprint(f) for f in functions}


def test_functions_that_call_each_other() -> None:
    space: dict[str, Any] = {}
    exec("def f(x):\n    return g(x)\ndef g(x):\n    return f(x) + one\none = 1", space)
    before = fingerprint(space["f"])
    space["one"] = 2
    assert fingerprint(space["f"]) != before


def looks_up(x: str) -> Any:
    return globals()[x]


def reads_a_file(x: str) -> Any:
    return open(x).read()


def counts(x: float) -> float:
    global SCALE
    SCALE = SCALE + 1
    return x


def peeks(x: Any) -> Any:
    return x.get_value().mean()


@pytest.mark.parametrize(
    "function",
    [
        looks_up, reads_a_file, counts, peeks, made(np.random.default_rng(1)), made(object()), made(sys),
        made(np.array([object()])), made(iter([1])), made(type("Meta", (type,), {})("Odd", (), {})),
        functools.lru_cache(uses_global), made(type("List", (list,), {})([1])),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused(function: Any) -> None:
    with pytest.raises(UncertainError):
        fingerprint(function)


def test_densities_of_the_registry_are_certain_and_differ() -> None:
    found: dict[str, str] = {}
    for name in registry.names():
        model = registry.get(name)
        for option, values in model.options.items() or [("", ("",))]:
            for value in values:
                density = (model.variant(**{option: value}) if option else model).density
                if density is None:
                    continue
                again = (model.variant(**{option: value}) if option else model).density
                own = fingerprint(density)
                assert own == fingerprint(again)
                if option != "channels" and (not option or value != values[0]):  # channel sets differ by sizes alone
                    assert found.setdefault(own, f"{name} {option}={value}") == f"{name} {option}={value}"


@pytest.mark.slow
def test_the_same_in_every_process() -> None:
    code = """
from genarium import registry
from genarium.engines.fingerprint import fingerprint
print(*(fingerprint(registry.get(name).density) for name in registry.names()))
"""
    told = [
        subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True).stdout
        for flags in ((), ("-B", "-X", "frozen_modules=off"))
    ]
    assert told[0] == told[1] == " ".join(fingerprint(registry.get(n).density) for n in registry.names()) + "\n"


def test_a_changed_source_file_tells(tmp_path: Path) -> None:
    path = tmp_path / "story_of_a_test.py"
    told = []
    for source in (
        "A = 1\ndef f(x): return x * A",
        "# comment\nA = 1\ndef f(x): return x * A",
        "A = 2\ndef f(x): return x * A",
    ):
        path.write_text(source)
        space: dict[str, Any] = {}
        exec(compile(path.read_text(), str(path), "exec"), space)
        told.append(fingerprint(space["f"]))
    assert told[0] == told[1] != told[2]
