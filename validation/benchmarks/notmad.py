"""NOTMAD and its baselines: ``python validation/benchmarks/notmad.py [DATA] [--only PART]``.

DATA is a folder with softmax6_seed0.npz, arche8_seed0.npz, cwx_seed0.npz, snare/, sachs/ and finance/; without it only
the parts on simulations of their own are run (growth, posterior, orders). All processes should run on one thread
(OMP_NUM_THREADS=1). With ``--peers PYTHON``, a Python that has contextualized-ml, dagma and notears, these are run on
the same data (notmad_peers.py): contextualized-ml by several settings, of which the best on the test samples counts.
"""

import argparse
import itertools
import json
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import genarium as gn
from genarium.data import check
from genarium.declaration import Array
from genarium.models.notmad import bootstrap, by_group, clustered, learn_order, lioness, notears, project_to_dag
from genarium.models.notmad.baselines import bootstrap_error, group_average, held_out_error, selected_archetype
from genarium.models.notmad.graphs import compare
from genarium.models.notmad.projection import topological_order

CASES: dict[str, dict[str, Any]] = {
    "softmax6": {"archetype": 3, "beta": 10.0},
    "arche8": {"archetype": 4, "beta": 10.0},
    "cwx": {"archetype": 3, "encoder": "additive", "beta": 1.0},
}
"""The rate of the Laplace prior is about that of the true weights over the noise's standard deviation."""


EQUAL: dict[str, Any] = {"variances": "equal"}
SHARED: dict[str, Any] = {"noise": "shared"}
"""What the baselines, and NOTMAD on real data, are fitted by: errors are scored by plain squares."""

PEER: dict[str, Any] = {
    "encoder_type": "mlp",
    "max_epochs": 200,
    "es_patience": 20,
    "train_batch_size": 64,
    "sample_specific_alpha": 10.0,
    "sample_specific_rho": 10.0,
    "archetype_alpha": 10.0,
    "archetype_rho": 10.0,
}
"""What the settings of contextualized-ml share; these penalties were the best of eleven settings tried on softmax6."""

PEER_SETTINGS: tuple[dict[str, Any], ...] = (
    {"layers": 0, "learning_rate": 0.03, "archetype_l1": 0.01},
    {"layers": 0, "learning_rate": 0.03, "archetype_l1": 0.03},
    {"layers": 0, "learning_rate": 0.1, "archetype_l1": 0.01},
    {"layers": 1, "learning_rate": 0.01, "archetype_l1": 0.01},
)
"""A linear encoder, and one with a hidden layer (its additive one drops a context)."""


def peer(python: str, package: str, settings: dict[str, Any], **data: Array) -> tuple[Array, float]:
    """Networks by a public package on the same data, and its CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(given, **data)  # type: ignore[arg-type]
        script = Path(__file__).with_name("notmad_peers.py")
        subprocess.run([python, script, package, given, out, json.dumps(settings)], check=True, capture_output=True)
        with np.load(out) as found:
            return np.asarray(found["network"], dtype=float), float(found["seconds"])


def contextualized(python: str, archetypes: int, x: Array, context: Array, new: Array) -> list[tuple[Array, float]]:
    """Projected networks of new contexts by each setting of contextualized-ml, and CPU seconds."""
    data = {"x": x.astype(np.float32), "context": context.astype(np.float32), "new_context": new.astype(np.float32)}
    found = [
        peer(python, "contextualized", {**PEER, **own, "num_archetypes": archetypes}, **data) for own in PEER_SETTINGS
    ]
    return [(project_to_dag(network), seconds) for network, seconds in found]


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the CPU seconds it took."""
    before = time.process_time()
    return function(), time.process_time() - before


def networks(fit: Any, x: Array, context: Array) -> Array:
    """Projected networks of test samples."""
    out: Array = gn.predict(fit, {"x": x, "context": context})["predictions"]["network"].to_numpy()
    return out


