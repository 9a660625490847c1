"""The neural statistic: s(P) of a few cells, the distance it predicts from any target, its prediction from features.

``simulate`` a :class:`World` or group cells into a :class:`Screen`, ``split`` its genes, ``train`` a preset, and
``evaluate`` on genes that training did not see. The mathematics is in the model's README.
"""

from .metrics import evaluate, objective_a, objective_b, overlap_area, overlap_curve
from .presets import PRESETS, Preset, preset
from .samplers import Screen, aligned, normalise, screen, split
from .simulator import CONTROL, Truth, World, simulate
from .training import Trained, train

__all__ = [
    "CONTROL",
    "PRESETS",
    "Preset",
    "Screen",
    "Trained",
    "Truth",
    "World",
    "aligned",
    "evaluate",
    "normalise",
    "objective_a",
    "objective_b",
    "overlap_area",
    "overlap_curve",
    "preset",
    "screen",
    "simulate",
    "split",
    "train",
]
