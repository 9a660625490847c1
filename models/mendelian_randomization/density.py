"""The model as a PyMC density, variants' true effects summed out; written from the story."""

from typing import Any

from genarium.declaration import Sizes


def density(
    sizes: Sizes,
    beta_exposure: Any,
    beta_outcome: Any,
    se_exposure: Any,
    se_outcome: Any,
    error_covariance: Any,
    region: Any,
    exposure_mean: Any,
    exposure_scale: Any,
    outcome_scale: Any,
) -> None:
    """Define the unknown variables and the density of the observations inside a ``pm.Model`` context."""
    import pymc as pm
    import pytensor.tensor as pt

    ratio = outcome_scale / exposure_scale
    mean = pm.Normal("global_effect", 0, ratio)
    spread = pm.HalfNormal("heterogeneity", 0.5 * ratio)
    theta = pm.Normal("theta", mean, spread, dims="region", transform=_standardised())
    alpha = pm.Normal("intercept", 0, 0.3 * outcome_scale, dims="region")
    sd = pm.HalfNormal("exposure_sd", exposure_scale)
    omega = pm.HalfNormal("pleiotropy_sd", 0.5 * outcome_scale)

    # y given x is a regression on what x says of gamma
    slope, expected = theta[region], exposure_mean
    total = sd**2 + se_exposure**2
    of_x = pm.logp(pm.Normal.dist(expected, pt.sqrt(total)), beta_exposure)
    covariance = slope * sd**2 + error_covariance
    conditional = alpha[region] + slope * expected + covariance / total * (beta_exposure - expected)
    variance = slope**2 * sd**2 + omega**2 + se_outcome**2 - covariance**2 / total
    of_y = pm.logp(pm.Normal.dist(conditional, pt.sqrt(variance)), beta_outcome)
    pm.Potential("effects", (of_x + of_y).sum())


def _standardised() -> Any:
    """Sample regional effects as deviations in units of their spread: no funnel where regions say little."""
    import pytensor.tensor as pt
    from pymc.logprob.transforms import Transform

    class Standardised(Transform):
        name = "standardised"
        ndim_supp = 0

        def forward(self, value: Any, *inputs: Any) -> Any:
            return (value - inputs[-2]) / inputs[-1]

        def backward(self, value: Any, *inputs: Any) -> Any:
            return inputs[-2] + inputs[-1] * value

        def log_jac_det(self, value: Any, *inputs: Any) -> Any:
            return pt.broadcast_to(pt.log(inputs[-1]), value.shape)

    return Standardised()
