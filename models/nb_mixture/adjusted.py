"""The model with covariates of the weights, batch effects on the means, and zero inflation (eqs. 31 to 33 of the card).

Shapes: N cells, D genes, K components, P covariates, B batches; draws may lead.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem, Sizes, Var
from genarium.signatures import with_parameters
from genarium.simplex import log_sum_exp
from genarium.supports import LARGEST, label, positive, real, unit_interval, zero_sum

from .likelihood import FLOOR, Story, quantities
from .rising import log_rising

WEIGHTS, MEANS, ZEROS = ("constant", "covariates"), ("constant", "batch"), ("plain", "inflated")
"""Values of the options of these names."""


class Adjusted(Story):
    """Likelihood, prior and draws under any value of the options; the plain ones are those of ``Story``."""

    def __init__(self, dispersion: str, weights: str = "constant", means: str = "constant", zeros: str = "plain"):
        super().__init__(dispersion)
        self.covariates, self.batches, self.inflated = weights == "covariates", means == "batch", zeros == "inflated"
        self.plain = not (self.covariates or self.batches or self.inflated)

    @classmethod
    def of(cls, problem: Problem) -> "Adjusted":
        """Return the functions for a problem."""
        return cls(*(problem.option(name) for name in ("dispersion", "weights", "means", "zeros")))

    @property
    def known(self) -> dict[str, Var]:
        """Known variables beside those of the plain model."""
        out: dict[str, Var] = {}
        if self.covariates:
            about = "Covariates of the weights, in units in which a change of one is a usual one."
            out["covariates"] = Var(("cell", "covariate"), real, about, "Z")
            about = "Standard deviation of the effects of covariates in their prior."
            out["sd_effect"] = Var((), positive, about, "σ_γ", default=1.0)
        if self.batches:
            out["batch"] = Var(("cell",), label("batch"), "Batch of each cell.", "b")
            about = "Standard deviation of the effects of batches in their prior."
            out["sd_shift"] = Var((), positive, about, "σ_β", default=0.5)
        if self.inflated:
            about = "Second parameter of the Beta(1, b) prior of the shares of lost counts."
            out["zero_b"] = Var((), positive, about, "b_w", default=9.0)
        return out

    @property
    def unknown(self) -> dict[str, Var]:
        """Unknown variables beside those of the plain model."""
        out: dict[str, Var] = {}
        if self.covariates:
            about = "Effect of a covariate on the log weight of a component, beside the mean of all."
            out["effect"] = Var(("covariate", "component"), zero_sum, about, "γ")
        if self.batches:
            about = "Log ratio of a gene's counts in a batch to their geometric mean over batches."
            out["shift"] = Var(("gene", "batch"), zero_sum, about, "β")
        if self.inflated:
            out["zero"] = Var(("gene",), unit_interval, "Share of a gene's counts that are lost, as zeros.", "w")
        return out

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes beside those of the plain model, in a default simulation."""
        return {**({"covariate": 1} if self.covariates else {}), **({"batch": 2} if self.batches else {})}

    @property
    def design(self) -> dict[str, Callable[..., Any]]:
        """Draw functions of known variables, for simulations."""
        out: dict[str, Callable[..., Any]] = {}
        if self.covariates:
            out["covariates"] = draw_covariates
        if self.batches:
            out["batch"] = deal_batches
        return out

    @property
    def prior(self) -> dict[str, Callable[..., Any]]:
        """Draw functions of the unknown variables."""
        all_ = {"effect": draw_effect, "shift": draw_shift, "zero": draw_zero}
        return {name: all_[name] for name in self.unknown}

    def names(self, *of: str) -> list[str]:
        """Return those of the names that this variant has."""
        have = {*self.known, *self.unknown}
        return [name for name in of if name in have]

    @property
    def assign(self) -> Callable[..., Array]:
        """Draw function of the groups."""
        names = ["rng", "sizes", "pi", *self.names("covariates", "effect")]

        def draw(rng: np.random.Generator, sizes: Sizes, pi: Array, **more: Array) -> Array:
            if not more:
                return np.asarray(rng.choice(sizes["component"], sizes["cell"], p=pi))
            logits = self.log_weights({"pi": pi, **more})  # (K, N)
            return np.asarray((logits + rng.gumbel(size=logits.shape)).argmax(0))

        return with_parameters(names, draw)

    @property
    def emit(self) -> Callable[..., Array]:
        """Draw function of the counts: NB(mean s mu e^shift, dispersion phi), genes independent given the group."""
        names = ["rng", "group", "mu", "phi", "size_factor", *self.names("batch", "shift", "zero")]

        def draw(rng: np.random.Generator, group: Array, mu: Array, phi: Array, size_factor: Array, **more: Any) -> Any:
            mean = size_factor[:, None] * mu[group] * self.fold(more)  # (N, D)
            r = 1 / self.spread(phi, mu)[group]
            mean = np.minimum(mean, LARGEST / (1 + 10 / np.sqrt(r)))  # a wild draw has counts that are still numbers
            counts = rng.negative_binomial(r, r / (r + mean))
            return np.where(rng.random(counts.shape) < more["zero"], 0, counts) if "zero" in more else counts

        return with_parameters(names, draw)

    def fold(self, values: Mapping[str, Any]) -> Any:
        """Return what batches multiply the means by; (..., N, D), or 1."""
        if not self.batches:
            return 1.0
        return np.exp(np.take(values["shift"], values["batch"], axis=-1)).swapaxes(-1, -2)

    def log_weights(self, values: Mapping[str, Any]) -> Array:
        """Log probability of each group before the counts are seen; (..., K, N), N being 1 without covariates (31)."""
        with np.errstate(divide="ignore"):
            log_pi = np.log(values["pi"])[..., None]  # (..., K, 1)
        if not self.covariates:
            return np.asarray(log_pi)
        logits = log_pi + (values["covariates"] @ values["effect"]).swapaxes(-1, -2)
        return np.asarray(logits - log_sum_exp(logits, -2)[..., None, :])

    def log_density(self, values: Mapping[str, Any], relative: bool = False) -> Array:
        """Log density of the counts of each cell in each group; (..., K, N) (32, 33).

        With ``relative``, without what is the same in all groups.
        """
        from scipy.special import gammaln

        x, s, mu = values["x"], values["size_factor"], values["mu"]
        r = 1 / self.spread(values["phi"], mu)
        depth = s[:, None] * self.fold(values)  # (..., N, D)
        out = np.empty((*mu.shape[:-1], len(x)))
        factorial, none = gammaln(x + 1), x == 0
        for k in range(mu.shape[-2]):
            mean, shape = depth * mu[..., k, None, :], r[..., k, None, :]
            if k == 0 or self.dispersion == "component":
                same = relative and self.dispersion != "component"
                rising = 0.0 if same else log_rising(x, shape) - factorial
            log_zero = -shape * np.log1p(mean / shape)
            each = rising + x * np.log(mean / (shape + mean)) + log_zero
            if self.inflated:
                w = values["zero"][..., None, :]
                with np.errstate(divide="ignore"):
                    here, lost = np.log1p(-w), np.log(w)
                each = np.where(none, np.logaddexp(lost, here + log_zero), here + each)
            out[..., k, :] = each.sum(-1)
        return out

    def joint(self, values: Mapping[str, Any], relative: bool = False) -> Array:
        """Log of a group's probability times the density of the cell in it; (..., K, N).

        With ``relative``, without what is the same in all groups.
        """
        if self.plain:
            from .likelihood import log_joint

            phi = self.spread(np.asarray(values["phi"]), values["mu"])
            return log_joint(values["x"], values["size_factor"], values["pi"], values["mu"], phi)
        return self.log_weights(values) + self.log_density(values, relative)

    @property
    def pointwise(self) -> Callable[..., Array]:
        """``log_likelihood`` with the parameters that this variant has."""
        names = ["x", "size_factor", "pi", "mu", "phi"]
        more = self.names("covariates", "effect", "batch", "shift", "zero")
        return with_parameters([*names, *more], lambda **values: log_sum_exp(self.joint(values), -2))

    @property
    def density_of_prior(self) -> Callable[..., Array]:
        """``log_prior`` with the parameters that this variant has."""
        plain = ["pi", "mu", "phi", "alpha0", "a0", "b0", *(["phi0", "tau"] if self.dispersion != "known" else [])]
        more = self.names("effect", "sd_effect", "shift", "sd_shift", "zero", "zero_b")

        def log_prior(**values: Array) -> Array:
            out = self.log_prior(**{name: values[name] for name in plain})
            if self.covariates:
                out = out + log_zero_sum_normal(values["effect"], values["sd_effect"])
            if self.batches:
                out = out + log_zero_sum_normal(values["shift"], values["sd_shift"])
            if self.inflated:
                b = values["zero_b"]
                out = out + (np.log(b) + (b - 1) * np.log1p(-values["zero"])).sum(-1)
            return np.asarray(out)

        return with_parameters([*plain, *more], log_prior)

    @property
    def quantities(self) -> Callable[..., Mapping[str, Any]]:
        """Label-invariant quantities."""
        more = self.names("effect", "shift", "zero")

        def found(pi: Array, mu: Array, **values: Array) -> Mapping[str, Any]:
            out = dict(quantities(pi, mu))
            if "effect" in values:
                order = np.argsort(mu[..., 0], -1)[..., None, :]
                out["effect_sorted"] = np.take_along_axis(values["effect"], order, -1)[..., :-1]  # the last one follows
            if "shift" in values:
                out["shift_of_gene"] = values["shift"][..., :-1]
            if "zero" in values:
                out["zero_of_gene"] = values["zero"]
            return out

        return with_parameters(["pi", "mu", *more], found)


