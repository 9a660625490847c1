"""What a fit found: the causal effects, in units of the outcome per unit of the exposure."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from genarium.declaration import Answer
from genarium.found import cells, centre_and_ends, heads, named, told
from genarium.found import said as told_number
from genarium.registry import fitted_model

from .figures import prediction

EFFECTS = {
    "global_effect": "Mean causal effect over regions",
    "theta": "Causal effect",
    "reverse": "Effect of the second trait on the first",
}

FORTH, BACK = " of the first trait on the second", " of the second trait on the first"


OF_ALL = "Causal effect of the exposure on the outcome"


def found(tree: xr.DataTree) -> Answer:
    """Return the causal effects of a fit, by any design and method."""
    model = fitted_model(tree)
    name = model.most_wanted_first(EFFECTS, {str(k): int(v) for k, v in tree["posterior"].sizes.items()})[0]
    notes = told(model, tree)
    if _of_all(tree["posterior"][name]):
        (value,), ends = centre_and_ends(tree, name)
        both = None if ends is None else (float(ends[0][0]), float(ends[1][0]))
        notes = [f"{OF_ALL}: {told_number(float(value), both)}."]
    sure = list(_signs(tree, name))
    unit = "An effect is the change in the outcome, in units of the outcome, per unit of the exposure."
    if "reverse" in tree["posterior"]:
        sure = [*_signs(tree, name, FORTH), *_signs(tree, "reverse", BACK)]
        unit = "An effect is the change in the affected trait, in units of that trait, per unit of the other trait."
    return Answer("Causal effects", {"Estimates": _table(tree, name)}, [*notes, *sure, unit])


def _of_all(effect: "xr.DataArray | xr.DataTree") -> bool:
    """Whether there is one region, so that its effect is that of all variants."""
    return effect.dims[2:] == ("region",) and effect.sizes["region"] == 1


def _signs(tree: xr.DataTree, name: str, of_which: str = "") -> Iterator[str]:
    """Yield the probability of the sign of each effect."""
    draws = tree["posterior"][name]
    for index in np.ndindex(draws.shape[2:]):
        above = float((draws.to_numpy()[(slice(None), slice(None), *index)] > 0).mean())
        side, share = ("positive", above) if above >= 0.5 else ("negative", 1 - above)
        of = str(draws.dims[-1])
        at = f" of {of} {draws[of].to_numpy()[index[0]]}" if index and not _of_all(draws) else of_which
        sure = "> 0.999" if share > 0.999 else f"{share:.3f}"
        yield f"Posterior probability that the effect{at} is {side}: {sure} (one-sided)."


def _table(tree: xr.DataTree, name: str) -> list[list[str]]:
    """Return the effects as rows: the one of interest, a new region's, the spread, and each other number."""
    posterior = tree["posterior"].to_dataset()
    value, ends = centre_and_ends(tree, name)
    if _of_all(posterior[name]):
        return [
            ["quantity", *heads("estimate", ends)],
            [OF_ALL, *cells(value, ends, 0)],
            [
                "Mean pleiotropic effect of alleles that raise the exposure",
                *cells(*centre_and_ends(tree, "intercept"), 0),
            ],
            ["Standard deviation of pleiotropic effects", *cells(*centre_and_ends(tree, "pleiotropy_sd"))],
        ]
    if value.ndim:
        dim = str(posterior[name].dims[2])
        names = posterior[dim].to_numpy()
        return [
            [dim, *heads("effect", ends)],
            *([named(dim, names[i]), *cells(value, ends, i)] for i in range(len(value))),
        ]
    rows = [["quantity", *heads("estimate", ends)], [EFFECTS[name], *cells(value, ends)]]
    if name == "global_effect":
        low, high = (np.asarray(end) for end in prediction(tree))
        rows.append(["Effect in a new region (prediction)", *cells(value, (low, high))])
        rows.append(["Standard deviation of effects between regions", *cells(*centre_and_ends(tree, "heterogeneity"))])
    if "reverse" in posterior:
        rows[1][0] = f"Effect{FORTH}"
        rows.append([EFFECTS["reverse"], *cells(*centre_and_ends(tree, "reverse"))])
    if "intercept" in posterior and posterior["intercept"].ndim == 2:
        rows.append(["Mean pleiotropic effect", *cells(*centre_and_ends(tree, "intercept"))])
    return rows
