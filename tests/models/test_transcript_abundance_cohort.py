"""Cohorts: readers of many samples, genes by tximport's three ways, and differences between conditions."""

import gzip
import shutil
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import integrate, stats

import genarium as gn
from genarium.declaration import Array
from genarium.models.transcript_abundance import shrinkage as module
from genarium.models.transcript_abundance.cohort import cohort
from genarium.models.transcript_abundance.differential import _measured, by_feature_and_sample, differential
from genarium.models.transcript_abundance.genes import genes, intervals, scaled_transcripts, transcript_genes
from genarium.models.transcript_abundance.salmon import salmon_draws
from genarium.models.transcript_abundance.shrinkage import shrink
from genarium.models.transcript_abundance.sparse import from_classes

NAME = "transcript_abundance"

SHARED = Path(__file__).parents[3] / "shared" / "data"

NAMES, LENGTH, COUNTS = ["t1.2", "t2.1", "u1.1"], [100.0, 300.0, 200.0], [10.0, 30.0, 60.0]


def tpm_of(counts: Any = COUNTS, length: Any = LENGTH) -> Array:
    rate = np.divide(counts, length)
    return np.asarray(1e6 * rate / rate.sum())


def table(path: Path, head: str, order: str, names: list[str] = NAMES, counts: list[float] = COUNTS) -> Path:
    """Write a table of a program; ``order`` says what its columns hold: name, length, effective length, tpm, counts."""
    rows = []
    for name, length, tpm, count in zip(names, LENGTH, tpm_of(counts), counts, strict=True):
        told = {"n": name, "l": f"{length + 50}", "e": f"{length}", "t": f"{tpm:.9g}", "c": f"{count}", "x": "x"}
        rows.append("\t".join(told[letter] for letter in order))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head.replace(" ", "\t"), *rows]) + "\n")
    return path


def salmon_folder(path: Path, counts: list[float] = COUNTS) -> Path:
    table(path / "quant.sf", "Name Length EffectiveLength TPM NumReads", "nletc", counts=counts)
    return path


def kallisto_h5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["aux/ids"] = np.array([name.encode() for name in NAMES])
        file["aux/eff_lengths"], file["est_counts"] = LENGTH, COUNTS
        for i in range(4):
            file[f"bootstrap/bs{i}"] = np.array(COUNTS) + i
    return path


def test_every_program_gives_the_same_cohort(tmp_path: Path) -> None:
    paths: dict[str, str | Path] = {
        "salmon": salmon_folder(tmp_path / "salmon"),
        "renamed": salmon_folder(tmp_path / "b") / "quant.sf",
        "kallisto": table(
            tmp_path / "k" / "abundance.tsv", "target_id length eff_length est_counts tpm", "nlect"
        ).parent,
        "h5": kallisto_h5(tmp_path / "abundance.h5"),
        "rsem": table(
            tmp_path / "a.isoforms.results",
            "transcript_id gene_id length effective_length expected_count TPM FPKM IsoPct",
            "nxlectxx",
        ),
        "piscem": table(tmp_path / "a.quant", "target_name len eelen tpm ecount", "nletc"),
    }
    paths["renamed"] = Path(paths["renamed"]).rename(tmp_path / "b.sf")
    with pytest.warns(UserWarning, match="no replicates, so that those of the other samples are left out"):
        found = cohort(paths)
    assert found.attrs["replicates"] == "none"
    assert found["transcript"].to_numpy().tolist() == NAMES
    np.testing.assert_allclose(found["counts"], np.tile(COUNTS, (6, 1)))
    np.testing.assert_allclose(found["effective_length"], np.tile(LENGTH, (6, 1)))
    np.testing.assert_allclose(found["tpm"], np.tile(tpm_of(), (6, 1)), rtol=1e-7)


def test_a_table_of_samples_brings_its_columns_and_bootstraps_stay(tmp_path: Path) -> None:
    kallisto_h5(tmp_path / "a.h5")
    kallisto_h5(tmp_path / "b.h5")
    (tmp_path / "samples.csv").write_text("sample,path,dose\nx,a.h5,0.5\ny,b.h5,2\n")
    found = cohort(tmp_path / "samples.csv", most_replicates=2)
    assert found["dose"].to_numpy().tolist() == [0.5, 2]
    assert found.attrs["replicates"] == "bootstrap"
    np.testing.assert_array_equal(found["replicates"][1], np.array([COUNTS, np.array(COUNTS) + 3]))
    low = intervals(found, 0.5)["counts_low"]
    np.testing.assert_allclose(low[0], np.array(COUNTS) + 0.75)