def draw_covariates(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw covariates of unit scale."""
    return rng.normal(size=(sizes["cell"], sizes["covariate"]))


def deal_batches(sizes: Sizes) -> Array:
    """Deal the cells out to the batches in turn."""
    return np.arange(sizes["cell"]) % sizes["batch"]


def zero_summed(values: Array) -> Array:
    """Take off what rounding has left of the sum over the last dim."""
    return np.asarray(values - values.mean(-1, keepdims=True))


def zero_sum_normal(rng: np.random.Generator, sd: Array, shape: tuple[int, ...]) -> Array:
    """Draw normal values whose sum over the last dim is zero."""
    return zero_summed(sd * rng.normal(size=shape))


def log_zero_sum_normal(value: Array, sd: Array) -> Array:
    """Log density of them within the values whose sum is zero; the last two dims added up."""
    free = value.shape[-2] * (value.shape[-1] - 1)
    square: Array = (value**2).sum((-1, -2))
    return np.asarray(-0.5 * square / sd**2 - free * (np.log(sd) + 0.5 * np.log(2 * np.pi)))


def draw_effect(rng: np.random.Generator, sizes: Sizes, sd_effect: Array) -> Array:
    """Draw the effects of covariates."""
    return zero_sum_normal(rng, sd_effect, (sizes["covariate"], sizes["component"]))


def draw_shift(rng: np.random.Generator, sizes: Sizes, sd_shift: Array) -> Array:
    """Draw the effects of batches."""
    return zero_sum_normal(rng, sd_shift, (sizes["gene"], sizes["batch"]))


def draw_zero(rng: np.random.Generator, sizes: Sizes, zero_b: Array) -> Array:
    """Draw the shares of lost counts."""
    return np.clip(rng.beta(1, zero_b, sizes["gene"]), FLOOR, 1 - FLOOR)
