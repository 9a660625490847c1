"""Names of variables in a Stan program."""

import numpy as np

from genarium.data import check
from genarium.declaration import Model, Stage, Var
from genarium.engines import stan
from genarium.supports import count, real


def test_words_that_stan_reserves_get_an_underscore() -> None:
    assert stan.identifier("target") == "target_"
    assert stan.identifier("targets") == "targets"
    model = Model(
        name="names",
        title="Names",
        sizes={"unit": 2},
        known=Stage({"target": Var((), real, "Known.", "t")}),
        unknown=Stage({}),
        hidden=Stage({}),
        observed=Stage({"x": Var(("unit",), count, "Seen.", "x")}, {"x": lambda: np.zeros(2)}),
    )
    data = stan.data(check(model, {"target": 1.5, "x": [1, 2]}))
    assert data == {"target_": 1.5, "x": [1, 2], "unit": 2}
