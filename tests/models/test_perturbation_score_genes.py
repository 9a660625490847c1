"""Features of genes from sequence: windows, strands and ends against a loop over the genome."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genarium import InputError
from genarium.models.perturbation_score import gene_features
from genarium.models.perturbation_score.genes import kmer_shares

pytest.importorskip("pysam", reason="FASTA files are read by pysam")


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), 3000))
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text(f">chr1\n{bases[:1500].lower()}{bases[1500:]}\n")
    return path, bases


STARTS = pd.DataFrame(
    {"gene": ["A", "B", "C"], "chrom": ["chr1", "1", "chr1"], "position": [1000, 2000, 20], "strand": ["+", "-", "+"]}
)


def opposite(text: str) -> str:
    return text.translate(str.maketrans("ACGTN", "TGCAN"))[::-1]


def around(bases: str, position: int, strand: str, whole: int) -> str:
    """Return the sequence of which the base at the middle is the start."""
    padded = "N" * whole + bases + "N" * whole
    at = position - 1 + whole
    if strand == "+":
        return padded[at - whole // 2 : at - whole // 2 + whole]
    return opposite(padded[at - (whole - 1) // 2 : at - (whole - 1) // 2 + whole])


def test_windows_are_those_of_a_loop(genome: tuple[Path, str], tmp_path: Path) -> None:
    path, bases = genome
    seen: list[str] = []

    def embed(windows: Any) -> Any:
        seen.extend(windows)
        return [[len(seen), window.count("N")] for window in windows]

    STARTS.to_csv(tmp_path / "starts.tsv", sep="\t", index=False)
    told = gene_features(path, tmp_path / "starts.tsv", windows=5, width=60, stride=16, embed=embed, scaled=False)
    assert told.index.tolist() == ["A", "B", "C"]
    expected = []
    for position, strand in zip([1000, 2000, 20], "+-+", strict=True):
        whole = around(bases, position, strand, 4 * 16 + 60)
        assert whole[62] == (bases[position - 1] if strand == "+" else opposite(bases[position - 1]))
        expected += [whole[i * 16 : i * 16 + 60] for i in range(5)]
    assert [one.upper() for one in seen] == expected
    assert told["e1"].tolist()[:2] == [0, 0]
    assert told["e1"]["C"] > 0  # beyond the contig's end


def test_kmers_are_those_of_a_loop() -> None:
    window = "ACGTNACGGTTacg"
    found = kmer_shares(3)([window, "NNNN", "AC"])
    assert found.shape == (3, 32)
    words = [window[i : i + 3].upper() for i in range(len(window) - 2)]
    count = Counter(min(word, opposite(word)) for word in words if "N" not in word)
    assert found.iloc[0].to_dict() == pytest.approx({w: count[w] / count.total() for w in found.columns})
    assert found.iloc[1:].isna().to_numpy().all()
    assert kmer_shares(4)(["ACGT"]).shape == (1, 136)


def test_features_have_unit_scale_and_both_strands_count(genome: tuple[Path, str]) -> None:
    path, _ = genome
    told = gene_features(path, STARTS, ["B", "A"], windows=4, width=200, stride=50, embed=2)
    assert told.index.tolist() == ["B", "A"]
    np.testing.assert_allclose(told.mean(), 0, atol=1e-12)
    np.testing.assert_allclose(told.std(ddof=0), 1)
    assert set(told.attrs["mean"]) == set(told.columns)
    turned = STARTS.assign(strand=["-", "-", "+"], position=[1001, 2000, 20])
    plus, minus = (
        gene_features(path, one, ["A"], windows=4, width=200, stride=50, embed=2, scaled=False)
        for one in (STARTS.assign(position=[1001, 2000, 20]), turned)
    )
    np.testing.assert_allclose(plus, minus, atol=0.02)  # but for one base at an end


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"chrom": ["chr7", "1", "1"]}, {}, "no contig 'chr7', on which 'A' lies"),
        ({"position": [4000, 1, 2]}, {}, "'A' starts at 4000, but chr1 has 3000 bases"),
        ({"strand": ["x", "-", "+"]}, {}, "the strand of 'A' is 'x'"),
        ({"position": ["x", 1, 2]}, {}, "column 'position' holds a value that is not a whole number"),
        ({"position": [7.5, 1, 2]}, {}, "the position of 'A' is 7.5, which is not a whole number"),
        ({"position": [1, None, 2]}, {}, "the position of 'B' is nan, which is not a whole number"),
        ({"gene": ["A", "A", "C"]}, {}, "the gene 'A' has two starts"),
        ({}, {"genes": ["A", "Z"]}, "no transcription start of Z"),
        ({}, {"embed": 9}, "length 9 are not offered"),
        ({}, {"embed": lambda w: [1.0]}, "embed returned shape"),
        ({}, {"windows": 0}, "windows=0 must be 1 or more"),
    ],
)
def test_input_is_checked(
    genome: tuple[Path, str], change: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        gene_features(genome[0], STARTS.assign(**change), **options)
    if not change and not options.get("genes"):
        with pytest.raises(InputError, match="no column 'chrom'"):
            gene_features(genome[0], STARTS.drop(columns="chrom"))


def test_nothing_is_written_beside_the_genome(genome: tuple[Path, str]) -> None:
    gene_features(genome[0], STARTS, windows=2, width=50, stride=10, embed=2)
    assert sorted(path.name for path in genome[0].parent.iterdir()) == ["genome.fa"]
