"""Held-out loci: the corpus cut into parts by its loci, each to be predicted from the others."""

from collections.abc import Iterator

import numpy as np

from genarium.declaration import Array, Fold, Problem
from genarium.errors import InputError


def folds(problem: Problem, count: int, rng: np.random.Generator) -> Iterator[Fold]:
    """Hold out the mutations of random loci, a part of all in turn.

    A fit to the other loci has a normaliser over these alone; its effects, spectra and shares then give the held-out
    mutations a probability in the genome of all loci.

    Parameters
    ----------
    problem : Problem
    count : int
        Number of parts.
    rng : Generator

    Yields
    ------
    Fold
        Genomes that have no mutation left to fit are in neither part.

    Raises
    ------
    InputError
        If there are fewer loci than parts, or loci have random effects, which say nothing of other loci.
    """
    L = problem.sizes["locus"]
    if problem.option("loci") == "random":
        raise InputError(
            "locus_regression: held-out loci have random effects of their own, which nothing predicts. Choose by the "
            "bound, or with loci='fixed'."
        )
    if count > L:
        raise InputError(f"locus_regression: {L} loci cannot be held out in {count} parts. Ask for fewer.")
    of = np.empty(L, dtype=np.int64)
    for part, loci in enumerate(np.array_split(rng.permutation(L), count)):
        of[loci] = part
    cells = [name for name, var in problem.model.variables("known", "observed").items() if "cell" in var.dims]
    places = [name for name, var in problem.model.known.variables.items() if "locus" in var.dims]
    for part in range(count):
        out = of[problem["locus"]] == part
        left = np.bincount(problem["genome"][~out], problem["count"][~out], problem.sizes["genome"]) > 0
        number = np.cumsum(left) - 1
        known = left[problem["genome"]]
        train = _cells(problem, cells, known & ~out, number)
        kept = np.flatnonzero(of != part)
        train["locus"] = np.searchsorted(kept, train["locus"])
        train |= {name: problem[name][..., kept] for name in places}
        test = _cells(problem, cells, known & out, number)
        yield Fold(train, test | {name: problem[name] for name in places}, {"genome": int(left.sum())})


def _cells(problem: Problem, names: list[str], at: Array, number: Array) -> dict[str, Array]:
    """Return some of the cells, their genomes numbered anew."""
    found = {name: problem[name][at] for name in names}
    return {**found, "genome": number[found["genome"]]}
