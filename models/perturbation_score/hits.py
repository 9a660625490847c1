"""Which perturbations change the cell states at all: no effect, or one of many sizes (eqs. 30 to 36 of the card).

Everything is in closed form but the intervals, whose draws depend on a row's name alone.
"""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from zlib import crc32

import numpy as np
import xarray as xr
from scipy.special import gammaln

from genarium.attributes import attribute
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import absent, listed
from genarium.remedies import option
from genarium.writing import replacing

from .distance import checked_target, expected_l1, l1, same_states
from .ranking import by_label

AROUND_CONTROL = 2.0 ** np.arange(9)
"""Concentrations of effects around the control's shares: from everything possible to hardly any effect."""

AROUND_MEAN = 2.0 ** np.arange(2, 7)
"""Concentrations of effects around the mean shares of perturbations that have one."""

AROUND_ATOMS = (60.0, 200.0)
"""Concentrations around the shares of perturbations that are known well."""

SLIGHTEST = 0.15
"""Concentrations of effects are at least this, so that a rare state is not known beforehand to fall."""

PENALTY = 10.0
"""Pseudo-count of rows without an effect, less one, so that the share of hits is not overstated (Stephens 2017)."""

DRAWS = 2000
"""Draws of each row's shares."""

ROUNDS = 20
"""Rounds of weighing at most, each with the last one's rows without an effect as further controls."""

WEIGHINGS = 200
"""Rounds of weighing pairs of replicates at most."""

PLENTY = 10.0
"""A control of so many times the cells of a row stands alone in the first round; of fewer, all rows beside it, too."""

EQUAL = 12
"""Probabilities that agree to so many decimals are equal."""

LEAST = 1e-12
"""Shares are at least this, so that their ratios are finite."""


type Replicates = Sequence[Hashable] | Mapping[Any, Hashable] | Array | None
"""A label for each row, in order or by the row's name; None where each row is a perturbation of its own."""


def replicate_concentration(counts: Any, condition: Sequence[Hashable] | Array) -> float:
    """Estimate how much replicates of one condition differ beyond the sampling of cells (eq. 30).

    Parameters
    ----------
    counts : array_like, shape (R, K)
        Cells by state of each replicate.
    condition : sequence of R labels
        Rows with one label are replicates of each other.

    Returns
    -------
    float
        κ, where shares of a replicate are Dirichlet(κ q): infinite where they differ by no more than the cells do, and
        where no condition has two replicates; zero where they have nothing in common.
    """
    table, labels = np.asarray(counts, dtype=float), np.asarray(condition, dtype=object)
    cells = table.sum(1)
    shares = table / np.maximum(cells, 1)[:, None]
    pairs = []
    for name in dict.fromkeys(labels):
        rows = np.flatnonzero((labels == name) & (cells > 0))
        for i, r in enumerate(rows):
            for s in rows[:i]:
                both = float(1 - shares[r] @ shares[s])  # estimates Σ q (1 - q) without bias
                pairs.append((float(((shares[r] - shares[s]) ** 2).sum()), both, 1 / cells[r] + 1 / cells[s]))
    if not pairs:
        return np.inf
    apart, both, sampling = np.array(pairs).T
    rho = 1.0  # all pairs weigh the same
    for _ in range(WEIGHINGS):
        weight = (2 * rho + (1 - rho) * sampling) ** -2.0
        above, below = float(weight @ (apart - both * sampling)), float(weight @ (both * (2 - sampling)))
        if below <= 0:  # replicates of one cell each
            return np.inf
        before, rho = rho, float(np.clip(above / below, 0.0, 1.0))
        if abs(rho - before) <= 1e-9 * before:
            break
    return 1 / rho - 1 if rho > 0 else np.inf


