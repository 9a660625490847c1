"""locus_regression: fits recover what was simulated; intervals; hyperparameters."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import linear_sum_assignment

import genarium as gn
from genarium import registry
from genarium.calibration.thinning import effective
from genarium.data import check
from genarium.declaration import Caution
from genarium.errors import InputError
from genarium.evaluate import fitted_problem
from genarium.models.locus_regression import hyper, hyperprior
from genarium.models.locus_regression.cautions import cautions, scales
from genarium.models.locus_regression.channels import split_channel
from locus_problems import VARIANTS, as_arrays, matched, problem_of, truth_of

variational = import_module("genarium.models.locus_regression.vi")
gibbs_state = import_module("genarium.models.locus_regression.gibbs").State
CORPORA = Path(__file__).parents[3] / "shared" / "data" / "corpora"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vi", "svi"])
@pytest.mark.parametrize(
    "options", [pytest.param(VARIANTS[0], id="conditional-one"), pytest.param(VARIANTS[3], id="joint-several")]
)
def test_processes_are_recovered(method: str, options: dict[str, str]) -> None:
    model = registry.get("locus_regression").variant(**options)
    tree = gn.simulate(model, seed=2, genome=30, locus=100, feature=2, process=3, cell=30_000)
    fit = gn.fit(model, tree, method, seed=1)
    at = {name: fit["posterior"][name].mean(("chain", "draw")).to_numpy() for name in ("beta", "lam", "rho", "pi")}
    truth = truth_of(tree)
    order, cosine = matched(at["lam"][..., None] * at["rho"], truth["lam"][..., None] * truth["rho"])
    assert cosine.min() > 0.97
    assert np.sqrt(np.mean((at["beta"][order] - truth["beta"]) ** 2)) < 0.08
    assert np.abs(at["pi"][:, order] - truth["pi"]).mean() < 0.03


@pytest.mark.slow
def test_over_dispersion_is_found() -> None:
    """Data whose loci vary: the bound prefers random loci, the dispersion is found; else neither."""
    options = {"genome": 30, "locus": 150, "feature": 3, "process": 3, "cell": 40_000}
    for true, loci in ((0.5, "random"), (None, "fixed")):
        model = registry.get("locus_regression").variant(loci=loci)
        data = gn.simulate(model, seed=5, **options, **({} if true is None else {"dispersion": true}))
        given = {**data["observed_data"].data_vars, **data["constant_data"].data_vars}
        given.pop("dispersion", None)
        fits = {
            other: gn.fit(registry.get("locus_regression").variant(loci=other), given, "vi", seed=1, process=3)
            for other in ("fixed", "random")
        }
        bound = {other: json.loads(tree.attrs["notes"])["bound"] for other, tree in fits.items()}
        found = fits["random"]["variational"]["dispersion"].to_numpy()
        if true is None:
            assert found.max() < 0.02
            assert bound["random"] - bound["fixed"] < 5
        else:
            assert bound["random"] - bound["fixed"] > 100
            np.testing.assert_allclose(found, true, rtol=0.35)  # of 150 loci; sd of a variance's log: 0.13 or so
            truth, mean = (
                data["truth"]["locus_effect"],
                fits["random"]["posterior"]["locus_effect"].mean(("chain", "draw")),
            )
            each = np.abs(np.corrcoef(truth, mean))[:3, 3:]
            assert each.max(1).min() > 0.9


@pytest.mark.slow
def test_number_of_processes_is_chosen() -> None:
    """A simulated tree holds alpha and tau of its own processes: the same for all of them, they fit any number."""
    data = gn.simulate("locus_regression", seed=2, process=3, cell=20_000, genome=30)
    best = gn.choose("locus_regression", data, "process", [2, 3, 5], seed=1)
    assert best["choice"]["bound"].to_numpy().argmax() == 1
    assert best["posterior"].sizes["process"] == 3
    uneven = gn.simulate("locus_regression", seed=2, process=3, alpha=[1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="alpha"):
        gn.choose("locus_regression", uneven, "process", [2, 3], seed=1)


@pytest.mark.slow
def test_wrong_form_is_worse() -> None:
    """Joint data under the joint form are fitted better than under the conditional one."""
    joint = registry.get("locus_regression").variant(form="joint")
    rng = np.random.default_rng(0)
    opportunity = rng.dirichlet(np.full(32, 1.0), 80).T
    tree = gn.simulate(joint, seed=3, genome=20, locus=80, process=2, cell=20_000, context_opportunity=opportunity)
    bound = {
        form: gn.fit(registry.get("locus_regression").variant(form=form), tree, "vi", seed=1, covariance="mean_field")[
            "variational"
        ]["bound"].max()
        for form in ("joint", "conditional")
    }
    assert bound["joint"] > bound["conditional"] + 10


@pytest.mark.slow
def test_vi_draws_come_from_q() -> None:
    _, _, tree = problem_of(VARIANTS[0], cell=2000)
    fit = gn.fit("locus_regression", tree, "vi", seed=1, draws=4000, covariance="mean_field")
    q = fit["variational"]
    for name, parameter in (("lam", "delta"), ("pi", "gamma"), ("rho", "omega")):
        mean = q[parameter] / q[parameter].sum(str(q[parameter].dims[-1]))
        draws = fit["posterior"][name]
        error = draws.std(("chain", "draw")) / np.sqrt(4000)
        assert float((np.abs(draws.mean(("chain", "draw")) - mean) / error).max()) < 5
    draws = fit["posterior"]["beta"].to_numpy()[0]
    for k in range(3):
        covariance = q["beta_covariance"].to_numpy()[k]
        error = np.sqrt(2 / 4000) * np.diag(covariance).max()
        np.testing.assert_allclose(np.cov(draws[:, k].T), covariance, rtol=0, atol=5 * error)


@pytest.mark.slow
def test_more_freedom_gives_a_higher_bound() -> None:
    _, _, tree = problem_of(VARIANTS[0], cell=2000)
    bound = [
        float(gn.fit("locus_regression", tree, "vi", seed=1, **more)["variational"]["bound"].max())
        for more in (
            {"covariance": "diagonal", "empirical_bayes": False},
            {"covariance": "mean_field", "empirical_bayes": False},
            {"covariance": "mean_field", "empirical_bayes": True},
        )
    ]
    assert bound == sorted(bound)
    assert bound[2] > bound[1] + 0.1


@pytest.mark.slow
def test_corrected_draws_are_of_the_posterior() -> None:
    """One process: its effect has a density that a grid can hold, its preferences a Dirichlet density."""
    t = np.ones((32, 40))
    sizes = {"locus": 40, "genome": 2, "process": 1, "feature": 1, "cell": 200}
    tree = gn.simulate("locus_regression", seed=3, **sizes, context_opportunity=t)
    fit = gn.fit("locus_regression", tree, "vi", seed=1, draws=2000, sweeps=8000, empirical_bayes=False)
    X, exposure = (tree["constant_data"][name].to_numpy() for name in ("features", "exposure"))
    grid = np.linspace(-3, 3, 4001)
    log_z = np.log(exposure @ np.exp(np.outer(X[0], grid)))
    log_density = grid * X[0][tree["observed_data"]["locus"].to_numpy()].sum() - 200 * log_z - grid**2 / (2 * 0.5**2)
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    mean = weight @ grid
    sd = np.sqrt(weight @ (grid - mean) ** 2)
    draws = fit["posterior"]["beta"].to_numpy().ravel()
    assert fit["posterior"]["beta"].shape == (4, 500, 1, 1)
    assert abs(draws.mean() - mean) < 5 * sd / np.sqrt(1000)
    assert abs(draws.std() / sd - 1) < 5 / np.sqrt(2 * 1000)
    context, _ = split_channel(tree["observed_data"]["channel"].to_numpy())
    lam = fit["posterior"]["lam"].to_numpy().reshape(-1, 32)
    concentration = 1 + np.bincount(context, minlength=32)
    mean = concentration / concentration.sum()
    sd = np.sqrt(mean * (1 - mean) / (concentration.sum() + 1))
    assert (np.abs(lam.mean(0) - mean) < 5 * sd / np.sqrt(500)).all()


def test_parameters_of_q_are_in_the_order_of_the_corrected_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the shares of the correction are in another order than those of q, its parameters go with the draws."""
    tree = gn.simulate("locus_regression", seed=2, genome=8, locus=40, feature=2, process=3, cell=600)
    given: dict[str, Any] = {"seed": 1, "process": 3, "restarts": 1, "sweeps": 8, "draws": 4}
    before = gn.fit("locus_regression", tree, "vi", **given)
    module = import_module("genarium.models.locus_regression.corrected")
    own, other = module._order, [2, 0, 1]
    monkeypatch.setattr(module, "_order", lambda *of: own(*of)[other])
    after = gn.fit("locus_regression", tree, "vi", **given)
    pi, was = (tree["posterior"].to_dataset()["pi"] for tree in (after, before))
    np.testing.assert_array_equal(pi, was[..., other])
    q, of = (tree["variational"].to_dataset() for tree in (after, before))
    for name in ("gamma", "delta", "omega", "beta_mean", "beta_covariance", "alpha", "tau"):
        np.testing.assert_array_equal(q[name], of[name][{"process": other}])


