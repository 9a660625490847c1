"""Hits of simulated screens: error rates, power, coverage, and the rivals beside them.

    python validation/benchmarks/perturbation_score_hits.py            # some three minutes of CPU time
    python validation/benchmarks/perturbation_score_hits.py --screens 100
    python validation/benchmarks/perturbation_score_hits.py --table counts.csv --split _ --control Control  # replicates
    python validation/benchmarks/perturbation_score_hits.py --screen counts.csv --control Unperturbed  # ten cells

Rivals: a chi-square test of each perturbation against the control with Benjamini and Hochberg's rule, and one spike and
slab (no effect, or one Dirichlet distribution around the control), which is scCODA's idea without its covariates.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

import genarium as gn
from genarium.declaration import Array
from genarium.models.perturbation_score import hits, replicate_concentration
from genarium.models.perturbation_score.hits import dirichlet_multinomials, effective_cells
from genarium.simplex import normalised

CONTROL = np.array([0.0675, 0.2097, 0.3134, 0.3921, 0.0173])


class World(NamedTuple):
    """A kind of screen: cells, sd of effects on log shares, share without one, replicates and their concentration."""

    cells: float
    effect: float
    without: float = 0.5
    replicates: int = 1
    kappa: float = np.inf
    perturbations: int = 200
    fixed: bool = True


WORLDS = {
    "60 cells": World(60, 0.5),
    "10 cells": World(10, 0.66),
    "200 cells, small effects": World(200, 0.3),
    "60 cells, nine of ten without": World(60, 0.5, 0.9),
    "no effects": World(60, 0.5, 1.0),
    "cell numbers that differ": World(150, 0.5, fixed=False),
    "three replicates, concentration 40": World(200, 0.5, replicates=3, kappa=40.0),
    "60 perturbations": World(60, 0.5, perturbations=60),
}


def screen(world: World, rng: np.random.Generator) -> tuple[pd.DataFrame, list[str], Array, Array]:
    """Simulate counts of rows, the perturbation of each, its true shares and whether it has an effect."""
    without = rng.random(world.perturbations) < world.without
    truth = np.tile(CONTROL, (world.perturbations, 1))
    for p in np.flatnonzero(~without):
        mean, _ = normalised(np.log(CONTROL) + rng.normal(0, world.effect, 5))
        truth[p] = rng.dirichlet(60 * mean)
    names = [f"p{p}" for p in range(world.perturbations)]
    rows, owner = [], []
    for name, q, cells in [
        *zip(names, truth, [world.cells] * len(names), strict=True),
        ("control", CONTROL, 3000 / world.replicates),
    ]:
        for _ in range(world.replicates):
            n = int(cells) if world.fixed or name == "control" else 2 + rng.negative_binomial(1, 1 / (1 + cells))
            shares = q if np.isinf(world.kappa) else rng.dirichlet(world.kappa * q)
            rows.append(rng.multinomial(max(n, 1), shares))
            owner.append(name)
    index = [f"{name}_{i}" for i, name in enumerate(owner)]
    return pd.DataFrame(rows, index=index, columns=list("abcde")), owner, truth, ~without


def errors(called: Array, effect: Array) -> tuple[float, float]:
    """Return the share of calls that are wrong (0 without calls), and the share of effects that are called."""
    return float((called & ~effect).sum() / max(1, called.sum())), float((called & effect).sum() / max(1, effect.sum()))


def chi_square(pooled: Array, control: Array) -> Array:
    """Call by a test of each row against the control, at a false discovery rate of .05."""
    seen = pooled.sum(0) + control > 0
    p = [stats.chi2_contingency(np.stack([row, control])[:, seen & (row + control > 0)])[1] for row in pooled]
    return np.asarray(stats.false_discovery_control(p) <= 0.05)


def spike_and_slab(pooled: Array, control: Array) -> Array:
    """Call by one slab around the control of concentration 30, its weight by EM, at a Bayesian rate of .05."""
    base = control + 0.5
    log = dirichlet_multinomials(pooled, np.stack([base, 30 * base / base.sum()]))
    ratio, weight = np.exp(log - log.max(1, keepdims=True)), np.full(2, 0.5)
    for _ in range(200):
        member = ratio * weight / (ratio @ weight)[:, None]
        weight = member.mean(0)
    without = member[:, 0]
    order = np.argsort(without)
    rate = np.empty(len(without))
    rate[order] = np.cumsum(without[order]) / np.arange(1, len(without) + 1)
    return np.asarray(rate <= 0.05)


def main() -> None:
    """Measure on simulated screens, or on a table of replicates."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--screens", type=int, default=40)
    parser.add_argument("--table", help="counts of replicates (CSV: names, then a column for each state)")
    parser.add_argument("--split", default="_", help="what stands before the name of a replicate")
    parser.add_argument("--screen", help="counts of a screen (CSV: names, then a column for each state)")
    parser.add_argument("--control", default="Unperturbed")
    told = parser.parse_args()
    if told.screen:
        few_cells(pd.read_csv(told.screen, index_col=0), told.control)
        return
    if told.table:
        left_out(pd.read_csv(told.table, index_col=0), told.split, told.control)
        return
    simulated(told.screens)


