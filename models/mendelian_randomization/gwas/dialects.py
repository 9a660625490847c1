"""Headers of summary statistics: which column is what, in the dialects of the programs that write them.

Names are compared in lower case, letters and digits only. A1 is the effect allele (PLINK, METAL, GCTA, PRScs, LDSC),
ALT against REF (FinnGen, VCF), Allele2 in SAIGE, allele B in SNPTEST, ALLELE1 against ALLELE0 in BOLT and REGENIE.
"""

import re
from collections.abc import Mapping, Sequence

NAMES: Mapping[str, tuple[str, ...]] = {
    "id": (
        *("rsid", "rsids", "hmrsid", "snp", "snpid", "rs", "rsnumber", "markername", "marker", "markerid", "snpname"),
        *("variantid", "variant", "id", "name", "snps"),
    ),
    "chromosome": ("chromosome", "chrom", "chr", "hmchrom", "chrname", "chrid", "contig", "seqname"),
    "position": (
        *("baseposition", "basepairlocation", "position", "pos", "bp", "genpos", "hmpos", "basepair", "chrpos"),
        *("poshg19", "poshg38", "poshg18", "bphg19", "bphg38", "posb37", "posb38", "posgrch37", "posgrch38"),
    ),
    "effect_allele": (
        *("effectallele", "hmeffectallele", "ea", "effallele", "alleleeffect", "testedallele", "codedallele", "a1"),
        "assessedallele",
        *("allele1", "riskallele", "incallele", "alleleb", "alt", "altallele", "alternateallele", "effectal"),
    ),
    "other_allele": (
        *("otherallele", "hmotherallele", "oa", "nea", "noneffectallele", "noneffallele", "noncodedallele", "a2"),
        *("allele2", "a0", "allele0", "nonriskallele", "decallele", "allelea", "referenceallele", "ref", "reference"),
        *("baselineallele", "refallele", "otheral"),
    ),
    "beta": (
        *("beta", "hmbeta", "b", "effect", "effects", "effectsize", "es", "logor", "logoddsratio", "lnor", "betacoef"),
        *("coefficient", "estimate", "frequentistaddbeta1", "betahat"),
    ),
    "odds_ratio": ("oddsratio", "hmoddsratio", "or", "ora1", "oddsratioa1", "hazardratio"),
    "se": (
        *("standarderror", "se", "stderr", "sebeta", "logorse", "selogor", "stderrlogor", "stderror", "sebetahat"),
        *("frequentistaddse1", "sdbeta", "betase", "sedgc"),
    ),
    "low": ("cilower", "hmcilower", "l95", "lower95", "orlower95", "ci95lower", "or95l", "lowerci"),
    "high": ("ciupper", "hmciupper", "u95", "upper95", "orupper95", "ci95upper", "or95u", "upperci"),
    "z": (
        "z",
        "zscore",
        "zstat",
        "zval",
        "zvalue",
        "stat",
        "tstat",
        "tvalue",
        "tstatistic",
        "zorfstat",
        "ztorfstat",
        "t",
    ),
    "p": (
        *("pvalue", "pval", "p", "pvalues", "gcpvalue", "pvaluegc", "pboltlmm", "pboltlmminf", "frequentistaddpvalue"),
        *("pwald", "pvalnominal", "gwaspvalue", "metap", "pvalueassociation", "pdgc"),
    ),
    "log10_p": (
        *("neglog10pvalue", "neglog10p", "neglog10pval", "log10p", "mlogp", "mlog10p", "nlog10p", "minuslog10pval"),
        *("minuslog10p", "logp", "lp", "pvaluemlog", "neglogp"),
    ),
    "frequency": (
        *("effectallelefrequency", "effectallelefreq", "eaf", "hmeffectallelefrequency", "freqeffectallele", "a1freq"),
        *(
            "freq1",
            "freqa1",
            "a1frq",
            "af1",
            "effallelefreq",
            "effectalleleaf",
            "afalt",
            "altaf",
            "altfreq",
            "altfreqs",
        ),
        *("frq", "freq", "frequency", "af", "aftested", "riskallelefrequency"),
        *("freq1hapmap", "freqallele1hapmapceu", "freqa11000geur", "pooledaltaf"),
    ),
    "samples": (
        *("n", "samplesize", "ntotal", "totaln", "totalsamplesize", "neff", "nmiss", "nobs", "obsct", "nsamples", "ss"),
        *("nanalyzed", "ncompletesamples"),
    ),
    "test": ("test",),
}
"""Role -> usual names, the surest first."""

