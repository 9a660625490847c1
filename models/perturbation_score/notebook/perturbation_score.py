# %% [markdown]
# # Which knock-outs change cell states, and which to follow up?
#
# From the cells of a Perturb-seq screen to a decision: which perturbations change the cell states at all, and which
# move them closest to the states that are wanted, given how few cells some of them have?

# %% [markdown]
# ## Your file
#
# Put the path of your own file here: AnnData with the perturbation and the state of every cell in `obs`. If there is
# no such file, a small screen is simulated: 40 knock-outs with 4 to 120 cells each, 600 control cells, four states.
# Half of the knock-outs have an effect.

# %%
from pathlib import Path

import numpy as np
import pandas as pd

import genarium as gn
from genarium.models.perturbation_score import hits, rank, score

FILE = Path("screen.h5ad")
CONDITION, STATE, CONTROL = "gene", "state", "non-targeting"
TARGET = "progenitor=1"


def simulate(path: Path, seed: int = 1) -> None:
    """Write the cells of a screen, with raw counts of 30 genes."""
    import anndata

    rng = np.random.default_rng(seed)
    states = ["progenitor", "effector", "exhausted", "cycling"]
    control = np.array([0.15, 0.35, 0.35, 0.15])
    names, labels = ["non-targeting"] * 600, list(rng.choice(states, 600, p=control))
    for p in range(40):
        shares = control * np.exp(rng.normal(0, 0.9, 4) if p % 2 else 0)
        cells = int(np.exp(rng.uniform(np.log(4), np.log(120))))
        names += [f"KO{p:02d}"] * cells
        labels += list(rng.choice(states, cells, p=shares / shares.sum()))
    mean = np.exp(rng.normal(0, 1, (4, 30)))
    counts = np.asarray(rng.poisson(mean[[states.index(label) for label in labels]]))
    barcodes = [f"cell{i}" for i in range(len(names))]
    obs = pd.DataFrame({"gene": pd.Categorical(names), "state": pd.Categorical(labels, states)}, index=barcodes)
    var = pd.DataFrame(index=[f"G{i}" for i in range(30)])
    anndata.AnnData(counts.astype(np.float32), obs=obs, var=var).write_h5ad(path)


if not FILE.exists():
    simulate(FILE)

# %% [markdown]
# ## Read
#
# Cells are counted by perturbation and state. No features of the genes are given, so that perturbations learn from
# each other only through their common mean (`regression="none"`).

# %%
data = gn.read(
    "perturbation_score",
    FILE,
    "h5ad",
    condition=CONDITION,
    state=STATE,
    control=CONTROL,
    target=TARGET,
    regression="none",
)
counts = data["observed_data"]["count"]
cells = counts.sum("state").to_series().drop(CONTROL)
print(f"{cells.size} perturbations with {int(cells.min())} to {int(cells.max())} cells, median {cells.median():.0f}")

# %% [markdown]
# ## Which perturbations change the states?
#
# `hits` fits a mixture of no effect and effects of many sizes to the whole screen, and gives false discovery rates.

# %%
found = hits(data, CONTROL)
table = found[["cells", "effect_probability", "fdr"]].to_dataframe().sort_values("fdr")
called = table[table["fdr"] < 0.05]
print(called.round(3).to_string())
print(f"\n{len(called)} of {len(table)} perturbations change the states at a false discovery rate of 5 %")

# %% [markdown]
# ## Which come closest to the wanted states?
#
# The score is minus the expected l1 distance between wanted and actual shares: 0 is perfect, -2 the worst. Plug-in
# scores of few cells are extreme by chance, so that the best of a list are often those with the fewest cells. The
# posterior mean shrinks them, and the 5 % quantile says what a perturbation reaches at least.

# %%
fit = gn.fit("perturbation_score", data, "conjugate", seed=1)
print(gn.diagnose("perturbation_score", fit))

# %%
ranked = rank(score(fit, TARGET, quantile=0.05, control=CONTROL))
columns = ["plug_in", "score", "lower", "rank_plug_in", "rank_score", "rank_lower"]
ranking = ranked[columns].to_dataframe().join(cells.rename("cells")).sort_values("rank_lower")
print(ranking.head(8).round(2).to_string())
few = ranking[ranking["cells"] < 10].sort_values("rank_plug_in").head(3)
for name, row in few.iterrows():
    by_plug_in, by_quantile = int(row["rank_plug_in"]), int(row["rank_lower"])
    print(f"{name} has {row['cells']:.0f} cells: number {by_plug_in} by plug-in, {by_quantile} by the 5 % quantile")

# %% [markdown]
# ## Decision
#
# Follow up what certainly changes the states *and* is among the best by the lower quantile.

# %%
chosen = [name for name in ranking.index if name in called.index][:3]
for name in chosen:
    row, fdr = ranking.loc[name], table.loc[name, "fdr"]
    print(f"{name}: score {row['score']:.2f} (at least {row['lower']:.2f}), {row['cells']:.0f} cells, fdr {fdr:.3f}")

# %% [markdown]
# ## Where to go next
#
# `genarium hits screen.h5ad --control non-targeting --condition gene -o hits.html` makes the calls on the command line.
# `nuts` in place of `conjugate` also carries the uncertainty of the common mean. Features of the genes
# (`features=`) let the model score genes that nobody has knocked out yet.
