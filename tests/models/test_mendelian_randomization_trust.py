"""Whether a deep_mr result can be trusted: conditions that are broken on purpose, shared errors, dropout."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from genarium import InputError
from genarium.declaration import Array
from genarium.models.mendelian_randomization.deep_mr import (
    Conv,
    ConvNet,
    Dense,
    Effects,
    Finding,
    HeldOut,
    Mutagenesis,
    Scaled,
    bayesian,
    deep_mr,
    diagnose,
    dropped,
    mutagenise,
)
from genarium.models.mendelian_randomization.deep_mr.bayes import widened
from genarium.models.mendelian_randomization.deep_mr.regions import Regions
from genarium.models.mendelian_randomization.deep_mr.sequence import others
from genarium.models.mendelian_randomization.deep_mr.simulation import BOTH, SPACING, simulate
from genarium.models.mendelian_randomization.deep_mr.trust import inside
from genarium.models.mendelian_randomization.deep_mr_run import _factors, _held_out

E, N, W = 5, 12, 20


def world(
    seed: int = 0, shared: float = 0.0, theta: float = 0.8, bend: float = 0.0, inside: float = 0.0
) -> Mutagenesis:
    """Raw effects of an ensemble: ``shared`` sd of what a member adds to the slope in all sequences."""
    rng = np.random.default_rng(seed)
    x = np.eye(4)[rng.integers(0, 4, (N, W))].transpose(0, 2, 1)
    gamma = rng.normal(size=(N, 3, W))
    slope = theta + shared * rng.normal(size=(E, 1, 1, 1))
    direct = rng.normal(0, 0.02 + inside * np.abs(gamma), (N, 3, W))
    outcome = slope * gamma + bend * gamma * np.abs(gamma) + direct
    delta = np.stack([np.broadcast_to(gamma, (E, N, 3, W)), outcome], -1)
    delta = delta + rng.normal(0, 0.05, delta.shape)
    return Mutagenesis(delta, np.zeros((E, N, 2)), others(x), 0)


def conditions(found: Mutagenesis, held_out: HeldOut | None = None) -> dict[str, Finding]:
    result = deep_mr(found, None, 0, 1, instruments=10)
    listed = diagnose(found, result, 0, 1, instruments=10, held_out=held_out)
    return {one.condition.split(",")[0]: one for one in listed}


def test_a_good_result_passes_every_condition() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(200, 2))
    predicted = truth + 0.3 * rng.normal(size=(5, 200, 2))
    measured = truth + 0.3 * rng.normal(size=(200, 2))
    found = conditions(world(), HeldOut(predicted, measured))
    assert {one.status for one in found.values()} == {"pass"}
    assert len(found) == 6


@pytest.mark.parametrize(
    ("how", "condition"),
    [({"bend": 0.5}, "local linearity"), ({"inside": 0.5}, "InSIDE")],
)
def test_a_broken_condition_is_told(how: dict[str, Any], condition: str) -> None:
    found = conditions(world(**how))
    assert found[condition].status in ("warn", "fail")
    assert "->" in str(found[condition])


def test_saturation_accuracy_and_calibration_are_told() -> None:
    plain = world()
    cut = np.zeros(plain.delta.shape, dtype=bool)
    cut[0, :, 0, :3] = True
    rng = np.random.default_rng(1)
    wrong = HeldOut(0.1 * rng.normal(size=(5, 100, 2)), rng.normal(size=(100, 2)))
    with pytest.warns(UserWarning, match="are left out"):
        found = conditions(Mutagenesis(plain.delta, plain.reference, plain.alternative, 0, cut), wrong)
    assert found["saturated substitutions"].status == "fail"
    assert found["saturated substitutions"].value == pytest.approx(0.05)
    assert found["accuracy on held-out sequences"].status == "fail"
    assert found["calibration"].value > 5
    assert found["calibration"].status == "warn"
    assert conditions(plain)["calibration"].status == "not measured"
    with pytest.raises(InputError, match="held-out"):
        conditions(plain, HeldOut(np.zeros((5, 3, 2)), np.zeros((4, 2))))


def test_standard_deviations_are_judged_as_calibrated() -> None:
    """What is applied (factor=) is not asked for again; measurements come to the scale of the effects."""
    rng = np.random.default_rng(1)
    counts = rng.uniform(5, 50, (200, 2))

    def members(x: Array) -> Array:
        return np.stack([counts * np.exp(0.02 * rng.normal(size=counts.shape)) for _ in range(5)])

    regions = Regions(
        np.zeros((200, 4, 3)), [str(i) for i in range(200)], counts * rng.lognormal(0, 0.2, counts.shape), {}
    )
    held = _held_out(Scaled(members, "log1p"), regions, 0, 1, "log1p", "held.bed")
    residual = held.measured - held.predicted.mean(0)
    assert np.abs(residual.mean(0)).max() < 0.1
    found, factor = world(), (residual / held.predicted.std(0, ddof=1)).std(0)
    result = deep_mr(found, None, 0, 1)
    plain, again = (diagnose(found, result, 0, 1, held_out=held, factor=f)[1] for f in ((1.0, 1.0), tuple(factor)))
    assert plain.value > 5
    assert again.value < plain.value / 4
    with pytest.raises(InputError, match=r"held.bed: region 0 has the measured exposure .* scale='logit' cannot"):
        _held_out(members, regions, 0, 1, "logit", "held.bed")


@pytest.mark.parametrize("members", [2, 3, 5, 10])
def test_few_members_that_are_right_are_not_called_too_sure(members: int) -> None:
    """What is measured differs from members as these do from each other, and once more times sqrt(1 + 1/E)."""
    rng = np.random.default_rng(members)
    centre, sd = rng.normal(size=(400, 2)), rng.lognormal(-1, 0.4, (400, 2))
    predicted = centre + sd * rng.normal(size=(members, 400, 2))
    held = HeldOut(predicted, centre + sd * rng.normal(size=(400, 2)))
    factors, _ = _factors(held)
    assert max(factors) < (2.2 if members == 2 else 1.6)
    found = world()
    again = diagnose(found, deep_mr(found, None, 0, 1), 0, 1, held_out=held, factor=factors)[1]
    assert again.value == pytest.approx(1)


def test_errors_of_the_same_networks_are_no_sign_of_direct_effects() -> None:
    """Errors that grow with the effect and correlate by .9 leave no more than themselves of y - theta x."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=2000)
    se, rho = 0.05 + 0.5 * np.abs(x), 0.9
    error = rng.normal(size=(2, 2000))
    y = x + se * (rho * error[0] + np.sqrt(1 - rho**2) * error[1])
    where = np.zeros(2000, dtype=int)
    some = Effects(x + se * error[0], se, y, se, rho * se**2, where, where, where)
    assert inside(some, np.ones(2000)) < 0.1
    assert inside(replace(some, y=y + x * rng.normal(size=2000)), np.ones(2000)) > 0.25


