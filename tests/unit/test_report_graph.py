"""The figure of the model's graph."""

from itertools import pairwise

import pytest
from matplotlib.patches import FancyArrowPatch

import genarium as gn
from genarium.declaration import ROLES, Model
from genarium.reporting.graph import arrange, story
from report_pages import toy_mixture


@pytest.mark.parametrize("options", [{}, {"dispersion": "gene"}])
def test_graph_has_every_variable_and_arrow(options: dict[str, str]) -> None:
    model = gn.get("nb_mixture").variant(**options)
    figure = story(model)
    (axes,) = figure.axes
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == len(list(model.edges()))
    assert len(axes.patches) - len(arrows) == len(model.variables())
    said = {text.get_text() for text in axes.texts}
    assert {f"{var.symbol}  {name}" for name, var in model.variables().items() if var.symbol != name} <= said


def test_graph_of_the_toys(toy: Model) -> None:
    for model in (toy, toy_mixture()):
        figure = story(model)
        headings = [text.get_text() for text in figure.axes[0].texts]
        used = [role for role in ROLES if model.variables(role)]
        assert headings[: len(used)] == used
        width, height = figure.get_size_inches()
        for text in figure.axes[0].texts:
            x, y = text.get_position()
            assert figure.axes[0].get_xlim()[0] < x < figure.axes[0].get_xlim()[1]
            assert abs(y) < height / 2
        assert width > 2


def test_arrange_untangles() -> None:
    column = {"a": 0, "b": 0, "c": 1, "d": 1, "e": 3}
    edges = [("a", "d"), ("b", "c"), ("c", "e"), ("a", "e")]
    at = arrange(column, edges)
    assert set(at) == {("a", 0), ("b", 0), ("c", 1), ("d", 1), ("e", 3), ("c", 2), ("a", 1), ("a", 2)}
    assert (at["a", 0] - at["b", 0]) * (at["d", 1] - at["c", 1]) > 0  # the two arrows do not cross
    for c in range(4):
        heights = sorted(y for (_, place), y in at.items() if place == c)
        assert all(high - low == 1 for low, high in pairwise(heights))
        assert sum(heights) == 0
