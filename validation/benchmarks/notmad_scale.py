"""NOTMAD at 20 to 500 nodes: ``python validation/benchmarks/notmad_scale.py [--nodes 20,30,100] [--seeds 10]``.

Four archetypes with 2p edges each along one order, weights of either sign from U(.3, 1), unit noise, two covariates
that the archetypes' logits are linear in; 1,000 samples for training and 1,000 new ones. Prints the root mean square
error of the new samples' projected networks, of W = 0 and of one network for all (``notears``): median over seeds,
worst in brackets; CPU seconds of one thread (OMP_NUM_THREADS=1), and the peak memory of the process.
"""

import argparse
import resource
import time
import warnings
from typing import Any

import numpy as np

import genarium as gn
from genarium.declaration import Array
from genarium.models.notmad import notears
from genarium.models.notmad.map import FEW

SAMPLES, ARCHETYPES = 1000, 4


def simulated(nodes: int, seed: int) -> tuple[Array, Array, Array, Array]:
    """Return contexts (2n, 2), values (2n, p), shares (2n, K) and archetypes (K, p, p) of training and new samples."""
    rng = np.random.default_rng(seed)
    place = rng.permutation(nodes)
    forward = np.argwhere(place[:, None] < place[None, :])
    archetypes = np.zeros((ARCHETYPES, nodes, nodes))
    for one in archetypes:
        source, target = forward[rng.choice(len(forward), 2 * nodes, replace=False)].T
        one[source, target] = rng.choice([-1, 1], 2 * nodes) * rng.uniform(0.3, 1, 2 * nodes)
    context = rng.normal(size=(2 * SAMPLES, 2))
    share = np.exp(context @ rng.normal(0, 2, (2, ARCHETYPES)))
    share /= share.sum(1, keepdims=True)
    x = rng.normal(size=(2 * SAMPLES, nodes))
    for node in np.argsort(place):
        x[:, node] += (share * (x @ archetypes[:, :, node].T)).sum(1)
    return context, x, share, archetypes


def one(nodes: int, route: str, seed: int) -> dict[str, float]:
    """Fit one simulation; networks of new samples are compared a hundred at a time."""
    context, x, share, archetypes = simulated(nodes, seed)
    data = {"context": context[:SAMPLES], "x": x[:SAMPLES]}
    more: dict[str, Any] = {"restarts": 1} if nodes > FEW else {}
    start = time.process_time()
    fit = gn.fit("notmad", data, "map", seed=seed, archetype=ARCHETYPES, beta=10.0, route=route, **more)
    seconds = time.process_time() - start
    population = notears(x[:SAMPLES]).network
    squares = []
    for low in range(SAMPLES, 2 * SAMPLES, 100):
        rows = slice(low, low + 100)
        truth = np.tensordot(share[rows], archetypes, 1)
        found = gn.predict(fit, {"context": context[rows]})["predictions"]["network"].to_numpy()
        squares.append([np.mean((network - truth) ** 2) for network in (found, 0, population)])
    errors = np.sqrt(np.mean(squares, axis=0))
    return dict(zip(("NOTMAD", "W = 0", "one network"), map(float, errors), strict=True)) | {"CPU s": seconds}


def main() -> None:
    """Print a row for each number of nodes and route."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="20,30,100")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| p | route | seeds | W-RMSE (worst) | W = 0 | one network | CPU s (most) | peak GB |")
    print("|---|---|---|---|---|---|---|---|")
    for nodes in map(int, args.nodes.split(",")):
        for route in ("ordered", "exact") if nodes <= FEW else ("ordered",):
            rows = [one(nodes, route, seed) for seed in range(args.seeds)]
            median = {name: float(np.median([row[name] for row in rows])) for name in rows[0]}
            worst = {name: max(row[name] for row in rows) for name in rows[0]}
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(
                f"| {nodes} | `{route}` | {args.seeds} | {median['NOTMAD']:.4f} ({worst['NOTMAD']:.4f}) | "
                f"{median['W = 0']:.3f} | {median['one network']:.3f} | {median['CPU s']:.1f} ({worst['CPU s']:.1f}) | "
                f"{peak:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
