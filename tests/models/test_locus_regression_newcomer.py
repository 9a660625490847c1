"""A newcomer's run: the five commands of the card, from VCF, FASTA, BED and bigWig to a report and an annotated VCF."""

import gzip
import re
import shlex
from pathlib import Path

import numpy as np
import pybigtools
import pytest
import xarray as xr

import genarium as gn
from genarium import cli
from genarium.declaration import Array
from ingest_files import context_at, vcf_text, write_fasta

CARD = Path(__file__).parents[2] / "models" / "locus_regression" / "README.md"
GENOMES = [f"T{i:02d}" for i in range(1, 9)]
STEP = 1000
"""Bases over which the track of timing is level."""


def commands() -> list[list[str]]:
    """The commands of the card's section "First ten minutes", as words."""
    section = CARD.read_text().partition("\n## First ten minutes\n")[2].partition("\n## ")[0]
    code = "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))
    return [shlex.split(line) for line in code.replace("\\\n", " ").splitlines()]


def make_files(folder: Path) -> dict[tuple[str, int], int]:
    """Write the files that the card names; return the true process of each mutation.

    Process 0 changes TC to TT in late windows, process 1 CG to TG in early ones, process 2 anything anywhere.
    """
    rng = np.random.default_rng(3)
    sequence = {name: "".join(rng.choice(list("ACGT"), n)) for name, n in (("chr1", 36_000), ("chr2", 24_000))}
    write_fasta(folder / "genome.fa", sequence)
    timing = {name: np.sin(np.arange(len(text) // STEP) / 4 + 2 * (name == "chr2")) for name, text in sequence.items()}
    track = pybigtools.open(str(folder / "timing.bw"), "w")
    entries = ((name, i * STEP, (i + 1) * STEP, float(v)) for name in sequence for i, v in enumerate(timing[name]))
    track.write({name: len(text) for name, text in sequence.items()}, entries)
    starts = [(name, int(at)) for name, text in sequence.items() for at in rng.choice(len(text) - 900, 12)]
    (folder / "peaks.bed").write_text("".join(f"{name}\t{at}\t{at + 600}\n" for name, at in sorted(starts)))
    free = [(name, at) for name, text in sequence.items() for at in range(2, len(text) - 2, 2)]
    contexts = np.array([context_at(sequence[name], at) for name, at in free])  # A[C]G
    late = np.array([timing[name][at // STEP] for name, at in free])
    rates: list[Array] = [
        np.char.startswith(contexts, "T[C]") * np.exp(late),
        np.char.endswith(contexts, "[C]G") * np.exp(-late),
        np.ones(len(free)),
    ]
    count = 750
    chosen = [rng.choice(len(free), count // 3, replace=False, p=rate / rate.sum()) for rate in rates]
    process = {int(at): k for k, places in enumerate(chosen) for at in places}
    shares = rng.dirichlet([0.3, 0.3, 0.3], len(GENOMES))
    rows = []
    for at in sorted(process, key=lambda at: free[at]):
        name, place = free[at]
        ref = sequence[name][place]
        new = str(rng.choice([base for base in "ACGT" if base != ref]))
        if process[at] < 2:
            new = "T" if ref == "C" else "A"
        carrier = rng.choice(len(GENOMES), p=shares[:, process[at]] / shares[:, process[at]].sum())
        rows.append([name, place + 1, ref, new, *("0/1" if g == carrier else "0/0" for g in range(len(GENOMES)))])
    (folder / "tumours.vcf").write_text(vcf_text(rows, GENOMES))
    return {(free[at][0], free[at][1] + 1): k for at, k in process.items()}


@pytest.mark.slow
def test_five_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    truth = make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = []
    five = commands()
    assert [words[1] for words in five] == ["read", "fit", "diagnose", "report", "export"]
    for program, *words in five:
        assert program == "genarium"
        assert cli.main(words) == 0, words
        said.append("".join(capsys.readouterr()))
    assert f"{len(truth):,} mutations x 8 genomes\n" in said[0]  # none was left out
    assert "next: genarium fit locus_regression corpus.nc" in said[0]
    assert "wrote tumours.processes.vcf.gz" in said[4]
    assert not (tmp_path / "genome.fa.fai").exists()  # nothing is written beside the user's files

    fit = gn.load("fit.nc")
    named = matched(fit)
    beta = fit["posterior"]["beta"].mean(("chain", "draw"))
    timing = [float(beta.sel(feature="timing", process=named[k])) for k in range(3)]
    assert timing[0] > 0.4
    assert timing[1] < -0.4
    page = Path("report.html").read_text()
    for told in ("Signatures", "chromosome, place in kb", "timing", "T01"):
        assert told in page
    assert page.index('id="found"') < page.index('id="checks"') < page.index('id="estimates"')

    with gzip.open("tumours.processes.vcf.gz", "rt") as file:
        lines = [line.split("\t") for line in file if not line.startswith("#")]
    assert len(lines) == len(truth)
    right = 0
    for fields in lines:
        found = re.search(r"PROCESS=process(\d)", fields[7])
        assert found is not None, fields[:8]
        right += named[truth[fields[0], int(fields[1])]] == int(found[1])
    assert right > 0.85 * len(truth)
    assert Path("tumours.processes.vcf.gz.tbi").exists()


def matched(fit: xr.DataTree) -> list[int]:
    """The fitted processes that are TC > TT, CG > TG, and the rest."""
    group = fit["posterior"].to_dataset().mean(("chain", "draw"))
    weight = group["lam"].to_numpy()
    names = [str(name) for name in group["context"].to_numpy()]
    of_apobec = weight[:, [name.startswith("T[C]") for name in names]].sum(1).argmax()
    of_clock = weight[:, [name.endswith("[C]G") for name in names]].sum(1).argmax()
    (rest,) = {0, 1, 2} - {int(of_apobec), int(of_clock)}
    return [int(of_apobec), int(of_clock), rest]
