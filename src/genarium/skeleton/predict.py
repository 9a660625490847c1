"""Predictions: the counts that samples of a given exposure are expected to have."""

import xarray as xr

from genarium.declaration import Labelled, Problem


def predict(fitted: xr.DataTree, problem: Problem) -> dict[str, Labelled]:
    """Predict the counts of samples from a fitted tree.

    Parameters
    ----------
    fitted : DataTree
        With the group ``posterior`` or ``point``.
    problem : Problem
        The samples; genes as in the fit.

    Returns
    -------
    dict
        ``expected`` (sample, gene): posterior mean of the expected count (eq. 7), or its value at a point estimate.
    """
    rate = fitted["posterior"]["rate"].mean(("chain", "draw")) if "posterior" in fitted else fitted["point"]["rate"]
    return {"expected": (("sample", "gene"), problem["exposure"][:, None] * rate.to_numpy())}
