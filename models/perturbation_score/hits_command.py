"""The command ``genarium hits``: from cells, or counts by state, to the perturbations that change the states."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Answer
from genarium.drawing import Titled
from genarium.errors import InputError
from genarium.found import named, short
from genarium.remedies import flag
from genarium.settings import by_flags
from genarium.writing import replacing

from . import readers
from .hits import hits

REMEDY = {
    "split": f"Name the column of obs with the replicates: {flag('replicate', 'COLUMN')}.",
    "long": "Its cells are counted; leave it out.",
    "state": f"Each column is a state there; of a long table name {flag('long', 'CONDITION,STATE,CELLS')}.",
    "drop": "No column is taken for a state there; leave it out.",
    "cells": "Its cells are counted; leave it out.",
    "layer": "It holds counts of cells; leave it out.",
    "condition": f"The first column of {flag('long')} names the perturbations; leave it out.",
}
"""What to do where an option says nothing of a kind of file."""

SHOWN = 20
"""Perturbations in the answer, at most."""


def hits_of_file(
    file: Path,
    *,
    control: str,
    condition: str = "",
    state: str = "",
    layer: str | None = None,
    replicate: str | None = None,
    split: str | None = None,
    long: str = "",
    states: str = "",
    drop: str = "",
    cells: str | None = None,
    target: str | None = None,
    fdr: float = 0.05,
    table: Path | None = None,
) -> Answer:
    """Which perturbations of a screen change the cell states, with false discovery rates; no fit is needed.

    Parameters
    ----------
    file : Path
        AnnData (.h5ad) with the labels of its cells, or a table of counts by state.
    control : str
        The unperturbed condition.
    condition : str
        Column with the perturbations. Default: "condition" of ``obs``; the first one of a table.
    state : str
        For an AnnData file: column of ``obs`` with the states (default: "state").
    layer : str
        For an AnnData file: layer with the raw counts of genes, which must exist, but is not used.
    replicate : str
        Column with the replicates (wells, animals, guides), if there are any.
    split : str
        For a table: separator between the name of a perturbation and that of its replicate.
    long : str
        For a long table: its columns with the perturbations, the states and the numbers of cells, separated by commas.
    states : str
        States to read, separated by commas. Default: all.
    drop : str
        For a table: columns that are not states.
    cells : str
        For a table of shares: column with the numbers of cells.
    target : str
        Target shares, such as "progenitor=0.7,cycling=0.3": adds scores.
    fdr : float
        False discovery rate up to which perturbations are called.
    table : Path
        Table of all perturbations and states to write (TSV).

    Returns
    -------
    Answer

    Raises
    ------
    InputError
        If the file cannot be read, an option says nothing of its kind, or ``fdr`` is not between 0 and 1.
    """
    if not 0 < fdr < 1:
        raise InputError(f"perturbation_score: {flag('fdr', fdr)} must be between 0 and 1.")
    both: dict[str, Any] = {"control": control, "replicate": replicate, "states": states or None}
    with by_flags():
        if file.suffix == ".h5ad":
            refuse(file, "an AnnData file", {"split": split, "long": long, "drop": drop, "cells": cells})
            both |= {"condition": condition or "condition", "state": state or "state"}
            told = readers.h5ad([file], **both, layer=layer)
        else:
            refuse(file, "a table", {"state": state, "layer": layer})
            refuse(file, "a long table", {"condition": condition if long else None})
            both |= {"split": split, "long": long, "drop": drop, "cells": cells}
            told = readers.table([file], conditions=condition or "auto", **both)
    owner = [str(name) for name in told["condition"]] if "condition" in told else None
    found = hits(told["count"], control, replicates=owner, target=target)
    probability, rate = found["effect_probability"].to_numpy(), found["fdr"].to_numpy()
    likeliest = np.lexsort([found["perturbation"].to_numpy().astype(str), -probability])
    called = int((rate <= fdr).sum())
    notes = [
        f"{called} of {len(rate)} perturbations change{'s' * (called == 1)} the states at a false discovery rate of "
        f"{fdr:g}.",
        "Share without an effect, on the cautious side (ten perturbations without one are added to those of the file): "
        f"{found.attrs['share_without_effect']:.0%}.",
    ]
    if owner is not None and len(set(owner)) < len(owner):
        concentration = found.attrs["replicate_concentration"]
        notes.append(
            f"Concentration of the replicates around their perturbation: {concentration:.3g} (the larger, the better "
            "they agree)."
            if np.isfinite(concentration)
            else "Replicates of a perturbation differ no more than their numbers of cells explain."
        )
    else:
        if owner is not None:
            notes.append("No perturbation has two replicates.")
        notes.append(
            "Without replicates, differences between wells count as effects: if there are replicates, name their "
            "column."
        )
    if table is not None:
        frame = found.isel(perturbation=likeliest).to_dataframe(dim_order=["perturbation", "state"])
        with replacing(table) as temporary:
            frame.to_csv(temporary, sep="\t", float_format="%.6g", lineterminator="\n")
        notes.append(
            f"Written: {table}: a row for each perturbation and state, with the 90% interval of log2_fold (low, high)."
        )
    kinds = found["state"].to_numpy().astype(str)
    rows = [["perturbation", "cells", "P(effect)", "FDR", "clearest change (log2 fold, 90% interval)"]]
    for p in likeliest[:SHOWN]:
        k = int(np.argmin(found["lfsr"].to_numpy()[p]))
        fold, low, high = (float(found[part].to_numpy()[p, k]) for part in ("log2_fold", "low", "high"))
        change = (
            f"{named('state', kinds[k])} {_signed(fold)} ({_signed(low)} to {_signed(high)})"
            if low or high
            else "none is likely"
        )
        name = str(found["perturbation"].to_numpy()[p])
        rows.append(
            [
                name,
                f"{int(found['cells'].to_numpy()[p]):,}",
                f"{probability[p]:.3f}",
                short(float(rate[p])),
                change,
            ]
        )
    return Answer(
        f"Perturbations of {file.name} against {control}",
        {f"The {len(rows) - 1} perturbations most likely to have an effect": rows},
        notes,
        lambda: [_drawn(found.isel(perturbation=likeliest))],
    )


def _drawn(found: xr.Dataset) -> Titled:
    from .figures import effects  # imported for a page only

    return effects(found)


def _signed(change: float) -> str:
    """Write a log2 fold change with its sign; one that is rounded to nothing has none."""
    text = f"{change:+.2f}".replace("-", "\u2212")
    return "0" if text[1:] == "0.00" else text


def refuse(file: Path, kind: str, options: Mapping[str, str | None]) -> None:
    """Refuse options that say nothing of a kind of file."""
    for name, value in options.items():
        if value:
            raise InputError(f"{file}: {flag(name, value)} says nothing of {kind}. {REMEDY[name]}")
