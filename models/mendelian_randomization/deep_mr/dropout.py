"""Dropout at prediction (Gal and Ghahramani 2016): a second source of uncertainty, beside an ensemble's members.

A pass drops units of the dense layers' inputs. What it drops stays dropped for all sequences and their mutants, so that
a pass is another network, and mutagenesis sees the difference that a substitution makes, not that between two passes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from genarium.errors import InputError

from .convolution import ConvEnsemble, ConvNet


def dropped(nets: Sequence[ConvNet], rate: float, passes: int, rng: np.random.Generator) -> ConvEnsemble:
    """Return an ensemble of every network under every pass of dropout.

    Parameters
    ----------
    nets : sequence of ConvNet
        One network, or the members of an ensemble: member by member, ``passes`` networks each.
    rate : float
        Share of units dropped, that of the training; the others grow by 1 / (1 - rate).
    passes : int
    rng : Generator

    Returns
    -------
    ConvEnsemble

    Raises
    ------
    InputError
        If the rate is not above 0 and below 1, or there are fewer than two networks in all.
    """
    if not 0 < rate < 1:
        raise InputError(f"deep_mr: rate={rate:g} must lie between 0 and 1. Give that of the training, such as 0.2.")
    if len(nets) * passes < 2:
        raise InputError("deep_mr: one pass of one network has no spread. Ask for more passes.")
    found = []
    for net in nets:
        for _ in range(passes):
            dense = []
            for layer in net.dense:
                kept = rng.uniform(size=layer.weight.shape[1]) >= rate
                dense.append(replace(layer, weight=layer.weight * kept / (1 - rate)))
            found.append(replace(net, dense=dense))
    return ConvEnsemble(found)
