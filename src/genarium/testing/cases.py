"""Which models, variants and methods the contract is tried on."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from genarium import registry
from genarium.declaration import Method, Model
from genarium.errors import InputError
from genarium.home import Home
from genarium.methods import methods


class Case(NamedTuple):
    """A variant of a model, and a method to fit it by."""

    name: str
    options: tuple[tuple[str, str], ...] = ()
    method: str = ""

    def __str__(self) -> str:
        return "-".join([self.model.name, *(f"{k}={v}" for k, v in self.options), *filter(None, [self.method])])

    @property
    def model(self) -> Model:
        """The variant."""
        return variant(self.name, self.options)

    @property
    def way(self) -> Method:
        """The method."""
        return _ways(self.name, self.options)[self.method]


Cases = Callable[[Iterable[str]], Iterator[Case]]


@cache
def variant(name: str, options: tuple[tuple[str, str], ...]) -> Model:
    """Return the declaration of a variant, once."""
    return registry.get(name).variant(**dict(options))


@cache
def _ways(name: str, options: tuple[tuple[str, str], ...]) -> dict[str, Method]:
    return methods(variant(name, options))


def cards(names: Iterable[str]) -> Iterator[Case]:
    """Yield the default variants: a card is the model's, whatever its options."""
    return (Case(name) for name in names)


def variants(names: Iterable[str]) -> Iterator[Case]:
    """Yield every model, then each value of each option that is not the default."""
    for name in names:
        yield Case(name)
        for option, values in registry.get(name).options.items():
            yield from (Case(name, ((option, value),)) for value in values[1:])


def densities(names: Iterable[str]) -> Iterator[Case]:
    """Yield the variants; their PyMC density is compiled."""
    return variants(names)


def programs(names: Iterable[str]) -> Iterator[Case]:
    """Yield the variants that have a Stan program, of every combination of options."""
    for name in names:
        yield from _programs(name)


@cache
def _programs(name: str) -> list[Case]:
    model, found = registry.get(name), []
    have = [Path(place).stem for place in Home.of(model).programs()]
    for values in product(*model.options.values()):
        chosen = zip(model.options.items(), values, strict=True)
        case = Case(name, tuple((option, value) for (option, allowed), value in chosen if value != allowed[0]))
        if "-".join([model.name, *(value for _, value in case.options)]) not in have:
            continue  # hundreds of them, which need not be declared
        with suppress(InputError):  # options that do not go together
            if registry.program(case.model) is not None:
                found.append(case)
    return found


def compiled_programs(names: Iterable[str]) -> Iterator[Case]:
    """Yield the variants that have a Stan program; it is compiled."""
    return programs(names)


def main_programs(names: Iterable[str]) -> Iterator[Case]:
    """Yield the default variants that have a Stan program."""
    return (case for case in programs(names) if not case.options)


def fits(names: Iterable[str]) -> Iterator[Case]:
    """Yield purpose-built methods for every variant, engines for the default one."""
    for case in variants(names):
        for method in case.model.methods if case.options else _ways(*case[:2]):
            yield case._replace(method=method)


def posteriors(names: Iterable[str]) -> Iterator[Case]:
    """Yield the fits that have draws."""
    return (case for case in fits(names) if case.way.claim != "point")


def stan_fits(names: Iterable[str]) -> Iterator[Case]:
    """Yield Stan's methods that give draws."""
    return (case for case in posteriors(names) if case.way.engine == "stan")


def exact(names: Iterable[str]) -> Iterator[Case]:
    """Yield the exact methods that need no Stan."""
    return (
        case for case in fits(names) if case.way.claim == "exact" and case.way.engine != "stan" and not case.options
    )


def comparable(names: Iterable[str]) -> Iterator[Case]:
    """Yield the models with a pointwise likelihood and an exact method."""
    for name in names:
        case = Case(name)
        ways = _ways(*case[:2]).values()
        if case.model.log_likelihood and any(w.claim == "exact" and w.engine in ("numpy", "pymc") for w in ways):
            yield case


def marks(case: Case, make: Cases, more: bool = False) -> list[pytest.MarkDecorator]:
    """Mark what needs Stan, and what is left out of the default run: engines and variants that take long.

    By default a model of the zoo is tried by its own methods, by NUTS of PyMC and of Stan, and by Stan's maximum; only
    the one with the fewest unknown variables is tried by all of PyMC and Stan; a variant by the first of its own
    methods, of an option's values the last. What takes ``more`` time is done for the default variant, by the first of
    its own methods of each claim (of the model with the fewest unknown variables by NUTS of either engine too).
    Replicates by the dozen are made by NUTS of that model. Of the densities of variants the first of that model is
    compiled, of their Stan programs none. Nothing is left out of a model from outside.
    """
    stan = [pytest.mark.stan] * (bool(case.method) and case.way.engine == "stan")
    return stan + [pytest.mark.slow] * (case.name in _built_in() and _is_late(case, make, more))


def _is_late(case: Case, make: Cases, more: bool) -> bool:
    if make is compiled_programs:
        return registry.program(case.model) != registry.program(Case(case.name).model)
    if any(value in _between(case.name, option, bool(case.method)) for option, value in case.options):
        return True
    own, simplest = case.model.methods, case.name == _simplest()
    if make is densities:
        kept = next((one for one in variants([case.name]) if one.options), None) if simplest and not more else None
        return bool(case.options) and case != kept
    if not case.method:
        return more and (bool(case.options) or not simplest)
    if case.options:
        return more or case.method != next(iter(own))
    engine = case.way.engine
    if make is exact:
        return not simplest or engine != "pymc"
    first = {way.claim: name for name, way in reversed([*own.items()])}.values()
    if simplest:
        return engine == "blackjax" or (more and case.method not in (*first, "nuts", "stan"))
    if engine == "numpy":
        return more and case.method not in first
    return more or (case.method != "nuts" if engine != "stan" else case.way.claim == "approximate")


@cache
def _between(name: str, option: str, fitted: bool) -> tuple[str, ...]:
    """Return the values between the default and the last; where nothing is fitted, only of five or more."""
    values = registry.get(name).options[option]
    return values[1:-1] if fitted or len(values) > 4 else ()


@cache
def _built_in() -> list[str]:
    return registry.built_in()


@cache
def _simplest() -> str:
    return min(_built_in(), key=lambda name: len(registry.get(name).unknown.variables))


def each(make: Cases, *, more: bool = False) -> pytest.MarkDecorator:
    """Run a test for every case that ``make`` yields of the models under test; ``more``: it takes long for each."""
    return pytest.mark.cases(make, more)
