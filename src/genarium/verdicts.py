"""Verdicts: what a check of a fit or of a calibration says, and what to do next."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Literal

import numpy as np

Status = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Verdict:
    """One check of a fit.

    Attributes
    ----------
    check : str
        What was checked.
    status : {"pass", "warn", "fail"}
        What was found: nothing wrong, something to look at, or a reason not to use the fit.
    value : float
        What was found (the worst one, where there are many).
    limit : str
        What it is held against.
    where : str
        The variable or observation that the value belongs to.
    advice : str
        What to do next; empty for a pass.
    """

    check: str
    status: Status
    value: float
    limit: str
    where: str = ""
    advice: str = ""

    @property
    def shown(self) -> str:
        """The value in four digits (a p-value in two), or as many as show on which side of its limit it lies."""
        limits = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", self.limit)]
        for digits in range(2 if self.limit.startswith("p ") else 4, 17):
            text = f"{self.value:.{digits}g}"
            if all(
                (self.value > one) == (float(text) > one) and (self.value < one) == (float(text) < one)
                for one in limits
            ):
                break
        return text


@dataclass(frozen=True)
class Diagnosis:
    """The verdicts on a fit.

    Attributes
    ----------
    model, method, claim : str
        Of the fit: its model, its method and what this claims.
    verdicts : tuple of Verdict
        The checks, in the order in which they are shown.
    found : tuple of str
        The numbers that a user came for, in words, where they are few.
    """

    model: str
    method: str
    claim: str
    verdicts: tuple[Verdict, ...]
    found: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no verdict is "fail"."""
        return all(v.status != "fail" for v in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, as the CLI prints with ``--json``."""
        return {
            "model": self.model,
            "method": self.method,
            "claim": self.claim,
            "passed": self.passed,
            "found": list(self.found),
            "verdicts": as_plain(self.verdicts),
        }

    def __str__(self) -> str:
        doubts = sum(v.status == "warn" for v in self.verdicts)
        said = "FAILED" if not self.passed else "passed"
        if self.passed and doubts:
            said += f" with reservations in {doubts} of {len(self.verdicts)} checks"
        head = f"{self.model} fitted by {self.method} (claim: {self.claim}): {said}"
        return "\n".join([head, *self.found, *as_lines(self.verdicts)])

    def _repr_html_(self) -> str:
        told = "".join(f"<p>{escape(line)}</p>" for line in self.found)
        return told + as_table(self.verdicts)


def as_table(verdicts: Sequence[Verdict]) -> str:
    """Lay verdicts out as an HTML table, for notebooks."""
    cells = "".join(
        f"<tr class='{v.status}'><td>{v.status}</td><td>{escape(v.check)}</td><td>{v.shown}</td>"
        f"<td>{escape(v.limit)}</td><td>{escape(v.where)}</td><td>{escape(v.advice)}</td></tr>"
        for v in verdicts
    )
    head = "".join(f"<th>{name}</th>" for name in ("status", "check", "value", "limit", "where", "what to do"))
    return f"<table class='verdicts'><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>"


def as_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """Lay verdicts out as lines of text, each with its advice below."""
    rows = [("", "check", "value", "limit", "where")]
    rows += [(v.status, v.check, v.shown, v.limit, v.where) for v in verdicts]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = []
    for row, one in zip(rows, (None, *verdicts), strict=True):
        lines.append("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
        if one is not None and one.advice:
            lines.append(f"{'':{widths[0]}}  -> {one.advice}")
    return lines


def as_plain(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return verdicts in plain types, ready for JSON."""
    return [{k: _plain(v) for k, v in asdict(one).items()} for one in verdicts]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def verdict(
    check: str, good: bool, value: float, limit: str, where: str, advice: str, otherwise: Status = "fail"
) -> Verdict:
    """Make a verdict; advice is kept only where the check is not passed."""
    return Verdict(check, "pass" if good else otherwise, float(value), limit, where, "" if good else advice)
