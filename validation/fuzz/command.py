"""Fuzz the readers and verbs: ``python -m validation fuzz --inputs 100000 --seed 1``.

Exit code 1 if a case ends in anything but an error of Genarium's own, or data that another parser agrees with.
"""

import argparse
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from validation.fuzz.case import Case, stream, weighted
from validation.fuzz.plan import PLAN, made
from validation.fuzz.pool import outcomes
from validation.fuzz.tally import Tally
from validation.fuzz.trial import FAILURES, Outcome, attempt, lay


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cases, print what came of them; return 1 if there is a failure."""
    parser = argparse.ArgumentParser(prog="python -m validation fuzz", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--inputs", type=int, default=1000, help="how many cases (default 1000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case (default 0)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="", help="only cases of this model")
    parser.add_argument("--format", default="", help="only cases of this format, or verb")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds that a case may take (default 10)")
    parser.add_argument("--replay", type=int, metavar="N", help="run case N of the seed alone, in this process")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the files of an example of each failure here")
    options = parser.parse_args(arguments)
    chosen = select(options.model, options.format)
    if not chosen:
        parser.error("no such cases; there are " + ", ".join(sorted(f"{m} {f}" for m, f in PLAN)))
    if options.replay is not None:
        return _replay(options.seed, options.replay, chosen, options.out)
    tally = run(
        options.seed, range(options.first, options.first + options.inputs), chosen, options.workers, options.limit
    )
    print(tally.text())
    if options.out is not None:
        for outcome in tally.examples():
            _keep(make(options.seed, outcome.number, chosen), outcome, options.out)
    return int(tally.failed)


def select(model: str = "", format_: str = "") -> dict[tuple[str, str], float]:
    """Return the weights of the kinds of cases of a model or format."""
    return {key: weight for key, (weight, _) in PLAN.items() if model in ("", key[0]) and format_ in ("", key[1])}


def make(seed: int, number: int, chosen: dict[tuple[str, str], float]) -> Case:
    """Make a case: always the same of a seed, a number and a choice of kinds."""
    r = stream(seed, number)
    return made(r, weighted(r, chosen))


def run(
    seed: int, numbers: Sequence[int], chosen: dict[tuple[str, str], float], workers: int, limit: float = 10.0
) -> Tally:
    """Run cases in child processes."""
    start = time.monotonic()
    for key in chosen:
        _warm(key)
    tally = Tally()
    with contextlib.suppress(KeyboardInterrupt):  # what was found until then is told
        for outcome in outcomes(numbers, partial(_one, seed, chosen, limit), workers, limit):
            if not outcome.what:
                outcome.what = _what(seed, outcome.number, chosen)
            tally.add(outcome)
    tally.seconds = time.monotonic() - start
    return tally


def _warm(key: tuple[str, str]) -> None:
    """Run a case that nothing was changed in, so that all imports are done before processes part."""
    cases = (PLAN[key][1](stream(0, number)) for number in range(200))
    if (case := next((one for one in cases if not one.steps), None)) is not None:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir("."):
            attempt(case, -1, Path(folder), 60)


def _one(seed: int, chosen: dict[tuple[str, str], float], limit: float, number: int, folder: Path) -> Outcome:
    return attempt(make(seed, number, chosen), number, folder, limit)


def _what(seed: int, number: int, chosen: dict[tuple[str, str], float]) -> str:
    model, format_ = weighted(stream(seed, number), chosen)
    return f"{model} {format_}"


def _replay(seed: int, number: int, chosen: dict[tuple[str, str], float], out: Path | None) -> int:
    """Run one case in this process, and say all of it."""
    case = make(seed, number, chosen)
    print(f"case {number} of seed {seed}: {case.model} {case.format}")
    print(f"  files {', '.join(case.files)}; options {case.options or ''}{' '.join(case.arguments)!s:.300}")
    print("".join(f"  - {step}\n" for step in case.steps), end="")
    with tempfile.TemporaryDirectory() as folder:
        outcome = attempt(case, number, Path(folder), 60)
    print(f"{outcome.kind}: {outcome.group}\n{outcome.message}")
    if out is not None:
        print(f"kept in {_keep(case, outcome, out.absolute())}")
    return int(outcome.kind in FAILURES)


def _keep(case: Case, outcome: Outcome, out: Path) -> Path:
    folder = out / str(outcome.number)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "files").mkdir(parents=True)
    lay(case, folder / "files")
    told = {"inputs": list(case.inputs), "options": case.options, "arguments": list(case.arguments)}
    text = json.dumps(outcome.to_dict() | told | {"steps": case.steps}, indent=2, default=str)
    (folder / "case.json").write_text(text, encoding="utf-8")
    return folder
