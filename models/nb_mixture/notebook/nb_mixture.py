# %% [markdown]
# # Groups of cells from raw counts
#
# From an AnnData file to a decision: how many groups of cells are there, what marks each of them, and which cells
# should be left without a label?
#
# The model is a negative binomial mixture of raw counts. Each cell belongs to one of K components, each component has
# a mean for every gene, and counts vary around it more than Poisson counts do.

# %% [markdown]
# ## Your file
#
# Put the path of your own file here: AnnData with raw counts in `X` (or name the layer in `gn.read`). If there is no
# such file, a small one is simulated: 400 cells and 120 genes, of which 30 differ between four groups.

# %%
from pathlib import Path

import numpy as np

import genarium as gn

FILE = Path("cells.h5ad")


def simulate(path: Path, seed: int = 1) -> None:
    """Write cells of four groups, of unlike depth, as AnnData."""
    import anndata
    import pandas as pd

    rng = np.random.default_rng(seed)
    group = rng.choice(4, 400, p=[0.4, 0.3, 0.2, 0.1])
    mean = np.exp(rng.normal(0.2, 0.8, 120)) * np.ones((4, 1))
    mean[:, :30] *= np.exp(rng.normal(0, 0.6, (4, 30)))
    depth = rng.lognormal(0, 0.3, 400)
    rate = mean[group] * depth[:, None]
    counts = np.asarray(rng.poisson(rate * rng.gamma(1 / 0.3, 0.3, rate.shape)))
    obs = pd.DataFrame({"type": [f"type {k}" for k in group]}, index=[f"cell{i:03d}" for i in range(400)])
    var = pd.DataFrame(index=[f"gene{i:03d}" for i in range(120)])
    anndata.AnnData(counts.astype(np.float32), obs=obs, var=var).write_h5ad(path)


if not FILE.exists():
    simulate(FILE)

# %% [markdown]
# ## Read
#
# The mixture is for tens of genes rather than thousands. `genes=30` takes the 30 genes that vary most beyond a single
# negative binomial; size factors come from the totals over all genes. The ledger says what was read and left out.

# %%
data = gn.read("nb_mixture", FILE, genes=30, size_factor="total")
print(dict(data["observed_data"]["x"].sizes))
print(", ".join(data["observed_data"]["gene"].to_numpy()[:5]), "...")

# %% [markdown]
# ## How many groups?
#
# Variational Bayes is fast and gives an evidence lower bound (ELBO) for each number of components. The dispersion of
# every gene is estimated (`dispersion="gene"`).

# %%
chosen = gn.choose(
    "nb_mixture", data, "component", range(1, 6), "vi", seed=1, dispersion="gene", restarts=10, draws=200
)
elbo = chosen["choice"]["bound"].to_series()
print(elbo.round(1).to_string())
K = int(elbo.idxmax())
print(f"\nhighest ELBO: {K} components, {elbo.max() - elbo.drop(K).max():.0f} nats above the next best")

# %% [markdown]
# ## Fit, and ask how far to trust it
#
# The fit of the chosen number comes with the table of choices. Each verdict says what to do next if it fails.

# %%
print(gn.diagnose("nb_mixture", chosen))

# %% [markdown]
# ## What marks each group
#
# Posterior means of the centroids, relative to the mean over all groups: the genes with the largest log2 ratio.

# %%
posterior = chosen["posterior"].to_dataset()
mu = posterior["mu"].mean(("chain", "draw"))
pi = posterior["pi"].mean(("chain", "draw"))
ratio = np.log2(mu / (mu * pi).sum("component"))
for k in mu["component"].to_numpy():
    top = ratio.sel(component=k).to_series().nlargest(4)
    marks = ", ".join(f"{gene} {value:+.1f}" for gene, value in top.items())
    print(f"component {k}: share {float(pi.sel(component=k)):.2f}; log2 ratio {marks}")

# %% [markdown]
# ## Decision
#
# Label the cells whose group has a probability of at least 0.95; leave the rest without one, rather than let them
# blur a comparison of groups.

# %%
probability = gn.predict(chosen)["predictions"]["probability"]
best, sure = probability.argmax("component").to_series(), probability.max("component").to_series()
label = best.where(sure >= 0.95).astype("Int64")
print(f"{int(label.notna().sum())} of {label.size} cells labelled; {int(label.isna().sum())} left without a label")
print(label.value_counts().sort_index().to_string())

# %% [markdown]
# The simulated file holds the truth. With your own file, this cell finds no column `type` and says nothing.

# %%
import anndata
import pandas as pd

obs = anndata.read_h5ad(FILE, backed="r").obs
if "type" in obs:
    print(pd.crosstab(obs["type"], label.set_axis(obs.index).fillna(-1).rename("component (-1: none)")))

# %% [markdown]
# ## Where to go next
#
# `gn.report(chosen, "report.html")` writes figures and checks to one page. Where groups overlap, intervals of `vi` are
# too narrow: `gn.fit(..., "gibbs")` is exact, and `covariance="linear_response"` corrects `vi`.
