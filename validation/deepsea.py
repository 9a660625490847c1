r"""How the binding of transcription factors acts on accessibility, by Deep MR on DeepSEA-like networks.

The networks are the user's own, several of them (trained from several starts, or on bootstrap samples): weights of
DeepSEA or Beluga (.pth), or any other network with an output for each assay. Effects are taken before the last
activation, on the scale of log odds.

    python validation/deepsea.py --models a.pth b.pth c.pth --layer 1.4.1 --names features.txt --exposures CTCF GATA1 \
        --outcome DNase --regions peaks.bed --fasta hg19.fa
"""

import argparse
from pathlib import Path

from genarium.errors import InputError
from genarium.models.mendelian_randomization.deep_mr import load_network, mutagenise
from genarium.models.mendelian_randomization.deep_mr.regions import read_regions
from genarium.models.mendelian_randomization.deep_mr.traits import PairEffect, every_pair, shown


def main(arguments: list[str] | None = None) -> list[PairEffect]:
    """Run the experiment; print and return the effects on accessibility, the strongest first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="two networks or more")
    parser.add_argument("--layer", help="the layer before the last activation")
    parser.add_argument("--names", type=Path, required=True, help="names of the outputs, one a line")
    parser.add_argument("--exposures", nargs="+", required=True, help="names of factors")
    parser.add_argument("--outcome", required=True, help="name of the assay of accessibility")
    parser.add_argument("--regions", type=Path, required=True, help="BED file")
    parser.add_argument("--fasta", type=Path, required=True, help="the genome")
    parser.add_argument("--length", type=int, default=1000, help="of sequences (2000 for Beluga)")
    parser.add_argument("--window", type=int, default=200, help="bases about the middle that are mutated")
    parser.add_argument("--instruments", type=float, default=10.0, help="least F statistic")
    parser.add_argument("--method", default="weighted_median", help="of each region's effect")
    given = parser.parse_args(arguments)
    names = [line.strip() for line in given.names.read_text().splitlines() if line.strip()]
    traits = [*given.exposures, given.outcome]
    lost = next((name for name in traits if names.count(name) != 1), None)
    if lost is not None:
        raise InputError(f"{given.names}: {names.count(lost)} lines are {lost!r}, but one output is to have this name.")
    columns = [names.index(name) for name in traits]
    ensemble = [load_network(path, given.layer, columns=columns) for path in given.models]
    found = read_regions(given.regions, given.fasta, given.length)
    start = (given.length - given.window) // 2
    raw = mutagenise(ensemble, found.sequences, start=start, stop=start + given.window)
    rows = every_pair(
        raw,
        traits,
        exposures=given.exposures,
        outcomes=[given.outcome],
        method=given.method,
        instruments=given.instruments,
        variances="moderated",
        floor=1e-9,
        members="same_data",
    )
    rows.sort(key=lambda row: -abs(row.found.estimate) if row.found else 0.0)
    print("\n".join(shown(rows)))
    return rows


if __name__ == "__main__":
    main()