def hits(
    counts: Any,
    control: Hashable,
    *,
    replicates: Replicates = None,
    concentration: float | None = None,
    target: Any = None,
    top: int = 10,
    atoms: Any = None,
) -> xr.Dataset:
    """Tell perturbations with an effect on the cell states from those without.

    Parameters
    ----------
    counts : DataTree, DataFrame or DataArray, shape (rows, K)
        Cells of each row by state; of a tree (read or fitted) its ``count``. Rows are perturbations, or replicates.
    control : label
        The unperturbed condition.
    replicates : sequence of labels, or mapping or Series of labels by row, optional
        The perturbation that each row is a replicate of. Default: what a tree that was read with replicates says;
        else each row is a perturbation.
    concentration : float, optional
        κ, where shares of a replicate are Dirichlet(κ q). Default: estimated from the replicates
        (:func:`replicate_concentration`), infinite without any. Without replicates nothing tells an effect from what
        two wells of one perturbation differ by.
    target : array_like, mapping or str, optional
        Wanted shares, for ``score`` and ``top``: as in :func:`score`.
    top : int
        ``in_top`` is the probability of being among so many best ones.
    atoms : array_like, shape (A, K), optional
        Cells by state of perturbations that are known well (of another screen): shares that effects may lead to.

    Returns
    -------
    Dataset
        Over ``perturbation`` (without the control): ``cells``; ``effect_probability``; ``fdr``, the expected share of
        rows without an effect among this and all likelier hits; over ``state`` too: ``log2_fold`` of a state's share
        over the control's (posterior mean; 0 where there is no effect), ``low`` and ``high`` (ends of the 90 %
        interval), ``lfsr``, the probability that its sign is not the likelier one; with a target ``score`` (minus the
        expected l1 distance), ``score_low`` (its 5 % quantile) and ``in_top``. Attributes: ``replicate_concentration``,
        ``share_without_effect``, ``control``.

    Raises
    ------
    InputError
        If there is no such control, no perturbation beside it, or labels do not fit the rows.

    References
    ----------
    Stephens (2017), False discovery rates: a new deal, Biostatistics 18.
    """
    table, names, states = _table(counts)
    condition = _conditions(names, _own(counts) if replicates is None else replicates)
    control = _named(control, condition)
    kappa = replicate_concentration(table, condition) if concentration is None else float(concentration)
    if concentration is not None and not kappa > 0:
        raise InputError(f"perturbation_score: concentration={concentration!r} must be positive.")
    found = [name for name in dict.fromkeys(condition) if name != control]
    if not found:
        raise InputError(f"perturbation_score: there are no perturbations beside the control {control!r}.")
    effective = effective_cells(table, kappa)
    where = np.array(condition, dtype=object)
    N = np.stack([effective[where == name].sum(0) for name in found])
    base = effective[where == control].sum(0) + 0.5
    mixture = _Mixture(N, base, atoms, list(map(str, states)))
    drawn = [mixture.draws(p, str(name)) for p, name in enumerate(found)]
    out = _of_effects(mixture, drawn)
    if target is not None:
        out |= _of_target(mixture, target, np.asarray(states), drawn, top)
    rows = ("perturbation",)
    cells = [table[where == name].sum() for name in found]
    return xr.Dataset(
        {"cells": (rows, np.array(cells)), **{n: ((*rows, "state")[: v.ndim], v) for n, v in out.items()}},
        coords={"perturbation": np.array(found), "state": np.asarray(states)},
        attrs={
            "replicate_concentration": float(kappa),
            "share_without_effect": float(mixture.weight[0]),
            "control": str(control),
        },
    )


