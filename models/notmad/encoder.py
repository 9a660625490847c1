"""Encoders: from the context of a sample to the weights of the archetypes (eqs. 1 to 4 of the card).

An encoder is a table of parameters (name -> dims), a forward pass that takes draws as leading dims, and a pullback.
"""

from collections.abc import Mapping

import numpy as np

from genarium.declaration import Array

DIMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "linear": {"slope": ("covariate", "archetype")},
    "additive": {
        "inner": ("covariate", "neuron"),
        "inner_bias": ("covariate", "neuron"),
        "outer": ("covariate", "neuron", "archetype"),
    },
    "mlp": {"inner": ("covariate", "neuron"), "inner_bias": ("neuron",), "outer": ("neuron", "archetype")},
}
"""Dims of the parameters of each encoder; all have ``intercept`` (archetype) as well."""


SCALE = ("context_mean", "context_sd")
"""Known variables by which contexts are brought to one scale."""


def scaled(context: Array, context_mean: Array, context_sd: Array) -> Array:
    """Return contexts about their mean, divided by their spread: what encoders and means see."""
    return np.asarray((context - context_mean) / context_sd)


def mean_over_samples(context: Array) -> Array:
    """Mean of each covariate."""
    return np.asarray(np.mean(context, axis=0))


def spread_over_samples(context: Array) -> Array:
    """Return what covariates are divided by: their standard deviation; one for those that do not vary.

    A covariate of two values, such as a level of a category, is divided by half their difference, its standard
    deviation if both were as frequent: else the effect of a rare level would have a wide prior, where it should shrink.
    """
    spread = np.std(context, axis=0)
    low, high = context.min(0), context.max(0)
    two = ((context == low) | (context == high)).all(0)
    spread = np.where(two, (high - low) / 2, spread)
    return np.where(spread > 1e-12 * np.maximum(np.abs(context).max(0), 1e-300), spread, 1.0)


def names(encoder: str) -> tuple[str, ...]:
    """Names of an encoder's parameters, the intercept first."""
    return ("intercept", *DIMS[encoder])


def logits(encoder: str, context: Array, at: Mapping[str, Array]) -> Array:
    """Logits of the archetypes (eqs. 2 to 4).

    Parameters
    ----------
    encoder : {"linear", "additive", "mlp"}
    context : ndarray, shape (N, M)
        Scaled (:func:`scaled`).
    at : mapping of str to ndarray
        Parameters, with draws as leading dims if any.

    Returns
    -------
    ndarray, shape (..., N, K)
    """
    base = at["intercept"][..., None, :]
    if encoder == "linear":
        return np.asarray(base + context @ at["slope"])
    active = hidden(encoder, context, at)
    return np.asarray(base + active @ _outer(encoder, at["outer"]))


def hidden(encoder: str, context: Array, at: Mapping[str, Array]) -> Array:
    """Activities of the neurons; shape (..., N, H), or (..., N, M H) for the additive encoder."""
    if encoder == "mlp":
        return np.tanh(context @ at["inner"] + at["inner_bias"][..., None, :])
    inner, bias = at["inner"][..., None, :, :], at["inner_bias"][..., None, :, :]
    active = np.tanh(context[:, :, None] * inner + bias)  # (..., N, M, H)
    return active.reshape(*active.shape[:-2], -1)


def _outer(encoder: str, outer: Array) -> Array:
    return outer if encoder == "mlp" else outer.reshape(*outer.shape[:-3], -1, outer.shape[-1])


def pullback(encoder: str, context: Array, at: Mapping[str, Array], d_logits: Array) -> dict[str, Array]:
    """Gradient with respect to the parameters, given that with respect to the logits (N, K); no leading dims."""
    out = {"intercept": d_logits.sum(0)}
    if encoder == "linear":
        return {**out, "slope": context.T @ d_logits}
    active = hidden(encoder, context, at)
    out["outer"] = (active.T @ d_logits).reshape(at["outer"].shape)
    d_before = (d_logits @ _outer(encoder, at["outer"]).T) * (1 - active**2)
    if encoder == "mlp":
        return {**out, "inner": context.T @ d_before, "inner_bias": d_before.sum(0)}
    folded = d_before.reshape(len(context), *at["inner"].shape)
    return {**out, "inner": np.einsum("nm,nmh->mh", context, folded), "inner_bias": folded.sum(0)}


def curves(encoder: str, at: Mapping[str, Array], covariate: int, values: Array) -> Array:
    """Contribution of one covariate to the logits, centred over archetypes and values; shape (..., V, K).

    Raises
    ------
    ValueError
        For the multilayer encoder, whose covariates act together.
    """
    if encoder == "mlp":
        raise ValueError("the covariates of the encoder 'mlp' act together; ask for 'additive' or 'linear'")
    if encoder == "linear":
        out = values[:, None] * at["slope"][..., covariate, None, :]
    else:
        inner, bias = at["inner"][..., covariate, :], at["inner_bias"][..., covariate, :]
        out = np.tanh(values[:, None] * inner[..., None, :] + bias[..., None, :]) @ at["outer"][..., covariate, :, :]
    out = out - out.mean(-1, keepdims=True)
    return np.asarray(out - out.mean(-2, keepdims=True))
