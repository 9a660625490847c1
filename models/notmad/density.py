"""The model as a PyMC density; written from the generative process, not from the NumPy likelihood."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genarium.declaration import Sizes
from genarium.signatures import with_parameters

RATES = {"edge_weight": "beta", "shared_weight": "beta_shared"}
"""Weights of edges, and the rates of their priors."""

SQUARINGS = 6
"""Squarings after scaling by a power of two: the exponential's relative error is 1e-12 at norm 10, 1e-9 at norm 25."""


def build(options: Mapping[str, str], shapes: Mapping[str, tuple[str, ...]]) -> Callable[..., Any]:
    """Return the density of one variant.

    Parameters
    ----------
    options : mapping of str to str
        Values of the model's options.
    shapes : mapping of str to tuple of str
        Dims of the unknown variables.

    Returns
    -------
    callable
        ``density(sizes, <known and observed>)``, to be called inside a ``pm.Model`` context.
    """
    encoder, penalty, order, nodes = (options[name] for name in ("encoder", "penalty", "order", "nodes"))

    def density(
        sizes: Sizes, x: Any, context: Any, context_mean: Any, context_sd: Any, rule: Any, **known: Any
    ) -> None:
        import pymc as pm
        import pytensor.tensor as pt

        context = (context - context_mean) / context_sd
        if "position" in known:
            rule = pt.switch(known["position"][:, None] < known["position"], rule, -1)
        p, K, n = sizes["node"], sizes["archetype"], sizes["sample"]
        pairs = [(i, j) for i in range(p) for j in range(p) if (i < j if order == "given" else i != j)]
        rows, columns = [a for a, _ in pairs], [b for _, b in pairs]
        at: dict[str, Any] = {}
        for name, dims in shapes.items():
            if name in RATES:
                scale = 1 / known[RATES[name]]
                at[name] = pm.Laplace(name, 0, scale, dims=dims)
                if name == "shared_weight" or "shared_weight" not in shapes:  # required edges have a normal prior
                    normal = pm.logp(pm.Normal.dist(0, known["required_sd"]), at[name])
                    gain = (normal - pm.logp(pm.Laplace.dist(0, scale), at[name])) * pt.eq(rule[rows, columns], 1)
                    pm.Potential("required", gain.sum())
            elif name == "sigma":
                at[name] = pm.LogNormal(name, pt.log(known["sigma0"]), known["sigma_spread"], dims=dims or None)
            elif name in ("outgoing", "incoming"):
                at[name] = pm.Normal(name, 0, (2 / (known["beta"] ** 2 * sizes["factor"])) ** 0.25, dims=dims)
            elif name == "dispersion":
                at[name] = pm.LogNormal(name, pt.log(known["dispersion0"]), known["sigma_spread"], dims=dims)
            else:
                spread = known["tau_mean"] if name in ("mean_intercept", "mean_slope") else known["tau"]
                at[name] = pm.Normal(name, 0, spread / sizes["neuron"] ** 0.5 if name == "outer" else spread, dims=dims)
        weights = pt.special.softmax(_logits(encoder, context, at), axis=1)
        if "outgoing" in at:
            edges = _product(at["outgoing"], at["incoming"].transpose(0, 2, 1))[:, rows, columns]
        else:
            edges = at["edge_weight"] + at.get("shared_weight", 0.0)
        archetypes = pt.zeros((K, p, p))[:, rows, columns].set(edges * pt.ge(rule[rows, columns], 0))
        networks = (weights[:, :, None, None] * archetypes[None]).sum(1)
        mu = at.get("mean_intercept", 0.0)
        mu = mu + context @ at["mean_slope"] if "mean_slope" in at else mu
        if nodes != "gaussian":
            pm.Potential("likelihood", _linked(nodes, x, known["level"], mu, networks, at.get("dispersion")).sum())
            return
        centred = x - mu
        if options["missing"] == "integrated":
            absent = pt.isnan(x)
            centred = pt.switch(absent, 0.0, centred)
        residual = centred - (centred[:, :, None] * networks).sum(1)
        each = pm.logp(pm.Normal.dist(0, at["sigma"]), residual).sum(1)
        if options["missing"] == "integrated":
            each = each + _integrated(centred, absent, networks, at["sigma"], p)
        if order == "free":
            each = each + pt.linalg.slogdet(pt.eye(p) - networks)[1]
            pm.Potential("acyclic", -_times(known["alpha"], _h(penalty, networks, p).sum() / n))
            pm.Potential("acyclic_archetypes", -_times(known["gamma"], _h(penalty, archetypes, p).sum()))
        pm.Potential("likelihood", each.sum())

    scalars = ["alpha", "gamma", "beta", "required_sd", "tau"]
    scalars += ["sigma0", "sigma_spread"] if "sigma" in shapes else []
    scalars += ["dispersion0", "sigma_spread"] if "dispersion" in shapes else []
    scalars += ["tau_mean"] if "mean_intercept" in shapes else []
    scalars += ["beta_shared"] if "shared_weight" in shapes else []
    scalars += ["level"] if nodes != "gaussian" else []
    scalars += ["position"] if nodes != "gaussian" and order == "free" else []
    return with_parameters(["sizes", "x", "context", "context_mean", "context_sd", "rule", *scalars], density)


