"""Trees: labels, provenance, digests, and files that are written whole or not at all."""

import ast
import errno
import json
import re
import stat
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium import home, registry
from genarium.attributes import attribute
from genarium.errors import InputError
from genarium.groups import GROUPS
from genarium.tree import (
    arrays,
    dataset,
    digest,
    digest_of,
    provenance,
    stacked,
    stored_sizes,
    with_groups,
)


@pytest.fixture
def tree() -> xr.DataTree:
    return gn.simulate("nb_mixture", seed=1, cell=20)


# Labels and groups


def test_variables_are_labelled_by_the_declaration() -> None:
    model = registry.get("nb_mixture")
    coords = {"component": np.array(["a", "b"]), "gene": np.arange(3), "cell": np.arange(5)}
    data = dataset(
        model,
        coords,
        {"mu": np.ones((4, 6, 2, 3)), "energy": np.zeros((4, 6)), "edge": (("component", "knot"), np.zeros((2, 7)))},
        ("chain", "draw"),
    )
    assert data["mu"].dims == ("chain", "draw", "component", "gene")
    assert data["mu"].attrs["symbol"] == "μ"
    assert data["energy"].dims == ("chain", "draw")
    assert list(data["component"].to_numpy()) == ["a", "b"]
    assert list(data["knot"].to_numpy()) == list(range(7))
    assert set(data.coords) == set(data.dims)


def test_groups_are_added_in_order_and_the_tree_is_left_alone(tree: xr.DataTree) -> None:
    before = tree.copy(deep=True)
    extra = xr.Dataset({"a": ("row", [1.0, 2.0])})
    out = with_groups(
        tree, {"predictions": extra, "own": extra, "point": extra, "posterior": xr.Dataset()}, {"seed": 3}
    )
    assert list(out.children) == ["constant_data", "observed_data", "truth", "point", "predictions", "own"]
    assert out.attrs == {**tree.attrs, "seed": 3}
    xr.testing.assert_identical(tree, before)
    assert [name for name in GROUPS if name in out] == list(out.children)[:-1]


def test_stored_sizes_are_those_of_the_model(tree: xr.DataTree) -> None:
    assert stored_sizes(tree, registry.get("nb_mixture")) == {"cell": 20, "gene": 2, "component": 3}
    tree.attrs["sizes"] = json.dumps({"cell": 20, "planet": 8})
    assert stored_sizes(tree, registry.get("nb_mixture")) == {"cell": 20}
    assert stored_sizes(xr.DataTree(), registry.get("nb_mixture")) == {}


def test_groups_as_plain_arrays(tree: xr.DataTree) -> None:
    group = tree["truth"].to_dataset()
    assert set(arrays(group)) == {"pi", "mu", "group"}
    assert set(arrays(group, ["pi"])) == {"pi"}


# Provenance


def test_attributes_are_plain() -> None:
    told = provenance(seed=np.int64(3), share=np.float64(0.5), options={"a": 1}, names=["x"], flag=True, text="t")
    assert {k: v for k, v in told.items() if k != "versions"} == {
        "seed": 3,
        "share": 0.5,
        "options": '{"a": 1}',
        "names": '["x"]',
        "flag": True,
        "text": "t",
    }
    assert {type(v) for v in told.values()} <= {int, float, str, bool}
    versions = json.loads(told["versions"])
    assert versions["numpy"] == np.__version__
    assert all(versions.values())


