"""deep_mr against prediction from scratch, finite differences, closed forms and double loops."""

import json
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
from scipy import optimize, special, stats

import genarium as gn
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.mendelian_randomization import divw, ivw, meta_analysis
from genarium.models.mendelian_randomization.deep_mr import (
    Conv,
    ConvEnsemble,
    ConvNet,
    Dense,
    Mutagenesis,
    Scaled,
    calibrate,
    deep_mr,
    effects,
    local_effects,
    motifs,
    mutagenise,
    one_hot,
    simulation,
)
from genarium.models.mendelian_randomization.deep_mr.keras import keras_network
from genarium.models.mendelian_randomization.deep_mr.moderation import moderated
from genarium.models.mendelian_randomization.deep_mr.pipeline import LOCAL
from genarium.models.mendelian_randomization.deep_mr.scales import logit
from genarium.models.mendelian_randomization.deep_mr.splicing import SpliceSites, spliceai
from genarium.models.mendelian_randomization.deep_mr.training import Plan, _codes, _gradients, train


def sequences(rng: np.random.Generator, count: int, length: int) -> Array:
    return np.eye(4)[rng.integers(0, 4, (count, length))].transpose(0, 2, 1)


def network(rng: np.random.Generator, L: int, pooling: Any, layers: tuple[tuple[int, int, int], ...]) -> ConvNet:
    """Random convolutions of (channels, width, dilation), then two dense layers."""
    convs, have = [], 4
    for i, (channels, width, dilation) in enumerate(layers):
        name: Any = ("relu", "sigmoid", "exp")[i % 3]
        weight = rng.normal(0, 0.5 / np.sqrt(width), (channels, have, width))
        convs.append(Conv(weight, rng.normal(0, 0.3, channels), name, dilation))
        have = channels
    features = have * L if pooling == "flatten" else have
    dense = [
        Dense(rng.normal(0, 0.2, (7, features)), rng.normal(size=7), "relu"),
        Dense(rng.normal(size=(2, 7)), np.ones(2)),
    ]
    return ConvNet(convs, pooling, dense)


# Mutagenesis


@pytest.mark.parametrize("pooling", ["max", "mean", "flatten"])
@pytest.mark.parametrize(
    "layers", [((5, 7, 1),), ((6, 4, 1), (3, 5, 2)), ((4, 3, 1), (5, 6, 3), (3, 2, 1)), ((3, 31, 1),)]
)
def test_receptive_fields_give_what_prediction_from_scratch_gives(pooling: Any, layers: Any) -> None:
    rng = np.random.default_rng(len(layers))
    L = 40
    ensemble = ConvEnsemble([network(rng, L, pooling, layers) for _ in range(2)])
    x = sequences(rng, 3, L)
    for start, stop in ((0, L), (0, 5), (33, 40), (17, 18)):
        fast = mutagenise(ensemble, x, start=start, stop=stop)
        slow = mutagenise(lambda batch: ensemble(batch), x, start=start, stop=stop, chunk=17)
        np.testing.assert_allclose(fast.delta, slow.delta, rtol=0, atol=1e-10)
        np.testing.assert_allclose(fast.reference, slow.reference, rtol=0, atol=1e-10)
        np.testing.assert_array_equal(fast.alternative, slow.alternative)


def test_mutants_are_those_of_a_loop_and_identity_edits_are_skipped() -> None:
    rng = np.random.default_rng(1)
    x = sequences(rng, 2, 9)
    weight = rng.normal(size=(4, 9, 3))
    seen = 0

    def predict(batch: Array) -> Array:
        nonlocal seen
        seen += len(batch)
        return np.asarray(np.einsum("bcl,clt->bt", batch, weight) ** 2)

    found = mutagenise([predict, lambda b: 2 * predict(b)], x, start=2, stop=8, chunk=5)
    assert seen == 2 * 2 * (1 + 3 * 6)
    assert found.delta.shape == (2, 2, 3, 6, 3)
    for n in range(2):
        for w in range(6):
            base = int(x[n, :, 2 + w].argmax())
            for i, to in enumerate(b for b in range(4) if b != base):
                mutant = x[n].copy()
                mutant[:, 2 + w] = np.eye(4)[to]
                change = np.einsum("cl,clt->t", mutant, weight) ** 2 - np.einsum("cl,clt->t", x[n], weight) ** 2
                np.testing.assert_allclose(found.delta[0, n, i, w], change, rtol=1e-9, atol=1e-12)
                np.testing.assert_allclose(found.delta[1, n, i, w], 2 * change, rtol=1e-9, atol=1e-12)
                assert found.alternative[n, i, w] == to


class Sigmoids:
    """Members in float32: the exposure's log odds are linear in the sequence, the outcome's half of them."""

    def __init__(self, level: float, E: int = 5, L: int = 30) -> None:
        rng = np.random.default_rng(0)
        self.weight = rng.normal(size=(4, L)) + 0.1 * rng.normal(size=(E, 4, L))
        self.other = 0.5 * self.weight + 0.1 * rng.normal(size=(E, 4, L))
        self.level = level

    def __call__(self, x: Array) -> Array:
        odds = np.stack([np.einsum("ecl,bcl->eb", w, x) for w in (self.weight, self.other)], -1)
        odds[..., 0] += self.level
        return (1 / (1 + np.exp(-odds))).astype(np.float32)


