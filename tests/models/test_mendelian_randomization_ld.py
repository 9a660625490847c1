"""Files of correlations of variants: what they name and count, against correlations of simulated genotypes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.declaration import Array
from genarium.errors import InputError

NAME = "mendelian_randomization"
J = 6
ALLELES = [("A", "G"), ("C", "T"), ("T", "G"), ("A", "C"), ("AT", "A"), ("G", "A")]
"""Reference and alternative."""
PLACES = [("1", 1000), ("1", 2000), ("1", 3000), ("X", 10), ("2", 500), ("2", 900)]
TURNED = np.array([1, -1, -1, 1, 1, -1])
"""Effect alleles of the tables: the alternative, or (-1) the reference."""


def genotypes() -> Array:
    """Counts of alternative alleles; the third and fifth are more common than the reference ones."""
    rng = np.random.default_rng(1)
    latent = np.linalg.cholesky(0.3 * np.eye(J) + 0.7 * 0.8 ** np.abs(np.subtract.outer(range(J), range(J))))
    haplotypes = (rng.normal(size=(2, 800, J)) @ latent.T) * [1, -1, 1, 1, -1, 1]
    return np.asarray((haplotypes < [-0.5, -0.3, 0.6, -0.2, 0.8, -0.6]).sum(0))


ALT = np.corrcoef(genotypes().T)
TRUTH = ALT * np.outer(TURNED, TURNED)
MAJOR = np.where(genotypes().mean(0) > 1, -1, 1)
"""Whether the reference is the major allele (1)."""


def write(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def trait(path: Path, *, rs: bool = True, shift: int = 0, order: Sequence[int] = range(J), build: str = "") -> str:
    lines = ["\t".join([*(["SNP"] if rs else []), "CHR", f"POS{build}", "A1", "A2", "BETA", "SE"])]
    for j in order:
        (chromosome, position), both = PLACES[j], ALLELES[j][:: -TURNED[j]]
        where = [*([f"rs{j}"] if rs else []), {"X": "23"}.get(chromosome, chromosome), str(position + shift)]
        lines.append("\t".join([*where, *both, f"{0.1 + j}", "0.1"]))
    return str(write(path, lines))


def traits(folder: Path, **how: Any) -> list[str]:
    return [trait(folder / "x.tsv", **how), trait(folder / "y.tsv", order=[3, 1, 0, 5, 4, 2], **how)]


def names(form: str, shift: int = 0) -> list[str]:
    return [form.format(c, p + shift, *two) for (c, p), two in zip(PLACES, ALLELES, strict=True)]


def matrix(R: Array) -> list[str]:
    return ["\t".join(f"{r:.8g}" for r in row) for row in R]


def square(path: Path, called: Sequence[str], R: Array) -> Path:
    rows = [f"{name}\t{row}" for name, row in zip(called, matrix(R), strict=True)]
    return write(path, ["\t".join(["", *called]), *rows])


def bim(path: Path, called: Sequence[str], first: Array) -> Path:
    """Write variants, A1 first: the alternative, or the reference where ``first`` is -1."""
    rows = zip(called, PLACES, ALLELES, first, strict=True)
    return write(
        path, [f"{c}\t{name}\t0\t{p}\t{a[one]}\t{a[1 - one]}" for name, (c, p), a, s in rows for one in [int(s > 0)]]
    )


RS = [f"rs{j}" for j in range(J)]


def read(files: Sequence[str], ld: Path, alleles: Path | None = None) -> tuple[Array, list[str]]:
    tree = gn.read(NAME, files, format="traits", ld=str(ld), **({"ld_alleles": str(alleles)} if alleles else {}))
    return tree["constant_data"]["ld"].to_numpy(), tree.attrs["ledger"]


@pytest.mark.parametrize(
    "form",
    [
        *("{}:{}:{}:{}", "chr{}_{}_{}_{}_b37", "{}-{}-{}-{}", "{}:{}_{}/{}", "chr{}:{}:{}:{}:hg19", "0{}_{}_{}_{}"),
    ],
)
@pytest.mark.parametrize("rs", [True, False])
def test_correlations_by_place_are_found_for_rows_with_rs_numbers(form: str, rs: bool, tmp_path: Path) -> None:
    ld, told = read(traits(tmp_path, rs=rs), square(tmp_path / "ld", names(form), ALT))
    np.testing.assert_allclose(ld, TRUTH, atol=1e-7)
    if rs:
        assert "6 by their places (those in x.tsv and y.tsv) and alleles; of 3 the counted allele is not" in told


def test_names_come_before_places(tmp_path: Path) -> None:
    """Two variants are named, four found by their places; one of other alleles, one elsewhere."""
    called = [*(f"rs{j}:{ALLELES[j][0]}:{ALLELES[j][1]}" for j in (0, 1)), *names("{}:{}:{}:{}")[2:]]
    files = traits(tmp_path)
    ld, told = read(files, square(tmp_path / "ld", called, ALT))
    np.testing.assert_allclose(ld, TRUTH, atol=1e-7)
    assert "2 by their names, 4 by their places" in told
    called[2:4] = ["1:3000:T:C", "X:11:A:C"]
    ld, told = read(files, square(tmp_path / "ld", called, ALT))
    some = [0, 1, 4, 5]
    np.testing.assert_allclose(ld, TRUTH[np.ix_(some, some)], atol=1e-7)
    assert '"of other alleles in the file of linkage disequilibrium": ["rs2"]' in told
    assert '"without a correlation in the file of linkage disequilibrium": ["rs3"]' in told


def test_what_could_be_several_is_refused(tmp_path: Path) -> None:
    files = traits(tmp_path)
    called = names("{}:{}:{}:{}")
    double = square(tmp_path / "ld", [*called, "1:1000:G:A"], np.block([[ALT, np.zeros((J, 1))], [np.zeros(J), 1.0]]))
    with pytest.raises(InputError, match=r"variant rs0 \(G/A\) could be 1:1000:A:G or 1:1000:G:A"):
        read(files, double)
    files[1] = trait(tmp_path / "y.tsv", shift=70)  # another build: nothing fits its places
    ld, told = read(files, square(tmp_path / "ld", called, ALT))
    np.testing.assert_allclose(ld, TRUTH, atol=1e-7)
    assert "6 by their places (those in x.tsv)" in told
    both = square(tmp_path / "ld", [*called, *names("{}:{}:{}:{}", 70)], np.kron(np.eye(2), ALT))
    with pytest.raises(
        InputError, match=r"other places for the same variants, and correlations fit both \(rs0 at 1:10"
    ):
        read(files, both)


def test_builds_are_told_apart(tmp_path: Path) -> None:
    """Places of the outcome are of the correlations' build; those of the exposure hit other variants by chance."""
    files = [trait(tmp_path / "x.tsv", build="_b37"), trait(tmp_path / "y.tsv", build="_b38", shift=70)]
    called = names("{}:{}:{}:{}:b38", 70)
    ld, told = read(files, square(tmp_path / "ld", called, ALT))
    np.testing.assert_allclose(ld, TRUTH, atol=1e-7)
    assert "those in y.tsv; build 38 of the genome, not 37" in told
    with pytest.raises(InputError, match="build 36 of the genome, not 37"):
        read(files, square(tmp_path / "ld", names("{}:{}:{}:{}:hg18"), ALT))
    with pytest.raises(InputError, match="names are of builds 36, 38 of the genome"):
        read(files, square(tmp_path / "ld", [*called[:5], "2:900:G:A:b36"], ALT))
    # identifiers of the tables say it, too
    for build, fits in (("b37", False), ("b38", True)):
        named = zip(names("{}_{}_{}_{}", 70), ALLELES, strict=True)
        rows = ["SNP A1 A2 BETA SE", *(f"{name}_{build} {two[1]} {two[0]} 0.1 1" for name, two in named)]
        ids = [str(write(tmp_path / f"{t}.tsv", rows)) for t in "xy"]
        if fits:
            np.testing.assert_allclose(read(ids, square(tmp_path / "ld", called, ALT))[0], ALT, atol=1e-7)
        else:
            with pytest.raises(InputError, match=r"none of the variants is there .*build 38 of the genome, not 37"):
                read(ids, square(tmp_path / "ld", called, ALT))


