"""Commands that make and use a fit: fit, summary, predict, diagnose, report."""

import argparse
import json
from pathlib import Path
from typing import Any

from genarium.cli import words
from genarium.errors import InputError
from genarium.literals import parse_settings
from genarium.readers.options import names

ROWS = 60
"""Rows of a summary that are printed for people."""


def add(commands: words.Commands) -> None:
    """Add the commands."""
    fit = words.add(commands, "fit", _fit, "Fit a model to data.")
    words.add_model(fit)
    fit.add_argument(
        "tree",
        type=Path,
        metavar="DATA",
        help="data from `genarium read` or `genarium simulate`, or a folder of blocks",
    )
    fit.add_argument("--method", required=True, help="one of the model's methods (see `genarium show MODEL`)")
    words.add_seed(fit)
    words.add_settings(fit, "a size, an option of the model or a variable, e.g. component=5")
    words.add_options(fit, "an option of the method, e.g. restarts=20")
    fit.add_argument(
        "--choose",
        default="",
        metavar="SIZE=FIRST:LAST",
        help="fit each size (or each value of an option: NAME=A,B), and keep the one with the highest evidence lower "
        "bound",
    )
    fit.add_argument(
        "--by",
        choices=("bound", "held_out"),
        help="with --choose: by the evidence lower bound (default), or by the log density of held-out data (for sizes: "
        "the smallest within a standard error of the best)",
    )
    fit.add_argument(
        "--prior",
        type=int,
        nargs="?",
        default=0,
        const=None,
        metavar="DRAWS",
        help="add draws from the prior, and data simulated from them (500 if no number is given)",
    )
    fit.add_argument(
        "--workers",
        metavar="W",
        help="for data in blocks: number of processes, or a Dask scheduler, tcp://host:port (default 1)",
    )
    fit.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="folder for intermediate states, from which the same command resumes (methods that support it)",
    )
    words.add_json(fit)
    words.add_output(fit, "fit to write (netCDF)", *words.TREES)

    each = words.add(commands, "fit-each", _fit_each, "Read and fit each sample of a table on its own.")
    words.add_model(each)
    each.add_argument(
        "samples",
        type=Path,
        metavar="SAMPLES",
        help="table with the columns sample and path (several files of a sample: a;b)",
    )
    each.add_argument("--method", required=True, help="one of the model's methods (see `genarium show MODEL`)")
    each.add_argument("--format", default="", help="one of the model's formats (see `genarium show MODEL`)")
    words.add_seed(each)
    words.add_settings(each, "a size, an option of the model or a variable, e.g. component=5")
    words.add_options(each, "an option of the method, e.g. draws=500")
    each.add_argument(
        "--read", action="append", default=[], metavar=words.SETTINGS, help="an option of the reader, e.g. strand=auto"
    )
    each.add_argument("--resume", action="store_true", help="keep the fits that already exist")
    each.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder to write: a fit SAMPLE.nc for each sample, and samples.csv",
    )

    summary = words.add(commands, "summary", _summary, "Print the estimates of a fit, one row for each number.")
    summary.add_argument("fitted", type=Path, metavar="FIT", help="fit to use, from `genarium fit`")
    summary.add_argument(
        "--variables", default="", metavar="NAMES", help="variables, separated by commas (default: all)"
    )
    summary.add_argument(
        "--group", default="", metavar="GROUP", help="group of the fit to take (default: posterior, or else point)"
    )
    words.add_json(summary)
    words.add_output(summary, "table to write (.csv, .tsv) instead", *words.TABLES, required=False)

    predict = words.add(commands, "predict", _predict, "Make predictions for new data from a fit.")
    predict.add_argument("fitted", type=Path, metavar="FIT", help="fit to use, from `genarium fit`")
    predict.add_argument(
        "tree",
        type=Path,
        nargs="?",
        metavar="DATA",
        help="new data: from `genarium read`, or a file that the model reads (default: the data of the fit)",
    )
    words.add_settings(predict, "a known variable of the new data")
    words.add_options(predict, "an option of the prediction, e.g. threshold=0.1")
    words.add_given_model(predict)
    words.add_output(
        predict,
        "file to write: netCDF, table (.csv, .tsv; one for each set of dims) or annotated data (.h5ad)",
        *words.TREES,
        *words.TABLES,
        *words.ANNOTATED,
    )

    diagnose = words.add(commands, "diagnose", _diagnose, "Check a fit; exit code 1 if a check fails.")
    diagnose.add_argument("fitted", type=Path, metavar="FIT", help="fit to use, from `genarium fit`")
    words.add_given_model(diagnose)
    words.add_json(diagnose)

    report = words.add(
        commands, "report", _report, "Write the report of a fit, or several fits side by side, as one HTML file."
    )
    report.add_argument("fitted", type=Path, nargs="+", metavar="FIT", help="fit to use, from `genarium fit`")
    words.add_options(report, "an option of the model's figures (see `genarium show MODEL`)")
    words.add_given_model(report)
    words.add_output(report, "page to write (HTML)", ".html", ".htm")