def test_zero_and_one_are_the_last_numbers_of_their_type() -> None:
    for kind, top in ((np.float32, 24), (np.float64, 53), (np.float16, 11)):
        found = logit(np.array([0, 1 - 2.0**-top, 1], dtype=kind))
        assert found[2] == found[1] == pytest.approx(top * np.log(2), rel=1e-3)
        assert found[0] == pytest.approx(np.log(float(np.finfo(kind).tiny)), rel=1e-3)
    np.testing.assert_array_equal(logit(np.array([0, 1])), logit(np.array([0.0, 1.0])))


@pytest.mark.parametrize("listed", [False, True])
def test_saturated_substitutions_are_left_out(listed: bool) -> None:
    """Log odds of about 14, where float32 is coarse: a slope of .5 is found without what is cut off, not with it."""
    predict = Sigmoids(10.0)
    x = sequences(np.random.default_rng(1), 20, 30)
    members = [lambda s, e=e: predict(s)[e] for e in range(5)] if listed else predict
    found = mutagenise(Scaled(members, "logit"), x)
    assert found.saturated is not None
    share = found.saturated.any((0, -1)).mean()
    assert 0.05 < share < 0.9, share
    with pytest.warns(UserWarning, match=rf"{round(share * 1800)} of 1800 substitutions are left out"):
        some = effects(found, 0, 1)
    assert len(some) == 1800 - round(share * 1800)
    assert divw(some.x, some.se_x, some.y, some.se_y, covariance=some.covariance).estimate == pytest.approx(
        0.5, abs=0.01
    )
    every = effects(found, 0, 1, saturated="keep", floor=1e-3)
    assert len(every) == 1800
    cut = divw(every.x, every.se_x, every.y, every.se_y, covariance=every.covariance)
    assert abs(cut.estimate - 0.5) > 0.012
    unsaturated = mutagenise(Scaled(Sigmoids(0.0), "logit"), x[:3]).saturated
    assert unsaturated is not None
    assert not np.any(unsaturated[..., 1])
    assert mutagenise(Sigmoids(14.0), x).saturated is None
    with pytest.raises(InputError, match="saturated='hide' is not known"):
        effects(found, 0, 1, saturated="hide")
    with pytest.raises(InputError, match="predicts every substitution at a limit"):
        effects(mutagenise(Scaled(Sigmoids(99.0), "logit"), x), 0, 1)


def test_a_saturated_model_shows_its_effects_on_the_logit_scale() -> None:
    weight = np.random.default_rng(2).normal(size=(4, 12))

    def predict(batch: Array) -> Array:
        score = np.einsum("bcl,cl->b", batch, weight) + 25
        return np.stack([1 / (1 + np.exp(-score))] * 2, -1)

    x = one_hot("ACGTACGTACGT")
    plain, scaled = mutagenise(predict, x), mutagenise(Scaled(predict, "logit"), x)
    assert np.abs(plain.delta).max() < 1e-7
    base = x[0].argmax(0)
    expected = weight[scaled.alternative[0], np.arange(12)] - weight[base, np.arange(12)]
    np.testing.assert_allclose(scaled.delta[0, 0, ..., 0], expected, atol=2e-3)  # rounding of 1 - p


def test_a_single_network_is_an_ensemble_of_one() -> None:
    rng = np.random.default_rng(18)
    net, x = network(rng, 20, "max", ((4, 5, 1),)), sequences(rng, 2, 20)
    found, expected = mutagenise(net, x), mutagenise(ConvEnsemble([net]), x)
    assert found.delta.shape == (1, 2, 3, 20, 2)
    np.testing.assert_array_equal(found.delta, expected.delta)
    np.testing.assert_array_equal(mutagenise(Scaled(net, "identity"), x).delta, expected.delta)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_scales_of_counts_round_no_more_than_the_network_does(kind: type[np.floating[Any]]) -> None:
    def counts(x: Array) -> Array:  # 1,000 to 1,004, which half precision holds
        return (1000 + 2 * x[:, 0].sum(1, keepdims=True)).astype(kind)

    for scale, effect in (("log1p", np.log(1003 / 1001)), ("anscombe", 2 * np.sqrt(1002.375) - 2 * np.sqrt(1000.375))):
        found = mutagenise(Scaled(counts, scale), one_hot("CC"))
        np.testing.assert_allclose(found.delta[0, 0, 0, :, 0], effect, rtol=1e-9)


def test_a_scaled_ensemble_predicts_no_more_at_once_than_asked_for() -> None:
    most = 0

    def predict(batch: Array) -> Array:
        nonlocal most
        most = max(most, len(batch))
        return np.exp(batch[:, :2].sum(-1))

    mutagenise(Scaled(Scaled(predict, "log1p", 7), "identity", 7), sequences(np.random.default_rng(0), 1, 30))
    assert most == 7


def test_members_are_counted_from_the_end_too() -> None:
    found = raw(2)
    last, same = (effects(found, 0, 1, instruments=4.0, select=s) for s in ([-1, -2], [5, 4]))
    np.testing.assert_array_equal(last.x, same.x)
    assert (
        deep_mr(found, None, 0, 1, instruments=0.0, select=[-1, -2]).between_members
        == deep_mr(found, None, 0, 1, instruments=0.0, select=[5, 4]).between_members
    )
    with pytest.raises(InputError, match="member 4 both selects"):
        effects(found, 0, 1, instruments=0.0, members=[3, 4], select=[-1, -2])
    with pytest.raises(InputError, match=r"select\[1\] is 6, but there are 6 members, 0 to 5"):
        effects(found, 0, 1, instruments=0.0, select=[0, 6])
    with pytest.raises(InputError, match="members names member 5 twice"):
        effects(found, 0, 1, members=[5, 1, -1])


