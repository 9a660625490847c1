"""The experiments of validation/ on small files in the layouts of real networks, with a causal pattern to be found."""

from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

import network_files as nf
from genarium.declaration import Array
from genarium.errors import InputError

MOTIFS = {"Klf4": "GGGTGTGG", "Nanog": "AGCCATTA", "Oct4": "TTTGCATA", "Sox2": "CATTGTTC"}


def detectors() -> Array:
    """Filters (8, 4, 4): 1 for each base of a motif."""
    kernel = np.zeros((8, 4, len(MOTIFS)))
    for f, motif in enumerate(MOTIFS.values()):
        for t, base in enumerate(motif):
            kernel[t, "ACGT".index(base), f] = 1
    return kernel


def genome(folder: Path, rng: np.random.Generator, N: int, L: int) -> tuple[Path, Path]:
    """Regions of L bases, each with every motif once about its middle."""
    texts, lines = [], []
    for n in range(N):
        text = rng.choice(list("ACGT"), L)
        at = L // 2 - 24
        for motif in rng.permutation(list(MOTIFS.values())):
            text[at : at + 8] = list(motif)
            at += 12
        texts.append("".join(text))
        lines.append(f"chr1\t{n * L}\t{(n + 1) * L}\n")
    fasta, bed = folder / "genome.fa", folder / "peaks.bed"
    fasta.write_text(">chr1\n" + "".join(texts) + "\n")
    bed.write_text("".join(lines))
    return fasta, bed


@pytest.mark.slow
def test_bpnet_finds_who_influences_whom(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Oct4 and Sox2 add .6 of their motifs' scores to the others, but for shared bases; Klf4 and Nanog none."""
    rng = np.random.default_rng(0)
    L, names = 80, list(MOTIFS)
    share = np.eye(4)
    for strong in ("Oct4", "Sox2"):
        for other in ("Klf4", "Nanog"):
            share[names.index(strong), names.index(other)] = 0.6
    for factor, weights in zip(names, share.T, strict=True):
        (tmp_path / "models" / factor).mkdir(parents=True)
        for e in range(4):
            layers = [
                nf.layer("InputLayer", "sequence", batch_input_shape=[None, L, 4]),
                nf.layer("Conv1D", "bpnet_1st_conv", "sequence", activation="relu", padding="valid"),
                nf.layer("GlobalAveragePooling1D", "gap", "bpnet_1st_conv"),
                nf.layer("Dense", "logcount_predictions", "gap", activation="linear"),
                nf.layer("Flatten", "logits_profile_predictions", "bpnet_1st_conv"),
            ]
            noisy = {
                "bpnet_1st_conv/kernel": detectors() + rng.normal(0, 0.01, (8, 4, 4)),
                "bpnet_1st_conv/bias": np.full(4, -4.5),
            }
            head = {
                "logcount_predictions/kernel": 10 * (weights[:, None] + rng.normal(0, 0.02, (4, 1))),
                "logcount_predictions/bias": np.zeros(1),
            }
            config = nf.model("m", layers, ["sequence"], ["logits_profile_predictions", "logcount_predictions"])
            groups = {"bpnet_1st_conv": noisy, "logcount_predictions": head}
            nf.keras_h5(tmp_path / "models" / factor / f"fold_{e}.h5", config, groups)
    fasta, bed = genome(tmp_path, rng, 12, L)
    example = run_path(str(root / "validation" / "bpnet.py"))
    given = ["--models", str(tmp_path / "models"), "--layer", "logcount_predictions"]
    given += ["--regions", str(bed), "--fasta", str(fasta), "--window", "60", "--out", str(tmp_path / "out.json")]
    rows = example["main"](given)
    assert len(rows) == 12
    for row in rows:
        truth = share[names.index(row.exposure), names.index(row.outcome)]
        assert abs(row.found.estimate - truth) < 0.25, (row.exposure, row.outcome, row.found.estimate)
    assert sorted(example["strong"](rows)) == ["Oct4", "Sox2"]
    assert "strong influence: " in capsys.readouterr().out
    assert (tmp_path / "out.json").exists()
    (tmp_path / "models" / "Klf4" / "fold_3.h5").unlink()
    with pytest.raises(InputError, match="with as many networks each, not"):
        example["main"](given)


def test_deepsea_finds_what_opens_chromatin(root: Path, tmp_path: Path) -> None:
    """Oct4's motif opens chromatin (.7 of what it does to binding); Klf4 binds without."""
    rng = np.random.default_rng(1)
    names = list(MOTIFS)
    paths = []
    for e in range(4):
        identity = np.repeat(np.eye(4)[:, :, None], 8, 2)
        w = {
            "conv_net.0.weight": detectors().transpose(2, 1, 0) + rng.normal(0, 0.01, (4, 4, 8)),
            "conv_net.0.bias": np.full(4, -4.5),
            "conv_net.4.weight": identity / 2, "conv_net.4.bias": np.zeros(4),
            "conv_net.8.weight": identity / 4, "conv_net.8.bias": np.zeros(4),
        }  # fmt: skip
        flat = np.repeat(np.eye(4)[:, :, None], 7, 2).reshape(4, 28)
        w |= {"classifier.0.weight": flat, "classifier.0.bias": np.zeros(4)}
        last = np.concatenate([np.eye(4), 0.7 * np.eye(4)[[names.index("Oct4")]]]) + rng.normal(0, 0.02, (5, 4))
        w |= {"classifier.2.weight": last, "classifier.2.bias": np.zeros(5)}
        paths.append(str(nf.torch_file(tmp_path / f"net{e}.pth", w, older=e % 2 == 0)))
    (tmp_path / "names.txt").write_text("\n".join([*names, "DNase"]) + "\n")
    fasta, bed = genome(tmp_path, rng, 10, 260)
    example = run_path(str(root / "validation" / "deepsea.py"))
    given = ["--models", *paths, "--layer", "classifier.2", "--names", str(tmp_path / "names.txt"), "--length", "260"]
    given += ["--regions", str(bed), "--fasta", str(fasta), "--window", "60", "--outcome", "DNase"]
    rows = example["main"]([*given, "--exposures", "Klf4", "Oct4"])
    assert [row.exposure for row in rows] == ["Oct4", "Klf4"]
    assert abs(rows[0].found.estimate - 0.7) < 0.1
    assert abs(rows[1].found.estimate) < 0.1
    with pytest.raises(InputError, match="0 lines are 'CTCF', but one output is to have this name"):
        example["main"]([*given, "--exposures", "CTCF"])
