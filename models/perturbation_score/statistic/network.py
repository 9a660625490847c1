"""The neural statistic as one PyTensor graph: f, G, H, T and the loss; equation numbers refer to the card.

Both trainers and every prediction take their functions from here. Shapes: M cells of a batch, B perturbations, J
targets, G genes, m programs, K states, D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array

RECOGNITIONS = ("apart", "raw", "normalised")


@dataclass(frozen=True)
class Size:
    """Sizes of the network.

    Attributes
    ----------
    genes, features, states : int
        G, D, K.
    programs : int
        m, the length of the statistic.
    token : int
        e, the length of a program's token.
    values : int
        Rows of the dictionary that a target makes.
    width : int
        Hidden units of the feed-forward nets.
    out_max : float
        Largest distance: 2 for l1.
    """

    genes: int
    features: int
    states: int = 5
    programs: int = 10
    token: int = 8
    values: int = 16
    width: int = 32
    out_max: float = 2.0


def initial(size: Size, rng: np.random.Generator, dtype: str = "float32") -> dict[str, Array]:
    """Draw starting values of the network's weights: normal, scaled by the number of inputs.

    Parameters
    ----------
    size : Size
    rng : Generator
    dtype : str

    Returns
    -------
    dict of str to ndarray
        In the order in which every function takes them.
    """
    G, D, K, m, e, v, w = (
        *(size.genes, size.features, size.states, size.programs),
        *(size.token, size.values, size.width),
    )
    shapes: dict[str, tuple[int, ...]] = {
        **{"f_weight": (G, m), "f_bias": (m,)},
        **{"g_id": (m, e), "g_value": (m, e), "g_query": (e, e), "g_key": (e, e), "g_vector": (e, e)},
        **{"g_out": (e,), "g_bias": (m,)},
        **{"h_weight": (K, w), "h_bias": (w,), "h_keys": (w, v * m), "h_keys_bias": (v * m,)},
        **{"h_values": (w, v), "h_values_bias": (v,)},
        **{"h_mix": (v, w), "h_mix_bias": (w,), "h_out": (w,), "h_out_bias": ()},
        **{"t_weight": (D, w), "t_bias": (w,), "t_out": (w, m), "t_out_bias": (m,)},
    }
    out = {}
    for name, shape in shapes.items():
        flat = name.endswith("bias")
        scale = 0.0 if flat else 1.0 if name in ("g_id", "g_value") else 1 / np.sqrt(shape[0])
        out[name] = np.asarray(scale * rng.normal(size=shape), dtype=dtype)
    return out


def summary(w: Mapping[str, Any], cells: Any, average: Any, size: Size) -> Any:
    """s(P) = G(mean f(x)) (eqs. 11, 12): cells (M, G), averaging weights (B, M); gives (B, m)."""
    import pytensor.tensor as pt

    z = pt.dot(average, pt.tanh(pt.dot(cells, w["f_weight"]) + w["f_bias"]))  # (B, m)
    token = w["g_id"] + z[:, :, None] * w["g_value"]  # (B, m, e)
    query, key, vector = (pt.dot(token, w[name]) for name in ("g_query", "g_key", "g_vector"))
    root = np.asarray(np.sqrt(size.token), dtype=w["g_id"].dtype)
    attention = pt.special.softmax((query[:, :, None, :] * key[:, None, :, :]).sum(-1) / root, axis=-1)  # (B, m, m)
    mixed = (attention[:, :, :, None] * vector[:, None, :, :]).sum(2)  # (B, m, e)
    return z + pt.dot(mixed, w["g_out"]) + w["g_bias"]


def distance(w: Mapping[str, Any], s: Any, target: Any, size: Size) -> Any:
    """H(s, Q) (eq. 13): statistics (B, m), targets (J, K); gives (B, J) between zero and ``out_max``."""
    import pytensor.tensor as pt

    hidden = pt.tanh(pt.dot(target, w["h_weight"]) + w["h_bias"])  # (J, w)
    keys = (pt.dot(hidden, w["h_keys"]) + w["h_keys_bias"]).reshape((-1, size.values, size.programs))  # (J, v, m)
    values = pt.dot(hidden, w["h_values"]) + w["h_values_bias"]  # (J, v)
    root = np.asarray(np.sqrt(size.programs), dtype=w["g_id"].dtype)
    flat = keys.reshape((-1, size.programs))  # (J v, m)
    score = pt.dot(s, flat.T).reshape((s.shape[0], target.shape[0], size.values)) / root
    mixed = pt.special.softmax(score, axis=-1) * values[None]  # (B, J, v)
    out = pt.dot(pt.tanh(pt.dot(mixed, w["h_mix"]) + w["h_mix_bias"]), w["h_out"]) + w["h_out_bias"]
    return np.asarray(size.out_max, dtype=w["g_id"].dtype) * pt.sigmoid(out)


def recognise(w: Mapping[str, Any], features: Any) -> Any:
    """T(g) (eq. 14): features (B, D); gives the statistic they predict, (B, m)."""
    import pytensor.tensor as pt

    return pt.dot(pt.tanh(pt.dot(features, w["t_weight"]) + w["t_bias"]), w["t_out"]) + w["t_out_bias"]


def losses(
    w: Mapping[str, Any], data: Mapping[str, Any], size: Size, recognition: str, paired: bool = False
) -> tuple[Any, ...]:
    """Mean squared error of the distance, and the recognition loss (eqs. 15, 16).

    Parameters
    ----------
    w : mapping of str to tensor
    data : mapping of str to tensor
        ``cells`` (N, G) with ``index`` (M,) of the batch's rows, ``average`` (B, M), ``features`` (B, D), ``target``
        (J, K), ``truth`` (B, J).
    size : Size
    recognition : {"apart", "raw", "normalised"}
        "apart" lets T follow the statistic without bending it; "raw" is the squared error, "normalised" divides it by
        the statistic's variance over the batch.
    paired : bool
        The second half of the batch are other cells of the first half's perturbations.

    Returns
    -------
    fit, recognised : tensor
        Scalars.
    unsteady, misranked : tensor
        Of a paired batch, also what two samples of one perturbation differ by (eq. 16b), and how badly perturbations
        are ranked (eq. 16c).
    """
    from pytensor.gradient import disconnected_grad

    s = summary(w, data["cells"][data["index"]], data["average"], size)
    told = distance(w, s, data["target"], size)
    fit = ((told - data["truth"]) ** 2).mean()
    more = (unsteady(s), misranked(told, data["truth"])) if paired else ()
    aim = disconnected_grad(s) if recognition == "apart" else s
    error = ((recognise(w, data["features"]) - aim) ** 2).sum(1).mean()
    if recognition == "raw":
        return fit, error, *more
    floor = np.asarray(1e-8, dtype=w["g_id"].dtype)
    return fit, error / (((aim - aim.mean(0)) ** 2).mean(0).sum() + floor), *more


def unsteady(s: Any) -> Any:
    """Squared difference of two samples' statistics (2 B, m) over twice the variance between perturbations (16b)."""
    half = s.shape[0] // 2
    first, second = s[:half], s[half:]
    middle = (first + second) / np.asarray(2, dtype=s.dtype)
    spread = ((middle - middle.mean(0)) ** 2).mean(0).sum() + np.asarray(1e-8, dtype=s.dtype)
    return ((first - second) ** 2).mean(0).sum() / (np.asarray(2, dtype=s.dtype) * spread)


