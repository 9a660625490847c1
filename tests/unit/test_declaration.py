"""The declaration: what it tells about itself, and the mistakes it finds at import."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.declaration import Method, Model, Problem, Result, Stage, Var
from genarium.errors import DeclarationError, InputError
from genarium.methods import find_method
from genarium.settings import split
from genarium.signatures import call, keyword_options, parents_of
from genarium.supports import count, label, positive, real, simplex
from genarium.words import plural

Make = Callable[..., Model]


def asks_for(*names: str) -> Callable[..., Any]:
    """Return a function whose parameters have these names."""
    scope: dict[str, Any] = {}
    exec(f"def function({', '.join(names)}): return {{}}", scope)
    function: Callable[..., Any] = scope["function"]
    return function


def var(symbol: str, *dims: str, support: Any = real, default: float | None = None) -> Var:
    return Var(dims, support, "A variable.", symbol, default)


@pytest.fixture
def make() -> Make:
    """``make(**parts)``: a model with one variable in each stage, parts of it replaced."""

    def model(**parts: Any) -> Model:
        story: dict[str, Any] = {
            "known": Stage({"a": var("a", default=1.0)}),
            "unknown": Stage({"b": var("b")}, {"b": asks_for("rng", "a")}),
            "hidden": Stage({"c": var("c", "row")}, {"c": asks_for("rng", "sizes", "b")}),
            "observed": Stage({"d": var("d", "row")}, {"d": asks_for("rng", "c")}),
        }
        return Model(**{"name": "m", "title": "M", "sizes": {"row": 3, "column": 2}, **story, **parts})

    return model


# What is found at import

TWO = {"b": var("b"), "e": var("e")}

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no draw function": ({"unknown": Stage({"b": var("b")}, {})}, "unknown stage declares 'b' but has no draw"),
    "undeclared parent": (
        {"unknown": Stage({"b": var("b")}, {"b": asks_for("z")})},
        r"unknown stage asks for 'z', which no earlier stage declares \(declared: a\)",
    ),
    "parent of a later stage": (
        {"unknown": Stage({"b": var("b")}, {"b": asks_for("c")})},
        "unknown stage asks for 'c'",
    ),
    "parent later in the stage": (
        {"unknown": Stage(TWO, {"b": asks_for("e"), "e": asks_for("a")})},
        "unknown stage asks for 'e'",
    ),
    "its own parent": ({"unknown": Stage({"b": var("b")}, {"b": asks_for("b")})}, "unknown stage asks for 'b'"),
    "parent in the stage of one function": ({"unknown": Stage(TWO, asks_for("b"))}, "unknown stage asks for 'b'"),
    "known stage with a parent": (
        {"known": Stage({"a": var("a")}, {"a": asks_for("b")})},
        r"known stage asks for 'b'.*\(declared: nothing\)",
    ),
    "name declared twice": (
        {"hidden": Stage({"a": var("c")}, {"a": asks_for("b")})},
        r"the name 'a' \(hidden\) is taken already",
    ),
    "name of a size": (
        {"known": Stage({"row": var("a")}), "unknown": Stage({"b": var("b")}, asks_for())},
        "'row'.*taken",
    ),
    "reserved name": (
        {"known": Stage({"rng": var("a")}), "unknown": Stage({"b": var("b")}, asks_for())},
        "'rng'.*taken",
    ),
    "name of an option": ({"options": {"a": ("x", "y")}, "vary": asks_for("a")}, "'a'.*taken"),
    "dim without size": ({"known": Stage({"a": var("a", "depth")})}, "known variable 'a' has dim 'depth'"),
    "too few dims": ({"known": Stage({"a": var("a", support=simplex)})}, "has support simplex and needs 1 or more"),
    "label of no dim": (
        {"known": Stage({"a": var("a", support=label("kind"))})},
        "known variable 'a' is a label of 'kind'",
    ),
    "default of an unknown": (
        {"unknown": Stage({"b": var("b", default=1.0)}, {"b": asks_for("a")})},
        "unknown variable 'b' has a default",
    ),
    "default of a hidden": (
        {"hidden": Stage({"c": var("c", default=1.0)}, {"c": asks_for("b")})},
        "hidden variable 'c' has a default",
    ),
    "one symbol for two": (
        {"unknown": Stage({"b": var("a")}, {"b": asks_for("a")})},
        "'b' and 'a' share the symbol 'a'",
    ),
    "nothing observed": ({"observed": Stage({})}, "nothing is observed"),
    "unit is no dim": ({"unit": "cell"}, "'cell' is named as a dim but is not in sizes"),
    "exchangeable is no dim": ({"exchangeable": "kind"}, "'kind' is named as a dim but is not in sizes"),
    "options without vary": ({"options": {"o": ("x", "y")}}, "options and vary go together"),
    "option with the name of a size": (
        {"options": {"row": ("x", "y")}, "vary": asks_for()},
        "the option 'row' has the name of a size",
    ),
    "option of a method with the name of a size": (
        {"methods": {"em": Method(lambda problem, rng, *, row=1: Result(), "point", "About.")}},
        "the option 'row' of em has the name of a size",
    ),
    "option of a method with the name of a variable": (
        {"methods": {"em": Method(lambda problem, rng, *, b=1: Result(), "point", "About.")}},
        "the option 'b' of em has the name of a variable",
    ),
    "option of predict with the name of an option": (
        {"options": {"o": ("x", "y")}, "vary": asks_for(), "predict": lambda fitted, problem, *, o="x": {}},
        "the option 'o' of predict has the name of an option of the model",
    ),
    "vary without options": ({"vary": asks_for()}, "options and vary go together"),
    **{
        f"{part} of a hidden variable": ({part: asks_for("d", "c")}, f"{part} asks for 'c', which is not a known")
        for part in ("density", "log_likelihood", "log_prior", "test_quantities", "statistics")
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_contradiction_is_found_at_import(make: Make, fault: str) -> None:
    parts, message = FAULTS[fault]
    with pytest.raises(DeclarationError, match=message) as error:
        make(**parts)
    assert str(error.value).startswith("model 'm': ")


def test_sound_declarations_pass(make: Make) -> None:
    make()
    make(unknown=Stage(TWO, {"b": asks_for("a"), "e": asks_for("b", "sizes")}))
    make(unknown=Stage(TWO, asks_for("rng", "a")))
    make(hidden=Stage({}), observed=Stage({"d": var("d", "row")}, asks_for("b")))
    make(observed=Stage({"d": var("d", "row", default=0.0)}, asks_for("c")))
    make(unit="row", exchangeable="column", density=asks_for("sizes", "d", "a", "b"), log_prior=asks_for("b", "a"))
    make(options={"o": ("x", "y")}, vary=asks_for("o"))


# What it tells


@pytest.mark.parametrize("name", ["genarium.models.m", "m", "a.b.c.m"])
def test_name_is_cut_to_its_last_part(make: Make, name: str) -> None:
    assert make(name=name).name == "m"


def test_variables_come_in_the_order_of_the_story(make: Make) -> None:
    model = make()
    assert list(model.variables()) == ["a", "b", "c", "d"]
    assert list(model.variables("observed", "known")) == ["d", "a"]
    assert [model.role(name) for name in model.variables()] == ["known", "unknown", "hidden", "observed"]


def test_parents_are_the_parameters_of_the_draw_functions(make: Make) -> None:
    model = make(unknown=Stage(TWO, asks_for("rng", "sizes", "a")))
    assert model.unknown.parents("b") == model.unknown.parents("e") == ("a",)
    assert model.known.parents("a") == ()
    assert list(model.edges()) == [("a", "b"), ("a", "e"), ("b", "c"), ("c", "d")]
    assert parents_of(asks_for("rng", "x", "sizes", "y")) == ("x", "y")


def test_shape_follows_the_sizes(make: Make) -> None:
    model = make(known=Stage({"a": var("a", "column", "row", default=0.0)}))
    assert model.shape("a", {"row": 5, "column": 7}) == (7, 5)
    assert model.shape("b", {"row": 5, "column": 7}) == ()


def test_declarations_cannot_be_changed(make: Make) -> None:
    with pytest.raises(FrozenInstanceError):
        make().title = "other"  # type: ignore[misc]


def test_options_of_a_method_are_its_keyword_only_parameters() -> None:
    def run(problem: Problem, rng: np.random.Generator, *, restarts: int = 3, step: float = 0.5) -> Result:
        return Result()

    assert Method(run, "point", "").options == {"restarts": 3, "step": 0.5} == keyword_options(run)


def test_call_passes_only_what_is_named(make: Make) -> None:
    problem = Problem(make(), {"row": 2}, {"a": np.array(1.0), "d": np.zeros(2)}, {"b": np.array(5.0)})

    def function(sizes: dict[str, int], a: Any, b: Any, extra: int) -> tuple[int, float, float, int]:
        return sizes["row"], float(a), float(b), extra

    assert problem.call(function, extra=9, ignored=0) == (2, 1.0, 5.0, 9)
    assert call(lambda a: a, {"a": 1, "b": 2}) == 1
    assert problem["a"] == 1


# Variants


@pytest.fixture
def optional(make: Make) -> Model:
    """A model with two options that decide the support of ``a`` and the title."""

    def vary(sign: str = "any", size: str = "small") -> Model:
        support = {"any": real, "up": positive, "whole": count}[sign]
        options = {"sign": ("any", "up", "whole"), "size": ("small", "large")}
        known = Stage({"a": var("a", support=support, default=1.0)})
        return make(name="elsewhere", title=size, known=known, options=options, vary=vary)

    return replace(vary(), name="m")


def test_variant_takes_options_and_keeps_the_name(optional: Model) -> None:
    variant = optional.variant(sign="up")
    assert variant.known.variables["a"].support is positive
    assert variant.name == "m"
    assert variant.chosen == {"sign": "up", "size": "small"}
    assert optional.chosen == {}
    assert optional.variant() is optional


def test_variant_of_a_variant(optional: Model) -> None:
    variant = optional.variant(sign="up", size="large").variant(sign="whole", size="large")
    assert (variant.known.variables["a"].support, variant.title) == (count, "large")


def test_unknown_option_lists_the_options(optional: Model) -> None:
    with pytest.raises(InputError, match="m: there is no option 'colour'; the options are sign, size"):
        optional.variant(colour="red")


def test_unknown_value_lists_the_values(optional: Model) -> None:
    with pytest.raises(InputError, match="m: sign='down' is not known; use one of any, up, whole"):
        optional.variant(sign="down")


def test_model_without_options_says_so(make: Make) -> None:
    with pytest.raises(InputError, match="it has no options"):
        make().variant(colour="red")


def test_variants_of_the_zoo_carry_their_choice() -> None:
    for name in gn.registry.names():
        model = gn.get(name)
        for option, values in model.options.items():
            assert model.variant(**{option: values[-1]}).chosen[option] == values[-1]


def test_a_label_may_have_the_name_of_its_dim(toy: Model) -> None:
    """And a number for that name is a size, an array the variable."""
    index = Var(("item",), label("batch"), "Batch of an item.", "b")
    known = Stage({**toy.known.variables, "batch": index}, toy.known.draw)
    model = replace(toy, known=known, sizes={**toy.sizes, "batch": 2})
    _, sizes, values, _ = split(model, {"batch": 3})
    assert (sizes, values) == ({"batch": 3}, {})
    _, sizes, values, _ = split(model, {"batch": [0, 1]})
    assert (sizes, values) == ({}, {"batch": [0, 1]})
    with pytest.raises(DeclarationError, match=r"the name 'batch' \(known\) is taken already"):
        replace(toy, known=Stage({**toy.known.variables, "batch": replace(index, support=real)}), sizes=model.sizes)


def test_plurals() -> None:
    assert [plural(noun) for noun in ("cell", "process", "locus", "category")] == [
        "cells",
        "processes",
        "loci",
        "categories",
    ]


# Defaults that follow from the data, and derived variables


def test_default_may_follow_from_the_data(make: Make) -> None:
    total = var("a")
    model = make(
        known=Stage({"a": Var(total.dims, real, total.about, "a", default=lambda d: d.sum())}, {"a": lambda: 6.0}),
        observed=Stage({"d": var("d", "row")}, {"d": lambda rng, sizes, c: c}),
        hidden=Stage({"c": var("c", "row")}, {"c": lambda rng, sizes, b: np.ones(sizes["row"])}),
        unknown=Stage({"b": var("b")}, {"b": lambda rng, a: a}),
    )
    from genarium.data import check

    sizes = {"column": 2}
    assert check(model, {"d": [1.0, 2.0, 4.0]}, sizes)["a"] == 7
    assert check(model, {"d": [1.0, 2.0, 4.0], "a": 3.0}, sizes)["a"] == 3
    assert gn.simulate(model)["constant_data"]["a"] == 6


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"known": Stage({"a": Var((), real, "A.", "a", default=lambda c: c)})}, "asks for more than observed"),
        (
            {
                "observed": Stage(
                    {"d": Var(("row",), real, "D.", "d", default=lambda: 1.0)}, {"d": asks_for("rng", "c")}
                )
            },
            "only that of a known variable",
        ),
        ({"derived": Stage({"b": var("x")}, {"b": asks_for("b")})}, "derived variable 'b' has a name that is taken"),
        ({"derived": Stage({"x": var("x", "z")}, {"x": asks_for("b")})}, "a dim that is not in sizes"),
        ({"derived": Stage({"x": var("x")}, {"x": asks_for("c")})}, "derived variable 'x' asks for 'c'"),
    ],
)
def test_faults_of_defaults_and_derived_variables(make: Make, parts: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        make(**parts)


def test_a_model_is_shown_in_a_line_and_as_a_table(toy: Model) -> None:
    assert repr(toy) == "<Model toy: Normal mean; variables sigma, tau, theta, y>"
    shown = toy._repr_html_()
    assert "<code>theta</code> θ" in shown
    assert "<code>conjugate</code> (exact)" in shown
    assert shown.count("<tr>") == 5


def test_a_model_may_have_defaults_of_its_own_for_engines(toy: Model) -> None:
    wary = replace(toy, engine_defaults={"target_accept": 0.99, "nothing": 1})
    assert find_method(wary, "nuts").options == {**find_method(toy, "nuts").options, "target_accept": 0.99}
    assert find_method(wary, "map").options == find_method(toy, "map").options
    assert find_method(wary, "conjugate").options == find_method(toy, "conjugate").options
    assert find_method(wary, "nuts").function.__doc__ == find_method(toy, "nuts").function.__doc__


def test_a_variant_is_not_taken_for_the_default_one() -> None:
    model = gn.get("nb_mixture")
    gene = model.variant(dispersion="gene")
    assert model.has_options({})
    assert not gene.has_options({})
    assert gene.has_options({"dispersion": "gene"})
    assert gene.has_options(dict(gene.chosen))
