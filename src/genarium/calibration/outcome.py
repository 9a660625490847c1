"""What a validation found."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from genarium.verdicts import Verdict, as_lines, as_plain


@dataclass(frozen=True)
class Outcome:
    """What a validation found, as data.

    Attributes
    ----------
    plan : dict
        What was asked for: model, method, options, sizes, seed.
    verdicts : tuple of Verdict
    quantities : dict of str to dict
        Of every ranked scalar: p-value of uniformity, coverage by level, direction of the error, bias, root mean
        square error.
    failures : dict
        How many replicates failed, why, and whether they share a region of the prior.
    simulations : int
        Replicates that were needed: fewer than asked for where the failure was clear before.
    tree : DataTree
        Ranks, PIT values, truths and estimates by replicate; group ``prior_sbc`` is what ArviZ expects.
    cpu_seconds : float
    """

    plan: dict[str, Any]
    verdicts: tuple[Verdict, ...]
    quantities: dict[str, dict[str, Any]]
    failures: dict[str, Any]
    simulations: int
    tree: xr.DataTree
    cpu_seconds: float

    @property
    def passed(self) -> bool:
        """Whether no verdict is "fail"."""
        return all(v.status != "fail" for v in self.verdicts)

    @property
    def calibrated(self) -> bool:
        """Whether ranks and coverage show no departure, whatever the method claims."""
        return not any(v.status != "pass" for v in self.verdicts if v.check.startswith(("ranks", "coverage")))

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, as the CLI prints with ``--json``."""
        return {
            **self.plan,
            "passed": self.passed,
            "simulations": self.simulations,
            "failures": self.failures,
            "cpu_seconds": self.cpu_seconds,
            "verdicts": as_plain(self.verdicts),
            "quantities": {
                name: {n: None if isinstance(v, float) and not np.isfinite(v) else v for n, v in told.items()}
                for name, told in self.quantities.items()
            },
        }

    def __str__(self) -> str:
        plan = self.plan
        wrong = f", deliberately wrong {', '.join(plan['wrong'])}" if plan["wrong"] else ""
        result = "passed" if self.passed else "FAILED"
        head = f"{plan['model']} by {plan['method']} (claim: {plan['claim']}), {self.simulations} replicates{wrong}"
        return "\n".join([f"{head}: {result}", *as_lines(self.verdicts)])
