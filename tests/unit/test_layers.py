"""The house: which module may know which. Imports are read off the sources, those inside functions too."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CONTRIBUTING = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
TABLE = CONTRIBUTING.partition("| layer, ")[2].partition("\n\n")[0]
LAYERS = [row.replace("/", "").split() for row in re.findall(r"^\| `(.+?)` \|", TABLE, re.MULTILINE)]
"""From the ground up, as the table of CONTRIBUTING.md has them: a room imports its own layer and those before it."""

OPEN_TO_MODELS = {room for layer in LAYERS[:4] for room in layer}
"""What a model's folder may import besides itself."""

LEFT_OUT = ("models", "skeleton")
"""Folders of the package that are no part of it: the link to the models, and what ``genarium new`` copies.

Notebooks are left out too: they are a user's scripts, which stand above all layers."""

Graph = dict[str, set[str]]


def sources(root: Path) -> dict[str, Path]:
    """Every module of ``src/genarium`` and ``models`` by its dotted name."""
    out = {}
    for folder, prefix in ((root / "src" / "genarium", "genarium"), (root / "models", "genarium.models")):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            if (prefix == "genarium" and parts[0] in LEFT_OUT) or "notebook" in parts:
                continue
            out[".".join([prefix, *parts]).removesuffix(".__init__")] = path
    return out


def imports(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of ours that a module imports, wherever the statement stands."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base for alias in node.names]
        else:
            continue
        yield from (one for one in found if one in modules and one != name)


def graph(root: Path) -> Graph:
    modules = sources(root)
    return {name: set(imports(name, path, modules)) for name, path in modules.items()}


def circles(edges: Graph) -> list[set[str]]:
    """Return the sets of modules that import each other, directly or by way of others."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(edges[start])
        while todo:
            if (at := todo.pop()) not in seen:
                seen.add(at)
                todo += edges[at]
        return seen

    within = {name: reach(name) for name in edges}
    found: list[set[str]] = []
    for name, reached in within.items():
        if name in reached and not any(name in circle for circle in found):
            found.append({other for other in reached if name in within[other]} | {name})
    return found


def room(module: str) -> str:
    """The first part of a module's name below the package."""
    return module.split(".")[1] if "." in module else "__init__"


def upward(edges: Graph) -> list[tuple[str, str]]:
    """Return the imports that the layers do not allow."""
    floor = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    out = []
    for name, targets in edges.items():
        for target in targets:
            if room(name) == "models":
                own = name.split(".")[:3] == target.split(".")[:3]
                good = own or target == "genarium.models" or room(target) in OPEN_TO_MODELS
            else:
                good = room(target) != "models" and floor[room(target)] <= floor[room(name)]
            out += [] if good else [(name, target)]
    return sorted(out)


@pytest.fixture(scope="module")
def house(root: Path) -> Graph:
    return graph(root)


def test_no_module_imports_itself_by_way_of_others(house: Graph) -> None:
    assert circles(house) == []


def test_no_import_leads_up(house: Graph) -> None:
    assert upward(house) == []


def test_every_module_has_a_layer(root: Path) -> None:
    assert {room(name) for name in sources(root)} == {room for layer in LAYERS for room in layer} | {"models"}


PLANTED = {
    "a circle": ("words.py", "errors.py", "def late():\n    from genarium.{other} import x\n"),
    "within a model": ("models/m/a.py", "models/m/b.py", "from .{other} import x\n"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_circle_is_found(kind: str, tmp_path: Path) -> None:
    one, two, text = PLANTED[kind]
    for own, other in ((one, two), (two, one)):
        base = tmp_path if own.startswith("models") else tmp_path / "src" / "genarium"
        (base / own).parent.mkdir(parents=True, exist_ok=True)
        (base / own).write_text(text.format(other=Path(other).stem))
    (found,) = circles(graph(tmp_path))
    assert {name.rpartition(".")[2] for name in found} == {Path(one).stem, Path(two).stem}


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("src/genarium/engines/ascent.py", "from genarium.verbs.fit import fit"),
        ("src/genarium/tree.py", "def late():\n    import genarium.methods"),
        ("src/genarium/verbs/fit.py", "from genarium import cli"),
        ("src/genarium/story.py", "import genarium.models.m"),
        ("models/m/__init__.py", "from genarium.verbs.fit import fit"),
        ("models/m/late.py", "def late():\n    from genarium.reporting import report"),
        ("models/m/other.py", "from ..n import MODEL"),
    ],
)
def test_a_planted_upward_import_is_found(where: str, line: str, tmp_path: Path) -> None:
    for made in (
        *(
            "cli/__init__.py",
            "methods.py",
            "tree.py",
            "story.py",
            "engines/ascent.py",
            "verbs/fit.py",
            "reporting/__init__.py",
        ),
        *("models/m/__init__.py", "models/n/__init__.py"),
    ):
        path = tmp_path / (made if made.startswith("models") else f"src/genarium/{made}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / where).write_text(line)
    assert len(upward(graph(tmp_path))) == 1
