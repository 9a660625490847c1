"""Recovery and speed of locus_regression: ``python validation/benchmarks/locus_regression.py PART [--corpora DIR]``.

Parts:

recovery  the corpus easy.npz (simulated from Algorithm 1, truth inside) by five seeds of ``vi``: cosine of the
          signatures, RMSE of beta, MAE of pi, bound, CPU seconds of one thread
flat      nearly flat signatures, simulated here, against scikit-learn's LDA and NMF: MAE of pi
cosmic    the same with SBS3, SBS5, SBS8, SBS40 and SBS1 of a COSMIC table (``--cosmic``)
uneven    concentrations of lam and rho that all signatures of a COSMIC table (``--cosmic``) have, as learned from some
          mutations of each in the genome of breast113.npz: quantiles, with the prior and without
sampler   effective draws of beta a CPU minute by ``gibbs``: 40 genomes, 20,000 windows, 10 features, 8 processes,
          90,000 mutations, the size at which the Poisson process factorisation of SigPoisProcess was measured (below)
joint     a corpus of the joint form, simulated here, fitted under both forms: RMSE of beta
breast    113 breast cancer genomes (breast113.npz): bound with and without covariates, seconds
breast_starts  bounds and CPU seconds of ten seeds of the default fit on them (K = 8)
lda       no covariate acts: seconds an iteration and MAE of pi, side by side with scikit-learn's LDA
size      seconds an iteration against the number of cells and of processes; draws locus_regression_size.png
windows   a sweep over 10^6 cells in 300,000 windows: seconds of its parts, and what copying its arrays would take;
          ``--beside CHECKOUT``: that of another checkout of this repository in the same run
whole     a fit of that size, with and without the correction of its intervals, its diagnosis and report
sampling  bound against CPU seconds for sampling rates from .03 to 1 of ``svi``, and for ``vi``; draws
          locus_regression_sampling.png

Corpora are read from ``--corpora``; those that are simulated need no file. Times are CPU seconds of one thread.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Model, Problem
from genarium.models.locus_regression import effects
from genarium.models.locus_regression.channels import by_context, split_channel
from genarium.models.locus_regression.corpus import corpus
from genarium.models.locus_regression.dirichlet import of_counts, symmetric
from genarium.models.locus_regression.expectation import expect
from genarium.models.locus_regression.hyperprior import SPREAD
from genarium.models.locus_regression.metrics import recovery as recovered
from genarium.models.locus_regression.spectra import decomposed
from genarium.models.locus_regression.tables import read_table

vi = import_module("genarium.models.locus_regression.vi")
svi = import_module("genarium.models.locus_regression.svi")

Row = dict[str, Any]


def model(form: str = "conditional") -> Model:
    """Return the declaration of a form."""
    return gn.get("locus_regression").variant(form=form)


def estimates(found: Any) -> dict[str, Array]:
    """Posterior means of a variational fit."""
    q = {name: value[1] for name, value in found.variational.items()}
    return {
        "beta": q["beta_mean"],
        "lam": q["delta"] / q["delta"].sum(1, keepdims=True),
        "rho": q["omega"] / q["omega"].sum(2, keepdims=True),
        "pi": q["gamma"] / q["gamma"].sum(1, keepdims=True),
    }


def compare(found: Mapping[str, Array], truth: Mapping[str, Array], opportunity: Array) -> Row:
    """Cosine of the signatures, and errors of beta and pi, processes matched."""
    told = recovered(dict(found), dict(truth), opportunity=opportunity)
    errors = {name: float(told[name]) for name in ("beta_rmse", "pi_mae")}
    return {"cosine_min": float(told["cosine"].min()), **errors}


def fit(problem: Problem, seed: int = 0, **options: Any) -> tuple[Any, float]:
    """Fit by vi, without the correction of its intervals; also return CPU seconds."""
    start = time.process_time()
    found = vi.vi(problem, np.random.default_rng(seed), draws=2, covariance="mean_field", **options)
    return found, time.process_time() - start


def warm_up() -> None:
    """Compile the kernels."""
    fit(check(model(), gn.simulate("locus_regression", seed=1, cell=40_000, locus=2000)), max_iterations=2)


def recovery(args: argparse.Namespace) -> Iterable[Row]:
    """Five seeds on easy.npz."""
    stored = np.load(args.corpora / "easy.npz")
    problem = check(model(), gn.read("locus_regression", args.corpora / "easy.npz"), {"process": 5})
    for seed in range(5):
        for empirical_bayes in (False, True):
            found, seconds = fit(problem, seed, empirical_bayes=empirical_bayes)
            told = compare(estimates(found), {n: stored[n] for n in ("beta", "lam", "rho", "pi")}, stored["base"])
            bound = float(found.notes["bound"])
            yield {"seed": seed, "empirical_bayes": empirical_bayes, **told, "bound": bound, "seconds": seconds}


def simulated(seed: int, form: str = "conditional", **settings: Any) -> tuple[Any, Problem, dict[str, Array]]:
    """Simulate a corpus; return the tree, the problem and the truth."""
    tree = gn.simulate(model(form), seed=seed, **settings)
    truth = {name: tree["truth"][name].to_numpy() for name in ("beta", "lam", "rho", "pi")}
    return tree, check(model(form), tree), truth


def opportunities(problem: Problem) -> Array:
    """Opportunity of each context in the genome."""
    return np.asarray((problem["context_opportunity"] * problem["exposure"]).sum(1))


def peers(problem: Problem, truth: Mapping[str, Array], processes: int) -> Row:
    """MAE of pi by scikit-learn's LDA and NMF, which see genomes and channels alone; best of three starts."""
    import warnings

    from scipy.optimize import linear_sum_assignment
    from sklearn.decomposition import NMF, LatentDirichletAllocation

    table = np.zeros((problem.sizes["genome"], 96))
    np.add.at(table, (problem["genome"], problem["channel"]), problem["count"])

    def error(pi: Array) -> float:
        pi = pi / pi.sum(1, keepdims=True)
        cost = np.abs(pi[:, :, None] - truth["pi"][:, None]).mean(0)
        rows, order = linear_sum_assignment(cost)
        return float(cost[rows, order].mean())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lda, start = [], time.process_time()
        for seed in range(3):
            fitted = LatentDirichletAllocation(processes, max_iter=200, random_state=seed).fit(table)
            lda.append((fitted.score(table), error(fitted.transform(table)), fitted.n_iter_))
        seconds = (time.process_time() - start) / sum(each[2] for each in lda)
        nmf = []
        for seed in range(3):
            parts = NMF(
                processes, init="random", solver="mu", beta_loss="kullback-leibler", max_iter=2000, random_state=seed
            )
            shares = parts.fit_transform(table) * parts.components_.sum(1)
            nmf.append((-parts.reconstruction_err_, error(shares)))
    return {"lda_pi_mae": max(lda)[1], "lda_seconds_an_iteration": seconds, "nmf_pi_mae": max(nmf)[1]}


