"""Trees from outside: whatever was done to one, a verb gives its result or one error that says what is wrong."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium.errors import InputError
from genarium.form import check_form

NAME = "nb_mixture"

Edit = Callable[[xr.DataTree], None]


@pytest.fixture(scope="module")
def fitted() -> dict[str, xr.DataTree]:
    """A fit with draws, one with a point estimate, and one with a choice."""
    data = gn.simulate(NAME, seed=1, cell=30, component=2)
    return {
        "vi": gn.choose(NAME, data, "component", [1, 2], "vi", seed=1, draws=40, restarts=2),
        "em": gn.fit(NAME, data, "em", seed=1, restarts=2),
        "gibbs": gn.fit(NAME, data, "gibbs", seed=1, draws=40, tune=10, chains=2),
    }


def attribute(name: str, value: Any) -> Edit:
    def edit(tree: xr.DataTree) -> None:
        tree.attrs[name] = value

    return edit


def entry(name: str, key: str, value: Any) -> Edit:
    """Put an entry into an attribute that is kept as JSON."""

    def edit(tree: xr.DataTree) -> None:
        tree.attrs[name] = json.dumps({**json.loads(tree.attrs[name]), key: value})

    return edit


def without(*names: str) -> Edit:
    def edit(tree: xr.DataTree) -> None:
        for name in names:
            tree.attrs.pop(name, None)

    return edit


def group(name: str, change: Callable[[xr.Dataset], xr.Dataset | None]) -> Edit:
    """Change the dataset of a group, or remove it."""

    def edit(tree: xr.DataTree) -> None:
        if name not in tree.children:
            pytest.skip(f"this fit has no group {name!r}")
        found = change(tree[name].to_dataset())
        if found is None:
            del tree[name]
        else:
            tree[name] = xr.DataTree(found)

    return edit


def held(change: Callable[[xr.Dataset], xr.Dataset | None]) -> Edit:
    """Change the group that holds what was found."""

    def edit(tree: xr.DataTree) -> None:
        group("posterior" if "posterior" in tree.children else "point", change)(tree)

    return edit


def variable(name: str, change: Callable[[xr.DataArray], Any]) -> Callable[[xr.Dataset], xr.Dataset]:
    return lambda data: data.assign({name: change(data[name])})


def first(value: Any) -> Callable[[xr.DataArray], xr.DataArray]:
    """Put a value in the place of the first one."""

    def change(array: xr.DataArray) -> xr.DataArray:
        values = array.to_numpy().astype(object if isinstance(value, str | dict) else float)
        values.flat[0] = value
        return array.copy(data=values)

    return change


def nested(tree: xr.DataTree) -> None:
    tree["observed_data/inner"] = xr.DataTree(xr.Dataset({"x": ("a", [1.0])}))


def as_variable(tree: xr.DataTree) -> None:
    del tree["observed_data"]
    tree["observed_data"] = xr.DataArray(3.0)


REFUSED: dict[str, tuple[Edit, str]] = {
    "sizes no JSON": (attribute("sizes", "{cell: 3"), "attribute 'sizes' must be an object in JSON"),
    "sizes a list": (attribute("sizes", "[1, 2]"), "attribute 'sizes' must be an object in JSON"),
    "sizes deep": (attribute("sizes", "[" * 100_000), "attribute 'sizes' must be an object in JSON"),
    "sizes digits": (attribute("sizes", '{"cell": ' + "9" * 5000 + "}"), "attribute 'sizes' must be an object"),
    "size text": (entry("sizes", "cell", "many"), "in attribute 'sizes', 'cell' must be a whole number"),
    "size below zero": (entry("sizes", "component", -1), "'component' must be a whole number, not below zero"),
    "size none": (entry("sizes", "component", None), "'component' must be a whole number"),
    "size huge": (entry("sizes", "component", 10**15), "'component' must be a whole number"),
    "size true": (entry("sizes", "component", True), "'component' must be a whole number"),
    "options no JSON": (attribute("options", "restarts=3"), "attribute 'options' must be an object in JSON"),
    "options a number": (attribute("options", 3), "attribute 'options' must be an object in JSON, and is 3"),
    "notes no JSON": (attribute("notes", ""), "attribute 'notes' must be an object in JSON"),
    "notes a list": (attribute("notes", "[]"), "attribute 'notes' must be an object in JSON"),
    "note a list": (entry("notes", "converged", [1]), "in attribute 'notes', 'converged' must be a number or text"),
    "note text": (entry("notes", "iterations", "many"), "in attribute 'notes', 'iterations' must be a number"),
    "versions no JSON": (attribute("versions", "1.2"), "attribute 'versions' must be an object in JSON"),
    "fixed an object": (attribute("fixed", "{}"), "attribute 'fixed' must be a list in JSON"),
    "fixed numbers": (attribute("fixed", "[1]"), "in attribute 'fixed', 0 must be text, and is 1"),
    "model options no JSON": (attribute("model_options", "gene"), "attribute 'model_options' must be an object"),
    "model options self": (attribute("model_options", '{"self": "a"}'), "there is no option 'self'"),
    "model option a number": (entry("model_options", "dispersion", 3), "'dispersion' must be text, and is 3"),
    "model option unknown": (entry("model_options", "dispersion", "x"), "dispersion='x' is not known"),
    "model a number": (attribute("model", 3), "attribute 'model' must be the name of a model, and is 3"),
    "model a path": (attribute("model", "../../x"), "attribute 'model' must be the name of a model"),
    "model another": (attribute("model", "notmad"), "notmad|'sample'"),
    "model unknown": (attribute("model", "no_such"), "no_such"),
    "seed text": (attribute("seed", "one"), "attribute 'seed' must be a whole number"),
    "seed a fraction": (attribute("seed", 1.5), "attribute 'seed' must be a whole number"),
    "seconds text": (attribute("seconds", "soon"), "attribute 'seconds' must be a number"),
    "claim unknown": (attribute("claim", "perfect"), "attribute 'claim' must be one of exact, approximate, point"),
    "origin a number": (attribute("model_origin", 7), "attribute 'model_origin' must be text"),
    "group within": (nested, "group 'observed_data' has a group 'inner' within it"),
    "group a variable": (as_variable, "'observed_data' must be a group, and is a variable"),
    "no data": (group("observed_data", lambda data: None), "'?observed"),
    "data text": (group("observed_data", variable("x", lambda x: x.astype(str))), "not numbers"),
    "data objects": (group("observed_data", variable("x", first({}))), "'x' in group 'observed_data' holds Python obj"),
    "data complex": (group("observed_data", variable("x", lambda x: x * 1j)), "complex128 values, not numbers"),
    "data negative": (group("observed_data", variable("x", first(-1.0))), "every value must be a whole number"),
    "data other dims": (group("observed_data", lambda d: d.rename({"cell": "plate"})), "has dims|cell"),
    "data renamed": (group("observed_data", lambda d: d.rename({"x": "y"})), "'x' .* is missing"),
}
"""Edits that every verb must refuse, and what the message says."""

REFUSED_FITS: dict[str, tuple[Edit, str]] = {
    "no model": (without("model"), "does not say which model it belongs to"),
    "no method": (without("method"), "has no attribute 'method'"),
    "no claim": (without("claim"), "has no attribute 'claim'"),
    "no seed": (without("seed"), "has no attribute 'seed'"),
    "no options": (without("options"), "has no attribute 'options'"),
    "no notes": (without("notes"), "has no attribute 'notes'"),
    "no sizes": (without("sizes"), "attribute 'sizes' does not tell the size of"),
    "known of fewer genes": (group("constant_data", lambda data: data.isel(gene=[0])), "along 'gene'"),
    "truth missing": (group("truth", variable("mu", first(np.nan))), "must be a finite number"),
    "size other": (entry("sizes", "component", 7), "along 'component', and attribute 'sizes' says 7"),
    "fixed unknown": (attribute("fixed", '["nothing"]'), "'nothing', which is not an unknown variable"),
    "no result": (held(lambda data: None), "has no group '(posterior|point)'|the tree holds no fit"),
    "result empty": (held(lambda data: xr.Dataset()), "has no variable"),
    "variable lost": (held(lambda data: data.drop_vars("mu")), "has no variable 'mu'"),
    "variable text": (held(variable("mu", lambda mu: mu.astype(str))), "values, not numbers"),
    "variable negative": (held(variable("mu", first(-1.0))), r"mu\[.*\] in group .* is -1.0, but every value must be"),
    "variable missing": (held(variable("mu", first(np.nan))), r"mu\[.*\] in group .* is nan, but every value must be"),
    "no simplex": (held(variable("pi", lambda pi: 2 * pi)), "with sum one over the last dim"),
    "genes lost": (held(lambda data: data.isel(gene=[0])), "along 'gene', and attribute 'sizes' says 2"),
    "dims turned": (held(variable("mu", lambda mu: mu.transpose(*mu.dims[::-1]))), "has the dims"),
    "dim renamed": (held(lambda data: data.rename({"component": "part"})), "has the dims"),
    "no labels": (held(lambda data: data.drop_vars("gene")), "has no labels along 'gene'"),
    "other draws": (group("log_likelihood", lambda data: data.isel(draw=slice(3))), "has size 3 along 'draw'"),
    "lp alone": (group("sample_stats", variable("lp", lambda lp: lp.isel(draw=0))), "'lp' in group .* has the dims"),
    "lp text": (group("sample_stats", variable("lp", lambda lp: lp.astype(str))), "not numbers"),
    "no pointwise": (group("log_likelihood", lambda data: xr.Dataset()), "has no variable 'x'"),
    "no replicates": (group("posterior_predictive", lambda data: data.drop_vars("x")), "has no variable 'x'"),
    "truth text": (group("truth", variable("mu", lambda mu: mu.astype(str))), "not numbers"),
    "truth turned": (group("truth", variable("mu", lambda mu: mu.T)), "has the dims"),
    "bound alone": (group("variational", variable("bound", lambda b: b.isel(restart=0))), "'bound' in group"),
    "choice square": (group("choice", lambda data: data.expand_dims(more=[0])), "not one of candidates"),
    "choice lost": (group("choice", lambda data: data.drop_vars("bound")), "has no variable 'bound'"),
}
"""Edits that every verb must refuse that takes a fit."""

MAY: dict[str, tuple[str, Edit]] = {
    "nothing": ("gibbs", lambda tree: None),
    "more attributes": ("em", attribute("lab", "basement")),
    "another group": ("em", lambda tree: tree.update({"own": xr.DataTree(xr.Dataset({"a": ("b", [1, 2])}))})),
    "no digest": ("em", without("model_digest")),
    "no versions": ("em", without("versions", "created_at", "seconds", "cpu_seconds", "genarium_version")),
    "no truth": ("vi", group("truth", lambda data: None)),
    "no statistics": ("gibbs", group("sample_stats", lambda data: None)),
    "no parameters": ("vi", group("variational", lambda data: None)),
    "some parameters": ("vi", group("variational", lambda data: data.drop_vars("alpha"))),
    "pointwise missing": ("gibbs", group("log_likelihood", variable("x", first(np.nan)))),
    "more beside the replicates": (
        "gibbs",
        group("posterior_predictive", lambda data: data.assign(other=("one", [1.0])).assign_coords(one=[0])),
    ),
    "more beside the draws": ("gibbs", group("posterior", lambda data: data.assign(other=data["chain"] * 1.0))),
    "method unknown": ("em", attribute("method", "magic")),
    "option strange": ("em", entry("options", "restarts", {"a": [1]})),
}
"""Edits after which a verb may go on, or say what it lacks."""

DRAWN = ("no truth", "method unknown")
"""Those whose report is written, too: it takes a second each."""


def verbs(tree: xr.DataTree, folder: Path) -> dict[str, Callable[[], Any]]:
    return {
        "diagnose": lambda: gn.diagnose(NAME, tree),
        "report": lambda: gn.report(tree, folder / "r.html"),
        "predict": lambda: gn.predict(tree),
        "add_prior": lambda: gn.add_prior(NAME, tree, draws=3),
    }


@pytest.mark.parametrize("edit", REFUSED)
def test_every_verb_refuses(fitted: dict[str, xr.DataTree], edit: str, tmp_path: Path) -> None:
    change, said = REFUSED[edit]
    tree = fitted["em"].copy(deep=True)
    change(tree)
    more: dict[str, Callable[[], Any]] = {
        "fit": lambda: gn.fit(NAME, tree, "em", restarts=1),
        "choose": lambda: gn.choose(NAME, tree, "component", [1], "vi"),
        "stan_data": lambda: gn.stan_data(NAME, tree),
        "new data": lambda: gn.predict(fitted["em"], tree),
        "validate": lambda: gn.validate(NAME, "gibbs", simulations=2, data=tree),
    }
    for verb, run in {**verbs(tree, tmp_path), **more}.items():
        if verb != "new data" or edit not in ("model options self", "model option unknown"):  # the fit's are taken
            with pytest.raises(InputError, match=said):
                run()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["vi", "em"])
@pytest.mark.parametrize("edit", REFUSED_FITS)
def test_verbs_of_fits_refuse(fitted: dict[str, xr.DataTree], method: str, edit: str, tmp_path: Path) -> None:
    change, said = REFUSED_FITS[edit]
    tree = fitted[method].copy(deep=True)
    change(tree)
    for run in verbs(tree, tmp_path).values():
        with pytest.raises(InputError, match=said):
            run()


@pytest.mark.filterwarnings("ignore:.*Pareto.*:UserWarning")
@pytest.mark.parametrize("edit", MAY)
def test_a_verb_gives_a_result_or_says_what_it_lacks(fitted: dict[str, xr.DataTree], edit: str, tmp_path: Path) -> None:
    method, change = MAY[edit]
    tree = fitted[method].copy(deep=True)
    change(tree)
    done = []
    for verb, run in verbs(tree, tmp_path).items():
        if verb != "report" or edit in DRAWN:
            with contextlib.suppress(InputError):
                run()
                done.append(verb)
    assert set(done) >= ({"predict"} if edit == "method unknown" else {"diagnose", "predict", "add_prior"})


def test_a_loaded_tree_is_checked_and_its_file_named(fitted: dict[str, xr.DataTree], tmp_path: Path) -> None:
    tree = fitted["em"].copy(deep=True)
    tree.attrs["notes"] = "none"
    path = gn.save(tree, tmp_path / "edited.nc")
    with pytest.raises(InputError, match=r"edited\.nc: attribute 'notes' must be an object in JSON, and is 'none'"):
        gn.load(path)
    tree = fitted["em"].copy(deep=True)
    tree["point"] = xr.DataTree(tree["point"].to_dataset().drop_vars("mu"))
    loaded = gn.load(gn.save(tree, path))
    with pytest.raises(InputError, match=r"edited\.nc: group 'point' has no variable 'mu'"):
        gn.diagnose(NAME, loaded)


def test_data_of_another_model_are_refused() -> None:
    data = gn.simulate(NAME, seed=1, cell=5)
    data.attrs["model"] = "notmad"
    with pytest.raises(InputError, match="the tree was made for the model 'notmad', not for 'nb_mixture'"):
        gn.fit(NAME, data, "em")


def test_a_tree_that_says_nothing_of_itself_is_data() -> None:
    data = gn.simulate(NAME, seed=1, cell=5)
    data.attrs = {}
    assert check_form(data) is data
    assert gn.fit(NAME, data, "em", component=2, restarts=1).attrs["model"] == NAME


def test_fits_without_replications_or_constants(fitted: dict[str, xr.DataTree]) -> None:
    tree = fitted["gibbs"].copy(deep=True)
    del tree["posterior_predictive"]
    with pytest.raises(InputError, match="no replications of the data"):
        gn.diagnose(NAME, tree)
    del tree["constant_data"]
    with pytest.raises(InputError, match="known variable 'phi'"):
        gn.predict(tree)
