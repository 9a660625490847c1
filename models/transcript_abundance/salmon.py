"""Reader of salmon's output folder: equivalence classes, quant.sf, and the draws that salmon itself made."""

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.formats import takes
from genarium.readers.ledger import Account, Ledger, Told
from genarium.readers.messages import listed

from .lines import content, lines, number, whole, wrong

CLASSES = ("aux_info/eq_classes.txt.gz", "aux_info/eq_classes.txt")
AGAIN = "Run `salmon quant` again with --dumpEqWeights"
NO_READ = "Check the index, the library type and the files of reads, or leave this sample out"
SHORTEST = 1.0
"""Nucleotides that stand in for an effective length of zero, of a transcript in which no fragment fits."""

COLUMNS = ("Name", "Length", "EffectiveLength", "TPM", "NumReads")


@takes("eq_classes.txt", number=1, folder=True, example="quant/")
def salmon(paths: Sequence[Path], *, unweighted: Literal["accept", "refuse"] = "accept") -> Told:
    """Read the classes of a salmon run.

    Parameters
    ----------
    paths : sequence of Path
        One: the output folder of ``salmon quant --dumpEqWeights``, or the file of classes in its ``aux_info``.
    unweighted : {"accept", "refuse"}
        What to do with classes from ``--dumpEq``, which have no weights: take 1 / effective length (with a warning), or
        raise an error.

    Returns
    -------
    Told
        ``count``, ``entry_class``, ``entry_transcript``, ``weight``, ``effective_length``, labelled by transcript.

    Raises
    ------
    InputError
        With file, line, value and remedy.
    """
    if len(paths) != 1:
        raise InputError(f"reader 'salmon' takes one folder, not {len(paths)}. Read each run on its own.")
    path = Path(paths[0])
    folder = path if path.is_dir() else path.parent.parent
    file = path if not path.is_dir() else next((path / n for n in CLASSES if (path / n).is_file()), None)
    if file is None:
        if estimates(folder).is_file() and not quant_sf(estimates(folder))["counts"].any():
            raise InputError(
                f"{estimates(folder)}: salmon has mapped no read, so that there are no classes. {NO_READ}."
            )
        raise InputError(f"{path}: there is no {CLASSES[0]} in this folder. {AGAIN}.")
    table = quant_sf(estimates(folder))
    names, classes, transcripts, weights, counts = equivalence_classes(file)
    length = _effective_lengths(estimates(folder), table, file, names)
    short = [name for name, one in zip(names, length, strict=True) if one == 0]
    length[length == 0] = SHORTEST
    if weights is None:
        text = (
            f"{file}: the classes have no weights (--dumpEq), and those that differ in weights only have been merged: "
            "1 / effective length is taken, which cannot reproduce salmon's own estimates"
        )
        if unweighted == "refuse":
            raise InputError(f"{text}. {AGAIN}.")
        warnings.warn(f"{text}. {AGAIN}.", stacklevel=2)
        weights = 1 / length[transcripts]
    found = {
        "count": counts,
        "entry_class": classes,
        "entry_transcript": transcripts,
        "weight": weights,
        "effective_length": xr.DataArray(length, dims="transcript", coords={"transcript": names}),
    }
    columns = Account("transcript", len(set(table["name"]) | set(names)))
    known = set(names)
    columns.leave("in quant.sf only", [name for name in table["name"] if name not in known])
    ledger = Ledger(Account("equivalence_class", len(counts)), columns)
    if short:
        noun = "transcript has" if len(short) == 1 else "transcripts have"
        what = f"an effective length of 0 in {estimates(folder).name}, taken as {SHORTEST:g} ({listed(short, 3)})"
        ledger.notes.append(f"{len(short):,} {noun} {what}")
    return Told(found, ledger)


