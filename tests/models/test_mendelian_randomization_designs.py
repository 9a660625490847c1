"""Correlated instruments, several exposures, both directions: naive densities, files, published numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import genarium as gn
from genarium import InputError
from genarium.cli import main
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.models.mendelian_randomization import bidirectional, egger, ivw, linked, mr_table, multivariable
from genarium.models.mendelian_randomization.found import found
from genarium.models.mendelian_randomization.gwas import clump
from genarium.models.mendelian_randomization.independence import Coordinates, metropolis

NAME = "mendelian_randomization"

# Burgess, Dudbridge and Thompson (2016): calcium and fasting glucose, six correlated variants
X = np.array([0.006246051, 0.005895818, 0.01822305, 0.005981963, 0.008251297, 0.006506792])
SX = np.array([0.002330815, 0.003378754, 0.003184402, 0.002332896, 0.002294364, 0.003522892])
Y = np.array([0.02804893, 0.009531279, 0.03645535, 0.01049286, 0.02356808, 0.002043086])
SY = np.array([0.01221235, 0.01983954, 0.0173487, 0.01193856, 0.0122093, 0.01788444])
UPPER = [0.06971347, 0.09378641, -0.172356, 0.07896531, -0.1035624, -0.04972124, 0.08131511, -0.0803666, -0.01395116,
         -0.3060742, 0.3490322, -0.1337653, -0.1290077, 0.4464494, -0.2888231]  # fmt: skip


def calcium() -> Array:
    R = np.eye(6)
    R[np.triu_indices(6, 1)] = UPPER
    return R + np.triu(R, 1).T


FLIP = np.array([1.0, -1, 1, -1, -1, 1])


def case(design: str, seed: int = 1, **sizes: Any) -> tuple[Problem, dict[str, Array]]:
    tree = gn.simulate(NAME, seed, design=design, **sizes)
    problem = check(gn.get(NAME).variant(design=design), tree)
    return problem, {name: tree["truth"][name].to_numpy() for name in problem.model.unknown.variables}


def test_egger_regression_of_correlated_variants_is_as_published() -> None:
    found = egger(X, SX, Y, SY, correlation=calcium())
    assert found.estimate == pytest.approx(1.30190, abs=5e-6)
    assert found.se == pytest.approx(1.51752, abs=5e-6)
    other = egger(FLIP * X, SX, FLIP * Y, SY, correlation=calcium() * np.outer(FLIP, FLIP))
    assert other.estimate == pytest.approx(found.estimate, rel=1e-10)


def test_density_of_correlated_variants_is_that_of_one_normal_vector() -> None:
    problem, at = case("linked", variant=7, theta=0.7)
    p = problem.arrays
    R, sx, sy, rho = p["ld"], p["se_exposure"], p["se_outcome"], float(p["error_correlation"])
    Mx, My = np.diag(sx) @ R @ np.diag(1 / sx), np.diag(sy) @ R @ np.diag(1 / sy)
    s2, w2, theta = float(at["exposure_sd"]) ** 2, float(at["pleiotropy_sd"]) ** 2, float(at["theta"])
    S = [np.diag(sx) @ R @ np.diag(sx), rho * np.diag(sx) @ R @ np.diag(sy), np.diag(sy) @ R @ np.diag(sy)]
    cross = theta * s2 * Mx @ My.T + S[1]
    V = np.block([[s2 * Mx @ Mx.T + S[0], cross], [cross.T, (theta**2 * s2 + w2) * My @ My.T + S[2]]])
    x, y = p["beta_exposure"], p["beta_outcome"]
    mean = np.concatenate([0 * x, My @ (np.sign(x) * float(at["intercept"]))])
    expected = stats.multivariate_normal(mean, V).logpdf(np.concatenate([x, y]))
    unknown = {name: np.stack([value, value]) for name, value in at.items()}
    found = problem.call(linked.log_likelihood, **unknown)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("design", ["linked", "bidirectional"])
def test_recoding_changes_nothing(design: str) -> None:
    problem, at = case(design, variant=9)
    p = problem.arrays
    flip = np.where(np.arange(9) % 2, -1.0, 1.0)
    moved = {name: flip * p[name] for name in ("beta_exposure", "beta_outcome")}
    if design == "linked":
        moved["ld"] = p["ld"] * np.outer(flip, flip)
    function = {"linked": linked, "bidirectional": bidirectional}[design].log_likelihood
    names = set(problem.model.known.variables) | set(problem.model.observed.variables)
    known = {n: v for n, v in p.items() if n in names and not n.endswith("scale")}
    np.testing.assert_allclose(function(**at, **known), function(**at, **{**known, **moved}), rtol=1e-10)


def test_density_of_several_exposures_is_the_sum_over_variants() -> None:
    problem, at = case("multivariable", variant=5, exposure=3)
    p, K = problem.arrays, 3
    phi = np.zeros((K, K))
    phi[np.tril_indices(K, -1)] = at["loading"]
    mixing = np.linalg.inv(np.eye(K) - phi) @ np.diag(at["exposure_sd"])
    through = np.vstack([mixing, at["theta"] @ mixing])
    own = through @ through.T + np.diag([0, 0, 0, float(at["pleiotropy_sd"]) ** 2])
    errors = multivariable.correlation(p["exposure_correlation"], p["outcome_correlation"])
    expected = []
    for j in range(5):
        s = np.append(p["se_exposure"][j], p["se_outcome"][j])
        seen = np.append(p["beta_exposure"][j], p["beta_outcome"][j])
        expected.append(stats.multivariate_normal(np.zeros(K + 1), own + errors * np.outer(s, s)).logpdf(seen))
    np.testing.assert_allclose(problem.call(multivariable.log_likelihood, **at), expected, rtol=1e-10)


def test_density_of_both_directions_is_that_of_the_equilibrium() -> None:
    problem, at = case("bidirectional", variant=6)
    p = problem.arrays
    total = np.linalg.inv(np.array([[1, -float(at["reverse"])], [-float(at["theta"]), 1]]))
    expected = []
    for j in range(6):
        names = ("pleiotropy_exposure_sd", "outcome_sd") if p["of_outcome"][j] else ("exposure_sd", "pleiotropy_sd")
        c = p["error_covariance"][j]
        noise = np.array([[p["se_exposure"][j] ** 2, c], [c, p["se_outcome"][j] ** 2]])
        V = total @ np.diag([float(at[n]) ** 2 for n in names]) @ total.T + noise
        expected.append(stats.multivariate_normal([0, 0], V).logpdf([p["beta_exposure"][j], p["beta_outcome"][j]]))
    np.testing.assert_allclose(problem.call(bidirectional.log_likelihood, **at), expected, rtol=1e-10)


def test_independence_sampler_draws_from_the_density() -> None:
    """A normal density by proposals of another width: mean and sd within four Monte-Carlo errors."""
    rng = np.random.default_rng(1)
    proposed = 0.5 + 2 * rng.standard_t(6, 40_000)
    log_ratio = stats.norm(1, 1).logpdf(proposed) - stats.t(6, 0.5, 2).logpdf(proposed)
    drawn = proposed[metropolis(log_ratio, rng)]
    error = 4 * np.sqrt(3 / len(drawn))  # two thirds of the proposals are refused
    assert drawn.mean() == pytest.approx(1, abs=error)
    assert drawn.std() == pytest.approx(1, abs=error)


@pytest.mark.parametrize("design", ["linked", "multivariable", "bidirectional"])
@pytest.mark.parametrize("units", [(1e9, 1.0), (1.0, 1e-6)])
def test_proposals_are_the_same_in_any_units(design: str, units: tuple[float, float]) -> None:
    """A platelet count per litre is one per nanolitre times 1e9: what the sampler starts from must not feel it."""
    problem, _ = case(design, variant=9)
    known = {n: v for n, v in problem.arrays.items() if not n.endswith("scale")}
    found = []
    for x, y in ((1.0, 1.0), units):
        scaled = {"beta_exposure": x, "se_exposure": x, "beta_outcome": y, "se_outcome": y, "error_covariance": x * y}
        space = Coordinates(check(problem.model, {n: v * scaled.get(n, 1.0) for n, v in known.items()}))
        first = space.first(np.random.default_rng(0))
        found.append((space.curvature(first), space.natural(first[None])["theta"] * x / y))
    (plain, start), (large, again) = found
    np.testing.assert_allclose(large, plain, rtol=1e-3)
    np.testing.assert_allclose(again, start, rtol=1e-6)


@pytest.mark.parametrize(
    "design", ["linked", *(pytest.param(d, marks=pytest.mark.slow) for d in ("multivariable", "bidirectional"))]
)
def test_truth_is_found(design: str) -> None:
    given = {"theta": [0.6, -0.4] if design == "multivariable" else 0.6, "pleiotropy_sd": 0.1}
    sizes = {"variant": 60 if design == "linked" else 200}
    tree = gn.simulate(NAME, 2, design=design, exposure_sd=[1.0, 1.0] if design == "multivariable" else 1.0,
                       **sizes, **given, **({"reverse": -0.3} if design == "bidirectional" else {}))  # fmt: skip
    fit = gn.fit(NAME, tree, "independence", 1, design=design, draws=500, chains=2)["posterior"]
    for name in {"theta", "reverse"} & set(fit.data_vars):
        mean, sd = fit[name].mean(("chain", "draw")).to_numpy(), fit[name].std(("chain", "draw")).to_numpy()
        assert (np.abs(mean - tree["truth"][name].to_numpy()) < 4 * sd).all()
        assert (sd < 0.2).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_both_readings_of_two_sets_of_instruments_are_sampled(seed: int) -> None:
    """Most instruments of the first trait act on the second one, which acts on the first.

    Their slopes fit an effect of the first on the second as well. The share of the other reading is that by tempering
    from the prior: .345, .270, .333 and .265 in four runs of 2,000 particles.
    """
    rng = np.random.default_rng(100)
    of = np.repeat([0, 1], 60)
    x = np.where(of == 0, np.sqrt(20) * rng.normal(size=120), 0.3 * rng.normal(size=120))
    y = np.where(of == 1, np.sqrt(20) * rng.normal(size=120), 0.3 * rng.normal(size=120))
    through = (rng.random(120) < 0.9) & (of == 0)
    x[through], y[through] = 0, np.sqrt(20) * 1.5 * rng.normal(size=through.sum())
    data = {"beta_exposure": x + 0.6 * y + rng.normal(size=120), "beta_outcome": y + rng.normal(size=120)}
    data |= {"se_exposure": np.ones(120), "se_outcome": np.ones(120), "of_outcome": of}
    fit = gn.fit(NAME, data, "independence", seed, design="bidirectional", draws=500)
    share = float((fit["posterior"]["theta"] < 1.1).mean())
    assert share == pytest.approx(0.303, abs=0.08)
    for name, which in (("theta", "first trait on the second"), ("reverse", "second trait on the first")):
        above = (fit["posterior"][name] > 0).mean()
        side, sure = ("positive", above) if above >= 0.5 else ("negative", 1 - above)
        note = next(note for note in found(fit).notes if f"the effect of the {which} is {side}: " in note)
        assert ("> 0.999" if sure > 0.999 else f"{float(sure):.3f}") in note


def test_wrong_correlations_are_refused() -> None:
    data = {"beta_exposure": X, "se_exposure": SX, "beta_outcome": Y, "se_outcome": SY}
    for change, message in (
        ((0, 1, 0.5), "differs from what it is the other way round"),
        ((2, 2, 0.5), "should be 1, of a variant with itself"),
    ):
        R = calcium()
        R[change[0], change[1]] = change[2]
        with pytest.raises(InputError, match=message):
            gn.fit(NAME, {**data, "ld": R}, "independence", design="linked")
    R = calcium()
    R[0] = R[1]
    R[:, 0] = R[:, 1]
    R[0, 0] = R[0, 1] = R[1, 0] = 1
    with pytest.raises(InputError, match=r"cannot be inverted .*variants such as [01] and [01] say the same"):
        gn.fit(NAME, {**data, "ld": R}, "independence", design="linked")
    with pytest.raises(InputError, match="goes with independent instruments"):
        gn.get(NAME).variant(design="linked", correlated_pleiotropy="mixture")


# Files


def write(folder: Path, ld: Array, names: list[str], flip: Array, long: bool = False) -> list[str]:
    """Write two traits, coded by ``flip``, and correlations of alleles as they are."""
    effect = np.where(flip > 0, "A", "G")
    other = np.where(flip > 0, "G", "A")
    for trait, b, se in (("x", X, SX), ("y", Y, SY)):
        lines = ["SNP\tA1\tA2\tBETA\tSE"]
        lines += [f"rs{j}\t{effect[j]}\t{other[j]}\t{float(flip[j] * b[j])!r}\t{float(se[j])!r}" for j in range(6)]
        (folder / f"{trait}.tsv").write_text("\n".join(lines) + "\n")
    if long:
        rows = [f"{names[i]} {names[k]} {ld[i, k]:.8g}" for i in range(6) for k in range(i)]
        (folder / "ld").write_text("\n".join(["SNP_A SNP_B R", *rows]) + "\n")
    else:
        rows = ["\t".join([names[i], *(f"{r:.8g}" for r in ld[i])]) for i in range(6)]
        (folder / "ld").write_text("\n".join(["\t".join(["", *names]), *rows]) + "\n")
    return [str(folder / name) for name in ("x.tsv", "y.tsv")]


@pytest.mark.parametrize("coding", [np.ones(6), FLIP])
def test_signs_of_correlations_follow_the_coding(
    coding: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write(tmp_path, calcium(), [f"rs{j}_A_G" for j in range(6)], coding)
    assert main(["mr", *files, "--ld", str(tmp_path / "ld"), "--no-model"]) == 0
    told = capsys.readouterr().out
    assert "1.3019" in told
    assert "1.5175" in told
    tree = gn.read(NAME, files, format="traits", ld=str(tmp_path / "ld"))
    np.testing.assert_allclose(tree["constant_data"]["ld"], calcium() * np.outer(coding, coding), atol=1e-7)
    assert gn.fit(NAME, tree, "independence", 1, draws=200, chains=1).attrs["model_options"].count("linked")


def test_a_table_of_pairs_needs_the_alleles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write(tmp_path, calcium(), [f"rs{j}" for j in range(6)], FLIP, long=True)
    assert main(["mr", *files, "--ld", str(tmp_path / "ld"), "--no-model"]) != 0
    assert "does not say of which alleles" in capsys.readouterr().err
    (tmp_path / "v.bim").write_text("".join(f"1 rs{j} 0 {j} A G\n" for j in range(6)))
    alleles = ["--ld-alleles", str(tmp_path / "v.bim")]
    assert main(["mr", *files, "--ld", str(tmp_path / "ld"), *alleles, "--no-model"]) == 0
    assert "1.3019" in capsys.readouterr().out


@pytest.mark.parametrize("named", ["1:{}:{}:{}", "chr1_{}_{}_{}", "01:{}:{}:{}"])
def test_correlations_are_found_by_place(named: str, tmp_path: Path) -> None:
    """Names that say place and alleles; where a place has several pairs of alleles, the variant's own are taken."""
    files = write(tmp_path, calcium(), ["rs0"] * 6, FLIP)
    for file in files:
        text = Path(file).read_text().replace("SNP\t", "CHR\tPOS\t")
        Path(file).write_text("".join(line.replace("rs", "1\t10", 1) for line in text.splitlines(True)))
    R = np.eye(7)
    R[:6, :6] = calcium()
    names = [named.format(f"10{j}", "A", "G") for j in range(6)] + [named.format(100, "A", "T")]
    rows = ["\t".join([name, *(f"{r:.8g}" for r in row)]) for name, row in zip(names, R, strict=True)]
    (tmp_path / "ld").write_text("\n".join(["\t".join(["", *names]), *rows]) + "\n")
    ld = gn.read(NAME, files, format="traits", ld=str(tmp_path / "ld"))["constant_data"]["ld"]
    np.testing.assert_allclose(ld, calcium() * np.outer(FLIP, FLIP), atol=1e-7)


