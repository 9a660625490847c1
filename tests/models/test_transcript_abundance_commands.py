"""The commands for cohorts: many programs' folders, genes, differences and their page, other programs, fits of each."""

import gzip
import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import genarium as gn
from genarium.cli import main
from genarium.models.transcript_abundance.cohort import cohort, open_cohort
from genarium.models.transcript_abundance.exports import write_quantification
from genarium.models.transcript_abundance.salmon import salmon_draws
from genarium.readers.samples import read_samples

NAME = "transcript_abundance"

K, CHANGED = 60, 6
"""Transcripts, two to a gene, and how many of them are doubled twice."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight samples of two conditions, as salmon writes them, a table of samples and a GTF."""
    rng = np.random.default_rng(3)
    at = rng.lognormal(5, 1, K)
    names = [f"T{k}.2" for k in range(K)]
    rows = []
    for s in range(8):
        mean = at * np.exp(0.1 * rng.normal(size=K)) * 2 ** (2.0 * (s >= 4) * (np.arange(K) < CHANGED))
        drawn = rng.poisson(mean, (8, K)).astype(float)
        c, length = drawn.mean(0), np.full(K, 500.0)
        write_into(tmp_path / f"quant{s}", names, length, c, drawn)
        rows.append({"sample": f"s{s}", "path": f"quant{s}", "condition": "ab"[s >= 4], "batch": "pq"[s % 2]})
    pd.DataFrame(rows).to_csv(tmp_path / "samples.csv", index=False)
    lines = [f'1\th\ttranscript\t1\t9\t.\t+\t.\tgene_id "G{k // 2}"; transcript_id "T{k}.2";\n' for k in range(K)]
    (tmp_path / "genes.gtf").write_text("".join(lines))
    return tmp_path


def write_into(path: Path, names: list[str], length: Any, counts: Any, drawn: Any) -> None:
    path.mkdir()
    write_quantification(path, names, length, 1e6 * counts / counts.sum(), counts, drawn, "bootstrap")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .future.infer_string. option is deprecated")
