"""What is written can be read again: every event type, every value that JSON can hold."""

import json
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from math import copysign, inf, nan
from typing import Any, NamedTuple, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain import (
    attachment,
    file,
    media,
    migration,
    push,
    removal_vote,
    repo,
    session,
    tag_vote,
    user,
)
from refold.domain.errors import Undecodable, UnknownType
from refold.domain.file import Banned, Imported, Record
from refold.domain.ports import History, NewEvent, Past, Recorded
from refold.domain.sealing import Sealed, Text, marks
from refold.domain.texts import LONGEST
from refold.infrastructure.codec import (
    DEEPEST,
    EVENTS,
    Codec,
    Metadata,
    NotStorable,
    Origin,
    canonical,
    decode_metadata,
    encode_metadata,
    parse,
)

STORED_NAMES = {
    **file.STORED_NAMES,
    **tag_vote.STORED_NAMES,
    **removal_vote.STORED_NAMES,
    **push.STORED_NAMES,
    **session.STORED_NAMES,
    **user.STORED_NAMES,
    **repo.STORED_NAMES,
    **media.STORED_NAMES,
    **attachment.STORED_NAMES,
    **migration.STORED_NAMES,
}


def as_json_has_it(text: str) -> str:
    """Join halves that stand side by side: JSON cannot tell them from the character they make."""
    joined: str = json.loads(json.dumps(text))
    return joined


TEXTS = st.text(
    st.characters() | st.characters(categories=["Cs"]) | st.sampled_from("\0\x7f\u2028\U0001f600")
).map(as_json_has_it)
EDGES = [0, -1, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1]
INTEGERS = st.integers() | st.sampled_from(EDGES)
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 5e-324])
LEAVES = st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
NESTED = st.integers(1, 59).flatmap(
    lambda depth: LEAVES.map(lambda leaf: {"deep": wrapped(leaf, depth)})
)
OBJECTS = st.dictionaries(TEXTS, DOCUMENTS, max_size=3) | NESTED
COUNTS = st.dictionaries(TEXTS, INTEGERS, max_size=3)
PLACE = ("file-ab", "command", 0)  # where what `recorded` makes stands
FIELDS: dict[object, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: INTEGERS,
    str | None: st.none() | TEXTS,
    int | None: st.none() | INTEGERS,
    tuple[str, ...]: st.lists(TEXTS, max_size=3).map(tuple),
    int | tuple[int, ...]: INTEGERS | st.lists(INTEGERS, max_size=3).map(tuple),
    Mapping[str, int]: COUNTS,
    Mapping[str, int] | None: st.none() | COUNTS,
    Mapping[str, str]: st.dictionaries(TEXTS, TEXTS, max_size=3),
    Mapping[str, object]: OBJECTS,
    Mapping[str, object] | None: st.none() | OBJECTS,
    bool: st.booleans(),
    Text: TEXTS,
    Text | None: st.none() | TEXTS,
    tuple[Mapping[str, object], ...]: st.lists(OBJECTS, max_size=2).map(tuple),
    repo.Role: st.sampled_from(("canPush", "canAuthorise")),
}


def values(cls: type) -> st.SearchStrategy[Any]:
    """Any value of a dataclass: a field of a type that is not in `FIELDS` is an error here."""
    hints = get_type_hints(cls)
    built = st.builds(cls, **{each.name: FIELDS[hints[each.name]] for each in fields(cls)})
    return built.map(sealed)


def sealed(value: Any) -> Any:
    """The value with its marked texts as the boxes of what is sealed where `recorded` says."""
    event: type = type(value)
    boxes = {
        name: Sealed(value.subject, (*PLACE, name), text)
        for name in marks(event)
        if (text := getattr(value, name)) is not None
    }
    return replace(value, **boxes)


FIELDS[Record] = values(Record)


def wrapped(leaf: object, depth: int) -> object:
    for level in range(depth):
        leaf = [leaf] if level % 2 else {"": leaf}
    return leaf


# --- events -----------------------------------------------------------------------


