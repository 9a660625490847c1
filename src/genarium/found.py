"""What a fit found, in the words and units of those who asked: a model's own answer, or the numbers it names."""

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from genarium.completeness import whole
from genarium.declaration import Answer, Array, Model
from genarium.estimates import LEVEL, Estimate, estimates
from genarium.home import Home
from genarium.registry import origin
from genarium.tree import with_groups

FEW = 5
"""Numbers of a variable that are told in words, at most."""

MOST = 6
"""Digits after the point of a percentage, at most."""

ENDS = (f"{(1 - LEVEL) / 2:.0%}", f"{(1 + LEVEL) / 2:.0%}")
"""Names of the columns that hold the ends of intervals."""


def found(model: Model, tree: xr.DataTree) -> Answer:
    """Return what a fit answers.

    Parameters
    ----------
    model : Model
        If its folder has a module ``found`` with a function of that name, this takes the tree and returns the answer.
    tree : DataTree
        A fit by any method.

    Returns
    -------
    Answer
        Sentences (``notes``) and small tables; without a function of the model's own, a sentence for each number that
        ``Model.headline`` names.
    """
    own = Home.of(model).found
    if own is None:
        return Answer(model.title, {}, told(model, tree))
    here = with_groups(tree, {}, {"model_origin": origin(model)})  # the user may have said where the model is
    with whole(tree):
        answer: Answer = own(here)
    return answer


def told(model: Model, tree: xr.DataTree) -> list[str]:
    """Return the numbers that a user came for in words, of variables with few of them, one line a number."""
    group = (tree["posterior"] if "posterior" in tree else tree["point"]).to_dataset()
    wanted = model.headline({str(dim): int(n) for dim, n in group.sizes.items()}) if model.headline else ()
    held = {one.name: one for one in estimates(model, tree)} if wanted else {}
    return [
        line for name in wanted if name in held and held[name].centre.size <= FEW for line in lines(held[name], model)
    ]


def lines(one: Estimate, model: Model) -> list[str]:
    """Return a sentence for each number of a variable."""
    about = model.variables()[one.name].about.removesuffix(".")
    out = []
    for index in np.ndindex(one.centre.shape):
        at = ", ".join(f"{dim}={labels[i]}" for dim, labels, i in zip(one.dims, one.labels, index, strict=True))
        ends = None if one.draws is None else (float(one.interval[0][index]), float(one.interval[1][index]))
        out.append(f"{about} ({one.name}{' at ' + at if at else ''}): {said(float(one.centre[index]), ends)}.")
    return out


def said(value: float, ends: tuple[float, float] | None = None, unit: str = "") -> str:
    """Write a number, with its unit and the ends of its interval."""
    text = f"{short(value)}{' ' + unit if unit else ''}"
    return text if ends is None else f"{text}, {LEVEL:.0%} interval {short(ends[0])} to {short(ends[1])}"


def short(value: float) -> str:
    """Write a number in three digits, also where the last is 0, large ones whole, with a minus sign that is one."""
    digits = ".3g" if float(value).is_integer() else "#.3g"
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:{digits}}".rstrip(".")
    return ("0" if text == "-0" else text).replace("-", "\u2212", 1 if text.startswith("-") else 0)


def percent(share: float, digits: int = 0) -> str:
    """Write a share as a percentage; one that is near 0 or 1 with as many digits as tell it from these."""
    off = 100 * min(share, 1 - share)
    if 10.0**-MOST <= off < 0.5 * 10.0**-digits:
        digits = -math.floor(math.log10(off))
    return f"{share:.{digits}%}"


def centre_and_ends(tree: xr.DataTree, name: str) -> tuple[Array, tuple[Array, Array] | None]:
    """Return the mean of the draws of a variable and the ends of its interval, or its point estimate and None."""
    if "posterior" not in tree:
        return np.asarray(tree["point"][name].to_numpy()), None
    draws = tree["posterior"][name].transpose("chain", "draw", ...).to_numpy()
    low, high = np.quantile(draws, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=(0, 1))
    return np.asarray(draws.mean((0, 1))), (low, high)


def cells(value: Array, ends: tuple[Array, Array] | None, at: tuple[int, ...] | int = ()) -> list[str]:
    """Return the cells of a number in a table: itself, and the ends of its interval where there is one."""
    return [short(float(part[at])) for part in (value, *(ends or ()))]


def heads(name: str, ends: tuple[Array, Array] | None) -> list[str]:
    """Return the names of the columns that :func:`cells` fills."""
    return [name, *(ENDS if ends is not None else ())]


def named(dim: str, label: object) -> str:
    """Name one of a dim; one that only has a number by the dim."""
    return f"{dim.replace('_', ' ')} {label}" if str(label).isdecimal() else str(label)


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does."""
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)