ALT_FREQUENCY = ("afalt", "altaf", "altfreq", "altfreqs", "pooledaltaf")
"""Frequencies of the alternative allele, whichever is the effect allele."""

SIGNED = ("effect_allele", "other_allele", "beta", "odds_ratio", "low", "high", "frequency")
"""Roles that go by one coding: of columns as they came, or of the GWAS catalog's harmonised ones (``hm_``)."""

TRAITS = ("exposure", "outcome")
"""What may stand after a name, with a dot before it (TwoSampleMR)."""

BUILDS: Mapping[str, str] = {
    "hg18": "36", "b36": "36", "ncbi36": "36", "hg19": "37", "grch37": "37", "b37": "37",
    "hg38": "38", "grch38": "38", "b38": "38",
}  # fmt: skip
"""Names of assemblies, and the builds that they are."""


def plain(name: str, trait: str = "") -> str:
    """Return a column's name in lower case, its letters and digits alone, without the trait's name at its end."""
    text = name.strip().strip('"').lower()
    return re.sub("[^a-z0-9]", "", text.removesuffix(f".{trait}"))


def roles(names: Sequence[str]) -> dict[str, str]:
    """Find out which column plays which role.

    Parameters
    ----------
    names : sequence of str
        Of the columns.

    Returns
    -------
    dict of str to str
        Role -> column, of those that are there. ``reference`` and ``alternative`` beside an effect allele: the other
        one is that of the two which is not the effect allele (PLINK 2).
    """
    own = [trait for trait in TRAITS if any(name.lower().endswith(f".{trait}") for name in names)]
    short: dict[str, str] = {}
    for name in names:  # of two traits in one table none is taken
        short.setdefault(plain(name, own[0] if len(own) == 1 else ""), name)
    found: dict[str, str] = {}
    for role, usual in NAMES.items():
        there = next((one for one in usual if one in short), None)
        if there is not None:
            found[role] = short[there]
    if "afallele2" in short and {"allele1", "allele2"} <= set(short):  # SAIGE
        found |= {"effect_allele": short["allele2"], "other_allele": short["allele1"], "frequency": short["afallele2"]}
        if plain(found.get("z", "")) == "tstat":  # the score, which is Z times its standard deviation
            del found["z"]
    if "frequency" not in found and plain(found.get("effect_allele", "")) == "a1":  # PGC: FRQ_U_77258, of A1
        controls = [name for one, name in short.items() if re.fullmatch(r"frqu\d+", one)]
        if len(controls) == 1:
            found["frequency"] = controls[0]
    _one_coding(found, short)
    told = plain(found.get("effect_allele", ""), own[0] if len(own) == 1 else "")
    other = plain(found.get("other_allele", ""), own[0] if len(own) == 1 else "")
    if {"ref", "alt"} <= set(short) and told not in ("", "alt") and other in ("", "ref"):  # PLINK 2 and others
        found |= {"reference": short["ref"], "alternative": short["alt"]}
        found.pop("other_allele", None)
    if plain(found.get("frequency", "")) in ALT_FREQUENCY and told not in ("", "alt") and "reference" not in found:
        if {"ref", "alt"} <= set(short):
            found |= {"reference": short["ref"], "alternative": short["alt"]}
        else:  # of an allele that nobody knows
            found.pop("frequency")
    if found.get("samples", "").lower() == "n_miss":  # GEMMA: those that are missing; PLINK's NMISS are the others
        found.pop("samples")
    if "other_allele" in found and found["other_allele"] == found.get("effect_allele"):
        found.pop("other_allele")
    return found


def _one_coding(found: dict[str, str], short: Mapping[str, str]) -> None:
    """Take harmonised alleles (``hm_``) where the effects are harmonised, never those of the other coding."""

    def is_harmonised(role: str) -> bool:
        return plain(found[role]).startswith("hm")

    own = [role for role in ("beta", "odds_ratio") if role in found]
    if not own or "effect_allele" not in found or is_harmonised("effect_allele"):
        return
    if not all(map(is_harmonised, own)) or "hmeffectallele" not in short:
        return
    for role in SIGNED:
        there = next((one for one in NAMES[role] if one.startswith("hm") and one in short), None)
        if there is not None:
            found[role] = short[there]
        elif role in found and not is_harmonised(role):
            del found[role]


def build_of(texts: Sequence[str]) -> str | None:
    """Return the build of the genome that names of columns or lines of a header tell, if they do so alike."""
    told = {build for text in texts for name, build in BUILDS.items() if name in re.sub("[^a-z0-9]", "", text.lower())}
    return told.pop() if len(told) == 1 else None
