"""What locus_regression takes: corpora without features, contexts that some windows lack, labels that are names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.locus_regression.channels import CHANNELS, split_channel
from genarium.tree import load, save

NAME = "locus_regression"
GENOMES = ("g", "a", "f", "b", "e", "c")
SIZES: dict[str, int] = {"genome": 6, "locus": 15, "feature": 2, "process": 2, "cell": 1500}


def arrays(seed: int = 1, **settings: Any) -> dict[str, Array]:
    """Simulated data as plain arrays, without hyperparameters."""
    tree = gn.simulate(NAME, seed=seed, **{**SIZES, **settings})
    names = ("features", "context_opportunity", "exposure", "genome", "locus", "channel")
    groups = {**tree["constant_data"].data_vars, **tree["observed_data"].data_vars}
    return {name: groups[name].to_numpy() for name in names}


def means(tree: xr.DataTree, *names: str) -> list[Array]:
    return [tree["posterior"][name].mean(("chain", "draw")).to_numpy() for name in names]


def test_contexts_with_their_names_may_stand_in_any_order() -> None:
    """The model counts them: by position, every context would have the opportunities of another."""
    data = arrays()
    model = registry.get(NAME)
    own = check(model, data, {"process": 2})
    named = xr.DataArray(
        data["context_opportunity"], coords={"context": list(model.labels["context"])}, dims=("context", "locus")
    )
    other = check(model, {**data, "context_opportunity": named.sortby("context", ascending=False)}, {"process": 2})
    np.testing.assert_array_equal(other["context_opportunity"], own["context_opportunity"])
    assert other.coords["context"].tolist() == own.coords["context"].tolist()
    bare = [name.replace("[", "").replace("]", "") for name in model.labels["context"]]
    with pytest.raises(InputError, match=r"labels 'context' with 'ACA', but its categories are A\[C\]A, .*Give these"):
        check(model, {**data, "context_opportunity": named.assign_coords(context=bare)}, {"process": 2})


# Features


@pytest.mark.parametrize("method", [pytest.param("vi", marks=pytest.mark.slow), "svi", "gibbs"])
def test_a_corpus_without_features_is_the_flat_model(method: str) -> None:
    """Its channels alone decide: all in one locus, it is a mixture of signatures, constant features or none."""
    data = arrays()
    flat = {name: data[name] for name in ("genome", "channel")}
    short = {"draws": 30, "tune": 30, "chains": 1} if method == "gibbs" else {"draws": 30}
    one = gn.fit(NAME, {**flat, "locus": np.zeros(1500, dtype=int)}, method, seed=1, process=2, **short)
    assert one["constant_data"]["features"].shape == (1, 1)
    constant = {**flat, "locus": np.zeros(1500, dtype=int), "features": np.full((1, 1), 3.0)}
    other = gn.fit(NAME, constant, method, seed=1, process=2, **short)
    if method == "vi":
        for a, b in zip(means(one, "lam", "rho", "pi"), means(other, "lam", "rho", "pi"), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    assert all(np.isfinite(values).all() for values in means(one, "lam", "rho", "pi", "beta"))


def test_likelihood_of_the_flat_model_is_a_mixture_of_signatures() -> None:
    data = arrays()
    problem = check(
        registry.get(NAME),
        {"genome": data["genome"], "channel": data["channel"], "locus": 0 * data["locus"]},
        {"process": 2},
    )
    rng = np.random.default_rng(1)
    lam, rho, pi = rng.dirichlet(np.ones(32), 2), rng.dirichlet(np.ones(3), (2, 32)), rng.dirichlet(np.ones(2), 6)
    context, alternative = split_channel(data["channel"])
    expected = np.log((pi[data["genome"]] * (lam[:, context] * rho[:, context, alternative]).T).sum(1))
    at = {"beta": rng.normal(size=(2, 1)), "lam": lam, "rho": rho, "pi": pi}
    found: Any = problem.model.log_likelihood
    np.testing.assert_allclose(problem.call(found, **at), expected, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["conditional", "joint"])
def test_a_constant_feature_keeps_its_prior_and_changes_nothing(form: str) -> None:
    data = arrays()
    with_constant = {**data, "features": np.concatenate([data["features"], np.full((1, 15), 7.0)])}
    given: dict[str, Any] = {"process": 2, "seed": 1, "empirical_bayes": False, "form": form}
    one, other = (gn.fit(NAME, each, "vi", **given)["variational"].to_dataset() for each in (data, with_constant))
    np.testing.assert_allclose(other["beta_mean"][:, :2], one["beta_mean"], atol=1e-3)
    np.testing.assert_allclose(other["beta_mean"][:, 2], 0, atol=1e-6)
    np.testing.assert_allclose(other["beta_sd"][:, 2], 1, atol=1e-6)


# Opportunities


@pytest.mark.slow
@pytest.mark.parametrize("form", ["conditional", "joint"])
def test_windows_without_a_context_are_those_with_next_to_none(form: str) -> None:
    """Opportunities of zero where nothing mutates give the fit that tiny ones give."""
    data = arrays()
    t = data["context_opportunity"].copy()
    context, _ = split_channel(data["channel"])
    seen = np.zeros(t.shape, dtype=bool)
    seen[context, data["locus"]] = True
    t[~seen & (np.random.default_rng(1).uniform(size=t.shape) < 0.5)] = 0
    t[31] = np.where(seen[31].any(), t[31], 0)
    assert (t == 0).any(0).sum() > 5
    fits = [
        gn.fit(NAME, {**data, "context_opportunity": np.maximum(t, least)}, "vi", seed=1, process=2, form=form)
        for least in (0.0, 1e-12)
    ]
    for a, b in zip(*(means(fit, "lam", "pi", "beta") for fit in fits), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("method", ["svi", "gibbs"])
def test_samplers_take_windows_without_a_context(method: str) -> None:
    data = arrays()
    context, _ = split_channel(data["channel"])
    t = np.zeros(data["context_opportunity"].shape)
    t[context, data["locus"]] = 1  # all that is there has mutated
    t[0] += t.sum(0) == 0
    short = {"draws": 20, "tune": 20, "chains": 1} if method == "gibbs" else {"epochs": 5, "draws": 20}
    fit = gn.fit(NAME, {**data, "context_opportunity": t}, method, seed=1, process=2, **short)
    assert all(np.isfinite(values).all() for values in means(fit, "lam", "rho", "pi", "beta"))
    assert np.isfinite(fit["sample_stats"]["lp"]).all()


# Names


def named(data: dict[str, Array]) -> dict[str, Any]:
    """The same data by names: genomes, windows, features and channels."""
    windows = np.array([f"chr1:{500 * i}-{500 * (i + 1)}" for i in range(15)])
    coords = {"locus": windows, "feature": ["timing", "gc"]}
    return {
        **data,
        "features": xr.DataArray(data["features"], dims=("feature", "locus"), coords=coords),
        "genome": np.array(GENOMES)[data["genome"]],
        "locus": windows[data["locus"]],
        "channel": np.array(CHANNELS)[data["channel"]],
    }


@pytest.mark.slow
def test_names_go_in_and_come_out(tmp_path: Path) -> None:
    data = arrays()
    options = {"process": 2, "draws": 100, "restarts": 1, "covariance": "mean_field"}
    plain, fit = (gn.fit(NAME, each, "vi", seed=1, **options) for each in (data, named(data)))
    assert fit["posterior"]["genome"].to_numpy().tolist() == ["a", "b", "c", "e", "f", "g"]
    assert fit["posterior"]["feature"].to_numpy().tolist() == ["timing", "gc"]
    assert fit["constant_data"]["locus"].to_numpy()[3] == "chr1:1500-2000"
    np.testing.assert_array_equal(fit["observed_data"]["locus"], data["locus"])
    np.testing.assert_array_equal(fit["observed_data"]["channel"], data["channel"])
    here = fit["posterior"]["pi"].mean(("chain", "draw")).sel(genome=list(GENOMES)).to_numpy()
    (there,) = means(plain, "pi")
    np.testing.assert_allclose(np.sort(here, 1), np.sort(there, 1), atol=0.05)
    save(fit, tmp_path / "fit.nc")
    again = gn.predict(load(tmp_path / "fit.nc"))["predictions"]
    assert again["pi"]["genome"].to_numpy().tolist() == ["a", "b", "c", "e", "f", "g"]
    assert again["rate"]["locus"].to_numpy()[3] == "chr1:1500-2000"


def test_a_name_that_is_none_of_the_windows_is_refused() -> None:
    data = named(arrays())
    data["locus"][7] = "chr1:1-2"
    said = r"observed variable 'locus' \(cell\): locus\[cell=7\] = 'chr1:1-2' is none of the 15 loci, which are chr1:0"
    with pytest.raises(InputError, match=said):
        gn.fit(NAME, data, "vi", process=2)
    data = named(arrays())
    data["channel"][3] = "A[C>A]N"
    with pytest.raises(InputError, match=r"channel\[cell=3\] = 'A\[C>A\]N' is none of the 96 channels"):
        gn.fit(NAME, data, "vi", process=2)
    with pytest.raises(InputError, match="but 6 genomes are named"):
        gn.fit(NAME, named(arrays()), "vi", process=2, genome=9)