def flat(args: argparse.Namespace) -> Iterable[Row]:
    """Signatures that are hard to tell apart by their channels; their effects tell them apart."""
    for seed in range(3):
        rng = np.random.default_rng(100 + seed)
        given = {"lam": rng.dirichlet(np.full(32, 8.0), 5), "rho": rng.dirichlet(np.full(3, 8.0), (5, 32))}
        yield against_peers(seed, given)


FLAT = ("SBS3", "SBS5", "SBS8", "SBS40", "SBS1")


def cosmic(args: argparse.Namespace) -> Iterable[Row]:
    """Flat signatures of COSMIC; contexts are equally frequent on average here."""
    table = read_table(args.cosmic).sel(reference=list(FLAT)).to_numpy()
    context, alternative = split_channel(np.arange(96))
    each = np.zeros((5, 32, 3))
    each[:, context, alternative] = np.maximum(table, 1e-6)
    lam = each.sum(2)
    given = {"lam": lam / lam.sum(1, keepdims=True), "rho": each / lam[..., None]}
    for seed in range(3):
        yield against_peers(seed, given)


def uneven(args: argparse.Namespace) -> Iterable[Row]:
    """How uneven COSMIC's signatures are: quantiles of the concentrations that mutations of each tell."""
    table = read_table(args.cosmic).to_numpy()
    known = gn.read("locus_regression", args.corpora / "breast113.npz")["constant_data"]
    genome = known["context_opportunity"].to_numpy() @ known["exposure"].to_numpy()
    lam, rho = decomposed(table, genome, np.ones((32, 1)), np.ones(32), np.ones(1))
    shares = (lam * genome)[..., None] * rho
    rng, ones = np.random.default_rng(0), np.ones(len(shares))
    for mutations in (300, 3000, 300_000):
        counts = np.array([rng.multinomial(mutations, one.ravel() / one.sum()).reshape(one.shape) for one in shares])
        for name, each in (("lam", counts.sum(2)[:, None]), ("rho", counts)):
            for spread in (SPREAD, 1000.0):
                found = symmetric(of_counts(each.astype(float)), ones, ones, spread, steps=50)
                told = {f"{q}%": float(np.percentile(found, q)) for q in (5, 25, 50, 75, 95)}
                yield {"of": name, "mutations": mutations, "spread_of_prior": spread, **told}


