"""The declaration of a model: ``Model``, ``Stage`` and ``Var``.

A generative model is told as four stages, each generating the next: what is *known* (design, constants, priors'
parameters), what is *unknown* (parameters), what is *hidden* (latent variables of each observation) and what is
*observed*. A stage's draw function names its parents as its parameters; that is how the model's graph is read off.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genarium.errors import DeclarationError, InputError
from genarium.remedies import setting
from genarium.signatures import RESERVED, call, keyword_options, parents_of
from genarium.supports import Support

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Sizes = Mapping[str, int]
Role = Literal["known", "unknown", "hidden", "observed"]
Claim = Literal["exact", "approximate", "point"]

ROLES: tuple[Role, ...] = ("known", "unknown", "hidden", "observed")


@dataclass(frozen=True)
class Var:
    """One variable of a model.

    Attributes
    ----------
    dims : tuple of str
        Names of the array's dims, in order; each is a key of ``Model.sizes``.
    support : Support
        The values it may take.
    about : str
        What it is, in one sentence for the variable table; units where it has any.
    symbol : str
        The symbol that papers use (Unicode), unique in the model.
    default : float or callable, optional
        Known and observed variables only: the value of every element where the user gives none. Of a known variable it
        may be a function of observed ones, and of known ones whose default is no function, named as its parameters,
        for what data show and a simulation needs.
    """

    dims: tuple[str, ...]
    support: Support
    about: str
    symbol: str
    default: float | Callable[..., Any] | None = None


@dataclass(frozen=True)
class Stage:
    """The variables of one role, and how they are drawn.

    Attributes
    ----------
    variables : mapping of str to Var
        Variables by name, in the order in which they are drawn.
    draw : callable or mapping of str to callable
        One function for the stage, ``draw(rng, sizes, <parents>)`` returning an array for each of its variables; or
        one for each variable, returning its array, which may also ask for variables listed before it in the stage.
        Only the parameters that a function names are passed. The known stage's functions make a default design for
        simulations; a variable without one takes its default.
    """

    variables: Mapping[str, Var]
    draw: Callable[..., Mapping[str, Any]] | Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def parents(self, name: str) -> tuple[str, ...]:
        """Return the names of the variables that a variable of this stage is drawn from."""
        if isinstance(self.draw, Mapping):
            return parents_of(self.draw[name]) if name in self.draw else ()
        return parents_of(self.draw)


@dataclass(frozen=True)
class Method:
    """A way to fit a model.

    Attributes
    ----------
    run : callable or str
        ``run(problem, rng, *, option=default, ...)`` returning a :class:`Result`; its keyword-only parameters are
        the method's options. A string "module:function" is imported when the method is used.
    claim : {"exact", "approximate", "point"}
        What the method claims; it is held to that by validation.
    about : str
        One sentence.
    engine : str
        What computes: "numpy" for purpose-built methods.
    holds : tuple of str
        Unknown variables that the method can hold fixed at a value that the user gives; it is never run with others.
    defaults : mapping of str to value
        Options, among those that the function has, whose default is another one here.
    """

    run: "Callable[..., Result] | str"
    claim: Claim
    about: str
    engine: str = "numpy"
    holds: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def function(self) -> "Callable[..., Result]":
        """The function that ``run`` is, or names, with the defaults that hold here."""
        if not isinstance(self.run, str):
            return self._with_defaults(self.run)
        module, _, name = self.run.partition(":")
        return self._with_defaults(getattr(import_module(module), name))

    def _with_defaults(self, function: "Callable[..., Result]") -> "Callable[..., Result]":
        have = keyword_options(function) if self.defaults else {}
        own = {name: value for name, value in self.defaults.items() if name in have}
        if not own:
            return function
        changed = partial(function, **own)
        changed.__doc__ = function.__doc__
        return changed

    @property
    def options(self) -> dict[str, Any]:
        """Names and defaults of the method's options."""
        return keyword_options(self.function)