@pytest.mark.parametrize("name", STORED_NAMES)
def test_every_event_comes_back_as_it_went(name: str) -> None:
    @given(values(STORED_NAMES[name]))
    def comes_back(value: Any) -> None:
        event = EVENTS.encode(value, b"{}")

        decoded: Any = EVENTS.decode(recorded(event)).value

        assert event.type == name
        assert decoded == value
        assert spelled(asdict(decoded)) == spelled(asdict(value))  # 1 is not True, 0 not -0.0
        assert EVENTS.encode(decoded, b"{}") == event
        assert EVENTS.decode_history(PLACE[0], history(event)) == [Past(decoded, 7, PLACE[1])]

    comes_back()


def test_stored_samples_of_every_type_are_read_and_written_as_they_are(
    golden: list[Recorded],
) -> None:
    for sample in golden:
        again = EVENTS.encode(EVENTS.decode(sample).value, sample.metadata)

        assert again == NewEvent(sample.type, sample.schema, sample.data, sample.metadata)
        assert encode_metadata(decode_metadata(sample.metadata)) == sample.metadata
    assert {sample.type for sample in golden} == STORED_NAMES.keys()


def test_nested_records_and_tuples_are_made_again() -> None:
    value = Imported("ab", Record(tags={"a": 1}, extra={"x": [1]}, absent=("tags",)), {}, ("b",))

    decoded = EVENTS.decode(recorded(EVENTS.encode(value, b"{}"))).value

    assert decoded == value
    assert isinstance(decoded, Imported)
    assert isinstance(decoded.record, Record)
    assert isinstance(decoded.record.absent, tuple)
    assert isinstance(decoded.removed, tuple)


def test_a_type_that_is_not_known_is_named() -> None:
    with pytest.raises(UnknownType, match=r"event type file\.eaten with schema 1 is not known"):
        EVENTS.decode(recorded(NewEvent("file.eaten", 1, b"{}", b"{}")))


@pytest.mark.parametrize("schema", [-1, 0, 2, 2**31])
def test_a_schema_that_is_not_known_is_named(schema: int) -> None:
    with pytest.raises(UnknownType, match=f"file.banned with schema {schema} is not known"):
        EVENTS.decode(recorded(NewEvent("file.banned", schema, b'{"code":3}', b"{}")))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"code":3',
        b'{"code":NaN}',
        b"\xff",
        b'{"code":"\xff"}',
        b"null",
        b"[]",
        b"3",
        b'"code"',
        b"{}",
        b'{"code":3,"more":1}',
        b'{"code":"3"}',
        b'{"code":3.0}',
        b'{"code":true}',
        b'{"code":null}',
        b"[" * 100_000,
    ],
)
def test_data_that_is_not_what_its_type_says_is_undecodable(data: bytes) -> None:
    with pytest.raises(Undecodable, match=r"event 7 of type file\.banned cannot be decoded: ."):
        EVENTS.decode(recorded(NewEvent("file.banned", 1, data, b"{}")))


@pytest.mark.parametrize("extra", [b"{}", b'{"\\ud800":1}'], ids=["fast", "exact"])
def test_a_field_of_another_type_is_undecodable_both_ways(extra: bytes) -> None:
    record = b'{"record":{"cid":1,"extra":' + extra + b'},"opened":{},"removed":[],"sha256":""}'

    with pytest.raises(Undecodable, match=r"Expected `str`, got `int` - at `\$\.record\.cid`"):
        EVENTS.decode(recorded(NewEvent("file.imported", 1, record, b"{}")))


