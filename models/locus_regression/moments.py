"""Moments of the features under the rates of the processes, in blocks of loci that stay in the processor's cache.

The exponent of eq. 8 is linear in the features and their products, so that one matrix product gives it for all
processes, and another one, with its exponentials, gives the normalisers, means and covariances. Products are made anew
in every block: that takes less time than to read them from memory, where they would be the largest array of the fit.

Shapes: J covariate groups, K processes, L loci, F features, P one, features and products, B loci of a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

CACHE = 2**16
"""Numbers of a block: half a MB, which stays in the second level of caches."""

BLOCK = 2048
"""Loci of a block where no products are made."""


@dataclass(frozen=True)
class Moments:
    """Of the features under p (eq. 10): log_normaliser (J, K) of eq. 8, mean (J, K, F), covariance (J, K, F, F)."""

    log_normaliser: Array
    mean: Array
    covariance: Array

    def of(self, processes: Array) -> "Moments":
        """Return those of some processes."""
        return Moments(self.log_normaliser[:, processes], self.mean[:, processes], self.covariance[:, processes])

    def with_some(self, processes: Array, found: "Moments") -> "Moments":
        """Return the moments with others for some processes."""
        log_normaliser, mean, covariance = self.log_normaliser.copy(), self.mean.copy(), self.covariance.copy()
        log_normaliser[:, processes], mean[:, processes] = found.log_normaliser, found.mean
        covariance[:, processes] = found.covariance
        return Moments(log_normaliser, mean, covariance)


class Design:
    """Features of the loci, as the sums over loci read them.

    Parameters
    ----------
    features : ndarray, shape (J, L, F)

    Attributes
    ----------
    origin : ndarray, shape (J, F)
        Means of the features.
    columns : ndarray, shape (J, 1 + F, L)
        One, and the features counted from there, so that moments do not cancel.
    """

    def __init__(self, features: Array) -> None:
        self.groups, self.loci, self.features = features.shape
        self.origin = features.mean(1)
        self.columns = np.ones((self.groups, 1 + self.features, self.loci))
        np.subtract(features.transpose(0, 2, 1), self.origin[..., None], out=self.columns[:, 1:])
        self.pairs = np.triu_indices(self.features)

    def at(self, loci: Array) -> "Design":
        """Return the design of some loci, counted from the same origin."""
        out = object.__new__(Design)
        out.groups, out.loci, out.features = self.groups, len(loci), self.features
        out.origin, out.columns, out.pairs = self.origin, self.columns[:, :, loci], self.pairs
        return out

    def blocks(self, j: int) -> Iterator[tuple[slice, Array]]:
        """Yield the loci of each block, and their columns and products (P, B), in memory that is used again."""
        F, P = self.features, 1 + self.features + len(self.pairs[0])
        size = max(64, CACHE // P)
        memory = np.empty(P * min(size, self.loci))
        for low in range(0, self.loci, size):
            at = slice(low, min(low + size, self.loci))
            rows = memory[: P * (at.stop - low)].reshape(P, -1)
            rows[: F + 1] = self.columns[j, :, at]
            below = F + 1
            for f in range(1, F + 1):
                np.multiply(rows[f], rows[f : F + 1], out=rows[below : below + F + 1 - f])
                below += F + 1 - f
            yield at, rows

    def added_up(self, of_row: Array) -> tuple[Array, Array]:
        """Return a table of the rows (J L, K) added up by group (J, K), and times the features (K, F)."""
        table = of_row.reshape(self.groups, self.loci, -1)
        sums = np.array([part.T @ x.T for part, x in zip(table, self.columns, strict=True)])  # (J, K, 1 + F)
        return sums[..., 0], np.einsum("jk,jf->kf", sums[..., 0], self.origin) + sums[..., 1:].sum(0)

    def coefficients(self, j: int, mean: Array, covariance: Array, centre: Array) -> Array:
        """Return what the exponent of eq. 8 multiplies the columns and products by; shape (K, P)."""
        offset = centre - self.origin[j]
        pull = (covariance @ offset[..., None])[..., 0]
        constant = mean @ self.origin[j] + 0.5 * (offset * pull).sum(1)
        twice = covariance[:, *self.pairs] * np.where(self.pairs[0] == self.pairs[1], 0.5, 1.0)
        return np.concatenate([constant[:, None], mean - pull, twice], 1)

    def exponents(self, offset: Array, mean: Array, covariance: Array, centre: Array) -> Array:
        """Return the exponents of eq. 8, shape (K, J, L); parameters as of :meth:`moments`."""
        out = np.empty((len(mean), self.groups, self.loci))
        for j in range(self.groups):
            weights = self.coefficients(j, mean, covariance, centre[j])
            for at, rows in self.blocks(j):
                out[:, j, at] = weights @ rows + offset[:, at]
        return out

    def moments(self, offset: Array, mean: Array, covariance: Array, centre: Array) -> Moments:
        """Return the moments of the features, by group and process.

        Parameters
        ----------
        offset : ndarray, shape (1 or K, L)
            o: log exposure and whatever else multiplies a locus's rate.
        mean, covariance : ndarray, shapes (K, F) and (K, F, F)
            Of the effects.
        centre : ndarray, shape (J, K, F)
        """
        (J, K), F = (self.groups, len(mean)), self.features
        log_normaliser, first, second = np.empty((J, K)), np.empty((J, K, F)), np.empty((J, K, F, F))
        for j in range(J):
            top, sums = self._summed(j, self.coefficients(j, mean, covariance, centre[j]), offset)
            log_normaliser[j] = top + np.log(sums[:, 0])
            sums /= sums[:, :1]
            deviation = sums[:, 1 : F + 1]
            raw = np.empty((K, F, F))
            raw[:, *self.pairs] = raw[:, *self.pairs[::-1]] = sums[:, F + 1 :]
            first[j] = self.origin[j] + deviation
            second[j] = raw - deviation[:, :, None] * deviation[:, None]
        return Moments(log_normaliser, first, second)

    def _summed(self, j: int, weights: Array, offset: Array) -> tuple[Array, Array]:
        """Return the largest exponent (K,), and sums of exp(exponent - largest) times columns and products (K, P)."""
        top, sums = np.full(len(weights), -np.inf), np.zeros(weights.shape)
        for at, rows in self.blocks(j):
            each = weights @ rows
            each += offset[:, at]
            higher = np.maximum(top, each.max(1))
            if (higher > top).any():
                sums *= np.exp(top - higher)[:, None]
                top = higher
            each -= top[:, None]
            np.exp(each, out=each)
            sums += each @ rows.T
        return top, sums