def test_one_folder_is_no_two_samples(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "samples.csv").write_text("sample,path\none,a\ntwo,a/\n")
    with pytest.raises(gn.InputError, match="the same folder is given twice"):
        cohort(tmp_path / "samples.csv")


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("bootstrap/bs1", COUNTS[:2], "bootstrap/bs1 has 2 values for 3 transcripts"),
        ("est_counts", [1.0, np.nan, 2.0], "est_counts is nan for 't2.1', but must be a finite number"),
        ("aux/num_bootstrap", [30], "there are 4 bootstraps of the 30 that it announces"),
    ],
)
def test_what_is_wrong_in_a_file_of_kallisto_is_named(tmp_path: Path, place: str, value: Any, said: str) -> None:
    path = kallisto_h5(tmp_path / "abundance.h5")
    with h5py.File(path, "a") as file:
        if place in file:
            del file[place]
        file[place] = value
    with pytest.raises(gn.InputError, match=rf"abundance.h5: {said}.*Run `kallisto quant` again"):
        cohort({"a": path})


def test_copies_of_bootstraps_are_no_bootstraps(tmp_path: Path) -> None:
    head = "target_id length eff_length est_counts tpm"
    for name, counts in (("abundance", COUNTS), ("bs_abundance_0", [1.0, 2.0, 3.0]), ("bs_abundance_1", COUNTS)):
        table(tmp_path / f"{name}.tsv", head, "nlect", counts=counts)
    for name in ("bs_abundance_0.tsv.bak", "bs_abundance_1 (copy).tsv"):
        (tmp_path / name).write_text("other things\n")
    found = cohort({"a": tmp_path})["replicates"].to_numpy()[0]
    np.testing.assert_array_equal(found, [[1, 2, 3], COUNTS])


def test_bootstraps_with_a_gap_are_refused(tmp_path: Path) -> None:
    head = "target_id length eff_length est_counts tpm"
    for i in ("", 0, 1, 3):
        table(tmp_path / (f"bs_abundance_{i}.tsv" if i != "" else "abundance.tsv"), head, "nlect")
    with pytest.raises(gn.InputError, match=r"1 of 4 bootstraps are not there \(bs_abundance_2\.tsv\)"):
        cohort({"a": tmp_path})
    table(tmp_path / "bs_abundance_2.tsv", head, "nlect")
    assert cohort({"a": tmp_path}).sizes["replicate"] == 4
    (tmp_path / "run_info.json").write_text('{"n_targets": 3, "n_bootstraps": 6}')
    with pytest.raises(gn.InputError, match=r"2 of 6 bootstraps are not there \(bs_abundance_4\.tsv, bs_abundance_5"):
        cohort({"a": tmp_path})
    for i in range(4):
        (tmp_path / f"bs_abundance_{i}.tsv").unlink()
    assert cohort({"a": tmp_path}).attrs["replicates"] == "none"  # they may be in abundance.h5, elsewhere


GENES, CELLS = [f"g{i}" for i in range(11)], np.arange(33.0).reshape(3, 11) % 4


def eds(counts: Array) -> bytes:
    """Write alevin's binary form, by its description: bits of the genes, then the counts above zero."""
    out = b""
    for cell in counts:
        bits = "".join("1" if value else "0" for value in cell).ljust(16, "0")
        out += bytes(int(bits[at : at + 8], 2) for at in (0, 8)) + cell[cell > 0].astype("<f4").tobytes()
    return out


