"""Fits that read cells in blocks against fits that hold them all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.engines.ascent import ascend
from genarium.errors import InputError
from genarium.models.nb_mixture import blocks, stepwise
from genarium.models.nb_mixture.blocks import Blocks, InMemory
from genarium.models.nb_mixture.em import Step
from genarium.models.nb_mixture.stores import fit_file
from genarium.models.nb_mixture.vi import vi

pytestmark = pytest.mark.filterwarnings("ignore:The 'future.infer_string' option")  # of AnnData

MU = np.array([[20.0, 200.0, 5.0], [200.0, 20.0, 5.0], [60.0, 60.0, 90.0]])
CELLS = 3000


def data(depth: bool = True) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    s = rng.lognormal(0, 0.5, CELLS) if depth else np.ones(CELLS)
    group = np.sort(rng.choice(3, CELLS, p=[0.5, 0.3, 0.2]))  # one group after the other, as samples are in files
    r = 2.5
    mean = s[:, None] * MU[group]
    return rng.negative_binomial(r, r / (r + mean)), s


def problem(dispersion: str = "gene", depth: bool = True) -> Problem:
    x, s = data(depth)
    model = gn.get("nb_mixture").variant(dispersion=dispersion)
    known = {"phi": 0.4} if dispersion == "known" else {}
    return check(model, {"x": x, "size_factor": s, **known}, {"component": 3})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and batches so small that there are many."""
    monkeypatch.setattr(blocks, "CHUNK", 700)
    monkeypatch.setattr(stepwise, "SAMPLE", 800)
    monkeypatch.setattr(stepwise, "BATCH", 256)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dispersion", ["known", "gene", "component"])
@pytest.mark.parametrize("depth", [True, False])
def test_a_sweep_over_blocks_is_that_over_all_cells(dispersion: str, depth: bool) -> None:
    given = problem(dispersion, depth)
    whole = Step(given)
    parts = Step(given, Blocks(InMemory(given["x"], given["size_factor"]), 500, np.random.default_rng(0)))
    state = whole.start_at(1.3 * MU)
    (one, bound), (two, same) = whole(state), parts(state)
    assert same == pytest.approx(bound, rel=1e-11)
    np.testing.assert_allclose(two.mu, one.mu, rtol=1e-8)
    np.testing.assert_allclose(two.pi, one.pi, rtol=1e-9)
    np.testing.assert_allclose(two.phi, one.phi, rtol=1e-6)


def test_first_reading_keeps_a_random_part() -> None:
    x, s = data()
    found = Blocks(InMemory(x, s), 600, np.random.default_rng(1))
    assert len(found.sample[0]) == pytest.approx(600, abs=5 * np.sqrt(600))
    rows = {tuple(row) for row in np.column_stack([x, s]).tolist()}
    assert all(tuple(row) in rows for row in np.column_stack(found.sample).tolist())


def test_batches_hold_every_cell_once() -> None:
    x = np.arange(2000)[:, None]
    found = np.concatenate([rows for rows, _ in stepwise.batches(InMemory(x, np.ones(2000)), np.random.default_rng(0))])
    np.testing.assert_array_equal(np.sort(found[:, 0]), np.arange(2000))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dispersion", ["known", "gene", "component"])
