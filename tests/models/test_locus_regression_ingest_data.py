"""Readers of sequencing files on cases with answers and on real files, which are not in the repository."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ingest_files as made
from genarium import InputError
from genarium.models.locus_regression import ingest
from genarium.models.locus_regression.channels import BASES
from genarium.models.locus_regression.ingest import place
from genarium.models.locus_regression.ingest.alleles import INDEL, MNV
from genarium.models.locus_regression.ingest.contigs import Contigs
from genarium.models.locus_regression.ingest.mutations import Mutations
from genarium.models.locus_regression.ingest.options import Options
from genarium.models.locus_regression.ingest.sources import Source
from genarium.models.locus_regression.ingest.tabular import read_maf, read_table
from genarium.models.locus_regression.ingest.tracks import measure, sums_of
from genarium.models.locus_regression.ingest.vcf import read_vcf
from genarium.models.locus_regression.ingest.windows import from_windows, whole

CASES = Path(__file__).parents[3] / "shared" / "data" / "ingest"
REAL = CASES / "real"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not CASES.is_dir(), reason="the cases (shared/data/ingest beside the repository) are absent"),
]


@pytest.fixture(scope="module")
def answers() -> Any:
    return json.loads((CASES / "answers.json").read_text())


def read(name: str, **options: Any) -> Any:
    reader = ingest.maf if name.endswith(".maf") else ingest.vcf
    return reader([CASES / name], fasta=CASES / "genome.fa", **{"windows": 500, "adjacent": "keep", **options})


def channels(found: Any) -> Counter[str]:
    out: Counter[str] = Counter()
    for (_, _, channel), count in made.cells_of(found).items():
        out[channel] += int(count)
    return out


@pytest.mark.parametrize("name", ["plain.vcf", "nochr.vcf", "unsorted.vcf", "plain.vcf.gz"])
def test_plain(name: str, answers: Any) -> None:
    found = read(name)
    told = answers["plain.vcf"]
    cells = {}
    for (sample, window, channel), count in made.cells_of(found).items():
        chromosome, _, span = window.partition(":")
        cells[f"{sample}|{chromosome}:{int(span.split('-')[0]) // 500}|{channel}"] = count
    assert cells == told["cells (sample|window of 500 bp|channel)"]
    assert found.ledger.rows.kept == told["SNVs"]
    notes = " ".join(found.ledger.notes)
    assert ("3 chromosome names were mapped" in notes) == (name == "nochr.vcf")


def test_pairs_side_by_side_are_doublets_by_default(answers: Any) -> None:
    assert read("plain.vcf", adjacent="doublet").ledger.rows.left_out == {place.ADJACENT: 6}


@pytest.mark.parametrize("name", ["fold_purine.vcf", "multiallelic.vcf", "padded_snv.vcf", "softmasked.vcf"])
def test_channels(name: str, answers: Any) -> None:
    want = answers[name]["channels"]
    assert channels(read(name)) == Counter(want)


@pytest.mark.parametrize("name", ["mnv.vcf", "filter.vcf", "plain.maf", "multiallelic.vcf", "softmasked.vcf"])
def test_what_is_left_out(name: str, answers: Any) -> None:
    found, want = read(name, adjacent="doublet" if name != "plain.maf" else "keep"), answers[name]
    assert sum(found["count"]) == want["SNVs"]
    assert found.ledger.rows.left_out == want.get("dropped", {})
    if name == "plain.maf":
        assert set(found["genome"].tolist()) == {want["sample"]}


def test_reference_mismatches_stop() -> None:
    with pytest.raises(InputError, match=r"3 of 3 .*chr1:101 C>A.*chr1:111 A>G.*chr1:121 A>T.*Wrong assembly\?"):
        read("refmismatch.vcf")


def test_features_and_opportunities(answers: Any) -> None:
    told = answers["windows.bed"]
    wig = CASES / "signal.bw"
    features = {"peaks": f"{CASES / 'peaks.bed'}:coverage", "signal": f"{wig}:mean", "covered": f"{wig}:coverage"}
    found = read("plain.vcf", windows=CASES / "windows.bed", features=features)
    X, t = found["features"], found["context_opportunity"]
    for window, want in told["peaks.bed:coverage"].items():
        assert float(X.sel(feature="peaks", locus=window)) == pytest.approx(want)
    for window, want in told["signal.bw:mean"].items():
        assert float(X.sel(feature="signal", locus=window)) == pytest.approx(want["mean_of_covered"], abs=1e-6)
        assert float(X.sel(feature="covered", locus=window)) == pytest.approx(want["covered"])
    for window, want in next(value for key, value in told.items() if key.startswith("context_opp")).items():
        assert t.sel(locus=window).to_numpy().tolist() == want


# Real files


def six(mutations: Mutations, adjacent: str = "keep") -> Counter[str]:
    """Substitutions of six classes, which need no genome."""
    contigs = Contigs(mutations.chromosomes, [2**40] * len(mutations.chromosomes), "files")
    out: Counter[str] = Counter()
    for one in place.by_contig(mutations, contigs, adjacent == "keep").values():
        for code in one.code.tolist():
            pair = BASES[code // 4] + BASES[code % 4]
            pair = pair if pair[0] in "CT" else pair.translate(made.COMPLEMENT)
            out[f"{pair[0]}>{pair[1]}"] += 1
    return out


def of_matrix(path: Path, column: str) -> Counter[str]:
    table = pd.read_csv(path, sep="\t", index_col=0)[column]
    return Counter({str(key): int(n) for key, n in table.groupby(table.index.str[2:5]).sum().items()})


@pytest.mark.parametrize("name", ["colon1", "colon2", "intestine1", "intestine2", "liver1"])
def test_stem_cells(name: str) -> None:
    """Their only sample column is the blood's; the published matrix counts one doublet of colon2 apart."""
    found = read_vcf([REAL / "vcf" / f"{name}-sample.vcf"], Options(), [])
    assert list(found.every) == [f"{name}-sample"]
    assert six(found, "doublet") == of_matrix(REAL / "vcf" / "mut_mat_SBS96.tsv", name)
    assert found.account.left_out == ({place.ADJACENT: 2} if name == "colon2" else {})