@pytest.mark.parametrize(
    "value",
    [
        Banned("3"),  # type: ignore[arg-type]
        Banned(nan),  # type: ignore[arg-type]
        push.Recorded("a", {}, {"/steps": 1}),  # type: ignore[dict-item]
        push.Rekeyed(None),  # type: ignore[arg-type]
        session.Touched("\ud800"),  # type: ignore[arg-type]
        session.Started("s", Sealed("s", (*PLACE, "body"), "box"), "soon"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_what_could_not_be_read_again_is_not_stored(value: object) -> None:
    with pytest.raises(NotStorable, match=rf"{type(value).__name__}: (Expected|'utf-8')"):
        EVENTS.encode(value, b"{}")


@pytest.mark.parametrize("record", [b"null", b"[]", b'"x"', b'{"unknown":1}', b"7"])
def test_a_nested_record_that_is_none_is_undecodable(record: bytes) -> None:
    data = b'{"opened":{},"record":' + record + b',"removed":[],"sha256":"ab"}'

    with pytest.raises(Undecodable):
        EVENTS.decode(recorded(NewEvent("file.imported", 1, data, b"{}")))


def test_a_field_that_was_added_later_takes_its_default() -> None:
    data = b'{"cid":"c","name":"n","sha256":"ab","type":"t"}'

    decoded = EVENTS.decode(recorded(NewEvent("file.registered", 1, data, b"{}")))

    assert decoded.value == file.Registered("ab", "c", "n", "t", added_at=None)


# --- upcasts ----------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Schema 1 had `inches`, schema 2 `millimetres`, schema 3 has a unit beside the length."""

    length: int
    unit: str


def in_millimetres(data: dict[str, Any]) -> dict[str, Any]:
    return {"millimetres": data["inches"] * 25}


def with_unit(data: dict[str, Any]) -> dict[str, Any]:
    return {"length": data["millimetres"], "unit": "mm"}


GREW = Codec(
    {"sample.measured": Measured, "sample.banned": Banned},
    {("sample.measured", 1): in_millimetres, ("sample.measured", 2): with_unit},
)


@pytest.mark.parametrize(
    ("schema", "stored"),
    [
        (1, b'{"inches":2}'),
        (2, b'{"millimetres":50}'),
        (3, b'{"length":50,"unit":"mm"}'),
    ],
)
def test_stored_data_of_every_schema_means_the_same(schema: int, stored: bytes) -> None:
    decoded = GREW.decode(recorded(NewEvent("sample.measured", schema, stored, b"{}")))

    assert decoded.value == Measured(50, "mm")


def test_what_is_written_has_the_newest_schema() -> None:
    assert GREW.encode(Measured(50, "mm"), b"{}") == NewEvent(
        "sample.measured", 3, b'{"length":50,"unit":"mm"}', b"{}"
    )
    assert GREW.encode(Banned(3), b"{}").schema == 1


def test_a_schema_beyond_the_last_upcast_is_not_known() -> None:
    with pytest.raises(UnknownType, match="schema 4"):
        GREW.decode(recorded(NewEvent("sample.measured", 4, b"{}", b"{}")))


def test_data_that_an_upcast_cannot_read_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="inches"):
        GREW.decode(recorded(NewEvent("sample.measured", 1, b"{}", b"{}")))


# --- histories --------------------------------------------------------------------


def test_a_history_is_decoded_in_order_whatever_its_events_are() -> None:
    stored = [
        NewEvent("sample.measured", 1, b'{"inches":2}', b"{}"),
        NewEvent("sample.banned", 1, b'{"code":3}', b"{}"),
        NewEvent("sample.measured", 3, b'{"length":7,"unit":"\\ud800"}', b"{}"),
        NewEvent("sample.measured", 3, b'{"length":9,"unit":"m"}', b"{}"),
    ]

    decoded = GREW.decode_history("file-ab", history(*stored))

    assert decoded == [
        Past(Measured(50, "mm"), 7, "command"),
        Past(Banned(3), 8, "command"),
        Past(Measured(7, "\ud800"), 9, "command"),
        Past(Measured(9, "m"), 10, "command"),
    ]
    assert GREW.decode_history("file-ab", History()) == []


@pytest.mark.parametrize("data", [b"", b"null", b'{"code":3,"more":1}', b'{"code":"3"}', b"\xff"])
def test_an_event_of_a_history_that_is_undecodable_is_named_by_its_position(data: bytes) -> None:
    good, odd = (NewEvent("file.banned", 1, each, b"{}") for each in (b'{"code":3}', data))

    with pytest.raises(Undecodable, match=r"event 8 of type file\.banned cannot be decoded: ."):
        EVENTS.decode_history("file-ab", history(good, odd, good))


@pytest.mark.parametrize(("type", "schema"), [("file.eaten", 1), ("file.banned", 2)])
def test_an_event_of_a_history_that_is_not_known_is_named(type: str, schema: int) -> None:
    odd = NewEvent(type, schema, b'{"code":3}', b"{}")

    with pytest.raises(UnknownType, match=f"{type} with schema {schema} is not known"):
        EVENTS.decode_history("file-ab", history(odd))


# --- metadata ---------------------------------------------------------------------

ORIGINS = st.builds(Origin, TEXTS, INTEGERS, TEXTS)
OPTIONAL = st.none() | TEXTS


ACTORS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=LONGEST
)


@given(st.builds(Metadata, ACTORS, OPTIONAL, OPTIONAL, st.none() | ORIGINS))
def test_metadata_comes_back_as_it_went(metadata: Metadata) -> None:
    assert decode_metadata(encode_metadata(metadata)) == metadata


def test_metadata_is_a_closed_set_and_what_is_absent_is_left_out() -> None:
    full = Metadata("ada", "2025-08-05T21:44:29.5+01:00", "cause-1", Origin("pinshare", 7, "ab"))

    assert encode_metadata(Metadata("ada")) == b'{"actor":"ada"}'
    assert encode_metadata(full) == (
        b'{"actor":"ada","cause":"cause-1","import":{"hash":"ab","line":7,"source":"pinshare"},'
        b'"occurred_at":"2025-08-05T21:44:29.5+01:00"}'
    )


def test_metadata_of_a_newer_refold_is_read_without_what_it_added() -> None:
    assert decode_metadata(b'{"actor":"ada","mood":"good"}') == Metadata("ada")


# --- canonical JSON ---------------------------------------------------------------


@given(DOCUMENTS | NESTED)
def test_any_document_comes_back_as_it_went(document: object) -> None:
    text = canonical(document)

    assert spelled(parse(text)) == spelled(document)
    assert canonical(parse(text)) == text


FAST = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\0\b\t\x1f\x7f"\\/')),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(FAST)
def test_both_ways_of_writing_agree_on_what_both_can_carry(document: object) -> None:
    fast, exact = canonical([document]), canonical([document, 2**64])

    assert exact == fast[:-1] + b",18446744073709551616]"


@given(FAST | DOCUMENTS)
def test_the_text_is_what_the_standard_library_makes_of_it(document: object) -> None:
    standard = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    escaped = standard.encode(errors="backslashreplace")

    assert canonical(document) == escaped


class _Keyed(dict[str, object]):
    pass


class _Listed(list[object]):
    pass


class _Text(str):
    __slots__ = ()


class _Grade(Enum):
    GOOD = "good"


class _Level(IntEnum):
    HIGH = 3


class _Pair(NamedTuple):
    one: object
    two: object


ODD = [
    *(1e16, 1e21, 1e22, 1e-5, 5e-324, 1.0, -0.0, 0.1 + 0.2, nan, -inf, True, None),
    *EDGES,
    *(2**64 - 1, 10**400, 10**4_299, 10**4_300, -(10**5_000)),
    *("\ud800", "a\udfff\U0001f600", '\x00\x1f\x7f\x80\u2028/\\"<&', "e\u0301"),
    *({"\ud800": 1, "\uffff": 2}, {"\U0001f600": 1, "\uffff": 2, "\ue000": 3, "": 4}),
    *(_Keyed(b=1, a=_Keyed(d=1.5, c=2)), OrderedDict(b=1, a=2), Counter("hello")),
    *(_Listed([1, {"b": 1, "a": 2}]), (1, (2.0, ())), _Pair({"b": 1, "a": 2}, ())),
    *(_Text("x"), _Grade.GOOD, _Level.HIGH, b"x", bytearray(b"x"), {1}, frozenset({"x"})),
    *(datetime(2020, 1, 1, tzinfo=UTC), date(2020, 1, 1), Decimal("1.0"), UUID(int=1), range(2)),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_what_is_odd_is_written_exactly_or_not_at_all(odd: object) -> None:
    for document in (odd, [odd], {"b": {"z": odd, "a": 1}, "a": (odd, None)}, {"x": [0.5, odd]}):
        try:
            standard = json.dumps(
                document,
                sort_keys=True,
                separators=(",", ":"),
                ensure_ascii=False,
                allow_nan=False,
            )
        except (TypeError, ValueError):
            with pytest.raises(NotStorable, match="has no JSON"):
                canonical(document)
        else:
            assert canonical(document) == standard.encode(errors="backslashreplace")


@pytest.mark.parametrize("value", [10**4_300, -(10**4_300)], ids=["most", "least"])
def test_an_integer_that_python_would_not_read_is_not_storable(value: int) -> None:
    for event in (Banned(value), push.Recorded("a", {"id": "a", "n": [value]}, {})):
        with pytest.raises(NotStorable, match="an integer of more than 4300 digits has no JSON"):
            EVENTS.encode(event, b"{}")


def test_keys_are_sorted_and_no_space_is_left() -> None:
    document = {"b": [1, 2], "a": {"\U0001f600": 1, "\uffff": 2, "": 3}}

    assert canonical(document) == '{"a":{"":3,"\uffff":2,"\U0001f600":1},"b":[1,2]}'.encode()


def test_both_ways_sort_keys_alike() -> None:
    keys = ["a", "B", "", "\uffff", "\U0001f600", "é", "e\u0301", "\0", "~"]

    fast = canonical(dict.fromkeys(keys, 1))
    exact = canonical(dict.fromkeys(keys, 2**64))

    assert exact.replace(b"18446744073709551616", b"1") == fast


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.0, b"-0.0"),
        (0.0, b"0.0"),
        (1e300, b"1e+300"),
        (1e-5, b"1e-05"),
        (2**53 + 1, b"9007199254740993"),
        (2**63, b"9223372036854775808"),
        (2**64, b"18446744073709551616"),
        (-(2**63) - 1, b"-9223372036854775809"),
        ("\0", b'"\\u0000"'),
        ("\ud800", b'"\\ud800"'),
        ("\udfff\U0001f600", '"\\udfff\U0001f600"'.encode()),
        ("é\u2028", '"é\u2028"'.encode()),
    ],
)
def test_odd_values_look_like_this_for_ever(value: object, text: bytes) -> None:
    assert canonical(value) == text
    assert parse(text) == value