def test_small_steps_come_near_the_mode_and_sweeps_reach_it(dispersion: str) -> None:
    given = problem(dispersion)
    step = Step(given)
    best = ascend(step, step.start_at(MU), tolerance=1e-6)
    source = InMemory(given["x"], given["size_factor"])
    counts = Blocks(source, 800, np.random.default_rng(0))
    start = step.start_at(1.2 * MU)
    near = stepwise.small_steps(Step(given, counts), start, source, np.random.default_rng(0), epochs=5, forgetting=0.9)
    assert step(near)[1] > best.bound - 2e-4 * abs(best.bound)
    assert step(near)[1] > step(start)[1]
    result = gn.fit(given.model, {**given.arrays}, "online", component=3, restarts=3)
    assert result["point"]["bound"].to_numpy()[0, -1] == pytest.approx(best.bound, rel=1e-6)
    falls = np.diff(result["point"]["bound"].to_numpy()[0])
    assert falls.min() > -1e-6  # rounding


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dispersion", ["known", "gene"])
def test_svi_ends_where_vi_does(dispersion: str) -> None:
    given = problem(dispersion)
    ours = stepwise.svi(given, np.random.default_rng(0), restarts=3, tolerance=1e-9)
    theirs = vi(given, np.random.default_rng(0), restarts=3)
    assert ours.notes["bound"] == pytest.approx(theirs.notes["bound"], abs=0.05)
    for name in ("pi", "mu", "phi"):
        if name in ours.posterior:
            one, two = np.asarray(ours.posterior[name])[0], np.asarray(theirs.posterior[name])[0]
            sd = two.std(0)
            assert np.abs(one.mean(0) - two.mean(0)).max() < np.max(5 * sd * np.sqrt(2 / 1000))
            np.testing.assert_allclose(one.std(0), sd, rtol=5 / np.sqrt(1000))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", ["h5ad", "dense", "zarr", "dask", "memory"])
def test_files_and_blocks_give_what_arrays_do(kind: str, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    x, s = data()
    held: Any = anndata.AnnData((x if kind == "dense" else sparse.csr_matrix(x)).astype(np.float32))
    held.obs["s"] = s
    held.var_names = ["a", "b", "c"]
    options: dict[str, Any] = {"component": 3, "restarts": 3, "size_factor": "s"}
    if kind == "zarr":
        pytest.importorskip("zarr")
        held.write_zarr(where := tmp_path / "cells.zarr")
    elif kind in ("h5ad", "dense"):
        held.write_h5ad(where := tmp_path / "cells.h5ad")
    else:
        array: Any = x
        if kind == "dask":
            array = pytest.importorskip("dask.array").from_array(x, chunks=(900, 3))
        where, options["size_factor"] = array, s
    tree = fit_file(gn.get("nb_mixture"), where, **options)
    step = Step(problem())
    best = ascend(step, step.start_at(MU), tolerance=1e-6)
    assert tree["point"]["bound"].to_numpy()[0, -1] == pytest.approx(best.bound, rel=1e-6)
    if kind not in ("dask", "memory"):
        assert list(tree["point"]["gene"].to_numpy()) == ["a", "b", "c"]
    new = gn.predict(tree, {"x": x[:5], "size_factor": s[:5]})
    assert new["predictions"]["probability"].shape == (5, 3)


def test_size_factors_and_genes_of_a_file(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    x, _ = data()
    held = anndata.AnnData(sparse.csr_matrix(x.astype(np.float32)))
    held.var_names = ["a", "b", "c"]
    held.write_h5ad(tmp_path / "cells.h5ad")
    from genarium.models.nb_mixture.stores import Stored

    source = Stored(tmp_path / "cells.h5ad", ["c", "a"], "", "total")
    rows, s = source.rows(10, 12)
    np.testing.assert_array_equal(rows, x[10:12][:, [2, 0]])
    np.testing.assert_allclose(s, x.sum(1)[10:12] / x.sum(1).mean())


def test_faults_of_files(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    model = gn.get("nb_mixture")
    x, _ = data()
    file = tmp_path / "cells.h5ad"
    anndata.AnnData(sparse.csc_matrix(x.astype(np.float32))).write_h5ad(file)
    with pytest.raises(InputError, match="tocsr"):
        fit_file(model, file, component=3)
    wrong = x.astype(np.float32)
    wrong[7, 1] = 0.5
    anndata.AnnData(sparse.csr_matrix(wrong)).write_h5ad(file)
    with pytest.raises(InputError, match=r"gene '1' of cell 7 is 0\.5"):
        fit_file(model, file, component=3)
    with pytest.raises(InputError, match="'sf'"):
        fit_file(model, file, component=3, size_factor="sf")
    with pytest.raises(InputError, match="'z'"):
        fit_file(model, file, component=3, genes=["z"])
    (tmp_path / "odd.h5ad").write_text("no")
    with pytest.raises(InputError, match=r"odd\.h5ad"):
        fit_file(model, tmp_path / "odd.h5ad", component=3)
