"""Cases of nb_mixture: wide tables, Parquet, AnnData and Cell Ranger's folders of counts."""

import gzip
from typing import Any

import numpy as np
from validation.fuzz import parsers
from validation.fuzz.case import Case, Random, UnlikeError, sometimes
from validation.fuzz.columnar import parquet
from validation.fuzz.oracles import Wide, account, close, labels, ledger, oracle, variable
from validation.fuzz.raw import damage
from validation.fuzz.stored import AnnData, h5ad
from validation.fuzz.text import NAMES, Grid, alter, written

MODEL = "nb_mixture"


def counts(r: Random, prefix: str = "g") -> Grid:
    """Simulate a small table of counts, with names of cells or without."""
    cells, genes = r.randint(1, 8), r.randint(1, 5)
    names = [f"{prefix}{j + 1}" for j in range(genes)]
    rows = [[str(int(r.expovariate(0.1))) for _ in names] for _ in range(cells)]
    if sometimes(r, 0.8):
        names = [r.choice(("", "cell", "barcode", "name", "index")), *names]
        kind = r.choice(("c{}", "AAC{}-1", "{}", "T{} x"))
        rows = [[kind.format(i + 1), *row] for i, row in enumerate(rows)]
    return Grid(names, rows)


def table(r: Random) -> Case:
    """Make a case of the reader of tables."""
    grid, steps = counts(r), list[str]()
    options: dict[str, Any] = {}
    genes = [one for one in grid.header if one.startswith("g")]
    if sometimes(r, 0.12):
        options["genes"] = ",".join(r.sample(genes, r.randint(1, len(genes))))
    if sometimes(r, 0.12):
        options["drop"] = r.choice(["total", "id", "type", *genes])
    if sometimes(r, 0.1):
        options["cells"] = r.choice([None, "id", *grid.header])
    if sometimes(r, 0.12):
        options["size_factor"] = r.choice(["total", "median", "sf"])
        if options["size_factor"] == "sf":
            grid.header.append("sf")
            for row in grid.rows:
                row.append(f"{r.uniform(0.2, 3):.4g}")
    transpose = sometimes(r, 0.1)
    if transpose:
        options["transpose"] = True
        grid = grid.transposed()
    if sometimes(r, 0.03):
        options[r.choice(("genes", "drop", "cells", "size_factor", "transpose", "nope"))] = r.choice(
            (1, 0.5, None, "", [], ["g1", "g1"], {"g": 1}, True, *NAMES)
        )
    files: dict[str, bytes | str] = {}
    for k in range(r.choice((1, 1, 1, 1, 1, 1, 2))):
        part = Grid(list(grid.header), [[f"{row[0]}.{k}" if k else row[0], *row[1:]] for row in grid.rows])
        alter(r, part, steps)
        if sometimes(r, 0.12):
            files[f"t{k}.parquet"] = parquet(r, part, steps)
        else:
            file, data = written(r, f"t{k}", part, steps)
            files[file] = data
    case = Case(MODEL, "table", files, list(files), options, steps=steps)
    case.check = oracle(lambda tree: check_table(tree, case))
    return case


def check_table(tree: Any, case: Case) -> None:
    """Check what was read of a table."""
    x = variable(tree, "x")
    option = case.options
    chosen, dropped = _names(option.get("genes")), _names(option.get("drop"))
    aside = [option["size_factor"]] if option.get("size_factor") not in (None, "total", "median") else []
    transpose = bool(option.get("transpose"))
    key = "auto" if transpose else option.get("cells", "auto")
    wide = Wide(
        labels(tree, "x", "gene"), labels(tree, "x", "cell"), x.to_numpy(), chosen, dropped, aside, key, ledger(tree)
    )
    files = [parsers.grids(name, case.content(name)) for name in case.inputs]
    if transpose:
        files = [[_of_cells(grid, dropped, option.get("cells", "auto")) for grid in grids] for grids in files]
    found = wide.find(files, transpose)
    if not transpose:
        account(tree, "rows", sum(len(grid.rows) for grid in found), x.shape[0])
    if len(found) == 1:
        account(tree, "columns", len(found[0].header) - transpose, x.shape[1])
    if aside:
        column = [parsers.number(cell) for grid in found for cell in grid.column(aside[0])]
        close(variable(tree, "size_factor"), column, "size factors")


def _of_cells(grid: Grid, dropped: list[str], key: str | None) -> Grid:
    """Return a table with a column a cell, without those that are to be left out; its genes numbered if they are."""
    keep = [j for j, name in enumerate(grid.header) if j == 0 or name not in dropped]
    rows = [[str(i) if key is None else row[0], *(row[j] for j in keep[1:])] for i, row in enumerate(grid.rows)]
    return Grid([grid.header[j] for j in keep], rows)


def _names(option: Any) -> list[str]:
    several = option.split(",") if isinstance(option, str) else option or ()
    return [str(one).strip() for one in several if str(one).strip()]


