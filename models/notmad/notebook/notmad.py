# %% [markdown]
# # Does a regulatory network change with the context?
#
# From a table of expression and context to a decision: does the network change from sample to sample, and which edges
# do?

# %% [markdown]
# ## Your file
#
# Put the path of your own table here: one row a sample, columns with the context, and one column for each node. If
# there is no such file, a small one is simulated: 400 samples of five genes, whose network moves from one archetype to
# another with age; tissue has no effect.

# %%
from pathlib import Path

import numpy as np
import pandas as pd

import genarium as gn
from genarium.models.notmad import notears
from genarium.models.notmad.selection import select

FILE = Path("expression.csv")
CONTEXT = "age,tissue"


def simulate(path: Path, seed: int = 1) -> None:
    """Write expression of five genes whose network depends on age."""
    rng = np.random.default_rng(seed)
    genes = ["TF1", "TF2", "G1", "G2", "G3"]
    young, old = np.zeros((5, 5)), np.zeros((5, 5))
    young[0, 2], young[0, 3], young[1, 4] = 1.2, 0.9, 0.8
    old[1, 2], old[0, 3], old[1, 4] = 1.2, 0.9, -0.8
    age = rng.uniform(20, 80, 400)
    weight = 1 / (1 + np.exp(-(age - 50) / 6))
    noise = rng.normal(0, 0.7, (400, 5))
    x = np.stack([e @ np.linalg.inv(np.eye(5) - (1 - w) * young - w * old) for e, w in zip(noise, weight, strict=True)])
    table = pd.DataFrame({"sample": [f"s{i:03d}" for i in range(400)], "age": age.round(1)})
    table["tissue"] = rng.choice(["blood", "liver"], 400)
    table[genes] = x.round(4)
    table.to_csv(path, index=False)


if not FILE.exists():
    simulate(FILE)

# %% [markdown]
# ## Read
#
# Nodes and numeric covariates are standardised; a column of text becomes one covariate for each level but the first.

# %%
data = gn.read("notmad", FILE, "table", context=CONTEXT)
x, context = data["observed_data"]["x"], data["constant_data"]["context"]
nodes, covariates = list(map(str, x["node"].to_numpy())), list(map(str, context["covariate"].to_numpy()))
print(f"{x.sizes['sample']} samples; nodes {', '.join(nodes)}; covariates {', '.join(covariates)}")

# %% [markdown]
# ## One network of all samples
#
# The comparison that any sample-specific network has to beat.

# %%
population = notears(x.to_numpy())
print(pd.DataFrame(population.network, nodes, nodes).round(2).to_string())

# %% [markdown]
# ## Does the context matter?
#
# `select` compares one archetype with several by the log density of samples that the fits did not see. It answers "yes"
# only if the gain exceeds two standard errors.

# %%
choice = select(x.to_numpy(), context.to_numpy(), archetypes=(1, 2), betas=(2, 12), means=("zero",), folds=4, seed=1)
print(choice)

# %% [markdown]
# ## Fit
#
# The settings that were chosen, on all samples.

# %%
fit = gn.fit("notmad", data, "map", seed=1, **choice.settings)
print(gn.diagnose("notmad", fit))

# %% [markdown]
# ## Networks of two contexts
#
# Networks of the youngest and of the oldest tenth of the samples, projected onto acyclic graphs.

# %%
networks = gn.predict(fit, project=True)["predictions"]["network"]
first = context.isel(covariate=0).to_numpy()
low, high = first <= np.quantile(first, 0.1), first >= np.quantile(first, 0.9)
young, old = (networks.isel(sample=np.flatnonzero(part)).mean("sample").to_numpy() for part in (low, high))
edges = pd.DataFrame(
    [
        (nodes[a], nodes[b], young[a, b], old[a, b], old[a, b] - young[a, b])
        for a in range(len(nodes))
        for b in range(len(nodes))
        if max(abs(young[a, b]), abs(old[a, b])) > 0.1
    ],
    columns=["source", "target", "low", "high", "difference"],
).sort_values("difference", key=abs, ascending=False)
print(edges.round(2).to_string(index=False))

# %% [markdown]
# ## Decision

# %%
changed = edges[edges["difference"].abs() > 0.3]
if choice.settings["archetype"] > 1:
    told = ", ".join(f"{row.source} -> {row.target}" for row in changed.itertuples())
    print(f"The network changes with the context. Edges that change most with {covariates[0]}: {told}")
else:
    print("No evidence that the network changes with the context: report the network of all samples.")

# %% [markdown]
# In the simulated file TF1 -> G1 is replaced by TF2 -> G1 with age, and TF2 -> G3 changes its sign.
#
# ## Where to go next
#
# `gn.export(fit, "edges", "edges.tsv", by="group", group="tissue=liver")` writes the edges for each tissue. Intervals
# of networks need `order="given"` and `nuts`: chains over free orders rarely mix.
