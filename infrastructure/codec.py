"""Values to bytes and back: stored names, schema numbers, upcasts and canonical JSON.

The bytes are written once and never again: keys sorted, UTF-8, no white space, no NaN.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import partial
from math import isfinite
from typing import Any, Final, NamedTuple, get_args, get_type_hints

import msgspec

from refold.domain import (
    attachment,
    file,
    media,
    migration,
    push,
    removal_vote,
    repo,
    session,
    streams,
    tag_vote,
    user,
)
from refold.domain.errors import Refused, Undecodable, UnknownType
from refold.domain.ports import Event, History, NewEvent, Past, Recorded
from refold.domain.positions import Positions
from refold.domain.sealing import MARK, PERSONAL, Erased, Sealed, marks
from refold.domain.texts import canonical_json, check_word
from refold.infrastructure import originators
from refold.infrastructure.limits import PAYLOAD_BYTES, PayloadTooLarge

DEEPEST: Final = 64
"""Levels of nesting that a document may have."""

MOST_DIGITS: Final = 4_300
"""Digits of an integer that Python's own reader takes."""

Json = dict[str, Any]
Upcast = Callable[[Json], Json]
Opener = Callable[[Iterable[Sealed]], Iterable[str | Erased]]

_WRONG: Final = (TypeError, ValueError, KeyError, AttributeError, RecursionError)
"""What data raise that are not what their type says."""


class _Entry(NamedTuple):
    """An event of a stream's history; the fields are those of `Recorded`."""

    type: str
    schema: int
    data: bytes
    position: int
    command_id: str
    command_no: int
    stream: str


Stored = Recorded | _Entry
_past = partial(tuple.__new__, Past)  # `Past._make` in two thirds of the time


class Written(dict[str, Any]):
    """A document for a field of an event, with its canonical JSON. Change nothing in it."""

    def __init__(self, document: Json, text: bytes) -> None:
        super().__init__(document)
        self.text = text


