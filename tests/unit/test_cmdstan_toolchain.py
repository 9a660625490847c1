"""CmdStan's toolchain: found, built once whatever interrupts it, and programs compiled when they change."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock, Timeout

from genarium.engines import cmdstan
from genarium.engines.cmdstan import cache, programs, wheel

# Without a compiler --------------------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty home, no CmdStan and an empty cache."""
    monkeypatch.delenv("CMDSTAN", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def toolchain() -> cmdstan.CmdStan:
    """The toolchain in the user's cache, built where it is not there."""
    return cmdstan.install(print)


def fake_cmdstan(path: Path, version: str = "2.36.0", rule: str = "") -> Path:
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "stanc").write_text("#!/bin/sh\n")
    (path / "bin" / "stanc").chmod(0o755)
    (path / "makefile").write_text(f"# a comment\nCMDSTAN_VERSION := {version}\n{rule}")
    return path


def test_find_prefers_the_path_then_the_environment_then_the_newest_at_home(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("2.9.0", "2.36.0-rc1", "2.36.0", "2.36.0-rc2"):
        fake_cmdstan(bare / ".cmdstan" / f"cmdstan-{version}", version)
    home = cmdstan.find()
    assert (home.path.name, home.version, home.source, home.ready) == ("cmdstan-2.36.0", "2.36.0", "home", True)

    monkeypatch.setenv("CMDSTAN", str(fake_cmdstan(bare / "named", "2.35.0")))
    assert cmdstan.find() == cmdstan.CmdStan(bare / "named", "2.35.0", "environment", True)

    given = fake_cmdstan(bare / "given", "2.34.1")
    (given / "bin" / "stanc").unlink()
    assert cmdstan.find(given) == cmdstan.CmdStan(given, "2.34.1", "argument", False)
    with pytest.raises(cmdstan.ToolchainError, match="has not been built"):
        cmdstan.compile_program(bare / "a.stan", cmdstan.find(given))


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_cmdstan_that_is_named_but_absent_is_not_passed_over(
    how: str, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cmdstan(bare / ".cmdstan" / "cmdstan-2.36.0")
    if how == "environment":
        monkeypatch.setenv("CMDSTAN", str(bare / "nowhere"))
    with pytest.raises(cmdstan.ToolchainError, match=r"nowhere.*no makefile"):
        cmdstan.find(bare / "nowhere" if how == "argument" else None)
    (bare / "nowhere").mkdir()
    (bare / "nowhere" / "makefile").write_text("all:\n")
    with pytest.raises(cmdstan.ToolchainError, match="gives no CMDSTAN_VERSION"):
        cmdstan.find(bare / "nowhere" if how == "argument" else None)


def test_the_error_names_what_is_missing_and_both_remedies(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(bare))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("MAKE", raising=False)
    monkeypatch.setattr("genarium.engines.cmdstan.wheel.locate", lambda: None)
    for call in (cmdstan.find, cmdstan.install):
        with pytest.raises(cmdstan.ToolchainError) as caught:
            call()
        message = str(caught.value)
        for part in ("httpstan", "a C++ compiler", "make", "$CMDSTAN", "pip install 'genarium[stan]'"):
            assert part in message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message
    report = cmdstan.status()
    assert report["selected"] is None
    assert report["compiler"] is None
    assert report["problem"] == message


def test_a_program_is_compiled_again_when_it_or_an_include_changes(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def build(program: Path, folder: Path, *_: object) -> None:
        built.append(folder.name)
        folder.mkdir()
        (folder / program.stem).touch()
        cache.seal(folder / program.stem)

    monkeypatch.setattr(programs, "_build", build)
    one = cmdstan.find(fake_cmdstan(bare / "one"))
    two = cmdstan.find(fake_cmdstan(bare / "two"))
    program, include, nested = bare / "a.stan", bare / "b.stan", bare / "c.stan"
    program.write_text("functions {\n  #include b.stan\n}\n")
    include.write_text('#include "c.stan"\n#include absent.stan\n')
    nested.write_text("// first\n")

    first = cmdstan.compile_program(program, one)
    assert first.is_file()
    assert cmdstan.compile_program(program, one) == first
    assert len(built) == 1
    nested.write_text("// second\n")
    second = cmdstan.compile_program(program, one)
    third = cmdstan.compile_program(program, two)
    assert len({first, second, third}) == len(built) == 3
    nested.write_text("// first\n")
    assert cmdstan.compile_program(program, one) == first
    with pytest.raises(ValueError, match="optimize must be 0, 1, 2 or 3"):
        cmdstan.compile_program(program, one, optimize=4)


def test_a_program_that_changes_while_it_is_compiled_is_not_kept(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(program: Path, folder: Path, *_: object) -> None:
        folder.mkdir()
        (folder / program.stem).touch()
        cache.seal(folder / program.stem)
        program.write_text("// changed\n")

    monkeypatch.setattr(programs, "_build", build)
    program = bare / "a.stan"
    program.write_text("// first\n")
    with pytest.raises(cmdstan.ProgramError, match="changed while it was being compiled"):
        cmdstan.compile_program(program, cmdstan.find(fake_cmdstan(bare / "one")))
    assert not list((bare / "cache").rglob("programs/*/a"))


# The toolchain, with a stand-in for the compiler ---------------------------------------------------------------------

COMPILER = """#!/bin/sh
case "$*" in *--version*) echo "standin 1.0"; exit 0;; esac
echo "$*" >> "$STANDIN/calls"
while [ "$1" != "-o" ]; do shift; done
case "$2" in approximate.o*) [ -e "$STANDIN/slow" ] && echo half > "$2" && touch "$STANDIN/started" && sleep 60;; esac
[ -e "$STANDIN/broken" ] && echo "standin: no space left" >&2 && exit 1
echo whole > "$2"
"""
INSTALL = "from genarium.engines import cmdstan; print(cmdstan.install(lambda line: print('+', line)).path)"


@pytest.fixture
def standin(bare: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that writes a word, and an httpstan package that must not be imported."""
    package = bare / "site" / "httpstan"
    (package / "include" / "stan" / "model").mkdir(parents=True)
    (package / "lib").mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('httpstan was imported')")
    (package / "include" / "stan" / "version.hpp").write_text(
        "#define STAN_MAJOR 2\n#define STAN_MINOR 99\n#define STAN_PATCH 1\n"
    )
    (package / "stanc").write_text("#!/bin/sh\n")
    metadata = bare / "site" / "httpstan-9.9.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: httpstan\nVersion: 9.9\n")
    (bare / "standin++").write_text(COMPILER)
    (bare / "standin++").chmod(0o755)
    monkeypatch.setenv("CXX", f"{bare / 'standin++'} -one")
    monkeypatch.setenv("STANDIN", str(bare))
    monkeypatch.setenv("HOME", str(bare))
    monkeypatch.setenv("XDG_CACHE_HOME", str(bare / "a cache"))
    monkeypatch.setenv("PYTHONPATH", str(bare / "site"), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(bare / "site"))
    return bare


def calls(standin: Path) -> int:
    log = standin / "calls"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.stan
def test_install_builds_once_says_its_steps_and_outlives_the_package(standin: Path) -> None:
    before = cmdstan.find()
    assert (before.version, before.source, before.ready) == ("2.99.1", "wheel", False)
    lines: list[str] = []
    built = cmdstan.install(lines.append)
    assert built == cmdstan.find() == cmdstan.CmdStan(before.path, "2.99.1", "wheel", True)
    assert [line[:5] for line in lines[:3]] == ["[1/3]", "[2/3]", "[3/3]"]
    assert "CMDSTAN_VERSION := 2.99.1\n" in (built.path / "makefile").read_text()
    assert (built.path / "main.o").read_text() == (built.path / "approximate.o").read_text() == "whole\n"
    assert calls(standin) == 3
    cmdstan.install()
    assert calls(standin) == 3
    report: dict[str, Any] = cmdstan.status()
    assert report["selected"]["path"] == str(built.path)
    assert report["packages"]["httpstan"] == "9.9"
    assert report["compiler"].endswith("standin 1.0")
    assert all(report["bytes"][name] > 0 for name in ("toolchains", "wheel_files"))
    shutil.rmtree(standin / "site" / "httpstan")
    assert (built.path / "bin" / "stanc").is_file()
    assert (built.path / "bin" / ".." / ".." / "httpstan-9.9" / "include" / "stan" / "version.hpp").is_file()


@pytest.mark.stan
def test_another_optimization_level_precompiles_its_header_once(standin: Path) -> None:
    built = cmdstan.install()
    lines: list[str] = []
    for level in (3, 3, 1):
        wheel.prepare(built, level, lines.append)
    assert [line for line in lines if "-O3" in line] == lines
    assert len(lines) == 1
    assert calls(standin) == 4


@pytest.mark.stan
def test_a_failing_compiler_is_reported_and_leaves_no_toolchain(standin: Path) -> None:
    (standin / "broken").touch()
    with pytest.raises(cmdstan.ToolchainError, match=r"at 'header'(.|\n)*no space left(.|\n)*genarium\[stan\]"):
        cmdstan.install()
    assert not cmdstan.find().ready
    (standin / "broken").unlink()
    assert cmdstan.install().ready


@pytest.mark.stan
def test_a_killed_install_is_taken_up_where_it_stopped(standin: Path) -> None:
    (standin / "slow").touch()
    process = subprocess.Popen([sys.executable, "-c", INSTALL], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    target = cmdstan.find().path
    partial = target.with_name(f"{target.name}.partial")
    wait_for(process, lambda: (standin / "started").exists() and (partial / "main.o").exists())
    before = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(before, timeout=10)
    assert not alive  # make, the shell and the compiler died with the one who had asked for them
    assert len(gone) >= 3
    assert not cmdstan.find().ready
    (standin / "slow").unlink()
    built = cmdstan.install()
    assert (built.path / "approximate.o").read_text() == "whole\n"
    assert calls(standin) == 4  # the last part of the command line twice
    made = ["approximate.cpp", "approximate.o", "bin", "command.hpp", "header", "main.cpp", "main.o", "makefile"]
    assert sorted(path.name for path in built.path.iterdir()) == made


@pytest.mark.slow
@pytest.mark.stan
def test_a_compiler_that_outlives_its_installer_keeps_the_lock(bare: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from genarium.engines.cmdstan import cache, children\n"
        "children.WATCH = ':'\n"  # nobody kills it
        "with cache.sole_builder(Path(sys.argv[1]), print) as lock:\n"
        "    children.run(['/bin/sh', '-c', 'echo $$; echo $$ > started; exec sleep 60'], lock=lock)"
    )
    target = bare / "cache" / "genarium" / "stan" / "built"
    process = subprocess.Popen([sys.executable, "-c", code, str(target)], cwd=bare)
    wait_for(process, lambda: (bare / "started").exists() and (bare / "started").read_text().endswith("\n"))
    process.kill()
    process.wait()
    lock = FileLock(target.with_name("built.lock"))
    with pytest.raises(Timeout):
        lock.acquire(timeout=0)
    os.kill(int((bare / "started").read_text()), signal.SIGKILL)
    with lock.acquire(timeout=10):
        pass


@pytest.mark.slow
@pytest.mark.stan
def test_two_installs_at_once_build_once(standin: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", INSTALL], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0][-1] == outputs[1][-1] == str(cmdstan.find().path)
    assert calls(standin) == 3


def wait_for(process: subprocess.Popen[Any], condition: Callable[[], bool]) -> None:
    while not condition():
        assert process.poll() is None, "the process ended before what it was to do"
        time.sleep(0.01)


@pytest.mark.stan
def test_pedantic_warnings_are_listed_and_errors_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # no compiler
    program = tmp_path / "a.stan"
    program.write_text("parameters {\n  real mu;\n  real nu;\n}\nmodel {\n  mu ~ normal(0, 1);\n}\n")
    (warning,) = cmdstan.check_program(program)
    assert warning.startswith("Warning")
    assert "nu was declared but was not used" in warning
    program.write_text("parameters {\n  real mu;\n}\nmodel {\n  mu ~ no_such_distribution(0);\n}\n")
    with pytest.raises(cmdstan.ProgramError, match=r"'a\.stan', line 5(.|\n)*no_such_distribution"):
        cmdstan.check_program(program)
    with pytest.raises(FileNotFoundError, match=r"absent\.stan"):
        cmdstan.check_program(tmp_path / "absent.stan")


@pytest.mark.stan
def test_messages_of_stanc_and_of_the_compiler_reach_the_user(toolchain: cmdstan.CmdStan, bare: Path) -> None:
    program = bare / "a.stan"
    program.write_text("model { real x = y; }")
    with pytest.raises(cmdstan.ProgramError, match=r"'a\.stan', line 1(.|\n)*y"):
        cmdstan.compile_program(program, toolchain)
    broken = fake_cmdstan(bare / "broken", rule='%: %.stan\n\t@echo "a.hpp:1: error: not C++"; exit 1\n')
    program.write_text("parameters { real x; } model { x ~ std_normal(); }")
    with pytest.raises(cmdstan.ProgramError, match=r"a\.hpp:1: error: not C\+\+"):
        cmdstan.compile_program(program, cmdstan.find(broken))
    assert not [path for path in (bare / "cache" / "genarium" / "stan" / "programs").iterdir() if path.is_dir()]


@pytest.mark.slow
@pytest.mark.stan
def test_a_killed_build_leaves_nothing_and_two_builders_build_once(
    toolchain: cmdstan.CmdStan, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMDSTAN", str(toolchain.path))
    program = bare / "small.stan"
    program.write_text("parameters { real x; } model { x ~ std_normal(); }")
    programs_ = bare / "cache" / "genarium" / "stan" / "programs"
    code = (
        "import sys; from pathlib import Path; from genarium.engines import cmdstan;"
        "print(cmdstan.compile_program(Path(sys.argv[1]), progress=lambda line: print('+', line)))"
    )

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, str(program)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)

    process = start()
    wait_for(process, lambda: bool(list(programs_.glob("*/small.hpp"))))
    compilers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert not list(programs_.glob("small-*/*"))
    assert not psutil.wait_procs(compilers, timeout=10)[1]
    process.communicate()
    assert list(programs_.glob(".small-*"))

    processes = [start(), start()]
    outputs = [process.communicate(timeout=300)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0][-1] == outputs[1][-1]
    assert sum("+ compiling small.stan" in line for output in outputs for line in output) == 1
    assert sum("waiting for another process" in line for output in outputs for line in output) == 1
    assert not list(programs_.glob(".small-*"))
    made = Path(outputs[0][-1])
    assert sorted(path.name for path in made.parent.iterdir()) == ["sha256", "small", "small.stan"]
    assert "stan_version_major = 2" in subprocess.run([made, "info"], capture_output=True, text=True, check=True).stdout
