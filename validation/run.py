"""Make the certificates again: ``python -m validation`` (all, hours) or ``python -m validation nb_mixture nuts gibbs``.

Of the default variant of a model every method gets one; of each other value of each option, the first exact method and
the first fast one of the model's own.

Replicates are kept in ``--store`` (default ``validation/replicates``); with ``--resume`` an interrupted run goes on.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from genarium import registry
from genarium.calibration.certify import SMALL, Effort, certify
from genarium.certificates import Certificate, certificates, choices, matrix
from genarium.declaration import Model
from genarium.methods import methods

FOLDER = Path(__file__).parent
CERTIFICATES, TABLE = FOLDER / "certificates", FOLDER / "README.md"
MODELS, README = FOLDER.parent / "models", FOLDER.parent / "README.md"

BEGIN, END = "<!-- written by python -m validation --table -->\n", "<!-- end -->\n"
"""Marks in a card around the table of its certificates."""

CARD = (
    "method",
    "verdict",
    "replicates",
    "smallest p (Holm)",
    "90 % intervals cover",
    "sd / exact",
    "error: power of N",
    "chain length",
)


def entries(model: Model) -> list[tuple[str, dict[str, Any]]]:
    """Every method of a model that can be certified, with the options that make it another one."""
    from genarium.methods import find_method

    out: list[tuple[str, dict[str, Any]]] = []
    for method in methods(model):
        out.append((method, {}))
        if find_method(model, method).options.get("polish") is False:
            out.append((method, {"covariance": "linear_response", "polish": True}))
        out += [(method, dict(options)) for name, options in model.calibration.also if name == method]
    return out


def some(model: Model) -> list[tuple[str, dict[str, Any]]]:
    """Return the entries of a variant that is not the default: its first exact method, and its own first fast one."""
    every, own = methods(model), entries(model)
    exact = [name for name, way in every.items() if way.claim == "exact"][:1]
    fast = [name for name, way in every.items() if way.claim != "exact" and way.engine == "numpy"][:1]
    return [(method, more) for method, more in own if method in (*exact, *fast) and not more]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make certificates and the table; return 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m validation", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "model", nargs="?", help="only this model; or `check`: fail if a certificate is stale or failed"
    )
    parser.add_argument("methods", nargs="*", help="only these methods")
    parser.add_argument("--workers", default="2", help="processes, or a Dask scheduler (default 2)")
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--small", action="store_true", help="a few replicates, to see that everything runs")
    parser.add_argument("--simulations", type=int, help="replicates (default: those of the effort)")
    parser.add_argument("--n-reference", type=int, help="of these, those compared with an exact method")
    parser.add_argument("--truths", type=int, help="truths whose recovery is followed over growing data")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the model")
    parser.add_argument("--store", type=Path, default=FOLDER / "replicates", help="where replicates are kept")
    parser.add_argument("--resume", action="store_true", help="go on with the replicates in the store")
    parser.add_argument("--out", type=Path, default=CERTIFICATES, help="where certificates are written")
    parser.add_argument("--table", action="store_true", help="only write the table again")
    options = parser.parse_args(arguments)
    if options.table:
        write_table(certificates())
        return 0
    if options.model == "check":
        return check(certificates())
    effort = SMALL if options.small else Effort()
    if options.simulations is not None:
        effort = replace(effort, simulations=options.simulations)
    if options.n_reference is not None:
        effort = replace(effort, n_reference=options.n_reference)
    if options.truths is not None:
        effort = replace(effort, truths=options.truths)
    from genarium.literals import parse_settings

    chosen = parse_settings(options.set)
    workers = int(options.workers) if options.workers.isdecimal() else options.workers
    failed = False
    models = [registry.get(name) for name in registry.built_in()]
    known = {method for one in models for given in choices(one) for method in methods(one.variant(**given))}
    if unknown := set(options.methods) - known:
        parser.error(f"there is no method {', '.join(sorted(unknown))}; the methods are {', '.join(sorted(known))}")
    for name in [options.model] if options.model else registry.built_in():
        declared = registry.get(name)
        pairs = [
            (given, method, more)
            for given in ([chosen] if chosen else choices(declared))
            for method, more in (some if given and not options.methods else entries)(declared.variant(**given))
        ]
        for given, method, more in pairs:
            if options.methods and method not in options.methods:
                continue
            made = certify(name, method, effort, workers, options.seed, options.store, options.resume, **given, **more)
            made.write(options.out)
            failed |= not made.passed
            print(made, f"  {made.content['cpu_seconds']:.0f} CPU seconds", sep="\n", flush=True)
    if options.out == CERTIFICATES:
        write_table(certificates())
    return int(failed)


def check(made: Iterable[Certificate]) -> int:
    """Print what keeps a release back: certificates that are stale or failed; return 1 if there are any."""
    wrong = [one for one in made if one.stale or not one.passed]
    for one in wrong:
        print(f"{one.name}: {one.told}")
    return int(bool(wrong))


def write_table(made: Iterable[Certificate]) -> None:
    """Write ``validation/README.md``, a row for each certificate and what every method of every variant has; and more.

    The card of a model gets its own certificates, between two marks; the table of models, which methods are certified.
    """
    made = list(made)
    TABLE.write_text(table_text(made), encoding="utf-8")
    README.write_text(with_certified(README.read_text(encoding="utf-8"), made), encoding="utf-8")
    for name in registry.built_in():
        card = MODELS / name / "README.md"
        card.write_text(with_certificates(card.read_text(encoding="utf-8"), made, name), encoding="utf-8")


def with_certified(readme: str, made: Iterable[Certificate]) -> str:
    """Return the README with those methods of its table in bold whose certificates, at their defaults, all pass."""
    found: dict[tuple[str, str], bool] = {}
    for one in made:
        if not one.stale and one.content["label"] == one.content["method"]:
            at = one.content["model"], one.content["method"]
            found[at] = found.get(at, True) and one.finding == "pass"
    certified = {at for at, passed in found.items() if passed}

    def row(line: str) -> str:
        if not (match := re.match(r"\| \[(\w+)\]\(models/", line)):
            return line
        before, methods = line.removesuffix(" |").rsplit("| ", 1)

        def marked(word: re.Match[str]) -> str:
            return f"**{word[0]}**" if (match[1], word[0].lower()) in certified else word[0]

        return f"{before}| {re.sub(r'[A-Za-z][A-Za-z-]*', marked, methods.replace('**', ''))} |"

    return "\n".join(map(row, readme.split("\n")))


def with_certificates(card: str, made: Iterable[Certificate], model: str) -> str:
    """Return a card with the table of its model's certificates as they are."""
    before, rest = card.split(BEGIN)
    _, after = rest.split(END, 1)
    own = sorted((one for one in made if one.content["model"] == model), key=lambda one: one.content["variant"])
    return f"{before}{BEGIN}\n{_markdown([CARD, ('---',) * len(CARD), *map(_card_row, own)])}\n{END}{after}"


