"""Readers of sequencing files: mutations of VCF, MAF and tables, contexts, windows, and what is left out."""

import gzip
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pysam
import pytest

import ingest_files as made
from genarium import InputError
from genarium.models.locus_regression import ingest
from genarium.models.locus_regression.ingest import place
from genarium.models.locus_regression.ingest.alleles import INDEL, MNV, NO_CHANGE, OTHER, STAR, SYMBOLIC, change
from genarium.models.locus_regression.ingest.contigs import Contigs
from genarium.models.locus_regression.ingest.genome import Genome

SEQUENCES = made.genome()
SIZE = 200


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(made.write_fasta(tmp_path_factory.mktemp("genome") / "genome.fa", SEQUENCES))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def make(text: str, name: str = "a.vcf") -> Path:
        return Path(made.write(tmp_path / name, text))

    return make


def base(name: str, position: int) -> str:
    return str(SEQUENCES[name][position - 1]).upper()


def other(name: str, position: int) -> str:
    return "ACGT"[("ACGT".index(base(name, position)) + 1) % 4]


def snv(name: str, position: int, *rest: Any) -> list[Any]:
    return [name, position, base(name, position), other(name, position), *rest]


@pytest.mark.parametrize(
    ("ref", "alt", "reason", "offset", "letters"),
    [
        ("A", "C", "", 0, "AC"),
        ("c", "t", "", 0, "CT"),
        ("AGA", "CGA", "", 0, "AC"),
        ("AGA", "AGT", "", 2, "AT"),
        ("AG", "CA", MNV, 0, "AA"),
        ("AGA", "CGT", MNV, 0, "AA"),
        ("A", "AC", INDEL, 0, "AA"),
        ("AC", "A", INDEL, 0, "AA"),
        ("-", "C", INDEL, 0, "AA"),
        ("C", "-", INDEL, 0, "AA"),
        ("A", "<DEL>", SYMBOLIC, 0, "AA"),
        ("A", "A[chr2:5[", SYMBOLIC, 0, "AA"),
        ("A", ".C", SYMBOLIC, 0, "AA"),
        ("A", "*", STAR, 0, "AA"),
        ("A", ".", NO_CHANGE, 0, "AA"),
        ("A", "A", NO_CHANGE, 0, "AA"),
        ("N", "A", OTHER, 0, "AA"),
    ],
)
def test_changes(ref: str, alt: str, reason: str, offset: int, letters: str) -> None:
    code = "ACGT".index(letters[0]) * 4 + "ACGT".index(letters[1])
    assert change(ref, alt) == (reason, offset, code)


def test_cells_and_opportunities_are_those_of_a_slow_count(fasta: str, write: Callable[..., Path]) -> None:
    samples = ["S1", "S2", "S3"]
    rows, want = made.substitutions(SEQUENCES, samples, 60, SIZE)
    path = write(made.vcf_text(rows, samples))
    found = ingest.vcf([path], fasta=fasta, windows=SIZE)
    assert made.cells_of(found) == want
    exposure = found["exposure"]
    windows = list(zip(*(exposure[name].to_numpy().tolist() for name in ("chrom", "start", "end")), strict=True))
    assert windows[:2] == [("chr1", 0, 200), ("chr1", 200, 400)]
    assert ("chr1", 1200, 1230) in windows
    assert np.array_equal(found["context_opportunity"].to_numpy(), made.opportunities(SEQUENCES, windows))
    known = [sum(letter in "ACGTacgt" for letter in SEQUENCES[c][a:b]) for c, a, b in windows]
    assert exposure.to_numpy().tolist() == known
    ledger = found.ledger  # type: ignore[attr-defined]
    assert ledger.rows.read == ledger.rows.kept == sum(want.values())
    assert ledger.columns.kept == 3
    # in another order, without "chr", compressed in two ways, and as BCF
    names = {"chr1": "1", "chr2": "chr2", "chrX": "23"}
    mixed = [[names[name], *rest] for name, *rest in reversed(rows)]
    again = ingest.vcf([write(made.vcf_text(mixed, samples), "b.vcf.gz")], fasta=fasta, windows=SIZE)
    assert made.cells_of(again) == want
    assert "2 chromosome names were mapped" in " ".join(again.ledger.notes)  # type: ignore[attr-defined]
    pysam.tabix_compress(str(path), str(path) + ".gz")
    assert made.cells_of(ingest.vcf([Path(str(path) + ".gz")], fasta=fasta, windows=SIZE)) == want


