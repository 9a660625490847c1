"""ArviZ takes every fit: each of its public functions on a tree of each engine, or the reason why it has no use."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import Any

import arviz_plots as plots
import arviz_stats as stats
import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

import genarium as gn
from genarium import registry
from genarium.declaration import Array, Model, Stage, Var
from genarium.methods import find_method, methods
from genarium.supports import real

pytestmark = [
    pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto"),  # of short fits of small data
    pytest.mark.filterwarnings("ignore:Variables .* look discrete"),
    pytest.mark.filterwarnings("ignore:In a future version of xarray"),
]

Call = Callable[[xr.DataTree], Any]


def squared(theta: Array) -> Array:
    return theta**2


TOY: Model = import_module("toy").MODEL
TWO = replace(TOY, derived=Stage({"square": Var((), real, "Square of theta.", "θ²")}, {"square": squared}))
"""The example model with a second variable: ArviZ compares variables."""


# The trees


@cache
def tree_of(kind: str) -> xr.DataTree:
    """Return a small fit of a kind, with the prior."""
    few: dict[str, Any] = {"prior_draws": 100, "draws": 100, "chains": 2, "tune": 200, "iterations": 4000}
    method, _, part = kind.partition(", ")
    if method == "nuts-jax":
        pytest.importorskip("jax", reason="needs the extra `jax`")
    model = TWO if method in methods(TWO) else registry.get("nb_mixture")
    few = {name: value for name, value in few.items() if name in (*find_method(model, method).options, "prior_draws")}
    sizes = {"item": 12, "theta": 1.5} if model is TWO else {"cell": 25, "component": 2}
    tree = gn.fit(model, gn.simulate(model, 5, **sizes), method, 1, **few)
    return tree.sel(gene=1) if part == "one gene" else tree


LATER = ("nuts", "gibbs", "advi", "nuts-jax", "gibbs, one gene", "vi, one gene")

KINDS = [
    "conjugate",
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in LATER),
    pytest.param("stan, one gene", marks=[pytest.mark.stan, pytest.mark.slow]),
]


def traits(tree: xr.DataTree) -> set[str]:
    """Return what a tree has that a function may need."""
    observed = tree["observed_data"][y(tree)]
    have = {
        "chains": tree["posterior"].sizes["chain"] > 1,
        "energy": "energy" in tree["sample_stats"],
        "log_q": "log_q" in tree["sample_stats"],
        "counts": observed.dtype.kind == "i",
        "one dim": observed.ndim == 1,
        "no component": "component" not in tree["posterior"].dims,
    }
    return {name for name, has in have.items() if has}


# The functions


@dataclass(frozen=True)
class Use:
    """How a function is called on a tree, and the traits without which it has no meaning there, or no answer yet."""

    call: Call
    needs: tuple[str, ...] = ()


def names(tree: xr.DataTree) -> list[str]:
    return [str(name) for name in tree["posterior"].data_vars]


def element(tree: xr.DataTree, name: str) -> xr.DataArray:
    """Return the draws of a variable's first element."""
    one = tree["posterior"].to_dataset()[name]
    return one.isel({dim: 0 for dim in one.dims if dim not in ("chain", "draw")})


def first(tree: xr.DataTree) -> xr.DataArray:
    return element(tree, names(tree)[0])


def last(tree: xr.DataTree) -> xr.DataArray:
    return element(tree, names(tree)[-1])


def y(tree: xr.DataTree) -> str:
    return str(next(iter(tree["log_likelihood"].data_vars)))


def narrow(tree: xr.DataTree) -> dict[str, Any]:
    """Restrict a plot of pairs to what fits into a figure."""
    posterior = tree["posterior"]
    return {"var_names": names(tree)[:2], "coords": {d: [0] for d in ("component", "gene") if d in posterior.dims}}


def plot(name: str, **options: Any) -> Call:
    return lambda tree: getattr(plots, name)(tree, backend="none", **options)


def stat(name: str, *given: Any, **options: Any) -> Call:
    return lambda tree: getattr(stats, name)(tree, *given, **options)


