"""Cases of trees: netCDF files that were edited or damaged, through every verb that takes one."""

import io
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from validation.fuzz.case import Case, Random, UnlikeError, sometimes, weighted
from validation.fuzz.oracles import oracle
from validation.fuzz.raw import damage
from validation.fuzz.stored import changed, inside

DATA: dict[str, dict[str, Any]] = {
    "nb_mixture": {"cell": 12, "gene": 2, "component": 2},
    "transcript_abundance": {"transcript": 4, "equivalence_class": 6, "entry": 12},
    "locus_regression": {"cell": 40, "genome": 3, "locus": 4, "feature": 2, "process": 2},
    "mendelian_randomization": {"variant": 12, "region": 2},
    "notmad": {"sample": 12, "node": 2, "covariate": 2, "archetype": 2},
    "perturbation_score": {"perturbation": 8, "state": 3},
}
"""Small sizes of each model, to simulate."""

FITS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "nb em": ("nb_mixture", "em", {}),
    "nb gibbs": ("nb_mixture", "gibbs", {"draws": 40, "tune": 20, "chains": 2}),
    "nb vi": ("nb_mixture", "vi", {}),
    "transcripts em": ("transcript_abundance", "em", {}),
    "transcripts gibbs": ("transcript_abundance", "gibbs", {"draws": 40, "tune": 20, "chains": 2}),
    "perturbations": ("perturbation_score", "conjugate", {}),
    "variants": ("mendelian_randomization", "vi", {}),
    "loci": ("locus_regression", "vi", {}),
}
"""Fits that cost little: model, method, options."""

VERBS = {"diagnose": 6, "predict": 6, "report": 1.0, "fit": 6, "predict data": 3, "table": 2}

ODD = (
    *("", "{", "[]", "{}", "null", "3", "text", '{"cell": -1}', '{"cell": 1e9}', '{"cell": "x"}', '{"component": 0}'),
    *('{"dispersion": "gene"}', '{"dispersion": 3}', "../../x", "./x", "nb_mixture", "notmad", "nope", "é", "[" * 3000),
    *(
        0,
        -1,
        3.5,
        np.nan,
        np.arange(3),
        np.array(["a", "b"], dtype=object),
        True,
        b"\xff",
        '{"component": 10000000000}',
    ),
)


@cache
def data(model: str) -> bytes:
    """Return simulated data of a model, as a netCDF file."""
    from genarium.verbs.simulate import simulate

    return _saved(simulate(model, 1, **DATA[model]))


@cache
def fit(name: str) -> bytes:
    """Return a fit, as a netCDF file."""
    from genarium.verbs.fit import fit as run
    from genarium.verbs.simulate import simulate

    model, method, options = FITS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _saved(run(model, simulate(model, 1, **DATA[model]), method, 1, **options))


def _saved(tree: Any) -> bytes:
    from genarium.tree import save

    with tempfile.TemporaryDirectory() as folder:
        return save(tree, Path(folder, "tree.nc")).read_bytes()


def trees(r: Random) -> Case:
    """Make a case of a verb that takes a tree."""
    verb, steps = weighted(r, VERBS), list[str]()
    name = r.choice(list(FITS))
    model, method, _ = FITS[name]
    if verb == "fit":
        content = edited(r, data(model), steps)
        files: dict[str, bytes | str] = {"data.nc": content}
        arguments = ["fit", model, "data.nc", "--method", method, "-o", "out.nc"]
        if method == "gibbs":
            arguments += ["--option", "draws=20", "--option", "tune=10"]
    elif verb == "predict data":
        whole = sometimes(r, 0.5)
        files = {
            "fit.nc": fit(name) if whole else edited(r, fit(name), steps),
            "data.nc": edited(r, data(model), steps) if whole else data(model),
        }
        arguments = ["predict", "fit.nc", "data.nc", "-o", "out.nc"]
    else:
        files = {"fit.nc": edited(r, fit(name), steps)}
        output = {"diagnose": [], "table": ["-o", "out.csv"], "report": ["-o", "out.html"]}.get(verb, ["-o", "out.nc"])
        arguments = ["predict" if verb == "table" else verb, "fit.nc", *output]
    case = Case("trees", verb, files, list(files), arguments=arguments, steps=steps)
    case.check = oracle(lambda tree: _check(tree, model, case.content(0)) if verb == "fit" else None)
    return case


def edited(r: Random, content: bytes, steps: list[str]) -> bytes:
    """Change attributes, what HDF5 holds, or bytes."""
    what = r.random()
    if what < 0.03:
        return content
    if what < 0.45:
        return inside(content, lambda file: _attribute(r, file, steps))
    if what < 0.85:
        return changed(r, content, steps)
    return damage(r, content, steps)


def _attribute(r: Random, file: Any, steps: list[str]) -> None:
    for _ in range(r.choice((1, 1, 2))):
        name = r.choice(sorted(key for key in file.attrs if not key.startswith("_")) or ["new"])
        if sometimes(r, 0.3) and name in file.attrs:
            del file.attrs[name]
            steps.append(f"root attribute {name} deleted")
            continue
        value = r.choice(ODD)
        file.attrs[name] = value
        steps.append(f"root attribute {name} is {value!r:.40}")


def _check(tree: Any, model: str, content: bytes) -> None:
    """Check that a fit holds the data that it was given, as h5py reads them."""
    import h5py

    if tree is None:
        raise UnlikeError("no tree was written")
    with h5py.File(io.BytesIO(content), "r") as file:
        if file.attrs.get("model", model) != model:
            raise UnlikeError(f"model: the tree is of {file.attrs.get('model')!r:.40}")
        for group in ("observed_data", "constant_data"):
            if group not in file or group not in tree:
                continue
            for name, variable in tree[group].data_vars.items():
                if name in file[group]:
                    wanted = file[group][name][()]
                    if not np.array_equal(variable.to_numpy().astype(float), np.asarray(wanted).astype(float)):
                        raise UnlikeError(f"values: {name} of a fit differs from its data")