@pytest.mark.parametrize("form", ["eds", "doubles"])
def test_alevins_binary_matrix_is_added_up(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "alevin"
    folder.mkdir()
    (folder / "quants_mat_rows.txt").write_text("AC\nGT\nTT\n")
    (folder / "quants_mat_cols.txt").write_text("\n".join(GENES) + "\n")
    data = eds(CELLS) if form == "eds" else CELLS.tobytes()
    (folder / "quants_mat.gz").write_bytes(gzip.compress(data))
    found = cohort({"a": tmp_path})
    assert found["gene"].to_numpy().tolist() == GENES
    np.testing.assert_array_equal(found["counts"][0], CELLS.sum(0))
    assert "a: 3 cells are added up." in found.attrs["notes"]
    (folder / "quants_mat.gz").write_bytes(gzip.compress(data[:-4]))
    with pytest.raises(gn.InputError, match=r"quants_mat\.gz: its .* bytes are not the counts of 3 cells and 11 genes"):
        cohort({"a": tmp_path})


def test_matrices_of_bustools_are_added_up(tmp_path: Path) -> None:
    entries = "".join(f"{i + 1} {j + 1} {CELLS[i, j]:g}\n" for i, j in np.argwhere(CELLS))
    text = f"%%MatrixMarket matrix coordinate real general\n%\n3 11 {(CELLS > 0).sum()}\n{entries}"
    for folder, stem, matrix in (
        (tmp_path / "a", "genes", "genes.mtx"),
        (tmp_path / "b" / "counts_unfiltered", "cells_x_genes", "cells_x_genes.mtx"),
        (tmp_path / "c", "cells_x_genes", "cells_x_genes.mature.mtx"),
    ):
        folder.mkdir(parents=True)
        (folder / matrix).write_text(text)
        (folder / f"{stem}.barcodes.txt").write_text("AC\nGT\nTT\n")
        (folder / f"{stem}.genes.txt").write_text("\n".join(GENES) + "\n")
    found = cohort({name: tmp_path / name for name in "abc"})
    np.testing.assert_array_equal(found["counts"], [CELLS.sum(0)] * 3)
    assert set(found["program"].to_numpy()) == {"bustools"}
    (tmp_path / "c" / "cells_x_genes.nascent.mtx").write_text(text)
    with pytest.raises(gn.InputError, match=r"several samples in it \(cells_x_genes.mature.mtx, cells_x_genes.nasc"):
        cohort({"c": tmp_path / "c"})
    (tmp_path / "a" / "genes.barcodes.txt").write_text("AC\nGT\n")
    with pytest.raises(gn.InputError, match=r"3 x 11 counts, but 2 cells and 11 genes are named in genes.barcodes.txt"):
        cohort({"a": tmp_path / "a"})
    (tmp_path / "a" / "genes.genes.txt").unlink()
    with pytest.raises(gn.InputError, match=r"genes.genes.txt is not beside it"):
        cohort({"a": tmp_path / "a"})


def test_a_sample_without_reads_is_kept_as_zeros(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in "abc"}
    for name, path in paths.items():
        salmon_folder(path)
        if name == "b":
            text = "".join(f"{n}\t150\t{e}\t-nan\t0\n" for n, e in zip(NAMES, LENGTH, strict=True))
            (path / "quant.sf").write_text("Name\tLength\tEffectiveLength\tTPM\tNumReads\n" + text)
        else:
            boot = path / "aux_info" / "bootstrap"
            boot.mkdir(parents=True)
            (boot / "names.tsv.gz").write_bytes(gzip.compress(b"\t".join(name.encode() for name in NAMES)))
            (boot / "bootstraps.gz").write_bytes(gzip.compress(np.array([COUNTS] * 5).tobytes()))
    found = cohort(paths)
    for name in ("counts", "tpm", "replicates"):
        assert not found[name].sel(sample="b").any()
        assert found[name].sel(sample="c").all()
    assert found.sizes["replicate"] == 5
    assert f"b: no read is counted ({paths['b']}): kept, as zeros." in found.attrs["notes"]
    with pytest.raises(gn.InputError, match=r"quant\.sf: salmon has mapped no read, .*or leave this sample out"):
        gn.read(NAME, paths["b"], format="salmon")
    (paths["b"] / "quant.sf").write_text((paths["b"] / "quant.sf").read_text().replace("-nan\t0", "-nan\t2"))
    with pytest.raises(gn.InputError, match="line 2: TPM is no number, but there are reads"):
        cohort(paths)
    (paths["a"] / "aux_info" / "eq_classes.txt").write_text("1\n0\nt1.2\n")
    with pytest.raises(gn.InputError, match=r"line 2: there are 0 classes, as no read fits .*leave this sample out"):
        gn.read(NAME, paths["a"], format="salmon")


def test_unspliced_counts_are_told_by_their_names_where_alevin_fry_says_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "alevin"
    folder.mkdir()
    (folder / "quants_mat_rows.txt").write_text("AC\nGT\n")
    (folder / "quants_mat_cols.txt").write_text(
        "".join(f"{gene}{kind}\n" for kind in ("", "-U", "-A") for gene in "gh")
    )
    entries = [(1, 1, 3), (2, 2, 4), (1, 3, 50), (2, 5, 6)]  # spliced, spliced, unspliced, ambiguous
    rows = "".join(f"{i} {j} {value}\n" for i, j, value in entries)
    (folder / "quants_mat.mtx").write_text(f"%%MatrixMarket matrix coordinate real general\n2 6 4\n{rows}")
    found = cohort({"a": tmp_path})
    assert found["gene"].to_numpy().tolist() == ["g", "h"]
    assert found["counts"].to_numpy().tolist() == [[9, 4]]


def test_samples_in_another_order_are_sorted_and_other_transcripts_refused(tmp_path: Path) -> None:
    head, order = "target_name len eeln tpm ecount", "nletc"
    one = table(tmp_path / "a.quant", head, order)
    other = table(tmp_path / "b.quant", head, order, ["u1.1", "t1.2", "t2.1"], [60.0, 10.0, 30.0])
    np.testing.assert_array_equal(cohort([one, other])["counts"][1], COUNTS)
    table(other, head, order, ["u1.1", "t1.2", "t9"])
    with pytest.raises(gn.InputError, match=r"b.quant: its transcripts are not those of .*a.quant \(t2.1.*t9"):
        cohort([one, other])
    table(other, head, order, ["u1.1", "t1.2", "u1.1"])
    with pytest.raises(gn.InputError, match=r"b.quant: the transcript 'u1.1' stands in it twice"):
        cohort([other, one])
    table(other, head, order, counts=[1.0, -2.0, 3.0])
    with pytest.raises(gn.InputError, match=r"b.quant, line 3: ecount is '-2.0'"):
        cohort([other])


def test_a_fit_goes_to_salmons_folder_and_comes_back(tmp_path: Path) -> None:
    data = from_classes([([0, 1], [0.5, 0.5], 40), ([1, 2], [0.5, 0.5], 60)], LENGTH, names=NAMES)
    fit = gn.fit(NAME, data, "gibbs", seed=1, draws=20, tune=10, chains=2)
    files = gn.export(fit, "salmon", tmp_path / "quant", replicates=10)
    assert {file.name for file in files} == {"quant.sf", "bootstraps.gz", "names.tsv.gz", "meta_info.json"}
    drawn = salmon_draws(tmp_path / "quant")
    assert drawn.attrs["method"] == "salmon-gibbs"
    every = fit["posterior"]["counts"].to_numpy().reshape(40, 3)
    at = np.unique(np.linspace(0, 39, 10).astype(int))
    np.testing.assert_array_equal(drawn["posterior"]["counts"].to_numpy()[0], every[at])
    gn.save(fit, tmp_path / "fit.nc")
    tiny = gn.export(gn.fit(NAME, {**data, "effective_length": np.divide(LENGTH, 1e6)}, "em"), "salmon", tmp_path / "m")
    np.testing.assert_allclose(cohort([tiny[-1]])["effective_length"][0], np.divide(LENGTH, 1e6))  # in megabases
    found = cohort({"salmon": tmp_path / "quant", "fit": tmp_path / "fit.nc"}, most_replicates=10)
    assert found.attrs["replicates"] == "mixed"
    np.testing.assert_allclose(found["counts"][0], found["counts"][1], atol=1e-3)
    np.testing.assert_array_equal(found["replicates"][0], found["replicates"][1])
    with pytest.raises(gn.InputError, match="exists already"):
        gn.export(fit, "salmon", tmp_path / "quant")


def naive_genes(c: xr.Dataset, gene_of: dict[str, str], way: str) -> dict[str, Array]:
    """tximport's summaries, loop by loop."""
    names = sorted(set(gene_of.values()))
    N, G = c.sizes["sample"], len(names)
    counts, tpm, length = np.zeros((N, G)), np.zeros((N, G)), np.full((N, G), np.nan)
    for s in range(N):
        for g, gene in enumerate(names):
            members = [k for k, t in enumerate(c["transcript"].to_numpy()) if gene_of[str(t)] == gene]
            counts[s, g] = sum(float(c["counts"][s, k]) for k in members)
            tpm[s, g] = sum(float(c["tpm"][s, k]) for k in members)
            if tpm[s, g] > 0:
                length[s, g] = sum(float(c["tpm"][s, k] * c["effective_length"][s, k]) for k in members) / tpm[s, g]
    for g, gene in enumerate(names):
        seen = [length[s, g] for s in range(N) if not np.isnan(length[s, g])]
        members = [k for k, t in enumerate(c["transcript"].to_numpy()) if gene_of[str(t)] == gene]
        instead = np.exp(np.mean(np.log(seen))) if seen else float(c["effective_length"][:, members].mean())
        for s in range(N):
            length[s, g] = instead if np.isnan(length[s, g]) else length[s, g]
    if way != "no":
        new = tpm * length.mean(0) if way == "lengthScaledTPM" else tpm
        counts = np.array([new[s] * counts[s].sum() / new[s].sum() for s in range(N)])
    return {"counts": counts, "tpm": tpm, "effective_length": length}


def test_an_effective_length_of_zero_is_kept_and_told(tmp_path: Path) -> None:
    """As tximport keeps it."""
    folder = salmon_folder(tmp_path / "a")
    rows = (folder / "quant.sf").read_text().splitlines()
    (folder / "quant.sf").write_text("\n".join([*rows, "short.1\t20\t0.000\t0.000000\t0.000"]) + "\n")
    samples = {"a": folder, "b": shutil.copytree(folder, tmp_path / "b")}
    c = cohort(samples)
    assert c["effective_length"].sel(transcript="short.1").to_numpy().tolist() == [0, 0]
    assert "1 transcript has an effective length of 0 in a sample or more (short.1), with 0 reads" in c.attrs["notes"]
    np.testing.assert_allclose(c["tpm"][0, :3], tpm_of(), rtol=1e-7)
    c["replicates"] = c["counts"].astype("float32").expand_dims(replicate=2, axis=1)
    found = genes(c, {"t1.2": "g", "t2.1": "g", "u1.1": "h", "short.1": "i"}, counts="scaledTPM")
    np.testing.assert_allclose(found["replicates"][:, 0], found["counts"], rtol=1e-6)
    assert found["effective_length"].sel(gene="i").to_numpy().tolist() == [0, 0]


@pytest.mark.parametrize("way", ["scaledTPM", "lengthScaledTPM", "dtuScaledTPM"])
def test_counts_of_transcripts_are_those_of_tximports_formulas(way: Any) -> None:
    rng = np.random.default_rng(3)
    N, K = 3, 8
    length, counts = rng.uniform(50, 900, (N, K)), rng.gamma(0.5, 40, (N, K))
    length[:, 7] = counts[:, 7] = 0
    tpm = np.array([tpm_of(c, np.maximum(x, 1)) for c, x in zip(counts, length, strict=True)])
    dims = ("sample", "transcript")
    found = {"counts": (dims, counts), "tpm": (dims, tpm), "effective_length": (dims, length)}
    c = xr.Dataset(found, {"sample": list("abc"), "transcript": [f"t{k}" for k in range(K)]})
    c["replicates"] = (("sample", "replicate", "transcript"), counts[:, None].astype(np.float32))
    gene_of = dict(zip(map(str, c["transcript"].to_numpy()), "ghgghhig", strict=True))
    ours = scaled_transcripts(c, way, gene_of if way == "dtuScaledTPM" else None)
    for s in range(N):
        new = []
        for k in range(K):
            mean = {j: float(np.mean(length[:, j])) for j in range(K) if gene_of[f"t{j}"] == gene_of[f"t{k}"]}
            by = {"scaledTPM": 1.0, "lengthScaledTPM": mean[k], "dtuScaledTPM": float(np.median(list(mean.values())))}
            new.append(tpm[s, k] * by[way])
        np.testing.assert_allclose(ours["counts"][s], np.array(new) * counts[s].sum() / sum(new), rtol=1e-12)
    np.testing.assert_allclose(ours["replicates"][:, 0], ours["counts"], rtol=1e-5)
    with pytest.raises(gn.InputError, match="gene_of"):
        scaled_transcripts(c, way, None if way == "dtuScaledTPM" else gene_of)


def test_transcripts_without_a_gene_have_no_counts_by_their_genes_lengths() -> None:
    c = xr.Dataset({n: (("sample", "transcript"), np.full((2, 3), 9.0)) for n in ("counts", "tpm", "effective_length")})
    c = c.assign_coords(sample=["a", "b"], transcript=["t", "u", "v"])
    with pytest.warns(UserWarning, match=r"1 transcripts have no gene and are left out \(v; 33.33% of the reads\)"):
        ours = scaled_transcripts(c, "dtuScaledTPM", {"t": "g", "u": "g"})
    assert ours["transcript"].to_numpy().tolist() == ["t", "u"]
    assert "1 transcripts have no gene" in ours.attrs["notes"]


@pytest.mark.parametrize("way", ["no", "scaledTPM", "lengthScaledTPM"])
def test_genes_are_those_of_the_loops(way: Any) -> None:
    rng = np.random.default_rng(2)
    N, K = 3, 7
    length, counts = rng.uniform(50, 900, (N, K)), rng.gamma(0.5, 40, (N, K))
    counts[1, 2:4] = 0  # a gene without reads in one sample
    counts[:, 6] = 0  # and one without any
    rate = counts / length
    dims = ("sample", "transcript")
    found = {"counts": (dims, counts), "effective_length": (dims, length)}
    found["tpm"] = (dims, 1e6 * rate / rate.sum(1, keepdims=True))
    c = xr.Dataset(found, {"sample": list("abc"), "transcript": [f"t{k}" for k in range(K)]})
    c["replicates"] = (("sample", "replicate", "transcript"), counts[:, None].astype(np.float32))
    gene_of = dict(zip([f"t{k}" for k in range(K)], ["g", "g", "h", "h", "i", "i", "j"], strict=True))
    ours, naive = genes(c, gene_of, counts=way), naive_genes(c, gene_of, way)
    for name, values in naive.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-12)
    np.testing.assert_allclose(ours["replicates"][:, 0], naive["counts"], rtol=1e-6)


