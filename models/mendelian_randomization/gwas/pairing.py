"""The variants that two files of summary statistics have in common, coded by the same alleles."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.ledger import MOST, Account
from genarium.remedies import option

from ..harmonise import Alleles, harmonise, match, other_strand
from .columns import Columns
from .dialects import ALT_FREQUENCY, BUILDS, plain
from .files import check_given, read_columns
from .statistics import Effects, Scale, effects_of

Duplicates = Literal["error", "first", "best", "drop"]
TRAITS = ("exposure", "outcome")
PLACE = re.compile(
    rf"(?:chr)?(\w+)[:_-](\d+)(?:[:_-][A-Za-z<>*-]+[:_/>-][A-Za-z<>*-]+)?(?:[:_](?P<build>{'|'.join(BUILDS)}))?",
    re.IGNORECASE,
)
"""How an identifier says where a variant is, and perhaps the build of the genome."""


@dataclass(frozen=True)
class Paired:
    """Effects of J variants on two traits, for the same alleles.

    Attributes
    ----------
    names : ndarray, shape (J,)
    alleles : tuple of ndarray of str, shape (J,)
        The effect allele and the other one.
    exposure, outcome : Effects
        The outcome's effects and frequencies are of the exposure's effect alleles.
    rows : Account
        Of variants: what was left out, and why.
    columns : list of Columns
    notes : list of str
    at : ndarray of int, shape (J, 2)
        Rows of the two files.
    """

    names: Array
    alleles: tuple[Array, Array]
    exposure: Effects
    outcome: Effects
    rows: Account
    columns: list[Columns]
    notes: list[str]
    at: Array


def pair(
    paths: Sequence[Path],
    given: Mapping[str, str | None],
    *,
    scale: Scale = "auto",
    incompatible: str = "error",
    palindromic: str = "frequency",
    duplicates: Duplicates = "error",
) -> Paired:
    """Read two files, pair their variants and code them by the exposure's effect alleles.

    Parameters
    ----------
    paths : sequence of Path
        Exposure and outcome.
    given : mapping of str to str
        Role -> column, in both files.
    scale : {"auto", "beta", "odds_ratio"}
    incompatible : {"error", "drop"}
    palindromic : {"frequency", "drop", "keep"}
    duplicates : {"error", "first", "best", "drop"}
        What to do with rows that could be the same variant: refuse them, take the first or that with the least
        standard error, or leave all out.

    Raises
    ------
    InputError
        If nothing is in common, or nothing is left.
    """
    files = [read_columns(Path(path), given) for path in paths]
    check_given(files, given)
    account = Account("variant")
    for trait, file in zip(TRAITS, files, strict=True):
        for reason, n in file.lost.items():
            account.leave(f"{reason} in the {trait}", n)
    pairs, names = _pairs(files, account, duplicates)
    alleles = [_alleles(file, pairs[:, side]) for side, file in enumerate(files)]
    alleles = _completed(files, alleles)
    effects = [effects_of(file, pairs[:, side], scale) for side, file in enumerate(files)]
    for file, rows, one, (effect, _) in zip(files, pairs.T, effects, alleles, strict=True):
        if file.has("reference") and file.has("frequency") and plain(file.used["frequency"]) in ALT_FREQUENCY:
            turned = effect == _upper(file.text("reference", rows))
            one.frequency = np.where(turned, 1 - one.frequency, one.frequency)
    keep = np.ones(len(pairs), dtype=bool)
    for trait, found in zip(TRAITS, effects, strict=True):
        for reason in sorted(set(found.fault[keep]) - {""}):
            bad = keep & (found.fault == reason)
            account.leave(f"with {reason} in the {trait}", names[bad].tolist())
        keep &= found.fault == ""
    names, alleles = names[keep], [(effect[keep], other[keep]) for effect, other in alleles]
    effects = [taken_of(one, keep) for one in effects]
    both = [
        Alleles(effect, other, one.frequency if file.has("frequency") else None)
        for (effect, other), one, file in zip(alleles, effects, files, strict=True)
    ]
    try:
        sign, unclear = harmonise(both[0], both[1], names, incompatible=incompatible, palindromic=palindromic)
    except InputError as error:
        told = error.marked.removeprefix("mendelian_randomization: ")
        raise InputError(f"{files[0].path} and {files[1].path}: {told}") from error
    reason = "palindromic with no telling frequency" if palindromic == "frequency" else "palindromic"
    account.leave(reason, names[unclear].tolist())
    account.leave("alleles do not match", names[(sign == 0) & ~unclear].tolist())
    left = sign != 0
    if not left.any():
        raise InputError(
            f"{files[0].path}: no variant is left ({'; '.join(account.left_out)}). Check their "
            f"alleles and effects{', or give ' + option('frequency', 'COLUMN') if unclear.any() else ''}."
        )
    first, second = (taken_of(one, left) for one in effects)
    turned = sign[left]
    second.beta *= turned
    second.frequency = np.where(turned < 0, 1 - second.frequency, second.frequency)
    account.read = int(left.sum()) + sum(account.left_out.values())
    own = alleles[0][0][left], alleles[0][1][left]
    notes = [note for file in files for note in file.notes]
    return Paired(names[left], own, first, second, account, files, notes, pairs[keep][left])


def taken_of(effects: Effects, keep: Array) -> Effects:
    """Return the effects of some variants."""
    return Effects(*(getattr(effects, name)[keep] for name in effects.__dataclass_fields__))


def _alleles(file: Columns, rows: Array) -> tuple[Array, Array]:
    """Alleles in upper case; empty where there is none."""
    effect, other = (_upper(file.text(role, rows)) for role in ("effect_allele", "other_allele"))
    if file.has("reference") and not file.has("other_allele"):
        reference, alternative = (_upper(file.text(role, rows)) for role in ("reference", "alternative"))
        other = np.where(effect == alternative, reference, alternative)
    return effect, other


def _upper(texts: Array) -> Array:
    import pandas as pd

    codes, every = pd.factorize(texts)  # few different ones
    return np.array([str(text).strip().upper() for text in every], dtype=object)[codes]


def _completed(files: list[Columns], alleles: list[tuple[Array, Array]]) -> list[tuple[Array, Array]]:
    """Where a file tells the effect allele only, the other one is that of the other file."""
    out = []
    for side, (effect, other) in enumerate(alleles):
        theirs = alleles[1 - side]
        filled = other.copy()
        alone = not (files[side].has("other_allele") or files[side].has("reference"))
        for j in np.flatnonzero(other == "") if alone else ():
            two = [theirs[0][j], theirs[1][j]]
            for these in (two, [other_strand(allele) for allele in two]):
                if effect[j] in these and these[0] != these[1] and "" not in these:
                    filled[j] = these[1 - these.index(effect[j])]
                    break
        out.append((effect, filled))
    return out


def places_of(file: Columns, rows: Array) -> Any:
    """Where variants of some rows are, "chromosome:position", as an Arrow array; null where it is not told."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if file.has("chromosome") and file.has("position"):
        coded = pc.dictionary_encode(file.table["chromosome"].take(rows).combine_chunks())
        names = pa.array([None if c is None else chromosome_of(c) for c in coded.dictionary.to_pylist()], pa.string())
        position = _numbered(file.table["position"].take(rows).combine_chunks())
        if pa.types.is_floating(position.type):
            position = pc.cast(position, pa.int64(), safe=False)
        if file.from_zero:
            position = pc.add(pc.cast(position, pa.int64()), 1)
        return pc.binary_join_element_wise(names.take(coded.indices), pc.cast(position, pa.string()), ":")
    names = file.text("id", rows)
    told = {build for text in names if (build := build_in(text))}
    if file.build is None and len(told) == 1:
        file.build = told.pop()
    return pa.array([place_of(text) for text in names], pa.string())


