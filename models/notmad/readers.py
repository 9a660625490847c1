"""Readers of expression with contexts: tables and AnnData."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import options
from genarium.readers.files import existing
from genarium.readers.formats import TABLES, takes
from genarium.readers.h5ad import read_stored
from genarium.readers.labels import levels, stripped
from genarium.readers.ledger import Account, Ledger, Told
from genarium.readers.messages import absent, listed
from genarium.readers.tables import NAMES, no_suspects, only_numbers, read_sheet
from genarium.remedies import option

from .rule_files import RuleFiles

NONE, CONSTANT = "none", "constant"
"""What says that there is no context; and the covariate, zero in every sample, that stands for it."""

MANY = 10
"""Levels up to which the first one has no covariate of its own; of more, all shrink towards what they share."""


@dataclass(frozen=True)
class Columns:
    """What a file holds, before it is coded and standardised.

    Attributes
    ----------
    path : str
    x : mapping of str to ndarray of float
        Nodes.
    context : mapping of str to ndarray
        Columns of the context: numbers, or text for categories.
    rows : ndarray, optional
        Names of the samples.
    levels : mapping of str to list of str
        Of columns of categories, in their order.
    ledger : Ledger
        What became of the file's rows and columns.
    key : str, optional
        Column of a table with the names of the samples.
    words : frozenset of str
        Nodes that were truth values in words.
    """

    path: str
    x: Mapping[str, Array]
    context: Mapping[str, Array]
    rows: Array | None
    levels: Mapping[str, list[str]]
    ledger: Ledger
    key: str | None = None
    words: frozenset[str] = frozenset()


@takes(*TABLES, number=1, example="expression.csv --option context=age,stage")
def table(
    paths: Sequence[Path],
    *,
    context: str | Sequence[str] = "",
    nodes: str | Sequence[str] | None = None,
    drop: str | Sequence[str] = "",
    samples: str | None = "auto",
    standardise: bool = True,
    like: str | None = None,
    known_edges: str | None = None,
    tiers: str | None = None,
    regulators: str | None = None,
) -> Told:
    """Read a table with a row a sample, and columns of nodes and of contexts.

    Parameters
    ----------
    paths : sequence of Path
        One file: CSV, TSV, white space or Parquet, compressed or not.
    context : str or sequence of str
        Columns of the context (a comma between them). A column of text becomes one covariate for each of its levels
        but the first (all, of more than ten), named ``column=level``; levels are in the order of the categories, or
        sorted. "none" for one network of all samples: one archetype.
    nodes : str or sequence of str, optional
        Columns of the nodes. Default: every other column; one of text, or that looks like a total, a running number or
        a label, is an error then. Truth values (true and false, yes and no, present and absent) are read as 1 and 0.
    drop : str or sequence of str
        Columns that are neither.
    samples : str, optional
        Column with the samples' names; "auto" for the first, if it holds text, has no name (an index) or is called
        after samples, and is no context, or with ``like`` for the one that names its samples; None for none.
    standardise : bool
        Bring every node of numbers and every numeric covariate to mean zero and variance one, over all rows. To
        standardise by training samples alone, pass false and use
        :func:`genarium.models.notmad.preparation.split`.
    like : str, optional
        File of the training samples, read in the same way: nodes, means, standard deviations and levels are its own.
    known_edges, tiers, regulators : str, optional
        Files that say what is known of the edges: a table of source, target and rule (forbidden or required); a table
        of node and tier, from whose later ones no edge leads to earlier ones; names of the only parents, one a line.

    Returns
    -------
    Told
        ``x``: DataFrame (sample, node); ``context``: DataFrame (sample, covariate); ``rule`` where something is known.

    Raises
    ------
    InputError
        Naming file, column and remedy.
    """
    options.only_texts("table", samples=samples, like=like, known_edges=known_edges, tiers=tiers, regulators=regulators)
    train = None if like is None else _from_table([Path(like)], context, nodes, samples, drop)
    names, usual = (nodes, None) if train is None else (list(train.x), train.key)
    own = _from_table(paths, context, names, samples, drop, usual)
    return _variables(own, train, standardise, RuleFiles(known_edges, tiers, regulators))


def _from_table(
    paths: Sequence[Path],
    context: str | Sequence[str],
    nodes: str | Sequence[str] | None,
    samples: str | None,
    drop: str | Sequence[str],
    usual: str | None = None,
) -> Columns:
    """Read the columns; ``usual`` is the one with the samples' names in the training samples' file."""
    found = existing("table", paths)
    if len(found) != 1:
        raise InputError(f"reader 'table': {len(found)} files were given; join them into one table first.")
    path = found[0]
    sheet = read_sheet(path, None)
    frame, asked = sheet.frame, options.names("context", context)
    if not asked:
        raise InputError(
            f"{path}: name the columns of the context with {option('context', '<a>,<b>')}, or say that there is none "
            f"with {option('context', NONE)}, for one network. It has {', '.join(sheet.names)}."
        )
    asked = [] if _is_none(asked, sheet.names) else asked
    chosen, dropped = options.names("nodes", nodes), options.names("drop", drop)
    for name in [*asked, *chosen, *(() if chosen else dropped)]:
        if name not in sheet.names:
            raise absent(path, "column", name, sheet.names)
    truth = {name: value for name in sheet.names if name not in asked and (value := sheet.truth(name)) is not None}
    samples = usual if samples == "auto" and usual in sheet.names else samples  # wherever that column stands
    key = sheet.identifiers(samples, "sample", [*asked, *chosen, *dropped, *truth])
    if key in chosen:
        raise InputError(f"{path}: column {key!r} is a node, and names the samples. Take it out of one of them.")
    account = Account("node", len(sheet.names), entry="column")
    account.leave("taken as sample names", [] if key is None else [key])
    account.leave("taken as context", [name for name in asked if name not in chosen and name != key])
    left = [n for n in sheet.names if n not in asked and n != key and n not in chosen]
    account.leave("asked for", [name for name in left if name in dropped])
    account.leave("without a name and empty", [n for n in left if n not in dropped and sheet.is_empty(n)])
    left = [name for name in left if name not in dropped and not sheet.is_empty(name)]
    account.leave("not among nodes", left if chosen else [])
    unnamed = not chosen
    if unnamed:
        only_numbers(
            sheet,
            [name for name in left if name not in truth],
            f"name the nodes with {option('nodes', NAMES)}, or the contexts with {option('context', NAMES)}",
        )
    chosen = chosen or left
    if both := [name for name in chosen if name in asked]:
        raise InputError(f"{path}: column {both[0]!r} is a node and a context. A target must not be its own context.")
    columns: dict[str, Array] = {}
    order: dict[str, list[str]] = {}
    for name in asked:
        if sheet.is_numeric(name):
            columns[name] = sheet.numbers(name, f"leave {name!r} out of context").astype(float)
            continue
        empty = np.flatnonzero(frame[name].isna() | (frame[name].astype(str).str.strip() == ""))
        if empty.size:
            raise _missing(f"{path}: {sheet.at(empty[0])}, column {name!r}", empty.size)
        columns[name], order[name] = stripped(frame[name]).astype(str), levels(frame[name])
    x = {
        name: truth[name] if name in truth else sheet.numbers(name, f"leave {name!r} out of nodes").astype(float)
        for name in chosen
    }
    words = [name for name in chosen if name in truth]
    if unnamed and x:
        no_suspects(
            path,
            chosen,
            np.column_stack(list(x.values())),
            "node",
            f"{option('nodes', NAMES)}, or as a context with {option('context', NAMES)}",
        )
    columns = columns or {CONSTANT: np.zeros(len(frame))}
    ledger = Ledger(Account("sample", len(frame), entry="row"), account)
    if words:
        ledger.notes.append(f"Truth values were read as 0 and 1, and are not standardised: {listed(words)}.")
    rows = None
    if key is not None:
        rows = sheet.labels(key, "sample", f"number the samples with {option('samples', None)}").astype(str)
    return Columns(str(path), x, columns, rows, order, ledger, key, frozenset(words))


@takes(".h5ad", number=1, example="cells.h5ad --option context=X_pca --option nodes=GATA1,TAL1")
def h5ad(
    paths: Sequence[Path],
    *,
    context: str | Sequence[str] = "",
    nodes: str | Sequence[str] | None = None,
    layer: str | None = None,
    standardise: bool = True,
    like: str | None = None,
    known_edges: str | None = None,
    tiers: str | None = None,
    regulators: str | None = None,
) -> Told:
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
    standardise, like, known_edges, tiers, regulators
        As in :func:`table`.

    Returns
    -------
    Told
        ``x``, ``context``.

    Raises
    ------
    InputError
        Naming file, column and remedy.
    """
    options.only_texts("h5ad", layer=layer, like=like, known_edges=known_edges, tiers=tiers, regulators=regulators)
    train = None if like is None else _from_h5ad([Path(like)], context, nodes, layer)
    own = _from_h5ad(paths, context, nodes if train is None else list(train.x), layer)
    return _variables(own, train, standardise, RuleFiles(known_edges, tiers, regulators))


