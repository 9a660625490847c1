"""Metrics of a statistic, and the baselines that must stand beside them; equation numbers refer to the card."""

from typing import Any

import numpy as np
from scipy.special import softmax

from genarium.data import check
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.registry import get

from ..distance import expected_l1, l1
from ..story import draw_proportion
from .rivals import Rivals
from .samplers import Screen, aligned, draw_cells, draw_targets
from .simulator import CONTROL, Truth
from .training import Trained


def skill(error: Any, reference: Any) -> Array:
    """One minus a mean squared error over that of knowing Q only (eq. 22): 1 is perfect, 0 no better than Q alone."""
    return np.asarray(1 - np.asarray(error) / np.asarray(reference))


def recognition(predicted: Array, seen: Array) -> float:
    """R2 of T: one minus the squared error over the statistic's own spread, over genes; scale-free (eq. 23)."""
    return float(1 - ((predicted - seen) ** 2).sum() / ((seen - seen.mean(0)) ** 2).sum())


def reliability(repeated: Array) -> float:
    """ICC(1) of repeated measurements, all components together (eq. 24).

    Parameters
    ----------
    repeated : ndarray, shape (R, P, m)
        Statistics of R disjoint samples of each perturbation.

    Returns
    -------
    float
        Share of the variance that lies between perturbations; below zero by chance where there is none.
    """
    R, P, _ = repeated.shape
    mean = repeated.mean(0)
    between = R * ((mean - mean.mean(0)) ** 2).sum() / (P - 1)
    within = ((repeated - mean) ** 2).sum() / (P * (R - 1))
    return float((between - within) / (between + (R - 1) * within))


def coverage(low: Any, high: Any, truth: Any) -> float:
    """Share of truths inside their intervals."""
    low, high, truth = (np.asarray(a) for a in (low, high, truth))
    return float(((low <= truth) & (truth <= high)).mean())


def overlap_curve(predicted: Any, truth: Any) -> Array:
    """Share of the k best perturbations that are among the k best predicted ones, for k = 1 ... P (eq. 25).

    Parameters
    ----------
    predicted, truth : array_like, shape (P,)
        Scores, larger is better.

    Returns
    -------
    ndarray, shape (P,)
        Of a ranking by chance k / P is expected at k.

    Raises
    ------
    InputError
        If there are not as many predicted scores as true ones.
    """
    predicted, truth = np.asarray(predicted, dtype=float), np.asarray(truth, dtype=float)
    if predicted.shape != truth.shape or predicted.ndim != 1:
        raise InputError(
            f"perturbation_score: predicted scores of shape {predicted.shape} and true ones of shape {truth.shape} "
            "cannot be compared. Give one of each for every perturbation."
        )
    orders = [np.argsort(-scores, kind="stable") for scores in (predicted, truth)]
    places = np.empty((2, len(truth)), dtype=np.int64)
    for place, order in zip(places, orders, strict=True):
        place[order] = np.arange(len(truth))
    reached = np.sort(places.max(0))  # a perturbation is in both of the lists of k from its later place on
    k = np.arange(len(truth))
    return np.asarray(np.searchsorted(reached, k, side="right") / (k + 1))


def overlap_area(curve: Array) -> float:
    """Mean of an overlap curve above chance, scaled so that the perfect ranking has one and chance has zero.

    Parameters
    ----------
    curve : ndarray, shape (P,)
        From :func:`overlap_curve`.

    Returns
    -------
    float
        One where nothing can be ranked (P = 1).
    """
    chance = np.arange(1, len(curve) + 1) / len(curve)
    room = (1 - chance).sum()
    return float((curve - chance).sum() / room) if room > 0 else 1.0


def objective_a(share: Any) -> tuple[Array, Array]:
    """Objective A of the challenge: the progenitors' share, where at least 5 % of the cells are cycling (eq. 26).

    Parameters
    ----------
    share : array_like, shape (..., 5)
        Progenitor, effector, terminal exhausted, cycling, other.

    Returns
    -------
    value : ndarray, shape (...)
    allowed : ndarray of bool, shape (...)
    """
    q = five(share)
    return q[..., 0], q[..., 3] >= 0.05


def objective_b(share: Any, control: Any = CONTROL) -> tuple[Array, Array]:
    """Objective B of the challenge: shares relative to the control's, terminal exhaustion subtracted (eq. 27).

    Parameters
    ----------
    share : array_like, shape (..., 5)
    control : array_like, shape (5,)
        Shares without perturbation.

    Returns
    -------
    value : ndarray, shape (...)
    allowed : ndarray of bool, shape (...)
        As for objective A.
    """
    q, c = five(share), five(control)
    value = q[..., 0] / c[0] + q[..., 1] / c[1] - q[..., 2] / c[2] + q[..., 3] / c[3]
    return np.asarray(value), q[..., 3] >= 0.05


