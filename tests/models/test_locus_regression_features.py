"""Features made of features against loops and numbers worked out by hand; what the model's check says of them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.errors import InputError
from genarium.models.locus_regression.features import (
    group_effects,
    mixed_effects,
    polynomial,
    resolutions,
    standardise,
    windowed,
)


def made(loci: int = 12, features: int = 2, groups: int = 0, seed: int = 0) -> Array:
    shape = (groups, features, loci) if groups else (features, loci)
    return np.random.default_rng(seed).gamma(2, 3, shape)


def named(values: Any, names: tuple[str, ...] = ("gc", "timing")) -> xr.DataArray:
    X = np.asarray(values, dtype=float)
    loci = [f"chr1:{at}" for at in range(X.shape[-1])]
    return xr.DataArray(X, dims=("feature", "locus"), coords={"feature": list(names[: len(X)]), "locus": loci})


def rows(found: xr.DataArray) -> dict[str, list[float]]:
    return {str(name): found.sel(feature=name).to_numpy().tolist() for name in found.feature.to_numpy()}


def checked(X: xr.DataArray, **options: str) -> Problem:
    """Features as a fit takes them, with a mutation in each genome."""
    genomes = 6
    data: dict[str, Any] = {
        "features": X,
        "genome": np.arange(genomes),
        "locus": np.arange(genomes),
        "channel": np.arange(genomes),
    }
    if options:
        data["group"] = np.arange(genomes) % X.sizes["covariate_group"]
    return check(gn.get("locus_regression").variant(**options), data, {"process": 2})


# Standardise


def test_standardise_by_hand() -> None:
    found = standardise({"gc": [1, 3, 1, 3], "timing": [0, 0, 0, 4]})
    r = 1 / np.sqrt(3)  # mean 1, variance 3
    np.testing.assert_allclose(found, [[-1.0, 1, -1, 1], [-r, -r, -r, 3 * r]])
    assert found.dims == ("feature", "locus")
    assert found.feature.to_numpy().tolist() == ["gc", "timing"]


def test_standardise_each_group() -> None:
    X = made(groups=3)
    found = standardise(X)
    assert found.dims == ("covariate_group", "feature", "locus")
    for j in range(3):
        for f in range(2):
            np.testing.assert_allclose(found[j, f], (X[j, f] - X[j, f].mean()) / np.sqrt(X[j, f].var()))


def test_forms_of_features() -> None:
    X = made()
    expected = standardise(named(X))
    assert expected.locus.to_numpy()[3] == "chr1:3"
    xr.testing.assert_identical(standardise(named(X).T), expected)
    frame = pd.DataFrame(X, index=["gc", "timing"], columns=expected.locus.to_numpy())
    xr.testing.assert_identical(standardise(frame), expected)
    for given in ({"gc": X[0], "timing": X[1]}, X, X.tolist()):
        np.testing.assert_array_equal(standardise(given), expected)
    np.testing.assert_allclose(standardise({"gene": [True, False]}), [[1, -1]])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            named([[1, 2, 3], [0.1, 0.1, 0.1]]),
            r"feature 'timing' is the same, 0.1, in every locus .*locus=0 \(chr1:0\)",
        ),
        (named([[1, 2, 3], [1, 2, np.nan]]), r"feature 'timing' is nan at locus=2 \(chr1:2\) \(1 of 6"),
        (named([[1, np.inf, 3], [1, 2, np.nan]]), r"feature 'gc' is inf at locus=1 \(chr1:1\) \(2 of 6"),
        ([[1, 2, 3], [4, 4, 4]], "feature '1' is the same, 4, in every locus .*locus=0"),
        ([[[1, 2], [1, 2]], [[1, 2], [7, 7]]], "feature '1' is the same, 7, in every locus of covariate_group=1"),
        (named([[1, 2], [3, 4]], ("gc", "gc")), "two features are named 'gc'"),
        ({"gc": [1, 2], "timing": [1, 2, 3]}, "not as many loci for every feature"),
        ([1, 2, 3], r"shape \(3,\)"),
        (np.ones((0, 3)), "one of each at least"),
        ([["a", "b"]], "not numbers"),
        (xr.DataArray(np.ones((2, 3)), dims=("row", "locus")), "'row': 2"),
    ],
)
def test_features_reject(features: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        standardise(features)


# Windows


def test_windowed_by_hand() -> None:
    found = windowed(named([[1, 2, 3, 4], [10, 20, 30, 40]]), (-1, 0, 2))
    assert rows(found) == {
        "gc -1": [1, 1, 2, 3],
        "gc": [1, 2, 3, 4],
        "gc +2": [3, 4, 4, 4],
        "timing -1": [10, 10, 20, 30],
        "timing": [10, 20, 30, 40],
        "timing +2": [30, 40, 40, 40],
    }
    assert found.locus.to_numpy()[1] == "chr1:1"


def test_windowed_stays_in_the_segment() -> None:
    found = windowed({"gc": [1, 2, 3, 4, 5, 6]}, [1, -2], segment=["1", "1", "1", "2", "X", "X"])
    assert rows(found) == {"gc +1": [2, 3, 3, 4, 6, 6], "gc -2": [1, 1, 1, 4, 5, 5]}


def test_windowed_by_loops() -> None:
    X, segment = made(30, 3, groups=2), np.repeat([3, 1, 2], [11, 4, 15])
    offsets = (-3, 0, 1, 7)
    found = windowed(X, offsets, segment)
    assert found.dims == ("covariate_group", "feature", "locus")
    for f in range(3):
        for i, offset in enumerate(offsets):
            for at in range(30):
                mine = np.flatnonzero(segment == segment[at])
                near = mine[np.abs(mine - (at + offset)).argmin()]
                np.testing.assert_array_equal(found[:, 4 * f + i, at], X[:, f, near])


@pytest.mark.parametrize(
    ("offsets", "segment", "message"),
    [
        ([], None, "different integers"),
        ([1, 1], None, "different integers"),
        ([0.5], None, "different integers"),
        ([True], None, "different integers"),
        ([0, -4], None, "offset -4 reaches beyond the longest segment, of 4 loci"),
        ([2], [1, 1, 2, 2], "offset 2 reaches beyond the longest segment, of 2 loci"),
        ([1], [1, 1, 1], r"shape \(3,\), but there are 4 loci"),
        ([1], [1, 2, 1, 1], r"segment 1 starts at locus=0 \(chr1:0\) and again at locus=2 \(chr1:2\)"),
    ],
)
def test_windowed_rejects(offsets: Any, segment: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        windowed(named([[1, 2, 3, 4]]), offsets, segment)


# Resolutions


def test_resolutions_by_hand() -> None:
    found = resolutions({"gc": [1, 3, 5, 11, 2]}, (1, 2, 4))  # means 2, 8, 2 of two, and 5, 2 of four
    assert rows(found) == {"gc 1-2": [-1, 1, -3, 3, 0], "gc 2-4": [-3, -3, 3, 3, 0], "gc 4": [5, 5, 5, 5, 2]}


def test_resolutions_begin_anew_with_a_segment() -> None:
    found = resolutions({"gc": [1, 3, 5, 11, 2]}, (2, 4), segment=[1, 1, 1, 2, 2])  # means 2, 2, 5, 6.5; 3, 6.5
    assert rows(found) == {"gc 2-4": [-1, -1, 2, 0, 0], "gc 4": [3, 3, 3, 6.5, 6.5]}


def test_resolutions_by_loops() -> None:
    X, segment, factors = made(29, 2, groups=2), np.repeat([0, 1], [13, 16]), (1, 3, 6)
    found = resolutions(X, factors, segment).to_numpy().reshape(2, 2, 3, 29)
    for at in range(29):
        start = np.flatnonzero(segment == segment[at])
        mean = []
        for size in factors:
            low = start[0] + (at - start[0]) // size * size
            mean.append(X[..., [i for i in start if low <= i < low + size]].mean(-1))
        np.testing.assert_allclose(found[..., 0, at], mean[0] - mean[1], atol=1e-12)
        np.testing.assert_allclose(found[..., 1, at], mean[1] - mean[2], atol=1e-12)
        np.testing.assert_allclose(found[..., 2, at], mean[2], atol=1e-12)


def test_resolutions_add_up_and_are_not_collinear() -> None:
    X = made(64)
    found = resolutions(named(X), (1, 2, 4, 8))
    np.testing.assert_allclose(found.to_numpy().reshape(2, 4, 64).sum(1), X)
    for f in range(2):  # complete blocks, each within the next: the parts are orthogonal
        product = found.to_numpy()[4 * f : 4 * f + 4] @ found.to_numpy()[4 * f : 4 * f + 4].T
        np.testing.assert_allclose(product, np.diag(np.diag(product)), atol=1e-9)
    checked(found)


@pytest.mark.parametrize(
    ("factors", "segment", "message"),
    [
        ((2, 1), None, "positive and increase"),
        ((0, 2), None, "positive and increase"),
        ((2, 2), None, "different integers"),
        ((1, 4), None, "feature 'gc 4' is the same, 4, in every locus"),
        ((1, 2, 4), [1, 1, 2, 2], "feature 'gc 2-4' is the same, 0, in every locus"),
        ((1, 2), [1, 2, 2, 1], "segment 1 starts"),
    ],
)
def test_resolutions_reject(factors: Any, segment: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolutions({"gc": [1, 3, 5, 7]}, factors, segment)


# Powers and products


def test_polynomial_by_hand() -> None:
    r = 1 / np.sqrt(3)
    found = polynomial({"gc": [1, 3, 2, 2], "timing": [0, 0, 0, 4]}, degree=3)  # gc: mean 2, variance 1/2
    assert list(rows(found)) == ["gc", "timing", "gc^2", "timing^2", "gc^3", "timing^3", "gc x timing"]
    s = np.sqrt(2)
    expected = [
        [-s, s, 0, 0],
        [-r, -r, -r, 3 * r],
        [2, 2, 0, 0],
        [1 / 3, 1 / 3, 1 / 3, 3],
        [-2 * s, 2 * s, 0, 0],
        [-r / 3, -r / 3, -r / 3, 9 * r],
        [s * r, -s * r, 0, 0],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_polynomial_by_loops() -> None:
    X = made(20, 4, groups=2)
    z = standardise(X).to_numpy()
    found = polynomial(X)
    names = [str(f) for f in range(4)]
    pairs = [(f, g) for f in range(4) for g in range(f + 1, 4)]
    expected = [*names, *(f"{n}^2" for n in names), *(f"{f} x {g}" for f, g in pairs)]
    assert found.feature.to_numpy().tolist() == expected
    for i, (f, g) in enumerate([*((f, f) for f in range(4)), *pairs]):
        np.testing.assert_allclose(found[:, 4 + i], z[:, f] * z[:, g])
    xr.testing.assert_identical(polynomial(X, interactions=False), found[:, :8])
    xr.testing.assert_identical(polynomial(X, degree=1, interactions=False), found[:, :4])
    checked(polynomial(made(40, 3)))


@pytest.mark.parametrize("degree", [0, -1, 1.5, True])
def test_polynomial_rejects_degrees(degree: Any) -> None:
    with pytest.raises(InputError, match=f"degree={degree!r} must be"):
        polynomial(made(), degree)


def test_polynomial_rejects_what_is_constant() -> None:
    with pytest.raises(InputError, match=r"feature 'gc\^2' is the same, 1, in every locus"):
        polynomial({"gc": [0, 1, 1, 0]})
    with pytest.raises(InputError, match="feature 'gc' is the same, 2, in every locus"):
        polynomial({"gc": [2, 2, 2]})


# Effects of groups


def test_mixed_effects_by_hand() -> None:
    """Two groups: the common block times sqrt(1 + .25 / 2), one contrast times .5 / sqrt(2), of opposite signs."""
    found = mixed_effects(named([[1, 2], [3, 5]]), ["skin", "breast", "skin"], scale=0.5)
    assert found.dims == ("covariate_group", "feature", "locus")
    assert found.covariate_group.to_numpy().tolist() == ["breast", "skin"]
    assert found.feature.to_numpy().tolist() == ["gc", "timing", "gc | contrast 1", "timing | contrast 1"]
    X, common, contrast = np.array([[1, 2], [3, 5]]), np.sqrt(1.125), np.sqrt(0.125)
    for name, sign in (("breast", 1), ("skin", -1)):
        expected = np.concatenate([common * X, sign * contrast * X])
        np.testing.assert_allclose(found.sel(covariate_group=name), expected)
    assert found.locus.to_numpy().tolist() == ["chr1:0", "chr1:1"]


@pytest.mark.parametrize("scale", [0.3, 1, 2.0])
def test_the_prior_of_group_effects(scale: float) -> None:
    """Eq. 23: of tau^2, a group's effect has variance 1 + scale^2, and two groups' covariance 1."""
    weight = mixed_effects({"gc": [1, 2, 4]}, [0, 1, 2, 3], scale).weight.to_numpy()  # (J, blocks)
    np.testing.assert_allclose(weight @ weight.T, 1 + scale**2 * np.eye(4), atol=1e-12)


def test_group_effects_give_the_same_rates() -> None:
    X, rng = made(7, 3), np.random.default_rng(1)
    features = mixed_effects(dict(zip("abc", X, strict=True)), ["x", "y", "z"], 0.7)
    values = rng.normal(size=(2, 4, 5, features.sizes["feature"]))
    dims = ("chain", "draw", "process", "feature")
    beta = xr.DataArray(values, dims=dims, coords={"feature": features.feature.to_numpy()})
    found = group_effects(beta, features)
    assert found.dims == ("chain", "draw", "process", "covariate_group", "feature")
    assert found.feature.to_numpy().tolist() == ["a", "b", "c"]
    assert found.covariate_group.to_numpy().tolist() == ["x", "y", "z"]
    for j in range(3):
        np.testing.assert_allclose(found.to_numpy()[..., j, :] @ X, values @ features.to_numpy()[j], atol=1e-12)


def test_group_effects_by_hand() -> None:
    features = mixed_effects({"gc": [1, 2, 4]}, [0, 1], 0.5)
    beta = xr.DataArray([[2.0, 4.0]], dims=("process", "feature"), coords={"feature": features.feature})
    common, contrast = 2 * np.sqrt(1.125), 4 * np.sqrt(0.125)
    np.testing.assert_allclose(group_effects(beta, features), [[[common + contrast], [common - contrast]]])


def test_groups_with_features_of_their_own() -> None:
    X = made(6, 2, groups=2)
    found = mixed_effects(X, [0, 1], 0.5)
    for j in range(2):
        np.testing.assert_allclose(found[j, :2], np.sqrt(1.125) * X[j])
        np.testing.assert_allclose(found[j, 2:], (-1) ** j * np.sqrt(0.125) * X[j])


def test_the_model_takes_mixed_effects() -> None:
    found = mixed_effects(standardise(made(30, 2)), [0, 1, 2])
    np.testing.assert_array_equal(checked(found, groups="several")["features"], found)
    assert np.linalg.matrix_rank(found.transpose("feature", ...).to_numpy().reshape(6, -1)) == 6


@pytest.mark.slow
def test_effects_of_groups_are_found() -> None:
    """Effects of +1 and -1 in two groups, of 1500 mutations each: Fisher's standard error is 0.03."""
    rng = np.random.default_rng(2)
    X = standardise({"gc": rng.normal(size=80)})
    group = np.repeat([0, 1], 1500)
    locus = np.empty(3000, dtype=int)
    for j, effect in enumerate((1.0, -1.0)):
        rate = np.exp(effect * X.to_numpy()[0])
        locus[group == j] = rng.choice(80, 1500, p=rate / rate.sum())
    features = mixed_effects(X, group, 2.0)
    data = {
        "features": features,
        "locus": locus,
        "channel": rng.integers(96, size=3000),
        "genome": group,
        "group": group,
    }
    tree = gn.fit("locus_regression", data, "vi", 1, process=1, restarts=1, draws=100, groups="several")
    found = group_effects(tree["posterior"]["beta"], features).mean(("chain", "draw"))
    np.testing.assert_allclose(found.to_numpy()[0, :, 0], [1, -1], atol=0.12)


