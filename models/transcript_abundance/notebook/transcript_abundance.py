# %% [markdown]
# # Abundances of transcripts, with their uncertainty, from salmon's output
#
# From salmon's folders to a decision: how certain is each abundance, which transcripts cannot be told apart, and which
# transcripts differ between two conditions?

# %% [markdown]
# ## Your files
#
# Put the path of your own table here: `sample`, `path` (folders of `salmon quant --dumpEqWeights`) and a column with
# the condition. If there is no such table, six small samples are simulated: 12 genes of two to four isoforms, 60,000
# reads each. In every fifth gene the shares of the isoforms change between the conditions.

# %%
import gzip
from pathlib import Path

import numpy as np
import pandas as pd

import genarium as gn
from genarium.models.transcript_abundance.cohort import cohort
from genarium.models.transcript_abundance.differential import differential

SAMPLES = Path("samples.csv")


def simulate(table: Path, seed: int = 1, genes: int = 12, exon: int = 400, reads: int = 60_000) -> None:
    """Write a table of six samples, and their folders in salmon's layout; isoforms are sets of a gene's four exons."""
    rng = np.random.default_rng(seed)
    sets = [{0, 1, 2, 3}, {0, 1, 3}, {0, 2, 3}, {1, 2}]
    isoforms = [(g, sets[i]) for g in range(genes) for i in sorted(rng.choice(4, rng.integers(2, 5), replace=False))]
    names = [f"gene{g:02d}.{'ABCD'[sets.index(exons)]}" for g, exons in isoforms]
    length = np.array([exon * len(exons) for _, exons in isoforms])
    base = np.exp(rng.normal(0, 1, genes))[[g for g, _ in isoforms]] * rng.dirichlet(np.ones(len(names))) * length
    change = np.where([g % 5 == 0 for g, _ in isoforms], np.exp(rng.normal(0, 1.2, len(names))), 1.0)
    classes: dict[tuple[int, ...], dict[int, float]] = {}
    for g in range(genes):
        own = [k for k, (gene, _) in enumerate(isoforms) if gene == g]
        for e in range(4):
            having = tuple(k for k in own if e in isoforms[k][1])
            for k in having:
                weights = classes.setdefault(having, dict.fromkeys(having, 0.0))
                weights[k] += 1 / len(isoforms[k][1])
    rows = []
    for s in range(6):
        abundance = base * (change if s >= 3 else 1) * np.exp(rng.normal(0, 0.1, len(names)))
        share = abundance / abundance.sum()
        p = np.array([sum(w * share[k] for k, w in weights.items()) for weights in classes.values()])
        count = rng.multinomial(reads, p / p.sum())
        folder = table.parent / f"quant{s + 1}"
        (folder / "aux_info").mkdir(parents=True, exist_ok=True)
        lines = [str(len(names)), str(len(classes)), *names]
        for (ids, weights), c in zip(classes.items(), count, strict=True):
            scaled = [weights[k] / sum(weights.values()) for k in ids]
            lines.append("\t".join(map(str, [len(ids), *ids, *(f"{w:.6g}" for w in scaled), c])))
        with gzip.open(folder / "aux_info" / "eq_classes.txt.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")
        tpm = 1e6 * (share / length) / (share / length).sum()
        quant = {"Name": names, "Length": length, "EffectiveLength": length, "TPM": tpm, "NumReads": reads * share}
        pd.DataFrame(quant).to_csv(folder / "quant.sf", sep="\t", index=False)
        rows.append((f"s{s + 1}", folder.name, "control" if s < 3 else "treated"))
    pd.DataFrame(rows, columns=["sample", "path", "condition"]).to_csv(table, index=False)


if not SAMPLES.exists():
    simulate(SAMPLES)
table = pd.read_csv(SAMPLES)
print(table.to_string(index=False))

# %% [markdown]
# ## One sample: the maximum of the likelihood
#
# EM takes milliseconds and comes with a bound on how much the log likelihood can still rise. Transcripts whose shares
# of the reads the classes cannot determine form a *ridge*: only their sum is known.

# %%
data = gn.read("transcript_abundance", SAMPLES.parent / table["path"][0], "salmon")
quick = gn.fit("transcript_abundance", data, "em", seed=1)
print(gn.diagnose("transcript_abundance", quick))
point = quick["point"].to_dataset()
tied = point["ridge"].to_numpy() > 0
print(f"\n{int(tied.sum())} of {tied.size} transcripts lie on a ridge: only the sum of each group is determined")

# %% [markdown]
# ## One sample: the posterior
#
# Gibbs sampling gives intervals, and the probability that a transcript is absent altogether. The widest intervals
# relative to their mean belong to isoforms that share most of their exons.

# %%
fit = gn.fit("transcript_abundance", data, "gibbs", seed=1, chains=2, draws=600, tune=200)
counts = fit["posterior"]["counts"]
low, high = counts.quantile([0.05, 0.95], ("chain", "draw"))
told = pd.DataFrame(
    {
        "mean": counts.mean(("chain", "draw")),
        "low": low,
        "high": high,
        "absent": (counts == 0).mean(("chain", "draw")),
    },
    index=counts["transcript"].to_index(),
)
told["width"] = (told["high"] - told["low"]) / told["mean"].clip(lower=1)
print(told.sort_values("width", ascending=False).head(8).round(2).to_string())

# %% [markdown]
# ## All samples
#
# `fit_each` reads and fits every row of the table on its own, and keeps the fits in a folder. The cohort takes their
# draws as replicates of the quantification. Chains are short here, to keep the notebook fast, and some fail the check
# of R-hat (`samples["diagnosis"]`): leave their lengths out for your data.

# %%
gn.fit_each("transcript_abundance", SAMPLES, "gibbs", "posteriors", seed=1, chains=2, draws=400, tune=150)
samples = cohort("posteriors/samples.csv")
print(dict(samples.sizes))

# %% [markdown]
# ## Decision: which transcripts change?
#
# The hierarchical model carries the uncertainty of each abundance through. Call what has a q value below 0.05.

# %%
found = differential(samples, "condition", between=["control", "treated"]).to_dataframe()
called = found[found["q_value"] < 0.05].sort_values("lfsr")
columns = ["log2_fold_change", "lfsr", "q_value", "inferential_sd"]
print(called[columns].round(3).to_string() if len(called) else "none")
print(f"\n{len(called)} of {len(found)} transcripts change at a false discovery rate of 5 %")

# %% [markdown]
# In the simulated samples, transcripts of gene00, gene05 and gene10 change.
#
# ## Where to go next
#
# `differential(samples, "condition", by="usage", gene_of=...)` compares shares within genes. On the command line:
# `genarium fit-each`, `genarium transcripts cohort` and `genarium transcripts differential`.