class NotStorable(Refused):
    """A value has no canonical JSON: NaN, an infinity, too many digits or levels of nesting."""


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
        self._forms = {name: _Form(cls) for name, cls in stored_names.items()}
        self._newest = {(name, self._schemas[name]): form for name, form in self._forms.items()}
        self._readers = {key: form.readers for key, form in self._newest.items() if form.readers}
        self._personal = {
            name: [field for field, mark in form.marks.items() if mark == PERSONAL[MARK]]
            for name, form in self._forms.items()
            if form.marks
        }
        self._referring = self._with_field("blobs")
        self._removing = self._with_field("removed_blobs")
        self._open: Opener | None = None
        self._most = PAYLOAD_BYTES

    def _with_field(self, field: str) -> frozenset[str]:
        """Return the types of events that have a field of that name."""
        return frozenset(name for name, form in self._forms.items() if field in form.fields)

    def opening(self, opener: Opener, most: int = PAYLOAD_BYTES) -> "Codec":
        """Return this codec, but one that opens personal fields as it reads: many at once.

        An event that it writes has at most so many bytes, with its metadata.
        """
        other = copy(self)
        other._open, other._most = opener, most
        return other

    def encode(self, value: object, metadata: bytes) -> NewEvent:
        """Return `value` as a new event of its newest schema; it will be decoded again.

        Marked fields have to be sealed. Raises `NotStorable` and `PayloadTooLarge`.
        """
        name = self._names[type(value)]
        data = self._forms[name].write(value)
        size = len(data) + len(metadata)
        if size > self._most:
            raise PayloadTooLarge(name, size, self._most)
        return NewEvent(name, self._schemas[name], data, metadata)

    def decode(self, recorded: Recorded) -> Event:
        """Return the event that `recorded` means. Raises `UnknownType` or `Undecodable`."""
        return self.decode_all([recorded])[0]

    def decode_all(self, records: Iterable[Recorded]) -> list[Event]:
        """Return what `records` mean, in order. Raises as `decode`."""
        kept = list(records)
        types, schemas = [each.type for each in kept], [each.schema for each in kept]
        datas = [each.data for each in kept]
        return list(map(Event, kept, self._values(types, schemas, datas, kept.__getitem__)))

    def decode_history(self, stream: str, history: History) -> list[Past]:
        """Return what the history of a stream means, in order. Raises as `decode`."""

        def stored(number: int) -> _Entry:
            return _Entry._make((*(column[number] for column in history), stream))

        values = self._values(history.types, history.schemas, history.datas, stored)
        rows = zip(values, history.positions, history.command_ids, strict=True)
        return list(map(_past, rows))

    def decode_kinds(
        self, records: Iterable[Recorded], kinds: frozenset[str]
    ) -> list[tuple[str, Event]]:
        """Return the events of streams of those kinds, each with its kind. Raises as `decode`."""
        found: list[str] = []
        wanted: list[Recorded] = []
        for record in records:
            if (kind := streams.kind(record.stream)) in kinds:
                found.append(kind)
                wanted.append(record)
        return list(zip(found, self.decode_all(wanted), strict=True))

    def _values(
        self,
        types: Sequence[str],
        schemas: Sequence[int],
        datas: Sequence[bytes],
        stored: Callable[[int], Stored],
    ) -> list[Any]:
        """Return the values of events, each of which `stored` gives whole, by its number from 0."""
        readers = self._readers
        values: list[Any] = []
        for key, data in zip(zip(types, schemas, strict=True), datas, strict=True):
            try:
                check, read = readers[key]
                check(data)
                values.append(read(data))
            except _WRONG:  # sealed, old or odd: the exact way decides
                values.append(self._value(stored(len(values))))
        if self._open and not self._personal.keys().isdisjoint(types):
            self._open_personal(self._open, types, values)
        return values

    def _value(self, recorded: Stored) -> object:
        """Return the value of any event. Raises as `decode`."""
        form = self._newest.get((recorded.type, recorded.schema))
        try:
            return form.read(recorded) if form else self._read_older(recorded)
        except _WRONG as error:
            raise Undecodable(recorded.position, recorded.type, str(error)) from error

    def _open_personal(self, opener: Opener, types: Sequence[str], values: list[Any]) -> None:
        """Open the personal fields of `values`, all at once."""
        boxes = [
            (number, name, box)
            for number, type in enumerate(types)
            for name in self._personal.get(type, ())
            if isinstance(box := getattr(values[number], name), Sealed)
        ]
        texts = opener(box for *_, box in boxes)
        for (number, name, _), text in zip(boxes, texts, strict=True):
            values[number] = replace(values[number], **{name: text})

    def _read_older(self, recorded: Stored) -> object:
        newest = self._schemas.get(recorded.type, 0)
        if not 1 <= recorded.schema < newest:
            raise UnknownType(recorded.position, recorded.type, recorded.schema)
        data = parse(recorded.data)
        for schema in range(recorded.schema, newest):
            data = self._upcasts[recorded.type, schema](data)
        return self._forms[recorded.type].make(data, recorded)

    def blobs(self, recorded: Recorded) -> Iterable[str]:
        """Return the SHA-256 of each blob that an event of a known type refers to."""
        if not self._is_own(recorded, self._referring):
            return ()
        referred: Json = parse(recorded.data)["blobs"]
        return referred.values()

    def removed_blobs(self, recorded: Recorded) -> Mapping[str, Positions]:
        """Return the SHA-256 of each blob that no event up to some positions needs, and those."""
        if not self._is_own(recorded, self._removing):
            return {}
        data: Json = parse(recorded.data)
        removed: list[str] = data["removed_blobs"]
        until: int | list[int] = data["until"]
        positions = Positions((until,) if isinstance(until, int) else tuple(until))
        return dict.fromkeys(removed, positions)

    @staticmethod
    def _is_own(recorded: Recorded, types: frozenset[str]) -> bool:
        """Tell whether an event is of one of `types`, and no application's of the same name."""
        return recorded.type in types and streams.kind(recorded.stream) != originators.KIND

    def about_blobs(self, records: Iterable[Recorded]) -> list[Recorded]:
        """Return those of `records` that refer to blobs, or remove some: few of most logs."""
        about = self._referring | self._removing
        return [each for each in records if each.type in about]


