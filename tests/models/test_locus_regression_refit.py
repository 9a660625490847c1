"""Given signatures: what they say of contexts and bases, how they are given, and fits that hold them."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.errors import InputError
from genarium.models.locus_regression.channels import CHANNELS, split_channel
from genarium.models.locus_regression.corpus import corpus
from genarium.models.locus_regression.dirichlet import FLOOR
from genarium.models.locus_regression.expectation import expect
from genarium.models.locus_regression.metrics import signatures as signatures_of
from genarium.models.locus_regression.spectra import LEAST, decomposed, prepare

sweep = import_module("genarium.models.locus_regression.sweep")

NAME = "locus_regression"
SIZES: dict[str, int] = {"genome": 8, "locus": 30, "feature": 2, "cell": 4000}


def table(count: int = 3, seed: int = 0, concentration: float = 0.3) -> pd.DataFrame:
    """Signatures in COSMIC's layout."""
    values = np.random.default_rng(seed).dirichlet(np.full(96, concentration), count).T
    return pd.DataFrame(values, index=pd.Index(CHANNELS, name="Type"), columns=[f"SBS{k}" for k in range(count)])


def simulated(seed: int = 1, **settings: Any) -> tuple[xr.DataTree, dict[str, Array]]:
    """Data of given signatures, and the same without what a fit is to find."""
    tree = gn.simulate(NAME, seed=seed, **{**SIZES, **settings})
    names = ("features", "exposure", "context_opportunity", "genome")
    data = {name: tree["constant_data"][name].to_numpy() for name in names}
    return tree, data | {name: tree["observed_data"][name].to_numpy() for name in ("locus", "channel")}


# The mathematics


@pytest.mark.parametrize("made_in", [None, np.linspace(1, 5, 32)])
def test_given_preferences_are_those_of_a_loop(made_in: Array | None) -> None:
    rng = np.random.default_rng(2)
    s, t, e, ell = (
        rng.dirichlet(np.ones(96), 2),
        rng.gamma(1, size=(32, 4)),
        rng.gamma(9, size=32),
        rng.gamma(9, size=4),
    )
    t[5] = 0  # a context that occurs nowhere
    lam, rho = decomposed(s, np.zeros(32) if made_in is None else made_in, t, e, ell)
    T = [sum(ell[x] * t[c, x] * e[c] for x in range(4)) for c in range(32)] if made_in is None else made_in
    context, alternative = split_channel(np.arange(96))
    for k in range(2):
        weight = np.zeros(32)
        for m in range(96):
            weight[context[m]] += s[k, m]
        for m in range(96):
            assert rho[k, context[m], alternative[m]] == pytest.approx(s[k, m] / weight[context[m]])
        rates = np.array([w / c if c > 0 else w / max(T) for w, c in zip(weight, T, strict=True)])
        np.testing.assert_allclose(lam[k], rates / rates.sum(), rtol=1e-12)


def test_given_preferences_give_the_signatures_back() -> None:
    """In the genome that they were made in; a channel of share zero keeps a least one."""
    s, t = table(4).to_numpy().T.copy(), np.random.default_rng(3).gamma(2, size=(32, 5))
    s[0, :40] = 0
    lam, rho = decomposed(s, np.zeros(32), t, np.ones(32), np.ones(5))
    back = signatures_of({"lam": lam, "rho": rho, "context_opportunity": t}).to_numpy()
    np.testing.assert_allclose(back, s / s.sum(1, keepdims=True), atol=1e-8)
    assert (back > 0).all()
    assert back[0, :40].max() < 2 * LEAST


def problem_of(spectra: str, seed: int = 1, **options: str) -> Problem:
    model = registry.get(NAME).variant(spectra=spectra, **options)
    return check(model, gn.simulate(model, seed=seed, **{**SIZES, "cell": 400, "genome": 5}))


