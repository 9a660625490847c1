"""The statistic as a method: programs, their genes and gene sets, predictions, cells that were not hit."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import genarium as gn
from genarium import InputError, cli, registry
from genarium.data import check
from genarium.models.perturbation_score import contrasts, enrichment, escapees, programs, read_gmt, score
from genarium.models.perturbation_score.enrichment import ranked
from genarium.models.perturbation_score.found import found
from genarium.models.perturbation_score.programs import described, kept_back, regressed, settled

NAME = "perturbation_score"


@pytest.fixture(scope="module")
def fit() -> xr.DataTree:
    """A fit of named genes by few steps."""
    tree = gn.simulate(NAME, seed=2, observed="expression", regression="none")
    genes = [f"G{i:02d}" for i in range(tree["observed_data"].sizes["gene"])]
    names = [f"p{i:02d}" for i in range(12)]
    condition = np.array(names)[tree["constant_data"]["condition"].to_numpy()]
    index = pd.Index([f"c{i}" for i in range(360)], name="cell")
    data: dict[str, Any] = {
        "expression": pd.DataFrame(tree["observed_data"]["expression"].to_numpy(), index, pd.Index(genes, name="gene")),
        "state": pd.Series(tree["observed_data"]["state"].to_numpy(), index),
        "condition": pd.Series(condition, index),
    }
    return gn.fit(
        NAME, data, "statistic", observed="expression", regression="none", iterations=60, control="p00", program=3
    )


def test_fit_has_names_and_says_what_rivals_do(fit: xr.DataTree) -> None:
    point = fit["point"].to_dataset()
    assert list(point["gene"].to_numpy()[:2]) == ["G00", "G01"]
    assert point["activity"].dims == ("perturbation", "program")
    np.testing.assert_allclose(point["activity"].std("perturbation"), 1, rtol=1e-6)
    assert float(point["moved"].sel(perturbation="p00").max()) == 0
    verdicts = {one.check: one for one in gn.diagnose(NAME, fit).verdicts}
    assert "error above that of a simple rival" in verdicts
    assert verdicts["converged"].where == "after 60 iterations"


@pytest.mark.slow
def test_fit_predicts_after_saving_and_by_gene_names(fit: xr.DataTree, tmp_path: Path) -> None:
    again = gn.load(gn.save(fit, tmp_path / "fit.nc"))
    xr.testing.assert_allclose(again["point"].to_dataset(), fit["point"].to_dataset())
    own = gn.predict(again)["predictions"].to_dataset()
    np.testing.assert_allclose(own["activity"], fit["point"]["activity"], atol=1e-4)
    np.testing.assert_allclose(own["score"], fit["point"]["score"], atol=1e-5)
    frame = fit["observed_data"]["expression"].to_pandas()
    condition = fit["constant_data"]["condition"].to_numpy()
    some = condition < 4
    other = {
        "expression": frame.loc[some, frame.columns[::-1]],
        "condition": pd.Series([f"q{c}" for c in condition[some]], frame.index[some]),
    }
    told = gn.predict(again, other)["predictions"].to_dataset()  # other perturbations, genes in another order
    np.testing.assert_allclose(told["activity"], fit["point"]["activity"].to_numpy()[:4], atol=1e-4)


def test_programs_are_regressions_on_activity() -> None:
    rng = np.random.default_rng(0)
    A = np.linalg.qr(rng.normal(size=(50, 2)) - 0)[0]
    A = (A - A.mean(0)) / A.std(0)
    A[:, 1] += 0.5 * A[:, 0]  # activities are correlated
    Y = A @ np.array([[1.0, 0, -2], [0, 0.5, 0]]) + 0.1 * rng.normal(size=(50, 3))
    slope, z = regressed(A, Y - Y.mean(0))
    np.testing.assert_allclose(slope, np.array([[1, 0, -2], [0, 0.5, 0]]), atol=0.06)
    assert np.abs(z[0, 0]) > 30
    assert np.abs(z[0, 1]) < 5


def test_loss_that_still_falls_is_not_settled() -> None:
    noise = 0.01 * np.random.default_rng(0).normal(size=1000)
    assert settled(0.1 + noise)["converged"] == 1
    assert settled(np.linspace(1, 0.1, 1000) + noise)["converged"] == 0


def test_sets_of_genes(fit: xr.DataTree, tmp_path: Path) -> None:
    told = programs(fit, top=3)
    z = told["total_loading_z"].to_numpy()[0]
    up = [f"G{i:02d}" for i in np.argsort(-z)[:7]]
    rest = [f"G{i:02d}" for i in range(0, 30, 3)]
    path = tmp_path / "sets.gmt"
    path.write_text(
        "up\tmade\t" + "\t".join(up) + "\nany\t\t" + "\t".join(rest) + "\nsmall\tx\tG00\n", encoding="utf-8"
    )
    table = enrichment(fit, path)
    first = table[(table["program"] == 0) & (table["set"] == "up")].iloc[0]
    assert first["z"] > 3.5
    assert first["fdr"] < 0.01
    assert set(table["set"]) == {"up", "any"}
    pd.testing.assert_frame_equal(enrichment(fit, {"up": set(up), "any": tuple(rest)}), table)
    assert ranked(np.zeros(9), np.arange(9) < 4) == {"z": 0.0, "p": 1.0}  # a program that nothing moves
    gn.save(fit, tmp_path / "fit.nc")
    words = [
        "export",
        str(tmp_path / "fit.nc"),
        "--as",
        "enrichment",
        "--option",
        f"gmt={path}",
        "-o",
        str(tmp_path / "e.tsv"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # the command line prints it
        assert cli.main(words) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "e.tsv", sep="\t"), table, rtol=1e-4)
    assert cli.main(["export", str(tmp_path / "fit.nc"), "--as", "programs", "-o", str(tmp_path / "p.tsv")]) == 0
    assert len(pd.read_csv(tmp_path / "p.perturbations.tsv", sep="\t")) == 36


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "holds no set"), ("a\tb\n", "line 1 has 2 fields"), ("a\tb\tG1\na\tb\tG2\n", "line 2: the set 'a'")],
)
def test_bad_gmt(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.gmt").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_gmt(tmp_path / "x.gmt")


def test_sets_that_are_left_out_are_told(fit: xr.DataTree, tmp_path: Path) -> None:
    genes = fit["point"]["gene"].to_numpy().tolist()
    (tmp_path / "x.gmt").write_text("\n".join(["s\t\t" + "\t".join(genes[:6]), f"few\t\t{genes[0]}"]), encoding="utf-8")
    with pytest.warns(UserWarning, match=r"1 of 2 sets were left out.*few \(1\)"):
        gn.export(fit, "enrichment", tmp_path / "e.tsv", gmt=str(tmp_path / "x.gmt"))


def test_programs_beyond_the_number_of_perturbations_are_empty() -> None:
    rng = np.random.default_rng(0)
    data = {"expression": rng.poisson(3.0, (40, 12)), "condition": np.arange(40) % 3, "state": np.arange(40) % 2}
    problem = check(registry.get(NAME).variant(observed="expression", regression="none"), data)
    mix = rng.normal(size=(12, 10))
    trained = SimpleNamespace(
        summarise=lambda cells, average: average @ cells @ mix,
        distance=lambda S, Q: np.zeros((len(S), len(Q))),
        size=SimpleNamespace(programs=10),
    )
    told = described(problem, trained, None, kept_back(problem["condition"], rng), rng)
    np.testing.assert_allclose(told["activity"][1].std(0), [1, 1, *[0] * 8], atol=1e-6)
    assert (told["reliability"][1][2:] == 0).all()
    assert (told["axes"][1][:, 2:] == 0).all()


def test_a_third_of_the_cells_of_each_perturbation() -> None:
    condition = np.repeat([2, 0, 1, 3], [5, 4, 1, 10])
    chosen = kept_back(condition, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(condition[chosen], minlength=4), [1, 0, 1, 3])
    np.testing.assert_array_equal(kept_back(condition[::-1], np.random.default_rng(0)).sum(), chosen.sum())


def without_effects(cells: list[int]) -> dict[str, Any]:
    """Return cells of perturbations that change nothing; four states."""
    rng = np.random.default_rng(0)
    condition, G = np.repeat(np.arange(len(cells)), cells), 60
    state, marker = rng.integers(0, 4, len(condition)), 0.5 * rng.normal(size=(4, G))
    mean = 8 * np.exp(rng.normal(size=G) + marker[state])
    expression = rng.poisson(rng.gamma(1.5, mean / 1.5))
    return {"expression": expression, "condition": condition, "state": state}


def test_perturbations_without_effects_move_no_program() -> None:
    """Judged by the cells that the network learned from, nine of 60 would be called (mean reliability .5)."""
    options: dict[str, Any] = {"observed": "expression", "regression": "none", "control": "0", "program": 3}
    fit = gn.fit(NAME, without_effects([100, *[20] * 19]), "statistic", iterations=400, backend="python", **options)
    point = fit["point"].to_dataset()
    assert int((point["moved_fdr"] < 0.05).sum()) <= 1
    assert float(point["reliability"].mean()) < 0.4


def test_perturbations_of_one_cell() -> None:
    options: dict[str, Any] = {"observed": "expression", "regression": "none", "control": "0", "program": 3}
    fit = gn.fit(NAME, without_effects([20, *[1] * 10, *[20] * 4]), "statistic", iterations=20, **options)
    assert (fit["point"]["moved_fdr"].to_numpy()[1:11] == 1).all()  # nothing was kept to tell them by
    point = gn.fit(NAME, without_effects([3] * 12), "statistic", iterations=20, **options)["point"]
    assert (point["moved_fdr"].to_numpy() == 1).all()
    assert (point["reliability"].to_numpy() == 0).all()
    with pytest.raises(InputError, match="no perturbation has two cells"):
        gn.fit(NAME, without_effects([1] * 12), "statistic", iterations=20, **options)


def test_the_difference_is_said_to_be_from_what_it_is_from(fit: xr.DataTree) -> None:
    told = found(fit)
    assert "difference from p00 (sd)" in next(iter(told.tables.values()))[0]
    assert " of 11 perturbations" in told.notes[0]


def test_sets_without_the_genes_are_told(fit: xr.DataTree) -> None:
    with pytest.raises(InputError, match="none of 1 sets has between 5 and 500"):
        enrichment(fit, {"s": ["TP53", "MYC"]})


def test_shares_are_not_asked_of_cells(fit: xr.DataTree) -> None:
    with pytest.raises(InputError, match="says nothing of shares"):
        score(fit)
    with pytest.raises(InputError, match="says nothing of shares"):
        contrasts(fit, control="p00")


def test_one_state_is_refused(fit: xr.DataTree) -> None:
    data = {
        "expression": fit["observed_data"]["expression"].to_pandas(),
        "condition": fit["constant_data"]["condition"].to_numpy(),
        "state": np.zeros(360, dtype=int),
    }
    with pytest.raises(InputError, match="all cells are of one state"):
        gn.fit(NAME, data, "statistic", observed="expression", regression="none", iterations=2)


def cells(rng: np.random.Generator, shift: float) -> tuple[Any, list[str], list[str], Any, dict[str, float]]:
    """Simulate cells of four states and three perturbations of three guides; return shares that were not hit, too."""
    d, states = 8, 2 * rng.normal(size=(4, 8))
    X, condition, guide, state, truth = [], [], [], [], {}
    for p, name in enumerate(["c", "p0", "p1", "p2"]):
        v = rng.normal(size=d)
        v *= shift / np.linalg.norm(v)
        q = rng.dirichlet(np.full(4, 5.0))
        for g, share in enumerate([1.0] if not p else [0.1, 0.3, 0.6]):
            n = 200 if p else 800
            missed = rng.random(n) < share
            k = np.where(missed, rng.integers(0, 4, n), rng.choice(4, n, p=q))
            X.append(states[k] + rng.normal(size=(n, d)) + np.where(missed[:, None], 0, v))
            state.append(k)
            condition += [name] * n
            guide += [f"{name}g{g}"] * n
            truth[f"{name}g{g}"] = float(missed.mean())
    return np.concatenate(X), condition, guide, np.concatenate(state), truth


def test_shares_that_were_not_hit() -> None:
    X, condition, guide, state, truth = cells(np.random.default_rng(1), 3.5)
    told, hit = escapees(X, condition, "c", guide=guide, state=state)
    error = told["not_hit"].to_numpy() - [truth[str(g)] for g in told["guide"].to_numpy()]
    assert np.abs(error).max() < 0.05
    assert told["clear"].all()
    assert (hit[np.array(condition) == "c"] == 0).all()


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_intervals_of_shares_that_were_not_hit(share: float) -> None:
    """One guide a perturbation: where hit cells lie, and how wide they spread, is as uncertain as the share."""
    rng = np.random.default_rng(5)
    repeats, n, d = 100, 100, 6
    hit = np.r_[np.zeros(1000), rng.uniform(size=repeats * n) > share]
    X = rng.normal(size=(len(hit), d)) + np.outer(hit, np.eye(d)[0] * 2.5)
    told, _ = escapees(X, ["c"] * 1000 + [f"p{i // n}" for i in range(repeats * n)], "c")
    covered = ((told["low"] <= share) & (share <= told["high"])).mean()
    assert abs(covered - 0.9) < 3 * np.sqrt(0.09 / repeats)


def test_shares_of_no_cell_and_of_every_cell_are_in_their_intervals() -> None:
    rng = np.random.default_rng(3)
    shift = np.repeat([0.0, 4.0, 0.0], [200, 60, 60])
    X = rng.normal(size=(320, 2)) + np.outer(shift, [1.0, 0.0])
    told, _ = escapees(X, ["c"] * 200 + ["p"] * 120, "c", guide=["c"] * 200 + ["hits"] * 60 + ["misses"] * 60)
    np.testing.assert_array_equal([told["low"][0], told["high"][1]], [0.0, 1.0])
    assert told["high"][0] < 0.1
    assert told["low"][1] > 0.9


def test_cells_that_lie_far_from_the_control() -> None:
    """Neither density is above zero in floating point where cells of both kinds are 45 sd apart, but their ratio is."""
    X = np.random.default_rng(0).normal(size=(300, 2))
    X[180:] += [45.0, 0.0]
    told, hit = escapees(X, ["c"] * 150 + ["p"] * 150, "c")
    np.testing.assert_array_equal(hit[150:] > 0.5, np.arange(150) >= 30)
    assert told["not_hit"] == pytest.approx(0.2, abs=0.01)
    assert told["apart"] == pytest.approx(45, abs=0.5)


def test_units_of_columns_change_nothing() -> None:
    rng = np.random.default_rng(0)
    X, condition = rng.normal(size=(90, 2)), ["c"] * 50 + ["p"] * 40
    X[60:] += [0.0, 3.0]
    _, hit = escapees(X, condition, "c")
    _, again = escapees(X * [1e4, 1e-3] + 5, condition, "c")
    np.testing.assert_allclose(again, hit, atol=1e-6)


def test_effects_that_are_not_there_are_not_clear() -> None:
    X, condition, guide, state, _ = cells(np.random.default_rng(2), 0.0)
    told, _ = escapees(X, condition, "c", guide=guide, state=state)
    assert not told["clear"].any()
    assert (told["low"] == 0).all()  # nothing is known of shares there
    assert (told["high"] == 1).all()


def test_guides_most_of_whose_cells_were_not_hit() -> None:
    """Started from the mean of all cells alone, half of them would pass for effects below CLEAR, .12 too small."""
    rng = np.random.default_rng(4)
    repeats, n, d = 40, 160, 12
    hit = np.r_[np.zeros(2000), rng.uniform(size=repeats * n) > 0.6]
    X = rng.normal(size=(len(hit), d)) + np.outer(hit, np.eye(d)[0] * 2)
    told, _ = escapees(X, ["c"] * 2000 + [f"p{i // n}" for i in range(repeats * n)], "c")
    assert told["clear"].mean() > 0.85
    assert abs(float(told["not_hit"].mean()) - 0.6) < 0.05


def test_few_control_cells() -> None:
    """The inverse of a covariance of few cells is too large: cells seemed .4 sd farther from the control."""
    rng = np.random.default_rng(6)
    n, d, controls, repeats = 200, 10, 40, 25
    apart, share = [], []
    for _ in range(repeats):
        hit = np.r_[np.zeros(controls), rng.uniform(size=n) > 0.4]
        X = rng.normal(size=(len(hit), d)) + np.outer(hit, np.eye(d)[0] * 3)
        state = rng.integers(0, 3, len(hit))
        told, _ = escapees(X + state[:, None], ["c"] * controls + ["p"] * n, "c", state=state)
        apart.append(float(told["apart"][0]))
        share.append(float(told["not_hit"][0]))
    assert abs(np.mean(apart) - 3) < 3 * np.std(apart) / np.sqrt(repeats) + 0.05
    assert abs(np.mean(share) - 0.4) < 0.06


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"control": "z"}, "there is no control 'z'"),
        ({"guide": ["a"]}, "Give one of each for every cell"),
        ({"x": np.full((5, 9), np.nan), "condition": list("ccccp")}, "missing or infinite"),
        ({"x": np.zeros((5, 9)), "condition": list("ccccp")}, "4 control cells are too few for 9 columns"),
    ],
)
def test_bad_cells(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"x": np.random.default_rng(0).normal(size=(20, 2)), "condition": ["c"] * 15 + ["p"] * 5}
    given |= {"control": "c"} | change
    with pytest.raises(InputError, match=message):
        escapees(**given)
