"""The page that sets fits side by side."""

import re
from pathlib import Path

import arviz as az
import pytest
import xarray as xr

import genarium as gn
from genarium import cli
from genarium.errors import InputError
from genarium.reporting.page import number


@pytest.fixture(scope="module")
def fits() -> dict[str, xr.DataTree]:
    data = gn.simulate("nb_mixture", seed=1, cell=60, component=2, gene=2)
    made = {method: gn.fit("nb_mixture", data, method, 1, component=2) for method in ("em", "vi")}
    return {**made, "gibbs": gn.fit("nb_mixture", data, "gibbs", 1, component=2, chains=2, draws=100, tune=100)}


def text(page: Path) -> str:
    """What a reader sees."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8").partition("<body>")[2]).split())


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto distribution")
def test_fits_with_draws_are_compared(fits: dict[str, xr.DataTree], tmp_path: Path) -> None:
    some = {name: fits[name] for name in ("vi", "gibbs")}
    page = gn.compare(some, tmp_path / "c.html")
    said = text(page)
    ranked = az.compare(some, round_to="none")
    best = f"{ranked.index[0]} {number(ranked['elpd'].iloc[0])} {number(ranked['se'].iloc[0])}"
    assert f"{best} – – {ranked['weight'].iloc[0]:.2f}" in said  # the best does not differ from itself
    assert re.search(r"largest difference of means, [\d.]+ times the larger posterior sd, is that of (pi|mu)\[", said)
    mean = float(fits["gibbs"]["posterior"].to_dataset()["pi"].mean(("chain", "draw"))[0])
    assert f"{mean:.4f} [" in said
    assert page.read_text(encoding="utf-8") == gn.compare(some, tmp_path / "d.html").read_text(encoding="utf-8")


def test_points_stand_beside_draws(fits: dict[str, xr.DataTree], tmp_path: Path) -> None:
    said = text(gn.compare({name: fits[name] for name in ("em", "gibbs")}, tmp_path / "c.html"))
    assert "Left out, as they have no pointwise likelihoods at draws: em." in said
    estimate = float(fits["em"]["point"].to_dataset()["pi"][0])
    assert f"{estimate:.4f}" in said


def test_elements_of_many_observations_are_not_compared(tmp_path: Path) -> None:
    cells = {"genome": [0, 0, 1, 1], "locus": [0, 1, 0, 1], "channel": [3, 5, 3, 9], "features": [[0.1, -0.1]]}
    for count, said in (
        (2, "as each element of the likelihood stands for many observations: one and two"),
        (1, "elpd"),
    ):
        data = {**cells, "count": [1, count, 1, 1]}
        fits = {n: gn.fit("locus_regression", data, "vi", process=k, draws=30) for n, k in (("one", 1), ("two", 2))}
        assert said in text(gn.compare(fits, tmp_path / f"{count}.html"))


def test_components_are_matched(fits: dict[str, xr.DataTree], tmp_path: Path) -> None:
    turned = fits["gibbs"].copy()
    turned["posterior"] = xr.DataTree(fits["gibbs"]["posterior"].to_dataset().isel(component=[1, 0]))
    said = text(gn.compare({"as it is": fits["gibbs"], "turned": turned}, tmp_path / "c.html"))
    found = re.search(r"difference of means, (\S+) times", said)
    assert found is None or float(found[1]) < 1e-9


def test_fits_of_other_data_are_told_apart(fits: dict[str, xr.DataTree], tmp_path: Path) -> None:
    data = gn.simulate("nb_mixture", seed=2, cell=60, component=3, gene=2)
    other = gn.fit("nb_mixture", data, "vi", 1, component=3)
    said = text(gn.compare({"two": fits["vi"], "three": other}, tmp_path / "c.html"))
    assert "The fits have different data" in said
    assert "Not of the same shape in all fits (two: 2, three: 3)" in said


@pytest.mark.slow
def test_the_command_takes_several_fits(
    fits: dict[str, xr.DataTree], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(gn.save(fits[name], tmp_path / f"{name}.nc")) for name in ("em", "vi")]
    assert cli.main(["report", *paths, "-o", str(tmp_path / "both.html")]) == 0
    assert "2 fits side by side" in text(tmp_path / "both.html")
    assert cli.main(["report", paths[0], paths[0], "-o", str(tmp_path / "x.html")]) == 2
    assert "a file is given twice" in capsys.readouterr().err
    with pytest.raises(InputError, match="needs two fits or more"):
        gn.compare({"one": fits["em"]}, tmp_path / "x.html")