def equivalence_classes(path: Path) -> tuple[list[str], Array, Array, Array | None, Array]:
    """Read a file of equivalence classes.

    Line 1 is the number M of transcripts, line 2 the number E of classes; M lines with names follow, then E lines
    ``k id_1 .. id_k [w_1 .. w_k] count``. The same set of ids may stand on several lines.

    Parameters
    ----------
    path : Path

    Returns
    -------
    names : list of str, length M
    classes, transcripts : ndarray of int, shape (entries,)
    weights : ndarray, shape (entries,), or None
        None if no line has weights.
    counts : ndarray of int, shape (E,)

    Raises
    ------
    InputError
    """
    rows = lines(path)
    if len(rows) < 2:
        raise wrong(path, len(rows), "the file ends before the numbers of transcripts and classes", AGAIN)
    M = whole(path, 1, rows[0], "the number of transcripts", AGAIN)
    E = whole(path, 2, rows[1], "the number of classes", AGAIN)
    if M == 0 or E == 0:
        what = f"there are 0 {'transcripts' if M == 0 else 'classes, as no read fits any transcript'}"
        raise wrong(path, 1 if M == 0 else 2, what, NO_READ)
    have = len(rows) - 2 - M
    if have != E:
        at = len(rows) if have < E else 2 + M + E + 1
        what = f"line 2 announces {E} classes after {M} names, but there are {max(have, 0)}"
        raise wrong(path, at, what, f"The file is cut short or was edited. {AGAIN}")
    names = [row.strip() for row in rows[2 : 2 + M]]
    first: dict[str, int] = {}
    for line, name in enumerate(names, 3):
        if not name:
            raise wrong(path, line, "the name of a transcript is empty", AGAIN)
        if name in first:
            raise wrong(path, line, f"the transcript {name!r} stands on line {first[name]} too", "Names must be unique")
        first[name] = line
    classes: list[Array] = []
    transcripts: list[Array] = []
    weights: list[Array] = []
    counts = np.empty(E, dtype=np.int64)
    weighted: bool | None = None
    for e, row in enumerate(rows[2 + M :]):
        ids, w, counts[e] = _class(path, 3 + M + e, row, M)
        if weighted is not None and weighted != (w is not None):
            raise wrong(
                path, 3 + M + e, f"this class has {'' if w is not None else 'no '}weights, unlike those before", AGAIN
            )
        weighted = w is not None
        classes.append(np.full(len(ids), e))
        transcripts.append(ids)
        if w is not None:
            weights.append(w)
    if not counts.any():
        raise wrong(path, 3 + M, f"all {E} classes have 0 reads", NO_READ)
    joined = np.concatenate(weights) if weights else None
    return names, np.concatenate(classes), np.concatenate(transcripts), joined, counts


def _class(path: Path, line: int, row: str, M: int) -> tuple[Array, Array | None, int]:
    """Read one class: ids, weights (None without) and count."""
    tokens = row.split()
    if not tokens:
        raise wrong(path, line, "the line is empty", AGAIN)
    k = whole(path, line, tokens[0], "the number of transcripts in the class", AGAIN)
    if k == 0:
        raise wrong(path, line, "a class of 0 transcripts", AGAIN)
    if len(tokens) not in (k + 2, 2 * k + 2):
        what = f"{k} transcripts need {k + 2} (or, with weights, {2 * k + 2}) columns, but there are {len(tokens)}"
        raise wrong(path, line, what, f"The line is cut short. {AGAIN}")
    ids = np.array([whole(path, line, t, "the number of a transcript", AGAIN) for t in tokens[1 : 1 + k]])
    if ids.max() >= M:
        what = f"transcript {ids.max()} is not among the {M} names (counted from 0)"
        raise wrong(path, line, what, AGAIN)
    if len(np.unique(ids)) < k:
        again = ids[np.flatnonzero((ids[:, None] == ids).sum(1) > 1)[0]]
        raise wrong(path, line, f"transcript {again} stands more than once in the class", AGAIN)
    count = whole(path, line, tokens[-1], "the count", AGAIN)
    if len(tokens) == k + 2:
        return ids, None, count
    w = np.array([number(path, line, t, "a weight", AGAIN) for t in tokens[1 + k : -1]])
    if not w.any():
        raise wrong(path, line, "all weights of the class are 0", AGAIN)
    return ids, w, count


def estimates(folder: Path) -> Path:
    """Return salmon's table of estimates in a folder, compressed or not."""
    plain, compressed = folder / "quant.sf", folder / "quant.sf.gz"
    return compressed if compressed.is_file() and not plain.is_file() else plain


def quant_sf(path: Path) -> dict[str, Any]:
    """Read salmon's table of estimates.

    Parameters
    ----------
    path : Path
        ``quant.sf``, or ``quant.sf.gz``.

    Returns
    -------
    dict
        ``name`` (list of str) and the arrays ``length``, ``effective_length`` (zero where salmon found no place for a
        fragment), ``tpm``, ``counts``.

    Raises
    ------
    InputError
    """
    remedy = "It holds the effective lengths: give the whole output folder of `salmon quant`"
    if not path.is_file():
        raise InputError(f"{path}: quant.sf is missing. {remedy}.")
    rows = lines(path)
    head = rows[0].split("\t")
    absent = [name for name in COLUMNS if name not in head]
    if absent:
        raise wrong(path, 1, f"there is no column {absent[0]!r} (the columns are {', '.join(head)})", remedy)
    at = [head.index(name) for name in COLUMNS]
    first: dict[str, int] = {}
    values, shareless = np.empty((len(rows) - 1, 4)), 0
    for line, row in enumerate(rows[1:], 2):
        cells = row.split("\t")
        if len(cells) != len(head):
            raise wrong(path, line, f"{len(cells)} columns instead of {len(head)}", "The file is cut short or damaged")
        name = cells[at[0]]
        if name in first:
            raise wrong(path, line, f"the transcript {name!r} stands on line {first[name]} too", "Names must be unique")
        first[name] = line
        for i, (column, place) in enumerate(zip(COLUMNS[1:], at[1:], strict=True)):
            if column == "TPM" and cells[place] in ("nan", "-nan"):  # the share of no reads
                shareless = shareless or line
                values[line - 2, i] = 0
            else:
                values[line - 2, i] = number(path, line, cells[place], column, "Run salmon again")
    if not first:
        raise wrong(path, 1, "there are no transcripts below the header", "Run salmon again")
    if shareless and values[:, 3].any():
        raise wrong(path, shareless, "TPM is no number, but there are reads", "Run salmon again")
    return {
        "name": list(first),
        "length": values[:, 0],
        "effective_length": values[:, 1],
        "tpm": values[:, 2],
        "counts": values[:, 3],
    }


