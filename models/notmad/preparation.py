"""Split into training and test samples, and standardisation by the training samples, saved with the data."""

import json
import warnings
from typing import Any

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.errors import InputError
from genarium.readers.messages import listed

from .encoder import SCALE

GROUPS = {"x": "observed_data", "context": "constant_data"}


def unscaled(dataset: xr.Dataset) -> xr.Dataset:
    """Leave out the covariates' mean and spread, which are of other samples or another scale."""
    return dataset.drop_vars(SCALE, errors="ignore")


def split(
    tree: xr.DataTree, test: float = 0.25, seed: int = 0, *, standardise: bool = True
) -> tuple[xr.DataTree, xr.DataTree]:
    """Split data into training and test samples, and standardise both by the training samples.

    Parameters
    ----------
    tree : DataTree
        With ``context`` and ``x``, from ``read`` or ``simulate``.
    test : float
        Share of test samples.
    seed : int
        Of the split.
    standardise : bool
        Bring nodes and covariates to mean zero and variance one over the training samples.

    Returns
    -------
    training, test : DataTree
        Their attribute ``preparation`` holds, as JSON, the seed, the positions of the training samples, and means and
        standard deviations; fits keep it. Data that are read later are brought to the same scale by :func:`prepare`.

    Raises
    ------
    InputError
        If one of the parts would have no samples, or a node or covariate is constant over the training samples.
    """
    x, context = tree["observed_data"]["x"], tree["constant_data"]["context"]
    if standardise and "reader_options" in tree.attrs and attribute(tree, "reader_options").get("standardise", True):
        warnings.warn(
            "notmad: these data were standardised over all samples when they were read, so that the test samples have "
            "had a part in it and the means saved are near zero. Read them with standardise=False before the split.",
            UserWarning,
            stacklevel=2,
        )
    n = x.sizes["sample"]
    held = round(test * n)
    if not 0 < held < n - 1:
        raise InputError(
            f"notmad: test={test!r} of {n} samples leaves {n - held} for training and {held} for the test."
        )
    order = np.random.default_rng(seed).permutation(n)
    parts = np.sort(order[held:]), np.sort(order[:held])
    told: dict[str, Any] = {"seed": seed, "test": test, "training_samples": parts[0].tolist()}
    data = {}
    for name, values in (("x", x), ("context", context)):
        training = values.isel(sample=parts[0])
        mean, spread = training.mean("sample"), training.std("sample")
        if standardise and not (spread > 0).all():
            dim = str(spread.dims[0])
            worst = spread[dim].to_numpy()[int(spread.to_numpy().argmin())]
            raise InputError(f"notmad: {dim} {worst!s} of {name!r} is constant over the training samples. Drop it.")
        data[name] = (values - mean) / spread if standardise else values
        if standardise:
            told[name] = {"mean": mean.to_numpy().tolist(), "sd": spread.to_numpy().tolist()}
    out = []
    for rows in parts:
        groups = {group: tree[group].to_dataset().copy() for group in ("constant_data", "observed_data")}
        new = {}
        for group, dataset in groups.items():
            name = "x" if group == "observed_data" else "context"
            new[group] = unscaled(dataset).isel(sample=rows).assign({name: data[name].isel(sample=rows)})
        part = xr.DataTree.from_dict(new)
        sizes = {**attribute(tree, "sizes"), "sample": len(rows)}
        part.attrs = {**tree.attrs, "sizes": json.dumps(sizes), "preparation": json.dumps(told)}
        out.append(part)
    return out[0], out[1]


def prepare(tree: xr.DataTree, like: xr.DataTree) -> xr.DataTree:
    """Standardise data by the means and standard deviations that are saved with others, or with a fit to them.

    Parameters
    ----------
    tree : DataTree
        With ``context`` and ``x`` as they were measured: read with ``standardise=False``.
    like : DataTree
        Training data of :func:`split`, or a fit to these.

    Returns
    -------
    DataTree
        With the attribute ``preparation`` of ``like``.

    Raises
    ------
    InputError
        If nothing is saved with ``like``, or its nodes or covariates are others.
    """
    told = attribute(like, "preparation")
    if not {"x", "context"} <= set(told):
        raise InputError(
            "notmad: no means and standard deviations are saved with the data to prepare like (attribute "
            "'preparation'). Make them by preparation.split, with standardise=True."
        )
    groups = {str(name): node.to_dataset() for name, node in tree.children.items()}
    for name, group in GROUPS.items():
        values = tree[group][name]
        dim = str(values.dims[1])
        here, there = (t[group].to_dataset()[dim].to_numpy().astype(str) for t in (tree, like))
        if list(here) != list(there):
            raise InputError(
                f"notmad: the {dim}s of {name!r} are {listed(here)}; those prepared like are {listed(there)}. Give the "
                "same, in the same order."
            )
        mean, spread = (np.array(told[name][key]) for key in ("mean", "sd"))
        groups[group] = unscaled(groups[group]).assign({name: (values - mean) / spread})
    out = xr.DataTree.from_dict(groups)
    out.attrs = {**tree.attrs, "preparation": like.attrs["preparation"]}
    return out
