"""The plan of a validation: everything that a worker needs to run any of its replicates."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from genarium import registry
from genarium.data import given_value
from genarium.declaration import Array, Arrays, Claim, Method, Model
from genarium.errors import InputError
from genarium.home import Home
from genarium.methods import find_method
from genarium.remedies import flag
from genarium.settings import generator, split, varied
from genarium.sources import digest_of_sources, sources_of
from genarium.tree import digest

EXACT = {"chains": 2, "draws": 300, "tune": 200}
"""Options of exact methods where the user gives none: enough for 99 nearly independent draws in most replicates."""

CORRECTED = ("linear_response", "corrected")
"""Values of the option ``covariance`` that stand for corrected intervals."""

STREAMS = ("simulate", "fit", "ties", "reference")
"""What a replicate needs random numbers for."""


@dataclass(frozen=True)
class Given:
    """A user's data and draws from their posterior, for posterior SBC.

    Attributes
    ----------
    arrays : mapping of str to ndarray
        Known and observed variables.
    draws : mapping of str to ndarray, shape (S, ...)
    """

    arrays: Arrays
    draws: Arrays


@dataclass(frozen=True)
class Plan:
    """A validation, replicate by replicate a function of its seed.

    Attributes
    ----------
    model : str, Path or Model
        Workers get its declaration, and look for nothing.
    method : str
    settings : mapping
        Sizes, options of the model, values of known variables, options of the method.
    seed : int
    ranks : int
        Number L of nearly independent draws that the truth is ranked among.
    wrong : mapping
        Known variables that the fit is given a wrong value of; options of the model that the simulation has instead.
    reference : str
        An exact method to compare with; "" for none.
    n_reference : int
        Replicates that are compared, the first ones.
    keep : bool
        Whether records hold the draws that the truth is ranked among.
    references : Path, optional
        Folder where what the exact method found is kept, for other methods on the same data.
    given : Given, optional
        Posterior SBC: simulate from this posterior and fit to these data and the simulated ones together.
    asked : str
        Name and digest of the function that returns the user's own test quantities; "" for none.
    """

    model: str | Path | Model
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    ranks: int = 99
    wrong: Mapping[str, Any] = field(default_factory=dict)
    reference: str = ""
    n_reference: int = 0
    given: Given | None = None
    keep: bool = False
    references: Path | None = None
    asked: str = ""

    def __post_init__(self) -> None:
        generator(self.seed)
        if self.ranks < 19:
            raise InputError(f"ranks={self.ranks}: the truth must be ranked among at least 19 draws (99 is usual).")
        for name in self.wrong:
            if name not in {**self.declared.known.variables, **self.declared.options}:
                known = ", ".join(self.declared.known.variables)
                options = ", ".join(self.declared.options)
                raise InputError(
                    f"{self.declared.name}: {name!r} cannot be given a wrong value, because it is not a known "
                    f"variable. The known variables are {known}{'; the options are ' + options if options else ''}."
                )
        drawn = self.simulated.variables()
        lacking = [n for n, v in self.declared.variables().items() if n not in drawn or drawn[n].dims != v.dims]
        if lacking:
            raise InputError(
                f"{self.declared.name}: there is no truth of {', '.join(lacking)} to compare with: "
                f"{told_wrong(self.wrong)} has no such variable of these dims."
            )
        if self.reference and self.claim_of(self.reference) != "exact":
            raise InputError(f"{flag('reference', self.reference)} is not an exact method of {self.declared.name}.")
        if self.given is not None and self.simulated is not self.declared:
            raise InputError(
                f"{self.declared.name}: {told_wrong(self.wrong)} is another model than the one whose posterior the "
                "truths are from. Leave out the data, or the wrong option."
            )
        if self.given is not None and not self.declared.unit:
            raise InputError(f"{self.declared.name}: its data cannot be joined with simulated ones (it has no unit).")
        for name, var in self.declared.unknown.variables.items() if self.given is not None else ():
            if self.declared.unit in var.dims:
                raise InputError(
                    f"{self.declared.name}: simulated data cannot be joined with given ones, because unknown variable "
                    f"{name!r} belongs to each {self.declared.unit}."
                )

    @cached_property
    def _split(self) -> tuple[Model, dict[str, int], dict[str, Any], dict[str, Any]]:
        model = registry.resolve(self.model)
        return split(model, self.settings, find_method(varied(model, self.settings), self.method).function)

    @property
    def declared(self) -> Model:
        """The model, under the options chosen."""
        return self._split[0]

    @cached_property
    def simulated(self) -> Model:
        """The model that data are drawn from: the declared one, but for options that are deliberately wrong."""
        options = {n: v for n, v in self.wrong.items() if n in self.declared.options}
        return self.declared.variant(**{**self.declared.chosen, **options}) if options else self.declared

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Size of each dim in a simulation."""
        return self.declared.complete({**self.declared.sizes, **self._split[1]})

    @cached_property
    def values(self) -> dict[str, Array]:
        """Variables that are given instead of drawn."""
        given = {n: given_value(self.declared, n, v, self.sizes) for n, v in self._split[2].items()}
        for name in given:
            if self.declared.role(name) != "known":
                raise InputError(
                    f"{self.declared.name}: variable {name!r} is {self.declared.role(name)} and has to be drawn: "
                    "only known variables can be given to a validation."
                )
        return given

    @cached_property
    def misled(self) -> dict[str, Array]:
        """The wrong values, checked."""
        known = {n: v for n, v in self.wrong.items() if n not in self.declared.options}
        return {n: given_value(self.declared, n, v, self.sizes) for n, v in known.items()}

    def claim_of(self, method: str) -> Claim:
        """Return what a method claims."""
        return find_method(self.declared, method).claim

    @cached_property
    def way(self) -> Method:
        """The validated method."""
        return find_method(self.declared, self.method)

    @property
    def claim(self) -> Claim:
        """What the validated method claims."""
        return self.way.claim

    @cached_property
    def options(self) -> dict[str, Any]:
        """Options of the method: the user's, then those that validation chooses."""
        have = self.way.options
        chosen = {n: v for n, v in EXACT.items() if n in have} if self.claim == "exact" else {}
        return {**chosen, **self._split[3]}

    @property
    def learned(self) -> dict[str, float]:
        """Known variables that the method takes for unknown: the standard deviations of their logs."""
        model = self.declared
        if model.calibration.learned is None:
            return {}
        own = {**find_method(model, self.method).options, **self.options}
        return {n: sd for n, sd in model.calibration.learned(own).items() if n in model.known.variables}

    @property
    def corrected(self) -> bool:
        """Whether the method offers corrected intervals, which are held to their coverage."""
        own = {**self.way.options, **self.options}
        return own.get("covariance") in CORRECTED

    @property
    def label(self) -> str:
        """Name of the method with those of its options that are words, e.g. ``vi.linear_response``."""
        words = [str(v) for v in self._split[3].values() if isinstance(v, str) and v]
        return ".".join([self.method, *words])

    @property
    def variant(self) -> str:
        """Name of the model with the options that differ from their default, as Stan programs are named."""
        model = self.declared
        return "-".join([model.name, *(v for n, v in model.chosen.items() if v != model.options[n][0])])

    def rng(self, index: int, use: str, attempt: int = 0) -> np.random.Generator:
        """Return a generator for one use in one replicate: a function of these and the seed alone."""
        key = (index, STREAMS.index(use), attempt)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    @cached_property
    def sources(self) -> dict[str, str]:
        """Digests of the files that a fit by the method computes with, by module."""
        return sources_of(self.declared, self.way)

    def _digest(self) -> str:
        """Digest of the model's files, or of the PyMC model or Stan program and simulator that were adopted."""
        adopted = self.declared.density or self.declared.log_density
        return digest(self.declared) or getattr(adopted, "__fingerprint__", "")[:12]

    def describe(self) -> dict[str, Any]:
        """Return what makes the replicates what they are, ready for JSON."""
        told = {
            "model": self.declared.name,
            "model_options": dict(self.declared.chosen),
            "model_digest": self._digest(),
            "sources": digest_of_sources(self.sources),
            "method": self.method,
            "claim": self.claim,
            "options": self.options,
            "sizes": self.sizes,
            "values": {n: np.asarray(v).tolist() for n, v in self.values.items()},
            **({"learned": self.learned} if self.learned else {}),
            "seed": int(self.seed),
            "ranks": int(self.ranks),
            "wrong": {n: np.asarray(v).tolist() for n, v in self.wrong.items()},
            "reference": self.reference,
            "n_reference": int(self.n_reference),
            "kind": "posterior" if self.given is not None else "prior",
        }
        if not Home.of(self.declared).built_in:
            told["model_origin"] = registry.origin(self.declared)
        if self.asked:
            told["quantities"] = self.asked
        if self.given is not None:
            told["given"] = fingerprint({**self.given.arrays, **self.given.draws})
        return dict(json.loads(json.dumps(told)))


def told_wrong(wrong: Mapping[str, Any]) -> str:
    """Say what is deliberately wrong: ``phi = 0.6``, and of options, which are words, what the simulation has."""
    return ", ".join(f"{n} = {v}{' in the simulation' if isinstance(v, str) else ''}" for n, v in wrong.items())


def fingerprint(arrays: Arrays) -> str:
    """Return a digest of arrays and their names; twelve hexadecimal digits."""
    import hashlib

    sha = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        sha.update(name.encode() + b"\0" + np.ascontiguousarray(value).tobytes())
    return sha.hexdigest()[:12]
