"""Cases of perturbation_score: tables of counts or shares by state, features and targets; AnnData of cells."""

from collections import Counter
from typing import Any

from validation.fuzz import parsers
from validation.fuzz.case import Case, Random, UnlikeError, sometimes
from validation.fuzz.columnar import parquet
from validation.fuzz.oracles import account, close, labels, ledger, named, oracle, variable
from validation.fuzz.stored import AnnData, h5ad
from validation.fuzz.text import NAMES, Grid, alter, written

MODEL = "perturbation_score"


def table(r: Random) -> Case:
    """Make a case of the reader of tables."""
    states = [f"s{k + 1}" for k in range(r.randint(2, 4))]
    genes = [r.choice(("control", "G0")), *(f"G{i + 1}" for i in range(r.randint(1, 6)))]
    count = [[r.randint(1, 30) for _ in states] for _ in genes]
    options: dict[str, Any] = {}
    head = [r.choice(("gene", "perturbation", "", "condition")), *states]
    if sometimes(r, 0.2):
        options["cells"] = "n"
        head.append("n")
        rows = [[g, *(f"{c / sum(row):.6f}" for c in row), str(sum(row))] for g, row in zip(genes, count, strict=True)]
    else:
        rows = [[g, *map(str, row)] for g, row in zip(genes, count, strict=True)]
    if sometimes(r, 0.1):
        options["states"] = ",".join(r.sample(states, r.randint(1, len(states))))
    if sometimes(r, 0.1):
        options["drop"] = r.choice(("total", "flag", "type", "id"))
    if sometimes(r, 0.1):
        options["least"] = r.choice((0, 5, 30, 1000, -1, 2.5, "3"))
    if sometimes(r, 0.2):
        options["control"] = r.choice(("control", "G0", "nope", " control"))
    if sometimes(r, 0.2):
        options["target"] = r.choice(
            ("s1=0.7,s2=0.3", "s1=1", "s1=.5,s2=.5", "s1=0.3333333,s2=0.6666667", "s1=2", "s1", "s9=1", "s1=x", "=", "")
        )
    if sometimes(r, 0.1):
        options["conditions"] = r.choice((None, "gene", "s1"))
    if sometimes(r, 0.03):
        options[r.choice(("states", "least", "control", "features"))] = r.choice((1, None, "", [], True, *NAMES))
    steps: list[str] = []
    files: dict[str, bytes | str] = {}
    grid = Grid(head, rows)
    alter(r, grid, steps)
    if sometimes(r, 0.12):
        files["t.parquet"] = parquet(r, grid, steps)
    else:
        file, data = written(r, "t", grid, steps)
        files[file] = data
    inputs = list(files)
    if sometimes(r, 0.25):
        features = Grid(["gene", "f1", "f2"], [[g, f"{r.gauss(0, 1):.4g}", f"{r.gauss(0, 1):.4g}"] for g in genes])
        alter(r, features, steps)
        file, data = written(r, "features", features, steps)
        files[file] = data
        options.setdefault("features", file)
    case = Case(MODEL, "table", files, inputs, options, steps=steps)
    case.check = oracle(lambda tree: _check_table(tree, case))
    return case


def _check_table(tree: Any, case: Case) -> None:
    reasons = []
    states = labels(tree, "count", "state")
    for grid in parsers.grids(case.inputs[0], case.content(case.inputs[0])):
        try:
            _agrees(tree, case.options, grid)
            break
        except UnlikeError as unlike:
            reasons.append((len(set(grid.header) & set(states)), unlike))
    else:
        raise max(reasons, key=lambda pair: pair[0])[1]
    if case.options.get("features"):
        _features(tree, case)
    if case.options.get("target"):
        parts = dict(part.split("=") for part in case.options["target"].split(",") if part.strip())
        wanted = [float(parts.get(state, 0)) for state in states]
        close(variable(tree, "target").to_numpy(), wanted, "target", 1e-6)


