"""Cases of what is typed: ``--set`` and ``--option`` of ``genarium read``, with text of any kind as values."""

import json
import re
from typing import Any

import numpy as np
from validation.fuzz.case import Case, Random, UnlikeError, sometimes
from validation.fuzz.oracles import oracle, variable
from validation.fuzz.raw import damage
from validation.fuzz.text import NAMES, NUMBERS

TABLE = b"cell,g1,g2,type\na,1,2,x\nb,3,4,y\nc,5,6,z\n"

WORDS = (
    *(
        "true",
        "false",
        "True",
        "False",
        "null",
        "None",
        "yes",
        "NaN",
        "Infinity",
        "-Infinity",
        "nan",
        "[]",
        "{}",
        "[[]]",
    ),
    *(
        "[1,2]",
        "[0.3,0.4]",
        "[.3,.4]",
        "[1,[2,3]]",
        "[1,2,3]",
        "{1,2}",
        "0.3,0.4",
        "(1,2)",
        '"0.3"',
        '{"g1":1}',
        "1_000",
    ),
    *(
        "[" * 20000,
        "[" * 20000 + "]" * 20000,
        "9" * 5000,
        "1e" + "9" * 400,
        "0." + "3" * 5000,
        '{"a":' * 5000,
        "-" * 50,
    ),
    *(
        ".3",
        "+1",
        "1e-3",
        "1.",
        "-.3",
        "1e3",
        "0x1p3",
        "1/3",
        "30%",
        " 0.3",
        "0.3 ",
        "0,3",
        "1e-400",
        "1e400",
        "@x",
        "!",
        "=",
    ),
    *(
        "\ud800",
        "\x00",
        "'0.3'",
        "cell=3",
        "[true]",
        '["0.3"]',
        "[null]",
        "[1e400]",
        "0.3e",
        "0b1",
        "٣",
        "∞",
        "--1",
        "[NaN]",
    ),
)
SETTINGS = (
    "phi",
    "phi",
    "phi",
    "cell",
    "gene",
    "component",
    "dispersion",
    "alpha0",
    "size_factor",
    "x",
    "pi",
    "mu",
    "nope",
)
OPTIONS = ("genes", "drop", "cells", "transpose", "size_factor", "nope", "format")


def words(r: Random) -> Case:
    """Make a case of values that are typed."""
    arguments = ["read", "nb_mixture", "t.csv", "--format", "table", "--option", "drop=type", "-o", "out.nc"]
    given: dict[str, str] = {}
    for _ in range(r.choice((1, 1, 1, 2))):
        value = r.choice((*WORDS, *WORDS, *NUMBERS, *NAMES))
        steps = list[str]()
        if sometimes(r, 0.1) and value:
            value = damage(r, value.encode("utf-8", "replace"), steps).decode("utf-8", "surrogateescape")
        if sometimes(r, 0.7):
            name = r.choice(SETTINGS)
            given[name] = value
            arguments += ["--set", f"{name}={value}"]
        else:
            arguments += ["--option", f"{r.choice(OPTIONS)}={value}"]
    if sometimes(r, 0.03):
        arguments += r.choice(
            (["--set", "phi"], ["--set", "=1"], ["--option", ""], ["--format", "x"], ["--bad"], ["-o"])
        )
    case = Case("words", "set", {"t.csv": TABLE}, [], arguments=arguments)
    case.check = oracle(lambda tree: _check(tree, given))
    return case


def _check(tree: Any, given: dict[str, str]) -> None:
    """Check that a number typed for phi is that number in the tree."""
    if tree is None:
        raise UnlikeError("no tree was written")
    if "phi" not in given:
        return
    have, text = variable(tree, "phi").to_numpy(), given["phi"].strip()
    plain = text.replace("_", "")
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", plain, re.ASCII):
        wanted: Any = float(plain)
    else:
        try:
            wanted = json.loads(text)
        except ValueError:
            wanted = [float(part) for part in text.strip("[]()").split(",")]
    if not np.array_equal(have, np.broadcast_to(np.asarray(wanted, dtype=float), have.shape)):
        raise UnlikeError(f"values: {text[:40]!r} was read as {have.tolist()}")
