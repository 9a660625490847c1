"""NOTMAD's figures, as data: what is drawn is what was fitted."""

from importlib import import_module

import numpy as np
import pytest

import genarium as gn
from genarium.models.notmad.figures import figures, principal

module = import_module("genarium.models.notmad.figures")


@pytest.mark.parametrize("encoder", ["linear", "additive", "mlp"])
def test_figures_show_the_fit(encoder: str) -> None:
    tree = gn.simulate("notmad", 3, sample=60, encoder=encoder, order="given")
    fit = gn.fit("notmad", tree, "map", 1, restarts=1)
    drawn = {title: figure for title, caption, figure in figures(fit) if caption.endswith(".")}
    expected = {"Archetypes as graphs", "Archetypes", "Networks of the samples"} | (
        {"From context to archetypes"} if encoder != "mlp" else set()
    )
    assert set(drawn) == expected
    image = drawn["Archetypes"].axes[0].images[0].get_array()
    np.testing.assert_array_equal(np.asarray(image), fit["point"]["archetype_network"].to_numpy()[0])
    arrows = [text for text in drawn["Archetypes as graphs"].axes[0].texts if not text.get_text()]
    assert len(arrows) == (np.abs(np.asarray(image)) > 0.1).sum()
    points = np.asarray(drawn["Networks of the samples"].axes[0].collections[0].get_offsets())
    network = gn.predict(fit)["predictions"]["network"].to_numpy().reshape(60, -1)
    np.testing.assert_allclose(points[:, 0], principal(network)[0][:, 0])
    np.testing.assert_allclose(
        points[:, 1], fit["constant_data"]["context"].to_numpy()[:, 0]
    )  # two archetypes lie on a line
    if encoder == "linear":
        lines = drawn["From context to archetypes"].axes[1].lines
        slope = fit["point"]["slope"].to_numpy()[1]
        rise = [np.diff(np.asarray(line.get_ydata())[[0, -1]])[0] for line in lines]
        width = np.ptp(np.asarray(lines[0].get_xdata())) / fit["constant_data"]["context_sd"].to_numpy()[1]
        np.testing.assert_allclose(rise, width * (slope - slope.mean()), rtol=1e-9)


def test_one_archetype_has_neither_curves_nor_points() -> None:
    """All samples have its network."""
    tree = gn.simulate("notmad", 3, sample=20, archetype=1, order="given")
    fit = gn.fit("notmad", tree, "map", 1, restarts=1, archetype=1)
    assert [title for title, _, _ in figures(fit)] == ["The network as a graph", "Weights of the network"]


@pytest.mark.parametrize(("nodes", "archetypes"), [(6, 3), (11, 2), (40, 3)])
def test_no_name_or_number_lies_over_another(nodes: int, archetypes: int) -> None:
    """However many nodes there are, and however long their names."""
    names = [f"protein{j}" for j in range(nodes)]
    data = gn.simulate("notmad", 3, sample=30, archetype=archetypes, order="given")
    tree = gn.fit("notmad", data, "map", 1, restarts=1, archetype=archetypes)
    rng = np.random.default_rng(1)
    W = rng.normal(size=(archetypes, nodes, nodes)) * ~np.eye(nodes, dtype=bool)
    told = (np.array(names), W, [f"archetype {k}" for k in range(archetypes)], "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_weights", lambda _: told)
        for name in ("graphs", "archetypes"):
            figure = getattr(module, name)(tree)[2]
            figure.draw_without_rendering()
            boxes = []
            for axes in figure.axes[:archetypes]:
                ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()] if axes.axison else []
                upright = [text for text in (*axes.texts, *ticks) if text.get_text() and not text.get_rotation() % 90]
                boxes += [text.get_window_extent() for text in upright]
            corners = np.array([(box.x0, box.x1, box.y0, box.y1) for box in boxes])
            a, b = corners[:, None], corners[None]
            wide = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
            high = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 2], b[..., 2])
            over = (np.minimum(wide, high) > 1.5) & ~np.eye(len(boxes), dtype=bool)
            assert not over.any(), (name, len(boxes), int(over.sum()) // 2)


def test_principal_components_of_points_on_a_line() -> None:
    points, share = principal(np.arange(5.0)[:, None] * [3.0, 4.0])
    np.testing.assert_allclose(np.abs(points[:, 0]), [10, 5, 0, 5, 10], atol=1e-12)
    np.testing.assert_allclose(share, [1, 0], atol=1e-12)