@pytest.mark.parametrize("form", ["conditional", "joint"])
@pytest.mark.parametrize("spectra", ["given", "mixed"])
def test_bound_is_the_limit_of_certain_factors(spectra: str, form: str) -> None:
    """Of Dirichlet factors that leave nothing open, but for their divergence."""
    problem = problem_of(spectra, form=form)
    data = corpus(problem)
    step = sweep.Step(data)
    state = step.first(problem, np.random.default_rng(0))
    assert data.held is not None
    R = data.given
    certain = sweep.replace(
        state,
        delta=np.concatenate([1e13 * data.held.lam, state.delta[R:]]),
        omega=np.concatenate([1e13 * data.held.rho, state.omega[R:]]),
    )
    free = sweep.Step(sweep.replace(data, held=None))
    here, there = (expect(data, *each.tables(at))[-1] for each, at in ((step, state), (free, certain)))
    assert here == pytest.approx(there, rel=1e-6)
    moved, bound = step(state)
    assert bound == pytest.approx(step.bound(state), rel=1e-12)
    np.testing.assert_array_equal(moved.delta[:R], data.held.lam)
    np.testing.assert_array_equal(moved.omega[:R], data.held.rho)
    np.testing.assert_array_equal(step.unpack(step.pack(moved)).delta[:R], data.held.lam)
    bounds = [bound]
    for _ in range(50):
        moved, bound = step(moved)
        bounds.append(bound)
    assert (np.diff(bounds) > -1e-9 * abs(bounds[0])).all()


# How they are given


def test_settings_in_short() -> None:
    given = prepare({"signatures": table(), "columns": ["SBS2", "SBS0"], "seed": 3})
    assert given["signatures"].coords["process"].to_numpy().tolist() == ["SBS2", "SBS0"]
    assert (given["spectra"], given["seed"]) == ("given", 3)
    assert "columns" not in given
    mixed = prepare({"signatures": table().to_numpy(), "process": 5})
    assert (mixed["spectra"], mixed["free"]) == ("mixed", 2)
    assert mixed["reference"] == 3
    assert "process" not in mixed
    np.testing.assert_array_equal(mixed["signatures"], table().to_numpy().T)
    assert prepare({"signatures": table(), "process": 3})["spectra"] == "given"
    assert prepare({"process": 3}) == {"process": 3}


@pytest.mark.parametrize(("settings", "process"), [({}, 5), ({"process": 5}, 5), ({"process": 7}, 7), ({"free": 1}, 6)])
def test_simulations_have_as_many_processes_as_are_given(settings: dict[str, int], process: int) -> None:
    signatures = np.random.default_rng(1).dirichlet(np.ones(96), 5).T
    tree = gn.simulate(NAME, seed=1, cell=50, signatures=signatures, **settings)
    assert tree["truth"]["pi"].sizes["process"] == process
    np.testing.assert_allclose(tree["constant_data"]["signatures"], signatures.T)


def test_labelled_signatures_are_put_in_order() -> None:
    """Channels in any order, of a DataArray as of a table; a number is a position."""
    given, order = table(), np.random.default_rng(1).permutation(96)
    names = ["process", "channel"]
    labels = {"process": list(given.columns), "channel": list(given.index[order])}
    shuffled = xr.DataArray(given.to_numpy().T[:, order], labels, names)
    for other in (shuffled, shuffled.assign_coords(channel=order), shuffled.T.drop_vars("process")):
        np.testing.assert_array_equal(prepare({"signatures": other})["signatures"], given.to_numpy().T)
    assert prepare({"signatures": shuffled})["signatures"].coords["process"].to_numpy().tolist() == list(given.columns)
    with pytest.raises(InputError, match=r"1 missing .*; 1 unknown"):
        prepare({"signatures": shuffled.assign_coords(channel=["A[C>A]X", *given.index[order[1:]]])})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"signatures": table(), "process": 2}, "process=2 is less than the 3 signatures given"),
        ({"signatures": table(), "columns": "SBS0, SBS9"}, "no signature 'SBS9'"),
        ({"columns": "SBS0"}, "columns='SBS0' would be dropped"),
        ({"signatures": np.ones((7, 5))}, r"shape \(7, 5\). Give a table of 96 rows"),
        ({"signatures": table().assign(SBS1=0.0)}, "signature SBS1 is all zero"),
        ({"signatures": table().iloc[:-1]}, r"1 missing \(T\[T>G\]T\)"),
        ({"signatures": table(), "signature_opportunity": np.r_[0, np.ones(31)]}, "it is 0 for A.C.A but not for all"),
        ({"signatures": table(), "spectra": "free"}, "spectra='free' has no signatures"),
        ({"signatures": "nowhere.txt"}, "nowhere.txt: there is no such file"),
    ],
)
def test_bad_signatures_are_named(settings: dict[str, Any], message: str) -> None:
    _, data = simulated(process=2)
    with pytest.raises(InputError, match=message):
        gn.fit(NAME, data, "vi", **settings)


