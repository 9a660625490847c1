"""The model as a PyMC density, variants' true effects summed out; written from the story."""

from collections.abc import Callable
from typing import Any

import numpy as np

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
        spread = pm.HalfNormal("heterogeneity", 0.5 * ratio)
        sign = pt.switch(pt.neq(signs_given, 0), 1.0, pt.sign(beta_exposure))
        slope, information = _slopes(
            *(sizes["region"], region, beta_exposure, beta_outcome, se_exposure, se_outcome, error_covariance),
            *(sign, 0.3 * outcome_scale),
        )
        # PyMC lets a transform see only what its variable depends on: hence what these two are given besides
        mean = pm.CustomDist(
            "global_effect",
            *(spread, ratio, slope, information),
            logp=lambda value, spread, ratio, slope, information: pm.logp(pm.Normal.dist(0, ratio), value),
            random=lambda spread, ratio, slope, information, rng, size: rng.normal(0, ratio, size),
            signature="(),(),(s),(s)->()",
            transform=_standardised(_mean_given),
        )
        theta = pm.Normal(
            *("theta", mean + pt.zeros_like(slope), spread),
            dims="region",
            transform=_standardised(lambda mean, spread: _effect_given(mean, spread, slope, information)),
        )
        alpha = intercept(outcome_scale, dims="region")
        sd = pm.HalfNormal("exposure_sd", exposure_scale)
        omega = pm.HalfNormal("pleiotropy_sd", 0.5 * outcome_scale)
        share = pm.Uniform("strong_share", 0, 1)

        given = pt.neq(signs_given, 0)

        def of_both(slope: Any, own: Any, side: Any) -> Any:
            """Log density of x, and of y given x: a regression on what x says of gamma, whose sd is ``own``.

            If signs are not given, ``side`` is that of gamma: its chance given both is a factor.
            """
            total = own**2 + se_exposure**2
            of_x = pm.logp(pm.Normal.dist(exposure_mean, pt.sqrt(total)), beta_exposure)
            covariance = slope * own**2 + error_covariance
            expected = slope * exposure_mean + covariance / total * (beta_exposure - exposure_mean)
            variance = slope**2 * own**2 + omega**2 + se_outcome**2 - covariance**2 / total
            both = of_x + pm.logp(pm.Normal.dist(side * alpha[region] + expected, pt.sqrt(variance)), beta_outcome)
            # gamma given x, then given y: its regression on what is left of y
            given_x = own**2 * se_exposure**2 / total
            beyond = slope - error_covariance / se_exposure**2
            gain = given_x * beyond / variance
            where = exposure_mean + own**2 / total * (beta_exposure - exposure_mean)
            where = where + gain * (beta_outcome - side * alpha[region] - expected)
            left = given_x - gain * beyond * given_x
            return both + pt.switch(given, 0.0, log_chance(side * where / pt.sqrt(left)))

        def of_any(slope: Any) -> Any:
            """Log density of both, of strong and other variants."""
            one = log_sum(pt.log(share) + of_both(slope, sd, 1), pt.log1p(-share) + of_both(slope, 0.1 * sd, 1))
            two = log_sum(pt.log(share) + of_both(slope, sd, -1), pt.log1p(-share) + of_both(slope, 0.1 * sd, -1))
            return pt.switch(given, one, log_sum(one, two))

        if not mixture:
            pm.Potential("effects", of_any(theta[region]).sum())
            return
        q = pm.Beta("confounded_share", 1, 10)
        eta = pm.Normal("confounded_effect", 0, ratio)
        without, with_it = of_any(theta[region]), of_any(theta[region] + eta)
        mixed = log_sum(pt.log1p(-q) + without, pt.log(q) + with_it)
        pm.Potential("effects", mixed.sum())

    return density


def log_chance(z: Any) -> Any:
    """Log of the standard normal distribution function; neither branch overflows where it is the other that counts."""
    import pytensor.tensor as pt

    low, high = pt.minimum(z, -1.0), pt.maximum(z, -1.0)
    far = pt.log(0.5 * pt.erfcx(-low / np.sqrt(2))) - 0.5 * low**2
    return pt.switch(z < -1.0, far, pt.log1p(-0.5 * pt.erfc(high / np.sqrt(2))))


def log_sum(a: Any, b: Any) -> Any:
    """Log of a sum of exponentials, whose gradient is a number also where both of them underflow."""
    import pytensor.tensor as pt

    return a + pt.softplus(b - a)


def intercept(scale: Any, **of_variable: Any) -> Any:
    """Declare intercepts: one region in five has directional pleiotropy."""
    import pymc as pm

    def log_density(value: Any, scale: Any) -> Any:
        wide, narrow = (pm.logp(pm.Normal.dist(0, sd * scale), value) for sd in (0.3, 0.05))
        return log_sum(np.log(0.2) + wide, np.log(0.8) + narrow)

    def draw(scale: Any, rng: Any, size: Any) -> Any:
        return scale * rng.normal(0, np.where(rng.uniform(size=size) < 0.2, 0.3, 0.05))

    return pm.CustomDist("intercept", scale, logp=log_density, random=draw, **of_variable)


def _slopes(
    regions: int, region: Any, x: Any, y: Any, s_x: Any, s_y: Any, covariance: Any, sign: Any, intercept_sd: Any
) -> tuple[Any, Any]:
    """Return what data alone say of each region's effect, roughly: a slope and its information (README)."""
    import pytensor.tensor as pt

    def total(values: Any) -> Any:
        return pt.inc_subtensor(pt.zeros((regions,))[region], values)

    w = 1 / s_y**2
    below = w * pt.maximum(x**2 - s_x**2, 0.1 * x**2)
    above = w * (x * y - covariance)
    inflation = pt.maximum((w * (y - above.sum() / below.sum() * x) ** 2).mean(), 1.0)
    xx, xy = total(below), total(above)
    xo, oy, oo = total(w * x * sign), total(w * sign * y), total(w) + inflation / intercept_sd**2
    left = pt.maximum(xx - xo**2 / oo, 0.05 * xx)
    return (xy - xo * oy / oo) / left, left / inflation


def _mean_given(spread: Any, ratio: Any, slope: Any, information: Any) -> tuple[Any, Any]:
    """Return mean and sd of the mean effect given the spread, were the regions' slopes all that is known (eq. 28)."""
    each = information / (1 + information * spread**2)
    precision = each.sum() + ratio**-2.0
    return (each * slope).sum() / precision, precision**-0.5


def _effect_given(mean: Any, spread: Any, slope: Any, information: Any) -> tuple[Any, Any]:
    """Return mean and sd of regional effects given mean and spread of all, likewise (eq. 27)."""
    import pytensor.tensor as pt

    weight = information * spread**2
    return (mean + weight * slope) / (1 + weight), spread / pt.sqrt(1 + weight)


def _standardised(given: Callable[..., tuple[Any, Any]]) -> Any:
    """Sample a variable in units of what ``given`` says of it: there is no funnel, whether data say little or much."""
    import pytensor.tensor as pt
    from pymc.logprob import transforms

    base: Any = transforms.Transform

    class Standardised(base):  # type: ignore[misc]
        name = "standardised"
        ndim_supp = 0

        def forward(self, value: Any, *inputs: Any) -> Any:
            centre, scale = given(*inputs[2:])
            return (value - centre) / scale

        def backward(self, value: Any, *inputs: Any) -> Any:
            centre, scale = given(*inputs[2:])
            return centre + scale * value

        def log_jac_det(self, value: Any, *inputs: Any) -> Any:
            return pt.broadcast_to(pt.log(given(*inputs[2:])[1]), value.shape)

    return Standardised()
