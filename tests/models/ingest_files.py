"""Small files for the tests of readers of sequencing files, and what must come out of them, counted slowly."""

import gzip
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genarium.models.locus_regression.channels import CHANNELS, CONTEXTS

Rows = Sequence[Sequence[Any]]
Cells = dict[tuple[str, str, str], float]

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def genome(seed: int = 1, lengths: Mapping[str, int] | None = None) -> dict[str, str]:
    """Random chromosomes with small letters and a run of N."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, n in (lengths or {"chr1": 1230, "chr2": 800, "chrX": 450}).items():
        text = "".join(rng.choice(list("ACGT"), n))
        text = text[:100] + text[100:200].lower() + text[200:300] + "N" * 7 + text[307:]
        out[name] = text[:n]
    return out


def write_fasta(path: Path, sequences: Mapping[str, str], width: int = 60) -> Path:
    lines = []
    for name, text in sequences.items():
        lines += [f">{name} made up", *(text[i : i + width] for i in range(0, len(text), width))]
    path.write_text("\n".join(lines) + "\n")
    return path


def vcf_text(rows: Rows, samples: Sequence[str] = ("S1",), header: str = "") -> str:
    """Rows of (chromosome, position, ref, alt, genotypes..., {FILTER, INFO, FORMAT})."""
    columns = ["CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", *(["FORMAT"] if samples else []), *samples]
    lines = ["##fileformat=VCFv4.2", *filter(None, [header]), "#" + "\t".join(columns)]
    for chromosome, position, ref, alt, *rest in rows:
        told = rest.pop() if rest and isinstance(rest[-1], dict) else {}
        genotypes = rest or ["0/1"] * len(samples)
        fields = [chromosome, position, ".", ref, alt, ".", told.get("FILTER", "PASS"), told.get("INFO", ".")]
        fields += [told.get("FORMAT", "GT"), *genotypes] if samples else []
        lines.append("\t".join(map(str, fields)))
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def context_at(text: str, at: int) -> str:
    """The context of a base, folded to the pyrimidine; "" if there is none."""
    three = text[at - 1 : at + 2].upper() if at > 0 else ""
    if len(three) < 3 or set(three) - set("ACGT"):
        return ""
    if three[1] in "AG":
        three = three.translate(COMPLEMENT)[::-1]
    return f"{three[0]}[{three[1]}]{three[2]}"


def channel_at(text: str, at: int, alt: str) -> str:
    context = context_at(text, at)
    if text[at].upper() in "AG":
        alt = alt.translate(COMPLEMENT)
    return f"{context[:3]}>{alt}{context[3:]}"


def opportunities(sequences: Mapping[str, str], windows: Sequence[tuple[str, int, int]]) -> Any:
    out = np.zeros((32, len(windows)))
    for w, (name, start, end) in enumerate(windows):
        for at in range(start, end):
            if context := context_at(sequences[name], at):
                out[CONTEXTS.index(context), w] += 1
    return out


def substitutions(
    sequences: Mapping[str, str], samples: Sequence[str], count: int, size: int, seed: int = 2
) -> tuple[list[list[Any]], Cells]:
    """Rows of a VCF file with single-base substitutions, no two side by side, and their cells."""
    rng = np.random.default_rng(seed)
    rows, cells = [], Counter[tuple[str, str, str]]()
    for name, text in sequences.items():
        free = [at for at in range(1, len(text) - 1, 2) if context_at(text, at)]
        for at in sorted(rng.choice(free, count, replace=False).tolist()):
            ref = text[at].upper()
            alt = str(rng.choice([base for base in "ACGT" if base != ref]))
            carried = rng.choice(["0/0", "0/1", "1/1", "./.", "0|1"], len(samples)).tolist()
            rows.append([name, at + 1, ref, alt, *carried])
            start = at // size * size
            window = f"{name}:{start}-{min(start + size, len(text))}"
            cells.update(
                {(s, window, channel_at(text, at, alt)): 1 for s, g in zip(samples, carried, strict=True) if "1" in g}
            )
    return rows, dict(cells)


def cells_of(found: Any) -> Cells:
    """The cells that a reader returned, by names."""
    names = found["exposure"]["locus"].to_numpy()
    columns = (np.asarray(found[name]).tolist() for name in ("genome", "locus", "channel", "count"))
    return {(g, str(names[w]), CHANNELS[m]): n for g, w, m, n in zip(*columns, strict=True) if n}
