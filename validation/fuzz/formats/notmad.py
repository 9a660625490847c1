"""Cases of notmad: tables and AnnData of expression with contexts."""

from typing import Any

import numpy as np
from validation.fuzz import parsers
from validation.fuzz.case import Case, Random, UnlikeError, sometimes
from validation.fuzz.columnar import parquet
from validation.fuzz.oracles import account, close, labels, ledger, named, oracle, variable
from validation.fuzz.stored import AnnData, h5ad
from validation.fuzz.text import NAMES, Grid, alter, written

MODEL = "notmad"


def table(r: Random) -> Case:
    """Make a case of the reader of tables."""
    samples, nodes = r.randint(2, 8), r.randint(1, 4)
    names = [*(f"n{j + 1}" for j in range(nodes)), "age", "type"]
    rows = [
        [*(f"{r.gauss(0, 1):.4g}" for _ in range(nodes)), str(r.randint(20, 80)), r.choice("ABC")]
        for _ in range(samples)
    ]
    if sometimes(r, 0.7):
        names = [r.choice(("", "sample", "id")), *names]
        rows = [[f"s{i + 1}", *row] for i, row in enumerate(rows)]
    options: dict[str, Any] = {"context": r.choice(("age", "age", "type", "age,type", "age, type"))}
    if sometimes(r, 0.7):
        options["standardise"] = False
    if sometimes(r, 0.2):
        options["nodes"] = r.choice(("n1", "n2,n1", "n9", "n1,age"))
    if sometimes(r, 0.1):
        options["samples"] = r.choice((None, "sample", "type", "n1"))
    if sometimes(r, 0.03):
        options[r.choice(list(options))] = r.choice((1, None, "", [], True, {"a": 1}, *NAMES))
    steps: list[str] = []
    files: dict[str, bytes | str] = {}
    for k in range(1 + sometimes(r, 0.12)):
        part = Grid(list(names), [list(row) for row in rows])
        alter(r, part, steps)
        if sometimes(r, 0.12):
            files[f"t{k}.parquet"] = parquet(r, part, steps)
        else:
            file, data = written(r, f"t{k}", part, steps)
            files[file] = data
    inputs = list(files)[:1]
    if len(files) > 1:
        options["like"] = list(files)[1]
    case = Case(MODEL, "table", files, inputs, options, steps=steps)
    case.check = oracle(lambda tree: _check_table(tree, case))
    return case


def _check_table(tree: Any, case: Case) -> None:
    files = [case.inputs[0], *([case.options["like"]] if case.options.get("like") else [])]
    reasons = []
    for grid in parsers.grids(files[0], case.content(files[0])):
        for like in parsers.grids(files[-1], case.content(files[-1])) if len(files) > 1 else [grid]:
            try:
                return _agrees(tree, case.options, grid, like)
            except UnlikeError as unlike:
                reasons.append((len(set(grid.header) & set(labels(tree, "x", "node"))), unlike))
    raise max(reasons, key=lambda pair: pair[0])[1]


def _agrees(tree: Any, options: dict[str, Any], grid: Grid, like: Grid) -> None:
    x, nodes = variable(tree, "x"), labels(tree, "x", "node")
    context = [one.strip() for one in options["context"].split(",") if one.strip()]
    for one in (*nodes, *context):
        if grid.header.count(one) != 1 or like.header.count(one) != 1:
            raise UnlikeError(f"columns: {one!r} is there {grid.header.count(one)} times")
    have = labels(tree, "x", "sample")
    keys = [one for one in grid.header if [str(cell) for cell in grid.column(one)] == have]
    keys += [one for one in grid.header if [parsers.name(cell) for cell in grid.column(one)] == have]
    if not keys and have != [str(i) for i in range(len(grid.rows))]:
        raise UnlikeError(f"labels: {have[:5]}")
    told = ledger(tree)
    known = {*nodes, *context, *keys[:1], *named(told, "columns")}
    lost = [one for one in grid.header if one not in known]
    if lost and not options.get("nodes") and not options.get("like"):
        left = sum(told["columns"]["left_out"].values()) if told else 0
        if len(lost) > left and not all(_empty(grid, one) for one in lost):
            raise UnlikeError(f"column lost without a word: {lost[0][:40]!r}")
    standardise = options.get("standardise", True)
    for j, node in enumerate(nodes):
        close(x.to_numpy()[:, j], _scaled(grid.column(node), like.column(node), standardise), f"values of {node!r}")
    covariates = labels(tree, "context", "covariate")
    values = variable(tree, "context").to_numpy()
    for j, covariate in enumerate(covariates):
        if covariate in context:
            column = _scaled(grid.column(covariate), like.column(covariate), standardise)
        else:
            own, level = covariate.split("=", 1)
            column = [float(parsers.name(cell) == level.strip()) for cell in grid.column(own)]
        close(values[:, j], column, f"values of {covariate!r}")
    account(tree, "rows", len(grid.rows), len(have))


