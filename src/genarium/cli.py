"""The command line: one command a verb; results on stdout, messages on stderr.

Exit codes: 0 done, 1 a verdict failed, 2 the input cannot be used; 130, 143 and 129 ended by Ctrl-C, SIGTERM or SIGHUP.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genarium import interruption, progress
from genarium.errors import GenariumError, InputError

SETTINGS = "NAME=VALUE"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Returns
    -------
    int
        The exit code.
    """
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    before = progress.silenced()
    progress.silence(options.quiet or before)
    try:
        with interruption.heeded(), progress.lines(f"genarium {options.command}"):
            code = run(options)
            sys.stdout.flush()
        return code
    except GenariumError as error:
        print(f"genarium {options.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as error:
        kept = options.command == "validate" and options.out is not None
        said = f"go on with --resume --out {options.out}" if kept else "nothing was written"
        print(f"genarium {options.command}: interrupted; {said}.", file=sys.stderr)
        return error.code if isinstance(error, interruption.Ended) else 130
    finally:
        progress.silence(before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="genarium", description="A zoo of generative models for genomics.")
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        return command

    def model(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "model", metavar="MODEL", help="name of a model (see `genarium list`), or path of its folder"
        )

    def given_model(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--model", default="", metavar="MODEL", help="the fit's model, or its folder, where it is not installed"
        )

    def settings(command: argparse.ArgumentParser, what: str) -> None:
        command.add_argument("--set", action="append", default=[], metavar=SETTINGS, dest="settings", help=what)

    def options_(command: argparse.ArgumentParser, what: str) -> None:
        command.add_argument("--option", action="append", default=[], metavar=SETTINGS, dest="options", help=what)

    def output(command: argparse.ArgumentParser, what: str) -> None:
        command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=what)

    def json_(command: argparse.ArgumentParser) -> None:
        command.add_argument("--json", action="store_true", help="print JSON")

    def seed(command: argparse.ArgumentParser) -> None:
        command.add_argument("--seed", type=int, default=0, help="seed of every random stream (default 0)")

    json_(add("list", _list, "List the models."))

    show = add("show", _show, "Show a model: its variables, graph, methods and settings.")
    model(show)
    settings(show, "an option of the model, e.g. dispersion=gene")
    json_(show)

    read = add("read", _read, "Read files into a checked tree.")
    model(read)
    read.add_argument("files", nargs="+", type=Path, metavar="FILE")
    read.add_argument("--format", default="", help="one of the model's formats (see `genarium show MODEL`)")
    settings(read, "a known variable or a size, e.g. phi=0.3")
    options_(read, "an option of the reader, e.g. drop=type")
    output(read, "tree to write (netCDF)")

    simulate = add("simulate", _simulate, "Simulate data from a model.")
    model(simulate)
    seed(simulate)
    settings(simulate, "a size, an option of the model or a variable, e.g. cell=500")
    output(simulate, "tree to write (netCDF)")

    fit = add("fit", _fit, "Fit a model to a tree.")
    model(fit)
    fit.add_argument("tree", type=Path, metavar="TREE", help="from `simulate` or `read`")
    fit.add_argument("--method", required=True, help="one of the model's methods (see `genarium show MODEL`)")
    seed(fit)
    settings(fit, "a size, an option of the model or a variable, e.g. component=5")
    options_(fit, "an option of the method, e.g. restarts=20")
    fit.add_argument(
        "--choose", default="", metavar="SIZE=FIRST:LAST", help="choose a size by the evidence lower bound"
    )
    fit.add_argument(
        "--prior",
        type=int,
        nargs="?",
        default=0,
        const=None,
        metavar="DRAWS",
        help="add draws from the prior, and data replicated from them (500 where no number is given)",
    )
    json_(fit)
    output(fit, "tree to write (netCDF)")

    predict = add("predict", _predict, "Predict for new data from a fitted tree.")
    predict.add_argument("fitted", type=Path, metavar="FIT", help="from `fit`")
    predict.add_argument("tree", type=Path, nargs="?", metavar="TREE", help="new data (default: those of the fit)")
    settings(predict, "a known variable of the new data")
    given_model(predict)
    output(predict, "tree (netCDF) or table (.csv, .tsv) to write")

    diagnose = add("diagnose", _diagnose, "Check a fit; exit code 1 if a verdict fails.")
    diagnose.add_argument("fitted", type=Path, metavar="FIT", help="from `fit`")
    given_model(diagnose)
    json_(diagnose)

    validate = add("validate", _validate, "Calibrate a method by simulation; exit code 1 if it fails what it claims.")
    model(validate)
    validate.add_argument("--method", required=True, help="one of the model's methods (see `genarium show MODEL`)")
    validate.add_argument("--simulations", type=int, default=200, metavar="S", help="replicates (default 200)")
    validate.add_argument(
        "--workers", default="1", metavar="W", help="processes, or a Dask scheduler, tcp://host:port (default 1)"
    )
    seed(validate)
    settings(validate, "a size, an option of the model or a known variable, e.g. cell=100")
    options_(validate, "an option of the method, e.g. covariance=linear_response")
    validate.add_argument("--out", type=Path, metavar="DIR", help="folder for replicates, ranks, figures and the page")
    validate.add_argument("--resume", action="store_true", help="go on with the replicates in DIR")
    validate.add_argument("--data", type=Path, metavar="TREE", help="your data: posterior calibration around them")
    validate.add_argument(
        "--wrong",
        action="append",
        default=[],
        metavar=SETTINGS,
        help="a known variable given a wrong value in the fit, or an option of the model that only the simulation has",
    )
    validate.add_argument("--control", action="store_true", help="the model's own negative control (must be rejected)")
    validate.add_argument("--reference", default="", metavar="METHOD", help="an exact method to measure distances to")
    validate.add_argument("--n-reference", type=int, metavar="R", help="replicates compared with it (default 50)")
    validate.add_argument("--all", action="store_true", help="run all replicates, even if the failure is clear before")
    json_(validate)

    report = add("report", _report, "Write a fit's report: one HTML file.")
    report.add_argument("fitted", type=Path, metavar="FIT", help="from `fit`")
    given_model(report)
    output(report, "page to write (HTML)")

    new = add("new", _new, "Write the folder of a model of your own, to start from.")
    new.add_argument("name", metavar="NAME", help="of the model: one that Python can import")
    new.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where to write it (default: here)")

    stan = add("stan", _stan, "Say what can compile Stan programs, or build the toolchain of the extra `stan`.")
    stan.add_argument("action", choices=("status", "install"))
    json_(stan)
    for command in commands.choices.values():
        command.add_argument("--quiet", action="store_true", help="show no progress on stderr")
    return parser


