"""What reports answer first: the right numbers, in the words of the field, whatever the data name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import genarium as gn
from genarium.declaration import Answer
from genarium.found import found, named, percent
from genarium.models.mendelian_randomization import mr_table
from genarium.models.mendelian_randomization.mr_command import answer as mr_answer
from genarium.reporting.answers import as_text, write_page


def answer(name: str, tree: xr.DataTree) -> Any:
    """Return the answer of a fit, by the variant that it was made with."""
    return found(gn.get(name).variant(**json.loads(tree.attrs["model_options"])), tree)


def test_what_has_a_number_only_is_named_by_its_dim() -> None:
    assert named("equivalence_class", 3) == "equivalence class 3"
    assert named("gene", "Gata1") == "Gata1"


@pytest.mark.parametrize("method", ["em", "vi"])
def test_shares_of_groups_that_depend_on_covariates_are_those_of_the_cells(method: str) -> None:
    """The weights are those of a cell whose covariates are zero, and no cell is near that here."""
    rng = np.random.default_rng(1)
    data = gn.simulate(
        "nb_mixture", 1, weights="covariates", cell=300, covariate=1, component=2, phi=0.05,
        pi=[0.5, 0.5], mu=[[5.0, 60.0], [60.0, 5.0]], effect=[[0.7, -0.7]], covariates=rng.normal(2.0, 0.3, (300, 1)),
    )  # fmt: skip
    tree = gn.fit("nb_mixture", data, method, seed=1, restarts=1, component=2)
    held = (
        tree["point" if method == "em" else "variational"]["responsibility"].transpose("cell", "component").to_numpy()
    )
    rows = answer("nb_mixture", tree).tables["Groups, the largest first"]
    shares = {int(row[0]): float(row[1]) for row in rows[1:]}
    np.testing.assert_allclose([shares[k] for k in range(2)], held.mean(0), atol=0.03)
    assert max(shares.values()) > 0.85
    assert "gene 0" in rows[1][-1] + rows[2][-1]
    if method == "vi":
        assert all(float(row[2]) < float(row[1]) < float(row[3]) for row in rows[1:])


def test_a_ranking_names_its_target() -> None:
    data = gn.simulate("perturbation_score", 1, perturbation=8, state=3, regression="none", target=[0.7, 0.3, 0.0])
    told = answer("perturbation_score", gn.fit("perturbation_score", data, "conjugate", seed=1))
    assert told.notes[0].startswith("The best of 8 perturbations is perturbation ")
    assert "the target (state 0: 0.7, state 1: 0.3): 0 is best" in told.notes[1]


def test_transcripts_that_can_be_told_apart_have_no_empty_column() -> None:
    tree = gn.fit("transcript_abundance", gn.simulate("transcript_abundance", seed=1), "em")
    (rows,) = answer("transcript_abundance", tree).tables.values()
    assert rows[0] == ["transcript", "TPM", "reads"]
    assert rows[1][0] == "transcript 6"
    tied = tree.copy()
    tied["point"] = tree["point"].to_dataset().assign_coords(ridge=("transcript", [1, 1, 0, 0, 0, 0, 0, 0]))
    told = answer("transcript_abundance", tied)
    (rows,) = told.tables.values()
    assert rows[0][-1] == "cannot be told apart from"
    assert {row[0]: row[-1] for row in rows[1:]}["transcript 0"] == "transcript 1"
    assert "2 transcripts fall into 1 group within which" in told.notes[1]


def test_weights_of_edges_are_counted_with_their_intervals() -> None:
    data = gn.simulate("notmad", seed=1, sample=80, node=3, order="given")
    tree = gn.fit("notmad", data, "map", archetype=1, seed=1, restarts=1)
    assert any("point estimate" in note for note in answer("notmad", tree).notes)
    draws = tree["point"].to_dataset()["edge_weight"].expand_dims(chain=2, draw=50)
    noise = xr.DataArray(np.random.default_rng(0).normal(0, 1e-3, draws.shape), dims=draws.dims)
    sampled = tree.copy()
    sampled["posterior"] = xr.Dataset({"edge_weight": draws + noise}).assign_coords(chain=range(2), draw=range(50))
    notes = answer("notmad", sampled).notes
    edges = int((np.abs(draws.isel(chain=0, draw=0)) > 0.1).sum())
    assert f"The 90% interval excludes zero for {edges} of these {edges} weights." in notes


def test_an_analysis_says_the_estimate_first_and_shows_its_table_above_its_figures(tmp_path: Path) -> None:
    page = write_page(
        Answer(
            "An analysis",
            {"Estimates": [["gene", "value"], ["gene 7", "1.5"]], "More": [["a"], ["b"]]},
            ["The value is 1.5."],
            lambda: iter([("A figure", "Look.", Figure(figsize=(1, 1)))]),
        ),
        tmp_path / "a.html",
    ).read_text(encoding="utf-8")  # fmt: skip
    places = [page.index(text) for text in ("The value is 1.5.", ">Estimates</h2>", ">A figure</h3>", ">More</h2>")]
    assert places == sorted(places)
    assert "<td>gene\u00a07</td>" in page


def test_mendelian_randomisation_says_its_estimate_first() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0.2, 0.05, 30)
    found = mr_table(x, np.full(30, 0.01), 0.4 * x, np.full(30, 0.01), model=False, iterations=200)
    told = mr_answer(found, notes=["a.tsv: columns taken"])
    assert told.notes[0].startswith("IVW: 0.400, 95% interval 0.3")
    assert told.notes[-1] == "a.tsv: columns taken"
    narrow = mr_table(x[:2], np.full(2, 0.01), 0.4 * x[:2], np.full(2, 0.01), model=False, iterations=200, level=0.5)
    assert "50% interval" in mr_answer(narrow).notes[0]


@pytest.mark.parametrize(
    ("share", "digits", "told"),
    [
        (0.516, 0, "52%"),
        (0.5161, 1, "51.6%"),
        (0.004, 0, "0.4%"),
        (0.00031, 1, "0.03%"),
        (0.9996, 0, "99.96%"),
        (0.0, 1, "0.0%"),
        (1 - 1e-16, 0, "100%"),
    ],
)
def test_no_share_is_told_as_none_or_all_unless_it_is(share: float, digits: int, told: str) -> None:
    assert percent(share, digits) == told


def test_outliers_are_named_and_long_tables_are_cut_for_a_terminal() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0.1, 0.02, 30)
    y = 0.5 * x + rng.normal(0, 0.002, 30)
    y[7] += 0.2
    told = mr_answer(
        mr_table(x, np.full(30, 0.005), y, np.full(30, 0.002), names=[f"rs{j}" for j in range(30)], model=False)
    )
    (presso,) = [row for row in told.tables["Causal effect of the exposure on the outcome"] if row[0] == "PRESSO"]
    assert "outliers: rs7" in presso[-1]
    assert "... and 10 more rows" in as_text(told)