@dataclass(frozen=True)
class Problem:
    """Checked data, as the plain arrays that kernels take.

    Attributes
    ----------
    model : Model
        The variant that is fitted.
    sizes : mapping of str to int
        Size of each dim.
    arrays : mapping of str to ndarray
        Known and observed variables, each with the shape of its declared dims.
    fixed : mapping of str to ndarray
        Unknown variables whose value the user gave; they are held at it.
    coords : mapping of str to ndarray
        Labels along each dim.
    """

    model: "Model"
    sizes: Sizes
    arrays: Arrays
    fixed: Arrays = field(default_factory=dict)
    coords: Arrays = field(default_factory=dict)

    def __getitem__(self, name: str) -> Array:
        if name not in self.arrays and name in self.model.observed.variables:
            dims = ", ".join(self.model.variables()[name].dims)
            raise InputError(
                f"{self.model.name}: observed variable {name!r} ({dims}) is missing. Give data that hold it."
            )
        return self.arrays[name]

    def option(self, name: str) -> str:
        """Return the value that an option of the model has here."""
        return self.model.option(name)

    def call(self, function: Callable[..., Any], **more: Any) -> Any:
        """Call a function with those of the sizes, data and ``more`` that its signature names."""
        return call(function, {"sizes": self.sizes, **self.arrays, **self.fixed, **more})


Labelled = tuple[tuple[str, ...], Array]
"""Dims and values of an array that the declaration does not name."""


@dataclass(frozen=True)
class Answer:
    """What a command of a model says: text on the terminal, and, where it is asked for, a page with figures.

    Attributes
    ----------
    title : str
    tables : mapping of str to sequence of sequences of str
        Title -> rows of cells, the names of the columns first.
    notes : sequence of str
        Sentences, in their order.
    figures : callable, optional
        Yields titles, captions and figures; called only for a page.
    """

    title: str
    tables: Mapping[str, Sequence[Sequence[str]]]
    notes: Sequence[str] = ()
    figures: Callable[[], Iterable[Any]] | None = None


