"""Readers of summary statistics, harmonisation, and the figures of a fit as data."""

import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium import InputError
from genarium.drawing import inline, style
from genarium.models.mendelian_randomization import egger, ivw
from genarium.models.mendelian_randomization.harmonise import Alleles, harmonise
from genarium.reporting import figures_of_result

NAME = "mendelian_randomization"
MR = Path(__file__).parents[3] / "shared" / "data" / "mr"
module = import_module(f"genarium.models.{NAME}.figures")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# One table


def test_a_table_with_other_names(tmp_path: Path) -> None:
    text = "SNP,bx,sx,by,sy,gene,rho\nrs1,.1,.01,.2,.02,B,0.5\nrs2,-.3,.02,.1,.03,A,0\nrs3,.2,.02,.2,.03,B,-.5\n"
    names = {"beta_exposure": "bx", "se_exposure": "sx", "beta_outcome": "by", "se_outcome": "sy"}
    tree = gn.read(NAME, write(tmp_path / "a.csv", text), "table", **names, region="gene", error_correlation="rho")
    data, known = tree["observed_data"], tree["constant_data"]
    np.testing.assert_array_equal(data["variant"], ["rs1", "rs2", "rs3"])
    np.testing.assert_allclose(data["beta_outcome"], [0.2, 0.1, 0.2])
    np.testing.assert_array_equal(known["region"], [1, 0, 1])
    np.testing.assert_allclose(known["error_covariance"], [0.0001, 0, -0.0003])
    fitted = gn.fit(NAME, tree, "gibbs", seed=1, draws=20, tune=10, chains=1)
    np.testing.assert_array_equal(fitted["posterior"]["region"], ["A", "B"])


def test_columns_called_as_the_variables_are_read(tmp_path: Path) -> None:
    text = "beta_exposure,se_exposure,beta_outcome,se_outcome,region,error_correlation\n.1,.01,.2,.02,b,0.5\n"
    tree = gn.read(NAME, write(tmp_path / "a.csv", text + ".2,.01,.1,.02,a,0\n"), "table")
    np.testing.assert_array_equal(tree["constant_data"]["region"], [1, 0])
    np.testing.assert_allclose(tree["constant_data"]["error_covariance"], [0.0001, 0])
    with pytest.raises(InputError, match="line 3, column 'region': the region is missing"):
        gn.read(NAME, write(tmp_path / "a.csv", text + ".2,.01,.1,.02,,0\n"), "table")
    tree = gn.read(NAME, write(tmp_path / "a.csv", text), "table", region=None, error_correlation=0)
    np.testing.assert_array_equal(tree["constant_data"]["region"], [0])
    np.testing.assert_allclose(tree["constant_data"]["error_covariance"], [0])


def test_regions_keep_their_leading_zeros(tmp_path: Path) -> None:
    head = "beta_exposure,se_exposure,beta_outcome,se_outcome,region\n"
    text = head + "".join(f".1,.1,.2,.1,{region}\n" for region in ("01", "1", "02", "02"))
    tree = gn.read(NAME, write(tmp_path / "a.csv", text), "table")
    assert json.loads(tree.attrs["labels"])["region"] == ["01", "02", "1"]
    np.testing.assert_array_equal(tree["constant_data"]["region"], [0, 2, 1, 1])


def test_a_table_with_usual_names_and_one_correlation(tmp_path: Path) -> None:
    text = "beta_exposure\tse_exposure\tbeta_outcome\tse_outcome\n.1\t.1\t.2\t.2\n.2\t.1\t.1\t.1\n"
    tree = gn.read(NAME, write(tmp_path / "a.tsv", text), "table", error_correlation=0.25)
    np.testing.assert_allclose(tree["constant_data"]["error_covariance"], [0.005, 0.0025])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("beta_exposure,se_exposure,beta_outcome\n1,1,1\n", ["no column 'se_outcome'"]),
        ("beta_exposure,se_exposure,beta_outcome,se_outcome\n1,1,1,NA\n", ["line 2", "'se_outcome'", "no value"]),
        ("beta_exposure,se_exposure,beta_outcome,se_outcome\n1,0,1,1\n", ["se_exposure", "greater than zero"]),
        ("beta_exposure,se_exposure,beta_outcome,se_outcome\n1,a,1,1\n", ["line 2", "'a' is not a number"]),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(InputError) as error:
        gn.read(NAME, write(tmp_path / "a.csv", text), "table")
    for part in parts:
        assert part in str(error.value)