def test_correlated_variants_explain_less_than_their_sum() -> None:
    """Direction: R squared of a regression on all variants, by simulated genotypes."""
    rng = np.random.default_rng(1)
    n = 4000
    genotypes = rng.normal(size=(n, 3))
    genotypes[:, 1] = 0.9 * genotypes[:, 0] + np.sqrt(1 - 0.81) * genotypes[:, 1]
    genotypes[:, 2] *= -1
    genotypes -= genotypes.mean(0)
    traits = genotypes @ np.array([[0.2, 0.1], [0.2, 0.1], [-0.3, 0.0]]) + rng.normal(size=(n, 2))
    traits -= traits.mean(0)
    square = (genotypes**2).sum(0)
    beta = genotypes.T @ traits / square[:, None]
    residual = (traits**2).sum(0) - beta**2 * square[:, None]
    se = np.sqrt(residual / (n - 2) / square[:, None])
    explained = [1 - np.linalg.lstsq(genotypes, trait, rcond=None)[1][0] / (trait**2).sum() for trait in traits.T]
    how: Any = {"correlation": np.corrcoef(genotypes.T), "samples_exposure": n, "samples_outcome": n, "model": False}
    found = mr_table(beta[:, 0], se[:, 0], beta[:, 1], se[:, 1], **how).steiger
    assert found is not None
    np.testing.assert_allclose([found.r2_exposure, found.r2_outcome], explained, rtol=1e-9)


