"""How often ``diagnose`` warns or fails where nothing is wrong.

``python validation/benchmarks/nb_mixture_alarms.py``: simulations from the model's own story (150 cells, eight genes,
three components: groups that can be told apart), fitted by ``vi`` and ``gibbs``. One line of JSON a simulation, with
the checks that did not pass; at the end the share of fits that were flagged, and by check. Where the true parameters
themselves are flagged as equal centroids (merging two of the components loses too little), the warning is right: these
fits are left out. Of ``vi``, k-hat says how far the approximation is from the posterior: the least and the largest
ratio of its standard deviations to those of ``gibbs`` are given beside it.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import time
import warnings
from collections import Counter
from typing import Any

import numpy as np

import genarium as gn
from genarium.data import check
from genarium.models.nb_mixture.cautions import copies

NAME, METHODS = "nb_mixture", ("vi", "gibbs")


def one(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Fit a simulation, and return what was flagged."""
    tree = gn.simulate(NAME, seed, cell=options.cells, gene=options.genes, component=options.components)
    truth = {name: tree["truth"][name].to_numpy() for name in ("pi", "mu")}
    problem = check(gn.get(NAME), tree, {"component": options.components})
    out: dict[str, Any] = {"seed": seed, "equal": copies(problem, truth).value > 0}
    sd = {}
    for method in METHODS:
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = gn.fit(NAME, tree, method, seed)
            told = gn.diagnose(NAME, fitted)
        flagged = {v.check: [v.status, v.value, v.where] for v in told.verdicts if v.status in ("warn", "fail")}
        out[method] = {"flagged": flagged, "cpu_seconds": round(time.process_time() - start, 1)}
        draws = [fitted["posterior"][name].to_numpy().reshape(-1, truth[name].size) for name in truth]
        sd[method] = np.concatenate([np.log(one).std(0) for one in draws])
    ratio = np.sort(sd["vi"]) / np.sort(sd["gibbs"])  # labels may differ
    return {**out, "sd_ratio": [round(float(ratio.min()), 2), round(float(ratio.max()), 2)]}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cells", type=int, default=150)
    parser.add_argument("--genes", type=int, default=8)
    parser.add_argument("--components", type=int, default=3)
    options = parser.parse_args()
    told = []
    for seed in range(options.first, options.first + options.simulations):
        told.append(one(seed, options))
        print(json.dumps(told[-1], default=str), flush=True)
    sound = [each for each in told if not each["equal"]]
    for method in METHODS:
        by = Counter(name for each in sound for name in each[method]["flagged"])
        share = sum(bool(each[method]["flagged"]) for each in sound) / max(len(sound), 1)
        print(json.dumps({"method": method, "fits": len(sound), "flagged": share, "by_check": dict(by)}))


if __name__ == "__main__":
    main()
