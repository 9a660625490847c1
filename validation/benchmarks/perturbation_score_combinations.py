"""Combinations of perturbation_score: coverage and error of their shares where effects do not add up.

``python validation/benchmarks/perturbation_score_combinations.py``: a control of 2,000 cells, 20 genes of 400 cells
each and effects of sd .6 on log shares of six states, 40 pairs that are seen with some cells, and 20 that are not. For
``conjugate`` without features it measures how often 90 % intervals of ``combinations`` cover the shares of both, the
mean error of the seen ones beside that of the sum of their parts, and the estimated scale of interactions
(``card_tables.py``).
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

from itertools import combinations as pairs_of

import numpy as np
import xarray as xr
from card_tables import Table, run  # type: ignore[import-not-found]
from scipy.special import softmax

import genarium as gn
from genarium.models.perturbation_score import combinations
from genarium.models.perturbation_score.story import centred

GENES, STATES, SEEN = 20, 6, 40


def one(what: str, size: float | None, seed: int) -> dict[str, float]:
    """Simulate, fit and compare."""
    cells, scale = int(what.split()[0]), size or 0.0
    rng = np.random.default_rng([seed, cells, int(1000 * scale)])
    base, effect = np.log(rng.dirichlet(np.full(STATES, 3.0))), centred(rng.normal(0, 0.6, (GENES, STATES)))
    pairs = rng.permutation(list(pairs_of(range(GENES), 2)))[:60]
    interaction = np.sqrt(STATES / (STATES - 1)) * centred(rng.normal(0, scale, (len(pairs), STATES)))
    truth = softmax(base + effect[pairs].sum(1) + interaction, axis=1)
    names = ["control", *(f"g{i}" for i in range(GENES)), *(f"g{a}+g{b}" for a, b in pairs[:SEEN])]
    shares = np.concatenate([softmax(base)[None], softmax(base + effect, axis=1), truth[:SEEN]])
    count = rng.multinomial([2000] + [400] * GENES + [cells] * SEEN, shares)
    data = xr.DataArray(count, dims=("perturbation", "state"), coords={"perturbation": names})
    fit = gn.fit("perturbation_score", {"count": data}, "conjugate", regression="none")
    told = combinations(fit, "control", pairs=[(f"g{a}", f"g{b}") for a, b in pairs[SEEN:]])
    told = told.sel(combination=[f"g{a}+g{b}" for a, b in pairs])
    inside = (told["low"].to_numpy() <= truth) & (truth <= told["high"].to_numpy())
    return {
        "covered_seen": float(inside[:SEEN].mean()),
        "covered_unseen": float(inside[SEEN:].mean()),
        **{name: float(np.abs(told[name].to_numpy() - truth)[:SEEN].mean()) for name in ("share", "additive")},
        "scale": told.attrs["interaction_scale"],
    }


TABLES = [
    Table(
        script="perturbation_score_combinations",
        model="perturbation_score",
        worlds=dict.fromkeys(("100 cells", "30 cells"), (0.01, 0.2, 0.43, 0.8)),
        one=one,
        columns={
            "covered_seen": "cover, seen",
            "covered_unseen": "cover, not seen",
            "share": "error, seen",
            "additive": "error of the sum",
            "scale": "ω̂",
        },
        simulations=10,
        first="cells of a pair; sd of interactions on log shares",
    )
]

if __name__ == "__main__":
    run(TABLES, __doc__)
