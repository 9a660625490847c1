"""Commands that calibrate methods, and say what compiles them: validate, stan."""

import argparse
import json
from pathlib import Path
from typing import Any

from genarium.cli import words
from genarium.errors import InputError
from genarium.literals import parse_settings


def add(commands: words.Commands) -> None:
    """Add the commands."""
    validate = words.add(
        commands,
        "validate",
        _validate,
        "Check the calibration of a method by simulation; exit code 1 if it fails its claim.",
    )
    validate.add_argument(
        "model",
        metavar="MODEL",
        help="name of a model, or its folder; or module:object, a PyMC model of your own; or FILE.stan, with "
        "--simulate",
    )
    validate.add_argument(
        "--simulate",
        default="",
        metavar="SIM",
        help="for FILE.stan: module:function that takes a random generator and returns parameters and data; or a Stan "
        "program that generates both",
    )
    validate.add_argument(
        "--stan-data", type=Path, metavar="FILE.json", help="for FILE.stan: data that are the same in every replicate"
    )
    validate.add_argument("--method", required=True, help="one of the model's methods (see `genarium show MODEL`)")
    validate.add_argument(
        "--simulations", type=int, default=200, metavar="S", help="number of replicates (default 200)"
    )
    validate.add_argument(
        "--workers",
        default="1",
        metavar="W",
        help="number of processes, or a Dask scheduler, tcp://host:port (default 1)",
    )
    words.add_seed(validate)
    words.add_settings(validate, "a size, an option of the model or a known variable, e.g. cell=100")
    words.add_options(validate, "an option of the method, e.g. covariance=linear_response")
    validate.add_argument("--out", type=Path, metavar="DIR", help="folder for replicates, ranks, figures and the page")
    validate.add_argument("--resume", action="store_true", help="continue with the replicates in DIR")
    validate.add_argument(
        "--quantities",
        default="",
        metavar="FUNCTION",
        help="module:function of the variables that returns more test quantities",
    )
    validate.add_argument("--keep", action="store_true", help="keep the draws in DIR, to rank other quantities later")
    validate.add_argument(
        "--data",
        type=Path,
        metavar="DATA",
        help="your data: calibrate around them, with true values drawn from their posterior",
    )
    validate.add_argument(
        "--wrong",
        action="append",
        default=[],
        metavar=words.SETTINGS,
        help="a known variable with a wrong value in the fit, or an option of the model in the simulation only",
    )
    validate.add_argument(
        "--control", action="store_true", help="run the model's own negative control (which must be rejected)"
    )
    validate.add_argument("--reference", default="", metavar="METHOD", help="an exact method to compare with")
    validate.add_argument(
        "--n-reference", type=int, metavar="R", help="number of replicates compared with the exact method (default 50)"
    )
    validate.add_argument(
        "--references",
        type=Path,
        metavar="DIR",
        help="keep the results of the exact method in DIR, for other methods on the same data",
    )
    validate.add_argument(
        "--all", action="store_true", help="run all replicates, even where a failure is clear earlier"
    )
    words.add_json(validate)

    stan = words.add(
        commands, "stan", _stan, "Show what can compile Stan programs, or build a toolchain (extra `stan`)."
    )
    stan.add_argument("action", choices=("status", "install"))
    words.add_json(stan)


def _validate(options: argparse.Namespace) -> int:
    from genarium.calibration import validate
    from genarium.tree import load

    given = words.settings_of(options, validate)
    found = validate(
        _subject(options),
        options.method,
        options.simulations,
        options.workers,
        options.seed,
        data=load(options.data) if options.data else None,
        wrong=parse_settings(options.wrong, "--wrong"),
        control=options.control,
        adaptive=not options.all,
        reference=options.reference,
        n_reference=options.n_reference,
        references=options.references,
        quantities=words.imported(options.quantities) if options.quantities else None,
        keep=options.keep,
        out=options.out,
        resume=options.resume,
        **given,
    )
    print(json.dumps(found.to_dict(), indent=2) if options.json else found)
    if options.out is not None:
        words.say(f"wrote {options.out}")
    return 0 if found.passed else 1


def _subject(options: argparse.Namespace) -> Any:
    """Return what is validated: a model's name or folder, or what a user's module or Stan program holds."""
    from genarium.adopted.stan import from_stan

    given = str(options.model)
    if not given.endswith(".stan"):
        if options.simulate or options.stan_data:
            raise InputError("--simulate and --stan-data belong to a Stan program: give FILE.stan as MODEL.")
        return words.imported(given) if ":" in given and not Path(given).exists() else given
    if not options.simulate:
        raise InputError(
            f"{given}: a Stan program does not say how its data are generated. Give --simulate: a module:function that "
            "takes a random generator and returns parameters and data, or a Stan program that generates both."
        )
    by = options.simulate if options.simulate.endswith(".stan") else words.imported(options.simulate)
    data = None
    if options.stan_data is not None:
        try:
            data = json.loads(options.stan_data.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{options.stan_data} cannot be read as JSON: {error}.") from error
    return from_stan(given, by, data)


def _stan(options: argparse.Namespace) -> int:
    from genarium.engines.cmdstan import install, status

    if options.action == "install":
        found = install(words.say)
        print(json.dumps({"path": str(found.path), "version": found.version}) if options.json else found.path)
        return 0
    told = status()
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        for name, value in told.items():
            entries = value if isinstance(value, list) else [value]
            for entry in entries:
                pairs = entry.items() if isinstance(entry, dict) else [("", entry)]
                print(f"{name}: " + ", ".join(f"{key} {text}".strip() for key, text in pairs if text is not None))
    return 0 if told["selected"] else 1
