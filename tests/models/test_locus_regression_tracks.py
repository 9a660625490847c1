"""Readers of sequencing files: features of windows from tracks, their transforms, exposures, covariate groups."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pybigtools
import pytest
import xarray as xr
from scipy.stats import norm, rankdata

import genarium as gn
import ingest_files as made
from genarium import InputError
from genarium.cli import main
from genarium.declaration import Array
from genarium.models.locus_regression import ingest
from genarium.models.locus_regression.ingest import bbi, transforms

LENGTHS = {"chr1": 4000, "chr2": 2500}
SEQUENCES = made.genome(3, LENGTHS)
SIZE = 500
WINDOWS = [(name, start, min(start + SIZE, n)) for name, n in LENGTHS.items() for start in range(0, n, SIZE)]
NAME = "locus_regression"


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(made.write_fasta(tmp_path_factory.mktemp("genome") / "genome.fa", SEQUENCES))


@pytest.fixture(scope="module")
def vcf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows, _ = made.substitutions(SEQUENCES, ["S1", "S2"], 200, SIZE)
    return Path(made.write(tmp_path_factory.mktemp("vcf") / "a.vcf", made.vcf_text(rows, ["S1", "S2"])))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def make(text: str, name: str) -> Path:
        return Path(made.write(tmp_path / name, text))

    return make


def measured(fasta: str, vcf: Path, spec: Any, **options: Any) -> Any:
    """The values of one feature."""
    found = ingest.vcf([vcf], fasta=fasta, windows=SIZE, features={"x": spec}, **options)
    return found["features"].sel(feature="x").to_numpy()


def signal(seed: int = 5) -> tuple[dict[str, Array], list[tuple[str, int, int, float]]]:
    """Values of every base, NaN where there are none, and their runs; nothing in the first two windows of chr2."""
    rng = np.random.default_rng(seed)
    bases, runs = {}, []
    for name, n in LENGTHS.items():
        of = np.full(n, np.nan)
        at = 1000 if name == "chr2" else 3
        while at < n - 80:
            end = at + int(rng.integers(1, 70))
            value = float(np.float32(rng.normal()))
            of[at:end] = value
            runs.append((name, at, end, value))
            at = end + int(rng.integers(0, 2) * rng.integers(0, 40))
        bases[name] = of
    return bases, runs


def by_base(bases: dict[str, Array], summary: Callable[[Array], float]) -> Array:
    return np.array([summary(bases[name][a:b]) for name, a, b in WINDOWS])


SLOW: dict[str, Callable[[Array], float]] = {
    "mean": lambda x: float(np.nanmean(x)) if np.isfinite(x).any() else np.nan,
    "max": lambda x: float(np.nanmax(x)) if np.isfinite(x).any() else np.nan,
    "sd": lambda x: float(np.nanstd(x)) if np.isfinite(x).any() else np.nan,
    "coverage": lambda x: float(np.isfinite(x).mean()),
}


@pytest.mark.parametrize("summary", list(SLOW))
def test_bigwig_and_bedgraph_are_summarised_as_base_by_base(
    summary: str, fasta: str, vcf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genarium.models.locus_regression.ingest.sources.STRETCH", 700)
    monkeypatch.setattr("genarium.models.locus_regression.ingest.intervals.BLOCK", 20)
    bases, runs = signal()
    want = by_base(bases, SLOW[summary])
    missing = np.isnan(want)
    want[missing] = want[~missing].mean()
    wig = tmp_path / "x.bw"
    pybigtools.open(str(wig), "w").write(LENGTHS, runs)
    graph = tmp_path / "x.bedGraph.gz"
    made.write(graph, "track type=bedGraph\n" + "".join(f"{c[3:]}\t{a}\t{b}\t{v!r}\n" for c, a, b, v in runs))
    for path in (wig, graph):
        assert np.allclose(measured(fasta, vcf, f"{path}:{summary}"), want, rtol=1e-9, atol=1e-12)


def test_windows_that_a_track_says_nothing_of(fasta: str, vcf: Path, write: Callable[..., Path]) -> None:
    path = write("".join(f"{c}\t{a}\t{b}\t{v!r}\n" for c, a, b, v in signal()[1]), "x.bedgraph")
    silent = [i for i, (name, start, _) in enumerate(WINDOWS) if name == "chr2" and start < 1000]
    assert (measured(fasta, vcf, str(path), missing="zero")[silent] == 0).all()
    found = ingest.vcf([vcf], fasta=fasta, windows=SIZE, features={"x": path}, missing="drop")
    assert found["features"].shape == (1, len(WINDOWS) - 2)
    assert "chr2:0-500" not in found["features"]["locus"]
    ledger = found.ledger  # type: ignore[attr-defined]
    assert ledger.rows.left_out["outside the windows"] > 0
    assert "2 windows that a track says nothing of were dropped" in " ".join(ledger.notes)
    filled = ingest.vcf([vcf], fasta=fasta, windows=SIZE, features={"x": path})
    assert "it says nothing of 2 of 13 windows" in " ".join(filled.ledger.notes)  # type: ignore[attr-defined]


def test_bed(fasta: str, vcf: Path, write: Callable[..., Path]) -> None:
    intervals = [("chr1", 400, 700, 3.0), ("chr1", 600, 620, 9.0), ("chr1", 3000, 3010, 1.0)]
    path = write("".join(f"{c}\t{a}\t{b}\tn\t{v}\n" for c, a, b, v in intervals), "x.bed")
    coverage = measured(fasta, vcf, f"{path}")
    assert coverage.tolist()[:7] == [0.2, 0.4, 0, 0, 0, 0, 0.02]
    distance = measured(fasta, vcf, f"{path}:distance", missing="zero")
    assert distance.tolist()[:8] == [0, 0, 300, 800, 500, 0, 0, 490]
    assert not distance[8:].any()  # chr2 has no interval
    density = measured(fasta, vcf, f"{path}:density")
    assert density.tolist()[:8] == [0, 2 / SIZE * 1e6, 0, 0, 0, 0, 1 / SIZE * 1e6, 0]
    best = measured(fasta, vcf, f"{path}:max", missing="zero")
    assert best.tolist()[:7] == [3, 9, 0, 0, 0, 0, 1]
    peaks = write("chr1\t400\t700\tn\t5\t.\t2.5\t1\t1\t9\n", "x.narrowPeak")
    assert measured(fasta, vcf, f"{peaks}:mean", missing="zero").tolist()[:3] == [2.5, 2.5, 0]


def test_genes_and_expression(fasta: str, vcf: Path, write: Callable[..., Path]) -> None:
    def row(kind: str, start: int, end: int, gene: str) -> str:
        return f'1\tx\t{kind}\t{start}\t{end}\t.\t+\t.\tgene_id "{gene}.3"; gene_name "N{gene}";\n'

    text = row("gene", 401, 700, "ENSG1") + row("exon", 401, 450, "ENSG1") + row("gene", 1001, 1100, "ENSG2")
    gtf = write("#!genome-build x\n" + text, "genes.gtf")
    assert measured(fasta, vcf, str(gtf)).tolist()[:3] == [0, 1 / SIZE * 1e6, 1 / SIZE * 1e6]
    assert measured(fasta, vcf, f"{gtf}:coverage").tolist()[:3] == [0.2, 0.4, 0.2]
    for table in ("gene\ttpm\nENSG1\t10\nENSG2\t4\n", "name,tpm\nNENSG2,4\nNENSG1,10\n"):
        path = write(table, "e.tsv")
        assert measured(fasta, vcf, f"{path}@{gtf}").tolist()[:4] == [2, 4, 0.8, 0]
    assert measured(fasta, vcf, f"{path}@{gtf}:max").tolist()[:4] == [10, 10, 4, 0]
    exons = write(row("exon", 401, 500, "A") + row("exon", 601, 700, "A"), "exons.gtf")
    assert measured(fasta, vcf, f"{exons}:coverage").tolist()[:2] == [0.2, 0.4]
    with pytest.raises(InputError, match="none of its genes"):
        measured(fasta, vcf, f"{write('gene,tpm\nX,3\nY,4\n', 'f.csv')}@{gtf}")


def test_bad_tracks(fasta: str, vcf: Path, write: Callable[..., Path]) -> None:
    def refused(spec: Any, says: str) -> None:
        with pytest.raises(InputError, match=says):
            measured(fasta, vcf, spec)

    refused(write("chr1\t0\t10\t1\nchr1\t5\t20\t1\n", "x.bedgraph"), "line 2: the interval chr1:5-20 overlaps another")
    refused(write("chr1\t0\t10\t1\nchr1\tx\t20\t1\n", "x.bedgraph"), "line 2 has start 'x'")
    refused(write("chr1\t0\t10\t1\nchr1\t10\t20\tz\n", "x.bedgraph"), "line 2 has 'z' in column 4")
    refused(write("chr1\t0\n", "x.bed"), "line 1 has 2 columns")
    refused(write("chr1\t30\t10\n", "x.bed"), "line 1: the interval ends before it starts")
    refused(write("chr9\t0\t10\n", "x.bed"), "covers no base of any window.*assembly")
    refused(write("junk", "x.bw"), "cannot be read as bigWig")
    wig = write("", "y.bw")
    pybigtools.open(str(wig), "w").write({"chr1": 4000}, [("chr1", i * 10, i * 10 + 9, float(i)) for i in range(300)])
    wig.write_bytes(wig.read_bytes()[:700])
    refused(wig, "cannot be read as bigWig|the file is damaged")
    refused(write("junk", "x.wav"), "cannot be told from its name")
    refused(f"{write('chr1\t0\t10\n', 'x.bed')}:median", "there is no file .*median")
    refused("absent.bw:mean", "absent.bw: there is no such file")
    refused(f"{write('chr1\t0\t10\t1\n', 'x.bedgraph')}:distance", "'distance' cannot be taken of it")
    with pytest.raises(InputError, match="is not of the form NAME=TRACK:SUMMARY"):
        ingest.vcf([vcf], fasta=fasta, features="x.bw")


def test_bigwigs_that_tell_of_more_than_they_hold(tmp_path: Path) -> None:
    """Their reader would end the process: it sets aside what a damaged file asks for."""
    wig = tmp_path / "a.bw"
    pybigtools.open(str(wig), "w").write({"chr1": 4000}, [("chr1", i * 10, i * 10 + 9, float(i)) for i in range(300)])
    sound = wig.read_bytes()
    bbi.look_over(wig)
    chromosomes, _, index = struct.unpack("<QQQ", sound[8:32])
    large = struct.pack("<Q", 2**45)
    for at, value, says in (
        (0, b"RIFF", "it does not begin as one"),
        (52, struct.pack("<I", 2**31), "its header announces blocks of 2,147,483,648 bytes"),
        (8, large, "its chromosomes are said to be at byte"),
        (chromosomes + 16, large, "its table of chromosomes is not valid"),
        (chromosomes, bytes(4), "its table of chromosomes is not valid"),
        (24, large, "its index is not at byte"),
        (index + 48 + 4 + 24, large, "its index points beyond its end"),
        (index + 48 + 4 + 16, large, "its index points beyond its end"),
        (index + 50, b"\xff\xff", "its index is cut short"),
        (index + 48, b"\x00", "its index is"),
    ):
        wig.write_bytes(sound[:at] + value + sound[at + len(value) :])
        with pytest.raises(InputError, match=says):
            bbi.look_over(wig)
    wig.write_bytes(sound[:40])
    with pytest.raises(InputError, match="it does not begin as one"):
        bbi.look_over(wig)


def graph(values: Array) -> str:
    return "".join(f"{c}\t{a}\t{b}\t{v!r}\n" for (c, a, b), v in zip(WINDOWS, values.tolist(), strict=True))


VALUES = np.random.default_rng(8).gamma(2, size=len(WINDOWS))


def test_transforms(fasta: str, vcf: Path, write: Callable[..., Path]) -> None:
    path = write(graph(VALUES), "x.bedgraph")

    def made_of(steps: str) -> Any:
        return ingest.vcf([vcf], fasta=fasta, windows=SIZE, features=f"x={path}:mean:{steps}")["features"]

    assert np.allclose(made_of("log1p").to_numpy()[0], np.log1p(VALUES))
    logs = np.log1p(VALUES)
    assert np.allclose(made_of("log1p:standardise").to_numpy()[0], (logs - logs.mean()) / logs.std())
    assert np.allclose(made_of("rank").to_numpy()[0], norm.ppf((rankdata(VALUES) - 0.5) / len(VALUES)))
    lags = made_of("lags=-1/0")
    assert lags["feature"].to_numpy().tolist() == ["x -1", "x"]
    assert np.allclose(lags.to_numpy()[0, [0, 1, 8, 9]], VALUES[[0, 0, 8, 8]])  # chr2 begins at 8
    split = made_of("resolutions=1/2")
    assert np.allclose(split.to_numpy().sum(0), VALUES)
    flat = write(graph(np.ones(len(WINDOWS))), "flat.bedgraph")
    with pytest.raises(InputError, match="x is 1 in every window"):
        ingest.vcf([vcf], fasta=fasta, windows=SIZE, features={"x": flat}, transform="standardise")
    with pytest.raises(InputError, match="transform 'cube' is not known"):
        ingest.vcf([vcf], fasta=fasta, windows=SIZE, features={"x": flat}, transform="cube")
    scaled = ingest.vcf([vcf], fasta=fasta, windows=SIZE, features={"x": write(graph(VALUES * 100), "y.bedgraph")})
    assert "standard deviation of about one" in " ".join(scaled.ledger.notes)  # type: ignore[attr-defined]


def test_normal_scores_of_many_windows_hold_in_the_tails() -> None:
    """What is kept of them to rank new data by has all of a long tail, in which a few windows decide an effect."""
    values = np.random.default_rng(1).lognormal(0, 2, 3000)
    X = xr.DataArray(values[None], dims=("feature", "locus"), coords={"feature": ["x"], "locus": np.arange(3000)})
    step = transforms.parse_step("rank")
    found, (kept,) = transforms.run(X, [step], np.zeros(3000, dtype=int), None)
    assert np.allclose(found.to_numpy()[0], norm.ppf((rankdata(values) - 0.5) / 3000), atol=0.01)
    assert len(kept["values"][0]) <= transforms.KNOTS
    again, _ = transforms.run(X[:, ::-1], [step], np.zeros(3000, dtype=int), [kept])
    assert np.array_equal(again.to_numpy()[0], found.to_numpy()[0, ::-1])


@pytest.mark.slow
def test_new_genomes_are_read_like_a_corpus(fasta: str, vcf: Path, write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(graph(VALUES), "x.bedgraph")
    bed = write("".join(f"{c}\t{a}\t{b}\n" for c, a, b in WINDOWS), "w.bed")
    options = {"fasta": fasta, "windows": bed, "features": {"x": f"{path}:mean:log1p:standardise:lags=0/1"}}
    corpus = gn.read(NAME, vcf, "vcf", exclude=str(write("chr1\t0\t50\n", "e.bed")), **options)
    recipe = json.loads(corpus["constant_data"]["features"].attrs["recipe"])["x"]
    assert recipe["parameters"][1]["mean"] == pytest.approx([np.log1p(VALUES).mean()])
    fit = gn.fit(NAME, corpus, "vi", process=2, restarts=1, max_iterations=30)
    saved = gn.save(fit, tmp_path / "fit.nc")
    rows, want = made.substitutions(SEQUENCES, ["N1"], 40, SIZE, seed=9)
    new = write(made.vcf_text(rows, ["N1"]), "new.vcf")
    tree = gn.read(NAME, new, "vcf", fasta=fasta, like=saved)
    for name in ("features", "exposure", "context_opportunity"):
        xr.testing.assert_equal(tree["constant_data"][name], fit["constant_data"][name])
    assert tree["constant_data"]["count"].sum() == sum(want.values())
    predictions = gn.predict(fit, tree)["predictions"]
    assert predictions["pi"]["genome"].to_numpy().tolist() == ["N1"]
    other = write(graph(VALUES[::-1]), "x2.bedgraph")
    again = ingest.vcf([new], fasta=fasta, like=fit, features={"x": str(other)})["features"]
    logs = np.log1p(VALUES)
    assert np.allclose(again.to_numpy()[0], (logs[::-1] - logs.mean()) / logs.std())
    with pytest.raises(InputError, match=r"windows=\.\.\. and like=\.\.\. contradict"):
        ingest.vcf([new], fasta=fasta, like=fit, windows=100)
    with pytest.raises(InputError, match="'y' is not a feature of like="):
        ingest.vcf([new], fasta=fasta, like=fit, features={"y": str(other)})


def test_exposure(fasta: str, vcf: Path, write: Callable[..., Path]) -> None:
    bases, runs = signal()
    runs = [(c, a, b, abs(v)) for c, a, b, v in runs]
    path = write("".join(f"{c}\t{a}\t{b}\t{v!r}\n" for c, a, b, v in runs), "x.bedgraph")
    found = ingest.vcf([vcf], fasta=fasta, windows=SIZE, exposure=str(path))
    sums = by_base({name: np.abs(of) for name, of in bases.items()}, lambda x: float(np.nansum(x)))
    assert np.allclose(found["exposure"].to_numpy(), sums[sums > 0])
    assert "2 of 13 windows have no exposure" in " ".join(found.ledger.notes)  # type: ignore[attr-defined]
    callable_ = write("chr1\t400\t700\nchr1\t600\t800\n", "c.bed")
    found = ingest.vcf([vcf], fasta=fasta, windows=SIZE, exposure=f"{callable_}:coverage")
    assert found["exposure"].to_numpy().tolist() == [100, 300]


def test_covariate_groups(fasta: str, vcf: Path, write: Callable[..., Path]) -> None:
    one, two = (write(graph(values), f"{i}.bedgraph") for i, values in enumerate((VALUES, VALUES[::-1])))
    table = write("sample,sex,tissue\nS1,f,skin\nS2,m,lung\n", "groups.csv")
    features = f"x@skin={one},x@lung={two},y={one}:mean:log1p"
    tree = gn.read(NAME, vcf, "vcf", fasta=fasta, windows=SIZE, features=features, groups=f"{table}:tissue")
    X = tree["constant_data"]["features"]
    assert X.dims == ("covariate_group", "feature", "locus")
    assert X["covariate_group"].to_numpy().tolist() == ["lung", "skin"]
    assert np.allclose(X.sel(covariate_group="skin", feature="x"), VALUES)
    assert np.allclose(X.sel(covariate_group="lung", feature="x"), VALUES[::-1])
    assert np.allclose(X.sel(feature="y"), np.log1p(VALUES))
    names = json.loads(tree.attrs["labels"])["genome"]
    group = dict(
        zip(tree["constant_data"]["genome"].to_numpy(), tree["constant_data"]["group"].to_numpy(), strict=True)
    )
    assert {names[g]: j for g, j in group.items()} == {"S1": 1, "S2": 0}
    assert json.loads(tree.attrs["model_options"])["groups"] == "several"
    with pytest.raises(InputError, match="the genome 'S2' has no group"):
        ingest.vcf([vcf], fasta=fasta, features=f"x={one}", groups={"S1": "skin"})
    with pytest.raises(InputError, match="x is missing for the group 'lung'"):
        ingest.vcf([vcf], fasta=fasta, windows=SIZE, features=f"x@skin={one}", groups={"S1": "skin", "S2": "lung"})


def from_files_to_a_fit(fasta: str, vcf: Path, folder: Path) -> Path:
    """VCF, FASTA, BED and bigWig to a fit, on the command line."""
    wig, bed = folder / "rt.bw", made.write(folder / "peaks.bed", "chr1\t400\t700\nchr2\t0\t900\n")
    runs = [(c, a, b, float(v)) for (c, a, b), v in zip(WINDOWS, VALUES, strict=True)]
    pybigtools.open(str(wig), "w").write(LENGTHS, runs)
    corpus, fit = folder / "c.nc", folder / "f.nc"
    features = f"features=RT={wig}:mean,K27ac={bed}:coverage"
    options = [f"fasta={fasta}", f"windows={SIZE}", features, "transform=standardise"]
    asked = [word for option in options for word in ("--option", option)]
    assert main(["read", NAME, str(vcf), "--format", "vcf", *asked, "-o", str(corpus)]) == 0
    quick = ["--set", "process=2", "--option", "restarts=1", "--option", "draws=20"]
    assert main(["fit", NAME, str(corpus), "--method", "vi", *quick, "-o", str(fit)]) == 0
    return fit


@pytest.mark.slow
def test_from_files_to_a_fit(fasta: str, vcf: Path, tmp_path: Path) -> None:
    known = gn.load(from_files_to_a_fit(fasta, vcf, tmp_path))["constant_data"]
    assert known["exposure"]["chrom"].to_numpy().tolist() == [c for c, _, _ in WINDOWS]
    assert known["exposure"]["end"].to_numpy().tolist() == [b for _, _, b in WINDOWS]
    assert known["features"]["feature"].to_numpy().tolist() == ["RT", "K27ac"]


@pytest.mark.slow
def test_from_files_to_a_report(fasta: str, vcf: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    assert main(["report", str(from_files_to_a_fit(fasta, vcf, tmp_path)), "-o", str(page)]) == 0
    assert "K27ac" in page.read_text()


@pytest.mark.slow
def test_without_features_the_fit_is_flat(fasta: str, vcf: Path) -> None:
    tree = gn.read(NAME, vcf, fasta=fasta, windows=SIZE)
    fit = gn.fit(NAME, tree, "vi", process=2, restarts=1, max_iterations=30)
    assert fit["posterior"]["pi"]["genome"].to_numpy().tolist() == ["S1", "S2"]
