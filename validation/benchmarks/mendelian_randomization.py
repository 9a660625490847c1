"""Controls, speed and gain of mendelian_randomization: ``python validation/benchmarks/mendelian_randomization.py``.

``controls`` (needs ``--data``, a folder with bmi_bmi): the effect of body mass on itself, truth 1, by IVW, RAPS, the
hierarchical model and its variational form; with the instruments as they are and made weak (mean F 1.4, by noise).
``confounding``: simulations in which a fifth of the variants acts through a confounder too (InSIDE violated): error and
coverage of the plain model and of its CAUSE-style mixture. ``widths``: sds of regional effects by mean-field and by
linear-response variational Bayes over those of Gibbs sampling. ``sampling``: effective draws a CPU second.
``mutagenesis``: CPU seconds of saturation mutagenesis from scratch over those by receptive fields, for sequences of
100, 500 and 2,000 bases, and the largest difference of a prediction. All on one core.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import genarium as gn
from genarium.declaration import Array
from genarium.models.mendelian_randomization import ivw, raps
from genarium.models.mendelian_randomization.deep_mr import Conv, ConvEnsemble, ConvNet, Dense, mutagenise

NAME = "mendelian_randomization"


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and what it returned."""
    start = time.process_time()
    out = work()
    return time.process_time() - start, out


def as_data(x: Array, sx: Array, y: Array, sy: Array) -> dict[str, Array]:
    return {"beta_exposure": x, "se_exposure": sx, "beta_outcome": y, "se_outcome": sy}


def controls(folder: Path) -> dict[str, Any]:
    """Run the positive control, strong and weak."""
    table = np.genfromtxt(folder / "mr_bmi_bmi_mrraps.csv", delimiter=",", skip_header=1)
    x, sx, y, sy = table[:, :4].T
    more = sx * np.sqrt((((x / sx) ** 2).mean() - 1) / 0.4 - 1)
    weak, sw = np.random.default_rng(0).normal(x, more), np.hypot(sx, more)
    out: dict[str, Any] = {}
    for name, data in (("as they are", (x, sx, y, sy)), ("weak", (weak, sw, y, sy))):
        found: dict[str, Any] = {"mean_f": float(((data[0] / data[1]) ** 2).mean())}
        found["ivw"], found["raps"] = ivw(*data).estimate, raps(*data).estimate
        for method, options in (
            ("gibbs", {"draws": 1500}),
            ("vi", {}),
            ("vi", {"covariance": "mean_field"}),
        ):
            draws = gn.fit(NAME, as_data(*data), method, 1, **options)["posterior"]["theta"].to_numpy()
            found[f"{method} {options.get('covariance', '')}".strip()] = [float(draws.mean()), float(draws.std())]
        out[name] = found
    return out


def confounding(replicates: int) -> dict[str, Any]:
    """Root mean square error and coverage of 95 % intervals, with a fifth of the variants confounded."""
    out: dict[str, Any] = {}
    errors: dict[str, list[float]] = {"none": [], "mixture": []}
    covered: dict[str, list[bool]] = {"none": [], "mixture": []}
    for seed in range(replicates):
        rng = np.random.default_rng([1, seed])
        J, theta = 150, rng.normal(0, 0.5)
        se = np.full(J, 0.05)
        gamma = rng.normal(0, 0.3, J)
        z = rng.uniform(size=J) < 0.2
        y = rng.normal((theta + 0.8 * z) * gamma + rng.normal(0, 0.03, J), se)
        data = as_data(rng.normal(gamma, se), se, y, se)
        for option in errors:
            tree = gn.fit(NAME, data, "gibbs", seed, draws=400, tune=200, chains=2, correlated_pleiotropy=option)
            draws = tree["posterior"]["theta"].to_numpy()
            low, high = np.quantile(draws, (0.025, 0.975))
            errors[option].append(float(draws.mean()) - theta)
            covered[option].append(bool(low <= theta <= high))
    for option, found in errors.items():
        e = np.array(found)
        out[option] = {
            "bias": float(e.mean()),
            "root_mean_square": float(np.sqrt((e**2).mean())),
            "coverage": float(np.mean(covered[option])),
        }
    return out