def build_in(identifier: str) -> str | None:
    """Return the build of the genome that an identifier's place is of, if it says it (1_1000_A_G_b37)."""
    told = PLACE.fullmatch(identifier)
    return BUILDS[told["build"].lower()] if told and told["build"] else None


def _numbered(position: Any) -> Any:
    """Return positions as numbers where some are not written as whole ones ("123.0", "1e+05"); null if not at all."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(position.type) or pc.all(pc.match_substring_regex(position, "^[1-9][0-9]*$")).as_py():
        return position
    return pa.array(pd.to_numeric(position.to_pandas(), errors="coerce").astype(float), from_pandas=True)


def place_of(identifier: str) -> str | None:
    """Return where a variant is, "chromosome:position", if its identifier says it."""
    told = PLACE.fullmatch(identifier)
    return f"{chromosome_of(told[1])}:{told[2]}" if told else None


def chromosome_of(text: str) -> str:
    """Return a chromosome's name as other tables may have it, without "chr": X, Y, XY and MT for 23 to 26."""
    short = text.strip().lower().removeprefix("chr").removesuffix(".0").lstrip("0")
    return {"23": "X", "24": "Y", "25": "XY", "26": "MT", "m": "MT", "x": "X", "y": "Y"}.get(short, short.upper())


Joined = tuple[Array, Array, list[Array]]
"""Pairs of rows, their names, and the rows of either file that are paired or accounted for."""