@pytest.mark.slow
def test_the_correction_knows_what_mean_field_leaves_out() -> None:
    """Two processes that channels hardly tell apart: long chains say how uncertain their effects and shares are."""
    lam = np.random.default_rng(1).dirichlet(np.full(32, 20.0), 2)
    tree = gn.simulate("locus_regression", seed=4, genome=8, locus=40, feature=1, process=2, cell=2000, lam=lam)
    narrow, wide = (
        gn.fit("locus_regression", tree, "vi", seed=1, covariance=c, empirical_bayes=False)
        for c in ("mean_field", "corrected")
    )
    exact = gn.fit("locus_regression", tree, "gibbs", seed=1, chains=2, draws=3000)
    for name in ("beta", "pi"):
        draws = [fit["posterior"][name].std(("chain", "draw")).to_numpy() for fit in (narrow, wide, exact)]
        sd = [np.sort(each.ravel()) for each in draws]
        assert np.median(sd[0] / sd[2]) < 0.8
        assert 0.75 < np.median(sd[1] / sd[2]) < 1.25


@pytest.mark.slow
def test_the_correction_finds_a_process_that_q_emptied() -> None:
    """Of one genome with three processes: chains from draws of q alone stay at two for tens of thousands of sweeps."""
    sizes = {"genome": 1, "locus": 100, "process": 3, "feature": 3, "cell": 5000}
    tree = gn.simulate("locus_regression", seed=1001, **sizes, lam_concentration=1.0, rho_concentration=1.0)
    assert tree["truth"]["pi"].min() > 0.15
    narrow, wide = (
        gn.fit("locus_regression", tree, "vi", seed=1, process=3, covariance=c) for c in ("mean_field", "corrected")
    )
    high = [fit["posterior"]["pi"].quantile(0.95, ("chain", "draw")).min() for fit in (narrow, wide)]
    assert high[0] < 0.05
    assert high[1] > 0.15


