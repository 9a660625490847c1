"""Functions of fewer parameters: a variant without a variable computes with a constant in its place."""

import inspect
from collections.abc import Callable
from typing import Any

from genarium.signatures import with_parameters


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
    left = [name for name in inspect.signature(function).parameters if name not in values]

    def reduced(**given: Any) -> Any:
        return function(**given, **{name: value(given) for name, value in values.items()})

    reduced.__doc__ = function.__doc__
    return with_parameters(left, reduced)