def _pairs(files: list[Columns], account: Account, duplicates: Duplicates) -> tuple[Array, Array]:
    """Pair rows, first by identifier, then by place; return (J, 2) rows and the variants' names."""
    import pyarrow.compute as pc

    rows: list[Array] = []
    names = np.empty(0, dtype=object)
    taken = [np.zeros(len(file), dtype=bool) for file in files]
    if all(file.has("id") for file in files):
        keys = [pc.utf8_trim(file.table["id"].combine_chunks(), characters=" ") for file in files]
        once = _once(keys)
        if once is None:
            shared = [np.flatnonzero(some) for some in _shared(keys)]
            labels = [
                np.asarray(key.take(some).to_numpy(zero_copy_only=False))
                for key, some in zip(keys, shared, strict=True)
            ]
            once = _joined(files, shared, labels, duplicates, account, False)
        made, names, seen = once
        rows.append(made)
        for side in (0, 1):
            taken[side][seen[side]] = True
    whole = np.concatenate(rows) if rows else np.zeros((0, 2), dtype=int)
    more, called, seen = _by_place(files, taken, duplicates, account)
    whole, names = np.concatenate([whole, more]), np.concatenate([names, called])
    for side in (0, 1):
        taken[side][seen[side]] = True
    if not len(whole):
        raise InputError(
            f"{files[0].path} and {files[1].path} have no variant in common. Check the variants' names, and that both "
            "are of one build of the genome."
        )
    for side, trait in enumerate(TRAITS):
        spare, file = np.flatnonzero(~taken[side]), files[side]
        nameless = np.zeros(len(spare), dtype=bool)
        if file.has("id") and not file.has("position"):
            nameless = np.asarray(pc.is_null(file.table["id"].take(spare)).to_numpy(zero_copy_only=False))
        account.leave(f"in the {trait} only", int((~nameless).sum()))
        account.leave(f"without an identifier in the {trait}", int(nameless.sum()))
        if file.has("id") and not nameless.all():
            named = file.table["id"].take(spare[~nameless][:MOST]).to_pylist()
            account.names[f"in the {trait} only"] = [one for one in named if one]
    if (np.diff(whole[:, 0]) > 0).all():
        return whole, names
    order = np.lexsort((whole[:, 1], whole[:, 0]))
    return whole[order], names[order]


def _once(keys: list[Any]) -> Joined | None:
    """Pair rows by identifiers that either file has once; None if it is not so."""
    import pyarrow.compute as pc

    at = pc.index_in(keys[0], value_set=keys[1], skip_nulls=True)
    first = np.flatnonzero(np.asarray(at.is_valid().to_numpy(zero_copy_only=False)))
    second = np.asarray(at.drop_null().to_numpy(zero_copy_only=False), dtype=np.int64)
    seen = np.zeros(len(keys[1]), dtype=bool)
    seen[second] = True
    mine = keys[0].take(first)
    again = pc.is_in(keys[1].filter(~seen), value_set=mine, skip_nulls=True)
    if seen.sum() < len(second) or pc.any(again).as_py():
        return None
    called = np.asarray(mine.to_numpy(zero_copy_only=False), dtype=object)
    return np.stack([first, second], 1), called, [first, np.flatnonzero(seen)]


def _by_place(files: list[Columns], taken: list[Array], duplicates: Duplicates, account: Account) -> Joined:
    """Pair the rows that are left by chromosome, position and alleles."""
    none: Joined = np.zeros((0, 2), dtype=int), np.empty(0, dtype=object), [np.empty(0, dtype=int)] * 2
    free = [np.flatnonzero(~done) for done in taken]
    if not all(len(rows) and (file.has("position") or file.has("id")) for rows, file in zip(free, files, strict=True)):
        return none
    places = [places_of(file, rows) for file, rows in zip(files, free, strict=True)]
    shared = _shared(places)
    if not shared[0].any():
        return none
    builds = [file.build for file in files]
    if None not in builds and builds[0] != builds[1]:
        raise InputError(
            f"{files[0].path} is of build {builds[0]} of the genome, {files[1].path} of build {builds[1]}, so that "
            "variants cannot be told by their places. Give identifiers (rs numbers) in both, or lift one file over."
        )
    labels = [np.asarray(p.filter(some).to_numpy(zero_copy_only=False)) for p, some in zip(places, shared, strict=True)]
    return _joined(
        files, [rows[some] for rows, some in zip(free, shared, strict=True)], labels, duplicates, account, True
    )


