"""Samplers once at the size of real data: certificates are made at small sizes, where no exponent overflows."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

import genarium as gn
from genarium.calibration import plan_of, replicate
from genarium.data import check
from genarium.evaluate import at_draws

RARE = 1e-3
"""How often the truth may lie farther out than the bound by chance, over all quantities of a model."""

SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "nb_mixture": ("gibbs", {"cell": 5000, "gene": 10, "component": 4, "draws": 100, "tune": 100}),
    "mendelian_randomization": ("gibbs", {"variant": 2000, "region": 20, "draws": 200, "tune": 100}),
    "transcript_abundance": (
        "gibbs",
        {"transcript": 30, "equivalence_class": 80, "entry": 400, "reads": 20_000_000, "draws": 300, "tune": 300},
    ),
    "locus_regression": (
        "gibbs",
        {"genome": 50, "locus": 2000, "feature": 4, "cell": 200_000, "process": 4, "draws": 150, "tune": 150},
    ),
    "notmad": ("nuts", {"sample": 500, "node": 5, "covariate": 2, "draws": 60, "tune": 150}),
}
"""Samplers by model, with sizes and the length of two chains."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "index"), [*((name, 0) for name in SIZES), ("transcript_abundance", 1)])
def test_truths_lie_among_draws_at_the_size_of_real_data(
    name: str, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A truth of the prior is one more draw of the posterior of its data, as far as normal densities go.

    A sampler that is lost makes its own draws wide: the log likelihood is held to the spread that it has under a normal
    posterior, sqrt(D / 2) nats for D unknown numbers, by a factor of two.
    """
    monkeypatch.setattr(replicate, "LONGEST", 1)
    method, settings = SIZES[name]
    plan = plan_of(name, method, 1, {**settings, "chains": 2})
    record = replicate.run(plan, index)
    assert "sd" in record, record["error"]
    ess, names = record["stats"]["ess"], record["names"]
    truth, mean, sd = (np.array(record[part]) for part in ("truth", "mean", "sd"))
    unknown = sum(np.size(value) for value in record["unknown"].values())
    assert np.isfinite(sd).all()
    at = names.index("log_likelihood")
    sd[at] = min(sd[at], np.sqrt(2 * unknown))
    moving = sd > 0
    assert (truth == mean)[~moving].all()
    z = (truth - mean)[moving] / sd[moving]
    assert ess > 10, ess
    n = min(ess, plan.ranks)
    bound = stats.t(n - 1).isf(RARE / (2 * len(z))) * np.sqrt(1 + 1 / n)
    assert np.abs(z).max() < bound, {names[i]: (truth[i], mean[i], sd[i]) for i in np.argsort(-np.abs(z))[:3]}


@pytest.mark.slow
def test_proportions_lie_within_what_conjugate_says_of_2000_perturbations() -> None:
    """With as many, the mode of mu and kappa is nearly their truth, and a proportion's posterior a Beta density."""
    model = gn.get("perturbation_score")
    data = gn.simulate(model, 1, perturbation=2000, state=5, feature=10)
    fit, truth = gn.fit(model, data, "conjugate", seed=1), data["truth"].to_dataset()
    a, share = fit["point"]["concentration"].to_numpy(), truth["proportion"].to_numpy()
    below = np.asarray(stats.beta.cdf(share, a, a.sum(1, keepdims=True) - a))
    assert stats.kstest(below.ravel(), "uniform").pvalue > RARE
    held = below[a > 1]  # others are zero to rounding
    assert min(held.min(), 1 - held.max()) > RARE / (2 * held.size)
    problem, names = check(model, data), list(model.unknown.variables)
    assert model.log_likelihood is not None
    each = {name: np.stack([one[name].to_numpy() for one in (truth, fit["point"])]) for name in names}
    at_truth, at_mode = at_draws(problem, model.log_likelihood, each).sum(1)
    assert 0 < 2 * (at_mode - at_truth) < stats.chi2(sum(value[0].size for value in each.values())).isf(RARE)
