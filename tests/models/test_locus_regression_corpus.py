"""locus_regression: corpora that are no corpora, and corpora in files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.locus_regression.channels import CONTEXTS, split_channel
from locus_problems import VARIANTS, problem_of


def corpus_of(**changes: Any) -> dict[str, Any]:
    _, problem, _ = problem_of(VARIANTS[0])
    return {**{name: problem[name] for name in ("features", "genome", "locus", "channel")}, **changes}


def absent(context: Any, locus: int) -> Array:
    """Opportunities of a genome in which contexts do not occur in a locus."""
    t = np.ones((32, 15))
    t[context, locus] = 0
    return t


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda d: {"context_opportunity": absent(slice(None), 3)}, {}, "locus=3 has no context at all"),
        (
            lambda d: {"context_opportunity": absent(split_channel(d["channel"][7])[0], d["locus"][7])},
            {},
            r"cell=\d+ has mutations of .* in locus=\d+, where this context occurs 0 times",
        ),
        (lambda d: {"features": np.stack([d["features"][0], 2 * d["features"][0] - 1])}, {}, "0, 1 are linearly dep"),
        (
            lambda d: {"features": np.where(np.arange(15) == 3, np.nan, d["features"])},
            {},
            r"feature=0, locus=3\] = nan",
        ),
        (lambda d: {"genome": d["genome"] + (d["genome"] >= 2)}, {}, "genome=2 has no mutations"),
        (lambda d: {"locus": d["locus"] + 10}, {}, "below the size of 'locus'"),
        (lambda d: {"channel": d["channel"] + 50}, {}, "below the size of 'channel'"),
        (lambda d: {"exposure": np.where(np.arange(15) == 4, 0.0, 1.0)}, {}, r"exposure\[locus=4\] = 0.0"),
        (lambda d: {}, {"process": 97}, "Ask for at most 96 processes"),
    ],
)
def test_bad_input_is_named(change: Callable[..., Any], settings: dict[str, int], message: str) -> None:
    data = corpus_of()
    with pytest.raises(InputError, match=message):
        gn.fit("locus_regression", {**data, **change(data)}, "vi", **{"process": 2, **settings})


def test_a_genome_has_one_group() -> None:
    model, problem, _ = problem_of(VARIANTS[1])
    data = {name: problem[name] for name in ("features", "genome", "locus", "channel", "group")}
    data["group"] = data["group"].copy()
    data["group"][7] = 1 - data["group"][7]
    with pytest.raises(InputError, match="the cells of genome 0 belong to groups"):
        gn.fit(model, data, "vi", process=2)


@pytest.mark.parametrize("method", ["vi", "svi"])
def test_options_are_checked(method: str) -> None:
    with pytest.raises(InputError, match=r"covariance='banded' is not known; use one of .*mean_field, diagonal"):
        gn.fit("locus_regression", corpus_of(), method, process=2, covariance="banded")
    with pytest.raises(InputError, match=f"method '{method}' cannot hold pi fixed"):
        gn.fit("locus_regression", corpus_of(pi=np.full((6, 2), 0.5)), method, process=2)


def test_a_saved_corpus_is_read(tmp_path: Path) -> None:
    _, problem, _ = problem_of(VARIANTS[0])
    context, alternative = split_channel(problem["channel"])
    short: dict[str, Any] = {
        "g": problem["genome"],
        "l": problem["locus"],
        "c": context,
        "a": alternative,
        "X": problem["features"],
    }
    np.savez(
        tmp_path / "a.npz", **short, t=problem["context_opportunity"], ell=problem["exposure"], names=["gc", "dnase"]
    )
    tree = gn.read("locus_regression", tmp_path / "a.npz")
    for name in ("genome", "features", "context_opportunity", "exposure"):
        np.testing.assert_array_equal(tree["constant_data"][name], problem[name])
    for name in ("locus", "channel"):
        np.testing.assert_array_equal(tree["observed_data"][name], problem[name])
    assert list(tree["constant_data"]["feature"].to_numpy()) == ["gc", "dnase"]
    assert list(tree["constant_data"]["context"].to_numpy()) == list(CONTEXTS)


def test_every_array_of_a_corpus_is_accounted_for(tmp_path: Path) -> None:
    _, problem, _ = problem_of(VARIANTS[0])
    arrays: dict[str, Any] = {name: problem[name] for name in ("genome", "locus", "channel", "features")}
    np.savez(tmp_path / "a.npz", **arrays, t=problem["context_opportunity"], truth=np.ones(3), names=["a", "b"])
    told = json.loads(gn.read("locus_regression", tmp_path / "a.npz").attrs["ledger"])
    n = len(problem["genome"])
    assert (told["rows"]["unit"], told["rows"]["read"], told["rows"]["kept"]) == ("cell", n, n)
    assert (told["columns"]["unit"], told["columns"]["read"], told["columns"]["kept"]) == ("array", 7, 6)
    assert told["columns"]["names"] == {"not of the model": ["truth"]}
    np.savez(tmp_path / "b.npz", **arrays, g=problem["genome"])
    with pytest.raises(InputError, match="arrays 'g' and 'genome', which are the same"):
        gn.read("locus_regression", tmp_path / "b.npz")


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="not a valid archive of arrays"):
        gn.read("locus_regression", tmp_path / "a.npz")
    whole: dict[str, Any] = {"l": [0, 1], "channel": [0, 1], "X": np.ones((1, 2)), "names": ["gc"]}
    np.savez(tmp_path / "b.npz", g=3, **whole)
    with pytest.raises(InputError, match=r"b.npz: array 'genome' has the shape \(\), but must hold one entry"):
        gn.read("locus_regression", tmp_path / "b.npz")
    np.savez(tmp_path / "b.npz", g=[0, 1], **{**whole, "names": np.array([0x110000], "<u4").view("<U1")})
    with pytest.raises(InputError, match=r"b\.npz: .*'names' holds 1114112 where a character should be"):
        gn.read("locus_regression", tmp_path / "b.npz")
    np.savez(tmp_path / "b.npz", g=[0, 1], **{**whole, "X": 1.0})
    with pytest.raises(InputError, match=r"b\.npz: array 'features' has the shape \(\), but must have a row a feature"):
        gn.read("locus_regression", tmp_path / "b.npz")
    np.savez(tmp_path / "b.npz", g=[0, 1], X=np.ones((1, 2)))
    with pytest.raises(InputError, match="there is no array 'locus'"):
        gn.read("locus_regression", tmp_path / "b.npz")