def test_clumping_keeps_the_strongest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    R = np.eye(4)
    R[0, 1] = R[1, 0] = 0.8
    R[1, 2] = R[2, 1] = -0.8
    assert clump(R, np.array([3.0, 5, 4, 1]), 0.5).tolist() == [False, True, False, True]
    assert clump(R, np.array([6.0, 5, 4, 1]), 0.5).tolist() == [True, False, True, True]
    files = write(tmp_path, calcium(), [f"rs{j}_G_A" for j in range(6)], np.ones(6))
    assert main(["mr", *files, "--ld", str(tmp_path / "ld"), "--clump", "0.1", "--no-model"]) == 0
    told = capsys.readouterr()
    assert "clumped (r2 of 0.1 or more)" in told.out + told.err
    assert main(["mr", *files, "--clump", "0.1", "--no-model"]) != 0
    assert "mr: --clump 0.1 would be dropped: used only with --ld FILE." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SNP_A SNP_B R2\na b 0.5\n", "r squared, which has no sign"),
        ("\trs0_A_G\trs1_A_G\nrs0_A_G\t1\t0.5\n", "is to be square"),
        ("\trs0_A_G\trs1_A_G\nrs0_A_G\t1\tx\nrs1_A_G\t0\t1\n", "line 2: 'x' is no number"),
        ("\trs0_A_G\trs1_A_G\nrs0_A_G\t1\t0.5\nrs1_A_G\t0.4\t1\n", "differs from what it is the other way round"),
        ("\trs0_A_G\trs1_A_G\nrs1_A_G\t1\t0.5\nrs0_A_G\t0.5\t1\n", "line 2 begins with 'rs1_A_G'"),
        ("\tu_A_G\tv_A_G\nu_A_G\t1\t0.5\nv_A_G\t0.5\t1\n", "none of the variants is there"),
        ("", "there is nothing in this file"),
    ],
)
def test_bad_files_of_correlations_are_refused(text: str, message: str, tmp_path: Path) -> None:
    files = write(tmp_path, calcium(), [f"rs{j}_A_G" for j in range(6)], np.ones(6))
    (tmp_path / "ld").write_text(text)
    with pytest.raises(InputError, match=message):
        gn.read(NAME, files, format="traits", ld=str(tmp_path / "ld"))


def test_table_of_correlated_variants_has_the_methods_that_take_them() -> None:
    found: Any = mr_table(X, SX, Y, SY, correlation=calcium())
    assert [row.method for row in found.rows] == ["IVW", "Egger", "IVW (fixed)", "Bayesian model"]
    assert found["IVW"].estimate == ivw(X, SX, Y, SY, correlation=calcium()).estimate
    low, high = found["Bayesian model"].ci
    assert low < found["IVW"].estimate < high
