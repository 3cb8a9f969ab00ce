"""The rows of a run as a picture: how far each one is from its goal.

Only here matplotlib may be missing: it is in the extra `refold[dev]`.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from textwrap import fill

from matplotlib.figure import Figure

from refold.scripts.measure.row import Result


def draw(results: Sequence[Result], title: str, path: Path) -> None:
    """Write a PNG with a bar for each row, best first, and a mark for each of its peers.

    The goal is 1, for times and sizes as well: a bar twice as long is twice as good.
    """
    ordered = sorted(results, key=_share)
    figure = Figure(figsize=(10, 1.5 + 0.28 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    for place, result in enumerate(ordered):
        share, ends = _share(result), sorted(map(result.row.goal.share, result.measured.values))
        error = [[share - ends[0]], [ends[-1] - share]]
        colour = "tab:green" if result.reached else "tab:red"
        axes.barh(place, share, xerr=error, color=colour, alpha=0.7)
        peers = [result.row.goal.share(value) for value in _peers(result)]
        axes.plot(peers, [place] * len(peers), "k|", markersize=9)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(ordered)), [result.row.name for result in ordered])
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xlabel("share of the goal; | is another library or tool")
    axes.set_title(fill(title, 90), fontsize=8)
    figure.savefig(path, dpi=120)


def _share(result: Result) -> float:
    return result.row.goal.share(result.value)


def _peers(result: Result) -> list[float]:
    return [median(values) for values in result.measured.peers.values()]
