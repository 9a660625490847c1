"""What a fit found: the ranking of the perturbations; of expression, those that move a program."""

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.declaration import Answer
from genarium.found import named, short
from genarium.registry import fitted_model

from .enrichment import programs
from .ranking import rank, score

MOST = 10
"""Perturbations in the table, the best ones."""

NAMED = 5
"""States of the target that are named, at most."""

FDR = 0.05
"""False discovery rate up to which a perturbation moves a program."""


def found(tree: xr.DataTree) -> Answer:
    """Return the ranking of a fit by any method."""
    if fitted_model(tree).chosen.get("observed") == "expression":
        return moved(tree)
    ranked = rank(score(tree))
    top = ranked.isel(perturbation=slice(0, MOST))
    quantile, total = float(ranked.attrs["quantile"]), ranked.sizes["perturbation"]
    names = [named("perturbation", name) for name in top["perturbation"].to_numpy()]
    columns = ("score", "lower", "cells", "rank_plug_in")
    values = [top[name].to_numpy() for name in columns]
    at_least = f"lower bound ({1 - quantile:.0%})"
    rows = [["rank", "perturbation", "score", at_least, "cells", "rank by observed shares"]]
    for i, name in enumerate(names):
        rows.append([str(i + 1), name, *(short(float(column[i])) for column in values)])
    mean, lower, cells, _ = (column[0] for column in values)
    notes = [
        f"The best of {total:,} perturbations is {names[0]}: score {short(float(mean))}, at least "
        f"{short(float(lower))} with a probability of {1 - quantile:.0%}, from {int(cells):,} cells.",
        "A score is minus the l1 distance between the shares of the states under a perturbation and the target "
        f"({_target(tree, ranked.attrs['target'])}): 0 is best, \u22122 is worst.",
        "Perturbations are ranked by the lower bound of the score, which is lower where there are fewer cells.",
    ]
    return Answer("Ranking of the perturbations", {f"The best {len(names)} of {total:,} perturbations": rows}, notes)


def _target(tree: xr.DataTree, shares: list[float]) -> str:
    """Name the states of which the target wants some, the largest share first."""
    states = tree["observed_data"]["state"].to_numpy()
    order = [int(k) for k in np.argsort(-np.asarray(shares), kind="stable") if shares[int(k)] > 0]
    more = f" and {len(order) - NAMED} more states" if len(order) > NAMED else ""
    return ", ".join(f"{named('state', states[k])}: {shares[k]:.3g}" for k in order[:NAMED]) + more


def moved(tree: xr.DataTree) -> Answer:
    """Return the perturbations that move programs of genes."""
    told = programs(tree)
    value, fdr = told["moved"].to_numpy(), told["moved_fdr"].to_numpy()
    names, kinds = (told[dim].to_numpy().astype(str) for dim in ("perturbation", "program"))
    order = np.argsort(fdr, axis=None, kind="stable")
    control = str(attribute(tree, "options").get("control") or "")
    base = f"from {named('perturbation', control)}" if control else "from the mean of all"
    rows = [["perturbation", "program", f"difference {base} (sd)", "false discovery rate"]]
    for at in order[:MOST]:
        p, j = np.unravel_index(at, fdr.shape)
        rows.append([str(names[p]), str(kinds[j]), short(float(value[p, j])), short(float(fdr[p, j]))])
    others = names != control
    some = int((fdr[others] <= FDR).any(1).sum())
    notes = [
        f"{some:,} of {others.sum():,} perturbations move a program of genes, at a false discovery rate of {FDR:.0%}.",
    ]
    return Answer("Perturbations that move programs", {"Changes with the lowest false discovery rates": rows}, notes)