def _shared(keys: list[Any]) -> list[Array]:
    """Which keys of two files the other one has, too; the fewer are looked up first."""
    few = int(len(keys[1]) < len(keys[0]))
    many = _known(keys[1 - few], keys[few])
    found = {1 - few: many, few: _known(keys[few], keys[1 - few].filter(many))}
    return [found[0], found[1]]


def _known(mine: Any, other: Any) -> Array:
    """Which keys the other file has, too; none are missing."""
    import pyarrow.compute as pc

    found = pc.and_(pc.is_in(mine, value_set=pc.drop_null(other)), pc.is_valid(mine))
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)


def _joined(
    files: list[Columns], rows: list[Array], labels: list[Array], duplicates: Duplicates, account: Account, places: bool
) -> Joined:
    """Pair rows with the same label; where there are several, or labels are places, by their alleles."""
    import pandas as pd

    left = pd.DataFrame({"label": labels[0], "i": np.arange(len(rows[0]))})
    right = pd.DataFrame({"label": labels[1], "k": np.arange(len(rows[1]))})
    both = left.merge(right, on="label", sort=False)
    i, k, label = (both[name].to_numpy() for name in ("i", "k", "label"))
    if not len(i):
        return np.zeros((0, 2), dtype=int), np.empty(0, dtype=object), [np.empty(0, dtype=int)] * 2
    many = both["i"].duplicated(keep=False).to_numpy() | both["k"].duplicated(keep=False).to_numpy()
    some = np.flatnonzero(many | places)
    fits = np.ones(len(i), dtype=bool)
    called = np.array([str(one) for one in label], dtype=object)
    if len(some):
        one, two = (_alleles(files[0], rows[0][i[some]]), _alleles(files[1], rows[1][k[some]]))
        one, two = _completed(files, [one, two])
        fits[some] = [bool(match(a, b, c, d)) for a, b, c, d in zip(*one, *two, strict=True)]
        lonely = pd.Series(fits[some]).groupby(label[some]).transform("any").to_numpy()
        if not places:  # none of an identifier's rows fit: the first two, for their alleles to be refused
            first = ~pd.Series(label[some]).duplicated().to_numpy()
            fits[some] |= ~lonely & first
        several = pd.Series(fits[some]).groupby(label[some]).transform("sum").to_numpy() > 1
        for at, effect, other, more in zip(some, *one, several, strict=True):
            if more or places:
                called[at] = f"{label[at]}:{other}:{effect}" if places else f"{label[at]}:{effect}:{other}"
    i, k, called, label = i[fits], k[fits], called[fits], label[fits]
    keep = _without_duplicates(files, rows, (i, k), label, called, duplicates, account)
    seen = []
    for own, mine in zip(rows, (i, k), strict=True):
        paired = np.zeros(len(own), dtype=bool)
        paired[mine] = True
        seen.append(own[paired])
    return np.stack([rows[0][i[keep]], rows[1][k[keep]]], 1), called[keep], seen


def _without_duplicates(
    files: list[Columns],
    rows: list[Array],
    pairs: tuple[Array, Array],
    label: Array,
    called: Array,
    duplicates: Duplicates,
    account: Account,
) -> Array:
    """Return which pairs to keep, where rows of a file could be the same variant."""
    import pandas as pd

    i, k = pairs
    keep = np.ones(len(i), dtype=bool)
    for side, (mine, other) in enumerate(((k, i), (i, k))):  # several rows of this side for one of the other
        again = pd.Series(mine).duplicated(keep=False).to_numpy() & (keep | (duplicates == "drop"))
        if not again.any():
            continue
        file, own = files[side], rows[side]
        if duplicates == "error":
            at = int(np.flatnonzero(again)[0])
            same = np.flatnonzero(again & (mine == mine[at]))
            where = " and ".join(f"line {file.line(own[other[n]])}" for n in same[:4])
            raise InputError(
                f"{file.path}: variant {label[at]} is in {where} with the same alleles. Keep one row, or give "
                f"{option('duplicates', 'best')}."
            )
        order = np.arange(len(i))
        if duplicates == "best":
            se = np.full(len(i), np.inf)
            se[again] = np.nan_to_num(effects_of(file, own[other[again]]).se, nan=np.inf)
            order = np.argsort(se, kind="stable")
        drop = again if duplicates == "drop" else again.copy()
        if duplicates != "drop":
            ranked = order[again[order]]
            drop[ranked[~pd.Series(mine[ranked]).duplicated().to_numpy()]] = False
        gone = np.flatnonzero(drop)  # a row that is left out is told of once, however many it could be paired with
        gone = gone[~pd.Series(other[gone]).duplicated().to_numpy()]
        account.leave(f"repeated in the {TRAITS[side]}", called[gone].tolist())
        keep &= ~drop
    return np.flatnonzero(keep)
