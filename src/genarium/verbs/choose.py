"""Choose: fit a model at several sizes, or values of an option, and compare by the bound or by what is held out."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.declaration import Array, Model
from genarium.errors import GenariumError, InputError
from genarium.evaluate import at_draws, fitted_problem, predictions
from genarium.form import check_form
from genarium.holding import Data
from genarium.methods import methods
from genarium.progress import track
from genarium.registry import fitted_model, resolve
from genarium.remedies import either, flag, setting, warn
from genarium.tree import with_groups
from genarium.verbs.fit import fit
from genarium.verbs.held_out import predicted_density


def choose(
    model: str | Path | Model,
    data: Data,
    size: str,
    values: Iterable[int] | Iterable[str],
    method: str = "vi",
    seed: int = 0,
    *,
    by: Literal["bound", "held_out"] = "bound",
    folds: int = 5,
    layer: Any = "",
    **settings: Any,
) -> xr.DataTree:
    """Fit at each value of a size or option; return the one of the highest evidence lower bound or held-out density.

    Parameters
    ----------
    model : str, Path or Model
        Name of a model, its folder, or a declaration.
    data : DataTree, Dataset, mapping, AnnData, DataFrame, Series, DataArray or matrix
        As for :func:`genarium.fit`.
    size : str
        The size to choose, e.g. "component", or an option of the model.
    values : iterable of int or of str
        Its candidates.
    method : str
        To choose by the bound, a method whose bound is an evidence lower bound; a maximised likelihood only grows with
        the size. By what is held out, any method.
    seed : int
        The same for every candidate.
    by : {"bound", "held_out"}
        The evidence lower bound; or the log density of parts of the data, each predicted by a fit to the others, for
        models that say what can be held out (loci of a corpus, say). Of sizes, the smallest one is chosen that is
        within one standard error of the best (Breiman, Friedman, Olshen and Stone 1984, Classification and Regression
        Trees, sec. 3.4): superfluous ones are ahead by chance. Of the values of an option, the best.
    folds : int
        Parts, with ``by="held_out"``: each candidate is fitted as often, and once to all data.
    layer : str
        Of an AnnData, the layer that takes the place of ``X``.
    **settings
        As for :func:`genarium.fit`.

    Returns
    -------
    DataTree
        The fit that was chosen, with the group ``choice``: by candidate, the bound, ``bic`` and ``icl`` (smaller is
        better; their n is the number of the model's units, or of the reads or mutations that these stand for), the
        iterations, whether it converged (as far as the method tells) and whether it was ``chosen``; with
        ``by="held_out"`` the log density of what was held out, in all and by part, an observation's ``gain`` over the
        smallest candidate, and by how many nats in all it is ``behind`` the best one, each with its standard error
        (between parts, or between observations where that is larger: those of a part share the luck of one fit).

    Raises
    ------
    InputError
        If the method's bound does not penalise size, there is no candidate, or the size is given besides; or that of
        the first candidate (later ones that cannot be fitted are left out, with a warning).

    Examples
    --------
    >>> import genarium as gn
    >>> data = gn.simulate("nb_mixture", seed=4, mu=[[10, 10], [400, 10], [10, 400]], cell=300)
    >>> best = gn.choose("nb_mixture", data, "component", range(1, 5), seed=1, alpha0=0.5)
    >>> best["posterior"].sizes["component"]
    3
    """
    candidates: list[Any] = _candidates(model, data, size, values)
    if not candidates:
        raise InputError(
            f"no candidate for {size!r} was given; for example {either('range(1, 9)', f'--choose {size}=1:8')}."
        )
    if by not in ("bound", "held_out"):
        raise InputError(f"by={by!r} is not known; use one of bound, held_out.")
    if size in settings:
        raise InputError(
            f"{setting(size, settings[size])} would be dropped: {size!r} is chosen among "
            f"{', '.join(map(str, candidates))}. "
            "Leave it out."
        )
    if isinstance(data, xr.DataTree):
        check_form(data)
    fits: dict[int, xr.DataTree] = {}
    rows: list[tuple[Any, ...]] = []
    densities: list[list[Array]] = []
    failed: dict[Any, GenariumError] = {}
    for candidate in track(candidates, f"choosing {size}"):
        own = {**settings, size: candidate}
        try:
            given = resized(model, data, size, candidate)
            parts = predicted_density(model, given, method, seed, folds, layer, **own) if by == "held_out" else None
            tree = fit(model, given, method, seed, layer=layer, **own)
        except GenariumError as reason:
            if not rows:
                raise
            failed[candidate] = reason
            continue
        if parts is not None:
            densities.append(parts)
        notes = attribute(tree, "notes")
        if by == "bound" and (tree.attrs["claim"] != "approximate" or "bound" not in notes):
            raise InputError(
                f"method {method!r} gives no evidence lower bound, and a likelihood grows with {size!r} whatever the "
                f"data. {_remedy(fitted_model(tree, model))}"
            )
        told = (notes.get(name, np.nan) for name in ("bound", "iterations", "converged"))
        rows.append((*told, *criteria(fitted_model(tree, model), tree, size)))
        fits[len(rows) - 1] = tree
        if by == "bound":
            chosen = max(range(len(rows)), key=lambda at: (rows[at][0], -at))
            fits = {at: tree for at, tree in fits.items() if at == chosen}
    if failed:
        reasons = "; ".join(f"{setting(size, candidate)}: {reason.marked}" for candidate, reason in failed.items())
        warn(f"Not fitted, and left out of the choice: {reasons}")
        candidates = [candidate for candidate in candidates if candidate not in failed]
    bound, iterations, converged, bic, icl = (np.array(column) for column in zip(*rows, strict=True))
    dim = f"{size}_candidate"
    table = xr.Dataset(
        {
            "bound": (dim, bound),
            "bic": (dim, bic),
            "icl": (dim, icl),
            "iterations": (dim, iterations),
            "converged": (dim, converged),
        },
        coords={dim: candidates},
    )
    if densities:
        table["held_out"] = (dim, [float(np.concatenate(parts).sum()) for parts in densities])
        table["held_out_by_part"] = ((dim, "part"), np.array([[part.sum() for part in parts] for parts in densities]))
        best = int(table["held_out"].to_numpy().argmax())
        if not np.isfinite(table["held_out"][best]):
            raise InputError(
                f"{fitted_model(fits[best], model).name}: under every value of {size!r}, a held-out observation "
                f"has the density zero, so that they cannot be compared. Choose {flag('by', 'bound')}, or look for "
                "observations that no other one resembles."
            )
        gain, error = compared(densities, 0)
        table["gain"], table["gain_error"] = (dim, gain), (dim, error)
        gain, error = compared(densities, best)
        n = sum(map(len, densities[best]))
        table["behind"], table["behind_error"] = (dim, -n * gain), (dim, n * error)
        chosen = best if size in fitted_model(fits[best], model).options else int(np.flatnonzero(-gain <= error)[0])
        table = table.assign_coords(part=np.arange(folds))
    table["chosen"] = (dim, np.arange(len(candidates)) == chosen)
    return with_groups(fits[chosen], {"choice": table}, {"chosen_size": size, "chosen_by": by})


def compared(densities: Sequence[Sequence[Array]], at: int) -> tuple[Array, Array]:
    """Return by how much candidates predict better than one of them, a unit's mean, and the standard error of that.

    Units of a part are predicted by one fit, whose luck they share: the error is that between parts, or between units
    where that is larger.

    Parameters
    ----------
    densities : sequence of sequence of ndarray
        By candidate and part of the data, the log density of each unit that was held out, in nats.
    at : int
        The candidate that the others are compared with.

    Returns
    -------
    gain, error : ndarray, shape (candidates,)
    """
    gain, error = [], []
    for parts in densities:
        with np.errstate(invalid="ignore"):  # what has no density under either cannot be compared
            each = [own - other for own, other in zip(parts, densities[at], strict=True)]
            units, sums = np.concatenate(each), np.array([part.sum() for part in each])
            gain.append(units.mean())
            between_parts = sums.std(ddof=1) * np.sqrt(len(sums)) / len(units)
            error.append(max(between_parts, units.std() / np.sqrt(max(1, len(units) - 1))))
    return np.array(gain), np.array(error)


def _candidates(model: str | Path | Model, data: Data, size: str, values: Iterable[Any]) -> list[Any]:
    """Return the candidates, each once: sizes from the smallest, values of an option as they are given."""
    declared = resolve(model, data)
    if size in declared.options:
        return list(dict.fromkeys(map(str, values)))
    return sorted({int(v) for v in values})


def _remedy(model: Model) -> str:
    """Say how to choose a size of this model."""
    bounds = [name for name, way in methods(model).items() if way.claim == "approximate" and way.engine != "stan"]
    ways = [f"by what is held out ({flag('by', 'held_out')})"] if model.folds else []
    ways += [f"with {flag('method', bounds[0])}"] if bounds else []
    return f"Choose {' or '.join(ways)}, or compare exact fits by az.loo in Python."


def criteria(model: Model, tree: xr.DataTree, size: str) -> tuple[float, float]:
    """Return BIC and ICL of a fit at its posterior means (or its point), in place of the maximum of the likelihood.

    Parameters
    ----------
    model : Model
        The variant that was fitted.
    tree : DataTree
    size : str
        The dim whose size is chosen, or an option.

    Returns
    -------
    bic : float
        p ln n - 2 ln L, with p free numbers and n units, or as many observations as these stand for (Schwarz 1978, Ann.
        Statist. 6); NaN where the model tells no likelihood.
    icl : float
        BIC plus twice the entropy of the memberships of all n, as they are predicted (Biernacki, Celeux and Govaert
        2000, IEEE PAMI 22); NaN where the model predicts none.
    """
    from scipy.special import entr

    problem = fitted_problem(model, tree)
    names = [name for name in model.unknown.variables if name not in problem.fixed]
    if model.log_likelihood is None or not model.unit:
        return np.nan, np.nan
    if "posterior" in tree:
        means = {name: tree["posterior"][name].mean(("chain", "draw")).to_numpy()[None] for name in names}
    else:
        means = {name: tree["point"][name].to_numpy()[None] for name in names}
    free = sum(means[name].size - _bound(model, name, means[name]) for name in names)
    total = float(at_draws(problem, model.log_likelihood, means).sum())
    many = problem[model.multiplicity] if model.multiplicity else np.ones(problem.sizes[model.unit])
    bic = float(free * np.log(many.sum()) - 2 * total)
    found = predictions(model, tree, problem) if model.predict else xr.Dataset()
    p = found.get("probability")
    if p is None or set(p.dims) != {model.unit, size if size in model.sizes else model.exchangeable}:
        return bic, np.nan
    return bic, bic + 2 * float(many @ entr(p.transpose(model.unit, ...).to_numpy()).sum(1))


def _bound(model: Model, name: str, value: Array) -> int:
    """Count the numbers of a variable that follow from its others: one of each vector of given sum."""
    return (
        value.size // value.shape[-1] if model.variables()[name].support.name in ("simplex", "zero-sum vector") else 0
    )


def resized(model: str | Path | Model, data: Data, size: str, candidate: int) -> Data:
    """Return a tree of data for another value of a size: known values that are the same all along it are repeated.

    A simulation stores the hyperparameters of its own size, which say nothing of another.
    """
    if not isinstance(data, xr.DataTree) or "constant_data" not in data:
        return data
    if "observed_data" in data and size in data["observed_data"].sizes:
        return data  # the observations decide it
    given = data["constant_data"].to_dataset()
    stale = [name for name, value in given.data_vars.items() if size in value.dims and value.sizes[size] != candidate]
    if not stale:
        return data
    new: dict[str, xr.DataArray] = {}
    for name in stale:
        one = given[name].isel({size: 0}, drop=True)
        if not bool((given[name] == one).all()):
            return data  # the check names what does not fit
        new[str(name)] = one.expand_dims({size: candidate}, given[name].dims.index(size))
    kept = given.drop_vars(stale).drop_dims(size, errors="ignore")
    return with_groups(data, {"constant_data": kept.assign(new)}, {})
