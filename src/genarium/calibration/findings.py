"""What the records of a validation say, quantity by quantity and on the whole."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from genarium.calibration import uniformity as test
from genarium.calibration.bounds import bounds
from genarium.calibration.plan import Plan
from genarium.calibration.replicate import Record
from genarium.declaration import Array

LEVEL = 0.9
"""Of the intervals whose coverage is judged."""


@dataclass(frozen=True)
class Findings:
    """Records as arrays; R replicates that gave a result, Q quantities.

    Attributes
    ----------
    plan : Plan
    records : sequence of dict
        All of them, failed ones too.
    """

    plan: Plan
    records: Sequence[Record] = field(repr=False)

    @cached_property
    def good(self) -> list[Record]:
        """Records of the replicates that gave a result."""
        return [r for r in self.records if "error" not in r]

    @cached_property
    def failed(self) -> list[Record]:
        """Records of the replicates that failed."""
        return [r for r in self.records if "error" in r]

    @cached_property
    def names(self) -> list[str]:
        """Names of the quantities."""
        return list(self.good[0]["names"]) if self.good else []

    def stack(self, key: str) -> Array:
        """One of truth, rank, pit, mean, sd; shape (R, Q), or (R, 0) where the method gives none."""
        rows = [r[key] for r in self.good if key in r]
        return np.array(rows, dtype=float).reshape(len(rows), -1 if rows else 0)

    @cached_property
    def pit(self) -> Array:
        """PIT values; shape (R, Q)."""
        return self.stack("pit")

    @property
    def ranked(self) -> bool:
        """Whether there are ranks (a point estimate has none)."""
        return self.pit.size > 0

    def statistic(self, name: str) -> Array:
        """Return a statistic of the runs that have it; shape (R',)."""
        values = [r["stats"][name] for r in self.good if r["stats"].get(name) is not None]
        return np.array(values, dtype=float)

    @cached_property
    def p(self) -> Array:
        """p-value of uniformity of each quantity."""
        return test.uniformity(self.pit)

    @cached_property
    def asymmetry(self) -> Array:
        """p-value of symmetry of each quantity (VSBC)."""
        return test.asymmetry_p(self.pit)

    def quantities(self) -> dict[str, dict[str, Any]]:
        """Return what was found of each quantity, ready for a certificate."""
        if not self.good:
            return {}
        truth, mean = self.stack("truth"), self.stack("mean")
        out: dict[str, dict[str, Any]] = {}
        rmse = np.sqrt(((mean - truth) ** 2).mean(0))
        spread = truth.std(0, ddof=1) if len(truth) > 1 else np.full(truth.shape[1], np.nan)
        for j, name in enumerate(self.names):
            out[name] = {"rmse": float(rmse[j]), "sd_of_truth": float(spread[j])}
        if not self.ranked:
            return out
        bias, width = test.bias_z(self.pit), test.width_z(self.pit)
        adjusted, sd = test.holm(self.p), self.stack("sd")
        R = len(self.pit)
        z = np.where(sd > 0, mean - truth, 0) / np.where(sd > 0, sd, 1)
        for j, name in enumerate(self.names):
            covered = {f"{level:g}": test.inside(self.pit, level)[j] / R for level in test.LEVELS}
            out[name] |= {
                "p": float(self.p[j]),
                "p_holm": float(adjusted[j]),
                "coverage": {level: float(share) for level, share in covered.items()},
                "bias_z": float(bias[j]),
                "width_z": float(width[j]),
                "direction": test.direction(bias[j], width[j]),
                "asymmetry_p": float(self.asymmetry[j]),
                "z_sd": float(z[:, j].std()),
            }
        for j, value in enumerate(self._autocorrelation()):
            out[self.names[j]]["autocorrelation"] = float(value)
        for name, compared in self.distances().items():
            out[name] |= compared
        return out

    def _autocorrelation(self) -> Array:
        rows = [r["stats"]["autocorrelation"] for r in self.good if "autocorrelation" in r["stats"]]
        return np.mean(rows, axis=0) if rows else np.empty(0)

    def distances(self) -> dict[str, dict[str, float]]:
        """Return how far means and sds are from the reference's, in units of its sd (medians over replicates)."""
        both = [r for r in self.good if "mean" in r.get("reference", {})]
        if not both:
            return {}
        exact = np.array([r["reference"]["mean"] for r in both]), np.array([r["reference"]["sd"] for r in both])
        Q = exact[0].shape[1]
        mean, sd = (np.array([r[key][:Q] for r in both]) for key in ("mean", "sd"))
        unit = np.where(exact[1] > 0, exact[1], 1)
        shift, ratio = (mean - exact[0]) / unit, sd / unit
        return {
            name: {
                "distance_in_sd": float(np.median(np.abs(shift[:, j]))),
                "shift_in_sd": float(np.median(shift[:, j])),
                "sd_ratio": float(np.median(ratio[:, j])),
            }
            for j, name in enumerate(self.names[:Q])
            if (exact[1][:, j] > 0).all()
        }

    def failures(self) -> dict[str, Any]:
        """Return how many replicates failed, why, whether they lie in one region, and what they could have changed."""
        reasons: dict[str, int] = {}
        for record in self.failed:
            reason = str(record["error"]).split("\n")[0][:160]
            if reason.startswith(("ApproximationError", "not converged")):
                reason = reason.split(":")[0]
            reasons[reason] = reasons.get(reason, 0) + 1
        return {
            "count": len(self.failed),
            "of": len(self.records),
            "reasons": reasons,
            "replicates": [int(r["index"]) for r in self.failed][:50],
            "region": self._region(),
            "bounds": self._bounds,
        }

    @cached_property
    def _bounds(self) -> dict[str, list[float]]:
        return bounds(self.pit, len(self.failed), LEVEL) if self.failed and self.ranked else {}

    def _region(self) -> str:
        """Say which feature of the truth sets failed replicates apart; "" for none."""
        from scipy.stats import mannwhitneyu

        failed = [record for record in self.failed if record["unknown"]]  # whose truth is known
        if len(failed) < 5 or len(self.good) < 5:
            return ""
        labels, p, up = [], [], []
        for name in failed[0]["unknown"]:
            for label, function in (("smallest", np.min), ("largest", np.max)):
                bad, fine = ([float(function(r["unknown"][name])) for r in rs] for rs in (failed, self.good))
                labels.append(f"{label} {name}" if np.size(failed[0]["unknown"][name]) > 1 else name)
                p.append(float(np.nan_to_num(mannwhitneyu(bad, fine).pvalue, nan=1.0)))  # NaN: it never varies
                up.append(np.median(bad) > np.median(fine))
        adjusted = test.holm(np.array(p))
        worst = int(np.argmin(adjusted))
        if adjusted[worst] > 0.01:
            return ""
        return f"where {labels[worst]} is {'large' if up[worst] else 'small'} (p = {adjusted[worst]:.1e})"

    def tree(self) -> xr.DataTree:
        """Return the results as a tree.

        Returns
        -------
        DataTree
            ``prior_sbc`` (or ``posterior_sbc``): ranks, with L in the attributes, in the layout of ArviZ's
            calibration plots, (chain, draw = replicate, ...); the same group with ``_pit``; ``truth``, ``estimate``,
            ``spread``; ``runs``: statistics of each run.
        """
        kind = "posterior_sbc" if self.plan.given is not None else "prior_sbc"
        index = [int(r["index"]) for r in self.good]
        groups = {
            "truth": self._labelled("truth", index),
            "estimate": self._labelled("mean", index),
        }
        if self.ranked:
            groups[kind] = self._labelled("rank", index).astype(int)
            groups[kind].attrs["L"] = self.plan.ranks
            groups[f"{kind}_pit"] = self._labelled("pit", index)
            groups["spread"] = self._labelled("sd", index)
        columns = {"failed": np.array(["error" in r for r in self.records])}
        columns["length"] = np.array([r.get("length", 1) for r in self.records])
        columns["cpu_seconds"] = np.array([r["cpu_seconds"] for r in self.records])
        for name in ("ess", "rhat", "khat", "divergences", "largest_fall", "gain_on_truth"):
            values = [r.get("stats", {}).get(name) for r in self.records]
            if any(v is not None for v in values):
                columns[name] = np.array([np.nan if v is None else v for v in values], dtype=float)
        every = [int(r["index"]) for r in self.records]
        groups["runs"] = xr.Dataset({n: ("replicate", v) for n, v in columns.items()}, {"replicate": every})
        return xr.DataTree.from_dict(groups)

    def _labelled(self, key: str, index: list[int]) -> xr.Dataset:
        """Put scalars back into the shape of their variable; dims (chain, draw, ...)."""
        values = self.stack(key)
        members: dict[str, list[int]] = {}
        for j, name in enumerate(self.names[: values.shape[1]]):
            members.setdefault(name.split("[")[0], []).append(j)
        out = {}
        for name, columns in members.items():
            last = self.names[columns[-1]]
            shape = [int(i) + 1 for i in last[len(name) + 1 : -1].split(", ")] if "[" in last else []
            dims = ["chain", "draw", *[f"{name}_dim_{i}" for i in range(len(shape))]]
            out[name] = (dims, values[None, :, columns].reshape(1, len(values), *shape))
        data = xr.Dataset(out)
        return data.assign_coords({d: index if d == "draw" else np.arange(n) for d, n in data.sizes.items()})
