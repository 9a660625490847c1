"""Covariates of the weights, batch effects and lost counts, against naive references and against what was simulated."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

import genarium as gn
from genarium import cli
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.engines.ascent import ascend
from genarium.models.nb_mixture.adjusted_bound import basis, climb
from genarium.models.nb_mixture.adjusted_step import Step
from genarium.models.nb_mixture.em import em

MU = [[20.0, 200.0, 5.0], [200.0, 20.0, 5.0], [60.0, 60.0, 90.0]]

ALL = {"weights": "covariates", "means": "batch", "zeros": "inflated"}

EACH = [*({name: value} for name, value in ALL.items()), {**ALL, "dispersion": "gene"}]


def make(options: dict[str, str], cells: int = 120, seed: int = 3, **more: Any) -> Problem:
    sizes = {"batch": 3} if "means" in options else {}
    depth = np.random.default_rng(0).lognormal(0, 0.4, cells)
    told = {"mu": MU, "pi": [0.5, 0.3, 0.2], "size_factor": depth, **more}
    tree = gn.simulate("nb_mixture", seed, cell=cells, gene=3, **options, **sizes, **told)
    return check(gn.get("nb_mixture").variant(**options), tree, {"component": 3})


def naive(problem: Problem, values: dict[str, Array]) -> float:
    """Loop over cells, components and genes."""
    total = 0.0
    x, s = problem["x"], problem["size_factor"]
    phi = np.broadcast_to(values["phi"] if "phi" in values else problem["phi"], (3, 3))
    for n in range(len(x)):
        weight = np.log(values["pi"])
        if "effect" in values:
            weight = special.log_softmax(weight + problem["covariates"][n] @ values["effect"])
        terms = []
        for k in range(3):
            logs = 0.0
            for d in range(3):
                mean, r = s[n] * values["mu"][k, d], 1 / phi[k, d]
                mean *= np.exp(values["shift"][d, problem["batch"][n]]) if "shift" in values else 1
                density = stats.nbinom.logpmf(x[n, d], r, r / (r + mean))
                if "zero" in values:
                    w = values["zero"][d]
                    density = np.log1p(-w) + density
                    density = np.logaddexp(np.log(w), density) if x[n, d] == 0 else density
                logs += density
            terms.append(weight[k] + logs)
        total += special.logsumexp(terms)
    return float(total)


@pytest.mark.parametrize("options", EACH, ids=str)
def test_bound_of_em_is_the_log_likelihood_and_the_log_prior(options: dict[str, str]) -> None:
    problem = make(options)
    step = Step(problem, point=True)
    state = step(step.started(np.random.default_rng(1), True))[0]
    values = step.estimate(state, np.arange(3))
    prior = 0.0
    for name, sd in (("effect", "sd_effect"), ("shift", "sd_shift")):
        if name in values:
            free = values[name].size - len(values[name])
            prior += -0.5 * (values[name] ** 2).sum() / problem[sd] ** 2
            prior -= free * (np.log(problem[sd]) + 0.5 * np.log(2 * np.pi))
    if "zero" in values:
        prior += stats.beta(1, problem["zero_b"]).logpdf(values["zero"]).sum()
    assert step.bound.expect(state)[2] == pytest.approx(naive(problem, values) + prior, rel=1e-11)
    assert problem.model.log_likelihood is not None
    ours = problem.call(problem.model.log_likelihood, **values)
    assert ours.sum() == pytest.approx(naive(problem, values), rel=1e-11)


@pytest.mark.parametrize("point", [True, False])
@pytest.mark.parametrize("options", EACH, ids=str)
def test_bound_has_the_right_slopes_and_never_falls(options: dict[str, str], point: bool) -> None:
    problem = make(options)
    step = Step(problem, point=point)
    state = step(step.started(np.random.default_rng(1), True))[0]
    told = step.bound.expect(state)[0]
    names, h = [name for name in state.centre if name != "effect"], 1e-4
    at, along = step.take(state, names), np.random.default_rng(0).normal(size=len(step.take(state, names)))

    def value(vector: Array) -> float:
        return step.bound.means_and_slopes(step.put(state, names, vector), told)[0]

    _, slope, wide = step.bound.means_and_slopes(state, told)
    rise = (value(at + h * along) - value(at - h * along)) / (2 * h)
    assert step.gradient(state, names, slope, wide) @ along == pytest.approx(rise, rel=1e-5, abs=1e-5)
    if "weights" in options:
        _, by_weight, slope_w, wide_w = step.bound.weights_and_slopes(state, told)
        gradient = step.gradient(state, ["effect"], {"effect": slope_w}, {"effect": wide_w})
        move = np.random.default_rng(1).normal(size=len(gradient) + 3)

        def of_weights(t: float) -> float:
            moved = step.put(state, ["effect"], step.take(state, ["effect"]) + t * move[3:])
            weight = state.weight * np.exp(t * move[:3])
            moved = replace(moved, weight=weight / weight.sum() if point else weight)
            return step.bound.weights_and_slopes(moved, told)[0]

        rise = (of_weights(h) - of_weights(-h)) / (2 * h)
        assert by_weight @ move[:3] + gradient @ move[3:] == pytest.approx(rise, rel=1e-5, abs=1e-5)
    found = ascend(step, state, tolerance=1e-4, max_iterations=300)
    assert found.converged
    assert found.largest_fall == 0


def test_bound_of_vi_is_below_the_evidence_and_near_it() -> None:
    problem = make({"means": "batch"}, cells=40)
    one = check(problem.model, {**problem.arrays, "x": problem["x"][:, :1], "phi": 0.3}, {"component": 1, "batch": 3})
    step = Step(one, point=False)
    found = ascend(step, step.started(np.random.default_rng(0), True), tolerance=1e-8, max_iterations=500)
    assert found.converged
    story, rng = one.model, np.random.default_rng(2)
    centre, q = found.state.centre, found.state.log_sd
    draws = 20_000
    z = {name: centre[name] + np.exp(q[name]) * rng.standard_t(8, (draws, *centre[name].shape)) for name in centre}
    log_q = sum((stats.t(8).logpdf((z[n] - centre[n]) / np.exp(q[n])) - q[n]).reshape(draws, -1).sum(1) for n in centre)
    values = {"pi": np.ones((draws, 1)), "mu": np.exp(z["log_mu"]), "shift": z["shift"] @ basis(3).T}
    assert story.log_likelihood is not None
    assert story.log_prior is not None
    joint = one.call(story.log_likelihood, **values).sum(1) + one.call(story.log_prior, **values)
    ratio = joint + z["log_mu"].reshape(draws, -1).sum(1) - log_q
    evidence = special.logsumexp(ratio) - np.log(draws)
    assert evidence - 0.1 < found.bound < evidence + 0.01  # its error is some .005; one group: nothing else is lost


@pytest.mark.parametrize(
    ("options", "name", "truth"),
    [
        ({"weights": "covariates"}, "effect", [[1.0, -1.0, 0.0]]),
        ({"means": "batch"}, "shift", [[0.5, -0.5, 0.0], [0.0, 0.4, -0.4], [-0.3, 0.0, 0.3]]),
        ({"zeros": "inflated"}, "zero", [0.3, 0.05, 0.15]),
    ],
)
@pytest.mark.slow
def test_what_was_simulated_is_found(options: dict[str, str], name: str, truth: Any) -> None:
    problem = make(options, cells=600, **{name: truth})
    tree = gn.fit(problem.model, dict(problem.arrays), "vi", 1, component=3, restarts=4)
    draws = tree["posterior"][name].to_numpy()[0]
    z = (draws.mean(0) - truth) / draws.std(0)
    assert np.abs(z).max() < 4
    assert draws.std(0).max() < 0.15
    point = gn.fit(problem.model, dict(problem.arrays), "em", 1, component=3, restarts=4)["point"][name].to_numpy()
    assert np.abs(point - draws.mean(0)).max() < 2 * draws.std(0).max()


def test_batches_of_new_cells_go_by_name() -> None:
    problem = make({"means": "batch"}, cells=200, shift=[[0.8, -0.8, 0.0], [0.0, 0.4, -0.4], [-0.3, 0.0, 0.3]])
    names = np.array(["a", "b", "c"])[problem["batch"]]
    data = {"x": problem["x"], "size_factor": problem["size_factor"], "batch": names}
    fitted = gn.fit(problem.model, {**data, "phi": 0.3}, "em", 1, component=3, restarts=2)
    whole = gn.predict(fitted)["predictions"]["log_density"].to_numpy()
    b = names == "b"
    part = gn.predict(fitted, {name: values[b] for name, values in data.items()})["predictions"]["log_density"]
    np.testing.assert_allclose(part.to_numpy(), whole[b], rtol=1e-12)
    with pytest.raises(gn.InputError, match="'d' is none of the batches of the fit, which are a, b, c"):
        gn.predict(fitted, {**data, "batch": np.where(b, "d", names)})


def test_one_component_or_batch_is_refused() -> None:
    x = np.arange(20).reshape(10, 2)
    with pytest.raises(gn.InputError, match="needs two components or more"):
        gn.fit("nb_mixture", {"x": x, "phi": 0.3, "covariates": x[:, :1]}, "em", component=1, weights="covariates")
    with pytest.raises(gn.InputError, match="needs two batches or more"):
        gn.fit("nb_mixture", {"x": x, "phi": 0.3, "batch": ["a"] * 10}, "em", component=1, means="batch")


@pytest.mark.parametrize("lost", [pytest.param(0.0, marks=pytest.mark.slow), 0.2])
def test_diagnose_and_choose_say_whether_zero_inflation_is_needed(lost: float) -> None:
    problem = make({"zeros": "inflated"}, cells=300, zero=[lost, 0.0, 0.0])
    data = {"x": problem["x"], "size_factor": problem["size_factor"], "phi": 0.3}
    best = gn.choose("nb_mixture", data, "zeros", ["plain", "inflated"], component=3, restarts=2, draws=50)
    table = best["choice"].to_dataset()
    wanted = "inflated" if lost else "plain"
    assert table["zeros_candidate"].to_numpy()[table["bic"].to_numpy().argmin()] == wanted
    assert table["zeros_candidate"].to_numpy()[table["bound"].to_numpy().argmax()] == wanted
    for zeros in ("plain", "inflated"):
        tree = gn.fit("nb_mixture", data, "em", 1, component=3, restarts=2, zeros=zeros)
        found = next(
            v for v in gn.diagnose("nb_mixture", tree).verdicts if "zero inflation" in v.check or "zeros" in v.check
        )
        assert found.status == ("pass" if zeros == wanted else "warn")
        if lost:
            assert "0 (" in found.where


def test_steps_up_hill_find_the_top_within_limits() -> None:
    centre = np.array([1.0, -2.0, 5.0])
    curvature = np.array([[4.0, 1.0, 0.0], [1.0, 30.0, 2.0], [0.0, 2.0, 1.0]])

    def objective(x: Array) -> tuple[float, Array]:
        return float(-0.5 * (x - centre) @ curvature @ (x - centre)), -curvature @ (x - centre)

    free = np.tile([-100.0, 100.0], (3, 1))
    found = climb(objective, np.zeros(3), np.diag(curvature) ** -0.5, free, 30)
    np.testing.assert_allclose(found, centre, atol=1e-3)
    held = np.array([[-100.0, 100.0], [-1.0, 100.0], [-100.0, 100.0]])
    found = climb(objective, np.zeros(3), np.diag(curvature) ** -0.5, held, 30)
    assert found[1] == -1
    np.testing.assert_allclose((-curvature @ (found - centre))[[0, 2]], 0, atol=1e-2)


def test_basis_is_orthonormal_and_sums_to_zero() -> None:
    Q = basis(5)
    np.testing.assert_allclose(Q.T @ Q, np.eye(4), atol=1e-14)
    np.testing.assert_allclose(Q.sum(0), 0, atol=1e-14)


def written(folder: Path, cells: int = 60) -> Path:
    """Write AnnData with an age, a sex and a donor."""
    import anndata
    import pandas as pd

    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(cells)]
    obs = pd.DataFrame(
        {
            "age": rng.normal(50, 12, cells),
            "sex": np.array(["m", "f"])[np.arange(cells) % 2],
            "donor": pd.Categorical(np.array(["d1", "d2", "d3"])[np.arange(cells) % 3]),
        },
        index=names,
    )
    x = rng.negative_binomial(3, 0.1, (cells, 4)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = anndata.AnnData(x, obs, pd.DataFrame(index=["g0", "g1", "g2", "g3"]))
        made.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


@pytest.mark.slow
def test_columns_of_anndata_become_covariates_and_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, data, fit = written(tmp_path), tmp_path / "data.nc", tmp_path / "fit.nc"
    words = ["read", "nb_mixture", str(file), "--option", "covariates=age,sex", "--option", "batch=donor"]
    assert cli.main([*words, "-o", str(data)]) == 0
    assert "'age' has standard deviation" in capsys.readouterr().err
    tree = gn.load(data)
    known = tree["constant_data"].to_dataset()
    assert known["covariates"]["covariate"].to_numpy().tolist() == ["age", "sex=m"]
    np.testing.assert_array_equal(known["covariates"].to_numpy()[:, 1], np.arange(60) % 2 == 0)
    np.testing.assert_array_equal(known["batch"].to_numpy(), np.arange(60) % 3)
    few = ["--method", "em", "--option", "restarts=2", "--set", "component=2", "--set", "phi=0.3"]
    assert cli.main(["fit", "nb_mixture", str(data), *few, "-o", str(fit)]) == 0
    point = gn.load(fit)["point"]
    assert point["effect"]["covariate"].to_numpy().tolist() == ["age", "sex=m"]
    assert point["shift"]["batch"].to_numpy().tolist() == ["d1", "d2", "d3"]
    assert cli.main(["predict", str(fit), str(file), "-o", str(tmp_path / "out.h5ad")]) == 0
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = anndata.read_h5ad(tmp_path / "out.h5ad")
    own = gn.predict(gn.load(fit))["predictions"]["probability"].to_numpy()
    np.testing.assert_allclose(out.obsm["nb_mixture_probability"], own, rtol=1e-6)
    np.testing.assert_allclose(out.varm["nb_mixture_shift"], point["shift"].to_numpy())
    np.testing.assert_allclose(out.var["nb_mixture_phi"], 0.3)
    assert out.uns["nb_mixture"]["covariates"].tolist() == ["age", "sex=m"]
    assert out.uns["nb_mixture"]["batches"].tolist() == ["d1", "d2", "d3"]
    np.testing.assert_allclose(out.uns["nb_mixture"]["effect"], point["effect"].to_numpy())


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("cell,g,s\na,1,x\nb,2,x\n", {"covariates": "s"}, "covariate 's' is 'x' in all cells"),
        ("cell,g,s\na,1,x\nb,2,y\n", {"covariates": "s", "reference": "s=z"}, "no value of column 's' 'z'"),
        ("cell,g,s\na,1,x\nb,2,y\n", {"covariates": "s", "reference": "t=x"}, "there is no covariate 't'"),
        ("cell,g,s\na,1,x\nb,2,y\n", {"covariates": "s", "reference": "x"}, "name a column and a value"),
        ("cell,g,s\na,1,x\nb,2,\n", {"batch": "s"}, "line 3, column 's': the value is missing"),
        ("cell,g,s\na,1,x\nb,2,y\n", {"batch": "t"}, "there is no column 't'"),
        ("cell,g,s\na,1,x\nb,2,y\n", {"batch": "s", "covariates": "s"}, "named by covariates and by batch|named by"),
        ("cell,g,s\na,1,x\nb,2,y\n", {"batch": "s", "transpose": True}, "a row for each"),
    ],
)
def test_columns_that_cannot_serve_are_named(table: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(table)
    with pytest.raises(gn.InputError, match=message):
        gn.read("nb_mixture", tmp_path / "x.csv", "table", **options)


def test_columns_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("cell,g,h,lane,dose\na,1,4,L2,0.5\nb,2,5,L1,1.5\nc,3,6,L2,2.5\n")
    tree = gn.read("nb_mixture", tmp_path / "x.csv", "table", batch="lane", covariates=["dose"])
    assert tree["observed_data"]["gene"].to_numpy().tolist() == ["g", "h"]
    known = tree["constant_data"].to_dataset()
    np.testing.assert_array_equal(known["batch"], [1, 0, 1])
    np.testing.assert_array_equal(known["covariates"][:, 0], [0.5, 1.5, 2.5])
    tree = gn.read("nb_mixture", tmp_path / "x.csv", "table", covariates="lane", drop="dose", reference="lane=L2")
    known = tree["constant_data"].to_dataset()
    assert known["covariates"]["covariate"].to_numpy().tolist() == ["lane=L1"]
    np.testing.assert_array_equal(known["covariates"][:, 0], [0, 1, 0])


def test_quasi_newton_steps_end_a_ridge() -> None:
    tree = gn.simulate("nb_mixture", 3, cell=200, mu=[[30, 30], [36, 34], [40, 44]])
    problem = check(gn.get("nb_mixture"), tree)
    full = em(problem, np.random.default_rng(1), restarts=1, max_iterations=20_000)
    cut = em(problem, np.random.default_rng(1), restarts=1, max_iterations=120)
    assert cut.notes["converged"]
    assert cut.notes["iterations"] > 120
    assert cut.notes["bound"] == pytest.approx(full.notes["bound"], abs=1e-3)
    assert cut.notes["largest_fall"] == 0
    pi, mu = (np.asarray(cut.point[name]) for name in ("pi", "mu"))
    assert problem.model.log_likelihood is not None
    assert problem.call(problem.model.log_likelihood, pi=pi, mu=mu).sum() == pytest.approx(
        cut.notes["bound"], rel=1e-10
    )
