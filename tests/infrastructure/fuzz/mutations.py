"""What goes wrong with a file: bytes flipped, lost and doubled, other types, odd texts."""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from hypothesis import strategies as st

VALUES: Final = (
    *(b"null", b"true", b"[]", b"{}", b'""', b"0", b"-1", b"1.5", b"-0.0", b'" "', b'["a"]'),
    *(b"9223372036854775808", b"-9223372036854775809", b"1e400", b"1e-400", b"9" * 400),
    *(b'"\\u0000"', b'"a\\ud800"', b'"\xe2\x80\xa8"', b'"a/../b%~\\n"', b'"\xc7\x85\xef\xbc\xa1"'),
    *(b'"%s"' % (b"x" * 300), b'"%s"' % (b"x" * 9_000), b"[" * 60 + b"]" * 60, b"99999999999999"),
    *(
        b'{"$date":1}',
        b'{"$date":"x"}',
        b'{"$oid":[]}',
        b'{"$numberLong":"1e9"}',
        b'{"$deleted":1}',
    ),
    *(b'{"a":1,"a":2}', b'"0001-01-01T00:00:00Z"', b'"9999-12-31T23:59:60Z"', b'{"":{"":[{}]}}'),
)
"""JSON that nobody expects where it stands."""

ODD: Final = (
    *VALUES,
    *(
        b"NaN",
        b"-Infinity",
        b"9" * 5_000,
        b"0" * 20,
        b"1." + b"3" * 500,
        b"\0",
        b"\\",
        b"\n",
        b"\r",
    ),
    *(
        b'"\xff\xfe"',
        b'"\xed\xa0\x80"',
        b"[" * 3_000 + b"]" * 3_000,
        b"[" * 100_000,
        b'{"a":' * 2_000,
    ),
    *(b",", b":", b"}", b"]", b'"', b"\xef\xbb\xbf"),
)

WHOLE: Final = 1 << 16
"""Places in a file are told in parts of so many, whatever its length."""

_VALUE: Final = re.compile(rb'"(?:[^"\\]|\\.)*"(?!\s*:)|-?\d[\d.eE+-]*|true|false|null|\[\]|\{\}')
_MEMBER: Final = re.compile(
    rb'("(?:[^"\\]|\\.)*")\s*:\s*("(?:[^"\\]|\\.)*"|[\d.+-]+|true|false|null)'
)


class Step(NamedTuple):
    """One thing that goes wrong: what, where, and with which other place or odd value."""

    what: str
    at: int
    other: int
    odd: int


def damage() -> st.SearchStrategy[list[Step]]:
    """Return a few things that go wrong with the bytes of any file."""
    return _steps(*["flip"] * 5, "cut", "lose", "double", "splice", "insert")


def mistakes() -> st.SearchStrategy[list[Step]]:
    """Return a few things that are wrong in a text that still is JSON, if it was."""
    return _steps("value", "exchange", "key twice")


def anything() -> st.SearchStrategy[list[Step]]:
    """Return a few things that go wrong with a file of JSON: mistakes, or all there are."""
    return mistakes() | _steps(*_KINDS)


def _steps(*kinds: str) -> st.SearchStrategy[list[Step]]:
    place = st.integers(0, WHOLE - 1)
    odd = st.integers(0, len(ODD) - 1)
    step = st.builds(Step, st.sampled_from(kinds), place, place, odd)
    return st.lists(step, min_size=1, max_size=4)


def mutated(content: bytes, wrong: Sequence[Step]) -> bytes:
    """Return what is left of a content when all that has gone wrong."""
    for step in wrong:
        content = _KINDS[step.what](content, step)
    return content


def _place(content: bytes, at: int) -> int:
    return at * len(content) // WHOLE


def _flip(content: bytes, step: Step) -> bytes:
    at = _place(content, step.at)
    flipped = bytes(byte ^ (1 << step.other % 8) for byte in content[at : at + 1])
    return content[:at] + flipped + content[at + 1 :]


def _cut(content: bytes, step: Step) -> bytes:
    return content[: _place(content, step.at)]


def _lose(content: bytes, step: Step) -> bytes:
    at = _place(content, step.at)
    return content[:at] + content[at + 1 + step.other % 100 :]


def _double(content: bytes, step: Step) -> bytes:
    at = _place(content, step.at)
    return content[: at + 1 + step.other % 2_000] + content[at:]


def _splice(content: bytes, step: Step) -> bytes:
    at, other = _place(content, step.at), _place(content, step.other)
    return content[:at] + content[other : other + 1 + step.odd * 20] + content[at:]


def _insert(content: bytes, step: Step) -> bytes:
    at = _place(content, step.at)
    return content[:at] + ODD[step.odd] + content[at:]


def _value(content: bytes, step: Step) -> bytes:
    return _at_token(content, step, VALUES[step.odd % len(VALUES)])


def _exchange(content: bytes, step: Step) -> bytes:
    found = _VALUE.findall(content)
    return _at_token(content, step, found[step.other % len(found)]) if found else content


def _at_token(content: bytes, step: Step, value: bytes) -> bytes:
    spans = [found.span() for found in _VALUE.finditer(content)]
    if not spans:
        return content
    start, end = spans[step.at % len(spans)]
    return content[:start] + value + content[end:]


def _key_twice(content: bytes, step: Step) -> bytes:
    members = list(_MEMBER.finditer(content))
    if not members:
        return content
    member, other = (members[n % len(members)] for n in (step.at, step.other))
    value = VALUES[step.odd % len(VALUES)] if step.odd % 2 else other[2]
    twice = member[0] + b"," + member[1] + b":" + value
    return content[: member.start()] + twice + content[member.end() :]


def _lines(content: bytes, step: Step) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at, other = step.at % len(lines), step.other % len(lines)
    match step.odd % 3:
        case 0:
            lines.insert(other, lines[at])
        case 1:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            del lines[at]
    return b"".join(lines)


_KINDS: Final[dict[str, Callable[[bytes, Step], bytes]]] = {
    "flip": _flip,
    "cut": _cut,
    "lose": _lose,
    "double": _double,
    "splice": _splice,
    "insert": _insert,
    "value": _value,
    "exchange": _exchange,
    "key twice": _key_twice,
    "lines": _lines,
}
