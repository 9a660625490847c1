"""What came of all cases, as a table, and failures by their likely cause."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from validation.fuzz.trial import FAILURES, KINDS, Outcome


@dataclass
class Tally:
    """Counts, and an example of each distinct failure.

    Attributes
    ----------
    counts : counter of (str, str)
        By what a case was about, and what came of it.
    groups : dict of (str, str) to list of Outcome
        Failures by kind and likely cause: the first of each.
    sizes : counter of (str, str)
        How many there are of each.
    unnamed : dict of str to Outcome
        Errors that name no file: the first of each place that raises them.
    seconds : float
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    groups: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    sizes: Counter[tuple[str, str]] = field(default_factory=Counter)
    unnamed: dict[str, Outcome] = field(default_factory=dict)
    unnamed_sizes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.counts[outcome.what, outcome.kind] += 1
        if outcome.kind in FAILURES:
            key = (outcome.kind, outcome.group)
            self.sizes[key] += 1
            self.groups.setdefault(key, outcome)
        if outcome.unnamed:
            self.counts[outcome.what, "unnamed"] += 1
            self.unnamed_sizes[outcome.group] += 1
            self.unnamed.setdefault(outcome.group, outcome)

    @property
    def failed(self) -> bool:
        """Whether there is a failure."""
        return bool(self.groups)

    def examples(self) -> Iterator[Outcome]:
        """Return an example of each distinct failure, the frequent ones first."""
        return (self.groups[key] for key, _ in self.sizes.most_common())

    def text(self) -> str:
        """Return the table, and the distinct failures."""
        heads = ("cases", *KINDS, "unnamed")
        rows: list[tuple[str, ...]] = [("", *heads)]
        for what in [*sorted({what for what, _ in self.counts}), "all"]:
            own = [
                sum(n for (w, k), n in self.counts.items() if k == kind and what in (w, "all")) for kind in heads[1:]
            ]
            rows.append((what, str(sum(own[:-1])), *map(str, own)))
        widths = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.ljust(w) if j == 0 else cell.rjust(w) for j, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        lines.append(f"{self.seconds:.0f} s")
        for key, size in self.sizes.most_common():
            one = self.groups[key]
            lines.append(
                f"{one.kind} x {size}: {one.group}  [{one.what}, case {one.number}]\n    {one.message[-300:]!r}"
            )
        for place, size in self.unnamed_sizes.most_common():
            one = self.unnamed[place]
            lines.append(f"no file named x {size}: {place}  [{one.what}, case {one.number}]\n    {one.message[:200]!r}")
        return "\n".join(lines)
