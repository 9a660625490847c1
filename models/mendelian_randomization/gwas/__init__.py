"""Summary statistics of genome-wide association studies: dialects, effects, pairs of traits."""

from .columns import Columns
from .files import read_columns
from .ld import clump, correlated
from .ld_files import read_correlations
from .pairing import Paired, pair, taken_of
from .statistics import Effects, effects_of

__all__ = [
    "Columns",
    "Effects",
    "Paired",
    "clump",
    "correlated",
    "effects_of",
    "pair",
    "read_columns",
    "read_correlations",
    "taken_of",
]