def test_the_genome_is_taken_piece_by_piece(fasta: str, monkeypatch: pytest.MonkeyPatch) -> None:
    genome = Genome(Path(fasta))
    whole = dict(genome.each([0, 2]))
    monkeypatch.setattr("genarium.models.locus_regression.ingest.genome.FETCHED", 100)
    for contig, codes in genome.each([0, 2]):
        assert np.array_equal(codes, whole[contig])
    assert [len(codes) for codes in whole.values()] == [1230, 450]


def test_bcf(fasta: str, write: Callable[..., Path]) -> None:
    rows, want = made.substitutions(SEQUENCES, ["S1", "S2"], 10, SIZE)
    contigs = "\n".join(f"##contig=<ID={name},length={len(text)}>" for name, text in SEQUENCES.items())
    header = contigs + '\n##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">'
    path = write(made.vcf_text(rows, ["S1", "S2"], header))
    with (
        pysam.VariantFile(str(path)) as source,
        pysam.VariantFile(str(path) + ".bcf", "wb", header=source.header) as out,
    ):
        for record in source:
            out.write(record)
    assert made.cells_of(ingest.vcf([Path(str(path) + ".bcf")], fasta=fasta, windows=SIZE)) == want


def test_everything_left_out_is_counted(fasta: str, tmp_path: Path, write: Callable[..., Path]) -> None:
    good = [snv("chr1", position) for position in range(400, 460, 4)]
    a = base("chr1", 10)
    rows = [
        *good,
        snv("chr1", 400),  # again
        snv("chr1", 500),
        snv("chr1", 501),  # side by side
        snv("chr1", 300),  # beside N
        snv("chr1", 1),
        ["chr1", 1231, "A", "C"],
        ["chr1", 0, "A", "C"],
        ["chrUn", 5, "A", "C"],
        ["chr1", 10, a + base("chr1", 11), other("chr1", 10) + other("chr1", 11)],
        ["chr1", 10, a, a + "TT"],
        ["chr1", 10, a, "<DEL>"],
        ["chr1", 10, a, "*"],
        ["chr1", 520, other("chr1", 520), base("chr1", 520)],  # 1 in 21
        snv("chr1", 530, {"FILTER": "LowQ;Strand"}),
        snv("chr1", 540, {"FILTER": "."}),
        snv("chr2", 50),  # excluded
        snv("chr2", 700),  # no window
    ]
    windows = write("chr1\t0\t1230\nchr2\t0\t400\n", "w.bed")
    excluded = write("chr2\t40\t60\n", "x.bed")
    found = ingest.vcf([write(made.vcf_text(rows))], fasta=fasta, windows=str(windows), exclude=str(excluded))
    ledger = found.ledger  # type: ignore[attr-defined]
    assert ledger.rows.left_out == {
        place.DUPLICATE: 1,
        place.ADJACENT: 2,
        place.NO_CONTEXT: 1,
        place.EDGE: 1,
        place.BEYOND: 2,
        place.NOT_IN_GENOME: 1,
        MNV: 1,
        INDEL: 1,
        SYMBOLIC: 1,
        STAR: 1,
        place.MISMATCH: 1,
        "filter LowQ;Strand": 1,
        place.EXCLUDED: 1,
        place.ELSEWHERE: 1,
    }
    assert ledger.rows.read == len(rows)
    assert ledger.rows.kept == sum(made.cells_of(found).values()) == len(good) + 1
    assert ledger.rows.names[place.NOT_IN_GENOME] == ["chrUn"]
    assert "Unfiltered mutations (FILTER '.') were kept: 1" in " ".join(ledger.notes)
    assert found["exposure"].to_numpy()[1] == 400 - 20 - 7
    t = found["context_opportunity"].to_numpy()
    kept = [("chr2", 0, 40), ("chr2", 60, 400)]
    assert np.array_equal(t[:, 1], made.opportunities(SEQUENCES, kept).sum(1))


