"""The registry: every folder of the zoo that is a package, under its own name."""

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium import registry
from genarium.declaration import Method, Model, Problem
from genarium.errors import DeclarationError, InputError
from genarium.methods import PYMC, methods
from genarium.verbs.models import models
from genarium.verbs.show import as_text, describe


@pytest.fixture
def zoo(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is searched for models besides the zoo's own."""
    monkeypatch.setattr(gn.models, "__path__", [*gn.models.__path__, str(tmp_path)])
    yield tmp_path
    registry.named.cache_clear()


def add(zoo: Path, name: str, source: str) -> None:
    (zoo / name).mkdir()
    (zoo / name / "__init__.py").write_text(source, encoding="utf-8")


def test_models_are_the_packages_of_the_folder(zoo: Path, root: Path) -> None:
    before = registry.names()
    add(zoo, "zz_toy", (root / "tests" / "toy.py").read_text(encoding="utf-8"))
    (zoo / "notes.py").write_text("")
    (zoo / "figures").mkdir()
    assert registry.names() == [*before, "zz_toy"]
    model = registry.get("zz_toy")
    assert model.name == "zz_toy"
    assert registry.get("zz_toy") is model
    assert [row.name for row in models()] == registry.names()


def test_names_are_sorted_and_known_to_their_models() -> None:
    assert registry.names() == sorted(registry.names())
    for name in registry.names():
        assert gn.get(name).name == name


def test_table_tells_titles_and_claims() -> None:
    models: Any = gn.models  # a package that can be called
    assert models() == models()
    for row in models():
        model = gn.get(row.name)
        assert row.title == model.title
        assert row.methods == {name: method.claim for name, method in methods(model).items()}


def test_close_name_is_suggested() -> None:
    with pytest.raises(InputError, match=r"there is no model 'nb_mixtrue'. Did you mean 'nb_mixture'\?"):
        gn.get("nb_mixtrue")


def test_far_name_gets_the_list() -> None:
    with pytest.raises(InputError) as error:
        gn.get("zzz")
    assert str(error.value) == f"there is no model 'zzz'. The models are {', '.join(registry.names())}."


@pytest.mark.parametrize("source", ["", "MODEL = 'soon'\n"])
def test_package_without_model(zoo: Path, source: str) -> None:
    name = f"hollow{len(source)}"
    add(zoo, name, source)
    with pytest.raises(DeclarationError, match=f"model '{name}': its package exports no MODEL of type genarium.Model"):
        gn.get(name)


def test_engines_come_with_a_density(toy: Model) -> None:
    assert list(methods(toy)) == ["conjugate", *PYMC]
    assert list(methods(replace(toy, density=None))) == ["conjugate"]


def test_own_method_takes_the_place_of_an_engine(toy: Model) -> None:
    def closed(problem: Problem, rng: object) -> gn.Result:
        return gn.Result(point={"theta": np.array(problem["y"].mean())})

    own = replace(toy, methods={"map": Method(closed, "point", "In closed form.")})
    assert methods(own)["map"].about == "In closed form."
    assert gn.fit(own, gn.simulate(own), "map").attrs["engine"] == "numpy"


# Where the engines start


@pytest.mark.parametrize("name", registry.names())
def test_starts_have_a_home_that_says_what_they_run(name: str) -> None:
    model = registry.get(name)
    assert model.start is not None
    home = import_module(f"genarium.models.{name}.start")
    assert model.start is home.start
    assert (home.__doc__ or "").startswith("Where NUTS, ADVI and the other engines start: ")
    assert "It runs" in (home.__doc__ or "")
    assert "(`start.py`)" in (Path(home.__file__ or "").parent / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^Starts of the engines: Start the engines .*\.$", as_text(model), re.MULTILINE)


def test_starts_are_not_shown_where_the_engines_have_their_own() -> None:
    model = replace(registry.get("nb_mixture"), start=None)
    assert describe(model)["start"] == ""
    assert "Starts of" not in as_text(model)
