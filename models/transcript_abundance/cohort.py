"""Cohorts: what salmon, kallisto, RSEM, oarfish or a fit of this model say of many samples, as one dataset.

Sizes: N samples, R replicates, K features (transcripts, or genes where the tool counts genes).
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import listed
from genarium.readers.tables import read_sheet

from .lines import lines, number, wrong
from .salmon import quant_sf, salmon_draws

Columns = Mapping[str, tuple[str, ...]]

KALLISTO: Columns = {
    "name": ("target_id",),
    "length": ("length",),
    "effective_length": ("eff_length",),
    "counts": ("est_counts",),
    "tpm": ("tpm",),
}
RSEM: Columns = {
    "name": ("transcript_id", "gene_id"),
    "length": ("length",),
    "effective_length": ("effective_length",),
    "counts": ("expected_count",),
    "tpm": ("TPM",),
}
OARFISH: Columns = {
    "name": ("tname", "target_name"),
    "length": ("len",),
    "effective_length": ("eeln", "len"),
    "counts": ("num_reads", "ecount"),
    "tpm": ("tpm",),
}
FILES = ("quant.sf", "quant.sf.gz", "abundance.h5", "abundance.tsv", "abundance.tsv.gz")
"""What is looked for in a folder, in this order."""

SHORTEST = 1.0
"""Nucleotides that stand in for an effective length of zero (RSEM's of transcripts shorter than fragments)."""


def cohort(
    samples: str | Path | Mapping[str, str | Path] | Sequence[str | Path], *, most_replicates: int = 100
) -> xr.Dataset:
    """Read many samples.

    Parameters
    ----------
    samples : path, mapping or sequence of paths
        A table (CSV, TSV) with the columns ``sample`` and ``path`` (from its folder), whose other columns become
        coordinates of the samples; or paths by sample; or paths, whose names name the samples. A path is an output
        folder of salmon or kallisto, ``abundance.tsv`` or ``.h5`` of kallisto, ``*.isoforms.results`` or
        ``*.genes.results`` of RSEM, ``*.quant`` of oarfish or piscem, or a fit of this model (``.nc``).
    most_replicates : int
        Bootstrap samples, or draws of a posterior, that are kept of each sample, evenly spaced.

    Returns
    -------
    Dataset
        ``counts``, ``tpm`` and ``effective_length`` (sample, transcript); ``replicates`` (sample, replicate,
        transcript), counts in single precision, where every sample has some, as many as all have. The attribute
        ``replicates`` says of what kind: "bootstrap", "gibbs", "posterior", or "none".

    Raises
    ------
    InputError
        With file, line, value and remedy; of samples that do not have the same transcripts.
    """
    paths, about = _sample_table(samples)
    read = [_one(path, most_replicates) for path in paths.values()]
    first_path, names = next(iter(paths.values())), read[0]["name"]
    order = {str(name): i for i, name in enumerate(names)}
    if len(order) < len(names):
        raise InputError(f"{first_path}: a transcript stands in it twice. Names must be unique.")
    stacked: dict[str, list[Array]] = {name: [] for name in ("counts", "tpm", "effective_length")}
    for path, one in zip(paths.values(), read, strict=True):
        if len(one["name"]) != len(names) or set(one["name"]) != set(order):
            odd = sorted(set(one["name"]) ^ set(order)) or ["one that stands in it twice"]
            raise InputError(
                f"{path}: its transcripts are not those of {first_path} ({listed(odd, 3)}). Quantify all samples with "
                "one index."
            )
        one["at"] = np.argsort([order[name] for name in one["name"]])
        for name, values in stacked.items():
            values.append(one[name][one["at"]])
    dims = ("sample", "transcript")
    found: dict[str, Any] = {name: (dims, np.array(values)) for name, values in stacked.items()}
    kinds = {one["kind"] for one in read}
    kind = kinds.pop() if len(kinds) == 1 else "none" if "none" in kinds else "mixed"
    if kind != "none":
        many = min(len(one["replicates"]) for one in read)
        found["replicates"] = (
            ("sample", "replicate", "transcript"),
            np.stack([one["replicates"][:many, one["at"]] for one in read]),
        )
    elif kinds:
        lacking = [str(path) for path, one in zip(paths.values(), read, strict=True) if one["kind"] == "none"]
        warnings.warn(
            f"{listed(lacking, 3)}: no replicates, so that those of the other samples are left out too.", stacklevel=2
        )
    coords = {"sample": list(paths), "transcript": np.array(names), **{n: ("sample", v) for n, v in about.items()}}
    return xr.Dataset(found, coords, {"replicates": kind})


def _sample_table(samples: Any) -> tuple[dict[str, Path], dict[str, Array]]:
    """Return paths by sample, and the columns of the table beside them."""
    if isinstance(samples, Mapping):
        return {str(name): Path(path) for name, path in samples.items()}, {}
    if not isinstance(samples, str | Path):
        paths = [Path(path) for path in samples]
        named = {path.name if path.is_dir() else path.name.partition(".")[0]: path for path in paths}
        if len(named) < len(paths):
            raise InputError("two samples have one name: give a table with the columns sample and path, or a mapping.")
        return named, {}
    table = Path(samples)
    sheet = read_sheet(table, key=None)
    columns = {str(name): np.asarray(sheet.frame[name]) for name in sheet.frame.columns}
    for name in ("sample", "path"):
        if name not in columns:
            raise InputError(f"{table}: there is no column {name!r} (the columns are {listed(list(columns), 9)}).")
    paths_of = {str(s): table.parent / str(p) for s, p in zip(columns["sample"], columns["path"], strict=True)}
    if len(paths_of) < len(columns["sample"]):
        raise InputError(f"{table}: a sample stands in it twice. Give each one row.")
    return paths_of, {name: v for name, v in columns.items() if name not in ("sample", "path")}


def _one(path: Path, most: int) -> dict[str, Any]:
    """Read a sample by the first reader that takes its file."""
    file = path
    if path.is_dir():
        file = next((path / name for name in FILES if (path / name).is_file()), path)
    if not file.is_file():
        raise InputError(f"{path}: there is no such file, or none of {', '.join(FILES)} in this folder.")
    readers: dict[tuple[str, ...], Callable[[Path, int], dict[str, Any]]] = {
        ("quant.sf", "quant.sf.gz"): _salmon,
        (".h5",): _kallisto_h5,
        (".nc",): _fit,
        ("abundance.tsv", "abundance.tsv.gz"): lambda p, _: _plain(p, KALLISTO),
        ("results", "results.gz"): lambda p, _: _plain(p, RSEM),
        (".quant", ".quant.gz"): lambda p, _: _plain(p, OARFISH),
    }
    for ends, reader in readers.items():
        if file.name.endswith(ends):
            return reader(file, most)
    for columns in (KALLISTO, RSEM, OARFISH):  # of another name: by its header
        if set(lines(file)[0].split("\t")) & set(columns["name"]):
            return _plain(file, columns)
    raise InputError(f"{file}: this is no output of salmon, kallisto, RSEM or oarfish, nor a fit (.nc).")


def _thinned(draws: Array, most: int) -> Array:
    at = np.unique(np.linspace(0, len(draws) - 1, min(most, len(draws))).astype(int))
    return np.asarray(draws[at], dtype=np.float32)


def _salmon(path: Path, most: int) -> dict[str, Any]:
    table, folder = quant_sf(path), path.parent
    one = {**table, "kind": "none"}
    if (folder / "aux_info" / "bootstrap").is_dir():
        tree = salmon_draws(folder)
        drawn = tree["posterior"]["counts"]
        full = np.zeros((drawn.sizes["draw"], len(table["name"])), dtype=np.float32)
        place = {name: i for i, name in enumerate(table["name"])}
        full[:, [place[str(name)] for name in drawn["transcript"].to_numpy()]] = drawn.to_numpy()[0]
        kind = str(tree.attrs["method"]).removeprefix("salmon-")
        one |= {"replicates": _thinned(full, most), "kind": kind}
    return one


def _kallisto_h5(path: Path, most: int) -> dict[str, Any]:
    import h5py

    from genarium.readers.hdf5 import look_over, unreadable

    what, remedy = "an abundance.h5 of kallisto", "Run `kallisto quant` again, or give abundance.tsv"
    look_over(path, what, remedy)
    try:
        with h5py.File(path, "r") as file:
            name = np.char.decode(np.asarray(file["aux/ids"]), "utf-8")
            length, counts = (
                np.asarray(file["aux/eff_lengths"], dtype=float),
                np.asarray(file["est_counts"], dtype=float),
            )
            bootstrap = file.get("bootstrap")
            drawn = [np.asarray(bootstrap[f"bs{i}"]) for i in range(len(bootstrap))] if bootstrap is not None else []
    except (KeyError, OSError, ValueError, TypeError, AttributeError) as error:
        raise unreadable(path, what, error, remedy) from error
    for values in (length, counts, *drawn):
        if values.shape != name.shape or not np.isfinite(values).all() or (values < 0).any():
            raise InputError(
                f"{path}: counts or lengths are not as many as the names, negative or not finite. {remedy}."
            )
    one: dict[str, Any] = {"name": list(name), "counts": counts, "kind": "none"}
    one["effective_length"] = np.maximum(length, SHORTEST)
    one["tpm"] = per_million(one["counts"], one["effective_length"])
    if drawn:
        one |= {"replicates": _thinned(np.array(drawn), most), "kind": "bootstrap"}
    return one


def _fit(path: Path, most: int) -> dict[str, Any]:
    from genarium.tree import load

    tree = load(path)
    if tree.attrs.get("model") != "transcript_abundance" or not {"posterior", "point"} & set(tree.children):
        raise InputError(f"{path}: this is no fit of transcript_abundance. Give what `genarium fit` has written.")
    data = tree["posterior" if "posterior" in tree else "point"].to_dataset()
    lead = [dim for dim in ("chain", "draw") if dim in data.dims]
    one = {
        "name": [str(name) for name in data["transcript"].to_numpy()],
        "effective_length": tree["constant_data"]["effective_length"].to_numpy(),
        "counts": data["counts"].mean(lead).to_numpy(),
        "tpm": data["tpm"].mean(lead).to_numpy(),
        "kind": "none",
    }
    if lead:
        drawn = data["counts"].transpose(*lead, "transcript").to_numpy().reshape(-1, len(one["name"]))
        one |= {"replicates": _thinned(drawn, most), "kind": "posterior"}
    return one


def _plain(path: Path, columns: Columns) -> dict[str, Any]:
    """Read a table of estimates."""
    rows = lines(path)
    head, remedy = rows[0].split("\t"), "Give the file as the program wrote it"
    at = {}
    for name, known in columns.items():
        have = [column for column in known if column in head]
        if not have and name != "tpm":
            raise wrong(path, 1, f"there is no column {known[0]!r} (the columns are {', '.join(head)})", remedy)
        if have:
            at[name] = head.index(have[0])
    cells = [row.split("\t") for row in rows[1:]]
    for line, row in enumerate(cells, 2):
        if len(row) != len(head):
            raise wrong(path, line, f"{len(row)} columns instead of {len(head)}", "The file is cut short or damaged")
    if not cells:
        raise wrong(path, 1, "there are no transcripts below the header", remedy)
    one: dict[str, Any] = {"name": [row[at["name"]] for row in cells], "kind": "none"}
    for name, place in at.items():
        if name == "name":
            continue
        text = [row[place] for row in cells]
        try:
            one[name] = np.array(text, dtype=float)
            good = bool((one[name] >= 0).all() and np.isfinite(one[name]).all())
        except ValueError:
            good = False
        if not good:  # say where
            one[name] = np.array([number(path, i, t, head[place], remedy) for i, t in enumerate(text, 2)])
    one["effective_length"] = np.maximum(one["effective_length"], SHORTEST)
    if "tpm" not in one:
        one["tpm"] = per_million(one["counts"], one["effective_length"])
    return one


def per_million(counts: Array, effective_length: Array) -> Array:
    """Transcripts per million of counts (..., K), by effective lengths (..., K); zero where there are no reads."""
    rate = counts / effective_length
    total = rate.sum(-1, keepdims=True)
    return np.asarray(1e6 * rate / np.where(total > 0, total, 1.0))