def test_genes_come_from_tables_and_gtf(tmp_path: Path) -> None:
    gtf = (
        '##x\n1\th\tgene\t1\t9\t.\t+\t.\tgene_id "g"; gene_name "G";\n'
        '1\th\ttranscript\t1\t9\t.\t+\t.\tgene_id "g"; transcript_id "t1.2";\n'
    )
    (tmp_path / "a.gtf.gz").write_bytes(gzip.compress(gtf.encode()))
    assert transcript_genes(tmp_path / "a.gtf.gz") == {"t1.2": "g"}
    (tmp_path / "b.gtf").write_text(  # without quotation marks, and with what is no attribute within them
        "1\th\texon\t1\t9\t.\t+\t.\tgene_id g ; transcript_id t1 ;\n"
        '1\th\texon\t1\t9\t.\t+\t.\tgene_id "h"; note "like; gene_id x"; transcript_id "t2";\n'
    )
    assert transcript_genes(tmp_path / "b.gtf") == {"t1": "g", "t2": "h"}
    (tmp_path / "a.gff3").write_text("##gff-version 3\n1\th\tmRNA\t1\t9\t.\t+\t.\tID=t1;Parent=g\n")
    with pytest.raises(gn.InputError, match="this is GFF3"):
        transcript_genes(tmp_path / "a.gff3")
    (tmp_path / "a.csv").write_text('"t1.2","g"\nt2,h\nt3,"T(A,B)1"\n')
    assert transcript_genes(tmp_path / "a.csv") == {"t1.2": "g", "t2": "h", "t3": "T(A,B)1"}
    (tmp_path / "a.csv").write_text("t1,g\nt1,h\n")
    with pytest.raises(gn.InputError, match=r"a.csv, line 2: 't1' is of gene 'h', before of 'g'. .*the first column"):
        transcript_genes(tmp_path / "a.csv")