def against_peers(seed: int, given: Row) -> Row:
    """Fit a corpus with given signatures by vi and by the peers."""
    _, problem, truth = simulated(
        seed, genome=50, locus=500, feature=6, process=5, cell=50_000, alpha=np.full(5, 0.5), **given
    )
    found, seconds = fit(problem, seed, empirical_bayes=True)
    told = compare(estimates(found), truth, opportunities(problem))
    return {"seed": seed, **told, "seconds": seconds, **peers(problem, truth, 5)}


SIGPOISPROCESS = 18 / 100, 49 / 100
"""Effective draws of beta a minute of that R package's sampler, least and largest, as published measurements give."""


def sampler(args: argparse.Namespace) -> Iterable[Row]:
    """Run the Gibbs sampler on a large table: one chain, its start and warm-up included in the time."""
    from genarium.calibration.thinning import effective

    tree = gn.simulate(
        "locus_regression", seed=7, genome=40, locus=20_000, feature=10, process=8, cell=90_000, tau=0.3, alpha=0.5
    )
    for seed in range(3):
        start = time.process_time()
        found = gn.fit("locus_regression", tree, "gibbs", seed=seed, chains=1, tune=500, draws=4000)
        seconds = time.process_time() - start
        beta = found["posterior"]["beta"].to_numpy()  # (1, draws, K, F)
        ess = effective(beta.reshape(1, beta.shape[1], -1))
        least, median = (float(at / seconds * 60) for at in (ess.min(), np.median(ess)))
        yield {
            "seed": seed,
            "seconds": seconds,
            "ess_least": float(ess.min()),
            "ess_median": float(np.median(ess)),
            "least_a_minute": least,
            "median_a_minute": median,
            "least_over_least_of_sigpoisprocess": least / SIGPOISPROCESS[0],
            "median_over_most_of_sigpoisprocess": median / SIGPOISPROCESS[1],
        }


def joint(args: argparse.Namespace) -> Iterable[Row]:
    """Fit corpora of the joint form under both: the wrong form costs beta."""
    for seed in range(3):
        rng = np.random.default_rng(200 + seed)
        tree, _, truth = simulated(
            seed,
            "joint",
            genome=50,
            locus=500,
            feature=6,
            process=5,
            cell=50_000,
            context_opportunity=rng.dirichlet(np.full(32, 3.0), 500).T,
            lam=rng.dirichlet(np.full(32, 0.3), 5),
        )
        for form in ("joint", "conditional"):
            problem = check(model(form), tree)
            found, seconds = fit(problem, seed, empirical_bayes=True)
            told = compare(estimates(found), truth, opportunities(problem))
            yield {"seed": seed, "fitted": form, **told, "bound": float(found.notes["bound"]), "seconds": seconds}


def breast(args: argparse.Namespace) -> Iterable[Row]:
    """Real genomes, with the nine covariates and with one that is noise."""
    tree = gn.read("locus_regression", args.corpora / "breast113.npz")
    noise = np.random.default_rng(0).normal(size=(1, tree["constant_data"].sizes["locus"]))
    arrays = {str(n): v.to_numpy() for g in ("constant_data", "observed_data") for n, v in tree[g].data_vars.items()}
    for processes in (6, 8, 10):
        for covariates in (True, False):
            data = arrays if covariates else {**arrays, "features": noise}
            problem = check(model(), data, {"process": processes})
            start = time.perf_counter()
            found, seconds = fit(problem, 0, empirical_bayes=True)
            told = {"bound": float(found.notes["bound"]), "iterations": found.notes["iterations"]}
            told |= {"largest_fall": found.notes["largest_fall"], "seconds": seconds}
            yield {"K": processes, "covariates": covariates, **told, "wall": time.perf_counter() - start}


def lda(args: argparse.Namespace) -> Iterable[Row]:
    """Fit processes that act alike everywhere: what LDA assumes."""
    for seed in range(3):
        _, problem, truth = simulated(
            seed, genome=50, locus=50, feature=1, process=5, cell=50_000, beta=np.zeros((5, 1)), alpha=np.full(5, 0.5)
        )
        found, seconds = fit(problem, seed, empirical_bayes=True)
        told = compare(estimates(found), truth, opportunities(problem))
        iterations = sum(int(np.isfinite(row).sum()) for row in found.variational["bound"][1])
        ours = {"pi_mae": told["pi_mae"], "seconds_an_iteration": seconds / iterations, "seconds": seconds}
        yield {"seed": seed, **ours, **peers(problem, truth, 5)}


