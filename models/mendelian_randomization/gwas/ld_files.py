"""Files of correlations of variants (linkage disequilibrium): tables, PLINK's matrices, rows of pairs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.delimited import is_number, number
from genarium.remedies import option

from ..linked import require_ld
from .dialects import BUILDS, plain, roles
from .files import begin, split
from .pairing import chromosome_of, place_of
from .streams import opened

PAIRS = {
    "first": ("snpa", "ida", "varianta", "snp1", "id1", "rsid1", "variant1"),
    "second": ("snpb", "idb", "variantb", "snp2", "id2", "rsid2", "variant2"),
    "r": ("r", "unphasedr", "phasedr", "corr", "correlation", "ld"),
}
"""Usual names of the columns of a table with a row a pair (PLINK 1 and 2, LDstore)."""

OF_EACH = {
    "chromosome": ("chr", "chrom", "chromosome"),
    "position": ("bp", "pos", "position"),
    "major": ("maj",),
    "rest": ("nonmaj",),
    "reference": ("ref",),
    "alternative": ("alt", "alt1"),
}
"""Columns that such a table may have for either variant, with A or 1, B or 2 at the end."""

WITH_ALLELES = re.compile(rf"(.+?)[:_-]([A-Za-z]+|-)[:_/>-]([A-Za-z]+|-)(?:[:_]({'|'.join(BUILDS)}))?", re.IGNORECASE)
"""An identifier that ends in a variant's two alleles, and perhaps the build of the genome."""

SQUARED = ("r2", "rsq", "rsquared", "unphasedr2", "phasedr2")
SEVERAL = 20
"""Correlations of which one at least should be negative."""


class Variant(NamedTuple):
    """A variant of the sample that correlations are from; alleles and place are empty where they are not told."""

    name: str
    place: str = ""
    counted: str = ""
    other: str = ""


@dataclass(frozen=True)
class Correlations:
    """Correlations of variants.

    Attributes
    ----------
    path : Path
    variants : list of Variant
        The counted allele is that by which correlations have their signs.
    matrix : ndarray, shape (J, J)
    known : ndarray of bool, shape (J, J)
        Whether the file has a pair; correlations of others are 0.
    notes : list of str
    build : str, optional
        Of the genome, where names tell it.
    """

    path: Path
    variants: list[Variant]
    matrix: Array
    known: Array
    notes: list[str] = field(default_factory=list)
    build: str | None = None


def read_correlations(path: Path, alleles: Path | None = None) -> Correlations:
    """Read correlations, and which alleles they are of.

    Parameters
    ----------
    path : Path
        A square table with names of variants in its first row and column; a matrix without names (PLINK's ``--r
        square``, ``square0`` or ``triangle``), which a file of its name that ends in .vars, or ``alleles``, gives; or a
        table with a row a pair (PLINK's ``--r``: SNP_A, SNP_B, R), in which pairs that are not named do not correlate.
    alleles : Path, optional
        A table with identifiers and alleles (A1 or ALT, the counted one, and A2 or REF), or PLINK's .bim. Default:
        names such as rs123_A_G, 1:1000:A:G or 1_1000_A_G_b37 say it, the counted one first.

    Raises
    ------
    InputError
        If this cannot be read, is no matrix of correlations, or does not say the alleles.
    """
    path = Path(path)
    panel = None if alleles is None else _panel(Path(alleles))
    cells, first = _cells(path)
    notes: list[str] = []
    if _is_long(path, cells[0]):
        variants, matrix, known = _long(path, cells, first)
    elif len(cells[0]) == 3 and [is_number(cell) for cell in cells[0]] == [False, False, True]:  # pairs, no header
        variants, matrix, known = _long(path, [["snp1", "snp2", "r"], *cells], first - 1)
    else:
        bare = all(map(is_number, cells[0]))
        variants, matrix = _bare(path, cells, first, alleles, panel, notes) if bare else _square(path, cells, first)
        known = np.ones(matrix.shape, dtype=bool)
    bad = _without_numbers(matrix)
    if bad.any():
        gone = [one.name for one, lost in zip(variants, bad, strict=True) if lost]
        notes.append(f"{path.name}: no numbers for {len(gone)} variants ({', '.join(gone[:5])}); they are left aside")
        variants = [one for one, lost in zip(variants, bad, strict=True) if not lost]
        matrix, known = (values[np.ix_(~bad, ~bad)] for values in (matrix, known))
    require_ld(matrix, np.array([one.name for one in variants]), f"{path}: the correlation", invertible=False)
    apart = matrix[np.triu_indices(len(matrix), 1)]
    if (apart != 0).sum() >= SEVERAL and (apart >= 0).all():
        notes.append(f"{path.name}: no correlation is negative; if this is r squared, give r itself")
    variants, build = _described(path, variants, alleles, panel, _of_plink_1(cells[0]))
    return Correlations(path, variants, matrix, known, notes, build)