@pytest.mark.parametrize(
    ("group", "settings", "message"),
    [
        ([0, 0], {}, "of type int64, does not tell two groups apart"),
        ([0.5, 1.5], {}, "type float64"),
        ([0, 2], {}, "numbers are 0, 2, without 1"),
        ([1, 2], {}, "numbers are 1, 2, without 0"),
        (np.array(["a", None], dtype=object), {}, "group, of type object, does not tell"),
        ([0, 1], {"scale": 0}, "scale=0 must be"),
        ([0, 1], {"scale": np.nan}, "scale=nan must be"),
        ([0, 1], {"scale": "1"}, "scale='1' must be"),
    ],
)
def test_mixed_effects_reject(group: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mixed_effects(made(), group, **settings)


def test_mixed_effects_reject_other_groups() -> None:
    with pytest.raises(InputError, match=r"3 covariate groups.*'group' has 2"):
        mixed_effects(made(groups=3), [0, 1])
    X = xr.DataArray(
        made(groups=2), dims=("covariate_group", "feature", "locus"), coords={"covariate_group": ["b", "a"]}
    )
    with pytest.raises(InputError, match="2 covariate groups, b, a, but 'group' has 2: a, b"):
        mixed_effects(X, ["a", "b"])
    assert mixed_effects(X.isel(covariate_group=[1, 0]), np.array(["a", "b"], dtype=object)).sizes["feature"] == 4


def test_group_effects_reject() -> None:
    features = mixed_effects({"gc": [1, 2, 4]}, [0, 1])
    beta = xr.DataArray(np.ones((1, 3)), dims=("process", "feature"), coords={"feature": ["gc", "timing", "x"]})
    with pytest.raises(InputError, match=r"not of the 2 features that mixed_effects made \(gc, gc \| contrast 1\)"):
        group_effects(beta, features)
    with pytest.raises(InputError, match="needs the features that mixed_effects returned"):
        group_effects(beta, standardise({"gc": [1, 2]}))
