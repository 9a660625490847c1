"""Replicates of perturbations: readers, densities by hand, contrasts, what a new replicate shows, combinations."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.special import softmax

import genarium as gn
from genarium import InputError, registry
from genarium.data import check
from genarium.models.perturbation_score import (
    combinations,
    concordance,
    contrasts,
    hits,
    likelihood,
    new_replicate,
    rank,
    score,
)
from genarium.models.perturbation_score.combinations import unshrunk
from genarium.models.perturbation_score.posterior import alike, known_shares
from genarium.models.perturbation_score.story import centred

NAME = "perturbation_score"
LONG = """gene,well,plate,cluster,n
A,w1,p1,x,10
A,w1,p1,y,12
A,w2,p2,x,8
A,w2,p2,y,20
C,w1,p1,x,30
C,w1,p1,y,2
C,w2,p2,x,28
"""


def written(folder: Path, text: str = LONG) -> Path:
    """Write a table."""
    path = folder / "counts.csv"
    path.write_text(text, encoding="utf-8")
    return path


def simulated(seed: int = 1, concentration: float = 40.0, cells: int = 150) -> tuple[xr.DataTree, np.ndarray[Any, Any]]:
    """Fit three replicates of 30 perturbations by shrinkage; return the fit and the shares."""
    rng = np.random.default_rng(seed)
    q = softmax(rng.normal(size=(30, 4)), axis=1)
    u = np.repeat(np.stack([rng.dirichlet(400 * one) for one in q]), 3, axis=0)
    q = u[::3]
    counts = np.stack([rng.multinomial(cells, rng.dirichlet(concentration * one)) for one in u])
    condition = np.repeat([f"g{i:02d}" for i in range(30)], 3)
    index = pd.Index([f"r{i}" for i in range(90)], name="replicate")
    data = {"count": pd.DataFrame(counts, index).rename_axis(columns="state"), "condition": pd.Series(condition, index)}
    return gn.fit(NAME, data, "conjugate", regression="none", replicates="nested"), q


@pytest.mark.parametrize("wide", [False, True])
def test_tables_of_replicates(tmp_path: Path, wide: bool) -> None:
    frame = pd.read_csv(written(tmp_path))
    options: dict[str, Any] = {"replicate": "well", "batch": "plate", "control": "C"}
    if wide:
        spread = frame.pivot_table(index=["gene", "well", "plate"], columns="cluster", values="n", fill_value=0)
        spread.reset_index().to_csv(tmp_path / "counts.csv", index=False)
    else:
        options["long"] = "gene,cluster,n"
    tree = gn.read(NAME, tmp_path / "counts.csv", format="table", **options)
    count = tree["observed_data"]["count"]
    assert list(count["replicate"].to_numpy()) == ["A_w1", "A_w2", "C_w1", "C_w2"]
    np.testing.assert_array_equal(count, [[10, 12], [8, 20], [30, 2], [28, 0]])
    np.testing.assert_array_equal(tree["constant_data"]["condition"], [0, 0, 1, 1])
    np.testing.assert_array_equal(tree["constant_data"]["batch"], [0, 1, 0, 1])
    assert '"replicates": "batched"' in tree.attrs["model_options"]


def test_names_that_are_split(tmp_path: Path) -> None:
    path = written(tmp_path, "mouse,x,y\nSalm_1,3,4\nSalm_2,5,6\nControl_1,7,8\n")
    tree = gn.read(NAME, path, format="table", split="_", control="Control")
    assert '"replicates": "nested"' in tree.attrs["model_options"]
    np.testing.assert_array_equal(tree["constant_data"]["condition"], [1, 1, 0])
    told = hits(tree, "Control")  # by the design of the tree
    assert list(told["perturbation"].to_numpy()) == ["Salm"]
    assert float(told["cells"][0]) == 18


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (("A,w2,p2,y", "A,w2,p1,y"), {"replicate": "well", "batch": "plate"}, "replicate 'A_w2' is in the batches"),
        (("A,w2,p2,y", "A,,p2,y"), {"replicate": "well"}, "line 5.*column 'well': there is no label"),
        (("", ""), {"replicate": "Well"}, "there is no column 'Well'"),
        (("", ""), {"replicate": "well", "control": "Z"}, "there is no control 'Z'"),
    ],
)
def test_bad_designs(tmp_path: Path, change: tuple[str, str], options: dict[str, str], message: str) -> None:
    path = written(tmp_path, LONG.replace(*change) if change[0] else LONG)
    with pytest.raises(InputError, match=message):
        gn.read(NAME, path, format="table", long="gene,cluster,n", **options)


def test_density_of_replicates_by_hand() -> None:
    """Equations (37) to (39), for one replicate with a batch, from scipy's distribution."""
    told = likelihood.Story("none", "given", "batched")
    mu, z, beta = np.array([0.3, -0.1, -0.2]), np.array([[1.0, -1.0, 0.0]]), np.array([[0.2, 0.0, -0.2]])
    given = {"mu": mu, "spread": np.array(0.5), "deviation": z, "rho": np.array(20.0), "batch_effect": beta}
    share = softmax(mu + 0.5 * z[0] + beta[0])
    count = np.array([[3, 1, 4]])
    found = told.log_likelihood(count=count, condition=np.array([0]), batch=np.array([0]), **given)
    assert float(found[0]) == pytest.approx(stats.dirichlet_multinomial(20 * share, 8).logpmf(count[0]))