def anndata(r: Random) -> Case:
    """Make a case of the reader of AnnData files."""
    options: dict[str, Any] = {}
    if sometimes(r, 0.15):
        options["layer"] = r.choice(("counts", "norm", ".raw", "no"))
    if sometimes(r, 0.15):
        options["genes"] = r.choice(("g2,g1", "highly_variable", 2, "g9", 0, "3", True))
    if sometimes(r, 0.15):
        options["size_factor"] = r.choice(("total", "median", "depth", "batch", "kind"))
    if sometimes(r, 0.1):
        options["cells"] = r.choice(("keep", "depth", "no"))
    steps: list[str] = []
    files: dict[str, bytes | str] = {f"a{k}.h5ad": h5ad(r, steps, k) for k in range(r.choice((1, 1, 1, 1, 2)))}
    case = Case(MODEL, "h5ad", files, list(files), options, steps=steps)
    case.check = oracle(lambda tree: _check_anndata(tree, case))
    return case


def _check_anndata(tree: Any, case: Case) -> None:
    x = variable(tree, "x")
    option, genes = case.options, labels(tree, "x", "gene")
    names: list[str] = []
    blocks = []
    read = 0
    for file in case.inputs:
        stored = AnnData(case.content(file))
        matrix = stored.matrix(option.get("layer"), whole=True)
        keep = slice(None) if not option.get("cells") else stored.column("obs", option["cells"]) == np.True_
        own = stored.names("raw/var" if option.get("layer") == ".raw" and "raw/var" in stored.file else "var")
        read += len(matrix)
        blocks.append(matrix[keep][:, [_place(own, gene) for gene in genes]])
        names += np.array(stored.names("obs"), dtype=object)[keep].tolist()
    equal_values(x.to_numpy(), np.concatenate(blocks))
    if labels(tree, "x", "cell") != names:
        raise UnlikeError(f"labels: {labels(tree, 'x', 'cell')[:5]} instead of {names[:5]}")
    if isinstance(option.get("genes"), str) and option["genes"].startswith("g") and genes != _names(option["genes"]):
        raise UnlikeError(f"columns: {genes} instead of {option['genes']}")
    if option.get("genes") is None and genes != own:
        raise UnlikeError(f"columns: {genes} instead of {own}")
    account(tree, "rows", read, len(names))


def cell_ranger(r: Random) -> Case:
    """Make a case of the reader of Cell Ranger's folders."""
    cells, genes = r.randint(1, 6), r.randint(1, 5)
    counts = [[int(r.expovariate(0.3)) for _ in range(genes)] for _ in range(cells)]
    entries = [(j + 1, i + 1, n) for i, row in enumerate(counts) for j, n in enumerate(row) if n]
    lines = ["%%MatrixMarket matrix coordinate integer general", f"{genes} {cells} {len(entries)}"]
    lines += [f"{j} {i} {n}" for j, i, n in entries]
    symbols = [r.choice(("Actb", f"G{j}", f"G{j}", f"G{j}")) for j in range(genes)]
    kinds = [r.choice(("Gene Expression", "Gene Expression", "Antibody Capture")) for _ in range(genes)]
    steps: list[str] = []
    files: dict[str, bytes | str] = {
        "m/matrix.mtx": ("\n".join(lines) + "\n").encode(),
        "m/barcodes.tsv": "".join(f"ACGT{i}-1\n" for i in range(cells)).encode(),
        "m/features.tsv": "".join(
            f"ENSG{j}\t{symbol}\t{kind}\n" for j, (symbol, kind) in enumerate(zip(symbols, kinds, strict=True))
        ).encode(),
    }
    for name, data in list(files.items()):
        assert isinstance(data, bytes)
        damaged = damage(r, data, steps) if sometimes(r, 0.2) else data
        if sometimes(r, 0.4):
            del files[name]
            packed = gzip.compress(damaged, mtime=0)
            files[f"{name}.gz"] = damage(r, packed, steps) if sometimes(r, 0.1) else packed
        else:
            files[name] = damaged
    case = Case(MODEL, "10x", files, ["m"], steps=steps)
    case.check = oracle(lambda tree: _check_cell_ranger(tree, case))
    return case


def _check_cell_ranger(tree: Any, case: Case) -> None:
    def words(name: str) -> list[list[str]]:
        data = case.content(name) if name in case.files else gzip.decompress(case.content(f"{name}.gz"))
        return [line.split("\t") for line in data.decode().splitlines() if line.strip()]

    barcodes = [line[0].strip() for line in words("m/barcodes.tsv")]
    kept = [j for j, line in enumerate(words("m/features.tsv")) if line[2:3] in ([], [""], ["Gene Expression"])]
    head, *rows = [line for line in (row[0].split() for row in words("m/matrix.mtx")) if not line[0].startswith("%")]
    x = np.zeros((int(head[1]), int(head[0])))
    for j, i, n in rows:
        x[int(i) - 1, int(j) - 1] += float(n)
    have = variable(tree, "x").to_numpy()
    if labels(tree, "x", "cell") != barcodes:
        raise UnlikeError(f"labels: {labels(tree, 'x', 'cell')[:5]} instead of {barcodes[:5]}")
    equal_values(have, x[:, kept])


def _place(names: list[str], name: str) -> int:
    if names.count(name) != 1:
        raise UnlikeError(f"columns: {name!r} is there {names.count(name)} times")
    return names.index(name)


def equal_values(have: Any, wanted: Any) -> None:
    """Check integers exactly."""
    if have.shape != wanted.shape:
        raise UnlikeError(f"values: shape {have.shape} instead of {wanted.shape}")
    for index in np.ndindex(have.shape):
        if not parsers.same_number(have[index], wanted[index].item()):
            raise UnlikeError(f"values: {wanted[index]!r} was read as {have[index]!r} at {index}")