# Two traits


def test_two_traits_are_coded_by_the_same_alleles(tmp_path: Path) -> None:
    head = "SNP,beta,se,effect_allele,other_allele,eaf\n"
    exposure = write(
        tmp_path / "x.csv",
        head
        + "a,1,.1,A,G,.2\nb,2,.1,A,G,.2\nc,3,.1,A,C,.2\nd,4,.1,A,T,.2\ne,5,.1,C,G,.2\nf,6,.1,AT,A,.2\ng,7,.1,A,T,.5\n",
    )
    outcome = write(
        tmp_path / "y.csv",
        head
        + "b,.2,.1,g,a,.8\na,.1,.1,A,G,.2\nc,.3,.1,T,G,.2\nd,.4,.1,A,T,.8\n"
        + "e,.5,.1,G,C,.8\nf,.6,.1,A,AT,.8\ng,.7,.1,A,T,.2\n",
    )
    with pytest.warns(UserWarning, match="1 of 7 variants are palindromic"):
        tree = gn.read(NAME, [exposure, outcome], "traits", frequency="eaf")
    data = tree["observed_data"]
    np.testing.assert_array_equal(data["variant"], list("abcdef"))
    # a as it is; b swapped; c on the other strand; d palindromic, by its frequency; e swapped; f a deletion, swapped
    np.testing.assert_allclose(data["beta_outcome"], [0.1, -0.2, 0.3, -0.4, -0.5, -0.6])
    with pytest.warns(UserWarning, match="3 of 7 variants are palindromic in tables without a frequency of the effect"):
        gn.read(NAME, [exposure, outcome], "traits", frequency=None)
    with pytest.warns(UserWarning, match="3 of 7 variants are palindromic, and"):
        dropped = gn.read(NAME, [exposure, outcome], "traits", palindromic="drop")
    np.testing.assert_array_equal(dropped["observed_data"]["variant"], list("abcf"))
    kept = gn.read(NAME, [exposure, outcome], "traits", palindromic="keep")
    np.testing.assert_allclose(kept["observed_data"]["beta_outcome"], [0.1, -0.2, 0.3, 0.4, -0.5, -0.6, 0.7])


@pytest.mark.parametrize("palindromic", ["drop", "keep"])
def test_a_frequency_that_nothing_goes_by_is_refused(palindromic: str, tmp_path: Path) -> None:
    text = "SNP,beta,se,effect_allele,other_allele,eaf\na,.1,.1,A,G,.2\n"
    paths = [write(tmp_path / f"{name}.csv", text) for name in "xy"]
    with pytest.raises(InputError, match="frequency='eaf' would be dropped: used only with palindromic='frequency'"):
        gn.read(NAME, paths, "traits", frequency="eaf", palindromic=palindromic)


def test_alleles_that_do_not_match() -> None:
    one = Alleles(np.array(["A", "A"]), np.array(["G", "C"]))
    other = Alleles(np.array(["A", "A"]), np.array(["G", "G"]))
    names = np.array(["rs1", "rs2"])
    with pytest.raises(InputError, match="variant rs2 has alleles A/C in the exposure and A/G in the outcome"):
        harmonise(one, other, names)
    sign, unclear = harmonise(one, other, names, incompatible="drop")
    np.testing.assert_array_equal(sign, [1, 0])
    assert not unclear.any()


