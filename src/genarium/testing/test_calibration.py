"""A small calibration: truths from the prior must have uniform ranks among the draws of exact methods.

Fifty replicates find a broken engine; what a method can be trusted with is for its certificate to say.
"""

import pytest

import genarium as gn
from genarium.testing.cases import Case, each, exact

REPLICATES, SEED = 50, 7


@each(exact, more=True)
def test_exact_methods_are_calibrated(case: Case) -> None:
    if case.method == "nuts-jax":
        pytest.importorskip("jax", reason="needs the extra `jax`")
    found = gn.validate(case.model, case.method, REPLICATES, seed=SEED)
    assert found.passed, str(found)