def test_one_hot_by_hand() -> None:
    np.testing.assert_array_equal(
        one_hot("ACGTN")[0].T, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0] * 4]
    )
    assert one_hot(["acg", "TTT"]).shape == (2, 4, 3)


# Effects and estimates


def raw(seed: int, members: int = 6, sequences_: int = 8, window: int = 10, slope: float = 0.7) -> Mutagenesis:
    """Members around true effects: errors of sd 0.3 and 0.4, correlated by 0.5."""
    rng = np.random.default_rng(seed)
    gamma = rng.normal(0, 1, (sequences_, 3, window))
    local = rng.normal(slope, 0.05, sequences_)[:, None, None]
    error = rng.multivariate_normal([0, 0], [[0.09, 0.06], [0.06, 0.16]], (members, *gamma.shape))
    delta = np.stack([gamma, local * gamma], -1) + error
    x = np.eye(4)[rng.integers(0, 4, (sequences_, window))].transpose(0, 2, 1)
    from genarium.models.mendelian_randomization.deep_mr.sequence import others

    return Mutagenesis(delta, np.zeros((members, sequences_, 2)), others(x), 0)


def test_effects_are_means_over_members_with_their_errors() -> None:
    found = raw(1)
    mean, member = effects(found, 0, 1), effects(found, 0, 1, error="member")
    d = found.delta.reshape(6, -1, 2)
    for j in (0, 17, 200):
        cov = np.cov(d[:, j].T)  # ddof 1
        assert (mean.x[j], mean.y[j]) == (pytest.approx(d[:, j, 0].mean()), pytest.approx(d[:, j, 1].mean()))
        np.testing.assert_allclose(
            [mean.se_x[j] ** 2, mean.se_y[j] ** 2, mean.covariance[j]], cov[[0, 1, 0], [0, 1, 1]] / 6
        )
        np.testing.assert_allclose([member.se_x[j] ** 2, member.covariance[j]], cov[[0, 0], [0, 1]])
        n, i, w = np.unravel_index(j, (8, 3, 10))
        assert (mean.sequence[j], mean.position[j], mean.alternative[j]) == (n, w, found.alternative[n, i, w])


def spread(rng: np.random.Generator, size: Array, more: float, degrees: int) -> tuple[Array, Array]:
    """True variances about the square of the size, by an inverse chi-square, and what a few members make of them."""
    truth = size**2 * more / rng.chisquare(more, size.shape)
    return truth, truth * rng.chisquare(degrees, size.shape) / degrees


def test_moderated_variances_are_posterior_means_by_size() -> None:
    """A group alone against the definition, its prior by root finding; groups do not know of each other."""
    rng = np.random.default_rng(1)
    size = np.concatenate([rng.uniform(1, 1.01, 60), rng.uniform(5, 5.01, 60)])
    _, variance = spread(rng, size, 6.0, 4)
    found = moderated(variance, size * rng.choice([-1, 1], 120), 4)
    for group in (size < 2, size > 2):
        logs = np.log(variance[group])
        excess = logs.var(ddof=1) - special.polygamma(1, 2)
        more = 2 * optimize.brentq(lambda half, excess=excess: special.polygamma(1, half) - excess, 0.01, 1e4)
        # E log s2 = log s0 + psi(d / 2) - log(d / 2) - psi(d0 / 2) + log(d0 / 2)
        shift = special.digamma(2) - np.log(2) - special.digamma(more / 2) + np.log(more / 2)
        scale = np.exp(logs.mean() - shift)
        np.testing.assert_allclose(found[group], (more * scale + 4 * variance[group]) / (more + 4), rtol=1e-8)


def test_moderated_variances_are_nearer_to_the_truth() -> None:
    rng = np.random.default_rng(2)
    size = rng.uniform(0.1, 3, 20_000)
    truth, variance = spread(rng, size, 8.0, 4)
    found = moderated(variance, size, 4)

    def miss(v: Array) -> float:
        return float(np.log(v / truth).std())

    # own: trigamma(4 / 2); moderated: known scale would leave trigamma((8 + 4) / 2)
    assert miss(variance) == pytest.approx(np.sqrt(special.polygamma(1, 2)), rel=0.03)
    assert miss(found) < 1.1 * np.sqrt(special.polygamma(1, 6))


def test_equal_variances_are_pooled() -> None:
    rng = np.random.default_rng(3)
    variance = rng.chisquare(4, 40) / 4
    pooled = moderated(variance**0.2, rng.normal(size=40), 4)  # differ by less than chance would have it
    assert np.ptp(pooled) == 0


def test_moderated_effects_keep_means_and_correlations() -> None:
    own, drawn = (effects(raw(1), 0, 1, variances=v) for v in ("own", "moderated"))
    np.testing.assert_array_equal(own.x, drawn.x)
    np.testing.assert_allclose(own.covariance / own.se_x / own.se_y, drawn.covariance / drawn.se_x / drawn.se_y)
    assert np.log(drawn.se_x).std() < 0.5 * np.log(own.se_x).std()  # all true ones are equal
    assert np.median(drawn.se_x) == pytest.approx(0.3 / np.sqrt(6), rel=0.05)
    with pytest.raises(InputError, match="variances='mine' is not known; use own or moderated"):
        effects(raw(1), 0, 1, variances="mine")


