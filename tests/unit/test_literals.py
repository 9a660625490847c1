"""Values of the command line: numbers, truth values and lists as people type them, and what is refused."""

import shlex
from typing import Any

import pytest

from genarium.errors import InputError
from genarium.literals import parse_settings
from genarium.remedies import in_shell, option


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((".3", 0.3), ("-.5", -0.5), ("5.", 5.0), ("1e-3", 0.001), ("+2.5E2", 250.0), ("1_000.5", 1000.5)),
        *(("5", 5), ("+1", 1), ("-7", -7), ("1_000", 1000), (" 4 ", 4), ("9007199254740993", 9007199254740993)),
        *(("true", True), ("True", True), ("FALSE", False), ("null", None)),
        *(("[1, 2.5]", [1, 2.5]), ("[.3,+1,1_000,true]", [0.3, 1, 1000, True]), ("[[1,2],[3,4]]", [[1, 2], [3, 4]])),
        *(('"5"', "5"), ('"nan"', "nan"), ('["a","b"]', ["a", "b"]), ('{"a": .5}', {"a": 0.5})),
        *((t, t) for t in ("a,b", "1,234", "007", "1e", "_1", "1__0", "yes", "total", "", "1 2", "0x10", "e5", "-")),
    ],
)
def test_values_are_taken_as_people_type_them(text: str, value: Any) -> None:
    found = parse_settings([f"a={text}"])["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["3", "-1", "1_000", "1e3", ".5", "true", "None", "nan", "-Inf", "[x", '"x"', "a b", "007", "x"]
)
def test_messages_write_text_so_that_it_is_read_as_text(text: str) -> None:
    shown = in_shell(option("a", text))
    (word,) = shlex.split(shown.removeprefix("--option "))
    assert parse_settings([word])["a"] == text


@pytest.mark.parametrize(
    ("text", "part"),
    [
        *((t, "not a finite number") for t in ("NaN", "nan", "inf", "-inf", "Infinity", "[1, NaN]", "[1e999]")),
        *((t, "too large") for t in ("1e999", "9" * 5000, "-" + "9" * 400, "[" + "9" * 400 + "]")),
        ("0." + "9" * 5000, "too many digits"),
        ("[" * 20_000, "brackets are 20000 deep"),
        ("[" * 20_000 + "]" * 20_000, "brackets are 20000 deep"),
        *((t, "cannot be read as a list") for t in ("[1,2", "[a]", "[1 2]", "[" + "9" * 5000 + "]", '"a', "[f(1)]")),
    ],
)
@pytest.mark.parametrize("flag", ["--set", "--option"])
def test_other_values_get_one_short_error(flag: str, text: str, part: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_settings([f"a={text}"], flag)
    assert part in str(caught.value)
    assert str(caught.value).startswith(f"{flag} a")
    assert len(str(caught.value)) < 300


def test_names_come_once_and_with_a_value() -> None:
    assert parse_settings(["a=1", "b=x=y"]) == {"a": 1, "b": "x=y"}
    for words, part in ((["a"], "NAME=VALUE"), (["=1"], "NAME=VALUE"), (["a=1", "a=2"], "given twice")):
        with pytest.raises(InputError, match=part):
            parse_settings(words)
