"""Sources: the files of this project that a fit by a method computes with, and digests of what they mean.

A certificate speaks for these files: the model's declaration and the modules that it draws, evaluates and fits with,
the engine, the model's Stan program where Stan computes, and what draws and evaluates for every model. Left out is what
stands beside a fit: readers, predictions, exports, commands, figures, methods that it does not itself use, defaults of
what calibration draws, and what the declaration's module imports only to pass it on.
"""

import ast
import hashlib
import io
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

from genarium.declaration import Method, Model
from genarium.errors import GenariumError
from genarium.home import Home, program

EVERY = ("genarium.story", "genarium.evaluate")
"""Modules that draw and evaluate for every model."""

COUNTED = ("genarium.engines.", "genarium.models.", *EVERY)
"""Modules that a digest holds; the rest of the package carries data to them and results away."""

PACKAGES = {
    "numpy": ("numpy", "scipy", "numba"),
    "pymc": ("numpy", "scipy", "pymc", "pytensor", "nutpie"),
    "blackjax": ("numpy", "pymc", "pytensor", "jax", "blackjax"),
    "stan": ("numpy", "cmdstanpy"),
}
"""Packages, by engine, whose versions a certificate speaks for."""


def sources_of(model: Model, way: Method) -> dict[str, str]:
    """Return the files that a fit by a method computes with.

    Parameters
    ----------
    model : Model
    way : Method

    Returns
    -------
    dict of str to str
        Short digest of the meaning of each file, by the name of its module or program.
    """
    home = Home.of(model)
    computing = {_module_of(way.run), *map(_module_of, _used(model)), *EVERY} - {""}
    options = tuple((option, tuple(values)) for option, values in model.options.items())
    variants = (model, *(_variants(model.vary, options) if model.vary else ()))
    ends = {name for variant in variants for name in _ends(variant)} - computing - {home.module}
    found = closure(computing - {home.module}, frozenset({home.module, *ends}), home.module)
    others = {_module_of(method.run) for variant in variants for method in variant.methods.values()}
    others |= {_module_of(default) for variant in variants for default in _defaults(variant, drawn=True)}
    found |= closure([home.module], frozenset((ends | others) - found.keys()), home.module)
    told = {name: meaning_of(path) for name, path in sorted(found.items())}
    path = program(model) if way.engine == "stan" else None
    if path is not None:
        told |= {file.name: meaning_of(file) for file in _with_included(path)}
    return told


