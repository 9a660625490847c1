"""The compiled sampler under the sparse prior: which transcripts are there; equation numbers refer to the card.

K transcripts, E classes with two transcripts or more, M entries. A transcript is absent where its abundance is zero.
Every conditional here is of one number with a density, or of none (an atom): knots give the density's outline, which
is log-linear between them; atoms and outline together are proposed from, and Metropolis's rule mends what it misses.
"""

import numba
import numpy as np

from genarium.declaration import Array

from .story import LEAST

OFFSETS = np.array([-4.0, -2.7, -1.8, -1.1, -0.5, 0.0, 0.5, 1.1, 1.8, 2.7, 4.0])
"""Where a density is looked at around its mode, in units of its width there."""

PRIOR_OFFSETS = np.array([-3.0, -1.8, -0.9, 0.0, 0.9, 1.8])
"""The same around what the prior alone says of a share, in its standard deviations."""

FARTHEST = 60.0
"""Log odds of a share that the mode is sought within."""

HALF_LOG_TWO_PI = 0.9189385332046727


@numba.njit(cache=True)
def log_mass(at: Array, h: Array, mass: Array) -> float:
    """Integrate the density that is log-linear between knots and goes on beyond the outer ones with their slopes.

    ``at`` (S,) are the knots in order, ``h`` (S,) the logarithm of the density; ``mass`` (S + 1,) gets the shares of
    the pieces, from the left tail to the right one. Returns the logarithm of the integral.
    """
    top, S = h.max(), len(at)
    mass[0] = np.exp(h[0] - top) / slope(at[0], at[1], h[0], h[1])
    mass[S] = np.exp(h[S - 1] - top) / slope(at[S - 2], at[S - 1], h[S - 1], h[S - 2])
    for i in range(S - 1):
        width, rise = at[i + 1] - at[i], h[i + 1] - h[i]
        if abs(rise) < 1e-9:
            mass[i + 1] = np.exp(h[i] - top) * width
        else:
            mass[i + 1] = width * (np.exp(h[i + 1] - top) - np.exp(h[i] - top)) / rise
    total = mass.sum()
    mass /= total
    return float(top + np.log(total))


@numba.njit(cache=True)
def slope(left: float, right: float, outer: float, inner: float) -> float:
    """Return how fast the outline falls beyond its outer knot."""
    return float(max((inner - outer) / max(right - left, 1e-12), 1e-3))


@numba.njit(cache=True)
def outlined(y: float, at: Array, h: Array) -> float:
    """Logarithm of the log-linear density at y."""
    S = len(at)
    if y <= at[0]:
        return float(h[0] - slope(at[0], at[1], h[0], h[1]) * (at[0] - y))
    if y >= at[S - 1]:
        return float(h[S - 1] - slope(at[S - 2], at[S - 1], h[S - 1], h[S - 2]) * (y - at[S - 1]))
    i = np.searchsorted(at, y) - 1
    return float(h[i] + (h[i + 1] - h[i]) * (y - at[i]) / max(at[i + 1] - at[i], 1e-300))


@numba.njit(cache=True)
def draw_outlined(rng: np.random.Generator, at: Array, h: Array, mass: Array) -> float:
    """Draw from the log-linear density."""
    u, i, S = rng.random(), 0, len(at)
    while i < S and u > mass[i]:
        u -= mass[i]
        i += 1
    if i == 0:
        return float(at[0] - rng.standard_exponential() / slope(at[0], at[1], h[0], h[1]))
    if i == S:
        return float(at[S - 1] + rng.standard_exponential() / slope(at[S - 2], at[S - 1], h[S - 1], h[S - 2]))
    width, rise = at[i] - at[i - 1], h[i] - h[i - 1]
    v = rng.random()
    if abs(rise) < 1e-9:
        part = v
    elif rise > 0:
        part = np.log(v + (1 - v) * np.exp(-rise)) / rise + 1
    else:  # falls: measured from the left, where nothing overflows
        part = np.log1p(v * np.expm1(rise)) / rise
    return float(at[i - 1] + width * part)