# Fits


def of_table(given: pd.DataFrame, **settings: Any) -> tuple[xr.DataTree, dict[str, Array]]:
    """Data simulated from a table of signatures."""
    model = registry.get(NAME).variant(spectra="given")
    tree = gn.simulate(
        model, seed=5, **{**SIZES, "cell": 12_000}, process=given.shape[1], signatures=given.to_numpy().T, **settings
    )
    names = ("features", "exposure", "context_opportunity", "genome")
    data = {name: tree["constant_data"][name].to_numpy() for name in names}
    return tree, data | {name: tree["observed_data"][name].to_numpy() for name in ("locus", "channel")}


SHORT: dict[str, dict[str, Any]] = {
    "gibbs": {"draws": 150, "tune": 150, "chains": 1},
    "svi": {"epochs": 30, "sampling_rate": 0.5},
}


WITHIN = {"vi": 0.012, "gibbs": 0.012, "svi": 0.03}
"""Mean error of a share of 1500 mutations, whose sd is .012; svi's are of the half of the loci that it saw last."""


@pytest.mark.parametrize("method", ["vi", "svi", "gibbs"])
@pytest.mark.slow
def test_exposures_and_effects_are_found_for_given_signatures(method: str, tmp_path: Path) -> None:
    """All of a table given as a file: nothing is left to match."""
    given = table()
    path = tmp_path / "signatures.txt"
    given.reset_index().to_csv(path, sep="\t", index=False)
    tree, data = of_table(given)
    fit = gn.fit(NAME, data, method, seed=1, signatures=str(path), **SHORT.get(method, {}))
    at, truth = fit["posterior"].mean(("chain", "draw")), tree["truth"]
    assert fit["posterior"]["process"].to_numpy().tolist() == list(given)
    assert np.abs(at["pi"].to_numpy() - truth["pi"].to_numpy()).mean() < WITHIN[method]
    assert np.sqrt(((at["beta"].to_numpy() - truth["beta"].to_numpy()) ** 2).mean()) < 0.05
    np.testing.assert_allclose(signatures_of(fit), given.to_numpy().T, atol=1e-7)
    found = gn.predict(fit)["predictions"]
    assert found["process"].to_numpy().tolist() == list(given)


@pytest.mark.parametrize("method", ["vi", "svi", "gibbs"])
@pytest.mark.slow
def test_a_free_process_is_found_beside_given_ones(method: str) -> None:
    given = table()
    tree, data = of_table(given)
    fit = gn.fit(NAME, data, method, seed=1, signatures=given[["SBS0", "SBS1"]], process=3, **SHORT.get(method, {}))
    assert fit["posterior"]["process"].to_numpy().tolist() == ["SBS0", "SBS1", "new 0"]
    found = signatures_of(fit).to_numpy()
    np.testing.assert_allclose(found[:2], given.to_numpy().T[:2], atol=1e-7)
    cosine = found[2] @ given["SBS2"] / np.linalg.norm(found[2]) / np.linalg.norm(given["SBS2"])
    assert cosine > 0.98
    error = fit["posterior"]["pi"].mean(("chain", "draw")).to_numpy() - tree["truth"]["pi"].to_numpy()
    assert np.abs(error).mean() < 0.025


def refit_by_em(counts: Array, signatures: Array) -> Array:
    """Shares of signatures in genomes by maximum likelihood: the flat model, by EM."""
    pi = np.full((len(counts), len(signatures)), 1 / len(signatures))
    for _ in range(3000):
        pi = pi * ((counts / (pi @ signatures)) @ signatures.T)
        pi /= pi.sum(1, keepdims=True)
    return pi