@dataclass(frozen=True)
class Caution:
    """What a model has to say of a fit that is not wrong, but easily misread; ``diagnose`` makes it a verdict.

    Attributes
    ----------
    check : str
        What was looked for.
    value : float
        How much of it was found; nothing to say where it is zero.
    where : str
        The elements that it is about, by name.
    advice : str
        What it means, and what to do.
    """

    check: str
    value: float
    where: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Result:
    """What a method found. Draws lead with (chain, draw); point estimates have the declared dims.

    Attributes
    ----------
    point : mapping, optional
        Point estimates of the unknown variables (and whatever else, as ``(dims, values)``).
    posterior : mapping, optional
        Draws of the unknown variables.
    variational : mapping, optional
        Parameters of the approximate posterior, as ``(dims, values)``.
    sample_stats : mapping, optional
        Statistics of each draw.
    log_likelihood, posterior_predictive : ndarray, mapping of str to ndarray, optional
        Pointwise log likelihood and replicated data at the draws, where the engine made them; otherwise they follow
        from the declaration.
    notes : mapping
        Scalars for the attributes of the tree: did it converge, how many iterations ...
    """

    point: Mapping[str, Array | Labelled] = field(default_factory=dict)
    posterior: Mapping[str, Array | Labelled] = field(default_factory=dict)
    variational: Mapping[str, Array | Labelled] = field(default_factory=dict)
    sample_stats: Mapping[str, Array | Labelled] = field(default_factory=dict)
    log_likelihood: Array | None = None
    posterior_predictive: Mapping[str, Array] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fold:
    """A part of the data that is held out, and the rest.

    Attributes
    ----------
    train, test : mapping of str to ndarray
        Known and observed variables of the rest and of the part, where they differ from those of all data.
    sizes : mapping of str to int
        Sizes that both have, where they differ from those of all data and the arrays may not show it.
    """

    train: Arrays
    test: Arrays
    sizes: Sizes = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """How a model's methods are validated.

    Attributes
    ----------
    settings : mapping
        Sizes, values and options (of the model and of methods) where they differ from the usual ones.
    control : mapping of str to value
        Negative control: known variables that a fit is deliberately given a wrong value of, or options that the
        simulation has and the fit has not. Validation must reject it.
    growth : tuple of int
        Sizes of ``Model.unit`` over which the error of the estimates must fall.
    growing : mapping of str to value
        Known variables of these data, where with their usual values the sizes are too small for errors to have begun to
        fall as the root of the number of units.
    also : tuple of (method, options)
        Methods under other options than their default that get a certificate of their own.
    corrected : tuple of str
        Quantities whose intervals a corrected method (option ``covariance``) corrects, and is held to; empty
        where it corrects all.
    undetermined : tuple of str
        Unknown variables and quantities that more units do not determine (the spread of a few regions' effects, say):
        no part of the recovery.
    learned : callable, optional
        ``learned(options)``: known variables that a method with these options takes for unknown, log normal around the
        given values: name -> standard deviation of the log. Simulations draw them, the fit gets the given ones.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    control: Mapping[str, Any] = field(default_factory=dict)
    growth: tuple[int, ...] = ()
    growing: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    corrected: tuple[str, ...] = ()
    undetermined: tuple[str, ...] = ()
    learned: Callable[[Mapping[str, Any]], Mapping[str, float]] | None = None


@dataclass(frozen=True, repr=False)
class Model:
    """A generative model, declared once.

    Attributes
    ----------
    name : str
        The folder's name; a dotted module name is cut to its last part, so that ``name=__name__`` is always right (and
        tells where the model's files are).
    title : str
        What the model is, in a few words.
    sizes : mapping of str to int
        Every dim and its size in a default simulation.
    known, unknown, hidden, observed : Stage
        The variables of each role, and how they are drawn.
    density : callable, optional
        ``density(sizes, <known and observed>)``: builds the PyMC model inside an open ``pm.Model`` context, hidden
        variables summed out.
    log_likelihood : callable, optional
        ``log_likelihood(<unknown, known, observed>)``: log density of the observations, one value for each element of
        ``unit``, hidden variables summed out (NumPy).
    hoisted : callable, optional
        ``hoisted(problem)``: a function like ``log_likelihood`` for one problem, with what does not vary between draws
        computed once.
    log_prior : callable, optional
        ``log_prior(<unknown, known>)``: log prior density of the unknown variables, normalised (NumPy).
    log_density : callable, optional
        ``log_density(problem, unknown)``: joint log density of one point, up to a constant, as an engine returns it for
        every draw (``sample_stats["log_density"]``): a quantity to calibrate where there is neither ``log_likelihood``
        nor ``log_prior``.
    vectorized : bool
        Whether ``log_likelihood``, ``log_prior`` and ``test_quantities`` take unknown variables with draws as a leading
        dim and return values with that dim; else they are called draw by draw.
    default_sizes : mapping of str to int
        Sizes that data never show (a network's neurons), taken where the user gives none.
    derived_dims : mapping of str to callable
        Dims whose labels follow from those of other dims (the edges between nodes): dim -> function of those dims'
        labels, by their names, returning its labels, as many whatever the labels are. Their sizes are never given.
    unit : str
        The dim along which observations are independent given the unknown variables (what ``az.loo`` leaves out).
    labels : mapping of str to tuple of str
        Names of the categories of a dim that every dataset shares; for data that bring none.
    derived : Stage
        What follows from the unknown variables and the data without chance, in the units that users want: functions
        of one point or of draws along leading dims; every fit holds them beside the unknown variables.
    multiplicity : str
        The observed or known variable that says how many observations an element of ``unit`` stands for, all alike
        (reads of a class, mutations of a cell): ``diagnose`` leaves out one of these at a time, and ``choose`` counts
        them.
    coordinates : Stage
        Labels along the model's dims that follow from the data alone, as functions of known and observed variables;
        the groups of every fit hold them beside the dims' own labels, and derived variables may ask for them.
    headline : callable, optional
        ``headline(sizes)``: names of the variables that a user came for, most wanted first. Summaries and reports begin
        with them, and ``diagnose`` with their values where these are few.
    cautions : callable, optional
        ``cautions(tree, problem)``, of a fit and its data: yields a :class:`Caution` for each thing that a user of the
        fit should know.
    exchangeable : str
        A dim whose labels carry no meaning (components of a mixture); draws are relabelled along it.
    tails : mapping of str to str
        Dims whose last categories are those of another: where only some components carry no meaning, they are a dim of
        their own, and the last ones of the dim of all components.
    prepare : callable, optional
        ``prepare(settings)``: turns settings that users write in short (a file, say) into values and options.
    methods : mapping of str to Method
        Purpose-built inference.
    engine_defaults : mapping of str to value
        Options of the engines' methods whose default does not suit the model (``target_accept`` of a funnel).
    unsupported : mapping of str to str
        Methods of the engines that make no sense for the model, and why ("map": "its density has no maximum").
    start : callable, optional
        ``start(problem, rng)``: a good starting point for the engines, as arrays of the unknown variables.
    test_quantities : callable, optional
        ``test_quantities(<unknown, known, observed>)``: label-invariant scalars to calibrate and to summarise.
    statistics : callable, optional
        ``statistics(<observed, known>)``: scalars of the data for predictive checks.
    readers : mapping of str to callable
        File format -> ``reader(paths, **options)`` returning arrays and coordinates of known and observed variables.
    predict : callable, optional
        ``predict(fitted, problem)``: predictions for new data from a fitted tree.
    folds : callable, optional
        ``folds(problem, count, rng)``: yields the parts of the data, as :class:`Fold`, that are held out in turn when a
        size is chosen by what is predicted of them. All unknown variables mean the same in either part.
    annotate : mapping of str to callable
        Files in which predictions are kept beside the data, by the end of their names: ``annotate[".h5ad"](fitted,
        predicted, source, output)`` writes the data of the file ``source`` with what the tree ``predicted`` says.
    exports : mapping of str to callable
        Kind of file -> ``writer(tree, path, **options)``: writes what a fit says in a format of the field, and returns
        the files.
    commands : mapping of str to callable
        Analyses of the model's field that need no fit, by the words that follow ``genarium`` on the command line (one
        or two): functions that return the text to print, or an :class:`Answer`. Parameters without a default are
        positional there, keyword-only ones are options; their types (Path, str, int, float, bool, Literal, list of
        these) and what their docstring says make the command's help.
    fit_folder : callable, optional
        ``fit_folder(folder, method, seed, *, workers, checkpoint, **settings)``: fits data on disk, in a folder with
        the file ``corpus.nc``, without loading them, and returns the tree of the fit.
    check : callable, optional
        ``check(problem)``: raises :class:`~genarium.errors.InputError` for what no single variable shows.
    options : mapping of str to tuple of str
        Variants of the model: option -> allowed values, the first being the default.
    vary : callable, optional
        ``vary(**options)`` returning the declaration of a variant.
    calibration : Calibration
        How its methods are validated.
    source : str
        Paper or lecture that the model is from.
    chosen : mapping of str to str
        Values of the options in this variant; set by :meth:`variant`.
    module : str
        The module that declares the model, whose folder holds its Stan programs; taken from ``name``.
    stan : str
        Its Stan program, where that lies elsewhere.
    """

    name: str
    title: str
    sizes: Mapping[str, int]
    known: Stage
    unknown: Stage
    hidden: Stage
    observed: Stage
    density: Callable[..., None] | None = None
    log_likelihood: Callable[..., Array] | None = None
    hoisted: Callable[..., Callable[..., Array]] | None = None
    log_prior: Callable[..., Array | float] | None = None
    log_density: Callable[[Problem, Arrays], float] | None = None
    vectorized: bool = False
    default_sizes: Mapping[str, int] = field(default_factory=dict)
    derived_dims: Mapping[str, Callable[..., Array]] = field(default_factory=dict)
    unit: str = ""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exchangeable: str = ""
    tails: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    derived: Stage = field(default_factory=lambda: Stage({}))
    multiplicity: str = ""
    coordinates: Stage = field(default_factory=lambda: Stage({}))
    headline: Callable[[Mapping[str, int]], Sequence[str]] | None = None
    cautions: Callable[..., Iterator[Caution]] | None = None
    methods: Mapping[str, Method] = field(default_factory=dict)
    engine_defaults: Mapping[str, Any] = field(default_factory=dict)
    unsupported: Mapping[str, str] = field(default_factory=dict)
    start: Callable[[Problem, np.random.Generator], Arrays] | None = None
    test_quantities: Callable[..., Mapping[str, Any]] | None = None
    statistics: Callable[..., Mapping[str, Any]] | None = None
    readers: Mapping[str, Callable[..., Mapping[str, Any]]] = field(default_factory=dict)
    predict: Callable[..., Mapping[str, Labelled]] | None = None
    folds: Callable[[Problem, int, np.random.Generator], Iterator[Fold]] | None = None
    annotate: Mapping[str, Callable[..., None]] = field(default_factory=dict)
    exports: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    commands: Mapping[str, Callable[..., str | Answer]] = field(default_factory=dict)
    fit_folder: Callable[..., Any] | None = None
    check: Callable[[Problem], None] | None = None
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    vary: Callable[..., "Model"] | None = None
    calibration: Calibration = field(default_factory=Calibration)
    source: str = ""
    chosen: Mapping[str, str] = field(default_factory=dict)
    module: str = ""
    stan: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", self.module or self.name)
        object.__setattr__(self, "name", self.name.rpartition(".")[2])
        _check(self)

    def __repr__(self) -> str:
        chosen = "".join(f", {option}={value!r}" for option, value in self.chosen.items())
        return f"<Model {self.name}{chosen}: {self.title}; variables {', '.join(self.variables())}>"

    def _repr_html_(self) -> str:
        """Return the variables as a table, for notebooks."""
        rows = [
            (
                role,
                f"<code>{escape(name)}</code> {escape(var.symbol)}",
                *map(escape, (", ".join(var.dims), str(var.support), var.about)),
            )
            for role in ROLES
            for name, var in self.stage(role).variables.items()
        ]
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        head = "".join(f"<th>{column}</th>" for column in ("role", "variable", "dims", "support", "meaning"))
        own = ", ".join(f"<code>{escape(name)}</code> ({way.claim})" for name, way in self.methods.items())
        chosen = "".join(f", {option} = {value}" for option, value in self.chosen.items())
        said = f"<strong>{escape(self.title)}</strong> (<code>{escape(self.name)}</code>{escape(chosen)})"
        return f"<p>{said}{f'; its own methods: {own}' if own else ''}</p><table><tr>{head}</tr>{body}</table>"

    def stage(self, role: Role) -> Stage:
        """Return the stage of a role."""
        stage: Stage = getattr(self, role)
        return stage

    def variables(self, *roles: Role) -> dict[str, Var]:
        """Return the variables of the given roles (default: all), in the order of the story."""
        return {name: var for role in roles or ROLES for name, var in self.stage(role).variables.items()}

    def most_wanted_first(self, names: Iterable[str], sizes: Mapping[str, int]) -> list[str]:
        """Return names of variables with those that a user came for in front, else in their order."""
        wanted = list(self.headline(sizes)) if self.headline else []
        return sorted(names, key=lambda name: wanted.index(name) if name in wanted else len(wanted))

    def role(self, name: str) -> Role:
        """Return the role of a variable."""
        return next(role for role in ROLES if name in self.stage(role).variables)

    def option(self, name: str) -> str:
        """Return the value of an option in this variant."""
        return self.chosen.get(name, self.options[name][0])

    def has_options(self, chosen: Mapping[str, str]) -> bool:
        """Whether this variant has the values of options that are chosen, and else the defaults."""
        return all(self.option(name) == chosen.get(name, values[0]) for name, values in self.options.items())

    def exchanged(self, dims: tuple[str, ...]) -> int | None:
        """Return the axis along which labels carry no meaning, all or the last ones; None: there is none."""
        found = [
            i for i, dim in enumerate(dims) if self.exchangeable and self.exchangeable in (dim, self.tails.get(dim))
        ]
        return found[0] if found else None

    def edges(self) -> Iterator[tuple[str, str]]:
        """Yield (parent, child) for every arrow of the model's graph."""
        for role in ROLES:
            for child in self.stage(role).variables:
                for parent in self.stage(role).parents(child):
                    yield parent, child

    def shape(self, name: str, sizes: Sizes) -> tuple[int, ...]:
        """Return a variable's shape under the given sizes."""
        return tuple(sizes[dim] for dim in self.variables()[name].dims)

    def complete(self, sizes: Sizes) -> dict[str, int]:
        """Return sizes with those of the derived dims, as far as the dims that they follow from have one."""
        labels = {dim: np.arange(size) for dim, size in sizes.items()}
        ready = {dim: f for dim, f in self.derived_dims.items() if set(parents_of(f)) <= set(sizes)}
        return {**sizes, **{dim: len(call(function, labels)) for dim, function in ready.items()}}

    def variant(self, /, **options: str) -> "Model":
        """Return the declaration under other options.

        Parameters
        ----------
        **options
            A value for any of ``Model.options``; the others keep their default.

        Returns
        -------
        Model

        Raises
        ------
        InputError
            If an option or its value is unknown.
        """
        for option, value in options.items():
            if option not in self.options:
                raise InputError(f"{self.name}: there is no option {option!r}; {_choices('option', self.options)}.")
            if value not in self.options[option]:
                allowed = ", ".join(self.options[option])
                raise InputError(f"{self.name}: {setting(option, value)} is not known; use one of {allowed}.")
        if self.vary is None or not options:
            return self
        chosen = {**{option: values[0] for option, values in self.options.items()}, **options}
        return replace(self.vary(**chosen), name=self.name, chosen=chosen, module=self.module)