def write_hits(
    tree: xr.DataTree,
    path: Path,
    *,
    control: str = "",
    split: str = "",
    target: str = "",
    top: int = 10,
) -> list[Path]:
    """Write the hits of a screen (TSV): a row for each perturbation and state, the likeliest perturbations first.

    Parameters
    ----------
    tree : DataTree
    path : Path
    control : str
        The unperturbed condition. Default: the one that the file was read with.
    split : str
        What stands between a perturbation and the name of its replicate, such as "_": only the last one counts.
    target, top
        As in :func:`hits`.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If no control is named; and as :func:`hits`.
    """
    if not control and "reader_options" in tree.attrs:
        control = str(attribute(tree, "reader_options").get("control") or "")
    if control == "":
        raise InputError(f"perturbation_score: hits are told against a control. Name it: {option('control')}.")
    names = [str(name) for name in _table(tree)[1]]
    told = hits(
        tree,
        control,
        replicates=[name.rpartition(split)[0] or name for name in names] if split else None,
        target=target or None,
        top=top,
    )
    order = np.lexsort([told["perturbation"].to_numpy().astype(str), -told["effect_probability"].to_numpy()])
    frame = told.isel(perturbation=order).to_dataframe(dim_order=["perturbation", "state"])
    with replacing(path) as temporary:
        frame.to_csv(temporary, sep="\t", float_format="%.6g", lineterminator="\n")
    return [path]


class _Mixture:
    """No effect, or one of Dirichlet distributions: weights by EM, penalised, and responsibilities (eqs. 32 to 34)."""

    def __init__(self, N: Array, control: Array, atoms: Any, states: Sequence[str]) -> None:
        self.N, self.states = N, states
        self.known = np.empty((0, N.shape[1]))
        if atoms is not None:
            known = np.asarray(atoms, dtype=float) + 0.5
            same_states(known, N)
            self.known = np.concatenate([s * known / known.sum(1, keepdims=True) for s in AROUND_ATOMS])
        self.control = control
        alone = self._settled(np.zeros(len(N)))
        if control.sum() < PLENTY * np.median(N.sum(1)) and self._settled(np.ones(len(N))) < alone:
            self._settled(np.zeros(len(N)))

    def _settled(self, without: Array) -> float:
        """Weigh in turns from how likely rows are without an effect, (P,); return how well all are predicted."""
        for _ in range(ROUNDS):
            before = without
            self.base = self.control + before @ self.N
            own = before[:, None] * self.N  # no row is its own control
            fit = self._weigh(self.base - own, (1 - before) @ (self.N / self.N.sum(1, keepdims=True)))
            without = self.member[:, 0]
            if np.abs(without - before).max() < 1e-3:
                break
        own = dirichlet_multinomials(self.control[None] - 0.5, self.base[None] - self.control + 0.5, own=True)
        return fit + float(own[0])

    def _weigh(self, null: Array, effects: Array) -> float:
        """Find weights and responsibilities, given what rows without an effect are drawn around, (P, K).

        ``effects``, (K,): shares of the rows that have one, summed.

        Return the log probability of the rows, with that of the weights.
        """
        share, total = self.base / self.base.sum(), self.base.sum()
        mean = (effects + PENALTY * share) / (effects.sum() + PENALTY)  # one row says little of where others lie
        around = [AROUND_CONTROL[total / 2 > AROUND_CONTROL, None] * share, AROUND_MEAN[:, None] * mean, self.known]
        self.alpha = np.maximum(np.concatenate(around), SLIGHTEST)
        same = dirichlet_multinomials(self.N, null, own=True)
        log = np.concatenate([same[:, None], dirichlet_multinomials(self.N, self.alpha)], 1)
        ratio = np.exp(log - log.max(1, keepdims=True))
        weight = np.full(log.shape[1], 0.5 / len(self.alpha))
        weight[0] = 0.5
        for _ in range(1000):
            member = ratio * weight
            new = (member / member.sum(1, keepdims=True)).sum(0)
            new[0] += PENALTY - 1
            new /= new.sum()
            moved = float(np.abs(new - weight).max())
            weight = new
            if moved < 1e-6:
                break
        self.weight = weight
        member = ratio * weight
        self.member = member / member.sum(1, keepdims=True)
        self.posterior = np.concatenate(
            [null[:, None], np.broadcast_to(self.alpha, (len(self.N), *self.alpha.shape))], 1
        )
        self.posterior = self.posterior + self.N[:, None]
        return float((np.log(member.sum(1)) + log.max(1)).sum() + (PENALTY - 1) * np.log(weight[0]))

    def draws(self, row: int, name: str) -> tuple[Array, Array]:
        """Return shares, (DRAWS, K), and which of them have an effect; they depend on names, not on places."""
        edges = np.concatenate([[0.0], np.cumsum(self.member[row])]) * DRAWS
        times = np.diff(np.floor(edges + 0.5)).astype(int)  # as many of each component as its share
        which = np.repeat(np.arange(len(times)), times)
        order = np.random.default_rng(crc32(name.encode())).permutation(len(which))
        return self._shares(name, np.maximum(self.posterior[row, which], 1e-6))[order], which[order] > 0

    def control_draws(self) -> Array:
        """Return shares of the control, (DRAWS, K)."""
        return np.maximum(self._shares("", np.broadcast_to(self.base, (DRAWS, len(self.base)))), LEAST)

    def _shares(self, name: str, concentration: Array) -> Array:
        """Draw shares of the row of a name, each state with random numbers of its own; both of shape (S, K)."""
        q = np.empty(concentration.shape)
        for k, state in enumerate(self.states):
            q[:, k] = np.random.default_rng(crc32(f"{name}\n{state}".encode())).standard_gamma(concentration[:, k])
        return q / q.sum(1, keepdims=True)


