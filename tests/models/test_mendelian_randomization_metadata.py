"""What metadata beside summary statistics (GWAS-SSF) tell, where the table is silent."""

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.errors import InputError
from genarium.models.mendelian_randomization.gwas import effects_of, pair, read_columns
from genarium.models.mendelian_randomization.mr_command import mr

META = """---
gwas_id: GCST90000123
date_metadata_last_modified: 2024-01-16
trait_description:
  - breast carcinoma
genome_assembly: GRCh37
coordinate_system: {system}
samples:
  - sample_ancestry_category:
      - European
    sample_size: 12000
    case_control_study: true
  - sample_ancestry_category: [East Asian]
    sample_size: 345
file_type: GWAS-SSF v1.0
is_harmonised: false
"""
OLD = """---
summaryStatisticsMetadata:
  genomeAssembly: {build}
  sampleSize: 12345
  effectStatistic: {kind}
  pvalueIsNegLog10: true
"""
HEAD = "chromosome\tbase_pair_location\teffect_allele\tother_allele\t{effect}\tstandard_error\tp_value"


def table(path: Path, effect: str = "beta", first: int = 1000, p: float = 0.5) -> Path:
    rows = [f"1\t{first + 10 * j}\tA\tG\t{0.5 + 0.2 * j:.1f}\t0.1\t{p}" for j in range(4)]
    path.write_text("\n".join([HEAD.format(effect=effect), *rows]) + "\n")
    return path


@pytest.mark.parametrize("name", ["x.tsv", "x.tsv.gz"])
def test_build_size_and_trait(name: str, tmp_path: Path) -> None:
    path = table(tmp_path / "x.tsv")
    if name.endswith("gz"):
        text, path = path.read_bytes(), tmp_path / name
        path.write_bytes(gzip.compress(text))
    (tmp_path / "x.tsv-meta.yaml").write_text(META.format(system="1-based"))
    found = read_columns(path, {})
    assert found.build == "37"
    assert found.notes[-1] == (
        f"{name}: x.tsv-meta.yaml tells build 37 of the genome; 12,345 samples; trait 'breast carcinoma'"
    )
    np.testing.assert_array_equal(effects_of(found, np.arange(4)).samples, 12345)
    tree = gn.read("mendelian_randomization", [path, table(tmp_path / "y.tsv")], format="traits")
    assert "x.tsv-meta.yaml tells build 37" in tree.attrs["ledger"]
    told = mr(path, tmp_path / "y.tsv", no_model=True)
    assert told.title == f"Causal effect of breast carcinoma ({name}) on y.tsv"
    # a table's own sizes and build stand
    table(tmp_path / "x.tsv").write_text(
        (tmp_path / "x.tsv").read_text().replace("0.5\n", "77\n").replace("p_value", "n")
    )
    own = read_columns(tmp_path / "x.tsv", {})
    np.testing.assert_array_equal(effects_of(own, np.arange(4)).samples, 77)
    assert "12,345" not in own.notes[-1]
    # the other table is of another build
    (tmp_path / "y.tsv-meta.yaml").write_text("genome_assembly: 38\n")
    with pytest.raises(InputError, match=r"x\.tsv.* is of build 37 of the genome, .*y\.tsv of build 38"):
        pair([path, tmp_path / "y.tsv"], {})


def test_positions_from_zero(tmp_path: Path) -> None:
    x, y = table(tmp_path / "x.tsv", first=999), table(tmp_path / "y.tsv", first=1000)
    with pytest.raises(InputError, match="no variant in common"):
        pair([x, y], {})
    (tmp_path / "x.tsv-meta.yaml").write_text(META.format(system="0-based"))
    found = pair([x, y], {})
    assert found.names.tolist() == [f"1:{1000 + 10 * j}:G:A" for j in range(4)]
    assert any("positions from 0, to which 1 is added" in note for note in found.notes)


def test_kind_of_effects_and_of_p_values(tmp_path: Path) -> None:
    ratio = np.array([0.5, 0.7, 0.9, 1.1])
    for kind, effect, expected in (
        ("odds_ratio", "effect", np.log(ratio)),
        ("hazard_ratio", "effect", np.log(ratio)),
        ("beta", "effect", ratio),
        ("odds_ratio", "odds_ratio", np.log(ratio)),
        ("beta", "beta", ratio),
    ):
        path = table(tmp_path / "x.tsv", effect, p=5.0)
        (tmp_path / "x.tsv-meta.yaml").write_text(OLD.format(kind=kind, build="GRCh38"))
        columns = read_columns(path, {})
        found = effects_of(columns, np.arange(4))
        np.testing.assert_allclose(found.beta, expected)
        np.testing.assert_array_equal(found.log10_p, 5.0)
        assert "p values that are -log10 of these" in columns.notes[1]
        assert (f"that are {kind}" in columns.notes[1]) == (effect == "effect")
    assert columns.build == "38"
    (tmp_path / "x.tsv-meta.yaml").write_text(OLD.format(kind="odds_ratio", build="NR"))
    columns = read_columns(path, {})
    with pytest.raises(InputError, match=r"name of column 'beta' says effects, but x\.tsv-meta\.yaml says odds_ratio"):
        effects_of(columns, np.arange(4))
    np.testing.assert_allclose(effects_of(columns, np.arange(4), "beta").beta, ratio)
    np.testing.assert_allclose(effects_of(columns, np.arange(4), "odds_ratio").beta, np.log(ratio))


def test_z_with_the_sample_size_of_the_metadata(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text(
        "rsid\teffect_allele\tother_allele\tz_score\teffect_allele_frequency\nrs1\tA\tG\t3\t.2\n"
    )
    (tmp_path / "x.tsv-meta.yaml").write_text("samples:\n  - sample_size: 991\n")
    found = effects_of(read_columns(tmp_path / "x.tsv", {}), np.arange(1))
    np.testing.assert_allclose(found.se, 1 / np.sqrt(2 * 0.2 * 0.8 * 1000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\n", r"x\.tsv-meta\.yaml: this cannot be read as YAML"),
        ("- a\n- b\n", r"x\.tsv-meta\.yaml: this has no names with values"),
        ("", r"x\.tsv-meta\.yaml: this has no names with values"),
        ("samples:\n  - sample_size: many\n", "sample size 'many' is no whole number"),
    ],
)
def test_bad_metadata_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = table(tmp_path / "x.tsv")
    (tmp_path / "x.tsv-meta.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_columns(path, {})


def test_what_contradicts_the_table_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "x.tsv")
    path.write_text("##genome GRCh38\n" + path.read_text())
    (tmp_path / "x.tsv-meta.yaml").write_text(META.format(system="1-based"))
    with pytest.raises(InputError, match=r"is of build 38 of the genome, but x\.tsv-meta\.yaml says GRCh37"):
        read_columns(path, {})


def test_without_pyyaml_it_is_said_what_is_not_read(tmp_path: Path, monkeypatch: Any) -> None:
    path = table(tmp_path / "x.tsv")
    (tmp_path / "x.tsv-meta.yaml").write_text(META.format(system="1-based"))
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.warns(UserWarning, match=r"PyYAML is not installed.*pip install 'genarium\[yaml\]'"):
        assert read_columns(path, {}).build is None