# Digests


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one model of two files and a Stan program."""
    model = tmp_path / "models" / "m"
    model.mkdir(parents=True)
    (tmp_path / "stan").mkdir()
    (model / "__init__.py").write_text("a = 1\n")
    (model / "em.py").write_text("b = 2\n")
    (tmp_path / "stan" / "m.stan").write_text("model {}\n")
    monkeypatch.setattr(home, "files", lambda package: tmp_path)
    return tmp_path


def digest_now() -> str:
    digest_of.cache_clear()
    found = digest("m")
    digest_of.cache_clear()
    return found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("models/m/em.py", "b = 3\n"),
        ("models/m/vi.py", ""),
        ("stan/m.stan", "model { }\n"),
        ("stan/m-variant.stan", "model {}\n"),
        ("stan/m.stanfunctions", "real f(real x);\n"),
    ],
)
def test_digest_changes_with_every_source(sources: Path, path: str, text: str) -> None:
    before = digest_now()
    (sources / path).parent.mkdir(exist_ok=True)
    (sources / path).write_text(text)
    assert digest_now() != before


def test_digest_changes_when_a_file_is_renamed_or_removed(sources: Path) -> None:
    before = digest_now()
    (sources / "models/m/em.py").rename(sources / "models/m/en.py")
    renamed = digest_now()
    (sources / "stan/m.stan").unlink()
    assert len({before, renamed, digest_now()}) == 3


@pytest.mark.parametrize(
    "path",
    ["models/m/README.md", "models/m/__pycache__/em.pyc", "models/m/beside/net.py", "stan/other.stan", "stan/mm.stan"],
)
def test_digest_ignores_what_is_no_source_of_the_model(sources: Path, path: str) -> None:
    before = digest_now()
    (sources / path).parent.mkdir(exist_ok=True)
    (sources / path).write_text("text\n")
    assert digest_now() == before


@pytest.mark.parametrize("name", registry.names())
def test_no_model_imports_the_packages_in_its_folder(name: str) -> None:
    """The digest leaves them out; what reads, writes or is a command, of which no certificate speaks, may use them."""
    folder = Path(str(files("genarium"))) / "models" / name
    beside = {path.parent.name for path in folder.glob("*/__init__.py")}
    free = {"annotation.py", "readers.py", "mr_command.py", "mr_table.py", "deep_mr_run.py"}
    free |= {"programs.py"}  # the statistic of cells: its certificates speak for the files of its package too
    imported = []
    for path in folder.glob("*.py"):
        refused = set() if path.name in free else beside - ({"ingest"} if path.name == "__init__.py" else set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                words = ".".join([getattr(node, "module", None) or "", *(a.name for a in node.names)]).split(".")
                imported += [(path.name, node.lineno)] if refused & set(words) else []
    assert not imported


def test_digest_ignores_comments_docstrings_and_layout(sources: Path) -> None:
    path = sources / "models/m/em.py"
    path.write_text('"""About."""\n\n\ndef f(a):\n    """Return it."""\n    return "a"  # why\n')
    before = digest_now()
    path.write_text('"""More about."""\n\ndef f( a ):\n    """Give it."""\n\n    # so\n    return "a"\n')
    assert digest_now() == before
    path.write_text('"""About."""\n\n\ndef f(a):\n    """Return it."""\n    return "b"\n')
    assert digest_now() != before


def test_digest_is_short_and_repeatable(sources: Path) -> None:
    before = digest_now()
    assert before == digest_now()
    assert len(before) == 12
    int(before, 16)


# Files


def test_saved_tree_comes_back(tree: xr.DataTree, tmp_path: Path) -> None:
    labels = tree["observed_data"].to_dataset().assign_coords(gene=["α", "b"])
    named = with_groups(tree, {"observed_data": labels, "constant_data": xr.Dataset({"phi": ("gene", [1.0, 2.0])})}, {})
    path = gn.save(named, tmp_path / "t.nc")
    assert path == tmp_path / "t.nc"
    back = gn.load(path)
    path.unlink()  # nothing is read later
    xr.testing.assert_identical(back, named)
    assert [type(v) for v in back.attrs.values()] == [type(v) for v in named.attrs.values()] or all(
        a == b for a, b in zip(back.attrs.values(), named.attrs.values(), strict=True)
    )


def test_saved_tree_can_be_saved_again(tree: xr.DataTree, tmp_path: Path) -> None:
    first = gn.load(gn.save(tree, tmp_path / "t.nc"))
    xr.testing.assert_identical(gn.load(gn.save(first, tmp_path / "t.nc")), tree)


def test_file_has_the_usual_permissions(tree: xr.DataTree, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    gn.save(tree, tmp_path / "t.nc")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "t.nc")}
    assert len(modes) == 1


def test_failed_save_leaves_the_old_file_and_no_litter(
    tree: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = gn.save(tree, tmp_path / "t.nc")
    old = path.read_bytes()

    def breaks(self: Path, content: bytes) -> None:
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", breaks)
    for name in ("t.nc", "new.nc"):
        with pytest.raises(InputError, match=r"nc was not written: the disk is full.*No space left on device.*Free"):
            gn.save(tree, tmp_path / name)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_folder_must_exist(tree: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the folder .*absent does not exist. Create it first"):
        gn.save(tree, tmp_path / "absent" / "t.nc")


def test_folder_is_no_file(tree: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        gn.save(tree, tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"this is not a file, but a folder\. Name the file in it"):
        gn.load(tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.nc: there is no such file"):
        gn.load(tmp_path / "absent.nc")


@pytest.mark.parametrize("content", [b"", b"cell,a\nc1,3\n", b"\x89HDF\r\n\x1a\n" + bytes(50)])
def test_file_that_is_no_tree(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.nc").write_bytes(content)
    with pytest.raises(InputError, match=r"t.nc: this cannot be read as a netCDF tree .* go through `read` first"):
        gn.load(tmp_path / "t.nc")


def test_truncated_file(tree: xr.DataTree, tmp_path: Path) -> None:
    path = gn.save(tree, tmp_path / "t.nc")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="cannot be read"):
        gn.load(path)


# Attributes that are kept as JSON


def with_attributes(**attrs: object) -> xr.DataTree:
    tree = xr.DataTree()
    tree.attrs = dict(attrs)
    return tree


def test_attributes_are_read_as_they_were_written() -> None:
    tree = with_attributes(**provenance(notes={"bound": -1.5}, fixed=["phi"]))
    assert attribute(tree, "notes") == {"bound": -1.5}
    assert attribute(tree, "fixed") == ["phi"]
    assert attribute(tree, "versions")["numpy"] == np.__version__


def test_attributes_that_a_tree_may_lack_are_empty() -> None:
    assert attribute(with_attributes(), "fixed") == []
    assert attribute(with_attributes(), "sizes") == {}


def test_a_missing_attribute_is_named() -> None:
    with pytest.raises(InputError, match=r"no attribute 'notes'\. Make it with `fit`"):
        attribute(with_attributes(), "notes")


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("notes", "{'a': 1}", "an object"),
        ("notes", 3, "an object"),
        ("sizes", "[1]", "an object"),
        ("fixed", "{}", "a list"),
    ],
)
def test_an_attribute_of_another_kind_is_refused(name: str, value: object, wanted: str) -> None:
    message = re.escape(f"the tree: attribute {name!r} must be {wanted} in JSON, and is {value!r}")
    with pytest.raises(InputError, match=message):
        attribute(with_attributes(**{name: value}), name)


# Draws


def test_chains_are_put_one_after_another() -> None:
    draws = {"mu": np.arange(24).reshape(2, 4, 3), "phi": np.arange(8.0).reshape(2, 4)}
    flat = stacked(draws)
    np.testing.assert_array_equal(flat["phi"], np.arange(8))
    np.testing.assert_array_equal(flat["mu"][5], draws["mu"][1, 1])


@pytest.mark.parametrize(("most", "kept"), [(1, [0]), (3, [0, 3, 7]), (8, range(8)), (100, range(8))])
def test_draws_are_thinned_evenly(most: int, kept: Iterable[int]) -> None:
    found = stacked({"phi": np.arange(8.0).reshape(2, 4)}, most)
    np.testing.assert_array_equal(found["phi"], list(kept))


@pytest.mark.parametrize("name", ["locus_regression", "perturbation_score"])
def test_arviz_gives_each_number_its_label(name: str) -> None:
    import arviz_stats

    model = registry.get(name)
    sizes = {dim: i + 2 for i, dim in enumerate(model.sizes)}
    shapes = {n: tuple(sizes.get(dim, 3) for dim in var.dims) for n, var in model.unknown.variables.items()}
    rng = np.random.default_rng(0)
    draws = {n: rng.normal(size=(1, 4, *shape)) for n, shape in shapes.items()}
    data = dataset(model, {}, draws, ("chain", "draw"))
    told = arviz_stats.summary(xr.DataTree.from_dict({"posterior": data}), kind="stats", round_to="none")["mean"]
    for n, values in draws.items():
        labels = [f"{n}{list(at)}" if at else n for at in np.ndindex(*shapes[n])]
        np.testing.assert_allclose(told[labels].astype(float), values.mean((0, 1)).ravel())
