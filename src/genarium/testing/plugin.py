"""What pytest learns from this package: the option ``--model`` and the marks that the contract uses."""

import pytest

pytest.register_assert_rewrite("genarium.testing.fixtures", "genarium.testing.inside")

MARKS = (
    "cases(make): run for each case that make(models) yields",
    "slow: minutes of computing; left out of the default run (select with -m slow)",
    "stan: needs a Stan toolchain",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--model``."""
    parser.getgroup("genarium").addoption(
        "--model",
        action="append",
        default=[],
        metavar="MODEL",
        help="test this model alone: a name, or the folder of a model of your own (may be given several times)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks."""
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