def _from_h5ad(
    paths: Sequence[Path], context: str | Sequence[str], nodes: str | Sequence[str] | None, layer: str | None
) -> Columns:
    found = existing("h5ad", paths)
    if len(found) != 1:
        raise InputError(f"reader 'h5ad': {len(found)} files were given; concatenate them first.")
    path, asked = found[0], options.names("context", context)
    stored = read_stored(path, layer, raw=False, matrices=[] if asked == [NONE] else asked)
    obs, genes = stored.obs, [str(name) for name in stored.var.index]
    columns: dict[str, Any] = {}
    if _is_none(asked, [*obs, *stored.obsm]):
        asked, columns = [], {CONSTANT: np.zeros(len(obs))}
    chosen = options.names("nodes", nodes) or genes
    if odd := [name for name in chosen if name not in genes]:
        raise absent(path, "gene", odd[0], genes)
    part = stored.counts[:, stored.var.index.astype(str).get_indexer(chosen)]
    dense = np.asarray(part.toarray() if hasattr(part, "toarray") else part, dtype=float)
    order: dict[str, list[str]] = {}
    for name in asked:
        if name in obs:
            values = obs[name]
            numeric = values.dtype.kind in "biuf"
            empty = np.flatnonzero(values.isna())
            if empty.size and not numeric:
                raise _missing(f"{path}: cell {obs.index[empty[0]]!r}, column {name!r} of obs", empty.size)
            columns[name] = values.to_numpy(dtype=float, na_value=np.nan) if numeric else stripped(values).astype(str)
            order |= {} if numeric else {name: levels(values)}
        elif name in stored.obsm:
            block = stored.obsm[name].astype(float)
            columns |= {f"{name}{j}": block[:, j] for j in range(block.shape[1])}
        else:
            raise absent(path, "column of obs or matrix of obsm", name, obs.columns)
    if not columns:
        raise InputError(f"{path}: name the context with {option('context', '<columns of obs, or a matrix of obsm>')}.")
    x = {name: dense[:, j] for j, name in enumerate(chosen)}
    account = Account("node", len(genes), entry="gene")
    account.leave("not among nodes", [gene for gene in genes if gene not in set(chosen)])
    rows = obs.index.to_numpy(dtype=str)
    return Columns(str(path), x, columns, rows, order, Ledger(Account("sample", len(rows), entry="cell"), account))