@pytest.mark.slow
def test_hyperparameters_are_drawn_from_their_posterior() -> None:
    """Moves and new variables given the hyperparameters, in turn, keep the log normal priors (Geweke 2004)."""
    rng, K = np.random.default_rng(3), 2
    given = hyperprior.Hyper(np.empty(0), np.array([1.0, 0.3]), np.array([0.2, 0.5]))
    found, kept = given, []
    for _ in range(8000):
        beta = found.tau[:, None] * rng.normal(size=(K, 3))
        r = 1 / found.dispersion[:, None]
        effect = np.maximum(rng.gamma(r, 1 / r, (K, 4)), 1e-300)
        state = gibbs_state(beta, np.empty(0), np.empty(0), np.empty(0), effect)
        found = hyper.draw(rng, state, found, given)
        kept.append(np.concatenate([np.log(value / vars(given)[name]) for name, value in vars(found).items()]))
    z = np.array(kept)  # standard normal
    size = effective(z[None])
    assert (np.abs(z.mean(0)) < 4 / np.sqrt(size)).all()
    assert (np.abs((z**2).mean(0) - 1) < 4 * np.sqrt(2 / effective(z[None] ** 2))).all()


@pytest.mark.parametrize("covariance", ["mean_field", pytest.param("corrected", marks=pytest.mark.slow)])
def test_concentrations_of_uneven_spectra_are_found(covariance: str) -> None:
    """From medians of one: two processes of .2 and 2, told by 3,000 mutations, within what their spectra tell."""
    true = {"lam_concentration": np.array([0.2, 2.0]), "rho_concentration": np.array([2.0, 0.2])}
    sizes = {"genome": 10, "locus": 40, "process": 2, "feature": 2, "cell": 3000}
    tree = gn.simulate("locus_regression", seed=2, **sizes, **true)
    data = {**as_arrays(tree), **dict.fromkeys(true, 1.0)}
    fit = gn.fit("locus_regression", data, "vi", 1, process=2, covariance=covariance, sweeps=1000)
    cosine = [
        lam / np.linalg.norm(lam, axis=1)[:, None]
        for lam in (fit["posterior"]["lam"].to_numpy().mean((0, 1)), tree["truth"]["lam"].to_numpy())
    ]
    _, order = linear_sum_assignment(-cosine[0] @ cosine[1].T)
    for name, wanted in true.items():
        found = fit["variational"][name].to_numpy()
        assert (np.abs(np.log(found / wanted[order])) < np.log(1.9)).all()


