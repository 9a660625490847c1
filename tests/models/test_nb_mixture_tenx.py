"""Single-cell files in and out: matrices of Cell Ranger, the choice of genes, predictions beside the counts."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.io import mmwrite

import genarium as gn
from genarium.cli import main
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.nb_mixture.genes import most_variable, residual_variance
from genarium.models.nb_mixture.stores import fit_file
from genarium.readers.h5ad import COUNTS
from genarium.readers.matrix import Matrix
from genarium.verbs.annotate import annotate
from genarium.verbs.read import told

pytestmark = pytest.mark.filterwarnings("ignore:The 'future.infer_string' option")  # of AnnData

IDS = ["ENSG1", "ENSG2", "ENSG3", "AB1"]
SYMBOLS = ["A", "B", "B", "CD3"]
TYPES = ["Gene Expression"] * 3 + ["Antibody Capture"]
CELLS = ["AAAC-1", "AAAG-1", "AAAT-1"]
X = np.array([[1, 0, 2, 7], [0, 3, 0, 0], [4, 0, 0, 1]])  # cells by features


def folder(path: Path, *, packed: bool = True, old: bool = False) -> Path:
    path.mkdir(parents=True)
    features = ["\t".join(row[: 2 if old else 3]) for row in zip(IDS, SYMBOLS, TYPES, strict=True)]
    texts = {"barcodes.tsv": CELLS, ("genes.tsv" if old else "features.tsv"): features}
    for name, lines in texts.items():
        content = ("\n".join(lines) + "\n").encode()
        (path / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    mmwrite(path / "matrix.mtx", sparse.coo_array(X.T), field="integer")
    if packed:
        (path / "matrix.mtx.gz").write_bytes(gzip.compress((path / "matrix.mtx").read_bytes()))
        (path / "matrix.mtx").unlink()
    return path


def hdf5(path: Path, *, old: bool = False) -> Path:
    columns = sparse.csc_array(X.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("hg19" if old else "matrix")
        group["data"], group["indices"], group["indptr"] = columns.data, columns.indices, columns.indptr
        group["shape"], group["barcodes"] = columns.shape, np.array(CELLS, dtype="S")
        features = group if old else group.create_group("features")
        features["genes" if old else "id"] = np.array(IDS, dtype="S")
        features["gene_names" if old else "name"] = np.array(SYMBOLS, dtype="S")
        if not old:
            features["feature_type"] = np.array(TYPES, dtype="S")
    return path


MAKE: dict[str, Callable[[Path], Path]] = {
    "folder": lambda path: folder(path / "m"),
    "plain": lambda path: folder(path / "m", packed=False),
    "h5": lambda path: hdf5(path / "m.h5"),
}


@pytest.mark.parametrize("kind", MAKE)
def test_matrices_of_cell_ranger(kind: str, tmp_path: Path) -> None:
    tree = gn.read("nb_mixture", MAKE[kind](tmp_path))
    x = tree["observed_data"]["x"]
    np.testing.assert_array_equal(x, X[:, :3])
    assert list(x["cell"].to_numpy()) == CELLS
    assert list(x["gene"].to_numpy()) == ["A", "B (ENSG2)", "B (ENSG3)"]
    said = "\n".join(told(tree))
    assert "1 feature (not of the type Gene Expression)" in said or "feature CD3 (not of the type" in said
    assert "share a symbol" in said


@pytest.mark.parametrize("kind", ["folder", "h5"])
def test_version_two_has_no_types(kind: str, tmp_path: Path) -> None:
    made = folder(tmp_path / "m", old=True) if kind == "folder" else hdf5(tmp_path / "m.h5", old=True)
    tree = gn.read("nb_mixture", made, "10x", genes="A,CD3", size_factor="total")
    np.testing.assert_array_equal(tree["observed_data"]["x"], X[:, [0, 3]])
    total = X.sum(1)
    np.testing.assert_allclose(tree["constant_data"]["size_factor"], total / total.mean())


def test_an_antibody_called_as_a_gene_changes_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anndata = pytest.importorskip("anndata")
    monkeypatch.setattr(f"{__name__}.SYMBOLS", ["CD3", "B", "B", "CD3"])
    made = folder(tmp_path / "m")
    assert list(gn.read("nb_mixture", made)["observed_data"]["gene"].to_numpy()) == ["CD3", "B (ENSG2)", "B (ENSG3)"]
    tree = gn.read("nb_mixture", made, feature_type="Antibody Capture", phi=0.3)
    np.testing.assert_array_equal(tree["observed_data"]["x"], X[:, 3:])
    annotate(gn.fit("nb_mixture", tree, "em", component=2), made, tmp_path / "out.h5ad")
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(found.var_names) == ["CD3"]
    assert np.isfinite(found.varm["nb_mixture_mu"]).all()  # those of the features that were fitted


def test_faults_of_cell_ranger_files(tmp_path: Path) -> None:
    two = hdf5(tmp_path / "two.h5", old=True)
    with h5py.File(two, "a") as file:
        file.copy("hg19", "mm10")
    with pytest.raises(InputError, match="a matrix for each of the genomes hg19, mm10"):
        gn.read("nb_mixture", two, "10x")
    made = folder(tmp_path / "a", packed=False)
    (made / "barcodes.tsv").write_text("AAAC-1\nAAAG-1\n")
    with pytest.raises(InputError, match="3 cells, but 4 features and 2 barcodes"):
        gn.read("nb_mixture", made, "10x")
    (made / "barcodes.tsv").write_text("AAAC-1\nAAAC-1\nAAAG-1\n")
    with pytest.raises(InputError, match="'AAAC-1' is there more than once"):
        gn.read("nb_mixture", made, "10x")
    (made / "barcodes.tsv").write_bytes(b"AAAC-1\nAAAG\0\0\nAAAT-1\n")  # NumPy would drop the zeros at the end
    with pytest.raises(InputError, match=r"barcodes\.tsv: this is binary data"):
        gn.read("nb_mixture", made, "10x")
    with pytest.raises(InputError, match="no folder or file was given"):
        gn.read("nb_mixture", [], "10x")
    (made / "barcodes.tsv").unlink()
    with pytest.raises(InputError, match=r"no barcodes\.tsv"):
        gn.read("nb_mixture", made, "10x")
    cut = folder(tmp_path / "b", packed=False) / "matrix.mtx"
    cut.write_text(cut.read_text()[:-6])
    with pytest.raises(InputError, match=r"matrix\.mtx: line"):
        gn.read("nb_mixture", cut.parent, "10x")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["x"] = [1]
    with pytest.raises(InputError, match="not a 10x Genomics matrix; it has"):
        gn.read("nb_mixture", tmp_path / "c.h5", "10x")
    wrong = hdf5(tmp_path / "d.h5")
    with h5py.File(wrong, "a") as file:
        file["matrix/indices"][0] = 99
    with pytest.raises(InputError, match="is damaged"):
        gn.read("nb_mixture", wrong, "10x")
    with pytest.raises(InputError, match="no features of the type 'Peaks'"):
        gn.read("nb_mixture", hdf5(tmp_path / "e.h5"), "10x", feature_type="Peaks")


@pytest.mark.parametrize("ends", ["-1", "", "mixed"])
def test_lanes_may_share_barcodes(ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = ["AAAC-1", "AAAG-2", "AAAT-1"] if ends == "mixed" else [f"{name[:4]}{ends}" for name in CELLS]
    monkeypatch.setattr(f"{__name__}.CELLS", cells)
    one = folder(tmp_path / "lane1")
    with pytest.raises(InputError, match="the same folder is given twice"):
        gn.read("nb_mixture", [one, one], "10x")
    with pytest.raises(InputError, match=r"same\.h5: it holds what .*lane1 holds"):
        gn.read("nb_mixture", [one, hdf5(tmp_path / "same.h5")], "10x")
    monkeypatch.setattr(f"{__name__}.X", X + 1)
    monkeypatch.setattr(f"{__name__}.CELLS", [*cells[:2], cells[2].replace("AAAT", "AATT")])
    tree = gn.read("nb_mixture", [one, folder(tmp_path / "lane2")], "10x", size_factor="total")
    found = tree["observed_data"]["x"]
    np.testing.assert_array_equal(found, np.vstack([X[:, :3] - 1, X[:, :3]]))
    stems = [name if ends == "mixed" else name[:4] for name in [*cells, *CELLS]]
    assert list(found["cell"].to_numpy()) == [f"{stem}-{1 + (i > 2)}" for i, stem in enumerate(stems)]
    assert any(
        "2 barcodes are in several files" in line and f"-2 is {tmp_path / 'lane2'}" in line for line in told(tree)
    )


def grouped(cells: int = 600, genes: int = 300, marks: int = 30) -> tuple[Array, Array]:
    """Counts of two groups of unequal depth that differ in the first genes; means span three orders of magnitude."""
    rng = np.random.default_rng(0)
    mean = np.exp(rng.uniform(np.log(0.05), np.log(50), genes))
    group = rng.random(cells) < 0.3
    fold = np.ones((2, genes))
    fold[1, :marks] = np.exp(rng.choice([-1.2, 1.2], marks))
    mu = rng.lognormal(0, 0.6, cells)[:, None] * mean * fold[group.astype(int)]
    return rng.negative_binomial(3.0, 3.0 / (3.0 + mu)), np.arange(genes) < marks


@pytest.mark.parametrize("stored", ["dense", "sparse"])
def test_genes_are_chosen_that_one_group_does_not_explain(stored: str) -> None:
    x, marks = grouped()
    entries = sparse.csr_array(x) if stored == "sparse" else x
    matrix = Matrix(COUNTS, [Path("x")], None, [str(d) for d in range(x.shape[1])], entries)
    picks = most_variable(matrix, 30)
    detectable = marks & (x.mean(0) > 0.5)
    found = np.isin(np.flatnonzero(detectable), picks).mean()
    logs = np.argsort(-np.log1p(x).var(0))[:30]
    assert found > 0.8
    assert found > np.isin(np.flatnonzero(detectable), logs).mean() + 0.3  # variance of logs follows the mean
    assert np.median(residual_variance(matrix)[~marks]) == pytest.approx(1, abs=0.15)


def test_residual_variance_is_that_of_a_loop() -> None:
    x, _ = grouped(50, 12, 3)
    x[:, 5] = 0
    matrix = Matrix(COUNTS, [Path("x")], None, [str(d) for d in range(12)], x)
    s = x.sum(1) / x.sum(1).mean()
    mean = x.sum(0) / s.sum()
    own = []
    for d in range(12):
        if x[:, d].sum() >= 20:
            own.append(((x[:, d] - s * mean[d]) ** 2 - s * mean[d]).sum() + (s * mean[d] - x[:, d]).sum())
            own[-1] /= (s**2 * mean[d] ** 2).sum()
    phi = np.median(own)
    for d in range(12):
        m = s * mean[d]
        expected = np.clip((x[:, d] - m) / np.sqrt(m + phi * m**2), -np.sqrt(50), np.sqrt(50)).var() if m.any() else 0.0
        assert residual_variance(matrix)[d] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("method", ["em", pytest.param("vi", marks=pytest.mark.slow)])
def test_predictions_go_back_beside_the_counts(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anndata = pytest.importorskip("anndata")
    rng = np.random.default_rng(1)
    group = rng.choice(2, 80)
    x = rng.negative_binomial(3, 3 / (3 + np.array([[30, 5, 10, 2], [3, 40, 10, 2]])[group]))
    x[7] = 0
    obs = pd.DataFrame({"batch": ["a"] * 80}, index=[f"c{i}" for i in range(80)])
    data = anndata.AnnData(x.astype(np.float32), obs, pd.DataFrame(index=["g1", "g2", "g3", "g4"]))
    file, out = tmp_path / "cells.h5ad", tmp_path / "cells_out.h5ad"
    data.write_h5ad(file)

    def run(command: str) -> int:
        return main([word.format(t=tmp_path) for word in command.split()])

    assert run("read nb_mixture {t}/cells.h5ad --option genes=g2,g1 --option empty=drop -o {t}/q.nc --set phi=0.3") == 0
    assert run(f"fit nb_mixture {{t}}/q.nc --method {method} --set component=2 -o {{t}}/fit.nc") == 0
    assert run("predict {t}/fit.nc {t}/cells.h5ad -o {t}/cells_out.h5ad") == 0
    assert "wrote" in capsys.readouterr().out + capsys.readouterr().err or out.exists()
    found = anndata.read_h5ad(out)
    np.testing.assert_array_equal(found.X, data.X)
    assert list(found.obs["batch"]) == ["a"] * 80
    assert found.obs["nb_mixture_group"].isna().sum() == 1
    assert found.obs["nb_mixture_group"].isna().iloc[7]
    kept = np.arange(80) != 7
    agree = (found.obs["nb_mixture_group"][kept].astype(int) == group[kept]).mean()
    assert max(agree, 1 - agree) > 0.9
    probability = found.obsm["nb_mixture_probability"]
    np.testing.assert_allclose(probability[kept].sum(1), 1)
    np.testing.assert_allclose(found.obs["nb_mixture_probability"][kept], probability[kept].max(1))
    mu = found.varm["nb_mixture_mu"]
    assert np.isnan(mu[2:]).all()
    means = np.array([x[kept][group[kept] == k][:, :2].mean(0) for k in range(2)])
    np.testing.assert_allclose(np.sort(mu[:2].T[:, 0]), np.sort(means[:, 0]), rtol=0.1)
    assert found.uns["nb_mixture"]["method"] == method
    assert run("predict {t}/fit.nc {t}/cells.h5ad -o {t}/cells.h5ad") == 0  # in place
    assert "nb_mixture_group" in anndata.read_h5ad(file).obs
    assert run("predict {t}/fit.nc -o {t}/no.h5ad") != 0
    assert "name the file with the data" in capsys.readouterr().err
    assert run("predict {t}/fit.nc {t}/cells.h5ad -o {t}/groups.csv") == 0
    assert len(pd.read_csv(tmp_path / "groups.csv")) == 79
    data.layers["counts"], data.X = data.X, np.log1p(data.X)
    data.write_h5ad(file)
    assert run("predict {t}/fit.nc {t}/cells.h5ad -o {t}/layer.h5ad") != 0
    assert "--option layer=counts" in capsys.readouterr().err
    for output in ("layer.h5ad", "layer.csv"):
        assert run(f"predict {{t}}/fit.nc {{t}}/cells.h5ad --option layer=counts -o {{t}}/{output}") == 0
    np.testing.assert_array_equal(
        anndata.read_h5ad(tmp_path / "layer.h5ad").obsm["nb_mixture_probability"], probability
    )


def test_cell_ranger_to_anndata(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    hdf5(tmp_path / "m.h5")
    tree = gn.read("nb_mixture", tmp_path / "m.h5", phi=0.3)
    gn.fit("nb_mixture", tree, "em", component=2).to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    assert main(["predict", str(tmp_path / "fit.nc"), str(tmp_path / "m.h5"), "-o", str(tmp_path / "out.h5ad")]) == 0
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(found.var_names) == ["A", "B (ENSG2)", "B (ENSG3)"]
    assert found.obs["nb_mixture_group"].notna().all()


@pytest.mark.parametrize("how", ["total", "median"])
def test_size_factors_of_new_cells_are_relative_to_those_of_the_fit(how: str, tmp_path: Path) -> None:
    """The deepest cells alone are what they are among all, with genes in another order."""
    anndata = pytest.importorskip("anndata")
    rng = np.random.default_rng(1)
    means = np.array([[30, 5, 10, 20], [9, 40, 10, 20]])[np.arange(60) % 2] * rng.lognormal(0, 0.5, (60, 1))
    x = 1.0 + rng.poisson(means)
    names = [f"g{d}" for d in range(4)]
    obs = pd.DataFrame({"kind": np.tile(["a", "b"], 30)}, index=[f"c{i}" for i in range(60)])
    whole = anndata.AnnData(x, obs, pd.DataFrame(index=names))
    deep = np.argsort(-x.sum(1))[:9]
    whole.write_h5ad(tmp_path / "all.h5ad")
    part = anndata.AnnData(x[deep, ::-1], obs.iloc[deep], pd.DataFrame(index=names[::-1]))
    part.write_h5ad(tmp_path / "deep.h5ad")
    data = gn.read("nb_mixture", tmp_path / "all.h5ad", genes="g0,g1", size_factor=how, phi=0.1, covariates="kind")
    fit = gn.fit("nb_mixture", data, "em", component=2, seed=1, restarts=1)
    wanted = gn.predict(fit)["predictions"].to_dataset().isel(cell=deep)
    new = annotate(fit, tmp_path / "deep.h5ad")["predictions"].to_dataset()
    np.testing.assert_allclose(new["log_density"], wanted["log_density"], rtol=1e-10)
    np.testing.assert_allclose(new["probability"], wanted["probability"], rtol=1e-10)
    chosen = anndata.AnnData(x[deep, :2], obs.iloc[deep], pd.DataFrame(index=names[:2]))
    chosen.write_h5ad(tmp_path / "chosen.h5ad")
    if how == "total":  # of these genes alone, factors would be far too small
        with pytest.warns(UserWarning, match="totals are over 2 genes, those that size_factor is relative to over 4"):
            annotate(fit, tmp_path / "chosen.h5ad")
    alone = gn.read("nb_mixture", tmp_path / "deep.h5ad", genes="g0,g1", size_factor=how, covariates="kind")
    with pytest.warns(UserWarning, match="size_factor of the new data is relative to themselves"):
        gn.predict(fit, alone)
    with pytest.warns(UserWarning, match="'size_factor' is 1 for all of the new data, which is its default"):
        gn.predict(fit, {"x": x[:, :2], "covariates": np.tile([0.0, 1.0], 30)[:, None]})
    whole.obs["kind"] = np.tile(["a", "b", "z"], 20)
    whole.write_h5ad(tmp_path / "other.h5ad")
    with pytest.warns(UserWarning, match="column 'kind' has the values z, which are not among"):
        annotate(fit, tmp_path / "other.h5ad")
    whole.obs["kind"] = np.tile(["b", "z"], 30)  # a single other value in the place of the reference
    whole.write_h5ad(tmp_path / "other.h5ad")
    with pytest.warns(UserWarning, match="values z, which are not among .* beside \\(a\\)"):
        annotate(fit, tmp_path / "other.h5ad")


def test_files_in_blocks_keep_what_size_factors_are_relative_to(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    x = 1.0 + np.random.default_rng(1).poisson(np.array([[30, 5], [3, 40]])[np.arange(40) % 2])
    index = pd.DataFrame(index=[f"c{i}" for i in range(40)])
    anndata.AnnData(x, index, pd.DataFrame(index=["g0", "g1"])).write_h5ad(tmp_path / "all.h5ad")
    fit = fit_file(gn.get("nb_mixture"), tmp_path / "all.h5ad", component=2, size_factor="total", seed=1)
    data = annotate(fit, tmp_path / "all.h5ad")["constant_data"].to_dataset()
    np.testing.assert_allclose(data["size_factor"], x.sum(1) / x.sum(1).mean())


@pytest.mark.parametrize("how", [{"total": 0.0}, {"total": "x"}, {"median": 1.0, "total": 2.0}, {"mean": 1.0}])
def test_bad_references_of_size_factors_are_named(how: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("cell,a,b\nu,1,2\nv,3,4\n")
    with pytest.raises(gn.InputError, match=r"must be \{'total': a mean total\}"):
        gn.read("nb_mixture", tmp_path / "a.csv", size_factor=how)


def test_folders_of_bustools_and_alevin(tmp_path: Path) -> None:
    kb = tmp_path / "counts_filtered"
    kb.mkdir()
    mmwrite(kb / "cells_x_genes.mtx", sparse.coo_array(X), field="integer")
    for name, lines in (("barcodes", CELLS), ("genes", IDS)):
        (kb / f"cells_x_genes.{name}.txt").write_text("\n".join(lines) + "\n")
    counts = gn.read("nb_mixture", [kb], format="10x")["observed_data"]["x"]
    assert counts["gene"].to_numpy().tolist() == IDS
    np.testing.assert_array_equal(counts, X)
    (kb / "cells_x_genes.genes.names.txt").write_text("\n".join(SYMBOLS) + "\n")
    counts = gn.read("nb_mixture", [kb], format="10x")["observed_data"]["x"]
    assert counts["gene"].to_numpy().tolist() == ["A", "B (ENSG2)", "B (ENSG3)", "CD3"]
    np.testing.assert_array_equal(counts.sel(cell=CELLS), X)
    (kb / "cells_x_genes.barcodes.txt").write_text("AAAC-1\n")
    with pytest.raises(
        InputError, match="the matrix has 4 features and 3 cells, but 4 features and 1 barcodes are named"
    ):
        gn.read("nb_mixture", [kb], format="10x")
    for kind in ("mature", "nascent"):
        (kb / f"cells_x_genes.{kind}.mtx").write_bytes((kb / "cells_x_genes.mtx").read_bytes())
    (kb / "cells_x_genes.mtx").unlink()
    with pytest.raises(InputError, match=r"not told by cells_x_genes\.mature\.mtx.*nascent"):
        gn.read("nb_mixture", [kb], format="10x")
    (tmp_path / "quants_mat.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"this folder is alevin's .*Make an AnnData file of it"):
        gn.read("nb_mixture", [tmp_path], format="10x")


def test_types_of_features_of_anndata_are_told(tmp_path: Path) -> None:
    import anndata

    var = pd.DataFrame({"feature_types": TYPES}, index=["A", "B", "C", "CD3"])
    anndata.AnnData(X.astype(np.float32), pd.DataFrame(index=CELLS), var).write_h5ad(tmp_path / "a.h5ad")
    notes = gn.read("nb_mixture", [tmp_path / "a.h5ad"]).attrs["ledger"]
    assert "all features are read as genes" in notes
    assert "(3 Gene Expression, 1 Antibody Capture)" in notes