def few_cells(counts: pd.DataFrame, control: str, cells: int = 10) -> None:
    """Print errors of distances from the first state alone by ten cells a row, over half of the rows.

    The other half is known well (``atoms``). Rows of fewer than 60 cells, or without a cell number, are left out.
    """
    if "size_known" in counts:
        counts = counts[counts["size_known"] == 1].drop(columns="size_known")
    base, table = counts.loc[[control]], counts.drop(index=control).astype(int)
    table = table[table.sum(axis=1) >= 60]
    whole, Q = table.to_numpy(), np.eye(table.shape[1])[0]
    wanted = np.abs(Q - whole / whole.sum(1, keepdims=True)).sum(1)
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {"plug-in": [], "one Dirichlet": [], "hits": [], "hits with atoms": []}
    for _ in range(10):
        some = pd.DataFrame([rng.multivariate_hypergeometric(x, cells) for x in whole], table.index, table.columns)
        half = rng.permutation(len(table)) < len(table) // 2
        fit = gn.fit("perturbation_score", {"count": some}, "conjugate", regression="none", target=Q)
        estimates = {
            "plug-in": np.abs(Q - some.to_numpy() / cells).sum(1),
            "one Dirichlet": fit["point"]["expected_distance"].to_numpy(),
        }
        for label, atoms in (("hits", None), ("hits with atoms", whole[half])):
            told = hits(pd.concat([some, base]), control, target=Q, atoms=atoms)
            estimates[label] = -told["score"].to_numpy()
        for label, each in estimates.items():
            found[label].append(float(((each - wanted)[~half] ** 2).mean()))
    for label, values in found.items():
        print(f"{label}: median {np.median(values):.4f}, worst of ten {np.max(values):.4f}")


def left_out(counts: pd.DataFrame, split: str, control: str) -> None:
    """Predict each replicate from the others of its condition; print the counts in 90 % intervals, and hits."""
    table = counts.to_numpy(dtype=float)
    condition = np.array([str(name).rpartition(split)[0] for name in counts.index])
    rng = np.random.default_rng(0)
    inside: dict[str, list[Array]] = {"replicates differ": [], "cells pooled": []}
    for r in range(len(table)):
        others = np.arange(len(table)) != r
        alike = others & (condition == condition[r])
        if not alike.any():
            continue
        for label, kappa in zip(
            inside, (replicate_concentration(table[others], condition[others]), np.inf), strict=True
        ):
            q = rng.dirichlet(effective_cells(table[alike], kappa).sum(0) + 0.5, 4000)
            q = q if np.isinf(kappa) else np.stack([rng.dirichlet(kappa * one) for one in q])
            drawn = rng.multinomial(int(table[r].sum()), q)
            low, high = np.quantile(drawn, (0.05, 0.95), axis=0)
            inside[label].append((low <= table[r]) & (table[r] <= high))
    for label, each in inside.items():
        print(f"{label}: {np.mean(each):.3f} of {np.size(each)} counts of left-out replicates in their 90 % intervals")
    if control in condition:
        told = hits(counts, control, replicates=condition).to_dataframe()
        print(told.loc[told["lfsr"] < 0.05, ["effect_probability", "log2_fold", "lfsr"]].round(4))


def simulated(screens: int) -> None:
    """Print a table of all worlds."""
    print(f"{screens} screens each; false: mean share of wrong calls at a rate of .05; found: share of effects called")
    print(f"{'':36} {'mixture':>14} {'chi-square':>14} {'spike, slab':>14}  covered  wrong sign  MSE of d   CPU s")
    for label, world in WORLDS.items():
        rows = []
        for seed in range(screens):
            rng = np.random.default_rng(seed)
            counts, owner, truth, effect = screen(world, rng)
            start = time.process_time()
            told = hits(counts, "control", replicates=owner, target=np.eye(5)[0])
            spent = time.process_time() - start
            called = told["fdr"].to_numpy() <= 0.05
            by_row = np.array(owner)
            pooled = np.stack([counts.to_numpy()[by_row == f"p{p}"].sum(0) for p in range(world.perturbations)])
            control = counts.to_numpy()[by_row == "control"].sum(0)
            fold = np.log2(truth / CONTROL)
            inside = (told["low"].to_numpy() <= fold) & (fold <= told["high"].to_numpy())
            sure = told["lfsr"].to_numpy() <= 0.05
            wrong = (np.sign(told["log2_fold"].to_numpy()) != np.sign(fold)) & sure
            d = np.abs(np.eye(5)[0] - truth).sum(1)
            rows.append(
                [
                    *errors(called, effect),
                    *errors(chi_square(pooled, control), effect),
                    *errors(spike_and_slab(pooled, control), effect),
                    inside.mean(),
                    wrong.sum() / max(1, sure.sum()),
                    ((-told["score"].to_numpy() - d) ** 2).mean(),
                    spent,
                ]
            )
        m = np.mean(rows, 0)
        pairs = "".join(f"    {m[i]:.3f} {m[i + 1]:.3f}" for i in (0, 2, 4))
        print(f"{label:36}{pairs}  {m[6]:7.3f}  {m[7]:10.3f}  {m[8]:8.4f}  {m[9]:6.2f}", flush=True)


if __name__ == "__main__":
    main()