def _effective_lengths(path: Path, table: Mapping[str, Any], file: Path, names: list[str]) -> Array:
    """Return the effective lengths in the order of the classes' names."""
    length = dict(zip(table["name"], table["effective_length"], strict=True))
    for line, name in enumerate(names, 3):
        if name not in length:
            raise wrong(file, line, f"the transcript {name!r} is not in {path.name}", "Use the files of one run")
    return np.array([length[name] for name in names])


def salmon_draws(folder: str | Path) -> xr.DataTree:
    """Read the bootstrap or Gibbs samples that salmon made, as a tree to compare a fit with.

    Parameters
    ----------
    folder : str or Path
        Output folder of ``salmon quant`` with ``--numBootstraps`` or ``--numGibbsSamples``.

    Returns
    -------
    DataTree
        Group ``posterior`` with ``nu``, ``tpm`` and ``counts`` (chain, draw, transcript), one chain, and group
        ``point`` with salmon's own estimates; the attribute ``method`` says ``salmon-bootstrap`` or ``salmon-gibbs``.

    Raises
    ------
    InputError
        If there are no samples, or they do not agree with the names.
    """
    folder = Path(folder)
    table = quant_sf(estimates(folder))
    boot = folder / "aux_info" / "bootstrap"
    if not boot.is_dir():
        raise InputError(f"{boot}: there are no samples. Run `salmon quant` with --numBootstraps or --numGibbsSamples.")
    names = "\t".join(lines(boot / "names.tsv.gz")).split()
    raw = content(boot / "bootstraps.gz")
    if not names or len(raw) % (8 * len(names)):
        raise InputError(
            f"{boot / 'bootstraps.gz'}: {len(raw)} bytes are no whole number of samples of {len(names)} transcripts. "
            "The file is cut short."
        )
    counts = np.frombuffer(raw, dtype="<f8").reshape(1, -1, len(names)).copy()
    total = counts.sum(-1, keepdims=True)
    if not np.isfinite(counts).all() or (counts < 0).any() or (table["counts"].any() and not (total > 0).all()):
        raise InputError(f"{boot / 'bootstraps.gz'}: a sample is negative, not finite, or has no reads at all.")
    known = dict(zip(table["name"], range(len(table["name"])), strict=True))
    absent = [name for name in names if name not in known]
    if absent:
        raise InputError(f"{boot / 'names.tsv.gz'}: the transcript {absent[0]!r} is not in quant.sf. Use one run.")
    if len(set(names)) < len(names):
        name = Counter(names).most_common(1)[0][0]
        raise InputError(f"{boot / 'names.tsv.gz'}: the transcript {name!r} stands in it twice. Names must be unique.")
    order = np.array([known[name] for name in names])
    info = folder / "aux_info" / "meta_info.json"
    try:
        about = json.loads(info.read_text(encoding="utf-8")) if info.is_file() else {}
        kind, many = str(about.get("samp_type", "")), about.get("num_bootstraps")
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise InputError(f"{info}: this is no object in JSON ({error}). Run salmon again.") from error
    if isinstance(many, int) and many not in (0, counts.shape[1]):
        raise InputError(
            f"{boot / 'bootstraps.gz'}: there are {counts.shape[1]} samples of {len(names)} transcripts, but "
            f"{info.name} says {many} samples. Use the files of one run that has ended."
        )
    lead = ("chain", "draw", "transcript")
    posterior = xr.Dataset(
        {
            "nu": (lead, counts / np.where(total > 0, total, 1)),
            "tpm": (lead, per_million(counts, table["effective_length"][order])),
            "counts": (lead, counts),
        },
        {"chain": [0], "draw": np.arange(counts.shape[1]), "transcript": names},
    )
    reads = table["counts"].sum()
    point = xr.Dataset(
        {
            "nu": ("transcript", table["counts"][order] / (reads if reads > 0 else 1)),
            "tpm": ("transcript", table["tpm"][order]),
            "counts": ("transcript", table["counts"][order]),
        },
        {"transcript": names},
    )
    tree = xr.DataTree.from_dict({"posterior": posterior, "point": point})
    tree.attrs = {"method": f"salmon-{kind or 'samples'}", "folder": folder.name}
    return tree


def per_million(counts: Array, effective_length: Array) -> Array:
    """Transcripts per million of counts (..., K), by effective lengths (..., K).

    Zero where there are no reads, and of an effective length of zero, as piscem-infer has it.
    """
    rate = np.divide(counts, effective_length, out=np.zeros(np.shape(counts)), where=np.asarray(effective_length) > 0)
    total = rate.sum(-1, keepdims=True)
    return np.asarray(1e6 * rate / np.where(total > 0, total, 1.0))
