"""What a fit found, in the words and units of its users: the report and ``diagnose`` begin with it."""

import numpy as np
import xarray as xr

from genarium.declaration import Answer
from genarium.found import cells, centre_and_ends, heads, short

MOST = 10
"""Genes in the table, those of the highest rates."""


def found(tree: xr.DataTree) -> Answer:
    """Return the rates of a fit by any method: sentences, the most wanted one first, and a small table."""
    rate, ends = centre_and_ends(tree, "rate")
    names = tree["observed_data"]["gene"].to_numpy()
    order = np.argsort(-rate, kind="stable")[:MOST].tolist()
    rows = [["gene", *heads("rate", ends)], *([str(names[d]), *cells(rate, ends, d)] for d in order)]
    notes = [f"The highest of {len(rate):,} rates is that of gene {names[order[0]]}: {short(float(rate[order[0]]))}."]
    return Answer("Rates of the genes", {"The highest rates": rows}, notes)