def iteration_seconds(problem: Problem) -> tuple[int, float]:
    """Distinct cells, and CPU seconds of a sweep, median of five."""
    step = vi.Step(corpus(problem))
    state, _ = step(step.first(problem, np.random.default_rng(0)))
    spent = []
    for _ in range(5):
        start = time.process_time()
        state, _ = step(state)
        spent.append(time.process_time() - start)
    return len(step.data.count), float(np.median(spent))


def size(args: argparse.Namespace) -> Iterable[Row]:
    """Sweeps over 10^4 to 10^7 cells with 10 processes, and over 10^6 cells with 2 to 32."""
    out = []
    for cells, processes in (
        [(10**p, 10) for p in (4, 5, 6, 7)] + [(601_000, 10)] + [(10**6, k) for k in (2, 4, 8, 16, 32)]
    ):
        _, problem, _ = simulated(1, genome=100, locus=3000, feature=9, process=processes, cell=cells)
        distinct, seconds = iteration_seconds(problem)
        out.append({"cells": cells, "distinct": distinct, "K": processes, "seconds_an_iteration": seconds})
        print(out[-1], flush=True)
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, rows, name, label in (
        (axes[0], [row for row in out if row["K"] == 10], "distinct", "distinct cells, K = 10"),
        (axes[1], [row for row in out if row["cells"] == 10**6], "K", "processes, 10⁶ mutations"),
    ):
        x, y = np.array(sorted((row[name], row["seconds_an_iteration"]) for row in rows)).T
        slope, fixed = np.polyfit(x, y, 1, w=1 / y)
        axis.loglog(x, y, "o", label="measured")
        axis.loglog(x, fixed + slope * x, "-", color="0.6", label=f"{1e3 * fixed:.0f} ms + {slope:.2g} s for each")
        axis.set(xlabel=label, ylabel="CPU seconds a sweep")
        axis.legend(frameon=False)
    axes[1].set_xticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
    axes[1].minorticks_off()
    figure.savefig("locus_regression_size.png", dpi=150)
    return out


def windows(args: argparse.Namespace) -> Iterable[Row]:
    """Sweeps over 300,000 windows, and how far they are from the memory's bandwidth."""
    _, problem, _ = simulated(1, genome=100, locus=300_000, feature=9, process=10, cell=10**6, tau=0.3, alpha=0.5)
    distinct, seconds = iteration_seconds(problem)
    row: Row = {"checkout": str(Path(gn.__file__).parents[2]), "distinct": distinct, "seconds_an_iteration": seconds}
    if hasattr(vi.Step, "effects_objective"):  # not in checkouts that are older than this part
        row |= parts_of_a_sweep(problem)
    yield row
    if args.beside:
        beside = {**os.environ, "PYTHONPATH": str(args.beside / "src")}
        subprocess.run([sys.executable, __file__, "windows"], env=beside, check=True)


def whole(args: argparse.Namespace) -> Iterable[Row]:
    """Fit that size at all defaults but one start, with and without its correction, and what is made of it."""
    import tempfile

    tree = gn.simulate("locus_regression", 1, genome=100, locus=300_000, feature=9, process=10, cell=10**6, tau=0.3)
    for covariance in ("mean_field", "corrected"):
        start = time.process_time()
        fitted = gn.fit("locus_regression", tree, "vi", seed=1, process=10, restarts=1, covariance=covariance)
        notes = json.loads(fitted.attrs["notes"])
        told = {name: notes[name] for name in ("iterations", "converged", "bound", "khat") if name in notes}
        yield {"covariance": covariance, "fit_seconds": time.process_time() - start, **told}
    start = time.process_time()
    found = gn.diagnose("locus_regression", fitted)
    yield {"diagnose_seconds": time.process_time() - start, "passed": found.passed}
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        page = gn.report(fitted, Path(folder) / "report.html")
        size = Path(page).stat().st_size / 1e6
        yield {"report_seconds": time.process_time() - start, "megabytes": size}


def breast_starts(args: argparse.Namespace) -> Iterable[Row]:
    """Bounds that ten seeds of the default fit reach on the breast genomes at K = 8."""
    tree = gn.read("locus_regression", args.corpora / "breast113.npz")
    for seed in range(10):
        start = time.process_time()
        fitted = gn.fit("locus_regression", tree, "vi", seed=seed, process=8, covariance="mean_field")
        notes = json.loads(fitted.attrs["notes"])
        told = {name: notes[name] for name in ("bound", "iterations", "restarts_at_best") if name in notes}
        yield {"seed": seed, "seconds": time.process_time() - start, **told}