@pytest.mark.parametrize("name", ["PD3851a", "PD3890a"])
def test_breast_tables_without_header(name: str) -> None:
    """The published matrix counts doublets as two substitutions."""
    found = read_table([REAL / "vcf" / f"{name}.vcf"], Options(), [])
    assert list(found.every) == [name]
    assert six(found) == of_matrix(REAL / "vcf" / "21_breast_SBS96.tsv", name)


def test_leukaemia_maf() -> None:
    found = read_maf([REAL / "maf" / "tcga_laml.maf.gz"], Options(), [])
    assert (found.account.read, found.account.left_out, len(found.every)) == (2207, {INDEL: 205}, 193)
    assert six(found) == {"C>T": 1235, "T>C": 236, "C>A": 235, "C>G": 139, "T>A": 89, "T>G": 68}


def test_a_maf_made_of_a_vcf() -> None:
    one = read_vcf([REAL / "maf" / "vcf2maf_test_b38.vcf"], Options(filters="any"), [])
    other = read_maf([REAL / "maf" / "vcf2maf_test_b38_output.maf"], Options(filters="any"), [])
    assert one.account.left_out.get(MNV) == other.account.left_out.get(MNV)
    assert {*zip(one.position, one.code, strict=True)} == {*zip(other.position, other.code, strict=True)}


@pytest.mark.slow
def test_real_bigwig() -> None:
    path = REAL / "features" / "bigtools_valid.bigWig"
    contigs = Contigs(["chr17"], [83_257_441], "hg38")
    sums = sums_of(Source(path), whole(contigs), {})
    assert sums.bases[0] == 137_894
    assert sums.total[0] == pytest.approx(89_001_714, abs=1)
    assert sums.total[0] / sums.bases[0] == pytest.approx(645.43573, abs=1e-5)
    windowed = sums_of(Source(path), from_windows("10kb", contigs)[0], {})
    assert windowed.bases.sum() == 137_894
    assert windowed.total.sum() == pytest.approx(89_001_714, abs=1)


def test_real_peaks() -> None:
    path = REAL / "features" / "GSM923442_hg19_wgEncodeUwRepliSeqMcf7PkRep1.bed"
    lengths = json.loads((REAL / "features" / "hg19ChromSizesDict.txt").read_text())
    loci, _ = from_windows(1_000_000, Contigs(lengths, lengths.values(), "hg19"))
    covered = measure(Source(path), "coverage", loci, []) * loci.lengths
    rows = pd.read_csv(path, sep="\t", header=None)
    assert covered.sum() == (rows[2] - rows[1])[rows[0].isin(lengths)].sum()


def test_real_soft_masked_sequence(tmp_path: Path) -> None:
    path = REAL / "features" / "chr17.hg19.part.fa"
    text = path.read_text().split("\n")[1]
    vcf = made.write(
        tmp_path / "a.vcf", made.vcf_text([["17", 500, text[499].upper(), "ACGT"["CGTA".index(text[499].upper())]]])
    )
    found = ingest.vcf([vcf], fasta=path, windows=500)
    windows = [("chr17", start, min(start + 500, len(text))) for start in range(0, len(text), 500)]
    assert len(found["exposure"]) == len(windows)
    assert np.array_equal(found["context_opportunity"].to_numpy(), made.opportunities({"chr17": text}, windows))
    assert (found["context_opportunity"].to_numpy() == 0).any(0).sum() > 0