@numba.njit(cache=True)
def log_line(y: float, low: Array, high: Array, c: Array, a_low: Array, a_high: Array, mean: Array, sd: float) -> float:
    """Log density h of the log odds y of the place on a segment along which all its transcripts are there (eq. 29).

    ``low`` and ``high`` are the reads expected of classes at its ends, and ``a_low`` and ``a_high`` of its transcripts;
    ``c`` are the reads of the classes, and ``mean`` the means of ln a in the prior.
    """
    s, t = 1 / (1 + np.exp(-y)), 1 / (1 + np.exp(y))
    out = np.log(max(s, LEAST)) + np.log(max(t, LEAST))
    for i in range(len(c)):
        out += c[i] * np.log(max(low[i] * t + high[i] * s, LEAST))
    for i in range(len(a_low)):
        a = max(a_low[i] * t + a_high[i] * s, LEAST)
        x = np.log(a)
        out -= 0.5 * ((x - mean[i]) / sd) ** 2 + x + a
    return float(out)


@numba.njit(cache=True)
def mode(low: Array, high: Array, c: Array) -> tuple[float, float]:
    """Return where on a segment (log odds) the likelihood has its mode, and its width, under a Beta(1/2, 1/2) prior."""
    left, right, y, width = -FARTHEST, FARTHEST, 0.0, 1.0
    for _ in range(40):
        s, t = 1 / (1 + np.exp(-y)), 1 / (1 + np.exp(y))
        first, second = 0.5 * (t - s), -s * t
        for i in range(len(c)):
            g = (high[i] - low[i]) / max(high[i] * s + low[i] * t, LEAST) * (s * t)
            first += c[i] * g
            second += c[i] * g * (t - s - g)
        if first > 0:
            left = y
        else:
            right = y
        if second < 0:
            width = 1 / np.sqrt(-second)
        new = y - first / second if second < 0 else np.inf
        if not left < new < right or abs(new - y) > 5:
            new = 0.5 * (max(left, y - 5) + min(right, y + 5))
        close = abs(new - y) < 0.1 * width
        y = new
        if close:
            break
    return y, min(width, 5.0)


@numba.njit(cache=True)
def update_abundances(rng: np.random.Generator, n: Array, mean: Array, sd: float, log_odds: float, a: Array) -> None:
    """Draw each transcript's reads expected, ``a`` (K,), given those that came from it, ``n`` (eq. 28); 0: absent."""
    S = len(OFFSETS)
    at, h, mass = np.empty(S), np.empty(S), np.empty(S + 1)
    for k in range(len(a)):
        m, reads = mean[k], n[k]
        top = max(np.log(reads + 1), m)
        for _ in range(50):  # Newton's steps come from the right, always
            e = np.exp(top)
            step = (reads - e - (top - m) / sd**2) / (e + 1 / sd**2)
            top += step
            if abs(step) < 1e-3:
                break
        right = 1 / np.sqrt(np.exp(top) + 1 / sd**2)
        left = 1 / np.sqrt(0.7 * reads + 1 / sd**2)
        for i in range(S):
            at[i] = top + OFFSETS[i] * (left if OFFSETS[i] < 0 else right)
            h[i] = reads * at[i] - np.exp(at[i]) - 0.5 * ((at[i] - m) / sd) ** 2
        odds = log_odds + log_mass(at, h, mass) - np.log(sd) - HALF_LOG_TWO_PI
        kept = gain = new = 0.0
        if a[k] > 0:
            y = np.log(a[k])
            kept = reads * y - a[k] - 0.5 * ((y - m) / sd) ** 2 - outlined(y, at, h)
        if reads > 0 or rng.random() < 1 / (1 + np.exp(-odds)):
            y = draw_outlined(rng, at, h, mass)
            new = max(np.exp(y), LEAST)
            gain = reads * y - new - 0.5 * ((y - m) / sd) ** 2 - outlined(y, at, h)
        if np.log(1 - rng.random()) < gain - kept:
            a[k] = new


