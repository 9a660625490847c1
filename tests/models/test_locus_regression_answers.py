"""Answers of locus_regression as files: tables, tracks and annotated VCF files, by Python and by the command."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import genarium as gn
from genarium.cli import main
from genarium.errors import InputError
from genarium.models.locus_regression.channels import CHANNELS
from genarium.models.locus_regression.metrics import signatures as signatures_of
from genarium.models.locus_regression.tables import read_table
from ingest_files import COMPLEMENT, genome, vcf_text, write, write_fasta

NAME = "locus_regression"


def substitutions(sequence: dict[str, str], seed: int, count: int = 160) -> list[tuple[str, int, str, str, str, str]]:
    """Random substitutions of two genomes, sorted, at least three bases apart."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, text in sequence.items():
        for at in sorted(3 * rng.choice(len(text) // 3 - 2, count // 3, replace=False) + 3):
            ref = text[at].upper()
            if "N" not in text[at - 1 : at + 2].upper():
                alt = rng.choice([base for base in "ACGT" if base != ref])
                rows.append((name, int(at) + 1, ref, str(alt), *rng.permutation(["0/1", "0/0"]).tolist()))
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.DataTree]:
    """A folder with a genome, a VCF file of two samples, and a fit of two processes to it."""
    folder = tmp_path_factory.mktemp("answers")
    sequence = genome()
    write_fasta(folder / "genome.fa", sequence)
    rows: list[Any] = substitutions(sequence, 1)
    rows.insert(3, ("chr1", rows[2][1] + 1, "A", "ATT", "0/1", "0/0"))  # an insertion: it gets no tag
    write(folder / "in.vcf", vcf_text(rows, ("S1", "S2"), '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">'))
    data = gn.read(NAME, folder / "in.vcf", "vcf", fasta=str(folder / "genome.fa"), windows=200)
    fit = gn.fit(NAME, data, "vi", seed=1, process=2, draws=40, restarts=1, sweeps=400)
    gn.save(fit, folder / "fit.nc")
    return folder, fit


def test_signatures_are_a_table_of_cosmics_layout(made: tuple[Path, xr.DataTree]) -> None:
    folder, fit = made
    assert gn.export(fit, "signatures", folder / "s.tsv") == [folder / "s.tsv"]
    assert (folder / "s.tsv").read_text().partition("\n")[0] == "Type\tprocess0\tprocess1"
    table = read_table(folder / "s.tsv")
    np.testing.assert_allclose(table, signatures_of(fit), rtol=1e-12)
    again = gn.fit(NAME, fit, "vi", seed=1, signatures=folder / "s.tsv", alpha=1.0, tau=1.0, draws=10, restarts=1)
    assert again["posterior"]["process"].to_numpy().tolist() == ["process0", "process1"]
    gn.export(fit, "signatures", folder / "s.csv", opportunity="none")
    np.testing.assert_allclose(read_table(folder / "s.csv"), signatures_of(fit, opportunity=None), rtol=1e-12)


def test_exposures_add_up_to_the_mutations(made: tuple[Path, xr.DataTree]) -> None:
    folder, fit = made
    gn.export(fit, "exposures", folder / "e.tsv")
    table = pd.read_csv(folder / "e.tsv", sep="\t", index_col="Samples")
    count, g = fit["constant_data"]["count"].to_numpy(), fit["constant_data"].to_dataset().variables["genome"].values
    assert table.index.tolist() == ["S1", "S2"]
    np.testing.assert_allclose(table.sum(axis=1), np.bincount(g, count))
    gn.export(fit, "exposures", folder / "shares.csv", unit="share")
    shares = pd.read_csv(folder / "shares.csv", index_col=0)
    np.testing.assert_allclose(shares, fit["posterior"]["pi"].mean(("chain", "draw")))


def test_mutations_have_the_probabilities_of_predict(made: tuple[Path, xr.DataTree]) -> None:
    folder, fit = made
    gn.export(fit, "mutations", folder / "m.tsv")
    table = pd.read_csv(folder / "m.tsv", sep="\t")
    expected = gn.predict(fit)["predictions"]["probability"]
    np.testing.assert_allclose(table[["0", "1"]], expected, atol=1e-3)
    assert table["locus"][0].startswith("chr")
    assert set(table["channel"]) <= set(CHANNELS)
    assert table["count"].sum() == fit["constant_data"]["count"].sum()


def test_rates_are_tracks(made: tuple[Path, xr.DataTree]) -> None:
    pybigtools = pytest.importorskip("pybigtools")
    folder, fit = made
    assert [path.name for path in gn.export(fit, "bedgraph", folder / "r.bedgraph")] == [
        "r.process0.bedgraph",
        "r.process1.bedgraph",
    ]
    rows = [line.split("\t") for line in (folder / "r.process0.bedgraph").read_text().splitlines()[1:]]
    rate = gn.predict(fit)["predictions"]["rate"].to_numpy()[:, 0]
    known = fit["constant_data"].to_dataset()
    length = (known["end"] - known["start"]).to_numpy()
    assert [row[0] for row in rows] == known["chrom"].to_numpy().tolist()
    np.testing.assert_allclose([float(row[3]) for row in rows], rate / length * 1e6, rtol=1e-4)
    gn.export(fit, "bigwig", folder / "r.bw", process="process0")
    with pybigtools.open(str(folder / "r.bw")) as file:
        assert set(file.chroms()) == {"chr1", "chr2", "chrX"}
        got = file.values("chr1", 0, 200, fillna=None)
    np.testing.assert_allclose(got, rate[0] / length[0] * 1e6, rtol=1e-4)


@pytest.mark.parametrize("name", ["out.vcf", "out.vcf.gz"])
def test_mutations_are_annotated(made: tuple[Path, xr.DataTree], name: str) -> None:
    """By the command: every substitution of the fit has its probabilities, all else is as it was."""
    import pysam

    folder, fit = made
    options = [f"source={folder / 'in.vcf'}", f"fasta={folder / 'genome.fa'}"]
    command = ["export", str(folder / "fit.nc"), "--as", "vcf", "-o", str(folder / name)]
    assert main([*command, "--option", options[0], "--option", options[1]]) == 0
    before = (folder / "in.vcf").read_text().splitlines()
    if name.endswith("gz"):
        with pysam.TabixFile(str(folder / name)) as file:
            assert len(list(file.fetch("chr1"))) > 30
        text = gzip.decompress((folder / name).read_bytes()).decode()
    else:
        text = (folder / name).read_text()
    after = text.splitlines()
    assert [line for line in after if line.startswith("##")][:2] == before[:2]
    records, old = ([line.split("\t") for line in lines if line[0] != "#"] for lines in (after, before))
    probability = gn.predict(fit)["predictions"]["probability"].to_numpy()
    known, seen = fit["constant_data"].to_dataset(), fit["observed_data"].to_dataset()
    cell = {
        key: i
        for i, key in enumerate(
            zip(
                known.variables["genome"].values.tolist(),
                seen.variables["locus"].values.tolist(),
                seen.variables["channel"].values.tolist(),
                strict=True,
            )
        )
    }
    sequence, windows = genome(), known["locus"].to_numpy().tolist()
    tagged = 0
    for new, was in zip(records, old, strict=True):
        assert [*new[:7], *new[8:]] == [*was[:7], *was[8:]]
        if len(was[4]) > 1:
            assert new[7] == was[7]
            continue
        at = int(was[1]) - 1
        three, alt = sequence[was[0]][at - 1 : at + 2].upper(), was[4]
        if three[1] in "AG":
            three, alt = three[::-1].translate(COMPLEMENT), alt.translate(COMPLEMENT)
        channel = CHANNELS.index(f"{three[0]}[{three[1]}>{alt}]{three[2]}")
        place = next(i for i, w in enumerate(windows) if w.startswith(f"{was[0]}:") and _inside(w, at))
        key = (0 if was[9] == "0/1" else 1, place, channel)
        told = dict(one.split("=") for one in new[7].split(";"))
        values = [float(p) for p in told["PROCESS_P"].split(",")]
        np.testing.assert_allclose(values, probability[cell[key]], atol=2e-4)
        assert told["PROCESS"] == f"process{int(np.argmax(probability[cell[key]]))}"
        tagged += 1
    assert tagged == len(records) - 1


def _inside(window: str, at: int) -> bool:
    start, end = window.partition(":")[2].split("-")
    return int(start) <= at < int(end)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("cosmic", {}, "there is no export 'cosmic'. The kinds are signatures, exposures, mutations"),
        ("exposures", {"unit": "percent"}, "unit='percent' is not known"),
        ("exposures", {"size": 3}, "export 'exposures' has no option 'size'. Its options are unit"),
        ("bigwig", {"process": "SBS1"}, "there is no process 'SBS1' in the fit; there are process0, process1"),
        ("vcf", {}, "the VCF file to annotate is missing. Give it: source="),
    ],
)
def test_what_cannot_be_written_is_named(
    made: tuple[Path, xr.DataTree], kind: str, options: dict[str, Any], message: str
) -> None:
    folder, fit = made
    with pytest.raises(InputError, match=message):
        gn.export(fit, kind, folder / "never.out", **options)
    assert not (folder / "never.out").exists()