def test_the_sign_of_zero_and_the_kind_of_a_number_survive() -> None:
    minus, one, true = parse(canonical([-0.0, 1.0, True]))

    assert copysign(1, minus) == -1
    assert isinstance(one, float)
    assert true is True


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_number_without_json_is_not_storable(bad: float) -> None:
    with pytest.raises(NotStorable, match="has no JSON"):
        canonical({"x": [1, bad]})


@pytest.mark.parametrize("bad", [b"bytes", {1, 2}, object(), 1j, Banned(3)])
def test_a_value_without_json_is_not_storable(bad: object) -> None:
    with pytest.raises(NotStorable, match=f"a value of type {type(bad).__name__} has no JSON"):
        canonical({"x": [2**64, bad]})
    with pytest.raises(NotStorable):
        canonical([bad])


@pytest.mark.parametrize("key", [1, None, True, 1.5])
def test_a_key_that_is_no_text_is_not_storable(key: object) -> None:
    with pytest.raises(NotStorable, match="a key of a document is not a text"):
        canonical({"x": {key: 1}})


def test_a_document_has_at_most_64_levels() -> None:
    assert DEEPEST == 64
    deepest = wrapped("leaf", DEEPEST - 1)

    assert parse(canonical(deepest)) == deepest
    with pytest.raises(NotStorable, match="nested deeper than 64 levels"):
        canonical(wrapped("leaf", DEEPEST))
    with pytest.raises(NotStorable):
        canonical(wrapped("leaf", 100_000))


