"""What a validation found."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import xarray as xr

from genarium.calibration.power import detectable
from genarium.certificates import told_power
from genarium.verdicts import Verdict, as_lines, as_plain, as_table

TELLING = 0.5
"""Shift of a mean, in posterior sds, that a validation has to see before it may say that a method passed."""


@dataclass(frozen=True, repr=False)
class Outcome:
    """What a validation found, as data.

    Attributes
    ----------
    plan : dict
        What was asked for: model, method, options, sizes, seed.
    verdicts : tuple of Verdict
        The checks, in the order in which they are shown.
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
        CPU time of all replicates.
    level : float
        Largest p-value of uniform ranks, adjusted for their number, that is a departure.
    ranked : int
        Quantities whose ranks are judged.
    """

    plan: dict[str, Any]
    verdicts: tuple[Verdict, ...]
    quantities: dict[str, dict[str, Any]]
    failures: dict[str, Any]
    simulations: int
    tree: xr.DataTree
    cpu_seconds: float
    level: float = 0.01
    ranked: int = 0

    @property
    def power(self) -> dict[str, float]:
        """Smallest errors that so many replicates see in four of five cases; see :func:`detectable`."""
        good = self.failures["of"] - self.failures["count"]
        return detectable(good, self.ranked, int(self.plan["ranks"]), self.level) if self.ranked and good else {}

    @property
    def telling(self) -> bool:
        """Whether a mean that is off by half a posterior sd would be seen; of what is not ranked, True."""
        return not self.power or self.power["shift"] <= TELLING

    @property
    def lengths(self) -> dict[str, float]:
        """How many times longer than asked for chains were run until their draws sufficed: quantiles over replicates.

        ``median``, ``nine_in_ten`` and ``longest``; empty for a method without chains.
        """
        if self.plan["claim"] != "exact":
            return {}
        length = self.tree["runs"]["length"].to_numpy()
        names = {"median": 0.5, "nine_in_ten": 0.9, "longest": 1.0}
        return {name: float(np.quantile(length, q, method="inverted_cdf")) for name, q in names.items()}

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
            "lengths": self.lengths,
            "power": {name: _plain(value) for name, value in self.power.items()},
            "verdicts": as_plain(self.verdicts),
            "quantities": {name: {n: _plain(v) for n, v in told.items()} for name, told in self.quantities.items()},
        }

    def __str__(self) -> str:
        return "\n".join(
            [self._said, *as_lines(self.verdicts), *filter(None, [told_lengths(self.lengths), told_power(self.power)])]
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._said}>"

    def _repr_html_(self) -> str:
        power = f"<p>{escape(told_power(self.power))}</p>"
        return f"<p><strong>{escape(self._said)}</strong></p>{as_table(self.verdicts)}{power}"

    @property
    def _said(self) -> str:
        """The result in a line."""
        plan = self.plan
        wrong = f", deliberately wrong {', '.join(plan['wrong'])}" if plan["wrong"] else ""
        fine = "passed" if self.telling else "nothing found, but these are too few replicates to tell"
        result = fine if self.passed else "FAILED"
        head = f"{plan['model']} by {plan['method']} (claim: {plan['claim']}), {self.simulations} replicates{wrong}"
        return f"{head}: {result}"


def told_lengths(lengths: Mapping[str, float]) -> str:
    """Say how long chains had to be: "" for a method without chains."""
    if not lengths:
        return ""
    if lengths["longest"] == 1:
        return "Chains of the lengths asked for sufficed in every replicate."
    return (
        "Chains whose draws did not suffice were run longer. In multiples of the lengths asked for: median "
        f"{lengths['median']:g}, 90th percentile {lengths['nine_in_ten']:g}, largest {lengths['longest']:g}."
    )


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