@pytest.mark.parametrize(
    ("alleles", "sign"),
    [
        (("AC", "A", "GT", "T"), 1),  # the other strand is read backwards
        (("AC", "A", "T", "GT"), -1),
        (("AC", "A", "TG", "T"), 0),
        (("AT", "A", "AT", "T"), 1),
        (("AT", "A", "T", "AT"), -1),
        (("A", "A", "A", "A"), 0),
        (("A", "G", "A", "A"), 0),
        (("A", "", "A", "G"), 0),
        (("A", "", "A", ""), 0),
        (("D", "I", "I", "D"), -1),
        (("A", "N", "A", "N"), 0),
    ],
)
def test_alleles_of_several_bases(alleles: tuple[str, str, str, str], sign: int) -> None:
    first, second = (Alleles(np.array(alleles[i : i + 1]), np.array(alleles[i + 1 : i + 2])) for i in (0, 2))
    found, unclear = harmonise(first, second, np.array(["rs1"]), incompatible="drop")
    assert (found.tolist(), unclear.tolist()) == ([sign], [False])


def test_alleles_that_are_each_others_other_strand_go_by_frequency() -> None:
    one, other = (np.array(["AC", "GT", "A"]), np.array(["GT", "AC", "T"])), (np.array(["GT"] * 2 + ["A"]),)
    exposure = Alleles(*one, np.array([0.2, 0.2, np.nan]))
    outcome = Alleles(other[0], np.array(["AC", "AC", "T"]), np.array([0.2, 0.8, 0.2]))
    with pytest.warns(UserWarning, match="1 of 3 variants are palindromic with a frequency near one half, or none"):
        sign, unclear = harmonise(exposure, outcome, np.array(["a", "b", "c"]))
    np.testing.assert_array_equal(sign, [1, -1, 0])
    np.testing.assert_array_equal(unclear, [False, False, True])


@pytest.mark.slow
def test_random_alleles_are_matched_as_a_strand_says(tmp_path: Path) -> None:
    """3,000 pairs by a plain definition: what a strand holds, position by position."""
    rng = np.random.default_rng(0)
    partner = {"A": "T", "C": "G", "G": "C", "T": "A"}
    seen = set()
    for _ in range(3000):
        a, b, c, d = ("".join(rng.choice(list("ACGT"), rng.integers(1, 3))) for _ in range(4))
        if rng.uniform() < 0.8:
            c, d = (a, b) if rng.uniform() < 0.5 else (b, a)
            if rng.uniform() < 0.5:
                c, d = ("".join(partner[base] for base in reversed(text)) for text in (c, d))
        flipped = ["".join(partner[base] for base in reversed(text)) for text in (c, d)]
        same, swapped = [a, b] in ([c, d], flipped), [b, a] in ([c, d], flipped)
        truth = 0 if a == b or same + swapped != 1 else 1 if same else -1
        one, other = Alleles(np.array([a]), np.array([b])), Alleles(np.array([c]), np.array([d]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (sign,), (unclear,) = harmonise(one, other, np.array(["rs1"]), incompatible="drop")
        assert sign == truth, (a, b, c, d)
        assert unclear == (a != b and same and swapped), (a, b, c, d)
        seen.add((int(sign), bool(unclear)))
    assert seen == {(1, False), (-1, False), (0, False), (0, True)}


HEAD = "SNP,beta,se,effect_allele,other_allele,EAF\n"


def test_rows_outside_the_match_are_not_looked_at(tmp_path: Path) -> None:
    """Rows without an identifier, and missing numbers and names used again that no other table has."""
    exposure = HEAD + "a,1,.1,A,G,.2\n.,NA,.1,A,G,.2\nx,NA,.1,A,G,\nx,2,.1,A,G,.2\nb,2,.1,A,C,.2\nNA,2,.1,A,C,.2\n"
    outcome = HEAD + "b,.2,.1,C,A,.8\n.,NA,.1,A,G,.2\ny,NA,,A,G,.2\na,.1,.1,A,G,.2\n"
    tree = gn.read(NAME, [write(tmp_path / "x.csv", exposure), write(tmp_path / "y.csv", outcome)], "traits")
    np.testing.assert_array_equal(tree["observed_data"]["variant"], ["a", "b"])
    np.testing.assert_allclose(tree["observed_data"]["beta_outcome"], [0.1, -0.2])
    rows = json.loads(tree.attrs["ledger"])["rows"]
    assert (rows["read"], rows["kept"]) == (8, 2)
    assert rows["left_out"] == {
        "in the exposure only": 2,
        "without an identifier in the exposure": 2,
        "in the outcome only": 1,
        "without an identifier in the outcome": 1,
    }


def test_an_identifier_of_several_variants_is_matched_by_alleles(tmp_path: Path) -> None:
    exposure = write(tmp_path / "x.csv", HEAD + "a,1,.1,A,G,.2\na,2,.1,A,C,.2\nb,3,.1,A,G,.2\nb,4,.1,C,G,.2\n")
    outcome = write(tmp_path / "y.csv", HEAD + "a,.2,.1,C,A,.8\nb,.3,.1,A,G,.8\na,.1,.1,A,G,.2\n")
    tree = gn.read(NAME, [exposure, outcome], "traits")
    np.testing.assert_array_equal(tree["observed_data"]["variant"], ["a:A:G", "a:A:C", "b"])
    np.testing.assert_allclose(tree["observed_data"]["beta_exposure"], [1, 2, 3])
    np.testing.assert_allclose(tree["observed_data"]["beta_outcome"], [0.1, -0.2, 0.3])
    assert json.loads(tree.attrs["ledger"])["rows"]["names"] == {"in the exposure only": ["b"]}
    twice = write(tmp_path / "z.csv", HEAD + "a,.2,.1,A,G,.8\nb,.3,.1,A,G,.8\na,.1,.1,A,G,.2\n")
    with pytest.raises(InputError, match=r"z\.csv: variant a is in line 2 and line 4 with the same alleles"):
        gn.read(NAME, [exposure, twice], "traits")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "a,1,.1,A,,.2",
            r"variant a has alleles A/\(none\) in the exposure and A/G in the outcome, one of which is miss",
        ),
        ("a,1,.1,A,A,.2", "an allele against itself"),
        ("a,1,.1,A,0,.2", "of which '0' is no allele"),
        ("a,1,.1,A,G,20", "line 2, column 'EAF': 20 is no frequency"),
        ("a,NA,.1,A,G,.2", r"no variant is left \(with no effect in the exposure\)"),
        ("a,one,.1,A,G,.2", "line 2, column 'beta': 'one' is no number"),
    ],
)
def test_rows_in_the_match_are(row: str, message: str, tmp_path: Path) -> None:
    files = [write(tmp_path / "x.csv", HEAD + row + "\n"), write(tmp_path / "y.csv", HEAD + "a,1,.1,A,G,.2\n")]
    with pytest.raises(InputError, match=message):
        gn.read(NAME, files, "traits")


