"""Programs: what a model is made of, for other tools: its PyMC model, its Stan program and that program's data."""

from pathlib import Path
from typing import Any

from genarium.data import check
from genarium.declaration import Model, Problem
from genarium.errors import InputError
from genarium.holding import Data
from genarium.registry import program, resolve
from genarium.settings import split


def pymc_model(model: str | Path | Model, data: Data, **settings: Any) -> Any:
    """Return a model as PyMC's, with the data in it, to extend or to sample with anything that takes one.

    Parameters
    ----------
    model : str, Path or Model
        Name of a model, its folder, or a declaration.
    data : DataTree, Dataset or mapping of str to array_like
        As for :func:`fit`; they are checked in the same way.
    **settings
        Sizes (``component=5``), options of the model (``dispersion="gene"``) and values of known variables
        (``phi=0.3``).

    Returns
    -------
    pymc.Model
        Hidden variables are summed out. Its free variables have the declared names and dims. Known and observed
        variables are ``pm.Data``: a known one under its own name, an observed one, or one that has the name of a dim,
        as ``<name>_data``.

    Raises
    ------
    InputError
        If the model has no PyMC density, or data or settings cannot be used.

    Examples
    --------
    >>> import genarium as gn
    >>> model = gn.pymc_model("nb_mixture", {"x": [[0, 9], [1, 8], [7, 0]], "phi": 0.3}, component=2)  # doctest: +SKIP
    >>> sorted(variable.name for variable in model.free_RVs)  # doctest: +SKIP
    ['mu', 'pi']
    """
    problem = _posed(model, data, settings)
    if problem.model.density is None:
        raise InputError(f"{problem.model.name}: the model has no PyMC density.")
    from genarium.engines.compiled import build

    return build(problem)


def stan_program(model: str | Path | Model, **options: str) -> str:
    """Return the Stan program of a model: one text that needs no other file.

    Parameters
    ----------
    model : str, Path or Model
        Name of a model, its folder, or a declaration.
    **options
        Options of the model; a variant may have a program of its own.

    Returns
    -------
    str
        What the program includes stands in it.

    Raises
    ------
    InputError
        If there is no such option, or no program for it.

    Examples
    --------
    >>> import genarium as gn
    >>> "parameters {" in gn.stan_program("nb_mixture", dispersion="gene")
    True
    """
    from genarium.engines.cmdstan.programs import inlined

    declared = resolve(model)
    variant = declared.variant(**{**declared.chosen, **options})
    source = program(variant)
    if source is None:
        raise InputError(f"{variant.name}: there is no Stan program for this variant ({dict(variant.chosen)}).")
    return inlined(source)


def stan_data(model: str | Path | Model, data: Data, **settings: Any) -> dict[str, Any]:
    """Return the data of a model's Stan program, as CmdStanPy takes them.

    Parameters
    ----------
    model : str, Path or Model
        Name of a model, its folder, or a declaration.
    data : DataTree, Dataset or mapping of str to array_like
        As for :func:`fit`; they are checked in the same way.
    **settings
        Sizes, options of the model and values of known variables.

    Returns
    -------
    dict
        Sizes, known and observed variables, under the names that the program's data block gives them: their own, but
        ``n_<dim>`` for the size of a dim that has the name of a variable or of a word of Stan's, and an underscore
        after a variable that has the name of such a word.

    Raises
    ------
    InputError
        If data or settings cannot be used.

    Examples
    --------
    >>> import genarium as gn
    >>> given = gn.stan_data("nb_mixture", {"x": [[0, 9], [1, 8], [7, 0]], "phi": 0.3}, component=2)
    >>> given["cell"], given["component"], given["phi"]
    (3, 2, [0.3, 0.3])
    """
    from genarium.engines.stan import data as as_stan

    return as_stan(_posed(model, data, settings))


def _posed(model: str | Path | Model, data: Data, settings: dict[str, Any]) -> Problem:
    """Check data against a model; nothing is held fixed in what is exported."""
    variant, sizes, values, _ = split(resolve(model, data), settings)
    problem = check(variant, data, sizes, values)
    if problem.fixed:
        raise InputError(
            f"{variant.name}: {', '.join(problem.fixed)} is unknown, and nothing is held fixed in an exported model. "
            "Leave it out; of a PyMC model, pymc.do or pymc.observe hold it."
        )
    return problem
