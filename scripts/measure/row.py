"""A row of the measurements: what is compared with what, what it has to reach, what came out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from statistics import median
from time import perf_counter
from typing import Any, Final, Literal, NamedTuple

from refold.domain.errors import Unavailable
from refold.scripts.measure.site import Site

Figure = int | float | str

PEER_SECONDS: Final = 10.0
"""What a peer may take of a row: a slow one has fewer rounds than refold, and at least one."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What the median has to reach, and in which unit; `ratio` is refold's rate by the other's."""

    kind: Literal["at least", "at most"]
    value: float
    unit: str = "ratio"

    def reached(self, value: float) -> bool:
        """Tell whether `value` is good enough."""
        return self.share(value) >= 1

    def share(self, value: float) -> float:
        """Return how far `value` comes: 1 is the goal itself, and more is better."""
        return value / self.value if self.kind == "at least" else self.value / value


@dataclass(slots=True)
class Measured:
    """One value a round, absolute figures beside it, and what of the results was wrong.

    `peers` are others that do the same work: their values by their names.
    """

    values: list[float] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    peers: dict[str, list[float]] = field(default_factory=dict)


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
    seconds: float = 0.0
    """How long it took to measure, preparations included."""

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
            "peers": {name: _summary(theirs) for name, theirs in self.measured.peers.items()},
            "goal": {"kind": goal.kind, "value": goal.value},
            "reached": self.reached,
            "correct": self.correct,
            "differences": self.measured.differences,
            "figures": self.measured.figures,
            "seconds": round(self.seconds, 1),
        }


def _summary(values: list[float]) -> dict[str, Any]:
    return {
        "median": round(median(values), 3),
        "range": [round(min(values), 3), round(max(values), 3)],
        "rounds": len(values),
    }


# --- in turn ----------------------------------------------------------------------


class Peer(NamedTuple):
    """Another that does the same work: its rate, and what of its results was wrong in the end."""

    rate: Callable[[], float]
    differences: Callable[[], list[str]] = list


Peers = Mapping[str, Peer]


def paired(
    site: Site,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    unit: str,
    peers: Peers | None = None,
) -> Measured:
    """Take the rates of all sides in each round, in the opposite order in every second one.

    A peer that cannot do the work stands among the figures, with the reason.
    """
    peers = peers or {}
    sides = {"refold": ours, "reference": theirs} | {each: peers[each].rate for each in peers}
    measured = Measured()
    taken = dict.fromkeys(sides, 0.0)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(site.rounds):
        site.progress("round", number, site.rounds)
        turn = [name for name in sides if name not in peers or taken[name] <= PEER_SECONDS]
        for name in reversed(turn) if number % 2 else turn:
            started = perf_counter()
            try:
                rates[name].append(sides[name]())
            except Unavailable as error:
                if name not in peers:
                    raise
                measured.figures[name] = str(error)
                taken[name] = inf
            taken[name] += perf_counter() - started
    site.progress("round", site.rounds, site.rounds)
    _compare(measured, rates, peers, unit)
    return measured


def _compare(measured: Measured, rates: Mapping[str, list[float]], peers: Peers, unit: str) -> None:
    """Divide the rates of each round by the reference's; a peer may lack the last rounds."""
    for name, each in rates.items():
        if not each or name in measured.figures:
            continue
        ratios = [rate / other for rate, other in zip(each, rates["reference"], strict=False)]
        measured.figures[f"{name}, {unit} a second"] = round(median(each))
        if name in peers:
            measured.peers[name] = ratios
            measured.differences += [f"{name}: {wrong}" for wrong in peers[name].differences()]
        elif name == "refold":
            measured.values = ratios


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` took."""
    started = perf_counter()
    work()
    return perf_counter() - started
