"""Stan programs: compiled once into the user's cache folder, and checked by ``stanc``."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import cache, children, wheel
from .base import CmdStan, ProgramError, Progress, ToolchainError, silent
from .providers import find, stanc, stanc_of

EXECUTABLE = ".exe" if os.name == "nt" else ""
INCLUDE = re.compile(r"^[ \t]*#include[ \t]+[\"<]?([^\"<>\s]+)", re.MULTILINE)
LINE = re.compile(INCLUDE.pattern + r".*$", re.MULTILINE)

# Run in a process of its own: CmdStanPy takes the CmdStan from the environment and changes the working directory, which
# belong to all threads of a process.
COMPILE = "import json, sys, cmdstanpy; cmdstanpy.compile_stan_file(**json.loads(sys.argv[1]))"


def compile_program(
    program: Path, cmdstan: CmdStan | None = None, *, optimize: int = 1, progress: Progress | None = None
) -> Path:
    """Compile a Stan program, or find it compiled.

    Parameters
    ----------
    program : Path
        The ``.stan`` file. Files it includes are looked for beside it.
    cmdstan : CmdStan, optional
        What to compile with; that of `find` by default. The toolchain from the wheel is built first where it is not.
    optimize : {0, 1, 2, 3}, optional
        The C++ optimization level with the toolchain from the wheel. Level 3 makes sampling 15 to 25 % faster than
        level 1 and compilation slower; each level other than 1 costs 0.8 GB of disk once. A CmdStan directory has flags
        of its own (``make/local``), and is left to them.
    progress : callable, optional
        Called with a line of text at each step that takes time.

    Returns
    -------
    Path
        The executable, for ``cmdstanpy.CmdStanModel(exe_file=...)``. It lies in a cache folder named after the program
        and a hash of everything it is made from, and is what its stored digest says: one that is not is compiled again.

    Raises
    ------
    ProgramError
        With the message of ``stanc`` or of the C++ compiler.
    ToolchainError
        Where there is nothing to compile with.
    CacheError
        Where the cache folder cannot be written to, or is not the user's alone.
    """
    program = Path(program).absolute()
    if optimize not in range(4):
        raise ValueError(f"optimize must be 0, 1, 2 or 3, not {optimize!r}")
    say = progress or silent
    cmdstan = cmdstan or find()
    if not cmdstan.ready and cmdstan.source == "wheel":
        cmdstan = wheel.install(progress)
    if not cmdstan.ready:
        raise ToolchainError(f"The CmdStan in {cmdstan.path} has not been built: run `make build` there.")
    key = _key(program, cmdstan, optimize)
    folder = cache.folder() / "programs" / f"{program.stem}-{key}"
    executable = folder / f"{program.stem}{EXECUTABLE}"
    if not cache.whole(executable):
        with cache.sole_builder(folder, say) as lock:
            if not cache.whole(executable):
                if folder.exists():
                    say(f"the compiled {program.stem} in the cache is damaged: it is compiled again")
                    shutil.rmtree(folder)
                _build(program, folder, cmdstan, optimize, say, lock)
                if _key(program, cmdstan, optimize) != key:
                    shutil.rmtree(folder)
                    raise ProgramError(f"{program} changed while it was being compiled: compile it again")
    return executable


def check_program(program: Path) -> list[str]:
    """Return the warnings of ``stanc --warn-pedantic`` on a Stan program. This takes no C++ compiler.

    Parameters
    ----------
    program : Path
        The ``.stan`` file.

    Returns
    -------
    list of str
        One warning each, such as ``"Warning: The parameter mu has no priors."``, with its place in the file where stanc
        gives it.

    Raises
    ------
    ProgramError
        Where the program is not valid.
    ToolchainError
        Where there is no ``stanc``.
    """
    program = Path(program).absolute()
    messages = _run_stanc(stanc(), program, "--warn-pedantic")
    warnings = re.split(r"^(?=Warning)", messages, flags=re.MULTILINE)
    return [" ".join(warning.split()) for warning in warnings if warning.startswith("Warning")]


def declared(program: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what a Stan program declares, as ``stanc --info`` tells it.

    Parameters
    ----------
    program : Path
        The ``.stan`` file.

    Returns
    -------
    dict
        ``inputs``, ``parameters``, ``transformed parameters`` and ``generated quantities``: of each name its ``type``
        ("int" or "real") and number of ``dimensions``.

    Raises
    ------
    ProgramError
        Where the program is not valid.
    ToolchainError
        Where there is no ``stanc``.
    """
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(_run_stanc(stanc(), Path(program).absolute(), "--info"))
    return found


