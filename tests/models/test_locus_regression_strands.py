"""Strands: mutations and contexts by the strand of a gene or a replication fork, and the asymmetry of a process."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genarium as gn
import ingest_files as made
from genarium.attributes import attribute
from genarium.errors import InputError
from genarium.models.locus_regression.bias import bias
from genarium.models.locus_regression.channels import SETS, set_of
from genarium.models.locus_regression.strands import asymmetry, asymmetry_by_substitution
from genarium.remedies import in_python

#            0         1         2         3
#            0123456789012345678901234567890123456789
TINY = {"1": "AACGTACGTACCGTTAACGGTACGTTACGATCAACGTTAG"}
GENES = [("1", 4, 16, "+"), ("1", 12, 24, "-"), ("1", 30, 36, "-")]


def bed(path: Path, rows: Any) -> Any:
    return made.write(path, "".join(f"{c}\t{a}\t{b}\tg{i}\t0\t{s}\n" for i, (c, a, b, s) in enumerate(rows)))


def gtf(path: Path, rows: Any) -> Any:
    line = '{}\tx\tgene\t{}\t{}\t.\t{}\t.\tgene_id "g{}";\n'
    return made.write(path, "".join(line.format(c, a + 1, b, s, i) for i, (c, a, b, s) in enumerate(rows)))


def strand_at(rows: Any, chromosome: str, text: str, at: int) -> str:
    """T, U or N, by looking at every interval: a + gene is read from -, where the pyrimidine of a purine on + is."""
    over = {s for c, a, b, s in rows if c == chromosome and a <= at < b and s != "."}
    if len(over) != 1:
        return "N"
    return "T" if (over == {"+"}) == (text[at].upper() in "AG") else "U"


def read(folder: Path, sequences: Any, rows: Any, strand: Path, **options: Any) -> Any:
    fasta = made.write_fasta(folder / "genome.fa", sequences)
    vcf = made.write(folder / "S1.vcf", made.vcf_text(rows))
    return gn.read("locus_regression", vcf, "vcf", fasta=str(fasta), strand=str(strand), **options)


def counted(tree: Any) -> Counter[str]:
    data = {**tree["observed_data"].to_dataset(), **tree["constant_data"].to_dataset()}
    names = SETS[attribute(tree, "model_options")["channels"]].channels
    out = Counter[str]()
    for m, n in zip(data["channel"].to_numpy(), data["count"].to_numpy(), strict=True):
        out[str(names[m])] += int(n)
    return out


def test_channel_sets_are_those_of_the_field() -> None:
    assert [len(one.channels) for one in SETS.values()] == [96, 192, 288, 78, 83]
    assert SETS["SBS288"].channels[0] == "T:A[C>A]A"
    assert {name[:2] for name in SETS["SBS192"].channels} == {"T:", "U:"}
    assert SETS["DBS78"].channels[:10] == (
        *("AC>CA", "AC>CG", "AC>CT", "AC>GA", "AC>GG", "AC>GT", "AC>TA", "AC>TG", "AC>TT"), "AT>CA",
    )  # fmt: skip
    assert SETS["ID83"].channels[24] == "2:Del:R:0"
    assert SETS["ID83"].channels[-11:] == (
        *("2:Del:M:1", "3:Del:M:1", "3:Del:M:2", "4:Del:M:1", "4:Del:M:2", "4:Del:M:3"),
        *(f"5:Del:M:{i}" for i in range(1, 6)),
    )
    for one in SETS.values():
        assert set_of(one.channels) is one
    folded = {frozenset((d, d.translate(made.COMPLEMENT)[::-1])) for d in (name[:2] for name in SETS["DBS78"].channels)}
    assert len(folded) == 10  # no doublet is there from both strands


@pytest.mark.parametrize("make", [bed, gtf])
def test_the_strand_of_a_mutation_by_hand(tmp_path: Path, make: Any) -> None:
    rows = [
        ("1", 7, "C", "T"),  # + gene: C is on the strand that is not read
        ("1", 9, "T", "A"),
        ("1", 5, "T", "A"),
        ("1", 11, "C", "A"),
        ("1", 14, "T", "C"),  # both genes
        ("1", 19, "G", "A"),  # - gene, purine: the pyrimidine is on -, which is not read
        ("1", 23, "C", "T"),  # - gene: C on +, which is read
        ("1", 28, "C", "T"),  # no gene
        ("1", 34, "A", "G"),  # - gene, purine
    ]
    strand = make(tmp_path / ("genes.bed" if make is bed else "genes.gtf"), GENES)
    tree = read(tmp_path, TINY, rows, strand)
    found = counted(tree)
    assert attribute(tree, "model_options")["channels"] == "SBS288"
    assert found == Counter(
        ["U:A[C>T]G", "U:G[T>A]A", "U:G[T>A]A", "U:A[C>A]C", "N:G[T>C]T", "U:C[C>T]G", "T:A[C>T]G", "N:A[C>T]G",
         "U:G[T>C]T"]
    )  # fmt: skip
    notes = " ".join(attribute(tree, "ledger")["notes"])
    assert "2 of 9 mutations are N: 1 where neither strand has an interval, 1 where both" in notes

    tree = read(tmp_path, TINY, rows, strand, channels="SBS192")
    assert counted(tree) == Counter({name: n for name, n in found.items() if name[0] != "N"})
    left = attribute(tree, "ledger")["rows"]["left_out"]
    assert left["where neither strand has an interval"] == 1
    assert left["where both strands have intervals"] == 1


@pytest.mark.parametrize("channels", ["SBS192", "SBS288"])
def test_opportunities_are_counted_on_each_strand(tmp_path: Path, channels: str) -> None:
    sequences = made.genome()
    genes = [
        *(("chr1", 3, 420, "+"), ("chr1", 90, 130, "-"), ("chr1", 400, 777, "-"), ("chr1", 500, 600, "-")),
        *(("chr1", 1200, 1230, "+"), ("chr2", 0, 800, "+"), ("chrX", 250, 251, "-"), ("chrX", 5, 9, ".")),
    ]
    rows, cells = made.substitutions(sequences, ["S1"], 60, 100)
    strand = bed(tmp_path / "genes.bed", genes)
    fasta = made.write_fasta(tmp_path / "genome.fa", sequences)
    vcf = made.write(tmp_path / "S1.vcf", made.vcf_text(rows))
    tree = gn.read("locus_regression", vcf, "vcf", fasta=str(fasta), strand=str(strand), windows=100, channels=channels)
    known = tree["constant_data"]
    names, kinds = [str(name) for name in known["locus"].to_numpy()], SETS[channels]
    expected, bases = np.zeros((len(kinds.contexts), len(names))), np.zeros(len(names))
    for w, name in enumerate(names):
        chromosome, _, place = name.partition(":")
        text, (start, end) = sequences[chromosome], map(int, place.split("-"))
        for at in range(start, end):
            side = strand_at(genes, chromosome, text, at)
            if side not in kinds.strands or text[at].upper() not in "ACGT":
                continue
            bases[w] += 1
            if context := made.context_at(text, at):
                expected[kinds.contexts.index(f"{side}:{context}"), w] += 1
    np.testing.assert_array_equal(known["context_opportunity"].to_numpy(), expected)
    np.testing.assert_array_equal(known["exposure"].to_numpy(), bases)
    if channels == "SBS192":
        assert len(names) < 26  # windows without a gene are dropped
    wanted = Counter[str]()
    for chromosome, position, _, alt, genotype in rows:
        text = sequences[chromosome]
        side = strand_at(genes, chromosome, text, position - 1)
        if "1" in genotype and side in kinds.strands:
            wanted[f"{side}:{made.channel_at(text, position - 1, alt)}"] += 1
    assert counted(tree) == wanted
    assert sum(cells.values()) >= wanted.total() > 0


def test_asymmetry_of_known_preferences() -> None:
    rng = np.random.default_rng(3)
    lam = rng.dirichlet(np.ones(32), 2)
    rho = rng.dirichlet(np.ones(3), (2, 32))
    t = rng.uniform(1, 9, (64, 5))
    of_strand = np.array([3.0, 1.0])  # three times as often on T
    both = (lam.reshape(2, 2, 1, 16) * of_strand[:, None] / 4).reshape(2, 64)
    each = np.repeat(rho.reshape(2, 2, 1, 16, 3), 2, 2).reshape(2, 64, 3)
    known = (t, np.ones(64), rng.uniform(1, 2, 5))
    np.testing.assert_allclose(asymmetry(both, *known), np.log(3))
    np.testing.assert_allclose(asymmetry_by_substitution(both, each, *known), np.full((2, 6), np.log(3)))
    draws = asymmetry_by_substitution(np.stack([both, both]), np.stack([each, each]), *known)
    assert draws.shape == (2, 2, 6)
    one = both.copy()
    one[:, :16] *= 2  # T, contexts of C
    found = asymmetry_by_substitution(one / one.sum(1, keepdims=True), each, *known)
    np.testing.assert_allclose(found, np.log([6] * 3 + [3] * 3)[None].repeat(2, 0))


@pytest.mark.slow
def test_a_planted_asymmetry_is_recovered(tmp_path: Path) -> None:
    """From a genome, genes and a VCF: C>T is three times as often on the transcribed strand, T>C as often on both."""
    rng = np.random.default_rng(5)
    text = "".join(rng.choice(list("ACGT"), 60_000))
    genes = [("c", 2000 * i + 200, 2000 * i + 1700, "+-"[i % 3 == 0]) for i in range(30)]
    rate = {"T": 0.75, "U": 0.25, "N": 0.5}
    rows, planted = [], Counter[tuple[str, str]]()
    for at in range(1, len(text) - 1, 2):
        side, pyrimidine = strand_at(genes, "c", text, at), made.context_at(text, at)[2]
        if rng.uniform() < 0.2 * (rate[side] if pyrimidine == "C" else 0.5):
            alt = {"C": "T", "T": "C"}[pyrimidine]
            alt = alt.translate(made.COMPLEMENT) if text[at] in "AG" else alt
            rows.append(("c", at + 1, text[at], alt))
            planted[f"{pyrimidine}>{'TC'[pyrimidine == 'T']}", side] += 1
    tree = read(tmp_path, {"c": text}, rows, gtf(tmp_path / "genes.gtf", genes), channels="SBS192", windows=2000)
    fit = gn.fit("locus_regression", tree, "gibbs", seed=1, process=1, chains=2, draws=150, tune=50)
    draws = fit["posterior"]["asymmetry_by_substitution"].sel(process=0)
    for substitution, truth in (("C>T", np.log(3)), ("T>C", 0.0)):
        each = draws.sel(substitution=substitution).to_numpy().ravel()
        n = [planted[substitution, side] for side in "TU"]
        spread = np.sqrt(1 / n[0] + 1 / n[1])
        assert abs(each.mean() - truth) < 4 * spread
        assert 0.7 * spread < each.std() < 1.5 * spread
    assert np.quantile(draws.sel(substitution="C>T"), 0.01) > 0.5
    source, annotated = tmp_path / "S1.vcf", tmp_path / "annotated.vcf"
    given = {"source": str(source), "fasta": str(tmp_path / "genome.fa")}
    with pytest.raises(InputError, match="which tell strands apart"):
        gn.export(fit, "vcf", annotated, **given)
    gn.export(fit, "vcf", annotated, **given, strand=str(tmp_path / "genes.gtf"))
    assert annotated.read_text().count("PROCESS=") == fit["constant_data"]["count"].sum()
    ((title, _, figure),) = bias(fit, [("one", "black")])
    assert title == "Strand asymmetry"
    drawn = np.asarray(figure.axes[0].collections[-1].get_offsets())[:, 0]
    np.testing.assert_allclose(drawn[1:], draws.mean(("chain", "draw")) / np.log(2))
    (path,) = gn.export(fit, "signatures", tmp_path / "signatures.txt")
    names = [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]
    assert names[0] == "T:A[C>A]A"
    assert names[96] == "U:A[C>A]A"
    assert set(names) == set(SETS["SBS192"].channels)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"channels": "SBS96"}, "tells no strands apart"),
        ({"channels": "SBS192", "strand": None}, "Say which they are: strand='genes.gtf'"),
        ({"strand": "genes.bw"}, "strands are read from GTF, GFF3 or BED"),
        ({"text": "1\t4\t16\n"}, "line 1 ('1\\t4\\t16') is not an interval with a strand"),
        ({"text": "1\t4\t16\tg\t0\t.\n"}, "no interval has a strand"),
        ({"text": "7\t4\t16\tg\t0\t+\n"}, "no interval has a strand"),
        ({"text": "1\t14\t6\tg\t0\t+\n"}, "line 1: the interval ends before it starts"),
    ],
)
def test_strands_that_cannot_be_told(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    strand = bed(tmp_path / "genes.bed", GENES)
    if "text" in options:
        made.write(strand, options["text"])
    given = {"strand": str(strand), **{name: value for name, value in options.items() if name != "text"}}
    if given["strand"] == "genes.bw":
        given["strand"] = str(made.write(tmp_path / "genes.bw", ""))
    fasta = made.write_fasta(tmp_path / "genome.fa", TINY)
    vcf = made.write(tmp_path / "S1.vcf", made.vcf_text([("1", 7, "C", "T")]))
    with pytest.raises(InputError) as caught:
        gn.read("locus_regression", vcf, "vcf", fasta=str(fasta), **{n: v for n, v in given.items() if v is not None})
    assert says in in_python(str(caught.value))
