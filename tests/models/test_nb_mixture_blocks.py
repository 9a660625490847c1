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
from genarium.models.nb_mixture.adjusted_fit import adjusted_vi
from genarium.models.nb_mixture.adjusted_step import Step as AdjustedStep
from genarium.models.nb_mixture.blocks import Blocks, InMemory
from genarium.models.nb_mixture.em_step import Step
from genarium.models.nb_mixture.search import picked
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
    counts = Blocks(InMemory(given["x"], given["size_factor"]), 500, np.random.default_rng(0))
    parts = Step(given, counts=counts)
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
    parts = [part for batch in stepwise.slices(200_000, np.random.default_rng(0)) for part in batch]
    found = np.concatenate([np.arange(part.start, part.stop) for part in parts])
    np.testing.assert_array_equal(np.sort(found), np.arange(200_000))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dispersion", ["known", "gene", "component"])
def test_small_steps_come_near_the_mode_and_sweeps_reach_it(dispersion: str) -> None:
    given = problem(dispersion)
    step = Step(given)
    best = ascend(step, step.start_at(MU), tolerance=1e-6)
    cells = stepwise.cells_of(given, np.random.default_rng(0))
    start = step.start_at(1.2 * MU)
    near = stepwise.small_steps(cells, start, np.random.default_rng(0), epochs=5, forgetting=0.9)
    assert step(near)[1] > best.bound - 2e-4 * abs(best.bound)
    assert step(near)[1] > step(start)[1]
    result = gn.fit(given.model, {**given.arrays}, "online", component=3, restarts=3)
    assert result["point"]["bound"].to_numpy()[0, -1] == pytest.approx(best.bound, rel=1e-6)
    falls = np.diff(result["point"]["bound"].to_numpy()[0])
    assert falls.min() > -1e-6  # rounding


ALL = {"weights": "covariates", "means": "batch", "zeros": "inflated"}


def adjusted(options: dict[str, str]) -> Problem:
    """Cells in batches of unequal size that lie one after the other, with covariates and lost counts."""
    rng = np.random.default_rng(8)
    depth = rng.lognormal(0, 0.4, CELLS)
    sizes = {"batch": 3} if "means" in options else {}
    told = {"mu": MU, "pi": [0.5, 0.3, 0.2], "size_factor": depth}
    tree = gn.simulate("nb_mixture", 3, cell=CELLS, gene=3, component=3, **options, **sizes, **told)
    given = check(gn.get("nb_mixture").variant(**options), tree, {"component": 3})
    return picked(given, np.argsort(given["batch"], kind="stable")) if "means" in options else given


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({**ALL, "dispersion": "gene"}, marks=pytest.mark.slow),
        {"means": "batch"},
        *(pytest.param({n: v}, marks=pytest.mark.slow) for n, v in ALL.items() if n != "means"),
        pytest.param({**ALL, "dispersion": "component"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_small_steps_come_near_the_mode_with_the_options_that_adjust(options: dict[str, str]) -> None:
    given = adjusted(options)
    step = AdjustedStep(given, point=True)
    best = ascend(step, step.start_at(MU, np.zeros((3, 3))), tolerance=1e-5)
    cells = stepwise.cells_of(given, np.random.default_rng(0))
    start = step.start_at(1.2 * MU, np.zeros((3, 3)))
    near = stepwise.small_steps(cells, start, np.random.default_rng(0), epochs=2, forgetting=0.9)
    assert step(near)[1] > best.bound - 3e-4 * abs(best.bound)
    result = gn.fit(given.model, {**given.arrays}, "online", component=3, restarts=10)
    bounds = result["point"]["bound"].to_numpy()[0]
    assert bounds[-1] == pytest.approx(best.bound, rel=1e-5)
    assert np.diff(bounds).min() > -1e-6  # rounding


@pytest.mark.usefixtures("small")
def test_sums_over_batches_add_up_to_those_over_all_cells() -> None:
    given = adjusted({**ALL, "dispersion": "gene"})
    step = AdjustedStep(given, point=True)
    state = step.start_at(1.2 * MU, np.zeros((3, 3)))
    cells = stepwise.AdjustedCells(given, np.random.default_rng(0))
    parts = [cells.sums(state, batch) for batch in cells.batches(np.random.default_rng(1))]
    assert sum(share for _, share in parts) == pytest.approx(1)
    found = stepwise.combined(*((1.0, sums) for sums, _ in parts))
    wanted = step.bound.expect(state)[0]
    assert found.frequency is not None
    for name in ("weight", "total", "lost", "covariates"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.frequency[0], step.cells.counts.frequency)


@pytest.mark.usefixtures("small")
def test_svi_with_batches_ends_where_vi_does() -> None:
    given = adjusted({"means": "batch"})
    ours = stepwise.svi(given, np.random.default_rng(0), restarts=3, tolerance=1e-9, sweeps=50)
    theirs = adjusted_vi(given, np.random.default_rng(0), restarts=3)
    assert ours.notes["bound"] == pytest.approx(theirs.notes["bound"], abs=0.05)
    for name in ("pi", "mu", "shift"):
        one, two = np.asarray(ours.posterior[name])[0], np.asarray(theirs.posterior[name])[0]
        np.testing.assert_allclose(one.std(0), two.std(0), rtol=5 / np.sqrt(1000))
        assert np.abs((one.mean(0) - two.mean(0)) / two.std(0)).max() < 5 * np.sqrt(2 / 1000)


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
    with pytest.raises(InputError, match="the gene name '1' is used more than once"):
        fit_file(model, file, component=3, genes=["1", "1"])
    (tmp_path / "odd.h5ad").write_text("no")
    with pytest.raises(InputError, match=r"odd\.h5ad"):
        fit_file(model, tmp_path / "odd.h5ad", component=3)
    x = np.random.default_rng(0).poisson(5.0, (300, 2)).astype(float)
    odd = np.where(np.arange(300)[:, None] == 250, 0.5, x)  # beyond the rows that are looked at first
    for given in (odd, pytest.importorskip("dask.array").from_array(odd, chunks=(100, 2))):
        with pytest.raises(InputError, match=r"is 0.5, which is not a count"):
            fit_file(model, given, component=2)
    for factors, message in (
        ("total", "is for files"),
        (np.ones(9), "300 cells, but"),
        (x[:, 0] - 20, "must be positive"),
    ):
        with pytest.raises(InputError, match=message):
            fit_file(model, x, component=2, size_factor=factors)
