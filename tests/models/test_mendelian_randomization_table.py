"""The table of all estimators: published numbers, few variants, direction, overlap; the command and its page."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.cli import main
from genarium.errors import InputError
from genarium.found import short
from genarium.models.mendelian_randomization import egger, ivw, mr_table, raps, wald_ratio
from genarium.models.mendelian_randomization.found import found
from genarium.models.mendelian_randomization.mr_command import answer

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the summary statistics are not part of the repository")


def simulated(seed: int, J: int = 40, theta: float = 0.5, rho: float = 0.0, strength: float = 8.0) -> Any:
    rng = np.random.default_rng(seed)
    sx, sy = np.full(J, 0.01), rng.uniform(0.008, 0.02, J)
    gamma = rng.normal(0, strength * 0.01, J)
    errors = rng.normal(size=(2, J))
    x = gamma + sx * errors[0]
    y = theta * gamma + sy * (rho * errors[0] + math.sqrt(1 - rho**2) * errors[1])
    return x, sx, y, sy


def test_all_methods_agree_where_nothing_is_wrong() -> None:
    data = simulated(0)
    found = mr_table(*data, samples_exposure=1e4, samples_outcome=1e4, iterations=500, model=False)
    assert len(found.rows) == 13
    bayes = mr_table(*(part[:10] for part in data), iterations=100)["Bayesian model"]
    assert abs(bayes.estimate - 0.5) < 4 * bayes.se < 1.0
    assert bayes.note.startswith("posterior mean and quantiles")
    assert 2 / 4001 <= bayes.p_value < 0.05  # 4,000 draws tell no smaller one
    for row in found.rows:
        assert abs(row.estimate - 0.5) < 4 * row.se < 0.4, row
        assert row.ci[0] < row.estimate < row.ci[1]
        assert row.p_value < 0.01
    one, tilted = ivw(*data), egger(*data)
    assert (found["IVW"].estimate, found["IVW"].se) == (one.estimate, one.se)
    assert found.heterogeneity == (("IVW", one.Q, 39, one.Q_p), ("Egger", tilted.Q, 38, tilted.Q_p))
    assert found.pleiotropy == (tilted.intercept, tilted.intercept_se, tilted.intercept_p)
    assert len(found.without) == 40
    part = [np.delete(part, 3) for part in data]
    assert found.without[3].estimate == ivw(*part).estimate
    with pytest.raises(InputError, match="there is no method 'OLS'; there are IVW, Egger"):
        found["OLS"]


def test_few_variants() -> None:
    one = mr_table(0.2, 0.01, 0.1, 0.02)
    assert [row.method for row in one.rows] == ["Wald ratio"]
    row = one.rows[0]
    np.testing.assert_allclose([row.estimate, row.se, row.variants], [0.5, 0.1, 1])
    np.testing.assert_allclose(row.ci, [0.5 - 0.1959964, 0.5 + 0.1959964], rtol=1e-6)
    np.testing.assert_allclose(row.p_value, math.erfc(5 / math.sqrt(2)), rtol=1e-9)
    delta = wald_ratio(0.2, 0.01, 0.1, 0.02, weights="delta", covariance=1e-4)
    np.testing.assert_allclose(delta.se, math.sqrt(0.1**2 + (0.1 * 0.01 / 0.04) ** 2 - 2 * 0.5 * 1e-4 / 0.04))
    with pytest.raises(InputError, match="of one variant, with an effect on the exposure"):
        wald_ratio([0.0], [0.01], [0.1], [0.02])
    two = mr_table([0.2, 0.3], [0.01, 0.01], [0.1, 0.16], [0.02, 0.02])
    assert [row.method for row in two.rows] == ["IVW", "IVW (fixed)", "Maximum likelihood"]
    assert two.pleiotropy is None
    failing = mr_table([0.2, 0.2, 0.2], [0.01] * 3, [0.1, 0.11, 0.09], [0.02] * 3, model=False)
    assert "Egger" in [row.method for row in failing.rows]
    assert math.isnan(failing["Egger"].estimate)
    assert failing["Egger"].note
    with pytest.raises(InputError, match="2 names for 3 variants"):
        mr_table([0.2, 0.2, 0.3], [0.01] * 3, [0.1, 0.11, 0.09], [0.02] * 3, names=["a", "b"])


def test_the_direction() -> None:
    """r2 = F / (F + n - 2), Fisher's z of its roots: by hand."""
    found = mr_table([0.2], [0.01], [0.05], [0.02], samples_exposure=2002, samples_outcome=5002).steiger
    assert found is not None
    r2 = 400 / 2400, 6.25 / 5006.25
    z = (math.atanh(math.sqrt(r2[0])) - math.atanh(math.sqrt(r2[1]))) / math.sqrt(1 / 1999 + 1 / 4999)
    np.testing.assert_allclose([found.r2_exposure, found.r2_outcome], r2)
    np.testing.assert_allclose(found.p_value, math.erfc(z / math.sqrt(2)), rtol=1e-9)
    assert found.forward
    back = mr_table([0.05], [0.02], [0.2], [0.01], samples_exposure=5002, samples_outcome=2002).steiger
    assert back is not None
    assert not back.forward
    with pytest.raises(InputError, match="sample sizes of the exposure must be above 3"):
        mr_table([0.2], [0.01], [0.05], [0.02], samples_exposure=2, samples_outcome=5002)


