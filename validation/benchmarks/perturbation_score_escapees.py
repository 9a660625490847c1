"""Escapees of perturbation_score: error and coverage of the shares of cells that were not hit.

``python validation/benchmarks/perturbation_score_escapees.py``: 2,000 control cells and six perturbations in twelve
components and four states; shares of .1, .3 and .6 of the cells, by guide, are as the control, the others lie a
distance from it in a direction of each perturbation. With one guide a perturbation has one of these shares. Beside it
stands what ten lines give: the share of cells nearer to the control than to the mean of the perturbation's cells
(``card_tables.py``).
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import numpy as np
from card_tables import Table, run  # type: ignore[import-not-found]

from genarium.declaration import Array
from genarium.models.perturbation_score import escapees

COMPONENTS, STATES, CONTROL, PERTURBATIONS = 12, 4, 2000, 6
SHARES = (0.1, 0.3, 0.6)
WORLDS = ("40 cells, three", "160 cells, three", "40 cells, one", "160 cells, one")


def one(what: str, size: float | None, seed: int) -> dict[str, float]:
    """Simulate, estimate and compare."""
    cells, guides = int(what.split()[0]), 3 if what.endswith("three") else 1
    rng = np.random.default_rng([seed, cells, guides, int(10 * (size or 0))])
    means = 2 * rng.normal(size=(STATES, COMPONENTS))

    def drawn(n: int, hit: Array) -> tuple[Array, Array]:
        state = rng.integers(STATES, size=n)
        return rng.normal(size=(n, COMPONENTS)) + means[state] + hit, state

    x, state = drawn(CONTROL, np.zeros(COMPONENTS))
    parts, states, names, labels = [x], [state], ["control"] * CONTROL, ["control"] * CONTROL
    truth: dict[str, float] = {}
    for p in range(PERTURBATIONS):
        away = rng.normal(size=COMPONENTS)
        away *= (size or 0) / np.linalg.norm(away)
        for share in SHARES if guides == 3 else [SHARES[p % 3]]:
            guide = f"p{p} {share}"
            hit = rng.random(cells) >= share
            x, state = drawn(cells, hit[:, None] * away)
            parts, states = [*parts, x], [*states, state]
            names, labels = [*names, *[f"p{p}"] * cells], [*labels, *[guide] * cells]
            truth[guide] = share
    x, state = np.concatenate(parts), np.concatenate(states)
    told, _ = escapees(x, names, "control", guide=labels, state=state, seed=seed)
    told = told.sel(guide=list(truth))
    right = np.array(list(truth.values()))
    inside = (told["low"].to_numpy() <= right) & (right <= told["high"].to_numpy())
    plain = [nearer(x, state, np.array(labels) == guide, np.array(names)) for guide in truth]
    return {
        "error": float(np.abs(told["not_hit"].to_numpy() - right).mean()),
        "covered": float(inside.mean()),
        "clear": float(told["clear"].to_numpy().mean()),
        "plain": float(np.abs(np.array(plain) - right).mean()),
    }


def nearer(x: Array, state: Array, own: Array, names: Array) -> float:
    """Return the share of a guide's cells that lie nearer to the control than to their perturbation's mean."""
    x = x - np.array([x[(names == "control") & (state == s)].mean(0) for s in range(STATES)])[state]
    to = x[names == names[own][0]].mean(0)
    return float((x[own] @ to < to @ to / 2).mean())


TABLES = [
    Table(
        script="perturbation_score_escapees",
        model="perturbation_score",
        worlds=dict.fromkeys(
            ("40 cells, three", "160 cells, three", "40 cells, one", "160 cells, one"), (2.0, 3.0, 4.0)
        ),
        one=one,
        columns={
            "error": "mean error",
            "covered": "90 % intervals cover",
            "clear": "clear",
            "plain": "nearer to control",
        },
        simulations=30,
        first="cells of a guide, guides; sd from the control",
    )
]

if __name__ == "__main__":
    run(TABLES, __doc__)
