"""What the rest of this package speaks of: a CmdStan, and the two ways in which there can be none or a bad program."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genarium.errors import GenariumError

Progress = Callable[[str], None]
Source = Literal["argument", "environment", "home", "wheel"]

REMEDIES = (
    "Stan programs are compiled with either of two:\n"
    "  - CmdStan: install it (`install_cmdstan`, or conda-forge's `cmdstan`), then set $CMDSTAN, or give its path as the\n"
    "    option cmdstan;\n"
    "  - on Linux x86-64 and macOS arm64: a C++17 compiler (g++ or clang++), make and `pip install 'genarium[stan]'`;\n"
    "    `genarium stan install` then builds the rest."
)


def silent(_: str) -> None:
    """Take a line of progress and say nothing."""


class ToolchainError(GenariumError, RuntimeError):
    """There is nothing that can compile a Stan program.

    Parameters
    ----------
    missing : str
        What was looked for and not found, or what failed. The message adds the two ways out.
    """

    def __init__(self, missing: str = "") -> None:
        super().__init__(missing if REMEDIES in missing else f"{missing}\n{REMEDIES}")  # once, also after pickling


class ProgramError(GenariumError, ValueError):
    """A Stan program that cannot be compiled; the message is that of ``stanc`` or of the C++ compiler."""


@dataclass(frozen=True)
class CmdStan:
    """A CmdStan directory, or the toolchain that stands in for one.

    Attributes
    ----------
    path : Path
        The directory to give to CmdStanPy as ``$CMDSTAN``.
    version : str
        The Stan version, as in ``"2.39.0"``.
    source : {"argument", "environment", "home", "wheel"}
        Where it was found: given by path, ``$CMDSTAN``, ``~/.cmdstan``, or made from the ``httpstan`` wheel.
    ready : bool
        Whether it can compile programs as it is. A toolchain from the wheel is made by `install`.
    """

    path: Path
    version: str
    source: Source
    ready: bool
