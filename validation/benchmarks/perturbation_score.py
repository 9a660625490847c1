"""What is claimed of perturbation_score: ``python validation/benchmarks/perturbation_score.py``.

``distance``: the closed form of the expected distance against Monte Carlo. ``coverage``: 90 % predictive intervals of
shares of 200 unseen simulated genes, by NUTS. ``worlds``: what the simulator's constants were chosen for. ``training``:
seconds of 2,000 steps of the default network on 50 perturbations and 2,000 genes, by backend. ``claims``: every preset
of the statistic on simulated screens of 200 perturbations, ten seeds, with 95 % intervals over seeds, medians and worst
cases, rivals beside; replicates are kept in ``--keep`` and gone on with, as long as the model's code is the same.
``table``: rankings and leave-one-out errors on the challenge's table (``--table FILE``). ``growth``: what the cell
number says of the shares there. Both leave out conditions whose cell number the table does not know, and the control.
``ceiling``: what ten cells tell at most, their states known without error, on simulated screens and on that table.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import genarium as gn
from genarium.declaration import Array
from genarium.home import Home
from genarium.models.perturbation_score import expected_l1, rank, score
from genarium.models.perturbation_score import statistic as net
from genarium.tree import digest, digest_of

NAME = "perturbation_score"
STATES = ("progenitor", "effector", "terminal_exhausted", "cycling", "other")
CONTROL = "Unperturbed"


def distance(draws: int = 4_000_000) -> dict[str, float]:
    """Largest difference between (5) and Monte Carlo over 20 random cases, and its standard error."""
    rng = np.random.default_rng(1)
    worst, error = 0.0, 0.0
    for _ in range(20):
        K = int(rng.integers(2, 9))
        a, Q = rng.lognormal(0.5, 1.5, K), rng.dirichlet(np.ones(K))
        d = np.concatenate([np.abs(rng.dirichlet(a, draws // 10) - Q).sum(1) for _ in range(2)])
        worst = max(worst, abs(float(d.mean() - expected_l1(Q, a))))
        error = max(error, float(d.std() / np.sqrt(len(d))))
    return {"largest_difference": worst, "largest_standard_error": error}


def predictive_coverage(fits: int, unseen: int = 200) -> dict[str, Any]:
    """Share of the true shares and distances of unseen genes inside their 90 % intervals."""
    shares, scores = [], []
    for seed in range(fits):
        tree = gn.simulate(NAME, seed=seed, perturbation=60 + unseen)
        groups = [tree[name].to_dataset() for name in ("constant_data", "observed_data")]
        parts = {str(name): value for group in groups for name, value in group.data_vars.items()}
        seen, new = slice(0, 60), slice(60, None)
        data = {n: v[seen] if "perturbation" in v.dims else v for n, v in parts.items()}
        fit = gn.fit(NAME, {n: v.to_numpy() for n, v in data.items()}, "nuts", seed, draws=500, tune=500, chains=2)
        told = gn.predict(fit, {"features": parts["features"][new].to_numpy()})["predictions"]
        q = tree["truth"]["proportion"].to_numpy()[new]
        low, high = told["proportion_low"].to_numpy(), told["proportion_high"].to_numpy()
        shares.append(((low <= q) & (q <= high)).mean())
        d = np.abs(q - parts["target"].to_numpy()).sum(1)
        scores.append((-d >= told["score_low"].to_numpy()).mean())
    return {
        "coverage_of_shares": float(np.mean(shares)),
        "standard_error": float(np.std(shares) / np.sqrt(fits)),
        "scores_above_their_5_percent_quantile": float(np.mean(scores)),
        "fits": fits,
    }


def worlds(number: int = 30, cells: int = 3000) -> dict[str, float]:
    """Mean pairwise l1 of simulated shares, and how often the true parameters tell a cell's state from its counts."""
    from scipy.special import softmax

    from genarium.models.perturbation_score.statistic import simulator

    apart = []
    for seed in range(number):
        q = net.simulate(net.World(perturbations=60, genes=2, cells=1), np.random.default_rng(seed))[1].share
        apart.append(np.abs(q[:, None] - q[None]).sum(-1)[np.triu_indices(60, 1)].mean())
    world, rng, right = net.World(), np.random.default_rng(0), []
    for seed in range(5):
        state = rng.choice(5, cells, p=np.array(net.CONTROL) / sum(net.CONTROL))
        program, lane = rng.normal(size=(cells, world.programs)), np.zeros(cells, dtype=int)
        x = simulator.emit(world, rng, simulator.expression(world, np.random.default_rng(seed), state, program, lane))
        told = np.log(net.CONTROL) + np.zeros((cells, 5))
        for k in range(5):  # the same seed draws the same parameters
            at = np.full(cells, k)
            mean = softmax(simulator.expression(world, np.random.default_rng(seed), at, program, lane), axis=-1)
            mean *= x.sum(1, keepdims=True)
            told[:, k] += (x * np.log(mean / (mean + world.theta)) - world.theta * np.log1p(mean / world.theta)).sum(1)
        right.append((told.argmax(1) == state).mean())
    return {
        "mean_pairwise_l1": float(np.mean(apart)),
        "standard_error": float(np.std(apart) / np.sqrt(number)),
        "state_accuracy": float(np.mean(right)),
        "accuracy_standard_error": float(np.std(right) / np.sqrt(len(right))),
    }