def test_disjoint_members_have_no_winners_curse() -> None:
    """No effects at all: selected on their own errors, effects are large; selected on others', they are not."""
    rng = np.random.default_rng(3)
    delta = rng.normal(size=(8, 40, 3, 20, 2))
    found = Mutagenesis(delta, np.zeros((8, 40, 2)), np.tile(np.arange(3)[None, :, None], (40, 1, 20)), 0)
    cursed = effects(found, 0, 1, instruments=6.0)
    clean = effects(found, 0, 1, instruments=6.0, select=[0, 1, 2, 3])
    assert (np.abs(cursed.x) / cursed.se_x).mean() > 2.4
    size = np.abs(clean.x / clean.se_x)
    assert size.mean() == pytest.approx(stats.t(3).expect(abs), abs=4 * size.std() / np.sqrt(len(size)))


def test_pipeline_is_local_ivw_then_reml() -> None:
    found = raw(4)
    some = effects(found, 0, 1, instruments=4.0)
    local = local_effects(some)
    for k, s in enumerate(local.sequence):
        own = some.take(some.sequence == s)
        one = ivw(own.x, own.se_x, own.y, own.se_y)
        assert (local.estimate[k], local.se[k], local.instruments[k]) == (one.estimate, one.se, len(own))
    whole = deep_mr(found, None, 0, 1, instruments=4.0)
    reml = meta_analysis(local.estimate, local.se**2)
    assert whole.estimate == reml.mu
    assert whole.meta == reml
    assert whole.se**2 == pytest.approx(reml.se**2 + whole.between_members**2)
    assert whole.estimate == pytest.approx(0.7, abs=4 * whole.se)
    assert deep_mr(found, None, 0, 1, instruments=4.0, members="ignore").se == pytest.approx(reml.se)
    low, high = whole.prediction_interval
    assert low < whole.ci[0] < whole.ci[1] < high


@pytest.mark.filterwarnings("ignore:.*maximum_likelihood. the variants disagree")
@pytest.mark.parametrize("method", ["ivw", "egger", "divw", "maximum_likelihood"])
def test_members_are_told_apart_by_the_method_in_use(method: str) -> None:
    """A constant that a member adds to the outcome is no slope: Egger regression does not see it, IVW does."""
    found = raw(4)
    delta = found.delta.copy()
    delta[..., 0] = np.abs(delta[..., 0])
    delta[..., 1] = 0.7 * delta[..., 0] + 0.1 * np.random.default_rng(1).normal(size=delta.shape[:-1])
    delta[..., 1] += 0.5 * np.arange(6)[:, None, None, None]
    moved = Mutagenesis(delta, found.reference, found.alternative, 0)
    whole = deep_mr(moved, None, 0, 1, method=method)
    some, local, estimator = effects(moved, 0, 1, error="member"), whole.local, LOCAL[method]
    share = 1 / (local.se**2 + whole.tau2)
    expected = []
    for member in delta:
        dx, dy = (member[..., t].ravel() for t in (0, 1))
        slopes = []
        for s in local.sequence:
            own = some.sequence == s
            more = {"covariance": some.covariance[own]} if method in ("divw", "maximum_likelihood") else {}
            slopes.append(estimator(dx[own], some.se_x[own], dy[own], some.se_y[own], **more).estimate)
        expected.append((share * slopes).sum() / share.sum())
    assert whole.between_members == pytest.approx(np.std(expected, ddof=1), rel=1e-6)
    assert (whole.between_members < 0.1) == (method == "egger")


def test_errors_of_the_same_networks_do_not_pass_for_an_effect() -> None:
    """No effect at all, weak instruments, errors correlated by 0.8: IVW finds one, the methods that know c do not."""
    rng = np.random.default_rng(17)
    gamma = rng.normal(0, 0.2, (60, 3, 20))
    error = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], (40, *gamma.shape))
    delta = np.stack([gamma, 0 * gamma], -1) + error
    found = Mutagenesis(delta, np.zeros((40, 60, 2)), np.tile(np.arange(3)[None, :, None], (60, 1, 20)), 0)
    some = effects(found, 0, 1)
    mean = {m: local_effects(some, m).estimate.mean() for m in ("ivw", "divw", "maximum_likelihood")}
    assert mean["ivw"] == pytest.approx(0.8 / 40 / (0.2**2 + 1 / 40), abs=0.03)
    assert abs(mean["divw"]) < 0.06  # c and the weights come from the same 40 members: 2 / 39 of it is left
    assert abs(mean["maximum_likelihood"]) < 0.06


@pytest.mark.slow
def test_errors_that_members_share_widen_the_interval() -> None:
    """Each member has a slope of its own in all sequences: without it the interval is far too narrow."""
    covered = {"bagged": 0, "ignore": 0}
    for seed in range(40):
        found = raw(seed, members=5, sequences_=30)
        shift = np.random.default_rng([9, seed]).normal(0, 0.1, 5)
        bias = np.random.default_rng([8, seed]).normal(0, 0.1)  # the training data's
        delta = found.delta.copy()
        delta[..., 1] += (shift + bias)[:, None, None, None] * delta[..., 0]
        moved = Mutagenesis(delta, found.reference, found.alternative, 0)
        for members in covered:
            low, high = deep_mr(moved, None, 0, 1, members=members).ci
            covered[members] += low <= 0.7 <= high
    assert covered["bagged"] >= 33
    assert covered["ignore"] <= 25


