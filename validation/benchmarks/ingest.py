"""Reading of sequencing files for locus_regression: ``python validation/benchmarks/ingest.py PART [--rows N]``.

Parts:

speed   a genome of 20 Mb and a VCF file of a million rows, both made here: CPU seconds and peak memory of the reader,
        of a plain pysam loop that looks up genotypes and contexts and counts, and of one that only takes the records
memory  the reader's peak memory for an eighth of the rows, a half and all
cohort  a cohort simulated from the model, each mutation put at a base of its context in its window, written as VCF and
        MAF: whether every cell comes back, and the fit of both corpora against that of the arrays

Files are written to a temporary folder (``--keep DIR`` keeps them). Times are CPU seconds of one process.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import genarium as gn
from genarium.declaration import Array
from genarium.models.locus_regression import ingest
from genarium.models.locus_regression.channels import split_channel
from genarium.models.locus_regression.ingest.genome import contexts

MEGABASES = {"chr1": 8, "chr2": 6, "chr3": 4, "chrX": 2}
BASES = np.array(list("ACGT"))


def write_genome(path: Path, rng: np.random.Generator) -> dict[str, Array]:
    """Write a random genome, and return its bases as codes."""
    codes = {
        name: rng.choice(4, size=size * 10**6, p=[0.3, 0.2, 0.2, 0.3]).astype(np.uint8)
        for name, size in MEGABASES.items()
    }
    with path.open("w") as out:
        for name, of in codes.items():
            text = BASES[of].reshape(-1, 100)
            out.write(f">{name}\n" + "\n".join("".join(line) for line in text) + "\n")
    return codes


def vcf_header(genomes: list[str]) -> str:
    """Return the header of a VCF file."""
    contigs = "".join(f"##contig=<ID={name},length={size * 10**6}>\n" for name, size in MEGABASES.items())
    form = '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    columns = ("CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *genomes)
    return "##fileformat=VCFv4.2\n" + contigs + form + "#" + "\t".join(columns) + "\n"


def write_vcf(path: Path, codes: dict[str, Array], rows: int, genomes: int, rng: np.random.Generator) -> None:
    """Write random substitutions, each carried by one genome."""
    total = sum(map(len, codes.values()))
    none = ["0/0"] * genomes
    with path.open("w") as out:
        out.write(vcf_header([f"G{g}" for g in range(genomes)]))
        for name, of in codes.items():
            n = round(rows * len(of) / total)
            at = np.sort(rng.choice(len(of), n, replace=False))
            ref = of[at]
            alt = (ref + rng.integers(1, 4, n)) % 4
            who = rng.integers(genomes, size=n)
            for p, r, a, g in zip(at.tolist(), BASES[ref], BASES[alt], who.tolist(), strict=True):
                columns = none.copy()
                columns[g] = "0/1"
                out.write(f"{name}\t{p + 1}\t.\t{r}\t{a}\t.\tPASS\t.\tGT\t" + "\t".join(columns) + "\n")


def by_reader(vcf: str, fasta: str) -> int:
    """Read as a user does."""
    found = ingest.vcf([Path(vcf)], fasta=fasta, windows=10_000, adjacent="keep")
    return int(np.sum(found["count"]))


def by_pysam(vcf: str, fasta: str) -> int:
    """Count genome, window and context by a loop."""
    import pysam

    cells: Counter[Any] = Counter()
    with pysam.VariantFile(vcf) as file, pysam.FastaFile(fasta) as genome:
        for record in file:
            context = genome.fetch(record.chrom, max(record.pos - 2, 0), record.pos + 1)
            for name, sample in record.samples.items():
                if any(sample["GT"]):
                    cells[name, record.chrom, record.pos // 10_000, context, record.alts] += 1
    return sum(cells.values())


def by_records(vcf: str, fasta: str) -> int:
    """Take the records, and nothing of their genotypes."""
    import pysam

    count = 0
    with pysam.VariantFile(vcf) as file:
        for record in file:
            count += len(record.ref or "") == 1 and len(record.alts or ()) == 1
    return count


WAYS: dict[str, Callable[[str, str], int]] = {"reader": by_reader, "pysam loop": by_pysam, "records": by_records}


def _measured(way: str, vcf: str, fasta: str, queue: Any) -> None:
    import pysam

    pysam.set_verbosity(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    count = WAYS[way](vcf, fasta)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    queue.put((count, seconds, before / 1024, peak / 1024))


def measured(way: str, vcf: Path, fasta: Path) -> tuple[int, float, float, float]:
    """Run in a process of its own; return mutations, CPU seconds, and MB of memory before and at most."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_measured, args=(way, str(vcf), str(fasta), queue))
    process.start()
    found: tuple[int, float, float, float] = queue.get()
    process.join()
    return found