@pytest.mark.slow
def test_overlap_is_taken_out_by_raps() -> None:
    """Weak instruments, one sample: the errors' correlation of .6 draws estimates to it unless it is told."""
    found, biased = [], []
    for seed in range(24):
        x, sx, y, sy = simulated(100 + seed, J=150, theta=0.2, rho=0.6, strength=1.5)
        c = 0.6 * sx * sy
        own = raps(x, sx, y, sy, covariance=c, over_dispersion=False)
        found.append((own.estimate - 0.2) / own.se)
        biased.append(raps(x, sx, y, sy, over_dispersion=False).estimate - 0.2)
    assert np.mean(biased) > 0.1
    assert abs(np.mean(found)) < 3.5 / math.sqrt(24)
    assert 0.65 < np.std(found) < 1.4


@needs_data
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        (
            "bmi_chd_twosamplemr",
            {
                "IVW": (0.4459090969534, 0.058983018762926),
                "IVW (fixed)": (0.4459090969534, 0.043463051160788),
                "Egger": (0.50249350972973, 0.14396056172338),
                "Simple median": (0.39272357723577, None),
                "Maximum likelihood": (0.45806705473599, None),
            },
        ),
        (
            "ldl_chd",
            {
                "IVW": (2.8342139388789, 0.52979948855643),
                "Egger": (3.2528901319408, 0.77012916139398),
                "Weighted median": (2.6828835, None),
                "dIVW": (2.9396459, None),
                "pIVW": (2.9318697, None),
            },
        ),
    ],
)
def test_published_numbers(name: str, numbers: dict[str, tuple[float, float | None]]) -> None:
    data = np.genfromtxt(SHARED / "mr" / f"mr_{name}.csv", delimiter=",", skip_header=1)[:, :4]
    found = mr_table(*data.T, model=False, iterations=200)
    for method, (estimate, se) in numbers.items():
        np.testing.assert_allclose(found[method].estimate, estimate, rtol=1e-6)
        if se is not None:
            np.testing.assert_allclose(found[method].se, se, rtol=1e-6)


# The command