@pytest.mark.slow
def test_effects_go_into_the_model() -> None:
    found = effects(raw(5, window=6), 0, 1)
    tree = gn.fit("mendelian_randomization", found.data(), "gibbs", seed=1, draws=150, tune=100, chains=2)
    posterior = tree["posterior"]["global_effect"]
    assert float(posterior.mean()) == pytest.approx(0.7, abs=4 * float(posterior.std()))
    assert tree["posterior"].sizes["region"] == 8


# Calibration


def test_calibration_finds_shift_and_scale() -> None:
    """Forecasts too low by 0.5 and too narrow by half: 20,000 observations give either within 0.05."""
    rng = np.random.default_rng(6)
    mean, sd = rng.normal(size=20_000), np.full(20_000, 0.5)
    found = calibrate(mean, sd, rng.normal(mean + 0.5, 1))
    shift, factor = found.moments()
    assert shift * 0.5 == pytest.approx(0.5, abs=0.05)
    assert factor * 0.5 == pytest.approx(1, abs=0.05)
    fresh = rng.normal(mean + 0.5, 1)
    for level in (0.1, 0.5, 0.9):
        assert (fresh <= found.quantile(mean, sd, level)).mean() == pytest.approx(level, abs=0.02)


def test_calibration_widens_as_far_as_it_takes() -> None:
    """Members that agree far too well: forecasts too narrow by 1,000, and too low by 3,000 of their sds."""
    rng = np.random.default_rng(6)
    mean, sd = rng.normal(size=20_000), np.full(20_000, 0.001)
    found = calibrate(mean, sd, rng.normal(mean + 3, 1))
    shift, factor = found.moments()
    assert shift * 0.001 == pytest.approx(3, abs=0.05)
    assert factor * 0.001 == pytest.approx(1, abs=0.05)
    fresh = rng.normal(mean + 3, 1)
    for level in (0.001, 0.1, 0.9, 0.999):
        assert (fresh <= found.quantile(mean, sd, level)).mean() == pytest.approx(level, abs=0.02)
    assert found.quantile(np.zeros(1), np.ones(1), 1e-9)[0] < found.forecast[0]
    np.testing.assert_array_equal(found.proportion(np.array([0.0, 1.0])), [0, 1])


def test_calibration_leaves_a_right_forecast_alone() -> None:
    rng = np.random.default_rng(7)
    found = calibrate(np.zeros(20_000), np.ones(20_000), rng.normal(size=20_000))
    p = np.linspace(0.02, 0.98, 49)
    np.testing.assert_allclose(found.proportion(p), p, atol=0.02)
    shift, factor = found.moments()
    assert abs(shift) < 0.03
    assert factor == pytest.approx(1, abs=0.03)


# The simulation


def test_occupancy_is_a_loop_over_places() -> None:
    rng = np.random.default_rng(8)
    x = sequences(rng, 2, 25)
    weight = simulation.log_odds(motifs.EXPOSURE)
    for n in range(2):
        free = 1.0
        for p in range(25 - 10 + 1):
            score = sum(weight[i, int(x[n, :, p + i].argmax())] for i in range(10))
            free *= 1 - 1 / (1 + np.exp(-score))
        assert simulation.occupancy(x, motifs.EXPOSURE)[n] == pytest.approx(1 - free, rel=1e-9)


def test_true_effect_is_that_of_the_closed_form() -> None:
    """Where both motifs are bound the effect is sqrt(beta / alpha): 1 and 3.18, the median over sequences."""
    data = simulation.simulate(np.random.default_rng(9), 600, 100, 100)
    both = np.flatnonzero(data.kind == simulation.BOTH)
    for ratio, closed in ((1.0, 1.0), (10.125, 3.18)):
        local = [simulation.local_truth(data.x[n], int(data.at[n]), 100, 100 * ratio) for n in both]
        assert np.median(local) == pytest.approx(closed, rel=0.01)


@pytest.mark.parametrize("confounding", simulation.CONFOUNDING)
def test_simulated_sequences_have_what_they_say(confounding: str) -> None:
    data = simulation.simulate(np.random.default_rng(10), 2000, 100, 300, confounding)
    np.testing.assert_array_equal(data.x.sum(1), 1)
    share = np.bincount(data.kind, minlength=4) / 2000
    np.testing.assert_allclose(share, [0.25] * 4, atol=4 * np.sqrt(0.25 * 0.75 / 2000))
    assert ((data.at >= 0) == np.isin(data.kind, (simulation.EXPOSURE, simulation.BOTH))).all()
    bound = simulation.occupancy(data.x, motifs.EXPOSURE)
    assert bound[data.at >= 0].mean() > 0.85
    assert bound[data.at < 0].mean() < 0.4
    sox = simulation.occupancy(data.x, motifs.CONFOUNDER).mean()
    assert sox > 0.75 if confounding == "sequence" else sox < 0.7
    assert data.batch.mean() == pytest.approx(0.5 if confounding == "random" else 0, abs=0.05)
    free = data.x[data.kind == simulation.NEITHER].mean((0, 2))
    if confounding != "sequence":
        np.testing.assert_allclose(free, simulation.BACKGROUND, atol=0.01)


