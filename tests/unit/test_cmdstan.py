"""The Stan toolchain: found, built, and every method of its command line held to closed forms.

The probe program has a posterior that is known exactly. mu is multivariate normal; each log(tau) has the density of the
log of a Gamma(4, 2) variable, whose Laplace approximation, variational optimum and moments are known too.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genarium.engines import cmdstan

Floats = NDArray[np.float64]

PROBE = """
data {
  int<lower=0> k;
  int<lower=0> m;
  int<lower=0> n;
  matrix[n, k] y;
  matrix[k, k] precision;
  real bend;
}
parameters {
  vector[k] mu;
  vector<lower=0>[m] tau;
}
model {
  mu ~ normal(0, 2);
  for (i in 1 : n) {
    vector[k] residual = y[i]' - mu;
    target += -0.5 * dot_product(residual, precision * residual);
  }
  target += bend * dot_self(mu);
  tau ~ gamma(4, 2);
}
generated quantities {
  vector[k] twice = 2 * mu;
  real noise = normal_rng(0, 1);
}
"""
PRECISION = np.linalg.inv(np.array([[1.0, 0.6], [0.6, 1.0]]))
Y = np.random.default_rng(7).normal([1.0, -1.0], 1.0, size=(10, 2))
DATA: dict[str, Any] = {"k": 2, "m": 2, "n": len(Y), "y": Y.tolist(), "precision": PRECISION.tolist(), "bend": 0.0}
NO_PARAMETERS: dict[str, Any] = {"k": 0, "m": 0, "n": 0, "y": [], "precision": [], "bend": 0.0}

# The exact posterior of mu, and the parameters of tau ~ Gamma(SHAPE, RATE).
MU_PRECISION = len(Y) * PRECISION + np.eye(2) / 4
MU_COV = np.linalg.inv(MU_PRECISION)
MU_MEAN = MU_COV @ PRECISION @ Y.sum(0)
SHAPE, RATE = 4.0, 2.0


def log_density(mu: Floats, tau: Floats, jacobian: bool) -> float:
    """The log density as Stan reports it: without the constants that ~ statements drop."""
    residual = Y - mu
    quadratic = -0.5 * np.einsum("ni,ij,nj->", residual, PRECISION, residual) - mu @ mu / 8
    return float(quadratic + ((SHAPE - 1) * np.log(tau) - RATE * tau).sum() + jacobian * np.log(tau).sum())


def log_density_gradient(mu: Floats, tau: Floats, jacobian: bool) -> Floats:
    """Its gradient in mu and log(tau)."""
    return np.concatenate([PRECISION @ (Y - mu).sum(0) - mu / 4, SHAPE - 1 + jacobian - RATE * tau])


def assert_expectation(values: Floats, exact: float, standard_errors: float = 4.5) -> None:
    """Hold the mean of (chains x draws) to its exact value, within the Monte Carlo error that batch means estimate."""
    batches = np.stack(np.split(values, 25, axis=1)).mean(-1).ravel()
    error = batches.std(ddof=1) / np.sqrt(batches.size)
    assert abs(batches.mean() - exact) < standard_errors * error, (batches.mean(), exact, error)


# Programs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def toolchain() -> cmdstan.CmdStan:
    """The toolchain in the user's cache, built where it is not there."""
    return cmdstan.install(print)


@pytest.fixture(scope="session")
def probe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("probe") / "probe.stan"
    file.write_text(PROBE)
    return file


@pytest.fixture(scope="session")
def executable(toolchain: cmdstan.CmdStan, probe_file: Path) -> Path:
    return cmdstan.compile_program(probe_file, toolchain, progress=print)


