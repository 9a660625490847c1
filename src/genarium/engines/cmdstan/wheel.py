"""The toolchain made from the ``httpstan`` wheel: a folder that CmdStanPy can use as a CmdStan.

The wheel carries Stan's compiler ``stanc``, the headers of the Stan library and of what it needs, and the libraries to
link with: all of CmdStan but its command line. This package brings a command line (``main.cpp``, ``approximate.cpp``)
and the rule that makes a program (``makefile``). The wheel is never imported: its Python part is a server that is of no
use here.

In the cache folder, each is complete or absent:

``httpstan-<version>/``
    The wheel's files, so that what is built outlives the environment it was built from.
``<stan version>-<hash>/``
    The toolchain: ``makefile``, ``bin/stanc``, the compiled command line and the precompiled header. The hash is of
    everything it is made from: this package's sources, the compiler and the wheel.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import cache, children
from .base import CmdStan, Progress, ToolchainError, silent

SOURCES = Path(__file__).parent
COMMAND = ("command.hpp", "main.cpp", "approximate.cpp")
OPTIMIZE = 1


@dataclass(frozen=True)
class Wheel:
    """The installed ``httpstan`` package: its folder, its version and the version of Stan in it."""

    folder: Path
    version: str
    stan_version: str


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its command, perhaps with arguments, and the first line of what it says of its version."""

    command: str
    version: str


def locate() -> Wheel | None:
    """Find the wheel without importing it."""
    spec = importlib.util.find_spec("httpstan")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    header = package / "include" / "stan" / "version.hpp"
    if not (package / "stanc").is_file() or not header.is_file():
        return None
    numbers = dict(re.findall(r"#define STAN_(MAJOR|MINOR|PATCH) (\d+)", header.read_text(encoding="utf-8")))
    stan_version = f"{numbers['MAJOR']}.{numbers['MINOR']}.{numbers['PATCH']}"
    return Wheel(package, importlib.metadata.version("httpstan"), stan_version)