def told(way: str, found: tuple[int, float, float, float]) -> None:
    count, seconds, before, peak = found
    print(f"{way:12} {count:9d} mutations {seconds:7.1f} CPU s, memory {before:6.0f} MB before, {peak:6.0f} MB at most")


def speed(folder: Path, rows: int, genomes: int) -> None:
    rng = np.random.default_rng(1)
    codes = write_genome(folder / "genome.fa", rng)
    write_vcf(folder / "a.vcf", codes, rows, genomes, rng)
    print(f"{rows} rows, {genomes} genomes, {(folder / 'a.vcf').stat().st_size / 2**20:.0f} MB")
    for way in WAYS:
        told(way, measured(way, folder / "a.vcf", folder / "genome.fa"))


def memory(folder: Path, rows: int, genomes: int) -> None:
    rng = np.random.default_rng(1)
    codes = write_genome(folder / "genome.fa", rng)
    for part in (8, 2, 1):
        write_vcf(folder / "a.vcf", codes, rows // part, genomes, rng)
        told("reader", measured("reader", folder / "a.vcf", folder / "genome.fa"))


def positions(codes: dict[str, Array], size: int) -> tuple[list[tuple[str, int]], list[list[Array]]]:
    """Return the windows, and in each the positions of each context."""
    windows, places = [], []
    for name, of in codes.items():
        context = np.full(len(of), -1)
        context[1:-1] = contexts(of[:-2], of[1:-1], of[2:])
        for start in range(0, len(of), size):
            here = context[start : start + size]
            order = np.argsort(here, kind="stable")
            bounds = np.searchsorted(here[order], np.arange(33))
            windows.append((name, start))
            places.append([order[bounds[c] : bounds[c + 1]] + start for c in range(32)])
    return windows, places


def cohort(folder: Path, rows: int, genomes: int) -> None:
    rng = np.random.default_rng(1)
    codes = write_genome(folder / "genome.fa", rng)
    windows, places = positions(codes, 10_000)
    t = np.array([[len(of) for of in row] for row in places], dtype=float).T
    X = rng.normal(size=(3, len(windows)))
    exposure = np.full(len(windows), 10_000.0)
    known = {"features": X, "context_opportunity": t, "exposure": exposure}
    sizes = {"cell": rows, "genome": genomes, "process": 4, "locus": len(windows), "feature": 3}
    simulated = gn.simulate("locus_regression", seed=1, **sizes, **known)
    sites = _sites(simulated, windows, places, codes, rng)
    write_sites(folder, sites, genomes)
    (folder / "x.bedgraph").write_text(
        "".join(f"{c}\t{s}\t{s + 10_000}\t{v!r}\n" for (c, s), v in zip(windows, X[0].tolist(), strict=True))
    )
    want = _cells(simulated)
    options = {"fasta": folder / "genome.fa", "windows": 10_000, "adjacent": "keep"}
    for name, form in (("a.vcf", "vcf"), ("a.maf", "maf")):
        start = time.process_time()
        found = gn.read("locus_regression", folder / name, form, features={"x": folder / "x.bedgraph"}, **options)
        seconds = time.process_time() - start
        same = _cells(found) == want
        t_same = np.array_equal(found["constant_data"]["context_opportunity"].to_numpy(), t)
        x_same = np.allclose(found["constant_data"]["features"].to_numpy()[0], X[0])
        print(f"{name}: cells equal: {same}; opportunities: {t_same}; feature: {x_same}; {seconds:.1f} CPU s")
        fit = gn.fit("locus_regression", found, "vi", seed=1, process=4, features=X)
        print(f"{name}: bound {fit.attrs['notes']}")
    fit = gn.fit("locus_regression", simulated, "vi", seed=1)
    print(f"arrays: bound {fit.attrs['notes']}")


def _cells(tree: Any) -> Counter[Any]:
    """Count mutations by genome, locus and channel; genomes of simulations are named as those of files."""
    known, seen = tree["constant_data"], tree["observed_data"]
    names = gn_names(tree)
    out: Counter[Any] = Counter()
    for g, locus, m, n in zip(
        known["genome"].to_numpy(),
        seen["locus"].to_numpy(),
        seen["channel"].to_numpy(),
        known["count"].to_numpy(),
        strict=True,
    ):
        out[names[g], int(locus), int(m)] += int(n)
    return out


def gn_names(tree: Any) -> list[str]:
    """Return the names of a tree's genomes, G0, G1 ... where they are numbers."""
    from genarium.attributes import attribute

    labels = attribute(tree, "labels").get("genome")
    return labels or [f"G{g}" for g in range(attribute(tree, "sizes")["genome"])]


Site = tuple[str, int, str, str, int]


def _sites(tree: Any, windows: Any, places: Any, codes: dict[str, Array], rng: np.random.Generator) -> list[Site]:
    """Put each mutation at a base of its context in its window, never twice in a genome; returns the sites, sorted."""
    taken: set[tuple[int, str, int, int]] = set()
    order = list(codes)
    out = []
    for (genome, locus, channel), count in sorted(_cells(tree).items()):
        context, alternative = (int(part) for part in split_channel(np.array(channel)))
        name, _ = windows[locus]
        pyrimidine = "CT"[context // 16]
        to = [base for base in "ACGT" if base != pyrimidine][alternative]
        where = places[locus][context]
        free = [int(p) for p in rng.permutation(where) if (genome, name, int(p), channel) not in taken][:count]
        assert len(free) == count, "a window has too few bases of a context; lower --rows"
        for p in free:
            taken.add((genome, name, p, channel))
            ref = str(BASES[codes[name][p]])
            alt = to if ref == pyrimidine else "TGCA"["ACGT".index(to)]
            out.append((name, p + 1, ref, alt, int(genome[1:])))
    return sorted(out, key=lambda site: (order.index(site[0]), *site[1:]))


def write_sites(folder: Path, sites: list[Site], genomes: int) -> None:
    """Write sites as VCF, a row for each, and as MAF."""
    none = ["0/0"] * genomes
    with (folder / "a.vcf").open("w") as vcf, (folder / "a.maf").open("w") as maf:
        vcf.write(vcf_header([f"G{g}" for g in range(genomes)]))
        columns = ("Chromosome", "Start_Position", "Reference_Allele", "Tumor_Seq_Allele1", "Tumor_Seq_Allele2")
        maf.write("\t".join(("Hugo_Symbol", *columns, "Tumor_Sample_Barcode")) + "\n")
        for name, p, ref, alt, genome in sites:
            row = none.copy()
            row[genome] = "0/1"
            vcf.write(f"{name}\t{p}\t.\t{ref}\t{alt}\t.\tPASS\t.\tGT\t" + "\t".join(row) + "\n")
            maf.write(f"x\t{name}\t{p}\t{ref}\t{ref}\t{alt}\tG{genome}\n")


PARTS = {"speed": speed, "memory": memory, "cohort": cohort}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--genomes", type=int, default=20)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    rows = given.rows or (100_000 if given.part == "cohort" else 1_000_000)
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
        PARTS[given.part](given.keep, rows, given.genomes)
        return
    with tempfile.TemporaryDirectory() as folder:
        PARTS[given.part](Path(folder), rows, given.genomes)


if __name__ == "__main__":
    main()
