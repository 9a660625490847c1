"""Signatures: what a function's parameters say (parents, options, their choices), and how to give it others."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Literal, get_args, get_origin

RESERVED = ("rng", "sizes")
"""Parameters that any draw function may have besides its parents."""


def parents_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a function's parameters other than ``rng`` and ``sizes``."""
    return tuple(name for name in _parameters(function) if name not in RESERVED)


def keyword_options(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the keyword-only parameters of a function and their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def choices(function: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """Return the allowed values of those keyword-only parameters of a function that are typed ``Literal[...]``."""
    parameters = inspect.signature(function).parameters.values()
    literal = [p for p in parameters if p.kind is p.KEYWORD_ONLY and get_origin(p.annotation) is Literal]
    return {p.name: get_args(p.annotation) for p in literal}


def kinds_of(function: Callable[..., Any]) -> dict[str, type]:
    """Return the types of a function's keyword-only parameters: of their defaults, or X of those typed ``X | None``."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    annotated = {p.name: (*get_args(p.annotation), object) for p in parameters}
    return {p.name: annotated[p.name][0] if p.default is None else type(p.default) for p in parameters}


def plain_kinds(function: Callable[..., Any]) -> dict[str, type]:
    """Return the types of those keyword-only parameters of a function that take a number or a truth value only."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return {p.name: p.annotation for p in parameters if p.annotation in (bool, int, float)}


def call(function: Callable[..., Any], available: Mapping[str, Any]) -> Any:
    """Call a function with those of the available values that its signature names."""
    return function(**{name: available[name] for name in _parameters(function)})


def with_parameters(names: Iterable[str], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of keyword arguments that shows the given parameters.

    Variants of a model differ in their variables: one function of ``**values`` then serves them all, and each variant
    shows the declaration the parameters that it has.

    Parameters
    ----------
    names : iterable of str
    function : callable
        Called with exactly these keywords.

    Returns
    -------
    callable
        With the function's docstring.
    """

    def shown(**values: Any) -> Any:
        return function(**values)

    kind = inspect.Parameter.POSITIONAL_ONLY  # of which a name may be a keyword, as a Stan program's lambda
    signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    shown.__signature__ = signature  # type: ignore[attr-defined]
    shown.__doc__ = function.__doc__
    return shown


@cache
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of a function's parameters; kept, because some functions are called at every draw."""
    return tuple(inspect.signature(function).parameters)