def simulated_case(folder: Path, case: str, python: str | None, seeds: int) -> None:
    """Fit one of the simulated cases and its baselines."""
    data = np.load(folder / f"{case}_seed0.npz")
    train, test = data["train"], data["test"]
    data_context = data["C"]  # in its own units
    context = (data_context - data_context[train].mean(0)) / data_context[train].std(0)
    x, truth, settings = data["X"], data["W"], CASES[case]
    K, n = settings["archetype"], len(test)
    ends: dict[str, list[float]] = {}

    def ours(seed: int, **changes: Any) -> Array:
        data = {"x": x[train], "context": data_context[train]}
        fit = gn.fit("notmad", data, "map", seed, **{**settings, **changes})
        noise = changes.get("noise", "node")
        ends.setdefault(noise, []).append(json.loads(fit.attrs["notes"])["acyclic_bound"])
        return networks(fit, x[test], data_context[test])

    zero = np.zeros((n, *truth.shape[1:]))
    fits: dict[str, Callable[[int], Array]] = {
        "W = 0": lambda seed: zero,
        "population": lambda seed: zero + notears(x[train], **EQUAL).network,
        "clustered": lambda seed: clustered(x[train], context[train], K, np.random.default_rng(seed), **EQUAL).predict(
            context[test]
        ),
        "MAP": ours,
        "MAP, one noise": lambda seed: ours(seed, noise="shared"),
        "truth": lambda seed: truth[test],
    }
    print(
        f"\n{case}: held-out MSE (projected), W-RMSE, SHD, F1 (entries above 0.1), CPU seconds: median (worst of seeds)"
    )
    for name, function in fits.items():
        count = 1 if name in ("W = 0", "population", "truth") else seeds
        report(name, [timed(lambda seed=seed, f=function: f(seed)) for seed in range(count)], x[test], truth[test])  # type: ignore[misc]
    for noise, bounds in ends.items():
        near = int((np.array(bounds) > max(bounds) - 1).sum())
        told = f"{near} of {len(bounds)} seeds end within one nat of the best, {max(bounds):.2f}"
        print(f"  noise={noise}: {told} (worst {min(bounds):.2f})", flush=True)
    if python:
        for at, one in enumerate(contextualized(python, K, x[train], context[train], context[test]), 1):
            report(f"contextualized {at}", [one], x[test], truth[test])


def report(name: str, made: list[tuple[Array, float]], x: Array, truth: Array) -> None:
    """Print median and worst of a method's seeds."""
    rows = []
    for network, seconds in made:
        found = compare(network, truth)
        rows.append((held_out_error(x, network), found["rmse"], found["shd"], found["f1"], seconds))
    middle, high, low = np.median(rows, 0), np.max(rows, 0), np.min(rows, 0)
    worst = np.where([False, False, False, True, False], low, high)
    told = "  ".join(f"{m:.4g} ({w:.4g})" for m, w in zip(middle, worst, strict=True))
    print(f"  {name:20s} {told}", flush=True)


def leave_one_out(folder: Path) -> None:
    """LIONESS, which sees the test sample's x, on the test samples of two simulated cases."""
    print("\nLIONESS: held-out MSE (projected), W-RMSE, CPU seconds")
    for case in ("softmax6", "arche8"):
        data = np.load(folder / f"{case}_seed0.npz")
        x, test = data["X"], data["test"][:100]
        network, seconds = timed(lambda x=x, test=test: lioness(x, samples=test))  # type: ignore[misc]
        found = compare(network, data["W"][test])
        print(f"  {case:10s} {held_out_error(x[test], network):9.3f} {found['rmse']:8.3f} {seconds:7.1f}", flush=True)


