"""Genarium: a zoo of generative models for genomics, declared once, fitted by several engines, and calibrated.

>>> import genarium as gn
>>> tree = gn.simulate("nb_mixture", seed=1, cell=100)
>>> tree = gn.fit("nb_mixture", tree, method="vi", seed=2)
>>> verdicts = gn.diagnose("nb_mixture", tree)
"""

from importlib import import_module
from types import ModuleType
from typing import Any

from genarium.adopted.pymc import from_pymc
from genarium.adopted.stan import from_stan
from genarium.calibration import Validation, validate, validate_quantities, validate_stan
from genarium.declaration import Calibration, Method, Model, Problem, Result, Stage, Var
from genarium.errors import ApproximationError, DeclarationError, GenariumError, InputError
from genarium.registry import get
from genarium.reporting import report
from genarium.reporting.comparison import compare
from genarium.site import gallery
from genarium.tree import load, save
from genarium.verbs.choose import choose
from genarium.verbs.diagnose import diagnose
from genarium.verbs.each import fit_each
from genarium.verbs.export import export
from genarium.verbs.fit import fit
from genarium.verbs.models import models as _models
from genarium.verbs.new import new
from genarium.verbs.predict import predict
from genarium.verbs.prior import add_prior
from genarium.verbs.programs import pymc_model, stan_data, stan_program
from genarium.verbs.read import read
from genarium.verbs.simulate import simulate
from genarium.verbs.summary import summary
from genarium.verdicts import Diagnosis, Verdict

__all__ = [
    "ApproximationError",
    "Calibration",
    "DeclarationError",
    "Diagnosis",
    "GenariumError",
    "InputError",
    "Method",
    "Model",
    "Problem",
    "Result",
    "Stage",
    "Validation",
    "Var",
    "Verdict",
    "add_prior",
    "choose",
    "compare",
    "diagnose",
    "export",
    "fit",
    "fit_each",
    "from_pymc",
    "from_stan",
    "gallery",
    "get",
    "load",
    "models",
    "new",
    "predict",
    "pymc_model",
    "read",
    "report",
    "save",
    "simulate",
    "stan_data",
    "stan_program",
    "summary",
    "validate",
    "validate_quantities",
    "validate_stan",
]


class _Zoo(ModuleType):
    """The package of the models, which doubles as the verb that lists them."""

    __call__ = staticmethod(_models)


models: Any = import_module("genarium.models")
models.__class__ = _Zoo


def __dir__() -> list[str]:
    return sorted(__all__)