def dirichlet_multinomials(counts: Array, alpha: Array, *, own: bool = False) -> Array:
    """Log probability of counts (P, K), which need not be whole, by each of several concentrations (M, K): (P, M).

    ``own``: each row has a concentration of its own, (P, K); shape (P,).
    """
    if not own:
        return np.stack([dirichlet_multinomials(counts, np.broadcast_to(a, counts.shape), own=True) for a in alpha], 1)
    total = alpha.sum(1)
    ratio = (gammaln(counts + alpha) - gammaln(alpha)).sum(1)
    return np.asarray(gammaln(total) - gammaln(total + counts.sum(1)) + ratio)


def _of_effects(mixture: _Mixture, drawn: list[tuple[Array, Array]]) -> dict[str, Array]:
    """Return what is said of effects against the control (eq. 35)."""
    control = mixture.control_draws()
    without = mixture.member[:, 0]
    ordered = np.sort(np.round(without, EQUAL))
    upto = np.searchsorted(ordered, np.round(without, EQUAL), side="right")  # rows that are as likely or likelier
    fdr = np.cumsum(ordered)[upto - 1] / upto
    mean, low, high, wrong = (np.empty(mixture.N.shape) for _ in range(4))
    for p, (q, effect) in enumerate(drawn):
        fold = np.where(effect[:, None], np.log2(np.maximum(q, LEAST) / control), 0.0)
        mean[p] = fold.mean(0)
        low[p], high[p] = np.quantile(fold, (0.05, 0.95), axis=0)
        wrong[p] = np.minimum((fold >= 0).mean(0), (fold <= 0).mean(0))
    return {"effect_probability": 1 - without, "fdr": fdr, "log2_fold": mean, "low": low, "high": high, "lfsr": wrong}


def _of_target(
    mixture: _Mixture, target: Any, states: Array, drawn: list[tuple[Array, Array]], top: int
) -> dict[str, Array]:
    """Return scores for a target, and the probability of being among the best (eq. 36)."""
    if top < 1:
        raise InputError(f"perturbation_score: top={top!r} must be 1 or more.")
    Q = checked_target(by_label(target, states))
    same_states(Q, mixture.N)
    each = expected_l1(Q, mixture.posterior)
    minus = np.stack([-l1(q, Q) for q, _ in drawn], 1)  # (DRAWS, P)
    top = min(top, minus.shape[1])
    best = np.argpartition(-minus, top - 1, axis=1)[:, :top]
    often = np.bincount(best.ravel(), minlength=minus.shape[1])
    return {
        "score": -(mixture.member * each).sum(1),
        "score_low": np.quantile(minus, 0.05, axis=0),
        "in_top": often / len(minus),
    }


def effective_cells(table: Array, kappa: float) -> Array:
    """Take counts for as many cells as they are worth beside the differences between replicates (eq. 31)."""
    cells = table.sum(1, keepdims=True)
    return table if np.isinf(kappa) else table * (kappa + 1) / (kappa + cells)