def test_density_of_logistic_normal_replicates_by_hand() -> None:
    told = likelihood.Story("none", "given", "logistic_normal")
    mu, z, w = np.array([0.3, -0.1, -0.2]), np.array([[1.0, -1.0, 0.0]]), np.array([[0.0, 1.0, -1.0]])
    given = {"mu": mu, "spread": np.array(0.5), "deviation": z, "replicate_deviation": w}
    count = np.array([[3, 1, 4]])
    found = told.log_likelihood(count=count, condition=np.array([0]), replicate_spread=np.array(0.3), **given)
    share = softmax(mu + 0.5 * z[0] + 0.3 * w[0])
    assert float(found[0]) == pytest.approx(stats.multinomial(8, share).logpmf(count[0]))
    prior = told.log_prior(replicate_spread=np.array(0.3), **given)
    more = told.log_prior(replicate_spread=np.array(0.8), **given)
    assert float(more - prior) == pytest.approx(
        stats.halfnorm(scale=0.5).logpdf(0.8) - stats.halfnorm(scale=0.5).logpdf(0.3)
    )


def test_log_shares_that_vary_as_concentrations_do() -> None:
    """The concentration that a spread of log shares is worth gives as large a variance of shares (small spread)."""
    q, s = np.array([[0.1, 0.3, 0.6]]), 0.1
    w = np.random.default_rng(0).normal(size=(200_000, 3))
    u = softmax(np.log(q) + s * (w - w.mean(1, keepdims=True)), axis=1)
    rho = float(alike({"replicate_spread": np.array([s])}, q)[0])
    assert (1 - (q**2).sum()) / (rho + 1) == pytest.approx(u.var(0).sum(), rel=0.05)


@pytest.mark.slow
def test_intervals_of_a_new_replicate_cover() -> None:
    inside = []
    for seed in range(4):
        fit, q = simulated(seed)
        told = new_replicate(fit, 150)
        rng = np.random.default_rng([seed, 1])
        new = np.stack([rng.multinomial(150, rng.dirichlet(40 * one)) for one in q])
        inside.append((told["low"].to_numpy() <= new) & (new <= told["high"].to_numpy()))
        assert 25 < float(fit["point"]["rho"]) < 70
    assert np.mean(inside) == pytest.approx(0.9, abs=0.05)  # 480 counts, those of a replicate together; se about .02


