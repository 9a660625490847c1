"""The neural statistic as a method of the variant of cells: programs with loadings, and who moves them."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array, Labelled, Problem, Result
from genarium.errors import InputError
from genarium.readers.messages import absent

RESAMPLES = 50
"""Resamples of a perturbation's cells, for the sampling variance of its statistic."""

KEPT_BACK = 3
"""One of so many cells of a perturbation is kept from training, to tell what it moves."""

HELD_OUT, FEWEST, CELLS = 5, 10, 10
"""One of so many perturbations is held out, where there are at least so many; cells that rivals are compared at."""

DIMS: dict[str, tuple[str, ...]] = {
    **{"f_weight": ("gene", "unit"), "f_bias": ("unit",), "g_id": ("unit", "token"), "g_value": ("unit", "token")},
    **{"g_query": ("token", "token_out"), "g_key": ("token", "token_out"), "g_vector": ("token", "token_out")},
    **{"g_out": ("token",), "g_bias": ("unit",), "h_weight": ("state", "neuron"), "h_bias": ("neuron",)},
    **{
        "h_keys": ("neuron", "key"),
        "h_keys_bias": ("key",),
        "h_values": ("neuron", "value"),
        "h_values_bias": ("value",),
    },
    **{"h_mix": ("value", "neuron"), "h_mix_bias": ("neuron",), "h_out": ("neuron",), "h_out_bias": ()},
    **{"t_weight": ("network_feature", "neuron"), "t_bias": ("neuron",), "t_out": ("neuron", "unit")},
    **{"t_out_bias": ("unit",)},
}
"""Dims of the network's weights, in the network's order, as a fit keeps them."""