# The network


def test_gradients_are_those_of_differences() -> None:
    rng = np.random.default_rng(11)
    k, L = 5, 12
    whole, y = sequences(rng, 7, L), rng.normal(size=(7, 2))
    whole[2, :, 4] = 0  # an unknown base
    x = np.pad(whole, ((0, 0), (0, 0), (2, 2)))
    weights = [
        rng.normal(size=s).astype(np.float32).astype(float) for s in ((4 * k, 6), (6,), (6, 5), (5,), (5, 2), (2,))
    ]

    def loss() -> float:
        W, b, U, c, V, d = weights
        total = 0.0
        for n in range(7):
            scores = np.array([np.concatenate([x[n, a, p : p + k] for a in range(4)]) @ W for p in range(L)])
            hidden = np.maximum(np.maximum(scores.max(0) + b, 0) @ U + c, 0)
            total += ((hidden @ V + d - y[n]) ** 2).mean() / 7
        return float(total)

    for w, g in zip(weights, _gradients(weights, _codes(whole, k), y), strict=True):
        for at in [tuple(rng.integers(0, s) for s in w.shape) for _ in range(4)]:
            kept = w[at]
            w[at] = kept + 1e-6
            up = loss()
            w[at] = kept - 1e-6
            slope = (up - loss()) / 2e-6
            w[at] = kept
            assert g[at] == pytest.approx(slope, rel=1e-4, abs=1e-5)  # sums in single precision


def test_training_learns_a_motif() -> None:
    rng = np.random.default_rng(12)
    data = simulation.simulate(rng, 1500, 100, 100)
    net = train(data.x, data.labels, rng, Plan(channels=8, width=12, hidden=16, epochs=12, batch=50))
    again = simulation.simulate(rng, 400, 100, 100)
    explained = 1 - ((net(again.x) - again.labels) ** 2).mean(0) / again.labels.var(0)
    assert explained[0] > 0.6


# A third-party network


def keras_file(path: Path, rng: np.random.Generator) -> dict[str, Array]:
    """A small residual network as Keras stores it: convolution, normalisation, sum, crop, softmax."""
    import h5py

    w = {
        "k1": rng.normal(size=(3, 4, 5)), "b1": rng.normal(size=5), "gamma": rng.uniform(1, 2, 5),
        "beta": rng.normal(size=5),         "mean": rng.normal(size=5), "var": rng.uniform(0.5, 2, 5),
        "k2": rng.normal(size=(3, 5, 5)), "b2": rng.normal(size=5),
        "k3": rng.normal(size=(1, 5, 3)), "b3": rng.normal(size=3),
    }  # fmt: skip

    def conv(name: str, before: str, **more: Any) -> dict[str, Any]:
        config = {"name": name, "padding": "same", "strides": [1], "dilation_rate": [1], "activation": "linear", **more}
        return {"class_name": "Conv1D", "name": name, "config": config, "inbound_nodes": [[[before, 0, 0, {}]]]}

    layers = [
        {"class_name": "InputLayer", "name": "in", "config": {"name": "in"}, "inbound_nodes": []},
        conv("c1", "in"),
        {"class_name": "BatchNormalization", "name": "n", "config": {"name": "n", "epsilon": 1e-3},
         "inbound_nodes": [[["c1", 0, 0, {}]]]},
        {"class_name": "Activation", "name": "r", "config": {"name": "r", "activation": "relu"},
         "inbound_nodes": [[["n", 0, 0, {}]]]},
        conv("c2", "r", dilation_rate=[2]),
        {"class_name": "Add", "name": "a", "config": {"name": "a"},
         "inbound_nodes": [[["c1", 0, 0, {}], ["c2", 0, 0, {}]]]},
        {"class_name": "Cropping1D", "name": "x", "config": {"name": "x", "cropping": [4, 4]},
         "inbound_nodes": [[["a", 0, 0, {}]]]},
        conv("c3", "x", activation="softmax"),
    ]  # fmt: skip
    normal = {"gamma": "gamma", "beta": "beta", "moving_mean": "mean", "moving_variance": "var"}
    with h5py.File(path, "w") as file:
        config = {"class_name": "Model", "config": {"layers": layers, "output_layers": [["c3", 0, 0]]}}
        file.attrs["model_config"] = json.dumps(config)
        for layer, names in (("c1", {"kernel": "k1", "bias": "b1"}), ("c2", {"kernel": "k2", "bias": "b2"}),
                             ("c3", {"kernel": "k3", "bias": "b3"}),
                             ("n", normal)):  # fmt: skip
            for name, key in names.items():
                file[f"model_weights/{layer}/{layer}/{name}:0"] = w[key]
    return w


def rewired(path: Path, change: Any) -> Path:
    """Write a file of a small network with another configuration."""
    import h5py

    keras_file(path, np.random.default_rng(13))
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"])
        file.attrs["model_config"] = json.dumps(config)
    return path


