"""Cohorts: what salmon, kallisto, other programs, or fits of this model, say of many samples, as one dataset.

Sizes: N samples, R replicates, K features (transcripts, or genes where the tool counts genes).
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import listed
from genarium.readers.samples import Samples, read_samples
from genarium.tree import load, save

from .quantified import One, read_one, thinned

GROUP = "cohort"
"""Group of a cohort in a netCDF file."""

RESERVED = {"transcript", "gene", "replicate", "replicates", "counts", "tpm", "effective_length", "program"}
"""Names that no column of a table of samples may have."""


def cohort(samples: Samples, *, most_replicates: int = 100) -> xr.Dataset:
    """Read many samples.

    Parameters
    ----------
    samples : path, mapping or sequence of paths
        A table (CSV, TSV) with the columns ``sample`` and ``path`` (from its folder), whose other columns become
        coordinates of the samples; or paths by sample; or paths, whose names name the samples. A path is an output
        folder of salmon, kallisto, RSEM, oarfish, alevin, alevin-fry or bustools (whose cells are added up),
        ``abundance.tsv`` or ``.h5`` of kallisto, ``*.isoforms.results`` or ``*.genes.results`` of RSEM, ``*.quant`` of
        oarfish or piscem, or a fit of this model (``.nc``).
    most_replicates : int
        Bootstrap samples, or draws of a posterior, that are kept of each sample, evenly spaced.

    Returns
    -------
    Dataset
        ``counts``, ``tpm`` and ``effective_length`` (sample, transcript; or gene); ``replicates`` (sample, replicate,
        transcript), counts in single precision, where every sample has some, as many as all have. The attribute
        ``replicates`` says of what kind: "bootstrap", "gibbs", "posterior", "mixed", or "none"; ``notes`` what was left
        out, by line. The coordinate ``program`` says what wrote each sample.

    Raises
    ------
    InputError
        With file, line, value and remedy; of samples that do not have the same transcripts.
    """
    if most_replicates < 1:
        raise InputError(f"most_replicates={most_replicates} must be at least 1.")
    files, about = read_samples(samples)
    several = [name for name, some in files.items() if len(some) > 1]
    if several:
        raise InputError(f"sample {several[0]!r}: several files. Fit them first (`genarium fit-each`), or give one.")
    if taken := RESERVED & about.keys():
        raise InputError(f"{samples}: the column {min(taken)!r} has the name of what a cohort holds itself. Rename it.")
    paths = {name: some[0] for name, some in files.items()}
    read = [read_one(path, most_replicates) for path in paths.values()]
    names, unit = read[0]["name"], read[0]["unit"]
    _same_features(list(paths.values()), read)
    stacked = {name: np.array([one[name] for one in read]) for name in ("counts", "tpm", "effective_length")}
    found: dict[str, Any] = {name: (("sample", unit), values) for name, values in stacked.items()}
    empty = _without_reads(paths, read)
    kind, notes = _kind(paths, read)
    notes += empty
    notes += _without_length(names, unit, stacked["effective_length"] == 0, stacked["counts"])
    if kind != "none":
        many = min(len(one["replicates"]) for one in read)
        drawn = np.stack([thinned(one["replicates"], many) for one in read])
        found["replicates"] = (("sample", "replicate", unit), drawn)
        if len({len(one["replicates"]) for one in read}) > 1:
            notes.append(f"Samples have unlike numbers of replicates: {many} of each are kept, evenly spaced.")
    for name, one in zip(paths, read, strict=True):
        notes += [f"{name}: {note}." for note in one["notes"]]
    coords = {"sample": list(paths), unit: np.array(names), **{n: ("sample", v) for n, v in about.items()}}
    coords["program"] = ("sample", [one["program"] for one in read])
    return xr.Dataset(found, coords, {"replicates": kind, "notes": "\n".join(notes)})


def _same_features(paths: list[Path], read: list[One]) -> None:
    """Bring all samples into the order of the first.

    Raises
    ------
    InputError
        If they do not have the same features.
    """
    first = read[0]
    order = {str(name): i for i, name in enumerate(first["name"])}
    if len(order) < len(first["name"]):
        name = next(name for i, name in enumerate(first["name"]) if order[str(name)] != i)
        raise InputError(f"{paths[0]}: the {first['unit']} {name!r} stands in it twice. Names must be unique.")
    for path, one in zip(paths, read, strict=True):
        if one["unit"] != first["unit"]:
            raise InputError(
                f"{path}: it counts {one['unit']}s, but {paths[0]} counts {first['unit']}s. Give one kind; transcripts "
                "can be added up to genes."
            )
        if one["name"] == first["name"]:
            continue
        if len(one["name"]) != len(order) or set(one["name"]) != set(order):
            odd = sorted(set(one["name"]) ^ set(order)) or ["one that stands in it twice"]
            raise InputError(
                f"{path}: its {one['unit']}s are not those of {paths[0]} ({listed(odd, 3)}). Quantify all samples with "
                "one index."
            )
        at = np.argsort([order[name] for name in one["name"]])
        for name in {"counts", "tpm", "effective_length", "replicates"} & set(one):
            one[name] = one[name][..., at]


def _without_reads(paths: dict[str, Path], read: list[One]) -> list[str]:
    """Say which samples have no reads; where others have replicates, theirs are zeros, too."""
    known = next((one for one in read if one["kind"] != "none"), None)
    none = {name: one for (name, _), one in zip(paths.items(), read, strict=True) if not one["counts"].any()}
    for one in none.values():
        if known is not None and one["kind"] == "none":
            one |= {"kind": known["kind"], "replicates": np.zeros_like(known["replicates"])}
    return [f"{name}: no read is counted ({paths[name]}): kept, as zeros." for name in none]


def _kind(paths: dict[str, Path], read: list[One]) -> tuple[str, list[str]]:
    """Return of what kind the replicates are, and what is to be said of them."""
    kinds = {one["kind"] for one in read}
    if kinds == {"none"}:
        return "none", [
            "The samples have no replicates (bootstraps, Gibbs samples): how uncertain their quantification is, is not "
            "known, and comparisons allow for the noise of counting alone."
        ]
    if "none" not in kinds:
        return (kinds.pop() if len(kinds) == 1 else "mixed"), []
    lacking = [str(path) for path, one in zip(paths.values(), read, strict=True) if one["kind"] == "none"]
    said = f"{listed(lacking, 3)}: no replicates, so that those of the other samples are left out too."
    warnings.warn(said, stacklevel=3)
    return "none", [said]


def _without_length(names: list[str], unit: str, zero: Array, counts: Array) -> list[str]:
    """Say which features have an effective length of zero (N, K) in a sample, and how many reads they have there."""
    some = [name for name, any_zero in zip(names, zero.any(0), strict=True) if any_zero]
    if not some:
        return []
    said = f"{len(some):,} {unit}{' has' if len(some) == 1 else 's have'} an effective length of 0 in a sample or more"
    return [f"{said} ({listed(some, 3)}), with {counts[zero].sum():,.0f} reads there: kept as they are."]


def feature(cohort: xr.Dataset) -> str:
    """Return the dim of a cohort's features: "transcript", or "gene"."""
    return str(next(dim for dim in cohort["counts"].dims if dim != "sample"))


def save_cohort(cohort: xr.Dataset, path: str | Path) -> Path:
    """Write a cohort to a netCDF file, whole or not at all."""
    return save(xr.DataTree.from_dict({GROUP: cohort}), path)


def open_cohort(path: str | Path, *, most_replicates: int = 100) -> xr.Dataset:
    """Read a cohort from a file of :func:`save_cohort`, or its samples from a table (:func:`cohort`).

    Raises
    ------
    InputError
    """
    path = Path(path)
    if path.suffix.lower() not in (".nc", ".nc4", ".h5"):
        return cohort(path, most_replicates=most_replicates)
    tree = load(path)
    if GROUP not in tree:
        raise InputError(f"{path}: this is not a cohort. Write one with `genarium transcripts cohort`.")
    return tree[GROUP].to_dataset()


def replicates_of(cohort: xr.Dataset) -> Array | None:
    """Return the replicates (N, R, K), or None."""
    return cohort["replicates"].to_numpy() if "replicates" in cohort else None
