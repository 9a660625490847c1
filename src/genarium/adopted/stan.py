"""A Stan program with a simulator of its prior as a declaration: what is validated is the program."""

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from genarium import caches
from genarium.adopted import TAKEN, identifier, sizes_of, variables
from genarium.adopted.digests import digest_of
from genarium.declaration import Array, Arrays, Model, Problem, Stage
from genarium.engines import stan
from genarium.engines.cmdstan import declared
from genarium.engines.cmdstan.programs import inlined
from genarium.engines.fingerprint import fingerprint
from genarium.errors import InputError
from genarium.signatures import with_parameters
from genarium.writing import replacing

Simulator = Callable[[np.random.Generator], tuple[Mapping[str, Any], Mapping[str, Any]]]


def from_stan(
    program: str | Path, simulate: Simulator | str | Path, data: Mapping[str, Any] | None = None, name: str = ""
) -> Model:
    """Declare a Stan program whose prior and data a simulator draws.

    Parameters
    ----------
    program : str or Path
        The ``.stan`` file that is fitted.
    simulate : callable, or path of a Stan program
        ``simulate(rng)`` returning two mappings: values of the program's parameters, drawn from the prior, and the data
        simulated from them; shapes are those of every simulation. Of a Stan program without parameters, the generated
        quantities that bear the names of the fitted program's parameters and data, or these names followed by ``_sim``.
    data : mapping of str to array_like, optional
        Data of the program that are the same in every simulation (sizes, covariates); the simulating program gets
        them too.
    name : str
        What the model is called; else the file's name.

    Returns
    -------
    Model
        A declaration that every verb takes.

    Raises
    ------
    InputError
        If the simulator leaves out parameters or data of the program, or a function draws what the program does not
        know; or if the program has tuples or complex numbers as data or parameters.

    Notes
    -----
    Data and parameters whose names mean something else here (:data:`genarium.adopted.TAKEN`: ``rng``, ``chain`` ...)
    get an underscore in the declaration; the simulator draws them by the program's names.
    """
    path = Path(program).absolute()
    if not path.is_file():
        raise InputError(f"there is no Stan program {path}. Give the path of a .stan file.")
    told = declared(path)
    for kind in ("inputs", "parameters"):
        for key, entry in told[kind].items():
            if entry["type"] not in ("int", "real"):
                raise InputError(
                    f"{path.name}: {key} is neither a number nor an array of numbers, and nothing else is simulated "
                    "and ranked. Declare the parts of tuples and of complex numbers as variables of their own."
                )
    constant = {key: np.asarray(value) for key, value in (data or {}).items()}
    by = simulate if callable(simulate) else _by_program(Path(simulate), constant)
    source = Drawn(told, by, path.name, strict=callable(simulate))
    unknown, observed = source.draw(np.random.default_rng(0))
    names = source.names
    lacking = [key for key in told["inputs"] if key not in constant and names[key] not in observed]
    if lacking:
        raise InputError(
            f"{path.name}: data {', '.join(lacking)} are neither given nor simulated. Give what is the same in every "
            "simulation as data={...}; the simulator draws the rest."
        )
    given = {names[key]: value for key, value in constant.items() if key in told["inputs"]}
    given = {key: value for key, value in given.items() if key not in observed}
    given, unknown, observed = (  # Stan asks for nothing of size 0, and returns nothing of it
        {key: value for key, value in arrays.items() if value.size} for arrays in (given, unknown, observed)
    )
    for what, drawn in (("parameters", unknown), ("data", observed)):
        if not drawn:
            raise InputError(f"{path.name}: the simulator draws no {what}, so that there is nothing to validate.")
    parts = [
        variables(arrays, role, {}) for arrays, role in ((given, "known"), (unknown, "unknown"), (observed, "observed"))
    ]
    known, free, seen = parts
    density = partial(log_density)
    density.__fingerprint__ = _digest(path, simulate, constant)  # type: ignore[attr-defined]
    return Model(
        name=identifier(name or path.stem),
        title=f"Stan program {path.name}",
        sizes=sizes_of({**known, **free, **seen}, {**given, **unknown, **observed}),
        known=Stage(known, with_parameters((), partial(dict, given))),
        unknown=Stage(free, source.draw_unknown),
        hidden=Stage({}),
        observed=Stage(seen, with_parameters(free, source.draw_observed)),
        log_density=density,
        stan=str(_renamed(path, names)),
    )


def _renamed(program: Path, names: Mapping[str, str]) -> Path:
    """Return a program in which variables have other names: a copy in the cache, or itself where all keep theirs.

    Raises
    ------
    InputError
        If a new name is in use.
    """
    other = {name: new for name, new in names.items() if name != new}
    if not other:
        return program
    text = inlined(program)
    for name, new in other.items():
        if re.search(rf"\b{new}\b", text):
            raise InputError(
                f"{program.name}: {name!r} means something else here and would be called {new!r}, which the program "
                "uses. Rename one of them in it."
            )
    words = "|".join(other)  # replications of the data follow their name
    text = re.sub(rf"\b({words})(?=(_rep)?\b)", lambda found: other[found[1]], text)
    folder = caches.folder("stan") / "renamed" / hashlib.sha256(text.encode()).hexdigest()[:16]
    with replacing(caches.prepared(folder) / program.name) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / program.name