def test_keras_graphs_that_cannot_be_run_are_refused(tmp_path: Path) -> None:
    def second_call(config: Any) -> None:
        config["layers"][6]["inbound_nodes"] = [[["a", 1, 0, {}]]]

    def second_output(config: Any) -> None:
        config["layers"][6]["inbound_nodes"] = [[["a", 0, 1, {}]]]

    def two_inputs(config: Any) -> None:
        config["layers"].append({**config["layers"][0], "name": "other"})
        config["layers"][5]["inbound_nodes"] = [[["c1", 0, 0, {}], ["c2", 0, 0, {}], ["other", 0, 0, {}]]]

    def two_outputs(config: Any) -> None:
        config["output_layers"] = [["x", 0, 0], ["c3", 0, 0]]

    def lost(config: Any) -> None:
        config["layers"][6]["inbound_nodes"] = [[["b", 0, 0, {}]]]

    def circle(config: Any) -> None:
        config["layers"][4]["inbound_nodes"] = [[["a", 0, 0, {}]]]

    for change, message in (
        (second_call, r"net\.h5: layer 'x' takes the output of 'a', which the file does not have"),
        (second_output, r"layer 'a' has 1 outputs, but its output 1 is taken"),
        (two_inputs, r"layers 'in', 'other' are 2 inputs of the model.* inputs=\{'NAME': 0\}"),
        (two_outputs, r"has 2 outputs, of layers 'x', 'c3'\. Choose one: output='x'"),
        (lost, r"layer 'x' takes the output of 'b', which the file does not have"),
        (circle, r"layers 'c2', 'a', 'x', 'c3' wait for each other"),
    ):
        with pytest.raises(InputError, match=message):
            keras_network(rewired(tmp_path / "net.h5", change))
    path = rewired(tmp_path / "net.h5", two_outputs)
    x = np.random.default_rng(0).normal(size=(2, 20, 4))
    keras_file(tmp_path / "plain.h5", np.random.default_rng(13))
    np.testing.assert_array_equal(keras_network(path, "c3")(x), keras_network(tmp_path / "plain.h5")(x))
    assert keras_network(path, "x")(x).shape == (2, 12, 5)
    with pytest.raises(InputError, match=r"there is no layer 'y'; the model's outputs are x, c3"):
        keras_network(path, "y")


def test_a_file_of_keras_3_runs_as_that_of_keras_2(tmp_path: Path) -> None:
    def modern(config: Any) -> None:
        for layer in config["layers"]:
            nodes = layer["inbound_nodes"]
            tensors = [
                {"class_name": "__keras_tensor__", "config": {"shape": [None, 20, 4], "keras_history": link[:3]}}
                for link in (nodes[0] if nodes else [])
            ]
            args = [tensors] if len(tensors) > 1 else tensors
            layer["inbound_nodes"] = [{"args": args, "kwargs": {}}] if tensors else []
        config["output_layers"] = ["c3", 0, 0]

    x = np.random.default_rng(0).normal(size=(2, 20, 4))
    keras_file(tmp_path / "plain.h5", np.random.default_rng(13))
    found = keras_network(rewired(tmp_path / "net.h5", modern))(x)
    np.testing.assert_array_equal(found, keras_network(tmp_path / "plain.h5")(x))


def test_a_keras_file_runs_as_loops_do(tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    w = keras_file(tmp_path / "net.h5", rng)
    x = rng.normal(size=(2, 20, 4))

    def conv(v: Array, kernel: Array, bias: Array, dilation: int) -> Array:
        out = np.zeros((len(v), kernel.shape[2]))
        for p in range(len(v)):
            for i in range(len(kernel)):
                at = p + (i - len(kernel) // 2) * dilation
                if 0 <= at < len(v):
                    out[p] += v[at] @ kernel[i]
            out[p] += bias
        return out

    found = keras_network(tmp_path / "net.h5")(x)
    for b in range(2):
        c1 = conv(x[b], w["k1"], w["b1"], 1)
        n = (c1 - w["mean"]) / np.sqrt(w["var"] + 1e-3) * w["gamma"] + w["beta"]
        a = (c1 + conv(np.maximum(n, 0), w["k2"], w["b2"], 2))[4:-4]
        score = np.exp(a @ w["k3"][0] + w["b3"])
        np.testing.assert_allclose(found[b], score / score.sum(1, keepdims=True), rtol=1e-10)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("padding", "reflect"),
        ("groups", 3),
        ("data_format", "channels_first"),
        ("activation", "hard_sigmoid"),
        ("activation", {"class_name": "LeakyReLU"}),
    ],
)
def test_options_of_keras_that_are_not_understood_are_refused(tmp_path: Path, option: str, value: Any) -> None:
    import h5py

    keras_file(tmp_path / "net.h5", np.random.default_rng(13))
    with h5py.File(tmp_path / "net.h5", "a") as file:
        config = json.loads(file.attrs["model_config"])
        next(one for one in config["config"]["layers"] if one["name"] == "c2")["config"][option] = value
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(InputError, match=f"layer 'c2' has {option}=.*, which is not understood; understood: "):
        keras_network(tmp_path / "net.h5")


