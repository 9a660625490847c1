"""Readers of what a program says of one sample: counts, TPM, effective lengths, and replicates where it has some."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import listed

from .cells import alevin, bustools
from .lines import lines, number, wrong
from .salmon import SHORTEST, per_million, quant_sf, salmon_draws

Columns = Mapping[str, tuple[str, ...]]
One = dict[str, Any]

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
    "effective_length": ("eelen", "eeln"),
    "counts": ("num_reads", "ecount"),
    "tpm": ("tpm",),
}
FILES = ("quant.sf", "quant.sf.gz", "abundance.h5", "abundance.tsv", "abundance.tsv.gz")
"""What is looked for in a folder, in this order."""

ENDS = ("*.isoforms.results", "*.isoforms.results.gz", "*.genes.results", "*.genes.results.gz", "*.quant")
"""What is looked for then: of RSEM and oarfish, whose files bear the name of the sample."""

BUSTOOLS = ("genes.mtx*", "cells_x_genes*.mtx*", "counts_*/cells_x_genes*.mtx*")
"""What is looked for at last: matrices of bustools, also in the folders of kb-python."""

BOOTSTRAP = re.compile(r"bs_abundance_(\d+)\.tsv(?:\.gz)?")
"""Name of a table of a bootstrap of kallisto."""

ALEVIN = tuple(f"{folder}quants_mat{end}" for folder in ("alevin/", "") for end in (".mtx", ".mtx.gz", ".gz"))

REMEDY = "Give the file as the program wrote it"


def read_one(path: Path, most: int) -> One:
    """Read a sample by the first reader that takes its file.

    Parameters
    ----------
    path : Path
    most : int
        Replicates that are kept at most, evenly spaced.

    Returns
    -------
    dict
        ``name`` (list of str), ``counts``, ``tpm``, ``effective_length`` (K,; zero where no fragment fits), ``kind`` of
        its replicates ("none", "bootstrap", "gibbs", "posterior"), ``replicates`` (R, K) where there are some,
        ``unit`` ("transcript", "gene"), ``program``, and ``notes``, a list of what was left out.

    Raises
    ------
    InputError
        With file, line, value and remedy.
    """
    file = _file(path)
    readers: dict[tuple[str, ...], Callable[[Path, int], One]] = {
        ("quant.sf", "quant.sf.gz"): _salmon,
        (".h5",): _kallisto_h5,
        (".nc",): _fit,
        ("abundance.tsv", "abundance.tsv.gz"): _kallisto,
        ("results", "results.gz"): lambda p, _: plain(p, RSEM, "RSEM"),
        (".quant", ".quant.gz"): _oarfish,
        ("quants_mat.mtx", "quants_mat.mtx.gz", "quants_mat.gz"): lambda p, _: alevin(p),
        (".mtx", ".mtx.gz"): lambda p, _: bustools(p),
    }
    reader = next((one for ends, one in readers.items() if file.name.endswith(ends)), None)
    if reader is None:  # of another name: by its header
        head = set(lines(file)[0].split("\t"))
        if {"Name", "NumReads"} <= head:
            return _whole({**quant_sf(file), "kind": "none", "program": "salmon"})
        known = {"kallisto": KALLISTO, "RSEM": RSEM, "oarfish": OARFISH}
        program = next((name for name, columns in known.items() if head & set(columns["name"])), None)
        if program is None:
            raise InputError(
                f"{file}: this is no output of salmon, kallisto, RSEM, oarfish, alevin, alevin-fry or bustools, nor a "
                "fit (.nc)."
            )
        return _whole(plain(file, known[program], program))
    return _whole(reader(file, most))


def _file(path: Path) -> Path:
    """Return the file of a sample whose folder, or file, is given."""
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path}: there is no such file or folder. Check the path.")
        return path
    found = [path / name for name in (*FILES, *ALEVIN) if (path / name).is_file()]
    if not found:
        by_end = [sorted(path.glob(end)) for end in (*ENDS, *BUSTOOLS)]
        found = next((some for some in by_end if some), [])
        if len(found) > 1:
            raise InputError(
                f"{path}: there are several samples in it ({listed([str(f.relative_to(path)) for f in found], 3)}). "
                "Name one."
            )
    if not found:
        raise InputError(
            f"{path}: there is none of {', '.join((*FILES, *ENDS, *ALEVIN[::2], *BUSTOOLS))} in this folder."
        )
    return found[0]


def _whole(one: One) -> One:
    return {"unit": "transcript", "notes": [], **one}


def thinned(draws: Array, most: int) -> Array:
    """Return draws (R, K), evenly spaced, in single precision."""
    at = np.unique(np.linspace(0, len(draws) - 1, min(most, len(draws))).astype(int))
    return np.asarray(draws[at], dtype=np.float32)


def _salmon(path: Path, most: int) -> One:
    table, folder = quant_sf(path), path.parent
    one = {**table, "kind": "none", "program": "salmon"}
    if (folder / "aux_info" / "bootstrap").is_dir():
        tree = salmon_draws(folder)
        drawn = tree["posterior"]["counts"]
        full = np.zeros((drawn.sizes["draw"], len(table["name"])), dtype=np.float32)
        place = {name: i for i, name in enumerate(table["name"])}
        full[:, [place[str(name)] for name in drawn["transcript"].to_numpy()]] = drawn.to_numpy()[0]
        kind = str(tree.attrs["method"]).removeprefix("salmon-")
        one |= {"replicates": thinned(full, most), "kind": kind}
    return one


def _kallisto(path: Path, most: int) -> One:
    """Read kallisto's table, and the bootstraps that stand beside it as tables (``kallisto quant --plaintext``)."""
    one = plain(path, KALLISTO, "kallisto")
    named = ((BOOTSTRAP.fullmatch(p.name), p) for p in path.parent.glob("bs_abundance_*"))
    beside = {int(told[1]): p for told, p in named if told}
    _all_there(path.parent, set(beside))
    drawn = []
    for i in sorted(beside):
        again = plain(beside[i], KALLISTO, "kallisto")
        if again["name"] != one["name"]:
            raise InputError(f"{beside[i]}: its transcripts are not those of {path.name}. Use the files of one run.")
        drawn.append(again["counts"])
    return one | ({"replicates": thinned(np.array(drawn), most), "kind": "bootstrap"} if drawn else {})