def test_an_event_with_a_document_too_deep_is_refused_by_name() -> None:
    fits = Imported("ab", Record(extra={"x": wrapped(1, DEEPEST - 4)}), {}, ())
    too_deep = Imported("ab", Record(extra={"x": wrapped(1, DEEPEST - 3)}), {}, ())

    assert EVENTS.decode(recorded(EVENTS.encode(fits, b"{}"))).value == fits
    with pytest.raises(NotStorable):
        EVENTS.encode(too_deep, b"{}")


def test_a_value_of_another_program_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        EVENTS.encode(Measured(1, "mm"), b"{}")


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b'{"x":-Infinity}', b"[1e]", b"01"])
def test_what_is_no_json_is_not_read(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|line 1|unexpected|invalid"):
        parse(text)


def recorded(event: NewEvent) -> Recorded:
    return Recorded(
        0, 7, PLACE[0], 1, event.type, event.schema, event.data, event.metadata, 0, *PLACE[1:]
    )


def history(*events: NewEvent) -> History:
    """The history of a stream with those events, where `recorded` says, from position 7 on."""
    types, schemas, datas, _ = zip(*events, strict=True)
    count = len(events)
    positions = range(7, 7 + count)
    return History(types, schemas, datas, positions, PLACE[1:2] * count, PLACE[2:] * count)


def spelled(document: object) -> str:
    """Spell a document out, so that 1, 1.0 and True, or 0.0 and -0.0, are different."""
    return json.dumps(document, sort_keys=True)