def test_adjacent_substitutions_may_be_kept(fasta: str, write: Callable[..., Path]) -> None:
    path = write(made.vcf_text([snv("chr1", 500), snv("chr1", 501), snv("chr1", 600)]))
    assert sum(ingest.vcf([path], fasta=fasta)["count"]) == 1
    assert sum(ingest.vcf([path], fasta=fasta, adjacent="keep")["count"]) == 3


def test_neighbours_in_two_genomes_are_no_doublet(fasta: str, write: Callable[..., Path]) -> None:
    rows = [snv("chr1", 500, "0/1", "0/0"), snv("chr1", 501, "0/0", "0/1")]
    assert sum(ingest.vcf([write(made.vcf_text(rows, ["S1", "S2"]))], fasta=fasta)["count"]) == 2


def test_two_alternatives_at_a_site_are_two_mutations(fasta: str, write: Callable[..., Path]) -> None:
    rest = [letter for letter in "ACGT" if letter != base("chr1", 500)]
    rows = [["chr1", 500, base("chr1", 500), ",".join(rest[:2]), "1/2", "0/2"]]
    found = made.cells_of(ingest.vcf([write(made.vcf_text(rows, ["S1", "S2"]))], fasta=fasta))
    channels = [made.channel_at(SEQUENCES["chr1"], 499, alt) for alt in rest[:2]]
    assert found == {(s, "genome", channels[i]): 1 for s, i in (("S1", 0), ("S1", 1), ("S2", 1))}


def test_the_phase_of_the_first_allele_may_stand_before_it(fasta: str, write: Callable[..., Path]) -> None:
    rows = [snv("chr1", 500, "|0|1", "/0|0"), snv("chr1", 600, "/0/0", "|1/1")]
    found = made.cells_of(ingest.vcf([write(made.vcf_text(rows, ["S1", "S2"]))], fasta=fasta))
    assert sorted(sample for sample, _, _ in found) == ["S1", "S2"]


def test_another_assembly_stops(fasta: str, write: Callable[..., Path]) -> None:
    rows = [["chr1", p, other("chr1", p), base("chr1", p)] for p in (500, 510, 520, 530)]
    with pytest.raises(
        InputError, match=r"4 of 5 mutations have another reference .*chr1:500 .*Wrong assembly\?"
    ) as told:
        ingest.vcf([write(made.vcf_text([*rows, snv("chr1", 600)]))], fasta=fasta)
    assert "chr1:520" in str(told.value)
    assert "chr1:530" not in str(told.value)


def test_a_genome_with_less_bases_than_its_index_says_stops(tmp_path: Path, write: Callable[..., Path]) -> None:
    """What is not there would be whatever lies in memory."""
    path = made.write_fasta(tmp_path / "g.fa", SEQUENCES)
    damaged = bytearray(path.read_bytes())
    begin = damaged.index(b"\n") + 2
    damaged[begin : begin + 4] = bytes(4)
    path.write_bytes(damaged)
    rows, _ = made.substitutions(SEQUENCES, ["S1"], 60, SIZE)
    with pytest.raises(InputError, match=r"contig .* has \d+ bases by its index, but from base 1 on \d+ could be"):
        ingest.vcf([write(made.vcf_text(rows))], fasta=str(path))


def test_files_that_are_cut_short_stop(fasta: str, tmp_path: Path, write: Callable[..., Path]) -> None:
    rows, _ = made.substitutions(SEQUENCES, ["S1"], 60, SIZE)
    text = made.vcf_text(rows)
    whole = gzip.compress(text.encode())
    cut = tmp_path / "cut.vcf.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.vcf\.gz: the compressed file is truncated or damaged after line"):
        ingest.vcf([cut], fasta=fasta)
    packed = tmp_path / "packed.vcf.gz"
    pysam.tabix_compress(str(write(text)), str(packed))
    packed.write_bytes(packed.read_bytes()[:-28])  # bgzip's last block alone
    with pytest.raises(InputError, match="its last block is missing"):
        ingest.vcf([packed], fasta=fasta)
    lines = text.splitlines()
    with pytest.raises(InputError, match=r"line 5 has 4 columns where the header names 10"):
        ingest.vcf([write("\n".join([*lines[:4], "\t".join(lines[4].split("\t")[:4])]))], fasta=fasta)


