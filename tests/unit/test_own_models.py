"""Models from outside the repository: by folder, by installed package, by declaration; and what their trees say."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium import cli, folders, registry
from genarium.errors import DeclarationError, InputError
from genarium.home import Home
from genarium.tree import digest, digest_of

QUICK: dict[str, Any] = {"sample": 6, "gene": 2}

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model ``gene_counts``; not to be changed."""
    folder = tmp_path_factory.mktemp("place")
    gn.new("gene_counts", folder)
    return folder


@pytest.fixture(scope="module")
def model(place: Path) -> gn.Model:
    return gn.get(place / "gene_counts")


@pytest.fixture(scope="module")
def fit(model: gn.Model) -> xr.DataTree:
    """A fit; not to be changed."""
    return gn.fit(model, gn.simulate(model, seed=1, **QUICK), "gibbs", seed=1, draws=500)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """``said(*words)``: exit code and output of a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def python(code: str, *words: str, path: Path | None = None, cwd: Path | None = None) -> str:
    """Run Python in a process of its own, with ``path`` searched for packages."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(path or ""), *sys.path]))}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


COMMAND = "import sys; from genarium.cli import main; sys.exit(main(sys.argv[1:]))"


def declare(folder: Path, text: str) -> Path:
    """Write the package of a model."""
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(text, encoding="utf-8")
    return folder


# A folder


