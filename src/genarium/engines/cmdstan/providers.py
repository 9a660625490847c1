"""Which CmdStan to use: the one given, $CMDSTAN, the newest in ~/.cmdstan, else the toolchain from the wheel."""

import importlib.metadata
import os
import re
from collections.abc import Callable
from pathlib import Path

from . import cache, wheel
from .base import CmdStan, Source, ToolchainError

STANC = "stanc.exe" if os.name == "nt" else "stanc"


def find(path: str | Path | None = None) -> CmdStan:
    """Find the CmdStan to use.

    Parameters
    ----------
    path : str or Path, optional
        A CmdStan directory. Without it: ``$CMDSTAN`` where that is set, the newest ``~/.cmdstan/cmdstan-*`` where there
        is one, else the toolchain made from the ``httpstan`` wheel.

    Returns
    -------
    CmdStan
        Not `CmdStan.ready` where the toolchain from the wheel, or the CmdStan found, is yet to be built.

    Raises
    ------
    ToolchainError
        Where there is nothing, or where ``path`` or ``$CMDSTAN`` is not a CmdStan directory. What the user names is
        never passed over for another.
    """
    if path is not None:
        return _directory(Path(path).expanduser(), "argument")
    _, get = _providers()[0]
    return get()


def stanc() -> Path:
    """Return the path of a ``stanc``. Unlike `find`, this needs no C++ compiler.

    Raises
    ------
    ToolchainError
        Where there is neither a CmdStan nor the wheel.
    """
    source, get = _providers()[0]
    package = wheel.locate()
    return package.folder / "stanc" if source == "wheel" and package is not None else stanc_of(get())


def stanc_of(cmdstan: CmdStan) -> Path:
    """Return the path of the ``stanc`` of a CmdStan."""
    path = cmdstan.path / "bin" / STANC
    if not path.is_file():
        raise ToolchainError(f"The CmdStan in {cmdstan.path} has not been built: it has no bin/{STANC}.")
    return path


def status() -> dict[str, object]:
    """Return what is found of Stan on this machine.

    Returns
    -------
    dict
        ``selected`` (the one of ``providers`` that `find` returns, or None), ``problem`` (why there is none, or None),
        ``providers`` (one dict for each of ``$CMDSTAN``, ``~/.cmdstan`` and the wheel, with ``source``, ``path``,
        ``version``, ``ready`` and ``problem``), ``packages`` (versions of cmdstanpy and httpstan, or None),
        ``compiler`` and ``make`` (or None), ``cache`` (the folder) and ``bytes`` (of its ``toolchains``,
        ``wheel_files`` and ``programs``).
    """
    providers = [_report(source, get) for source, get in _providers()]
    cxx = wheel.compiler()
    folder = cache.folder()
    programs, wheel_files = cache.size(folder / "programs"), sum(map(cache.size, folder.glob("httpstan-*")))
    return {
        "selected": providers[0] if providers[0]["problem"] is None else None,
        "problem": providers[0]["problem"],
        "providers": providers,
        "packages": {name: _version(name) for name in ("cmdstanpy", "httpstan")},
        "compiler": None if cxx is None else f"{cxx.command}: {cxx.version}",
        "make": wheel.make(),
        "cache": str(folder),
        "bytes": {
            "toolchains": cache.size(folder) - programs - wheel_files,
            "wheel_files": wheel_files,
            "programs": programs,
        },
    }


def _providers() -> list[tuple[Source, Callable[[], CmdStan]]]:
    """Return what there may be on this machine, the first choice first; the wheel, which may be absent, is last."""
    found: list[tuple[Source, Callable[[], CmdStan]]] = [("wheel", wheel.toolchain)]
    newest = _newest_in_home()
    if newest is not None:
        found.insert(0, ("home", lambda: _directory(newest, "home")))
    named = os.environ.get("CMDSTAN")
    if named:
        found.insert(0, ("environment", lambda: _directory(Path(named).expanduser(), "environment")))
    return found


def _directory(path: Path, source: Source) -> CmdStan:
    """Return the CmdStan in a directory, or say why there is none."""
    where = {"argument": "given as the path of CmdStan", "environment": "named by $CMDSTAN", "home": "found"}[source]
    makefile = path / "makefile"
    if not makefile.is_file():
        raise ToolchainError(f"{path}, {where}, is not a CmdStan directory: it has no makefile.")
    version = re.search(r"^CMDSTAN_VERSION := (\S+)", makefile.read_text(encoding="utf-8"), re.MULTILINE)
    if version is None:
        raise ToolchainError(f"{path}, {where}, is not a CmdStan directory: its makefile gives no CMDSTAN_VERSION.")
    return CmdStan(path.absolute(), version[1], source, (path / "bin" / STANC).is_file())


def _newest_in_home() -> Path | None:
    """Return the newest CmdStan among those that ``install_cmdstan`` has put in the home folder."""
    found = []
    for path in (Path.home() / ".cmdstan").glob("cmdstan-*"):
        version = re.fullmatch(r"cmdstan-(\d+)\.(\d+)\.(\d+)(?:-rc(\d+))?", path.name)
        if version is not None and (path / "makefile").is_file():
            major, minor, patch, candidate = version.groups()
            found.append(((int(major), int(minor), int(patch), candidate is None, int(candidate or 0)), path))
    return max(found)[1] if found else None


def _report(source: Source, get: Callable[[], CmdStan]) -> dict[str, object]:
    """Return one provider as data, with the problem in place of the exception."""
    report: dict[str, object] = {"source": source, "path": None, "version": None, "ready": False, "problem": None}
    try:
        cmdstan = get()
    except ToolchainError as error:
        return report | {"problem": str(error)}
    return report | {"path": str(cmdstan.path), "version": cmdstan.version, "ready": cmdstan.ready}


def _version(package: str) -> str | None:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
