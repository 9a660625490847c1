"""Doublets and indels: DBS78 and ID83 from mutation files and from tables, fitted as other channels are."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import genarium as gn
import ingest_files as made
from genarium.attributes import attribute
from genarium.errors import InputError
from genarium.models.locus_regression.channels import SETS
from genarium.models.locus_regression.ingest.events import doublet, indel, trimmed
from genarium.models.locus_regression.metrics import cosine, signatures
from genarium.models.locus_regression.tables import read_table


@pytest.mark.parametrize(
    ("alleles", "channel"),
    [
        (("CC", "TT"), "CC>TT"),
        (("GG", "AA"), "CC>TT"),
        (("CA", "TG"), "TG>CA"),
        (("GT", "CA"), "AC>TG"),
        (("AT", "GG"), "AT>CC"),
        (("AT", "TA"), "AT>TA"),
        (("CG", "GA"), "CG>TC"),
        (("TA", "CC"), "TA>GG"),
        (("GC", "TT"), "GC>AA"),
    ],
)
def test_doublets_have_the_name_that_cosmic_gives_either_strand(alleles: tuple[str, str], channel: str) -> None:
    assert doublet(*alleles) == channel


def test_every_doublet_has_a_channel_and_so_has_its_other_strand() -> None:
    pairs = [one + two for one in "ACGT" for two in "ACGT"]
    changes = [(a, b) for a in pairs for b in pairs if a[0] != b[0] and a[1] != b[1]]
    names = {doublet(*change) for change in changes}
    assert names == set(SETS["DBS78"].channels)
    for a, b in changes:
        assert doublet(a, b) == doublet(*(x.translate(made.COMPLEMENT)[::-1] for x in (a, b)))


@pytest.mark.parametrize(
    ("left", "ref", "alt", "right", "channel"),
    [
        ("GAC", "T", "", "CGA", "1:Del:T:0"),  # the only T
        ("GAC", "A", "", "AAACG", "1:Del:T:3"),  # one of four A
        ("GAC", "C", "", "TG", "1:Del:C:1"),
        ("GAG", "", "C", "TGA", "1:Ins:C:0"),
        ("GAG", "", "G", "GAT", "1:Ins:C:2"),  # beside one G before and one after
        ("AAAAAA", "", "T", "AAA", "1:Ins:T:0"),
        ("TTTTTTTT", "T", "", "TTA", "1:Del:T:5"),
        ("GAC", "TG", "", "TGTGC", "2:Del:R:2"),
        ("GATGC", "TG", "", "CCC", "2:Del:R:0"),
        ("GAC", "TGA", "", "TGC", "3:Del:M:2"),  # TG follows
        ("CCGA", "TGA", "", "CCC", "3:Del:M:2"),  # GA is before
        ("CCCA", "TA", "", "CCC", "2:Del:M:1"),
        ("CCC", "TGATGATT", "", "TGATGATC", "5:Del:M:5"),
        ("CCC", "", "TGA", "TGATGACC", "3:Ins:R:2"),
        ("CCC", "", "TGA", "TGCC", "3:Ins:R:0"),  # shared bases of insertions are not counted
        ("CCC", "", "TGATGA", "CC", "5:Ins:R:0"),
        ("CACACA", "", "CA", "CACACACACA", "2:Ins:R:5"),
        ("GC", "", "AC", "ACACAG", "2:Ins:R:3"),  # as well CA before the C
        ("CCCTG", "ATG", "", "ACC", "3:Del:R:1"),  # TGA twice
        ("CCTG", "ATTG", "", "AACC", "4:Del:M:3"),  # TG before it and A after it: as well TGAT with TGA after it
    ],
)
def test_indels_by_hand(left: str, ref: str, alt: str, right: str, channel: str) -> None:
    assert channel in SETS["ID83"].channels
    assert indel(trimmed(ref or "-", alt or "-"), len(left), left + ref + right) == channel
    other = [text.translate(made.COMPLEMENT)[::-1] for text in (left, ref, alt, right)]
    back = indel(trimmed(other[1] or "-", other[2] or "-"), len(right), other[3] + other[1] + other[0])
    assert back == channel  # read from the other strand


#            0         1         2         3         4
#            01234567890123456789012345678901234567890123456789
TINY = {"1": "ACGTCCATGGATCAAAAATTGCACACAGTTTGCATGCCGTAGGCTAAGT"}
ROWS = [
    ("1", 5, "CC", "TT"),  # a doublet, in one row
    ("1", 9, "G", "A"),  # and one in two rows
    ("1", 10, "G", "A"),
    ("1", 14, "A", "T"),  # single
    ("1", 20, "T", "C"),  # three
    ("1", 21, "G", "C"),
    ("1", 22, "C", "A"),
    ("1", 13, "CA", "C"),  # deletion of one of five A
    ("1", 22, "C", "CAC"),  # insertion of AC beside ACACA
    ("1", 37, "CCG", "C"),  # deletion of CG after C
    ("1", 39, "GTA", "CCT"),  # several
    ("1", 45, "TA", "GCC"),  # complex
]


def read(folder: Path, channels: str, rows: Any = ROWS, **options: Any) -> Any:
    fasta = made.write_fasta(folder / "genome.fa", TINY)
    vcf = made.write(folder / "S1.vcf", made.vcf_text(rows))
    return gn.read("locus_regression", vcf, "vcf", fasta=str(fasta), channels=channels, **options)


def cells(tree: Any) -> list[tuple[str, str]]:
    names = np.array(SETS[attribute(tree, "model_options")["channels"]].channels)
    known, seen = tree["constant_data"], tree["observed_data"]
    loci = known["locus"].to_numpy()[seen["locus"].to_numpy()]
    return sorted(zip(loci.tolist(), names[seen["channel"].to_numpy()].tolist(), strict=True))


def test_doublets_of_a_vcf(tmp_path: Path) -> None:
    tree = read(tmp_path, "DBS78", windows=10)
    assert cells(tree) == [("1:0-10", "CC>TT")]
    assert tree["constant_data"]["count"].to_numpy().tolist() == [2]
    account = attribute(tree, "ledger")["rows"]
    assert account["read"] == len(ROWS)
    assert account["left_out"] == {
        "single-base substitution": 1, "three or more SNVs side by side": 3, "second base of a doublet": 1,
        "indel": 4, "MNV": 1,
    }  # fmt: skip
    text, opportunity = TINY["1"], tree["constant_data"]["context_opportunity"]
    for name in ("CC>TT", "AT>CA", "TT>GG"):
        both = {name[:2], name[:2].translate(made.COMPLEMENT)[::-1]}
        expected = [sum(text[at : at + 2] in both for at in range(low, min(low + 10, 49))) for low in range(0, 49, 10)]
        assert opportunity.sel(context=name).to_numpy().tolist() == expected


def test_indels_of_a_vcf_and_of_a_maf(tmp_path: Path) -> None:
    tree = read(tmp_path, "ID83")
    expected = ["1:Del:T:4", "2:Del:R:0", "2:Ins:R:3"]
    assert [channel for _, channel in cells(tree)] == expected
    account = attribute(tree, "ledger")["rows"]
    assert account["left_out"] == {"single-base substitution": 6, "MNV": 2, "complex indel": 1}
    assert (tree["constant_data"].get("context_opportunity", np.ones(1)) == 1).all()
    head = ["Tumor_Sample_Barcode", "Chromosome", "Start_Position", "Reference_Allele", "Tumor_Seq_Allele2"]
    rows = [("S1", 1, 14, "A", "-"), ("S1", 1, 22, "-", "AC"), ("S1", 1, 38, "CG", "-"), ("S1", 1, 5, "CC", "TT")]
    maf = tmp_path / "a.maf"
    maf.write_text("\n".join("\t".join(map(str, row)) for row in [head, *rows]) + "\n")
    fasta = str(tmp_path / "genome.fa")
    for channels, found in (("ID83", expected), ("DBS78", ["CC>TT"])):
        again = gn.read("locus_regression", maf, "maf", fasta=fasta, channels=channels)
        assert [channel for _, channel in cells(again)] == found


def test_events_that_cannot_be_told(tmp_path: Path) -> None:
    vcf = made.write(tmp_path / "S1.vcf", made.vcf_text(ROWS))
    with pytest.raises(InputError, match="repeats and microhomology are told from the genome"):
        gn.read("locus_regression", vcf, "vcf", channels="ID83")
    tree = gn.read("locus_regression", vcf, "vcf", channels="DBS78")  # alleles suffice
    assert cells(tree)[0][1] == "CC>TT"
    with pytest.raises(InputError, match="takes no weight"):
        read(tmp_path, "ID83", weight="W")
    with pytest.raises(InputError, match=r"another reference base.*1:13 G, where the genome has C"):
        read(tmp_path, "ID83", [("1", 13, "GA", "A"), *ROWS[7:9]])


@pytest.fixture(scope="module", params=[pytest.param("DBS78", marks=pytest.mark.slow), "ID83"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path, Any]:
    """A channel set, tables of counts and of the three signatures that made them, and the true shares."""
    name, rng = request.param, np.random.default_rng(4)
    channels, folder = SETS[name].channels, tmp_path_factory.mktemp(name)
    truth = pd.DataFrame(rng.dirichlet(np.full(len(channels), 0.15), 3).T, index=channels, columns=["R1", "R2", "R3"])
    shares = rng.dirichlet(np.ones(3), 12)
    counts = np.array([rng.multinomial(2000, pi @ truth.to_numpy().T) for pi in shares]).T
    frame = pd.DataFrame(counts, index=channels, columns=[f"g{i:02}" for i in range(12)])
    order = rng.permutation(len(channels))
    paths = folder / "counts.tsv", folder / "signatures.tsv"
    frame.iloc[order].to_csv(paths[0], sep="\t", index_label="MutationType")
    truth.iloc[order].to_csv(paths[1], sep="\t", index_label="Type")
    return name, *paths, shares


@pytest.mark.slow
def test_tables_of_other_channels_are_read_fitted_and_written(table: Any, tmp_path: Path) -> None:
    name, counts, truth, _ = table
    tree = gn.read("locus_regression", counts, "matrix")
    assert attribute(tree, "model_options")["channels"] == name
    fit = gn.fit("locus_regression", tree, "vi", seed=1, process=3, restarts=2)
    assert cosine(signatures(fit), read_table(truth)).max("process").min() > 0.94
    assert "rho" not in fit["posterior"]  # one alternative, for sure
    (path,) = gn.export(fit, "signatures", tmp_path / "fit.tsv")
    again = read_table(path)
    np.testing.assert_allclose(again.to_numpy(), signatures(fit).to_numpy(), rtol=1e-12)
    (path,) = gn.export(fit, "mutations", tmp_path / "mutations.tsv")
    assert set(pd.read_csv(path, sep="\t")["channel"]) <= set(SETS[name].channels)
    predicted = gn.predict(fit)["predictions"]
    np.testing.assert_allclose(predicted["pi"], fit["posterior"]["pi"].mean(("chain", "draw")), atol=0.02)


@pytest.mark.parametrize("method", ["vi", "gibbs"])
@pytest.mark.slow
def test_given_signatures_of_other_channels_are_held(table: Any, method: str) -> None:
    _, counts, truth, shares = table
    tree = gn.read("locus_regression", counts, "matrix")
    few: Any = {"chains": 1, "draws": 60, "tune": 20} if method == "gibbs" else {"restarts": 1}
    fit = gn.fit("locus_regression", tree, method, seed=1, signatures=truth, **few)
    assert fit["posterior"]["process"].to_numpy().tolist() == ["R1", "R2", "R3"]
    found = fit["posterior"]["pi"].mean(("chain", "draw")).to_numpy()
    assert np.abs(found - shares).mean() < 0.012  # 2000 mutations each
    mixed = gn.fit("locus_regression", tree, method, seed=1, signatures=truth, columns=["R1", "R2"], process=3, **few)
    free = signatures(mixed).isel(process=[2])
    assert cosine(free, read_table(truth)).sel(reference="R3").item() > 0.94


@pytest.mark.slow
def test_the_number_of_processes_of_doublets_is_chosen(table: Any) -> None:
    name, counts, _, _ = table
    if name != "DBS78":
        pytest.skip("one is enough")
    tree = gn.read("locus_regression", counts, "matrix")
    assert gn.choose("locus_regression", tree, "process", [2, 3], seed=1, restarts=1)["posterior"].sizes["process"] == 3


@pytest.mark.parametrize("method", ["vi", "map"])
def test_fits_of_doublets_are_diagnosed(method: str) -> None:
    """Their contexts have one alternative each, so that a fit has no rho."""
    tree = gn.simulate("locus_regression", seed=1, channels="DBS78", cell=60, locus=4, genome=3, process=2)
    few = {"restarts": 1, "sweeps": 400, "draws": 100} if method == "vi" else {}
    found = gn.diagnose("locus_regression", gn.fit("locus_regression", tree, method, seed=1, **few))
    assert "variation between loci that the features do not explain" in [verdict.check for verdict in found.verdicts]