def test_folder_is_a_model(model: gn.Model, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = place / "gene_counts"
    assert model.name == "gene_counts"
    monkeypatch.chdir(place)
    assert gn.get("./gene_counts") is gn.get(folder) is gn.get(f"{folder}/../gene_counts/") is model
    assert registry.program(model) == folder / "gene_counts.stan"
    assert registry.origin(model) == f"folder {folder}"
    assert "gene_counts" not in registry.names()
    with pytest.raises(
        InputError, match=r"there is no model 'gene_counts'. Give a model's folder by its path: ./gene_"
    ):
        gn.get("gene_counts")  # a bare word runs nothing of the folder that one happens to be in


def test_every_command_takes_a_folder(place: Path, said: Said, tmp_path: Path) -> None:
    folder = place / "gene_counts"
    assert said("simulate", folder, "--seed", 1, "--set", "sample=6", "-o", "data.nc")[0] == 0
    (tmp_path / "counts.csv").write_text("sample,depth,g1,g2\ns1,0.5,0,3\ns2,2,2,5\ns3,1,2,2\n")
    assert said("read", folder, "counts.csv", "--option", "exposure=depth", "-o", "read.nc")[0] == 0
    for data in ("data", "read"):
        code, out, _ = said("fit", folder, f"{data}.nc", "--method", "gibbs", "-o", "fit.nc")
        assert (code, out.startswith("gene_counts by gibbs")) == (0, True)
    code, out, _ = said("show", folder)
    assert (code, f'gn.stan_program("{folder}")' in out) == (0, True)
    assert said("diagnose", "fit.nc", "--model", folder)[0] == 0
    assert said("predict", "fit.nc", "--model", folder, "-o", "p.csv")[0] == 0
    assert (tmp_path / "p.csv").read_text().startswith("sample,expected[g1],expected[g2]\ns1,")
    assert said("report", "fit.nc", "--model", folder, "-o", "report.html")[0] == 0
    page = (tmp_path / "report.html").read_text()
    assert "Rates of the genes" in page  # the model's own figures
    page = re.sub("<[^>]+>", "", page)
    assert f"genarium fit {folder} fit.nc" in page
    assert f"genarium report again.nc -o report.html --model {folder}" in page


@pytest.mark.slow
def test_workers_find_the_folder_again(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, relative to a folder that they may not work in; and as a declaration, with functions of the folder."""
    own = replace(gn.get(place / "gene_counts"), calibration=gn.Calibration(control={"shape": 9.0}))
    for given, out, cwd in ((own, "by_object", tmp_path), ("./gene_counts", "by_path", place)):
        monkeypatch.chdir(cwd)  # workers stay where they were started
        gn.validate(given, "gibbs", 4, 2, seed=3, out=tmp_path / out, **QUICK)
    expected = gn.validate(own, "gibbs", 4, 1, seed=3, out=tmp_path / "here", **QUICK)
    tables = {(tmp_path / out / "ranks.csv").read_bytes() for out in ("by_path", "by_object", "here")}
    assert len(tables) == 1
    assert expected.plan["model_origin"] == f"folder {place / 'gene_counts'}"
    page = (tmp_path / "by_path" / "report.html").read_text()
    assert f"genarium validate {place / 'gene_counts'} " in page
    assert "Calibration of gibbs: Counts of genes with gamma-distributed rates" in page


@pytest.mark.slow
def test_negative_control_of_the_skeleton_is_rejected(model: gn.Model) -> None:
    found = gn.validate(model, "gibbs", 50, seed=1, control=True)
    assert not found.calibrated


@pytest.mark.slow
def test_functions_of_a_folder_can_be_pickled_into_another_process(model: gn.Model, tmp_path: Path) -> None:
    function = model.methods["gibbs"].function
    (tmp_path / "function.pickle").write_bytes(pickle.dumps(function))
    code = """
import pickle, sys
function = pickle.load(open(sys.argv[1], "rb"))
import genarium as gn
model = gn.get(sys.argv[2])
print(function.__module__, function is model.methods["gibbs"].function)
"""
    told = python(code, str(tmp_path / "function.pickle"), str(Home.of(model).folder)).split()
    assert told == [f"{model.module}.gibbs", "True"]


@pytest.mark.parametrize("name", ["/home/me/my_model", "/a b/ä_2f/m", "/x/./..y/Model2", "/_/__/m"])
def test_name_of_a_folder_says_where_it_lies(name: str) -> None:
    module = folders.module_name(Path(name))
    assert module.startswith("genarium.folders.")
    assert all(part.isidentifier() for part in module.split("."))
    assert folders.folder_of(module) == Path(name)
    assert folders.folder_of(f"{module}.density") == Path(name)
    assert folders.folder_of("genarium.home") is None


def test_two_folders_of_one_name_are_two_models(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "gene_counts"
    shutil.copytree(place / "gene_counts", other)
    gibbs = other / "gibbs.py"
    gibbs.write_text(gibbs.read_text().replace('"rate": rate}', '"rate": 0 * rate + 1}'))
    one, two = gn.get(place / "gene_counts"), gn.get(other)
    assert one.name == two.name
    assert digest(one) != digest(two)
    tree = gn.simulate(one, 1, **QUICK)
    fits = [gn.fit(each, tree, "gibbs", draws=5)["posterior"]["rate"] for each in (one, two)]
    assert [bool((rate == 1).all()) for rate in fits] == [False, True]
    assert registry.program(two) == other / "gene_counts.stan"


@pytest.mark.slow
def test_folder_of_a_built_in_name_stands_beside_it(place: Path, tmp_path: Path, said: Said) -> None:
    own = tmp_path / "nb_mixture"
    shutil.copytree(place / "gene_counts", own)
    (own / "gene_counts.stan").rename(own / "nb_mixture.stan")
    model = gn.get(own)
    assert gn.get("nb_mixture").title != model.title
    assert "exposure" in gn.stan_program(own)
    assert "exposure" not in gn.stan_program("nb_mixture")
    gn.save(gn.fit(own, gn.simulate(own, 1, **QUICK), "gibbs", draws=50), tmp_path / "fit.nc")
    code = f"{COMMAND}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", code, "predict", "fit.nc", "-o", "p.nc"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2  # and is not taken for the built-in model
    assert f"the tree is of a model in the folder '{own}'" in done.stderr


def test_path_of_a_built_in_folder_is_that_model(root: Path) -> None:
    assert gn.get(root / "models" / "nb_mixture") is gn.get("nb_mixture")


BAD = {
    "absent": (None, InputError, "there is no such folder"),
    "no_init": ("", InputError, "holds no model: it has no __init__.py"),
    "hollow": ("x = 1\n", DeclarationError, "exports no MODEL of type genarium.Model"),
    "needy": ("import not_there\n", DeclarationError, r"ModuleNotFoundError: No module named 'not_there' \(.*line 1\)"),
    "torn": ("def f(:\n", DeclarationError, r"SyntaxError: .*__init__.py, line 1"),
    "with-hyphen": ("x = 1\n", InputError, "Python cannot import 'with-hyphen'"),
}


@pytest.mark.parametrize("name", BAD)
def test_folder_without_a_model(name: str, tmp_path: Path, said: Said) -> None:
    text, kind, message = BAD[name]
    if text is not None:
        declare(tmp_path / name, text)
    if text == "":
        (tmp_path / name / "__init__.py").unlink()
    with pytest.raises(kind, match=message):
        gn.get(tmp_path / name)
    code, _, err = said("simulate", f"./{name}", "-o", "x.nc")
    assert (code, str(tmp_path / name) in err) == (2, True)


def test_folder_written_after_a_failed_look_is_found(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        gn.get(tmp_path / "late")
    gn.new("late", tmp_path)
    assert gn.get(tmp_path / "late").name == "late"


# Its Stan programs and its digest


def test_programs_lie_beside_the_declaration_or_in_a_folder_there(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gene_counts"
    shutil.copytree(place / "gene_counts", folder)
    (folder / "__init__.py").write_text(
        "from dataclasses import replace\n"
        f"import sys; sys.path.insert(0, {str(place)!r})\n"
        "from gene_counts import MODEL as OTHER\n"
        "def vary(**options): return MODEL\n"
        "MODEL = replace(OTHER, options={'depth': ('even', 'deep', 'bare')}, vary=vary)\n"
    )
    try:
        model = gn.get(folder)
    finally:
        sys.path.remove(str(place))
    (folder / "stan").mkdir()
    (folder / "stan" / "gene_counts.stan").write_text("model {}\n")
    (folder / "stan" / "gene_counts-deep.stan").write_text("model {}\n")
    assert registry.program(model) == folder / "gene_counts.stan"
    assert registry.program(model.variant(depth="deep")) == folder / "stan" / "gene_counts-deep.stan"
    assert registry.program(model.variant(depth="bare")) is None
    (folder / "gene_counts.stan").unlink()
    assert registry.program(model) == folder / "stan" / "gene_counts.stan"


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("gibbs.py", True),
        ("gene_counts.stan", True),
        ("stan/gene_counts-x.stan", True),
        ("README.md", False),
        ("tests/test_gene_counts.py", False),
        ("other.stan", False),
    ],
)
def test_digest_is_of_the_sources(path: str, changes: bool, place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gene_counts"
    shutil.copytree(place / "gene_counts", folder)
    model = gn.get(folder)
    digest_of.cache_clear()
    before = digest(model)
    assert len(before) == 12
    (folder / path).parent.mkdir(exist_ok=True)
    with (folder / path).open("a") as file:
        file.write("\nx = 1\n")
    digest_of.cache_clear()
    assert (digest(model) != before) == changes


@pytest.mark.slow
def test_declaration_without_files_has_no_digest(toy: gn.Model, tmp_path: Path) -> None:
    bare = replace(toy, name="bare", module="nowhere.bare")
    assert digest(bare) == ""
    assert registry.origin(bare) == "object"
    assert registry.program(bare) is None
    tree = gn.fit(bare, gn.simulate(bare, 1), "conjugate")
    assert tree.attrs["model_digest"] == ""
    gn.report(tree, tmp_path / "r.html", model=bare)
    page = (tmp_path / "r.html").read_text()
    assert "No file holds this model, so that changes since the fit" in page
    assert "again = gn.fit(model, tree" in page
    assert "On the command line" not in page
    with pytest.raises(InputError, match=r"bare: the tree is of a declaration that was given in Python. Give it"):
        gn.diagnose("", tree)


def test_declaration_of_an_imported_module_has_its_files(toy: gn.Model) -> None:
    assert registry.origin(toy) == "object toy"
    assert Home.of(toy).sources() == {"toy.py": Path(str(import_module("toy").__file__))}
    tree = gn.fit(toy, gn.simulate(toy, 1), "conjugate")
    assert gn.predict(tree)["predictions"]  # the module is here already, and nothing has to be run to have its model


# Trees


def test_tree_says_where_its_model_came_from(fit: xr.DataTree, place: Path) -> None:
    assert fit.attrs["model_origin"] == f"folder {place / 'gene_counts'}"
    assert gn.simulate("nb_mixture", cell=5).attrs["model_origin"] == "built-in"


@pytest.mark.slow
def test_tree_is_read_in_the_process_that_loaded_its_model(fit: xr.DataTree, tmp_path: Path) -> None:
    assert gn.diagnose("", fit).passed
    assert gn.predict(fit)["predictions"]["expected"].shape == (6, 2)
    assert "Rates of the genes" in gn.report(fit, tmp_path / "r.html").read_text()


@pytest.mark.parametrize("come", ["folder {0}", "", "built-in", "object {0}", "distribution {0}"])
def test_tree_runs_nothing_of_a_path_in_the_place_of_a_name(come: str, tmp_path: Path, fit: xr.DataTree) -> None:
    trap = declare(tmp_path / "trap", "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    tree = fit.copy()
    tree.attrs |= {"model": str(trap), "model_origin": come.format(trap)}
    for call in (gn.predict, lambda tree: gn.diagnose("", tree)):
        with pytest.raises(InputError):
            call(tree)
    assert not (trap / "ran").exists()


def test_tree_runs_nothing_of_the_folder_that_it_names(tmp_path: Path, fit: xr.DataTree) -> None:
    trap = declare(tmp_path / "gene_counts", "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    tree = fit.copy()
    tree.attrs["model_origin"] = f"folder {trap}"
    gn.save(tree, tmp_path / "fit.nc")
    for words in (["diagnose"], ["predict", "-o", "p.nc"], ["report", "-o", "r.html"]):
        with pytest.raises(InputError, match="nothing is run from there unless you say so"):
            registry.fitted_model(gn.load(tmp_path / "fit.nc"))
        code = cli.main([words[0], str(tmp_path / "fit.nc"), *words[1:]])
        assert code == 2
    assert not (trap / "ran").exists()
    with pytest.raises(DeclarationError):
        gn.predict(tree, model=trap)
    assert (trap / "ran").exists()  # it would have been seen


@pytest.mark.slow
def test_model_may_lie_elsewhere_now(place: Path, fit: xr.DataTree, tmp_path: Path) -> None:
    moved = tmp_path / "moved" / "gene_counts"
    shutil.copytree(place / "gene_counts", moved)
    drawn = (moved / "figures.py").read_text()
    asks = "    from genarium.registry import fitted_model\n    assert fitted_model(tree).module == __package__\n"
    (moved / "figures.py").write_text(drawn.replace("    rate = tree[", f"{asks}    rate = tree[", 1))
    tree = fit.copy()
    tree.attrs["model_origin"] = "folder /somewhere/else/gene_counts"
    assert gn.diagnose(moved, tree).passed
    assert gn.predict(tree, model=moved)["predictions"]
    assert "Rates of the genes" in gn.report(tree, tmp_path / "r.html", model=moved).read_text()
    with pytest.raises(InputError, match="nb_mixture: the tree holds a fit of 'gene_counts'"):
        gn.predict(tree, model="nb_mixture")


@pytest.mark.parametrize(
    ("came_from", "said_"),
    [
        ("distribution gene-models 1.2", "package 'gene-models 1.2', which is not installed.*pip install gene-models;"),
        ("distribution \x1b[2J;rm 1", r"package '\\x1b\[2J;rm 1', which is not installed.*pip install the package;"),
        ("object gene_models.one", r"given in Python \(module 'gene_models.one'\)"),
        ("built-in", "there is no model 'gene_counts'"),
    ],
)
def test_tree_says_what_is_missing(came_from: str, said_: str, fit: xr.DataTree) -> None:
    tree = fit.copy()
    tree.attrs["model_origin"] = came_from
    with pytest.raises(InputError, match=said_):
        gn.predict(tree)


# Installed packages: a distribution is a folder of metadata beside its modules, wherever Python looks for them


@pytest.fixture(scope="module")
def site(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with packages: good, broken, hollow, hiding behind a built-in name, and two of one name."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(place / "gene_counts", site / "gene_counts")
    declare(site / "broken", "import not_there\n")
    declare(site / "hollow", "")
    shutil.copytree(place / "gene_counts", site / "suite" / "two_genes")
    (site / "suite" / "__init__.py").write_text("")
    (site / "suite" / "all.py").write_text("from .two_genes import MODEL as TWO\n")
    (site / "suite" / "two_genes" / "gene_counts.stan").rename(site / "suite" / "two_genes" / "two_genes.stan")
    offers = {
        ("gene-models", "1.2"): {"gene_counts": "gene_counts:MODEL", "broken": "broken", "hollow": "hollow"},
        ("suite", "3.0"): {"two_genes": "suite.all:TWO", "nb_mixture": "gene_counts", "twice": "gene_counts"},
        ("again", "0.1"): {"twice": "gene_counts"},
    }
    for (name, version), points in offers.items():
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{model} = {value}" for model, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[genarium.models]", *lines, ""]))
    return site


@pytest.mark.slow
def test_list_holds_installed_models_and_the_errors_of_broken_ones(site: Path) -> None:
    rows = json.loads(python(COMMAND, "list", "--json", path=site))
    told = {(row["name"], bool(row["error"])): row for row in rows}
    assert {name for name, bad in told if not bad} >= {"nb_mixture", "gene_counts", "two_genes"}
    assert told["gene_counts", False]["origin"] == "distribution gene-models 1.2"
    assert told["gene_counts", False]["methods"]["stan"] == "exact"
    assert "ModuleNotFoundError: No module named 'not_there'" in told["broken", True]["error"]
    assert "model 'hollow' of gene-models 1.2: its package exports no MODEL" in told["hollow", True]["error"]
    assert "hidden" in told["nb_mixture", True]["error"]
    assert "suite 3.0" in told["nb_mixture", True]["error"]
    assert "offered by several packages: again 0.1, suite 3.0" in told["twice", True]["error"]
    text = python(COMMAND, "list", path=site)
    assert "broken" in text
    assert "cannot be used: model 'broken' of gene-models 1.2 cannot be imported" in text
    assert "from the distribution gene-models 1.2" in text


@pytest.mark.slow
def test_installed_model_goes_through_the_verbs(site: Path, tmp_path: Path) -> None:
    code = """
import genarium as gn
from genarium import registry
model = gn.get("gene_counts")
tree = gn.fit("gene_counts", gn.simulate("gene_counts", 1, sample=6), "gibbs", draws=300)
gn.save(tree, "fit.nc")
assert gn.diagnose("gene_counts", tree).passed
gn.predict(gn.load("fit.nc"))
assert "Rates of the genes" in gn.report(gn.load("fit.nc"), "r.html").read_text()
found = gn.validate("gene_counts", "gibbs", 4, 2, seed=1, sample=6, gene=2)
print(tree.attrs["model_origin"], found.plan["model_origin"], registry.program(model), sep="|")
tree.attrs["model_origin"] = "built-in"
try:
    gn.predict(tree)
except gn.InputError as error:
    print("this version has none of the name" in str(error))
two = gn.get("two_genes")
print(two.module, registry.program(two), registry.origin(two), sep="|")
"""
    first, refused, second = python(code, path=site, cwd=tmp_path).splitlines()
    program = site / "gene_counts" / "gene_counts.stan"
    assert first == f"distribution gene-models 1.2|distribution gene-models 1.2|{program}"
    assert refused == "True"
    assert second == f"suite.two_genes|{site / 'suite' / 'two_genes' / 'two_genes.stan'}|distribution suite 3.0"
    tree = gn.load(tmp_path / "fit.nc")
    with pytest.raises(InputError, match="pip install gene-models; or give the folder"):
        gn.predict(tree)
    assert gn.predict(tree, model=site / "gene_counts")["predictions"]


# Stan and PyMC


@pytest.mark.slow
@pytest.mark.stan
def test_stan_and_gibbs_agree_on_a_folder(model: gn.Model, fit: xr.DataTree) -> None:
    stan = gn.fit(model, fit, "stan", seed=2, chains=2, draws=500, tune=500)
    exact = gn.fit(model, fit, "gibbs", seed=2, draws=2000)
    for name in ("inverse_scale", "rate"):
        mean, sd = exact["posterior"][name].mean(("chain", "draw")), exact["posterior"][name].std(("chain", "draw"))
        # NUTS on so smooth a posterior: at least a quarter of the 1000 draws count as independent
        off = np.abs(stan["posterior"][name].mean(("chain", "draw")) - mean) / sd
        assert float(off.max()) < 4 / np.sqrt(250)


NORMAL = """data {{ int<lower=1> item; array[item] real y; }}
parameters {{ real theta; }}
model {{ theta ~ normal(0, {sd}); y ~ normal(theta, 1); }}
"""


@pytest.mark.stan
def test_programs_that_differ_in_a_constant_are_compiled_apart(tmp_path: Path) -> None:
    """One name, one declaration, two priors of the mean: y = 10, 10, 10 gives 9.9997 for sd 100 and 0.2913 for 0.1."""
    found = []
    for sd in (100.0, 0.1):
        folder = tmp_path / f"sd{sd}" / "normal_mean"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(NORMAL_MODEL, encoding="utf-8")
        (folder / "normal_mean.stan").write_text(NORMAL.format(sd=sd), encoding="utf-8")
        point = gn.fit(folder, {"y": [10.0, 10.0, 10.0]}, "stan-map", seed=1)["point"]
        found.append(float(point["theta"]))
    np.testing.assert_allclose(found, [30 / (3 + 100**-2), 30 / (3 + 0.1**-2)], rtol=1e-4)


NORMAL_MODEL = """from genarium.declaration import Model, Stage, Var
from genarium.supports import real

MODEL = Model(
    name=__name__,
    title="Normal mean",
    sizes={"item": 3},
    known=Stage({}),
    unknown=Stage({"theta": Var((), real, "Mean.", "t")}, {"theta": lambda rng: rng.normal()}),
    hidden=Stage({}),
    observed=Stage(
        {"y": Var(("item",), real, "Value.", "y")}, {"y": lambda rng, sizes, theta: rng.normal(theta, 1, sizes["item"])}
    ),
    unit="item",
)
"""
