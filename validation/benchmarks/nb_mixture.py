"""Speed of nb_mixture against named peers, in one run on one core: ``python validation/benchmarks/nb_mixture.py``.

EM against scikit-learn's GaussianMixture (no public package fits a mixture of negative binomials) on the same shape,
in CPU milliseconds an iteration; and the methods against each other on a simulated dataset, in CPU seconds a fit and
effective draws a CPU second, compilation apart, among them nutpie's NUTS against Stan's (extra ``stan``). A fit is what
a user gets: draws, pointwise log likelihood and replicated data.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import genarium as gn
from genarium.data import check
from genarium.models.nb_mixture.em_step import Step

MU = [[31.0, 29.0], [30.0, 2060.0], [300.0, 295.0], [2070.0, 30.0], [2080.0, 2020.0]]
"""Centroids like those of the course data, which EM separates within a few iterations."""


def cpu(work: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def em_against_gaussian_mixture(cells: int, repeats: int) -> dict[str, float]:
    """CPU milliseconds of one EM iteration, ours and scikit-learn's, alternating; medians over repeats."""
    from sklearn.mixture import GaussianMixture

    tree = gn.simulate("nb_mixture", seed=1, cell=cells, component=5, mu=MU)
    step = Step(check(gn.get("nb_mixture"), tree, {"component": 5}))
    x = step.counts.x
    first, _ = step(step.start_at(np.array(MU) * 1.1))
    logs = np.log1p(x)

    def ours() -> None:
        state = first
        for _ in range(20):
            state, _ = step(state)

    def theirs(covariance: str) -> Callable[[], None]:
        def run() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it is stopped before it converges, on purpose
                GaussianMixture(5, covariance_type=covariance, max_iter=20, tol=0, means_init=np.log1p(MU)).fit(logs)

        return run

    def their_setup() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            GaussianMixture(5, covariance_type="diag", max_iter=1, tol=0, means_init=np.log1p(MU)).fit(logs)

    rows = []
    for _ in range(repeats):
        setup = cpu(their_setup)
        diagonal, full = (max(cpu(theirs(kind)) - setup, 0) / 19 for kind in ("diag", "full"))
        rows.append((cpu(ours) / 20, diagonal, full))
    mine, diagonal, full = np.median(1e3 * np.array(rows), axis=0)
    return {
        "genarium_ms": mine,
        "sklearn_diag_ms": diagonal,
        "sklearn_full_ms": full,
        "ratio_diag": diagonal / mine,
        "ratio_full": full / mine,
    }


def methods(cells: int) -> dict[str, dict[str, float]]:
    """CPU seconds of a second fit by every method (nothing left to compile), and effective draws a CPU second."""
    from arviz_stats.base import array_stats

    tree = gn.simulate("nb_mixture", seed=2, cell=cells, component=5, mu=MU)
    out: dict[str, dict[str, float]] = {}
    for method in ("em", "vi", "gibbs", "nuts", "stan", "advi"):
        gn.fit("nb_mixture", tree, method, seed=1)
        fitted = gn.fit("nb_mixture", tree, method, seed=2)
        out[method] = {"cpu_seconds": fitted.attrs["cpu_seconds"], "seconds": fitted.attrs["seconds"]}
        if fitted.attrs["claim"] == "exact":
            log_mu = np.log(fitted["posterior"]["mu"].to_numpy()).reshape(4, 1000, -1).transpose(2, 0, 1)
            ess = float(np.min(array_stats.ess(log_mu, chain_axis=-2, draw_axis=-1, method="bulk")))
            out[method] |= {"min_bulk_ess": ess, "ess_per_cpu_second": ess / fitted.attrs["cpu_seconds"]}
    out["nuts"]["ess_per_cpu_second_over_stan"] = out["nuts"]["ess_per_cpu_second"] / out["stan"]["ess_per_cpu_second"]
    return out


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    print(json.dumps({"em": em_against_gaussian_mixture(options.cells, options.repeats)}, indent=2))
    print(json.dumps({"methods": methods(1000)}, indent=2))


if __name__ == "__main__":
    main()
