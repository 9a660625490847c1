"""Settings: one set of keywords for sizes, options of the model, values of variables, and options of a method."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from genarium.declaration import Model
from genarium.errors import InputError
from genarium.remedies import as_flags, as_text, either, flag, option, setting, warn
from genarium.signatures import choices, keyword_options, kinds_of, parents_of
from genarium.supports import LARGEST
from genarium.words import did_you_mean

MAY_BE_ZERO = ("tune",)
"""Whole-number options that may be zero, as those may whose default it is; the others count things of which there must
be one."""

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
"""What messages call the types of options."""


def generator(seed: int) -> np.random.Generator:
    """Return the generator that every stream of a verb is spawned from.

    Raises
    ------
    InputError
        If the seed is not a whole number, or negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"{flag('seed', seed)} must be a whole number, not below zero.")
    return np.random.default_rng(int(seed))


def split(
    model: Model,
    settings: Mapping[str, Any],
    function: Callable[..., Any] | None = None,
    *,
    tables: Mapping[str, Iterable[str]] | None = None,
    elsewhere: Callable[[], Mapping[str, Iterable[str]]] = dict,
) -> tuple[Model, dict[str, int], dict[str, Any], dict[str, Any]]:
    """Sort settings by what they are about.

    Parameters
    ----------
    model : Model
    settings : mapping
    function : callable, optional
        The method in use: its keyword-only parameters are options too.
    tables : mapping of str to names, optional
        What else the user may set here, for the message about a name that means nothing.
    elsewhere : callable
        Returns what could be set under another choice (of a method, a format), for that message.

    Returns
    -------
    variant : Model
        The model under the given options.
    sizes : dict
    values : dict
        Of variables.
    options : dict
        Of the method.

    Raises
    ------
    InputError
        If a setting is none of these.
    """
    settings = dict(model.prepare(settings)) if model.prepare else settings
    chosen = chosen_options(model, settings)
    variant = varied(model, settings)
    options = keyword_options(function) if function else {}
    allowed, kinds = (choices(function), kinds_of(function)) if function else ({}, {})
    sizes, values, used = {}, {}, {}
    for name, value in settings.items():
        if name in chosen:
            continue
        if name in variant.sizes and not (name in variant.variables() and np.ndim(value)):
            if name in variant.derived_dims:
                parents = " and ".join(parents_of(variant.derived_dims[name]))
                raise InputError(f"{model.name}: {setting(name, value, 'size')} follows from {parents}. Leave it out.")
            if isinstance(value, int | float) and LARGEST < value < np.inf:
                raise InputError(f"{model.name}: {setting(name, value, 'size')} is too large. Give a smaller one.")
            if isinstance(value, float) and value.is_integer():
                value = int(value)  # as 1e3
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{model.name}: {setting(name, value, 'size')} must be a whole number, at least one.")
            sizes[name] = int(value)
        elif name in variant.variables():
            values[name] = value
        elif name in options:
            used[name] = _like(model, name, value, options[name], kinds[name])
            require_choice(model.name, name, used[name], allowed)
        else:
            what = "options of the method" if function is not model.predict else "options of the prediction"
            raise InputError(_unknown(variant, name, {what: options, **(tables or {})}, elsewhere()))
    return variant, sizes, values, used


def require_choice(where: str, name: str, value: Any, allowed: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse a value that is not one of an option's choices.

    Raises
    ------
    InputError
    """
    if name in allowed and value not in allowed[name]:
        raise InputError(
            f"{where}: {option(name, value)} is not known; use one of {', '.join(map(str, allowed[name]))}."
        )


def require_options(where: str, given: Mapping[str, Any], function: Callable[..., Any] | None) -> None:
    """Refuse options that are no keyword-only parameters of a function, or values that are none of their choices.

    Parameters
    ----------
    where : str
        Of the message: what the options are of.
    given : mapping
    function : callable, optional
        None where there is nothing that could have options.

    Raises
    ------
    InputError
    """
    allowed = keyword_options(function) if function else {}
    for name, value in given.items():
        if name not in allowed:
            raise InputError(f"{where} has no option {name!r}. Its options are {', '.join(allowed) or 'none'}.")
        if function:
            require_choice(where, name, value, choices(function))
            if kinds_of(function).get(name) is str and (remedy := as_text(name, value)):
                raise InputError(f"{where}: {option(name, value)} must be text.{remedy}")


@contextmanager
def by_flags() -> Iterator[None]:
    """Let what errors and warnings say of options name a command's own flags: for commands whose options these are."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            yield
        except InputError as error:
            raise InputError(as_flags(error.marked)) from error
    for one in told:
        warn(as_flags(getattr(one.message, "marked", str(one.message))), one.category, stacklevel=3)


def only_with(where: str, switch: str, on: bool, **given: Any) -> None:
    """Refuse options that would be dropped because what they belong to is off.

    Parameters
    ----------
    where : str
        Of the message: the model, or its reader.
    switch : str
        What they belong to, as a user writes it.
    on : bool
        Whether that is so.
    **given
        The options; None where one is not given.

    Raises
    ------
    InputError
    """
    dropped = [option(name, value) for name, value in given.items() if value is not None]
    if dropped and not on:
        raise InputError(
            f"{where}: {' and '.join(dropped)} would be dropped: used only with {switch}. Add that, or leave it out."
        )


def chosen_options(model: Model, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that choose options of the model."""
    return {name: value for name, value in settings.items() if name in model.options}


def varied(model: Model, settings: Mapping[str, Any]) -> Model:
    """Return the model under the options that settings choose."""
    chosen = chosen_options(model, settings)
    return model.variant(**{**model.chosen, **chosen}) if chosen else model


def _like(model: Model, name: str, value: Any, default: Any, kind: type) -> Any:
    """Check that an option has the type of its default, or the annotated one where that is None."""
    if value is None and default is None:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if kind is bool and value in (0, 1):
        return bool(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        least = 0 if name in MAY_BE_ZERO or default == 0 else 1
        if isinstance(value, int) and not isinstance(value, bool) and value < least:
            raise InputError(f"{model.name}: {option(name, value)} must be at least {least}.")
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise InputError(
            f"{model.name}: {option(name, value)} must be {KINDS.get(kind, kind.__name__)} (default {default!r})."
            + (as_text(name, value) if kind is str else "")
        )
    return value


def _unknown(model: Model, name: str, more: Mapping[str, Iterable[str]], elsewhere: Mapping[str, Iterable[str]]) -> str:
    """Return the message about a name that is no setting: where it would be one, what is like it, and what there is."""
    tables = {
        **{what: list(map(str, names)) for what, names in more.items()},
        "sizes": list(model.sizes),
        "options of the model": list(model.options),
        "variables": list(model.variables()),
    }
    hint = did_you_mean(name, [one for names in tables.values() for one in names])
    tables["options of the model"] = [f"{one} ({', '.join(values)})" for one, values in model.options.items()]
    there = [other for other, names in elsewhere.items() if name in names]
    hint = f" It is an option of {' and '.join(there)}." if there else hint
    lists = "; ".join(f"{what}: {', '.join(names)}" for what, names in tables.items() if names)
    shell = f"`genarium show {model.name}` says what each means"
    return f"{model.name}: there is no setting {name!r}.{hint} Settings are {lists}.{either('', f' {shell}.')}"