def test_contrasts_do_not_move_with_the_order_of_rows_and_states() -> None:
    counts = np.random.default_rng(0).multinomial(30, [0.4, 0.3, 0.2, 0.1], 6)
    table = pd.DataFrame(counts, list("uvwxyz"), list("abcd"))

    def told(table: pd.DataFrame) -> xr.Dataset:
        return contrasts(gn.fit(NAME, {"count": table}, "conjugate", regression="none"), "u")

    first = told(table)
    for other in (table[list("dbca")], table[::-1]):
        xr.testing.assert_allclose(told(other).reindex_like(first), first, atol=1e-4)


def test_contrasts_cover_and_know_their_control() -> None:
    fit, q = simulated()
    told = contrasts(fit, "g00")
    fold = np.log2(q[1:] / q[0])
    inside = (told["fold_low"].to_numpy() <= fold) & (fold <= told["fold_high"].to_numpy())
    assert np.mean(inside) > 0.8
    sure = told["lfsr"].to_numpy() < 0.05
    assert sure.mean() > 0.2
    assert (np.sign(told["log2_fold"].to_numpy()) == np.sign(fold))[sure].mean() > 0.9
    with pytest.raises(InputError, match="Name it"):
        contrasts(fit)
    with pytest.raises(InputError, match="there is no control 'x'"):
        contrasts(fit, "x")


@pytest.mark.parametrize("which", ["reversed", "some"])
def test_replicates_that_the_fit_has_seen_are_found_in_any_order(which: str) -> None:
    """Weighed as if they were new, their intervals would be wider, and their shares would move by .9 sd."""
    fit, _ = simulated()
    count = fit["observed_data"].to_dataset()["count"]
    names = fit["point"]["proportion"]["perturbation"].to_numpy()[fit["constant_data"]["condition"].to_numpy()]
    order = np.arange(90)[::-1] if which == "reversed" else np.arange(90)[30:42][::-1]
    data = {"count": count[order], "condition": names[order]}
    whole, found = (gn.predict(fit, one)["predictions"].to_dataset() for one in (None, data))
    for name in ("proportion", "proportion_low", "proportion_high"):
        np.testing.assert_allclose(found[name], whole[name].sel(perturbation=found["perturbation"]), rtol=1e-12)
    other = count[order].copy()
    other[0, 0] += 1
    changed = gn.predict(fit, {**data, "count": other})["predictions"]["proportion"]
    assert (changed != found["proportion"]).all()


def test_replicates_that_disagree_are_told() -> None:
    fit, _ = simulated()
    assert stats.kstest(concordance(fit)["p"].to_numpy(), "uniform").pvalue > 1e-3
    data: dict[str, Any] = {
        name: fit[group][name].copy() for group, name in (("observed_data", "count"), ("constant_data", "condition"))
    }
    values = data["count"].to_numpy().copy()
    values[0], values[1] = [150, 0, 0, 0], [0, 0, 0, 150]
    names = fit["point"]["perturbation"].to_numpy()
    condition = pd.Series(
        names[data["condition"].to_numpy()], pd.Index(data["count"]["replicate"].to_numpy(), name="replicate")
    )
    changed = {"count": data["count"].copy(data=values), "condition": condition}
    again = gn.fit(NAME, changed, "conjugate", regression="none", replicates="nested")
    told = concordance(again)
    assert str(told["perturbation"].to_numpy()[int(np.argmin(told["p"].to_numpy()))]) == "g00"


def test_scores_of_replicates_rank_and_predict() -> None:
    fit, q = simulated()
    ranked = rank(score(fit, [1.0, 0, 0, 0]))
    best = [int(str(name)[1:]) for name in ranked["perturbation"].to_numpy()]
    assert stats.spearmanr(q[best, 0], np.arange(30))[0] < -0.8
    own, again = gn.predict(fit), gn.predict(fit, fit)
    xr.testing.assert_identical(own["predictions"].to_dataset(), again["predictions"].to_dataset())


