"""Predictions: which process made a mutation, rates along the genome, exposures of new genomes."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from genarium.declaration import Array, Arrays, Labelled, Problem
from genarium.estimates import LEVEL
from genarium.evaluate import fitted_problem
from genarium.tree import arrays, stacked

from .channels import by_channel
from .corpus import Corpus, corpus
from .exposures import Processes, infer, same_genomes
from .likelihood import log_loci
from .spectra import certain
from .trees import NAMES, log_rates

UNKNOWN = ("beta", "lam", "rho", "pi", "locus_effect", *NAMES)

ENDS = (1 - LEVEL) / 2, (1 + LEVEL) / 2
"""Of intervals, as quantiles."""

MOST = 25
"""Draws that predictions are averaged over, at most."""


def predict(fitted: xr.DataTree, problem: Problem) -> dict[str, Labelled]:
    """Predict from a fitted tree, for its own mutations or for new ones.

    A genome is one of the fit's if it has the name (or number) and the mutations of one, in whatever order. Others are
    new: their exposures are sampled with the processes held at draws of their posterior (eq. 20), under the alpha that
    the fit learned. Averages are over 25 draws of the posterior at most, evenly spaced.

    Parameters
    ----------
    fitted : DataTree
        With the group ``posterior`` or ``point``.
    problem : Problem
        Mutations to predict for; features and processes as in the fit, and loci as there or others.

    Returns
    -------
    dict
        ``probability`` (cell, process): posterior probability that a mutation of the cell is of the process;
        ``best`` (cell): the most probable one; ``pi`` (genome, process): exposures, posterior mean, with the ends of
        their 90 % intervals, ``pi_lower`` and ``pi_upper``, which a point estimate has for new genomes only (NaN for
        those of the fit; left out where none is new); ``new`` (genome): 1 for genomes that the fit did not see;
        ``rate`` (locus, process): expected mutations of the problem's genomes there.
    """
    draws = list(draws_of(fitted))
    data = corpus(problem)
    parts = [tables(data, each) for each in draws]
    same, means, (lower, upper), sampled = _exposures(fitted, problem, data, draws, parts)
    cells = _cells(problem)
    probability = np.zeros((len(cells["genome"]), problem.sizes["process"]))
    rate = np.zeros((problem.sizes["locus"], problem.sizes["process"]))
    mutations = np.zeros((len(data.features), data.genomes))
    np.add.at(mutations, (cells["group"], cells["genome"]), problem["count"])
    for (processes, share), mean, some in zip(parts, means, sampled, strict=True):
        each = processes.spectrum[problem["channel"]] * processes.place[cells["row"]]
        for pi in some:  # draws and not their mean, at which a mutation would count for its own process twice
            weight = pi[cells["genome"]] * each
            total = weight.sum(1, keepdims=True)
            probability += weight / np.where(total > 0, total, 1) / len(some)
        rate += np.einsum("jk,jkl->lk", mutations @ mean, share)
    probability /= len(draws)
    ends = {"pi_lower": (("genome", "process"), lower), "pi_upper": (("genome", "process"), upper)}
    return {
        "probability": (("cell", "process"), probability),
        "best": (("cell",), probability.argmax(1)),
        "pi": (("genome", "process"), np.mean(means, 0)),
        **({} if np.isnan(lower).all() else ends),
        "new": (("genome",), (same < 0).astype(np.int64)),
        "rate": (("locus", "process"), rate / len(draws)),
    }


def draws_of(fitted: xr.DataTree) -> Iterator[Arrays]:
    """Yield the unknown variables, evenly spaced draws of them or the point."""
    if "posterior" not in fitted:
        point = fitted["point"].to_dataset()
        yield complete({name: point[name].to_numpy() for name in UNKNOWN if name in point})
        return
    draws = stacked(arrays(fitted["posterior"].to_dataset()[[n for n in UNKNOWN if n in fitted["posterior"]]]), MOST)
    for i in range(len(draws["beta"])):
        yield complete({name: value[i] for name, value in draws.items()})


def complete(unknown: Arrays) -> Arrays:
    """Add rho, where contexts have one alternative only and it is not among the unknown variables."""
    return {"rho": certain(unknown["lam"]), **unknown}


def _exposures(
    fitted: xr.DataTree, problem: Problem, data: Corpus, draws: list[Arrays], parts: list[tuple[Processes, Array]]
) -> tuple[Array, Array, Array, Array]:
    """Return what is known of the exposures of genomes, of the fit's own and of new ones.

    Returns
    -------
    same : ndarray of int, shape (G,)
        Which genome of the fit each is, -1 for new ones.
    means : ndarray, shape (D, G, K)
        At each draw of the processes.
    ends : ndarray, shape (2, G, K)
        Of the intervals; NaN where there are none.
    sampled : ndarray, shape (D, R, G, K)
        Draws at each draw of the processes: of a genome of the fit, its own one.
    """
    before = fitted_problem(problem.model, fitted)
    same = np.full(data.genomes, -1)  # in other windows, all genomes are new
    if np.array_equal(before.coords["locus"], problem.coords["locus"]):
        same = same_genomes(corpus(before), before.coords["genome"], data, problem.coords["genome"])
    if "posterior" in fitted:
        every = stacked({"pi": fitted["posterior"]["pi"].to_numpy()})["pi"]
    else:
        every = np.full((1, *fitted["point"]["pi"].shape), np.nan)  # a point has no intervals
    at, known = np.maximum(same, 0), (same >= 0)[:, None]
    means, ends = np.array([each["pi"][at] for each in draws]), np.quantile(every, ENDS, axis=0)[:, at]
    if known.all():
        return same, means, ends, means[:, None]
    new = infer(data, [processes for processes, _ in parts], _alpha(fitted, problem), np.random.default_rng(0))
    sampled = np.where(known, means[:, None], new.draws.reshape(len(draws), -1, *means.shape[1:]))
    ends = np.where(known, ends, np.quantile(new.draws, ENDS, axis=0))
    return same, np.where(known, means, new.means), ends, sampled


def _alpha(fitted: xr.DataTree, problem: Problem) -> Array:
    """Return the alpha that a fit learned, unless another one than its own is given."""
    learned = "variational" in fitted and "alpha" in fitted["variational"]
    if learned and np.array_equal(problem["alpha"], fitted["constant_data"]["alpha"].to_numpy()):
        return np.asarray(fitted["variational"]["alpha"].to_numpy())
    return problem["alpha"]


def _cells(problem: Problem) -> dict[str, Array]:
    group = problem["group"] if "group" in problem.arrays else np.zeros(len(problem["genome"]), dtype=np.int64)
    return {
        "genome": problem["genome"],
        "group": group,
        "row": group * problem.sizes["locus"] + problem["locus"],
    }


def tables(data: Corpus, unknown: Arrays) -> tuple[Processes, Array]:
    """Return the factors of a process's probability of a mutation, but for the opportunity of its context.

    Parameters
    ----------
    data : Corpus
    unknown : mapping of str to ndarray
        One draw.

    Returns
    -------
    processes : Processes
    share : ndarray, shape (J, K, L)
        Share of the process's mutations in a locus.
    """
    K = len(unknown["lam"])
    spectrum = np.ascontiguousarray(by_channel(unknown["lam"][..., None] * unknown["rho"]).T)  # (M, K)
    features, exposure = data.features.transpose(0, 2, 1), np.exp(data.log_exposure)
    effect = unknown.get("locus_effect", np.ones((1, 1)))
    if "leaf_value" in unknown:
        feature, at, leaf = (unknown[name] for name in NAMES)
        effect = np.exp(log_rates(feature, at, leaf, features[0]))
    beta, lam = unknown["beta"], unknown["lam"]
    log_place = log_loci(beta, lam, effect, features, exposure, data.opportunity, data.form)
    share = np.exp(log_place) * (lam @ data.opportunity)
    place = np.exp(log_place - log_place.max(1, keepdims=True))  # else, no process may make what is far from all
    return Processes(place.transpose(0, 2, 1).reshape(-1, K), spectrum), share