def test_what_is_no_vcf_is_refused(fasta: str, write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"line 1 comes before the line #CHROM .* format 'table'"):
        ingest.vcf([write("chr1\t500\tS1\tA\tC\n")], fasta=fasta)
    with pytest.raises(InputError, match="the file is empty"):
        ingest.vcf([write("")], fasta=fasta)
    with pytest.raises(InputError, match="line 3: the position is 'x'"):
        ingest.vcf([write(made.vcf_text([["chr1", "x", "A", "C"]]))], fasta=fasta)
    with pytest.raises(InputError, match="line 3: the genotype '0/7'"):
        ingest.vcf([write(made.vcf_text([snv("chr1", 500, "0/7")]))], fasta=fasta)


def test_the_column_of_a_matched_normal(fasta: str, write: Callable[..., Path]) -> None:
    rows = [snv("chr1", 500, "0/0"), snv("chr1", 510, "0/0")]
    found = ingest.vcf([write(made.vcf_text(rows, ["blood"]), "colon1.vcf")], fasta=fasta)
    assert found["genome"].tolist() == ["colon1"] * 2
    notes = " ".join(found.ledger.notes)  # type: ignore[attr-defined]
    assert "blood carries none of its alleles" in notes
    paths = [write(made.vcf_text(rows, ["blood"]), f"colon{i}.vcf") for i in (1, 2)]
    found = ingest.vcf(paths, fasta=fasta)
    assert found["genome"].tolist() == ["colon1"] * 2 + ["colon2"] * 2
    assert "read as one genome" not in " ".join(found.ledger.notes)  # type: ignore[attr-defined]
    both = [snv("chr1", 500, "0/1", "0/0"), snv("chr1", 510, "0/1", "0/1")]
    found = ingest.vcf([write(made.vcf_text(both, ["TUMOR", "NORMAL"]), "p7.vcf")], fasta=fasta)
    assert found["genome"].tolist() == ["p7"] * 2
    assert found.ledger.rows.left_out == {"of the matched normal": 1}  # type: ignore[attr-defined]
    header = "##tumor_sample=T\n##normal_sample=N"
    found = ingest.vcf([write(made.vcf_text(both, ["T", "N"], header), "p8.vcf")], fasta=fasta)
    assert found["genome"].tolist() == ["T"] * 2


def test_samples_of_several_files(fasta: str, write: Callable[..., Path]) -> None:
    one = write(made.vcf_text([snv("chr1", 500, "0/1", "0/1")], ["S1", "S2"]), "one.vcf")
    two = write(made.vcf_text([snv("chr1", 520, "0/1")], ["S2"]), "two.vcf")
    sites = write(made.vcf_text([snv("chr1", 540)], []), "sites.vcf")
    found = ingest.vcf([one, two, sites], fasta=fasta)
    assert sorted(found["genome"].tolist()) == ["S1", "S2", "S2", "sites"]
    assert "read as one genome" in " ".join(found.ledger.notes)  # type: ignore[attr-defined]
    found = ingest.vcf([one, two, sites], fasta=fasta, samples="S2")
    assert found["genome"].tolist() == ["S2", "S2"]
    assert found.ledger.rows.left_out == {"of a genome not asked for": 2}  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"there is no genome 'S3'\. There are: S1, S2"):
        ingest.vcf([one], fasta=fasta, samples=["S3"])


