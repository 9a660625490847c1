"""Hits: densities against SciPy, replicates by simulation, error rates on screens whose truth is known."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import genarium as gn
from genarium import InputError, cli
from genarium.models.perturbation_score import combinations, contrasts, hits, replicate_concentration, score
from genarium.models.perturbation_score.hits import dirichlet_multinomials

Q0 = np.array([0.07, 0.21, 0.31, 0.39, 0.02])


def screen(seed: int = 0, P: int = 120, cells: int = 100, effect: float = 0.6) -> tuple[pd.DataFrame, Any, Any]:
    """Return counts with a control of 3,000 cells, which rows have an effect, and true shares."""
    rng = np.random.default_rng(seed)
    has = rng.random(P) < 0.5
    shares = np.exp(np.log(Q0) + rng.normal(0, effect, (P, 5)) * has[:, None])
    shares /= shares.sum(1, keepdims=True)
    rows = [rng.multinomial(cells, q) for q in shares] + [rng.multinomial(3000, Q0)]
    return pd.DataFrame(rows, index=[*(f"g{p}" for p in range(P)), "ctrl"], columns=list("abcde")), has, shares


def test_density_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    counts, alpha = rng.integers(0, 9, (4, 3)), rng.uniform(0.3, 5, (2, 3))
    naive = [[stats.dirichlet_multinomial.logpmf(x, a, x.sum()) for a in alpha] for x in counts]
    orders = [float(stats.multinomial.logpmf(x, x.sum(), np.ones(3) / 3)) + x.sum() * np.log(3) for x in counts]
    np.testing.assert_allclose(dirichlet_multinomials(counts, alpha), np.array(naive) - np.array(orders)[:, None])
    own = dirichlet_multinomials(counts[:2], alpha, own=True)
    np.testing.assert_allclose(own, np.diag(dirichlet_multinomials(counts[:2], alpha)))


def test_differences_between_replicates_are_measured() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(60):
        means = rng.dirichlet(5 * np.ones(6), 8)
        rows = [rng.multinomial(200, rng.dirichlet(40 * q)) for q in means for _ in range(2)]
        found.append(1 / (1 + replicate_concentration(rows, np.repeat(np.arange(8), 2))))
    assert abs(np.mean(found) - 1 / 41) < 4 * stats.sem(found)
    once = [rng.multinomial(200, Q0) for _ in range(3)]
    assert replicate_concentration(once, [0, 1, 2]) == np.inf


def test_replicates_of_few_cells_do_not_drown_what_others_say_of_differences() -> None:
    """Replicates of 3 to 1,000 cells: with pairs of equal weight, the error is twice as large (.0114)."""
    rng, found = np.random.default_rng(5), []
    for _ in range(60):
        cells = np.exp(rng.uniform(np.log(3), np.log(1000), (40, 2))).astype(int)
        rows = [rng.multinomial(n, rng.dirichlet(40 * Q0)) for pair in cells for n in pair]
        found.append(1 / (1 + replicate_concentration(rows, np.repeat(np.arange(40), 2))))
    assert np.std(found) < 0.008
    assert abs(np.mean(found) - 1 / 41) < 4 * stats.sem(found)
    assert replicate_concentration([[1, 0], [0, 1]], [0, 0]) == np.inf  # one cell each: nothing is known


def test_no_sign_is_told_of_a_rare_state_without_cells() -> None:
    """One state has 3 of 5,003 cells of the control, and none of 60 in a hit, where .04 are expected."""
    counts = pd.DataFrame(
        [[50, 5, 5, 0], *[[20, 20, 20, 0]] * 30, [1700, 1650, 1650, 3]],
        index=["hit", *(f"g{p}" for p in range(30)), "ctrl"],
        columns=["a", "b", "c", "rare"],
    )
    told = hits(counts, "ctrl").sel(perturbation="hit")
    assert told["fdr"] < 0.01
    assert told["lfsr"].sel(state="a") < 0.01
    assert 0.1 < told["lfsr"].sel(state="rare") <= 0.5
    assert told["low"].sel(state="rare") < 0 < told["high"].sel(state="rare")


@pytest.mark.slow
def test_error_rates_and_intervals_hold() -> None:
    false, calls, right, inside, total = np.zeros(5)
    for seed in range(4):
        counts, has, shares = screen(seed)
        told = hits(counts, "ctrl")
        called = told["fdr"].to_numpy() <= 0.05
        false, calls, right = false + (called & ~has).sum(), calls + called.sum(), right + (called & has).sum()
        fold = np.log2(shares / Q0)
        inside += ((told["low"].to_numpy() <= fold) & (fold <= told["high"].to_numpy())).sum()
        total += fold.size
    assert calls > 130
    assert false <= stats.binom.ppf(0.999, calls, 0.05)
    assert right / (4 * 60) > 0.6
    assert 0.87 < inside / total < 0.96  # effects of exactly zero are inside whenever they are believed


def test_answers_depend_on_names_not_on_places() -> None:
    counts, _, _ = screen()
    told = hits(counts, "ctrl", target="a=0.5,b=0.5")
    turned = hits(counts.iloc[::-1], "ctrl", target="a=0.5,b=0.5").sel(perturbation=told["perturbation"])
    for name in told:
        np.testing.assert_allclose(turned[name], told[name], atol=2e-3, err_msg=str(name))
    other = hits(counts[["c", "e", "a", "d", "b"]], "ctrl", target="a=0.5,b=0.5").sel(state=told["state"])
    for name in told:
        np.testing.assert_allclose(other[name], told[name], atol=1e-9, err_msg=str(name))
    assert (told["lfsr"] <= 1).all()
    assert (told["low"] <= told["high"]).all()
    assert float(told["in_top"].sum()) == pytest.approx(10)
    strong = told["effect_probability"] > 0.99
    plug_in = -np.abs(counts.iloc[:-1].to_numpy() / 100 - [0.5, 0.5, 0, 0, 0]).sum(1)
    assert np.corrcoef(told["score"][strong], plug_in[strong.to_numpy()])[0, 1] > 0.98


def test_replicates_that_differ_are_no_hits() -> None:
    """Three wells of each perturbation, none with an effect: cells pooled, most would be hits."""
    rng = np.random.default_rng(3)
    owner = np.repeat([*(f"g{p}" for p in range(40)), "ctrl"], 3).tolist()
    rows = [rng.multinomial(300, rng.dirichlet(40 * Q0)) for _ in owner]
    counts = pd.DataFrame(rows, index=[f"{name}_{i}" for i, name in enumerate(owner)], columns=list("abcde"))
    told = hits(counts, "ctrl", replicates=owner)
    assert 25 < told.attrs["replicate_concentration"] < 65
    assert (told["fdr"] <= 0.05).sum() <= 1
    assert (hits(counts, "ctrl", replicates=owner, concentration=np.inf)["fdr"] <= 0.05).sum() > 10
    assert told["cells"].to_numpy().tolist() == [900] * 40


def test_shares_that_are_known_well_help() -> None:
    rng = np.random.default_rng(4)
    kinds = 0.05 + 0.75 * np.eye(5)[:3]
    truth = kinds[rng.integers(0, 3, 60)]
    counts = pd.DataFrame(
        [*(rng.multinomial(8, q) for q in truth), rng.multinomial(3000, Q0)], index=[*map(str, range(60)), "ctrl"]
    )
    counts.columns = list("abcde")
    atoms = [rng.multinomial(2000, q) for q in kinds]
    wanted = np.abs(np.eye(5)[0] - truth).sum(1)
    error = [
        float(((-hits(counts, "ctrl", target="a=1", atoms=a)["score"].to_numpy() - wanted) ** 2).mean())
        for a in (None, atoms)
    ]
    assert error[1] < error[0] / 2


def test_hits_are_written(tmp_path: Path) -> None:
    counts, _, _ = screen(P=20)
    counts.index = pd.Index([*counts.index[:-1], "ctrl_1"])
    counts.to_csv(tmp_path / "counts.csv", index_label="perturbation")
    tree = gn.read("perturbation_score", tmp_path / "counts.csv", "table", regression="none")
    fit = gn.fit("perturbation_score", tree, "conjugate")
    (path,) = gn.export(fit, "hits", tmp_path / "hits.tsv", control="ctrl", split="_", target="a=1")
    table = pd.read_csv(path, sep="\t")
    assert len(table) == 20 * 5
    assert table["effect_probability"].is_monotonic_decreasing
    told = hits(fit, "ctrl_1", target="a=1").to_dataframe().reset_index().set_index(["perturbation", "state"])
    merged = table.set_index(["perturbation", "state"])
    np.testing.assert_allclose(merged["log2_fold"], told.loc[merged.index, "log2_fold"], rtol=1e-4, atol=1e-6)


def test_input_is_checked() -> None:
    counts, _, _ = screen(P=3)
    with pytest.raises(InputError, match="control 'none'"):
        hits(counts, "none")
    with pytest.raises(InputError, match="no perturbations beside the control"):
        hits(counts.loc[["ctrl"]], "ctrl")
    with pytest.raises(InputError, match="4 rows but 2 labels"):
        hits(counts, "ctrl", replicates=["a", "ctrl"])
    with pytest.raises(InputError, match="concentration=0"):
        hits(counts, "ctrl", concentration=0)
    with pytest.raises(InputError, match="top=0"):
        hits(counts, "ctrl", target="a=1", top=0)
    with pytest.raises(InputError, match="the row 'g1' has no cells"):
        hits(counts.assign(**{c: counts[c].where(counts.index != "g1", 0) for c in "abcde"}), "ctrl")
    with pytest.raises(InputError, match="must be numbers of cells"):
        hits(counts.assign(gene="x"), "ctrl")
    with pytest.raises(InputError, match="whose rows have names"):
        hits(counts.to_numpy(), "ctrl")


def test_tables_that_are_no_counts_are_refused_and_replicates_are_found_by_row() -> None:
    rng = np.random.default_rng(0)
    rows = [f"{name}_{i}" for name in ("control", "KO") for i in range(3)]
    counts = pd.DataFrame(rng.multinomial(50, [0.5, 0.3, 0.2], size=6), index=rows, columns=["a", "b", "c"])
    own = {row: row.split("_")[0] for row in rows}
    by_row = hits(counts, "control", replicates=dict(reversed(own.items())))
    xr.testing.assert_identical(by_row, hits(counts, "control", replicates=list(own.values())))
    for table, said in (
        (counts + 0.5, "row 'control_0', state 'a' is .*whole numbers of cells"),
        (counts.set_axis(["a", "a", "b"], axis=1), "the states are a, a, b: two different ones"),
        (counts[["a"]], "the states are a: two different ones or more are needed"),
        (counts.set_axis(["control", *["KO"] * 5]), "the row 'KO' is there twice. If rows are replicates"),
    ):
        with pytest.raises(InputError, match=said):
            hits(table, "control")
    with pytest.raises(InputError, match="there is no label for the row 'KO_2'"):
        hits(counts, "control", replicates=dict.fromkeys(rows[:-1], "x"))


def test_a_control_of_few_cells_makes_no_hits_of_all_rows() -> None:
    counts, has, _ = screen(P=80)
    counts.loc["ctrl"] = np.random.default_rng(50).multinomial(5, Q0)
    called = hits(counts, "ctrl")["fdr"].to_numpy() <= 0.05
    assert (called & ~has).sum() <= 2
    assert (called & has).sum() > 20


def test_equal_rows_have_one_rate_wherever_they_stand() -> None:
    counts, _, _ = screen(P=12, effect=0.3)
    second = str(hits(counts, "ctrl")["effect_probability"].to_series().sort_values().index[-2])
    counts.loc["again"] = counts.loc[second]
    for each in (hits(counts, "ctrl"), hits(counts.iloc[::-1], "ctrl")):
        fdr, probability = each["fdr"].to_series(), each["effect_probability"].to_series()
        assert fdr["again"] == fdr[second]
        assert fdr[second] == pytest.approx(1 - probability[probability > probability[second] - 1e-9].mean())


def test_replicates_with_nothing_in_common_are_worth_one_cell_each() -> None:
    counts = pd.DataFrame([[10, 0], [0, 10], [10, 0], [0, 10]], index=list("wxyz"), columns=["a", "b"])
    told = hits(counts, "C", replicates=["A", "A", "C", "C"])
    assert told.attrs["replicate_concentration"] == 0
    assert abs(float(told["log2_fold"].sel(state="a").item())) < 1


def test_a_control_is_found_by_what_its_label_reads() -> None:
    counts, _, _ = screen(P=5)
    plain = counts.reset_index(drop=True)
    xr.testing.assert_identical(hits(plain, "5"), hits(plain, 5))
    fit = gn.fit("perturbation_score", {"count": plain.to_numpy()}, "conjugate", regression="none")
    xr.testing.assert_identical(contrasts(fit, "0"), contrasts(fit, 0))
    xr.testing.assert_identical(score(fit, control="0"), score(fit, control=0))
    parts = [combinations(fit, one, pairs=[pair]) for one, pair in (("0", ("1", "2")), (0, (1, 2)))]
    xr.testing.assert_identical(*parts)


def command(file: Path, *words: str) -> int:
    """Run the command."""
    return cli.main(["hits", str(file), "--control", "ctrl", *words])


def test_the_command_uses_what_it_is_told_or_says_that_it_cannot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts, _, _ = screen(P=4)
    table = tmp_path / "counts.csv"
    counts.assign(total=counts.sum(axis=1), well="w", gene=counts.index).to_csv(table, index=False)
    assert command(table, "--condition", "gene", "--replicate", "well") == 2
    assert "Leave it out with --drop total" in capsys.readouterr().err
    assert command(table, "--condition", "gene", "--replicate", "well", "--drop", "total") == 0
    said = capsys.readouterr().out
    assert "No perturbation has two replicates" in said
    assert "Concentration" not in said
    assert command(table, "--fdr", "2") == 2
    assert "--fdr 2.0 must be between 0 and 1" in capsys.readouterr().err
    assert command(table, "--condition", "gene", "--state", "a") == 2
    assert "--state a says nothing of a table" in capsys.readouterr().err
    (tmp_path / "cells.h5ad").write_bytes(b"")
    assert command(tmp_path / "cells.h5ad", "--split", "_") == 2
    assert "Name the column of obs with the replicates: --replicate" in capsys.readouterr().err


def test_a_page_shows_the_changes_of_the_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, page = tmp_path / "counts.csv", tmp_path / "hits.html"
    told = {"gene": ["ctrl", "x", "same"], "a": [5000, 50, 5000], "b": [5000, 5000, 5000]}
    pd.DataFrame(told).to_csv(table, index=False)
    assert command(table, "-o", str(page)) == 0
    said = capsys.readouterr().out
    assert "1 of 2 perturbations changes the states" in said
    assert re.search(r"x +5,050 +1\.000 +0 +a \u2212\d\.\d\d \(\u2212", said)
    assert re.search(r"same +10,000 .* none is likely", said)  # no mean outside an interval of nothing
    assert page.read_text().count("<svg") == 1


def test_the_command_says_in_words_that_replicates_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "counts.csv"
    twice = {"gene": ["ctrl", "ctrl", "x", "x"], "well": [1, 2, 1, 2], "a": [50, 50, 20, 20], "b": [50, 50, 80, 80]}
    pd.DataFrame(twice).to_csv(table, index=False)
    assert command(table, "--condition", "gene", "--replicate", "well") == 0
    said = capsys.readouterr().out
    assert "Replicates of a perturbation differ no more than their numbers of cells explain." in said
    assert "inf" not in said
    assert "Share without an effect, on the cautious side (ten perturbations without one are added" in said
