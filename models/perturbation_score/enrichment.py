"""Programs by their genes: tables, and sets of genes that a program moves, against a user's .gmt file."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.files import existing
from genarium.readers.messages import listed
from genarium.remedies import option, warn
from genarium.writing import replacing

SMALLEST, LARGEST = 5, 500
"""Sets with fewer or more of the measured genes are left out, as usual."""


def read_gmt(path: str | Path) -> dict[str, list[str]]:
    """Read sets of genes: a line for each, with its name, a description and its genes, between tabs.

    Parameters
    ----------
    path : str or Path
        In GMT format, as MSigDB has them.

    Returns
    -------
    dict of str to list of str
        Genes by the name of their set, each once, in the order of the file.

    Raises
    ------
    InputError
        Naming file and line.
    """
    (file,) = existing("gmt", [Path(path)])
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        name, *rest = [part.strip() for part in line.split("\t")]
        if len(rest) < 2 or not name:
            raise InputError(
                f"{file}: line {number} has {len(rest) + 1} fields between tabs, but a set needs a name, a description "
                "and genes. Correct it."
            )
        if name in sets:
            raise InputError(f"{file}: line {number}: the set {name!r} was there before. Name the sets apart.")
        sets[name] = [gene for gene in dict.fromkeys(rest[1:]) if gene]
    if not sets:
        raise InputError(f"{file} holds no set of genes. Give another file.")
    return sets


def programs(fit: xr.DataTree, top: int = 10) -> xr.Dataset:
    """Describe the programs of a fit by the statistic.

    Parameters
    ----------
    fit : DataTree
    top : int
        Genes that name a program.

    Returns
    -------
    Dataset
        ``total_loading`` and ``total_loading_z`` (program, gene), ``reliability`` and ``name`` (program): its first
        genes, + or - after how they go; ``activity``, ``moved`` and ``moved_fdr`` (perturbation, program).

    Raises
    ------
    InputError
        If the fit has no programs.
    """
    point = fit["point"].to_dataset() if "point" in fit else xr.Dataset()
    if "total_loading_z" not in point:
        raise InputError("perturbation_score: the fit has no programs. Fit cells by the method 'statistic'.")
    genes, z = point["gene"].to_numpy().astype(str), point["total_loading_z"].to_numpy()
    first = np.argsort(-np.abs(z), axis=1, kind="stable")[:, :top]
    label = [", ".join(f"{genes[g]}{'+' if z[j, g] > 0 else '-'}" for g in row) for j, row in enumerate(first)]
    names = ("total_loading", "total_loading_z", "reliability", "activity", "activity_se", "moved", "moved_fdr")
    return point[list(names)].assign(name=(("program",), np.array(label)))


def enrichment(fit: xr.DataTree, sets: str | Path | Mapping[str, Collection[str]]) -> Any:
    """Test which sets of genes a program moves: ranks of their loadings against those of all other genes.

    Parameters
    ----------
    fit : DataTree
    sets : path of a .gmt file, or mapping of names to genes
        Genes are found by the names that the data have.

    Returns
    -------
    DataFrame
        A row for each program and set: ``genes`` (of the set, measured), ``z`` (above zero: up where the program is
        active), ``p`` (two-sided rank test) and ``fdr`` over all rows, the surest first. ``attrs["left_out"]``: the
        sets that have fewer than 5 of the genes, more than 500 or all of them, and how many they have.

    Raises
    ------
    InputError
        If no set has enough of the genes.
    """
    import pandas as pd
    from scipy.stats import false_discovery_control

    told = programs(fit)
    known = read_gmt(sets) if isinstance(sets, str | Path) else sets
    genes = told["gene"].to_numpy().astype(str)
    every = {name: np.isin(genes, list(members)) for name, members in known.items()}
    member = {name: at for name, at in every.items() if SMALLEST <= at.sum() <= min(LARGEST, len(genes) - 1)}
    if not member:
        raise InputError(
            f"perturbation_score: none of {len(known)} sets has between {SMALLEST} and {LARGEST} of the {len(genes)} "
            f"genes of the data (such as {str(genes[0])!r}). Give sets with the same kind of names."
        )
    loading = told["total_loading_z"].to_numpy()
    rows = [
        {"program": told["program"].to_numpy()[j], "set": name, "genes": int(at.sum()), **ranked(loading[j], at)}
        for j in range(len(loading))
        for name, at in member.items()
    ]
    frame = pd.DataFrame(rows)
    frame["fdr"] = false_discovery_control(frame["p"])
    frame = frame.sort_values(["p", "program", "set"], kind="stable", ignore_index=True)
    frame.attrs["left_out"] = {name: int(at.sum()) for name, at in every.items() if name not in member}
    return frame


def ranked(value: Array, at: Array) -> dict[str, float]:
    """Compare the ranks of some values with those of the others: z, and a two-sided p (1 where all values are one)."""
    from scipy.stats import mannwhitneyu

    if (value == value[0]).all():  # a program that no perturbation moves
        return {"z": 0.0, "p": 1.0}
    found = mannwhitneyu(value[at], value[~at], alternative="two-sided", method="asymptotic")
    a, b = int(at.sum()), int((~at).sum())
    z = (found.statistic - a * b / 2) / np.sqrt(a * b * (a + b + 1) / 12)
    return {"z": float(z), "p": float(found.pvalue)}


def write_programs(tree: xr.DataTree, path: Path) -> list[Path]:
    """Write loadings of the programs (TSV): a row for each program and gene, the surest first.

    Parameters
    ----------
    tree : DataTree
    path : Path
        A second file, with ``.perturbations`` before its ending, says who moves them.

    Returns
    -------
    list of Path
    """
    told = programs(tree)
    loadings = told[["total_loading", "total_loading_z"]].to_dataframe().reset_index()
    loadings["size"] = -loadings["total_loading_z"].abs()
    loadings = loadings.sort_values(["program", "size"], kind="stable").drop(columns="size")
    moved = (
        told[["activity", "activity_se", "moved", "moved_fdr"]]
        .to_dataframe()
        .reset_index()
        .sort_values("moved_fdr", kind="stable")
    )
    second = path.with_name(f"{path.stem}.perturbations{path.suffix}")
    for file, frame in ((path, loadings), (second, moved)):
        with replacing(file) as temporary:
            frame.to_csv(temporary, sep="\t", index=False, float_format="%.6g", lineterminator="\n")
    return [path, second]


def write_enrichment(tree: xr.DataTree, path: Path, *, gmt: str = "") -> list[Path]:
    """Write which sets of genes the programs move (TSV), with false discovery rates.

    Parameters
    ----------
    tree : DataTree
    path : Path
    gmt : str
        File of gene sets.

    Returns
    -------
    list of Path
    """
    if not gmt:
        raise InputError(f"perturbation_score: gene sets are missing. Name a .gmt file: {option('gmt', 'FILE')}.")
    frame = enrichment(tree, gmt)
    if left := frame.attrs["left_out"]:
        warn(
            f"perturbation_score: {gmt}: {len(left)} of {len(left) + frame['set'].nunique()} sets were left out, as "
            f"they have fewer than {SMALLEST} of the genes of the data, more than {LARGEST}, or all: "
            + listed([f"{name} ({count})" for name, count in left.items()])
            + "."
        )
    with replacing(path) as temporary:
        frame.to_csv(temporary, sep="\t", index=False, float_format="%.6g", lineterminator="\n")
    return [path]
