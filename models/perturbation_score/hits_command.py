"""The command ``genarium hits``: from cells, or counts by state, to the perturbations that change the states."""

from pathlib import Path

import numpy as np

from genarium.declaration import Answer
from genarium.writing import replacing

from . import readers
from .hits import hits

SHOWN = 20
"""Perturbations in the answer, at most."""


def hits_of_file(
    file: Path,
    *,
    control: str,
    condition: str = "condition",
    state: str = "state",
    replicate: str | None = None,
    split: str | None = None,
    long: str = "",
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
        Column of ``obs`` with the perturbations.
    state : str
        Column of ``obs`` with the states.
    replicate : str
        Column with the replicates (wells, animals, guides), if there are any.
    split : str
        Of a table: what stands between the names of a perturbation and of its replicate.
    long : str
        Of a long table: its columns with the perturbations, the states and the numbers of cells, with commas between.
    target : str
        Wanted shares, such as "progenitor=0.7,cycling=0.3": scores are added.
    fdr : float
        False discovery rate up to which perturbations are called.
    table : Path
        Table of all perturbations and states to write (TSV).

    Returns
    -------
    Answer
    """
    if file.suffix == ".h5ad":
        told = readers.h5ad([file], condition=condition, state=state, control=control, replicate=replicate)
    else:
        told = readers.table([file], control=control, replicate=replicate, split=split, long=long)
    owner = [str(name) for name in told["condition"]] if "condition" in told else None
    found = hits(told["count"], control, replicates=owner, target=target)
    probability, rate = found["effect_probability"].to_numpy(), found["fdr"].to_numpy()
    order = np.lexsort([found["perturbation"].to_numpy().astype(str), -probability])
    notes = [
        f"{int((rate <= fdr).sum())} of {len(rate)} perturbations change the states at a false discovery rate of "
        f"{fdr:g}.",
        f"{found.attrs['share_without_effect']:.0%} are estimated to have no effect.",
    ]
    if owner is not None:
        concentration = found.attrs["replicate_concentration"]
        notes.append(f"Concentration of the replicates around their perturbation: {concentration:.3g}.")
    else:
        notes.append(
            "Without replicates, differences between wells count as effects: if there are replicates, name their "
            "column."
        )
    if table is not None:
        frame = found.isel(perturbation=order).to_dataframe(dim_order=["perturbation", "state"])
        with replacing(table) as temporary:
            frame.to_csv(temporary, sep="\t", float_format="%.6g", lineterminator="\n")
        notes.append(f"Written: {table}.")
    states = found["state"].to_numpy().astype(str)
    rows = [["perturbation", "cells", "P(effect)", "FDR", "clearest change"]]
    for p in order[:SHOWN]:
        k = int(np.argmin(found["lfsr"].to_numpy()[p]))
        change = f"{states[k]} {found['log2_fold'].to_numpy()[p, k]:+.2f} log2"
        name = str(found["perturbation"].to_numpy()[p])
        rows.append([name, str(int(found["cells"].to_numpy()[p])), f"{probability[p]:.3f}", f"{rate[p]:.3f}", change])
    return Answer("Hits", {f"The {len(rows) - 1} perturbations most likely to have an effect": rows}, notes)