def _cells(path: Path) -> tuple[list[list[str]], int]:
    """Return the cells of a table, its header first, and the line that the header is in."""
    lines, separator, head = begin(path)
    with opened(path) as stream:
        rest = [line for line in stream.read().splitlines()[len(lines) :] if line.strip()]
    return [split(line, separator) for line in (head, *rest)], len(lines)


def _is_long(path: Path, head: Sequence[str]) -> bool:
    short = {plain(name) for name in head}
    pairs = all(short & set(PAIRS[role]) for role in ("first", "second"))
    if pairs and not short & set(PAIRS["r"]):
        told = "has r squared, which has no sign" if short & set(SQUARED) else "has no column of correlations (R)"
        raise InputError(f"{path}: this {told}. Give r itself: PLINK's --r, or --r-unphased.")
    return pairs


def _of_plink_1(head: Sequence[str]) -> bool:
    return {"chra", "bpa", "snpa"} <= {plain(name) for name in head}


def _number(path: Path, line: int, text: str) -> float:
    try:
        return number(text)
    except ValueError:
        raise InputError(f"{path}: line {line}: {text!r} is no number. Give correlations, from -1 to 1.") from None


def _without_numbers(matrix: Array) -> Array:
    """Return which variants have to go for every correlation to be a number: those with the most that are none."""
    missing = np.isnan(matrix)
    gone = missing.sum(1) >= max(1, len(matrix) - 1)  # those that do not vary, all at once
    missing[gone] = missing[:, gone] = False
    while missing.any():
        worst = int(missing.sum(1).argmax())
        gone[worst] = True
        missing[worst] = missing[:, worst] = False
    return gone


def _square(path: Path, cells: list[list[str]], first: int) -> tuple[list[Variant], Array]:
    """Read a square table; R's write.table leaves its first row one cell short."""
    head, rows = cells[0], cells[1:]
    names = head if len(head) == len(rows) else head[1:]
    if len(names) != len(rows) or len(set(names)) != len(names):
        raise InputError(
            f"{path}: this has {len(rows)} rows and {len(head)} columns, but is to be square, with the names of "
            "variants, each once, in its first row and column."
        )
    matrix = np.empty((len(names), len(names)))
    for k, row in enumerate(rows):
        line = first + 1 + k
        if len(row) != len(names) + 1 or row[0] != names[k]:
            raise InputError(
                f"{path}: line {line} begins with {row[0]!r} and has {len(row)} cells, where {names[k]!r} and "
                f"{len(names)} correlations are due. Keep rows and columns in the same order."
            )
        matrix[k] = [_number(path, line, text) for text in row[1:]]
    return [Variant(name) for name in names], matrix


def _bare(
    path: Path,
    cells: list[list[str]],
    first: int,
    alleles: Path | None,
    panel: list[Variant] | None,
    notes: list[str],
) -> tuple[list[Variant], Array]:
    """Read a matrix without names: square, or its lower half (PLINK's ``triangle``, and zeros above: ``square0``)."""
    J = len(cells)
    matrix = np.zeros((J, J))
    whole = len(cells[0]) == J
    for k, row in enumerate(cells):
        if len(row) != (J if whole else k + 1):
            raise InputError(
                f"{path}: line {first + k} has {len(row)} correlations, but there are {J} lines. Give a square matrix, "
                "or its lower half."
            )
        matrix[k, : len(row)] = [_number(path, first + k, text) for text in row]
    if not np.triu(matrix, 1).any():
        matrix += np.tril(matrix, -1).T
    listed = path.with_name(path.name.removesuffix(".gz") + ".vars")
    if listed.is_file():
        with opened(listed) as stream:
            variants = [Variant(line.strip()) for line in stream.read().splitlines() if line.strip()]
    elif alleles is not None and panel is not None:
        variants, listed = panel, Path(alleles)
    else:
        raise InputError(
            f"{path}: this matrix has no names. Give {option('ld_alleles', 'FILE')} with its variants in the same "
            f"order (PLINK's .bim), or put their names into {listed.name}."
        )
    if len(variants) != J:
        raise InputError(
            f"{path}: this matrix is of {J} variants, but {listed} names {len(variants)}. Give the "
            "variants of the matrix, in its order."
        )
    notes.append(f"{path.name}: the names of its rows are those of {listed.name}, in its order")
    return variants, matrix


def _long(path: Path, cells: list[list[str]], first: int) -> tuple[list[Variant], Array, Array]:
    """Read a table with a row a pair."""
    short = [plain(name) for name in cells[0]]
    at = [next(k for k, name in enumerate(short) if name in PAIRS[role]) for role in ("first", "second", "r")]
    columns = [_columns(short, ends) for ends in (("a", "1"), ("b", "2"))]
    index: dict[str, int] = {}
    variants: list[Variant] = []
    seen: dict[tuple[int, int], float] = {}
    for k, row in enumerate(cells[1:]):
        if len(row) != len(cells[0]):
            raise InputError(f"{path}: line {first + 1 + k} has {len(row)} cells, but the header {len(cells[0])}.")
        r = _number(path, first + 1 + k, row[at[2]])
        for name, its in zip((row[at[0]], row[at[1]]), columns, strict=True):
            if name not in index:
                index[name] = len(variants)
                variants.append(_variant(name, {role: row[column] for role, column in its.items()}))
        i, j = sorted((index[row[at[0]]], index[row[at[1]]]))
        if not np.array_equal(seen.setdefault((i, j), r), r, equal_nan=True):
            one, two = variants[i].name, variants[j].name
            raise InputError(f"{path}: {one} and {two} correlate by {seen[i, j]:g} in one row, by {r:g} in another.")
    matrix, known = np.eye(len(variants)), np.eye(len(variants), dtype=bool)
    for (i, j), r in seen.items():
        matrix[i, j] = matrix[j, i] = r
        known[i, j] = known[j, i] = True
    return variants, matrix, known


