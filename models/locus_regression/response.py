"""Linear response: the covariance of the effects, with all that mean field leaves out (Giordano et al. 2018)."""

import numpy as np

from genarium.declaration import Array
from genarium.engines.ascent import ascend
from genarium.progress import track

from .sweep import State, Step

TILT = 0.5
"""Tilt of the log density along an effect, over the inverse of its sd: the mean moves by about so many sds."""

CLOSE = 1e-5
"""Nats that a tilted fit may leave to gain: a few thousandths of an sd."""


def covariance(step: Step, state: State) -> Array:
    """Return the linear-response covariance of all effects (eq. 22), hyperparameters held.

    The posterior covariance of beta with beta_kf is the derivative of E beta as the log density is tilted by t beta_kf.
    The tilted fits start at the optimum; the derivative is a central difference.

    Parameters
    ----------
    step : Step
    state : State
        At an optimum.

    Returns
    -------
    ndarray, shape (K F, K F)
        Symmetric, positive definite.
    """
    K, F = state.effects.mean.shape
    sd = np.sqrt(np.diagonal(state.effects.covariance, axis1=1, axis2=2)).ravel()
    rows = np.empty((K * F, K * F))
    for i in track(range(K * F), "linear response"):
        means = []
        for sign in (1, -1):
            tilt = np.zeros(K * F)
            tilt[i] = sign * TILT / sd[i]
            tilted = step.tilted(tilt.reshape(K, F))
            found = ascend(tilted, state, tolerance=CLOSE, max_iterations=300, vector=(tilted.pack, tilted.unpack))
            means.append(found.state.effects.mean.ravel())
        rows[i] = (means[0] - means[1]) / (2 * TILT / sd[i])
    size, basis = np.linalg.eigh((rows + rows.T) / 2)
    size = np.maximum(size, 1e-3 * float(sd.min()) ** 2)
    return np.asarray((basis * size) @ basis.T)