@pytest.mark.parametrize("concentration", [0.003, pytest.param(0.05, marks=pytest.mark.slow)])
def test_shares_that_underflow_are_harmless(concentration: float) -> None:
    """Draws of nearly all methods where most shares are below the smallest number."""
    given = {"lam_concentration": concentration, "rho_concentration": concentration}
    tree = gn.simulate("locus_regression", seed=1, genome=4, locus=12, process=2, feature=1, cell=80, **given)
    for method, settings in (("vi", {"sweeps": 80}), ("svi", {"epochs": 4}), ("gibbs", {"chains": 1, "draws": 20})):
        fit = gn.fit("locus_regression", tree, method, 1, **settings)
        assert all(np.isfinite(fit["posterior"][name]).all() for name in ("beta", "lam", "rho", "pi"))
    problem = fitted_problem(registry.get("locus_regression"), fit)
    at = {name: fit["posterior"][name].to_numpy() for name in ("beta", "lam", "rho", "pi")}
    log_likelihood, log_prior = problem.model.log_likelihood, problem.model.log_prior
    assert log_likelihood is not None
    assert log_prior is not None
    assert np.isfinite(problem.call(log_likelihood, **at)).all()
    assert np.isfinite(problem.call(log_prior, **at)).all()


@pytest.mark.slow
def test_hyperparameters_without_data_come_to_rest() -> None:
    """One process takes all, so that nothing but their prior keeps alpha and tau; starts that end early wait for it."""
    sizes = {"genome": 20, "locus": 20, "process": 3, "feature": 1, "cell": 60}
    for seed in (1, 3):
        data = {**as_arrays(gn.simulate("locus_regression", seed=seed, **sizes)), "alpha": 1.0, "tau": 1.0}
        fit = gn.fit("locus_regression", data, "vi", seed=seed, covariance="mean_field", process=3)
        notes = json.loads(fit.attrs["notes"])
        assert notes["converged"]
        assert notes["iterations"] < 300
        assert (fit["variational"]["alpha"].to_numpy() != 1).all()
        assert float(fit["variational"]["alpha"].max()) < 100


@pytest.mark.slow
def test_few_mutations_are_not_of_one_process() -> None:
    """Empirical Bayes by mean field ends where every genome has one process; the sweeps leave that mode."""
    tree = gn.simulate("locus_regression", seed=0, genome=4, locus=30, process=2, feature=2, cell=400)
    narrow, wide = (gn.fit("locus_regression", tree, "vi", covariance=c) for c in ("mean_field", "corrected"))
    low, high = (wide["posterior"]["pi"].quantile(q, ("chain", "draw")).to_numpy()[:, 0] for q in (0.05, 0.95))
    truth = tree["truth"]["pi"].to_numpy()[:, 0]
    assert float(narrow["posterior"]["pi"].std(("chain", "draw")).max()) < 0.01
    assert ((low < truth) & (truth < high)).sum() >= 3
    assert ((wide["variational"]["alpha"] > 0.2) & (wide["variational"]["alpha"] < 10)).all()


