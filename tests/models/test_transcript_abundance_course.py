"""The course's locus: its simulator against its likelihood, and the numbers that are known of the real data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import genarium as gn
from genarium.declaration import Array
from genarium.models.transcript_abundance.kernels import until_changes_are_small
from genarium.models.transcript_abundance.likelihood import log_likelihood
from genarium.models.transcript_abundance.locus import ARC_NU, Locus
from genarium.models.transcript_abundance.salmon import quant_sf
from genarium.models.transcript_abundance.table import tabulate

NAME = "transcript_abundance"
SHARED = Path(__file__).parents[3] / "shared" / "data"
COURSE, SALMON = SHARED / "mcb112", SHARED / "salmon_arc"

needs_course = pytest.mark.skipif(not COURSE.is_dir(), reason="the course's files are not part of the repository")
needs_salmon = pytest.mark.skipif(not SALMON.is_dir(), reason="salmon's output is not part of the repository")


def total_log_likelihood(data: dict[str, Any], nu: Array) -> float:
    arrays = {n: np.asarray(data[n]) for n in ("count", "weight", "entry_class", "entry_transcript")}
    return float(log_likelihood(nu, **arrays).sum())


# The simulator


def test_likelihood_of_a_read_is_normalised_for_every_transcript() -> None:
    np.testing.assert_allclose(Locus().likelihood().sum((0, 1)), 1, rtol=1e-12)


def test_likelihood_of_a_tiny_locus_by_hand() -> None:
    """Read 2, fragments of 2 or 3 nucleotides with equal probability, one transcript of 4."""
    locus = Locus({"t": "AB"}, segment=2, read=2, fragment_mean=2.5, fragment_sd=0.1)
    sizes, p = locus.fragments
    assert sizes.tolist() == [2, 3]
    np.testing.assert_allclose(p, 0.5)
    # fragment of 2: starts 0 1 2; of 3: starts 0 1, the reverse read begins one further right
    forward = [0.5 * (0.5 / 3 + 0.5 / 2), 0.5 * (0.5 / 3 + 0.5 / 2), 0.5 * 0.5 / 3, 0]
    reverse = [0.5 * 0.5 / 3, forward[0], forward[0], 0]
    np.testing.assert_allclose(locus.likelihood()[..., 0], np.transpose([forward, reverse]), rtol=1e-12)


def test_reads_fall_where_the_likelihood_says() -> None:
    locus, rng = Locus(segment=100, read=20, fragment_mean=40, fragment_sd=6), np.random.default_rng(1)
    nu = ARC_NU / ARC_NU.sum()
    seen = locus.simulate(rng, nu, 400_000)
    expected = 400_000 * locus.likelihood() @ nu
    found = np.zeros(expected.shape)
    np.add.at(found, (seen["position"], seen["orientation"]), 1)
    assert found[expected == 0].sum() == 0
    some = expected > 0
    chi = ((found[some] - expected[some]) ** 2 / expected[some]).sum()
    assert stats.chi2.sf(chi, some.sum() - 1) > 1e-3


def test_classes_keep_the_likelihood_of_the_reads() -> None:
    locus, rng = Locus(), np.random.default_rng(2)
    seen = locus.simulate(rng, ARC_NU / ARC_NU.sum(), 3000)
    rows = locus.likelihood()[seen["position"], seen["orientation"]]
    data = locus.classes(seen)
    a, b = rng.dirichlet(np.ones(10), 2)
    naive = np.log(rows @ a).sum() - np.log(rows @ b).sum()
    assert total_log_likelihood(data, a) - total_log_likelihood(data, b) == pytest.approx(naive, rel=1e-9)


@pytest.mark.slow
def test_the_likelihood_that_knows_positions_is_consistent_with_the_truth_and_the_uniform_one_is_not() -> None:
    """2 (ln L* - ln L(truth)) is chi-square with 9 degrees of freedom for the right likelihood only."""
    locus, nu = Locus(), ARC_NU / ARC_NU.sum()
    deviance: dict[str, list[float]] = {"fragments": [], "uniform": []}
    for seed in range(6):
        seen = locus.simulate(np.random.default_rng(seed), nu, 50_000)
        for protocol, found in deviance.items():
            data = locus.classes(seen, protocol)
            best = gn.fit(NAME, data, "em")["point"]["nu"].to_numpy()
            found.append(2 * (total_log_likelihood(data, best) - total_log_likelihood(data, nu)))
    right, wrong = (sum(deviance[p]) for p in ("fragments", "uniform"))
    assert 1e-3 < stats.chi2.sf(right, 54) < 1 - 1e-3
    assert stats.chi2.sf(wrong, 54) < 1e-6


# The course's data

TRANSCRIPTS = ["ABCD", "BC", "CDE", "DEFG", "EFGH", "FGH", "GH", "HI", "IJA", "JAB"]
COUNTS = np.array([97512, 268771, 249157, 76643, 33977, 40729, 43351, 76299, 73029, 40532])
TAU = [0.1478, 0.4980, 0.0006, 0.0504, 0.0371, 0.0182, 0.0068, 0.1359, 0.0536, 0.0515]


def course_2022() -> dict[str, Any]:
    """The counts of 2022 (ten numbers) as arrays."""
    entries = [("ABCDEFGHIJ".index(s), k, 1 / len(t)) for k, t in enumerate(TRANSCRIPTS) for s in t]
    classes, transcripts, weights = (np.array(c) for c in zip(*entries, strict=True))
    length = np.array([1000.0 * len(t) for t in TRANSCRIPTS])
    return {
        "count": COUNTS,
        "entry_class": classes,
        "entry_transcript": transcripts,
        "weight": weights,
        "effective_length": length,
    }


def oracle(data: dict[str, Any]) -> Array:
    """The exact maximum of an invertible design: W^-1 (c / N), where that is positive."""
    W = np.zeros((10, 10))
    W[data["entry_class"], data["entry_transcript"]] = data["weight"]
    return np.linalg.solve(W, data["count"] / data["count"].sum())


def test_em_finds_the_exact_maximum_of_2022() -> None:
    data = course_2022()
    tree = gn.fit(NAME, data, "em")
    told = json.loads(tree.attrs["notes"])
    np.testing.assert_allclose(tree["point"]["nu"], oracle(data), rtol=0, atol=1e-7)
    np.testing.assert_allclose(tree["point"]["nu"], oracle(data), rtol=1e-5)
    np.testing.assert_allclose(tree["point"]["tpm"] / 1e6, TAU, atol=5e-5)
    assert told["bound"] == pytest.approx(-2021933.56, abs=0.005)
    assert told["optimality_gap"] < 0.01
    assert told["converged"]


def test_salmons_rule_stops_far_from_the_maximum() -> None:
    """After 101 steps, 140 nats are missing, and one count is off by 26,935 reads; the bound says that much is left."""
    data = course_2022()
    best = oracle(data)
    table = tabulate(data["entry_class"], data["entry_transcript"], data["weight"], data["count"].astype(float), 10)
    a = np.full(10, 1e5)
    done = until_changes_are_small(
        table.first, table.column, table.weight, table.count, table.sole, a, 0.0, 101, 10_000, 0.01, 1e-2
    )
    assert done == 101
    assert np.abs(a - 1e6 * best).max() == pytest.approx(26_935, abs=1)
    missing = total_log_likelihood(data, best) - total_log_likelihood(data, a / a.sum())
    assert missing == pytest.approx(140, abs=0.5)
    told = json.loads(gn.fit(NAME, data, "em", stop="salmon").attrs["notes"])
    assert told["iterations"] == 100
    assert told["optimality_gap"] > missing


@pytest.mark.data
@needs_course
def test_files_of_the_course() -> None:
    tree = gn.read(NAME, COURSE / "mcb112_2022_w09-arc.out", format="course")
    np.testing.assert_array_equal(tree["observed_data"]["count"], COUNTS)
    np.testing.assert_allclose(gn.fit(NAME, tree, "em")["point"]["nu"], oracle(course_2022()), atol=1e-7)
    example = gn.read(NAME, COURSE / "mcb112_2022_w09-arc-example.out", format="course")
    fitted = gn.fit(NAME, example, "em")
    assert json.loads(fitted.attrs["notes"])["bound"] == pytest.approx(-2168735.52, abs=0.005)
    true = np.array([0.046, 0.293, 0.128, 0.089, 0.017, 0.017, 0.006, 0.196, 0.089, 0.120])
    nu = true * example["constant_data"]["effective_length"].to_numpy()
    data = {str(n): v.to_numpy() for g in ("constant_data", "observed_data") for n, v in example[g].data_vars.items()}
    # the true abundances are printed to three digits: that moves the likelihood by a few nats
    assert total_log_likelihood(data, nu / nu.sum()) == pytest.approx(-2168747.22, abs=0.1)


@pytest.mark.data
@needs_salmon
@pytest.mark.parametrize(("method", "folder"), [("em", "salmon--useEM"), ("vi", "salmon--useVBOpt")])
def test_salmons_own_counts_come_out(method: str, folder: str) -> None:
    tree = gn.fit(NAME, gn.read(NAME, SALMON / folder, format="salmon"), method, stop="salmon", prior="dirichlet")
    counts = tree["point" if method == "em" else "variational"]["counts"]
    table = quant_sf(SALMON / folder / "quant.sf")
    printed = dict(zip(table["name"], table["counts"], strict=True))
    theirs = np.array([printed[str(name)] for name in counts["transcript"].to_numpy()])
    np.testing.assert_allclose(counts.to_numpy(), theirs, rtol=1e-3)
    tpm = dict(zip(table["name"], table["tpm"], strict=True))
    group = tree["point" if method == "em" else "variational"]["tpm"]
    np.testing.assert_allclose(group, [tpm[str(n)] for n in group["transcript"].to_numpy()], rtol=1e-3)


@pytest.mark.data
@needs_salmon
def test_the_maximum_lies_beyond_salmons_answer() -> None:
    tree = gn.read(NAME, SALMON / "salmon--useEM", format="salmon")
    best, early = (json.loads(gn.fit(NAME, tree, "em", stop=s).attrs["notes"]) for s in ("bound", "salmon"))
    assert best["optimality_gap"] < 0.01
    assert best["bound"] - early["bound"] == pytest.approx(7.31, abs=0.02)
    assert early["optimality_gap"] > best["bound"] - early["bound"]
