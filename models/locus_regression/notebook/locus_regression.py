# %% [markdown]
# # Which mutational processes act, and where along the genome?
#
# From somatic mutations to a decision: how many processes are there, what are their signatures, which features of the
# genome do they follow, and which process made each mutation?

# %% [markdown]
# ## Your files
#
# Put the paths of your own files here: a VCF of somatic mutations, the genome they were called on, and tracks of
# features. If there is no such VCF, a small one is simulated: eight tumours, 900 mutations on 60 kb, and three
# processes: TC to TT in late-replicating windows, CG to TG in early ones, and anything anywhere.

# %%
from pathlib import Path

import numpy as np
import pandas as pd

import genarium as gn

VCF, FASTA = Path("tumours.vcf"), Path("genome.fa")
FEATURES = {"timing": "timing.bw:mean:standardise", "peaks": "peaks.bed:coverage:standardise"}
WINDOWS = 2_000  # bases; 100 kb to 1 Mb for a human genome


def simulate(vcf: Path, fasta: Path, seed: int = 3, mutations: int = 900) -> None:
    """Write a genome, a track of replication timing, peaks, and the mutations of eight tumours."""
    import pybigtools

    rng = np.random.default_rng(seed)
    sequence = {name: "".join(rng.choice(list("ACGT"), n)) for name, n in (("chr1", 36_000), ("chr2", 24_000))}
    fasta.write_text("".join(f">{name}\n{text}\n" for name, text in sequence.items()))
    timing = {name: np.sin(np.arange(len(text) // 1000) / 4 + 2 * (name == "chr2")) for name, text in sequence.items()}
    track = pybigtools.open(str(fasta.with_name("timing.bw")), "w")
    levels = [(name, 1000 * i, 1000 * (i + 1), float(t)) for name, row in timing.items() for i, t in enumerate(row)]
    track.write({name: len(text) for name, text in sequence.items()}, iter(levels))
    peaks = sorted((name, int(at)) for name, text in sequence.items() for at in rng.choice(len(text) - 900, 12))
    fasta.with_name("peaks.bed").write_text("".join(f"{name}\t{at}\t{at + 600}\n" for name, at in peaks))
    places = [(name, at) for name, text in sequence.items() for at in range(2, len(text) - 2, 2)]
    triplets = np.array([sequence[name][at - 1 : at + 2] for name, at in places])
    late = np.array([timing[name][at // 1000] for name, at in places])
    of_tc = np.char.startswith(triplets, "TC") | np.char.endswith(triplets, "GA")
    of_cg = np.char.endswith(triplets, "CG") | np.char.startswith(triplets, "CG")
    rates = [of_tc * np.exp(late), of_cg * np.exp(-late), np.ones(len(places))]
    process: dict[int, int] = {}
    for k, rate in enumerate(rates):
        chosen = rng.choice(len(places), mutations // 3, replace=False, p=rate / rate.sum())
        process |= {int(at): k for at in chosen}
    shares = rng.dirichlet([0.3] * 3, 8)
    lines = ["##fileformat=VCFv4.2"]
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *(f"T{g}" for g in range(8))]
    lines.append("\t".join(columns))
    for at, k in sorted(process.items()):
        name, place = places[at]
        ref = sequence[name][place]
        alt = str(rng.choice([base for base in "ACGT" if base != ref])) if k == 2 else "T" if ref == "C" else "A"
        carrier = rng.choice(8, p=shares[:, k] / shares[:, k].sum())
        genotypes = ["0/1" if g == carrier else "0/0" for g in range(8)]
        lines.append("\t".join([name, str(place + 1), ".", ref, alt, ".", "PASS", ".", "GT", *genotypes]))
    vcf.write_text("\n".join(lines) + "\n")


if not VCF.exists():
    simulate(VCF, FASTA)

# %% [markdown]
# ## Read
#
# Mutations are folded to the pyrimidine and counted by window and channel; the ledger counts what was left out.

# %%
data = gn.read("locus_regression", VCF, "vcf", fasta=FASTA, windows=WINDOWS, features=FEATURES)
known = data["constant_data"]
print(f"{int(known['count'].sum())} mutations in {known.sizes['locus']} windows; features {', '.join(FEATURES)}")

# %% [markdown]
# ## How many processes?
#
# The evidence lower bound (ELBO) of variational Bayes for two to four processes.

# %%
chosen = gn.choose("locus_regression", data, "process", range(2, 5), "vi", seed=1, covariance="mean_field")
elbo = chosen["choice"]["bound"].to_series()
print(elbo.round(1).to_string())
K = int(elbo.idxmax())

# %% [markdown]
# ## Fit
#
# The draws of `vi` are corrected by short chains of Gibbs sweeps by default, so that their intervals can be used
# (`sweeps=800` keeps this notebook fast; leave it out for your data).

# %%
fit = gn.fit("locus_regression", data, "vi", process=K, seed=1, sweeps=800)
print(gn.diagnose("locus_regression", fit))

# %% [markdown]
# ## What the processes are
#
# The most frequent channels of each, and the effect of each feature on its log rate.

# %%
posterior = fit["posterior"].to_dataset()
share = (posterior["lam"] * posterior["rho"]).mean(("chain", "draw"))
for k in range(K):
    top = share.isel(process=k).to_series().nlargest(4)
    print(f"process {k}: " + ", ".join(f"{context} to {base} {value:.2f}" for (context, base), value in top.items()))
beta = posterior["beta"]
low, high = beta.quantile([0.05, 0.95], ("chain", "draw"))
mean = beta.mean(("chain", "draw"))
effects = pd.DataFrame({"mean": mean.to_series(), "low": low.to_series(), "high": high.to_series()})
print(effects.round(2).to_string())

# %% [markdown]
# ## Decision
#
# A process follows a feature if the 90 % interval of its effect excludes zero. A mutation is attributed to a process
# if that has a probability of at least 0.8.

# %%
for row in effects.reset_index().to_dict("records"):
    if row["low"] > 0 or row["high"] < 0:
        where = "high" if row["mean"] > 0 else "low"
        print(f"process {row['process']} acts more where {row['feature']} is {where}")
probability = gn.predict(fit)["predictions"]["probability"]
sure = float((probability.max("process") >= 0.8).mean())
print(f"{100 * sure:.0f} % of the mutations are attributed to one process with a probability of 0.8 or more")

# %% [markdown]
# ## Where to go next
#
# `gn.export(fit, "vcf", "tumours.processes.vcf.gz", source=VCF, fasta=FASTA)` writes the VCF again, with the process of
# each mutation. With COSMIC's table, `signatures=` takes known signatures as given.
