"""Which files a certificate speaks for: planted edits make exactly those stale that compute with the file."""

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import genarium as gn
from genarium import registry, sources
from genarium.methods import methods

ENGINES = (
    "nuts",
    "nuts-jax",
    "advi",
    "dadvi",
    "map",
    "stan",
    "stan-pathfinder",
    "stan-advi",
    "stan-laplace",
    "stan-map",
)
PYMC = {"nuts", "nuts-jax", "advi", "dadvi", "map"}
STAN = {name for name in ENGINES if name.startswith("stan")}
VI = {"vi", "online", "svi"}  # the correction of vi is the linear response of a compiled density

EDITS = {
    "engines/pymc.py": {"nuts", "map"},
    "engines/blackjax.py": {"nuts-jax"},
    "engines/advi.py": {"advi"},
    "engines/dadvi.py": {"dadvi"},
    "engines/stan.py": STAN,
    "engines/compiled.py": PYMC | VI,
    "engines/native/sampler.py": PYMC | VI,
    "engines/chains.py": {"gibbs"},
    "engines/newton.py": {"dadvi"},
    "engines/linear_response.py": VI,
    "models/nb_mixture/gibbs.py": {"gibbs"},
    "models/nb_mixture/em.py": {*ENGINES, *VI, "em", "gibbs"},  # where the others start
    "story.py": {*ENGINES, "em", "vi", "online", "svi", "gibbs"},
    "models/nb_mixture/annotate.py": set[str](),
    "cli/fits.py": set[str](),
}
"""What nb_mixture's methods compute with."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A copy of the package and the models."""
    place = tmp_path_factory.mktemp("copy") / "genarium"
    left_out = shutil.ignore_patterns("__pycache__", "models", "stan", "certificates")
    shutil.copytree(root / "src" / "genarium", place, ignore=left_out)
    shutil.copytree(root / "models" / "nb_mixture", place / "models" / "nb_mixture")
    return place


@cache
def of_text(text: str, suffix: str) -> str:
    """What a text means, once."""
    with tempfile.NamedTemporaryFile("w", suffix=suffix, delete=False) as file:
        file.write(text)
    try:
        return sources.meaning(Path(file.name))
    finally:
        os.unlink(file.name)


@pytest.fixture
def told(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, dict[str, str]]]:
    """``told()``: the sources of nb_mixture's methods, in the copy as it is now."""
    monkeypatch.setattr(sources, "files", lambda _: copy)
    monkeypatch.setattr(sources, "meaning_of", lambda path: of_text(path.read_text(encoding="utf-8"), path.suffix))
    model = registry.get("nb_mixture")
    return lambda: {name: sources.sources_of(model, way) for name, way in methods(model).items()}


@pytest.mark.parametrize("file", EDITS)
def test_an_edit_changes_the_sources_of_what_computes_with_the_file(
    file: str, copy: Path, told: Callable[[], dict[str, dict[str, str]]]
) -> None:
    path = copy / file
    text = path.read_text()
    before = told()
    try:
        path.write_text(text + "\n# a comment\n")
        assert told() == before
        path.write_text(text + "\nPLANTED = 1\n")
        after = told()
    finally:
        path.write_text(text)
    assert {name for name in before if sources.changed(before[name], after[name])} == EDITS[file]


def test_a_stan_program_counts_where_stan_computes() -> None:
    model = registry.get("nb_mixture")
    with_program = {n for n, way in methods(model).items() if "nb_mixture.stan" in sources.sources_of(model, way)}
    assert with_program == STAN


def test_a_declaration_without_files_has_the_sources_of_its_engine(toy: gn.Model) -> None:
    found = sources.sources_of(toy, methods(toy)["nuts"])
    assert "genarium.engines.pymc" in found
    assert not any(".models." in name for name in found)


def test_what_a_declaration_only_passes_on_is_no_source(tmp_path: Path) -> None:
    path = tmp_path / "__init__.py"
    lines = [
        "from .story import draw",
        "from .extras import plot as plot_it, table",
        "import genarium.engines.ascent as way",
    ]
    path.write_text("\n".join([*lines, '__all__ = ["plot_it", "table"]', "MODEL = draw(way)", ""]))
    assert set(sources.imports("m", path, used=True)) >= {"m.story", "genarium.engines.ascent"}
    assert not any("extras" in name for name in sources.imports("m", path, used=True))
    assert "m.extras" in sources.imports("m", path)


@pytest.mark.parametrize("name", registry.built_in())
def test_readers_are_no_sources_of_a_fit(name: str) -> None:
    model = registry.get(name)
    readers = {reader.__module__ for reader in model.readers.values()} - {model.module}
    for way in methods(model).values():
        assert not readers & sources.sources_of(model, way).keys()


def test_defaults_of_what_calibration_draws_are_no_sources() -> None:
    model = registry.get("notmad")
    names = [f"genarium.models.notmad.{name}" for name in ("learning", "regressions", "encoder")]
    for variant in (model, model.variant(nodes="count")):  # draws positions, which learning finds for a user's data
        found = sources.sources_of(variant, methods(variant)["map"])
        assert [name in found for name in names] == [False, False, True]