def _empty(grid: Grid, column: str) -> bool:
    return column.startswith("unnamed ") and not any(str(cell or "").strip() for cell in grid.column(column))


def _scaled(cells: list[Any], by: list[Any], standardise: bool) -> Any:
    values, other = (np.array([_real(cell) for cell in column]) for column in (cells, by))
    with np.errstate(all="ignore"):
        spread = np.std(other)
        return (values - np.mean(other)) / spread if standardise and spread > 0 else values


def _real(cell: Any) -> float:
    value = parsers.number(cell)
    if value is None:
        raise UnlikeError("values: a missing number was accepted")
    return float(value)


def anndata(r: Random) -> Case:
    """Make a case of the reader of AnnData files."""
    options: dict[str, Any] = {"context": r.choice(("depth", "X_pca", "kind", "depth,kind", "batch", "count", "maybe"))}
    if sometimes(r, 0.7):
        options["standardise"] = False
    if sometimes(r, 0.2):
        options["nodes"] = r.choice(("g1", "g3,g2", "g9"))
    if sometimes(r, 0.3):
        options["layer"] = r.choice(("counts", "norm", "no", ".raw"))
    steps: list[str] = []
    files: dict[str, bytes | str] = {"a.h5ad": h5ad(r, steps)}
    if sometimes(r, 0.1):
        files["b.h5ad"] = h5ad(r, steps, 1)
        options["like"] = "b.h5ad"
    case = Case(MODEL, "h5ad", files, ["a.h5ad"], options, steps=steps)
    case.check = oracle(lambda tree: _check_anndata(tree, case))
    return case


def _check_anndata(tree: Any, case: Case) -> None:
    option, nodes = case.options, labels(tree, "x", "node")
    stored = AnnData(case.content(case.inputs[0]))
    layer = option.get("layer")
    genes = stored.names("raw/var" if layer == ".raw" and "raw/var" in stored.file else "var")
    if any(genes.count(node) != 1 for node in nodes):
        raise UnlikeError(f"columns: {nodes} of {genes}")
    if not option.get("nodes") and not option.get("like") and nodes != genes:
        raise UnlikeError(f"columns: {nodes} of {genes}")
    if labels(tree, "x", "sample") != stored.names("obs"):
        raise UnlikeError(f"labels: {labels(tree, 'x', 'sample')[:5]} instead of {stored.names('obs')[:5]}")
    matrix = stored.matrix(layer)
    if not option.get("standardise", True):
        close(variable(tree, "x").to_numpy(), matrix[:, [genes.index(node) for node in nodes]], "values")
        context = variable(tree, "context").to_numpy()
        for j, covariate in enumerate(labels(tree, "context", "covariate")):
            name, _, level = covariate.partition("=")
            if level:
                close(context[:, j], [float(str(v) == level) for v in stored.column("obs", name)], "context")
            elif f"obs/{name}" in stored.file:
                close(context[:, j], np.asarray(stored.column("obs", name), dtype=float), "context")
    account(tree, "rows", len(matrix), len(matrix))
