"""Where NUTS, ADVI and the other engines start: around the abundances of a short EM run.

It runs EM for every chain, up to 60 sweeps, and draws around what it reaches: 2 CPU milliseconds for 20 classes, and
grows with the entries of the table. Chains of ``gibbs`` start here too.
"""

import numpy as np

from genarium.declaration import Array, Arrays, Problem
from genarium.errors import InputError
from genarium.remedies import flag

from .em import ascend
from .table import Table, table_of

SPARSE = 0.1
"""Concentration of the prior at and below which NUTS fails."""

SWEEPS = 60
"""Passes over the classes for a starting point."""

WIDE = 0.5
"""Starts are drawn as if there were this fraction of the reads: more widely than the posterior."""


def start(problem: Problem, rng: np.random.Generator) -> Arrays:
    """Start the engines at abundances drawn around those of a short EM run, more widely than the posterior.

    Parameters
    ----------
    problem : Problem
    rng : Generator

    Returns
    -------
    dict
        ``nu``.

    Raises
    ------
    InputError
        If the prior is sparse: its density has poles at the edges of the simplex, which gradients cannot follow.
    """
    alpha = problem["alpha"]
    at = int(alpha.argmin())
    if alpha[at] <= SPARSE:
        raise InputError(
            f"transcript_abundance: known variable 'alpha' (transcript): alpha[transcript={at} "
            f"({problem.coords['transcript'][at]})] = {alpha[at]:g}, but the methods of PyMC and Stan need more than "
            f"{SPARSE:g}: under a sparse prior NUTS diverges and its chains disagree. Use {flag('method', 'gibbs')} "
            "(exact) or "
            "method='vi', or alpha=1."
        )
    return {"nu": near_maximum(table_of(problem), alpha, rng)}


def near_maximum(table: Table, alpha: Array, rng: np.random.Generator) -> Array:
    """Draw abundances around an early stop of EM; positive and summing to one, shape (K,)."""
    a = ascend(table, tolerance=0.1, max_iterations=SWEEPS).a
    drawn = rng.standard_gamma(WIDE * a + np.maximum(alpha, 0.5)) + 1e-6
    return np.asarray(drawn / drawn.sum())
