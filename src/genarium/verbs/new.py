"""New: the folder of a model to start from, which works as it is."""

import keyword
import shutil
import tempfile
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from genarium import registry
from genarium.errors import InputError

PLACEHOLDER = "my_model"
"""What the skeleton is called; the word gives way to the name in every file, and in files' names."""


def new(name: str, folder: str | Path = ".") -> Path:
    """Write the folder of a new model: a small hierarchical one, to be changed into yours.

    Parameters
    ----------
    name : str
        Its name, and that of the folder: one that Python can import, and that nothing has yet.
    folder : str or Path
        Where the folder is written.

    Returns
    -------
    Path
        The folder: declaration, card, NumPy and PyMC densities, Stan program, Gibbs sampler, reader, predictions,
        figures, tests, and the ``pyproject.toml`` of a package that offers the model to others. Every verb takes its
        path.

    Raises
    ------
    InputError
        If the name cannot be used, or the folder exists.

    Examples
    --------
    >>> import genarium as gn
    >>> gn.new("bursts", "projects")  # doctest: +SKIP
    PosixPath('projects/bursts')
    """
    _check(name)
    target = Path(folder) / name
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist. Create it first.")
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} exists already. Choose another name or folder.")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}.") as scratch:
        made = Path(scratch) / name
        shutil.copytree(Path(str(files("genarium") / "skeleton")), made, ignore=shutil.ignore_patterns("__pycache__"))
        for path in [path for path in made.rglob("*") if path.is_file()]:
            text = path.read_text(encoding="utf-8").replace(PLACEHOLDER, name)
            path.write_text(text.replace(_hyphened(PLACEHOLDER), _hyphened(name)), encoding="utf-8", newline="\n")
            path.rename(path.with_name(path.name.replace(PLACEHOLDER, name)))
        made.rename(target)
    return target


def _hyphened(name: str) -> str:
    """Return the name as packages are called."""
    return name.replace("_", "-")


def _check(name: str) -> None:
    """Refuse a name that cannot be imported, or is taken."""
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name) or name.startswith("_"):
        raise InputError(
            f"{name!r} cannot be the name of a model: Python could not import it. Use letters, digits and _, "
            "beginning with a letter."
        )
    if name in registry.names():
        raise InputError(f"there is a model {name!r} already ({_owner(name)}). Choose another name.")
    if find_spec(name) is not None:
        raise InputError(f"there is a Python module {name!r} already, which the model would hide. Choose another name.")


def _owner(name: str) -> str:
    """Say who has a model of this name."""
    if name in registry.built_in():
        return "a built-in one"
    return ", ".join(sorted(map(registry.distribution, registry.installed()[name])))
