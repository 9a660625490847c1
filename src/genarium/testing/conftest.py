"""The contract's cases: one test for each model, variant or method."""

import pytest

from genarium.testing.cases import Case, marks
from genarium.testing.fixtures import (
    fitted,
    kept,
    names,
    numpy_density,
    quick,
    reading,
    result,
    same,
    saved,
    simulated,
    tree,
)

__all__ = ["fitted", "kept", "numpy_density", "quick", "reading", "result", "same", "saved", "simulated", "tree"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make the cases of a test that is marked by ``each``."""
    mark = metafunc.definition.get_closest_marker("cases")
    if mark is not None:
        make, more = mark.args
        cases = make(names(metafunc.config))
        metafunc.parametrize(
            "case", [pytest.param(case, marks=marks(case, make, more), id=str(case)) for case in cases]
        )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what shares a model's fits and compiled densities on one worker (``--dist loadgroup``)."""
    for item in items:
        case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
        if isinstance(case, Case):
            item.add_marker(pytest.mark.xdist_group(f"contract {case.name}"))
