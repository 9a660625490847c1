"""Words in messages."""

import pytest

from genarium.words import did_you_mean

NAMES = ["APC", "NonTargetingControl", "nuts", "gibbs", "TP53", "TP53BP1"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("apc", "APC"),  # in another case
        ("gibs", "gibbs"),  # few other letters
        ("control", "NonTargetingControl"),  # a part of one name
        ("p5", ""),  # a part of two
        ("", ""),
        ("zebra", ""),
    ],
)
def test_the_name_that_was_meant(name: str, near: str) -> None:
    assert did_you_mean(name, NAMES) == (f" Did you mean {near!r}?" if near else "")
