"""A row of the measurements: what is compared with what, what it has to reach, what came out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any, Literal

from refold.scripts.measure.site import Site

Figure = int | float | str


@dataclass(frozen=True, slots=True)
class Goal:
    """What the median has to reach, and in which unit; `ratio` is refold's rate by the other's."""

    kind: Literal["at least", "at most"]
    value: float
    unit: str = "ratio"

    def reached(self, value: float) -> bool:
        """Tell whether `value` is good enough."""
        return value >= self.value if self.kind == "at least" else value <= self.value


@dataclass(slots=True)
class Measured:
    """One value a round, absolute figures beside it, and what of the results was wrong."""

    values: list[float] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """Something that is measured; `what` says it in one sentence, with the reference."""

    name: str
    what: str
    goal: Goal
    measure: Callable[[Site], Measured]


@dataclass(frozen=True, slots=True)
class Result:
    """What a row came to. A wrong result reaches no goal, however fast it was there."""

    row: Row
    measured: Measured

    @property
    def value(self) -> float:
        """Return the median over all rounds."""
        return median(self.measured.values)

    @property
    def correct(self) -> bool:
        """Tell whether refold's result was the reference's, or what it has to be."""
        return not self.measured.differences

    @property
    def reached(self) -> bool:
        """Tell whether the row reached its goal."""
        return self.correct and self.row.goal.reached(self.value)

    def document(self) -> dict[str, Any]:
        """Return the result as `--json` prints it."""
        values, goal = self.measured.values, self.row.goal
        return {
            "name": self.row.name,
            "what": self.row.what,
            "unit": goal.unit,
            "median": round(self.value, 3),
            "range": [round(min(values), 3), round(max(values), 3)],
            "rounds": len(values),
            "goal": {"kind": goal.kind, "value": goal.value},
            "reached": self.reached,
            "correct": self.correct,
            "differences": self.measured.differences,
            "figures": self.measured.figures,
        }


def paired(
    site: Site, ours: Callable[[], float], theirs: Callable[[], float], unit: str
) -> Measured:
    """Take the rate of both sides in each round, the other one first in every second round."""
    rates: list[tuple[float, float]] = []
    for number in range(site.rounds):
        site.progress("round", number, site.rounds)
        if number % 2:
            reference = theirs()
            rates.append((ours(), reference))
        else:
            rates.append((ours(), theirs()))
    site.progress("round", site.rounds, site.rounds)
    return Measured(
        [rate / reference for rate, reference in rates],
        {
            f"refold, {unit} a second": round(median(rate for rate, _ in rates)),
            f"reference, {unit} a second": round(median(reference for _, reference in rates)),
        },
    )


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` took."""
    started = perf_counter()
    work()
    return perf_counter() - started
