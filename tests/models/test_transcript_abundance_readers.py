"""The readers: what they return, every bad input with its line, and files that are cut or damaged at random."""

import gzip
import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pysam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import io, sparse

import genarium as gn
from genarium.declaration import Array
from genarium.models.transcript_abundance.fragments import Fragments
from genarium.models.transcript_abundance.salmon import salmon_draws
from genarium.models.transcript_abundance.sparse import from_classes, from_matrix

NAME = "transcript_abundance"

CLASSES = """3
4
Arc1
Arc2
Arc3
2\t0\t1\t0.25\t0.75\t10
2\t0\t1\t0.5\t0.5\t20
1\t2\t1\t7
3\t0\t1\t2\t0.2\t0.3\t0.5\t0
"""
UNWEIGHTED = """3
2
Arc1
Arc2
Arc3
2\t0\t1\t30
1\t2\t7
"""
QUANT = """Name\tLength\tEffectiveLength\tTPM\tNumReads
Arc2\t2000\t1850.000\t300000.0\t15.0
Arc1\t4000\t3850.000\t200000.0\t15.0
Arc3\t3000\t2850.000\t500000.0\t7.0
"""

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make(classes, quant)``: a folder as salmon writes it."""

    def folder(classes: str | bytes = CLASSES, quant: str | None = QUANT) -> Path:
        (tmp_path / "aux_info").mkdir(exist_ok=True)
        plain = classes if isinstance(classes, bytes) else gzip.compress(classes.encode())
        (tmp_path / "aux_info" / "eq_classes.txt.gz").write_bytes(plain)
        (tmp_path / "quant.sf").unlink(missing_ok=True)
        if quant is not None:
            (tmp_path / "quant.sf").write_text(quant)
        return tmp_path

    return folder


def arrays(tree: Any) -> dict[str, Any]:
    return {n: v.to_numpy().tolist() for g in ("constant_data", "observed_data") for n, v in tree[g].data_vars.items()}


def test_salmon_folder(make: Make) -> None:
    tree = gn.read(NAME, make(), format="salmon")
    found = arrays(tree)
    assert found["count"] == [10, 20, 7, 0]  # the same transcripts on two lines remain two classes
    assert found["entry_class"] == [0, 0, 1, 1, 2, 3, 3, 3]
    assert found["entry_transcript"] == [0, 1, 0, 1, 2, 0, 1, 2]
    assert found["weight"] == [0.25, 0.75, 0.5, 0.5, 1, 0.2, 0.3, 0.5]
    assert found["effective_length"] == [3850, 1850, 2850]  # in the order of the classes' names
    assert found["reads"] == 37
    assert tree["constant_data"]["transcript"].to_numpy().tolist() == ["Arc1", "Arc2", "Arc3"]


@pytest.mark.parametrize("ends", ["\r\n", "\n"])
def test_line_ends_and_plain_text_are_fine(make: Make, ends: str) -> None:
    first = arrays(gn.read(NAME, make(), format="salmon"))
    folder = make(CLASSES.replace("\n", ends), QUANT.replace("\n", ends))
    assert arrays(gn.read(NAME, folder, format="salmon")) == first
    (folder / "aux_info" / "eq_classes.txt").write_bytes(CLASSES.replace("\n", ends).encode())
    (folder / "aux_info" / "eq_classes.txt.gz").unlink()
    assert arrays(gn.read(NAME, folder, format="salmon")) == first
    assert arrays(gn.read(NAME, folder / "aux_info" / "eq_classes.txt", format="salmon")) == first


def test_unweighted_classes_come_with_a_warning(make: Make) -> None:
    folder = make(UNWEIGHTED)
    with pytest.warns(UserWarning, match="no weights.*cannot reproduce salmon.*--dumpEqWeights"):
        found = arrays(gn.read(NAME, folder, format="salmon"))
    np.testing.assert_allclose(found["weight"], [1 / 3850, 1 / 1850, 1 / 2850])
    with pytest.raises(gn.InputError, match=r"no weights.*--dumpEqWeights"):
        gn.read(NAME, folder, format="salmon", unweighted="refuse")
    with pytest.raises(gn.InputError, match="use one of accept, refuse"):
        gn.read(NAME, folder, format="salmon", unweighted="perhaps")


def changed(line: int, row: str | None) -> str:
    rows = CLASSES.split("\n")
    rows[line - 1 : line] = [] if row is None else [row]
    return "\n".join(rows)


BAD = {
    "M is no number": (changed(1, "three"), "line 1: the number of transcripts is 'three'"),
    "M is negative": (changed(1, "-3"), "line 1: the number of transcripts is '-3'"),
    "E is no number": (changed(2, "4.5"), r"line 2: the number of classes is '4.5'"),
    "no classes": ("3\n0\nArc1\nArc2\nArc3\n", "line 2: there are 0 classes"),
    "no transcripts": ("0\n1\n1\t0\t1\t5\n", "line 1: there are 0 transcripts"),
    "too few lines": (changed(9, None), "line 8: line 2 announces 4 classes after 3 names, but there are 3"),
    "too many lines": (CLASSES + "1\t2\t1\t7\n", "line 10: line 2 announces 4 classes"),
    "one line": ("3\n", "line 1: the file ends before"),
    "name twice": (changed(4, "Arc1"), "line 4: the transcript 'Arc1' stands on line 3 too"),
    "no name": (changed(4, ""), "line 4: the name of a transcript is empty"),
    "id too large": (changed(7, "2\t0\t3\t0.5\t0.5\t20"), "line 7: transcript 3 is not among the 3 names"),
    "id negative": (changed(7, "2\t0\t-1\t0.5\t0.5\t20"), "line 7: the number of a transcript is '-1'"),
    "k = 0": (changed(7, "0\t20"), "line 7: a class of 0 transcripts"),
    "id twice": (changed(7, "2\t1\t1\t0.5\t0.5\t20"), "line 7: transcript 1 stands more than once"),
    "negative count": (changed(6, "2\t0\t1\t0.25\t0.75\t-10"), "line 6: the count is '-10'"),
    "NaN count": (changed(6, "2\t0\t1\t0.25\t0.75\tnan"), "line 6: the count is 'nan'"),
    "fractional count": (changed(6, "2\t0\t1\t0.25\t0.75\t1.5"), "line 6: the count is '1.5'"),
    "negative weight": (changed(6, "2\t0\t1\t-0.25\t0.75\t10"), "line 6: a weight is '-0.25'"),
    "NaN weight": (changed(6, "2\t0\t1\tnan\t0.75\t10"), "line 6: a weight is 'nan'"),
    "infinite weight": (changed(6, "2\t0\t1\tinf\t0.75\t10"), "line 6: a weight is 'inf'"),
    "zero weights": (changed(6, "2\t0\t1\t0\t0\t10"), "line 6: all weights of the class are 0"),
    "too few columns": (
        changed(6, "2\t0\t1\t0.25\t10"),
        r"line 6: 2 transcripts need 4 \(or, with weights, 6\) columns",
    ),
    "empty line": (changed(6, ""), "line 6: the line is empty"),
    "weights on some lines": (changed(8, "1\t2\t7"), "line 8: this class has no weights, unlike those before"),
    "no reads": ("1\n2\nA\n1\t0\t1\t0\n1\t0\t1\t0\n", "line 4: all 2 classes have 0 reads"),
    "unknown transcript": (changed(4, "Arc9"), "line 4: the transcript 'Arc9' is not in quant.sf"),
}


@pytest.mark.parametrize("what", list(BAD))
def test_bad_classes_are_refused_with_their_line(make: Make, what: str) -> None:
    text, said = BAD[what]
    with pytest.raises(gn.InputError, match=f"eq_classes.txt.gz, {said}"):
        gn.read(NAME, make(text), format="salmon")


BAD_QUANT = {
    "absent": (None, "quant.sf is missing.*give the whole output folder"),
    "header": ("Name\tLength\n", "quant.sf, line 1: there is no column 'EffectiveLength'"),
    "no rows": (QUANT.split("\n")[0] + "\n", "line 1: there are no transcripts"),
    "short row": (QUANT.replace("\t15.0\nArc1", "\nArc1"), "line 2: 4 columns instead of 5"),
    "negative length": (QUANT.replace("3850.000", "-5"), "line 3: EffectiveLength is '-5'"),
    "NaN": (QUANT.replace("3850.000", "-nan"), "line 3: EffectiveLength is '-nan'"),
    "underscore": (QUANT.replace("3850.000", "3_850.000"), "line 3: EffectiveLength is '3_850.000'"),
    "a transcript twice": (f"{QUANT}Arc1\t4000\t77.0\t0\t0\n", "line 5: the transcript 'Arc1' stands on line 3 too"),
}


@pytest.mark.parametrize("what", list(BAD_QUANT))
def test_bad_quant_sf_is_refused(make: Make, what: str) -> None:
    text, said = BAD_QUANT[what]
    with pytest.raises(gn.InputError, match=said):
        gn.read(NAME, make(quant=text), format="salmon")


def test_an_effective_length_of_zero_is_one_nucleotide(make: Make) -> None:
    """Of transcripts in which no fragment fits; the model needs lengths above zero."""
    data = gn.read(NAME, make(quant=QUANT.replace("3850.000", "0.000")), format="salmon")
    assert data["constant_data"]["effective_length"].sel(transcript="Arc1") == 1
    assert "1 transcript has an effective length of 0 in quant.sf, taken as 1 (Arc1)" in str(data.attrs)


def test_files_that_are_not_there(make: Make, tmp_path: Path) -> None:
    folder = make()
    (folder / "aux_info" / "eq_classes.txt.gz").unlink()
    with pytest.raises(gn.InputError, match=r"no aux_info/eq_classes.txt.gz.*--dumpEqWeights"):
        gn.read(NAME, folder, format="salmon")
    with pytest.raises(gn.InputError, match="takes one folder, not 2"):
        gn.read(NAME, [folder, tmp_path.parent], format="salmon")
    with pytest.raises(gn.InputError, match="there is no such file"):
        gn.read(NAME, tmp_path / "none", format="salmon")
    with pytest.raises(gn.InputError, match="the name says gzip"):
        gn.read(NAME, make(CLASSES.encode()), format="salmon")
    with pytest.raises(gn.InputError, match="the file is empty"):
        gn.read(NAME, make(gzip.compress(b"")), format="salmon")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 2000))
def test_a_file_cut_anywhere_is_refused(make: Make, cut: int) -> None:
    whole = gzip.compress(CLASSES.encode(), mtime=0)
    with pytest.raises(gn.InputError, match=r"eq_classes.txt.gz.*(cut short|empty|gzip|ends before|damaged)"):
        gn.read(NAME, make(whole[: cut % len(whole)]), format="salmon")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_damaged_gzip_file_is_refused_or_read_as_it_was(make: Make, at: int, flip: int) -> None:
    whole = bytearray(gzip.compress(CLASSES.encode(), mtime=0))
    whole[at % len(whole)] ^= flip
    try:
        found = arrays(gn.read(NAME, make(bytes(whole)), format="salmon"))
    except gn.InputError:
        return
    assert found["count"] == [10, 20, 7, 0]  # some header bytes mean nothing


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line=st.integers(1, 9), row=st.text(alphabet="0123456789.-+e\t naif\r", max_size=25))
def test_any_line_is_read_or_refused_cleanly(make: Make, line: int, row: str) -> None:
    said = "line"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there are no weights
        try:
            tree = gn.read(NAME, make(changed(line, row)), format="salmon")
            gn.fit(NAME, tree, "em")
        except gn.InputError as error:
            said = str(error)
    assert "line" in said


def test_draws_of_salmon_are_a_tree_to_compare_with(make: Make) -> None:
    folder = make()
    with pytest.raises(gn.InputError, match="--numBootstraps"):
        salmon_draws(folder)
    boot = folder / "aux_info" / "bootstrap"
    boot.mkdir()
    draws = np.arange(1.0, 13.0).reshape(4, 3)
    (boot / "bootstraps.gz").write_bytes(gzip.compress(draws.astype("<f8").tobytes()))
    (boot / "names.tsv.gz").write_bytes(gzip.compress(b"Arc1\tArc2\tArc3\n"))
    (folder / "aux_info" / "meta_info.json").write_text(json.dumps({"samp_type": "gibbs"}))
    tree = salmon_draws(folder)
    assert tree.attrs["method"] == "salmon-gibbs"
    np.testing.assert_array_equal(tree["posterior"]["counts"].to_numpy()[0], draws)
    np.testing.assert_allclose(tree["posterior"]["nu"].sum("transcript"), 1)
    rate = draws / [3850, 1850, 2850]
    np.testing.assert_allclose(tree["posterior"]["tpm"].to_numpy()[0], 1e6 * rate / rate.sum(1, keepdims=True))
    assert tree["point"]["counts"].sel(transcript="Arc2") == 15
    (boot / "bootstraps.gz").write_bytes(gzip.compress(draws.tobytes()[:-4]))
    with pytest.raises(gn.InputError, match="no whole number of samples"):
        salmon_draws(folder)
    (boot / "bootstraps.gz").write_bytes(gzip.compress((-draws).tobytes()))
    with pytest.raises(gn.InputError, match="negative"):
        salmon_draws(folder)
    (boot / "bootstraps.gz").write_bytes(gzip.compress(draws.tobytes()))
    (folder / "aux_info" / "meta_info.json").write_text(json.dumps({"samp_type": "gibbs", "num_bootstraps": 9}))
    with pytest.raises(gn.InputError, match=r"4 samples of 3 transcripts, but meta_info.json says 9"):
        salmon_draws(folder)
    (boot / "names.tsv.gz").write_bytes(gzip.compress(b"Arc1\tArc1\tArc3\n"))
    with pytest.raises(gn.InputError, match=r"names.tsv.gz: the transcript 'Arc1' stands in it twice"):
        salmon_draws(folder)


# The course's format

COURSE = """The 3 transcripts of the sand mouse Arc locus:
Arc1        xxxxx  2  AB
Arc2        0.300  1  B
Arc3        0.100  2  CA