def test_without_genotypes_one_sample_carries_all(fasta: str, write: Callable[..., Path]) -> None:
    rows = [snv("chr1", 500, "9", {"FORMAT": "DP"})]
    assert sum(ingest.vcf([write(made.vcf_text(rows))], fasta=fasta)["count"]) == 1
    rows = [snv("chr1", 500, "9", "9", {"FORMAT": "DP"})]
    with pytest.raises(InputError, match="line 3 has no genotypes"):
        ingest.vcf([write(made.vcf_text(rows, ["S1", "S2"]))], fasta=fasta)


def test_weights(fasta: str, write: Callable[..., Path]) -> None:
    rows = [
        snv("chr1", 500, "0/1:2", {"INFO": "X=1;W=3", "FORMAT": "GT:W"}),
        snv("chr1", 520, "0/1:4", {"INFO": "W=5", "FORMAT": "GT:W"}),
    ]
    path = write(made.vcf_text(rows))
    assert sum(ingest.vcf([path], fasta=fasta, weight="W")["count"]) == 8
    assert sum(ingest.vcf([path], fasta=fasta, weight="INFO/W")["count"]) == 8
    assert sum(ingest.vcf([path], fasta=fasta, weight="FORMAT/W")["count"]) == 6
    with pytest.raises(InputError, match=r"line 3: the weight V is '\.'"):
        ingest.vcf([path], fasta=fasta, weight="V")
    part = write(made.vcf_text([*rows[:1], snv("chr1", 520, "0/1:4", {"INFO": "W=0.5", "FORMAT": "GT:W"})]), "part.vcf")
    with pytest.raises(InputError, match=r"line 4: the weight W is '0\.5'. It must be a whole number"):
        ingest.vcf([part], fasta=fasta, weight="W")


MAF = ("Hugo_Symbol", "Chromosome", "Start_Position", "Strand", "Reference_Allele", "Tumor_Seq_Allele1",
       "Tumor_Seq_Allele2", "Tumor_Sample_Barcode")  # fmt: skip


def maf_text(rows: Any, names: tuple[str, ...] = MAF) -> str:
    lines = [names, *(("G", *row) for row in rows)]
    return "#version 2.4\n" + "\n".join("\t".join(map(str, row)) for row in lines) + "\n"


def test_files_without_rows(fasta: str, write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"a\.maf: there is no mutation of any genome"):
        ingest.maf([write(maf_text([]), "a.maf")], fasta=fasta)
    with pytest.raises(InputError, match="line 3 has 11 columns where the header names 10"):
        ingest.vcf([write(made.vcf_text([snv("chr1", 500, "0/1", "0/1")]))], fasta=fasta)
    with pytest.raises(InputError, match="more than 50,000,000"):
        ingest.vcf(
            [write(made.vcf_text([snv("chr1", 500, {"INFO": "X=ACG"})]))],
            context="X",
            windows=1,
            sizes=write("chr1\t99000000\n", "g.sizes"),
        )


def test_maf(fasta: str, write: Callable[..., Path]) -> None:
    a, b = base("chr1", 500), other("chr1", 500)
    rest = [letter for letter in "ACGT" if letter not in (a, b)]
    minus = [letter.translate(made.COMPLEMENT) for letter in (base("chr1", 530), other("chr1", 530))]
    rows = [
        ("1", 500, "+", a, a, b, "T1"),
        ("1", 500, "+", a, b, b, "T2"),  # homozygous
        ("1", 500, "+", a, b, a, "T3"),  # the other way round
        ("1", 500, "+", a, b, rest[0], "T4"),  # two
        ("1", 530, "-", minus[0], minus[0], minus[1], "T1"),
        ("1", 540, "+", "AC", "AC", "GT", "T1"),
        ("1", 550, "+", "-", "-", "A", "T1"),
        ("1", 560, "+", base("chr1", 560), base("chr1", 560), "-", "T1"),
    ]
    found = ingest.maf([write(maf_text(rows), "a.maf")], fasta=fasta)
    c = made.channel_at
    text = SEQUENCES["chr1"]
    assert made.cells_of(found) == {
        **{(t, "genome", c(text, 499, b)): 1 for t in ("T1", "T2", "T3", "T4")},
        ("T4", "genome", c(text, 499, rest[0])): 1,
        ("T1", "genome", c(text, 529, other("chr1", 530))): 1,
    }
    assert found.ledger.rows.left_out == {MNV: 1, INDEL: 2}  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="line 2 names no column of the genome"):
        ingest.maf([write(maf_text(rows, (*MAF[:-1], "Patient")), "a.maf")], fasta=fasta)
    with pytest.raises(InputError, match="line 4 has 3 columns where 8 are needed"):
        ingest.maf([write(maf_text([rows[0], ("1", 500)]), "a.maf")], fasta=fasta)
    with pytest.raises(InputError, match="line 3: column 'Start_Position': the position is 'x'"):
        ingest.maf([write(maf_text([("1", "x", "+", "A", "A", "C", "T1")]), "a.maf")], fasta=fasta)


