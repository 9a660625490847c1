"""Signatures, their matching and errors against loops and numbers worked out by hand; tables of known signatures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import genarium as gn
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.locus_regression.channels import CHANNELS, CONTEXTS
from genarium.models.locus_regression.metrics import compare, cosine, match, recovery, signatures
from genarium.models.locus_regression.tables import read_table


def parameters(seed: int = 0, K: int = 3, lead: tuple[int, ...] = ()) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        "beta": rng.normal(size=(*lead, K, 2)),
        "lam": rng.dirichlet(np.full(32, 0.3), (*lead, K)),
        "rho": rng.dirichlet(np.full(3, 0.3), (*lead, K, 32)),
        "pi": rng.dirichlet(np.ones(K), (*lead, 4)),
    }


def known(seed: int = 1, loci: int = 5) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        "exposure": rng.uniform(1, 2, loci),
        "context_opportunity": rng.uniform(1, 9, (32, loci)),
        "context_exposure": rng.uniform(0.5, 2, 32),
    }


DIMS = {
    "beta": ("process", "feature"),
    "lam": ("process", "context"),
    "rho": ("process", "context", "alternative"),
    "pi": ("genome", "process"),
    "exposure": ("locus",),
    "context_opportunity": ("context", "locus"),
    "context_exposure": ("context",),
}


def labelled(values: dict[str, Array]) -> xr.Dataset:
    return xr.Dataset({n: (("chain", "draw", "s")[: v.ndim - len(DIMS[n])] + DIMS[n], v) for n, v in values.items()})


def tree(**groups: dict[str, Array]) -> xr.DataTree:
    return xr.DataTree.from_dict({name: labelled(values) for name, values in groups.items()})


def permuted(values: dict[str, Array], order: list[int]) -> dict[str, Array]:
    return {n: np.take(v, order, DIMS[n].index("process") - len(DIMS[n])) for n, v in values.items()}


def naive(lam: Array, rho: Array, t: Array) -> Array:
    """Channel by channel, found by its name."""
    out = np.empty((len(lam), 96))
    for k in range(len(lam)):
        for m, name in enumerate(CHANNELS):  # A[C>T]G
            context = CONTEXTS.index(f"{name[:3]}{name[5:]}")
            alternative = "ACGT".replace(name[2], "").index(name[4])
            out[k, m] = lam[k, context] * t[context] * rho[k, context, alternative]
        out[k] /= out[k].sum()
    return out


def test_signatures_are_those_of_loops() -> None:
    values, data = parameters(), known()
    t = np.array(
        [
            sum(
                data["exposure"][at] * data["context_opportunity"][c, at] * data["context_exposure"][c]
                for at in range(5)
            )
            for c in range(32)
        ]
    )
    found = signatures(tree(truth=values, constant_data=data))
    np.testing.assert_allclose(found, naive(values["lam"], values["rho"], t), rtol=1e-12)
    assert found.dims == ("process", "channel")
    assert found.channel.to_numpy().tolist() == list(CHANNELS)
    np.testing.assert_allclose(found.sel(channel="T[T>G]T"), found[:, 95])
    np.testing.assert_allclose(signatures({**values, **data}), found, rtol=1e-12)
    np.testing.assert_allclose(signatures(values, opportunity=t), found, rtol=1e-12)
    np.testing.assert_allclose(
        signatures(values, opportunity=None), naive(values["lam"], values["rho"], np.ones(32)), rtol=1e-12
    )


def test_exposures_are_one_unless_given() -> None:
    values, data = parameters(), known()
    t = data["context_opportunity"].sum(1)
    found = signatures({**values, "context_opportunity": data["context_opportunity"]})
    np.testing.assert_allclose(found, naive(values["lam"], values["rho"], t), rtol=1e-12)


def test_two_contexts_by_hand() -> None:
    """Channels of contexts [C] and [T] in turn: C>A, C>G, C>T, T>A, T>C, T>G."""
    lam, rho = np.array([[0.25, 0.75]]), np.array([[[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]]])
    found = signatures({"lam": lam, "rho": rho}, opportunity=[3, 1])  # contexts weigh 3/4 : 3/4
    np.testing.assert_allclose(found, [[0.25, 0.125, 0.125, 0, 0.25, 0.25]])
    assert found.channel.to_numpy().tolist() == [0, 1, 2, 3, 4, 5]


def test_draws_are_kept_or_averaged_after_normalising() -> None:
    values = parameters(lead=(2, 3))
    t = np.linspace(1, 5, 32)
    kept = signatures(values, opportunity=t, keep_draws=True)
    assert kept.dims == ("chain", "draw", "process", "channel")
    for c in range(2):
        for s in range(3):
            np.testing.assert_allclose(kept[c, s], naive(values["lam"][c, s], values["rho"][c, s], t), rtol=1e-12)
    np.testing.assert_allclose(signatures(values, opportunity=t), kept.to_numpy().mean((0, 1)), rtol=1e-12)
    one = {name: value[0] for name, value in values.items()}
    assert signatures(one, opportunity=t, keep_draws=True).dims == ("draw", "process", "channel")


def test_group_of_a_tree() -> None:
    parts = {name: parameters(seed) for seed, name in enumerate(("truth", "point"))}
    both = tree(**parts, posterior=parameters(5, lead=(1, 2)))
    for group, values in parts.items():
        np.testing.assert_allclose(
            signatures(both, group=group, opportunity=None), signatures(values, opportunity=None), rtol=1e-12
        )
    first = signatures(both, opportunity=None)
    np.testing.assert_array_equal(first, signatures(both, group="posterior", opportunity=None))
    only = tree(point=parts["point"], truth=parts["truth"])
    np.testing.assert_array_equal(signatures(only, opportunity=None), signatures(only, group="point", opportunity=None))


def test_dims_in_another_order() -> None:
    values = labelled(parameters(lead=(1, 2)))
    turned = values.transpose("context", "draw", "alternative", "process", "chain", "genome", "feature")
    xr.testing.assert_allclose(signatures(values, opportunity=None), signatures(turned, opportunity=None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam": None}, "no 'lam'"),
        ({"rho": np.ones((3, 32, 4))}, r"rho \(3, 32, 4\)"),
        ({"rho": np.ones((2, 32, 3))}, r"rho \(2, 32, 3\)"),
        ({"lam": np.ones((3, 31)), "rho": np.ones((3, 31, 3))}, r"lam has shape \(3, 31\)"),
        ({"lam": np.ones(32)}, r"lam has shape \(32,\)"),
        ({"lam": np.where(np.arange(96).reshape(3, 32) == 33, np.nan, 1)}, r"lam\[process=1, context=1\]"),
        ({"lam": xr.DataArray(np.ones((3, 32)), dims=("component", "context"))}, "lam has dims"),
        ({"context_opportunity": None}, "the data give no 'context_opportunity'"),
        ({"context_opportunity": np.ones((31, 5))}, r"context_opportunity has shape \(31, 5\)"),
        ({"context_opportunity": np.ones(32)}, r"context_opportunity has shape \(32,\)"),
        ({"exposure": np.ones(4)}, r"exposure \(4,\)"),
        ({"context_exposure": np.ones(31)}, r"context_exposure \(31,\)"),
        ({"exposure": np.full(5, np.nan)}, "not negative"),
    ],
)
def test_signatures_reject(change: dict[str, Any], message: str) -> None:
    given = {n: v for n, v in {**parameters(), **known(), **change}.items() if v is not None}
    with pytest.raises(InputError, match=message):
        signatures(given)


@pytest.mark.parametrize("opportunity", ["human", np.ones(31), -np.ones(32), np.zeros(32), []])
def test_opportunity_rejects(opportunity: Any) -> None:
    with pytest.raises(InputError, match="opportunit"):
        signatures({**parameters(), **known()}, opportunity=opportunity)


def test_group_rejects() -> None:
    with pytest.raises(InputError, match=r"no group posterior .*it has truth, constant_data"):
        signatures(tree(truth=parameters(), constant_data=known()), group="posterior")
    with pytest.raises(InputError, match="no group posterior or point or truth"):
        signatures(tree(constant_data=known()))
    with pytest.raises(InputError, match="not as list"):
        signatures([1, 2])


def test_cosine_by_hand() -> None:
    found = cosine([[3, 4, 0], [0, 0, 2]], [[1, 0, 0], [4, 3, 0], [0, 0, 9]])
    np.testing.assert_allclose(found, [[0.6, 0.96, 0.0], [0.0, 0.0, 1.0]])
    assert found.dims == ("process", "reference")


def test_cosine_brings_channels_into_order() -> None:
    a = xr.DataArray([[1.0, 2.0, 5.0]], dims=("process", "channel"), coords={"channel": ["x", "y", "z"]})
    np.testing.assert_allclose(cosine(a, a[:, [2, 0, 1]]), [[1]])
    np.testing.assert_allclose(cosine(a.T, a[:, ::-1]), [[1]])
    with pytest.raises(InputError, match="channel z is on one side only"):
        cosine(a, a.assign_coords(channel=["x", "y", "w"]))


def test_cosine_rejects() -> None:
    with pytest.raises(InputError, match="signature 1 is zero"):
        cosine([[1, 2], [0, 0]], [[1, 2]])
    with pytest.raises(InputError, match="signature 0 is zero or not finite"):
        cosine([[1, 2]], [[1, np.nan]])
    with pytest.raises(InputError, match="2 and 3 channels"):
        cosine([[1, 2]], [[1, 2, 3]])
    with pytest.raises(InputError, match="draws averaged"):
        cosine(np.ones((2, 3, 4)), np.ones((3, 4)))


def test_match_maximises_the_sum() -> None:
    """Greedy matching would take the pair of cosine 1 first and lose more by the second."""
    a, b = [[1.0, 0, 0], [1, 1, 0]], [[1.0, 0, 0], [1, -0.1, 0]]
    np.testing.assert_allclose(cosine(a, b), [[1, 0.995], [0.707, 0.633]], atol=1e-3)  # sums 1.633 and 1.702
    assert match(a, b).tolist() == [1, 0]


def test_match_of_unequal_numbers() -> None:
    a = np.eye(4)[[2, 0, 3]]
    assert match(a, np.eye(4)).tolist() == [2, 0, 3]
    assert match(np.eye(4), a).tolist() == [1, -1, 0, 2]


def test_match_takes_trees() -> None:
    values, data = parameters(K=4), known()
    a, b = tree(truth=values, constant_data=data), tree(point=permuted(values, [2, 0, 3, 1]), constant_data=data)
    assert match(a, b).tolist() == [1, 3, 0, 2]


def test_recovery_by_loops() -> None:
    truth, data = parameters(K=3), known()
    order, rng = [2, 0, 1], np.random.default_rng(4)
    draws = {name: value + rng.uniform(0, 0.01, (2, 5, *value.shape)) for name, value in permuted(truth, order).items()}
    found = recovery(tree(posterior=draws, truth=truth, constant_data=data))
    assert found.matched.to_numpy().tolist() == [1, 2, 0]
    mean = {name: value.mean((0, 1)) for name, value in draws.items()}
    for name, size in (("lam", 32), ("rho", 96)):
        total = sum(np.abs(mean[name][i] - truth[name][k]).sum() for i, k in enumerate(order))
        assert float(found[f"{name}_mae"]) == pytest.approx(total / 3 / size)
    total = sum(abs(mean["pi"][g, i] - truth["pi"][g, k]) for g in range(4) for i, k in enumerate(order))
    assert float(found.pi_mae) == pytest.approx(total / 12)
    square = sum((mean["beta"][i, f] - truth["beta"][k, f]) ** 2 for f in range(2) for i, k in enumerate(order))
    assert float(found.beta_rmse) == pytest.approx(np.sqrt(square / 6))
    shape = signatures({**draws, **data}).to_numpy()
    true = signatures({**truth, **data}).to_numpy()
    for i, k in enumerate(order):
        expected = shape[i] @ true[k] / np.sqrt((shape[i] ** 2).sum() * (true[k] ** 2).sum())
        assert float(found.cosine[k]) == pytest.approx(expected)
    assert float(found.signature_mae) == pytest.approx(np.abs(shape - true[order]).mean())


def test_recovery_of_the_truth_is_perfect() -> None:
    truth, data = parameters(K=3), known()
    fitted = tree(point=permuted(truth, [1, 2, 0]), constant_data=data)
    for found in (
        recovery(fitted, tree(truth=truth)),
        recovery(labelled(truth), tree(truth=truth, constant_data=data)),
    ):
        np.testing.assert_allclose(found.cosine, 1)
        for name in ("beta_rmse", "pi_mae", "lam_mae", "rho_mae", "signature_mae"):
            assert float(found[name]) == pytest.approx(0, abs=1e-15)


def test_recovery_of_other_numbers_of_processes() -> None:
    truth = parameters(K=4)
    few = permuted(truth, [3, 1])
    found = recovery(few, truth, opportunity=None)
    assert found.matched.to_numpy().tolist() == [-1, 1, -1, 0]
    np.testing.assert_allclose(found.cosine, [np.nan, 1, np.nan, 1])
    assert float(found.pi_mae) == pytest.approx(0, abs=1e-15)
    found = recovery(truth, few, opportunity=None)
    assert found.matched.to_numpy().tolist() == [3, 1]
    assert float(found.beta_rmse) == pytest.approx(0, abs=1e-15)


def test_recovery_leaves_out_what_shapes_do_not_allow() -> None:
    truth = parameters()
    found = recovery({**truth, "beta": truth["beta"][:, :1], "pi": truth["pi"][:2]}, truth, opportunity=None)
    assert set(found.data_vars) == {"matched", "cosine", "lam_mae", "rho_mae", "signature_mae"}
    found = recovery({n: truth[n] for n in ("lam", "rho")}, truth, opportunity=None)
    assert "pi_mae" not in found


def test_recovery_goes_by_the_names_of_features() -> None:
    truth = labelled(parameters()).assign_coords(feature=["gc", "timing"])
    assert float(recovery(truth.isel(feature=[1, 0]), truth, opportunity=None).beta_rmse) == 0
    numbered = truth.assign_coords(feature=[0, 1])
    assert float(recovery(numbered, truth, opportunity=None).beta_rmse) == 0
    with pytest.raises(InputError, match="feature timing is on one side only"):
        recovery(truth.assign_coords(feature=["gc", "x"]), truth, opportunity=None)


def test_recovery_rejects() -> None:
    truth = parameters()
    with pytest.raises(InputError, match="no group truth"):
        recovery(tree(posterior=parameters(lead=(1, 2)), constant_data=known()))
    with pytest.raises(InputError, match="no group posterior"):
        recovery(tree(truth=truth, constant_data=known()))
    with pytest.raises(InputError, match="give no 'context_opportunity'"):
        recovery(truth, truth)
    with pytest.raises(InputError, match="no 'lam'"):
        recovery({"beta": truth["beta"]}, truth, opportunity=None)


@pytest.mark.slow
def test_recovery_of_a_fit() -> None:
    """Two processes, 3000 mutations: far closer to the truth than the two processes are to each other."""
    settings: dict[str, Any] = {"cell": 3000, "genome": 10, "locus": 60, "process": 2, "feature": 2}
    simulated = gn.simulate("locus_regression", 3, **settings)
    found = recovery(gn.fit("locus_regression", simulated, "vi", 1, process=2, restarts=1, draws=100, sweeps=400))
    shapes = signatures(simulated)
    assert found.cosine.min() > 0.95
    assert float(cosine(shapes[:1], shapes[1:])[0, 0]) < 0.6
    assert found.beta_rmse < 0.15
    assert found.pi_mae < 0.06


def cosmic(seed: int = 0, count: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = [f"SBS{i}" for i in range(1, count + 1)]
    return pd.DataFrame(rng.dirichlet(np.full(96, 0.2), count).T, index=list(CHANNELS), columns=names)


def test_compare_finds_the_signatures_of_a_shuffled_table() -> None:
    table = cosmic(count=4)
    mixed = np.stack([table["SBS3"], 0.8 * table["SBS2"] + 0.2 * table["SBS4"]])
    found = compare(mixed, table.sample(frac=1, random_state=1), best=2)
    assert found.match.to_numpy().tolist() == [["SBS3", found.match.to_numpy()[0, 1]], ["SBS2", "SBS4"]]
    assert found["rank"].to_numpy().tolist() == [1, 2]
    for k in range(2):
        for name in table:
            expected = mixed[k] @ table[name] / np.sqrt((mixed[k] ** 2).sum() * (table[name] ** 2).sum())
            assert float(found.cosine.sel(process=k, reference=name)) == pytest.approx(expected)
        for rank in (0, 1):
            same = found.cosine.sel(process=k, reference=found.match[k, rank].item())
            assert float(found.match_cosine[k, rank]) == float(same)
    assert (found.match_cosine[:, 0] >= found.match_cosine[:, 1]).all()
    assert compare(mixed, table, best=99).sizes["rank"] == 4


def test_compare_takes_a_tree() -> None:
    values, data = parameters(), known()
    source = tree(truth=values, constant_data=data)
    names = [f"known {k}" for k in range(3)]
    table = pd.DataFrame(signatures(source).to_numpy().T, index=list(CHANNELS), columns=names)
    found = compare(source, table.iloc[::-1], best=1)
    assert found.match.to_numpy().ravel().tolist() == names
    np.testing.assert_allclose(found.match_cosine, 1)


def test_compare_reads_cosmics_file(tmp_path: Path) -> None:
    table = cosmic().sample(frac=1, random_state=2)
    path = tmp_path / "COSMIC_v3.4_SBS_GRCh38.txt"
    table.rename_axis("Type").reset_index().to_csv(path, sep="\t", index=False)
    expected = read_table(cosmic())
    assert expected.dims == ("reference", "channel")
    assert expected.channel.to_numpy().tolist() == list(CHANNELS)
    np.testing.assert_array_equal(expected, cosmic().to_numpy().T)
    for given in (path, str(path), table, table.rename_axis("Type").reset_index()):
        xr.testing.assert_allclose(read_table(given), expected)
    np.testing.assert_allclose(compare(cosmic(), path, best=1).match_cosine, 1)


def edited(change: str) -> Any:
    table = cosmic()
    if change == "missing":
        return table.drop(index=["A[C>A]C", "T[T>G]T"])
    if change == "unknown":
        return table.rename(index={"A[C>A]C": "ACC>A"})
    if change == "twice":
        return pd.concat([table, table.loc[["G[T>A]G"]]])
    if change == "names":
        return table.set_axis(["SBS1", "SBS2", "SBS1"], axis=1)
    if change == "empty":
        return table.iloc[:, :0]
    if change == "zero":
        return table.assign(SBS2=0.0)
    if change == "text":
        return table.astype(object).replace({"SBS2": {table.loc["C[C>T]G", "SBS2"]: "n/a"}})
    table.loc["C[C>T]G", "SBS2"] = {"negative": -0.5, "nan": np.nan}[change]
    return table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"2 missing \(A\[C>A\]C, T\[T>G\]T\)"),
        ("unknown", r"1 missing \(A\[C>A\]C\); 1 unknown \(ACC>A\)"),
        ("twice", r"1 there twice \(G\[T>A\]G\)"),
        ("negative", r"'SBS2' has the entry -0.5 for C\[C>T\]G.*1 are not"),
        ("nan", r"'SBS2' has the entry nan for C\[C>T\]G"),
        ("text", r"'SBS2' has the entry n/a for C\[C>T\]G"),
        ("names", "named SBS1, SBS2, SBS1"),
        ("empty", "named none"),
        ("zero", "signature SBS2 is zero"),
    ],
)
def test_compare_rejects(change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(np.ones((1, 96)), edited(change))


def test_compare_rejects_other_tables(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    cosmic().T.rename_axis("signature").to_csv(path, sep="\t")
    with pytest.raises(InputError, match=r"table\.txt: there is no column 'Type'"):
        compare(np.ones((1, 96)), path)
    with pytest.raises(InputError, match="no such file"):
        compare(np.ones((1, 96)), tmp_path / "other.txt")
    with pytest.raises(InputError, match="is a ndarray"):
        compare(np.ones((1, 96)), np.ones((96, 2)))
    with pytest.raises(InputError, match="6 and 96 channels"):
        compare(np.ones((1, 6)), cosmic())