def encode_metadata(metadata: Metadata) -> bytes:
    """Return `metadata` as canonical JSON without what is absent; `origin` is called import.

    Raises `IllFormedText` for an actor who is not named as ids are; older logs may have one.
    """
    check_word("actor", metadata.actor)
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
    if _check_shape(value):
        with suppress(ValueError):  # a lone surrogate, or too many digits
            return _ENCODER.encode(value)
    try:
        return canonical_json(value).encode()
    except (TypeError, ValueError):
        raise NotStorable(_what_has_no_json(value)) from None


def written(document: Json) -> Written | None:
    """Return `document` with its text, None where that has floats, or odd texts.

    Raises `NotStorable`.
    """
    if _check_shape(document, depth=2):
        with suppress(ValueError):
            return Written(document, _ENCODER.encode(document))
    return None


def parse(data: bytes) -> Any:
    """Return the value of a JSON text, exactly."""
    try:
        return _DECODER.decode(data)
    except msgspec.DecodeError:  # it may be a lone surrogate, which only the exact reader takes
        return json.loads(data, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_ENCODER: Final = msgspec.json.Encoder(order="sorted")
_DECODER: Final = msgspec.json.Decoder()


_SCALARS: Final = frozenset({str, int, bool, type(None)})
_EXACT: Final = _SCALARS | {msgspec.Raw}


def _check_shape(value: object, depth: int = 1) -> bool:
    """Raise `NotStorable` for what is nested too deep, or has a key that is no text.

    Tell whether msgspec writes it canonically: there are no floats in it.
    """
    if isinstance(value, dict):
        if not _TEXT.issuperset(map(type, value)):
            raise NotStorable("a key of a document is not a text")
        value = value.values()
    elif not isinstance(value, list | tuple):
        return type(value) in _EXACT
    if value and depth >= DEEPEST:
        raise NotStorable(f"a document is nested deeper than {DEEPEST} levels")
    is_exact = True
    for inner in value:
        if type(inner) not in _SCALARS:
            is_exact &= _check_shape(inner, depth + 1)
    return is_exact


_TEXT: Final = frozenset({str})


def _what_has_no_json(value: object) -> str:
    """Return a sentence about the first part of `value` that has no JSON."""
    match value:
        case dict() | list() | tuple():
            parts = value.values() if isinstance(value, dict) else value
            return next(filter(None, map(_what_has_no_json, parts)), "")
        case float() if not isfinite(value):
            return f"the number {value} has no JSON"
        case int() if abs(value) >= 10**MOST_DIGITS:
            return f"an integer of more than {MOST_DIGITS} digits has no JSON"
        case None | bool() | int() | str() | float():
            return ""
        case _:
            return f"a value of type {type(value).__name__} has no JSON"


# --- the forms of events ----------------------------------------------------------


class _Form:
    """How the events of one type look as JSON: msgspec reads and writes what the class declares.

    A field that is not declared, or of another type than declared, is an error.
    """

    def __init__(self, cls: type) -> None:
        self._class = cls
        self.marks = marks(cls)
        self._stored = _struct(cls)
        self._read_stored = msgspec.json.Decoder(self._stored).decode
        self.readers: tuple[Callable[[bytes], object], Callable[[bytes], object]] | None = None
        """What checks the data of a form without marks, and what reads it: fields of any name."""
        if not self.marks:
            self.readers = (self._read_stored, msgspec.json.Decoder(cls).decode)
        self._is_plain = not self.marks and _is_plain(cls)
        self.fields = self._stored.__struct_fields__

    def write(self, value: object) -> bytes:
        """Return the canonical JSON of `value`."""
        for field in self.marks:
            if isinstance(getattr(value, field), str):
                raise NotStorable(f"field {field} of {self._class.__name__} is to be sealed")
        try:
            data = _ENCODER.encode(value) if self._is_plain else canonical(_plain(value))
        except ValueError:  # a lone surrogate, or too many digits
            data = canonical(_plain(value))
        try:
            self._check(data)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise NotStorable(f"{self._class.__name__}: {error}") from None
        return data

    def read(self, recorded: Stored) -> object:
        """Return the value of an event of the newest schema; what is sealed stays so."""
        try:
            stored = self._read_stored(recorded.data)
            if self.readers:
                return self.readers[1](recorded.data)
            return self._unpacked(stored, recorded)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return self.make(parse(recorded.data), recorded)

    def make(self, data: Json, recorded: Stored) -> object:
        """Return the value that parsed JSON of the newest schema means."""
        stored = msgspec.convert(data, self._stored)
        if self.marks:
            return self._unpacked(stored, recorded)
        return msgspec.convert(data, self._class)

    def _check(self, data: bytes) -> None:
        try:
            self._read_stored(data)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            msgspec.convert(parse(data), self._stored)

    def _unpacked(self, stored: msgspec.Struct, recorded: Stored) -> object:
        """Return the value with what is sealed in it."""
        values = msgspec.structs.asdict(stored)
        for name in self.marks:
            if values[name] is not None:
                place = (recorded.stream, recorded.command_id, recorded.command_no, name)
                values[name] = Sealed(values["subject"], place, values[name].sealed)
        return self._class(**values)


_Box = msgspec.defstruct("_Box", [(MARK, str)], forbid_unknown_fields=True)
"""What is stored of a sealed text: its subject and place are the event's."""


def _struct(cls: type) -> type[msgspec.Struct]:
    """Return a struct with the fields of a dataclass that refuses all others."""
    hints, marked = get_type_hints(cls), marks(cls)
    declared = []
    for each in fields(cls):
        hint = hints[each.name]
        if each.name in marked:
            hint = _Box | None if type(None) in get_args(hint) else _Box
        elif isinstance(hint, type) and is_dataclass(hint):
            hint = _struct(hint)
        defaults = {"default": each.default, "default_factory": each.default_factory}
        given: Json = {
            name: default for name, default in defaults.items() if default is not MISSING
        }
        declared.append((each.name, hint, msgspec.field(**given)))
    return msgspec.defstruct(cls.__name__, declared, forbid_unknown_fields=True)


def _is_plain(hint: Any) -> bool:
    """Tell whether msgspec writes a type canonically: it has no floats and no free documents."""
    if is_dataclass(hint):
        return all(map(_is_plain, get_type_hints(hint).values()))
    inner = [each for each in get_args(hint) if each is not Ellipsis]
    return all(map(_is_plain, inner)) if inner else hint in _SCALARS


def _plain(value: Any) -> Json:
    """Return a dataclass as a dict, nested ones and what is written included."""
    if isinstance(value, Sealed):
        return {MARK: value.box}
    named = {name: getattr(value, name) for name in value.__dataclass_fields__}
    for name, inner in named.items():
        if type(inner) is Written:
            named[name] = msgspec.Raw(inner.text)
        elif type(inner) not in _SCALARS and is_dataclass(inner):
            named[name] = _plain(inner)
    return named


EVENTS: Final = Codec(
    {
        **file.STORED_NAMES,
        **tag_vote.STORED_NAMES,
        **removal_vote.STORED_NAMES,
        **session.STORED_NAMES,
        **push.STORED_NAMES,
        **repo.STORED_NAMES,
        **user.STORED_NAMES,
        **migration.STORED_NAMES,
        **media.STORED_NAMES,
        **attachment.STORED_NAMES,
    }
)
"""The codec of all events that refold knows."""
