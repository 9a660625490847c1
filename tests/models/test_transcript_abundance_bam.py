"""What alignments say besides their places: strands, mismatches, copies, cells, mates, and references that are none."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.errors import InputError

NAME = "transcript_abundance"

LENGTHS = {"a": 1050, "b": 1050}


def line(
    name: str,
    ref: str = "a",
    pos: int = 1,
    flag: int = 0,
    cigar: str = "50M",
    mate: tuple[str, int] = ("*", 0),
    **tags: Any,
) -> str:
    """A line of SAM; ``pos`` counts from one."""
    kinds = [f"{tag}:{'i' if isinstance(value, int) else 'Z'}:{value}" for tag, value in tags.items()]
    return "\t".join([name, str(flag), ref, str(pos), "30", cigar, mate[0], str(mate[1]), "0", "*", "*", *kinds])


def pair(name: str, ref: str = "a", left: int = 1, right: int = 151, flag: int = 0) -> list[str]:
    """A pair on one transcript, the first mate on the left."""
    return [
        line(name, ref, left, 1 + 2 + 32 + 64 + flag, mate=("=", right), NM=0),
        line(name, ref, right, 1 + 2 + 16 + 128 + flag, mate=("=", left), NM=0),
    ]


class Sam:
    """``sam(lines)`` reads them: variables as arrays, what was said, and the ledger."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "reads.sam"

    def __call__(self, lines: list[str], lengths: dict[str, int] = LENGTHS, head: str = "", **options: Any) -> "Sam":
        text = "@HD\tVN:1.6\n" + "".join(f"@SQ\tSN:{name}\tLN:{length}\n" for name, length in lengths.items()) + head
        self.path.write_text(text + "".join(f"{one}\n" for one in lines))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.tree = gn.read(NAME, self.path, format="bam", **options)
        self.warned = " ".join(str(one.message) for one in caught)
        told = json.loads(self.tree.attrs["ledger"])
        self.rows, self.notes = told["rows"], " ".join(told["notes"])
        assert self.rows["read"] == self.rows["kept"] + sum(self.rows["left_out"].values()) == len(lines)
        return self

    @property
    def weight(self) -> list[float]:
        return list(self.tree["constant_data"]["weight"].to_numpy())

    @property
    def reads(self) -> int:
        return int(self.tree["observed_data"]["count"].sum())

    @property
    def counts(self) -> dict[str, float]:
        counts = gn.fit(NAME, self.tree, "em")["point"]["counts"]
        return dict(zip(counts["transcript"].to_numpy().tolist(), counts.to_numpy().tolist(), strict=True))


@pytest.fixture
def sam(tmp_path: Path) -> Sam:
    return Sam(tmp_path)


# Strands


def stranded(forward: int, reverse: int) -> list[str]:
    flags = [0] * forward + [16] * reverse
    return [line(f"r{i}", pos=1 + i, flag=flag, NM=0) for i, flag in enumerate(flags)]


@pytest.mark.parametrize(
    ("forward", "reverse", "strand", "likely"),
    [(3, 7, "forward", "unstranded"), (1, 9, "forward", "reverse"), (19, 1, "reverse", "forward")],
)
def test_a_protocol_that_excludes_much_is_questioned(
    sam: Sam, forward: int, reverse: int, strand: str, likely: str
) -> None:
    total, lost = forward + reverse, reverse if strand == "forward" else forward
    found = sam(stranded(forward, reverse), strand=strand)
    assert found.reads == total - lost
    for text in (found.warned, found.notes):
        assert f"{lost} of {total} reads ({lost / total:.1%}) are left out" in text
        assert f"The likely protocol is {likely}: give strand={likely}" in text


def test_a_few_reads_on_the_other_strand_are_noted_only(sam: Sam) -> None:
    found = sam(stranded(18, 2), strand="forward")
    assert "2 of 20 reads (10.0%) are left out" in found.notes
    assert not found.warned


@pytest.mark.parametrize(
    ("forward", "reverse", "strand", "reads"),
    [(19, 1, "forward", 19), (1, 19, "reverse", 19), (9, 11, "unstranded", 20)],
)
def test_the_protocol_is_learned(sam: Sam, forward: int, reverse: int, strand: str, reads: int) -> None:
    found = sam(stranded(forward, reverse), strand="auto")
    assert found.reads == reads
    assert f"{forward / 20:.1%} of the reads point as their transcripts: read as strand={strand}" in found.notes
    assert not found.warned


def test_a_stranded_library_that_is_read_as_unstranded_is_noted(sam: Sam) -> None:
    assert "strand=forward would use that" in sam(stranded(40, 1)).notes
    assert "would use that" not in sam(stranded(5, 0)).notes