@numba.njit(cache=True)
def draw_reads(
    rng: np.random.Generator, first: Array, column: Array, weight: Array, count: Array, a: Array, n: Array
) -> None:
    """Draw the transcripts of each class's reads (eq. 16), of those that are there; adds to ``n``."""
    for e in range(len(count)):
        left, total, last = count[e], 0.0, first[e]
        for m in range(first[e], first[e + 1]):
            total += weight[m] * a[column[m]]
            if a[column[m]] > 0:
                last = m
        for m in range(first[e], last):
            if left == 0:
                break
            mine = weight[m] * a[column[m]]
            some = left if mine >= total else rng.binomial(left, mine / total)  # the rest may be rounded to nothing
            n[column[m]] += some
            left -= some
            total -= mine
        n[column[last]] += left


@numba.njit(cache=True)
def move(
    rng: np.random.Generator,
    member: Array,
    step: Array,
    first: Array,
    column: Array,
    weight: Array,
    count: Array,
    sole: Array,
    mean: Array,
    sd: float,
    log_odds: float,
    begin: Array,
    entry: Array,
    owner: Array,
    slot: Array,
    a: Array,
) -> None:
    """Draw the place of some transcripts on the segment along a direction, its ends included (eq. 29).

    Parameters
    ----------
    rng : Generator
    member, step : ndarray, shape (D,)
        The transcripts, and by how much each changes.
    first, column, weight, count, sole
        The table.
    mean : ndarray, shape (K,)
        Mean of ln a in the prior.
    sd, log_odds : float
        Its standard deviation, and the log odds of being there.
    begin, entry : ndarray of int, shapes (K + 1,), (M,)
        The entries of each transcript.
    owner : ndarray of int, shape (M,)
        Class of each entry.
    slot : ndarray of int, shape (E,)
        Work array of -1.
    a : ndarray, shape (K,)
        Reads expected; updated in place.
    """
    D, absent = len(member), 0
    back, ahead, at_back, at_ahead = -np.inf, np.inf, 0, 0
    for i in range(D):
        x = -a[member[i]] / step[i]
        absent += a[member[i]] <= 0
        if step[i] > 0 and x > back:
            back, at_back = x, i
        elif step[i] < 0 and x < ahead:
            ahead, at_ahead = x, i
    if absent > 1 or not ahead - back > 0:
        return
    now, a_low, a_high, m = np.empty(D), np.empty(D), np.empty(D), np.empty(D)
    many = D
    for i in range(D):
        now[i], m[i] = a[member[i]], mean[member[i]]
        a_low[i] = max(now[i] + back * step[i], LEAST) if i != at_back else 0.0
        a_high[i] = max(now[i] + ahead * step[i], LEAST) if i != at_ahead else 0.0
        many += begin[member[i] + 1] - begin[member[i]]
    place, size = np.empty(many, dtype=np.int64), 0
    for i in range(D):
        for u in range(begin[member[i]], begin[member[i] + 1]):
            e = owner[entry[u]]
            if slot[e] < 0:
                slot[e] = size
                place[size] = e
                size += 1
    low, high, c = np.zeros(many), np.zeros(many), np.empty(many)
    for side in range(2):
        for i in range(D):
            a[member[i]] = a_low[i] if side == 0 else a_high[i]
        for i in range(size):
            e, total = place[i], 0.0
            for u in range(first[e], first[e + 1]):
                total += weight[u] * a[column[u]]
            c[i] = count[e]
            if side == 0:
                low[i] = total
            else:
                high[i] = total
    for i in range(size):
        slot[place[i]] = -1
    for i in range(D):
        a[member[i]] = now[i]
        if sole[member[i]] > 0:
            low[size], high[size], c[size] = a_low[i], a_high[i], sole[member[i]]
            size += 1
    low, high, c = low[:size], high[:size], c[:size]

    S = len(OFFSETS) + 2 * len(PRIOR_OFFSETS)
    at, h, mass = np.empty(S), np.empty(S), np.empty(S + 1)
    top, width = mode(low, high, c)
    for i in range(len(OFFSETS)):
        at[i] = top + width * OFFSETS[i]
    for i in range(len(PRIOR_OFFSETS)):
        at[len(OFFSETS) + 2 * i] = m[at_back] + sd * PRIOR_OFFSETS[i] - np.log(a_high[at_back])
        at[len(OFFSETS) + 2 * i + 1] = np.log(a_low[at_ahead]) - m[at_ahead] - sd * PRIOR_OFFSETS[i]
    at.sort()
    for i in range(S):
        h[i] = log_line(at[i], low, high, c, a_low, a_high, m, sd)
    inside = log_mass(at, h, mass) + np.log(ahead - back) + log_odds - np.log(sd) - HALF_LOG_TWO_PI
    one, other = -np.log(abs(step[at_back])), -np.log(abs(step[at_ahead]))
    for i in range(size):
        one += c[i] * np.log(low[i]) if low[i] > 0 else -np.inf
        other += c[i] * np.log(high[i]) if high[i] > 0 else -np.inf
    for i in range(D):
        if i != at_back:
            x = np.log(a_low[i])
            one -= 0.5 * ((x - m[i]) / sd) ** 2 + x + a_low[i]
        if i != at_ahead:
            x = np.log(a_high[i])
            other -= 0.5 * ((x - m[i]) / sd) ** 2 + x + a_high[i]
    best = max(inside, one, other)
    w_one, w_other = np.exp(one - best), np.exp(other - best)
    pick = rng.random() * (np.exp(inside - best) + w_one + w_other)
    kept = gain = y = 0.0
    if absent == 0:
        y = np.log(max(-back, LEAST)) - np.log(max(ahead, LEAST))
        kept = log_line(y, low, high, c, a_low, a_high, m, sd) - outlined(y, at, h)
    if pick >= w_one + w_other:
        y = draw_outlined(rng, at, h, mass)
        gain = log_line(y, low, high, c, a_low, a_high, m, sd) - outlined(y, at, h)
    if not np.log(1 - rng.random()) < gain - kept:
        return
    s, t = 1 / (1 + np.exp(-y)), 1 / (1 + np.exp(y))
    for i in range(D):
        if pick < w_one:
            a[member[i]] = a_low[i]
        elif pick < w_one + w_other:
            a[member[i]] = a_high[i]
        else:
            a[member[i]] = max(a_low[i] * t + a_high[i] * s, LEAST)