def five(share: Any) -> Array:
    """Check that shares are of the challenge's five states."""
    q = np.asarray(share, dtype=float)
    if q.ndim == 0 or q.shape[-1] != 5:
        raise InputError(
            f"perturbation_score: the challenge's objectives are of five states (progenitor, effector, terminal "
            f"exhausted, cycling, other), but the shares have shape {q.shape}."
        )
    return q


def evaluate(
    trained: Trained,
    one: Screen,
    parts: list[Array],
    rng: np.random.Generator,
    truth: Truth | None = None,
    numbers: tuple[int, ...] = (2, 10, 60),
    targets: int = 40,
    repeats: int = 4,
) -> dict[str, Any]:
    """Measure a statistic on perturbations that it was not trained on.

    Parameters
    ----------
    trained : Trained
    one : Screen
    parts : list of ndarray
        Training, validation and test perturbations.
    rng : Generator
    truth : Truth, optional
        Of a simulated screen: for what ideal features could tell.
    numbers : tuple of int
        Cells that the statistic sees.
    targets : int
        Targets, made of training rows.
    repeats : int
        Samples of cells of each perturbation.

    Returns
    -------
    dict
        ``mse`` and ``skill`` of each number of cells n, of ``features`` (T) and of ``ideal_features``; ``mse_q_only``,
        ``mse_training_mean``, ``mse_oracle_n``, and of rivals that see n cells, too, ``mse_ridge_n`` (shares by ridge
        regression on means of principal components) and ``mse_classifier_n`` (states by linear discriminants, training
        shares as atoms); ``rank_halves_n`` and ``rank_full_n``: rank correlation, over perturbations, of the distances
        by two disjoint samples of n cells, and by one of them and the truth (mean over targets; of the E-distance and
        the MMD: from training cells, by n cells and by all); ``icc_n``, ``icc_pca_n``, ``icc_energy_n``, ``icc_mmd_n``,
        ``recognition_r2``, ``coverage_n`` of 90 % intervals made of the validation perturbations' errors; ``spread``
        (variance of s over test perturbations).
    """
    one = aligned(one, trained.genes, trained.states)
    fitting, _, testing = parts
    Q = draw_targets(one.share[fitting], targets, trained.settings.noise, rng)
    aim = {p: np.abs(one.share[rows][:, None] - Q).sum(-1) for p, rows in enumerate(parts)}  # (rows, J) each
    known = l1(one.share[fitting][:, None], Q).mean(0)
    out: dict[str, Any] = {"mse_q_only": float(((aim[2] - known) ** 2).mean())}
    mean = l1(one.share[fitting].mean(0), Q)
    out["mse_training_mean"] = float(((aim[2] - mean) ** 2).mean())
    told = trained.distance(trained.recognise(one.features[testing]), Q)
    out["mse_features"] = float(((told - aim[2]) ** 2).mean())
    prior = shrinkage(one, fitting)
    rivals = Rivals(one, fitting, rng.spawn(1)[0])
    able = {n: np.flatnonzero(one.numbers[testing] >= 2 * n) for n in numbers}
    whole = rivals.whole(testing)
    for n in numbers:
        seen = {
            p: np.stack([statistics(trained, one, rows, n, rng) for _ in range(repeats)])
            for p, rows in enumerate(parts)
            if p
        }
        errors = {p: np.stack([trained.distance(s, Q) for s in seen[p]]) - aim[p] for p in seen}
        out[f"mse_{n}"] = float((errors[2] ** 2).mean())
        out[f"skill_{n}"] = float(skill(out[f"mse_{n}"], out["mse_q_only"]))
        half = np.quantile(np.abs(errors[1]), 0.9)
        out[f"coverage_{n}"] = coverage(-half, half, errors[2])
        out[f"mse_oracle_{n}"] = oracle(one, testing, n, Q, prior, repeats, rng)
        out[f"icc_{n}"] = float(np.mean([reliability(pairs(trained, one, testing, n, rng)) for _ in range(repeats)]))
        halves = [
            [trained.distance(s, Q) for s in pairs(trained, one, testing, n, rng)] if len(able[n]) > 2 else []
            for _ in range(repeats)
        ]
        out[f"rank_halves_{n}"] = float(np.mean([agreement(*both) if both else np.nan for both in halves]))
        out[f"rank_full_{n}"] = float(np.mean([agreement(errors[2][r] + aim[2], aim[2]) for r in range(repeats)]))
        for name, told_by in (("ridge", rivals.ridge), ("classifier", rivals.classifier)):
            each = [told_by(testing, n, Q) for _ in range(repeats)]
            out[f"mse_{name}_{n}"] = float(((np.stack(each) - aim[2]) ** 2).mean())
            out[f"rank_full_{name}_{n}"] = float(np.mean([agreement(one_, aim[2]) for one_ in each]))
        out[f"icc_pca_{n}"] = float(np.mean([reliability(rivals.pairs(testing, n)) for _ in range(repeats)]))
        for name, pair in rivals.distances(testing, n).items():
            out[f"icc_{name}_{n}"] = reliability(pair)
            out[f"rank_halves_{name}_{n}"] = agreement(*pair) if len(able[n]) > 2 else np.nan
            out[f"rank_full_{name}_{n}"] = agreement(pair[0], whole[name][able[n]]) if len(able[n]) > 2 else np.nan
    everything = np.concatenate([trained.summarise(one.cells[one.rows(p)], full(one, p)) for p in testing])
    out["recognition_r2"] = recognition(trained.recognise(one.features[testing]), everything)
    out["spread"] = float(everything.var(0).sum())
    out["skill_features"] = float(skill(out["mse_features"], out["mse_q_only"]))
    if truth is not None:
        out["mse_ideal_features"] = ideal(truth, testing, Q, aim[2], rng)
        out["skill_ideal_features"] = float(skill(out["mse_ideal_features"], out["mse_q_only"]))
    return out