def test_the_strand_of_a_pair_is_that_of_the_first_mate(sam: Sam) -> None:
    assert sam(pair("r"), strand="forward").reads == 1
    with (
        pytest.raises(InputError, match="no read is aligned that can be used"),
        pytest.warns(UserWarning, match="100.0%"),
    ):
        gn.read(NAME, sam.path, format="bam", strand="reverse")


# Mismatches


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"MD": "50"}, {"MD": "10C10C10C17"}),
        ({"NM": 0}, {"NM": 3}),
        ({"cigar": "50="}, {"cigar": "10=1X10=1X10=1X17="}),
        ({"MD": "50"}, {"MD": "10^ACG40", "cigar": "10M3D40M"}),
        ({"MD": "50"}, {"MD": "47", "cigar": "10M3I37M"}),
        ({"NM": 0}, {"NM": 0, "cigar": "47M3S"}),
        ({"NM": 0}, {"MD": "47", "cigar": "47M3H"}),
    ],
)
def test_mismatches_come_from_whatever_tells_them(sam: Sam, first: dict[str, Any], second: dict[str, Any]) -> None:
    found = sam([line("r", "a", **first), line("r", "b", flag=256, **second)], error=0.001, digits=12)
    np.testing.assert_allclose(found.weight, [1, (0.001 / 3 / 0.999) ** 3], rtol=1e-9)
    assert not found.warned
    counts = found.counts
    assert counts["a"] == pytest.approx(1, abs=1e-9)
    assert counts["b"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("second", [{}, {"NM": 3}])
def test_untold_mismatches_are_said(sam: Sam, second: dict[str, Any]) -> None:
    found = sam([line("r", "a"), line("r", "b", flag=256, **second), line("s", NM=0)])
    assert found.weight == [0.5, 0.5, 1]  # what is told of one place only cannot be compared
    for text in (found.warned, found.notes):
        assert "of 1 reads nothing tells how all their alignments differ" in text


@pytest.mark.parametrize("tags", [{"NM": -1}, {"NM": "x"}, {"MD": "10!5"}])
def test_damaged_tags_are_refused(sam: Sam, tags: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"read 'r': the tag {next(iter(tags))} is .*samtools calmd"):
        sam([line("r", **tags)])


# Genomes


def test_spliced_alignments_are_refused(sam: Sam) -> None:
    with pytest.raises(InputError, match=r"record 2: read 's' is spliced .*25M300N25M.*--quantMode TranscriptomeSAM"):
        sam([line("r", NM=0), line("s", cigar="25M300N25M", NM=0)])


def test_a_reference_as_long_as_a_chromosome_is_questioned(sam: Sam) -> None:
    found = sam([line("r", NM=0)], {"a": 1050, "chr21": 46_709_983})
    assert "'chr21' has 46,709,983 nucleotides" in found.warned
    assert "genome" in found.notes


# Copies


def test_an_alignment_that_is_stored_twice_counts_once(sam: Sam) -> None:
    lines = [line("r", "a", NM=0), line("r", "b", flag=256, NM=0)]
    other = [line("s", "a", 5, NM=0), line("s", "b", 5, flag=256, NM=0)]
    again = [*lines, lines[0], *other]
    found = sam(again)
    assert found.rows["left_out"] == {"that repeat another of the read": 1}
    assert found.weight == [0.5, 0.5]
    total = gn.fit(NAME, found.tree, "vi", prior="dirichlet")["variational"]["counts"].to_numpy()
    np.testing.assert_allclose(total, [1, 1], rtol=1e-9)


def test_of_two_alignments_at_one_start_the_better_one_counts(sam: Sam) -> None:
    lines = [
        line("r", "a", cigar="20M2D30M", NM=2),
        line("r", "a", cigar="48M2S", NM=0),
        line("r", "b", flag=256, NM=2),
    ]
    reverse = [line("s", "a", 1, 16, NM=0), line("s", "a", 11, 272, cigar="10S40M", NM=0), line("s", "b", 1, 272, NM=0)]
    found = sam([*lines, *reverse])
    assert found.rows["left_out"] == {"that repeat another of the read": 2}
    assert found.weight == [0.5, 0.5]


def test_pairs_that_are_stored_twice_count_once(sam: Sam) -> None:
    found = sam([*pair("r"), *pair("r", "b", flag=256), *pair("r")])
    assert found.rows["left_out"] == {"that repeat another of the read": 2}
    assert found.weight == [0.5, 0.5]


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_flags_are_heeded_with_a_word(sam: Sam, duplicates: str) -> None:
    lines = [line("r", NM=0), line("s", flag=512, NM=0), line("t", flag=1024, NM=0)]
    found = sam(lines, duplicates=duplicates)
    failed, copies = "that failed quality checks (flag 512)", "marked as duplicates (flag 1024)"
    assert found.reads == (2 if duplicates == "keep" else 1)
    assert found.rows["left_out"] == ({failed: 1} if duplicates == "keep" else {failed: 1, copies: 1})
    kept = "1 alignments are marked as duplicates (flag 1024) and kept; duplicates=drop leaves them out"
    assert (kept in found.notes) == (duplicates == "keep")
    with pytest.raises(InputError, match=r"no read is aligned that can be used .*1 that failed quality checks"):
        sam(lines[1:2])


# Cells and samples


@pytest.mark.parametrize("tag", ["CB", "CR"])
def test_cells_are_not_pooled_in_silence(sam: Sam, tag: str) -> None:
    cells = [line(f"r{i}", NM=0, UB=f"T{i}") + f"\t{tag}:Z:AACG{i}" for i in range(3)]
    found = sam(cells)
    for text in (found.warned, found.notes):
        assert f"the reads of 3 cells (tag {tag}) are pooled into one sample" in text
    assert "Reads are counted, not molecules (tag UB, 3 values)" in found.notes
    assert "pooled" not in sam(cells[:1]).notes


def test_samples_are_not_pooled_in_silence(sam: Sam) -> None:
    head = "@RG\tID:1\tSM:liver\n@RG\tID:2\tSM:brain\n"
    assert "the reads of 2 samples (brain, liver, by @RG) are pooled" in sam([line("r", NM=0)], head=head).warned
    assert not sam([line("r", NM=0)], head=head.replace("brain", "liver")).warned


# Mates


def test_mates_named_1_and_2_are_one_pair(sam: Sam) -> None:
    lines = [
        one.replace("r\t", f"r/{mate}\t", 1)
        for one, mate in zip(pair("r") + pair("r", "b", flag=256), "1212", strict=True)
    ]
    lines = [lines[0], lines[2], lines[1], lines[3]]  # as aligners write them: all of one mate, then the other
    found = sam(lines)
    assert (found.reads, found.weight, found.warned) == (1, [0.5, 0.5], "")


def test_single_reads_that_are_named_as_mates_are_questioned(sam: Sam) -> None:
    found = sam([line("r/1", NM=0), line("r/2", pos=300, flag=16, NM=0)])
    assert "names of reads end in /1 and /2, but their flags say that they are no pairs: each of the 2" in found.warned
    assert not sam([line("r/1", NM=0), line("s/1", NM=0)]).warned


def test_every_pair_that_is_left_out_has_the_true_reason(sam: Sam) -> None:
    lines = [
        *pair("good"),
        line("orphan", flag=1 + 8 + 64, mate=("=", 1), NM=0),
        line("orphan", flag=1 + 4 + 128, mate=("=", 1)),
        line("apart", "a", flag=1 + 32 + 64, mate=("b", 9), NM=0),
        line("apart", "b", 9, flag=1 + 16 + 128, mate=("a", 1), NM=0),
        line("lost", flag=1 + 32 + 64, mate=("=", 99), NM=0),
        line("parallel", "a", 1, flag=1 + 64, mate=("=", 99), NM=0),
        line("parallel", "a", 99, flag=1 + 128, mate=("=", 1), NM=0),
        line("away", "a", 300, flag=1 + 32 + 64, mate=("=", 1), NM=0),
        line("away", "a", 1, flag=1 + 16 + 128, mate=("=", 300), NM=0),
    ]
    found = sam(lines)
    assert found.reads == 1
    assert found.rows["left_out"] == {
        "of unmapped reads": 1,
        "of pairs with an unmapped mate": 1,
        "of pairs on two transcripts": 2,
        "of mates without the other one": 1,
        "of mates that do not face each other": 4,
    }
    assert "5 reads (83.3%) are left out: 1 of pairs with an unmapped mate, 1 of pairs on two transcripts, 1 of " in (
        found.warned
    )


# Short transcripts


def test_a_short_effective_length_that_decides_the_answer_is_flagged(sam: Sam) -> None:
    lengths = {"a": 109, "b": 1050}
    reads = [line(f"a{i}", "a", 1 + i, NM=0) for i in range(10)] + [line(f"b{i}", "b", 1 + i, NM=0) for i in range(10)]
    found = sam(reads, lengths)
    tpm = 1e6 / 60 / (1 / 60 + 1 / 1001)
    for text in (found.warned, found.notes):
        assert f"1 transcripts of effective lengths below 100 nucleotides would hold about {tpm:,.0f}" in text
        assert "(a: 60 nt)" in text
    assert not sam(reads[10:], lengths).warned
