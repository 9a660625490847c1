"""transcript_abundance beside salmon: ``python validation/benchmarks/transcript_abundance_salmon.py``.

Needs salmon 1.10 on the path (in Debian the package ``salmon``). Each case is a transcriptome of 40 genes with five
isoforms out of eight exons, and reads of fragments of 200 ± 25 nucleotides, single and in pairs; salmon quantifies it
by EM and by VB-EM. Told are the largest relative difference of ``stop="salmon"`` from salmon's NumReads, over
transcripts above one read, and that of a second run of salmon on the same reads from the first; the root mean squared
error of the counts; CPU seconds; and how often 90 % intervals of salmon's Gibbs samples and of ``gibbs`` (on salmon's
classes, and on its alignments as read by the format ``bam``) cover the reads that expressed transcripts truly have.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import shutil
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import genarium as gn
from genarium.declaration import Array
from genarium.models.transcript_abundance.salmon import quant_sf, salmon_draws

NAME = "transcript_abundance"
GENES, ISOFORMS, EXONS = 40, 5, 8
FRAGMENT, SPREAD, READ = 200.0, 25.0, 75
ENDS = {"single": ("U", ["r1"]), "pairs": ("IU", ["r1", "r2"])}
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def transcriptome(rng: np.random.Generator) -> dict[str, str]:
    """Draw the sequences of all isoforms."""
    out = {}
    for gene in range(GENES):
        exons = ["".join(rng.choice(list("ACGT"), rng.integers(100, 500))) for _ in range(EXONS)]
        for isoform in range(ISOFORMS):
            kept = np.sort(rng.choice(EXONS, rng.integers(4, EXONS), replace=False))
            out[f"g{gene}t{isoform}"] = "".join(exons[i] for i in kept)
    return out


def write_case(folder: Path, seed: int, reads: int) -> xr.DataArray:
    """Write t.fa, r1.fq and r2.fq; return the reads of each transcript."""
    rng = np.random.default_rng(seed)
    sequences = transcriptome(rng)
    names = list(sequences)
    (folder / "t.fa").write_text("".join(f">{name}\n{text}\n" for name, text in sequences.items()))
    origin = rng.choice(len(names), reads, p=rng.dirichlet(np.full(len(names), 0.3)))
    with (folder / "r1.fq").open("w") as first, (folder / "r2.fq").open("w") as second:
        for n, k in enumerate(origin):
            text = sequences[names[k]]
            size = int(np.clip(rng.normal(FRAGMENT, SPREAD), READ, len(text)))
            start = rng.integers(0, len(text) - size + 1)
            fragment = text[start : start + size]
            mates = [fragment, fragment[::-1].translate(COMPLEMENT)]
            if rng.uniform() < 0.5:
                mates.reverse()
            for mate, file in zip(mates, (first, second), strict=True):
                seen = list(mate[:READ])
                for at in np.flatnonzero(rng.uniform(size=READ) < 0.002):
                    seen[at] = "ACGT"[rng.integers(4)]
                file.write(f"@r{n}\n{''.join(seen)}\n+\n{'I' * READ}\n")
    counts = np.bincount(origin, minlength=len(names))
    return xr.DataArray(counts, dims="transcript", coords={"transcript": names})


def quantify(folder: Path, ends: str, out: str, *options: str) -> Path:
    """Run salmon on a case."""
    library, files = ENDS[ends]
    flags = ["-r", "r1.fq"] if len(files) == 1 else ["-1", "r1.fq", "-2", "r2.fq"]
    fixed = ["--fldMean", str(int(FRAGMENT)), "--fldSD", str(int(SPREAD))] if len(files) == 1 else []
    command = ["salmon", "quant", "-i", "index", "-l", library, *flags, *fixed, "-p", "1", "-o", out, *options]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / out


def case(folder: Path, seed: int, reads: int) -> dict[str, Any]:
    """Compare on one case; all figures by ends and method."""
    truth = write_case(folder, seed, reads)
    index = ["salmon", "index", "-t", "t.fa", "-i", "index"]
    subprocess.run(index, cwd=folder, check=True, capture_output=True)
    out: dict[str, Any] = {}
    for ends in ENDS:
        found: dict[str, Any] = {}
        for method, flag, group in (("em", ["--useEM"], "point"), ("vi", [], "variational")):
            quant = quantify(folder, ends, f"{ends}-{method}", "--dumpEqWeights", *flag)
            table = quant_sf(quant / "quant.sf")
            theirs = xr.DataArray(table["counts"], dims="transcript", coords={"transcript": table["name"]})
            data = gn.read(NAME, quant, format="salmon")
            found[f"{method}: difference"] = difference(fitted(data, method, group, stop="salmon"), theirs)
            again = quant_sf(quantify(folder, ends, "again", *flag) / "quant.sf")["counts"]
            found[f"{method}: difference of salmon from itself"] = difference(theirs.copy(data=again), theirs)
            found[f"{method}: rmse of salmon"] = error(theirs, truth)
            if method == "em":
                found["em: rmse at the maximum"] = error(fitted(data, "em", "point"), truth)
        draws = quantify(folder, ends, f"{ends}-gibbs", "--numGibbsSamples", "200")
        found["salmon's Gibbs: coverage"] = coverage(salmon_draws(draws), truth)
        found["gibbs on its classes: coverage"], found["gibbs on its classes: R-hat"] = sampled(data, truth)
        sam = f"{ends}.sam"
        quantify(folder, ends, f"{ends}-map", f"--writeMappings={sam}")
        known = {"fragment_mean": FRAGMENT, "fragment_sd": SPREAD} if ends == "single" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of mates on different transcripts
            start = time.process_time()
            data = gn.read(NAME, folder / sam, format="bam", **known)
        found["bam: CPU seconds"] = time.process_time() - start
        found["bam: rmse at the maximum"] = error(fitted(data, "em", "point"), truth)
        found["gibbs on alignments: coverage"], found["gibbs on alignments: R-hat"] = sampled(data, truth)
        out[ends] = found
    return out


def fitted(data: Any, method: str, group: str, **options: Any) -> xr.DataArray:
    """Return the counts of a fit."""
    return gn.fit(NAME, data, method, prior="dirichlet", **options)[group].dataset["counts"]


def difference(counts: xr.DataArray, reference: xr.DataArray) -> float:
    """Largest relative difference over transcripts above one read."""
    some = reference.where(reference > 1, drop=True)
    return float(abs(counts.sel(transcript=some["transcript"]) / some - 1).max())


def sampled(data: Any, truth: xr.DataArray) -> tuple[float, float]:
    """Coverage and R-hat of Gibbs sampling."""
    tree = gn.fit(NAME, data, "gibbs", seed=1, prior="dirichlet", chains=2, draws=1000, tune=300)
    verdicts = {v.check: v.value for v in gn.diagnose(NAME, tree).verdicts}
    return coverage(tree, truth), float(verdicts["R-hat"])


def error(counts: xr.DataArray, truth: xr.DataArray) -> float:
    """Root mean squared error of counts; identical transcripts that salmon merged are left out."""
    return float(np.sqrt(((counts - truth) ** 2).mean()))


def coverage(tree: xr.DataTree, truth: xr.DataArray) -> float:
    """Share of the expressed transcripts whose reads lie within the 90 % interval."""
    low, high = (tree["posterior"]["counts"].quantile(q, ("chain", "draw")) for q in (0.05, 0.95))
    within = (low <= truth) & (truth <= high)
    return float(within.where(truth.sel(transcript=within["transcript"]) > 0, drop=True).mean())


def main() -> None:
    """Print the figures of each case, and their worst or mean, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", type=int, default=5)
    parser.add_argument("--reads", type=int, default=200_000)
    options = parser.parse_args()
    if not shutil.which("salmon"):
        parser.exit(1, "salmon is not on the path: install it (in Debian: apt install salmon).\n")
    cases = []
    for seed in range(1, options.cases + 1):
        with tempfile.TemporaryDirectory() as folder:
            cases.append(case(Path(folder), seed, options.reads))
        print(json.dumps({f"case {seed}": cases[-1]}, indent=2), flush=True)
    for ends in ENDS:
        for name in cases[0][ends]:
            values: Array = np.array([one[ends][name] for one in cases])
            print(f"{ends:7}{name:40} mean {values.mean():.4g}  largest {values.max():.4g}")


if __name__ == "__main__":
    main()
