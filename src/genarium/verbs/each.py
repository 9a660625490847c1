"""Fit each: the samples of a table, each read and fitted on its own, into a folder of fits."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genarium.declaration import Model
from genarium.errors import InputError
from genarium.readers.samples import NAME, PATH, Samples, read_samples
from genarium.remedies import flag
from genarium.tree import save
from genarium.verbs.diagnose import diagnose
from genarium.verbs.fit import fit
from genarium.verbs.read import read
from genarium.writing import replacing

if TYPE_CHECKING:
    import pandas as pd

TABLE = "samples.csv"
"""Table of the fits, in their folder."""


def fit_each(
    model: str | Path | Model,
    samples: Samples,
    method: str,
    folder: str | Path,
    seed: int = 0,
    *,
    format: str = "",  # noqa: A002
    reading: Mapping[str, Any] | None = None,
    resume: bool = False,
    tell: Callable[[str], Any] | None = None,
    **settings: Any,
) -> "pd.DataFrame":
    """Read and fit each sample of a table on its own.

    Parameters
    ----------
    model : str, Path or Model
        Name of a model, its folder, or a declaration.
    samples : path, mapping or sequence of paths
        A table with the columns ``sample`` and ``path`` (:func:`genarium.readers.samples.read_samples`).
    method : str
        As of :func:`fit`.
    folder : str or Path
        Gets ``<sample>.nc`` for each sample and, at the end, ``samples.csv``: the table with the fits as paths.
    seed : int
        Of all; each sample has a stream of its own.
    format : str
        As of :func:`read`.
    reading : mapping, optional
        Settings of :func:`read`.
    resume : bool
        Whether samples whose fit is there already are left as they are; without it that is an error.
    tell : callable, optional
        Is told of each sample that is done.
    **settings
        As of :func:`fit`.

    Returns
    -------
    DataFrame
        The table: ``sample``, ``path``, ``diagnosis`` ("passed", or the checks that failed), and the other columns.

    Raises
    ------
    InputError
        That names the sample; the fits before it stay.
    """
    import pandas as pd

    files, about = read_samples(samples)
    folder = Path(folder)
    places = {name: folder / f"{name}.nc" for name in files}
    for name, place in places.items():
        if place.parent != folder:
            raise InputError(f"sample {name!r}: this cannot be the name of a file. Rename it.")
        if place.exists() and not resume:
            raise InputError(f"{place}: this exists already. Name a new folder, or give {flag('resume', True)}.")
    folder.mkdir(parents=True, exist_ok=True)
    said = []
    for i, (name, paths) in enumerate(files.items()):
        if places[name].exists():
            said.append("not looked at again")
            continue
        own = int(np.random.SeedSequence([seed, i]).generate_state(1)[0])
        try:
            data = read(model, paths, format, **(reading or {}))
            tree = fit(model, data, method, own, **settings)
        except InputError as error:
            raise InputError(f"sample {name!r}: {error.marked}") from error
        found = diagnose(model, tree)
        failed = [verdict.check for verdict in found.verdicts if verdict.status == "fail"]
        said.append("; ".join(failed) or "passed")
        save(tree, places[name])
        if tell is not None:
            tell(f"{name}: {said[-1] if not failed else f'failed: {said[-1]}'} ({tree.attrs['seconds']:.2g} s)")
    table = pd.DataFrame(
        {NAME: list(files), PATH: [place.name for place in places.values()], "diagnosis": said, **about}
    )
    with replacing(folder / TABLE) as temporary:
        table.to_csv(temporary, index=False)
    return table
