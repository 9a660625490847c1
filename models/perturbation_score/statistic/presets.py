"""How the statistic is trained: the source's two ways, and the one that its slips call for."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genarium.errors import InputError
from genarium.readers.messages import absent

from .network import RECOGNITIONS


@dataclass(frozen=True)
class Preset:
    """Settings of a training run.

    Attributes
    ----------
    cells : tuple of int
        Most cells of a perturbation in a step, stage after stage (stages are equally long).
    vary : bool
        Draw each cell number uniformly from two to that; else take so many.
    recognition : {"apart", "raw", "normalised"}
        How the features' prediction bends the statistic (see ``network.losses``).
    weight : float
        λ, of the recognition loss.
    steady, ranking : float
        Weights of the losses for stability and ranking (eqs. 16b, 16c); above zero, a step has two samples of cells of
        each perturbation.
    noise : float
        ε, of the targets.
    batch, targets : int
        Perturbations and targets of a step.
    steps : int
    rate : float
        Adam's; it falls to a tenth of it by a cosine.
    dtype : {"float32", "float64"}
    """

    cells: tuple[int, ...]
    vary: bool
    recognition: str
    weight: float = 0.1
    steady: float = 0.0
    ranking: float = 0.0
    noise: float = 0.1
    batch: int = 16
    targets: int = 16
    steps: int = 2000
    rate: float = 3e-3
    dtype: str = "float32"

    @property
    def terms(self) -> tuple[float, float, float]:
        """Weights of all losses after the first."""
        return self.weight, self.steady, self.ranking


PRESETS = {
    "seed_baseline": Preset((60,), False, "apart"),
    "seed_robust": Preset((40, 30, 20, 10), True, "raw"),
    "normalised": Preset((40, 30, 20, 10), True, "normalised"),
    "steady": Preset((40, 30, 20, 10), True, "normalised", steady=0.3, ranking=0.02),
}
"""``seed_baseline`` always sees 60 cells, its T follows behind; ``seed_robust`` has the source's raw squared error;
``steady`` is trained for stability and ranking, too."""


def preset(name: str, **changes: Any) -> Preset:
    """Return a preset, with other settings where given.

    Parameters
    ----------
    name : str
        One of ``PRESETS``.
    **changes
        Values of fields of :class:`Preset`.

    Returns
    -------
    Preset

    Raises
    ------
    InputError
        If the name or a setting is not known, or a value makes no sense.
    """
    if name not in PRESETS:
        raise absent("perturbation_score.statistic", "preset", name, PRESETS)
    for key in changes:
        if key not in Preset.__dataclass_fields__:
            raise absent("perturbation_score.statistic", "setting", key, Preset.__dataclass_fields__)
    base = PRESETS[name]
    for key, value in changes.items():
        wanted = type(getattr(base, key))
        number = isinstance(value, int | np.integer) or (wanted is float and isinstance(value, float | np.floating))
        right = isinstance(value, wanted) or (wanted in (int, float) and number and not isinstance(value, bool))
        if not right or (wanted is float and not np.isfinite(value)):
            raise InputError(
                f"perturbation_score.statistic: {key}={value!r} must be of the kind of its default, "
                f"{getattr(base, key)!r}."
            )
    found = replace(base, **changes)
    if found.recognition not in RECOGNITIONS:
        raise absent("perturbation_score.statistic", "recognition", found.recognition, RECOGNITIONS)
    if not found.cells or min(found.cells) < 2 or min(found.batch, found.steps) < 2 or found.targets < 1:
        raise InputError(
            f"perturbation_score.statistic: cells={found.cells}, batch={found.batch}, steps={found.steps}, targets="
            f"{found.targets}: cells, batch and steps must be two or more, and targets one or more."
        )
    return found
