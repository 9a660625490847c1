"""Summary statistics in: dialects, odds ratios, missing standard errors, keys, duplicates; against published tables."""

import gzip
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.errors import InputError
from genarium.models.mendelian_randomization.gwas import Effects, effects_of, pair, read_columns
from genarium.models.mendelian_randomization.gwas.dialects import roles

GWAS = Path(__file__).parents[3] / "shared" / "data" / "gwas"
DIALECTS = {
    "PLINK assoc": "CHR SNP BP A1 TEST NMISS OR STAT P",
    "PLINK 2 glm": "#CHROM POS ID REF ALT A1 TEST OBS_CT OR LOG(OR)_SE Z_STAT P",
    "METAL": "MarkerName Allele1 Allele2 Freq1 FreqSE Effect StdErr P-value Direction",
    "REGENIE": "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ INFO N TEST BETA SE CHISQ LOG10P EXTRA",
    "BOLT-LMM": "SNP CHR BP GENPOS_CM ALLELE1 ALLELE0 A1FREQ F_MISS BETA SE P_BOLT_LMM_INF P_BOLT_LMM",
    "SAIGE": "CHR POS MarkerID Allele1 Allele2 AC_Allele2 AF_Allele2 BETA SE Tstat var p.value N",
    "GCTA": "SNP A1 A2 freq b se p N",
    "fastGWA": "CHR SNP POS A1 A2 N AF1 BETA SE P",
    "SNPTEST": "rsid position alleleA alleleB frequentist_add_beta_1 frequentist_add_se_1 frequentist_add_pvalue",
    "FinnGen": "#chrom pos ref alt rsids nearest_genes pval mlogp beta sebeta af_alt",
    "GWAS-SSF": ("chromosome base_pair_location effect_allele other_allele beta standard_error p_value rsid"),
    "GWAS catalog, harmonised": (
        "hm_rsid hm_chrom hm_pos hm_other_allele hm_effect_allele hm_beta hm_odds_ratio standard_error p_value"
    ),
    "TwoSampleMR": "SNP beta.exposure se.exposure effect_allele.exposure other_allele.exposure eaf.exposure",
    "PRScs": "SNP A1 A2 BETA P",
    "LDSC": "SNP A1 A2 Z N FRQ",
    "GIANT": "SNP A1 A2 Freq1.Hapmap b se p N",
    "SSGAC": "MarkerName CHR POS A1 A2 EAF Beta SE Pval",
    "deCODE": "Chrom Pos Name rsids effectAllele otherAllele Beta Pval minus_log10_pval SE N",
    "PGC daner": "CHR SNP BP A1 A2 FRQ_U_1 INFO OR SE P",
    "GLGC": "rsid chr pos A1 A2 beta se N P-value Freq.A1",
    "UKB Neale": "variant rsid ref alt beta se tstat pval n_complete_samples",
}
EFFECT = {
    "PLINK assoc": "A1", "PLINK 2 glm": "A1", "METAL": "Allele1", "REGENIE": "ALLELE1", "BOLT-LMM": "ALLELE1",
    "SAIGE": "Allele2", "SNPTEST": "alleleB", "FinnGen": "alt", "GWAS-SSF": "effect_allele", "deCODE": "effectAllele",
    "GWAS catalog, harmonised": "hm_effect_allele", "TwoSampleMR": "effect_allele.exposure", "UKB Neale": "alt",
}  # fmt: skip
OTHER = {"REGENIE": "ALLELE0", "BOLT-LMM": "ALLELE0", "SAIGE": "Allele1", "SNPTEST": "alleleA", "FinnGen": "ref"}
SE = {"PLINK 2 glm": "LOG(OR)_SE", "METAL": "StdErr", "FinnGen": "sebeta", "GWAS-SSF": "standard_error"}


@pytest.mark.parametrize("name", list(DIALECTS))
def test_headers_are_understood(name: str) -> None:
    columns = [one.removeprefix("#") for one in DIALECTS[name].split()]
    found = roles(columns)
    assert found["effect_allele"] == EFFECT.get(name, "A1")
    if name in OTHER:
        assert found["other_allele"] == OTHER[name]
    if name in SE:
        assert found["se"] == SE[name]
    assert {"beta", "odds_ratio", "z"} & set(found)
    assert "id" in found
    if name == "SAIGE":
        assert found["frequency"] == "AF_Allele2"
    if name == "REGENIE":
        assert (found["log10_p"], found["frequency"], found["id"]) == ("LOG10P", "A1FREQ", "ID")
    assert roles(["beta_exposure", "beta_outcome", "se.exposure", "se.outcome"]) == {}  # two traits in one table


def columns_of(path: Path, text: str) -> Any:
    path.write_text(text)
    return read_columns(path, {})


