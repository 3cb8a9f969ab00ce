"""What is sought of a person: texts that were sealed, and the forms in which they may stand."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from refold.domain import times, user
from refold.domain.texts import canonical_json
from refold.projections.columns import storable

NAME: Final = "user name"
EMAIL: Final = "e-mail"
PASSWORD: Final = "password hash"  # noqa: S105 - what it is called, not one
KEY: Final = "public key"
DEVICE: Final = "device"
SESSION: Final = "session"
OTHER: Final = "profile field"

FIELDS: Final[Mapping[str, str]] = {
    "username": NAME,
    "email": EMAIL,
    "displayName": "display name",
    "gitAccount": "git account",
    "oidcId": "oidc id",
    "pubkey": KEY,
}
"""What fields of a profile are called; others are OTHER."""

IN_THE_CLEAR: Final = frozenset({NAME, KEY, DEVICE})
"""What the log names people by, and never forgets: who acted, and by which key."""

IN_EVIDENCE: Final = frozenset({*FIELDS.values(), DEVICE})
"""What tells that a push is about somebody."""

NOWHERE: Final = frozenset({PASSWORD, SESSION})
"""What is not even evidence."""

LONG: Final = 6
"""Characters from which a text is sought anywhere; a shorter one only as a whole."""

IN_BYTES: Final = 8
"""Bytes from which a text is sought in files: shorter ones stand everywhere by chance."""

MOST: Final = 256
"""Characters of a long text that are sought, from its middle: beginnings look alike."""

LEAST_OF_SESSION: Final = 12
"""Characters from which a text within a session is sought."""

BORDER: Final = "\x1f"


class Value(NamedTuple):
    """A text that belongs to a person, and what it is."""

    what: str
    text: str

    def __repr__(self) -> str:
        return f"Value({self.what!r})"


def of_profile(profile: Mapping[str, Any]) -> Iterator[Value]:
    """Yield the texts of a profile that may tell who somebody is; times do not."""
    for field, value in profile.items():
        what = FIELDS.get(field, OTHER)
        yield from (Value(what, text) for text in texts(value))


def of_key(record: user.Record) -> Iterator[Value]:
    """Yield the texts of a public key: itself, without its comment, and its fingerprints."""
    found = [*texts(record), *user.fingerprints(record), *str(record["key"]).split()[1:2]]
    return (Value(KEY, text) for text in found)


def of_device(id: str, record: user.Record) -> Iterator[Value]:
    """Yield the texts of a device."""
    return (Value(DEVICE, text) for text in (id, *texts(record)))


def of_session(body: str) -> Iterator[Value]:
    """Yield the body of a session, and the long texts in it."""
    if body:
        yield Value(SESSION, body)
    for text in re.findall(r'"((?:[^"\\]|\\.)*)"', body):
        if len(text) >= LEAST_OF_SESSION and not _is_time(text):
            yield Value(SESSION, text)


def texts(value: object) -> Iterator[str]:
    """Yield the texts in a JSON value, but for single characters and times."""
    match value:
        case str():
            if len(value.strip()) > 1 and not _is_time(value):
                yield value
        case Mapping():
            for inner in value.values():
                yield from texts(inner)
        case list() | tuple():
            for inner in value:
                yield from texts(inner)


def _is_time(text: str) -> bool:
    try:
        times.instant(text)
    except times.NotATime:
        return False
    return True


class Seeker:
    """Tells which of some values stand in texts, whatever their case, as they are or in JSON.

    What is the same text as a user name counts as that, which stays where the log has it.
    """

    def __init__(self, values: Collection[Value]) -> None:
        names = {value.text.lower() for value in values if value.what == NAME}
        self.values: Sequence[Value] = sorted(
            {value for value in values if value.what == NAME or value.text.lower() not in names}
        )
        self._forms = [(value, _forms(value.text.lower())) for value in self.values]

    def find(self, found_in: Iterable[str]) -> frozenset[Value]:
        """Return the values that stand in any of those texts."""
        joined = BORDER.join(found_in).lower()
        return frozenset(
            value
            for value, forms in self._forms
            if any(form in joined and _counts(form, joined) for form in forms)
        )

    def find_in_bytes(self, data: "Bytes") -> frozenset[Value]:
        """Return the values that stand in a file, among those that are long enough for that."""
        found = set()
        for value in self.values:
            texts_of_it = _forms(value.text) | _forms(value.text.lower())
            forms = [form.encode("utf-8", "surrogatepass") for form in texts_of_it]
            if min(map(len, forms)) >= IN_BYTES and any(data.find(form) >= 0 for form in forms):
                found.add(value)
        return frozenset(found)

    def counts(self) -> dict[str, int]:
        """Return how many values of each sort there are."""
        return dict(sorted(Counter(value.what for value in self.values).items()))


class Bytes(Protocol):
    """A file that is looked into as a whole."""

    def find(self, sub: bytes, /) -> int:
        """Return where `sub` begins first, -1 when it is nowhere."""
        ...


def _forms(text: str) -> set[str]:
    return {_middle(text), _middle(storable(text)), _middle(canonical_json(text)[1:-1])}


def _counts(form: str, joined: str) -> bool:
    """Tell whether a form that is there is one: a short one is a whole cell, or text in JSON."""
    if len(form) >= LONG:
        return True
    whole = rf'(?<![^"{BORDER}]){re.escape(form)}(?![^"{BORDER}])'
    return re.search(whole, joined) is not None


def _middle(text: str) -> str:
    """Return what is sought of a text."""
    if len(text) <= MOST:
        return text
    start = (len(text) - MOST) // 2
    return text[start : start + MOST]
