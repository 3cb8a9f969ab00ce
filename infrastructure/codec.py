"""Values to bytes and back: stored names, schema numbers, upcasts and canonical JSON.

The bytes are written once and never again: keys sorted, UTF-8, no white space, no NaN.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from typing import Any, Final, get_origin, get_type_hints

import orjson

from refold.domain import file, push, removal_vote, session, streams, tag_vote
from refold.domain.errors import Refused, Undecodable, UnknownType
from refold.domain.ports import Event, NewEvent, Recorded
from refold.domain.sealing import MARK, PERSONAL, Erased, Sealed, marks
from refold.domain.texts import LONE_SURROGATE, canonical_json

DEEPEST: Final = 64
"""Levels of nesting that a document may have."""

Json = dict[str, Any]
Upcast = Callable[[Json], Json]
Opener = Callable[[Sealed], str | Erased]


class NotStorable(Refused):
    """A value has no canonical JSON: NaN, an infinity, or more than 64 levels of nesting."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an imported event came from: the source's name, the 1-based line, the record's hash."""

    source: str
    line: int
    hash: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is kept about an event beside its data; `occurred_at` is the original text."""

    actor: str
    occurred_at: str | None = None
    cause: str | None = None
    origin: Origin | None = None


class Codec:
    """Turns values into bytes and records into values, by names that are stored for ever."""

    def __init__(
        self,
        stored_names: Mapping[str, type],
        upcasts: Mapping[tuple[str, int], Upcast] | None = None,
    ) -> None:
        """`upcasts[type, n]` turns stored data of schema n into that of n + 1; they start at 1."""
        self._upcasts = upcasts or {}
        self._schemas = {
            name: 1 + sum(1 for type, _ in self._upcasts if type == name) for name in stored_names
        }
        self._names = {cls: name for name, cls in stored_names.items()}
        self._builders = {name: _builder(cls) for name, cls in stored_names.items()}
        self._marks = {name: found for name, cls in stored_names.items() if (found := marks(cls))}
        self._with_blobs = {
            name
            for name, cls in stored_names.items()
            if any(field.name == "blobs" for field in fields(cls))
        }
        self._open: Opener | None = None

    def opening(self, opener: Opener) -> "Codec":
        """Return this codec, but one that opens personal fields as it reads."""
        other = copy(self)
        other._open = opener
        return other

    def encode(self, value: object, metadata: bytes) -> NewEvent:
        """Return `value` as a new event of its newest schema. Raises `NotStorable`.

        Marked fields have to be sealed.
        """
        name = self._names[type(value)]
        for field in self._marks.get(name, ()):
            if isinstance(getattr(value, field), str):
                raise NotStorable(f"field {field} of {name} is to be sealed")
        return NewEvent(name, self._schemas[name], canonical(_plain(value)), metadata)

    def decode(self, recorded: Recorded) -> Event:
        """Return the event that `recorded` means. Raises `UnknownType` or `Undecodable`."""
        known = self._schemas.get(recorded.type, 0)
        if not 1 <= recorded.schema <= known:
            raise UnknownType(recorded.type, recorded.schema)
        try:
            data = parse(recorded.data)
            for schema in range(recorded.schema, known):
                data = self._upcasts[recorded.type, schema](data)
            if recorded.type in self._marks:
                self._unpack(recorded, data)
            return Event(recorded, self._builders[recorded.type](data))
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            raise Undecodable(recorded.position, recorded.type, str(error)) from error

    def blobs(self, recorded: Recorded) -> Iterable[str]:
        """Return the SHA-256 of each blob that an event of a known type refers to."""
        if recorded.type not in self._with_blobs:
            return ()
        referred: Json = parse(recorded.data)["blobs"]
        return referred.values()

    def _unpack(self, recorded: Recorded, data: Json) -> None:
        """Put what is sealed in the place of its JSON; personal fields are opened."""
        for name, mark in self._marks[recorded.type].items():
            if data.get(name) is not None:
                place = (recorded.stream, recorded.command_id, recorded.command_no, name)
                sealed = Sealed(data["subject"], place, data[name][MARK])
                to_open = self._open if mark == PERSONAL[MARK] else None
                data[name] = to_open(sealed) if to_open else sealed

    def decode_kinds(
        self, records: Iterable[Recorded], kinds: frozenset[str]
    ) -> Iterator[tuple[str, Event]]:
        """Yield the events of streams of those kinds, each with its kind. Raises as `decode`."""
        for recorded in records:
            if (kind := streams.kind(recorded.stream)) in kinds:
                yield kind, self.decode(recorded)


def encode_metadata(metadata: Metadata) -> bytes:
    """Return `metadata` as canonical JSON without what is absent; `origin` is called import."""
    named: Json = {
        "actor": metadata.actor,
        "occurred_at": metadata.occurred_at,
        "cause": metadata.cause,
        "import": _plain(metadata.origin) if metadata.origin else None,
    }
    return canonical({name: value for name, value in named.items() if value is not None})


def decode_metadata(data: bytes) -> Metadata:
    """Return the metadata in `data`; what a newer refold may have added is passed over."""
    named = parse(data)
    origin = named.get("import")
    return Metadata(
        actor=named.get("actor", ""),
        occurred_at=named.get("occurred_at"),
        cause=named.get("cause"),
        origin=Origin(**origin) if origin else None,
    )


# --- canonical JSON ---------------------------------------------------------------


def canonical(value: object) -> bytes:
    """Return the one JSON text of `value`, as UTF-8. Raises `NotStorable`.

    Lone surrogates stand as escapes, integers of any size as digits.
    """
    if _is_flat(value) or not _needs_exact(value):
        try:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        except TypeError:
            _needs_exact(value)  # a flat one that orjson cannot carry may have no JSON at all
    return canonical_json(value).encode()


def parse(data: bytes) -> Any:
    """Return the value of a JSON text, exactly: orjson would make big integers floats."""
    if not _LONG_DIGITS.search(data):
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass  # a lone surrogate, which only the exact reader takes
    return json.loads(data, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_LONG_DIGITS: Final = re.compile(rb"[0-9]{19}")


def _is_flat(value: object) -> bool:
    """Tell whether `value` is an object without floats and without anything nested in it."""
    return isinstance(value, dict) and _SCALARS.issuperset(map(type, value.values()))


_SCALARS: Final = frozenset({str, int, bool, type(None)})


def _needs_exact(value: object, depth: int = 1) -> bool:
    """Tell whether orjson cannot carry `value`; floats go the exact way, to look one way only."""
    if depth > DEEPEST:
        raise NotStorable(f"a document is nested deeper than {DEEPEST} levels")
    match value:
        case None | bool():
            return False
        case str():
            return not value.isascii() and LONE_SURROGATE.search(value) is not None
        case int():
            return not -(2**63) <= value < 2**63
        case float():
            if not isfinite(value):
                raise NotStorable(f"the number {value} has no JSON")
            return True
        case dict():
            if not all(isinstance(key, str) for key in value):
                raise NotStorable("a key of a document is not a text")
            return _any_needs_exact(value, depth) | _any_needs_exact(value.values(), depth + 1)
        case list() | tuple():
            return _any_needs_exact(value, depth + 1)
        case _:
            raise NotStorable(f"a value of type {type(value).__name__} has no JSON")


def _any_needs_exact(values: Iterable[object], depth: int) -> bool:
    """Look at all of `values`, because any of them may have no JSON."""
    found = False
    for value in values:
        found |= _needs_exact(value, depth)
    return found


# --- dataclasses ------------------------------------------------------------------


def _plain(value: Any) -> Json:
    """Return a dataclass as a dict, nested ones included."""
    if isinstance(value, Sealed):
        return {MARK: value.box}  # its subject and place are the event's
    return {
        name: inner if type(inner) in _SCALARS or not is_dataclass(inner) else _plain(inner)
        for name in value.__dataclass_fields__
        for inner in [getattr(value, name)]
    }


def _builder(cls: type) -> Callable[[Json], Any]:
    """Return what makes a `cls` of its JSON; tuples and nested dataclasses are made again."""
    hints = get_type_hints(cls)
    makers: dict[str, Callable[[Any], Any]] = {}
    for each in fields(cls):
        hint = hints[each.name]
        if is_dataclass(hint) and isinstance(hint, type):
            makers[each.name] = _builder(hint)
        elif get_origin(hint) is tuple:
            makers[each.name] = tuple

    def build(data: Json) -> Any:
        for name, make in makers.items():
            if name in data:
                data[name] = make(data[name])
        return cls(**data)

    return build


EVENTS: Final = Codec(
    {
        **file.STORED_NAMES,
        **tag_vote.STORED_NAMES,
        **removal_vote.STORED_NAMES,
        **session.STORED_NAMES,
        **push.STORED_NAMES,
    }
)
"""The codec of all events that refold knows."""
