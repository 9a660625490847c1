"""Worked example of deep_mr on a network of others: how an exon's acceptor acts on its donor, by SpliceAI.

The networks come from the package ``spliceai`` (``pip install --no-deps spliceai``; weights CC BY-NC), the gene, human
epsilon-globin (V00508), from an EMBL file: Debian's ``emboss-test`` has it. Every substitution around the acceptor of
the second exon is an instrument; its effects on the log odds of both sites are averaged over the five networks, whose
disagreement gives errors and their covariance.

    python validation/splicing.py /usr/share/EMBOSS/test/embl/hum1.dat --report splicing.html
"""

import argparse
import re
import time
from pathlib import Path

import numpy as np

import genarium as gn
from genarium.models.mendelian_randomization import ivw, raps
from genarium.models.mendelian_randomization.deep_mr import Effects, effects, mutagenise, one_hot
from genarium.models.mendelian_randomization.deep_mr.splicing import spliceai
from genarium.reporting import report

UPSTREAM, DOWNSTREAM = 50, 10
"""Bases either side of the acceptor that are substituted."""


def read_gene(file: Path, accession: str = "V00508", exon: int = 2) -> tuple[str, int, int]:
    """Read a sequence, the first base of an exon and its last one, from an entry of an EMBL file."""
    entry = next(e for e in file.read_text(errors="ignore").split("\n//") if f"AC   {accession};" in e)
    text = re.sub("[^acgtn]", "", entry[entry.index("\nSQ") :].split("\n", 2)[2])
    joined = re.search(r"CDS\s+join\(([^)]*)\)", entry)
    assert joined is not None
    first, last = (int(n) for n in re.findall(r"(\d+)\.\.(\d+)", joined[1])[exon - 1])
    # a base shared by the ends of two exons is put with either: AG tells
    acceptor = next(at for at in (first - 1, first - 2, first) if text[at - 2 : at] == "ag")
    return text, acceptor, last - 1


def mutate(text: str, acceptor: int, donor: int, upstream: int = UPSTREAM, downstream: int = DOWNSTREAM) -> Effects:
    """Return effects of all substitutions around the acceptor on both sites' log odds."""
    sites = spliceai(acceptor, donor)
    found = mutagenise(sites, one_hot(text), start=acceptor - upstream, stop=acceptor + downstream)
    return effects(found, 0, 1)


def main() -> None:
    """Print the effects, the classical estimates and the model's posterior."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="an EMBL file with V00508")
    parser.add_argument("--report", type=Path, help="write the fit's report to this file")
    given = parser.parse_args()
    text, acceptor, donor = read_gene(given.file)
    begin = time.process_time()
    some = mutate(text, acceptor, donor)
    print(f"{len(some)} substitutions, five networks: {time.process_time() - begin:.0f} CPU s")
    print(f"F: median {np.median((some.x / some.se_x) ** 2):.1f}")
    print(f"correlation of errors: median {np.median(some.covariance / some.se_x / some.se_y):.2f}")
    site = np.isin(some.position - acceptor, (-2, -1))
    for name, keep in (("the AG itself", site), ("all others", ~site)):
        part = some.take(keep)
        print(f"{name}: acceptor {part.x.mean():+.2f}, donor {part.y.mean():+.2f} on average, in log odds")
    for name, keep in (("all", np.ones(len(some), dtype=bool)), ("without the AG", ~site)):
        part = some.take(keep)
        data = part.x, part.se_x, part.y, part.se_y
        classical, robust = ivw(*data), raps(*data)
        print(
            f"{name}: IVW {classical.estimate:.3f} ({classical.se:.3f}), RAPS {robust.estimate:.3f} ({robust.se:.3f})"
        )
        fitted = gn.fit("mendelian_randomization", part.data(), "gibbs", seed=1)
        for variable in ("theta", "pleiotropy_sd"):
            low, middle, high = np.quantile(fitted["posterior"][variable], [0.05, 0.5, 0.95])
            print(f"  {variable}: {middle:.3f} [{low:.3f}, {high:.3f}]")
    if given.report:
        report(fitted, given.report)


if __name__ == "__main__":
    main()
