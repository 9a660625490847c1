"""Moves of the Gibbs sampler, compiled; equation numbers refer to the card (README.md).

Shapes: J covariate groups, K processes, L loci, F features, C contexts, A alternatives, M channels, G genomes, I
cells.
"""

import numpy as np
from numba import njit

from genarium.declaration import Array

from .collapsed import move_of_alpha, move_of_lam, move_of_rho

LEAST = 1e-300
"""Draws of gamma variables are kept above it."""

BLOCK = 1024
"""Loci whose rates are computed at once, by a matrix product in the processor's cache."""

TINY = 1e-200
"""Where all probabilities of a row are below it, they are compared by their logs."""


@njit(cache=True)
def sweep(
    rng: np.random.Generator,
    uniform: Array,
    genome: Array,
    row: Array,
    channel: Array,
    count: Array,
    X: Array,
    log_exposure: Array,
    t: Array,
    channel_of: Array,
    joint: bool,
    given: int,
    covariance: Array,
    alpha: Array,
    precision: Array,
    r: Array,
    of_lam: Array,
    of_rho: Array,
    median_of_alpha: Array,
    median_of_lam: Array,
    median_of_rho: Array,
    step: float,
    beta: Array,
    lam: Array,
    rho: Array,
    pi: Array,
    effect: Array,
    known: bool,
    rate: Array,
    log_z: Array,
    mean: Array,
    weight: Array,
) -> tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array, Array, Array, Array]:
    """Draw all blocks given the others; t (C, L), channel_of (C, A); r and effect are empty without effects of loci.

    Concentrations of_lam and of_rho are of the processes that are free, which come after the given ones. They and alpha
    move, too, where the medians of their priors are not empty.
    What :func:`normalise` says of beta is asked for again (``known``) where nothing else decides it; that of the new
    one is returned after it.
    """
    J, L, F = X.shape
    K, C = lam.shape
    random = len(r) > 0
    seen = np.dot(lam, t)
    offset = offsets(log_exposure, effect, seen, joint)
    if not known:
        rate, log_z, mean, weight = normalise(X, beta, offset)
    of_genome, of_row = np.zeros(pi.shape), np.zeros((J * L, K))
    of_channel = np.zeros((channel_of.size, K))
    place, spectrum = places(rate, log_z, weight, seen), spectra(lam, rho, channel_of)
    assign(uniform, genome, row, channel, count, pi, place, spectrum, of_genome, of_row, of_channel)
    counts = by_context(of_channel, channel_of)
    pi, rho = np.empty(pi.shape), rho.copy()
    if len(median_of_alpha) > 0:
        alpha = move_of_alpha(rng, of_genome, alpha, median_of_alpha)
    for g in range(len(pi)):
        dirichlet(rng, alpha + of_genome[g], pi[g])
    of_lam, of_rho = of_lam.copy(), of_rho.copy()
    for k in range(given, K):
        if len(median_of_rho) > 0 and counts.shape[2] > 1:
            of_rho[k - given] = move_of_rho(rng, counts[k], of_rho[k - given], median_of_rho[k - given])
        for c in range(C):
            dirichlet(rng, of_rho[k - given] + counts[k, c], rho[k, c])
    by_locus, total, sums = of_row.reshape(J, L, K), np.zeros((J, K)), np.zeros((K, F))
    for j in range(J):
        for at in range(L):
            for k in range(K):
                total[j, k] += by_locus[j, at, k]
        sums += np.dot(by_locus[j].T, X[j])
    beta, rate, log_z, mean, weight = move_effects(
        rng, X, offset, sums, total, precision, covariance, step, beta, rate, log_z, mean, weight
    )
    if random:
        effect = draw_locus_effects(rng, r, by_locus, total, weight, effect)
        if J == 1:
            beta, effect = interweave(rng, X[0], r, precision, step, beta, effect)
        if joint:
            offset = offsets(log_exposure, effect, seen, joint)
            weight = normalise(X, beta, offset)[3]
    lam = draw_contexts(rng, t, joint, given, of_lam, median_of_lam, by_locus, total, weight, seen, counts, lam)
    return beta, lam, rho, pi, effect, alpha, of_lam, of_rho, rate, log_z, mean, weight


