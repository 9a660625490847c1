"""Predictions as analysts keep them: beside the counts, in AnnData."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.words import plural
from genarium.writing import replacing

from .tenx import EXPRESSION, matrix

NAME = "nb_mixture"

MORE = {"effect": "covariate", "shift": "batch", "zero": ""}
"""Variables that only some variants have, and the dim whose labels go with them."""


def h5ad(fitted: xr.DataTree, predicted: xr.DataTree, source: Path, output: Path) -> None:
    """Write the cells of a file with their groups as AnnData.

    ``obs["nb_mixture_group"]`` (a category; missing for cells that were left out), ``obs["nb_mixture_probability"]``
    (that of the group), ``obs["nb_mixture_log_density"]``, ``obsm["nb_mixture_probability"]`` (cell, component),
    ``varm["nb_mixture_mu"]`` (gene, component; NaN for genes outside the fit), what else a gene has (``nb_mixture_phi``
    and ``nb_mixture_zero`` in ``var``, ``nb_mixture_shift`` in ``varm``), ``uns["nb_mixture"]`` (weights, other
    dispersions, effects of covariates, how the fit was made). Of a posterior, these are its means.

    Parameters
    ----------
    fitted, predicted : DataTree
    source : Path
        What was predicted for: AnnData, or a matrix of Cell Ranger.
    output : Path
    """
    import pandas as pd

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The 'future.infer_string' option is deprecated")
        before = attribute(fitted, "reader_options") if "reader_options" in fitted.attrs else {}
        held = _held(source, str(before.get("feature_type", EXPRESSION)))
        found = predicted["predictions"].to_dataset()
        names = pd.Index(found["cell"].to_numpy().astype(str))
        at = names.get_indexer(held.obs_names.str.strip())
        known = at >= 0
        components = [str(one) for one in found["component"].to_numpy()]
        probability = np.where(known[:, None], found["probability"].to_numpy()[at], np.nan)  # (cells, K)
        group = found["group"].to_numpy().astype(int)[at]
        held.obs[f"{NAME}_group"] = pd.Categorical.from_codes(
            np.where(known, group, -1).astype(np.int64), pd.Index(components)
        )
        held.obs[f"{NAME}_probability"] = np.where(known, probability[np.arange(len(at)), group], np.nan)
        held.obs[f"{NAME}_log_density"] = np.where(known, found["log_density"].to_numpy()[at], np.nan)
        held.obsm[f"{NAME}_probability"] = probability
        estimates = fitted["posterior" if "posterior" in fitted else "point"].to_dataset()
        lead = [dim for dim in ("chain", "draw") if dim in estimates.dims]
        means = {name: estimates[name].mean(lead) for name in ("pi", "phi", "mu", *MORE) if name in estimates}
        if "phi" not in means:
            means["phi"] = fitted["constant_data"].to_dataset()["phi"]
        genes = pd.Index(means["mu"]["gene"].to_numpy().astype(str)).get_indexer(held.var_names.str.strip())
        apart: dict[str, Any] = {}
        for name, values in means.items():
            if "gene" not in values.dims:
                apart[name] = np.atleast_1d(values.to_numpy())
                continue
            rows = values.transpose("gene", ...).to_numpy()[genes]
            rows = np.where((genes >= 0).reshape(-1, *[1] * (rows.ndim - 1)), rows, np.nan)
            (held.var if rows.ndim == 1 else held.varm)[f"{NAME}_{name}"] = rows
        labels = {dim: means[name][dim] for name, dim in MORE.items() if dim and name in means}
        held.uns[NAME] = {
            "components": np.array(components, dtype=object),
            **{plural(dim): one.to_numpy().astype(str).astype(object) for dim, one in labels.items()},
            **apart,
            "method": str(fitted.attrs["method"]),
            "claim": str(fitted.attrs["claim"]),
            "genarium_version": str(fitted.attrs.get("genarium_version", "")),
            "dispersion": str(attribute(fitted, "model_options").get("dispersion", "known")),
        }
        with replacing(output) as temporary:
            held.write_h5ad(temporary)


def _held(source: Path, feature_type: str) -> Any:
    """Return the AnnData of a file, or of the features of a type in a matrix of Cell Ranger."""
    import anndata
    import pandas as pd

    if source.suffix.lower() == ".h5ad":
        return anndata.read_h5ad(source)
    whole = matrix(source, feature_type)
    assert whole.rows is not None
    obs, var = pd.DataFrame(index=[str(name) for name in whole.rows]), pd.DataFrame(index=whole.columns)
    return anndata.AnnData(whole.entries, obs, var)