@pytest.mark.slow
def test_cautions_speak_of_what_is_read() -> None:
    """Effects, signatures and exposures have verdicts each; loci that vary too much bring the option that helps."""
    model = registry.get("locus_regression")
    settings: dict[str, Any] = {"seed": 5, "genome": 6, "locus": 150, "process": 2, "feature": 2, "cell": 6000}
    tree = gn.simulate(model.variant(loci="random"), **settings, dispersion=0.5)
    tree["constant_data"] = tree["constant_data"].to_dataset().drop_vars("dispersion")
    trees = (tree, gn.simulate(model, **settings))
    wild, calm = (gn.fit(model, each, "vi", seed=1, loci="fixed", sweeps=4000) for each in trees)

    def said(fit: xr.DataTree) -> dict[str, Caution]:
        return {one.check: one for one in cautions(fit, fitted_problem(model, fit))}

    blocks = [f"{name} whose chains disagree" for name in ("effects", "signatures", "exposures")]
    loci = "variation between loci that the features do not explain"
    assert [said(calm)[name].value for name in (*blocks, loci)] == [0, 0, 0, 0]
    assert said(wild)[loci].value > 1.3
    assert "loci='random'" in said(wild)[loci].advice
    beta = calm["posterior"].to_dataset()["beta"].copy()
    beta[0] += 10
    calm["posterior"] = calm["posterior"].to_dataset().assign(beta=beta)
    assert said(calm)[blocks[0]].value == beta[0, 0].size
    assert "sweeps" in said(calm)[blocks[0]].advice


def test_cautions_name_features_in_raw_units() -> None:
    """A percentage and a fraction of a percent; a constant, which cancels, and a rare annotation are as they should."""
    model = registry.get("locus_regression")
    tree = gn.simulate(model, seed=1, genome=3, locus=200, process=2, feature=4, cell=50)
    problem = check(model, tree, {"process": 2})
    x = problem["features"]
    raw = np.stack([50 + 300 * x[0], 1e-3 * x[1], np.full(200, 40.0), np.arange(200) == 7])
    names = np.array(["gc", "peaks", "ploidy", "centromere"])
    problem = replace(problem, arrays={**problem.arrays, "features": raw}, coords={**problem.coords, "feature": names})
    found = scales(problem)
    assert found.value == 2
    assert found.where == "of 4; gc: 3e+02, peaks: 0.001"
    assert "tandardise" in found.advice
    wide = replace(problem, arrays={**problem.arrays, "tau": np.full(2, 1e3)})
    assert scales(wide).where == "of 4; gc: 3e+02"


@pytest.mark.data
@pytest.mark.skipif(not (CORPORA / "easy.npz").exists(), reason="the corpora are not here")
@pytest.mark.slow
def test_simulated_corpus_is_recovered_as_well_as_it_can_be() -> None:
    truth = np.load(CORPORA / "easy.npz")
    tree = gn.read("locus_regression", CORPORA / "easy.npz")
    model = registry.get("locus_regression")
    problem = check(model, tree, {"process": 5})
    ends = []
    for seed in range(2):
        found = variational.vi(problem, np.random.default_rng(seed), empirical_bayes=True)
        mean = {name: value.mean((0, 1)) for name, value in found.posterior.items()}
        ends.append(found.notes["bound"])
        assert found.notes["largest_fall"] == 0
        signature = (mean["lam"] * truth["base"])[..., None] * mean["rho"]
        order, cosine = matched(signature, truth["S"])
        assert round(cosine.min(), 3) >= 0.993
        assert np.sqrt(np.mean((mean["beta"][order] - truth["beta"]) ** 2)) <= 0.0170
        assert np.abs(mean["pi"][:, order] - truth["pi"]).mean() <= 0.0105
    assert abs(ends[0] - ends[1]) < 0.1


@pytest.mark.slow
def test_negative_control_of_a_model_whose_option_has_the_name_of_a_size() -> None:
    """``locus`` is an option, by words, and a size, by numbers."""
    found = gn.validate("locus_regression", "vi", 3, seed=1, control=True, adaptive=False, locus=20, cell=200)
    assert found.plan["wrong"] == {"alpha": 10.0}
    assert found.plan["sizes"]["locus"] == 20
