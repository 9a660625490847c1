"""Summary statistics of genome-wide association studies: dialects, effects, pairs of traits."""

from .columns import Columns
from .files import read_columns
from .pairing import Paired, pair
from .statistics import Effects, effects_of

__all__ = ["Columns", "Effects", "Paired", "effects_of", "pair", "read_columns"]