def _card_row(one: Certificate) -> tuple[str, ...]:
    """Return what a card says of a certificate."""
    told = one.content
    method, _, more = told["label"].partition(".")
    usual = {name: values[0] for name, values in registry.get(told["model"]).options.items()}
    chosen = [f'`{name}="{value}"`' for name, value in told["model_options"].items() if value != usual[name]]
    covered = [q["coverage"]["0.9"] for q in told["quantities"].values() if "p_holm" in q]
    of_page = dict(zip(COLUMNS, _row(one), strict=True))
    return (
        ", ".join([f"`{method}`", *([more.replace("_", " ")] if more else []), *chosen]),
        "stale" if one.stale else one.finding,
        of_page["replicates"],
        of_page["smallest p (Holm)"],
        f"{np.mean(covered):.3f} ({of_page['90 % intervals cover']})" if covered else "",
        of_page["sd / exact"],
        of_page["error: power of N"],
        "{median:.0f} ({nine_in_ten:.0f}, {longest:.0f})".format(**told["lengths"]) if told.get("lengths") else "",
    )


def table_text(made: Iterable[Certificate]) -> str:
    """Return the page with the table."""
    made = list(made)
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(_row(one) for one in made)]
    return HEAD + _markdown(rows) + FOOT + matrices(made)


def _markdown(rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def matrices(made: Sequence[Certificate]) -> str:
    """Return, model by model, what each method has under each value of each option."""
    parts = [MATRICES]
    for name in registry.built_in():
        columns, cells = matrix(registry.get(name), made)
        rows = [("", *columns), ("---",) * (len(columns) + 1), *((variant, *row) for variant, row in cells)]
        parts.append(f"\n### {name}\n\n{_markdown(rows)}")
    return "".join(parts)


MATRICES = """
## Methods, variants, certificates

`pass`, `stale` and so on: the verdict of a certificate. `fits tested`: there is none, but the tests fit the variant by
this method and check the result. `density tested`: the tests compare the log density that the method uses with NumPy's
and Stan's. `not offered`: the variant does not have the method.
"""


HEAD = """# Validation

Written by `python -m validation`; do not edit. Each certificate says how far a method's posteriors can be trusted on
data simulated from the model itself. It holds for the files that such a fit computes with, and for the versions of its
packages, which it names. Where one of these has changed since, it is stale: it certifies nothing until it is made
again, and `python -m validation check`, which is for releases, fails.

"""

COLUMNS = (
    "certificate",
    "claim",
    "verdict",
    "replicates",
    "failed",
    "smallest p (Holm)",
    "detects (power 80 %)",
    "90 % intervals cover",
    "sd / exact",
    "error: power of N",
    "control rejected after",
    "CPU s",
    "date",
)

GUIDE = (Path(str(files("genarium"))) / "site" / "howto" / "certificates.md").read_text(encoding="utf-8")

FOOT = f"""
## Verdicts
{GUIDE.partition("## Verdicts\n")[2]}
`python -m validation MODEL METHOD` makes one again; `--small` shows in minutes that everything runs.
"""


def _detected(power: Mapping[str, float | None]) -> str:
    """Say which errors the replicates would have detected."""
    shift, narrow, wide = (power.get(name) for name in ("shift", "narrow", "wide"))
    if shift is None or narrow is None or wide is None:
        return ""
    return f"shift {shift:.2f}; sd × {narrow:.2f} or {wide:.2f}"


def _row(one: Certificate) -> tuple[str, ...]:
    told = one.content
    quantities = list(told["quantities"].values())
    ranked = [q for q in quantities if "p_holm" in q]
    covered = [q["coverage"]["0.9"] for q in ranked]
    ratios = [q["sd_ratio"] for q in quantities if "sd_ratio" in q]
    control, recovery = told.get("control"), told.get("recovery")
    return (
        f"[{one.name}](certificates/{one.name}.json)",
        told["claim"],
        f"stale: {one.changed_files}" if one.changed_files else one.finding,
        str(told["simulations"]),
        str(told["failures"]["count"]),
        f"{min(q['p_holm'] for q in ranked):.2g}" if ranked else "",
        _detected(told.get("power") or {}),
        f"{min(covered):.3f} to {max(covered):.3f}" if covered else "",
        f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "",
        f"{recovery['slope']:.2f} ± {recovery['standard_error']:.2f}" if recovery else "",
        (str(control["simulations"]) if control["rejected"] else "NOT REJECTED") if control else "",
        f"{told['cpu_seconds']:.0f}",
        told["date"],
    )


if __name__ == "__main__":
    sys.exit(main())
