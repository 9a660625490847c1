"""Predictions: which process made a mutation, rates along the genome, exposures of new genomes."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from genarium.declaration import Array, Arrays, Labelled, Problem
from genarium.simplex import dirichlet_expected_log
from genarium.tree import arrays, stacked

from .corpus import Corpus, corpus
from .expectation import expect
from .likelihood import log_loci

UNKNOWN = ("beta", "lam", "rho", "pi", "locus_effect")

MOST = 25
"""Draws that predictions are averaged over, at most."""

SWEEPS = 500
"""Updates of the exposures of new genomes, at most."""


def predict(fitted: xr.DataTree, problem: Problem) -> dict[str, Labelled]:
    """Predict from a fitted tree, for its own mutations or for new ones.

    New mutations (another table than the fit's) belong to new genomes: their exposures are inferred with the processes
    held at their posterior (eq. 20).

    Parameters
    ----------
    fitted : DataTree
        With the group ``posterior`` or ``point``.
    problem : Problem
        Mutations to predict for; loci, features and processes as in the fit.

    Returns
    -------
    dict
        ``probability`` (cell, process): posterior probability that a mutation of the cell is of the process;
        ``best`` (cell): the most probable one; ``pi`` (genome, process): exposures, posterior mean; ``rate`` (locus,
        process): expected mutations of the problem's genomes there.
    """
    draws = list(_draws(fitted))
    data = corpus(problem)
    same = _same_mutations(fitted, problem)
    exposure = [each["pi"] for each in draws] if same else [new_exposures(data, problem, draws)] * len(draws)
    cells = _cells(problem)
    probability = np.zeros((len(cells["genome"]), problem.sizes["process"]))
    rate = np.zeros((problem.sizes["locus"], problem.sizes["process"]))
    mutations = np.zeros((len(data.features), data.genomes))
    np.add.at(mutations, (cells["group"], cells["genome"]), problem["count"])
    for each, pi in zip(draws, exposure, strict=True):
        spectrum, place, share = tables(data, each)
        weight = pi[cells["genome"]] * spectrum[problem["channel"]] * place[cells["row"]]
        probability += weight / weight.sum(1, keepdims=True)
        rate += np.einsum("jg,gk,jkl->lk", mutations, pi, share)
    probability /= len(draws)
    return {
        "probability": (("cell", "process"), probability),
        "best": (("cell",), probability.argmax(1)),
        "pi": (("genome", "process"), np.mean(exposure, 0)),
        "rate": (("locus", "process"), rate / len(draws)),
    }


def _draws(fitted: xr.DataTree) -> Iterator[Arrays]:
    if "posterior" not in fitted:
        point = fitted["point"].to_dataset()
        yield {name: point[name].to_numpy() for name in UNKNOWN if name in point}
        return
    draws = stacked(arrays(fitted["posterior"].to_dataset()), MOST)
    for i in range(len(draws["beta"])):
        yield {name: value[i] for name, value in draws.items()}


def _cells(problem: Problem) -> dict[str, Array]:
    group = problem["group"] if "group" in problem.arrays else np.zeros(len(problem["genome"]), dtype=np.int64)
    return {
        "genome": problem["genome"],
        "group": group,
        "row": group * problem.sizes["locus"] + problem["locus"],
    }


def _same_mutations(fitted: xr.DataTree, problem: Problem) -> bool:
    """Whether the problem's mutations are those of the fit."""
    for group, names in (("constant_data", ("genome", "count")), ("observed_data", ("locus", "channel"))):
        for name in names:
            if not np.array_equal(fitted[group][name].to_numpy(), problem[name]):
                return False
    return True


def tables(data: Corpus, unknown: Arrays) -> tuple[Array, Array, Array]:
    """Return the factors of a process's probability of a mutation, but for the opportunity of its context.

    Parameters
    ----------
    data : Corpus
    unknown : mapping of str to ndarray
        One draw.

    Returns
    -------
    spectrum : ndarray, shape (M, K)
    place : ndarray, shape (R, K)
    share : ndarray, shape (J, K, L)
        Share of the process's mutations in a locus.
    """
    K, C = unknown["lam"].shape
    both = unknown["lam"][..., None] * unknown["rho"]  # (K, C, 3)
    spectrum = both.reshape(K, 2, C // 2, 3).transpose(1, 3, 2, 0).reshape(-1, K)
    features, exposure = data.features.transpose(0, 2, 1), np.exp(data.log_exposure)
    effect = unknown.get("locus_effect", np.ones((1, 1)))
    beta, lam = unknown["beta"], unknown["lam"]
    place = np.exp(log_loci(beta, lam, effect, features, exposure, data.opportunity, data.form))
    share = place * (lam @ data.opportunity)
    return spectrum, place.transpose(0, 2, 1).reshape(-1, K), share


def new_exposures(data: Corpus, problem: Problem, draws: list[Arrays]) -> Array:
    """Infer the exposures of new genomes by variational Bayes, the processes held at the mean of their logs.

    Returns
    -------
    ndarray, shape (G, K)
        Posterior means.
    """
    logs = []
    with np.errstate(divide="ignore"):
        for each in draws:
            spectrum, place, _ = tables(data, each)
            logs.append([np.log(np.maximum(table, 1e-300)) for table in (place, spectrum)])
    log_place, log_spectrum = (np.mean([pair[i] for pair in logs], 0) for i in range(2))
    alpha = problem["alpha"]
    total = np.bincount(data.genome, data.count, data.genomes)
    gamma = alpha + total[:, None] / len(alpha)
    for _ in range(SWEEPS):
        of_genome, *_ = expect(data, dirichlet_expected_log(gamma), log_place, log_spectrum)
        following = alpha + of_genome
        change = np.abs(following - gamma).sum(1) / following.sum(1)
        gamma = following
        if change.max() < 1e-6:
            break
    return np.asarray(gamma / gamma.sum(1, keepdims=True))
