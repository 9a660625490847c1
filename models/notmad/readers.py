"""Readers of expression with contexts: tables and AnnData; and the split into training and test samples."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import options
from genarium.readers.files import existing
from genarium.readers.messages import absent
from genarium.readers.tables import read_sheet


def table(
    paths: Sequence[Path],
    *,
    context: str | Sequence[str] = "",
    nodes: str | Sequence[str] | None = None,
    samples: str | None = "auto",
    standardise: bool = True,
) -> Mapping[str, Any]:
    """Read a table with a row a sample, and columns of nodes and of contexts.

    Parameters
    ----------
    paths : sequence of Path
        One file: CSV, TSV, white space or Parquet, compressed or not.
    context : str or sequence of str
        Columns of the context (a comma between them). A column of text becomes one covariate for each of its levels
        but the first, named ``column=level``.
    nodes : str or sequence of str, optional
        Columns of the nodes. Default: every other column that holds numbers.
    samples : str, optional
        Column with the samples' names; "auto" for the first, if it holds text that is not a context; None for none.
    standardise : bool
        Bring every node and every numeric covariate to mean zero and variance one, over all rows. To standardise by
        training samples alone, pass false and use :func:`split`.

    Returns
    -------
    dict
        ``x``: DataFrame (sample, node); ``context``: DataFrame (sample, covariate).

    Raises
    ------
    InputError
        Naming file, column and remedy.
    """
    options.only_texts("table", samples=samples)
    found = existing("table", paths)
    if len(found) != 1:
        raise InputError(f"reader 'table': {len(found)} files were given; join them into one table first.")
    path = found[0]
    sheet = read_sheet(path, None)
    frame, asked = sheet.frame, options.names("context", context)
    if not asked:
        raise InputError(
            f"{path}: name the columns of the context, context='<a>,<b>'. It has {', '.join(sheet.names)}."
        )
    chosen = options.names("nodes", nodes)
    for name in [*asked, *chosen]:
        if name not in sheet.names:
            raise absent(path, "column", name, sheet.names)
    first = sheet.names[0]
    text = not sheet.is_numeric(first) and first not in asked
    key = (first if text else None) if samples == "auto" else samples
    chosen = chosen or [n for n in sheet.names if n not in asked and n != key and sheet.is_numeric(n)]
    if both := [name for name in chosen if name in asked]:
        raise InputError(f"{path}: column {both[0]!r} is a node and a context. A target must not be its own context.")
    x = {name: sheet.numbers(name, f"leave {name!r} out of nodes").astype(float) for name in chosen}
    numeric = {n: sheet.numbers(n, f"leave {n!r} out of context").astype(float) for n in asked if sheet.is_numeric(n)}
    texts = {name: frame[name].astype(str).to_numpy() for name in asked if name not in numeric}
    rows = frame[key].astype(str).to_numpy() if key is not None else None
    return _variables(str(path), x, {n: numeric.get(n, texts.get(n)) for n in asked}, rows, standardise)


def h5ad(
    paths: Sequence[Path],
    *,
    context: str | Sequence[str] = "",
    nodes: str | Sequence[str] | None = None,
    layer: str | None = None,
    standardise: bool = True,
) -> Mapping[str, Any]:
    """Read an AnnData file: nodes are genes (``var``), contexts columns of ``obs`` or of a matrix in ``obsm``.

    Parameters
    ----------
    paths : sequence of Path
        One file.
    context : str or sequence of str
        Columns of ``obs``, or the name of a matrix in ``obsm`` for all of its columns (``X_pca``).
    nodes : str or sequence of str, optional
        Genes. Default: all.
    layer : str, optional
        Layer with the (transformed) expression. Default: X.
    standardise : bool
        As in :func:`table`.

    Returns
    -------
    dict
        ``x``, ``context``.

    Raises
    ------
    InputError
        Naming file, column and remedy.
    """
    import anndata

    found = existing("h5ad", paths)
    if len(found) != 1:
        raise InputError(f"reader 'h5ad': {len(found)} files were given; concatenate them first.")
    path = found[0]
    data = anndata.read_h5ad(path)
    chosen = options.names("nodes", nodes) or [str(name) for name in data.var_names]
    if odd := [name for name in chosen if name not in data.var_names]:
        raise absent(path, "gene", odd[0], data.var_names)
    if layer is not None and layer not in data.layers:
        raise absent(path, "layer", layer, data.layers)
    part = data[:, chosen]
    matrix = part.X if layer is None else part.layers[layer]
    dense = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=float)
    columns: dict[str, Any] = {}
    for name in options.names("context", context):
        if name in data.obs:
            values = data.obs[name].to_numpy()
            columns[name] = values.astype(float) if data.obs[name].dtype.kind in "biuf" else values.astype(str)
        elif name in data.obsm:
            block = np.asarray(data.obsm[name], dtype=float)
            columns |= {f"{name}{j}": block[:, j] for j in range(block.shape[1])}
        else:
            raise absent(path, "column of obs or matrix of obsm", name, [*data.obs.columns, *data.obsm])
    if not columns:
        raise InputError(f"{path}: name the context, context='<columns of obs, or a matrix of obsm>'.")
    x = {name: dense[:, j] for j, name in enumerate(chosen)}
    return _variables(str(path), x, columns, np.asarray(data.obs_names.astype(str)), standardise)


def _variables(
    path: str, x: Mapping[str, Array], context: Mapping[str, Any], rows: Array | None, standardise: bool
) -> dict[str, Any]:
    import pandas as pd

    coded: dict[str, Array] = {}
    for name, values in context.items():
        if values.dtype.kind == "f":
            coded[name] = values
            continue
        levels = np.unique(values)
        if len(levels) < 2:
            raise InputError(f"{path}: context {name!r} has one level, {levels[0]!r}. Leave it out.")
        coded |= {f"{name}={level}": (values == level).astype(float) for level in levels[1:]}
    if not x:
        raise InputError(f"{path}: no column is left for the nodes. Name them with nodes='<a>,<b>'.")
    index = pd.RangeIndex(len(next(iter(x.values())))) if rows is None else pd.Index(rows)
    tables = [pd.DataFrame(dict(part), index=index) for part in (x, coded)]
    if standardise:
        for frame in tables:
            for name in frame.columns:
                spread = float(frame[name].std(ddof=0))
                if spread > 0 and not ("=" in str(name) and name in coded):
                    frame[name] = (frame[name] - frame[name].mean()) / spread
    return {"x": tables[0], "context": tables[1]}


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
        standard deviations; fits keep it.

    Raises
    ------
    InputError
        If one of the parts would have no samples, or a node or covariate is constant over the training samples.
    """
    x, context = tree["observed_data"]["x"], tree["constant_data"]["context"]
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
            new[group] = dataset.isel(sample=rows).assign({name: data[name].isel(sample=rows)})
        part = xr.DataTree.from_dict(new)
        sizes = {**json.loads(tree.attrs.get("sizes", "{}")), "sample": len(rows)}
        part.attrs = {**tree.attrs, "sizes": json.dumps(sizes), "preparation": json.dumps(told)}
        out.append(part)
    return out[0], out[1]
