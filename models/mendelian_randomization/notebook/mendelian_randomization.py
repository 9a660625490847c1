# %% [markdown]
# # A causal effect from two GWAS files
#
# From summary statistics of an exposure and of an outcome to a decision: does the exposure act on the outcome, how
# strongly, and does the answer survive pleiotropy?

# %% [markdown]
# ## Your files
#
# Put the paths of your own files here: independent variants (clumped) that are associated with the exposure, and the
# outcome's summary statistics, in any usual format. If there are no such files, small ones are simulated: 90
# instruments, a causal effect of 0.30, and directional pleiotropy, that is, alleles that raise the exposure also raise
# the outcome in other ways.

# %%
from pathlib import Path

import numpy as np
import pandas as pd

import genarium as gn
from genarium.models.mendelian_randomization import mr_table

EXPOSURE, OUTCOME = Path("exposure.tsv"), Path("outcome.tsv")


def simulate(exposure: Path, outcome: Path, seed: int = 1) -> None:
    """Write two tables of summary statistics; half of the outcome's rows count the other allele."""
    rng = np.random.default_rng(seed)
    J, effect, n_exposure, n_outcome = 90, 0.3, 150_000, 120_000
    eaf = rng.uniform(0.05, 0.95, J)
    se_x, se_y = (1 / np.sqrt(2 * eaf * (1 - eaf) * n) for n in (n_exposure, n_outcome))
    gamma = rng.choice([-1, 1], J) * (6 * se_x + rng.exponential(0.02, J))
    pleiotropy = rng.normal(0.006, 0.004, J) * np.sign(gamma)
    beta_x, beta_y = rng.normal(gamma, se_x), rng.normal(effect * gamma + pleiotropy, se_y)
    pairs = [("A", "G"), ("C", "T"), ("A", "C"), ("G", "T")]
    alleles = np.array([pairs[i] for i in rng.integers(0, 4, J)])
    table = pd.DataFrame({"SNP": [f"rs{1000 + j}" for j in range(J)], "CHR": rng.integers(1, 23, J)})
    table["BP"] = rng.integers(1_000_000, 50_000_000, J)
    coded = table.assign(effect_allele=alleles[:, 0], other_allele=alleles[:, 1], eaf=eaf)
    coded.assign(beta=beta_x, se=se_x, N=n_exposure).to_csv(exposure, sep="\t", index=False)
    swap = rng.random(J) < 0.5
    other = table.assign(
        effect_allele=np.where(swap, alleles[:, 1], alleles[:, 0]),
        other_allele=np.where(swap, alleles[:, 0], alleles[:, 1]),
        eaf=np.where(swap, 1 - eaf, eaf),
    )
    other.assign(beta=np.where(swap, -beta_y, beta_y), se=se_y, N=n_outcome).to_csv(outcome, sep="\t", index=False)


if not EXPOSURE.exists():
    simulate(EXPOSURE, OUTCOME)

# %% [markdown]
# ## Read
#
# The reader pairs the two tables and codes both by the exposure's effect allele. Its ledger counts every row that it
# left out, and why.

# %%
data = gn.read("mendelian_randomization", [EXPOSURE, OUTCOME], "traits")
x, y = (data["observed_data"][name].to_numpy() for name in ("beta_exposure", "beta_outcome"))
se_x, se_y = (data["constant_data"][name].to_numpy() for name in ("se_exposure", "se_outcome"))
print(f"{x.size} variants; mean F statistic {np.mean((x / se_x) ** 2):.0f}")

# %% [markdown]
# ## Every classical estimator at once
#
# They differ in what they assume about pleiotropy. If they agree, the assumption hardly matters; if they do not, ask
# why.

# %%
classical = mr_table(x, se_x, y, se_y, iterations=500, seed=1, model=False)
for row in classical.rows:
    print(f"{row.method:42s} {row.estimate:6.3f}  [{row.ci[0]:6.3f}, {row.ci[1]:6.3f}]")
if classical.pleiotropy is not None:
    intercept, _, p_value = classical.pleiotropy
    print(f"\nEgger's intercept {intercept:.4f}, p = {p_value:.1e} (small: pleiotropy is directional)")

# %% [markdown]
# ## The model
#
# It learns the spread of pleiotropic effects, and their mean among alleles that raise the exposure, together with the
# causal effect. `vi` with linear response takes seconds; where its correction is unreliable it refuses, and `gibbs` is
# exact.

# %%
try:
    fit = gn.fit("mendelian_randomization", data, "vi", seed=1)
except gn.ApproximationError:
    fit = gn.fit("mendelian_randomization", data, "gibbs", seed=1)
print(gn.diagnose("mendelian_randomization", fit))
print(gn.summary(fit, ["theta", "intercept", "pleiotropy_sd"]).to_string())

# %% [markdown]
# ## Does one variant make the result?

# %%
estimates = np.array([row.estimate for row in classical.without])
print(f"leaving out one variant at a time, IVW stays within [{estimates.min():.3f}, {estimates.max():.3f}]")

# %% [markdown]
# ## Decision
#
# The simulated files have a causal effect of 0.30.

# %%
theta = fit["posterior"]["theta"].to_numpy().reshape(-1)
low, high = np.quantile(theta, [0.025, 0.975])
ivw_estimate = classical["IVW"].estimate
print(f"causal effect {theta.mean():.2f}, 95 % interval [{low:.2f}, {high:.2f}] (IVW: {ivw_estimate:.2f})")
if low > 0 or high < 0:
    print("The interval excludes zero after pleiotropy is accounted for: evidence of a causal effect.")
else:
    print("The interval includes zero once pleiotropy is accounted for: no evidence of a causal effect.")

# %% [markdown]
# ## Where to go next
#
# `genarium mr exposure.tsv outcome.tsv -o page.html` makes the table and its figures in one step. If a confounder of
# both traits may act through a few of the variants, fit `correlated_pleiotropy="mixture"` as well. Correlated variants
# need `ld=`.
