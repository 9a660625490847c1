"""The report's tables of estimates: their numbers, and the truth beside them after matching labels."""

from collections import Counter

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium.estimates import Estimate, estimates, match, matched_truth
from genarium.found import short as three_digits
from genarium.reporting import estimate_section, figures, summary
from genarium.reporting.page import number
from genarium.reporting.tables import estimate_tables
from report_pages import MU, PI, Fits, Page, Pages, each_method, rows, section, toy_mixture


@pytest.mark.parametrize("method", [pytest.param("vi", marks=pytest.mark.slow), "gibbs"])
@pytest.mark.parametrize("name", ["pi", "mu"])
def test_estimates_from_draws(method: str, name: str, fits: Fits, pages: Pages) -> None:
    draws = fits(method)["posterior"][name].to_numpy()
    columns = {
        "mean": draws.mean((0, 1)),
        "sd": draws.std((0, 1)),
        "5%": np.quantile(draws, 0.05, axis=(0, 1)),
        "95%": np.quantile(draws, 0.95, axis=(0, 1)),
    }
    table = rows(pages(method), f"Estimates of {name}")
    assert len(table) == draws[0, 0].size
    for column, values in columns.items():
        np.testing.assert_allclose(
            [float(row[column]) for row in table], values.ravel(), rtol=6e-3 if column == "sd" else 6e-4
        )
    assert ("R-hat" in table[0]) == ("ESS" in table[0]) == (method == "gibbs")
    if method == "gibbs":
        from arviz_stats.base import array_stats

        flat = draws.reshape(*draws.shape[:2], -1).transpose(2, 0, 1)
        rhat = array_stats.rhat(flat, chain_axis=1, draw_axis=2)
        assert [row["R-hat"] for row in table] == [f"{value:.3f}" for value in rhat]
        ess = array_stats.ess(flat, chain_axis=1, draw_axis=2, method="bulk")
        assert [row["ESS"] for row in table] == [f"{value:.0f}" for value in ess]


def signed(text: str) -> float:
    """Read a number whose minus sign is no hyphen."""
    return float(text.replace("\u2212", "-"))


@pytest.mark.parametrize("name", ["pi", "mu"])
def test_point_estimates(name: str, fits: Fits, pages: Pages) -> None:
    table = rows(pages("em"), f"Estimates of {name}")
    values = fits("em")["point"][name].to_numpy().ravel()
    np.testing.assert_allclose([signed(row["estimate"]) for row in table], values, rtol=6e-4)
    assert not {"mean", "sd", "R-hat", "inside"} & set(table[0])
    apart = [signed(row["estimate − truth"]) for row in table]
    truth = matched_truth(gn.get("nb_mixture"), fits("em"))[name].ravel()
    np.testing.assert_allclose(apart, values - truth, rtol=6e-4, atol=1e-12)


@each_method
def test_truth_stands_beside_its_estimate(method: str, fits: Fits, pages: Pages) -> None:
    """Estimates are sorted by weight, the truth is not: the labels must have been matched."""
    right = np.argsort(-PI)
    for name, true in {"pi": PI[right], "mu": MU[right]}.items():
        table = rows(pages(method), f"Estimates of {name}")
        np.testing.assert_allclose([float(row["truth"]) for row in table], true.ravel(), rtol=6e-4)
        if method != "em":
            inside = [float(row["5%"]) <= float(row["truth"]) <= float(row["95%"]) for row in table]
            assert [row["inside"] for row in table] == ["yes" if one else "no" for one in inside]
            said = f"{sum(inside)} of {true.size} true values lie in their 90% intervals"
            assert (said in section(pages(method), "estimates").text) == (name == "mu")  # three values say nothing
    assert "renumbered" in section(pages(method), "estimates").text


def test_data_without_truth(three_groups: xr.DataTree) -> None:
    model, x = gn.get("nb_mixture"), three_groups["observed_data"]["x"].to_numpy()
    tree = gn.fit("nb_mixture", {"x": x, "phi": 0.3}, "em", seed=1, component=3, restarts=2)
    page = Page(estimate_section(model, tree, estimates(model, tree))).root
    assert list(rows(page, "Estimates of pi")[0]) == ["component", "estimate"]
    assert "renumbered" not in page.text
    assert "The data are simulated" not in summary(model, tree)
    assert matched_truth(model, tree) == {}