@pytest.mark.parametrize("shape", ["square", "triangle", "square0", "spaces"])
@pytest.mark.parametrize("called", [RS, ["."] * J, names("{}:{}")])
def test_matrices_without_names(shape: str, called: list[str], tmp_path: Path) -> None:
    """PLINK 1 counts A1, here the minor allele; its .bim has the variants in the same order."""
    R = ALT * np.outer(MAJOR, MAJOR)
    lines = matrix(R if shape in ("square", "spaces") else np.tril(R))
    if shape == "triangle":
        lines = ["\t".join(line.split("\t")[: k + 1]) for k, line in enumerate(lines)]
    ld = write(tmp_path / "r.ld", [line.replace("\t", " ") if shape == "spaces" else line for line in lines])
    files = traits(tmp_path)
    found, told = read(files, ld, bim(tmp_path / "v.bim", called, MAJOR))
    np.testing.assert_allclose(found, TRUTH, atol=1e-7)
    assert "names of its rows are those of v.bim, in its order" in told
    with pytest.raises(InputError, match=r"this matrix has no names.*r\.ld\.vars"):
        read(files, ld)
    with pytest.raises(InputError, match=r"of 6 variants, but .*short\.bim names 5"):
        read(files, ld, write(tmp_path / "short.bim", (tmp_path / "v.bim").read_text().splitlines()[1:]))
    write(ld, lines[:-1])
    with pytest.raises(InputError, match=r"correlations, but there are 5 lines|of 5 variants, but"):
        read(files, ld, tmp_path / "v.bim")


