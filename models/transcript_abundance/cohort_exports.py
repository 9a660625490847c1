"""A cohort as files: salmon's folders with replicates, tables, or AnnData."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.writing import replacing

from .cohort import feature, replicates_of
from .exports import new_folder, write_quantification

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["salmon", "tables", "h5ad"]


def export_cohort(cohort: xr.Dataset, path: str | Path, kind: Kind = "salmon") -> Path:
    """Write a cohort for other programs.

    Parameters
    ----------
    cohort : Dataset
    path : str or Path
        A new folder; for "h5ad", a file.
    kind : {"salmon", "tables", "h5ad"}
        "salmon": a folder for each sample as salmon writes it, replicates included, and ``samples.tsv`` with the
        columns ``names`` and ``files``: for tximeta and fishpond, tximport and edgeR's catchSalmon. "tables":
        ``counts.tsv``, ``tpm.tsv`` and ``effective_length.tsv`` (features by samples, as tximport's list holds them),
        and ``samples.tsv``; replicates as ``replicates/<sample>.tsv``. "h5ad": counts as ``X``, the others as layers,
        replicates as ``infRep1``, ``infRep2`` and so on.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the folder exists, or nothing can be written there.
    """
    path = Path(path)
    if kind == "h5ad":
        return _h5ad(cohort, path)
    with new_folder(path) as whole:
        (_salmon if kind == "salmon" else _tables)(cohort, whole, path)
    return path


def _names(cohort: xr.Dataset) -> tuple[list[str], list[str]]:
    """Return the names of the samples and of the features."""
    samples = [str(name) for name in cohort["sample"].to_numpy()]
    odd = [name for name in samples if not name or "/" in name or "\0" in name or name in (".", "..")]
    if odd:
        raise InputError(f"sample {odd[0]!r}: this cannot be the name of a folder. Rename the sample.")
    return samples, [str(name) for name in cohort[feature(cohort)].to_numpy()]


def about_samples(cohort: xr.Dataset) -> "pd.DataFrame":
    """Return the table of the samples: what is known of each beside its counts."""
    import pandas as pd

    found = {str(n): v.to_numpy() for n, v in cohort.coords.items() if v.dims == ("sample",) and n != "sample"}
    return pd.DataFrame(found, index=pd.Index(_names(cohort)[0], name="sample"))


def _salmon(cohort: xr.Dataset, folder: Path, final: Path) -> None:
    samples, names = _names(cohort)
    drawn = replicates_of(cohort)
    kind = "bootstrap" if cohort.attrs.get("replicates") == "bootstrap" else "gibbs"
    for s, name in enumerate(samples):
        length, tpm, counts = (cohort[v].to_numpy()[s] for v in ("effective_length", "tpm", "counts"))
        each = None if drawn is None else drawn[s]
        write_quantification(folder / name, names, length, tpm, counts, each, kind)
    table = about_samples(cohort).reset_index(names="names")
    table.insert(1, "files", [str(final / name / "quant.sf") for name in samples])
    table.to_csv(folder / "samples.tsv", sep="\t", index=False)


def _tables(cohort: xr.Dataset, folder: Path, _: Path) -> None:
    import pandas as pd

    samples, names = _names(cohort)
    index = pd.Index(names, name=feature(cohort))
    for variable in ("counts", "tpm", "effective_length"):
        values = cohort[variable].to_numpy().T
        pd.DataFrame(values, index, samples).to_csv(folder / f"{variable}.tsv", sep="\t")
    about_samples(cohort).to_csv(folder / "samples.tsv", sep="\t")
    drawn = replicates_of(cohort)
    if drawn is not None:
        (folder / "replicates").mkdir()
        heads = [f"infRep{r + 1}" for r in range(drawn.shape[1])]
        for name, each in zip(samples, drawn, strict=True):
            pd.DataFrame(each.T, index, heads).to_csv(folder / "replicates" / f"{name}.tsv", sep="\t")


def _h5ad(cohort: xr.Dataset, path: Path) -> Path:
    import anndata
    import pandas as pd

    layers: dict[str, Array] = {name: cohort[name].to_numpy() for name in ("tpm", "effective_length")}
    drawn = replicates_of(cohort)
    if drawn is not None:
        layers |= {f"infRep{r + 1}": np.ascontiguousarray(drawn[:, r]) for r in range(drawn.shape[1])}
    names = pd.DataFrame(index=pd.Index(_names(cohort)[1], name=feature(cohort)))
    whole = anndata.AnnData(cohort["counts"].to_numpy(), about_samples(cohort), names, layers=layers)
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The 'future.infer_string' option is deprecated")  # anndata sets it
        whole.write_h5ad(temporary)
    return path