@pytest.mark.slow
def test_refit_of_a_matrix_is_that_of_the_flat_model(tmp_path: Path) -> None:
    """A table of 96 rows read as one locus: shares as EM has them, within what the prior of 1 / sum adds."""
    given = table(4)
    rng = np.random.default_rng(1)
    truth = rng.dirichlet(np.ones(4), 3)
    counts = rng.poisson(8000 * truth @ given.to_numpy().T)
    path = tmp_path / "counts.txt"
    frame = pd.DataFrame(counts.T, index=pd.Index(CHANNELS, name="MutationType"), columns=["b", "a", "c"])
    frame.sample(frac=1, random_state=1).reset_index().to_csv(path, sep="\t", index=False)
    tree = gn.read(NAME, path, "matrix")
    assert tree["constant_data"]["count"].sum() == counts.sum()
    fit = gn.fit(NAME, tree, "vi", seed=1, signatures=given, empirical_bayes=False)
    found = fit["posterior"]["pi"].mean(("chain", "draw")).sel(genome=["b", "a", "c"]).to_numpy()
    np.testing.assert_allclose(found, refit_by_em(counts, given.to_numpy().T), atol=0.003)


@pytest.mark.slow
@pytest.mark.parametrize("spectra", ["given", "mixed"])
def test_engines_hold_given_signatures(spectra: str) -> None:
    """NUTS of PyMC and the Gibbs sampler find the same shares and effects."""
    given = table()
    _, data = of_table(given)
    settings: dict[str, Any] = {"signatures": given if spectra == "given" else given[["SBS0", "SBS1"]], "process": 3}
    fits = [gn.fit(NAME, data, m, seed=1, draws=300, tune=300, chains=2, **settings) for m in ("nuts", "gibbs")]
    for name in ("pi", "beta", "lam"):
        a, b = (fit["posterior"][name] for fit in fits)
        sd = b.std(("chain", "draw")).to_numpy()
        gap = np.abs((a.mean(("chain", "draw")) - b.mean(("chain", "draw"))).to_numpy())
        assert (gap <= 0.5 * sd + 1e-9).all(), name


def test_several_free_processes_are_relabelled_together() -> None:
    """Draws whose free labels are exchanged: shares and effects go with the spectra, given ones stay."""
    from genarium.engines.labels import match_labels

    model = registry.get(NAME).variant(spectra="mixed")
    rng = np.random.default_rng(1)
    lam, rho = rng.dirichlet(np.ones(32), 2), rng.dirichlet(np.ones(3), (2, 32))
    pi, beta = rng.dirichlet(np.ones(4), 5), rng.normal(size=(4, 2))
    draws: dict[str, list[Array]] = {name: [] for name in ("beta", "lam_free", "rho_free", "pi")}
    for turned in (0, 1, 1, 0, 1, 0):
        free = [1, 0] if turned else [0, 1]
        every = [0, 1, *(2 + i for i in free)]
        noise = 1 + 1e-3 * rng.normal()
        for name, value in (
            ("beta", beta[every]),
            ("lam_free", lam[free]),
            ("rho_free", rho[free]),
            ("pi", pi[:, every]),
        ):
            draws[name].append(value * noise)
    found = match_labels(model, {name: np.array(values)[None] for name, values in draws.items()})
    for name, value in found.items():
        np.testing.assert_allclose(value, np.broadcast_to(value[:, :1], value.shape), rtol=0.02, err_msg=name)
    np.testing.assert_allclose(found["pi"][0, 0, :, :2], pi[:, :2], rtol=0.02)


@pytest.mark.slow
def test_of_a_whole_catalogue_the_signatures_that_acted_are_kept() -> None:
    """Three of ten: the others are dropped by the bound, which is higher without them."""
    catalogue = table(10)
    _, data = of_table(catalogue[["SBS1", "SBS4", "SBS7"]], alpha=2.0)
    whole, sparse = (gn.fit(NAME, data, "vi", seed=1, signatures=catalogue, sparse=each) for each in (False, True))
    kept = sparse["variational"]["alpha"] > 1.1 * FLOOR
    assert sparse["posterior"]["process"].to_numpy()[kept].tolist() == ["SBS1", "SBS4", "SBS7"]
    shares = sparse["posterior"]["pi"].mean(("chain", "draw", "genome")).to_numpy()
    assert shares[~kept.to_numpy()].max() < 1e-6
    bounds = [json.loads(fit.attrs["notes"])["bound"] for fit in (whole, sparse)]
    assert bounds[1] > bounds[0]