def agreement(a: Array, b: Array) -> float:
    """Mean over targets of the rank correlation of two sets of distances, (P, J) each."""
    from scipy.stats import rankdata

    x, y = (rankdata(values, axis=0) for values in (a, b))
    x, y = x - x.mean(0), y - y.mean(0)
    norm = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    return float(np.mean((x * y).sum(0)[norm > 0] / norm[norm > 0])) if (norm > 0).any() else float("nan")


def full(one: Screen, p: int) -> Array:
    """Average of all cells of a perturbation; shape (1, n)."""
    n = int(one.numbers[p])
    return np.full((1, n), 1 / n)


def statistics(trained: Trained, one: Screen, rows: Array, n: int, rng: np.random.Generator) -> Array:
    """Return statistics of n cells (or all, if fewer) of each perturbation; shape (P, m)."""
    index, average = draw_cells(one, rows, np.full(len(rows), n), n, rng)
    return trained.summarise(one.cells[index], average)


def pairs(trained: Trained, one: Screen, rows: Array, n: int, rng: np.random.Generator) -> Array:
    """Return statistics of two disjoint samples of n cells of each perturbation that has 2 n; shape (2, P, m)."""
    able = rows[one.numbers[rows] >= 2 * n]
    if len(able) < 3:
        return np.full((2, 3, 1), np.nan)
    index, _ = draw_cells(one, able, np.full(len(able), 2 * n), 2 * n, rng)
    halves = index.reshape(len(able), 2, n).transpose(1, 0, 2)  # (2, P, n)
    average = np.kron(np.eye(len(able)), np.full((1, n), 1 / n))
    return np.stack([trained.summarise(one.cells[half.ravel()], average) for half in halves])


def shrinkage(one: Screen, rows: Array) -> Array:
    """Concentrations that the training perturbations' labels suggest, by conjugate shrinkage; shape (K,)."""
    K = one.share.shape[1]
    count = np.stack([np.bincount(one.state[one.rows(p)], minlength=K) for p in rows])
    model = get("perturbation_score").variant(regression="none")
    point = model.methods["conjugate"].function(check(model, {"count": count}), np.random.default_rng(0)).point
    return np.asarray(point["kappa"] * softmax(np.asarray(point["mu"]), axis=-1))


def oracle(one: Screen, rows: Array, n: int, Q: Array, prior: Array, repeats: int, rng: np.random.Generator) -> float:
    """Mean squared error of knowing the states of n cells, shrunk by the training perturbations' prior (eq. 5)."""
    K, errors = one.share.shape[1], []
    for p in rows:
        for _ in range(repeats):
            at, _ = draw_cells(one, np.array([p]), np.array([n]), n, rng)
            number = min(n, int(one.numbers[p]))
            count = np.bincount(one.state[at[:number]], minlength=K)
            errors.append(expected_l1(Q, prior + count) - l1(one.share[p], Q))
    return float((np.array(errors) ** 2).mean())


def ideal(truth: Truth, rows: Array, Q: Array, aim: Array, rng: np.random.Generator, draws: int = 200) -> float:
    """Mean squared error of the best prediction from features: the simulator's own, its noise averaged out."""
    world, told = truth.world, []
    for p in rows:
        noise = np.sqrt(1 - world.rho) * rng.normal(size=(draws, world.programs))
        eta = np.log(CONTROL) + (truth.predictable[p] + noise) @ truth.effect
        q = draw_proportion(rng, world.kappa * softmax(eta, axis=-1))
        told.append(l1(q[:, None], Q).mean(0))
    return float(((np.array(told) - aim) ** 2).mean())