def inlined(program: Path) -> str:
    """Return the text of a Stan program with the files that it includes in their places.

    Parameters
    ----------
    program : Path
        The ``.stan`` file. Files it includes are looked for beside it.

    Raises
    ------
    ProgramError
        Where a file is absent, or includes itself.
    """

    def text(path: Path, within: tuple[Path, ...]) -> str:
        if path in within or not path.is_file():
            said = "includes itself" if path in within else "does not exist"
            raise ProgramError(f"{program}: the file {path.name}, which it includes, {said}.")
        return LINE.sub(lambda line: text(program.parent / line[1], (*within, path)), path.read_text(encoding="utf-8"))

    return text(program, ())


def _run_stanc(compiler: Path, program: Path, *options: str) -> str:
    """Return what ``stanc`` says of a valid program: warnings, or what was asked for."""
    if not program.is_file():
        raise FileNotFoundError(f"there is no Stan program {program}")
    paths = f"--include-paths={program.parent}"
    with tempfile.TemporaryDirectory() as scratch:
        command = [str(compiler), *options, paths, f"--filename-in-msg={program.name}", f"--o={scratch}/program.hpp"]
        answer = subprocess.run([*command, str(program)], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ProgramError(f"{program} is not a valid Stan program.\n{(answer.stderr or answer.stdout).strip()}")
    return answer.stdout if "--info" in options else answer.stderr


def _sources(program: Path) -> dict[Path, str]:
    """Return the text of a program and of the files it includes, in the order met. Stanc reports the absent ones."""
    texts: dict[Path, str] = {}
    waiting = [program]
    while waiting:
        path = waiting.pop()
        if path not in texts and path.is_file():
            texts[path] = path.read_text(encoding="utf-8")
            waiting.extend(program.parent / name for name in INCLUDE.findall(texts[path]))
    return texts


def _key(program: Path, cmdstan: CmdStan, optimize: int) -> str:
    """Return a hash of what an executable is made from."""
    own_flags = cmdstan.path / "make" / "local"
    flags = f"O{optimize}" if cmdstan.source == "wheel" else own_flags.read_text() if own_flags.is_file() else ""
    digest = hashlib.sha256()
    for part in (*_sources(program).values(), cmdstan.version, str(cmdstan.path), flags):
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()[:16]


def _build(program: Path, folder: Path, cmdstan: CmdStan, optimize: int, progress: Progress, lock: int | None) -> None:
    """Compile a program in a temporary folder, renamed when it is complete. The caller holds the lock of ``folder``."""
    _run_stanc(stanc_of(cmdstan), program)
    started = time.monotonic()
    if cmdstan.source == "wheel":
        wheel.prepare(cmdstan, optimize, progress)
    for stale in folder.parent.glob(f".{folder.name}.*"):  # of builds that were killed
        shutil.rmtree(stale, ignore_errors=True)
    progress(f"compiling {program.name} with Stan {cmdstan.version}")
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        copy = partial / program.name
        shutil.copyfile(program, copy)
        options = {
            "src": str(copy),
            "stanc_options": {"include-paths": [str(program.parent)]},
            "cpp_options": {"O": optimize} if cmdstan.source == "wheel" else {},
        }
        environment = wheel.build_environment() | {"CMDSTAN": str(cmdstan.path)}
        command = [sys.executable, "-c", COMPILE, json.dumps(options)]
        answer = children.run(command, env=environment, lock=lock)
        if answer.returncode != 0:
            last = "\n".join((answer.stdout + answer.stderr).splitlines()[-30:])
            raise ProgramError(f"{program} could not be compiled with the CmdStan in {cmdstan.path}.\n{last}")
        _check_runs(copy.with_suffix(EXECUTABLE))
        cache.seal(copy.with_suffix(EXECUTABLE))
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    progress(f"compiled {program.name} in {time.monotonic() - started:.0f} s")


def _check_runs(executable: Path) -> None:
    """Run an executable once: a library that is not found shows here, and not in the middle of a fit."""
    answer = subprocess.run([str(executable), "info"], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ToolchainError(f"The program was compiled but does not run: {(answer.stderr or answer.stdout).strip()}")