def effects(path: Path, text: str, **options: Any) -> Effects:
    found = columns_of(path, text)
    return effects_of(found, np.arange(len(found)), **options)


def test_odds_ratios_and_standard_errors(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    found = effects(
        path, " CHR SNP BP A1 OR STAT P \n 1 rs1 5 A 1.2 2.0 0.0455\n 1 rs2 6 C 0.9 -1.0 0.317\n 1 rs3 7 C -1 1 1\n"
    )
    np.testing.assert_allclose(found.beta[:2], np.log([1.2, 0.9]))
    np.testing.assert_allclose(found.se[:2], [math.log(1.2) / 2, -math.log(0.9)])
    assert found.fault[2] == "an odds ratio that is not positive"
    found = effects(path, "SNP\tA1\tOR\tL95\tU95\nrs1\tA\t2\t1\t4\n")
    np.testing.assert_allclose(found.se, [math.log(4) / (2 * 1.959964)], rtol=1e-6)
    # intervals of odds ratios beside effects, and of logarithms beside odds ratios, told by their middles
    for head, cells in (("beta\tor", "0.693\t2"), ("beta\tor", "NA\t2"), ("or", "2"), ("beta", "0.693147")):
        for low, high in ((1, 4), (0, math.log(4))):
            columns = columns_of(path, f"SNP\tA1\t{head}\tci_lower\tci_upper\nrs1\tA\t{cells}\t{low}\t{high}\n")
            found = effects_of(columns, np.arange(1))
            np.testing.assert_allclose(found.se, [math.log(4) / (2 * 1.959964)], rtol=1e-6)
            told = " ".join(columns.notes)
            assert ("of odds ratios, beside effects" in told) == (cells[:2] == "0." and low == 1)
            assert ("of logarithms, beside odds ratios" in told) == (cells[:2] != "0." and low == 0)
    # standard errors of odds ratios, told from those of their logarithms by p values
    ratio, z = np.array([1.5, 0.6, 2.0, 0.5]), np.array([3.0, -4.0, 2.0, -2.5])
    se = np.abs(np.log(ratio) / z)
    p = [math.erfc(abs(v) / math.sqrt(2)) for v in z]
    for told, factor in ((se, 1), (se * ratio, ratio)):
        lines = [f"rs{i},A,G,{r},{s},{q}" for i, (r, s, q) in enumerate(zip(ratio, told, p, strict=True))]
        found = effects(path, "SNP,A1,A2,OR,SE,P\n" + "\n".join(lines) + "\n")
        np.testing.assert_allclose(found.se, told / factor, rtol=1e-9)
        lines[0] = f"rs0,A,G,0,{told[0]},{p[0]}"  # of no account, and nothing is said by NumPy
        found = effects(path, "SNP,A1,A2,OR,SE,P\n" + "\n".join(lines) + "\n")
        np.testing.assert_allclose(found.se[1:], (told / factor)[1:], rtol=1e-9)
        assert list(found.fault[:2]) == ["an odds ratio that is not positive", ""]
        ends = np.exp(np.log(ratio)[:, None] + se[:, None] * [-1.96, 1.96])  # intervals tell it, of one row, too
        for rows in (1, 4):
            lines = [f"rs{i},A,G,{ratio[i]},{told[i]},{ends[i, 0]:.2f},{ends[i, 1]:.2f}" for i in range(rows)]
            columns = columns_of(path, "SNP,A1,A2,OR,SE,L95,U95\n" + "\n".join(lines) + "\n")
            np.testing.assert_allclose(effects_of(columns, np.arange(rows)).se, (told / factor)[:rows], rtol=1e-9)
            assert any("by their intervals" in note for note in columns.notes) == (np.ndim(factor) == 1)
    columns = columns_of(path, "SNP,A1,A2,OR,SE\nrs1,A,G,2,.1\n")
    assert effects_of(columns, np.arange(1)).se[0] == pytest.approx(0.1)
    assert "taken for those of their logarithms" in " ".join(columns.notes)


def test_p_values_below_the_least_number(tmp_path: Path) -> None:
    """z by the series of the normal tail's logarithm, with as many terms as it takes."""
    path = tmp_path / "x.tsv"
    found = effects(path, "SNP\tA1\tBETA\tP\nrs1\tA\t4.1\t2e-370\nrs2\tA\t-2\t0.0455\nrs3\tA\t1\t1\nrs4\tA\t0.5\tNA\n")

    def log10_p(z: float) -> float:  # of Mills' ratio, an asymptotic series
        series = 1 - 1 / z**2 + 3 / z**4 - 15 / z**6
        return float(-(-(z**2) / 2 - math.log(z * math.sqrt(2 * math.pi)) + math.log(2 * series)) / math.log(10))

    np.testing.assert_allclose(found.log10_p[0], 370 - math.log10(2))
    np.testing.assert_allclose(log10_p(4.1 / found.se[0]), found.log10_p[0], rtol=1e-6)
    np.testing.assert_allclose(found.se[1], 1.0, rtol=1e-3)
    assert list(found.fault) == ["", "", "no standard error", "no standard error"]
    for text in ("2.e-370", ".2E-369", "2.0e-0370"):
        found = effects(path, f"SNP\tA1\tBETA\tP\nrs1\tA\t4.1\t{text}\n")
        np.testing.assert_allclose(found.log10_p, 370 - math.log10(2))
    found = effects(path, "SNP\tA1\tBETA\tLOG10P\nrs1\tA\t4.1\t369.69897\n")
    np.testing.assert_allclose(log10_p(4.1 / found.se[0]), 369.69897, rtol=1e-6)


def test_effects_of_z(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    found = effects(path, "SNP\tA1\tA2\tZ\tN\tFRQ\nrs1\tA\tG\t5\t10000\t0.3\n")
    np.testing.assert_allclose(found.se, 1 / np.sqrt(2 * 0.3 * 0.7 * 10025))
    np.testing.assert_allclose(found.beta / found.se, 5)
    for more in ("", "\tN\tFRQ"):  # standard errors in the file say the unit
        found = effects(path, f"SNP\tA1\tA2\tZ\tSE{more}\nrs1\tA\tG\t5\t0.2{more and '\t10000\t0.3'}\n")
        np.testing.assert_allclose([found.beta[0], found.se[0]], [1.0, 0.2])
    found = effects(path, "SNP\tA1\tA2\thazard_ratio\tci_lower\tci_upper\nrs1\tA\tG\t2\t1\t4\n")
    np.testing.assert_allclose([found.beta[0], found.se[0]], [np.log(2), np.log(4) / (2 * 1.959963984540054)])
    with pytest.raises(
        InputError, match=r"there is Z but no effect; standard errors, or frequencies and sample sizes, are needed"
    ):
        effects(path, "SNP\tA1\tA2\tZ\nrs1\tA\tG\t5\n")


def test_odds_ratios_called_beta_are_suspected(tmp_path: Path) -> None:
    text = "SNP,A1,A2,beta,se\n" + "".join(f"rs{i},A,G,{b},0.1\n" for i, b in enumerate((0.9, 1.1, 1.3, 0.8, 1.2)))
    with pytest.warns(UserWarning, match=r"column 'beta' looks like odds ratios .*scale='odds_ratio'"):
        found = effects(tmp_path / "x.csv", text)
    np.testing.assert_allclose(found.beta[0], 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(effects(tmp_path / "x.csv", text, scale="odds_ratio").beta[0], np.log(0.9))
        np.testing.assert_allclose(effects(tmp_path / "x.csv", text, scale="beta").beta[0], 0.9)


def two(folder: Path, exposure: str, outcome: str) -> list[Path]:
    paths = [folder / "x.tsv", folder / "y.tsv"]
    for path, text in zip(paths, (exposure, outcome), strict=True):
        path.write_text(text.replace(" ", "\t"))
    return paths


def test_variants_without_an_identifier_are_found_by_their_place(tmp_path: Path) -> None:
    exposure = "rsid chromosome base_pair_location effect_allele other_allele beta standard_error\n"
    exposure += "rs1 1 100 A G .1 .01\n#NA chr1 200 AC A .2 .01\n#NA 23 300 T G .3 .01\n#NA 2 400 A G .4 .01\n"
    outcome = "SNP CHR POS REF ALT BETA SE\nrs1 1 100 A G .1 .02\n1:200 1 200 A AC .2 .02\nX:300 X 300 G T .3 .02\n"
    outcome += "2:400 2 400 C T .4 .02\n3:5 3 5 A C 1 .1\n2:400:C:G 2 400 C G .5 .02\n"
    found = pair(two(tmp_path, exposure, outcome), {})
    assert list(found.names) == ["rs1", "1:200:A:AC", "X:300:G:T", "2:400:G:A"]
    np.testing.assert_allclose(found.exposure.beta, [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(found.outcome.beta, [-0.1, 0.2, 0.3, 0.4])  # the last on the other strand
    assert found.rows.left_out == {"in the outcome only": 2}
    assert found.rows.read == 6
    # identifiers that say the place, where there are no such columns
    outcome = "SNP A1 A2 BETA SE\nchr1:200:A:AC AC A .7 .02\n"
    assert pair(two(tmp_path, exposure, outcome), {}).outcome.beta == [0.7]
    builds = [
        exposure.replace("base_pair_location", "pos_hg19"),
        "SNP CHR POS_hg38 A1 A2 BETA SE\nq 1 200 AC A .7 .02\n",
    ]
    with pytest.raises(InputError, match=r"x\.tsv is of build 37 of the genome, .*y\.tsv of build 38"):
        pair(two(tmp_path, *builds), {})


def test_duplicates_by_policy(tmp_path: Path) -> None:
    head = "SNP A1 A2 BETA SE\n"
    files = two(tmp_path, head + "a A G .1 .01\nb A G .2 .01\n", head + "a A G .1 .03\nb C T .2 .02\na G A -.3 .02\n")
    with pytest.raises(InputError, match=r"y\.tsv: variant a is in line 2 and line 4 with the same alleles"):
        pair(files, {})
    for policy, expected in (("first", [0.1, -0.2]), ("best", [0.3, -0.2]), ("drop", [-0.2])):
        found = pair(files, {}, duplicates=policy)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.outcome.beta, expected)
        assert found.rows.left_out == {"repeated in the outcome": 2 if policy == "drop" else 1}
        assert found.rows.read == 3
    files = two(tmp_path, head + "a A G .1 .01\na A G .2 .02\n", head + "a A G .1 .03\na A G .3 .02\n")
    found = pair(files, {}, duplicates="best")  # four pairs, of which one row of either file is left out
    assert found.rows.left_out == {"repeated in the exposure": 1, "repeated in the outcome": 1}
    assert (float(found.exposure.beta[0]), float(found.outcome.beta[0])) == (0.1, 0.3)
    for path in files:
        path.write_text(path.read_text() + "b\tA\tG\t.4\t.01\n")
    found = pair(files, {}, duplicates="drop")  # the rows of both files are told of
    assert (found.names.tolist(), found.rows.left_out) == (
        ["b"],
        {"repeated in the exposure": 2, "repeated in the outcome": 2},
    )


def test_alleles_of_plink(tmp_path: Path) -> None:
    """PLINK 2 tells REF, ALT and which of them is tested; PLINK 1 only the latter."""
    exposure = "SNP A1 A2 BETA SE\na A G .1 .01\nb A G .2 .01\nc A G .3 .01\n"
    two_tells = "#CHROM POS ID REF ALT A1 BETA SE\n1 1 a A G A .1 .02\n1 2 b A G G .2 .02\n"
    np.testing.assert_allclose(pair(two(tmp_path, exposure, two_tells), {}).outcome.beta, [0.1, -0.2])
    one_tells = "SNP A1 BETA SE\na A .1 .02\nb G .2 .02\nc C .3 .02\n"
    np.testing.assert_allclose(pair(two(tmp_path, exposure, one_tells), {}).outcome.beta, [0.1, -0.2, -0.3])


BYTES = b'\t\n"\x00,;-.e9xN\xff '

VCF = """##fileformat=VCFv4.2
##contig=<ID=1,length=249250621,assembly=GRCh37>
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tieu-1
1\t10\trs1\tA\tG\t.\tPASS\t.\tES:SE:LP:AF:SS\t0.1:0.01:22.9:0.3:1000
1\t20\trs2\tC\tG\t.\tPASS\t.\tES:SE:LP\t-0.2:0.02:22.9
1\t30\trs3\tC\tT,G\t.\tPASS\t.\tES:SE:LP\t-0.2:0.02:22.9
1\t40\trs4\tC\tT\t.\tlow\t.\tES:SE:LP\t-0.2:0.02:22.9
"""


def test_gwas_vcf(tmp_path: Path) -> None:
    path = tmp_path / "x.vcf.gz"
    with gzip.open(path, "wt") as file:
        file.write(VCF)
    found = read_columns(path, {})
    assert found.build == "37"
    some = effects_of(found, np.arange(len(found)))
    np.testing.assert_allclose(some.beta, [0.1, -0.2])
    np.testing.assert_allclose(some.frequency, [0.3, np.nan])
    np.testing.assert_allclose(some.samples, [1000, np.nan])
    other = tmp_path / "y.tsv"
    other.write_text("SNP\tA1\tA2\tBETA\tSE\nrs1\tA\tG\t.5\t.1\n")
    tree = gn.read("mendelian_randomization", [path, other], "traits")
    np.testing.assert_allclose(tree["observed_data"]["beta_outcome"], [-0.5])
    rows = json.loads(tree.attrs["ledger"])["rows"]
    assert rows["left_out"] == {
        "that do not pass the file's filters in the exposure": 1,
        "with several alternatives in the exposure": 1,
        "in the exposure only": 1,
    }
    assert rows["read"] == 4
    early = tmp_path / "w.vcf"  # fields at the end may be dropped
    early.write_text(VCF.replace("22.9:0.3:1000", "22.9"))
    short = read_columns(early, {})
    assert any("of 1 samples the last fields are left out" in note for note in short.notes)
    some = effects_of(short, np.arange(len(short)))
    np.testing.assert_allclose(some.beta, [0.1, -0.2])
    np.testing.assert_allclose(some.log10_p, [22.9, 22.9])
    assert np.isnan(some.samples).all()
    for old, new, message in (
        ("\tieu-1\n", "\tieu-1\tieu-2\n", "has one sample column, this file 2"),
        ("ES:SE:LP:AF:SS\t0.1:", "ES:SE:LP:AF:SS\t7:0.1:", "has 6 fields, but FORMAT 'ES:SE:LP:AF:SS' has 5"),
        ("ES:SE", "XX:SE", "samples have no field ES"),
    ):
        broken = tmp_path / "z.vcf"
        broken.write_text(VCF.replace(old, new))
        with pytest.raises(InputError, match=message):
            read_columns(broken, {})


def test_malformed_files_are_refused(tmp_path: Path) -> None:
    """Each by a message that names the file, whatever stands in it."""
    rng = np.random.default_rng(0)
    good = "SNP\tCHR\tPOS\tA1\tA2\tEAF\tBETA\tSE\tP\n" + "".join(
        f"rs{i}\t1\t{i + 1}\tA\tG\t0.3\t{0.1 * (i + 1):.2f}\t0.05\t1e-3\n" for i in range(6)
    )
    other = tmp_path / "y.tsv"
    other.write_text(good)
    path = tmp_path / "x.tsv"
    refused = 0
    for _ in range(150):
        raw = bytearray(good.encode())
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(len(raw)))
            raw[at : at + int(rng.integers(0, 3))] = bytes(
                rng.choice(np.frombuffer(BYTES, np.uint8), rng.integers(0, 3))
            )
        path.write_bytes(bytes(raw))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pair([path, other], {}, incompatible="drop", duplicates="drop")
            except InputError as error:
                refused += 1
                assert "x.tsv" in str(error) or "y.tsv" in str(error), str(error)  # noqa: PT017
    assert refused > 10


# Published tables


@pytest.mark.parametrize("outcome", ["bladdercancer", "cardiogram"])
@pytest.mark.data
@pytest.mark.skipif(not GWAS.is_dir(), reason="the summary statistics are not part of the repository")
def test_telomeres_as_published(outcome: str) -> None:
    import pandas as pd

    folder = GWAS / "twosamplemr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pair([folder / "telomere_length.txt", folder / f"{outcome}.txt"], {}, palindromic="keep")
    expected = pd.read_csv(folder / f"telomere_{outcome}_expected.tsv", sep="\t").set_index("SNP")
    np.testing.assert_allclose(found.exposure.beta, expected["beta.x"].loc[found.names])
    np.testing.assert_allclose(found.outcome.beta, expected["beta.y"].loc[found.names])
    assert len(found.names) >= 25


@pytest.mark.data
@pytest.mark.skipif(not GWAS.is_dir(), reason="the summary statistics are not part of the repository")
def test_vcf_and_plink_as_published(tmp_path: Path) -> None:
    import pandas as pd

    found = read_columns(GWAS / "vcf" / "ieu-a-2_bmi_92.vcf.gz", {})
    some = effects_of(found, np.arange(len(found)))
    expected = pd.read_csv(GWAS / "vcf" / "ieu-a-2_bmi_92_expected.tsv", sep="\t")
    for own, name in ((some.beta, "BETA_ALT"), (some.se, "SE"), (some.frequency, "EAF_ALT"), (some.samples, "N")):
        np.testing.assert_allclose(own, expected[name].to_numpy())
    plink = read_columns(GWAS / "plink" / "test21.assoc.logistic", {})
    some = effects_of(plink, np.arange(len(plink)))
    expected = pd.read_csv(GWAS / "plink" / "test21_expected.tsv", sep="\t")
    np.testing.assert_allclose(some.beta, expected["BETA"])
    np.testing.assert_allclose(some.se, expected["SE"], rtol=1e-6)
    with_se, with_p = (read_columns(GWAS / "munge" / f"prscs_sumstats{end}.txt", {}) for end in ("_se", ""))
    one, other = (effects_of(table, np.arange(len(table))) for table in (with_se, with_p))
    usable = (one.beta != 0) & (other.fault == "") & (one.fault == "")
    np.testing.assert_allclose(other.se[usable], one.se[usable], rtol=0.02)
    okbay = read_columns(GWAS / "munge" / "eduAttainOkbay.txt", {})
    effects_of(okbay, np.arange(len(okbay)))
    assert any("orders of magnitude (rounded?)" in note for note in okbay.notes)
    ssf = read_columns(GWAS / "ssf" / "standard_example_0000123.tsv", {})
    assert ssf.used["id"] == "rsid"
    assert ssf.text("id")[0] == ""


OWN = "SNP A1 A2 FRQ BETA SE\nrs1 A G .3 .1 .02\nrs2 C T .3 .2 .02\nrs3 A T .3 .3 .02\n"


@pytest.mark.parametrize(
    ("text", "x"),
    [
        # the GWAS catalog's columns of two codings: those of the effects' own
        (
            "hm_rsid hm_effect_allele hm_other_allele hm_beta effect_allele other_allele standard_error\n"
            "rs1 A G .1 G A .01\nrs2 C T .2 T C .01\n",
            [0.1, 0.2],
        ),
        # the reference as the effect allele, with the frequency of the alternative one
        ("ID REF ALT A1 ALT_FREQS BETA SE\nrs3 A T A .7 .3 .01\n", [0.3]),
        ("rsid ref alt effect_allele beta se\nrs1 A G A .1 .01\nrs2 T C C .2 .01\n", [0.1, 0.2]),
        # odds ratios where effects are missing
        ("rsid effect_allele other_allele beta odds_ratio se\nrs1 A G NA 2 .05\nrs2 C T .2 NA .05\n", [0.693147, 0.2]),
    ],
)
def test_every_layout_codes_effects_by_their_own_allele(text: str, x: list[float], tmp_path: Path) -> None:
    found = pair(two(tmp_path, text, OWN), {})
    np.testing.assert_allclose(found.exposure.beta, x, rtol=1e-5)
    assert (found.outcome.beta > 0).all()


def test_odds_ratios_and_logarithms_told_apart(tmp_path: Path) -> None:
    risky = "SNP,A1,A2,beta,se\n" + "".join(f"rs{i},A,G,{b},0.1\n" for i, b in enumerate((1.02, 1.1, 1.3, 1.08, 1.2)))
    with pytest.warns(UserWarning, match=r"looks like odds ratios .*Give scale='odds_ratio' for its logarithm"):
        effects(tmp_path / "x.csv", risky)
    logs = "SNP,A1,A2,OR,se\nrs1,A,G,-.1,.1\nrs2,A,G,.2,.1\nrs3,A,G,-.3,.1\n"
    with pytest.raises(InputError, match=r"column 'OR' is taken for odds ratios, but 2 of 3 are negative"):
        effects(tmp_path / "x.csv", logs)
    np.testing.assert_allclose(effects(tmp_path / "x.csv", logs, scale="beta").beta, [-0.1, 0.2, -0.3])


def test_compression_is_told_by_content_and_faults_by_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    for separator in ("\t", " "):  # read by Arrow, and by pandas
        text = OWN.replace(" ", separator)
        whole = gzip.compress(text.encode())
        path.write_bytes(whole)
        assert len(read_columns(path, {})) == 3
        path.write_bytes(whole[:-12])
        with pytest.raises(InputError, match=r"x\.tsv: this cannot be read .* fetch it again"):
            read_columns(path, {})
        path.write_text("\n" + text + f"rs4{separator}A\n")
        with pytest.raises(InputError, match=r"line 6 has 2 cells, but the header 6"):
            read_columns(path, {})
    path.write_text(OWN.replace("rs2", "\nrs2").replace(".2", "x").replace(" ", "\t"))
    with pytest.raises(InputError, match=r"line 4, column 'BETA': 'x' is no number"):
        effects_of(read_columns(path, {}), np.arange(3))
    path.write_bytes(OWN.encode("utf-16"))
    with pytest.raises(InputError, match=r"this is text in UTF-16\. Save the table as text in UTF-8"):
        read_columns(path, {})


def test_the_command_names_its_own_flags_and_takes_columns_of_one_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from genarium.cli import main

    x, y = two(tmp_path, OWN + "rs1 A G .3 .1 .02\n", OWN)
    assert main(["mr", str(x), str(y), "--no-model"]) == 2
    assert "Keep one row, or give --duplicates best." in capsys.readouterr().err
    two(tmp_path, OWN.replace("BETA", "weird"), OWN)
    assert main(["mr", str(x), str(y), "--no-model"]) == 2
    assert "Say which it is: --beta COLUMN." in capsys.readouterr().err
    assert main(["mr", str(x), str(y), "--no-model", "--beta", "weird", "--iterations", "0"]) == 2
    assert "iterations=0 must be a whole number" in capsys.readouterr().err


@pytest.mark.parametrize("mark", ["\t", " "])
def test_zero_bytes_in_names_are_refused(mark: str, tmp_path: Path) -> None:
    """NumPy's texts lose zeros at their end: rs1 and rs1\\0 would be one variant."""
    rows = ["SNP beta se A1 A2", "rs1 0.1 0.02 A G", "rs2\0 0.2 0.02 C T"]
    path = tmp_path / "t.tsv"
    path.write_text("\n".join(row.replace(" ", mark) for row in rows) + "\n")
    with pytest.raises(InputError, match=r"t\.tsv: there are zero bytes in the column 'SNP'"):
        read_columns(path, {})


@pytest.mark.parametrize("separator", ["\t", " "])
def test_places_are_numbers_however_they_are_written(separator: str, tmp_path: Path) -> None:
    head = "CHR BP A1 A2 BETA SE\n"
    exposure = tmp_path / "exposure.txt"  # one text among the numbers of another column, in a row of no account
    exposure.write_text(f"{head}1 100.0 A C .1 .2\nchr1 1e+05 A C .2 .2\nX 300 A C .3 .2\n9 9 A C .4 ?\n")
    exposure.write_text(exposure.read_text().replace(" ", separator))
    outcome = tmp_path / "outcome.txt"
    outcome.write_text(f"{head}chr1 100 A C .5 .2\n01 100000 A C .6 .2\n23 300.0 A C .7 .2\n".replace(" ", separator))
    found = pair([exposure, outcome], {})
    np.testing.assert_array_equal(found.exposure.beta, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(found.outcome.beta, [0.5, 0.6, 0.7])
    assert found.rows.left_out == {"in the exposure only": 1}


@pytest.mark.parametrize("separator", ["\t", " ", ","])
def test_a_header_alone_is_said(separator: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for end in ("", "\n", "\n\n"):
        path.write_text(f"SNP A1 A2 BETA SE{end}".replace(" ", separator))
        with pytest.raises(InputError, match=r"a.txt: there is nothing below line 1"):
            read_columns(path, {})


def test_a_mark_of_the_byte_order_may_stand_before_remarks(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"\ufeff## a remark\n{OWN}".replace(" ", "\t"))
    assert len(read_columns(path, {})) == len(OWN.splitlines()) - 1


@pytest.mark.parametrize("separator", ["\t", " "])
@pytest.mark.parametrize("duplicates", ["error", "best", "first"])
def test_rows_of_covariates_are_no_variants(separator: str, duplicates: Any, tmp_path: Path) -> None:
    """PLINK has a row for each covariate; the least standard error may be that of sex."""
    rows = ["SNP A1 A2 TEST FRQ BETA SE"]
    for one, b in (("rs1 A G", 0.1), ("rs2 C T", 0.2), ("rs3 A T", 0.3)):
        rows += [f"{one} SEX .3 5 .001", f"{one} ADD .3 {b} .02", f"{one} AGE .3 -5 .001"]
    text = "\n".join(rows).replace(" ", separator) + "\n"
    found = pair(two(tmp_path, text, OWN), {}, duplicates=duplicates)
    np.testing.assert_allclose(found.exposure.beta, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(found.exposure.se, 0.02)
    assert found.rows.left_out == {"of other tests than ADD in the exposure": 6}
    assert found.columns[0].line(1) == 6
    with pytest.raises(InputError, match=r"column 'TEST' names the tests SEX, DOM, AGE, and it is not known which"):
        pair(two(tmp_path, text.replace("ADD", "DOM"), OWN), {})
    alone = "\n".join(row for row in text.splitlines() if "SEX" not in row and "AGE" not in row) + "\n"
    found = pair(two(tmp_path, alone.replace("ADD", "DOM"), OWN), {})
    assert any("effects are of the test 'DOM'" in note for note in found.notes)


@pytest.mark.parametrize(
    ("head", "row", "frequency"),
    [
        ("ID REF ALT EA NEA AF_ALT BETA SE", "rs3 A T A T .7 .3 .01", 0.3),
        ("ID REF ALT EA NEA AF_ALT BETA SE", "rs3 T A A T .3 .3 .01", 0.3),
        ("ID EA NEA AF_ALT BETA SE", "rs3 A T .7 .3 .01", None),
    ],
)
def test_frequencies_of_the_alternative_allele(head: str, row: str, frequency: float | None, tmp_path: Path) -> None:
    """They were taken for those of the effect allele, so that palindromic variants were turned."""
    if frequency is None:
        with pytest.warns(UserWarning, match="palindromic"), pytest.raises(InputError, match="no variant is left"):
            pair(two(tmp_path, f"{head}\n{row}\n", OWN), {})
    else:
        found = pair(two(tmp_path, f"{head}\n{row}\n", OWN), {})
        np.testing.assert_allclose([found.exposure.frequency[0], found.outcome.beta[0]], [frequency, 0.3])


def test_gemma_counts_what_is_missing(tmp_path: Path) -> None:
    text = "chr rs ps n_miss allele1 allele0 af beta se p_wald\n1 rs1 5 0 A G .3 .1 .02 .1\n"
    assert np.isnan(effects(tmp_path / "x.txt", text).samples[0])
    text = "CHR SNP BP A1 TEST NMISS BETA STAT P\n1 rs1 5 A ADD 99 .1 5 .1\n"
    assert effects(tmp_path / "x.txt", text).samples[0] == 99


@pytest.mark.parametrize("separator", ["\t", " ", ","])
def test_remarks_are_no_header_and_no_rows(separator: str, tmp_path: Path) -> None:
    remark = "# This file was made by the consortium in 2016, see the paper\n#\n"
    for first in ("", "#"):  # a header after a "#", too
        text = remark + first + OWN.replace(" ", separator) + "# Completed successfully at 2016\n"
        found = effects(tmp_path / "x.txt", text)
        np.testing.assert_allclose(found.beta, [0.1, 0.2, 0.3])
    own = remark + "#a b c d e f\nrs1 A G .3 .1 .02\n".replace(" ", separator)  # names that nobody knows
    path = tmp_path / "x.txt"
    path.write_text(own)
    roles_of = dict(zip(("id", "effect_allele", "other_allele", "frequency", "beta", "se"), "abcdef", strict=True))
    assert effects_of(read_columns(path, roles_of), np.arange(1)).beta[0] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("begins", "what"),
    [(b"PK\x03\x04", "a zip archive or a spreadsheet"), (b"BZh9", "bzip2"), (b"\xfd7zXZ\0", "xz")],
)
def test_other_archives_are_told(begins: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(begins + bytes(range(99)))
    with pytest.raises(InputError, match=rf"this is .*{what}\. Save the table as text"):
        read_columns(tmp_path / "x.tsv", {})


SMALL = "SNP A1 A2 BETA SE P\nrs1 A C 0.1 0.02 0.5\nrs2 A C {cell} 0.03 0.2\nrs3 A C 0.3 0.04 0.1\n"


@pytest.mark.parametrize("cell", ["na", "n/a", "<NA>", "none", "Null", "#N/A", " "])
def test_spellings_of_no_value(cell: str, tmp_path: Path) -> None:
    text = SMALL.replace(" ", "\t").format(cell=cell)
    found = effects(tmp_path / "t.tsv", text)
    assert found.fault.tolist() == ["", "no effect", ""]


def test_an_underscore_is_of_no_number(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 3, column 'BETA': '1_000' is no number"):
        effects(tmp_path / "t.tsv", SMALL.replace(" ", "\t").format(cell="1_000"))


def test_p_values_above_one_give_no_standard_errors(tmp_path: Path) -> None:
    text = "SNP\tA1\tA2\tBETA\tP\nrs1\tA\tC\t0.1\t8.1\nrs2\tA\tC\t0.2\t0.4\nrs3\tA\tC\t0.3\t12\n"
    with pytest.raises(InputError, match="'P' is taken for p values, but 2 of 3 are above 1"):
        effects(tmp_path / "t.tsv", text)


@pytest.mark.parametrize("separator", [" ", "\t"])
def test_names_of_rows_by_r_are_told(separator: str, tmp_path: Path) -> None:
    """R's write.table has quotes, and no header above the names of rows."""
    head = separator.join(f'"{name}"' for name in ("SNP", "A1", "A2", "BETA", "SE"))
    rows = [separator.join([f'"{i}"', f'"rs{i}"', '"A"', '"C"', "0.1", "0.02"]) for i in range(1, 4)]
    with pytest.raises(InputError, match=r"line 2 has 6 cells, but the header 5 \(R writes names of rows"):
        columns_of(tmp_path / "t.txt", "\n".join([head, *rows]) + "\n")


ONE_ROW = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tT\n{row}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ONE_ROW.split("\n")[0] + "\n" + "1\t5\trs1\tC\tA\t.\tPASS\t.\tES:SE\t0.1:0.2\n" * 2,
            "line 2 is not the header",
        ),
        (ONE_ROW.format(row="1\t5\trs1\tC\tA\t.\tPASS\t.\tES:SE:ES\t0.1:0.2:0.3"), "names a field twice"),
    ],
)
def test_damaged_vcf_is_told(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        columns_of(tmp_path / "t.vcf", text)


def test_columns_of_large_consortia() -> None:
    """CARDIoGRAMplusC4D, PGC, GIANT, GLGC; the statistic beside SAIGE's effects is a score, not Z."""
    for header, role, column in (
        ("markername effect_allele noneffect_allele effect_allele_freq beta se_dgc p_dgc", "se", "se_dgc"),
        ("markername effect_allele noneffect_allele effect_allele_freq beta se_dgc p_dgc", "p", "p_dgc"),
        ("CHR SNP BP A1 A2 FRQ_A_53386 FRQ_U_77258 INFO OR SE P", "frequency", "FRQ_U_77258"),
        ("rsID REF ALT POOLED_ALT_AF EFFECT_SIZE SE pvalue", "frequency", "POOLED_ALT_AF"),
        (DIALECTS["GIANT"], "frequency", "Freq1.Hapmap"),
        (DIALECTS["SAIGE"], "z", None),
    ):
        assert roles(header.split()).get(role) == column
