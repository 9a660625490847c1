"""Long reads: scores, mismatches, what is left out, and places weighed by what is missing at the ends."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.declaration import Array
from genarium.models.transcript_abundance.coverage import EDGES, Places, coverage
from test_transcript_abundance_bam import line

NAME = "transcript_abundance"

LENGTHS = {"a": 2000, "b": 1500}


def read(folder: Path, lines: list[str], lengths: dict[str, int] = LENGTHS, **options: Any) -> Any:
    path = folder / "long.sam"
    head = "@HD\tVN:1.6\n" + "".join(f"@SQ\tSN:{name}\tLN:{length}\n" for name, length in lengths.items())
    path.write_text(head + "".join(f"{one}\n" for one in lines))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tree = gn.read(NAME, path, format="long", **options)
    told = json.loads(tree.attrs["ledger"])
    assert told["rows"]["read"] == len(lines)
    return tree, told, " ".join(str(one.message) for one in caught)


def weights(tree: Any) -> list[float]:
    data = tree["constant_data"]
    order = np.argsort(data["entry_transcript"].to_numpy(), kind="stable")
    return list(data["weight"].to_numpy()[order])


def two(first: dict[str, Any], second: dict[str, Any], flag: int = 256) -> list[str]:
    """A read with two places."""
    return [line("r", "a", 1, 0, "900M", **first), line("r", "b", 1, flag, "900M", **second)]


def test_scores_say_where_a_read_is_from(tmp_path: Path) -> None:
    tree, told, _ = read(tmp_path, two({"AS": 1000}, {"AS": 995}), digits=12)
    np.testing.assert_allclose(weights(tree), np.array([1, np.exp(-1)]) / (1 + np.exp(-1)), rtol=1e-6)
    np.testing.assert_array_equal(tree["constant_data"]["effective_length"], 1)  # a read is a molecule
    tree, told, _ = read(tmp_path, two({"AS": 1000}, {"AS": 995}), digits=12, score_scale=2.5, length="on")
    b = 2000 / 1500 * np.exp(-2)
    np.testing.assert_allclose(weights(tree), np.array([1, b]) / (1 + b), rtol=1e-6)
    np.testing.assert_array_equal(tree["constant_data"]["effective_length"], [2000, 1500])
    tree, told, _ = read(tmp_path, two({"AS": 1000}, {"AS": 949}))
    assert weights(tree) == [1.0]
    assert told["rows"]["left_out"] == {"scored far below the read's best": 1}
    tree, told, _ = read(tmp_path, two({"AS": 1000, "NM": 1}, {"AS": 900, "NM": 2}), error=0.3, digits=12)
    np.testing.assert_allclose(weights(tree), [7 / 8, 1 / 8], rtol=1e-6)  # 3 (1 - .3) / .3 = 7


def test_what_is_no_place_is_left_out_and_said(tmp_path: Path) -> None:
    lines = [
        *two({"AS": 500}, {"AS": 500}, 16),
        *(line("s", "a", 1, flag, "900M", AS=500) for flag in (0, 256)),  # stored twice
        line("t", "a", 1, 0, "40M", AS=40),
        line("u", "a", 1, 0, "100M300S", AS=90),
    ]
    tree, told, warned = read(tmp_path, lines, strand="forward")
    assert int(tree["observed_data"]["count"].sum()) == 2
    assert weights(tree) == [1.0]
    assert told["rows"]["left_out"] == {
        "that repeat another of the read": 1,
        "too short": 1,
        "that align too small a part of the read": 1,
        "on the strand that the protocol excludes": 1,
    }
    assert "2 of 4 reads (50.0%) are left out" in warned
    cases: list[tuple[list[str], dict[str, Any], str]] = [
        (two({"AS": 1}, {}), {}, "an alignment has no score"),
        (two({"AS": 1, "NM": 0}, {"AS": 1}), {"error": 0.1}, "nothing tells how an alignment differs"),
        ([line("r", flag=1, cigar="900M", AS=1)], {}, "is of a pair"),
        ([line("r", cigar="40M", AS=1)], {}, "no read is aligned that can be used"),
        (two({"AS": 1}, {"AS": 1}), {"part": 2.0}, "must be from 0 to 1"),
    ]
    for some, options, says in cases:
        with pytest.raises(gn.InputError, match=says):
            read(tmp_path, some, **options)


def truncated(
    rng: np.random.Generator, reads: int, low: int = 1500, high: int = 4000, longest: int = 0
) -> tuple[Places, Array, Array]:
    """Reads that lack an exponential length at the 5' end; of two transcripts, one begins later and ends alike.

    Their lengths are from ``low`` to below ``high``, that of the first one ``longest``, where given.

    Returns the places, the truth by transcript, and the starts of the true places.
    """
    K = 40
    length = np.repeat(rng.integers(low, high, K // 2), 2)
    length[:2] = longest or length[0]
    length[1::2] -= rng.integers(400, 900, K // 2)
    a = rng.dirichlet(np.ones(K))
    of = rng.choice(K, reads, p=a)
    five = rng.exponential(600, reads).astype(int)
    good = five < length[of] - 100
    of, five = of[good], five[good]
    three = rng.integers(0, 8, len(of))
    read, transcript, begin = [np.arange(len(of))], [of], [five]
    mate = of ^ 1  # 3' ends agree, so that the other transcript's gap differs by the difference of lengths
    gap = five + length[mate] - length[of]
    fits = gap >= 0
    read, transcript, begin = ([*old, new[fits]] for old, new in ((read, read[0]), (transcript, mate), (begin, gap)))
    n, k, g = np.concatenate(read), np.concatenate(transcript), np.concatenate(begin)
    return Places(n, k, g, three[n], length[k], np.ones(len(n))), np.bincount(of, minlength=K), five


def shares(places: Places, weight: Array) -> Array:
    a = np.ones(int(places.transcript.max()) + 1)
    for _ in range(300):
        joint = weight * a[places.transcript]
        a = np.bincount(places.transcript, joint / np.bincount(places.read, joint)[places.read], len(a))
    return np.asarray(a)


def test_truncated_reads_are_told_by_their_ends() -> None:
    places, truth, five = truncated(np.random.default_rng(0), 20_000)
    weight, found, three = coverage(places, 100)
    true = np.bincount(np.searchsorted(EDGES, five, side="right") - 1, minlength=len(EDGES)) / len(five)
    np.testing.assert_allclose(found, true, atol=0.015)
    assert three[0] > 0.99
    off = [float(np.abs(shares(places, w) - truth).sum() / truth.sum()) for w in (np.ones(len(weight)), weight)]
    assert off[1] < 0.1
    assert off[1] < 0.2 * off[0]


def test_gaps_that_no_read_could_show_change_nothing() -> None:
    """The longest transcript has places for gaps of 2000 nt, but not with the 100 that a read covers."""
    places, truth, _ = truncated(np.random.default_rng(2), 4000, 1000, 1800, longest=2050)
    weight = coverage(places, 100)[0]
    assert np.abs(shares(places, weight) - truth).sum() / truth.sum() < 0.1


def test_the_chance_of_the_ends_is_one_in_all() -> None:
    """P(begin and end | transcript) adds up to one over all that fit, and is that of the learned bins."""
    places, *_ = truncated(np.random.default_rng(1), 3000)
    L, least = int(places.length[0]), 100
    every = np.array([(i, j) for i in range(0, L - least + 1, 50) for j in range(0, L - least + 1 - i, 50)])
    more = Places(
        np.concatenate([places.read, np.full(len(every), places.read.max() + 1)]),
        np.concatenate([places.transcript, np.full(len(every), places.transcript[0])]),
        np.concatenate([places.five, every[:, 0]]),
        np.concatenate([places.three, every[:, 1]]),
        np.concatenate([places.length, np.full(len(every), L)]),
        np.concatenate([places.weight, np.ones(len(every))]),
    )
    weight = coverage(more, least)[0][len(places.read) :]
    of = [np.searchsorted(EDGES, np.arange(L), side="right") - 1] * 2
    table = np.full((len(EDGES), len(EDGES)), np.nan)
    table[tuple(np.searchsorted(EDGES, every[:, side], side="right") - 1 for side in (0, 1))] = weight
    i, j = np.indices((L - least + 1, L - least + 1))
    fits = i + j <= L - least
    p = table[of[0][i[fits]], of[1][j[fits]]]
    assert np.nansum(p) == pytest.approx(1, abs=0.05)  # bins of less than 50 nt have no place of the grid


def test_coverage_is_an_option_of_the_reader(tmp_path: Path) -> None:
    lines = [line(f"r{i}", "a", 1, 0, "1990M", AS=1900) for i in range(60)]
    lines += [line(f"s{i}", "b", 1, 0, "1490M", AS=1400) for i in range(60)]
    lines += [line("x", "a", 501, 0, "1490M", AS=1400), line("x", "b", 1, 256, "1490M", AS=1400)]
    tree, told, _ = read(tmp_path, lines, coverage="ends")
    at = tree["constant_data"]["weight"].to_numpy()
    assert at[at < 1].max() > 0.98  # the read begins where b does
    assert "100% lack fewer than 100 nucleotides at the 5' end" in " ".join(told["notes"])
    assert sorted(weights(read(tmp_path, lines)[0])) == pytest.approx([0.5, 0.5, 1, 1])