@pytest.mark.data
def test_genes_of_two_samples_are_tximports() -> None:
    """What tximport makes of GEUVADIS samples; its mean lengths are over six samples, of which two are here."""
    folder = SHARED / "rna" / "tximportData"
    if not folder.is_dir():
        pytest.skip("there is no data of tximport")
    c = cohort([folder / "salmon" / name for name in ("ERR188088", "ERR188288")])
    for way in ("no", "scaledTPM", "lengthScaledTPM"):
        with pytest.warns(UserWarning, match="3 transcripts have no gene"):
            ours = genes(c, folder / "tx2gene.csv.gz", counts=way)
        path = folder / f"expected_gene_counts_salmon_{way}.tsv.gz"
        told = pd.read_csv(path, sep="\t", index_col=0).loc[ours["gene"].to_numpy(), list(ours["sample"].to_numpy())]
        if way == "lengthScaledTPM":  # up to the mean length, which both samples share: the same ratios
            some = (ours["tpm"].to_numpy() > 1).all(0)
            ratio = told.to_numpy().T[:, some] / ours["tpm"].to_numpy()[:, some]
            np.testing.assert_allclose(ratio[0] / ratio[1], np.median(ratio[0] / ratio[1]), rtol=1e-4)
        else:
            np.testing.assert_allclose(ours["counts"], told.T, atol=1e-6)