def test_a_column_that_is_needed_has_a_name(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", "beta_exposure,se_exposure,beta_outcome,se_outcome\n.1,.1,.2,.2\n")
    with pytest.raises(InputError, match="'table': se_outcome=None must be a name: this column is needed"):
        gn.read(NAME, table, "table", se_outcome=None)
    with pytest.raises(InputError, match=r"a\.csv: no column is known to hold an effect .beta, OR, Z.*beta_exposure"):
        gn.read(NAME, [table, write(tmp_path / "b.csv", "x\n1\n")], "traits")
    with pytest.raises(InputError, match=r"there is no column 'x' .*the columns are beta_exposure"):
        gn.read(NAME, [table, write(tmp_path / "b.csv", "x\n1\n")], "traits", beta="x")


@pytest.mark.parametrize("correlation", [1.0, -1.0, 1.5, "rho", "nan"])
def test_an_error_correlation_of_one_is_refused(correlation: float | str, tmp_path: Path) -> None:
    text = "beta_exposure,se_exposure,beta_outcome,se_outcome,rho\n.1,.1,.2,.2,.1\n.2,.1,.1,.1,-1\n"
    where = "line 3, column 'rho': an" if correlation == "rho" else "a.csv: an"
    with pytest.raises(InputError, match=f"{where} error correlation of .* must lie between -1 and 1"):
        gn.read(NAME, write(tmp_path / "a.csv", text), "table", error_correlation=correlation)


def test_every_variant_and_column_is_accounted_for(tmp_path: Path) -> None:
    head = "SNP,beta,se,effect_allele,other_allele,eaf,gene\n"
    exposure = write(tmp_path / "x.csv", head + "a,1,.1,A,G,.2,1\nb,2,.1,A,C,.2,1\nc,3,.1,A,T,.5,1\nd,3,.1,A,T,.2,1\n")
    outcome = write(tmp_path / "y.csv", head + "a,1,.1,A,G,.2,1\nb,2,.1,A,G,.2,1\nc,3,.1,A,T,.5,1\ne,3,.1,A,T,.2,1\n")
    with pytest.warns(UserWarning, match="1 of 3 variants are palindromic"):
        tree = gn.read(NAME, [exposure, outcome], "traits", incompatible="drop")
    told = json.loads(tree.attrs["ledger"])
    assert (told["rows"]["unit"], told["rows"]["read"], told["rows"]["kept"]) == ("variant", 5, 1)
    assert told["rows"]["names"] == {
        "in the exposure only": ["d"],
        "in the outcome only": ["e"],
        "palindromic with no telling frequency": ["c"],
        "alleles do not match": ["b"],
    }
    assert (told["columns"]["read"], told["columns"]["kept"]) == (7, 6)
    assert told["columns"]["names"] == {"not needed": ["gene"]}
    text = "SNP,bx,beta_exposure,se_exposure,beta_outcome,se_outcome,gene\nrs1,9,.1,.1,.2,.2,B\n"
    told = json.loads(gn.read(NAME, write(tmp_path / "a.csv", text), "table", region="gene").attrs["ledger"])
    assert (told["rows"]["read"], told["rows"]["kept"], told["columns"]["kept"]) == (1, 1, 6)
    assert told["columns"]["names"] == {"not named in an option": ["bx"]}


def test_numbers_with_commas_are_named_so(tmp_path: Path) -> None:
    text = "SNP;beta_exposure;se_exposure;beta_outcome;se_outcome\nrs1;0,12;0,1;0,2;0,2\n"
    with pytest.raises(InputError, match=r"line 2, column 'beta_exposure': '0,12' is not a number \(a decimal comma\?"):
        gn.read(NAME, write(tmp_path / "a.csv", text), "table")


def test_tables_without_a_common_variant(tmp_path: Path) -> None:
    head = "SNP,beta,se,effect_allele,other_allele\n"
    files = [write(tmp_path / f"{n}.csv", head + f"{n},1,.1,A,G\n") for n in "ab"]
    with pytest.raises(InputError, match="no variant in common"):
        gn.read(NAME, files, "traits")
    with pytest.raises(InputError, match="takes two tables"):
        gn.read(NAME, files[:1], "traits")


# Figures


@pytest.fixture(scope="module")
def fitted() -> xr.DataTree:
    return gn.fit(NAME, gn.simulate(NAME, seed=4, variant=50, region=5), "vi", seed=1, draws=200)


def test_figures_of_a_fit(fitted: xr.DataTree) -> None:
    with style():
        drawn = {title: (caption, figure) for title, caption, figure in figures_of_result(gn.get(NAME), fitted, [])}
        for caption, figure in drawn.values():
            assert caption.endswith(".")
            assert inline(figure, "k", "label").startswith("<svg")
    assert list(drawn)[:4] == ["Effects of the variants", "Local effects", "Funnel", "Leave one out"]


def test_scatter_shows_the_variants_and_three_fits(fitted: xr.DataTree) -> None:
    data = module.effects(fitted)
    _, _, figure = module.scatter(fitted, data)
    (axes,) = figure.axes
    dots = axes.lines[0].get_xydata()
    x, y = data[0], data[2]
    sign = np.where(x < 0, -1, 1)
    np.testing.assert_allclose(sorted(map(tuple, dots)), sorted(zip(x * sign, y * sign, strict=True)))
    slopes = [float(np.diff(line.get_ydata())[0] / np.diff(line.get_xdata())[0]) for line in axes.lines[1:4]]
    whole = float(fitted["posterior"]["global_effect"].mean())
    np.testing.assert_allclose(slopes, [whole, ivw(*data).estimate, egger(*data).estimate], rtol=1e-9)


def test_forest_tells_the_mean_from_a_new_region(fitted: xr.DataTree) -> None:
    _, _, figure = module.forest(fitted)
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels[-2:] == ["mean", "a new region"]
    assert len(labels) == 7
    bars = [c.get_segments()[0] for c in axes.collections if len(c.get_segments()) == 1]
    width = {float(b[0, 1]): float(b[1, 0] - b[0, 0]) for b in bars}
    foot, new = sorted(width)
    assert width[new] > width[foot]
    shown = np.sort(axes.lines[0].get_xdata())
    np.testing.assert_allclose(shown, np.sort(fitted["posterior"]["theta"].mean(("chain", "draw"))))


def test_leave_one_out_is_of_the_model_itself(fitted: xr.DataTree) -> None:
    ((_, caption, figure),) = module.without_each(fitted)
    assert "without each region" in caption
    draws = fitted["posterior"]["global_effect"].to_numpy().ravel()
    pointwise = fitted["log_likelihood"]["beta_exposure"].to_numpy().reshape(len(draws), -1)
    region = fitted["constant_data"]["region"].to_numpy()
    found, _ = module.left_out(draws, np.stack([pointwise[:, region == s].sum(1) for s in range(5)], 1))
    (axes,) = figure.axes
    shown = np.concatenate([line.get_xdata() for line in axes.lines if line.get_marker() == "o"])
    np.testing.assert_allclose(np.sort(shown), np.sort(found[:, 0]))


def test_left_out_of_a_normal_mean() -> None:
    """Of y ~ N(theta, 1) and a flat prior, theta without one y is the mean of the others, with their variance."""
    rng = np.random.default_rng(1)
    y = rng.normal(size=20)
    draws = rng.normal(y.mean(), 20**-0.5, 20_000)
    found, khat = module.left_out(draws, -0.5 * (y - draws[:, None]) ** 2)
    others, sd = (y.sum() - y) / 19, 19**-0.5
    assert (khat < module.USABLE).all()
    np.testing.assert_allclose(found[:, 0], others, atol=6 * sd / np.sqrt(10_000))
    np.testing.assert_allclose(found[:, 2] - found[:, 1], 2 * 1.6449 * sd, rtol=0.08)


def test_meta_forest_has_mean_and_prediction() -> None:
    rng = np.random.default_rng(0)
    v = rng.uniform(0.1, 0.2, 12)
    figure = module.meta_forest(rng.normal(1, 0.5, 12), v)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()][-2:] == ["mean", "prediction"]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not MR.is_dir(), reason="the summary statistics are not part of the repository")
