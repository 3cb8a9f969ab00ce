"""What a run came to, as one document and as a table for readers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

HEADER: Final = ("row", "median", "range", "goal", "reached", "others")
SIGNS: Final = {"at least": "≥", "at most": "≤"}

Document = Mapping[str, Any]


def markdown(document: Document) -> str:
    """Return the document of a run as a sentence and a table in Markdown."""
    cells = [HEADER, ("---",) * len(HEADER), *map(_cells, document["rows"])]
    table = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([f"{headline(document)}:", "", *table, ""])


def headline(document: Document) -> str:
    """Return when and where a run was, in one sentence."""
    machine, versions = document["machine"], document["versions"]
    place = machine["processor"] or machine["machine"]
    return (
        f"{document['date']}, {machine['cores']} cores of {place} ({machine['system']}),"
        f" Python {versions['python']}, SQLite {versions['sqlite']},"
        f" PostgreSQL {versions['postgresql'].split()[0]}, logs of {document['events']:,} events,"
        f" {document['seconds'] / 60:.0f} minutes"
    )


def _cells(row: Document) -> tuple[str, ...]:
    unit = "" if row["unit"] == "ratio" else f" {row['unit']}"
    goal = row["goal"]
    return (
        f"`{row['name']}`",
        f"{_number(row['median'])}{unit}",
        _range(row["range"]),
        f"{SIGNS[goal['kind']]} {_number(goal['value'])}{unit}",
        ("yes" if row["reached"] else "no") if row["correct"] else "WRONG",
        others(row["peers"]),
    )


def others(peers: Document) -> str:
    """Return the medians of peers, as ratios to the same reference."""
    return ", ".join(f"{name} {_number(each['median'])}" for name, each in peers.items())


def _range(ends: Sequence[float]) -> str:
    return " to ".join(map(_number, ends))


def _number(value: float) -> str:
    """Return three digits that tell something, of large numbers all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