def _digest(program: Path, simulate: Simulator | str | Path, constant: Arrays) -> str:
    """Return a digest of a program, of what draws its data, and of those that are the same every time."""
    by = digest_of(simulate) if callable(simulate) else inlined(Path(simulate))
    return fingerprint(inlined(program), by, dict(constant))


def log_density(problem: Problem, unknown: Arrays) -> float:
    """Joint log density of the unconstrained parameters, up to a constant, as Stan's samplers return it."""
    return float(stan.log_density(problem, [unknown], jacobian=True)[0][0])


def _by_program(path: Path, constant: Arrays) -> Simulator:
    """Return the simulator that a Stan program is."""
    if not path.is_file():
        raise InputError(
            f"there is no Stan program {path} to simulate by. Give its path, or a function of a generator."
        )

    def simulate(rng: np.random.Generator) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        found = stan.generated(path, constant, int(rng.integers(1, 2**31 - 1)))
        drawn = {key.removesuffix("_sim"): value for key, value in found.items()}
        return drawn, drawn

    return simulate


class Drawn:
    """Parameters and data that are drawn together, given to the two stages of a declaration one after the other.

    Parameters
    ----------
    told : dict
        What the program declares.
    simulate : callable
    what : str
        Name of the program.
    strict : bool
        Whether all that is drawn has to be the program's.
    """

    def __init__(self, told: dict[str, Any], simulate: Simulator, what: str, *, strict: bool) -> None:
        self.told, self.simulate, self.what, self.strict = told, simulate, what, strict
        self.names = {
            key: identifier(key) if key in TAKEN else key for kind in ("inputs", "parameters") for key in told[kind]
        }
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._last: tuple[dict[str, Array], dict[str, Array]] = ({}, {})

    def draw(self, rng: np.random.Generator) -> tuple[dict[str, Array], dict[str, Array]]:
        """Draw parameters and data, by the names that the declaration has for them.

        Raises
        ------
        InputError
            If a parameter is not drawn, or something that the program does not know; if a whole number is none; or if
            something has another shape than in the first draw.
        """
        parameters, data = self.simulate(rng)
        if self.strict:
            kinds = ("parameters", "transformed parameters", "generated quantities")
            self._refuse_unknown("parameter", parameters, [name for kind in kinds for name in self.told[kind]])
            self._refuse_unknown("data", data, list(self.told["inputs"]))
        lacking = [key for key in self.told["parameters"] if key not in parameters]
        if lacking:
            raise InputError(
                f"{self.what}: the simulator draws no {', '.join(lacking)}. It has to draw every parameter of the "
                f"program ({', '.join(self.told['parameters'])})."
            )
        drawn = {
            self.names[key]: whole(self.what, key, data[key])
            if entry["type"] == "int"
            else np.asarray(data[key], float)
            for key, entry in self.told["inputs"].items()
            if key in data
        }
        unknown = {self.names[key]: np.asarray(parameters[key], dtype=float) for key in self.told["parameters"]}
        for name, value in {**unknown, **drawn}.items():
            if value.shape != (first := self._shapes.setdefault(name, value.shape)):
                raise InputError(
                    f"{self.what}: the simulator draws {name} with shape {value.shape}, and with {first} before. Draw "
                    "the same shapes every time; data that may be fewer can be padded, with their number beside them."
                )
        return unknown, drawn

    def _refuse_unknown(self, kind: str, drawn: Mapping[str, Any], known: list[str]) -> None:
        if strange := [key for key in drawn if key not in known]:
            raise InputError(
                f"{self.what}: the simulator draws the {kind} {', '.join(strange)}, which the program does not have. "
                f"It has {', '.join(known)}."
            )

    def draw_unknown(self, rng: np.random.Generator) -> dict[str, Array]:
        """Draw parameters, and keep the data that were drawn with them."""
        self._last = self.draw(rng)
        return self._last[0]

    def draw_observed(self, /, **unknown: Array) -> dict[str, Array]:
        """Return the data that were drawn with these parameters.

        Raises
        ------
        InputError
            If these parameters were not drawn last: the simulator draws no data for others.
        """
        drawn, data = self._last
        if any(key not in drawn or not np.array_equal(value, drawn[key]) for key, value in unknown.items()):
            raise InputError(
                f"{self.what}: its simulator draws parameters and data together, not data for given parameters."
            )
        return data


def whole(what: str, name: str, value: Any) -> Array:
    """Return data that the program declares as whole numbers.

    Raises
    ------
    InputError
        If they are none.
    """
    found = np.asarray(value)
    odd = np.argwhere(found != np.rint(found))
    if len(odd):
        at = tuple(int(i) for i in odd[0])
        raise InputError(
            f"{what}: the simulator draws {name}{list(at) if at else ''} = {found[at]}, which the program declares as "
            "a whole number. Draw whole numbers."
        )
    return found.astype(np.int64)
