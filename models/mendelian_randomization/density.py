"""The model as a PyMC density, variants' true effects summed out; written from the story."""

from collections.abc import Callable
from typing import Any

from genarium.declaration import Sizes


def build(mixture: bool) -> Callable[..., None]:
    """Return the density, of the CAUSE-style mixture or without.

    Parameters
    ----------
    mixture : bool

    Returns
    -------
    callable
        ``density(sizes, <known and observed>)``, to be called inside a ``pm.Model`` context.
    """

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
        signs_given: Any,
    ) -> None:
        import pymc as pm
        import pytensor.tensor as pt

        ratio = outcome_scale / exposure_scale
        mean = pm.Normal("global_effect", 0, ratio)
        spread = pm.HalfNormal("heterogeneity", 0.5 * ratio)
        theta = pm.Normal("theta", mean, spread, dims="region", transform=_standardised())
        alpha = pm.Normal("intercept", 0, 0.3 * outcome_scale, dims="region")
        sd = pm.HalfNormal("exposure_sd", exposure_scale)
        omega = pm.HalfNormal("pleiotropy_sd", 0.5 * outcome_scale)

        directed = pt.switch(pt.neq(signs_given, 0), 1.0, pt.sign(beta_exposure)) * alpha[region]
        total = sd**2 + se_exposure**2
        of_x = pm.logp(pm.Normal.dist(exposure_mean, pt.sqrt(total)), beta_exposure)

        def of_y(slope: Any) -> Any:
            """Log density of y given x: a regression on what x says of gamma."""
            covariance = slope * sd**2 + error_covariance
            expected = slope * exposure_mean + covariance / total * (beta_exposure - exposure_mean)
            variance = slope**2 * sd**2 + omega**2 + se_outcome**2 - covariance**2 / total
            return pm.logp(pm.Normal.dist(directed + expected, pt.sqrt(variance)), beta_outcome)

        if not mixture:
            pm.Potential("effects", (of_x + of_y(theta[region])).sum())
            return
        q = pm.Beta("confounded_share", 1, 10)
        eta = pm.Normal("confounded_effect", 0, ratio)
        without, with_it = of_y(theta[region]), of_y(theta[region] + eta)
        mixed = pt.logaddexp(pt.log1p(-q) + without, pt.log(q) + with_it)
        pm.Potential("effects", (of_x + mixed).sum())

    return density


def _standardised() -> Any:
    """Sample regional effects as deviations in units of their spread: no funnel where regions say little."""
    import pytensor.tensor as pt
    from pymc.logprob import transforms

    base: Any = transforms.Transform

    class Standardised(base):  # type: ignore[misc]
        name = "standardised"
        ndim_supp = 0

        def forward(self, value: Any, *inputs: Any) -> Any:
            return (value - inputs[-2]) / inputs[-1]

        def backward(self, value: Any, *inputs: Any) -> Any:
            return inputs[-2] + inputs[-1] * value

        def log_jac_det(self, value: Any, *inputs: Any) -> Any:
            return pt.broadcast_to(pt.log(inputs[-1]), value.shape)

    return Standardised()