def digest_of_sources(sources: Mapping[str, str]) -> str:
    """Return one digest of many; twelve hexadecimal digits."""
    told = "\n".join(f"{name} {digest}" for name, digest in sorted(sources.items()))
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the files, by their modules, that are not what they were, or were not used.

    One that is used no more is none of these: the file that used it has changed.
    """
    return sorted(name for name in now if before.get(name) != now[name])


def _module_of(run: object) -> str:
    """Name of the module of a function, or of one that is named by a string."""
    return run.partition(":")[0] if isinstance(run, str) else str(getattr(run, "__module__", ""))


@cache
def _variants(vary: Callable[..., Model], options: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[Model, ...]:
    """Return the variants of a model by one option; made once, for the certificates of all of them."""
    found = []
    for option, values in options:
        for value in values:
            with suppress(GenariumError):  # it goes with another option alone
                found.append(vary(**{option: value}))
    return tuple(found)


def _ends(model: Model) -> set[str]:
    """Return the modules of what a declaration holds for other ends than fits."""
    functions = (
        *(model.readers.values(), model.exports.values(), model.commands.values(), model.annotate.values()),
        (model.predict, model.cautions, model.headline, model.statistics, model.folds),
        *(stage.draw.values() if isinstance(stage.draw, dict) else () for stage in (model.derived, model.coordinates)),
    )
    found = {_module_of(function) for group in functions for function in group if function is not None}
    return found - {"genarium.signatures"}


def _defaults(model: Model, *, drawn: bool) -> Iterator[object]:
    """Yield the functions of the defaults of known variables: of those that calibration draws, or of the others."""
    design = model.known.draw if isinstance(model.known.draw, dict) else {}
    for name, var in model.known.variables.items():
        if callable(var.default) and (name in design) == drawn:
            yield var.default


def _used(model: Model) -> Iterator[object]:
    """Yield the functions of a declaration that calibration calls."""
    yield from _defaults(model, drawn=False)
    stages = (model.known, model.unknown, model.hidden, model.observed)
    yield from (f for stage in stages for f in (stage.draw.values() if isinstance(stage.draw, dict) else [stage.draw]))
    yield from (model.density, model.log_likelihood, model.hoisted, model.log_prior, model.test_quantities, model.start)


def closure(roots: Iterable[str], without: frozenset[str], own: str = "") -> dict[str, Path]:
    """Return the counted modules of this package, and a model's own, that some import, directly or by way of others.

    Parameters
    ----------
    roots : iterable of str
        Dotted names of modules.
    without : frozenset of str
        Modules that are not followed.
    own : str
        The module of a model, whose submodules belong to it.

    Returns
    -------
    dict of str to Path
    """
    found: dict[str, Path] = {}
    ahead = list(roots)
    while ahead:
        name = ahead.pop()
        path = None if name in found or name in without else _path(name, own)
        if path is not None:
            found[name] = path
            ahead += imports(name, path, used=name == own)
    return found


def _path(name: str, own: str) -> Path | None:
    """Return the file of a counted module of this package, or of one of a model; None for any other."""
    if name.startswith(COUNTED):
        base = Path(str(files("genarium"))).joinpath(*name.split(".")[1:])
    elif own and (name == own or name.startswith(f"{own}.")):
        home = Home(own.rpartition(".")[2], own)
        if home.folder is None or (not home.is_package and name != own):
            return None
        base = home.folder.joinpath(*name.removeprefix(own).strip(".").split(".")) if name != own else home.folder
    else:
        return None
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def imports(name: str, path: Path, *, used: bool = False) -> tuple[str, ...]:
    """Return the modules that a module imports, wherever the statement stands; names in them may be modules too.

    With ``used``, only those of names that the module uses: not what it imports to pass it on.
    """
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: list[str] = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} if used else set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        taken = [one for one in node.names if not used or (one.asname or one.name.partition(".")[0]) in names]
        if isinstance(node, ast.Import):
            found += [alias.name for alias in taken]
        elif taken:
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found += [base, *(f"{base}.{alias.name}" for alias in taken)]
    return tuple(dict.fromkeys(found))


def _with_included(program: Path) -> list[Path]:
    """Return a Stan program and the files beside it that share functions with others."""
    text = program.read_text(encoding="utf-8")
    return [program, *(path for path in sorted(program.parent.glob("*.stanfunctions")) if path.name in text)]


@cache
def meaning_of(path: Path) -> str:
    """Return a digest of what a file means, as it was when it was first asked for; eight hexadecimal digits."""
    return hashlib.sha256(meaning(path).encode()).hexdigest()[:8]


def meaning(path: Path) -> str:
    """Return the text of a source without comments, docstrings and layout; as it is where it is no Python."""
    text = path.read_text(encoding="utf-8")
    return "\n".join(_python_tokens(text)) if path.suffix == ".py" else text


def _python_tokens(source: str) -> Iterator[str]:
    """Yield the tokens of Python source that mean something: no comments, no docstrings, no layout."""
    line: list[tokenize.TokenInfo] = []
    layout = (tokenize.COMMENT, tokenize.NL)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.INDENT:
            yield "indent"
        elif token.type == tokenize.DEDENT:
            yield "dedent"
        elif token.type == tokenize.NEWLINE:
            if [t.type for t in line] != [tokenize.STRING]:  # a line that is a string alone documents something
                yield from (t.string for t in line)
                yield "newline"
            line = []
        elif token.type not in layout:
            line.append(token)