def test_filters_of_maf(fasta: str, write: Callable[..., Path]) -> None:
    names = (*MAF, "FILTER")
    rows = [
        (*("chr1", p, "+", base("chr1", p), "", other("chr1", p), "T"), f) for p, f in ((500, "PASS"), (510, "common"))
    ]
    path = write(maf_text(rows, names), "a.maf")
    assert ingest.maf([path], fasta=fasta).ledger.rows.left_out == {"filter common": 1}  # type: ignore[attr-defined]
    assert sum(ingest.maf([path], fasta=fasta, filters="any")["count"]) == 2


@pytest.mark.parametrize(
    ("form", "header"),
    [
        ("{c}\t{p}\t{s}\t{r}\t{a}", ""),
        ("{s}\t{c}\t{p}\t{r}\t{a}", ""),
        ("{s},{c},{p},{r},{a},x", "sample,chrom,pos,ref,alt,note"),
        ("x {c} {p} {r} {a} {s}", "#name chr start REF ALT Sample"),
    ],
)
@pytest.mark.parametrize("sample", ["PD1", "17"])
def test_tables(form: str, header: str, sample: str, fasta: str, write: Callable[..., Path]) -> None:
    rows, want = made.substitutions(SEQUENCES, [sample], 20, SIZE)
    rows = [row for row in rows if "1" in row[-1]]
    lines = [form.format(c=c, p=p, r=r, a=a, s=sample) for c, p, r, a, _ in rows]
    found = ingest.table([write("\n".join([*filter(None, [header]), *lines]), "a.txt")], fasta=fasta, windows=SIZE)
    assert made.cells_of(found) == want


def test_tables_that_cannot_be_told(fasta: str, write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="line 1 names no columns, and has 4 fields"):
        ingest.table([write("chr1\t5\tA\tC\n")], fasta=fasta)
    with pytest.raises(InputError, match="neither the second nor the third"):
        ingest.table([write("a\tb\tc\tA\tC\n")], fasta=fasta)


def test_contexts_of_the_file_in_the_place_of_a_genome(write: Callable[..., Path]) -> None:
    rows = [("1", 5, "A", "C", "TAG", "S"), ("1", 9, "G", "T", "TGAAA", "S"), ("2", 7, "A", "C", "C[T>G]A", "S")]
    text = "chrom\tpos\tref\talt\tctx\tsample\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)
    path = write(text, "a.tsv")
    with pytest.raises(InputError, match="the contexts of mutations are not known"):
        ingest.table([path])
    with pytest.raises(InputError, match="1 of 3 mutations have a context whose middle base is not the reference"):
        ingest.table([path], context="ctx")
    rows[1] = ("1", 9, "G", "T", "AAGCT", "S")
    text = "chrom\tpos\tref\talt\tctx\tsample\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)
    found = ingest.table([write(text, "a.tsv")], context="ctx")
    assert made.cells_of(found) == {
        ("S", "genome", "C[T>G]A"): 2,
        ("S", "genome", "G[C>A]T"): 1,
    }
    assert "context_opportunity" not in found
    contexts = "".join(f"{five}{ref}{three}\t{i}\n" for i, (ref, five, three) in enumerate(
        (r, f, t) for r in "CT" for f in "ACGT" for t in "ACGT"))  # fmt: skip
    table = write("context\tall\n" + contexts, "t.tsv")
    windows = write("1\t0\t100\n2\t0\t300\n", "w.bed")
    found = ingest.table([path], context="ctx", opportunities=str(table), windows=str(windows))
    t = found["context_opportunity"].to_numpy()
    assert t[:, 0].tolist() == [i / 4 for i in range(32)]
    assert t[:, 1].tolist() == [i * 3 / 4 for i in range(32)]
    assert found["exposure"].to_numpy().tolist() == [100, 300]


