"""Functions of other parameters: a variant without a variable computes with what takes its place."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from genarium.signatures import with_parameters


def without(
    function: Callable[..., Any], asks: Sequence[str] = (), /, **values: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a function without some of its parameters.

    Parameters
    ----------
    function : callable
        Called by keywords.
    asks : sequence of str
        Parameters that it has besides, for the values.
    **values : callable
        For each parameter to drop, its value as a function of the dict of those that are there.

    Returns
    -------
    callable
        Its signature names the parameters that are left, as the declaration reads them.
    """
    own = [name for name in inspect.signature(function).parameters if name not in values]

    def reduced(**given: Any) -> Any:
        found = {name: value(given) for name, value in values.items()}
        return function(**{name: given[name] for name in own}, **found)

    reduced.__doc__ = function.__doc__
    return with_parameters(dict.fromkeys([*own, *asks]), reduced)
