"""What the fuzzer found in the readers of matrices and of VCF files."""

from pathlib import Path

import pytest

from genarium import InputError
from genarium.models.locus_regression.channels import CHANNELS
from genarium.models.locus_regression.ingest.options import Options
from genarium.models.locus_regression.ingest.vcf import read_vcf
from genarium.models.locus_regression.matrix import matrix


@pytest.mark.parametrize(
    ("header", "first", "said"),
    [
        ("Type\ts1\ts2", "1\t2\t3", "cannot be read as a table"),
        ("Type\ts1\ts1", "1\t2", "'s1' is there more than once"),
        ("Type\ts1\t", "1\t2", "column 3 has no name"),
        ("Type\ts1\ts2", f"{2**53 + 1}\t2", "more than are counted exactly"),
        ("Type\ts1\ts2", "1e300\t2", "more than are counted exactly"),
        ("Type\ts1\ts2", "True\t2", "'s1' has the entry True"),
    ],
)
def test_matrices_that_are_refused(header: str, first: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    rows = [f"{channel}\t1\t2" for channel in CHANNELS[1:]]
    path.write_text("\n".join([header, f"{CHANNELS[0]}\t{first}", *rows, ""]))
    with pytest.raises(InputError, match=said):
        matrix([path])


@pytest.mark.parametrize(
    ("genotype", "carried"), [("0/0/1", 1), ("0|0|0|1", 1), ("0/0/0", 0), ("0/0:1", 0), ("./.", 0)]
)
def test_genotypes_of_more_than_two_chromosomes(genotype: str, carried: int, tmp_path: Path) -> None:
    path = tmp_path / "a.vcf"
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", "s1", "s2"]
    row = ["chr1", "5", ".", "A", "C", ".", "PASS", ".", "GT", genotype, "0/0"]
    path.write_text("\t".join(columns) + "\n" + "\t".join(row) + "\n")
    assert read_vcf([path], Options(), []).account.read == carried


def test_two_records_on_one_line(tmp_path: Path) -> None:
    """A file without samples, in which a line has lost its end: the second record must not be dropped in silence."""
    path = tmp_path / "a.vcf"
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
    row = ["chr1", "5", ".", "A", "C", ".", "PASS", "DP=3"]
    path.write_text("\n".join("\t".join(line) for line in (columns, row, [*row, *row[1:]])) + "\n")
    with pytest.raises(InputError, match=r"line 3 has 15 columns where the header names 8\. .* lost the end of a line"):
        read_vcf([path], Options(), [])