@njit(cache=True)
def offsets(log_exposure: Array, effect: Array, seen: Array, joint: bool) -> Array:
    """Return the log of what multiplies a locus's rate besides its features; shape (K, L)."""
    K, L = seen.shape
    out = np.empty((K, L))
    for k in range(K):
        for at in range(L):
            out[k, at] = log_exposure[at]
            if effect.size:
                out[k, at] += np.log(effect[k, at])
            if joint:
                out[k, at] += np.log(seen[k, at])
    return out


@njit(cache=True, fastmath={"contract", "arcp", "nsz", "reassoc"})
def normalise(X: Array, beta: Array, offset: Array) -> tuple[Array, Array, Array, Array]:
    """Return log rates (J, K, L), log normalisers (J, K), means of features (J, K, F), probabilities (J, K, L)."""
    J, L, F = X.shape
    K = len(beta)
    rate, weight = np.empty((J, K, L)), np.empty((J, K, L))
    log_z, mean = np.empty((J, K)), np.zeros((J, K, F))
    top, total = np.empty(K), np.empty(K)
    for j in range(J):
        top[:], total[:] = -np.inf, 0.0
        for low in range(0, L, BLOCK):
            high = min(low + BLOCK, L)
            own = np.dot(beta, X[j, low:high].T)
            for k in range(K):
                highest = top[k]
                for at in range(low, high):
                    score = own[k, at - low] + offset[k, at]
                    rate[j, k, at] = score
                    highest = max(highest, score)
                top[k] = highest
        for low in range(0, L, BLOCK):
            high = min(low + BLOCK, L)
            own = np.empty((K, high - low))
            for k in range(K):
                for at in range(low, high):
                    own[k, at - low] = np.exp(rate[j, k, at] - top[k])
                for at in range(low, high):
                    total[k] += own[k, at - low]
                    weight[j, k, at] = own[k, at - low]
            mean[j] += np.dot(own, X[j, low:high])
        for k in range(K):
            log_z[j, k] = top[k] + np.log(total[k])
            for f in range(F):
                mean[j, k, f] /= total[k]
            for at in range(L):
                weight[j, k, at] /= total[k]
    return rate, log_z, mean, weight


@njit(cache=True)
def places(rate: Array, log_z: Array, weight: Array, seen: Array) -> Array:
    """Return a process's probability of a row over lam_k't_l, each row over its largest; shape (J L, K)."""
    J, K, L = rate.shape
    out = np.empty((J * L, K))
    for j in range(J):
        for at in range(L):
            row, top = j * L + at, 0.0
            for k in range(K):
                out[row, k] = weight[j, k, at] / seen[k, at]
                top = max(top, out[row, k])
            if top > TINY:
                for k in range(K):
                    out[row, k] /= top
                continue
            top = -np.inf
            for k in range(K):
                out[row, k] = rate[j, k, at] - log_z[j, k] - np.log(seen[k, at])
                top = max(top, out[row, k])
            for k in range(K):
                out[row, k] = np.exp(out[row, k] - top)
    return out


@njit(cache=True)
def spectra(lam: Array, rho: Array, channel_of: Array) -> Array:
    """Return lam_kc rho_kca by channel; shape (M, K)."""
    K, C, A = rho.shape
    out = np.empty((C * A, K))
    for k in range(K):
        for c in range(C):
            for a in range(A):
                out[channel_of[c, a], k] = lam[k, c] * rho[k, c, a]
    return out


@njit(cache=True)
def by_context(of_channel: Array, channel_of: Array) -> Array:
    """Put numbers by channel (M, K) into the order (K, C, A)."""
    C, A = channel_of.shape
    out = np.empty((of_channel.shape[1], C, A))
    for k in range(len(out)):
        for c in range(C):
            for a in range(A):
                out[k, c, a] = of_channel[channel_of[c, a], k]
    return out


