"""Signatures: a function that is shown under other parameters."""

import pytest

from genarium.signatures import call, parents_of, with_parameters


def anything(**values: float) -> float:
    """Sum up."""
    return sum(values.values())


def test_a_function_of_keywords_shows_the_parameters_that_it_is_given() -> None:
    shown = with_parameters(["rng", "a", "b"], anything)
    assert parents_of(shown) == ("a", "b")
    assert shown.__doc__ == "Sum up."
    assert call(shown, {"rng": 0, "a": 1, "b": 2, "unasked": 40}) == 3


def test_what_its_parameters_need_must_be_there() -> None:
    with pytest.raises(KeyError, match="b"):
        call(with_parameters(["a", "b"], anything), {"a": 1})
