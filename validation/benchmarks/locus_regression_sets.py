"""Which processes a genome uses, by vi and long chains: ``python validation/benchmarks/locus_regression_sets.py PART``.

simulated  40 genomes, 100 windows, six processes, exposures drawn under ``--alpha``; how often 90 % intervals of pi
           cover the truth, by whether q puts the process off (mean share below .005), and by the true share
breast     40 of the breast cancer genomes, a third of the windows (``--corpora``), ``--processes``

Both: ``vi`` with its draws of q and its corrected ones, beside chains of the same sweeps that are longer and begin
elsewhere: at exposures drawn at random and the other variables of q (``exposures``), or each at the end of short
ascents of its own (``all``). Of effects, signatures and exposures (means above .005; .001 of signatures): how many have
means within .3 sd of those chains', and sds of .85 to 1.15 times theirs.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Arrays, Problem, Result
from genarium.models.locus_regression.cautions import apart
from genarium.models.locus_regression.corpus import corpus
from genarium.models.locus_regression.corrected import CHAINS, corrected
from genarium.models.locus_regression.start import start

vi = import_module("genarium.models.locus_regression.vi")
HYPER = "alpha", "tau", "lam_concentration", "rho_concentration"
OFF = 0.005


def elsewhere(problem: Problem, fitted: Result, rng: np.random.Generator, sweeps: int, begin: str) -> Result:
    """Run longer chains that begin elsewhere than at draws of q."""
    draws = {name: np.asarray(value)[0] for name, value in fitted.posterior.items()}
    if begin == "exposures":
        draws["pi"] = rng.dirichlet(np.ones(draws["pi"].shape[2]), draws["pi"].shape[:2])
    else:
        each = [start(problem, rng) for _ in range(CHAINS)]
        draws = {name: np.stack([one[name] for one in each]) for name in each[0]}
    fitted = replace(fitted, posterior={name: value[None] for name, value in draws.items()})
    return corrected(problem, corpus(problem), fitted, rng, draws=1000, sweeps=sweeps, empirical_bayes=True)


def signatures(draws: Arrays) -> Array:
    """Signatures at equal opportunities, (..., K, M)."""
    each = draws["lam"][..., None] * draws["rho"]
    return np.asarray(each.reshape(*each.shape[:-2], -1))


def aligned(found: Result, like: Array) -> tuple[dict[str, Array], float]:
    """Draws (S, ...) with the processes in the order of signatures (K, M), and the least cosine to these."""
    each = {name: np.asarray(value) for name, value in found.posterior.items()}
    draws = {name: value.reshape(-1, *value.shape[2:]) for name, value in each.items()}
    draws["signatures"] = signatures(draws)
    mean = draws["signatures"].mean(0)
    cosine = like @ mean.T / np.linalg.norm(like, axis=1)[:, None] / np.linalg.norm(mean, axis=1)
    rows, order = linear_sum_assignment(-cosine)
    own = {"beta": draws["beta"][:, order], "pi": draws["pi"][..., order], "signatures": draws["signatures"][:, order]}
    return own, float(cosine[rows, order].min())


def compared(problem: Problem, seed: int, sweeps: int, truth: Arrays | None) -> dict[str, Any]:
    """Fit, run the chains, and compare; a row."""
    rng = np.random.default_rng(seed)
    fitted = vi.vi(problem, np.random.default_rng(seed), covariance="mean_field")
    ours = corrected(problem, corpus(problem), fitted, rng, draws=500, sweeps=0, empirical_bayes=True)
    like = signatures(truth) if truth else signatures({n: np.asarray(v)[0] for n, v in ours.posterior.items()}).mean(0)
    found = {"q": aligned(fitted, like)[0], "corrected": aligned(ours, like)[0]}
    row: dict[str, Any] = {"seed": seed, "bound": float(fitted.notes["bound"])}
    told = apart({name: np.asarray(value) for name, value in ours.posterior.items()})
    row |= {one.check: f"{one.value:g} {one.where}" for one in told}
    for begin in ("exposures", "all"):
        found[begin], row[f"cosine_{begin}"] = aligned(elsewhere(problem, fitted, rng, sweeps, begin), like)
        for name, least in (("beta", -np.inf), ("signatures", 0.001), ("pi", OFF)):
            x, y = found["corrected"][name], found[begin][name]
            used, sd = y.mean(0) > least if name != "beta" else np.ones(y.shape[1:], bool), y.std(0) + 1e-300
            near, ratio = (abs(x.mean(0) - y.mean(0)) / sd)[used] < 0.3, (x.std(0) / sd)[used]
            row[f"{name}_{begin}"] = [float(near.mean()), float(((ratio > 0.85) & (ratio < 1.15)).mean())]
        hidden = (found["q"]["pi"].mean(0) < OFF) & (found[begin]["pi"].mean(0) > 0.02)
        row[f"off_in_q_above_.02_by_{begin}"] = int(hidden.sum())
    if truth:
        share, off = truth["pi"], found["q"]["pi"].mean(0) < OFF
        groups = {"all": off | True, "off": off, "off_above_.05": off & (share > 0.05), "absent": off & (share < 1e-4)}
        for name in ("q", "corrected", "all"):
            low, high = np.quantile(found[name]["pi"], [0.05, 0.95], axis=0)
            inside = (low <= share) & (share <= high)
            row[f"covered_{name}"] = {of: [int(inside[at].sum()), int(at.sum())] for of, at in groups.items()}
    return row


def breast(folder: Path, processes: int) -> Problem:
    """Forty genomes and a third of the windows."""
    tree = gn.read("locus_regression", folder / "breast113.npz")
    data = {str(n): v.to_numpy() for g in ("constant_data", "observed_data") for n, v in tree[g].data_vars.items()}
    genomes = np.sort(np.random.default_rng(5).permutation(113)[:40])
    used = (data["locus"] % 3 == 0) & np.isin(data["genome"], genomes)
    data |= {name: data[name][..., ::3] for name in ("features", "context_opportunity", "exposure")}
    data |= {name: data[name][used] for name in ("genome", "locus", "channel", "count") if name in data}
    data |= {"genome": np.searchsorted(genomes, data["genome"]), "locus": data["locus"] // 3}
    return check(gn.get("locus_regression"), data, {"process": processes})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("simulated", "breast"))
    parser.add_argument("--alpha", type=float, default=0.2)
    parser.add_argument("--mutations", type=int, default=8000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sweeps", type=int, default=6000, help="of the longer chains, all four together")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--corpora", type=Path, default=Path("corpora"))
    args = parser.parse_args()
    if args.part == "breast":
        print(json.dumps(compared(breast(args.corpora, args.processes), 0, args.sweeps, None)))
        return
    sizes = {"genome": 40, "locus": 100, "process": 6, "feature": 3, "cell": args.mutations, "alpha": args.alpha}
    for seed in range(1, args.runs + 1):
        tree = gn.simulate("locus_regression", seed=seed, **sizes, lam_concentration=0.5, rho_concentration=0.5)
        truth = {name: tree["truth"][name].to_numpy() for name in ("beta", "lam", "rho", "pi")}
        problem = check(gn.get("locus_regression"), tree, {}, dict.fromkeys(HYPER, 1.0))
        print(json.dumps(compared(problem, seed, args.sweeps, truth)), flush=True)


if __name__ == "__main__":
    main()
