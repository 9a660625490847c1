"""Summary statistics of genome-wide association studies: dialects, effects, pairs of traits."""

from .pairing import Paired, pair
from .statistics import Columns, Effects, effects_of, read_columns

__all__ = ["Columns", "Effects", "Paired", "effects_of", "pair", "read_columns"]
