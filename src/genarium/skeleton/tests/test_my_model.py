"""The model against naive references: loops, scipy, and integrals by brute force."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import genarium as gn

FOLDER = Path(__file__).parents[1]
MODEL = gn.get(FOLDER)
COUNT = np.array([[0, 3, 1], [2, 5, 0]])
EXPOSURE = np.array([0.5, 2.0])


def test_likelihood_and_prior_are_those_of_the_card() -> None:
    rate, inverse_scale = np.array([0.4, 1.9, 0.2]), 1.3
    expected = [sum(stats.poisson.logpmf(COUNT[n], EXPOSURE[n] * rate)) for n in range(2)]
    assert MODEL.log_likelihood is not None
    assert MODEL.log_prior is not None
    np.testing.assert_allclose(MODEL.log_likelihood(COUNT, EXPOSURE, rate), expected, rtol=1e-12)
    prior = sum(stats.gamma.logpdf(rate, 2, scale=1 / inverse_scale)) + stats.gamma.logpdf(
        inverse_scale, 3, scale=1 / 6
    )
    found = MODEL.log_prior(np.array(inverse_scale), rate, np.array(2.0), np.array(3.0), np.array(6.0))
    assert found == pytest.approx(prior, rel=1e-12)


def test_gibbs_finds_the_posterior_of_the_inverse_scale() -> None:
    fit = gn.fit(MODEL, {"count": COUNT, "exposure": EXPOSURE}, "gibbs", seed=1, draws=2000, chains=2)
    # rates integrated out, a gene's total is negative binomial given the inverse scale
    beta = np.linspace(1e-3, 8, 20_000)
    log_density = stats.gamma.logpdf(beta, 3, scale=1 / 6)
    for total in COUNT.sum(0):
        log_density += stats.nbinom.logpmf(total, 2, beta / (beta + EXPOSURE.sum()))
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    mean = weight @ beta
    sd = np.sqrt(weight @ (beta - mean) ** 2)
    draws = fit["posterior"]["inverse_scale"].to_numpy()
    # successive draws are correlated: a quarter of the 4000 counts as independent, for a tolerance of 4 standard errors
    assert draws.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(1000))
    assert draws.std() == pytest.approx(sd, rel=4 / np.sqrt(2 * 500))


def test_reader_takes_counts_and_exposures(tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_text("sample,depth,g1,g2\ns1,0.5,0,3\ns2,2,2,5\n")
    tree = gn.read(MODEL, tmp_path / "counts.csv", exposure="depth")
    np.testing.assert_array_equal(tree["observed_data"]["count"], [[0, 3], [2, 5]])
    np.testing.assert_array_equal(tree["constant_data"]["exposure"], [0.5, 2])
    assert list(tree["observed_data"]["gene"].to_numpy()) == ["g1", "g2"]


def test_predictions_scale_with_exposure() -> None:
    fit = gn.fit(MODEL, {"count": COUNT, "exposure": EXPOSURE}, "gibbs", seed=1)
    rate = fit["posterior"]["rate"].mean(("chain", "draw")).to_numpy()
    found = gn.predict(fit, {"count": [[0, 0, 0]], "exposure": [4.0]}, model=MODEL)["predictions"]["expected"]
    np.testing.assert_allclose(found, 4 * rate[None])


def test_negative_counts_are_refused() -> None:
    with pytest.raises(gn.InputError, match=r"count\[sample=0, gene=1\] = -1"):
        gn.fit(MODEL, {"count": [[0, -1]]}, "gibbs")