def _version() -> str:
    from importlib.metadata import version

    return f"genarium {version('genarium')}"


def parse_settings(pairs: Sequence[str], flag: str = "--set") -> dict[str, Any]:
    """Read ``NAME=VALUE`` words; a value is a JSON literal, or else text.

    Raises
    ------
    InputError
        If a word has no "=", or a name comes twice.
    """
    out: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InputError(f"{flag} {pair!r} is not of the form NAME=VALUE, e.g. {flag} component=5.")
        if name in out:
            raise InputError(f"{flag} {name} is given twice ({out[name]!r} and {text!r}).")
        try:
            out[name] = json.loads(text)
        except json.JSONDecodeError:
            out[name] = text
    return out


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def _list(options: argparse.Namespace) -> int:
    from genarium.verbs.models import models

    rows = models()
    if options.json:
        keys = ("name", "title", "methods", "certificates", "stale", "origin", "error")
        print(json.dumps([{key: getattr(row, key) for key in keys} for row in rows], indent=2))
        return 0
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        if row.error:
            print(f"{row.name:{width}}  cannot be used: {row.error}")
            continue
        methods = ", ".join(f"{name} ({claim})" for name, claim in row.methods.items())
        print(f"{row.name:{width}}  {row.title}  [{methods}]")
        told = ", ".join(f"{name} {status}" for name, status in row.certificates.items())
        print(f"{'':{width}}  certificates: {told or 'none'}")
        for reason in dict.fromkeys(row.stale.values()):
            print(f"{'':{width}}  stale: {reason}")
        if row.origin != "built-in":
            print(f"{'':{width}}  from the {row.origin}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from genarium.registry import get
    from genarium.verbs.show import as_text, describe

    model = get(options.model).variant(**parse_settings(options.settings))
    print(json.dumps(describe(model), indent=2, ensure_ascii=False) if options.json else as_text(model))
    return 0


def _read(options: argparse.Namespace) -> int:
    from genarium.verbs.read import read

    given = parse_settings(options.settings) | parse_settings(options.options, "--option")
    return _write(read(options.model, options.files, options.format, **given), options.output)


def _simulate(options: argparse.Namespace) -> int:
    from genarium.verbs.simulate import simulate

    return _write(simulate(options.model, options.seed, **parse_settings(options.settings)), options.output)


def _fit(options: argparse.Namespace) -> int:
    from genarium.attributes import attribute
    from genarium.tree import load

    given = parse_settings(options.settings) | parse_settings(options.options, "--option")
    data = load(options.tree)
    if options.prior is not None and options.prior < 0:
        raise InputError(f"--prior {options.prior} must be a whole number, at least one.")
    if options.choose:
        from genarium.verbs.choose import choose

        size, values = _range(options.choose)
        tree = choose(options.model, data, size, values, options.method, options.seed, **given)
    else:
        from genarium.verbs.fit import fit

        tree = fit(options.model, data, options.method, options.seed, **given)
    if options.prior != 0:
        from genarium.verbs.prior import add_prior

        draws = {} if options.prior is None else {"draws": options.prior}
        tree = add_prior(options.model, tree, seed=options.seed, **draws)
    _write(tree, options.output)
    notes = attribute(tree, "notes")
    if options.json:
        keep = ("model", "method", "claim", "engine", "seed", "seconds", "cpu_seconds")
        print(json.dumps({key: tree.attrs[key] for key in keep} | {"sizes": attribute(tree, "sizes"), "notes": notes}))
    else:
        said = ", ".join(f"{k} {v}" if isinstance(v, str) else f"{k} {v:.10g}" for k, v in notes.items())
        print(
            f"{tree.attrs['model']} by {tree.attrs['method']} in {tree.attrs['seconds']:.2g} s"
            + (f": {said}" if said else "")
        )
    return 0


def _range(text: str) -> tuple[str, range]:
    size, _, span = text.partition("=")
    low, colon, high = span.partition(":")
    if not (size and colon and low.isdecimal() and high.isdecimal() and int(low) <= int(high)):
        raise InputError(f"--choose {text!r} is not of the form SIZE=FIRST:LAST, e.g. --choose component=1:8.")
    return size, range(int(low), int(high) + 1)


def _predict(options: argparse.Namespace) -> int:
    from genarium.tree import load, replacing
    from genarium.verbs.predict import predict

    data = load(options.tree) if options.tree else None
    tree = predict(load(options.fitted), data, model=options.model, **parse_settings(options.settings))
    separator = {".csv": ",", ".tsv": "\t"}.get(options.output.suffix)
    if separator is None:
        return _write(tree, options.output)
    from genarium.verbs.show import table_of

    frame = table_of(tree["predictions"].to_dataset())
    with replacing(options.output) as temporary:
        frame.to_csv(temporary, sep=separator)
    _say(f"wrote {options.output}")
    return 0


def _diagnose(options: argparse.Namespace) -> int:
    from genarium.registry import fitted_model
    from genarium.tree import load
    from genarium.verbs.diagnose import diagnose

    tree = load(options.fitted)
    found = diagnose(fitted_model(tree, options.model), tree)
    print(json.dumps(found.to_dict(), indent=2) if options.json else found)
    return 0 if found.passed else 1


def _validate(options: argparse.Namespace) -> int:
    from genarium.calibration import validate
    from genarium.tree import load

    given = parse_settings(options.settings) | parse_settings(options.options, "--option")
    found = validate(
        options.model,
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
        out=options.out,
        resume=options.resume,
        **given,
    )
    print(json.dumps(found.to_dict(), indent=2) if options.json else found)
    if options.out is not None:
        _say(f"wrote {options.out}")
    return 0 if found.passed else 1


def _report(options: argparse.Namespace) -> int:
    from genarium.reporting import report
    from genarium.tree import load

    report(load(options.fitted), options.output, model=options.model)
    _say(f"wrote {options.output}")
    return 0


def _new(options: argparse.Namespace) -> int:
    from genarium.verbs.new import new

    made = new(options.name, options.folder)
    print(made)
    shown = made if made.is_absolute() else f"./{made}"
    _say(f"a model that works as it is; next: genarium simulate {shown} --seed 1 -o data.nc")
    return 0


def _stan(options: argparse.Namespace) -> int:
    from genarium.engines.cmdstan import install, status

    if options.action == "install":
        found = install(_say)
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


def _write(tree: Any, path: Path) -> int:
    from genarium.tree import save

    save(tree, path)
    _say(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