def test_the_posterior_of_a_change_is_that_of_quadrature() -> None:
    """One feature of four samples: coefficients integrated out numerically, for the learned weights."""
    rng = np.random.default_rng(4)
    X = np.column_stack([np.ones(6), [0, 0, 0, 1, 1, 1]])
    y = rng.normal(size=(6, 40)) * 0.3 + X[:, 1:] * (rng.uniform(size=40) < 0.3) * 2
    v = rng.gamma(2, 0.05, (6, 40))
    fitted = shrink(y, v, X)
    for f in (int(np.argmax(fitted.lfdr)), int(np.argsort(fitted.lfdr)[10]), int(np.argmin(fitted.lfdr))):

        def given(change: Array, f: int = f) -> Array:
            total = np.zeros(len(change))
            for sd, a in zip(module.SPREADS, fitted.spread_weight, strict=True):
                s2 = (v[:, f] + sd**2)[:, None]
                left = y[:, f, None] - change * X[:, 1:]
                mean = (left / s2).sum(0) / (1 / s2).sum()
                total += a * np.prod(np.exp(-0.5 * (left - mean) ** 2 / s2) / np.sqrt(s2), 0) / np.sqrt((1 / s2).sum())
            return total

        mass = [fitted.effect_weight[0] * float(given(np.zeros(1))[0])]
        first, below = 0.0, 0.0
        grid = np.linspace(-8, 8, 4001)
        values = given(grid)
        for centre, tau, w in zip(module.CENTRES[1:], module.WIDTHS[1:], fitted.effect_weight[1:], strict=True):
            density = w * values * stats.norm(centre, tau).pdf(grid)
            mass.append(float(integrate.simpson(density, x=grid)))
            first += float(integrate.simpson(density * grid, x=grid))
            below += float(integrate.simpson(np.where(grid < 0, density, 0), x=grid))
        total = sum(mass)
        assert fitted.lfdr[f] == pytest.approx(mass[0] / total, abs=2e-3)
        assert fitted.mean[f] == pytest.approx(first / total, abs=2e-3)
        negative = below / total
        assert fitted.lfsr[f] == pytest.approx(1 - max(negative, 1 - negative - mass[0] / total), abs=5e-3)