@njit(cache=True)
def assign(
    uniform: Array,
    genome: Array,
    row: Array,
    channel: Array,
    count: Array,
    weight: Array,
    place: Array,
    spectrum: Array,
    of_genome: Array,
    of_row: Array,
    of_channel: Array,
) -> None:
    """Draw the process of every mutation by a uniform number, and add up by genome, row and channel (eq. 27)."""
    K = weight.shape[1]
    upto = np.empty(K)
    drawn = 0
    for i in range(len(count)):
        g, r, m = genome[i], row[i], channel[i]
        total = 0.0
        for k in range(K):
            total += weight[g, k] * spectrum[m, k] * place[r, k]
            upto[k] = total
        for _ in range(int(count[i])):
            at = uniform[drawn] * total
            drawn += 1
            k = 0
            for j in range(K - 1):
                k += upto[j] <= at  # without a branch to mispredict
            of_genome[g, k] += 1
            of_row[r, k] += 1
            of_channel[m, k] += 1


@njit(cache=True)
def reassign(
    uniform: Array,
    genome: Array,
    row: Array,
    channel: Array,
    count: Array,
    alpha: Array,
    place: Array,
    spectrum: Array,
    z: Array,
    of_genome: Array,
) -> None:
    """Draw the process of each mutation given those of its genome's others, exposures summed out (eq. 20), in place.

    z is -1 for mutations that have no process yet; of_genome (G, K) counts those that have one.
    """
    K = len(alpha)
    upto = np.empty(K)
    drawn = 0
    for i in range(len(count)):
        g, r, m = genome[i], row[i], channel[i]
        for _ in range(int(count[i])):
            if z[drawn] >= 0:
                of_genome[g, z[drawn]] -= 1
            total = 0.0
            for k in range(K):
                total += (alpha[k] + of_genome[g, k]) * spectrum[m, k] * place[r, k]
                upto[k] = total
            at = uniform[drawn] * total
            k = 0
            for j in range(K - 1):
                k += upto[j] <= at
            z[drawn] = k
            of_genome[g, k] += 1
            drawn += 1


@njit(cache=True)
def dirichlet(rng: np.random.Generator, concentration: Array, out: Array) -> None:
    """Draw a Dirichlet variable."""
    total = 0.0
    for k in range(len(concentration)):
        out[k] = max(rng.standard_gamma(concentration[k]), LEAST)
        total += out[k]
    for k in range(len(concentration)):
        out[k] /= total


@njit(cache=True)
def lower_solved(factor: Array, b: Array) -> Array:
    """Solve factor x = b, the factor being lower triangular."""
    x = b.copy()
    for i in range(len(b)):
        for j in range(i):
            x[i] -= factor[i, j] * x[j]
        x[i] /= factor[i, i]
    return x


@njit(cache=True)
def upper_solved(factor: Array, b: Array) -> Array:
    """Solve factor' x = b."""
    x = b.copy()
    for i in range(len(b) - 1, -1, -1):
        for j in range(i + 1, len(b)):
            x[i] -= factor[j, i] * x[j]
        x[i] /= factor[i, i]
    return x


@njit(cache=True)
def propose(rng: np.random.Generator, at: Array, gradient: Array, factor: Array, step: float) -> Array:
    """Move towards the mode by a part of a Newton step, and add noise (eq. 31); H = factor factor'."""
    newton = upper_solved(factor, lower_solved(factor, gradient))
    noise = np.empty(len(at))
    for f in range(len(at)):
        noise[f] = rng.standard_normal()
    moved: Array = at + step * newton + np.sqrt(step * (2 - step)) * upper_solved(factor, noise)
    return moved