@numba.njit(cache=True)
def update_lines(
    rng: np.random.Generator,
    first: Array,
    column: Array,
    weight: Array,
    count: Array,
    sole: Array,
    mean: Array,
    sd: float,
    log_odds: float,
    begin: Array,
    entry: Array,
    owner: Array,
    slot: Array,
    who: Array,
    lines: Array,
    line_first: Array,
    line_member: Array,
    line_step: Array,
    a: Array,
) -> None:
    """Move each of some transcripts, ``who``, against a partner of one of its classes, then along a direction (eq. 29).

    ``lines`` (K + 1,) are the first direction of each transcript, ``line_first`` (L + 1,) the first element of each
    direction in ``line_member`` and ``line_step``; the other parameters are those of :func:`move`.
    """
    pair, against = np.empty(2, dtype=np.int64), np.array([1.0, -1.0])
    for k in who:
        degree = begin[k + 1] - begin[k]
        if degree == 0:
            continue
        e = owner[entry[begin[k] + rng.integers(0, degree)]]
        j = column[first[e] + rng.integers(0, first[e + 1] - first[e])]
        if j != k and a[k] + a[j] > 0:
            pair[0], pair[1] = k, j
            move(
                rng, pair, against, first, column, weight, count, sole, mean, sd, log_odds, begin, entry, owner, slot, a
            )
        if lines[k + 1] > lines[k]:
            i = rng.integers(lines[k], lines[k + 1])
            member, step = line_member[line_first[i] : line_first[i + 1]], line_step[line_first[i] : line_first[i + 1]]
            move(
                rng, member, step, first, column, weight, count, sole, mean, sd, log_odds, begin, entry, owner, slot, a
            )