def counted(rng: np.random.Generator, change: Array, replicates: int = 10) -> xr.Dataset:
    """Counts of eight samples with Poisson replicates; the change (log2) is of the last four."""
    K = len(change)
    at = rng.lognormal(5, 1, K) * np.exp(0.2 * rng.normal(size=(8, K))) * 2 ** (np.repeat([0, 1], 4)[:, None] * change)
    drawn = rng.poisson(rng.poisson(at)[:, None].astype(float), (8, replicates, K)).astype(np.float32)
    found = {
        "counts": (("sample", "transcript"), drawn.mean(1).astype(float)),
        "replicates": (("sample", "replicate", "transcript"), drawn),
    }
    coords = {
        "transcript": [f"t{k}" for k in range(K)],
        "condition": ("sample", np.repeat(["a", "b"], 4)),
        "batch": ("sample", np.tile(["p", "q"], 4)),
    }
    return xr.Dataset(found, coords)


def test_changes_are_found_and_false_ones_are_few() -> None:
    rng = np.random.default_rng(7)
    change = np.where(rng.uniform(size=1500) < 0.1, rng.choice([-1.5, 1.5], 1500), 0.0)
    told = differential(counted(rng, change), "condition", covariates=["batch"])
    true = change[[int(str(name)[1:]) for name in told["transcript"].to_numpy()]]
    found = told["q_value"].to_numpy() <= 0.05
    false = (found & (true == 0)).sum() / found.sum()
    assert false < 0.05 + 3 * np.sqrt(0.05 / found.sum())
    assert (found & (true != 0)).sum() > 0.9 * (true != 0).sum()
    assert np.abs(told["log2_fold_change"].to_numpy()[true != 0] - true[true != 0]).mean() < 0.25
    held = (told["log2_fold_change_low"] <= true) & (true <= told["log2_fold_change_high"])
    assert float(held.mean()) > 0.87
    sure = told["lfsr"].to_numpy() < 0.05
    assert (np.sign(told["log2_fold_change"].to_numpy()[sure]) == np.sign(true[sure])).mean() > 0.9


def test_uncertain_counts_are_no_evidence() -> None:
    rng = np.random.default_rng(8)
    c = counted(rng, np.where(np.arange(400) < 40, 2.0, 0.0))
    wide = c.copy(deep=True)
    wide["replicates"][:, :, 0] = c["counts"].to_numpy()[:, :1] * np.exp(rng.normal(0, 3, (8, 10)))
    sure, unsure = (differential(x, "condition")["lfdr"].to_numpy()[0] for x in (c, wide))
    assert sure < 0.01 < 0.1 < unsure


def test_usage_is_blind_to_the_gene() -> None:
    """Both transcripts of a gene double: nothing has changed in usage; where one doubles, it has."""
    rng = np.random.default_rng(9)
    change = np.zeros(600)
    change[:60] = 2.0  # genes 0 to 29, both transcripts
    change[60:120:2] = 3.0  # genes 30 to 59, one of two
    gene_of = {f"t{k}": f"g{k // 2}" for k in range(600)}
    told = differential(counted(rng, change), "condition", by="usage", gene_of=gene_of)
    number = np.array([int(str(name)[1:]) for name in told["transcript"].to_numpy()])
    lfdr = told["lfdr"].to_numpy()
    assert np.median(lfdr[number < 60]) > 0.5
    assert np.median(lfdr[(number >= 60) & (number < 120)]) < 0.1


def test_usage_is_a_share_of_the_whole_gene() -> None:
    """A transcript that three samples of four have is not compared, but takes its share of the gene from the others."""
    c = counted(np.random.default_rng(4), np.zeros(90))
    for name in ("counts", "replicates"):
        c[name].values[..., ::3] = 0
        c[name].values[5:, ..., ::3] = 1e4
    told = differential(c, "condition", by="usage", gene_of={f"t{k}": f"g{k // 3}" for k in range(90)})
    assert not {f"t{k}" for k in range(0, 90, 3)} & set(told["transcript"].to_numpy().tolist())
    assert told["log2_fold_change"].median() < -2


def test_designs_that_say_nothing_are_refused() -> None:
    c = counted(np.random.default_rng(1), np.zeros(20))
    for settings, said in (
        ({"condition": "dose"}, "no column 'dose'"),
        ({"condition": list("aaaabbbc")}, "3 of them different"),
        ({"condition": list("aaaaaaab")}, "fewer than two samples"),
        ({"condition": "condition", "covariates": {"same": list("aaaabbbb")}}, "tell the condition already"),
        ({"condition": "condition", "by": "usage"}, "give gene_of"),
        ({"condition": "condition", "least": 1e9}, "Lower `least`"),
        ({"condition": "condition", "covariates": {"age": [1, 2]}}, r"age has shape \(2,\), but there are 8 samples"),
        ({"condition": "condition", "covariates": {"batch": ["x", None, *"xyxyxy"]}}, r"batch is missing .* \(1\)"),
        ({"condition": "condition", "covariates": {"batch": ["x", "", *"xyxyxy"]}}, r"batch is missing .* \(1\)"),
        ({"condition": ["", *"aaabbbb"]}, r"condition is missing or not finite in 1 samples \(0\)"),
        ({"condition": [float("nan"), *[0.0] * 3, *[1.0] * 4]}, r"condition is missing"),
    ):
        with pytest.raises(gn.InputError, match=said):
            differential(c, **settings)
    with pytest.warns(UserWarning, match="only the noise of counting"):
        differential(c.drop_vars("replicates"), "condition")
    c["counts"][3] = 0
    with pytest.raises(gn.InputError, match=r"without any reads cannot be compared: 3\."):
        differential(c, "condition")


