"""Answers of a fit as files: signatures and exposures in COSMIC's layout, rates as tracks, mutations as a table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.evaluate import fitted_problem, predictions
from genarium.readers.messages import listed
from genarium.registry import fitted_model
from genarium.writing import replacing

from .channels import set_of
from .metrics import signatures as signatures_of
from .posteriors import Attribution

MEGABASE = 1e6

PLACES = ("chrom", "start", "end")
"""Coordinates of loci that tracks need."""


def signatures(fitted: xr.DataTree, path: Path, *, opportunity: str = "genome") -> list[Path]:
    """Write the signatures as COSMIC does: a row for each channel, a column ``Type``, a column for each process.

    Parameters
    ----------
    fitted : DataTree
    path : Path
        Separated by tabs; by commas if it ends in ``.csv``.
    opportunity : {"genome", "none"}
        Shares of the channels in the genome of the data, or as if all contexts occurred as often.

    Returns
    -------
    list of Path
    """
    found = signatures_of(fitted, opportunity=None if opportunity == "none" else opportunity)
    names, channels = _processes(found), [str(name) for name in found.coords["channel"].to_numpy()]
    kinds = set_of(channels)
    order = kinds.in_cosmic_order if kinds is not None else range(len(channels))
    values = found.to_numpy().T.tolist()
    rows = [["Type", *names], *([channels[m], *map(repr, values[m])] for m in order)]
    return _table(path, rows)


def exposures(fitted: xr.DataTree, path: Path, *, unit: str = "mutations") -> list[Path]:
    """Write the exposures as SigProfiler does: a row for each genome, ``Samples``, a column for each process.

    Parameters
    ----------
    fitted : DataTree
    path : Path
        As for :func:`signatures`.
    unit : {"mutations", "share"}
        Expected mutations, or shares.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If the unit is not known.
    """
    if unit not in ("mutations", "share"):
        raise InputError(f"locus_regression: unit={unit!r} is not known; use mutations or share.")
    problem = fitted_problem(fitted_model(fitted), fitted)
    group = "posterior" if "posterior" in fitted else "point"
    pi = fitted[group].to_dataset()["pi"]
    share = pi.mean([dim for dim in ("chain", "draw") if dim in pi.dims])
    total = np.bincount(problem["genome"], problem["count"], problem.sizes["genome"])
    values = share.to_numpy() * (total[:, None] if unit == "mutations" else 1)
    names = [str(name) for name in problem.coords["genome"]]
    rows = [
        ["Samples", *_processes(share)],
        *([name, *map(repr, row)] for name, row in zip(names, values.tolist(), strict=True)),
    ]
    return _table(path, rows)


def mutations(fitted: xr.DataTree, path: Path) -> list[Path]:
    """Write a row for each cell of the mutation table: genome, locus, channel, count, best process, probabilities.

    Parameters
    ----------
    fitted : DataTree
    path : Path
        As for :func:`signatures`.

    Returns
    -------
    list of Path
    """
    problem = fitted_problem(fitted_model(fitted), fitted)
    attribution = Attribution.of(fitted)
    probability = attribution.probability(problem["genome"], problem["locus"], problem["channel"])
    loci, channels = ([str(name) for name in problem.coords[dim]] for dim in ("locus", "channel"))
    cells = zip(problem["genome"], problem["locus"], problem["channel"], problem["count"], probability, strict=True)

    def rows() -> Iterator[list[Any]]:
        yield ["genome", "locus", "channel", "count", "process", *attribution.processes]
        for g, at, m, n, each in cells:
            best = attribution.processes[int(each.argmax())]
            yield [attribution.genomes[g], loci[at], channels[m], n, best, *(f"{p:.4g}" for p in each)]

    return _table(path, rows())


def bedgraph(fitted: xr.DataTree, path: Path, *, process: str = "") -> list[Path]:
    """Write the rate of each process along the genome as bedGraph: mutations of all genomes in a megabase.

    Parameters
    ----------
    fitted : DataTree
        Of a corpus whose loci have chromosomes, starts and ends.
    path : Path
        ``rates.bedgraph`` makes ``rates.SBS1.bedgraph`` and so on.
    process : str
        One process, whose track gets the very name; empty: all.

    Returns
    -------
    list of Path
        One track for each process.
    """
    out = []
    for name, target, values in _tracks(fitted, path, process):
        with replacing(target) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(f'track type=bedGraph name="{name}" description="mutations in a megabase"\n')
            for chrom, start, end, value in values:
                file.write(f"{chrom}\t{start}\t{end}\t{value:.6g}\n")
        out.append(target)
    return out


def bigwig(fitted: xr.DataTree, path: Path, *, process: str = "", sizes: str = "") -> list[Path]:
    """Write the rate of each process along the genome as bigWig: mutations of all genomes in a megabase.

    Parameters
    ----------
    fitted, path, process
        As for :func:`bedgraph`.
    sizes : str
        File of chromosome sizes; empty: chromosomes end where the last locus does.

    Returns
    -------
    list of Path
    """
    import pybigtools

    out = []
    for _, target, values in _tracks(fitted, path, process):
        rows = sorted(values)
        lengths: dict[str, int] = {}
        for chrom, _, end, _ in rows:
            lengths[chrom] = max(lengths.get(chrom, 0), end)
        if sizes:
            told = dict(
                line.split()[:2] for line in Path(sizes).read_text(encoding="utf-8").splitlines() if line.strip()
            )
            lengths |= {chrom: int(told[chrom]) for chrom in lengths if chrom in told}
        with replacing(target) as temporary:
            named = temporary.with_name(f"{temporary.name}.bw")  # by its end it knows the format
            try:
                pybigtools.open(str(named), "w").write(lengths, iter(rows))
                named.replace(temporary)
            finally:
                named.unlink(missing_ok=True)
        out.append(target)
    return out


def _tracks(
    fitted: xr.DataTree, path: Path, process: str
) -> Iterator[tuple[str, Path, list[tuple[str, int, int, float]]]]:
    """Yield the name of each process, its file, and its rate in each stretch of the genome."""
    model = fitted_model(fitted)
    places = stretches(fitted)
    rate = predictions(model, fitted, fitted_problem(model, fitted))["rate"]
    names = _processes(rate)
    if process and process not in names:
        raise InputError(f"locus_regression: there is no process {process!r} in the fit; there are {listed(names)}.")
    length = np.zeros(rate.sizes["locus"])
    for _, start, end, locus in places:
        length[locus] += end - start
    for k, name in enumerate(names):
        if process in ("", name):
            values = rate.to_numpy()[:, k] / length * MEGABASE
            target = path if process else path.with_name(f"{path.stem}.{name}{path.suffix}")
            yield name, target, [(chrom, start, end, float(values[locus])) for chrom, start, end, locus in places]


def stretches(fitted: xr.DataTree) -> list[tuple[str, int, int, int]]:
    """Return chromosome, start, end and locus of every stretch of the genome that a locus is made of.

    Raises
    ------
    InputError
        If the loci of the fit have no places.
    """
    known = fitted["constant_data"].to_dataset()
    if not set(PLACES) <= set(known.coords):
        raise InputError(
            "locus_regression: the loci of this fit have no places in the genome (coordinates chrom, start and end). "
            "Read the mutations by format 'vcf', 'maf' or 'table' with windows=..., and fit again."
        )
    chrom = known.coords["chrom"].to_numpy()
    return [(str(chrom[locus]), a, b, locus) for locus, pairs in enumerate(blocks(known)) for a, b in pairs]


def blocks(known: xr.Dataset) -> list[list[tuple[int, int]]]:
    """Return start and end of the blocks that each locus is made of, one for most; its places are known."""
    if "blocks" not in known.coords:
        start, end = (known.coords[name].to_numpy().tolist() for name in PLACES[1:])
        return [[pair] for pair in zip(start, end, strict=True)]
    parts = [str(text).split(",") for text in known.coords["blocks"].to_numpy()]
    return [[(int(a), int(b)) for a, _, b in (one.partition("-") for one in each)] for each in parts]


def _processes(array: xr.DataArray) -> list[str]:
    """Return names of processes that are column names: numbers get a word."""
    labels: Array = array.coords["process"].to_numpy()
    return [f"process{label}" if str(label).isdecimal() else str(label).replace(" ", "_") for label in labels]


def _table(path: Path, rows: Any) -> list[Path]:
    separator = "," if path.suffix == ".csv" else "\t"
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(separator.join(map(str, row)) + "\n")
    return [path]
