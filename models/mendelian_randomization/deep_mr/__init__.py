"""deep_mr: causal effects between the outputs of a sequence-to-function model, by in-silico mutagenesis.

An ensemble predicts an exposure and an outcome from sequence; every substitution is a variant, with an effect on both
and a standard error from the disagreement of the members. What follows is Mendelian randomisation: a causal effect for
each sequence, and one over all of them.
"""

from .bayes import GlobalEffect, bayesian
from .calibration import Calibration, calibrate
from .convolution import Conv, ConvEnsemble, ConvNet, Dense
from .dropout import dropped
from .effects import Effects, effects
from .loading import SequenceNetwork, load_network
from .mutagenesis import Mutagenesis, mutagenise
from .pipeline import DeepMR, LocalEffects, deep_mr, local_effects
from .scales import SCALES, Scaled
from .sequence import one_hot
from .trust import Finding, HeldOut, diagnose, factor_of

__all__ = [
    "SCALES",
    "Calibration",
    "Conv",
    "ConvEnsemble",
    "ConvNet",
    "DeepMR",
    "Dense",
    "Effects",
    "Finding",
    "GlobalEffect",
    "HeldOut",
    "LocalEffects",
    "Mutagenesis",
    "Scaled",
    "SequenceNetwork",
    "bayesian",
    "calibrate",
    "deep_mr",
    "diagnose",
    "dropped",
    "effects",
    "factor_of",
    "load_network",
    "local_effects",
    "mutagenise",
    "one_hot",
]