def training(backends: list[str]) -> dict[str, Any]:
    """Wall and CPU seconds of training by backend; compilation is that of the first step."""
    world = net.World(perturbations=50, genes=2000)
    screen, _ = net.simulate(world, np.random.default_rng(0))
    out: dict[str, Any] = {}
    for backend in backends:
        start = time.perf_counter(), time.process_time()
        trained = net.train(screen, np.arange(50), np.random.default_rng(1), backend=backend)
        whole = time.perf_counter() - start[0], time.process_time() - start[1]
        out[backend] = {
            **trained.seconds,
            "whole_wall": whole[0],
            "whole_cpu": whole[1],
            "first_losses": trained.losses[0].tolist(),
            "last_losses": trained.losses[-100:].mean(0).tolist(),
        }
    return out


def one_seed(seed: int, perturbations: int, steps: int, backend: str) -> dict[str, dict[str, float]]:
    """Measure every preset on one simulated screen, on the same split and targets."""
    rng = np.random.default_rng(seed)
    screen, truth = net.simulate(net.World(perturbations=perturbations), rng)
    parts = net.split(perturbations, rng)
    out = {}
    for name in net.PRESETS:
        start = time.process_time()
        trained = net.train(screen, parts[0], np.random.default_rng([seed, 1]), name=name, backend=backend, steps=steps)
        found = net.evaluate(trained, screen, parts, np.random.default_rng([seed, 2]), truth)
        recognition = float(trained.losses[-200:, 1].mean())
        out[name] = {**found, "last_recognition_loss": recognition, "cpu_seconds": time.process_time() - start}
    return out


def claims(seeds: int, perturbations: int, steps: int, backend: str, keep: Path) -> dict[str, Any]:
    """Means over seeds with 95 % intervals (Student's t), and paired differences from the baseline."""
    from scipy.stats import t

    code = f"{digest(NAME)} {digest_of(Home('statistic', net.__name__))}"  # another version's results are no replicates
    settings = f"{perturbations} {steps} {backend} {code}"
    kept: dict[str, Any] = json.loads(keep.read_text()) if keep.is_file() else {}
    for seed in range(seeds):
        if f"{settings} {seed}" not in kept:
            kept[f"{settings} {seed}"] = one_seed(seed, perturbations, steps, backend)
            keep.parent.mkdir(parents=True, exist_ok=True)
            keep.write_text(json.dumps(kept, indent=1))
            print(f"seed {seed} done", flush=True)
    runs = [kept[f"{settings} {seed}"] for seed in range(seeds)]
    factor = float(t.ppf(0.975, max(seeds - 1, 1))) / np.sqrt(seeds)

    def told(values: Array) -> list[float]:
        return [float(f"{v:.4g}") for v in (values.mean(), factor * values.std(ddof=1) if seeds > 1 else np.nan)]

    names = list(runs[0]["normalised"])
    out: dict[str, Any] = {
        preset: {name: told(np.array([run[preset][name] for run in runs])) for name in names} for preset in net.PRESETS
    }
    out["median and worst"] = {
        preset: {name: median_and_worst(name, np.array([run[preset][name] for run in runs])) for name in names}
        for preset in net.PRESETS
    }
    for preset in ("seed_robust", "normalised", "steady"):
        out[f"{preset} minus seed_baseline"] = {
            name: told(np.array([run[preset][name] - run["seed_baseline"][name] for run in runs]))
            for name in ("mse_2", "mse_10", "mse_60", "mse_features", "icc_10", "recognition_r2")
        }
    return out


def median_and_worst(name: str, values: Array) -> list[float]:
    """Return the median over screens, and the worst: the largest error, or the least of what should be large."""
    worst = values.max() if name.startswith("mse") or "seconds" in name or "loss" in name else values.min()
    return [float(f"{v:.4g}") for v in (np.median(values), worst)]