STATS: dict[str, Use] = {
    **{
        name: Use(stat(name))
        for name in (
            *(
                "ess",
                "eti",
                "get_log_likelihood",
                "hdi",
                "histogram",
                "iqr",
                "kde",
                "loo",
                "loo_expectations",
                "loo_influence",
            ),
            *("loo_metrics", "loo_score", "mad", "mcse", "mean", "median", "metrics", "mode", "psense", "qds"),
            *("std", "summary", "thin", "var"),
        )
    },
    **{name: Use(stat(name), ("one dim",)) for name in ("loo_metrics", "loo_score", "metrics")},
    "bayes_factor": Use(lambda t: stats.bayes_factor(t, names(t)[0], ref_vals=float(first(t).mean()))),
    "bfmi": Use(stat("bfmi"), ("energy",)),
    "ci_in_rope": Use(stat("ci_in_rope", (0, 1))),
    "compare": Use(lambda t: stats.compare({"one": t, "other": t.sel(draw=slice(0, 60))})),
    "diagnose": Use(stat("diagnose"), ("chains",)),
    "ecdf": Use(lambda t: stats.ecdf(t["posterior"].to_dataset())),
    "hexbin": Use(lambda t: stats.hexbin(first(t), last(t))),
    "histogram2d": Use(lambda t: stats.histogram2d(first(t), last(t))),
    "kde2d": Use(lambda t: stats.kde2d(first(t), last(t))),
    "kl_divergence": Use(lambda t: stats.kl_divergence(t, t.sel(draw=slice(0, 60)), num_samples=50)),
    "loo_approximate_posterior": Use(
        lambda t: stats.loo_approximate_posterior(t, t["sample_stats"]["lp"], t["sample_stats"]["log_q"]), ("log_q",)
    ),
    "loo_i": Use(lambda t: stats.loo_i(0, t)),
    "loo_pit": Use(stat("loo_pit"), ("one dim",)),
    "loo_r2": Use(lambda t: stats.loo_r2(t, y(t))),
    "loo_subsample": Use(lambda t: stats.loo_subsample(t, 5, seed=1)),
    "psense_summary": Use(stat("psense_summary"), ("no component",)),  # ArviZ lays its results along a dim of that name
    "rhat": Use(stat("rhat"), ("chains",)),
    "rhat_nested": Use(stat("rhat_nested", superchain_ids=[0, 1]), ("chains",)),
    "update_subsample": Use(
        lambda t: stats.update_subsample(stats.loo_subsample(t, 5, seed=1, pointwise=True), t, observations=3, seed=2)
    ),
    "wasserstein": Use(lambda t: stats.wasserstein(t, t.sel(draw=slice(0, 60)), num_samples=50)),
    "weight_predictions": Use(lambda t: stats.weight_predictions([t, t], weights=[0.3, 0.7])),
}

PLOTS: dict[str, Use] = {
    **{
        name: Use(plot(name))
        for name in (
            *("plot_autocorr", "plot_convergence_dist", "plot_dgof", "plot_dgof_dist", "plot_dist", "plot_ess"),
            *("plot_ess_evolution", "plot_forest", "plot_loo_interval", "plot_mcse", "plot_parallel", "plot_ppc_dist"),
            *("plot_ppc_interval", "plot_ppc_tstat", "plot_prior_posterior", "plot_psense_dist"),
            *("plot_psense_quantities", "plot_ridge", "plot_trace", "plot_trace_dist"),
        )
    },
    **{name: Use(plot(name), ("one dim",)) for name in ("plot_loo_pit", "plot_ppc_dist_pit", "plot_ppc_pit")},
    **{name: Use(plot(name), ("chains",)) for name in ("plot_rank", "plot_rank_dist")},  # it compares chains
    "add_bands": Use(lambda t: plots.add_bands(plots.plot_dist(t, backend="none"), values=[(0, 1)])),
    "add_lines": Use(lambda t: plots.add_lines(plots.plot_dist(t, backend="none"), values=[0])),
    "combine_plots": Use(
        lambda t: plots.combine_plots(
            t, [(plots.plot_trace, {}), (plots.plot_dist, {})], var_names=names(t)[0], backend="none"
        )
    ),
    "plot_bf": Use(lambda t: plots.plot_bf(t, names(t)[0], ref_val=float(first(t).mean()), backend="none")),
    "plot_compare": Use(
        lambda t: plots.plot_compare(stats.compare({"one": t, "other": t.sel(draw=slice(0, 60))}), backend="none")
    ),
    "plot_energy": Use(plot("plot_energy"), ("energy",)),
    "plot_khat": Use(lambda t: plots.plot_khat(stats.loo(t, pointwise=True), backend="none")),
    "plot_pair": Use(lambda t: plots.plot_pair(t, backend="none", **narrow(t))),
    "plot_pair_focus": Use(lambda t: plots.plot_pair_focus(t, focus_var=first(t), backend="none", **narrow(t))),
    "plot_ppc_rootogram": Use(plot("plot_ppc_rootogram"), ("counts", "one dim")),
}

NO_USE: dict[str, str] = {
    "bayesian_r2": "asks for the predicted mean of each observation among the posterior's variables; loo_r2 does not",
    "residual_r2": "asks for the predicted mean of each observation among the posterior's variables; loo_r2 does not",
    "plot_lm": "draws a regression on one covariate",
    "generate_survival_curves": "of survival times",
    "kaplan_meier": "of survival times",
    "plot_ppc_censored": "of survival times",
    "plot_loo_pava": "of categories: calibration of predicted probabilities",
    "plot_ppc_pava": "of categories: calibration of predicted probabilities",
    "plot_ppc_pava_residuals": "of categories: calibration of predicted probabilities",
    "get_function": "takes a function's name, no fit",
    "lfo_cv": "asks for a wrapper that fits again, and for time",
    "loo_kfold": "asks for a wrapper that fits again",
    "reloo": "asks for a wrapper that fits again",
    "loo_moment_match": "asks for densities by unconstrained parameters",
    "plot_ecdf_pit": "draws ranks of gn.validate: tests/unit/test_validate.py",
}
"""Functions that the trees of fits are not made for, and why."""


