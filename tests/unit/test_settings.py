"""Settings: sorted by what they are about, checked, and explained when they are about nothing."""

import re
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.declaration import Model
from genarium.errors import InputError
from genarium.settings import only_with, split
from genarium.signatures import keyword_options


def tried(
    *, restarts: int = 10, tolerance: float = 1e-4, accelerate: bool = False, scale: str = "log", start: Any = None
) -> None:
    """Stand in for a method, as far as its options go."""


DEFAULTS = keyword_options(tried)


@pytest.fixture
def model() -> Model:
    return gn.get("nb_mixture")


def test_sizes_as_people_type_them(model: Model) -> None:
    assert split(model, {"cell": 1e3})[1] == {"cell": 1000}
    for value in (1e300, 2**60):
        with pytest.raises(InputError, match=r"size cell=.* is too large"):
            split(model, {"cell": value})
    others: list[Any] = [2.5, float("nan"), float("inf"), "1e3", True]
    for other in others:
        with pytest.raises(InputError, match="must be a whole number, at least one"):
            split(model, {"cell": other})


def test_settings_are_sorted_by_what_they_are_about(model: Model) -> None:
    given = {"cell": 5, "dispersion": "gene", "phi0": 0.2, "mu": [[1, 2]], "restarts": 3}
    variant, sizes, values, options = split(model, given, tried)
    assert variant.chosen["dispersion"] == "gene"
    assert sizes == {"cell": 5}
    assert values == {"phi0": 0.2, "mu": [[1, 2]]}
    assert options == {"restarts": 3}


def test_no_settings_leave_the_model_as_it_is(model: Model) -> None:
    assert split(model, {}, tried) == (model, {}, {}, {})
    variant = model.variant(dispersion="gene")
    assert split(variant, {"cell": 5})[0] is variant


def test_a_variant_can_be_varied_again(model: Model) -> None:
    variant, *_ = split(model.variant(dispersion="gene"), {"dispersion": "known"})
    assert variant.chosen["dispersion"] == "known"
    assert "phi" in variant.known.variables


def test_variables_are_those_of_the_variant(model: Model) -> None:
    with pytest.raises(InputError, match="no setting 'phi0'"):
        split(model, {"phi0": 0.2})


@pytest.mark.parametrize("value", [0, -1, 2.5, -3.0, "3", True, None, [3]])
def test_size_must_be_a_whole_number(model: Model, value: Any) -> None:
    with pytest.raises(InputError, match=r"nb_mixture: size cell=.*whole number, at least one"):
        split(model, {"cell": value})


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_numbers_of_numpy_are_numbers(model: Model, kind: Any) -> None:
    _, sizes, _, options = split(model, {"cell": kind(5), "restarts": kind(3)}, tried)
    assert (sizes, options) == ({"cell": 5}, {"restarts": 3})
    assert type(sizes["cell"]) is int


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("restarts", 3, 3),
        ("restarts", 3.0, 3),
        ("tolerance", 1e-3, 1e-3),
        ("tolerance", 1, 1.0),
        ("tolerance", np.float64(0.5), 0.5),
        ("accelerate", True, True),
        ("accelerate", 1, True),
        ("accelerate", 0, False),
        ("scale", "linear", "linear"),
        ("start", "random", "random"),
        ("start", 5, 5),
        ("start", None, None),
    ],
)
def test_option_takes_values_like_its_default(model: Model, name: str, value: Any, taken: Any) -> None:
    *_, options = split(model, {name: value}, tried)
    assert options == {name: taken}
    if DEFAULTS[name] is not None:
        assert isinstance(options[name], type(DEFAULTS[name]))


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("restarts", 2.5, "a whole number"),
        ("restarts", "3", "a whole number"),
        ("restarts", True, "a whole number"),
        ("restarts", None, "a whole number"),
        ("restarts", [3], "a whole number"),
        ("tolerance", "small", "a number"),
        ("tolerance", True, "a number"),
        ("accelerate", 2, "true or false"),
        ("accelerate", "yes", "true or false"),
        ("accelerate", None, "true or false"),
        ("scale", 1, "text"),
    ],
)
def test_option_of_another_type_is_refused(model: Model, name: str, value: Any, kind: str) -> None:
    with pytest.raises(InputError, match=rf"nb_mixture: {name}=.* must be {kind} \(default "):
        split(model, {name: value}, tried)


def test_negative_number_of_steps_is_refused(model: Model) -> None:
    with pytest.raises(InputError, match="restarts=-1 must be at least 1"):
        split(model, {"restarts": -1}, tried)


def test_a_default_of_zero_may_be_given(model: Model) -> None:
    def chosen(*, sweeps: int = 0) -> None:
        """Stand in for a method that chooses a number itself where it is 0."""

    assert split(model, {"sweeps": 0}, chosen)[3] == {"sweeps": 0}
    with pytest.raises(InputError, match="sweeps=-1 must be at least 0"):
        split(model, {"sweeps": -1}, chosen)


def test_unknown_setting_lists_what_there_is(model: Model) -> None:
    with pytest.raises(InputError) as error:
        split(model, {"zzz": 1}, tried)
    said = str(error.value)
    assert said.startswith("nb_mixture: there is no setting 'zzz'. Settings are ")
    for part in (
        "sizes: cell, gene, component",
        "options of the model: dispersion (known, shared, gene, component)",
        "variables: phi, size_factor,",
        "options of the method: restarts, tolerance,",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("name", "close"),
    [("cells", "cell"), ("dispersoin", "dispersion"), ("size_factors", "size_factor"), ("restart", "restarts")],
)
def test_close_name_is_suggested(model: Model, name: str, close: str) -> None:
    with pytest.raises(InputError, match=f"Did you mean '{close}'\\?"):
        split(model, {name: 1}, tried)


def test_wrong_value_of_an_option_of_the_model(model: Model) -> None:
    with pytest.raises(InputError, match="use one of known, shared, gene, component"):
        split(model, {"dispersion": "genes"})


def test_an_option_without_what_it_belongs_to_is_refused() -> None:
    only_with("m", "polish=True", True, draws=3)
    only_with("m", "polish=True", False, draws=None)
    said = "m: draws=3 and tune=0 would be dropped: used only with polish=True. Add that, or leave it out."
    with pytest.raises(InputError, match=re.escape(said)):
        only_with("m", "polish=True", False, draws=3, chains=None, tune=0)


def optional(*, batch: int | None = None, rate: float | None = None) -> None:
    """Stand in for a method whose options need not be given."""


def test_an_option_that_need_not_be_given_has_its_annotated_type(model: Model) -> None:
    assert split(model, {"batch": 7, "rate": 1}, optional)[3] == {"batch": 7, "rate": 1.0}
    assert split(model, {"batch": None}, optional)[3] == {"batch": None}
    for value, said in (
        (0, "batch=0 must be at least 1"),
        ("many", "must be a whole number"),
        (True, "a whole number"),
    ):
        with pytest.raises(InputError, match=said):
            split(model, {"batch": value}, optional)