def tables(folder: Path, J: int = 12) -> list[str]:
    x, sx, y, sy = simulated(5, J=J)
    paths = []
    for name, beta, se, head in (
        ("exposure", x, sx, "SNP\tA1\tA2\tBETA\tSE\tN\tEAF"),
        ("outcome", y, sy, "rsid\teffect_allele\tother_allele\tbeta\tstandard_error\tn\teaf"),
    ):
        rows = [f"rs{j}\tA\tG\t{b:.8f}\t{s:.8f}\t20000\t0.3" for j, (b, s) in enumerate(zip(beta, se, strict=True))]
        path = folder / f"{name}.tsv"
        path.write_text(
            "\n".join([head, *rows, f"rs99\tA\t{'G' if name == 'exposure' else 'C'}\t.1\t.01\t20000\t.3"]) + "\n"
        )
        paths.append(str(path))
    return paths


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = tables(tmp_path)
    page = tmp_path / "mr.html"
    assert main(["mr", *paths, "-o", str(page), "--iterations", "200", "--json", "--no-model"]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = {row["method"]: row for row in told["tables"]["Causal effect of the exposure on the outcome"]}
    assert rows["IVW"]["variants"] == 12
    assert abs(rows["IVW"]["estimate"] - 0.5) < 0.2
    assert rows["Contamination mixture"]["note"] is not None
    assert told["tables"]["Direction (Steiger)"][0]["direction"] == "exposure first"
    assert len(told["tables"]["IVW without each variant"]) == 12
    assert list(told["tables"]["IVW without each variant"][0]) == [
        *("variant left out", "estimate", "se", "low", "high", "p value")
    ]
    assert "1 variant left out: alleles do not match" in told["notes"]
    text = page.read_text()
    for title in ("Effects", "Methods", "Single variants", "Funnel", "Leave one out", "Heterogeneity"):
        assert f">{title}</h" in text
    assert text.count("<svg") == 5
    assert main(["mr", *paths, "--no-model", "--p-value", "1e-300"]) == 2
    assert "no variant has a p value below 1e-300" in capsys.readouterr().err
    assert main(["mr", *paths, "--no-model", "--p-value", "1e-3", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "variants left out: p value on the exposure of 0.001 or more" in out
    assert "Mean F statistic of the" in out
    assert main(["mr", paths[0], paths[0]]) == 2
    assert "the same file is given twice" in capsys.readouterr().err
    assert main(["show", "mendelian_randomization"]) == 0
    assert "genarium mr: Mendelian randomisation of two tables" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["no_such_command"])
    assert "invalid choice: 'no_such_command'" in capsys.readouterr().err


def test_one_variant_has_no_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in tables(tmp_path):
        Path(path).write_text("\n".join(Path(path).read_text().splitlines()[:2]) + "\n")
    page = tmp_path / "mr.html"
    assert main(["mr", str(tmp_path / "exposure.tsv"), str(tmp_path / "outcome.tsv"), "-o", str(page), "--quiet"]) == 0
    assert "Wald ratio" in capsys.readouterr().out
    assert "Wald ratio" in page.read_text()


def test_a_table_is_made_where_one_variant_alone_acts() -> None:
    x, se = np.array([0.1, 0, 0, 0, 0]), np.full(5, 0.01)
    found = mr_table(x, se, np.arange(5) * 0.1, se, model=False, iterations=50)
    assert np.isnan(found.without[0].estimate)
    assert "beta_exposure is 0 for all variants" in found.without[0].note
    assert np.isfinite(found.without[1].estimate)
    with pytest.raises(InputError, match=r"samples_exposure has shape \(2,\)"):
        mr_table(x, se, x, se, model=False, samples_exposure=[100, 200], samples_outcome=100)


def test_one_region_is_told_as_the_effect_of_all_variants() -> None:
    data = gn.simulate("mendelian_randomization", seed=1, variant=30, region=1)
    tree = gn.fit("mendelian_randomization", data, "vi", seed=1, draws=200)
    answer = found(tree)
    effect = tree["posterior"]["theta"].to_numpy()
    assert answer.notes[0].startswith(
        f"Causal effect of the exposure on the outcome: {short(float(effect.mean()))}, 90%"
    )
    assert not any("region" in note for note in answer.notes)
    head, first, *_ = answer.tables["Estimates"]
    assert head == ["quantity", "estimate", "5%", "95%"]
    assert first[1] == short(float(effect.mean()))


def test_the_advice_on_weak_instruments_names_what_the_table_has() -> None:
    rng = np.random.default_rng(3)
    x, se = np.linspace(0.015, 0.025, 8), np.full(8, 0.01)
    y = rng.normal(0, 0.01, 8)

    def told(J: int) -> str:
        notes = answer(mr_table(x[:J], se[:J], y[:J], se[:J], model=False, iterations=50)).notes
        return next(note for note in notes if "weak" in note)

    assert told(8).endswith(": rely on dIVW, RAPS.")
    for J in (1, 2):
        assert told(J).endswith(": the table has no estimate that allows for it, of RAPS, dIVW, Bayesian model.")


def test_a_trait_against_itself_has_no_direction() -> None:
    x, se = np.array([0.2, -0.1, 0.3, 0.25]), np.full(4, 0.02)
    found = mr_table(x, se, x, se, model=False, iterations=50, samples_exposure=5000, samples_outcome=5000)
    page = answer(found)
    assert page.tables["Direction (Steiger)"][1][2:] == ["1", "neither"]


def test_what_is_infinite_or_underflows_is_told_as_such() -> None:
    """No effect ruled out is no missing interval, and no p value is 0."""
    x, sx, y, sy = np.array([[0.02, 0.03, 0.01], [0.02] * 3, [0.1, -0.1, 0.05], [0.2] * 3])
    found = mr_table(x, sx, y, sy, model=False, iterations=50)
    row = next(row for row in answer(found).tables["Causal effect of the exposure on the outcome"] if "mix" in row[0])
    assert row[3:6] == ["inf", "-inf", "inf"]
    x = np.linspace(0.1, 0.4, 30)
    y = 0.5 + np.where(np.arange(30) % 2, 1e-3, -1e-3)
    page = answer(mr_table(x, np.full(30, 1e-3), y, np.full(30, 1e-4), model=False, iterations=50))
    assert page.tables["Directional pleiotropy"][1][2] == "< 1e-300"
    assert "p < 1e-300" in next(row[-1] for row in page.tables[next(iter(page.tables))] if "likelihood" in row[0])
