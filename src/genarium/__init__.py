"""Genarium: a zoo of generative models for genomics, declared once, fitted by several engines, and calibrated.

>>> import genarium as gn
>>> tree = gn.simulate("nb_mixture", seed=1, cell=100)
>>> tree = gn.fit("nb_mixture", tree, method="vi", seed=2)
>>> verdicts = gn.diagnose("nb_mixture", tree)
"""

from importlib import import_module
from typing import Any

from genarium.choose import choose
from genarium.declaration import Calibration, Method, Model, Problem, Result, Stage, Var
from genarium.diagnose import Diagnosis, Verdict, diagnose
from genarium.errors import ApproximationError, DeclarationError, GenariumError, InputError
from genarium.fit import fit
from genarium.predict import predict
from genarium.read import read
from genarium.registry import get
from genarium.report import report
from genarium.simulate import simulate
from genarium.tree import load, save
from genarium.validate import Validation, validate

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
    "choose",
    "diagnose",
    "fit",
    "get",
    "load",
    "models",
    "predict",
    "read",
    "report",
    "save",
    "simulate",
    "validate",
]
models: Any = import_module("genarium.models")  # the package doubles as a function: genarium.models()