def widths(replicates: int) -> dict[str, Any]:
    """Ratio of sds to those of Gibbs sampling, averaged over regions and replicates."""
    ratios: dict[str, list[float]] = {"mean_field": [], "linear_response": []}
    khats = []
    for seed in range(replicates):
        tree = gn.simulate(NAME, seed, variant=120, region=6)
        exact = gn.fit(NAME, tree, "gibbs", seed, draws=2000)["posterior"]["theta"].std(("chain", "draw"))
        for covariance, found in ratios.items():
            fit = gn.fit(NAME, tree, "vi", seed, draws=4000, covariance=covariance)
            found.append(float((fit["posterior"]["theta"].std(("chain", "draw")) / exact).mean()))
        khats.append(json.loads(fit.attrs["notes"])["khat"])
    return {name: float(np.mean(found)) for name, found in ratios.items()} | {"khat": khats}


def sampling() -> dict[str, Any]:
    """Effective draws a CPU second of the slowest global parameter, on the default simulation; compiled before."""
    from arviz_stats.base import array_stats

    tree = gn.simulate(NAME, seed=1)
    out: dict[str, Any] = {}
    for method in ("gibbs", "nuts", "stan"):
        gn.fit(NAME, tree, method, 1, draws=50, tune=50)
        fitted = gn.fit(NAME, tree, method, 2)
        ess = min(
            float(array_stats.ess(fitted["posterior"][n].to_numpy(), chain_axis=0, draw_axis=1, method="bulk"))
            for n in ("global_effect", "heterogeneity", "exposure_sd", "pleiotropy_sd")
        )
        seconds = fitted.attrs["cpu_seconds"]
        out[method] = {"cpu_seconds": seconds, "min_bulk_ess": ess, "ess_per_cpu_second": ess / seconds}
    return out


def mutagenesis(repeats: int) -> dict[str, Any]:
    """Ratio of CPU seconds, from scratch over receptive fields; two layouts."""
    out: dict[str, Any] = {}
    for length in (100, 500, 2000):
        for layout, layers in (("one layer", ((32, 24),)), ("three layers", ((16, 11), (16, 7), (16, 5)))):
            rng = np.random.default_rng(1)
            convs, have = [], 4
            for channels, width in layers:
                convs.append(Conv(rng.normal(0, 0.2, (channels, have, width)), np.zeros(channels)))
                have = channels
            dense = [
                Dense(rng.normal(size=(32, have)), np.zeros(32), "relu"),
                Dense(rng.normal(size=(2, 32)), np.zeros(2)),
            ]
            ensemble = ConvEnsemble([ConvNet(convs, "max", dense)])
            x = np.eye(4)[rng.integers(0, 4, (1, length))].transpose(0, 2, 1)
            fast = min((cpu(partial(mutagenise, ensemble, x)) for _ in range(repeats)), key=lambda f: f[0])
            slow = cpu(partial(mutagenise, ensemble.__call__, x, chunk=64))
            out[f"{length} bases, {layout}"] = {
                "from_scratch_seconds": slow[0],
                "receptive_fields_seconds": fast[0],
                "ratio": slow[0] / fast[0],
                "largest_difference": float(np.abs(slow[1].delta - fast[1].delta).max()),
            }
    return out


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("controls", "confounding", "widths", "sampling", "mutagenesis"))
    parser.add_argument("--data", type=Path, help="folder with mr_bmi_bmi_mrraps.csv")
    parser.add_argument("--replicates", type=int, default=40)
    options = parser.parse_args()
    parts: dict[str, Callable[[], Any]] = {
        "confounding": lambda: confounding(options.replicates),
        "widths": lambda: widths(max(2, options.replicates // 8)),
        "sampling": sampling,
        "mutagenesis": lambda: mutagenesis(3),
    }
    if options.data is not None:
        parts["controls"] = lambda: controls(options.data)
    elif options.only == "controls":
        parser.error("--only controls needs --data")
    for name, run in parts.items():
        if options.only in (None, name):
            print(json.dumps({name: run()}, indent=2), flush=True)


if __name__ == "__main__":
    main()