@njit(cache=True)
def log_proposal(to: Array, at: Array, gradient: Array, factor: Array, step: float) -> float:
    """Return the log density of a proposal, up to a constant."""
    deviation = to - at - step * upper_solved(factor, lower_solved(factor, gradient))
    total = 0.0
    for i in range(len(to)):
        white = 0.0
        for j in range(i, len(to)):
            white += factor[j, i] * deviation[j]
        total += white**2
    return -total / (2 * step * (2 - step))


@njit(cache=True)
def move_effects(
    rng: np.random.Generator,
    X: Array,
    offset: Array,
    sums: Array,
    total: Array,
    precision: Array,
    covariance: Array,
    step: float,
    beta: Array,
    rate: Array,
    log_z: Array,
    mean: Array,
    weight: Array,
) -> tuple[Array, Array, Array, Array, Array]:
    """Move the effects given the mutations of each process (eqs. 30 and 31); with them, what normalise says."""
    K, F = beta.shape
    trial, factors = np.empty((K, F)), np.empty((K, F, F))
    for k in range(K):
        curvature = precision[k] * np.eye(F)
        for j in range(len(X)):
            curvature += total[j, k] * covariance[j, k]
        factors[k] = np.linalg.cholesky(curvature)
        trial[k] = propose(rng, beta[k], slope(sums, total, mean, precision, beta, k), factors[k], step)
    new_rate, new_z, new_mean, new_weight = normalise(X, trial, offset)
    for k in range(K):
        ratio = level(sums, total, new_z, precision, trial, k) - level(sums, total, log_z, precision, beta, k)
        back = slope(sums, total, new_mean, precision, trial, k)
        there = slope(sums, total, mean, precision, beta, k)
        ratio += log_proposal(beta[k], trial[k], back, factors[k], step)
        ratio -= log_proposal(trial[k], beta[k], there, factors[k], step)
        if not np.log(rng.random()) < ratio:
            trial[k] = beta[k]
            new_rate[:, k], new_z[:, k] = rate[:, k], log_z[:, k]
            new_mean[:, k], new_weight[:, k] = mean[:, k], weight[:, k]
    return trial, new_rate, new_z, new_mean, new_weight


@njit(cache=True)
def level(sums: Array, total: Array, log_z: Array, precision: Array, beta: Array, k: int) -> float:
    """Return the log density of a process's effects (eq. 30)."""
    value = 0.0
    for f in range(beta.shape[1]):
        value += (sums[k, f] - 0.5 * precision[k] * beta[k, f]) * beta[k, f]
    for j in range(len(total)):
        value -= total[j, k] * log_z[j, k]
    return value


@njit(cache=True)
def slope(sums: Array, total: Array, mean: Array, precision: Array, beta: Array, k: int) -> Array:
    """Return its gradient."""
    out: Array = sums[k] - precision[k] * beta[k]
    for j in range(len(total)):
        out -= total[j, k] * mean[j, k]
    return out


@njit(cache=True)
def draw_locus_effects(
    rng: np.random.Generator, r: Array, by_locus: Array, total: Array, weight: Array, effect: Array
) -> Array:
    """Draw random effects of loci, and their sum anew from its prior (eq. 32)."""
    J, L, K = by_locus.shape
    out = np.empty((K, L))
    for k in range(K):
        scale = np.empty(J)
        for j in range(J):
            scale[j] = rng.standard_gamma(total[j, k])
        mass = 0.0
        for at in range(L):
            pull, counted = 0.0, 0.0
            for j in range(J):
                pull += scale[j] * weight[j, k, at]
                counted += by_locus[j, at, k]
            out[k, at] = max(rng.standard_gamma(r[k] + counted) / (r[k] + pull / effect[k, at]), LEAST)
            mass += out[k, at]
        wanted = rng.standard_gamma(r[k] * L) / r[k]
        for at in range(L):
            out[k, at] = max(out[k, at] * wanted / mass, LEAST)
    return out


