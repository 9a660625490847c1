"""Cases of mendelian_randomization: one table with both effects, or a table for each trait."""

import json
from typing import Any

from validation.fuzz import parsers
from validation.fuzz.case import Case, Random, UnlikeError, sometimes
from validation.fuzz.columnar import parquet
from validation.fuzz.oracles import account, close, labels, oracle, variable
from validation.fuzz.text import NAMES, Grid, alter, written

MODEL = "mendelian_randomization"
EFFECTS = ("beta_exposure", "se_exposure", "beta_outcome", "se_outcome")


def table(r: Random) -> Case:
    """Make a case of the reader of one table."""
    size = r.randint(2, 8)
    names = list(EFFECTS)
    rows = [[f"{r.gauss(0, 0.1):.5g}", f"{r.uniform(0.01, 0.1):.4g}"] * 2 for _ in range(size)]
    options: dict[str, Any] = {}
    if sometimes(r, 0.8):
        names = [r.choice(("variant", "SNP", "rsid", "id", "marker")), *names]
        rows = [[f"rs{i + 1}", *row] for i, row in enumerate(rows)]
    if sometimes(r, 0.2):
        names.append("chr")
        rows = [[*row, r.choice(("1", "2", "X"))] for row in rows]
        options["region"] = r.choice(("chr", "chr", "region"))
    if sometimes(r, 0.15):
        options["error_correlation"] = r.choice((0.3, "0.3", "rho", "beta_exposure", 1, 5, "nan", None, [0.1], "inf"))
    if sometimes(r, 0.1):
        options[r.choice((*EFFECTS, "variant"))] = r.choice(("marker", "b", None, "se_outcome", 1, "", *NAMES))
    grid, steps = Grid(names, rows), list[str]()
    alter(r, grid, steps)
    files = _file(r, "t", grid, steps)
    case = Case(MODEL, "table", files, list(files), options, steps=steps)
    case.check = oracle(lambda tree: _check_table(tree, case))
    return case


def _file(r: Random, name: str, grid: Grid, steps: list[str]) -> dict[str, bytes | str]:
    if sometimes(r, 0.12):
        return {f"{name}.parquet": parquet(r, grid, steps)}
    file, data = written(r, name, grid, steps)
    return {file: data}


def _check_table(tree: Any, case: Case) -> None:
    reasons = []
    for grid in parsers.grids(case.inputs[0], case.content(case.inputs[0])):
        try:
            return _agrees(tree, case.options, grid)
        except UnlikeError as unlike:
            reasons.append((len(grid.header), unlike))
    raise max(reasons, key=lambda pair: pair[0])[1]


def _agrees(tree: Any, options: dict[str, Any], grid: Grid) -> None:
    columns = [str(options.get(name, name)) for name in EFFECTS]
    for effect, column in zip(EFFECTS, columns, strict=True):
        if grid.header.count(column) != 1:
            raise UnlikeError(f"columns: {column!r} is there {grid.header.count(column)} times")
        values = variable(tree, effect).to_numpy()
        if len(values) != len(grid.rows):
            raise UnlikeError(f"rows: the tree has {len(values)}, the file {len(grid.rows)}")
        for value, cell in zip(values, grid.column(column), strict=True):
            if parsers.number(cell) is None or not parsers.same_number(value, cell):
                raise UnlikeError(f"values: {cell!r} was read as {value!r} ({column!r})")
    have = labels(tree, "beta_exposure", "variant")
    keys = [one for one in grid.header if [parsers.name(cell) for cell in grid.column(one)] == have]
    if not keys and have != [str(i) for i in range(len(grid.rows))]:
        raise UnlikeError(f"labels: {have[:5]}")
    if options.get("region"):
        wanted = [parsers.name(cell) for cell in grid.column(options["region"])]
        names = json.loads(tree.attrs["labels"])["region"]
        regions = [names[i] for i in variable(tree, "region").to_numpy()]
        if regions != wanted:
            raise UnlikeError(f"values: regions {regions} instead of {wanted}")
    rho = options.get("error_correlation", 0.0)
    try:
        rho = float(rho)
    except (TypeError, ValueError):
        rho = [parsers.number(cell) for cell in grid.column(str(rho))]
    spread = variable(tree, "se_exposure").to_numpy() * variable(tree, "se_outcome").to_numpy()
    close(variable(tree, "error_covariance").to_numpy(), rho * spread, "values of error_covariance")
    account(tree, "rows", len(grid.rows), len(have))


