"""The page of a validation: its figures draw the numbers computed here anew, and its words say what was found."""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import binom, norm

from genarium.calibration import Validation, curves, validate
from genarium.calibration.figures import PANELS
from genarium.calibration.figures import figures as draw
from genarium.calibration.page import directions, failures, mean_errors, overall, quantities, render, reproduce, summary
from genarium.calibration.recovery import Recovery
from genarium.declaration import Method, Model, Problem, Result
from genarium.drawing import MARK, PALETTE, Titled, style
from genarium.errors import InputError
from genarium.literals import parse_settings

Array = NDArray[Any]
TITLES = ["Are ranks uniform?", "Ranks of the truth", "Coverage by level", "z-score and contraction",
          "Recovery of the truth"]  # fmt: skip
SECTIONS = ["checks", "quantities", "figures", "failures", "provenance", "reproduce"]


def approximation(shift: float, stretch: float) -> Callable[..., Result]:
    """The posterior moved by ``shift`` sds, ``stretch`` times as wide."""

    def run(problem: Problem, rng: np.random.Generator, *, draws: int = 400) -> Result:
        precision = problem.sizes["item"] / problem["sigma"] ** 2 + 1 / problem["tau"] ** 2
        mean = problem["y"].sum() / problem["sigma"] ** 2 / precision + shift * precision**-0.5
        theta: Array = rng.normal(mean, stretch * precision**-0.5, (1, draws))
        log_q: Array = np.asarray(norm.logpdf(theta, mean, stretch * precision**-0.5))
        return Result(posterior={"theta": theta}, sample_stats={"log_q": log_q})

    return run


def mean(problem: Problem, rng: np.random.Generator) -> Result:
    """The arithmetic mean."""
    theta: Array = np.array(problem["y"].mean())
    return Result(point={"theta": theta})


def failing(problem: Problem, rng: np.random.Generator) -> Result:
    """Fail where the measurements are high."""
    if problem["y"].mean() > 1.5:
        raise InputError("<b>too high</b> & so on")
    return mean(problem, rng)


@pytest.fixture(scope="module")
def tried(toy: Model) -> Model:
    more = {
        "biased": Method(approximation(0.9, 0.6), "approximate", "Too high and too narrow."),
        "mean": Method(mean, "point", "The mean."),
        "failing": Method(failing, "point", "The mean, at times."),
    }
    return replace(toy, methods={**toy.methods, **more})


@pytest.fixture(scope="module")
def exact(tried: Model) -> Validation:
    return validate(tried, "conjugate", 60, seed=3, item=10)


@pytest.fixture(scope="module")
def biased(tried: Model) -> Validation:
    return validate(tried, "biased", 60, seed=3, item=10)


@pytest.fixture(scope="module")
def point(tried: Model) -> Validation:
    return validate(tried, "mean", 40, seed=3, item=10)


@pytest.fixture(scope="module")
def drawn(biased: Validation) -> dict[str, tuple[str, Figure]]:
    return {title: (caption, figure) for title, caption, figure in figures(biased)}


@pytest.fixture(scope="module")
def html(biased: Validation) -> str:
    return render(biased)


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).replace("\u00a0", " ").split())


def section(html: str, key: str) -> str:
    return re.split("</section>", html.split(f'<section id="{key}">')[1])[0]