def compiler() -> Compiler | None:
    """Find a C++ compiler that runs: ``$CXX``, else g++, clang++ or c++."""
    for command in filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++")):
        words = shlex.split(command)
        path = shutil.which(words[0])
        if path is None:
            continue
        command = shlex.join([path, *words[1:]])
        answer = subprocess.run([path, *words[1:], "--version"], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout:
            return Compiler(command, answer.stdout.splitlines()[0])
    return None


def make() -> str | None:
    """Find the make that CmdStanPy uses."""
    return shutil.which(os.environ.get("MAKE", "make"))


def requirements() -> tuple[Wheel, Compiler, str]:
    """Return the wheel, the compiler and make.

    Raises
    ------
    ToolchainError
        Which says which of them are missing.
    """
    found_wheel, found_compiler, found_make = locate(), compiler(), make()
    missing = []
    if found_wheel is None:
        missing.append("the httpstan package (Linux x86-64 and macOS arm64 only)")
    if found_compiler is None:
        missing.append("a C++ compiler")
    if found_make is None:
        missing.append("make")
    if found_wheel is None or found_compiler is None or found_make is None:
        raise ToolchainError(f"No CmdStan was found, and none can be made: missing {' and '.join(missing)}.")
    return found_wheel, found_compiler, found_make


def toolchain() -> CmdStan:
    """Return the toolchain for this wheel and compiler, built or not.

    Raises
    ------
    ToolchainError
        Where it could not be built.
    """
    wheel, cxx, _ = requirements()
    digest = hashlib.sha256()
    for part in (
        *((SOURCES / name).read_bytes() for name in (*COMMAND, "makefile")),
        cxx.command.encode(),
        cxx.version.encode(),
        wheel.version.encode(),
    ):
        digest.update(hashlib.sha256(part).digest())
    path = cache.folder() / f"{wheel.stan_version}-{digest.hexdigest()[:12]}"
    return CmdStan(path, wheel.stan_version, "wheel", path.is_dir())


def install(progress: Progress | None = None) -> CmdStan:
    """Build the toolchain, once, into the user's cache folder.

    An interrupted build leaves no toolchain, and the next one takes up its finished parts. Two processes that ask at
    once build it once.

    Parameters
    ----------
    progress : callable, optional
        Called with a line of text at each step.

    Returns
    -------
    CmdStan
        The toolchain, ready.

    Raises
    ------
    ToolchainError
        Where the wheel, a compiler or make is missing, or the compiler fails.
    """
    say = progress or silent
    wheel, cxx, _ = requirements()
    target = toolchain()
    with cache.sole_builder(target.path, say) as lock:
        if not target.path.is_dir():
            started = time.monotonic()
            partial = target.path.with_name(f"{target.path.name}.partial")
            say(f"[1/3] taking Stan {wheel.stan_version} from the httpstan {wheel.version} package")
            _write_folder(partial, _keep_files(wheel, say), wheel, cxx)
            say("[2/3] precompiling the header of every program (about 40 s, 1.4 GB of memory, 0.8 GB of disk)")
            _make(partial, "header", OPTIMIZE, lock)
            say("[3/3] compiling the command line of every program (about 60 s on two cores, 3 GB of memory)")
            _make(partial, "command", OPTIMIZE, lock)
            partial.rename(target.path)
            say(f"built in {time.monotonic() - started:.0f} s: {target.path}")
    return CmdStan(target.path, target.version, target.source, True)


def prepare(cmdstan: CmdStan, optimize: int, progress: Progress) -> None:
    """Precompile the header for another optimization level than the toolchain came with, where that is not done."""
    if not any((cmdstan.path / "header" / f"O{optimize}").rglob("model_header.hpp.?ch")):
        with cache.sole_builder(cmdstan.path, progress) as lock:
            progress(f"precompiling the header of every program for -O{optimize} (about 40 s, 0.8 GB of disk)")
            _make(cmdstan.path, "header", optimize, lock)


def _keep_files(wheel: Wheel, progress: Progress) -> Path:
    """Link, or where that is not possible copy, what is needed of the wheel into the cache folder."""
    target = cache.folder() / f"httpstan-{wheel.version}"
    with cache.sole_builder(target, progress):
        if not target.is_dir():
            for stale in target.parent.glob(f"{target.name}.partial-*"):
                shutil.rmtree(stale, ignore_errors=True)
            partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
            for name in ("include", "lib"):
                shutil.copytree(wheel.folder / name, partial / name, copy_function=_link_or_copy)
            _link_or_copy(str(wheel.folder / "stanc"), str(partial / "stanc"))
            partial.rename(target)
    return target


def _link_or_copy(source: str, target: str) -> str:
    """Make ``target`` the same file as ``source``, or where the file system does not allow that, a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _write_folder(folder: Path, files: Path, wheel: Wheel, cxx: Compiler) -> None:
    """Write the parts of the toolchain that need no compiler."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    stanc = folder / "bin" / "stanc"
    stanc.unlink(missing_ok=True)
    stanc.symlink_to(Path("..") / ".." / files.name / "stanc")
    for name in COMMAND:
        shutil.copy2(SOURCES / name, folder / name)  # with its time: what was compiled from it stays newer
    # CmdStanPy reads the version from this line.
    settings = f"CMDSTAN_VERSION := {wheel.stan_version}\nCXX := {cxx.command}\nWHEEL := {files}\n\n"
    (folder / "makefile").write_text(settings + (SOURCES / "makefile").read_text(encoding="utf-8"), encoding="utf-8")


def _make(folder: Path, goal: str, optimize: int, lock: int | None) -> None:
    """Make one goal of the toolchain's makefile, its parts side by side. The caller holds the lock of the toolchain."""
    for stale in folder.rglob("*.*.[0-9]*"):  # the unfinished products of builds that were killed
        stale.unlink(missing_ok=True)
    jobs = f"-j{min(2, os.cpu_count() or 1)}"
    command = [make() or "make", jobs, "-C", str(folder), f"O={optimize}", goal]
    answer = children.run(command, env=build_environment(), lock=lock)
    if answer.returncode != 0:
        last = "\n".join((answer.stdout + answer.stderr).splitlines()[-20:])
        needs = "it takes up to 3 GB of memory and 1 GB of disk"
        raise ToolchainError(f"Building the Stan toolchain in {folder} failed at {goal!r} ({needs}):\n{last}")


def build_environment() -> dict[str, str]:
    """Return the environment for make: ours, without the flags of a make that may be running us."""
    return {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
