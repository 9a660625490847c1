"""Effects, estimates and calibration of deep_mr against their formulas and simulation."""

from importlib.util import find_spec

import numpy as np
import pytest
from scipy import optimize, special, stats

import genarium as gn
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.mendelian_randomization import ivw, meta_analysis
from genarium.models.mendelian_randomization.deep_mr import (
    Mutagenesis,
    Scaled,
    calibrate,
    deep_mr,
    effects,
    local_effects,
    mutagenise,
    one_hot,
)
from genarium.models.mendelian_randomization.deep_mr.moderation import moderated
from genarium.models.mendelian_randomization.deep_mr.pipeline import LOCAL
from genarium.models.mendelian_randomization.deep_mr.splicing import spliceai
from genarium.models.mendelian_randomization.deep_mr.training import train


def sequences(rng: np.random.Generator, count: int, length: int) -> Array:
    return np.eye(4)[rng.integers(0, 4, (count, length))].transpose(0, 2, 1)


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
