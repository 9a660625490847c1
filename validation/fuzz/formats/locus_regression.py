"""Cases of locus_regression: a corpus in an npz file."""

import contextlib
from typing import Any

import numpy as np
from validation.fuzz.arrays import npz, parsed
from validation.fuzz.case import Case, Random, UnlikeError, sometimes
from validation.fuzz.oracles import equal, labels, oracle, variable

MODEL = "locus_regression"
SHORT = {"genome": "g", "locus": "l", "count": "n", "features": "X", "context_opportunity": "t", "exposure": "ell"}


def corpus(r: Random) -> Case:
    """Make a case of the reader of a saved corpus."""
    rng = np.random.default_rng(r.randrange(2**32))
    cells, genomes, loci = r.randint(2, 12), r.randint(1, 3), r.randint(1, 5)
    arrays: dict[str, Any] = {
        "genome": np.arange(cells) % genomes,
        "locus": rng.integers(0, loci, cells),
        "features": rng.normal(size=(2, loci)),
    }
    if sometimes(r, 0.4):
        arrays |= {"c": rng.integers(0, 32, cells), "a": rng.integers(0, 3, cells)}
    else:
        arrays["channel"] = rng.integers(0, 96, cells)
    if sometimes(r, 0.4):
        arrays["count"] = rng.integers(1, 9, cells)
    if sometimes(r, 0.4):
        arrays["exposure"] = rng.uniform(0.5, 2, loci)
    if sometimes(r, 0.3):
        arrays["context_opportunity"] = rng.uniform(0.5, 2, (loci, 32))
    if sometimes(r, 0.4):
        arrays["names"] = np.array(["gc", "dnase"])
    if sometimes(r, 0.4):
        arrays = {SHORT.get(name, name): values for name, values in arrays.items()}
    steps: list[str] = []
    files: dict[str, bytes | str] = {"corpus.npz": npz(r, arrays, steps)}
    case = Case(MODEL, "npz", files, ["corpus.npz"], {}, steps=steps)
    case.check = oracle(lambda tree: _check(tree, case))
    return case


def _check(tree: Any, case: Case) -> None:
    stored = parsed(case.content(case.inputs[0]))
    for name in ("genome", "locus", "count", "features", "exposure", "context_opportunity", "context_exposure"):
        both = [stored[key] for key in (name, SHORT.get(name, name)) if key in stored]
        if name in ("genome", "locus"):
            both = [found for one in both for found in _numbered(one)]
        if both:
            have = variable(tree, name).to_numpy()
            if not any(np.broadcast_to(one, have.shape).tolist() == have.tolist() for one in both if _fits(one, have)):
                raise UnlikeError(f"values: {name} {have.tolist()!s:.100} instead of {both[0].tolist()!s:.100}")
    channel = stored.get("channel")
    if channel is None:
        c, a = (np.asarray(stored.get(key, np.zeros(0))) for key in "ca")
        if not (((c >= 0) & (c < 32)).all() and ((a >= 0) & (a < 3)).all()):
            raise UnlikeError("values: c or a is out of range")
        channel = [(int(i) // 16 * 3 + int(j)) * 16 + int(i) % 16 for i, j in zip(c.tolist(), a.tolist(), strict=True)]
    equal(variable(tree, "channel").to_numpy(), channel, "values: channel")
    if "names" in stored:
        have = labels(tree, "features", "feature")
        wanted = [str(name) for name in np.atleast_1d(stored["names"]).tolist()]
        if have != wanted:
            raise UnlikeError(f"labels: {have} instead of {wanted}")


def _numbered(names: Any) -> list[Any]:
    """Return what names may be counted as, in their order; numbers as they are, as text too."""
    if names.dtype.kind not in "SU":
        return [names]
    order = [np.unique(names, return_inverse=True)[1]]
    with contextlib.suppress(ValueError):
        whole = names.astype(float)
        order += [np.unique(whole, return_inverse=True)[1], whole]
    return order


def _fits(one: Any, have: Any) -> bool:
    return bool(one.ndim == 0) or one.shape == have.shape
