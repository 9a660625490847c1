"""Cost of calibration by simulation against simuk, in one run: ``python validation/benchmarks/sbc.py``.

CPU seconds (of the process and its children) for a replicate: simulate from the prior, fit, rank the truth. The model
is nb_mixture with two components and 100 cells. simuk compiles its PyMC model for each replicate and takes the draws as
they are; `genarium.validate` compiles once, and runs a replicate again, longer, where its draws do not suffice. They
are compared as they come (simuk has PyMC's chains, `validate` its own) and with equal chains. Each runs in a process of
its own with empty caches; simuk's first replicate, which fills them, is left out.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from typing import Any

import genarium as gn
from genarium.data import check
from genarium.engines import compiled as densities

MODEL = "nb_mixture"
SIZES = {"cell": 100, "component": 2}
EQUAL = {"chains": 2, "tune": 500, "draws": 500, "target_accept": 0.8}
"""The same chains for all; the target is PyMC's own default."""

SHORT = {**EQUAL, "tune": 100, "draws": 400}
"""The cheapest of the lengths tried for ``nuts-jax``; draws that do not suffice are found out, and replaced."""

ARMS: dict[str, tuple[str, dict[str, float]]] = {
    "simuk": ("simuk", {}),
    "nuts": ("nuts", {}),
    "nuts-jax": ("nuts-jax", {}),
    "nuts-jax, short": ("nuts-jax", SHORT),
    "simuk, equal": ("simuk", EQUAL),
    "nuts, equal": ("nuts", EQUAL),
    "nuts-jax, equal": ("nuts-jax", EQUAL),
}
"""Each as it comes, and with equal chains; only the latter compare chains of the same lengths."""


def cpu() -> float:
    """CPU seconds of this process and its children."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def genarium_arm(method: str, options: dict[str, Any], replicates: int) -> dict[str, float]:
    """Return CPU seconds of a replicate: from a cold start, and once everything is compiled."""
    spent = []
    for seed in (1, 2):
        begin = cpu()
        settings: dict[str, Any] = {**SIZES, **options}
        found = gn.validate(MODEL, method, replicates, seed=seed, adaptive=False, **settings)
        spent.append((cpu() - begin) / replicates)
    p_value = min(told["p_holm"] for told in found.quantities.values())
    return {"with_compilation": spent[0], "without_compilation": spent[1], "p_value": p_value}


def simuk_arm(options: dict[str, float], replicates: int) -> dict[str, float]:
    """Return CPU seconds of a replicate, the first one apart."""
    import simuk

    model = densities.build(check(gn.get(MODEL), gn.simulate(MODEL, seed=0, **SIZES)))
    spent = []
    for count in (1, replicates):
        begin = cpu()
        sbc = simuk.SBC(model, num_simulations=count, sample_kwargs=dict(options), seed=1, progress_bar=False)
        sbc.run_simulations()
        spent.append(cpu() - begin)
    return {"with_compilation": spent[1] / replicates}


def in_own_process(arm: str, replicates: int) -> dict[str, float]:
    """Run an arm in a process of its own, with empty caches."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {"PYTENSOR_FLAGS": f"base_compiledir={folder}/pytensor", "NUMBA_CACHE_DIR": f"{folder}/numba"}
        command = [sys.executable, __file__, "--arm", arm, "--replicates", str(replicates)]
        done = subprocess.run(command, env=os.environ | caches, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm", choices=ARMS, help="run only this one, in this process")
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--peer-replicates", type=int, default=6)
    args = parser.parse_args()
    if args.arm:
        warnings.simplefilter("ignore")  # simuk's samplers warn about short chains
        method, options = ARMS[args.arm]
        found = (
            simuk_arm(options, args.replicates) if method == "simuk" else genarium_arm(method, options, args.replicates)
        )
        print(json.dumps(found))
        return
    results: dict[str, Any] = {}
    print("CPU seconds a replicate (and how many times faster than simuk)")
    for arm, (method, options) in ARMS.items():
        results[arm] = in_own_process(arm, args.peer_replicates if method == "simuk" else args.replicates)
        peer = results["simuk, equal" if options == EQUAL else "simuk"]["with_compilation"]
        told = [
            f"{results[arm][kind]:.3f} ({peer / results[arm][kind]:.0f}) {kind.replace('_', ' ')}"
            for kind in ("with_compilation", "without_compilation")
            if kind in results[arm]
        ]
        p_value = f"least p {results[arm]['p_value']:.2g}" if "p_value" in results[arm] else ""
        print(f"{arm:<16} {', '.join(told)}  {p_value}", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