def test_matrices_of_plink_2(tmp_path: Path) -> None:
    files, ld = traits(tmp_path), write(tmp_path / "p.unphased.vcor1", matrix(ALT))
    listed = tmp_path / "p.unphased.vcor1.vars"
    for called in (names("{}:{}:{}:{}"), [f"rs{j}_{a}_{b}" for j, (a, b) in enumerate(ALLELES)]):
        write(listed, called)
        np.testing.assert_allclose(read(files, ld)[0], TRUTH, atol=1e-7)
    order = [4, 2, 0, 1, 3, 5]
    write(listed, RS)
    rows = [f"{PLACES[j][0]}\t{PLACES[j][1]}\trs{j}\t{ALLELES[j][0]}\t{ALLELES[j][1]}" for j in order]
    pvar = write(tmp_path / "p.pvar", ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT", *rows])
    np.testing.assert_allclose(read(files, ld, pvar)[0], TRUTH, atol=1e-7)
    write(pvar, ["#CHROM\tPOS\tID\tREF\tALT", *rows, "1\t1000\trs0\tG\tA"])
    with pytest.raises(InputError, match=r"variant 'rs0' .*has several rows"):
        read(files, ld, pvar)
    ld.write_bytes(b"\x28\xb5\x2f\xfd\x00\xff\xff")
    with pytest.raises(InputError, match="compressed by Zstandard"):
        read(files, ld)


@pytest.mark.parametrize("columns", ["major", "both", "reference"])
def test_tables_of_pairs_say_which_allele_is_counted(columns: str, tmp_path: Path) -> None:
    """PLINK 2: the major allele, or the reference with ``ref-based``."""
    sign = np.ones(J) if columns == "reference" else MAJOR
    roles = {"major": ["MAJ"], "both": ["MAJ", "NONMAJ"], "reference": ["REF", "ALT"]}[columns]
    head = [f"{name}_{end}" for end in "AB" for name in ("CHROM", "POS", "ID", *roles)]
    of = [
        [c, str(p), f"id{j}", *a[:: int(s)][: len(roles)]]
        for j, ((c, p), a, s) in enumerate(zip(PLACES, ALLELES, sign, strict=True))
    ]
    rows = [[*of[i], *of[k], f"{ALT[i, k] * sign[i] * sign[k]:.8g}"] for i in range(J) for k in range(i)]
    ld = write(tmp_path / "v.vcor", ["#" + "\t".join([*head, "UNPHASED_R"]), *("\t".join(row) for row in rows)])
    np.testing.assert_allclose(read(traits(tmp_path), ld)[0], TRUTH, atol=1e-7)


def test_tables_of_pairs_of_plink_1_need_the_alleles(tmp_path: Path) -> None:
    """It counts the minor allele, whatever names say: signs were wrong where this is the reference."""
    R, called, files = ALT * np.outer(MAJOR, MAJOR), names("{}:{}:{}:{}"), traits(tmp_path)
    of = [f"{c} {p} {name}" for (c, p), name in zip(PLACES, called, strict=True)]
    rows = [f" {of[i]} {of[k]} {R[i, k]:.8g} " for i in range(J) for k in range(i)]
    ld = write(tmp_path / "r.ld", [" CHR_A BP_A SNP_A CHR_B BP_B SNP_B R ", *rows])
    with pytest.raises(InputError, match="PLINK 1 counts A1, whichever allele a name gives first"):
        read(files, ld)
    np.testing.assert_allclose(read(files, ld, bim(tmp_path / "v.bim", called, MAJOR))[0], TRUTH, atol=1e-7)


def test_pairs_without_a_header_and_pairs_that_are_not_there(tmp_path: Path) -> None:
    called, files = names("{}:{}:{}:{}"), traits(tmp_path)
    pairs = [(i, k) for i in range(J) for k in range(i)]
    ld = write(tmp_path / "ld", [f"{called[i]},{called[k]},{ALT[i, k]:.8g}" for i, k in pairs])
    np.testing.assert_allclose(read(files, ld)[0], TRUTH, atol=1e-7)
    write(ld, [f"{called[i]},{called[k]},{ALT[i, k]:.8g}" for i, k in pairs if i - k == 1])
    found, told = read(files, ld)
    near = np.abs(np.subtract.outer(range(J), range(J))) <= 1
    np.testing.assert_allclose(found, np.where(near, TRUTH, 0), atol=1e-7)
    assert "10 of 15 pairs are not there, and taken as uncorrelated" in told
    write(ld, [f"{called[0]},{called[1]},0.5", f"{called[2]},{called[3]},-0.45"])
    with pytest.warns(UserWarning, match="4 of 6 pairs are not there.*no r squared is below 0.2"):
        read(files, ld)


def test_variants_that_do_not_vary_are_left_aside(tmp_path: Path) -> None:
    R = ALT.copy()
    R[2] = R[:, 2] = np.nan
    found, told = read(traits(tmp_path), square(tmp_path / "ld", names("{}:{}:{}:{}"), R))
    some = np.arange(J) != 2
    np.testing.assert_allclose(found, TRUTH[np.ix_(some, some)], atol=1e-7)
    assert "no numbers for 1 variants (1:3000:T:G); they are left aside" in told
    assert '"without a correlation in the file of linkage disequilibrium": ["rs2"]' in told