def _all_there(folder: Path, numbers: set[int]) -> None:
    """Check that bootstraps are numbered from 0 on without a gap, and are as many as kallisto says."""
    info = folder / "run_info.json"
    try:
        told = json.loads(info.read_text(encoding="utf-8")) if info.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{info}: this is no object in JSON ({error}). {REMEDY}, or take it away.") from error
    announced = told.get("n_bootstraps") if isinstance(told, dict) else None
    many = max([*(n + 1 for n in numbers), announced if isinstance(announced, int) else 0])
    lost = sorted(set(range(many)) - numbers)
    if numbers and lost:
        some = listed([f"bs_abundance_{n}.tsv" for n in lost], 3)
        raise InputError(
            f"{folder}: {len(lost)} of {many} bootstraps are not there ({some}). Fetch them, run `kallisto quant` "
            "again, or take the other bootstraps away, too."
        )


def _kallisto_h5(path: Path, most: int) -> One:
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
            announced = int(np.ravel(file["aux/num_bootstrap"])[0]) if "aux/num_bootstrap" in file else len(drawn)
    except (KeyError, OSError, ValueError, TypeError, AttributeError) as error:
        raise unreadable(path, what, error, remedy) from error
    if len(drawn) != announced:
        raise InputError(f"{path}: there are {len(drawn)} bootstraps of the {announced} that it announces. {remedy}.")
    every = {"aux/eff_lengths": length, "est_counts": counts}
    for what, values in (every | {f"bootstrap/bs{i}": one for i, one in enumerate(drawn)}).items():
        if values.shape != name.shape:
            raise InputError(f"{path}: {what} has {values.size} values for {name.size} transcripts. {remedy}.")
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if bad.size:
            raise InputError(
                f"{path}: {what} is {values[bad[0]]:g} for {str(name[bad[0]])!r}, but must be a finite number not "
                f"below zero. {remedy}."
            )
    one: One = {"name": list(map(str, name)), "counts": counts, "kind": "none", "program": "kallisto"}
    one["effective_length"] = length
    one["tpm"] = per_million(one["counts"], one["effective_length"])
    if drawn:
        one |= {"replicates": thinned(np.array(drawn), most), "kind": "bootstrap"}
    return one