The 60 read sequences:
a    10
b    20
c    30
"""


def test_course_format(tmp_path: Path) -> None:
    path = tmp_path / "arc.out"
    path.write_text(COURSE)
    tree = gn.read(NAME, path, format="course")
    found = arrays(tree)
    assert found["count"] == [10, 20, 30]
    assert found["entry_class"] == [0, 1, 1, 2, 0]
    assert found["entry_transcript"] == [0, 0, 1, 2, 2]
    assert found["weight"] == [0.5, 0.5, 1, 0.5, 0.5]
    assert found["effective_length"] == [2000, 1000, 2000]
    point = gn.fit(NAME, tree, "em")["point"]
    assert point["counts"].sum() == pytest.approx(60)
    assert tree["observed_data"]["equivalence_class"].to_numpy().tolist() == ["A", "B", "C"]


BAD_COURSE = {
    "letters": (("2  AB", "3  AB"), "line 2: 'Arc1' has 3 segments, but 'AB' are 2"),
    "repeat": (("2  AB", "2  AA"), "line 2: the segments 'AA'"),
    "negative": (("a    10", "a   -10"), "line 7: the reads of 'a' is '-10'"),
    "fraction": (("a    10", "a   1.5"), "line 7: the reads of 'a' is '1.5'"),
    "twice": (("b    20", "a    20"), "line 8: the segment 'a' stands there twice"),
    "name twice": (("Arc2", "Arc1"), "line 3: the transcript 'Arc1' stands there twice"),
    "absent": (("c    30\n", ""), "the file ends without the reads of segment 'c'"),
    "uncovered": (("2  CA", "1  A"), "segment 'c' has reads, but no transcript covers it"),
    "nonsense": (("b    20", "b 20 30"), "line 8: 'b 20 30' is neither"),
    "zero": (("a    10\nb    20\nc    30", "a 0\nb 0\nc 0"), "all counts are 0"),
}


@pytest.mark.parametrize("what", list(BAD_COURSE))
def test_bad_course_files_are_refused(tmp_path: Path, what: str) -> None:
    (old, new), said = BAD_COURSE[what]
    path = tmp_path / "arc.out"
    path.write_text(COURSE.replace(old, new))
    with pytest.raises(gn.InputError, match=f"arc.out, .*{said}"):
        gn.read(NAME, path, format="course")


# Sparse matrices and lists of classes


def test_rows_that_are_equal_are_one_class() -> None:
    rows = np.array([[0.2, 0.3, 0], [0, 0, 0.5], [0.2, 0.3, 0], [0.4, 0.6, 0]])
    data = from_matrix(sparse.csr_array(rows), [100, 200, 300], names=["a", "b", "c"])
    assert data["count"].tolist() == [2, 1, 1]
    assert data["weight"].tolist() == [0.2, 0.3, 0.5, 0.4, 0.6]
    weighted = from_matrix(rows, [100, 200, 300], count=[5, 1, 2, 0])
    assert weighted["count"].tolist() == [7, 1]


def test_merging_rows_keeps_the_likelihood() -> None:
    rng = np.random.default_rng(0)
    rows = np.round(rng.uniform(size=(400, 3)), 1) + 0.1
    data = from_matrix(rows, [1, 1, 1])
    assert len(data["count"]) < 400
    nu = np.array([0.2, 0.5, 0.3])
    W = sparse.csr_array((data["weight"], (data["entry_class"], data["entry_transcript"])))
    assert data["count"] @ np.log(W @ nu) == pytest.approx(np.log(rows @ nu).sum(), rel=1e-12)


@pytest.mark.parametrize("form", ["npz", "mtx"])
def test_sparse_files(tmp_path: Path, form: str) -> None:
    rows = sparse.csr_array(np.array([[0.2, 0.3], [0.2, 0.3], [0, 0.5]]))
    path = tmp_path / f"rows.{form}"
    if form == "npz":
        sparse.save_npz(path, sparse.csr_matrix(rows))
    else:
        io.mmwrite(path, rows)
    (tmp_path / "lengths.txt").write_text("a 100\nb 200.5\n")
    tree = gn.read(NAME, [path, tmp_path / "lengths.txt"], format="sparse")
    assert arrays(tree)["count"] == [2, 1]
    assert tree["constant_data"]["effective_length"].sel(transcript="b") == 200.5
    for text, said in (
        ("a 100\nb\n", "line 2: 'b' is not"),
        ("a 100\nb 0\n", "line 2: the effective length is 0"),
        ("a 100\nb -1\n", "line 2: the effective length is '-1'"),
        ("a 100\n", "1 effective lengths for 2 transcripts"),
    ):
        (tmp_path / "lengths.txt").write_text(text)
        with pytest.raises(gn.InputError, match=said):
            gn.read(NAME, [path, tmp_path / "lengths.txt"], format="sparse")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(gn.InputError, match=r"rows\.(npz: this is not a valid archive|mtx: line [12] (says|is))"):
        gn.read(NAME, [path, tmp_path / "lengths.txt"], format="sparse")
    with pytest.raises(gn.InputError, match="takes two files, not 1"):
        gn.read(NAME, path, format="sparse")


def test_bad_matrices_are_refused() -> None:
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ([[0.1, -0.1]], {}, "row 1: the likelihood of transcript 1 is -0.1"),
        ([[0.1, 0.2], [np.nan, 0]], {}, "row 2: the likelihood of transcript 0 is nan"),
        ([[0.1, 0.2], [0, 0]], {}, "row 2: all likelihoods are 0"),
        ([[0.1, 0.2]], {"count": [0]}, "there are no reads"),
        ([[0.1, 0.2]], {"count": [1, 2]}, "2 counts for 1 rows"),
        *(([[0.1], [0.2]], {"count": [1, bad]}, f"row 2: the count is {bad}") for bad in (1.5, -1, np.nan)),
    ]
    for rows, options, said in cases:
        with pytest.raises(gn.InputError, match=said):
            from_matrix(np.array(rows), [1, 1], **options)
    for classes, said in (
        ([([0, 1], [0.5], 3)], "class 0 has 2 transcripts and 1 weights"),
        ([([0], [1], 3), ([1, 1], [0.5, 0.5], 3)], "class 1 names a transcript more than once"),
        ([([0], [0.0], 3)], "zeros only"),
        ([([0], [1.0], 3.5)], "class 0: the count is 3.5, but must be a whole number"),
        ([([0.5], [1.0], 3)], r"class 0 has the transcripts \[0.5\]"),
        ([], "no classes"),
    ):
        with pytest.raises(gn.InputError, match=said):
            from_classes(classes, [1, 1])  # type: ignore[arg-type]


# BAM


def record(
    name: str, ref: int, pos: int, flag: int = 0, mismatches: int = 0, *, mate: tuple[int, int] = (-1, -1)
) -> bytes:
    """An alignment of 20 nucleotides, with one tag before NM; ``mate`` is the transcript and start of the mate."""
    plain, length = name.encode() + b"\0", 20
    body = struct.pack("<iiBBHHHiiii", ref, pos, len(plain), 30, 0, 1, flag, length, *mate, 0)
    body += plain + struct.pack("<I", length << 4) + b"\x11" * ((length + 1) // 2) + b"\xff" * length
    body += b"XAZabc\0" + b"XBBs" + struct.pack("<ihh", 2, 1, 2) + b"NMC" + bytes([mismatches])
    return struct.pack("<i", len(body)) + body


def pair(name: str, ref: int, first: int, second: int, mismatches: int = 0, extra: int = 0) -> list[bytes]:
    """Two mates of 20 nucleotides that face each other: the first one points right if it is on the left."""
    flags = (0x1 | 0x20, 0x1 | 0x10) if first <= second else (0x1 | 0x10, 0x1 | 0x20)
    return [
        record(name, ref, first, flags[0] | 0x40 | extra, mismatches, mate=(ref, second)),
        record(name, ref, second, flags[1] | 0x80 | extra, mate=(ref, first)),
    ]


def bam_file(path: Path, records: list[bytes], lengths: tuple[int, ...] = (100, 60)) -> Path:
    text = b"@HD\tVN:1.6\n"
    head = b"BAM\1" + struct.pack("<i", len(text)) + text + struct.pack("<i", len(lengths))
    for i, length in enumerate(lengths):
        head += struct.pack("<i", 3) + f"t{i}".encode() + b"\0" + struct.pack("<i", length)
    return blocks(path, head + b"".join(records))


def blocks(path: Path, data: bytes) -> Path:
    """Write a file in the blocks of gzip that BAM needs."""
    with pysam.BGZFile(str(path), "wb", index=None) as file:
        file.write(data)
    return path


def test_bam_in_transcript_coordinates(tmp_path: Path) -> None:
    reads = [
        record("r1", 0, 5),
        record("r1", 1, 7, flag=0x100),
        record("r2", 1, 30, flag=0x10),
        record("r3", 0, 9),
        record("r3", 1, 9, flag=0x100, mismatches=2),
        record("r4", -1, -1, flag=0x4),
        record("r5", 0, 1),
        record("r5", 0, 70, flag=0x100),
    ]
    path = bam_file(tmp_path / "a.bam", reads)
    found = arrays(gn.read(NAME, path, format="bam", error=0.03, digits=12))
    assert found["effective_length"] == [81, 41]
    assert found["count"] == [1, 1, 1, 1]
    np.testing.assert_allclose(found["weight"], [41 / 122, 81 / 122, 1, *scaled(1 / 81, (0.01 / 0.97) ** 2 / 41), 1])
    with pytest.warns(UserWarning, match=r"3 of 4 reads \(75.0%\) are left out"):
        stranded = arrays(gn.read(NAME, path, format="bam", strand="reverse"))
    assert stranded["count"] == [1]
    assert stranded["weight"] == [1]


def accounts(tree: Any) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    told = json.loads(tree.attrs["ledger"])
    for side in (told["rows"], told["columns"]):
        assert side["read"] == side["kept"] + sum(side["left_out"].values())
    return told["rows"], told["columns"], told["notes"]


def test_every_class_transcript_and_line_is_accounted_for(make: Make, tmp_path: Path) -> None:
    more = QUANT + "Arc4\t900\t750.000\t0.0\t0.0\n"
    rows, columns, _ = accounts(gn.read(NAME, make(quant=more), format="salmon"))
    assert (rows["unit"], rows["read"], rows["kept"]) == ("equivalence_class", 4, 4)
    assert (columns["unit"], columns["read"], columns["kept"]) == ("transcript", 4, 3)
    assert columns["names"] == {"in quant.sf only": ["Arc4"]}
    (tmp_path / "arc.out").write_text("# mine\n" + COURSE)
    rows, columns, notes = accounts(gn.read(NAME, tmp_path / "arc.out", format="course"))
    assert (rows["entry"], rows["kept"], columns["kept"]) == ("segment", 3, 3)
    assert notes == ["Line 1 was taken for a comment: '# mine'"]
    sparse.save_npz(tmp_path / "rows.npz", sparse.csr_matrix(np.array([[0.2, 0.3], [0.2, 0.3], [0, 0.5]])))
    (tmp_path / "lengths.txt").write_text("a 100\nb 200.5\n")
    rows, columns, notes = accounts(gn.read(NAME, [tmp_path / "rows.npz", tmp_path / "lengths.txt"], format="sparse"))
    assert (rows["unit"], rows["kept"], columns["kept"]) == ("read", 3, 2)
    assert notes == ["Reads of equal likelihood are one class: 2 classes."]


def test_every_alignment_is_accounted_for(tmp_path: Path) -> None:
    reads = [
        record("r1", 0, 5),
        record("r1", 1, 7, flag=0x100),
        record("r2", 1, 30, flag=0x10),
        record("r4", -1, -1, flag=0x4),
        record("r5", 0, 1, flag=0x800),
    ]
    path = bam_file(tmp_path / "a.bam", reads)
    rows, columns, notes = accounts(gn.read(NAME, path, format="bam"))
    assert (rows["unit"], rows["read"], rows["kept"]) == ("alignment", 5, 3)
    assert rows["left_out"] == {"of unmapped reads": 1, "supplementary": 1}
    assert (columns["entry"], columns["read"], columns["kept"]) == ("reference", 2, 2)
    assert notes == ["2 reads of equal likelihood are one class: 2 classes."]
    with pytest.warns(UserWarning, match="The likely protocol is unstranded"):
        rows, _, _ = accounts(gn.read(NAME, path, format="bam", strand="forward"))
    assert rows["left_out"]["on the strand that the protocol excludes"] == 1
    assert rows["kept"] == 2
    pairs = [
        *pair("r1", 0, 5, 30),
        *pair("r1", 1, 5, 25, extra=0x100),
        *pair("r2", 1, 30, 5),
        record("r3", 0, 9, flag=0x1 | 0x40, mate=(1, 9)),
        record("r3", 1, 9, flag=0x1 | 0x80 | 0x10, mate=(0, 9)),
    ]
    bam_file(path, pairs)
    apart = "of pairs on two transcripts"
    with pytest.warns(UserWarning, match="left out"):
        rows, _, notes = accounts(gn.read(NAME, path, format="bam"))
    assert (rows["read"], rows["kept"], rows["left_out"]) == (8, 6, {apart: 2})
    assert notes == ["2 pairs of equal likelihood are one class: 2 classes."]
    with pytest.warns(UserWarning, match="left out"):
        rows, _, _ = accounts(gn.read(NAME, path, format="bam", strand="forward"))
    assert rows["left_out"] == {apart: 2, "on the strand that the protocol excludes": 2}


def test_numbers_that_do_not_fit_are_too_large(make: Make) -> None:
    for text in ("9223372036854775807", "9" * 400):
        with pytest.raises(gn.InputError, match=r"line 8: the count is 9.* which is too large") as caught:
            gn.read(NAME, make(changed(8, f"1\t2\t1\t{text}")), format="salmon")
        assert len(str(caught.value)) < 400


def scaled(*values: float) -> list[float]:
    """The likelihoods of a read, scaled to add up to one."""
    return [value / sum(values) for value in values]


def test_bad_bam_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bam"
    for records, options, said in (
        ([], {}, "no read is aligned"),
        ([record("a", 0, 5), *pair("r", 0, 5, 9)], {}, "record 3: read 'r' is paired, unlike those before"),
        ([record("a", 0, 1)], {"fragment_mean": 50}, "must both be above zero"),
        ([record("a", 0, 1)], {"digits": 0}, "digits=0 must be from 1 to 12"),
        ([record("r", 2, 5)], {}, "after record 0: the file cannot be read"),
        ([record("r", 0, 95)], {}, "aligned to 96-115"),
        ([record("a", 0, 1), record("b", 0, 1), record("a", 1, 1)], {}, "do not follow each other"),
        ([record("a", 0, 1)], {"read_length": 200}, "fewer than the 200 of a read"),
        ([record("a", 0, 1)], {"read_length": -1}, "must not be negative"),
        (
            [record("a", 0, 1)],
            {"read_length": 9, "fragment_mean": 50, "fragment_sd": 5},
            "read_length=9 would be dropped: used only with single reads whose fragment_mean and fragment_sd are not",
        ),
        ([record("a", 0, 1)], {"strand": "both"}, "use one of unstranded"),
        ([record("a", 0, 1)], {"error": 0.7}, "below a half"),
    ):
        with pytest.raises(gn.InputError, match=said):
            gn.read(NAME, bam_file(path, records), format="bam", **options)
    path.write_bytes(gzip.compress(b"SAM"))
    with pytest.raises(gn.InputError, match="cannot be read"):
        gn.read(NAME, path, format="bam")
    with (
        pytest.raises(gn.InputError, match="no read is aligned"),
        pytest.warns(UserWarning, match=r"1 reads \(100.0%\) are left out: 1 of pairs on two transcripts"),
    ):
        gn.read(NAME, bam_file(path, [record("r", 0, 5, flag=0x1 | 0x40, mate=(1, 5))]), format="bam")


def fragment_probabilities(mean: float, sd: float) -> Array:
    """Normal lengths, a millionth of which may be any: what eq. 3 takes."""
    sizes = np.arange(int(np.ceil(mean + 6 * sd)) + 1)
    p = np.exp(-((sizes - mean) ** 2) / (2 * sd**2))
    p[0] = 0
    p *= (1 - 1e-6) / p.sum()
    p[1:] += 1e-6 / (len(p) - 1)
    return p


def test_pairs_have_fragments_of_known_length(tmp_path: Path) -> None:
    reads = [
        *pair("r1", 0, 5, 30),
        *pair("r1", 1, 5, 25, mismatches=1, extra=0x100),
        *pair("r2", 1, 30, 5),
        record("r3", 0, 9, flag=0x1 | 0x40, mate=(1, 9)),
        record("r3", 1, 9, flag=0x1 | 0x80 | 0x10, mate=(0, 9)),
    ]
    path = bam_file(tmp_path / "a.bam", reads)
    with pytest.warns(UserWarning, match=r"1 reads \(33.3%\) are left out"):
        found = arrays(gn.read(NAME, path, format="bam", error=0.03, fragment_mean=42, fragment_sd=6, digits=12))
    p = fragment_probabilities(42, 6)
    within = [p[: L + 1] / p[: L + 1].sum() for L in (100, 60)]
    effective = [sum(q[f] * (L - f + 1) for f in range(1, len(q))) for q, L in zip(within, (100, 60), strict=True)]
    np.testing.assert_allclose(found["effective_length"], effective, rtol=1e-12)
    expected = scaled(within[0][45] / 56, within[1][40] / 21 * 0.01 / 0.97)
    np.testing.assert_allclose(found["weight"], [*expected, 1], rtol=1e-10)
    with pytest.warns(UserWarning, match="left out"):
        forward = arrays(gn.read(NAME, path, format="bam", strand="forward", fragment_mean=42, fragment_sd=6))
    assert forward["count"] == [1]


def test_reads_of_nearly_the_same_likelihood_share_their_mean(tmp_path: Path) -> None:
    reads: list[bytes] = []
    for name, second in (("r1", 20), ("r2", 20), ("r3", 22), ("r4", 28)):
        reads += [*pair(name, 0, 5, second), *pair(name, 1, 5, second, extra=0x100)]
    path = bam_file(tmp_path / "a.bam", reads)

    def read(digits: int) -> dict[str, list[float]]:
        return arrays(gn.read(NAME, path, format="bam", fragment_mean=42, fragment_sd=6, digits=digits))

    exact, coarse = read(12), read(1)
    assert exact["count"] == [2, 1, 1]
    near, far, other = np.reshape(exact["weight"], (3, 2))
    assert coarse["count"] == [3, 1]
    np.testing.assert_allclose(coarse["weight"], [*(2 * near + far) / 3, *other], rtol=1e-12)


def test_a_single_read_near_an_end_is_of_a_short_fragment(tmp_path: Path) -> None:
    reads = [record("r1", 1, 20), record("r1", 0, 70, flag=0x100)]
    reads += [record("r2", 1, 5, flag=0x10), record("r2", 0, 30, flag=0x100)]
    path = bam_file(tmp_path / "a.bam", reads)
    found = arrays(gn.read(NAME, path, format="bam", fragment_mean=42, fragment_sd=6, digits=12))
    p = fragment_probabilities(42, 6)

    def starts(length: int, reach: int) -> float:
        within = p[: length + 1] / p[: length + 1].sum()
        return float(sum(within[f] / (length - f + 1) for f in range(1, min(reach, len(within) - 1) + 1)))

    expected = [*scaled(starts(100, 30), starts(60, 40)), *scaled(starts(100, 70), starts(60, 25))]
    np.testing.assert_allclose(found["weight"], expected, rtol=1e-9)


@pytest.mark.parametrize("length", [30, 60, 500])
def test_fragments_start_somewhere(length: int) -> None:
    fragments = Fragments.normal(42, 6)
    F = len(fragments.probability) - 1
    sizes = np.arange(1, min(F, length) + 1)
    known = fragments.starts(np.full(len(sizes), length), sizes, known=True)
    assert known @ (length - sizes + 1) == pytest.approx(1, abs=1e-12)
    room = np.arange(1, length + 1)
    assert fragments.starts(np.full(length, length), room, known=False).sum() == pytest.approx(1, abs=1e-12)
    assert known @ ((length - sizes + 1) ** 2) == pytest.approx(fragments.effective_lengths(np.array([length]))[0])


def test_lengths_of_fragments_are_learned_from_pairs() -> None:
    rng = np.random.default_rng(3)
    sizes = rng.normal(180, 25, 5000).astype(int)
    learned = Fragments.observed(np.bincount(sizes)).probability
    at = np.arange(len(learned))
    mean = learned @ at
    assert mean == pytest.approx(sizes.mean(), abs=0.05)
    # the kernel widens the variance by its own: (1.06 sd n^-1/5)^2
    wide = np.hypot(sizes.std(), 1.06 * sizes.std() * 5000**-0.2)
    assert np.sqrt(learned @ (at - mean) ** 2) == pytest.approx(wide, rel=0.01)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 10_000), at=st.integers(0, 10_000), flip=st.integers(0, 255))
def test_cut_or_damaged_bam_content_is_refused_or_read(tmp_path: Path, cut: int, at: int, flip: int) -> None:
    path = bam_file(tmp_path / "a.bam", [record("r1", 0, 5), record("r2", 1, 7)])
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[at % len(data)] ^= flip
    blocks(path, bytes(data[: len(data) - cut % len(data)]))
    said = str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a length may have become that of a chromosome
            gn.read(NAME, path, format="bam")
    except gn.InputError as error:
        said = str(error)
    assert str(path) in said