@njit(cache=True)
def interweave(
    rng: np.random.Generator, X: Array, r: Array, precision: Array, step: float, beta: Array, effect: Array
) -> tuple[Array, Array]:
    """Move effects and random effects together at fixed rates of loci (eq. 33)."""
    K, F = beta.shape
    L = len(X)
    gram = np.zeros((F, F))
    for at in range(L):
        for f in range(F):
            for e in range(F):
                gram[f, e] += X[at, f] * X[at, e]
    beta, effect = beta.copy(), effect.copy()
    for k in range(K):
        log_rate = np.empty(L)
        for at in range(L):
            log_rate[at] = np.log(effect[k, at])
            for f in range(F):
                log_rate[at] += X[at, f] * beta[k, f]
        factor = np.linalg.cholesky(r[k] * gram + precision[k] * np.eye(F))
        value, gradient = at_fixed_rates(X, log_rate, r[k], precision[k], beta[k])
        trial = propose(rng, beta[k], gradient, factor, step)
        new_value, new_gradient = at_fixed_rates(X, log_rate, r[k], precision[k], trial)
        ratio = new_value - value + log_proposal(beta[k], trial, new_gradient, factor, step)
        ratio -= log_proposal(trial, beta[k], gradient, factor, step)
        if np.log(rng.random()) < ratio:
            beta[k] = trial
            for at in range(L):
                score = log_rate[at]
                for f in range(F):
                    score -= X[at, f] * trial[f]
                effect[k, at] = max(np.exp(score), LEAST)
    return beta, effect


@njit(cache=True)
def at_fixed_rates(X: Array, log_rate: Array, r: float, precision: float, beta: Array) -> tuple[float, Array]:
    """Return the log density of a process's effects at fixed rates (eq. 33), and its gradient."""
    value, gradient = 0.0, -precision * beta
    for f in range(len(beta)):
        value -= 0.5 * precision * beta[f] ** 2
    for at in range(len(X)):
        score = 0.0
        for f in range(len(beta)):
            score += X[at, f] * beta[f]
        own = np.exp(log_rate[at] - score)
        value -= r * (score + own)
        for f in range(len(beta)):
            gradient[f] += r * (own - 1) * X[at, f]
    return value, gradient


@njit(cache=True)
def draw_contexts(
    rng: np.random.Generator,
    t: Array,
    joint: bool,
    given: int,
    of_lam: Array,
    median_of_lam: Array,
    by_locus: Array,
    total: Array,
    weight: Array,
    seen: Array,
    counts: Array,
    lam: Array,
) -> Array:
    """Draw preferences for contexts, scaled as gamma variables (eqs. 28 and 29); move their concentrations in place."""
    J, L, K = by_locus.shape
    C = lam.shape[1]
    lam = lam.copy()
    scale, drawn, share = np.zeros(K), np.zeros((J, K)), np.zeros((L, K))
    for k in range(given, K):
        scale[k] = rng.standard_gamma(C * of_lam[k - given])
        if joint:
            for j in range(J):
                drawn[j, k] = rng.standard_gamma(total[j, k])
    for at in range(L):
        for k in range(given, K):
            counted, own = 0.0, 0.0
            for j in range(J):
                own += drawn[j, k] * weight[j, k, at]
                counted += by_locus[j, at, k]
            if not joint and counted > 0:
                own = rng.standard_gamma(counted)
            share[at, k] = own / (seen[k, at] * scale[k]) if own > 0 else 0.0
    rate = np.dot(t, share)  # (C, K)
    for k in range(given, K):
        if len(median_of_lam) > 0:
            own = of_lam[k - given]
            of_lam[k - given] = move_of_lam(rng, counts[k].sum(1), rate[:, k], own, median_of_lam[k - given])
        mass = 0.0
        for c in range(C):
            lam[k, c] = max(rng.standard_gamma(of_lam[k - given] + counts[k, c].sum()) / (1 + rate[c, k]), LEAST)
            mass += lam[k, c]
        for c in range(C):
            lam[k, c] /= mass
    return lam