def _agrees(tree: Any, options: dict[str, Any], grid: Grid) -> None:
    values, states = variable(tree, "count").to_numpy(), labels(tree, "count", "state")
    have = labels(tree, "count", "perturbation")
    if any(grid.header.count(state) != 1 for state in states):
        raise UnlikeError(f"columns: {states} of {grid.header}")
    if not options.get("states") and [one for one in grid.header if one in states] != states:
        raise UnlikeError(f"columns: {states} of {grid.header}")
    columns = [[parsers.number(cell) for cell in grid.column(state)] for state in states]
    rows: list[list[Any]] = [list(row) for row in zip(*columns, strict=True)]
    if any(cell is None for row in rows for cell in row):
        raise UnlikeError("values: a missing number was accepted")
    if options.get("cells"):
        number = [parsers.number(cell) or 0 for cell in grid.column(options["cells"])]
        rows = [[round(share * n) for share in row] for row, n in zip(rows, number, strict=True)]
    least = options.get("least", 1)
    kept = [i for i, row in enumerate(rows) if sum(row) >= least]
    keys = [one for one in grid.header if [parsers.name(grid.column(one)[i]) for i in kept] == have]
    if not keys and have != [str(i) for i in kept]:
        raise UnlikeError(f"labels: {have[:5]}")
    wanted = [rows[i] for i in kept]
    if values.tolist() != wanted:
        raise UnlikeError(f"values: {values.tolist()} instead of {wanted}")
    told = ledger(tree)
    known = {
        *states,
        *keys[:1],
        options.get("cells"),
        *named(told, "columns"),
        *str(options.get("drop", "")).split(","),
    }
    lost = [one for one in grid.header if one not in known and not one.startswith("unnamed ")]
    left = sum(told["columns"]["left_out"].values()) if told else 0
    if not options.get("states") and len(lost) > left:
        raise UnlikeError(f"column lost without a word: {lost[0][:40]!r}")
    account(tree, "rows", len(rows), len(kept))


def _features(tree: Any, case: Case) -> None:
    """Compare features, by name, with those of the table."""
    file = case.options["features"]
    have, columns = variable(tree, "features").to_numpy(), labels(tree, "features", "feature")
    genes = labels(tree, "count", "perturbation")
    reasons = [UnlikeError("features: no table")]
    for grid in parsers.grids(file, case.content(file)):
        names = [parsers.name(cell) for cell in grid.column(grid.header[0])]
        try:
            if any(grid.header.count(column) != 1 for column in columns):
                raise UnlikeError(f"features: {columns} of {grid.header}")
            for i, gene in enumerate(genes):
                if gene not in names and gene == str(case.options.get("control")).strip():
                    continue
                if names.count(gene) != 1:
                    raise UnlikeError(f"features: {gene!r} is there {names.count(gene)} times")
                wanted = [float(parsers.number(grid.column(c)[names.index(gene)]) or 0) for c in columns]
                close(have[i], wanted, "features")
        except UnlikeError as unlike:
            reasons.append(unlike)
        else:
            return
    raise reasons[-1]


def expression(r: Random) -> Case:
    """Make a case of the reader of cells with their expression: files as for the counts of states."""
    case = anndata(r)
    case.format = "expression"
    for name in ("states", "least"):
        case.options.pop(name, None)
    case.check = lambda tree: None
    return case


def anndata(r: Random) -> Case:
    """Make a case of the reader of AnnData files."""
    options: dict[str, Any] = {}
    if sometimes(r, 0.2):
        options["condition"] = r.choice(("kind", "number", "batch", "maybe", "depth", "no"))
    if sometimes(r, 0.2):
        options["state"] = r.choice(("kind", "number", "batch", "keep", "no"))
    if sometimes(r, 0.1):
        options["states"] = r.choice(("p,q", "q,p", "p", "p,q,z"))
    if sometimes(r, 0.1):
        options["layer"] = r.choice(("counts", "norm", "no"))
    if sometimes(r, 0.2):
        options["control"] = r.choice(("control", "A", "no"))
    if sometimes(r, 0.1):
        options["least"] = r.choice((2, 3, 100))
    steps: list[str] = []
    size = r.choice((6, 12))
    files: dict[str, bytes | str] = {f"a{k}.h5ad": h5ad(r, steps, k, size) for k in range(1 + sometimes(r, 0.15))}
    case = Case(MODEL, "h5ad", files, list(files), options, steps=steps)
    case.check = oracle(lambda tree: _check_anndata(tree, case))
    return case


def _level(value: Any) -> str:
    """Return a label as text; a whole number without decimals, whatever its type."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else parsers.name(value)


def _check_anndata(tree: Any, case: Case) -> None:
    option = case.options
    found: Counter[tuple[str, str]] = Counter()
    cells = 0
    for file in case.inputs:
        stored = AnnData(case.content(file))
        pair = [stored.column("obs", option.get(axis, axis)) for axis in ("condition", "state")]
        found.update((_level(c), _level(s)) for c, s in zip(*pair, strict=True))
        cells += len(pair[0])
    states, conditions = labels(tree, "count", "state"), labels(tree, "count", "perturbation")
    have = variable(tree, "count").to_numpy()
    wanted = [[found[condition, state] for state in states] for condition in conditions]
    if have.tolist() != wanted:
        raise UnlikeError(f"values: {have.tolist()} instead of {wanted}")
    totals = Counter[str]()
    for (condition, _), n in found.items():
        totals[condition] += n
    if {c for c, n in totals.items() if n >= option.get("least", 1)} != set(conditions):
        raise UnlikeError(f"labels: {conditions} of {dict(totals)}")
    if not {s for _, s in found} <= set(states):
        raise UnlikeError(f"columns: {states} of {sorted({s for _, s in found})}")
