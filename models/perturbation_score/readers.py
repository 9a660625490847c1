"""Readers: tables of counts by state, and AnnData files of cells with their condition and state."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import options
from genarium.readers.files import existing
from genarium.readers.formats import TABLES, takes
from genarium.readers.h5ad import read_stored
from genarium.readers.labels import common_order, levels, stripped
from genarium.readers.ledger import Account, Ledger, Told
from genarium.readers.long import widened
from genarium.readers.matrix import Matrix, Terms, join
from genarium.readers.messages import absent, listed
from genarium.readers.tables import read_sheet, wide
from genarium.remedies import option
from genarium.supports import LARGEST, ROUNDED

from .design import Design, nested, of_sheet

STATES = Terms("condition", "state", "counts")
FEATURES = Terms("gene", "feature", "features")


@takes(*TABLES, example="counts.csv --option drop=total --option control=unperturbed")
def table(
    paths: Sequence[Path],
    *,
    conditions: str | None = "auto",
    states: str | Sequence[str] | None = None,
    drop: str | Sequence[str] = "",
    cells: str | None = None,
    control: str | None = None,
    features: str | None = None,
    target: str | None = None,
    least: int = 1,
    long: str | Sequence[str] = "",
    replicate: str | None = None,
    batch: str | None = None,
    split: str | None = None,
) -> Told:
    """Read a table with a row for each perturbation and a column for each state.

    Parameters
    ----------
    paths : sequence of Path
        CSV, TSV, Parquet, also compressed. Perturbations of several files follow each other.
    conditions : str, optional
        Column with the names of the perturbed genes; "auto" for the first.
    states : str or sequence of str, optional
        States to read (a comma between them), in this order. Default: every column; one of text, or that looks like a
        total, a running number or a label, is an error then. A flag of zeros and ones is taken for a state, as nothing
        tells them apart: name the states, or drop it.
    drop : str or sequence of str
        Columns that are no states, such as a flag or a total.
    cells : str, optional
        Column with cell numbers: the states' columns then hold shares, and counts are made of them.
    control : str, optional
        Name of the unperturbed condition, which must be there; its features are zero unless given. It is a row as any.
    features : str, optional
        A table with a row for each gene and a column for each feature; genes are found by name.
    target : str, optional
        Wanted shares, such as "progenitor=0.7,cycling=0.3"; states that are not named have none.
    least : int
        Leave out perturbations with fewer cells.
    long : str or sequence of str
        Columns of a long table (a comma between them): the perturbation, the state and the number of cells. A pair
        without a line is zero.
    replicate, batch : str, optional
        Columns with the replicate (well, animal) and the batch of a row, wide or long. Replicates of perturbations may
        share names; a batch without a column of replicates is one. The model then is that of nested replicates.
    split : str, optional
        The same from the names of the rows: what stands between a perturbation and its replicate, such as "_" in
        ``Salm_1``. Only the last one counts.

    Returns
    -------
    Told
        ``count``: DataFrame (perturbation, state), or (replicate, state) with ``condition`` and ``batch``;
        ``features``: DataFrame (perturbation, feature), where given.

    Raises
    ------
    InputError
        Naming file, line, column, value and remedy.
    """
    options.only_texts("table", conditions=conditions, cells=cells, control=control, features=features, target=target)
    options.only_texts("table", replicate=replicate, batch=batch, split=split)
    chosen, dropped = options.names("states", states), options.names("drop", drop)
    parts, spread = [], options.names("long", long)
    design = Design() if replicate or batch or split else None
    for path in existing("table", paths):
        sheet = read_sheet(path, conditions)
        if design is not None:
            sheet, conditions = of_sheet(sheet, spread[0] if spread else conditions, replicate, batch, split, design)
        sheet = widened(sheet, STATES, spread)
        if spread and design is not None:
            conditions = str(sheet.names[0])
        apart = {cells: "cell number"} if cells else {}
        part = wide(sheet, STATES, conditions, columns=chosen, drop=dropped, apart=apart)
        part = part.take(part.positions(chosen)) if chosen else part
        part.entries = from_shares(part, cells) if cells else whole(part)
        parts.append(part)
    counts = join(parts)
    ledger = counts.ledger("row", "column")
    ledger.rows.unit = "perturbation" if design is None else "replicate"
    return variables(counts, control, features, target, least, ledger, design)


@takes(".h5ad", example="cells.h5ad --option condition=guide --option state=cluster")
def h5ad(
    paths: Sequence[Path],
    *,
    condition: str = "condition",
    state: str = "state",
    states: str | Sequence[str] | None = None,
    layer: str | None = None,
    control: str | None = None,
    features: str | None = None,
    target: str | None = None,
    least: int = 1,
    replicate: str | None = None,
    batch: str | None = None,
) -> Told:
    """Count the cells of each condition and state in AnnData files.

    Parameters
    ----------
    paths : sequence of Path
    condition, state : str
        Columns of ``obs``.
    states : str or sequence of str, optional
        States that there may be, in this order. Default: all that occur, in the order of the categories, or sorted;
        whole numbers as numbers.
    layer : str, optional
        Layer with the raw counts of genes, which has to be there; the format ``expression`` reads it. Without it,
        nothing is read of the genes' counts, which need not be raw.
    control, features, target, least
        As in :func:`table`.
    replicate, batch : str, optional
        Columns of ``obs`` with the replicate and the batch of a cell, as in :func:`table`.

    Returns
    -------
    Told
        As for tables.

    Raises
    ------
    InputError
    """
    texts = {"condition": condition, "state": state, "layer": layer, "control": control, "features": features}
    options.only_texts("h5ad", **texts, target=target, replicate=replicate, batch=batch)
    import pandas as pd

    chosen, parts = options.names("states", states), []
    design = Design() if replicate or batch else None
    used = [name for name in (condition, state, replicate, batch) if name]
    seen: dict[str, Path] = {}
    account = Account("column", entry="obs column")
    for path in existing("h5ad", paths):
        obs = read_stored(path, layer, counts=False).obs  # states alone are counted
        for cell in map(str, obs.index):
            if seen.setdefault(cell, path) != path:
                raise InputError(
                    f"{seen[cell]} and {path}: the cell name {cell!r} is used in both. Give each file once, or put the "
                    "sample before the names of its cells."
                )
        names, kinds = (label_column(path, obs, column) for column in (condition, state))
        if chosen and (odd := [one for one in levels(kinds) if one not in chosen]):
            at = int(np.flatnonzero(stripped(kinds) == odd[0])[0])
            raise InputError(
                f"{path}: obs[{state!r}] of cell {obs.index[at]!r} is {odd[0]!r}, which is none of the states "
                f"{listed(chosen)}. Correct it, add the state, or drop those cells."
            )
        if design is not None:
            own = stripped(label_column(path, obs, replicate or batch or ""))
            lots = stripped(label_column(path, obs, batch)) if batch else None
            names = pd.Series(design.join(path, stripped(names), own, lots), obs.index)
        parts.append(counted(path, names, kinds, chosen))
        account.read = max(account.read, len(obs.columns))
        others = [str(name) for name in obs.columns if name not in used]
        account.left_out, account.names = {}, {}
        account.leave("neither condition nor state", others)
    counts = added_up(common_states(parts, chosen) if len(parts) > 1 else parts)
    ledger = Ledger(Account("cell", len(seen)), account)
    return variables(counts, control, features, target, least, ledger, design)


@takes(".h5ad", example="cells.h5ad --option condition=guide --option state=cluster")
def expression(
    paths: Sequence[Path],
    *,
    condition: str = "condition",
    state: str = "state",
    layer: str | None = None,
    control: str | None = None,
    features: str | None = None,
    target: str | None = None,
) -> Told:
    """Read the cells of an AnnData file, with their expression, for the neural statistic.

    Parameters
    ----------
    paths : sequence of Path
        One file.
    condition, state : str
        Columns of ``obs``.
    layer : str, optional
        Layer with the raw counts of genes. Default: ``X``.
    control, features, target
        As in :func:`table`.

    Returns
    -------
    Told
        ``expression``: DataFrame (cell, gene); ``condition`` and ``state`` (cell): DataArrays, positions among their
        names (attribute ``levels``); ``features``, where given.

    Raises
    ------
    InputError
    """
    import pandas as pd

    texts = {"condition": condition, "state": state, "layer": layer, "control": control, "features": features}
    options.only_texts("expression", **texts, target=target)
    files = existing("expression", paths)
    if len(files) != 1:
        raise InputError(f"{files[1]}: cells are read from one file, as genes are found by name. Join the files first.")
    path = files[0]
    stored = read_stored(path, layer)
    names, kinds = (label_column(path, stored.obs, column) for column in (condition, state))
    perturbed = [str(name) for name in levels(names)]
    if control is not None and control not in perturbed:
        raise absent(path, "control", control, perturbed)
    counts = stored.counts.toarray() if hasattr(stored.counts, "toarray") else np.asarray(stored.counts)
    index = pd.Index(stored.obs.index.astype(str), name="cell")
    out: dict[str, Any] = {
        "expression": pd.DataFrame(counts, index, pd.Index(stored.var.index.astype(str), name="gene")),
        "condition": by_place(index, stripped(names), perturbed),
        "state": by_place(index, stripped(kinds), levels(kinds)),
    }
    if target is not None:
        out["target"] = shares_of(target, [str(one) for one in levels(kinds)])
    if features is not None:
        out["features"] = align(read_features(Path(features)), perturbed, control, features)
    ledger = Ledger(Account("cell", len(index)), Account("gene", counts.shape[1]))
    chosen = {"observed": "expression"} | ({} if features is not None else {"regression": "none"})
    return Told(out, ledger, chosen)


def by_place(cells: Any, labels: Array, order: list[str]) -> Any:
    """Return labels of cells as positions in their order, with the names: whole numbers are names, too."""
    import pandas as pd
    import xarray as xr

    at = pd.Index(order).get_indexer(pd.Index(labels)).astype(np.int64)
    return xr.DataArray(at, {"cell": cells}, ["cell"], attrs={"levels": order})


def counted(path: Path, names: Any, kinds: Any, states: list[str]) -> Matrix:
    """Count cells by condition and state, both in the order of their labels, or of the given states."""
    rows, columns = levels(names), states or levels(kinds)
    at = [{label: i for i, label in enumerate(order)} for order in (rows, columns)]
    counts = np.zeros((len(rows), len(columns)), dtype=np.int64)
    pairs = zip(stripped(names), stripped(kinds), strict=True)
    for name, kind in pairs:
        counts[at[0][name], at[1][kind]] += 1
    return Matrix(STATES, [path], np.array(rows, dtype=object), columns, counts)


def label_column(path: Path, obs: Any, column: str) -> Any:
    """Return a column of labels, complete."""
    if column not in obs:
        raise absent(path, "column of obs", column, obs.columns)
    values = obs[column]
    empty = np.flatnonzero(values.isna().to_numpy() | (stripped(values) == ""))
    if empty.size:
        raise InputError(
            f"{path}: obs[{column!r}] of cell {obs.index[empty[0]]!r} is missing ({empty.size} such cells). "
            "Label it, or drop the cell."
        )
    return values


def common_states(parts: list[Matrix], chosen: list[str]) -> list[Matrix]:
    """Give all parts the same states; one that a file lacks has zero counts there."""
    every = chosen or common_order(part.columns for part in parts)
    out = []
    for part in parts:
        counts = np.zeros((len(part.entries), len(every)), dtype=np.int64)
        counts[:, [every.index(state) for state in part.columns]] = part.entries
        out.append(Matrix(STATES, part.paths, part.rows, every, counts))
    return out


def added_up(parts: list[Matrix]) -> Matrix:
    """Add counts of a condition over files: its cells may be spread over them."""
    names = common_order([str(name) for name in part.index()] for part in parts)
    rows = {name: np.zeros(len(parts[0].columns), dtype=np.int64) for name in names}
    for part in parts:
        for name, counts in zip(part.index(), part.entries, strict=True):
            rows[str(name)] += counts
    paths = [path for part in parts for path in part.paths]
    return Matrix(STATES, paths[:1], np.array(names, dtype=object), parts[0].columns, np.stack(list(rows.values())))


def whole(part: Matrix) -> Array:
    """Check that entries are counts."""
    entries = np.asarray(part.entries, dtype=float)
    if (large := np.isfinite(entries) & (np.abs(entries) >= LARGEST)).any():
        i, k = (int(j) for j in np.argwhere(large)[0])
        raise InputError(
            f"{part.path(i)}: {part.name(i)!r} has {part.entries[i, k]} cells in state {part.columns[k]!r}, which is "
            f"too large: counts go up to {LARGEST - 1}. Correct it."
        )
    bad = ~(np.isfinite(entries) & (entries >= 0) & (entries == np.floor(entries)))
    if bad.any():
        i, k = (int(j) for j in np.argwhere(bad)[0])
        raise InputError(
            f"{part.path(i)}: {part.name(i)!r} has {entries[i, k]} cells in state {part.columns[k]!r}, but counts are "
            "whole numbers not below zero. Give numbers of cells, or shares with the column of cell numbers "
            f"({option('cells')})."
        )
    return entries.astype(np.int64)


def from_shares(part: Matrix, cells: str) -> Array:
    """Make counts of shares and cell numbers, checking that rows sum to one and that counts come out whole."""
    share, number = np.asarray(part.entries, dtype=float), part.apart[cells]
    for i, (row, n) in enumerate(zip(share, number, strict=True)):
        where = f"{part.path(i)}: {part.name(i)!r}"
        if not (np.isfinite(row).all() and (row >= 0).all()):
            raise InputError(f"{where} has the shares {row.tolist()}, but shares are not below zero. Correct it.")
        if abs(row.sum() - 1) > 1e-3:
            raise InputError(
                f"{where}: its shares sum to {row.sum():g}, not to one. Give every state a column ({option('drop')} "
                "leaves columns out), or give counts."
            )
        if not (np.isfinite(n) and n >= 1 and n == np.floor(n)):
            raise InputError(f"{where} has {n} cells in column {cells!r}, but that must be a whole number above zero.")
    exact = share * number[:, None]
    counts = np.round(exact).astype(np.int64)
    off = (np.abs(exact - counts) > 0.05 + 1e-3 * number[:, None]).any(1) | (counts.sum(1) != number)
    if off.any():
        i = int(np.flatnonzero(off)[0])
        raise InputError(
            f"{part.path(i)}: the shares of {part.name(i)!r} times {number[i]:g} cells are {exact[i].tolist()}, no "
            "whole counts. Give shares with more digits, or counts."
        )
    return counts


def variables(
    whole_table: Matrix,
    control: str | None,
    features: str | None,
    target: str | None,
    least: int,
    ledger: Ledger,
    design: Design | None = None,
) -> Told:
    """Check conditions, and add features aligned by name, and the target; the ledger is of all rows so far."""
    import pandas as pd

    if isinstance(least, bool) or not isinstance(least, int):
        raise InputError(f"{option('least', least)} must be a whole number of cells.")
    path = whole_table.paths[0]
    index = [str(name) for name in (whole_table.rows if whole_table.rows is not None else [])]
    if not index:
        index = [str(i) for i in range(len(whole_table.entries))]
    perturbed = index if design is None else [design.condition[name] for name in index]
    if control is not None and control not in perturbed:
        raise absent(path, "control", control, list(dict.fromkeys(perturbed)))
    counts = pd.DataFrame(
        np.asarray(whole_table.entries),
        index=pd.Index(index, name="perturbation"),
        columns=pd.Index(whole_table.columns, name="state"),
    )
    total = counts.sum(axis=1)
    if least <= 1 and (total == 0).any():
        raise InputError(
            f"{path}: the perturbation {total.index[total == 0][0]!r} has no cells ({int((total == 0).sum())} such). "
            "Drop its row, and predict it from its features."
        )
    few = total.index[total < least]
    reason = (
        f"fewer than {least} cells" if ledger.rows.unit != "cell" else f"of perturbations with fewer than {least} cells"
    )
    ledger.rows.leave(reason, list(few) if ledger.rows.unit != "cell" else int(total[few].sum()))
    counts = counts[total >= least]
    if not len(counts):
        raise InputError(f"{path}: no perturbation has {least} cells or more ({option('least', least)}). Lower it.")
    perturbed = list(dict.fromkeys(name if design is None else design.condition[name] for name in counts.index))
    if control is not None and control not in perturbed:
        raise InputError(f"{path}: the control {control!r} has fewer than {least} cells. Lower least.")
    out: dict[str, Any] = {"count": counts}
    if target is not None:
        out["target"] = shares_of(target, [str(state) for state in counts.columns])
    if features is not None:
        table = read_features(Path(features))
        out["features"] = align(table, perturbed, control, features)
        unused = len(set(map(str, table.index)) - set(perturbed))
        if unused:
            ledger.notes.append(f"{features}: {unused:,} of {len(table):,} genes are no perturbation here.")
    return Told(out, ledger) if design is None else Told(nested(out, design), ledger, design.options)


def shares_of(target: str, states: Sequence[str]) -> Any:
    """Read wanted shares such as "progenitor=0.7,cycling=0.3"; as a Series over the states."""
    import pandas as pd

    found = pd.Series(0.0, index=pd.Index(states, name="state"))
    for part in options.names("target", target):
        state, _, share = (piece.strip() for piece in part.partition("="))
        if state not in states:
            raise absent("target", "state", state, states)
        try:
            found[state] = float(share)
        except ValueError:
            raise InputError(f"target: {part!r} is not of the form state=share, such as {states[0]}=0.7.") from None
    if abs(found.sum() - 1) > ROUNDED:
        raise InputError(
            f"{option('target', target)}: the shares sum to {found.sum():g}, not to one. Divide them by their sum."
        )
    return found


def read_features(path: Path) -> Any:
    """Read a table of features, one row a gene, as a DataFrame."""
    (file,) = existing("features", [path])
    sheet = read_sheet(file, "auto")
    return wide(sheet, FEATURES, str(sheet.names[0]), fixed=True).frame()


def align(features: Any, genes: Sequence[str], control: str | None = None, where: str = "features") -> Any:
    """Return the rows of a DataFrame of features for genes, by name.

    Parameters
    ----------
    features : DataFrame
        A row for each gene, named by its index.
    genes : sequence of str
    control : str, optional
        A condition that is no gene: its features are zero unless given.
    where : str
        For messages.

    Returns
    -------
    DataFrame

    Raises
    ------
    InputError
        If a gene is absent, or named twice, or a feature is missing.
    """
    import pandas as pd

    names = features.index.astype(str)
    if names.has_duplicates:
        raise InputError(f"{where}: the gene {names[names.duplicated()][0]!r} has features twice. Keep one row of it.")
    missing = [str(gene) for gene in genes if str(gene) not in names and str(gene) != control]
    if missing:
        raise InputError(
            f"{where}: there are no features for {listed(missing)}. Add a row for each of them, drop these "
            "perturbations, or name the unperturbed condition (control='...')."
        )
    found = features.set_axis(names).reindex([str(gene) for gene in genes])
    if control is not None and control not in names:
        found.loc[found.index == control] = 0.0
    if found.isna().to_numpy().any():
        i, j = (int(k) for k in np.argwhere(found.isna().to_numpy())[0])
        raise InputError(
            f"{where}: feature {found.columns[j]!r} of {found.index[i]!r} is missing. Fill it in, or drop the gene."
        )
    return pd.DataFrame(
        found.to_numpy(dtype=float),
        index=pd.Index(list(genes), name="perturbation"),
        columns=pd.Index([str(name) for name in found.columns], name="feature"),
    )