def parts_of_a_sweep(problem: Problem) -> Row:
    """CPU seconds of the E-step, of beta and of lambda; megabytes read and written, and seconds to copy as many."""
    data = corpus(problem)
    step = vi.Step(data)
    state = step.first(problem, np.random.default_rng(0))
    for _ in range(5):
        state, _ = step(state)
    tables = step.tables(state)
    _, of_row, of_channel, _ = expect(data, *tables)
    counts = by_context(of_channel.T, 32).sum(-1)
    parts = {
        "tables": lambda: step.tables(state),
        "e_step": lambda: expect(data, *tables),
        "beta": lambda: effects.update(step.effects_objective(state, of_row), state.effects, state.moments, True),
        "one_pass_of_moments": lambda: step.normalised(state),
        "lambda": lambda: step.update_contexts(state, of_row, counts),
    }
    spent = {name: float(np.median([cpu_seconds_of(part) for _ in range(5)])) for name, part in parts.items()}
    X, t, table = step.design.columns.nbytes, data.opportunity.nbytes, of_row.nbytes
    cells = sum(getattr(data, name).nbytes for name in ("genome", "row", "channel", "count"))
    moved = (X + t + table) + (cells + 3 * table) + (2 * X + table) + 2 * (t + table)  # each part reads them once
    here, there = np.ones(2 * 10**7), np.empty(2 * 10**7)
    copied = np.median([cpu_seconds_of(lambda: np.copyto(there, here)) for _ in range(5)])
    at_bandwidth = float(copied) * moved / (here.nbytes + there.nbytes)
    return {**spent, "megabytes": moved / 1e6, "seconds_at_bandwidth": at_bandwidth}


def cpu_seconds_of(function: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def sampling(args: argparse.Namespace) -> Iterable[Row]:
    """Figure 2 of the paper: bound against time, by sampling rate; the same three starts for each."""
    problem = check(model(), gn.read("locus_regression", args.corpora / "easy.npz"), {"process": 5})
    data = corpus(problem)
    out = []
    for rate in (0.03, 0.1, 0.3, 1.0, None):
        for seed in range(5):
            step = vi.Step(data)
            state = step.first(problem, np.random.default_rng(seed))
            rng = np.random.default_rng(1000 + seed)
            sampler = svi.Sampler(data, rate or 1.0)
            spent, trace, steps = 0.0, [(0.0, step.bound(state))], max(1, round(sampler.scale))
            while spent < 3.0:
                start = time.process_time()
                for _ in range(steps):
                    if rate is None:
                        state, _ = step(state)
                    else:
                        size_of_step = (steps + state.age + 1) ** -0.7
                        state = svi.stochastic(step, sampler, state, size_of_step, rng)
                spent += time.process_time() - start
                trace.append((spent, step.bound(state)))
            out.append({"rate": rate, "seed": seed, "trace": trace, "bound": trace[-1][1]})
    import matplotlib.pyplot as plt

    best = max(row["bound"] for row in out)
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for i, rate in enumerate((0.03, 0.1, 0.3, 1.0, None)):
        for row in out:
            if row["rate"] == rate:
                x, y = np.array(row["trace"]).T
                name = "coordinate ascent" if rate is None else f"sampling rate {rate:g}"
                axis.semilogy(x, best - y + 1, color=f"C{i}", label=name if row["seed"] == 0 else None, lw=1)
    axis.set(xlabel="CPU seconds", ylabel="nats below the best bound, plus one")
    axis.legend()
    figure.savefig("locus_regression_sampling.png", dpi=150)
    return [{**row, "trace": [t for t in row["trace"] if t[0] < 1][-1]} for row in out]


EVERY = recovery, flat, cosmic, uneven, sampler, joint, breast, breast_starts, lda, size, windows, whole, sampling
PARTS = {part.__name__: part for part in EVERY}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--corpora", type=Path, default=Path("corpora"), help="folder with easy.npz and breast113.npz")
    parser.add_argument("--cosmic", type=Path, help="COSMIC's table of SBS signatures")
    parser.add_argument("--beside", type=Path, help="another checkout, whose sweeps are timed too (windows)")
    args = parser.parse_args()
    warm_up()
    for row in PARTS[args.part](args):
        print(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


if __name__ == "__main__":
    main()
