"""Pages as trees of elements, and what tests of the report share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from genarium.declaration import Model, Stage, Var
from genarium.supports import label, positive, real, simplex

MU = np.array([[10.0, 300.0], [300.0, 10.0], [90.0, 90.0]])
PI = np.array([0.2, 0.3, 0.5])
VOID = {"meta", "br", "hr", "img", "link", "input"}
SECTIONS = ["found", "checks", "figures", "course", "estimates", "model", "provenance", "reproduce"]


@dataclass
class Node:
    """An element of a page."""

    tag: str
    attrs: dict[str, str | None]
    children: "list[Node | str]" = field(default_factory=list)

    def every(self, *tags: str) -> "Iterator[Node]":
        for child in self.children:
            if isinstance(child, Node):
                if child.tag in tags:
                    yield child
                yield from child.every(*tags)

    def find(self, tag: str, **attrs: str) -> "Node":
        found = [node for node in self.every(tag) if attrs.items() <= node.attrs.items()]
        assert len(found) == 1, (tag, attrs, len(found))
        return found[0]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class Page(HTMLParser):
    """Parses a page into nodes, and fails where tags are not balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]
        self.feed(html)
        self.close()
        assert self.open == [self.root], [node.tag for node in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def rows(page: Node, name: str) -> list[dict[str, str]]:
    """Rows of the table with a label, by the names of its columns."""
    table = page.find("table", **{"aria-label": name})
    head = [cell.text for cell in table.every("th")]
    return [
        dict(zip(head, (cell.text for cell in row.every("td")), strict=True)) for row in table.find("tbody").every("tr")
    ]


def section(page: Node, key: str) -> Node:
    return page.find("section", id=key)


Fits = Callable[[str], xr.DataTree]
Pages = Callable[[str], Node]

each_method = pytest.mark.parametrize(
    "method", ["gibbs", *(pytest.param(method, marks=pytest.mark.slow) for method in ("em", "vi"))]
)


def toy_mixture(exchangeable: str = "kind") -> Model:
    """A declaration with every shape that matching meets; it is never fitted."""
    unknown = {
        "w": Var(("kind",), simplex, "Weight.", "w"),
        "scale": Var(("kind",), positive, "Scale.", "s"),
        "centre": Var(("site", "kind"), real, "Centre.", "c"),
        "common": Var((), real, "Common.", "a"),
    }
    return Model(
        name="toy_mixture",
        title="Toy",
        sizes={"kind": 3, "site": 2, "item": 4},
        known=Stage({}),
        unknown=Stage(unknown, {name: lambda: 0 for name in unknown}),
        hidden=Stage({"z": Var(("item",), label("kind"), "Kind.", "z")}, {"z": lambda w: 0}),
        observed=Stage(
            {"y": Var(("item",), real, "Value.", "y"), "n": Var((), real, "Another.", "n")},
            {"y": lambda z, centre, scale, common: 0, "n": lambda y: 0},
        ),
        exchangeable=exchangeable,
    )