def test_versions_of_names_are_cut_off_on_either_side() -> None:
    """Cohort and genes with versions, without, or one of both: the same genes, and the same changes in usage."""
    plain = counted(np.random.default_rng(1), np.zeros(20))
    plain["tpm"] = plain["effective_length"] = plain["counts"] + 1
    versioned = plain.assign_coords(transcript=[f"t{k}.{k % 3}" for k in range(20)])
    gene_of = {f"t{k}": f"g{k // 2}" for k in range(20)}
    both = {f"{name}.7": gene for name, gene in gene_of.items()}
    wanted = genes(plain, gene_of)
    usage = differential(plain, "condition", by="usage", gene_of=gene_of)
    for table in (gene_of, both):
        np.testing.assert_array_equal(genes(versioned, table, ignore_version=True)["counts"], wanted["counts"])
        told = differential(versioned, "condition", by="usage", gene_of=table, ignore_version=True)
        np.testing.assert_array_equal(told["lfdr"], usage["lfdr"])
        with pytest.raises(gn.InputError, match=r"no transcript has a gene .* Try ignore_version=True"):
            differential(versioned, "condition", by="usage", gene_of=table)
    gencode = plain.assign_coords(transcript=[f"t{k}.{k % 3}|g{k // 2}|protein_coding|" for k in range(20)])
    np.testing.assert_array_equal(genes(gencode, both, ignore_version=True)["counts"], wanted["counts"])
    with pytest.raises(gn.InputError, match="'t0' is of genes 'g0' and 'h', by version"):
        genes(versioned, {**both, "t0.1": "h"}, ignore_version=True)
    del gene_of["t3"]
    with pytest.warns(UserWarning, match="1 transcripts have no gene"):
        assert differential(plain, "condition", by="usage", gene_of=gene_of).sizes["transcript"] == 18


def test_samples_in_which_a_transcript_looks_absent_by_chance_change_nothing() -> None:
    """Without any change: draws are of two kinds, and by their mixture a sample's variance goes with its value."""
    rng, N, R, F = np.random.default_rng(0), 12, 30, 600
    size = rng.lognormal(5, 1, F) * np.exp(0.1 * rng.normal(size=(N, F)))
    present = np.where(rng.uniform(size=(N, F)) < 0.5, 0.97, 0.4)
    there = rng.uniform(size=(N, R, F)) < present[:, None]
    drawn = rng.poisson(size[:, None] * np.where(there, 1, 0.02)).astype(float)
    dims = ("sample", "replicate", "transcript")
    variables = {"counts": (("sample", "transcript"), drawn.mean(1)), "replicates": (dims, drawn)}
    coords = {"sample": np.arange(N), "transcript": np.arange(F), "condition": ("sample", np.repeat(["a", "b"], 6))}
    told = differential(xr.Dataset(variables, coords, {"replicates": "gibbs"}), "condition")
    assert told.attrs["effect_weight"][0] > 0.95  # of no change
    assert (told["q_value"] > 0.05).all()


def test_variances_of_features_and_samples_are_kept() -> None:
    v = np.outer([0.5, 1.0, 1.5], [3.0, 0.2, 7.0, 1.0])
    np.testing.assert_allclose(by_feature_and_sample(v), v)


@pytest.mark.parametrize("replicates", [0, 20])
def test_depth_is_no_change(replicates: int) -> None:
    rng = np.random.default_rng(1)
    many = 40_000
    depth = np.array([1.0, 1.0, 10.0, 10.0])
    counts = rng.poisson(6.0 * depth[:, None], (4, many)).astype(float)
    dims = ("sample", "transcript")
    samples = xr.Dataset({"counts": (dims, counts)}, {"sample": list("abcd"), "transcript": np.arange(many)})
    if replicates:
        drawn = rng.poisson(np.repeat(counts[:, None], replicates, 1)).astype(np.float32)
        samples["replicates"] = (("sample", "replicate", "transcript"), drawn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are no replicates
        y, _, _ = _measured(samples, counts, depth, None)
    deep, shallow = y[2:].mean(), y[:2].mean()  # half a read with replicates: .12 apart
    assert abs(deep - shallow) < 0.06
