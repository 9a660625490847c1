"""Checkpoints of a variational fit: states on disk, from which a fit that was killed goes on."""

import hashlib
import io
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.engines.ascent import Ascent, ascend
from genarium.errors import InputError
from genarium.writing import replacing

from .corpus import CELLS
from .effects import Effects
from .moments import Moments
from .random_loci import LocusEffects
from .sweep import State, Step

EVERY = 10.0
"""Seconds between two states that are written."""

PLAIN = ("gamma", "delta", "omega", "alpha", "tau", "lam_concentration", "rho_concentration", "dispersion")


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a file for each ascent of a fit.

    Attributes
    ----------
    folder : Path
    fingerprint : str
        Of data, settings and seed: states of another fit are refused.
    """

    folder: Path
    fingerprint: str

    @classmethod
    def of(cls, folder: str, step: Step, rng: np.random.Generator, settings: Mapping[str, Any]) -> "Checkpoint | None":
        """Return the checkpoints in a folder, which is made; None if there is no name."""
        if not folder:
            return None
        data, found = step.data, hashlib.sha256()
        known = (data.features, data.opportunity, data.log_exposure)
        held = () if data.held is None else (data.held.lam, data.held.rho)
        cells = (part[name] for part in data.mutations() for name in CELLS)
        for array in itertools.chain(known, held, vars(data.hyper).values(), cells):
            found.update(np.ascontiguousarray(array).data)
        found.update(json.dumps([data.form, step.full, step.empirical_bayes, dict(settings)], sort_keys=True).encode())
        found.update(json.dumps(rng.bit_generator.state, sort_keys=True, default=str).encode())
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        return cls(path, found.hexdigest())

    def load(self, name: str) -> "tuple[Ascent[State], bool] | None":
        """Return the ascent as far as it was kept, and whether it had come to its end; None if nothing was kept.

        Raises
        ------
        InputError
            If it is of another fit, or the file is damaged.
        """
        path = self.folder / f"{name}.npz"
        if not path.exists():
            return None
        try:
            with np.load(path) as stored:
                kept = {key: stored[key] for key in stored.files}
            fingerprint, done, converged = (kept.pop(key).item() for key in ("fingerprint", "done", "converged"))
            bounds, state = kept.pop("bounds"), _unpacked(kept)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InputError(f"{path}: this is no checkpoint, or a damaged one ({error}). Remove it.") from error
        if fingerprint != self.fingerprint:
            raise InputError(
                f"{path}: this checkpoint is of another fit (other data, settings or seed). Give another folder as "
                "checkpoint=, or remove it."
            )
        return Ascent(state, bounds, bool(converged)), bool(done)

    def save(self, name: str, run: Ascent[State], done: bool) -> None:
        """Keep an ascent, whole or not at all."""
        whole = io.BytesIO()
        told = {"fingerprint": self.fingerprint, "done": done, "converged": run.converged, "bounds": run.bounds}
        arrays: dict[str, Any] = {**told, **_packed(run.state)}
        np.savez(whole, **arrays)
        with replacing(self.folder / f"{name}.npz") as temporary:
            temporary.write_bytes(whole.getvalue())


def ascended(
    keeper: Checkpoint | None,
    name: str,
    step: Step,
    state: State,
    *,
    tolerance: float,
    max_iterations: int,
    accelerated: bool = False,
) -> Ascent[State]:
    """Ascend as :func:`genarium.engines.ascent.ascend` does, from where the last process came if there are checkpoints.

    Parameters
    ----------
    keeper : Checkpoint, optional
    name : str
        Of the ascent.
    step : Step
    state : State
        Where to start.
    tolerance : float
    max_iterations : int
    accelerated : bool
        Whether by SQUAREM.
    """
    vector = (step.pack, step.unpack) if accelerated else None
    if keeper is None:
        return ascend(step, state, tolerance=tolerance, max_iterations=max_iterations, vector=vector)
    before = np.empty(0)
    if kept := keeper.load(name):
        run, done = kept
        state, before = step.normalised(run.state), run.bounds[:-1]
        if done:
            return replace(run, state=state)
    last, bounds = time.monotonic(), list[float](before)

    def update(at: State) -> tuple[State, float]:
        nonlocal last
        following, bound = step(at)
        if not bounds or bound >= bounds[-1]:  # else a jump that is not kept
            bounds.append(bound)
            if time.monotonic() - last >= EVERY:
                keeper.save(name, Ascent(at, np.array(bounds), False), False)
                last = time.monotonic()
        return following, bound

    most = max(1, max_iterations - len(before))
    run = ascend(update, state, tolerance=tolerance, max_iterations=most, vector=vector)
    run = replace(run, bounds=np.concatenate([before, run.bounds]))
    keeper.save(name, run, True)
    return run


def _packed(state: State) -> dict[str, Array]:
    found = {name: getattr(state, name) for name in PLAIN} | dict(vars(state.effects)) | {"age": np.array(state.age)}
    found |= {} if state.locus_effects is None else dict(vars(state.locus_effects))
    return {name: value for name, value in found.items() if value is not None}


def _unpacked(kept: Mapping[str, Array]) -> State:
    """Return a state, its moments still to be brought up to date."""
    return State(
        effects=Effects(*(kept[name] for name in ("mean", "covariance", "centre"))),
        moments=Moments(*3 * (np.empty(0),)),
        locus_effects=LocusEffects(kept["shape"], kept["inverse_scale"]) if "shape" in kept else None,
        age=int(kept["age"]),
        **{name: kept.get(name) for name in PLAIN},  # type: ignore[arg-type]
    )