@pytest.mark.parametrize("regression", ["linear", "gaussian_process"])
def test_replicates_of_other_perturbations_are_predicted_with_their_features(regression: str) -> None:
    """`conjugate` ignores features: predictions are those of the model without, and of as many features as the fit."""
    rng = np.random.default_rng(5)
    names, columns = pd.Index([f"g{i}" for i in range(6)], name="perturbation"), pd.Index(["u", "v"], name="feature")
    X = pd.DataFrame(rng.normal(size=(6, 2)), names, columns)
    rows = pd.Index([f"r{i}" for i in range(12)], name="replicate")
    count = pd.DataFrame(rng.multinomial(60, [0.2, 0.3, 0.5], 12), rows).rename_axis(columns="state")
    owner = pd.Series(np.repeat(names, 2), rows)
    new = X.iloc[:3].set_axis(pd.Index(["a", "b", "c"], name="perturbation"))
    theirs = {"count": count.iloc[:4], "condition": pd.Series(["a", "a", "b", "c"], rows[:4])}
    told = []
    for kind, more, others in (("none", {}, {}), (regression, {"features": X}, {"features": new})):
        data = {"count": count, "condition": owner, **more}
        fit = gn.fit(NAME, data, "conjugate", regression=kind, replicates="nested")
        told.append(gn.predict(fit, {**theirs, **others})["predictions"].to_dataset())
    assert list(told[1]["perturbation"].to_numpy()) == ["a", "b", "c"]
    np.testing.assert_allclose(told[1]["proportion"], told[0]["proportion"], atol=0.03)
    turned = gn.predict(fit, {"count": count, "condition": owner, "features": X.iloc[::-1]})["predictions"]
    xr.testing.assert_identical(turned.to_dataset(), gn.predict(fit)["predictions"].to_dataset())
    with pytest.raises(InputError, match="the new data have 1 feature"):
        gn.predict(fit, {**theirs, "features": new[["u"]]})


def test_a_gaussian_process_takes_the_features_of_the_fit() -> None:
    rng = np.random.default_rng(5)
    data = {"count": rng.multinomial(60, [0.2, 0.3, 0.5], 6), "features": rng.normal(size=(6, 3))}
    fit = gn.fit(NAME, data, "conjugate", regression="gaussian_process")
    for width in (2, 4):
        with pytest.raises(InputError, match=f"the new data have {width} features, the fit has 3"):
            gn.predict(fit, {"features": rng.normal(size=(2, width))})


def test_other_replicates_are_weighed_as_the_exact_posterior_does() -> None:
    """Two states: the mean share by importance sampling is that of quadrature over the log odds."""
    index = pd.Index(["r0", "r1", "r2", "r3"], name="replicate")
    data = {
        "count": pd.DataFrame([[5, 5], [9, 1], [2, 8], [6, 4]], index).rename_axis(columns="state"),
        "condition": pd.Series(["a", "a", "b", "b"], index),
    }
    fit = gn.fit(NAME, data, "conjugate", regression="none", replicates="nested")
    point = fit["point"]
    mu, spread, rho = point["mu"].to_numpy(), float(point["spread"]), float(point["rho"])
    model = registry.get(NAME).variant(regression="none", replicates="nested")
    new = np.array([[8, 2], [7, 5]])
    problem = check(model, {"count": new, "condition": np.array([0, 1])})
    told = known_shares(fit, problem, np.random.default_rng(0)).mean()
    x = np.linspace(-8, 8, 4001)  # deviation times spread, of the first state; the second has its negative
    for p in range(2):
        share = softmax(mu + np.stack([x, -x], 1), axis=1)
        log = stats.norm(0, spread * np.sqrt(0.5)).logpdf(x)
        log += likelihood.dirichlet_multinomial(new[p], rho * share)
        weight = np.exp(log - log.max())
        assert told[p, 0] == pytest.approx((weight * share[:, 0]).sum() / weight.sum(), abs=0.01)