def read_real(folder: Path, case: str) -> tuple[Array, Array, Array]:
    """Values, contexts and groups of a real data set.

    SNARE-seq: five RNA components; context: five ATAC components; group: cell line. Sachs: logarithms of 11 proteins;
    context and group: the condition. Finance: daily log returns of ten stocks from 1992; context: time, and return and
    volatility of their mean in the month before; group: five years.
    """
    import pandas as pd

    if case == "snare":
        at = folder / "snare"
        types = np.loadtxt(at / "SNAREseq_rna_types.txt", dtype=int)
        return np.load(at / "SNAREseq_rna_feat.npy")[:, :5], np.load(at / "SNAREseq_atac_feat.npy")[:, :5], types
    if case == "sachs":
        condition = pd.read_csv(folder / "sachs" / "conditions.csv")["condition"].to_numpy().astype(str)
        x = np.log(pd.read_csv(folder / "sachs" / "cyto_full_data.csv").to_numpy())
        return x, (condition[:, None] == np.unique(condition)[1:]).astype(float), condition
    prices = pd.read_csv(folder / "finance" / "stock_prices_20_1989_2018.csv", index_col=0, parse_dates=True)
    names = ["AAPL", "GE", "AMD", "WMT", "BAC", "T", "XOM", "BBY", "PFE", "JPM"]
    returns = prices.loc["1992":, names].apply(np.log).diff().iloc[1:]
    day = pd.DatetimeIndex(returns.index)
    month = np.asarray(day.year * 12 + day.month)
    market = returns.mean(axis=1).groupby(month)
    before = pd.DataFrame({"return": market.sum(), "volatility": np.log(market.std())}).shift(1)
    context = before.loc[month].to_numpy()
    kept = np.isfinite(context).all(1)
    context = np.column_stack([month / 12, context])
    return returns.to_numpy()[kept], context[kept], (month // 60)[kept]


REAL = {"snare": 4, "sachs": 9, "finance": 3}
"""Archetypes (and clusters) of the real data sets."""


class Split:
    """One split of a real data set, three quarters for training, standardised by these, and the methods on it."""

    def __init__(self, data: tuple[Array, Array, Array], case: str, seed: int) -> None:
        values, contexts, self.group = data
        self.archetypes = REAL[case]
        self.rng = np.random.default_rng(seed)
        order = self.rng.permutation(len(values))
        self.test, self.train = order[: len(order) // 4], order[len(order) // 4 :]
        train = self.train
        self.x, self.context = ((a - a[train].mean(0)) / a[train].std(0) for a in (values, contexts))
        self.groups = np.unique(self.group)

    def errors(self, network: Array, mean: Array | float = 0.0) -> Array:
        """Mean squared error of each test sample; without a mean, as every baseline has it."""
        r = self.x[self.test] - mean
        full = np.broadcast_to(network, (len(r), *network.shape[-2:]))
        return np.asarray(((r - np.einsum("ni,nij->nj", r, full)) ** 2).mean(1))

    def fit(self, rows: Array | None = None, **settings: Any) -> Any:
        """Fit the model to (some of) the training samples."""
        rows = self.train if rows is None else rows
        data = {"x": self.x[rows], "context": self.context[rows]}
        return gn.fit("notmad", data, "map", 1, **{"archetype": self.archetypes, **SHARED, **settings})

    def held_out(self, fit: Any) -> Array:
        """Errors of a fit on the test samples, by their projected networks."""
        found = gn.predict(fit, {"x": self.x[self.test], "context": self.context[self.test]})["predictions"]
        return np.asarray(found["error"])

    def log_likelihood(self, fit: Any) -> float:
        """Log density of the test samples a sample, by a fit of order 'free' before projection."""
        model = gn.get("notmad").variant(**fit_options(fit))
        sizes = {"archetype": fit["point"].sizes["archetype"]}
        scale = {name: fit["constant_data"][name].to_numpy() for name in ("context_mean", "context_sd")}
        problem = check(model, {"x": self.x[self.test], "context": self.context[self.test], **scale}, sizes)
        at = {name: fit["point"][name].to_numpy() for name in model.unknown.variables}
        assert model.log_likelihood is not None
        return float(problem.call(model.log_likelihood, **at).mean())

    def baselines(self, rows: Array) -> dict[str, Callable[[], Array]]:
        """Errors of the methods of one network, or of one a group.

        All are scored about zero, as NOTMAD without a mean is, and so fitted about zero: the same loss for all. Only
        the oracle with means is fitted and scored about the means of its groups.
        """
        p, test = self.x.shape[1], self.test

        def population() -> Array:
            return self.errors(notears(self.x[rows], centre=False, **EQUAL).network)

        def oracle() -> Array:
            found = by_group(self.x[rows], self.context[rows], self.group[rows], centre=False, **EQUAL)
            return self.errors(found.networks[np.searchsorted(np.unique(self.group[rows]), self.group[test])])

        def centred_oracle() -> Array:
            found = by_group(self.x[rows], self.context[rows], self.group[rows], **EQUAL)
            labels = np.unique(self.group[rows])
            means = np.stack([self.x[rows][self.group[rows] == label].mean(0) for label in labels])
            at = np.searchsorted(labels, self.group[test])
            return self.errors(found.networks[at], means[at])

        def k_means() -> Array:
            found = clustered(self.x[rows], self.context[rows], self.archetypes, self.rng, centre=False, **EQUAL)
            return self.errors(found.predict(self.context[test]))

        return {
            "W = 0": lambda: self.errors(np.zeros((p, p))),
            "population": population,
            "clustered": k_means,
            "oracle-clustered": oracle,
            "oracle with means": centred_oracle,
        }


def fit_options(fit: Any) -> dict[str, str]:
    """Options of the model that a fit was made under."""
    out: dict[str, str] = json.loads(fit.attrs["model_options"])
    return out


def real_case(folder: Path, case: str, splits: int, bootstraps: int, python: str | None) -> None:
    """Table 1's comparison over random splits, and refits to bootstrap samples of the first one's training part."""
    data = read_real(folder, case)
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(splits):
        split = Split(data, case, seed)
        fits: dict[str, Any] = {}

        def made(name: str, split: Split = split, fits: dict[str, Any] = fits, **settings: Any) -> Array:
            fits[name] = split.fit(**settings)
            return split.held_out(fits[name])

        def average(split: Split = split, fits: dict[str, Any] = fits) -> Array:
            own = networks(fits["NOTMAD"], split.x[split.test], split.context[split.test])
            return split.errors(group_average(own, split.group[split.test]))

        def selected(by_group: bool, split: Split = split, fits: dict[str, Any] = fits) -> Array:
            new = {"context": split.context[split.test]}
            weights = gn.predict(fits["NOTMAD"], new)["predictions"]["archetype_weight"].to_numpy()
            own = selected_archetype(weights, fits["NOTMAD"]["point"]["archetype_network"].to_numpy())
            return split.errors(group_average(own, split.group[split.test]) if by_group else own)

        def mean_alone(split: Split = split, fits: dict[str, Any] = fits) -> Array:
            at = fits["NOTMAD with mean"]["point"]
            scale = fits["NOTMAD with mean"]["constant_data"]
            context = (split.context[split.test] - scale["context_mean"].to_numpy()) / scale["context_sd"].to_numpy()
            mean = context @ at["mean_slope"].to_numpy() + at["mean_intercept"].to_numpy()
            return split.errors(np.zeros(split.x.shape[1:] * 2), mean)

        methods = {
            **split.baselines(split.train),
            "one archetype": lambda: made("one archetype", archetype=1),
            "NOTMAD": lambda: made("NOTMAD"),
            "NOTMAD, sigma_j": lambda: made("sigma_j", noise="node"),
            "group's average": average,
            "one of K, by sample": lambda: selected(False),
            "one of K, group's average": lambda: selected(True),
            "NOTMAD with mean": lambda: made("NOTMAD with mean", mean="regressed"),
            "its mean alone": mean_alone,
        }
        for name, method in methods.items():
            each, seconds = timed(method)
            rows.setdefault(name, []).append((*bootstrap_error(each, split.rng), seconds))
        if python:
            x, context, train = split.x, split.context, split.train
            found = contextualized(python, split.archetypes, x[train], context[train], context[split.test])
            for at, (network, seconds) in enumerate(found, 1):
                told = bootstrap_error(split.errors(network), split.rng)
                rows.setdefault(f"contextualized {at}", []).append((*told, seconds))
    print(f"\n{case}, {splits} splits: held-out MSE (projected), sd over splits, mean sd over bootstraps of the test")
    print("samples, CPU seconds a fit")
    for name, values in rows.items():
        mse, spread, seconds = np.array(values).T
        sd = mse.std(ddof=1) if splits > 1 else np.nan
        print(f"  {name:20s} {mse.mean():7.3f} {sd:6.3f} {spread.mean():6.3f} {seconds.mean():7.2f}", flush=True)
    if bootstraps:
        refitted(data, case, bootstraps)


def refitted(data: tuple[Array, Array, Array], case: str, bootstraps: int) -> None:
    """Spread over refits to bootstrap samples of the training part of the first split."""
    split = Split(data, case, 0)
    out: dict[str, list[float]] = {}
    settings = {"archetype": split.archetypes, **SHARED, "restarts": 1}
    rng = np.random.default_rng(0)
    samples = bootstrap(split.x[split.train], split.context[split.train], rng, repeats=bootstraps)
    for seed, sample in enumerate(samples):
        fit = gn.fit("notmad", sample, "map", seed, **settings)
        out.setdefault("NOTMAD", []).append(float(split.held_out(fit).mean()))
    for _ in range(bootstraps):
        rows = rng.choice(split.train, len(split.train))
        for name, method in split.baselines(rows).items():
            out.setdefault(name, []).append(float(method().mean()))
    print(f"{case}, {bootstraps} refits to bootstrap samples: mean and sd of the held-out MSE")
    for name, values in sorted(out.items(), key=lambda item: -float(np.mean(item[1]))):
        print(f"  {name:20s} {np.mean(values):7.3f} {np.std(values, ddof=1):6.3f}", flush=True)


def numbers_of_archetypes(folder: Path) -> None:
    """Archetypes chosen by the held-out likelihood."""
    print("\narchetypes: log density a held-out sample, MSE after projection (first split)")
    for case, counts in (("snare", (1, 2, 3, 4, 6, 8)), ("sachs", (1, 2, 4, 6, 9, 12)), ("finance", (1, 2, 3, 5))):
        split = Split(read_real(folder, case), case, 0)
        for K in counts:
            fit = split.fit(archetype=K, restarts=1)
            print(f"  {case:8s} {K:3d} {split.log_likelihood(fit):8.3f} {split.held_out(fit).mean():7.3f}", flush=True)


def growth() -> None:
    """When NOTMAD wins: samples against covariates, of which two matter; three archetypes, six nodes, unit noise."""
    print("\nsamples, covariates: held-out MSE less that of the truth, of population, clustered, NOTMAD (mean of 3)")
    for m in (2, 10):
        for n in (50, 100, 200, 400, 800):
            excess = []
            for seed in range(3):
                rng = np.random.default_rng(seed)
                slope = rng.normal(0, 2, (m, 3)) * (np.arange(m) < 2)[:, None]
                edges = (
                    rng.uniform(0.5, 1.5, (3, 15)) * rng.choice([-1, 1], (3, 15)) * (rng.uniform(size=(3, 15)) < 0.4)
                )
                known = {"slope": slope, "edge_weight": edges, "sigma": 1.0, "intercept": np.zeros(3)}
                tree = gn.simulate(
                    "notmad", seed, sample=n + 400, node=6, covariate=m, archetype=3, order="given", **known
                )
                x, context = tree["observed_data"]["x"].to_numpy(), tree["constant_data"]["context"].to_numpy()
                truth = tree["truth"]["network"].to_numpy()[n:]
                fit = gn.fit("notmad", {"x": x[:n], "context": context[:n]}, "map", 1, archetype=3, restarts=1)
                found = (
                    notears(x[:n], warn=False, **EQUAL).network,
                    clustered(x[:n], context[:n], 3, rng, **EQUAL).predict(context[n:]),
                    networks(fit, x[n:], context[n:]),
                )
                floor = held_out_error(x[n:], truth)
                excess.append([held_out_error(x[n:], network) - floor for network in found])
            print(f"  {n:4d} {m:3d}  " + " ".join(f"{v:7.3f}" for v in np.mean(excess, 0)), flush=True)


def posteriors() -> None:
    """Edges of a simulation by NUTS and ADVI: coverage of intervals, edge probabilities, spread of the error."""
    print(
        "\nedges: W-RMSE, coverage of 90 % intervals, P(edge) where |W| > .1, and elsewhere, MSE, sd over draws, CPU s"
    )
    tree = gn.simulate("notmad", 5, sample=250, node=4, covariate=1, archetype=2, order="given", tau=1.0, beta=2.0)
    test = gn.simulate(
        "notmad",
        6,
        **{"sample": 500, "node": 4, "covariate": 1, "archetype": 2, "order": "given"},
        **{name: tree["truth"][name].to_numpy() for name in gn.get("notmad").unknown.variables},
    )
    truth = test["truth"]["network"].to_numpy()
    free = np.triu(np.ones((4, 4), dtype=bool), 1)
    present = np.abs(truth[:, free]) > 0.1
    for method in ("map", "nuts", "advi"):
        settings = {} if method == "map" else {"draws": 500}
        fit, seconds = timed(lambda m=method, s=settings: gn.fit("notmad", tree, m, 1, order="given", **s))  # type: ignore[misc]
        found = gn.predict(fit, test)["predictions"]
        error = compare(found["network"].to_numpy(), truth)["rmse"]
        told = f"  {method:5s} {error:6.3f}"
        if method != "map":
            low, high, share = (found[name].to_numpy()[:, free] for name in ("low", "high", "edge_probability"))
            covered = ((low <= truth[:, free]) & (truth[:, free] <= high)).mean()
            told += f" {covered:6.3f} {share[present].mean():6.3f} {share[~present].mean():6.3f}"
            told += f" {float(found['error'].mean()):7.4f} {float(found['draw_error'].std()):7.4f}"
        print(f"{told} {seconds:7.1f}", flush=True)


def orders_of_links(seeds: int) -> None:
    """Orders that are learnt for Booleans and counts, beside those of sparse least squares and the true ones.

    Eight nodes, 1,000 samples, three edges in ten: one network, or two archetypes by two covariates; columns in random
    order. The share of edges of size .3 and more that go forward, and by how many nats the ``map`` fit along an order
    is better than along the true one.
    """
    p, samples = 8, 1000
    print("\norders: share of edges that go forward, density less that along the true order (median, least), CPU s")
    for kind, archetypes in itertools.product(("logistic", "count"), (1, 2)):
        rows: dict[str, list[tuple[float, float, float]]] = {}
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            source, target = np.triu_indices(p, 1)
            shape = (archetypes, len(source))
            edges = rng.choice([-1, 1], shape) * rng.uniform(0.5, 2, shape) * (rng.uniform(size=shape) < 0.3)
            edges /= 1 + (kind == "count")
            sizes = {"sample": samples, "node": p, "covariate": archetypes, "archetype": archetypes}
            known = {"slope": rng.normal(0, 2, (archetypes, archetypes)) * (archetypes > 1)}
            tree = gn.simulate(
                "notmad", seed, nodes=kind, order="given", edge_weight=edges, intercept=0.0, **sizes, **known
            )
            place = rng.permutation(p)
            x = np.asarray(tree["observed_data"]["x"])[:, np.argsort(place)]
            context = np.asarray(tree["constant_data"]["context"]) * (archetypes > 1)
            present = np.abs(edges).max(0) > 0.3
            source, target = place[source[present]], place[target[present]]

            data, settings = {"x": x, "context": context}, {"archetype": archetypes, "nodes": kind}
            ways = {
                "the true one": (np.argsort(place), 0.0),
                "sparse least squares": timed(
                    lambda x=x: np.argsort(topological_order(notears(x, warn=False).network))  # type: ignore[misc]
                ),
                "learn_order": timed(lambda data=data, kind=kind: learn_order(**data, nodes=kind)),  # type: ignore[misc]
            }
            bounds = {
                name: float(gn.fit("notmad", data, "map", 1, position=at, **settings)["point"]["bound"].max())
                for name, (at, _) in ways.items()
            }
            for name, (at, seconds) in ways.items():
                forward = float((at[source] < at[target]).mean())
                rows.setdefault(name, []).append((forward, bounds[name] - bounds["the true one"], seconds))
        for name, values in rows.items():
            share, gain, seconds = np.array(values).T
            print(
                f"  {kind:8s} K = {archetypes}  {name:20s} {share.mean():6.2f} {np.median(gain):8.1f} "
                f"{gain.min():8.1f} {np.median(seconds):6.2f}",
                flush=True,
            )


def main() -> None:
    """Run what is asked for and what the data allow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path)
    parts: dict[str, Callable[[Any], None]] = {
        "growth": lambda o: growth(),
        "posterior": lambda o: posteriors(),
        "orders": lambda o: orders_of_links(o.seeds),
        **{case: lambda o, case=case: simulated_case(o.data, case, o.peers, o.seeds) for case in CASES},  # type: ignore[misc]
        "lioness": lambda o: leave_one_out(o.data),
        **{case: lambda o, case=case: real_case(o.data, case, o.splits, o.bootstraps, o.peers) for case in REAL},  # type: ignore[misc]
        "archetypes": lambda o: numbers_of_archetypes(o.data),
    }
    parser.add_argument("--only", choices=list(parts))
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter that has the public packages")
    parser.add_argument("--seeds", type=int, default=10, help="of the fits to simulated cases")
    parser.add_argument("--splits", type=int, default=5, help="random splits of real data")
    parser.add_argument("--bootstraps", type=int, default=20, help="refits to bootstrap samples")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    gn.fit("notmad", gn.simulate("notmad", 0, sample=20), "map", restarts=1)  # compiles the kernels
    project_to_dag(np.zeros((2, 2)))
    for name, part in parts.items():
        if options.only in (None, name) and (options.data or name in ("growth", "posterior", "orders")):
            part(options)


if __name__ == "__main__":
    main()
