"""Fits of a corpus on disk (blocks.py), here or over Dask: the E-step by block, its sums added up in their order."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.data import check
from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Restarts
from genarium.engines.workers import Run, running
from genarium.errors import InputError
from genarium.evaluate import derived
from genarium.progress import cpu_seconds
from genarium.readers.messages import listed
from genarium.registry import resolve
from genarium.settings import generator
from genarium.story import predictive
from genarium.tree import dataset, load, provenance, with_groups

from .blocks import Stored, kept, split
from .checkpoint import Checkpoint
from .expectation import Sums, Weights
from .svi import noisy, sampled
from .sweep import Step
from .vi import climbed, collect

SAMPLE = 200_000
"""Mutations that a fit keeps, for diagnose, report and the other verbs."""


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
    method: str = "vi",
    seed: int = 0,
    *,
    process: int,
    workers: int | str = 1,
    checkpoint: str = "",
    empirical_bayes: bool = True,
    restarts: int = 3,
    tolerance: float = 0.003,
    max_iterations: int = 2000,
    sampling_rate: float = 0.1,
    epochs: int = 50,
    draws: int = 500,
    **known: Any,
) -> xr.DataTree:
    """Fit a corpus on disk without loading it; its ascents are those of the corpus in memory, to rounding.

    Parameters
    ----------
    folder : str or Path
        Written by :class:`.blocks.Writer` or :func:`.blocks.split`.
    method : str
        ``"vi"`` or ``"svi"``. Of ``svi``, each step is from the mutations of random blocks.
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
        As of :func:`genarium.fit`, with a random sample of the mutations in the place of all of them: checks of the
        data, figures and predictions for these are of the sample. Intervals are those of mean field, which are too
        narrow; ``diagnose`` says so.

    Raises
    ------
    InputError
        If the folder holds no such corpus, the method is another one, or Dask is asked for and missing.
    """
    if method not in ("vi", "svi"):
        raise InputError(
            f"locus_regression: method {method!r} reads all mutations at once. Fit a corpus in blocks by vi or svi, or "
            "read one that fits into memory (genarium read)."
        )
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
    problem = sampled_problem(problem, data, rng)
    notes = {"mutations": float(data.table.sum()), "mutations_kept": float(problem["count"].sum())}
    result = replace(result, sample_stats={}, notes={**result.notes, **notes})  # q is not of the sample
    told = {"method": method, "seed": seed, "options": options}
    groups = {"posterior_predictive": predictive(problem, {n: np.asarray(v) for n, v in result.posterior.items()}, rng)}
    seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": cpu_seconds() - cpu}
    return _labelled(kept(problem, load(Path(folder) / "corpus.nc")), problem, result, groups, {**told, **seconds})


def sampled_problem(problem: Problem, data: Stored, rng: np.random.Generator) -> Problem:
    """Return a problem with a sample of a corpus as its mutations."""
    cells = data.sample(SAMPLE, rng)
    group, locus = np.divmod(cells.pop("row"), problem.sizes["locus"])
    found = {**cells, "locus": locus, "count": cells["count"].astype(float)}
    found |= {"group": group} if "group" in problem.arrays else {}
    number = len(locus)
    return replace(
        problem,
        arrays={**problem.arrays, **found},
        sizes={**problem.sizes, "cell": number},
        coords={**problem.coords, "cell": np.arange(number)},
    )


def _labelled(
    start: xr.DataTree, problem: Problem, result: Result, groups: dict[str, xr.Dataset], told: Mapping[str, Any]
) -> xr.DataTree:
    """Label a result, beside what is known of the loci and the sample."""
    model, coords = problem.model, problem.coords
    posterior = {name: np.asarray(value) for name, value in result.posterior.items()}
    lead = ("chain", "draw")
    groups = {
        "variational": dataset(model, coords, result.variational),
        "posterior": dataset(model, coords, {**posterior, **derived(problem, posterior, lead)}, lead),
        **groups,
    }
    attrs = provenance(
        **told,
        claim="approximate",
        engine="numpy",
        fixed=[],
        notes={name: value.item() if isinstance(value, np.generic) else value for name, value in result.notes.items()},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return with_groups(start, groups, attrs)


def split_command(tree: Path, folder: Path, *, blocks: int = 100) -> str:
    """Write a corpus in blocks of neighbouring windows, which `genarium fit locus_regression FOLDER` reads one by one.

    Parameters
    ----------
    tree : Path
        From `genarium read` or `genarium simulate`.
    folder : Path
        Folder to write, which must be new or empty.
    blocks : int
        Number of blocks, each of about as many windows.

    Returns
    -------
    str
        What was written, in one line.

    Raises
    ------
    InputError
        If there are fewer windows than blocks, or the folder is not empty.
    """
    data = load(tree)
    processes = data["constant_data"].sizes.get("process", 1) if "constant_data" in data else 1
    problem = check(resolve("locus_regression", data), data, {"process": processes})
    if not 1 <= blocks <= problem.sizes["locus"]:
        raise InputError(f"--blocks {blocks} must be from 1 to the number of windows, {problem.sizes['locus']}.")
    split(problem, folder, blocks, data)
    apart = {name: var for name, var in problem.model.known.variables.items() if "process" in var.dims}
    given = [name for name, var in apart.items() if not np.all(problem[name] == var.default)]
    more = "; without {} of the processes, whose number the fit tells: give it to the fit" if given else ""
    return f"wrote {problem['count'].sum():.0f} mutations in {blocks} blocks to {folder}{more.format(listed(given))}"