def test_splice_sites_of_a_stand_in(tmp_path: Path) -> None:
    """The loader and the sites, on networks that look 4 bases either way in place of SpliceAI's 5,000."""
    rng = np.random.default_rng(14)
    networks = []
    for e in range(3):
        keras_file(tmp_path / f"{e}.h5", rng)
        networks.append(keras_network(tmp_path / f"{e}.h5"))
    x = sequences(rng, 2, 30)
    sites = SpliceSites(networks, acceptor=8, donor=19, flank=4)
    found = sites(x)
    assert found.shape == (3, 2, 2)
    whole = np.pad(x, ((0, 0), (0, 0), (4, 4))).transpose(0, 2, 1)
    for e, net in enumerate(networks):
        p = net(whole)
        expected = np.stack([p[:, 8, 1], p[:, 19, 2]], -1)
        np.testing.assert_allclose(found[e], np.log(expected / (1 - expected)), rtol=1e-9)
    some = effects(mutagenise(sites, x, start=2, stop=28), 0, 1, floor=1e-6)
    assert (np.abs(some.covariance) < some.se_x * some.se_y).all()
    with pytest.raises(InputError, match="donor at 40"):
        SpliceSites(networks, 8, 40, flank=4)(x)


@pytest.mark.parametrize("window", [(0, 30), (0, 7), (12, 20), (25, 30)])
def test_only_what_a_substitution_touches_is_recomputed(tmp_path: Path, window: tuple[int, int]) -> None:
    rng = np.random.default_rng(16)
    keras_file(tmp_path / "net.h5", rng)
    x = sequences(rng, 1, 30)
    sites = SpliceSites([keras_network(tmp_path / "net.h5")], acceptor=14, donor=9, flank=4)
    fast = mutagenise(sites, x, start=window[0], stop=window[1])
    naive = mutagenise(lambda batch: sites(batch), x, start=window[0], stop=window[1])
    p, q = (1 / (1 + np.exp(-(one.reference[:, :, None, None] + one.delta))) for one in (fast, naive))
    np.testing.assert_allclose(p, q, rtol=0, atol=1e-13)  # log odds of a p near 1 would magnify rounding
    touched = (fast.delta != 0).any((0, 1, 2, 4))
    near = np.arange(*window)
    assert not touched[(near < 9 - 4) | (near > 14 + 4)].any()
    assert touched[(near >= 9 - 3) & (near <= 14 + 3)].all()


EMBL = Path("/usr/share/EMBOSS/test/embl/hum1.dat")


@pytest.mark.data
@pytest.mark.skipif(find_spec("spliceai") is None, reason="the wheel of spliceai is not installed (weights: CC BY-NC)")
@pytest.mark.skipif(not EMBL.exists(), reason="Debian's emboss-test is not installed")
def test_spliceai_on_a_human_gene(root: Path) -> None:
    """The worked example of validation/: mutants of the AG of epsilon-globin's second exon lose the acceptor."""
    example = run_path(str(root / "validation" / "splicing.py"))
    text, acceptor, donor = example["read_gene"](EMBL)
    assert (text[acceptor - 2 : acceptor], text[donor + 1 : donor + 3]) == ("ag", "gt")
    some = example["mutate"](text, acceptor, donor, 2, 0)
    assert len(some) == 6
    assert (some.x < -10).all()
    assert (np.abs(some.covariance) < some.se_x * some.se_y).all()


# Bad input


def test_bad_input_is_refused() -> None:
    rng = np.random.default_rng(15)
    x = sequences(rng, 2, 6)
    broken = x.copy()
    broken[1, :, 3] = 0
    with pytest.raises(InputError, match="sequence 1 has no base at position 3"):
        mutagenise(lambda b: b[:, :2, 0], broken)
    with pytest.raises(InputError, match="sequence 0 is not one-hot at position 1"):
        train(np.full((1, 4, 3), [0.0, 0.5, 0.0]), np.zeros((1, 2)), rng)
    with pytest.raises(InputError, match="label 1 is the same"):
        train(x, np.array([[1.0, 2.0], [2.0, 2.0]]), rng)
    with pytest.raises(InputError, match="'X' at position 2"):
        one_hot("ACX")
    with pytest.raises(InputError, match="must return"):
        mutagenise(lambda b: b[:, 0, 0], x)
    with pytest.raises(InputError, match="the window from 4 to 9"):
        mutagenise(lambda b: b[:, :2, 0], x, start=4, stop=9)
    with pytest.raises(InputError, match="member 1 both selects"):
        effects(raw(1), 0, 1, instruments=0.0, members=[1, 2, 3], select=[0, 1])
    with pytest.raises(InputError, match=r"select=\[0\] would be dropped: used only with instruments="):
        effects(raw(1), 0, 1, select=[0])
    with pytest.raises(InputError, match=r"window=\(0, 9\) and chunk=7 would be dropped"):
        deep_mr(raw(1), None, 0, 1, window=(0, 9), chunk=7)
    with pytest.raises(InputError, match="sequences would be dropped"):
        deep_mr(raw(1), x, 0, 1)
    with pytest.raises(InputError, match="agree exactly"):
        effects(Mutagenesis(np.ones((3, 1, 3, 2, 2)), np.ones((3, 1, 2)), np.zeros((1, 3, 2), dtype=int), 0), 0, 1)
    with pytest.raises(InputError, match="no sequence has"):
        deep_mr(raw(1), None, 0, 1, instruments=1e9)
    with pytest.raises(InputError, match="20 or more"):
        calibrate(np.zeros(5), np.ones(5), np.zeros(5))
    with pytest.raises(InputError, match="all 2 sds"):
        calibrate(np.zeros(50), np.ones(50), np.full(50, 2.0))
    with pytest.raises(InputError, match="not known"):
        Scaled(len, "cubic")
    if find_spec("spliceai") is None:
        with pytest.raises(InputError, match="not installed"):
            spliceai(1, 2)
