"""Held-out deviance of forms of the rates: ``python validation/benchmarks/locus_regression_rates.py --corpora DIR``.

The mutations of 113 breast cancer genomes (breast113.npz: 5,286 windows of 500 kb, nine covariates) in a third of the
windows are predicted by a fit to the others, three times; K = 4, ``vi`` from one start, 150 sweeps. The forms:

linear       log rates linear in the covariates
lags         those of the windows before and after besides (eq. 22 of the source)
resolutions  means over blocks of 4 and of 16 windows besides
trees        an ensemble of regression trees for each process besides (eq. 24 of the source)
none         no covariate: windows differ by their length alone

Deviance is -2 log density of the held-out mutations, averaged over draws; less is better. CPU seconds of one thread,
all three fits and their predictions included.
"""

import os

if __name__ == "__main__":  # one core; before NumPy is imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import genarium as gn
from genarium.models.locus_regression.features import resolutions, windowed
from genarium.verbs.held_out import held_out

FOLDS, PROCESSES = 3, 4

FORMS: dict[str, tuple[Callable[[xr.DataArray], Any], dict[str, Any]]] = {
    "linear": (lambda X: X, {}),
    "lags": (lambda X: windowed(X, (-1, 0, 1)), {}),
    "resolutions": (lambda X: resolutions(X, (1, 4, 16)), {}),
    "trees": (lambda X: X, {"rates": "trees"}),
    "none": (lambda X: np.zeros((1, X.sizes["locus"])), {}),
}


def deviances(corpus: Path, form: str) -> dict[str, Any]:
    """Return the held-out deviance of a form, by part, and the CPU seconds."""
    tree = gn.read("locus_regression", corpus)
    known, observed = tree["constant_data"].to_dataset(), tree["observed_data"].to_dataset()
    make, settings = FORMS[form]
    names = ("exposure", "context_opportunity", "genome", "count")
    data = {name: known[name].to_numpy() for name in names if name in known}
    data |= {name: observed[name].to_numpy() for name in ("locus", "channel")}
    start = time.process_time()
    found = held_out(
        "locus_regression",
        {**data, "features": make(known["features"])},
        "vi",
        0,
        FOLDS,
        process=PROCESSES,
        restarts=1,
        tolerance=1.0,
        max_iterations=150,
        draws=25,
        **settings,
    )
    return {"form": form, "deviance": (-2 * found).tolist(), "seconds": time.process_time() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="folder of breast113.npz")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    options = parser.parse_args()
    rows = []
    for form in options.forms:
        rows.append(deviances(options.corpora / "breast113.npz", form))
        print(json.dumps(rows[-1]), flush=True)
    linear = next((np.array(row["deviance"]) for row in rows if row["form"] == "linear"), np.zeros(FOLDS))
    print(f"{'form':<12} {'deviance':>12} {'less linear':>12}  {'by part':<30} {'CPU s':>6}")
    for row in rows:
        each = np.array(row["deviance"])
        parts = " ".join(f"{value:+.0f}" for value in each - linear)
        print(f"{row['form']:<12} {each.sum():12.0f} {(each - linear).sum():+12.0f}  {parts:<30} {row['seconds']:6.0f}")


if __name__ == "__main__":
    main()