def misranked(told: Any, truth: Any) -> Any:
    """Logistic loss of all pairs of perturbations, each by how far apart they truly are (16c): told, truth (B, J)."""
    import pytensor.tensor as pt

    apart = truth[:, None, :] - truth[None, :, :]
    margin = (told[:, None, :] - told[None, :, :]) * pt.sign(apart) / np.asarray(TEMPERATURE, dtype=told.dtype)
    weight = pt.abs(apart)
    return (weight * pt.softplus(-margin)).sum() / (weight.sum() + np.asarray(1e-8, dtype=told.dtype))


TEMPERATURE = 0.1
"""Difference of two distances that counts as clear, for a ranking."""


BATCH = ("cells", "index", "average", "features", "target", "truth")
"""What a loss takes beside the weights."""


def symbols(
    size: Size, dtype: str, batch: tuple[int | None, int | None, int | None] = (None, None, None)
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make the graph's inputs: weights, and a batch; M, B and J of it are open unless ``batch`` says them."""
    import pytensor.tensor as pt

    M, B, J = batch
    shapes = {name: value.shape for name, value in initial(size, np.random.default_rng(0), dtype).items()}
    weights = {name: pt.tensor(name, dtype=dtype, shape=shape) for name, shape in shapes.items()}
    open_or_not = ((None, size.genes), (M,), (B, M), (B, size.features), (J, size.states), (B, J))
    inputs = {
        name: pt.tensor(name, dtype="int64" if name == "index" else dtype, shape=shape)
        for name, shape in zip(BATCH, open_or_not, strict=True)
    }
    return weights, inputs