def told_by_truth(seed: int, **options: Any) -> xr.DataTree:
    """Simulate replicates, and give the tree its true variables for a point estimate."""
    sizes = {"perturbation": 8, "state": 3, "replicate": 48}
    tree = gn.simulate(NAME, seed=seed, regression="none", spread=0.7, rho=60.0, **sizes, **options)
    point = tree["truth"].to_dataset()
    eta = point["mu"] + point["spread"] * point["deviation"]
    power = xr.DataArray(np.exp(eta))
    proportion = (power / power.sum("state")).transpose("perturbation", "state")
    tree["point"] = xr.DataTree(point.assign(proportion=proportion))
    tree.attrs |= {"method": "map", "claim": "point", "engine": "", "seed": 0}
    tree.attrs |= {"options": "{}", "notes": "{}", "fixed": "[]"}
    return tree


def test_replicates_of_other_batches_are_expected_apart() -> None:
    effect = np.array([[1.5, 0.0, -1.5], [-1.5, 0.0, 1.5], [0.0, 0.0, 0.0]])
    told = concordance(told_by_truth(2, replicates="batched", batch_effect=effect))
    assert stats.kstest(told["p"].to_numpy(), "uniform").pvalue > 1e-3


def test_new_replicates_follow_their_number_of_cells() -> None:
    growth = np.array([-0.5, 0.0, 0.5])
    fit = told_by_truth(1, replicates="nested", abundance="joint", growth=growth, typical=100.0)
    q = fit["point"]["proportion"].to_numpy()
    fit["point"]["rho"] = 1e6
    for cells in (100, 100_000):
        wanted = softmax(np.log(q) + growth * np.log(cells / 100), axis=1)
        told = new_replicate(fit, np.full(8, cells))["mean"].to_numpy() / cells
        np.testing.assert_allclose(told, wanted, atol=0.01 if cells > 100 else 0.15)
    assert (concordance(fit)["p"] >= 0).all()


@pytest.mark.parametrize("cells", [100, 30])
def test_intervals_of_combinations_cover(cells: int) -> None:
    """Interactions of sd .5 on log shares, seen with some cells, and not seen; errors are below those of a sum."""
    covered, scales, errors = [], [], []
    pairs = [(0, j) for j in range(1, 20)] + [(1, j) for j in range(2, 20)] + [(2, j) for j in range(3, 20)]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        mu, effect = np.array([0.5, 0.2, -0.2, -0.5]), 0.5 * rng.normal(size=(20, 4))
        sums = np.stack([mu + effect[a] + effect[b] for a, b in pairs])
        both = softmax(sums + centred(0.5 * np.sqrt(4 / 3) * rng.normal(size=(54, 4))), axis=1)
        rows = {"c": rng.multinomial(2000, softmax(mu))}
        rows |= {f"g{a}": rng.multinomial(400, softmax(mu + effect[a])) for a in range(20)}
        rows |= {"g0+other": rng.multinomial(100, softmax(mu)), "g0+g1+g2": rng.multinomial(100, softmax(mu))}
        rows |= {f"g{a}+g{b}": rng.multinomial(cells, q) for (a, b), q in zip(pairs[:37], both[:37], strict=True)}
        fit = gn.fit(NAME, {"count": pd.DataFrame(rows).T.rename_axis("perturbation")}, "conjugate", regression="none")
        told = combinations(fit, "c", pairs=[(f"g{a}", f"g{b}") for a, b in pairs[37:]])
        inside = (told["low"].to_numpy() <= both) & (both <= told["high"].to_numpy())
        covered.append([inside[:37].mean(), inside[37:].mean()])
        scales.append(told.attrs["interaction_scale"])
        errors.append([np.abs(told[name].to_numpy() - both)[:37].mean() for name in ("share", "additive")])
        assert told.attrs["left_out"] == ["g0+other", "g0+g1+g2"]
    seen, unseen = np.mean(covered, axis=0)
    assert 0.88 < seen < 0.96
    assert 0.88 < unseen < 0.96
    assert abs(np.mean(scales) - 0.5) < 0.1  # a tenth too large at 30 cells, whose log shares are skewed
    own, added = np.mean(errors, axis=0)
    assert own < added * (0.5 if cells == 100 else 0.75)