def states_known(
    counts: Array, share: Array, atoms: Array, rng: np.random.Generator, n: int = 10, repeats: int = 20
) -> dict[str, float]:
    """Measure an oracle that knows the states of n cells, (P, K) of them in all, with shares of others as its prior.

    ``atoms``: shares that the oracle takes for possible; those of the perturbation itself are left out.
    """
    from genarium.models.perturbation_score.statistic.metrics import agreement, reliability

    able = counts.sum(1) >= 2 * n
    counts, share = counts[able], share[able]
    around = atoms[rng.integers(len(atoms), size=40)] + 0.1 * rng.uniform(size=(40, atoms.shape[1]))
    Q = around / around.sum(1, keepdims=True)
    aim, known = (np.abs(q[:, None] - Q).sum(-1) for q in (share, atoms))
    own = np.abs(share[:, None] - atoms).sum(-1) < 1e-12
    found = []
    for _ in range(repeats):
        both = np.stack([rng.multivariate_hypergeometric(row, 2 * n) for row in counts])
        first = np.stack([rng.multivariate_hypergeometric(row, n) for row in both])
        told = []
        for half in (first, both - first):
            log = np.where(own, -np.inf, half @ np.log(np.maximum(atoms, 1e-3)).T)
            weight = np.exp(log - log.max(1, keepdims=True))
            told.append(weight / weight.sum(1, keepdims=True))
        found.append(
            {
                "icc_shares": reliability(np.stack([first, both - first]) / n),
                "icc_shrunk": reliability(np.stack(told) @ atoms),
                "rank_halves": agreement(told[0] @ known, told[1] @ known),
                "rank_full": agreement(told[0] @ known, aim),
                "mse": float(((told[0] @ known - aim) ** 2).mean()),
            }
        )
    return {name: round(float(np.mean([one[name] for one in found])), 4) for name in found[0]}


def cells_for(counts: Array, icc: float = 0.9) -> float:
    """Return how many cells of known states make shares of that reliability: the two variances without bias."""
    n = counts.sum(1)
    q = counts / n[:, None]
    within = float(np.mean((q * (1 - q)).sum(1) * n / (n - 1)))
    between = float(q.var(0, ddof=1).sum() - np.mean((q * (1 - q)).sum(1) / (n - 1)))
    return icc / (1 - icc) * within / between


def best_direction(screen: net.Screen, parts: list[Array], rng: np.random.Generator, n: int = 10) -> float:
    """ICC on test perturbations of the linear statistic of expression that is most reliable on training ones."""
    from scipy.linalg import eigh

    from genarium.models.perturbation_score.statistic import metrics, rivals, samplers

    training, _, testing = parts
    axes = rivals.Rivals(screen, training, rng)
    x = [axes.project(np.arange(screen.first[p], screen.first[p + 1])) for p in training]
    within = np.mean([np.cov(one, rowvar=False) for one in x], 0)
    middle = np.cov([one.mean(0) for one in x], rowvar=False)
    way = eigh(middle - within * np.mean(1 / screen.numbers[training]), within)[1][:, -1]
    able = testing[screen.numbers[testing] >= 2 * n]
    told = []
    for _ in range(20):
        index, _ = samplers.draw_cells(screen, able, np.full(len(able), 2 * n), 2 * n, rng)
        halves = (axes.project(index) @ way).reshape(len(able), 2, n).mean(2)
        told.append(metrics.reliability(halves.T[..., None]))
    return round(float(np.mean(told)), 4)


def ceiling(seeds: int, perturbations: int, path: Path | None) -> dict[str, Any]:
    """Measure what ten cells tell at most, on simulated screens and on the challenge's table."""
    out: dict[str, Any] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        screen, _ = net.simulate(net.World(perturbations=perturbations), rng)
        parts = net.split(perturbations, rng)
        states = range(screen.share.shape[1])
        counts = np.array([[(screen.state[screen.rows(p)] == k).sum() for k in states] for p in parts[2]])
        out[f"screen {seed}"] = {
            **states_known(counts, screen.share[parts[2]], screen.share[parts[0]], np.random.default_rng([seed, 3])),
            "cells_for_icc_.9": round(cells_for(counts), 1),
            "icc_best_direction": best_direction(screen, parts, np.random.default_rng([seed, 4])),
        }
    if path is not None:
        counts = knock_outs(path)[0].to_numpy()
        share = counts / counts.sum(1, keepdims=True)
        out["table"] = {
            **states_known(counts, share, share, np.random.default_rng(0)),
            "cells_for_icc_.9": round(cells_for(counts), 1),
        }
    return out


def knock_outs(path: Path) -> tuple[xr.DataArray, Array]:
    """Read counts of the knock-outs whose cell number is known (``size_known`` is 1), and the control's shares.

    The other rows of the challenge's table hold shares, not counts: a one in the only state that is told.
    """
    import pandas as pd

    tree = gn.read(NAME, path, format="table", states=STATES, control=CONTROL)
    count = tree["observed_data"].to_dataset()["count"]
    known = pd.read_csv(path, index_col=0)["size_known"].loc[count["perturbation"].to_numpy()].to_numpy() == 1
    control = count.sel(perturbation=CONTROL).to_numpy()
    return count[known & (count["perturbation"].to_numpy() != CONTROL)], control / control.sum()


