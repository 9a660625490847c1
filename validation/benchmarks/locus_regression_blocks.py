"""A corpus past memory: ``python validation/benchmarks/locus_regression_blocks.py PART FOLDER [options]``.

Parts:

write    simulate ``--cells`` mutations of 300 genomes in ``--windows`` windows block by block, and write them
fit      a fit of FOLDER by ``vi`` with ``--iterations`` sweeps from one start: seconds a sweep, peak memory (that of a
         worker is the largest of any child, those that look HDF5 files over among them)
scaling  the E-step of FOLDER by ``--workers``: wall seconds, and CPU seconds of the first process and of the workers
plan     what a sweep consists of: CPU seconds and bytes of a block, of reading it, and of what the first process does

Times are CPU seconds of one thread and, for workers, wall seconds too.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import itertools
import json
import resource
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import genarium as gn
from genarium.declaration import Array
from genarium.engines.workers import running
from genarium.models.locus_regression.blocks import Stored, Writer, expect_block
from genarium.models.locus_regression.stored import fit_blocks
from genarium.models.locus_regression.sweep import Step

GENOMES, PROCESSES, FEATURES, CHANNELS = 300, 10, 9, 96

Row = dict[str, Any]


def write(args: argparse.Namespace) -> Row:
    """Simulate block by block: mutations of a genome and process fall into blocks by the block's share."""
    rng = np.random.default_rng(1)
    L, K = args.windows, PROCESSES
    features = rng.normal(size=(FEATURES, L))
    beta, pi = rng.normal(0, 0.3, (K, FEATURES)), rng.dirichlet(np.full(K, 0.5), GENOMES)
    spectrum = rng.dirichlet(np.full(CHANNELS, 0.3), K)
    theta = np.exp(beta @ features)
    theta /= theta.sum(1, keepdims=True)
    edges = np.linspace(0, L, args.blocks + 1).astype(int)
    each = rng.multinomial(args.cells, np.full(GENOMES, 1 / GENOMES))
    by_process = np.array([rng.multinomial(n, p) for n, p in zip(each, pi, strict=True)])  # (G, K)
    shares = np.add.reduceat(theta, edges[:-1], 1)
    numbers = rng.multinomial(by_process, shares / shares.sum(1, keepdims=True))  # (G, K, blocks)
    model = gn.get("locus_regression").variant(form="conditional")
    writer, start = Writer(args.folder, model, {"features": features}, genomes=GENOMES), time.process_time()
    for b, (low, high) in enumerate(itertools.pairwise(edges)):
        parts = []
        for k in range(K):
            genome = np.repeat(np.arange(GENOMES), numbers[:, k, b])
            upto = np.cumsum(theta[k, low:high])
            locus = low + np.searchsorted(upto, rng.random(len(genome)) * upto[-1])
            parts.append((genome, locus, np.searchsorted(np.cumsum(spectrum[k])[:-1], rng.random(len(genome)))))
        writer.add(int(high), *(np.concatenate(part) for part in zip(*parts, strict=True)))
    writer.finish()
    size = sum(path.stat().st_size for path in (args.folder / "cells").iterdir())
    return {"blocks": args.blocks, "megabytes": size / 1e6, "seconds": time.process_time() - start, **memory()}


def memory() -> Row:
    """Peak memory so far of this process and of the largest of its children, in MB."""
    own, children = (
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {"peak_mb": own, "peak_mb_of_a_worker": children}


def fit(args: argparse.Namespace) -> Row:
    """Sweep from one start."""
    fit_blocks(args.folder, process=PROCESSES, restarts=1, max_iterations=1, draws=2)  # compiled, and read once
    spent = []
    for iterations in (2, 2 + args.iterations):
        wall = time.perf_counter()
        found = fit_blocks(
            args.folder,
            process=PROCESSES,
            restarts=1,
            max_iterations=iterations,
            draws=2,
            workers=args.workers,
            checkpoint=args.checkpoint,
        )
        spent.append((time.perf_counter() - wall, found.attrs["cpu_seconds"]))
    wall, cpu = (after - before for before, after in zip(*spent, strict=True))
    told = json.loads(found.attrs["notes"])
    return {
        "workers": args.workers,
        "sweeps": args.iterations,
        "wall_a_sweep": wall / args.iterations,
        "cpu_a_sweep_here": cpu / args.iterations,
        "bound": told["bound"],
        **memory(),
    }


def scaling(args: argparse.Namespace) -> Row:
    """E-steps after a first one, in which workers import and compile."""
    import psutil

    data, problem = Stored.open(args.folder, {"process": PROCESSES}, {})
    with running(args.workers) as run:
        step = Step(data, expecting=partial(data.expect, run))
        tables = step.tables(step.first(problem, np.random.default_rng(0)))
        step.expect(*tables)
        children = [child for child in psutil.Process().children(recursive=True) if child.is_running()]

        def now() -> Array:
            theirs = sum(sum(child.cpu_times()[:2]) for child in children)
            return np.array([time.perf_counter(), time.process_time(), theirs])

        start = now()
        for _ in range(args.iterations):
            step.expect(*tables)
        wall, own, theirs = (now() - start) / args.iterations
    return {
        "workers": args.workers,
        "wall": float(wall),
        "cpu_of_the_first": float(own),
        "cpu_of_workers": float(theirs),
    }


def plan(args: argparse.Namespace) -> Row:
    """Take a sweep apart."""
    data, problem = Stored.open(args.folder, {"process": PROCESSES}, {})

    def here(function: Any, parts: Any) -> Any:
        return (function(*part) for part in parts)

    step = Step(data, expecting=lambda *tables: data.expect(here, *tables))
    state = step.first(problem, np.random.default_rng(0))
    low, high = (int(at) for at in data.starts[:2])
    weight, place, spectrum = step.tables(state)
    rows = place.scaled.reshape(len(data.features), -1, PROCESSES)[:, low:high]
    path = str(args.folder / "cells" / "00000.nc")
    expect_block(path, weight.scaled, rows, spectrum.scaled)
    spent = []
    for _ in range(3):
        start = time.process_time()
        expect_block(path, weight.scaled, rows, spectrum.scaled)
        spent.append(time.process_time() - start)
    sums = step.expect(weight, place, spectrum)
    counts = sums[:3]
    first: list[float] = []
    for _ in range(4):
        start = time.process_time()
        step.tables(state)
        state = step.maximised(state, *counts)
        first.append(time.process_time() - start)
    cells = float(data.row_total.reshape(len(data.features), -1)[:, low:high].sum())
    small = weight.scaled.nbytes + spectrum.scaled.nbytes
    return {
        "blocks": len(data.starts) - 1,
        "mutations_of_a_block": cells,
        "cpu_of_a_block": float(np.median(spent)),
        "bytes_to_a_block": rows.nbytes + small,
        "bytes_from_a_block": rows.nbytes + small,
        "bytes_on_disk": Path(path).stat().st_size,
        "cpu_of_the_first_process": float(np.median(first[1:])),
        **memory(),
    }


PARTS = {part.__name__: part for part in (write, fit, scaling, plan)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, default=10**6)
    parser.add_argument("--windows", type=int, default=300_000)
    parser.add_argument("--blocks", type=int, default=100)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--workers", default="1")
    parser.add_argument("--checkpoint", default="")
    args = parser.parse_args()
    told = PARTS[args.part](args)
    print(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in told.items()}), flush=True)


if __name__ == "__main__":
    main()