def _columns(short: Sequence[str], ends: Sequence[str]) -> dict[str, int]:
    """Return which columns say what of the first, or of the second, variant of a pair."""
    names = {role: [name + end for name in usual for end in ends] for role, usual in OF_EACH.items()}
    return {role: short.index(name) for role, usual in names.items() for name in usual if name in short}


def _variant(name: str, told: Mapping[str, str]) -> Variant:
    """Return a variant by what a row says of it; the major allele is counted, or the reference if none is named."""
    place = f"{chromosome_of(told['chromosome'])}:{told['position']}" if {"chromosome", "position"} <= set(told) else ""
    major = "major" in told
    counted = told.get("major" if major else "reference", "").upper()
    both = {told.get(role, "").upper() for role in ("reference", "alternative", "rest")} - {"", counted}
    return Variant(name, place, counted, both.pop() if len(both) == 1 else "")


def _panel(path: Path) -> list[Variant]:
    """Read the variants of a sample: identifiers, alleles, the counted one first, and places where they are told."""
    cells, _ = _cells(path)
    used = roles(cells[0])
    if {"id", "effect_allele", "other_allele"} <= set(used):
        at = [cells[0].index(used[role]) for role in ("id", "effect_allele", "other_allele")]
        where = [cells[0].index(used[role]) for role in ("chromosome", "position") if role in used]
        rows = cells[1:]
    elif len(cells[0]) == 6:  # PLINK's .bim has no header: chromosome, name, morgans, position, A1, A2
        at, where, rows = [1, 4, 5], [0, 3], cells
    else:
        raise InputError(f"{path}: identifiers and alleles are needed (columns ID, A1, A2, or PLINK's .bim).")
    out = []
    for row in rows:
        if len(row) <= max(at + where):
            raise InputError(f"{path}: a row has {len(row)} cells ({' '.join(row)[:60]}). Complete it.")
        name, counted, other = (row[k] for k in at)
        place = f"{chromosome_of(row[where[0]])}:{row[where[1]]}" if len(where) == 2 else ""
        if name == "." and place:
            name = f"{place}:{counted}:{other}"
        out.append(Variant(name, place, counted.upper(), other.upper()))
    return out


def _described(
    path: Path, variants: list[Variant], alleles: Path | None, panel: list[Variant] | None, of_a1: bool
) -> tuple[list[Variant], str | None]:
    """Complete variants by what the panel, or else their names, say of alleles and places; return the build, too."""
    by_name: dict[str, Variant] = {}
    for one in panel or ():
        other = by_name.setdefault(one.name, one)
        by_name[one.name] = other if other == one else Variant(one.name)  # two of a name: nobody knows which
    out, builds = [], set()
    for one in variants:
        parts = WITH_ALLELES.fullmatch(one.name)
        told = Variant(one.name, counted=parts[2].upper(), other=parts[3].upper()) if parts and not of_a1 else None
        if parts and parts[4]:
            builds.add(BUILDS[parts[4].lower()])
        if panel is not None and not one.other:
            told = by_name.get(one.name)
            if told is None:
                raise InputError(f"{alleles}: there is no row for variant {one.name!r} of {path}. Add its alleles.")
            if not told.counted:
                raise InputError(f"{alleles}: variant {one.name!r} of {path} has several rows. Keep one.")
        out.append(_completed(one, told))
    if len(builds) > 1:
        raise InputError(f"{path}: names are of builds {', '.join(sorted(builds))} of the genome. Keep to one.")
    if not all(one.counted for one in out):
        why = (
            ": PLINK 1 counts A1, whichever allele a name gives first"
            if of_a1
            else ", so that their signs mean nothing"
        )
        raise InputError(
            f"{path}: this does not say of which alleles the correlations are{why}. Give "
            f"{option('ld_alleles', 'FILE')} (.bim), or names such as rs123_A_G, the counted allele first."
        )
    return out, builds.pop() if builds else None


def _completed(one: Variant, told: Variant | None) -> Variant:
    """Return a variant with what is told beside; the allele that a file itself says to be counted stays that."""
    place = one.place or (told.place if told else "") or place_of(one.name) or ""
    if told is None or one.other:
        return one._replace(place=place)
    if not one.counted:
        return told._replace(place=place)
    other = told.other if told.counted == one.counted else told.counted
    return one._replace(place=place, other=other)