@pytest.fixture
def model(executable: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import cmdstanpy

    cmdstanpy.disable_logging()
    monkeypatch.setenv("STAN_NUM_THREADS", "1")  # which CmdStanPy changes
    return cmdstanpy.CmdStanModel(exe_file=executable)


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    file = tmp_path / "data.json"
    file.write_text(json.dumps(DATA))
    return file


def sample(model: Any, **options: Any) -> Any:
    return model.sample(DATA, show_progress=False, **({"seed": 1, "chains": 2, "sig_figs": 17} | options))


# Methods: sample -----------------------------------------------------------------------------------------------------


@pytest.mark.stan
@pytest.mark.parametrize("metric", ["diag_e", "dense_e", "unit_e"])
@pytest.mark.parametrize("adapt", [True, False])
def test_sample_has_the_posterior(model: Any, metric: str, adapt: bool) -> None:
    options: dict[str, Any] = {} if adapt else {"adapt_engaged": False, "step_size": 0.2, "iter_warmup": 50}
    fit = sample(model, metric=metric, iter_sampling=2000, **options)
    assert fit.metric_type == metric
    mu = fit.stan_variable("mu").reshape(2, 2000, 2) - MU_MEAN
    tau = fit.stan_variable("tau").reshape(2, 2000, 2)
    for i in range(2):
        assert_expectation(mu[..., i], 0)
        assert_expectation(tau[..., i], SHAPE / RATE)
        assert_expectation((tau[..., i] - SHAPE / RATE) ** 2, SHAPE / RATE**2)
        for j in range(2):
            assert_expectation(mu[..., i] * mu[..., j], MU_COV[i, j])
    assert not fit.divergences.any()


@pytest.mark.stan
def test_chains_of_one_process_are_the_chains_of_many(model: Any) -> None:
    together = sample(model, chains=3, iter_sampling=50).draws()
    apart = sample(model, chains=3, iter_sampling=50, force_one_process_per_chain=True).draws()
    assert np.array_equal(together, apart)
    assert len(np.unique(together[-1, :, -1])) == 3
    assert not np.array_equal(together, sample(model, chains=3, iter_sampling=50, seed=2).draws())
    threads = sample(model, chains=3, parallel_chains=3, iter_sampling=50)
    assert np.array_equal(together, threads.draws())
    later = sample(model, chains=2, chain_ids=[2, 3], iter_sampling=50)
    assert np.array_equal(together[:, 1:], later.draws())
    assert later.metadata["id"] == 2


@pytest.mark.stan
def test_without_adaptation_step_size_and_metric_stay_as_given(model: Any) -> None:
    options: dict[str, Any] = {"adapt_engaged": False, "iter_warmup": 20, "iter_sampling": 20, "step_size": 0.3}
    unit = sample(model, **options)
    assert unit.step_size.tolist() == [0.3, 0.3]
    assert np.unique(unit.method_variables()["stepsize__"]) == [0.3]
    assert np.array_equal(unit.inv_metric, np.ones((2, 4)))

    diagonal = np.array([0.5, 0.25, 2.0, 1.5])
    fit = sample(model, inv_metric=diagonal, **options)
    assert np.array_equal(fit.inv_metric, [diagonal, diagonal])
    assert not np.array_equal(fit.draws(), unit.draws())

    dense = np.diag(diagonal) + 0.1
    fit = sample(model, inv_metric=[{"inv_metric": dense}, {"inv_metric": 2 * dense}], **options)
    np.testing.assert_allclose(fit.inv_metric, [dense, 2 * dense], rtol=1e-14)
    for bad in (diagonal[:3], -diagonal):
        with pytest.raises(RuntimeError, match="Error during sampling"):
            sample(model, inv_metric=bad, **options)


@pytest.mark.stan
def test_adaptation_heeds_its_arguments(model: Any) -> None:
    # No draw falls in the window in which the metric is learnt: it takes the value to which Stan shrinks it.
    windows = {"iter_warmup": 100, "adapt_init_phase": 80, "adapt_step_size": 20, "adapt_metric_window": 0}
    assert np.allclose(sample(model, iter_sampling=5, **windows).inv_metric, 1e-3)
    eager, careful = (sample(model, adapt_delta=delta, iter_sampling=5).step_size.max() for delta in (0.6, 0.99))
    assert careful < eager / 1.5
    fit = sample(model, adapt_engaged=False, iter_warmup=0, step_size=0.001, max_treedepth=3, iter_sampling=20)
    assert set(fit.method_variables()["treedepth__"].ravel()) == {3.0}


@pytest.mark.stan
def test_warmup_thinning_and_diagnostics_are_saved(model: Any) -> None:
    fit = sample(model, iter_warmup=100, iter_sampling=50, save_warmup=True, thin=2, save_diagnostics=True)
    assert fit.draws(inc_warmup=True).shape[:2] == (75, 2)
    assert fit.draws().shape[:2] == (25, 2)
    header = next(line for line in open_text(fit.runset.diagnostic_files[1]) if not line.startswith("#"))
    assert "p_mu.1" in header


def open_text(path: str | Path) -> list[str]:
    return Path(path).read_text().splitlines()


@pytest.mark.stan
def test_fixed_param_keeps_the_initial_values_and_draws_the_quantities(model: Any) -> None:
    inits = {"mu": [0.5, -2.0], "tau": [1.0, 3.0]}
    fit = sample(model, fixed_param=True, chains=1, inits=inits, iter_sampling=2000)
    assert np.array_equal(fit.stan_variable("mu"), np.tile(inits["mu"], (2000, 1)))
    np.testing.assert_allclose(fit.stan_variable("tau"), np.tile(inits["tau"], (2000, 1)), rtol=1e-14)
    noise = fit.stan_variable("noise").reshape(1, 2000)
    assert_expectation(noise, 0)
    assert_expectation(noise**2, 1)
    zero = sample(model, fixed_param=True, chains=1, inits=0, iter_sampling=1)
    assert zero.stan_variable("mu").tolist() == [[0, 0]]
    assert zero.stan_variable("tau").tolist() == [[1, 1]]
    narrow = sample(model, fixed_param=True, chains=1, inits=1e-6, iter_sampling=1).stan_variable("mu")
    assert 0 < abs(narrow).max() < 1e-6


@pytest.mark.stan
def test_initial_values_of_each_chain(model: Any, executable: Path, data_file: Path, tmp_path: Path) -> None:
    inits = [{"mu": [float(i), 0.0], "tau": [1.0, 1.0]} for i in range(2)]
    fit = sample(model, iter_warmup=0, iter_sampling=1, adapt_engaged=False, step_size=1e-6, inits=inits)
    np.testing.assert_allclose(fit.draws_pd()["mu[1]"], [0, 1], atol=0.01)
    for i, values in enumerate(inits, start=1):
        (tmp_path / f"init_{i}.json").write_text(json.dumps(values))
    words = f"data file={data_file} init={tmp_path}/init.json output file={tmp_path}/out.csv"
    run(executable, f"{words} sample num_samples=1 algorithm=fixed_param num_chains=2")
    assert [float(csv_table(tmp_path / f"out_{i}.csv")["mu.1"][0]) for i in (1, 2)] == [0, 1]


@pytest.mark.stan
def test_a_program_without_parameters_is_sampled_as_fixed(model: Any) -> None:
    fit = model.sample(NO_PARAMETERS, seed=1, chains=2, show_progress=False, iter_sampling=100)
    assert fit.metadata["algorithm"] == "fixed_param"
    assert len(np.unique(fit.stan_variable("noise"))) == 200


# Methods: optimize, laplace, pathfinder, variational -----------------------------------------------------------------


@pytest.mark.stan
@pytest.mark.parametrize("algorithm", ["lbfgs", "bfgs", "newton"])
@pytest.mark.parametrize("jacobian", [True, False])
def test_optimize_finds_the_mode(model: Any, algorithm: str, jacobian: bool) -> None:
    fit = model.optimize(DATA, seed=1, algorithm=algorithm, jacobian=jacobian, sig_figs=17)
    tau = np.full(2, (SHAPE - 1 + jacobian) / RATE)
    np.testing.assert_allclose(fit.stan_variable("mu"), MU_MEAN, atol=1e-3)
    np.testing.assert_allclose(fit.stan_variable("tau"), tau, atol=1e-3)
    lp = fit.optimized_params_dict["lp__"]
    # newton and the line searches differ in whether they count the constants that ~ statements drop.
    differences = lp - log_density(MU_MEAN, tau, jacobian) - np.array([0, constants()])
    assert abs(differences).min() < 1e-5
    assert fit.converged


def constants() -> float:
    """What ~ statements drop: of two normal(0, 2) and of two gamma(4, 2) densities."""
    return float(2 * (-0.5 * np.log(2 * np.pi) - np.log(2.0)) + 2 * (SHAPE * np.log(RATE) - np.log(6.0)))


@pytest.mark.stan
def test_optimize_heeds_its_arguments(model: Any) -> None:
    path = model.optimize(DATA, seed=1, save_iterations=True, jacobian=True)
    assert len(path.optimized_iterations_np) > 3
    assert path.stan_variable("tau") == pytest.approx([2, 2], abs=1e-3)
    start = {"mu": [5.0, 5.0], "tau": [1.0, 1.0]}
    first = model.optimize(DATA, seed=1, inits=start, iter=1, require_converged=False, save_iterations=True)
    assert first.optimized_iterations_np.shape[0] == 2
    assert first.stan_variable("mu", inc_iterations=True)[0].tolist() == [5, 5]
    loose = model.optimize(DATA, seed=1, algorithm="lbfgs", tol_rel_grad=1e12, tol_rel_obj=1e12, history_size=2)
    assert abs(loose.stan_variable("tau") - 1.5).max() > 1e-2


@pytest.mark.stan
@pytest.mark.parametrize("jacobian", [True, False])
@pytest.mark.parametrize("iterations", [True, False])
def test_laplace_is_the_normal_at_the_mode(model: Any, jacobian: bool, iterations: bool) -> None:
    mode = model.optimize(DATA, seed=1, jacobian=jacobian, save_iterations=iterations, sig_figs=17)
    assert "converged__" in mode.column_names  # which is not a parameter
    fit = model.laplace_sample(DATA, mode=mode, draws=4000, jacobian=jacobian, seed=1, sig_figs=17)
    mu = fit.stan_variable("mu").reshape(1, 4000, 2) - MU_MEAN
    shape = SHAPE - 1 + jacobian
    log_tau = np.log(fit.stan_variable("tau")).reshape(1, 4000, 2) - np.log(shape / RATE)
    for i in range(2):
        assert_expectation(mu[..., i], 0)
        assert_expectation(log_tau[..., i], 0)
        assert_expectation(log_tau[..., i] ** 2, 1 / shape)
        for j in range(2):
            assert_expectation(mu[..., i] * mu[..., j], MU_COV[i, j])
    first = fit.draws_pd().iloc[0]
    values = fit.stan_variable("mu")[0], fit.stan_variable("tau")[0]
    assert first["log_p__"] == pytest.approx(log_density(*values, jacobian), abs=1e-9)


@pytest.mark.stan
def test_laplace_refuses_a_point_that_is_no_maximum(model: Any, executable: Path, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps(DATA | {"bend": 100.0}))
    (tmp_path / "mode.json").write_text(json.dumps({"mu": [0, 0], "tau": [2, 2]}))
    words = f"data file={tmp_path}/data.json output file={tmp_path}/out.csv method=laplace mode={tmp_path}/mode.json"
    assert "not positive definite" in fails(executable, words)
    assert not (tmp_path / "out.csv").exists()
    (tmp_path / "data.json").write_text(json.dumps(DATA))
    run(executable, f"{words} draws=5")
    assert len(csv_table(tmp_path / "out.csv")["mu.1"]) == 5


@pytest.mark.stan
@pytest.mark.parametrize("paths", [1, 4])
def test_pathfinder_is_close_to_the_posterior(model: Any, paths: int) -> None:
    fit = model.pathfinder(DATA, seed=1, num_paths=paths, draws=4000, num_single_draws=4000, sig_figs=17)
    mu, tau = fit.stan_variable("mu"), fit.stan_variable("tau")
    assert mu.shape == (4000, 2)
    np.testing.assert_allclose(mu.mean(0), MU_MEAN, atol=0.05)
    np.testing.assert_allclose(np.cov(mu.T), MU_COV, atol=0.02)
    # One path is a normal approximation; several are weighted towards the posterior.
    np.testing.assert_allclose(tau.mean(0), SHAPE / RATE, atol=0.1 if paths > 1 else 0.4)
    columns = dict(zip(fit.column_names, fit.draws().T, strict=True))
    assert set(columns["path__"]) == set(range(1, paths + 1))
    expected = [log_density(mu[i], tau[i], True) + constants() for i in range(20)]
    np.testing.assert_allclose(columns["lp__"][:20], expected, rtol=1e-9)


@pytest.mark.stan
def test_pathfinder_heeds_its_arguments(model: Any) -> None:
    every = model.pathfinder(DATA, seed=1, num_paths=3, num_single_draws=50, psis_resample=False)
    assert every.draws().shape[0] == 150
    assert not every.is_resampled
    unknown = model.pathfinder(DATA, seed=1, num_paths=2, num_single_draws=50, num_elbo_draws=10, calculate_lp=False)
    assert np.isnan(unknown.draws()[:, unknown.column_names.index("lp__")]).sum() == 80
    same = [model.pathfinder(DATA, seed=3, draws=100).draws() for _ in range(2)]
    assert np.array_equal(*same)


@pytest.mark.stan
@pytest.mark.parametrize("algorithm", ["meanfield", "fullrank"])
def test_variational_is_close_to_its_optimum(model: Any, algorithm: str) -> None:
    fit = model.variational(
        DATA, seed=1, algorithm=algorithm, grad_samples=20, elbo_samples=500, tol_rel_obj=0.005, draws=4000
    )
    cov = np.diag(1 / np.diag(MU_PRECISION)) if algorithm == "meanfield" else MU_COV
    mu, log_tau = (f(fit.stan_variable(name, mean=False)) for f, name in ((np.asarray, "mu"), (np.log, "tau")))
    np.testing.assert_allclose(mu.mean(0), MU_MEAN, atol=0.08)
    np.testing.assert_allclose(np.cov(mu.T), cov, atol=0.25 * MU_COV[0, 0])
    np.testing.assert_allclose(log_tau.mean(0), np.log(SHAPE / RATE) - 0.5 / SHAPE, atol=0.1)
    np.testing.assert_allclose(log_tau.var(0), 1 / SHAPE, rtol=0.3)
    fixed = model.variational(DATA, seed=1, adapt_engaged=False, eta=0.2, algorithm=algorithm)
    assert fixed.eta == 0.2


# Methods: generate_quantities, log_prob ------------------------------------------------------------------------------


@pytest.mark.stan
def test_generated_quantities_of_every_kind_of_fit(model: Any) -> None:
    mcmc = sample(model, iter_warmup=100, iter_sampling=500, save_warmup=True)
    again = model.generate_quantities(DATA, previous_fit=mcmc, seed=5, sig_figs=17)
    np.testing.assert_allclose(again.stan_variable("twice"), 2 * mcmc.stan_variable("mu"), rtol=1e-12)
    noise = again.stan_variable("noise").reshape(2, 500)
    assert_expectation(noise, 0)
    assert_expectation(noise**2, 1)
    assert again.draws(inc_warmup=True).shape[0] == 600
    for fit in (model.optimize(DATA, seed=1, sig_figs=17), model.variational(DATA, seed=1, sig_figs=17)):
        quantities = model.generate_quantities(DATA, previous_fit=fit, seed=5, sig_figs=17)
        values = fit.variational_sample_pd if hasattr(fit, "variational_sample_pd") else fit.optimized_params_pd
        np.testing.assert_allclose(quantities.stan_variable("twice")[:, 0], 2 * values["mu[1]"], rtol=1e-12)


@pytest.mark.stan
@pytest.mark.parametrize("jacobian", [True, False])
def test_log_prob_and_gradient(model: Any, executable: Path, data_file: Path, tmp_path: Path, jacobian: bool) -> None:
    rng = np.random.default_rng(3)
    points = [(rng.normal(size=2), rng.gamma(2.0, size=2)) for _ in range(4)] + [(np.zeros(2), np.ones(2))]
    expected = [np.r_[log_density(mu, tau, jacobian), log_density_gradient(mu, tau, jacobian)] for mu, tau in points]
    names = ["lp__", "g_mu.1", "g_mu.2", "g_tau.1", "g_tau.2"]
    for (mu, tau), values in zip(points, expected, strict=True):
        frame = model.log_prob({"mu": mu, "tau": tau}, DATA, jacobian=jacobian, sig_figs=17)
        assert list(frame) == names
        np.testing.assert_allclose(frame.to_numpy()[0], values, rtol=1e-12, atol=1e-12)

    free = [np.r_[mu, np.log(tau)].tolist() for mu, tau in points]
    free[-1] = [0, 0, 0, 0]
    draws = ["lp__,x__,tau.2,tau.1,mu.2,mu.1"]
    draws += [f"0,0,{tau[1]!r},{tau[0]!r},{mu[1]!r},{mu[0]!r}".replace("np.float64", "") for mu, tau in points]
    (tmp_path / "one.json").write_text(json.dumps({"params_r": free[0]}))
    (tmp_path / "all.json").write_text(json.dumps({"params_r": free}))
    (tmp_path / "draws.csv").write_text("# a comment\n" + "\n".join(draws).replace("(", "").replace(")", "") + "\n")
    words = f"jacobian={int(jacobian)} data file={data_file} output file={tmp_path}/out.csv sig_figs=17"
    for given, rows in (
        (f"unconstrained_params={tmp_path}/one.json", expected[:1]),
        (f"unconstrained_params={tmp_path}/all.json", expected),
        (f"constrained_params={tmp_path}/draws.csv", expected),
    ):
        run(executable, f"log_prob {given} {words}")
        table = csv_table(tmp_path / "out.csv")
        np.testing.assert_allclose(np.array([table[name] for name in names]).T, rows, rtol=1e-12, atol=1e-12)


# Strictness ----------------------------------------------------------------------------------------------------------


def run(executable: Path, words: str) -> str:
    answer = subprocess.run([executable, *words.split()], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
    return answer.stdout


def fails(executable: Path, words: str) -> str:
    """The message of a command line that must end with status 1."""
    answer = subprocess.run([executable, *words.split()], capture_output=True, text=True, check=False)
    assert answer.returncode == 1, answer
    (message,) = (line for line in answer.stdout.splitlines() if line.startswith("Error: "))
    return message


def csv_table(path: Path) -> dict[str, Floats]:
    header, *rows = (line.split(",") for line in open_text(path) if not line.startswith("#"))
    return dict(zip(header, np.array(rows, dtype=float).T, strict=True))


@pytest.mark.stan
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "no method given; one of: sample, optimize"),
        ("method=diagnose", "'method=diagnose' is not supported; 'method' is one of: sample, optimize"),
        ("sample colour=red", "unknown argument 'colour=red'"),
        ("sample adapt colour=red", "unknown argument 'colour=red'; known here: engaged, gamma"),
        ("colour=red method=sample", "unknown argument 'colour=red'"),
        ("sample engine=nuts", "unknown argument 'engine=nuts'"),
        ("sample num_samples=ten", "'num_samples' must be an integer, not 'ten'"),
        ("sample num_samples=1e3", "'num_samples' must be an integer"),
        ("sample num_samples=-1", "'num_samples' must be >= 0"),
        ("sample num_samples=", "'num_samples' must be"),
        ("sample num_samples", "'num_samples' needs a value"),
        ("sample num_samples=5 num_samples=6", "'num_samples' is given twice"),
        ("sample thin=0", "'thin' must be >= 1"),
        ("sample adapt=1", "'adapt' takes no value"),
        ("sample adapt delta=1", "'delta' must be > 0 and < 1, not '1'"),
        ("sample adapt delta=nan", "'delta' must be a number"),
        ("sample adapt engaged=yes", "'engaged' must be 0, 1, false or true"),
        ("sample num_warmup=0", "adaptation needs warmup"),
        ("sample algorithm=hmc engine=static", "'engine=static' is not supported; 'engine' is one of: nuts"),
        ("sample algorithm=hmc metric=round", "'metric' is one of: diag_e, dense_e, unit_e"),
        ("sample algorithm=hmc metric=unit_e metric_file=m.json", "'metric_file' does not go with metric=unit_e"),
        ("sample algorithm=hmc metric_file=m.json", "cannot read file 'm.json'"),
        ("sample algorithm=hmc stepsize=0", "'stepsize' must be > 0"),
        ("sample adapt save_metric=1", "unknown argument 'save_metric=1'"),
        ("sample algorithm=fixed_param adapt engaged=1", "'adapt engaged' does not go with algorithm=fixed_param"),
        ("method=sample method=optimize", "'method' is given twice"),
        ("sample random seed=-1", "'seed' must be >= 0 and <= 4294967295"),
        ("sample random seed=4294967296", "'seed' must be >= 0 and <= 4294967295"),
        ("sample output sig_figs=19", "'sig_figs' must be >= 1 and <= 18"),
        ("sample output profile_file=p.csv", "unknown argument 'profile_file=p.csv'"),
        ("sample num_threads=0", "'num_threads' must be -1"),
        ("sample init=-1", "'init' must be a number >= 0 or a .json file"),
        ("sample init=absent.json", "cannot read file 'absent.json'"),
        ("sample init=values.R", "file 'values.R' is not supported"),
        ("sample output file=absent/out.csv", "cannot write file 'absent/out.csv'"),
        ("optimize algorithm=bfgs history_size=3", "unknown argument 'history_size=3'"),
        ("optimize algorithm=newton tol_obj=1", "unknown argument 'tol_obj=1'"),
        ("optimize output diagnostic_file=d.csv", "'diagnostic_file' does not go with method=optimize"),
        ("variational algorithm=lowrank", "'algorithm' is one of: meanfield, fullrank"),
        ("pathfinder save_single_paths=1", "unknown argument 'save_single_paths=1'"),
        ("laplace", "needs mode=<file>"),
        ("laplace mode=mode.json init=0", "'init' does not go with method=laplace"),
        ("generate_quantities", "needs fitted_params=<file>"),
        ("generate_quantities fitted_params=absent.csv", "cannot read file 'absent.csv'"),
        ("log_prob", "needs one of constrained_params=<file> and unconstrained_params=<file>"),
        ("info extra=1", "unknown argument 'info'"),
    ],
)
def test_what_is_not_understood_is_an_error(
    executable: Path, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(executable, f"data file={data_file} {words}")
    assert not (tmp_path / "output.csv").exists()


@pytest.mark.stan
def test_files_that_do_not_fit_are_errors(executable: Path, data_file: Path, tmp_path: Path) -> None:
    out = f"output file={tmp_path}/out.csv"
    with_data = f"data file={data_file} {out}"

    def written(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    assert "variable does not exist" in fails(executable, f"{out} sample")
    assert "n.json" in fails(executable, f"data file={written('n.json', '{')} {out} sample")
    bad = written("few.csv", "lp__,mu.1,mu.2,tau.1\n0,1,2,3\n")
    assert "no column for the parameter 'tau.2'" in fails(
        executable, f"{with_data} generate_quantities fitted_params={bad}"
    )
    bad = written("short.csv", "mu.1,mu.2,tau.1,tau.2\n1,2,3,4\n1,2,3\n")
    assert "line 3: 3 values for 4 columns" in fails(executable, f"{with_data} generate_quantities fitted_params={bad}")
    bad = written("word.csv", "mu.1,mu.2,tau.1,tau.2\n1,2,three,4\n")
    assert "line 2: 'three' is not a number" in fails(executable, f"{with_data} laplace mode={bad}")
    bad = written("empty.csv", "mu.1,mu.2,tau.1,tau.2\n")
    assert "holds no draws" in fails(executable, f"{with_data} generate_quantities fitted_params={bad}")
    bad = written("negative.csv", "mu.1,mu.2,tau.1,tau.2\n1,2,-3,4\n")
    assert "must be greater than or equal to 0" in fails(
        executable, f"{with_data} generate_quantities fitted_params={bad}"
    )
    bad = written("params.json", '{"params_r": [1, 2, 3]}')
    assert "a list of 4 numbers" in fails(executable, f"{with_data} log_prob unconstrained_params={bad}")
    bad = written("inits.json", '{"mu": [1, 2, 3], "tau": [1, 1]}')
    assert "mu" in fails(executable, f"{with_data} init={bad} optimize")
    empty = written("none.json", json.dumps(NO_PARAMETERS))
    assert "the program has none" in fails(executable, f"data file={empty} {out} optimize")
    assert not (tmp_path / "out.csv").exists() or "optimize" in (tmp_path / "out.csv").read_text()


@pytest.mark.stan
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("method", ["sample", "optimize", "variational", "pathfinder"])
def test_a_full_disk_is_an_error(executable: Path, data_file: Path, method: str) -> None:
    message = fails(executable, f"data file={data_file} output file=/dev/full refresh=0 method={method}")
    assert "could not be written to its end" in message
    assert Path("/dev/full").exists()


@pytest.mark.stan
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DATA | {"bend": 1e308}, "Initialization failed"),
        # The bend cancels the prior of mu, and there is nothing else: no step is too long for a flat density.
        ({"k": 2, "m": 0, "n": 0, "y": [], "precision": [[1, 0], [0, 1]], "bend": 1 / 8}, "Posterior is improper"),
    ],
)
def test_a_chain_that_cannot_start_is_an_error(
    executable: Path, tmp_path: Path, data: dict[str, Any], message: str
) -> None:
    (tmp_path / "data.json").write_text(json.dumps(data))
    words = f"data file={tmp_path}/data.json output file={tmp_path}/out.csv sample num_samples=10"
    assert message in fails(executable, words)
    assert message in fails(executable, f"{words} num_chains=2")