def table(path: Path, target: tuple[float, ...]) -> dict[str, Any]:
    """Rank the knock-outs of the challenge's table, and predict each from the others."""
    data, control = knock_outs(path)
    fit = gn.fit(NAME, {"count": data}, "nuts", seed=1, regression="none")
    ranked = rank(score(fit, target))
    rows: list[list[Any]] = [
        [str(p), *(round(float(ranked[n].sel(perturbation=p)), 3) for n in ("cells", "plug_in", "score", "lower"))]
        + [int(ranked[f"rank_{n}"].sel(perturbation=p)) for n in ("plug_in", "score", "lower")]
        for p in ranked["perturbation"].to_numpy()
    ]
    counts = data.to_numpy()
    q = counts / counts.sum(1, keepdims=True)
    mean = [np.abs(q[i] - np.delete(q, i, 0).mean(0)).sum() for i in range(len(q))]
    model = []
    for i in range(len(q)):
        rest = {"count": np.delete(counts, i, 0)}
        mu = gn.fit(NAME, rest, "conjugate", regression="none")["point"]["mu"].to_numpy()
        model.append(np.abs(q[i] - np.exp(mu) / np.exp(mu).sum()).sum())

    def told(values: Any) -> list[float]:
        values = np.asarray(values)
        return [float(values.mean()), float(values.std() / np.sqrt(len(values)))]

    apart = np.abs(q[:, None] - q[None]).sum(-1)[np.triu_indices(len(q), 1)]
    return {
        "columns": ["perturbation", "cells", "plug_in", "score", "lower", "rank_plug_in", "rank_score", "rank_lower"],
        "best_by_lower": rows[:12],
        "best_by_plug_in": sorted(rows, key=lambda row: row[5])[:12],
        "mean_pairwise_l1": float(apart.mean()),
        "left_out_mean_of_the_others": told(mean),
        "left_out_control": told(np.abs(q - control).sum(1)),
        "left_out_model": told(model),
        "perturbations": len(q),
        "spearman_cells_progenitor": spearman(counts.sum(1), q[:, 0]),
    }


def growth(path: Path) -> dict[str, Any]:
    """Fit the joint model to the challenge's table: gamma of each state, with 90 % intervals."""
    data = {"count": knock_outs(path)[0]}
    fit = gn.fit(NAME, data, "nuts", seed=1, regression="none", abundance="joint", draws=500, tune=500, chains=2)
    low, high = np.quantile(fit["posterior"]["growth"].to_numpy(), (0.05, 0.95), axis=(0, 1))
    mean = fit["posterior"]["growth"].to_numpy().mean((0, 1))
    verdicts = {verdict.check: verdict.value for verdict in gn.diagnose(NAME, fit).verdicts}
    return {
        "perturbations": data["count"].sizes["perturbation"],
        "growth": {state: [float(v) for v in row] for state, *row in zip(STATES, mean, low, high, strict=True)},
        "r_hat": verdicts.get("R-hat"),
    }


def spearman(a: Array, b: Array) -> float:
    """Rank correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = ("distance", "coverage", "worlds", "training", "claims", "ceiling", "table", "growth")
    parser.add_argument("--only", choices=kinds)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--perturbations", type=int, default=200)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--fits", type=int, default=10)
    parser.add_argument("--keep", type=Path, default=Path("validation/replicates/perturbation_score.claims.json"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--target", default="1,0,0,0,0", help="wanted shares, in the order of the table's states")
    options = parser.parse_args()
    target = tuple(float(part) for part in options.target.split(","))
    parts: dict[str, Callable[[], Any]] = {
        "distance": distance,
        "coverage": lambda: predictive_coverage(options.fits),
        "worlds": worlds,
        "training": lambda: training(["jax", "numba"] if options.only is None else options.backend.split(",")),
        "claims": lambda: claims(options.seeds, options.perturbations, options.steps, options.backend, options.keep),
        "ceiling": lambda: ceiling(options.seeds, options.perturbations, options.table),
    }
    if options.table is not None:
        parts["table"] = lambda: table(options.table, target)
        parts["growth"] = lambda: growth(options.table)
    elif options.only in ("table", "growth"):
        parser.error(f"--only {options.only} needs --table FILE")
    for name, run in parts.items():
        if options.only in (None, name):
            print(json.dumps({name: run()}, indent=1), flush=True)


if __name__ == "__main__":
    main()
