"""Which transcription factors influence others' binding, by Deep MR on BPNet-like networks: every pair of factors.

The networks are the user's own: a folder for each factor, in it the files of its members (cross-validation folds, say),
of any kind that `load_network` takes (chrombpnet, basepairmodels, bpnet-lite ...). Members of one number, in the order
of their names, make a member of the ensemble; every base around the middle of every region is mutated once, for all
pairs. In Malina et al. (2022) Oct4 and Sox2 influenced others strongly.

    python validation/bpnet.py --models DIR --layer logcount_predictions --regions peaks.bed --fasta mm10.fa
"""

import argparse
import json
from pathlib import Path

from genarium.errors import InputError
from genarium.models.mendelian_randomization.deep_mr import Mutagenesis, load_network, mutagenise
from genarium.models.mendelian_randomization.deep_mr.regions import read_regions
from genarium.models.mendelian_randomization.deep_mr.traits import PairEffect, Stacked, every_pair, influence, shown

SUFFIXES = (".h5", ".hdf5", ".keras", ".pth", ".pt", ".onnx")
STRONG = 0.5
"""Share of the strongest factor's mean effect from which on an influence is called strong."""


def members(folder: Path, layer: str | None) -> tuple[list[str], list[Stacked], int | None]:
    """Load the factors' networks; return the factors, the members of the ensemble and the length of sequences."""
    factors = {
        one.name: sorted(p for p in one.iterdir() if p.suffix in SUFFIXES)
        for one in sorted(folder.iterdir())
        if one.is_dir()
    }
    factors = {name: files for name, files in factors.items() if files}
    counts = {name: len(files) for name, files in factors.items()}
    if len(factors) < 2 or len(set(counts.values())) != 1 or min(counts.values()) < 2:
        raise InputError(
            f"{folder}: give a folder for each of two factors or more, with as many networks each, not {counts}."
        )
    loaded = {name: [load_network(file, layer, columns=[0]) for file in files] for name, files in factors.items()}
    lengths = {network.length for many in loaded.values() for network in many} - {None}
    if len(lengths) > 1:
        raise InputError(f"{folder}: the networks take sequences of several lengths, {lengths}.")
    stacked = [Stacked(list(some)) for some in zip(*loaded.values(), strict=True)]
    return list(factors), stacked, next(iter(lengths), None)


def mutate(ensemble: list[Stacked], regions: Path, fasta: Path, length: int, window: int) -> Mutagenesis:
    """Mutate every base of a window about the middle of every region."""
    found = read_regions(regions, fasta, length)
    for why, n in found.left_out.items():
        print(f"{n} regions {why} left out")
    start = (length - window) // 2
    return mutagenise(ensemble, found.sequences, start=start, stop=start + window)


def strong(rows: list[PairEffect]) -> list[str]:
    """Return the factors that influence others strongly."""
    sizes = influence(rows)
    most = max(sizes.values(), default=0.0)
    return [name for name, size in sizes.items() if most > 0 and size >= STRONG * most]


def main(arguments: list[str] | None = None) -> list[PairEffect]:
    """Run the experiment; print and return all pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder with a folder of networks for each factor")
    parser.add_argument("--regions", type=Path, required=True, help="BED file")
    parser.add_argument("--fasta", type=Path, required=True, help="the genome")
    parser.add_argument("--layer", help="output of the networks: log counts")
    parser.add_argument("--length", type=int, help="of sequences, where the networks do not say")
    parser.add_argument("--window", type=int, default=400, help="bases about the middle that are mutated")
    parser.add_argument("--instruments", type=float, default=10.0, help="least F statistic")
    parser.add_argument("--method", default="weighted_median", help="of each region's effect (egger in the paper)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args(arguments)
    factors, ensemble, length = members(given.models, given.layer)
    length = given.length or length
    if length is None:
        raise InputError("bpnet: the networks do not say how long their sequences are. Give --length.")
    raw = mutate(ensemble, given.regions, given.fasta, length, min(given.window, length))
    rows = every_pair(
        raw,
        factors,
        method=given.method,
        instruments=given.instruments,
        variances="moderated",
        floor=1e-9,
        members="same_data",
    )
    print("\n".join(shown(rows)))
    for name, size in influence(rows).items():
        print(f"{name}: mean effect on others {size:.3f}")
    print(f"strong influence: {', '.join(strong(rows)) or 'none'}")
    if given.out:
        told = [
            {
                "exposure": r.exposure,
                "outcome": r.outcome,
                "estimate": r.found and r.found.estimate,
                "ci": r.found and r.found.ci,
            }
            for r in rows
        ]
        given.out.write_text(json.dumps(told, indent=2) + "\n")
    return rows


if __name__ == "__main__":
    main()