def _linked(nodes: str, x: Any, level: Any, mu: Any, networks: Any, dispersion: Any) -> Any:
    """Log probability of each value of nodes with a link, given those before it."""
    import pymc as pm
    import pytensor.tensor as pt

    handed = x - pt.sigmoid(level) if nodes == "logistic" else pt.log1p(x) - pt.softplus(level)
    eta = level + mu + (handed[:, :, None] * networks).sum(1)
    if nodes == "logistic":
        return pm.logp(pm.Bernoulli.dist(logit_p=eta), x)
    return pm.logp(pm.NegativeBinomial.dist(mu=pt.exp(eta), alpha=1 / dispersion), x)


def _integrated(r: Any, absent: Any, networks: Any, sigma: Any, p: int) -> Any:
    """Return what the log density of each sample gains by the integral over missing values, by elimination."""
    import pytensor.tensor as pt

    left = pt.eye(p) - networks
    Q = _product(left / sigma**2, left.transpose(0, 2, 1))
    b = pt.switch(absent, (Q * r[:, None, :]).sum(2), 0.0)
    both = absent[:, :, None] & absent[:, None, :]
    Q = pt.switch(both, Q, pt.eye(p)[None])
    log_det, square = 0.0, 0.0
    for k in range(p):  # symmetric and positive definite: no pivots need to be looked for
        pivot, row, of_b = Q[:, k, k], Q[:, k, :], b[:, k]
        log_det = log_det + pt.log(pivot)
        square = square + of_b**2 / pivot
        b = b - of_b[:, None] * row / pivot[:, None]
        Q = Q - row[:, :, None] * row[:, None, :] / pivot[:, None, None]
        Q = pt.set_subtensor(Q[:, k, k], 1.0)
    return 0.5 * square - 0.5 * log_det + 0.5 * np.log(2 * np.pi) * absent.sum(1)


def _logits(encoder: str, context: Any, at: Mapping[str, Any]) -> Any:
    import pytensor.tensor as pt

    if encoder == "linear":
        return context @ at["slope"] + at["intercept"]
    if encoder == "mlp":
        return pt.tanh(context @ at["inner"] + at["inner_bias"]) @ at["outer"] + at["intercept"]
    active = pt.tanh(context[:, :, None] * at["inner"] + at["inner_bias"])  # (sample, covariate, neuron)
    return (active[:, :, :, None] * at["outer"]).sum((1, 2)) + at["intercept"]


def _times(strength: Any, h: Any) -> Any:
    """Strength of a potential times its h, which may be infinite: no strength, no potential."""
    import pytensor.tensor as pt

    return pt.switch(pt.gt(strength, 0), strength * h, 0.0)


def _h(penalty: str, networks: Any, p: int) -> Any:
    """Acyclicity penalty of each network."""
    import pytensor.tensor as pt

    square = networks**2
    if penalty == "logdet":
        power = square
        for _ in range(16):  # its largest entry falls to zero exactly where the spectral radius is below one
            power = pt.clip(_product(power, power), 0, 1e30)
        inside = power.max((1, 2)) < 1
        return pt.switch(inside, -pt.linalg.slogdet(pt.eye(p) - square)[1], float("inf"))
    from pytensor.compile.builders import OpFromGraph

    W = pt.tensor3("W")

    def pullback(inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """Pull back by eq. 7: to tape the exponential would double the operations, and the time of compilation."""
        exponential = _exponential(inputs[0] ** 2, p)
        return [cotangents[0][:, None, None] * 2 * inputs[0] * exponential.transpose(0, 2, 1)]

    value = pt.diagonal(_exponential(W**2, p), axis1=1, axis2=2).sum(1) - p
    return OpFromGraph([W], [value], inline=True, pullback=pullback)(networks)


def _exponential(a: Any, p: int) -> Any:
    """Exponential of each matrix: a Taylor polynomial of degree eight in five products, then squarings."""
    import pytensor.tensor as pt

    eye = pt.eye(p)
    first = a / 2**SQUARINGS
    second = _product(first, first)
    third, fourth = _product(first, second), _product(second, second)
    high = eye / 24 + first / 120 + second / 720 + third / 5040 + fourth / 40320
    total = eye + first + second / 2 + third / 6 + _product(fourth, high)
    for _ in range(SQUARINGS):
        total = _product(total, total)
    return total


def _product(a: Any, b: Any) -> Any:
    """Products of matrices, elementwise: batched linear algebra compiles for minutes under Numba."""
    return (a[:, :, :, None] * b[:, None, :, :]).sum(2)
