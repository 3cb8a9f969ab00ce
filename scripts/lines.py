"""Lines for people: at most 80 columns, unless a value by itself has more."""

import textwrap
from collections.abc import Sequence
from typing import Final

from refold.domain.positions import Positions
from refold.infrastructure.folding.parked import Waiting
from refold.scripts import output

WIDTH: Final = 80

_DEEPER: Final = "  "


def prose(text: str, indent: str = "") -> str:
    """Return a sentence, broken between words; lines behind the first are indented deeper.

    What does not print is escaped.
    """
    return textwrap.fill(
        output.shown(text.split()),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + 2 * _DEEPER,
        break_long_words=False,
        break_on_hyphens=False,
    )


def parts(*parts: str, indent: str = "") -> str:
    """Return parts on one line where they fit, or else each on its own, those behind deeper."""
    line = indent + " ".join(parts)
    if len(line) <= WIDTH:
        return line
    return indent + f"\n{indent}{_DEEPER}".join(parts)


def waiting(table: str, found: Waiting, positions: Positions) -> str:
    """Return which rows of a table are parked, why and since when, and what folds them again.

    The table stands at `positions`.
    """
    said = [prose(f"{table}: {rows(found.total)} parked; once mended: refold retry {table}")]
    for row in found.first:
        said.append(f"{_DEEPER}{output.shown(row.key)}")
        where = positions.named(row.partition, row.position)
        said.append(prose(f"at event {where}, since {row.since}: {row.error}", 2 * _DEEPER))
    if found.total > len(found.first):
        said.append(f"{_DEEPER}and {found.total - len(found.first)} more")
    return "\n".join(said)


def not_up_to_date(table: str, count: int) -> str:
    """Return how many rows of a table are parked, for who listed some of them."""
    verb = "is" if count == 1 else "are"
    return f"parked: {rows(count)} of {table} {verb} not up to date; see refold status"


def rows(count: int) -> str:
    """Return how many rows there are, in words."""
    return "1 row" if count == 1 else f"{count} rows"


# --- cells ------------------------------------------------------------------------

LONGEST: Final = 48
"""Characters of a cell that are shown; `--json` has them all."""

_BEFORE: Final = 16


def listed(first: str, cells: Sequence[Sequence[str]], indent: str = "") -> str:
    """Return cells behind what has them, on one line where they fit, or else each on its own.

    A cell comes in the `parts` that it may be broken into.
    """
    line = f"{indent}{first} {', '.join(' '.join(each) for each in cells)}".rstrip()
    if len(line) <= WIDTH:
        return line
    below = (parts(*each, indent=indent + _DEEPER) for each in cells)
    return "\n".join([indent + first, *below])


def changed(name: str, before: object, after: object) -> Sequence[str]:
    """Return the parts of a cell that has changed."""
    was, now = texts(before, after)
    return f"{name}: {was}", f"-> {now}"


def texts(one: object, other: object) -> tuple[str, str]:
    """Return two cells as a person sees them: long ones from where they begin to differ."""
    shown = repr(one), repr(other)
    same = next(
        (n for n, (a, b) in enumerate(zip(*shown, strict=False)) if a != b), min(map(len, shown))
    )
    first = max(0, same - _BEFORE) if max(map(len, shown)) > LONGEST else 0
    return _cut(shown[0], first), _cut(shown[1], first)


def _cut(text: str, first: int) -> str:
    if len(text) <= LONGEST:
        return text
    last = first + LONGEST
    return f"{'…' if first else ''}{text[first:last]}{'…' if last < len(text) else ''}"