@pytest.mark.parametrize("many", [2, 3])
def test_few_substitutions_of_a_sequence_are_no_sign_of_direct_effects(many: int) -> None:
    """The strongest of a few draws the slope to itself: what is left of it is small whatever its direct effect."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, many)) * rng.lognormal(0, 0.5, (300, many))
    where = np.repeat(np.arange(300), many)

    def judged(direct: np.ndarray) -> float:
        y = 0.7 * x + direct
        slope = (x * y).sum(1) / (x**2).sum(1)
        flat, se = x.ravel(), np.full(x.size, 0.01)
        some = Effects(flat, se, y.ravel(), se, 0 * se, where, where, where)
        return inside(some, slope[where])

    balanced = 0.1 * rng.normal(size=x.shape)
    assert judged(balanced) < 0.1
    assert judged(balanced * (0.2 + np.abs(x))) > 0.2


@pytest.mark.slow
def test_interval_holds_what_the_members_share() -> None:
    """Members share an error of sd .2 of the slope; averaged over five its sd is .09, far above that of the mean."""
    covered = {"same_data": 0, "ignore": 0}
    rounds = 30
    for seed in range(rounds):
        found = world(seed, shared=0.2)
        for members in covered:
            low, high = deep_mr(found, None, 0, 1, instruments=10, members=members).ci
            covered[members] += low <= 0.8 <= high
    assert covered["same_data"] >= 25  # .95: 24 or fewer have a chance of .002
    assert covered["ignore"] <= 15


@pytest.mark.slow
def test_the_model_has_it_too() -> None:
    found = world(3, shared=0.2)
    narrow, wide = (
        bayesian(found, 0, 1, members=members, instruments=10, strongest=200) for members in ("ignore", "same_data")
    )
    assert narrow.shared == 0
    assert wide.sd > 3 * narrow.sd
    assert wide.ci[0] < 0.8 < wide.ci[1]
    assert wide.mean == pytest.approx(narrow.mean, abs=4 * wide.sd / 20)
    # members that select do not estimate, and do not count
    how: dict[str, Any] = {"members": "same_data", "instruments": 10, "select": [0, 1]}
    some = bayesian(found, 0, 1, strongest=40, **how)
    assert some.shared == pytest.approx(deep_mr(found, None, 0, 1, **how).between_members / 3**0.5)


def test_widened_draws_have_the_t_quantiles() -> None:
    from scipy.stats import t

    drawn = widened(np.zeros(20_000), 2.0, 5, np.random.default_rng(0))
    assert np.quantile(drawn, 0.975) == pytest.approx(2 * t(4).ppf(0.975), rel=1e-3)


def net(rng: np.random.Generator) -> ConvNet:
    conv = Conv(rng.normal(0, 0.3, (6, 4, 5)), np.zeros(6))
    dense = [Dense(rng.normal(size=(8, 6)), np.zeros(8), "relu"), Dense(rng.normal(size=(2, 8)), np.zeros(2))]
    return ConvNet([conv], "max", dense)


def test_a_pass_of_dropout_is_one_network_for_a_sequence_and_its_mutants() -> None:
    rng = np.random.default_rng(0)
    whole = net(rng)
    x = np.eye(4)[rng.integers(0, 4, (2, 30))].transpose(0, 2, 1)
    ensemble = dropped([whole], 0.25, 400, rng)
    predicted: Array = ensemble(x)
    assert predicted.shape[0] == 400
    np.testing.assert_array_equal(predicted, ensemble(x))  # a pass keeps what it drops
    linear = ConvNet(whole.convolutions, "max", [Dense(np.ones((2, 6)), np.zeros(2))])
    mean = dropped([linear], 0.25, 4000, rng)(x).mean(0)
    exact = linear(x)
    np.testing.assert_allclose(mean, exact, rtol=0.05)  # of a linear head the mean is that without dropout
    found = mutagenise(dropped([whole], 0.25, 6, rng), x)
    assert found.delta.shape[0] == 6
    assert (found.delta.std(0) > 0).any()


@pytest.mark.parametrize(("rate", "passes", "message"), [(0.0, 5, "rate=0"), (1.0, 5, "rate=1"), (0.2, 1, "no spread")])
def test_dropout_without_spread_is_refused(rate: float, passes: int, message: str) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=message):
        dropped([net(rng)], rate, passes, rng)


def test_effects_differ_between_simulated_sequences_by_the_distance_of_the_motifs() -> None:
    found = simulate(np.random.default_rng(0), 300, 100, 100, heterogeneity=0.5)
    both = found.kind == BOTH
    assert (found.factor[~both] == 1).all()
    assert found.factor[both].min() >= 0.5
    assert found.factor[both].max() <= 1.5
    assert found.factor[both].std() > 0.2
    assert (simulate(np.random.default_rng(0), 50, 100, 100).factor == 1).all()
    with pytest.raises(InputError, match="heterogeneity=1"):
        simulate(np.random.default_rng(0), 5, 100, 100, heterogeneity=1)
    assert SPACING[0] < SPACING[1]