def _choices(what: str, names: Any) -> str:
    names = list(names)
    return f"the {what}s are {', '.join(names)}" if names else f"it has no {what}s"


def _check(model: Model) -> None:
    """Check at import what the spine relies on."""

    def fail(message: str) -> None:
        raise DeclarationError(f"model {model.name!r}: {message}")

    earlier: set[str] = set()
    symbols: dict[str, str] = {}
    for role in ROLES:
        stage = model.stage(role)
        each = stage.draw if isinstance(stage.draw, Mapping) else None
        for name in each or ():
            if name not in stage.variables:
                fail(f"the {role} stage has a draw function for {name!r}, which it does not declare")
        before = set(earlier)
        for name, var in stage.variables.items():
            if each is not None and name not in each and role != "known":
                fail(f"the {role} stage declares {name!r} but has no draw function for it")
            for parent in stage.parents(name):
                if parent not in (before if each is None else earlier):
                    known = ", ".join(sorted(before)) or "nothing"
                    fail(f"the {role} stage asks for {parent!r}, which no earlier stage declares (declared: {known})")
            points = name == var.support.of  # an index into a dim may have the dim's name
            if name in earlier or name in RESERVED or (not points and (name in model.sizes or name in model.options)):
                fail(f"the name {name!r} ({role}) is taken already")
            for dim in var.dims:
                if dim not in model.sizes:
                    fail(f"{role} variable {name!r} has dim {dim!r}, whose size is not given in sizes")
            if var.support.event > len(var.dims):
                fail(f"{role} variable {name!r} has support {var.support} and needs {var.support.event} or more dims")
            if var.support.of and var.support.of not in model.sizes:
                fail(f"{role} variable {name!r} is a label of {var.support.of!r}, which is not in sizes")
            if var.default is not None and role in ("unknown", "hidden"):
                fail(f"{role} variable {name!r} has a default; only known and observed variables may")
            given = {n for n, v in model.known.variables.items() if not callable(v.default)}
            if callable(var.default) and not set(parents_of(var.default)) <= given | set(model.observed.variables):
                fail(
                    f"the default of {role} variable {name!r} asks for more than observed variables and known ones "
                    "whose default is no function"
                )
            if callable(var.default) and role != "known":
                fail(f"the default of {role} variable {name!r} is a function; only that of a known variable may be one")
            if var.symbol in symbols:
                fail(f"{name!r} and {symbols[var.symbol]!r} share the symbol {var.symbol!r}")
            symbols[var.symbol] = name
            earlier.add(name)
    if not model.observed.variables:
        fail("nothing is observed")
    for attribute in ("density", "log_likelihood", "log_prior", "test_quantities", "statistics"):
        function = getattr(model, attribute)
        for parent in parents_of(function) if function else ():
            if parent not in earlier - set(model.hidden.variables):
                fail(f"{attribute} asks for {parent!r}, which is not a known, unknown or observed variable")
    data = {**model.known.variables, **model.observed.variables}
    for name, var in model.coordinates.variables.items():
        if name in {*earlier, *model.derived.variables} or len(var.dims) != 1 or not set(var.dims) <= set(model.sizes):
            fail(f"coordinate {name!r} has a name that is taken, or not one dim, whose size is in sizes")
        if not isinstance(model.coordinates.draw, Mapping) or name not in model.coordinates.draw:
            fail(f"coordinate {name!r} has no function")
        for parent in model.coordinates.parents(name):
            if parent not in data:
                fail(f"coordinate {name!r} asks for {parent!r}, which is no known or observed variable")
    for name, var in model.derived.variables.items():
        if name in {*earlier, *model.sizes} or not set(var.dims) <= set(model.sizes):
            fail(f"derived variable {name!r} has a name that is taken, or a dim that is not in sizes")
        for parent in model.derived.parents(name):
            if parent not in {*data, *model.unknown.variables, *model.coordinates.variables}:
                fail(f"derived variable {name!r} asks for {parent!r}, which is no known, unknown or observed variable")
    many = model.multiplicity
    if many and (many not in data or data[many].dims != (model.unit,)):
        fail(f"{many!r} is named as multiplicity but is no known or observed variable along {model.unit!r} alone")
    for name in model.calibration.growing:
        if name not in model.known.variables:
            fail(f"growing data give {name!r} a value, which is not a known variable")
    for name in model.calibration.control:
        if name not in {**model.known.variables, **model.options}:
            fail(f"the negative control gives {name!r} a wrong value, which is not a known variable, nor an option")
    for dim in model.default_sizes:
        if dim not in model.sizes:
            fail(f"{dim!r} has a default size but is not in sizes")
    for dim, function in model.derived_dims.items():
        for other in (dim, *parents_of(function)):
            if other not in model.sizes or (other != dim and other in model.derived_dims):
                fail(f"{dim!r} is derived from {other!r}, which is not in sizes, or is itself derived")
    if (full := model.complete(model.sizes)) != dict(model.sizes):
        wrong = next(dim for dim in full if full[dim] != model.sizes[dim])
        fail(f"{wrong!r} has size {full[wrong]}, which follows from other dims; sizes says {model.sizes[wrong]}")
    for dim in (model.unit, model.exchangeable, *model.tails, *model.tails.values()):
        if dim and dim not in model.sizes:
            fail(f"{dim!r} is named as a dim but is not in sizes")
    if bool(model.options) != bool(model.vary):
        fail("options and vary go together")
    taken = {**dict.fromkeys(model.sizes, "a size"), **dict.fromkeys(model.variables(), "a variable")}
    for option in model.options:
        if option in taken or option in RESERVED:
            fail(f"the option {option!r} has the name of {taken.get(option, 'the generator or the sizes')}")
    taken |= dict.fromkeys(model.options, "an option of the model")
    ways = {name: way.run for name, way in model.methods.items() if not isinstance(way.run, str)}
    for name, function in {**ways, **({"predict": model.predict} if model.predict else {})}.items():
        for option in keyword_options(function):
            if option in taken:
                fail(f"the option {option!r} of {name} has the name of {taken[option]}")