def statistic(
    problem: Problem,
    rng: np.random.Generator,
    *,
    control: str = "",
    preset: str = "steady",
    iterations: int = 2000,
    backend: str = "auto",
) -> Result:
    """Train the statistic, and describe it by programs.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    control : str
        The perturbation that effects on programs are measured against. Default: the mean of all.
    preset : str
        How it is trained: "steady", "normalised", "seed_robust", "seed_baseline".
    iterations : int
        Steps of Adam.
    backend : {"auto", "jax", "numba", "python"}
        "auto" compiles nothing for a few steps, and takes JAX where it is installed.

    Returns
    -------
    Result
        ``point``: the unknown variables; ``activity`` (perturbation, program) with ``activity_se``; by the third of
        the cells that training did not see, ``moved`` (difference from the control) with its ``moved_fdr``, and
        ``reliability`` of each program; ``total_loading`` and ``total_loading_z`` (program, gene): log expression of a
        perturbation's cells, states not told apart, per sd of a program; ``score``; the network's weights. Notes:
        errors of held-out perturbations, and those of simple rivals.
    """
    from .statistic.metrics import evaluate
    from .statistic.training import train

    if len(np.unique(problem["state"])) < 2:
        raise InputError(
            "perturbation_score: observed variable 'state' (cell): all cells are of one state, so that there is no "
            "distance to learn. Give their states."
        )
    P = problem.sizes["perturbation"]
    names = [str(name) for name in problem.coords["perturbation"]]
    if control and control not in names:
        raise absent("perturbation_score: method 'statistic'", "control", control, names)
    if backend == "auto":
        backend = "python" if iterations <= 100 else "jax" if find_spec("jax") and find_spec("optax") else "numba"
    order = rng.permutation(P)
    held = np.sort(order[: P // HELD_OUT]) if P >= FEWEST else np.empty(0, dtype=np.int64)
    rows = np.setdiff1d(np.arange(P), held)
    unseen = kept_back(problem["condition"], rng)
    seen = screen_of(problem, ~unseen | np.isin(problem["condition"], held))  # all cells of those held out
    plain = {} if problem.option("regression") != "none" else {"weight": 0.0, "recognition": "apart"}
    size = {"programs": problem.sizes["program"]}
    trained = train(seen, rows, rng.spawn(1)[0], name=preset, backend=backend, size=size, steps=iterations, **plain)
    notes: dict[str, Any] = {
        "iterations": iterations,
        "preset": preset,
        "backend": backend,
        **settled(trained.losses[:, 0]),
    }
    if len(held) > 1:
        part = [rows, held, held]
        told = evaluate(trained, seen, part, rng.spawn(1)[0], numbers=(CELLS,), targets=20, repeats=2)
        notes |= {"held_out_mse": told[f"mse_{CELLS}"], "held_out_icc": told[f"icc_{CELLS}"]}
        notes |= {f"rival_{name}": told[f"mse_{name}_{CELLS}"] for name in ("ridge", "classifier")}
        notes["rival_target_alone"] = told["mse_q_only"]
        keys = (
            "icc_energy",
            "icc_mmd",
            "rank_halves",
            "rank_full",
            "rank_halves_energy",
            "rank_full_energy",
            "mse_oracle",
        )
        notes |= {f"held_out_{key}": told[f"{key}_{CELLS}"] for key in keys}
    notes = {name: value for name, value in notes.items() if not (isinstance(value, float) and np.isnan(value))}
    point = described(problem, trained, names.index(control) if control else None, unseen, rng)
    weights: dict[str, Labelled] = {f"network_{name}": (DIMS[name], value) for name, value in trained.weights.items()}
    weights |= {"network_centre": (("gene",), trained.centre), "network_scale": (("gene",), trained.scale)}
    loss = trained.losses[:: max(1, iterations // 200), 0]
    return Result(point={**point, **weights, "loss": (("iteration",), loss)}, notes=notes)


def settled(losses: Array) -> dict[str, float | int]:
    """Return whether the loss of the last tenth of the steps is that of the tenth before, within its noise."""
    n = max(1, len(losses) // 10)
    last, before = losses[-n:], losses[-2 * n : -n] if len(losses) >= 2 * n else losses[-n:]
    noise = 3 * np.sqrt((last.var() + before.var()) / n) + 0.02 * before.mean()
    return {"loss": float(last.mean()), "converged": int(before.mean() - last.mean() <= noise)}


def kept_back(condition: Array, rng: np.random.Generator) -> Array:
    """Choose a third of the cells of each perturbation, rounded down; shape (N,)."""
    order = rng.permutation(len(condition))
    order = order[np.argsort(condition[order], kind="stable")]
    number = np.bincount(condition)
    place = np.arange(len(order)) - np.repeat(np.cumsum(number) - number, number)
    out = np.empty(len(order), dtype=bool)
    out[order] = place < np.repeat(number // KEPT_BACK, number)
    return out


def screen_of(problem: Problem, cells: Array | None = None) -> Any:
    """Return the cells of a problem, or some of them, as the network takes them."""
    from .statistic.samplers import Screen, normalise

    P, K = problem.sizes["perturbation"], problem.sizes["state"]
    some = slice(None) if cells is None else np.flatnonzero(cells)
    condition, state = problem["condition"][some], problem["state"][some]
    order = np.argsort(condition, kind="stable")
    number = np.bincount(condition, minlength=P)
    table = np.zeros((P, K))
    np.add.at(table, (condition, state), 1)
    features = problem["features"] if "features" in problem.arrays else np.ones((P, 1))
    return Screen(
        normalise(problem["expression"][some][order]),
        np.concatenate([[0], np.cumsum(number)]),
        table / np.maximum(number, 1)[:, None],
        features,
        np.asarray(problem.coords["perturbation"]).astype(str),
        state[order],
        tuple(map(str, problem.coords["gene"])),
        tuple(map(str, problem.coords["state"])),
    )


def described(
    problem: Problem, trained: Any, control: int | None, unseen: Array, rng: np.random.Generator
) -> dict[str, Any]:
    """Describe a trained statistic by programs (eqs. 45 to 47).

    ``unseen``: cells, (N,), that training did not see. On those it saw, perturbations differ although nothing happened.
    """
    from scipy import linalg, stats

    one, first, second = (screen_of(problem, cells) for cells in (None, ~unseen, unseen))
    P = len(one.names)
    S, S_first, S_second = (statistics(screen, trained) for screen in (one, first, second))
    number, few = one.numbers, second.numbers
    enough = few.max() > 1  # else nothing tells how much programs vary by chance, and none is said to be moved
    W = sampling(second if enough else one, trained, rng)
    centre, middle = S.mean(0), S_first.mean(0)
    between = (S_first - middle).T @ (S_first - middle) / P
    floor = 1e-6 * max(np.trace(W), 1e-12) / len(W) * np.eye(len(W))
    ratio, V = linalg.eigh(between, W / np.mean(first.numbers) + floor)
    ratio, V = ratio[::-1], V[:, ::-1]
    spread, sd = ((S_first - middle) @ V).std(0), ((S - centre) @ V).std(0)
    alive = (spread > 1e-5 * spread.max()) & (sd > 0)  # of P perturbations, P - 1 programs at most differ
    V, sd = np.where(alive, V, 0.0), np.where(alive, sd, 1.0)
    expression = np.stack([one.cells[one.rows(p)].mean(0, dtype=float) for p in range(P)])  # (P, G)
    base = expression.mean(0)
    A = (S - centre) @ V / sd
    _, z = regressed(A, expression - base)
    sign = np.where(np.take_along_axis(z, np.abs(z).argmax(1)[:, None], 1)[:, 0] < 0, -1.0, 1.0)
    V, A = V * sign / sd, A * sign
    total, z = regressed(A, expression - base)
    marker = by_state(one, problem.sizes["state"]) - base
    shift = np.stack([marker[one.state[one.rows(p)]].mean(0) for p in range(P)])
    counts = one.share * number[:, None] + 0.5
    log = np.log(counts / counts.sum(1, keepdims=True))
    log -= log.mean(1, keepdims=True)
    cell = np.einsum("im,ij,jm->m", V, W, V)  # variance of a single cell, (m,)
    told = (few > 0) & enough
    some = told if enough else np.ones(P, dtype=bool)
    new = np.where(told[:, None], (S_second - centre) @ V, A)
    variance = cell / np.maximum(few, 1)[:, None]  # (P, m)
    moved = new - (new[some].mean(0) if control is None else new[control])
    other = variance[some].mean(0) / some.sum() if control is None else variance[control]
    p = 2 * stats.norm.sf(np.abs(moved) / np.sqrt(np.maximum(variance + other, 1e-300)))
    p[~told] = 1.0
    if control is not None:
        p[:] = np.where((np.arange(P) == control)[:, None] | (few[control] == 0), 1.0, p)
    true = np.maximum(new[some].var(0, ddof=min(1, some.sum() - 1)) - variance[some].mean(0), 0.0) * enough
    variance = cell / number[:, None]
    reliable = true / np.maximum(true + variance.mean(0), 1e-300)
    target = np.asarray(problem["target"])[None]
    by = ("perturbation", "program")
    return {
        "base": base - base.mean(),
        "marker": marker,
        "loading": regressed(A, expression - base - (shift - shift.mean(0)))[0],
        "effect": regressed(A, log - log.mean(0))[0],
        "activity": (by, A),
        "activity_se": (by, np.sqrt(variance)),
        "moved": (by, moved),
        "moved_fdr": (by, stats.false_discovery_control(p.ravel()).reshape(p.shape)),
        "total_loading": (("program", "gene"), total),
        "total_loading_z": (("program", "gene"), z),
        "reliability": (("program",), np.where(alive, reliable, 0.0)),
        "score": (("perturbation",), -trained.distance(S, target)[:, 0].astype(float)),
        "axes": (("unit", "program"), V),
        "axes_centre": (("unit",), centre),
    }


def statistics(one: Any, trained: Any) -> Array:
    """Return s of every perturbation, all its cells averaged, (P, m); zero where it has none."""
    out = np.zeros((len(one.names), trained.size.programs))
    for p in np.flatnonzero(one.numbers):
        n = int(one.numbers[p])
        out[p] = trained.summarise(one.cells[one.rows(p)], np.full((1, n), 1 / n))[0]
    return out


def sampling(one: Any, trained: Any, rng: np.random.Generator) -> Array:
    """Return the covariance (m, m) of s by the sampling of cells, of a single cell's worth, by resampling them."""
    found = []
    for p in np.flatnonzero(one.numbers > 1):
        n = int(one.numbers[p])
        some = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
        told = trained.summarise(one.cells[one.rows(p)], some).astype(float)
        found.append(n * n / (n - 1) * np.cov(told, rowvar=False).reshape(told.shape[1], -1))
    if not found:
        raise InputError(
            "perturbation_score: method 'statistic': no perturbation has two cells, so that nothing tells how much "
            "programs vary by chance. Give more cells."
        )
    return np.asarray(np.mean(found, 0))


def regressed(A: Array, Y: Array) -> tuple[Array, Array]:
    """Regress Y (P, G), of mean zero, on activities (P, m) of mean zero: slopes and their z, (m, G); 0 where none."""
    P, m = A.shape
    inverse = np.linalg.pinv(A.T @ A, hermitian=True)
    slope = inverse @ A.T @ Y
    left = ((Y - A @ slope) ** 2).sum(0) / max(1, P - m - 1)
    return slope, slope / np.sqrt(np.maximum(left, 1e-12) * np.maximum(np.diag(inverse), 1e-12)[:, None])


def by_state(one: Any, K: int) -> Array:
    """Return mean log expression by state (K, G); of all cells where a state has none."""
    mean = one.cells.mean(0, dtype=float)
    return np.stack(
        [one.cells[one.state == k].mean(0, dtype=float) if (one.state == k).any() else mean for k in range(K)]
    )


def kept(fitted: xr.DataTree) -> Any:
    """Return the trained statistic that a fit keeps."""
    from .statistic.network import Size
    from .statistic.presets import preset
    from .statistic.training import Trained

    point = fitted["point"]
    weights = {name: point[f"network_{name}"].to_numpy() for name in DIMS}
    G, m = weights["f_weight"].shape
    size = Size(
        G,
        weights["t_weight"].shape[0],
        weights["h_weight"].shape[0],
        programs=m,
        token=weights["g_id"].shape[1],
        values=weights["h_values"].shape[1],
        width=weights["h_weight"].shape[1],
    )
    centre, scale = (point[f"network_{name}"].to_numpy() for name in ("centre", "scale"))
    return Trained(size, preset("normalised"), weights, centre, scale, np.empty((0, 2)))


def predict(fitted: xr.DataTree, problem: Problem) -> Mapping[str, Labelled]:
    """Predict programs and scores of perturbations, from cells, or from features alone.

    Parameters
    ----------
    fitted : DataTree
    problem : Problem
        Cells of other perturbations or of another screen, of the same genes (found by name); their states are not
        looked at. Without cells, features.

    Returns
    -------
    dict
        ``activity`` (perturbation, program), in sd of the fit's perturbations; ``score`` (perturbation).
    """
    from .statistic.samplers import normalise

    trained, point = kept(fitted), fitted["point"]
    P = problem.sizes["perturbation"]
    if "expression" in problem.arrays:
        condition = problem["condition"]
        cells = normalise(problem["expression"])
        groups = [cells[condition == p] for p in range(P)]
        if empty := [i for i, group in enumerate(groups) if not len(group)]:
            raise InputError(
                f"perturbation_score: the perturbation {problem.coords['perturbation'][empty[0]]} has no cells. Leave "
                "it out, or predict it from features alone."
            )
        S = np.concatenate([trained.summarise(group, np.full((1, len(group)), 1 / len(group))) for group in groups])
    elif "features" in problem.arrays:
        S = trained.recognise(problem["features"])
    else:
        raise InputError("perturbation_score: there are neither cells nor features to predict from. Give one of them.")
    activity = (S.astype(float) - point["axes_centre"].to_numpy()) @ point["axes"].to_numpy()
    score = -trained.distance(S, np.asarray(problem["target"])[None])[:, 0].astype(float)
    return {"activity": (("perturbation", "program"), activity), "score": (("perturbation",), score)}
