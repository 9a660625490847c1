"""Cases of locus_regression: mutations of VCF, MAF and tables, with a small genome."""

from typing import Any

from validation.fuzz.case import Case, Random, sometimes
from validation.fuzz.formats.alleles import Carried, Genome, maf_rows, table_rows, vcf_rows, verify
from validation.fuzz.oracles import oracle
from validation.fuzz.raw import COMPRESS, bgzf, damage
from validation.fuzz.text import NAMES, Grid, alter, written

MODEL = "locus_regression"
WINDOWS = ("200", 150, "1kb", 10**6, "0", "-5", 1.5, "x", True, "1e2", "windows.bed")
ALTERNATIVES = ("AT", "<DEL>", "*", ".", "", "-", "N", "a", "A,C", "G,T,<NON_REF>", "A]chr1:5]", "R", "*,A")
GENOTYPES = ("0/1", "0|1", "1/1", "1", "0/0", "./.", ".", "0/0/1", "0|0|0|1", "./1", "1/.", "0/2", "x", "", "1/0", "/")
FILTERS = ("PASS", "PASS", "PASS", ".", "", "q10", "pass", "q10;s50")
VCF = ["CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
MAF = ["Hugo_Symbol", "Chromosome", "Start_Position", "Reference_Allele", "Tumor_Seq_Allele1", "Tumor_Seq_Allele2",
       "Tumor_Sample_Barcode", "FILTER"]  # fmt: skip
HEADERS = (["Sample", "Chrom", "Pos", "Ref", "Alt"], ["chr", "start", "sample", "reference", "alternative"])


def _genome(r: Random) -> Genome:
    out = {}
    for name in ("chr1", "chr2", "chrX")[: r.randint(1, 3)]:
        text = [r.choice("ACGT") for _ in range(r.randint(60, 400))]
        text[20:24] = r.choice(("NNNN", "acgt"))
        out[name] = "".join(text)
    return out


def _fasta(genome: Genome) -> bytes:
    lines = (
        f">{name}\n" + "\n".join(text[i : i + 60] for i in range(0, len(text), 60)) for name, text in genome.items()
    )
    return ("\n".join(lines) + "\n").encode()


def _mutation(r: Random, genome: Genome) -> tuple[str, int, str, str]:
    """Return a mutation: mostly a substitution that fits the genome."""
    name = r.choice(list(genome))
    at = r.randrange(len(genome[name]))
    ref = genome[name][at].upper()
    alt = r.choice([base for base in "ACGT" if base != ref])
    if sometimes(r, 0.15):
        alt = r.choice(ALTERNATIVES)
    if sometimes(r, 0.05):
        ref = genome[name][at : at + 3].upper()
        alt = ref[:-1] + "A"
    return (name.removeprefix("chr") if sometimes(r, 0.05) else name), at + 1, ref, alt


def _case(
    r: Random, format_: str, parts: list[tuple[str, bytes]], genome: Genome, rows: Carried, steps: list[str]
) -> Case:
    """Return a case of mutations' files, with options and a genome, which may be damaged too."""
    files: dict[str, bytes | str] = dict(parts)
    inputs = list(files)
    files["genome.fa"] = _fasta(genome)
    options: dict[str, Any] = {"fasta": "genome.fa"}
    sound = True
    if sometimes(r, 0.5):
        options["windows"] = r.choice(WINDOWS[:4]) if sometimes(r, 0.7) else r.choice(WINDOWS)
    if sometimes(r, 0.1):
        options["exclude"] = "windows.bed"
    if "windows.bed" in options.values():
        sound, bed = False, b"chr1\t0\t50\tone\nchr1\t50\t60\ttwo\n"
        files["windows.bed"] = damage(r, bed, steps) if sometimes(r, 0.5) else bed
    if sometimes(r, 0.1):
        options["samples"] = r.choice(("s1", "s1,s2", ["s2"], "s9", r.choice(NAMES)))
    if sometimes(r, 0.15):
        options["filters"] = "any"
    if sometimes(r, 0.15):
        options["adjacent"] = "keep"
    if sometimes(r, 0.04):
        options[
            r.choice(("fasta", "windows", "samples", "filters", "weight", "context", "like", "nope", "missing"))
        ] = r.choice((None, "", 1, [], {"a": 1}, "DP", True, *NAMES))
        sound = False
    if sometimes(r, 0.06):
        sound, files["genome.fa"] = False, damage(r, _fasta(genome), steps)
    case = Case(MODEL, format_, files, inputs, options, steps=steps)
    case.check = oracle(lambda tree: verify(tree, case, genome, rows, sound))
    return case


def _names(r: Random) -> list[str]:
    return [f"s{i + 1}" for i in range(r.randint(1, 3))]


def vcf(r: Random) -> Case:
    """Make a case of the reader of VCF files."""
    genome, steps = _genome(r), list[str]()
    parts = []
    for k in range(r.choice((1, 1, 1, 2))):
        samples = [] if sometimes(r, 0.2) else _names(r) if sometimes(r, 0.9) else ["TUMOR", "NORMAL"]
        rows, known = [], GENOTYPES if sometimes(r, 0.15) else GENOTYPES[:11]
        for _ in range(r.randint(1, 25)):
            name, position, ref, alt = _mutation(r, genome)
            row = [name, str(position), ".", ref, alt, ".", r.choice(FILTERS), "DP=3"]
            calls = [r.choice(known) for _ in samples]
            rows.append(row + (["GT:DP", *(f"{call}:7" for call in calls)] if samples else []))
        grid = Grid([*VCF, *(["FORMAT", *samples] if samples else [])], rows)
        if sometimes(r, 0.6):
            alter(r, grid, steps)
        lines = ["##fileformat=VCFv4.2", "#" + "\t".join(grid.header), *("\t".join(map(str, row)) for row in grid.rows)]
        parts.append(_stored(r, f"v{k}.vcf", lines, steps))
    return _case(r, "vcf", parts, genome, vcf_rows, steps)


def _stored(r: Random, name: str, lines: list[str], steps: list[str]) -> tuple[str, bytes]:
    """Return lines as a file: plain, or compressed by gzip, bgzip or what is not read; some are damaged."""
    data = ("\r\n" if sometimes(r, 0.1) else "\n").join([*lines, ""]).encode("utf-8", "replace")
    if sometimes(r, 0.25):
        data = damage(r, data, steps)
    if sometimes(r, 0.4):
        pack = r.choice((COMPRESS[".gz"], bgzf, bgzf, COMPRESS[".bz2"]))
        data = pack(data)
        name += ".gz" if sometimes(r, 0.9) else ""
        if sometimes(r, 0.3):
            data = damage(r, data, steps)
    return name, data


def maf(r: Random) -> Case:
    """Make a case of the reader of MAF files."""
    genome, steps = _genome(r), list[str]()
    samples, rows = _names(r), []
    for _ in range(r.randint(1, 25)):
        name, position, ref, alt = _mutation(r, genome)
        first = r.choice((ref, ref, alt, "", "C"))
        rows.append(["g", name, str(position), ref, first, alt, r.choice(samples), r.choice(FILTERS)])
    return _case(r, "maf", [_table(r, "m", Grid(list(MAF), rows), steps)], genome, maf_rows, steps)


def table(r: Random) -> Case:
    """Make a case of the reader of tables, with a header or without."""
    genome, steps = _genome(r), list[str]()
    samples, rows = _names(r), []
    header = list(r.choice(HEADERS))
    for _ in range(r.randint(1, 25)):
        name, position, ref, alt = _mutation(r, genome)
        place = [name, str(position)]
        one = [r.choice(samples)]
        rows.append([*(one + place if header[0] == "Sample" else place + one), ref, alt])
    part = _table(r, "t", Grid(header, rows), steps, sometimes(r, 0.5))
    return _case(r, "table", [part], genome, table_rows, steps)


def _table(r: Random, name: str, grid: Grid, steps: list[str], bare: bool = False) -> tuple[str, bytes]:
    if sometimes(r, 0.6):
        alter(r, grid, steps)
    if not bare and sometimes(r, 0.5):
        return written(r, name, grid, steps)
    mark = "\t" if sometimes(r, 0.7) else r.choice(", ")
    rows = grid.rows if bare else [grid.header, *grid.rows]
    return _stored(r, f"{name}.txt", [mark.join(map(str, row)) for row in rows], steps)