def _own(counts: Any) -> list[str] | None:
    """Return the perturbation of each row where a tree holds replicates."""
    if (
        not isinstance(counts, xr.DataTree)
        or "constant_data" not in counts
        or "condition" not in counts["constant_data"]
    ):
        return None
    held = [group["perturbation"].to_numpy() for group in counts.children.values() if "perturbation" in group.coords]
    names = attribute(counts, "labels").get("perturbation") if "labels" in counts.attrs else None
    names = held[0] if names is None and held else names
    at = counts["constant_data"]["condition"].to_numpy()
    return [str(c if names is None else names[c]) for c in at]


def _named(control: Hashable, condition: Sequence[Any]) -> Any:
    """Return the condition of a name: the label itself, or the only one that is written so."""
    known = list(dict.fromkeys(condition))
    if control in known:
        return control
    alike = [one for one in known if str(one) == str(control)]
    if len(alike) != 1:
        raise absent("perturbation_score: hits", "control", str(control), list(map(str, known)))
    return alike[0]


def _conditions(names: Sequence[Any], replicates: Replicates) -> list[Any]:
    if replicates is None:
        if len(set(names)) < len(names):
            double = next(name for name in names if list(names).count(name) > 1)
            raise InputError(
                f"perturbation_score: the row {double!r} is there twice. If rows are replicates, say so "
                "(replicates=list(counts.index)); else keep one of them."
            )
        return list(names)
    if isinstance(replicates, Mapping) or hasattr(replicates, "reindex"):
        by_row = dict(cast("Any", replicates).items())  # a mapping, or a Series
        if lacking := [name for name in names if name not in by_row]:
            raise InputError(f"perturbation_score: replicates: there is no label for the row {lacking[0]!r}. Give one.")
        return [by_row[name] for name in names]
    labels = list(replicates)
    if len(labels) != len(names):
        raise InputError(
            f"perturbation_score: there are {len(names)} rows but {len(labels)} labels of replicates. Give one each."
        )
    return labels


def _table(counts: Any) -> tuple[Array, list[Any], list[Any]]:
    """Return counts (rows, K), and the names of rows and states."""
    if isinstance(counts, xr.DataTree):
        if "observed_data" not in counts or "count" not in counts["observed_data"]:
            raise InputError("perturbation_score: the tree holds no counts. Read or fit a screen first.")
        counts = counts["observed_data"]["count"].transpose(..., "state")
    if isinstance(counts, xr.DataArray):
        if counts.ndim != 2:
            raise InputError(f"perturbation_score: counts have {counts.ndim} dims, but must have two: rows and states.")
        counts = counts.to_pandas()
    if not hasattr(counts, "columns"):
        raise InputError(
            "perturbation_score: counts must be a DataFrame, a DataArray or a tree, whose rows have names."
        )
    table = counts.to_numpy()
    states = list(map(str, counts.columns))
    if table.dtype.kind not in "iuf":
        raise InputError(
            f"perturbation_score: counts of the states {listed(states)} must be numbers of cells. Leave other "
            "columns out."
        )
    odd = np.argwhere(~(np.isfinite(table) & (table >= 0) & (table == np.rint(table))))
    if odd.size:
        i, j = odd[0]
        raise InputError(
            f"perturbation_score: row {counts.index[i]!r}, state {states[j]!r} is {table[i, j]:g} ({len(odd)} such "
            "values), but counts are whole numbers of cells, zero or more. Give cells, not shares, and leave other "
            "columns out."
        )
    if len(set(states)) < max(2, len(states)):
        raise InputError(
            f"perturbation_score: the states are {listed(states)}: two different ones or more are needed. Join "
            "columns of one name."
        )
    empty = np.flatnonzero(table.sum(1) == 0)
    if empty.size:
        raise InputError(f"perturbation_score: the row {counts.index[empty[0]]!r} has no cells. Leave it out.")
    return table.astype(float), list(counts.index), list(counts.columns)