def test_real_table_through_the_command_line(tmp_path: Path, capsys: Any) -> None:
    from genarium.cli import main

    tree, fit, page = (str(tmp_path / name) for name in ("data.nc", "fit.nc", "report.html"))
    assert main(["read", NAME, str(MR / "mr_ldl_chd.csv"), "--format", "table", "-o", tree]) == 0
    few = ["--option", "draws=300", "--option", "tune=100"]
    assert main(["fit", NAME, tree, "--method", "gibbs", "--seed", "1", *few, "-o", fit]) == 0
    assert main(["report", fit, "-o", page]) == 0
    assert "Funnel" in Path(page).read_text()
    found = gn.load(fit)
    theta = found["posterior"]["theta"]
    x, y = (found["observed_data"][f"beta_{trait}"].to_numpy() for trait in ("exposure", "outcome"))
    se_x, se_y = (found["constant_data"][f"se_{trait}"].to_numpy() for trait in ("exposure", "outcome"))
    slope = egger(x, se_x, y, se_y)
    assert slope.estimate == pytest.approx(3.2529, abs=1e-4)  # as published for this table
    # the model has Egger's intercept; it differs from it by its priors, and by error in the exposure
    assert float(theta.mean()) == pytest.approx(slope.estimate, abs=0.4 * slope.se)
    as_coded = gn.fit(NAME, found, "gibbs", 1, draws=300, tune=100, signs_given=1)["posterior"]["theta"]
    assert float(as_coded.mean()) == pytest.approx(2.8, abs=0.4)