def _is_none(asked: Sequence[str], have: Sequence[str]) -> bool:
    """Whether there is said to be no context, and nothing has that name."""
    return list(asked) == [NONE] and NONE not in have


def _missing(place: str, count: int) -> InputError:
    several = f" ({count} such samples)" if count > 1 else ""
    return InputError(f"{place}: the category is missing{several}. Fill it in, or drop the sample.")


def _variables(own: Columns, like: Columns | None, standardise: bool, rule_files: RuleFiles) -> Told:
    """Code categories and standardise, by the training samples' columns where these are another file's."""
    import pandas as pd

    train = like or own
    if not own.x:
        raise InputError(f"{own.path}: no column is left for the nodes. Name them with {option('nodes', '<a>,<b>')}.")

    def scale(by: Array) -> tuple[float, float]:
        known = pd.Series(by)  # missing values are refused later, with their place
        return float(known.mean()), float(known.std(ddof=0))

    def scaled(values: Array, by: Array) -> Array:
        mean, spread = scale(by)
        return (values - mean) / spread if standardise and spread > 0 else values

    coded: dict[str, Array] = {}
    for name, by in train.context.items():
        values = own.context[name]
        kinds = ["numbers" if v.dtype.kind == "f" else "text" for v in (values, by)]
        if kinds[0] != kinds[1]:
            raise InputError(
                f"{own.path}: context {name!r} holds {kinds[0]}, but {kinds[1]} in {train.path}. Correct it."
            )
        known = np.array(train.levels[name]) if name in train.levels else np.unique(by)
        if len(known) < 2 and name != CONSTANT:
            remedy = "" if like else f", or name the file of the training samples with {option('like', '<file>')}"
            raise InputError(
                f"{train.path}: context {name!r} has one level, {known[0].item()!r}. Leave it out{remedy}."
            )
        if kinds[0] == "numbers":
            coded[name] = scaled(values, by)
            if standardise and name != CONSTANT:
                own.ledger.coding[name] = dict(zip(("mean", "sd"), scale(by), strict=True))
            continue
        strange = np.flatnonzero(~np.isin(values, known))
        if strange.size:
            at = strange[0] if own.rows is None else own.rows[strange[0]]
            raise InputError(
                f"{own.path}: sample {at!s}: {name} = {str(values[strange[0]])!r} is not a level of {name!r} in "
                f"{train.path}, which has {listed(known)}. Correct it, drop the sample, or fit with such samples."
            )
        own.ledger.coding[name] = {"levels": known.tolist()}
        coded |= {f"{name}={level}": (values == level).astype(float) for level in known[len(known) <= MANY :]}
    index = pd.RangeIndex(len(next(iter(own.x.values())))) if own.rows is None else pd.Index(own.rows)
    x = {name: values if name in train.words else scaled(values, train.x[name]) for name, values in own.x.items()}
    if like is not None:
        own.ledger.notes.append(f"Nodes, levels and scale are those of {like.path}.")
    variables = {"x": pd.DataFrame(x, index=index), "context": pd.DataFrame(coded, index=index)}
    rule = rule_files.read(list(x), own.ledger.notes)
    if rule is not None:
        variables["rule"] = pd.DataFrame(rule, index=list(x), columns=list(x))
    none = list(coded) == [CONSTANT] and not np.any(coded[CONSTANT])
    return Told(variables, own.ledger, sizes={"archetype": 1} if none else {})