def _fit(options: argparse.Namespace) -> int:
    from genarium.attributes import attribute
    from genarium.tree import load
    from genarium.verbs.fit import fit, in_blocks

    given = words.settings_of(options, fit)
    stored = in_blocks(options.tree)
    if options.workers is not None and not stored:
        raise InputError(f"--workers {options.workers} would be dropped: it is for data in blocks. Leave it out.")
    if stored and (options.choose or options.prior != 0):
        raise InputError("--choose and --prior need the data in memory. Leave them out, or give a tree.")
    given |= {name: getattr(options, name) for name in ("workers", "checkpoint") if getattr(options, name) is not None}
    data = options.tree if stored else load(options.tree)
    if options.prior is not None and options.prior < 0:
        raise InputError(f"--prior {options.prior} must be a whole number, at least one.")
    if options.by is not None and not options.choose:
        raise InputError(f"--by {options.by} would be dropped: used only with --choose. Add that, or leave it out.")
    if options.choose:
        from genarium.verbs.choose import choose

        size, values = _range(options.choose)
        by = {} if options.by is None else {"by": options.by}
        tree = choose(options.model, data, size, values, options.method, options.seed, **by, **given)
        words.say(_chosen(tree, size))
    else:
        tree = fit(options.model, data, options.method, options.seed, **given)
    if options.prior != 0:
        from genarium.verbs.prior import add_prior

        draws = {} if options.prior is None else {"draws": options.prior}
        tree = add_prior(options.model, tree, seed=options.seed, **draws)
    words.write(tree, options.output)
    notes = attribute(tree, "notes")
    if options.json:
        keep = ("model", "method", "claim", "engine", "seed", "seconds", "cpu_seconds")
        print(json.dumps({key: tree.attrs[key] for key in keep} | {"sizes": attribute(tree, "sizes"), "notes": notes}))
    else:
        said = ", ".join(
            f"{k.replace('_', ' ')} {v}" if isinstance(v, str) else f"{k.replace('_', ' ')} {v:.10g}"
            for k, v in notes.items()
        )
        took = float(tree.attrs["seconds"])
        print(
            f"{tree.attrs['model']} by {tree.attrs['method']} in {f'{took:.2g}' if took < 10 else f'{took:,.0f}'} s"
            + (f": {said}" if said else "")
        )
    return 0


def _fit_each(options: argparse.Namespace) -> int:
    from genarium.verbs.each import TABLE, fit_each

    table = fit_each(
        options.model,
        options.samples,
        options.method,
        options.out,
        options.seed,
        format=options.format,
        reading=parse_settings(options.read, "--read"),
        resume=options.resume,
        tell=print,
        **words.settings_of(options, fit_each),
    )
    words.say(f"wrote {options.out / TABLE}: {len(table)} fits")
    return 0


def _chosen(tree: Any, size: str) -> str:
    """Say which candidate is chosen, and by how much against the first; where it is the first, how far the next is.

    Where a larger size is ahead by no more than its error, that is said, too.
    """
    table = tree["choice"].to_dataset().rename({f"{size}_candidate": "at"})
    candidates, chosen = table["at"].to_numpy(), int(table["chosen"].to_numpy().argmax())
    said = f"{size}={candidates[chosen]} is chosen"
    if "gain" not in table or len(candidates) < 2:
        return said

    def told(name: str, at: int) -> str:
        return f"{float(table[name][at]):+.3g} ± {float(table[f'{name}_error'][at]):.2g} nats"

    other = chosen or 1 + int(table["gain"].to_numpy()[1:].argmax())
    gain = f"{told('gain', other)} per held-out observation relative to"
    said += f": {gain} {size}={candidates[0]}" if chosen else f": {size}={candidates[other]} has {gain} it"
    best = int(table["behind"].to_numpy().argmin())
    if best not in (chosen, other):
        said += (
            f"; {size}={candidates[best]} is ahead of it by {told('behind', chosen)} in all, which may be due to chance"
        )
    return said