def test_nothing_is_written_beside_the_genome(tmp_path: Path, write: Callable[..., Path]) -> None:
    folder = tmp_path / "genomes"
    folder.mkdir()
    path = made.write_fasta(folder / "genome.fa", SEQUENCES)
    vcf = write(made.vcf_text([snv("chr1", 500)]))
    want = made.cells_of(ingest.vcf([vcf], fasta=path))
    assert [one.name for one in folder.iterdir()] == ["genome.fa"]
    pysam.faidx(str(path))
    index = Path(str(path) + ".fai")
    assert made.cells_of(ingest.vcf([vcf], fasta=path)) == want
    index.write_text("chr1\t9\t0\t60\t61\n")  # older than the genome: not used
    os.utime(index, (0, 0))
    assert Genome(path).contigs.lengths == [1230, 800, 450]
    os.utime(index, (time.time() + 60,) * 2)
    assert Genome(path).contigs.lengths == [9]


def test_without_pysam_says_what_to_do(fasta: str, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysam", None)
    with pytest.raises(InputError, match=r"a FASTA file needs pysam, .*contexts are read without it"):
        ingest.vcf([write(made.vcf_text([snv("chr1", 500)]))], fasta=fasta)


def test_compressed_genomes(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = made.write_fasta(tmp_path / "genome.fa", SEQUENCES)
    pysam.tabix_compress(str(path), str(path) + ".gz")
    vcf = write(made.vcf_text([snv("chr1", 500)]))
    assert made.cells_of(ingest.vcf([vcf], fasta=f"{path}.gz")) == made.cells_of(ingest.vcf([vcf], fasta=path))
    plain = made.write(tmp_path / "plain.fa.gz", path.read_text())
    with pytest.raises(InputError, match="compressed by gzip"):
        ingest.vcf([vcf], fasta=str(plain))
    with pytest.raises(InputError, match="not a FASTA file"):
        ingest.vcf([vcf], fasta=str(vcf))


def test_names_of_chromosomes() -> None:
    contigs = Contigs(["chr1", "chr23", "chrX", "chrM"], [9, 9, 9, 9], "g.fa")
    assert [contigs.find(name) for name in ("1", "Chr1", "NC_000001.11", "X", "MT", "chrM", "2")] == [
        0,
        0,
        0,
        -1,
        3,
        3,
        -1,
    ]
    plain = Contigs(["1", "X", "Y", "MT"], [9, 9, 9, 9], "g.fa")
    assert [plain.find(name) for name in ("chr1", "23", "24", "26", "M", "chrM")] == [0, 1, 2, 3, 3, 3]
    assert len(plain.mapped) == 6


def test_windows(fasta: str, write: Callable[..., Path]) -> None:
    vcf = write(made.vcf_text([snv("chr1", 500), snv("chr1", 700)]))
    blocks = "chr1\t450\t720\tlong\t0\t-\t450\t720\t0\t2\t100,20\t0,250\n"
    bed = write("track name=w\nchr2\t0\t100\n" + blocks + "chr1\t560\t650\n", "w.bed")
    found = ingest.vcf([vcf], fasta=fasta, windows=bed)
    exposure = found["exposure"]
    assert exposure["locus"].to_numpy().tolist() == ["long", "chr1:560-650", "chr2:0-100"]
    assert exposure["strand"].to_numpy().tolist() == ["-", ".", "."]
    assert exposure.to_numpy().tolist() == [120, 90, 100]
    assert exposure["blocks"].to_numpy().tolist() == ["450-550,700-720", "560-650", "0-100"]
    assert found["locus"].tolist() == [0]
    ledger = found.ledger  # type: ignore[attr-defined]
    assert ledger.rows.left_out == {place.ELSEWHERE: 1}
    assert "put into the order of the genome" in ledger.notes[0]
    bed.write_text("chr1\t0\t100\nchr2\t0\t9\nchr1\t99\t200\n")
    with pytest.raises(InputError, match="the windows of lines 1 and 3 overlap at chr1:99-100"):
        ingest.vcf([vcf], fasta=fasta, windows=str(bed))
    bed.write_text("chr1\t0\t2000\n")
    with pytest.raises(InputError, match="line 1: the window chr1:0-2000 goes beyond the end of chr1"):
        ingest.vcf([vcf], fasta=fasta, windows=str(bed))
    bed.write_text("chr1\t100\t100\n")
    with pytest.raises(InputError, match=r"line 1: the window .* has no bases"):
        ingest.vcf([vcf], fasta=fasta, windows=str(bed))
    bed.write_text("chr1\t0\t100\tx\t0\t+\t0\t100\t0\t2\t10\t0\n")
    with pytest.raises(InputError, match=r"its blocks .* do not agree"):
        ingest.vcf([vcf], fasta=fasta, windows=str(bed))
    sizes = write("chr1\t1230\n", "g.sizes")
    assert len(ingest.vcf([vcf], fasta=fasta, windows="0.5kb".replace("0.5", "1"), sizes=sizes)["exposure"]) == 2
    with pytest.raises(InputError, match="lengths of chromosomes are not known"):
        ingest.vcf([write(made.vcf_text([snv("chr1", 500, {"INFO": "X=ACG"})]))], context="X", windows=100)


def test_a_window_has_its_first_base_and_not_its_end(fasta: str, write: Callable[..., Path]) -> None:
    path = write(made.vcf_text([snv("chr1", position) for position in (400, 401, 600)]))
    bed = write("chr1\t400\t599\n", "w.bed")
    assert ingest.vcf([path], fasta=fasta, windows=200, adjacent="keep")["locus"].tolist() == [1, 2, 2]
    found = ingest.vcf([path], fasta=fasta, windows=bed, adjacent="keep")
    assert made.cells_of(found) == {
        ("S1", "chr1:400-599", made.channel_at(SEQUENCES["chr1"], 400, other("chr1", 401))): 1
    }


def test_windows_without_known_bases_are_dropped(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = made.write_fasta(tmp_path / "n.fa", {"chr1": "N" * 100 + SEQUENCES["chr1"][:100]})
    vcf = write(made.vcf_text([["chr1", 150, SEQUENCES["chr1"][49], other("chr1", 50)]]))
    found = ingest.vcf([vcf], fasta=path, windows=100)
    assert found["exposure"]["locus"].to_numpy().tolist() == ["chr1:100-200"]
    assert "1 of 2 windows have no known base" in " ".join(found.ledger.notes)  # type: ignore[attr-defined]


def test_a_corpus_of_nothing_says_so(fasta: str, write: Callable[..., Path]) -> None:
    row = ["chr1", 500, base("chr1", 500) + base("chr1", 501), other("chr1", 500) + other("chr1", 501)]
    found = ingest.vcf([write(made.vcf_text([row]))], fasta=fasta)
    assert sum(found["count"]) == 0
    ledger = found.ledger  # type: ignore[attr-defined]
    assert ledger.rows.left_out == {MNV: 1}
    assert "nothing to fit" in ledger.notes[-1]


def test_genomes_without_mutations_are_told(fasta: str, write: Callable[..., Path]) -> None:
    rows = [snv("chr1", 500, "0/1", "0/0"), snv("chr1", 520, "0/1", "0/0")]
    found = ingest.vcf([write(made.vcf_text(rows, ["S1", "S2"]))], fasta=fasta)
    columns = found.ledger.columns  # type: ignore[attr-defined]
    assert columns.names == {"without a mutation that was kept": ["S2"]}
    assert (columns.read, columns.kept) == (2, 1)
