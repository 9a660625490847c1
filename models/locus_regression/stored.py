"""Fits of a corpus on disk (blocks.py), here or over Dask: the E-step by block, its sums added up in their order."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Restarts
from genarium.engines.workers import Run, running
from genarium.progress import cpu_seconds
from genarium.settings import generator
from genarium.tree import data_tree, dataset, provenance, with_groups

from .blocks import CELLS, Stored
from .checkpoint import Checkpoint
from .expectation import Sums, Weights
from .svi import noisy, sampled
from .sweep import Step
from .vi import climbed, collect


class BlockSampler:
    """Mutations of random blocks, drawn without replacement: those of any locus are as likely to be seen.

    Parameters
    ----------
    data : Stored
    rate : float
        Fraction of the blocks that is drawn.
    run : callable
        From :func:`genarium.engines.workers.running`.
    """

    def __init__(self, data: Stored, rate: float, run: Run) -> None:
        self.data, self.run = data, run
        self.blocks = len(data.starts) - 1
        self.size = max(1, round(rate * self.blocks))

    @property
    def scale(self) -> float:
        """What sums over the sample are multiplied by: the inverse of the fraction drawn."""
        return self.blocks / self.size

    def expect(self, rng: np.random.Generator, tables: tuple[Weights, Weights, Weights]) -> tuple[Array, Sums]:
        """Return the loci of a new sample, and the sums over the mutations there."""
        chosen = np.sort(rng.choice(self.blocks, self.size, replace=False))
        starts = self.data.starts
        loci = np.concatenate([np.arange(starts[b], starts[b + 1]) for b in chosen])
        return loci, self.data.expect(self.run, *tables, blocks=[int(b) for b in chosen])


def fit_blocks(
    folder: str | Path,
    method: Literal["vi", "svi"] = "vi",
    seed: int = 0,
    *,
    process: int,
    workers: int | str = 1,
    checkpoint: str = "",
    empirical_bayes: bool = True,
    restarts: int = 3,
    tolerance: float = 0.01,
    max_iterations: int = 2000,
    sampling_rate: float = 0.1,
    epochs: int = 50,
    draws: int = 500,
    **known: Any,
) -> xr.DataTree:
    """Fit a corpus on disk without loading it; the result is that of the corpus in memory, to rounding.

    Parameters
    ----------
    folder : str or Path
        Written by :class:`.blocks.Writer` or :func:`.blocks.split`.
    method : {"vi", "svi"}
        Of ``svi``, each step is from the mutations of random blocks.
    seed : int
    process : int
        Number of processes.
    workers : int or str
        Processes, or the address of a Dask scheduler whose workers see the same folder. One whose worker dies is done
        again by another.
    checkpoint : str
        A folder for states of the ascents: the same call goes on from there after the process was killed.
    empirical_bayes, restarts, tolerance, max_iterations : optional
        As of ``vi``.
    sampling_rate, epochs : optional
        As of ``svi``; the fraction is of the blocks.
    draws : int
        From q.
    **known
        Values of known variables, such as ``alpha=0.5``.

    Returns
    -------
    DataTree
        With what is known of the loci, ``variational`` and ``posterior``; intervals are those of mean field, which are
        too narrow. It has no mutations, so that ``diagnose`` and ``report`` do not take it.

    Raises
    ------
    InputError
        If the folder holds no such corpus, or Dask is asked for and missing.
    """
    data, problem = Stored.open(folder, {"process": process}, known)
    rng = generator(seed)
    wall, cpu = time.perf_counter(), cpu_seconds()
    options: dict[str, Any] = {"restarts": restarts, "empirical_bayes": empirical_bayes}
    options |= (
        {"tolerance": tolerance, "max_iterations": max_iterations}
        if method == "vi"
        else {"sampling_rate": sampling_rate, "epochs": epochs}
    )
    with running(workers) as run:
        step = Step(data, empirical_bayes=empirical_bayes, expecting=partial(data.expect, run))
        keeper = Checkpoint.of(checkpoint, step, rng, {"method": method, **options})
        if method == "vi":
            runs, best = climbed(
                step, problem, rng, keeper, restarts=restarts, tolerance=tolerance, max_iterations=max_iterations
            )
        else:
            sampler = BlockSampler(data, sampling_rate, run)
            runs, best = sampled(
                step, sampler, problem, rng, keeper, restarts=restarts, epochs=epochs, delay=1.0, forgetting=0.7
            )
        result = collect(step, Restarts(runs[best], tuple(runs)), rng, draws)
    result = result if method == "vi" else noisy(result)
    seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": cpu_seconds() - cpu}
    return _labelled(problem, result, {"method": method, "seed": seed, "options": options, **seconds})


def _labelled(problem: Problem, result: Result, told: Mapping[str, Any]) -> xr.DataTree:
    """Label a result, beside what is known of the loci."""
    model, coords = problem.model, problem.coords
    groups = {
        "variational": dataset(model, coords, result.variational),
        "posterior": dataset(model, coords, result.posterior, ("chain", "draw")),
        "sample_stats": dataset(model, coords, result.sample_stats, ("chain", "draw")),
    }
    tree = data_tree(problem)
    tree["constant_data"] = tree["constant_data"].to_dataset().drop_vars([*CELLS, "group"], errors="ignore")
    del tree["observed_data"]
    attrs = provenance(
        **told,
        claim="approximate",
        engine="hand-coded",
        fixed=[],
        notes={name: value.item() if isinstance(value, np.generic) else value for name, value in result.notes.items()},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return with_groups(tree, groups, attrs)