def _range(text: str) -> tuple[str, range | list[str]]:
    size, _, span = text.partition("=")
    if size and "," in span and ":" not in span:
        return size, [value.strip() for value in span.split(",")]
    low, colon, high = span.partition(":")
    if not (size and colon and low.isdecimal() and high.isdecimal() and int(low) <= int(high)):
        raise InputError(
            f"--choose {text!r} is not of the form SIZE=FIRST:LAST, e.g. --choose component=1:8, or OPTION=A,B."
        )
    return size, range(int(low), int(high) + 1)


def _predict(options: argparse.Namespace) -> int:
    from genarium.tree import load
    from genarium.verbs.annotate import annotate, is_source
    from genarium.verbs.predict import predict
    from genarium.verbs.tables import is_table, tables_of, write_tables

    fitted, beside = load(options.fitted), options.output.suffix.lower() in words.ANNOTATED
    from_file = bool(options.tree) and (beside or is_source(fitted, options.tree, options.model))
    given = words.settings_of(options, annotate if from_file else predict)
    if from_file:
        output = options.output if beside else ""
        tree = annotate(fitted, options.tree, output, model=options.model, **given)
        if beside:
            words.say(f"wrote {options.output}")
            return 0
    elif beside:
        raise InputError(f"{options.output}: name the file with the data, too: genarium predict FIT DATA -o FILE.")
    else:
        tree = predict(fitted, load(options.tree) if options.tree else None, model=options.model, **given)
    if not is_table(options.output):
        return words.write(tree, options.output)
    for path in write_tables(tables_of(tree["predictions"].to_dataset()), options.output):
        words.say(f"wrote {path}")
    return 0


def _summary(options: argparse.Namespace) -> int:
    from genarium.tree import load
    from genarium.verbs.summary import summary
    from genarium.verbs.tables import write_tables

    found = summary(load(options.fitted), names("--variables", options.variables), options.group)
    if options.output is not None:
        for path in write_tables({options.fitted.stem: found.set_index(["variable", "label"])}, options.output):
            words.say(f"wrote {path}")
        return 0
    if options.json:
        rows = found.astype(object).where(found.notna(), None).to_dict(orient="records")
        print(json.dumps({**found.attrs, "estimates": rows}, ensure_ascii=False))
        return 0
    told = found.attrs
    print(f"{told['model']} by {told['method']} (claim: {told['claim']}), group {told['group']}")
    print(found.head(ROWS).to_string(index=False, float_format=lambda number: f"{number:.4g}", na_rep="-"))
    if len(found) > ROWS:
        words.say(f"{len(found) - ROWS} more rows: choose with --variables, or write all with -o estimates.csv")
    return 0


def _diagnose(options: argparse.Namespace) -> int:
    from genarium.registry import fitted_model
    from genarium.tree import load
    from genarium.verbs.diagnose import diagnose

    tree = load(options.fitted)
    found = diagnose(fitted_model(tree, options.model), tree)
    print(json.dumps(found.to_dict(), indent=2) if options.json else found)
    return 0 if found.passed else 1


def _report(options: argparse.Namespace) -> int:
    from genarium.reporting import report
    from genarium.tree import load

    given = parse_settings(options.options, "--option")
    if len(options.fitted) == 1:
        report(load(options.fitted[0]), options.output, model=options.model, **given)
    else:
        from genarium.reporting.comparison import compare

        if given:
            raise InputError(f"--option {next(iter(given))}=... belongs to the figures of one fit. Leave it out.")
        names = words.names_of(options.fitted)
        fits = {name: load(path) for name, path in zip(names, options.fitted, strict=True)}
        compare(fits, options.output, model=options.model)
    words.say(f"wrote {options.output}")
    return 0