def test_genomes_that_the_fit_does_not_have_are_named(made: tuple[Path, xr.DataTree]) -> None:
    folder, fit = made
    other = write(folder / "other.vcf", vcf_text(substitutions(genome(), 1)[:5], ("T8", "T9")))
    with pytest.raises(InputError, match=r"other\.vcf: none of its genomes \(T8, T9\) is in the fit, which has S1, S2"):
        gn.export(fit, "vcf", folder / "never.vcf", source=str(other), fasta=str(folder / "genome.fa"))
    with pytest.raises(InputError, match=r"other\.vcf: none of its genomes \(T8, T9\) is in the fit"):
        gn.export(fit, "vcf", folder / "never.vcf", source=str(other), fasta=str(folder / "genome.fa"), genome="S1")


def test_a_matched_normal_is_not_annotated(made: tuple[Path, xr.DataTree]) -> None:
    """Of a caller's file, which is named after the genome, alleles of the column TUMOR alone get a tag."""
    folder, fit = made
    source = write(folder / "S1.vcf", vcf_text(substitutions(genome(), 1)[:20], ("NORMAL", "TUMOR")))
    gn.export(fit, "vcf", folder / "tumour.vcf", source=str(source), fasta=str(folder / "genome.fa"))
    rows = [line.split("\t") for line in (folder / "tumour.vcf").read_text().splitlines() if line[0] != "#"]
    assert ["PROCESS=" in row[7] for row in rows] == [row[10] == "0/1" for row in rows]


