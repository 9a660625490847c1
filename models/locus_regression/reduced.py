"""Functions of fewer parameters: a variant without a variable computes with a constant in its place."""

import inspect
from collections.abc import Callable
from typing import Any


def without(function: Callable[..., Any], **values: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function without some of its parameters.

    Parameters
    ----------
    function : callable
        Called by keywords.
    **values : callable
        For each parameter to drop, its value as a function of the dict of those that are left.

    Returns
    -------
    callable
        Its signature names the parameters that are left, as the declaration reads them.
    """
    signature = inspect.signature(function)
    left = [p for name, p in signature.parameters.items() if name not in values]

    def reduced(**given: Any) -> Any:
        return function(**given, **{name: value(given) for name, value in values.items()})

    reduced.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
    reduced.__doc__ = function.__doc__
    return reduced