def test_what_cells_say_without_the_prior() -> None:
    """Normal draws of a posterior, of which prior and likelihood are known."""
    rng = np.random.default_rng(1)
    level, spread = rng.normal(size=(5, 3)), rng.uniform(0.1, 1, (5, 3))
    variance = 1 / (1 / spread + 1)
    own = variance * level / spread + np.sqrt(variance) * rng.normal(size=(40_000, 5, 3))
    found = unshrunk(rng.normal(size=(4000, 100, 3)), own)
    np.testing.assert_allclose(found[0], level, atol=0.1)
    np.testing.assert_allclose(found[1], spread, rtol=0.1)


def test_names_of_replicates_that_run_into_each_other_are_kept_apart(tmp_path: Path) -> None:
    """Replicate B_1 of A and replicate 1 of A_B are two."""
    text = "gene,well,x,y\nA,B_1,10,1\nA_B,1,1,10\nA,1,9,2\nA_B,B_1,3,8\n"
    tree = gn.read(NAME, written(tmp_path, text), "table", replicate="well", regression="none")
    count = tree["observed_data"]["count"]
    assert count["replicate"].to_numpy().tolist() == ["A:B_1", "A_B:1", "A:1", "A_B:B_1"]
    assert tree["constant_data"]["condition"].to_numpy().tolist() == [0, 1, 0, 1]


def test_combinations_add_up() -> None:
    rng = np.random.default_rng(3)
    effect = {"c": np.zeros(4), **{name: 0.6 * rng.normal(size=4) for name in "ABDEFG"}}
    base = np.log([0.4, 0.3, 0.2, 0.1])
    pairs = ["A+B", "A+D", "B+D", "E+F", "A+E", "B+F"]
    odd = np.array([1.2, -1.2, 0, 0])
    logs = {**{n: base + e for n, e in effect.items()}, **{n: base + effect[n[0]] + effect[n[2]] for n in pairs}}
    logs["A+B"] = logs["A+B"] + odd
    counts = pd.DataFrame({n: rng.multinomial(3000, softmax(v)) for n, v in logs.items()}).T
    fit = gn.fit(NAME, {"count": counts.rename_axis("perturbation")}, "conjugate", regression="none")
    told = combinations(fit, "c", pairs=[("D", "G"), ("A", "B")])
    assert list(told["combination"].to_numpy()) == [*pairs, "D+G"]
    unseen = softmax(base + effect["D"] + effect["G"])
    low, high = (told[name].sel(combination="D+G").to_numpy() for name in ("low", "high"))
    assert ((low <= unseen) & (unseen <= high)).all()
    size = np.abs(told["interaction"].to_numpy()).max(1)
    assert size.argmax() == 0
    assert size[1:].max() < 0.4
    seen = told["share"].sel(combination="A+B").to_numpy()
    np.testing.assert_allclose(seen, softmax(logs["A+B"]), atol=0.05)
    with pytest.raises(InputError, match="no perturbation is named after two others"):
        combinations(fit, "c", separator="/")
    with pytest.raises(InputError, match="is not a combination of two perturbations"):
        combinations(fit, "c", pairs=[("A", "c")])
    names = {"A": "A+c", "B": "c+B", "D": "D+c"}  # beside the control: alone
    renamed = {"count": counts.rename(index=names).rename_axis("perturbation")}
    again = combinations(gn.fit(NAME, renamed, "conjugate", regression="none"), "c", pairs=[("D", "G")])
    assert again["combination"].to_numpy().tolist() == told["combination"].to_numpy().tolist()
    np.testing.assert_allclose(again["share"], told["share"], atol=0.01)  # draws follow the names
    names = {"c": "c+n", "A": "A+n", "B": "c+B", "D": "D+c"}  # a control of two parts, either of which is none
    renamed = {"count": counts.rename(index=names).rename_axis("perturbation")}
    again = combinations(gn.fit(NAME, renamed, "conjugate", regression="none"), "c+n", pairs=[("D", "G")])
    assert again["combination"].to_numpy().tolist() == told["combination"].to_numpy().tolist()
    np.testing.assert_allclose(again["share"], told["share"], atol=0.01)