def test_from_folders_to_a_page_and_to_other_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples, stored, gtf = folder / "samples.csv", folder / "cohort.nc", folder / "genes.gtf"
    assert main(["transcripts", "cohort", str(samples), "--out", str(stored), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["tables"]["Samples"]
    assert [row["sample"] for row in told] == [f"s{s}" for s in range(8)]
    assert told[0]["replicates"] == "8 (bootstrap)"
    assert told[5]["condition"] == "b"

    table, page = folder / "told.tsv", folder / "told.html"
    words = ["--condition", "condition", "--covariates", "batch", "--table", str(table), "-o", str(page), "--json"]
    assert main(["transcripts", "differential", str(stored), *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["title"] == "Abundance of transcripts: b against a"
    assert found["tables"]["Differences"][0]["q ≤ 0.05"] == CHANGED
    answer = f"{CHANGED} of 59 transcripts change at a false discovery rate of 0.05: {CHANGED} up and 0 down in b."
    assert found["notes"][0] == answer
    assert set(pd.read_csv(table, sep="\t")["transcript"][:CHANGED]) == {f"T{k}.2" for k in range(CHANGED)}
    text = page.read_text()
    assert text.count("<svg") == 4
    assert ">The surest changes by sample</h" in text

    genes = folder / "genes.nc"
    words = ["--genes-of", str(gtf), "--out", str(genes), "--table", str(folder / "genes.csv")]
    assert main(["transcripts", "genes", str(stored), *words, "--counts", "lengthScaledTPM"]) == 0
    every = pd.read_csv(folder / "genes.csv")
    assert len(every) == 8 * K // 2
    assert (every["counts_low"] <= every["counts_high"]).all()
    assert open_cohort(genes).attrs["counts"] == "lengthScaledTPM"
    capsys.readouterr()
    for words in ([str(genes)], [str(stored), "--sum-genes", "--genes-of", str(gtf)]):
        assert main(["transcripts", "differential", *words, "--condition", "condition", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["title"] == "Abundance of genes: b against a"
        assert found["tables"]["Differences"][0]["q ≤ 0.05"] == CHANGED // 2

    assert main(["transcripts", "export", str(stored), "--out", str(folder / "out")]) == 0
    before, after = cohort(samples), cohort({f"s{s}": folder / "out" / f"s{s}" for s in range(8)})
    np.testing.assert_array_equal(before["replicates"], after["replicates"])
    assert salmon_draws(folder / "out" / "s0").attrs["method"] == "salmon-bootstrap"
    beside = pd.read_csv(folder / "out" / "samples.tsv", sep="\t")
    assert list(beside.columns) == ["names", "files", "condition", "batch", "program"]
    assert Path(beside["files"][3]).is_file()
    words = ["--out", str(folder / "tables"), "--format", "tables"]
    assert main(["transcripts", "export", str(stored), *words]) == 0
    plain = pd.read_csv(folder / "tables" / "counts.tsv", sep="\t", index_col=0)
    np.testing.assert_allclose(plain.to_numpy().T, before["counts"])
    assert len(list((folder / "tables" / "replicates").iterdir())) == 8
    assert main(["transcripts", "export", str(stored), "--out", str(folder / "a.h5ad"), "--format", "h5ad"]) == 0
    again = anndata.read_h5ad(folder / "a.h5ad")
    np.testing.assert_array_equal(again.layers["infRep3"], before["replicates"][:, 2])
    assert again.obs["condition"].tolist() == list("aaaabbbb")


@pytest.mark.slow
def test_usage_and_two_of_three_conditions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = pd.read_csv(folder / "samples.csv")
    samples.loc[7, "condition"] = "c"
    samples["lane"] = [1, 2, 3, 1, 2, 3, 1, 2]
    samples.to_csv(folder / "samples.csv", index=False)
    words = ["transcripts", "differential", str(folder / "samples.csv"), "--condition", "condition"]
    assert main(words) == 2
    assert "say which two to compare (--between" in capsys.readouterr().err
    assert main([*words, "--between", "b", "d"]) == 2
    assert "there is no condition 'd'" in capsys.readouterr().err
    assert main([*words, "--between", "b", "a", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["title"] == "Abundance of transcripts: a against b"
    assert found["tables"]["Differences"][0]["samples"] == "3 + 4"
    assert found["tables"]["The surest changes"][0]["log2 fold change"] < -1
    assert main([*words, "--between", "a", "b", "--covariates", "lane", "--json"]) == 0
    assert any("lane as a number, with one slope" in note for note in json.loads(capsys.readouterr().out)["notes"])
    assert main([*words, "--between", "a", "b", "--by", "usage"]) == 2
    assert "Give --genes-of" in capsys.readouterr().err
    table, page = folder / "usage.csv", folder / "usage.html"
    more = ["--by", "usage", "--genes-of", str(folder / "genes.gtf"), "--table", str(table), "-o", str(page)]
    assert main([*words, "--between", "a", "b", *more]) == 0
    told = pd.read_csv(table)
    assert not (told["q_value"] <= 0.05).any()  # both transcripts of a gene have changed
    assert told["gene"].str.startswith("G").all()
    assert "share of its gene" in page.read_text()
    assert "No transcript changes at a false discovery rate of 0.05" in capsys.readouterr().out
    scaled, by_length = folder / "scaled.nc", ["--counts", "dtuScaledTPM", "--genes-of", str(folder / "genes.gtf")]
    assert main(["transcripts", "scale", words[2], "--out", str(scaled), *by_length]) == 0
    assert open_cohort(scaled).attrs["counts"] == "dtuScaledTPM"
    capsys.readouterr()
    found = []
    for at, some in ((str(scaled), by_length[2:]), (words[2], by_length)):
        again = ["transcripts", "differential", at, *words[3:], "--between", "a", "b", "--by", "usage", *some, "--json"]
        assert main(again) == 0
        found.append(json.loads(capsys.readouterr().out)["tables"])
    assert found[0] == found[1]
    assert main([*words, "--between", "a", "b", "--counts", "dtuScaledTPM"]) == 2
    assert "Give --genes-of" in capsys.readouterr().err


def test_replicates_beside_tables_are_read(tmp_path: Path) -> None:
    head = "target_id\tlength\teff_length\test_counts\ttpm\n"
    kallisto = tmp_path / "kallisto"
    kallisto.mkdir()
    (kallisto / "abundance.tsv").write_text(head + "a\t200\t100\t30\t1\nb\t200\t100\t10\t1\n")
    for i in range(11):
        (kallisto / f"bs_abundance_{i}.tsv").write_text(head + f"a\t200\t100\t{i}\t1\nb\t200\t100\t{40 - i}\t1\n")
    none = tmp_path / "none.tsv"
    none.write_text(head + "b\t200\t100\t0\t-nan\na\t200\t100\t0\t-nan\n")  # what kallisto writes of no reads
    empty = cohort({"x": kallisto / "bs_abundance_1.tsv", "none": none})
    np.testing.assert_array_equal(empty["tpm"][1], [0, 0])
    (tmp_path / "long.quant").write_text("tname\tlen\tnum_reads\na\t2000\t30\nb\t1000\t10\n")
    drawn = pa.table({f"bootstrap.{i}": [float(i), 40.0 - i] for i in range(11)})
    pq.write_table(drawn, tmp_path / "long.infreps.pq")
    found = cohort([kallisto, tmp_path / "long.quant"])
    assert found.attrs["replicates"] == "bootstrap"
    assert found["program"].to_numpy().tolist() == ["kallisto", "oarfish"]
    for s in range(2):
        np.testing.assert_array_equal(found["replicates"][s], [[i, 40 - i] for i in range(11)])
    np.testing.assert_allclose(found["tpm"][1], [750_000, 250_000])  # a long read is a transcript
    for i in range(2, 11):
        (kallisto / f"bs_abundance_{i}.tsv").unlink()
    with_fewer = cohort([kallisto, tmp_path / "long.quant"])
    np.testing.assert_array_equal(with_fewer["replicates"][1, :, 0], [0, 10])  # of all, not of the first chain
    pq.write_table(drawn.slice(0, 1), tmp_path / "long.infreps.pq")
    with pytest.raises(gn.InputError, match=r"long.infreps.pq: .*the 2 transcripts of long.quant"):
        cohort([tmp_path / "long.quant"])
    (tmp_path / "long.infreps.pq").write_text("no")
    with pytest.raises(gn.InputError, match=r"long.infreps.pq: these are no replicates"):
        cohort([tmp_path / "long.quant"])


@pytest.mark.parametrize("usa", [False, True])
def test_cells_of_alevin_fry_are_added_up(tmp_path: Path, usa: bool) -> None:
    folder = tmp_path / "fry" / "alevin"
    folder.mkdir(parents=True)
    names = ["g", "h", "g-U", "h-U", "g-A", "h-A"] if usa else ["g", "h"]
    entries = [(1, 1, 4), (2, 1, 2), (2, 2, 3), *([(1, 3, 9), (1, 6, 5)] if usa else [])]
    body = "".join(f"{i} {j} {v}\n" for i, j, v in entries)
    text = f"%%MatrixMarket matrix coordinate real general\n2 {len(names)} {len(entries)}\n{body}"
    (folder / "quants_mat.mtx.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "quants_mat_rows.txt").write_text("AAA\nCCC\n")
    (folder / "quants_mat_cols.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "fry" / "quant.json").write_text(json.dumps({"usa_mode": usa}))
    found = cohort([tmp_path / "fry"])
    assert found["gene"].to_numpy().tolist() == ["g", "h"]
    np.testing.assert_array_equal(found["counts"], [[6, 8 if usa else 3]])
    assert ("unspliced counts left out: 9 of 23" in found.attrs["notes"]) is usa
    (folder / "quants_mat_rows.txt").write_text("AAA\n")
    with pytest.raises(gn.InputError, match=r"2 x .* but 1 cells"):
        cohort([tmp_path / "fry"])


def test_a_folder_of_rsem_is_looked_through_and_kinds_are_not_mixed(tmp_path: Path) -> None:
    rsem = tmp_path / "rsem"
    rsem.mkdir()
    head = "length\teffective_length\texpected_count\tTPM\tFPKM\n"
    (rsem / "x.genes.results").write_text(f"gene_id\ttranscript_id(s)\t{head}g\ta,b\t200\t100\t40\t1\t1\n")
    assert cohort([rsem])["counts"].dims == ("sample", "gene")
    (rsem / "x.isoforms.results").write_text(f"transcript_id\tgene_id\t{head}a\tg\t200\t100\t40\t1\t1\n")
    assert cohort([rsem])["counts"].dims == ("sample", "transcript")
    with pytest.raises(gn.InputError, match=r"counts genes, but .* counts transcripts"):
        cohort({"x": rsem, "y": rsem / "x.genes.results"})
    (rsem / "y.isoforms.results").write_text("")
    with pytest.raises(gn.InputError, match="several samples in it"):
        cohort([rsem])


def test_a_table_of_samples_may_name_several_files(tmp_path: Path) -> None:
    table = tmp_path / "samples.csv"
    table.write_text("sample,path,note\nx,a.mtx; b.tsv,\ny,c.mtx;b.tsv,odd\n")
    paths, about = read_samples(table)
    assert paths == {"x": [tmp_path / "a.mtx", tmp_path / "b.tsv"], "y": [tmp_path / "c.mtx", tmp_path / "b.tsv"]}
    assert about["note"].tolist() == ["", "odd"]
    with pytest.raises(gn.InputError, match="sample 'x': several files"):
        cohort(table)
    table.write_text("sample,path,batch,day\n01,07,001,1\n1.10,7,010,2\n")  # names, not numbers
    paths, about = read_samples(table)
    assert paths == {"01": [tmp_path / "07"], "1.10": [tmp_path / "7"]}
    assert about["batch"].tolist() == ["001", "010"]
    assert about["day"].tolist() == [1, 2]
    for text, says in (
        ("x,\n", "line 2: a sample has no name or no path"),
        ("x,a\nx,b\n", "line 3: sample 'x' stands"),
    ):
        table.write_text(f"sample,path\n{text}")
        with pytest.raises(gn.InputError, match=says):
            read_samples(table)
    table.write_text("sample,path,gene\nx,a,1\n")
    with pytest.raises(gn.InputError, match="the column 'gene' has the name"):
        cohort(table)
    table.write_text("sample,file\nx,a\n")
    with pytest.raises(gn.InputError, match="there is no column 'path'"):
        read_samples(table)


COURSE = "Arc1 xxxxx 2 AB\nArc2 xxxxx 2 BC\nArc3 xxxxx 2 CA\n"


@pytest.mark.slow
def test_each_sample_of_a_table_is_fitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, counts in {"x": (60, 30, 40), "y": (50, 90, 80)}.items():
        lines = [f"{a} {n}\n" for a, n in zip("abc", counts, strict=True)]
        (tmp_path / f"{name}.txt").write_text("".join([COURSE, *lines]))
    (tmp_path / "samples.tsv").write_text("sample\tpath\tage\nx\tx.txt\t3\ny\ty.txt\t4\n")
    words = ["fit-each", NAME, str(tmp_path / "samples.tsv"), "--format", "course", "--out", str(tmp_path / "fits")]
    assert main([*words, "--method", "em"]) == 0
    assert "x: passed" in capsys.readouterr().out
    told = pd.read_csv(tmp_path / "fits" / "samples.csv")
    assert told["age"].tolist() == [3, 4]
    found = cohort(tmp_path / "fits" / "samples.csv")
    assert found["counts"].sum("transcript").to_numpy().tolist() == pytest.approx([130, 220])
    assert main([*words, "--method", "em"]) == 2
    assert "x.nc: this exists already. Name a new folder, or give --resume" in capsys.readouterr().err
    (tmp_path / "fits" / "y.nc").unlink()
    assert main([*words, "--method", "gibbs", "--option", "draws=20", "--option", "tune=5", "--resume"]) == 0
    with pytest.warns(UserWarning, match=r"x.nc: no replicates"):
        assert cohort(tmp_path / "fits" / "samples.csv").attrs["replicates"] == "none"
    (tmp_path / "y.txt").write_text("a -1\n")
    (tmp_path / "fits" / "y.nc").unlink()
    capsys.readouterr()
    assert main([*words, "--method", "em", "--resume"]) == 2
    assert "sample 'y': " in capsys.readouterr().err
    (tmp_path / "samples.tsv").write_text("sample\tpath\n../x\tx.txt\n")
    assert main([*words, "--method", "em"]) == 2
    assert "this cannot be the name of a file" in capsys.readouterr().err