def _oarfish(path: Path, most: int) -> One:
    """Read a table of oarfish or piscem-infer, and the replicates that stand beside it (``.infreps.pq``)."""
    one = plain(path, OARFISH, "oarfish")
    beside = path.with_name(path.name.removesuffix(".gz").removesuffix(".quant") + ".infreps.pq")
    if not beside.is_file():
        return one
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    try:
        drawn = np.array([column.to_numpy() for column in read_table(beside).columns], dtype=float)
    except (ArrowException, OSError, ValueError, TypeError) as error:
        raise InputError(f"{beside}: these are no replicates of oarfish ({error}). Run it again.") from error
    if drawn.ndim != 2 or drawn.shape[1] != len(one["name"]) or not np.isfinite(drawn).all() or (drawn < 0).any():
        raise InputError(
            f"{beside}: its columns are not one finite count for each of the {len(one['name'])} transcripts of "
            f"{path.name}. Use the files of one run."
        )
    return one | {"replicates": thinned(drawn, most), "kind": "bootstrap"}


def _fit(path: Path, most: int) -> One:
    from genarium.tree import load

    tree = load(path)
    if tree.attrs.get("model") != "transcript_abundance" or not {"posterior", "point"} & set(tree.children):
        raise InputError(f"{path}: this is no fit of transcript_abundance. Give what `genarium fit` has written.")
    data = tree["posterior" if "posterior" in tree else "point"].to_dataset()
    lead = [dim for dim in ("chain", "draw") if dim in data.dims]
    one: One = {
        "name": [str(name) for name in data["transcript"].to_numpy()],
        "effective_length": tree["constant_data"]["effective_length"].to_numpy(),
        "counts": data["counts"].mean(lead).to_numpy(),
        "tpm": data["tpm"].mean(lead).to_numpy(),
        "kind": "none",
        "program": "genarium",
    }
    if lead:
        drawn = data["counts"].transpose(*lead, "transcript").to_numpy().reshape(-1, len(one["name"]))
        one |= {"replicates": thinned(drawn, most), "kind": "posterior"}
    return one


def plain(path: Path, columns: Columns, program: str) -> One:
    """Read a table of estimates.

    Parameters
    ----------
    path : Path
    columns : mapping of str to tuple of str
        What the program calls its columns.
    program : str

    Raises
    ------
    InputError
    """
    rows = lines(path)
    head = rows[0].split("\t")
    at = {}
    for name, known in columns.items():
        have = [column for column in known if column in head]
        if not have and name not in ("tpm", "effective_length"):
            raise wrong(path, 1, f"there is no column {known[0]!r} (the columns are {', '.join(head)})", REMEDY)
        if have:
            at[name] = head.index(have[0])
    if "effective_length" not in at and "num_reads" not in head:  # which only oarfish writes
        known = columns["effective_length"]
        raise wrong(path, 1, f"there is no column {known[0]!r} (the columns are {', '.join(head)})", REMEDY)
    cells = [row.split("\t") for row in rows[1:]]
    for line, row in enumerate(cells, 2):
        if len(row) != len(head):
            raise wrong(path, line, f"{len(row)} columns instead of {len(head)}", "The file is cut short or damaged")
    if not cells:
        raise wrong(path, 1, "there is nothing below the header", REMEDY)
    one: One = {"name": [row[at["name"]] for row in cells], "kind": "none", "program": program}
    one["unit"] = "gene" if head[at["name"]] == "gene_id" else "transcript"
    for name, place in at.items():
        if name == "name" or (name == "tpm" and not one["counts"].any()):  # kallisto's share of no reads is "-nan"
            continue
        text = [row[place] for row in cells]
        try:
            one[name] = np.array(text, dtype=float)
            good = bool((one[name] >= 0).all() and np.isfinite(one[name]).all())
        except ValueError:
            good = False
        if not good:  # say where
            one[name] = np.array([number(path, i, t, head[place], REMEDY) for i, t in enumerate(text, 2)])
    # without an effective length (oarfish), a long read is a whole transcript: no correction for length
    one.setdefault("effective_length", np.ones(len(cells)))
    if program == "RSEM":
        one["effective_length"] = np.maximum(one["effective_length"], SHORTEST)  # as tximport does, of RSEM alone
    if "tpm" not in one:
        one["tpm"] = per_million(one["counts"], one["effective_length"])
    return one
