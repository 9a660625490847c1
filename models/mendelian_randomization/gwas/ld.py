"""Correlations of variants (linkage disequilibrium) for two traits, signed as the effects are; clumping."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.remedies import option, warn

from ..harmonise import match, other_strand
from ..linked import require_ld
from .ld_files import WITH_ALLELES, Correlations, Variant, read_correlations
from .pairing import Paired, place_of, places_of

THRESHOLD = 0.2
"""Squared correlation below which PLINK leaves pairs out of its tables by itself."""


@dataclass(frozen=True)
class Found:
    """Which variants of a file of correlations J variants are.

    Attributes
    ----------
    at : ndarray of int, shape (J,)
        Numbers of the variants there, -1 for none.
    sign : ndarray of int, shape (J,)
        1, or -1 where the counted allele is not the effect allele; 0 for none.
    other : ndarray of bool, shape (J,)
        Whether there is a variant of the name or place, but with other alleles.
    """

    at: Array
    sign: Array
    other: Array


def aligned(found: Correlations, paired: Paired) -> tuple[Array, Array]:
    """Return which variants have correlations, and these, signed by the variants' own effect alleles.

    Variants are found by their names; those that are not, by their places.

    Parameters
    ----------
    found : Correlations
    paired : Paired
        Its account takes the variants that are left out, its notes say how the others were found.

    Returns
    -------
    keep : ndarray of bool, shape (J,)
    ld : ndarray, shape (K, K)

    Raises
    ------
    InputError
        If nothing is left, or a variant could be several of the file.
    """
    names = [_keys(str(name)) for name in paired.names]
    named = _looked_up(found, paired, names, [_keys(one.name) for one in found.variants])
    placed, how = _by_place(found, paired, named.sign == 0)
    by_name = named.sign != 0
    at, sign = np.where(by_name, named.at, placed.at), np.where(by_name, named.sign, placed.sign)
    keep = sign != 0
    other = ~keep & (named.other | placed.other)
    paired.rows.leave(
        "without a correlation in the file of linkage disequilibrium", paired.names[~keep & ~other].tolist()
    )
    paired.rows.leave("of other alleles in the file of linkage disequilibrium", paired.names[other].tolist())
    if not keep.any():
        raise InputError(
            f"{found.path}: none of the variants is there with its alleles{how and f' ({how})'}. Compare their names, "
            "places and alleles."
        )
    ways = [f"{by_name.sum()} by their names"] if by_name.any() else []
    if (keep & ~by_name).any():
        ways.append(f"{(keep & ~by_name).sum()} by their places ({how}) and alleles")
    paired.notes.extend(found.notes)
    paired.notes.append(
        f"{found.path.name}: variants found: {', '.join(ways)}; of {(sign < 0).sum()} the counted allele is not the "
        "effect allele, so that the signs of their correlations are changed"
    )
    taken = at[keep]
    _missing(found, taken, paired.notes)
    return keep, found.matrix[np.ix_(taken, taken)] * np.outer(sign[keep], sign[keep])


def _missing(found: Correlations, taken: Array, notes: list[str]) -> None:
    """Note how many pairs the file does not have."""
    absent = int((~found.known[np.ix_(taken, taken)]).sum()) // 2
    if not absent:
        return
    told = f"{absent} of {len(taken) * (len(taken) - 1) // 2} pairs are not there, and taken as uncorrelated"
    squares = found.matrix[found.known & ~np.eye(len(found.matrix), dtype=bool)] ** 2
    if squares.size and squares.min() >= THRESHOLD - 1e-6:
        warn(
            f"{found.path}: {told}; no r squared is below {THRESHOLD:g}, so that they seem to have been left out. "
            "PLINK keeps them with --ld-window-r2 0.",
            stacklevel=2,
        )
    notes.append(f"{found.path.name}: {told}")


def _looked_up(
    found: Correlations, paired: Paired, keys: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]
) -> Found:
    """Look variants up by keys, the surest first, and choose by alleles where several have the same."""
    index: dict[str, list[int]] = {}
    for k, names in enumerate(theirs):
        for key in dict.fromkeys(names):
            index.setdefault(key, []).append(k)
    J = len(keys)
    at, sign, other = np.full(J, -1), np.zeros(J, dtype=int), np.zeros(J, dtype=bool)
    for j, mine in enumerate(keys):
        for key in mine:
            rows = index.get(key, [])
            fits = _fitting(found, paired, j, rows)
            other[j] |= len(rows) > 0
            if fits:
                at[j], sign[j] = fits
                break
    return Found(at, sign, other)


def _fitting(found: Correlations, paired: Paired, j: int, rows: Sequence[int]) -> tuple[int, int] | None:
    """Return the one of some rows that has a variant's alleles, and its sign.

    Raises
    ------
    InputError
        If several have them.
    """
    effect, other = (str(allele[j]) for allele in paired.alleles)
    signs = {k: sign for k in rows if (sign := _sign(effect, other, found.variants[k]))}
    same_strand = [k for k in signs if found.variants[k].counted in (effect, other)]
    fits = same_strand or list(signs)
    if len(fits) > 1:
        one, two = (found.variants[k].name for k in fits[:2])
        raise InputError(
            f"{found.path}: variant {paired.names[j]!s} ({effect}/{other}) could be {one} or {two}. Keep one of them."
        )
    return (fits[0], signs[fits[0]]) if fits else None


def _sign(effect: str, other: str, one: Variant) -> int:
    """Return 1 if the counted allele is the effect allele, -1 if it is the other one, 0 if alleles differ."""
    if one.other:
        return match(effect, other, one.counted, one.other)
    for counted in (one.counted, other_strand(one.counted)):
        if counted in (effect, other):
            return 1 if counted == effect else -1
    return 0


def _by_place(found: Correlations, paired: Paired, some: Array) -> tuple[Found, str]:
    """Look some variants up by their places, and say whose places these are.

    Raises
    ------
    InputError
        If the two tables have other places for the same variants, and correlations fit both.
    """
    theirs = [[one.place] if one.place else [] for one in found.variants]
    own, sides = [], []
    for side, file in enumerate(paired.columns):
        known = some.any() and (file.has("id") or {"chromosome", "position"} <= set(file.used))
        places = np.full(len(some), "", dtype=object)
        if known:
            places[:] = places_of(file, paired.at[:, side]).fill_null("").to_numpy(zero_copy_only=False)
        if found.build and file.build and found.build != file.build:
            known = False
        places[~some | (not known)] = ""
        own.append(places)
        sides.append(_looked_up(found, paired, [[place] if place else [] for place in places], theirs))
    apart = (own[0] != own[1]) & (own[0] != "") & (own[1] != "")
    first, second = (np.flatnonzero(apart & (side.sign != 0)) for side in sides)
    if len(first) and len(second):
        of = [f"{paired.names[rows[0]]!s} at {own[side][rows[0]]}" for side, rows in enumerate((first, second))]
        files = [file.path for file in paired.columns]
        raise InputError(
            f"{found.path}: {files[0]} and {files[1]} have other places for the same variants, and correlations fit "
            f"both ({of[0]}; {of[1]}), so that nobody knows of which build of the genome they are. Name variants by "
            "identifiers (rs numbers), or with the build (1:1000:A:G:b37)."
        )
    whose = " and ".join(file.path.name for file, side in zip(paired.columns, sides, strict=True) if side.sign.any())
    other_builds = {file.build for file in paired.columns} - {None, found.build} if found.build else set()
    how = [f"those in {whose}"] if whose else []
    how += [f"build {found.build} of the genome, not {build}" for build in sorted(map(str, other_builds))]
    mine = sides[0].sign != 0
    at, sign = (np.where(mine, getattr(sides[0], name), getattr(sides[1], name)) for name in ("at", "sign"))
    return Found(at, sign, sides[0].other | sides[1].other), "; ".join(how)


def _keys(name: str) -> list[str]:
    """Return what a variant may be called: its name, that without alleles unless this is a place."""
    told = WITH_ALLELES.fullmatch(name)
    return [name, told[1]] if told and not place_of(name) else [name]


def clump(ld: Array, strength: Array, threshold: float) -> Array:
    """Return which variants to keep: the strongest first, none that correlates with a stronger one that is kept.

    Parameters
    ----------
    ld : ndarray, shape (J, J)
    strength : ndarray, shape (J,)
        |Z| of the effects on the exposure.
    threshold : float
        Squared correlation at or above which a variant goes.

    Returns
    -------
    ndarray of bool, shape (J,)
    """
    if not 0 < threshold <= 1:
        raise InputError(f"mendelian_randomization: {option('clump', threshold)} must lie between 0 and 1 (r squared).")
    keep = np.zeros(len(ld), dtype=bool)
    open_ = np.ones(len(ld), dtype=bool)
    for j in np.argsort(-strength, kind="stable"):
        if open_[j]:
            keep[j] = True
            open_ &= ld[j] ** 2 < threshold
    return keep


def correlated(path: Path, alleles: Path | None, threshold: float | None, paired: Paired) -> tuple[Array, Array]:
    """Return which variants of two traits to keep, and their correlations; what goes is in the account.

    Parameters
    ----------
    path, alleles : Path
        As of :func:`read_correlations`.
    threshold : float, optional
        Squared correlation to clump by.
    paired : Paired

    Returns
    -------
    keep : ndarray of bool, shape (J,)
    ld : ndarray, shape (K, K)
    """
    keep, ld = aligned(read_correlations(path, alleles), paired)
    if threshold is not None:
        z = np.abs(paired.exposure.beta / paired.exposure.se)[keep]
        some = clump(ld, z, threshold)
        rows = np.flatnonzero(keep)
        paired.rows.leave(f"clumped (r2 of {threshold:g} or more)", paired.names[rows[~some]].tolist())
        keep[rows[~some]] = False
        ld = ld[np.ix_(some, some)]
    require_ld(ld, paired.names[keep], f"{path}: the correlation")
    return keep, ld
