"""Stan programs compiled and run through CmdStanPy, with CmdStan or with a toolchain made from the ``httpstan`` wheel.

CmdStan is published as a release archive, which machines that reach only a package index cannot download. There, the
``httpstan`` wheel provides Stan itself, and this package what is missing: a command line in C++ and a `makefile`.
CmdStanPy uses either in the same way, so there is one path for every fit.

>>> from genarium.engines import cmdstan
>>> executable = cmdstan.compile_program(Path("model.stan"))  # doctest: +SKIP
>>> model = cmdstanpy.CmdStanModel(exe_file=executable)  # doctest: +SKIP
"""

from .base import CmdStan, ProgramError, ToolchainError
from .programs import check_program, compile_program, declared
from .providers import find, status
from .wheel import install

__all__ = [
    "CmdStan",
    "ProgramError",
    "ToolchainError",
    "check_program",
    "compile_program",
    "declared",
    "find",
    "install",
    "status",
]