def rows(html: str, label: str) -> list[list[str]]:
    body = re.search(rf'<table aria-label="{label}">.*?</table>', html, re.DOTALL)
    assert body
    every = re.findall(r"<tr.*?</tr>", body[0], re.DOTALL)
    return [[words(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] for row in every]


def figures(found: Validation, recovery: Recovery | None = None) -> list[Titled]:
    with style():
        return list(draw(found, recovery))


def panels(figure: Figure) -> Iterator[tuple[str, Any]]:
    return ((axes.get_title(loc="left"), axes) for axes in figure.axes if axes.get_visible())


def dots_of(axes: Any) -> list[Any]:
    return [one for one in axes.collections if isinstance(one, PathCollection)]


def column(found: Validation, group: str, name: str) -> Array:
    return np.asarray(found.tree[group].to_dataset()[name].to_numpy()[0])


# -- the numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [40, 150])
def test_simultaneous_band_holds_uniform_samples_as_a_whole(count: int) -> None:
    pit = np.random.default_rng(1).uniform(size=(count, 2000))
    x, difference, lower, upper = curves.ecdf_differences(pit)
    held = ~curves.outside(difference, lower, upper).any(0)
    assert held.mean() == pytest.approx(0.95, abs=0.02)
    assert (x[0], x[-1]) == (0, 1)
    at = count // 3
    np.testing.assert_allclose(difference[at], (pit <= x[at]).mean(0) - x[at])
    pointwise = binom.ppf([0.025, 0.975], count, x[at]) / count - x[at]
    assert lower[at] < pointwise[0] < 0 < pointwise[1] < upper[at]


def test_band_is_the_same_on_every_call() -> None:
    first = curves.simultaneous_band(30)
    curves.simultaneous_band.cache_clear()
    for one, other in zip(first, curves.simultaneous_band(30), strict=True):
        np.testing.assert_array_equal(one, other)


def test_gross_bias_leaves_the_band() -> None:
    """Ranks in the lower half only: rescaled by their maximum they would look uniform."""
    rng = np.random.default_rng(2)
    pit = (rng.integers(0, 50, (60, 1)) + rng.uniform(size=(60, 1))) / 100
    _, difference, lower, upper = curves.ecdf_differences(pit)
    assert curves.outside(difference, lower, upper).mean() > 0.5
    assert difference.max() > 0.4


@pytest.mark.parametrize(
    ("ranks", "count", "number"), [(99, 60, 10), (99, 200, 20), (99, 20, 5), (199, 100, 20), (100, 60, 10)]
)
def test_bins_divide_the_ranks_evenly(ranks: int, count: int, number: int) -> None:
    assert curves.bins(ranks, count) == number
    if ranks != 100:  # 101 is prime
        assert (ranks + 1) % number == 0
        r = np.random.default_rng(3).integers(0, ranks + 1, (count, 2))
        pit = (r + np.random.default_rng(4).uniform(size=r.shape)) / (ranks + 1)
        expected = [np.bincount(r[:, j] * number // (ranks + 1), minlength=number) for j in range(2)]
        np.testing.assert_array_equal(curves.rank_counts(pit, number), np.transpose(expected))


def test_z_and_contraction() -> None:
    truth, sd = np.array([[0.0, 1.0], [4.0, 1.0]]), np.array([[2.0, 1.0], [0.0, 1.0]])
    z, contraction = curves.z_and_contraction(truth + 1, truth, sd)
    np.testing.assert_allclose(z, [[0.5, 1], [np.nan, 1]])
    np.testing.assert_allclose(contraction, [[0.5, np.nan], [1, np.nan]])  # variances 8 and 0


# -- the figures -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_figures_belong_to_the_claim(
    exact: Validation, point: Validation, drawn: dict[str, tuple[str, Figure]], tried: Model
) -> None:
    assert [title for title, _, _ in figures(exact)] == TITLES
    assert list(drawn) == [*TITLES, "Pareto k-hat"]
    assert [title for title, _, _ in figures(point)] == TITLES[-1:]
    assert not figures(validate(tried, "conjugate", 5, seed=3))
    assert ["VSBC" in caption for caption, _ in drawn.values()] == [False, True, False, False, False, False]
    assert not any("VSBC" in caption for _, caption, _ in figures(exact))
    assert all(caption.endswith(".") and "ook for" in caption for caption, _ in drawn.values())


def test_ecdf_that_is_drawn(biased: Validation, drawn: dict[str, tuple[str, Figure]]) -> None:
    caption, figure = drawn["Are ranks uniform?"]
    seen = []
    for name, axes in panels(figure):
        seen.append(name)
        line = axes.lines[-1]
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        pit = column(biased, "prior_sbc_pit", name)
        np.testing.assert_allclose(y, [(pit <= at).mean() - at for at in x], atol=1e-12)
        band = axes.collections[0].get_paths()[0].vertices
        _, _, lower, upper = curves.ecdf_differences(pit[:, None])
        assert band[:, 1].min() == lower.min()
        assert band[:, 1].max() == upper.max()
        leaves = bool(((y < lower - 1e-9) | (y > upper + 1e-9)).any())
        assert line.get_color() == (MARK if leaves else PALETTE[0])
        assert (name in caption.partition("Outside: ")[2]) == leaves
    assert seen == list(biased.quantities) == ["theta", "theta_squared", "log_likelihood", "log_prior"]
    theta = next(panels(figure))[1].lines[-1]
    assert np.mean(np.asarray(theta.get_ydata())) > 0.1  # the posterior lies too high


def test_histograms_that_are_drawn(biased: Validation, drawn: dict[str, tuple[str, Figure]]) -> None:
    for name, axes in panels(drawn["Ranks of the truth"][1]):
        ranks = column(biased, "prior_sbc", name)
        bars = axes.containers[0]
        assert [bar.get_height() for bar in bars] == np.bincount(ranks // 10, minlength=10).tolist()
        assert [bar.get_x() for bar in bars] == list(range(0, 100, 10))
        low, high = (float(binom.ppf(q, 60, 0.1)) for q in (0.025, 0.975))
        band = next(one for one in axes.patches if one not in bars)
        assert (band.get_y(), band.get_height()) == (low, high - low)
        colours = [bar.get_facecolor()[:3] for bar in bars]
        odd = [not low <= bar.get_height() <= high for bar in bars]
        assert colours == [to_rgb(MARK if one else PALETTE[0]) for one in odd]


def test_coverage_that_is_drawn(biased: Validation, drawn: dict[str, tuple[str, Figure]]) -> None:
    for name, axes in panels(drawn["Coverage by level"][1]):
        line: Any = axes.lines[1]
        level, beyond = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        np.testing.assert_allclose(level, np.arange(0.05, 0.96, 0.05))
        told = biased.quantities[name]["coverage"]
        for text, share in told.items():
            assert beyond[np.isclose(level, float(text))] + float(text) == pytest.approx(share)
        low, high = (binom.ppf(q, 60, level) / 60 for q in (0.025, 0.975))
        odd = (beyond + level < low - 1e-9) | (beyond + level > high + 1e-9)
        np.testing.assert_array_equal(np.asarray(axes.lines[2].get_xdata()), level[odd])
    assert "Outside at more than a fifth of the levels: theta" in drawn["Coverage by level"][0]


def test_z_scores_that_are_drawn(exact: Validation) -> None:
    _, _, figure = next(one for one in figures(exact) if one[0] == "z-score and contraction")
    axes: Any = figure.axes[0]
    dots = {str(one.get_label()): one for one in dots_of(axes)}
    assert list(dots) == ["theta", "theta_squared"]
    assert len({one.get_facecolor().tobytes() for one in dots.values()}) == 2
    truth, estimate, sd = (column(exact, group, "theta") for group in ("truth", "estimate", "spread"))
    x, y = np.asarray(dots["theta"].get_offsets()).T
    np.testing.assert_allclose(y, (estimate - truth) / sd)
    np.testing.assert_allclose(x, 1 - sd**2 / truth.var(ddof=1))
    assert x.min() > 0.9  # ten measurements of sd 1 against a prior of sd 2


def test_recovery_that_is_drawn(exact: Validation, point: Validation) -> None:
    for found, bars in ((exact, True), (point, False)):
        title, caption, figure = figures(found)[-1]
        assert title == "Recovery of the truth"
        assert ("posterior sd" in caption) == bars
        for name, axes in panels(figure):
            assert name in ("theta", "theta_squared")
            truth, estimate = (column(found, group, name) for group in ("truth", "estimate"))
            np.testing.assert_allclose(dots_of(axes)[0].get_offsets(), np.stack([truth, estimate], 1))
            assert axes.get_xlim() == axes.get_ylim()
            low, high = axes.get_xlim()
            assert low < min(truth.min(), estimate.min()) < max(truth.max(), estimate.max()) < high
            if bars:
                lengths = [np.ptp(path.vertices[:, 1]) for path in axes.collections[0].get_paths()]
                if axes.get_yscale() == "linear":
                    np.testing.assert_allclose(lengths, 2 * column(found, "spread", name))
        scales = {name: axes.get_xscale() for name, axes in panels(figure)}
        assert scales == {"theta": "linear", "theta_squared": "log"}
        assert "Logarithmic" in caption


def test_khat_that_is_drawn(biased: Validation, drawn: dict[str, tuple[str, Figure]]) -> None:
    caption, figure = drawn["Pareto k-hat"]
    axes: Any = figure.axes[0]
    assert sum(p.get_height() for p in axes.patches) == 60
    assert [float(np.asarray(line.get_xdata())[0]) for line in axes.lines] == [0.5, 0.7]
    khat = biased.tree["runs"]["khat"].to_numpy()
    assert f"{(khat <= 0.7).mean():.0%} good or usable" in caption


def test_of_many_quantities_the_worst_are_drawn(exact: Validation, biased: Validation) -> None:
    count = PANELS + 6
    bad = {3, 20, 29}
    groups = {}
    for group in ("prior_sbc_pit", "truth", "estimate", "spread"):
        good, wrong = (column(one, group, "theta") for one in (exact, biased))
        values = np.stack([wrong if j in bad else good for j in range(count)], 1)
        groups[f"/{group}"] = exact.tree["truth"].to_dataset()[[]].assign(v=(("chain", "draw", "q"), values[None]))
    tree = exact.tree.copy()
    for name, data in groups.items():
        tree[name] = data
    p = {f"v[{j}]": {"p": 0.001 if j in bad else 0.5 + j / 100} for j in range(count)}
    with style():
        _, caption, figure = next(draw(replace(exact, tree=tree, quantities=p)))
    seen = [name for name, _ in panels(figure)]
    assert len(seen) == PANELS
    assert seen == sorted(seen, key=lambda name: int(name[2:-1]))
    assert {f"v[{j}]" for j in bad} <= set(seen)
    assert f"the {PANELS} farthest from uniform" in caption


@pytest.fixture(scope="module")
def grown() -> Recovery:
    rng = np.random.default_rng(5)
    sizes = (20, 80, 320)
    error = rng.normal(size=(8, 3, 2)) / np.sqrt(sizes)[None, :, None]
    error[2, 1] = np.nan
    return Recovery(sizes, ["a[0]", "a[1]"], error, -0.48, 0.06)


def test_error_against_size(point: Validation, grown: Recovery) -> None:
    title, caption, figure = figures(point, grown)[-1]
    assert title == "Error against the size of the data"
    assert "7 truths" in caption
    assert "-0.48 ± 0.06" in caption
    axes: Any = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    *each, slope, typical = [np.asarray(line.get_ydata()) for line in axes.lines]
    kept = np.abs(np.delete(grown.error, 2, axis=0))
    np.testing.assert_allclose(np.transpose(each), np.exp(np.log(kept).mean(0)))
    np.testing.assert_allclose(typical, np.exp(np.log(kept).mean((0, 2))))
    np.testing.assert_allclose(slope[:-1] / slope[1:], 2)


# -- the page ----------------------------------------------------------------------------------------------------------


def test_page_is_whole_and_needs_no_other_file(html: str) -> None:
    assert html.startswith("<!DOCTYPE html>\n<html lang=")
    assert re.findall(r'<section id="(\w+)">', html) == SECTIONS
    assert not re.search(r"https?:|//www|@import|url\((?!#)|<(script|link|iframe|img|object)\b", html)
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', html)) <= set(ids)
    labels = re.findall(r'<svg role="img" aria-label="([^"]*)"', html)
    assert [unescape(label) for label in labels] == [*TITLES, "Pareto k-hat"]
    for tag in ("section", "figure", "table", "ul", "li", "p", "pre", "svg", "code"):
        assert len(re.findall(rf"<{tag}[ >]", html)) == html.count(f"</{tag}>"), tag


def test_verdicts_stand_on_the_page(biased: Validation, html: str) -> None:
    table = rows(html, "Checks")[1:]
    assert [row[0].split()[1] for row in table] == [v.status for v in biased.verdicts]
    assert [row[1] for row in table] == [words(f"{v.check} {v.advice}") for v in biased.verdicts]
    head = words(html.split("<nav")[0].split("</head>")[1])
    assert "60 times, a truth was drawn from the prior" in head
    assert "Its claim: approximate." in head
    assert "Passed with reservations in" in head
    assert re.search(r"The posterior of [^.]*theta[^.]* lies too high: above the truth more often than below it", head)
    assert "its intervals hold the true value less often than they should" in head


def test_quantities_stand_on_the_page(biased: Validation, html: str) -> None:
    head, *table = rows(html, "Quantities")
    assert head[:8] == ["Quantity", "p", "Holm p", "50%", "80%", "90%", "95%", "Direction"]
    assert [row[0] for row in table] == list(biased.quantities)
    for row in table:
        told = biased.quantities[row[0]]
        assert [float(cell) for cell in row[1:3]] == pytest.approx([told["p"], told["p_holm"]], rel=0.06)
        assert row[3:7] == [f"{share:.3f}" for share in told["coverage"].values()]
        assert row[7] == (told["direction"] or "–")
    error = column(biased, "estimate", "theta") - column(biased, "truth", "theta")
    bias, z = mean_errors(biased)["theta"]
    assert bias == pytest.approx(error.mean())
    assert z == pytest.approx(error.mean() / error.std(ddof=1) * 60**0.5)
    assert float(table[0][8]) == pytest.approx(error.mean(), rel=0.01)
    marked = re.findall(r'<span class="out">([\d.]+)</span>', section(html, "quantities"))
    share = biased.quantities["theta"]["coverage"]["0.9"]
    assert share < 0.8
    assert f"{share:.3f}" in marked


def test_distance_to_a_reference_stands_on_the_page(tried: Model) -> None:
    found = validate(tried, "biased", 12, seed=3, item=10, reference="conjugate", n_reference=8)
    head, *table = rows(quantities(found), "Quantities")
    told = found.quantities["theta"]
    assert head[-2:] == ["sd ratio", "Shift"]
    assert [float(cell) for cell in table[0][-2:]] == pytest.approx([told["sd_ratio"], told["shift_in_sd"]], rel=0.01)
    assert table[-1][-2:] == ["–", "–"]
    assert "--reference" not in words(reproduce(found))  # a model from outside the registry has no command
    assert "reference='conjugate', n_reference=8" in words(reproduce(found))


def test_settings_and_provenance(biased: Validation, html: str) -> None:
    told = dict(rows(html, "Provenance")[1:])
    assert {"model", "method", "seed", "sizes", "ranks", "model digest", "cpu seconds", "versions"} <= set(told)
    assert told["sizes"] == "item 10"
    assert told["ranks"] == "99"
    assert re.search(r"numpy \d", told["versions"])
    assert float(told["cpu seconds"]) == pytest.approx(biased.cpu_seconds, rel=1e-4)


def test_exact_draws_are_said_to_be_uniform(exact: Validation) -> None:
    assert exact.passed
    assert words(overall(exact, exact.verdicts)).startswith("! Too few replicates to tell. Four in five such")
    first, second = map(words, directions(exact))
    assert first.startswith("No quantity departs from uniform ranks (smallest p = ")
    assert "±0.08" in second  # 1.96 sqrt(.9 x .1 / 60)


def test_enough_replicates_pass_with_their_power(tried: Model) -> None:
    found = validate(tried, "conjugate", 100, seed=3, item=10)
    assert "Passed all 5 checks. Four in five such validations would detect" in words(overall(found, found.verdicts))
    assert ": passed\n" in str(found)


def test_negative_control(tried: Model) -> None:
    found = validate(tried, "conjugate", 100, seed=3, item=10, wrong={"sigma": 3.0})
    box = words(overall(found, found.verdicts))
    assert box.startswith("✗ Failed")
    assert "negative control was rejected" in box
    assert "was deliberately" not in box
    assert "deliberately wrong about sigma = 3.0" in words(summary(found))
    blind = validate(tried, "conjugate", 20, seed=3, item=10, wrong={"sigma": 1.0})
    assert "this validation has no power" in words(overall(blind, blind.verdicts))


def test_page_of_a_point_estimate(point: Validation, exact: Validation) -> None:
    html = render(point)
    assert "the estimate was set beside the truth" in words(html)
    assert rows(html, "Quantities")[0] == ["Quantity", "Bias", "RMSE", "sd of truth"]
    assert html.count("<svg ") == 1
    assert directions(point)
    high = point.tree.copy()
    moved = point.tree["truth"].to_dataset()
    high["/estimate"] = moved.assign(theta=moved["theta"] + 1 + 0.01 * moved["draw"])
    said = directions(replace(point, tree=high))
    assert [words(line) for line in said] == ["Estimates of theta are too high on average."]


def test_failures_are_shown(tried: Model, point: Validation) -> None:
    found = validate(tried, "failing", 60, seed=3, item=10)
    shown = failures(found)
    count = found.failures["count"]
    assert 5 < count < 55
    assert f"{count} of 60 replicates failed" in words(shown)
    assert rows(shown, "Reasons")[1:] == [["InputError: <b>too high</b> & so on", str(count)]]
    assert "<b>" not in shown
    assert re.search(r"They lie together, where theta is large \(p = \d", words(shown))
    assert f"Their numbers: {', '.join(map(str, found.failures['replicates']))}." in words(shown)
    assert "None: all 40 replicates gave a result." in words(failures(point))


def test_page_where_every_replicate_failed(tried: Model) -> None:
    def broken(problem: Problem, rng: np.random.Generator) -> Result:
        raise InputError("never")

    model = replace(tried, methods={"broken": Method(broken, "exact", "None.")})
    html = render(validate(model, "broken", 4, seed=1))
    assert "No replicate gave a result." in words(html)
    assert "✗ Failed 1 of 1 checks: replicates that failed." in words(html)


def test_one_replicate_has_a_page(tried: Model) -> None:
    html = words(render(validate(tried, "conjugate", 1, seed=1)))
    assert "too few to be drawn" in html
    assert not re.search(r"\bnan\b", html)


def test_page_around_a_users_data(toy: Model, toy_tree: Any) -> None:
    found = validate(toy, "conjugate", 12, seed=2, data=toy_tree)
    assert "drawn from the posterior given your data" in words(summary(found))
    assert "fitted to them and your data together" in words(summary(found))
    assert [title for title, _, _ in figures(found)] == TITLES
    assert 'data=gn.load("data.nc")' in words(reproduce(found))


def test_command_repeats_the_run() -> None:
    settings: dict[str, Any] = {"cell": 20, "component": 2, "dispersion": "gene", "restarts": 1, "max_iterations": 30}
    found = validate("nb_mixture", "em", 2, seed=7, **settings)
    pre = [unescape(text) for text in re.findall(r"<pre>(.*?)</pre>", reproduce(found), re.DOTALL)]
    given = shlex.split(pre[0])
    assert all(len(line) < 100 for line in pre[0].splitlines())
    pairs = list(pairwise(given))
    values = {flag: [b for a, b in pairs if a == flag] for flag in ("--set", "--option")}
    assert given[:3] == ["genarium", "validate", "nb_mixture"]
    assert [dict(pairs)[flag] for flag in ("--method", "--simulations", "--seed")] == ["em", "2", "7"]
    again = parse_settings(values["--set"]) | parse_settings(values["--option"], "--option")
    assert settings.items() <= again.items()
    assert validate("nb_mixture", "em", 2, seed=7, **again).plan == found.plan
    assert "gn.validate('nb_mixture', 'em', 2, seed=7, " in pre[1]
    compile(pre[1], "page", "exec")


@pytest.mark.slow
def test_same_results_same_bytes(tried: Model, biased: Validation, html: str, tmp_path: Path) -> None:
    curves.simultaneous_band.cache_clear()
    assert render(biased) == html
    for name in ("one", "two"):
        validate(tried, "mean", 12, seed=3, item=10, out=tmp_path / name)
    one, two = ((tmp_path / name / "report.html").read_text(encoding="utf-8") for name in ("one", "two"))
    seconds = r"<td>(cpu )?seconds</td><td>[^<]*</td>"
    assert len(re.findall(seconds, one)) == 2
    assert re.sub(seconds, "", one) == re.sub(seconds, "", two)
    files = [".lock", "plan.json", "ranks.csv", "replicates.jsonl", "report.html", "validation.nc"]
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == files


def test_report_writes_where_it_is_told(point: Validation, grown: Recovery, tmp_path: Path) -> None:
    shown = point.report(tmp_path / "page.html", grown).read_text(encoding="utf-8")
    assert "error falls as N^-1/2" in words(section(shown, "checks"))
    assert "Error against the size of the data" in section(shown, "figures")
    with pytest.raises(InputError, match="does not exist"):
        point.report(tmp_path / "absent" / "page.html")