def traits(r: Random) -> Case:
    """Make a case of the reader of two tables."""
    size = r.randint(2, 8)
    head = ["SNP", "beta", "se", "effect_allele", "other_allele"]
    files: dict[str, bytes | str] = {}
    steps: list[str] = []
    options: dict[str, Any] = {}
    pairs = [r.choice(("AG", "CT", "GA", "TC", "AC", "GT", "AT")) for _ in range(size)]
    if sometimes(r, 0.4):
        head.append("eaf")
        options["frequency"] = "eaf"
    if sometimes(r, 0.4):
        options["incompatible"] = r.choice(("drop", "error", "no"))
    if sometimes(r, 0.4):
        options["palindromic"] = r.choice(("drop", "keep", "frequency", 1))
    if sometimes(r, 0.1):
        options["error_correlation"] = r.choice((0.2, "0.2", "x", 2, None))
    if sometimes(r, 0.05):
        options[r.choice(("variant", "beta", "se", "effect_allele"))] = r.choice((1, None, "", *NAMES))
    for k in range(2):
        rows = []
        for i, pair in enumerate(pairs):
            alleles = pair if sometimes(r, 0.6) else pair[::-1]
            alleles = alleles.lower() if sometimes(r, 0.05) else alleles
            effect = [f"rs{i + 1}", f"{r.gauss(0, 0.1):.5g}", f"{r.uniform(0.01, 0.1):.4g}", *alleles]
            rows.append([*effect, *([f"{r.random():.3g}"] if "eaf" in head else [])])
        grid = Grid(list(head), rows)
        if sometimes(r, 0.6):
            alter(r, grid, steps)
        files |= _file(r, f"t{k}", grid, steps)
    case = Case(MODEL, "traits", files, list(files), options, steps=steps)
    case.check = oracle(lambda tree: _check_traits(tree, case))
    return case


def _check_traits(tree: Any, case: Case) -> None:
    """Check effects by variant; that of the outcome up to its sign, which the alleles tell."""
    have = labels(tree, "beta_exposure", "variant")
    found: list[list[Grid]] = [parsers.grids(name, case.content(name)) for name in case.inputs]
    reasons: list[UnlikeError] = []
    for one in found[0]:
        for other in found[1]:
            try:
                for grid, name in ((one, "exposure"), (other, "outcome")):
                    _trait(tree, case.options, grid, name, have)
                return _signs(tree, case.options, one, other, have)
            except (UnlikeError, ValueError) as unlike:
                if "SNP" in one.header and "SNP" in other.header:
                    reasons.append(UnlikeError(str(unlike)))
    raise reasons[-1] if reasons else UnlikeError("columns: no SNP")


def _rows(options: dict[str, Any], grid: Grid, variant: str) -> list[dict[str, Any]]:
    """Return the rows of a variant: several may have its identifier, of which one has the other table's alleles."""
    names = [parsers.name(cell) for cell in grid.column(str(options.get("variant", "SNP")))]
    if variant not in names:
        raise UnlikeError(f"labels: {variant!r} is not there")
    return [
        dict(zip([name.strip(" '\"") for name in grid.header], row, strict=True))
        for row, name in zip(grid.rows, names, strict=True)
        if name == variant
    ]


def _trait(tree: Any, options: dict[str, Any], grid: Grid, trait: str, have: list[str]) -> None:
    betas, errors = (variable(tree, f"{what}_{trait}").to_numpy() for what in ("beta", "se"))
    for i, variant in enumerate(have):
        told = [[row[str(options.get(name, name))] for name in ("beta", "se")] for row in _rows(options, grid, variant)]
        for beta, error in told:
            sign = -1 if trait == "outcome" and (parsers.number(beta) or 0) * betas[i] < 0 else 1
            if parsers.same_number(sign * betas[i], beta) and parsers.same_number(errors[i], error):
                break
        else:
            raise UnlikeError(f"values: {told!r} were read as {betas[i]!r}, {errors[i]!r}")


def _signs(tree: Any, options: dict[str, Any], one: Grid, other: Grid, have: list[str]) -> None:
    """Check that outcomes were turned where the alleles are exchanged."""
    strand = str.maketrans("ACGT", "TGCA")
    for i, variant in enumerate(have):
        several = [_rows(options, grid, variant) for grid in (one, other)]
        if any(len(rows) > 1 for rows in several):
            continue  # which of them was taken, the numbers have told
        rows = [found[0] for found in several]
        if any({"effect_allele", "other_allele"} - set(row) for row in rows):
            continue  # another column of a usual name is taken, or the other table's allele
        a, b = (
            tuple(parsers.name(row[str(options.get(n, n))]).upper() for n in ("effect_allele", "other_allele"))
            for row in rows
        )
        beta = parsers.number(rows[1][str(options.get("beta", "beta"))]) or 0.0
        turned = variable(tree, "beta_outcome").to_numpy()[i] * beta < 0
        if beta == 0 or a[0].translate(strand) == a[1]:
            continue
        same = b in (a, tuple(x.translate(strand) for x in a))
        if same == turned:
            raise UnlikeError(f"values: the sign of {variant!r} with alleles {a} and {b}")
