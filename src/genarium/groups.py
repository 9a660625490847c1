"""The groups of a tree."""

GROUPS = (
    "constant_data",
    "observed_data",
    "truth",
    "posterior",
    "sample_stats",
    "log_likelihood",
    "log_prior",
    "posterior_predictive",
    "prior",
    "prior_predictive",
    "variational",
    "point",
    "choice",
    "predictions",
)
"""The groups of a tree, in the order in which they are written."""
