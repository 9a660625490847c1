"""The model as a PyMC density; written from the story, not from the NumPy likelihood."""

from collections.abc import Callable, Mapping
from typing import Any

from genarium.declaration import Sizes
from genarium.signatures import with_parameters

RATES = {"edge_weight": "beta", "shared_weight": "beta_shared"}
"""Weights of edges, and the rates of their priors."""

SQUARINGS = 6
"""Squarings after scaling by a power of two: the exponential's relative error is 1e-12 at norm 10, 1e-9 at norm 25."""


def build(
    encoder: str, penalty: str, order: str, mean: str, shapes: Mapping[str, tuple[str, ...]]
) -> Callable[..., Any]:
    """Return the density of one variant.

    Parameters
    ----------
    encoder, penalty, order, mean : str
        Values of the model's options.
    shapes : mapping of str to tuple of str
        Dims of the unknown variables.

    Returns
    -------
    callable
        ``density(sizes, <known and observed>)``, to be called inside a ``pm.Model`` context.
    """

    def density(
        sizes: Sizes, x: Any, context: Any, context_mean: Any, context_sd: Any, rule: Any, **known: Any
    ) -> None:
        import pymc as pm
        import pytensor.tensor as pt

        context = (context - context_mean) / context_sd
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
            else:
                spread = known["tau_mean"] if name in ("mean_intercept", "mean_slope") else known["tau"]
                at[name] = pm.Normal(name, 0, spread / sizes["neuron"] ** 0.5 if name == "outer" else spread, dims=dims)
        weights = pt.special.softmax(_logits(encoder, context, at), axis=1)
        edges = at["edge_weight"] + at["shared_weight"] if "shared_weight" in at else at["edge_weight"]
        archetypes = pt.zeros((K, p, p))[:, rows, columns].set(edges * pt.ge(rule[rows, columns], 0))
        networks = (weights[:, :, None, None] * archetypes[None]).sum(1)
        centred = x
        if mean == "regressed":
            centred = x - (at["mean_intercept"] + context @ at["mean_slope"])
        residual = centred - (centred[:, :, None] * networks).sum(1)
        each = pm.logp(pm.Normal.dist(0, at["sigma"]), residual).sum(1)
        if order == "free":
            each = each + pt.linalg.slogdet(pt.eye(p) - networks)[1]
            pm.Potential("acyclic", -_times(known["alpha"], _h(penalty, networks, p).sum() / n))
            pm.Potential("acyclic_archetypes", -_times(known["gamma"], _h(penalty, archetypes, p).sum()))
        pm.Potential("likelihood", each.sum())

    scalars = ["alpha", "gamma", "beta", "required_sd", "tau", "sigma0", "sigma_spread"]
    scalars += ["tau_mean"] if mean == "regressed" else []
    scalars += ["beta_shared"] if "shared_weight" in shapes else []
    return with_parameters(["sizes", "x", "context", "context_mean", "context_sd", "rule", *scalars], density)


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