def test_long_tables_say_what_they_leave_out() -> None:
    data, model = gn.simulate("nb_mixture", seed=1, cell=40, gene=30, component=2), gn.get("nb_mixture")
    tree = gn.fit("nb_mixture", data, "vi", seed=1, restarts=2, draws=50)
    found = estimates(model, tree)
    page = Page(estimate_section(model, tree, found)).root
    table = rows(page, "Estimates of mu")
    assert [(row["component"], row["gene"]) for row in table] == [("0", str(g)) for g in range(24)]
    assert "The first 24 of 60 rows; 36 are left out." in page.text
    folded = [node.find("table").attrs["aria-label"] for node in page.every("details")]
    assert "Estimates of mu" in folded
    (mu,) = (one for one in found if one.name == "mu")
    assert mu.inside is not None
    assert f"{int(mu.inside.sum())} of 60 true values" in page.text  # over all rows, not those shown
    ((_, caption, _),) = figures.intervals(model, found)
    assert "Too large to be drawn: mu (2 × 30)." in caption


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (13984.968, "13985"),
        (2084.05, "2084"),
        (31.274, "31.27"),
        (-0.0012345, "−0.001234"),
        (1.5e-9, "1.500e-09"),
        (3.2e8, "3.200e+08"),
        (np.nan, "–"),
        (-np.inf, "–"),
        (7, "7.000"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


# -- matching labels ---------------------------------------------------------------------------------------------------


def test_hidden_labels_are_matched(fits: Fits) -> None:
    model = gn.get("nb_mixture")
    for method in ("em", "vi"):
        tree = fits(method)
        group = tree["point" if method == "em" else "variational"]["responsibility"].argmax("component").to_numpy()
        raw = tree["truth"]["group"].to_numpy()
        assert (matched_truth(model, tree)["group"] == group).mean() > 0.9
        assert (raw == group).mean() < 0.5


@pytest.mark.parametrize("components", [2, 4])
def test_other_number_of_components_than_the_truth(components: int, three_groups: xr.DataTree) -> None:
    tree = gn.fit("nb_mixture", three_groups, "em", seed=1, component=components, restarts=3)
    model = gn.get("nb_mixture")
    true = matched_truth(model, tree)
    assert true["mu"].shape == (components, 2)
    lacking = np.isnan(true["mu"]).all(1)
    assert lacking.sum() == max(0, components - 3)
    assert (np.isnan(true["pi"]) == lacking).all()
    shared = {tuple(row) for row in true["mu"][~lacking]}
    assert shared <= {tuple(row) for row in MU}
    counts = Counter(true["group"].tolist())
    assert (counts[-1] > 0) == (components < 3)
    assert set(counts) - {-1} == set(np.flatnonzero(~lacking).tolist())
    page = Page(estimate_section(model, tree, estimates(model, tree))).root
    assert [row["truth"] == "–" for row in rows(page, "Estimates of pi")] == lacking.tolist()


def test_match_along_any_axis() -> None:
    rng = np.random.default_rng(0)
    order = np.array([2, 0, 1])
    true = {
        "w": np.array([0.2, 0.3, 0.5]),
        "scale": np.array([1e-3, 1.0, 1e3]),
        "centre": rng.normal(size=(2, 3)),
        "common": np.array(1.0),
    }
    estimate = {name: value[..., order] * 1.01 if value.ndim else value for name, value in true.items()}
    found = match(toy_mixture(), estimate, true)
    assert found is not None
    assert found.tolist() == order.tolist()
    for name in ("w", "scale", "centre"):
        alone = match(toy_mixture(), {name: estimate[name]}, {name: true[name]})
        assert alone is not None
        assert alone.tolist() == order.tolist(), name
    assert match(toy_mixture(), {"common": true["common"]}, {"common": true["common"]}) is None
    assert match(toy_mixture(""), estimate, true) is None


def test_zeros_of_a_sparse_point_have_no_rows() -> None:
    """A variable as a point of twelve, three of which are not zero."""
    centre = np.zeros(12)
    centre[[2, 5, 7]] = [1.5, -2.5, 3.5]
    labels = (np.array([f"e{i}" for i in range(12)]),)
    model = gn.get("notmad")
    name = "edge_weight"
    page = estimate_tables(model, [Estimate(name, ("item",), labels, centre)], False)
    assert "9 of 12 estimates are zero and have no row." in page
    assert page.count("<tr>") == 4
    assert all(text in page for text in ("e2", "e5", "e7", "1.5"))
    assert "e3" not in page
    full = estimate_tables(model, [Estimate(name, ("item",), labels, centre, truth=centre)], False)
    assert full.count("<tr>") == 13


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1.1987, "\u22121.20"),
        (0.18996, "0.190"),
        (0.7, "0.7"),
        (56.0, "56"),
        (100.4, "100"),
        (0.99999, "1.00"),
        (2083.6, "2,084"),
        (-1.0049e-9, "\u22121.00e-09"),
        (0.0, "0"),
        (np.nan, "nan"),
    ],
)
def test_rounded_numbers_keep_their_zeros(value: float, text: str) -> None:
    assert three_digits(value) == text