@pytest.mark.parametrize("which", ["some", "none", "unknown"])
def test_of_a_lone_sample_what_it_carries_is_annotated(made: tuple[Path, xr.DataTree], which: str) -> None:
    """As read: all records of one that carries nothing at all, or of a caller that tells no genotypes."""
    folder, fit = made
    rows = [row[:5] for row in substitutions(genome(), 1)[:20]]
    text = vcf_text([(*row[:4], "0/0") if which == "none" else row for row in rows], ("S1",))
    if which == "unknown":
        text = text.replace("\tGT\t", "\tDP\t")
    source = write(folder / "S2.vcf", text)
    found = folder / f"{which}.vcf"
    gn.export(fit, "vcf", found, source=str(source), fasta=str(folder / "genome.fa"))
    told = [line.split("\t")[7] for line in found.read_text().splitlines() if line[0] != "#"]
    assert ["PROCESS=" in one for one in told] == [which != "some" or row[4] == "0/1" for row in rows]
    if which == "unknown":  # of the sample, not of the genome that the file is named after
        assert gn.export(fit, "vcf", found, source=str(write(folder / "S1.vcf", text)), fasta=str(folder / "genome.fa"))
        assert told == [line.split("\t")[7] for line in found.read_text().splitlines() if line[0] != "#"]


def test_loci_without_places_make_no_tracks(tmp_path: Path) -> None:
    tree = gn.simulate(NAME, seed=1, cell=200, locus=10)
    fit = gn.fit(NAME, tree, "vi", seed=1, draws=5, restarts=1, sweeps=400)
    with pytest.raises(InputError, match="have no places in the genome"):
        gn.export(fit, "bedgraph", tmp_path / "r.bedgraph")
