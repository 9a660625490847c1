"""A fit as a folder of salmon's, for tximport, fishpond and edgeR's catchSalmon: estimates, and draws as replicates."""

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.remedies import option


def salmon(tree: xr.DataTree, path: Path, *, replicates: int = 100) -> list[Path]:
    """Write ``quant.sf`` and, of draws, ``aux_info/bootstrap`` as Gibbs samples, into a new folder.

    The column ``Length`` holds the effective length, too: a fit knows no other.

    Parameters
    ----------
    tree : DataTree
        A fit.
    path : Path
        The folder.
    replicates : int
        Draws that are written, evenly spaced, at most.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If the folder exists.
    """
    if replicates < 1:
        raise InputError(f"transcript_abundance: {option('replicates', replicates)} must be at least 1.")
    data = tree["posterior" if "posterior" in tree else "point"].to_dataset()
    lead = [dim for dim in ("chain", "draw") if dim in data.dims]
    names = [str(name) for name in data["transcript"].to_numpy()]
    length = tree["constant_data"]["effective_length"].to_numpy()
    counts, tpm = (data[name].mean(lead).to_numpy() for name in ("counts", "tpm"))
    drawn = None
    if lead:
        drawn = data["counts"].transpose(*lead, "transcript").to_numpy().reshape(-1, len(names))
        drawn = drawn[np.unique(np.linspace(0, len(drawn) - 1, min(replicates, len(drawn))).astype(int))]
    with new_folder(path) as whole:
        write_quantification(whole, names, length, tpm, counts, drawn, "gibbs")
    return sorted(file for file in path.rglob("*") if file.is_file())


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a folder that gets its name once all is in it; of what fails, nothing is left.

    Raises
    ------
    InputError
        If it exists.
    """
    if path.exists():
        raise InputError(f"{path}: this exists already. Give the name of a new folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield whole
        whole.chmod(0o755)
        whole.rename(path)
    except BaseException:
        shutil.rmtree(whole, ignore_errors=True)
        raise


def write_quantification(
    folder: Path, names: list[str], length: Array, tpm: Array, counts: Array, drawn: Array | None, kind: str
) -> None:
    """Write one sample as salmon does.

    Parameters
    ----------
    folder : Path
        An empty one.
    names : list of str, length K
    length, tpm, counts : ndarray, shape (K,)
    drawn : ndarray, shape (R, K), optional
        Replicates.
    kind : {"gibbs", "bootstrap"}
        Of the replicates.
    """
    aux = folder / "aux_info"
    aux.mkdir(parents=True)
    rows = [
        f"{name}\t{effective:.9g}\t{effective:.9g}\t{t:.9g}\t{c:.9g}\n"
        for name, effective, t, c in zip(names, length, tpm, counts, strict=True)
    ]
    (folder / "quant.sf").write_text("Name\tLength\tEffectiveLength\tTPM\tNumReads\n" + "".join(rows))
    about = {"salmon_version": "1.10.1", "samp_type": "none", "num_bootstraps": 0, "num_valid_targets": len(names)}
    if drawn is not None:
        (aux / "bootstrap").mkdir()
        with gzip.open(aux / "bootstrap" / "bootstraps.gz", "wb", compresslevel=4) as file:
            file.write(np.ascontiguousarray(drawn, dtype="<f8").tobytes())
        with gzip.open(aux / "bootstrap" / "names.tsv.gz", "wb") as file:
            file.write(("\t".join(names) + "\n").encode())
        about |= {"samp_type": kind, "num_bootstraps": len(drawn)}
    (aux / "meta_info.json").write_text(json.dumps(about, indent=2))
