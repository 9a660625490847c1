"""Names of variables in a Stan program, and what its replicated data are."""

import numpy as np

from genarium.data import check
from genarium.declaration import Model, Problem, Stage, Var
from genarium.engines import stan
from genarium.supports import Support, count, real


def test_words_that_stan_reserves_get_an_underscore() -> None:
    assert stan.identifier("target") == "target_"
    assert stan.identifier("targets") == "targets"
    assert stan.data(seen(count)) == {"target_": 1.5, "x": [1, 2], "unit": 2}


def test_replicated_numbers_are_rounded_where_they_are_whole_alone() -> None:
    drawn = {"x_rep": np.array([[[0.4, 2.0 + 1e-9]]])}  # (chain, draw, unit)
    for support, expected in ((count, [0, 2]), (real, [0.4, 2.0 + 1e-9])):
        copies = stan._generated(seen(support), drawn, generate=True)["posterior_predictive"]["x"]
        np.testing.assert_array_equal(copies[0, 0], expected)
        assert copies.dtype.kind == ("i" if support.integer else "f")


def seen(support: Support) -> Problem:
    """Two units of this support."""
    model = Model(
        name="names",
        title="Names",
        sizes={"unit": 2},
        known=Stage({"target": Var((), real, "Known.", "t")}),
        unknown=Stage({}),
        hidden=Stage({}),
        observed=Stage({"x": Var(("unit",), support, "Seen.", "x")}, {"x": lambda: np.zeros(2)}),
    )
    return check(model, {"target": 1.5, "x": [1, 2]})