def public(module: Any) -> Iterator[str]:
    """Yield the public functions of a package."""
    yield from (n for n, f in inspect.getmembers(module, inspect.isfunction) if not n.startswith("_"))


def test_every_function_of_arviz_has_its_place() -> None:
    """Fails when a new release of ArviZ has a function that nobody has looked at."""
    every = {*public(stats), *public(plots)}
    placed = [*STATS, *PLOTS, *NO_USE]
    assert not (new := every - set(placed)), f"new in ArviZ: {sorted(new)}; add them to STATS or PLOTS, or to NO_USE"
    assert not (gone := set(placed) - every), f"gone from ArviZ: {sorted(gone)}"
    assert len(placed) == len(set(placed))


@pytest.mark.slow
def test_every_function_has_a_tree_that_it_applies_to() -> None:
    have = [traits(tree_of(kind)) for kind in ("conjugate", "nuts", "advi", "gibbs, one gene")]
    for name, use in {**STATS, **PLOTS}.items():
        assert any(set(use.needs) <= one for one in have), name


@pytest.mark.parametrize("kind", KINDS)
def test_functions_take_the_tree(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    tree = tree_of(kind)
    have, failed = traits(tree), []
    for name, use in {**STATS, **PLOTS}.items():
        if set(use.needs) <= have:
            try:
                assert use.call(tree) is not None or name in ("diagnose", "add_bands", "add_lines")
            except Exception as error:  # all of them are told at once
                failed.append(f"{name}: {type(error).__name__}: {error}")
    capsys.readouterr()
    assert not failed, "\n".join(failed)


# What the groups say


def test_loo_pit_is_that_of_the_posterior_without_the_observation() -> None:
    """Against the closed form; the Monte-Carlo error at 4000 draws is .008 at most, and more under weights."""
    tree = gn.fit(TOY, gn.simulate(TOY, 5, theta=1.5, item=8), "conjugate", 1)
    found = stats.loo_pit(tree)["y"].to_numpy()
    data, tau, sigma = tree["observed_data"]["y"].to_numpy(), 2.0, 1.0
    precision = (len(data) - 1) / sigma**2 + 1 / tau**2
    mean = (data.sum() - data) / sigma**2 / precision
    exact = norm.cdf((data - mean) / np.sqrt(sigma**2 + 1 / precision))
    np.testing.assert_allclose(found, exact, atol=0.04)


def test_a_prior_that_matters_is_seen() -> None:
    """Power-scaling sensitivity of a mean whose prior is as narrow as, or far wider than, the likelihood."""
    data = gn.simulate(TOY, 5, theta=1.5, item=8)
    for tau, seen in ((0.2, True), (50.0, False)):
        tree = gn.fit(TWO, data, "conjugate", 1, tau=tau)
        assert (float(stats.psense(tree, group="prior")["theta"]) > 0.05) is seen
        assert float(stats.psense(tree, group="likelihood")["theta"]) > 0.05


@pytest.mark.parametrize("room", [30, 1.5])
def test_data_too_large_for_every_draw_are_compared_at_the_same_ones(
    room: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genarium.story.PREDICTIVE_SIZE", int(room * 12))
    tree = gn.fit(TWO, gn.simulate(TWO, 5, item=12), "conjugate", 1, draws=50, prior_draws=5)
    some = tree["posterior_predictive"]
    assert some.sizes["chain"] * some.sizes["draw"] <= room
    assert plots.plot_ppc_dist(tree, num_samples=1, backend="none") is not None
    if room > 2:
        part = tree.drop_nodes(["prior", "prior_predictive"]).sel(draw=some["draw"])
        assert stats.loo_pit(part)["y"].shape == (12,)
        assert plots.plot_loo_pit(part, backend="none") is not None


def test_the_second_observed_variable_takes_the_likelihood_under_its_name() -> None:
    model = registry.get("mendelian_randomization")
    tree = gn.fit(model, gn.simulate(model, 3, variant=20), "gibbs", 1, draws=50, tune=20, chains=2)
    assert set(stats.loo_pit(tree, var_names="beta_exposure")) == {"beta_exposure"}
    renamed = tree["log_likelihood"].to_dataset().rename(beta_exposure="beta_outcome")
    again = tree.assign(log_likelihood=xr.DataTree(renamed))
    assert set(stats.loo_pit(again, var_names="beta_outcome")) == {"beta_outcome"}


def test_a_point_estimate_has_a_prior() -> None:
    tree = tree_of("em")
    assert "posterior" not in tree
    assert plots.plot_ppc_dist(tree, group="prior_predictive", backend="none") is not None
    assert plots.plot_dist(tree, group="prior", backend="none") is not None
    assert len(stats.summary(tree, group="prior", kind="stats")) == 2 + 2 * 2
