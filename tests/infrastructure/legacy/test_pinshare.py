"""Reading PinShare's metadata.json with its traps, and writing it back byte for byte."""

import gzip
import json
import os
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain import times
from refold.domain.errors import BadInput
from refold.domain.file import Record
from refold.infrastructure.legacy import large_object
from refold.infrastructure.legacy.large_object import NotMetadata, Truncated
from refold.infrastructure.legacy.pinshare import records as pinshare
from refold.infrastructure.legacy.pinshare.records import Entry, document

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
HELLO_CID = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
TIME = "2025-08-05T20:44:29.123456789Z"
FULL = {
    "fileSHA256": HELLO,
    "ipfsCID": HELLO_CID,
    "fileName": "paper <1>.pdf",
    "fileType": "pdf",
    "lastUpdated": TIME,
    "addedAt": "2025-07-01T10:00:00.1+01:00",
    "moderationVotes": -1,
    "tags": {"LENR": 3, "new": 0, "spam": -2, "über": 1},
    "banSet": 9,
}
TESTS = Path(__file__).parents[2]
DEMO = TESTS.parent / "scripts" / "demo-data" / "metadata.small.json"
REAL = {path.name: path for path in [DEMO, *(TESTS / "data" / "pinshare").glob("metadata.*.json")]}
WITH_NUL = "190096c210ea8d69aa843e1a946fd7be220c8df94f709bc4ac9d56ff4021a3a4"
"""The key of a real record that is refused: its file name holds a NUL."""


# --- what is read ---------------------------------------------------------------------


def test_a_full_record_is_read_field_by_field(tmp_path: Path) -> None:
    [entry] = read(tmp_path, {HELLO: FULL})

    assert (entry.key, entry.line, entry.refusal, entry.notes) == (HELLO, 1, None, ())
    assert entry.record == Record(
        cid=HELLO_CID,
        name="paper <1>.pdf",
        type="pdf",
        added_at="2025-07-01T10:00:00.1+01:00",
        last_updated=TIME,
        moderation_votes=-1,
        tags={"LENR": 3, "new": 0, "spam": -2, "über": 1},
        ban_set=9,
    )


@pytest.mark.parametrize("nothing", ["", "null", " null\n", "{}", "\n{ }\r\n\t"])
def test_an_empty_file_null_and_an_empty_object_have_no_records(
    tmp_path: Path, nothing: str
) -> None:
    assert read(tmp_path, nothing) == []


def test_missing_fields_are_zero_and_named(tmp_path: Path) -> None:
    [entry] = read(tmp_path, {HELLO: {}})

    assert entry.record == Record(absent=pinshare._NAMES)
    assert document(HELLO, kept(entry)) == {}


def test_the_first_generation_has_no_votes_tags_and_bans(tmp_path: Path) -> None:
    gone = ("fileName", "moderationVotes", "tags", "banSet")
    [entry] = read(tmp_path, {HELLO: without(*gone)})

    assert entry.record == Record(
        HELLO_CID, "", "pdf", "2025-07-01T10:00:00.1+01:00", TIME, absent=gone
    )


def test_boolean_tags_become_a_count_of_zero_or_no_tag(tmp_path: Path) -> None:
    [entry] = read(tmp_path, {HELLO: {**FULL, "tags": {"yes": True, "no": False}}})

    assert kept(entry).tags == {"yes": 0}
    assert entry.notes == ("boolean tags: true counts 0, false is no tag",)


def test_null_tags_are_not_empty_tags(tmp_path: Path) -> None:
    null, empty = read(tmp_path, {"a" * 64: {**FULL, "tags": None}, "b" * 64: {**FULL, "tags": {}}})

    assert kept(null).tags is None
    assert kept(empty).tags == {}


def test_null_leaves_a_field_at_zero_and_comes_back_as_null(tmp_path: Path) -> None:
    [entry] = read(tmp_path, {HELLO: dict.fromkeys(FULL)})

    assert kept(entry) == Record(extra=dict.fromkeys(FULL.keys() - {"tags"}))
    assert document(HELLO, kept(entry)) == dict.fromkeys(FULL)


def test_a_null_tag_counts_zero(tmp_path: Path) -> None:
    [entry] = read(tmp_path, {HELLO: {**FULL, "tags": {"a": None}}})

    assert kept(entry).tags == {"a": 0}
    assert entry.notes == ("null tags count 0",)


def test_the_key_counts_where_the_sum_within_differs(tmp_path: Path) -> None:
    other = "a" * 64
    [entry] = read(tmp_path, {other: {**FULL, "ipfsCID": ""}})

    assert entry.key == other
    assert kept(entry).extra == {"fileSHA256": HELLO}
    assert entry.notes == ("key differs from fileSHA256",)
    assert document(other, kept(entry))["fileSHA256"] == HELLO


def test_a_missing_sum_within_stays_missing(tmp_path: Path) -> None:
    [entry] = read(tmp_path, {HELLO: without("fileSHA256")})

    assert kept(entry).absent == ("fileSHA256",)
    assert "fileSHA256" not in document(HELLO, kept(entry))


@pytest.mark.parametrize(
    "time",
    [times.ZERO_TIME, "2025-08-05T21:44:29+01:00"]
    + [f"2025-08-05T20:44:29.{'123456789'[:digits]}Z" for digits in range(1, 10)],
)
def test_times_keep_their_text(tmp_path: Path, time: str) -> None:
    [entry] = read(tmp_path, {HELLO: {**FULL, "lastUpdated": time, "addedAt": time}})

    assert (kept(entry).last_updated, kept(entry).added_at) == (time, time)


def test_escapes_are_read(tmp_path: Path) -> None:
    [entry] = read(tmp_path, '{"a": {"fileName": "\\u003cb\\u003e \\ud83d\\ude00"}}')

    assert kept(entry).name == "<b> 😀"


def test_unknown_keys_are_kept_exactly(tmp_path: Path) -> None:
    text = '{"pinnedBy": ["a", {"b": null}], "big": 123456789012345678901234567890, "x": 1.50}'
    [entry] = read(tmp_path, f'{{"{HELLO}": {text}}}')

    assert kept(entry).extra == {
        "pinnedBy": ["a", {"b": None}],
        "big": 123456789012345678901234567890,
        "x": 1.5,
    }
    assert entry.notes == ()


def test_a_number_that_no_double_holds_is_rounded_and_noted(tmp_path: Path) -> None:
    for number in ["3.14159265358979323846", "1e-99999999999999999999"]:
        [entry] = read(tmp_path, f'{{"{HELLO}": {{"x": {number}}}}}')

        assert kept(entry).extra == {"x": float(number)}
        assert entry.notes == ("a number in an unknown field was rounded",)


@pytest.mark.parametrize("name", ["FILENAME", "filename", "FileName"])
def test_field_names_match_in_any_case(tmp_path: Path, name: str) -> None:
    [entry] = read(tmp_path, {HELLO: {**without("fileName"), name: "a"}})

    assert kept(entry).name == "a"
    assert kept(entry).extra == {}
    assert entry.notes == ("field names in another case",)


def test_case_folds_as_in_go(tmp_path: Path) -> None:
    [entry] = read(tmp_path, {HELLO: {"tag\u017f": {"a": 1}, "\ufb01leName": "ligature"}})

    assert kept(entry).tags == {"a": 1}
    assert kept(entry).extra == {"\ufb01leName": "ligature"}


def test_the_last_of_repeated_fields_wins(tmp_path: Path) -> None:
    text = '{"fileName": "a", "FILENAME": "b", "fileName": "c", "Filename": "d"}'
    [entry] = read(tmp_path, f'{{"{HELLO}": {text}}}')

    assert kept(entry).name == "d"
    assert set(entry.notes) == {"field names in another case", pinshare._REPEATED}


def test_repeated_fields_add_up_as_in_go(tmp_path: Path) -> None:
    text = '{"banSet": 3, "banSet": null, "tags": {"a": 1, "b": 1}, "tags": {"b": 2, "b": 3}}'
    [entry] = read(tmp_path, f'{{"{HELLO}": {text}}}')

    assert kept(entry).ban_set == 3
    assert kept(entry).tags == {"a": 1, "b": 3}
    assert entry.notes == (pinshare._REPEATED,)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"banSet": 7}, "unknown ban code 7"),
        ({"banSet": -3}, "unknown ban code -3"),
        ({"ipfsCID": "bafkrei" + "a" * 52}, "raw CID holds another sum"),
    ],
)
def test_odd_values_are_kept_and_noted(
    tmp_path: Path, change: dict[str, object], note: str
) -> None:
    [entry] = read(tmp_path, {HELLO: {**FULL, **change}})

    assert document(HELLO, kept(entry)) == {**FULL, **change}
    assert entry.notes == (note,)


@pytest.mark.parametrize("key", ["not-a-sum", "ab", HELLO.upper()])
def test_a_key_that_is_no_sum_is_kept_and_noted(tmp_path: Path, key: str) -> None:
    [entry] = read(tmp_path, {key: {**FULL, "fileSHA256": key, "ipfsCID": ""}})

    assert entry.record
    assert entry.notes == ("key is not 64 lower-case hex digits",)


def test_keys_that_differ_only_in_case_are_both_kept_and_noted(tmp_path: Path) -> None:
    keys = [HELLO.upper(), HELLO, "Ab", "AB", "c", "D"]
    entries = read(tmp_path, {key: {} for key in keys})

    assert all(entry.record for entry in entries)
    twins = [e.key for e in entries if "another key differs only in case" in e.notes]
    assert twins == keys[:4]


def test_the_last_of_repeated_keys_counts(tmp_path: Path) -> None:
    entries = read(tmp_path, '{"a": {"banSet": 3},\n"b": {},\n"\\u0061": {"banSet": 6}, "a": {}}')

    assert [(e.key, e.line, e.record is None) for e in entries] == [
        ("a", 1, True),
        ("b", 2, False),
        ("a", 3, True),
        ("a", 3, False),
    ]
    assert str(entries[0].refusal).startswith("repeated: ")
    assert "the last one counts" in str(entries[0].refusal)


def test_lines_are_those_of_the_keys(tmp_path: Path) -> None:
    entries = read(tmp_path, '\n{\n\n"a"\n:\n{\n"x": "\\n\u2028"},\r\n"b": {},\r"c": {}}')

    assert [(e.key, e.line) for e in entries] == [("a", 4), ("b", 8), ("c", 8)]


def test_a_gz_file_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "metadata.json.gz"
    path.write_bytes(gzip.compress(json.dumps({HELLO: FULL}).encode()))

    [entry] = pinshare.read(path)

    assert document(HELLO, kept(entry)) == FULL


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_it_does_not_matter_where_the_reading_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    text = (
        ' {\r\n "a\\u00e9\\ud83d\\ude00" : {"tags": {"\\n\\"": -10, "b": true}, "x": [1.5e+3, null,'
        ' false, -1, "😀"]}, "b": 12, "c": 1.5e+3, "d": null, "e": [], "f": "\\\\" } \n'
    )
    expected = read(tmp_path, text)

    monkeypatch.setattr(large_object, "_CHUNK", chunk)

    assert read(tmp_path, text) == expected
    assert len(expected) == 6


def test_a_number_is_not_cut_in_two_where_the_reading_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_object, "_CHUNK", 1)

    entries = read(tmp_path, '{"a": 12, "b": -1.5e+30}')

    assert [str(entry.refusal) for entry in entries] == [
        "the record is the number 12, not an object",
        "the record is the number -1.5e+30, not an object",
    ]


# --- what a record is told apart by ---------------------------------------------------


def test_the_digest_is_that_of_the_canonical_json(tmp_path: Path) -> None:
    [entry] = read(tmp_path, '{"a": {"x": ["é", null, -1, true],\n "FILENAME": "\\ud800<"}}')
    [number] = read(tmp_path, '{"a": {"x": 1.50}}')

    canonical = rb'{"fileName":"\ud800<","x":["\u00e9",null,-1,true]}'
    assert entry.digest == sha256(canonical).hexdigest()
    assert number.digest == sha256(b'{"x":{"number":"1.50"}}').hexdigest()


def test_space_order_and_case_of_names_do_not_change_the_digest(tmp_path: Path) -> None:
    [one] = read(tmp_path, json.dumps({HELLO: FULL}, separators=(",", ":")))
    [other] = read(
        tmp_path,
        json.dumps({HELLO: {k.upper(): FULL[k] for k in reversed(FULL)}}, indent=1),
    )

    assert one.digest == other.digest


def test_every_value_changes_the_digest(tmp_path: Path) -> None:
    values = ["1", "1.0", "1.00", '"1"', '"1.0"', "true", "null", "[1]", '{"a": 1}', "1e400"]
    entries = [e for v in values for e in read(tmp_path, f'{{"{HELLO}": {{"x": {v}}}}}')]

    assert len({entry.digest for entry in entries}) == len(values)


# --- what is refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        (None, "the record is null, not an object"),
        ([], "the record is a list, not an object"),
        (1.5, "the record is the number 1.5, not an object"),
        ({"fileName": 1}, "fileName is the number 1, not a text"),
        ({"ipfsCID": {}}, "ipfsCID is an object, not a text"),
        ({"fileSHA256": False}, "fileSHA256 is false, not a text"),
        ({"banSet": "3"}, "banSet is a text, not a whole number"),
        ({"banSet": 3.0}, "banSet is the number 3.0, not a whole number"),
        ({"moderationVotes": True}, "moderationVotes is true, not a whole number"),
        ({"tags": ["a"]}, "tags is a list, not an object"),
        ({"tags": {"a": 1.0}}, "tag 'a' is the number 1.0, not a whole number"),
        ({"tags": {"a": "1"}}, "tag 'a' is a text, not a whole number"),
        ({"banSet": 2**63}, "the number 9223372036854775808 does not fit 64 bits"),
        ({"lastUpdated": 0}, "lastUpdated is the number 0, not a text"),
        ({"lastUpdated": ""}, "'' is not a time such as 2025-08-05T20:44:29.123Z"),
        ({"addedAt": "2025-13-01T00:00:00Z"}, "'2025-13-01T00:00:00Z' is not a time: "),
        ({"tags": {"\ud800": 1}}, "tag '\\ud800' holds a lone surrogate"),
        ({"fileType": "x" * 1025}, f"type '{'x' * 40}'… is longer than 1024 bytes"),
    ],
)
def test_a_record_that_cannot_be_kept_is_refused_by_name(
    tmp_path: Path, value: object, refusal: str
) -> None:
    refused, next_one = read(tmp_path, {"a": value, "b": {}})

    assert refused.record is None
    assert refused.notes == ()
    assert str(refused.refusal).startswith(refusal)
    assert next_one.record is not None


@pytest.mark.parametrize("key", ["", "a\0", "\udc00", "k" * 1025])
def test_a_key_that_cannot_be_kept_is_refused(tmp_path: Path, key: str) -> None:
    [entry] = read(tmp_path, {key: FULL})

    assert entry.key == key
    assert entry.refusal


def test_a_number_of_a_thousand_digits_is_refused_where_an_integer_belongs(tmp_path: Path) -> None:
    digits = "1" * 10_000
    ban, unknown = read(tmp_path, f'{{"a": {{"banSet": {digits}}}, "b": {{"x": {digits}}}}}')

    assert ban.refusal == f"banSet is the number {'1' * 40}, not a whole number"
    assert str(unknown.refusal).endswith("which is too large a number")


def test_bytes_that_are_not_utf8_cost_one_record(tmp_path: Path) -> None:
    entries = read(tmp_path, b'{"a\xff": {}, "b": {"ipfsCID": "\xed\xa0\x80"}, "c": {}}')

    assert [e.refusal for e in entries] == ["the record holds bytes that are not UTF-8"] * 2 + [
        None
    ]


def test_an_unknown_field_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    [entry] = read(tmp_path, f'{{"{HELLO}": {{"x": {"[" * 100}{"]" * 100}}}}}')

    assert entry.refusal == "an unknown field is nested deeper than 50 levels"


# --- files that are refused ---------------------------------------------------------------

ODD = (
    '{"é": {"tags": {"a": true, "b\\u003c\\ud83d\\ude00": -12}, "x": [null, false, 1.5e+3],'
    ' "fileName": "\\\\😀"},\n "b": 1.5, "c": null, "d": {}}'
)


@pytest.mark.parametrize(
    "text", [ODD, json.dumps({HELLO: FULL, "ab": {}}, indent=2), "null", " {}"]
)
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, text: str) -> None:
    whole = text.encode()
    path = tmp_path / "metadata.json"
    path.write_bytes(whole)
    list(pinshare.read(path))

    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises((Truncated, NotMetadata), match=r"metadata\.json is .*line \d+, char"):
            pinshare.read(path)


def test_a_file_cut_between_two_characters_is_called_truncated(tmp_path: Path) -> None:
    text = json.dumps({HELLO: FULL, "ab": {}}, indent=2)
    path = tmp_path / "metadata.json"

    for length in range(1, len(text)):
        path.write_text(text[:length])
        with pytest.raises(Truncated, match="is cut off: it ends at line"):
            pinshare.read(path)


def test_a_truncated_gz_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps({HELLO: FULL}).encode())
    path = tmp_path / "metadata.json.gz"

    for length in range(len(packed)):
        path.write_bytes(packed[:length])
        with pytest.raises((Truncated, NotMetadata), match=r"metadata\.json\.gz"):
            pinshare.read(path)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        '"a"',
        "nul1",
        "\ufeff{}",
        "\0\0\0",
        "{} {}",
        "{}x",
        "null,",
        '{"a": {}} \0',
        "{,}",
        "{1: {}}",
        '{"a" {}}',
        '{"a": {},}',
        '{"a": {"x": NaN}}',
        '{"a": -Infinity}',
        '{"a": {"x": 01}}',
        '{"a": {"x": tru}}',
        '{"a": {"x": "\t"}}',
        '{"a": {"x": "\\u12g4"}}',
        '{"a": {"x" 1}}',
        '{"a": {} "b": {}}',
        "{'a': {}}",
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        b'{"a": {}, \xff "b": {}}',
    ],
)
def test_what_is_no_metadata_is_refused_before_the_first_record(
    tmp_path: Path, text: str | bytes
) -> None:
    with pytest.raises(NotMetadata, match=r"no metadata\.json: it makes no sense at line 1, char"):
        read(tmp_path, text)


@pytest.mark.parametrize("space", [" ", "\n\n"])
def test_white_space_alone_is_a_truncated_file(tmp_path: Path, space: str) -> None:
    with pytest.raises(Truncated):
        read(tmp_path, space)


def test_the_place_of_an_error_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotMetadata, match=r"line 3, character 23"):
        read(tmp_path, '{"a": {},\n"b": {\n"x": y}}')


def test_gz_files_that_are_none_or_damaged_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "metadata.json.gz"
    packed = bytearray(gzip.compress(b"{}"))
    packed[-8] ^= 1  # the check sum

    for content in [b"{}", bytes(packed), gzip.compress(b"{}") + b"garbage"]:
        path.write_bytes(content)
        with pytest.raises(NotMetadata, match="cannot be unpacked"):
            pinshare.read(path)


def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for name in ["missing.json", "missing.json.gz", ".", "pipe"]:
        with pytest.raises(BadInput, match="cannot be opened") as refusal:
            pinshare.read(tmp_path / name)
        assert str(tmp_path / name) in str(refusal.value)


@pytest.mark.parametrize("content", ["", "{}", '{"b": {}}'])
def test_a_file_that_is_rewritten_meanwhile_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "metadata.json"
    path.write_text(json.dumps({HELLO: FULL}))

    early, late = pinshare.read(path), pinshare.read(path)
    next(late)
    path.write_text(content)

    for entries in (early, late):
        with pytest.raises(BadInput, match="changed while it was read"):
            next(entries)


# --- what is written ----------------------------------------------------------------------


def test_no_records_are_written_as_an_empty_object() -> None:
    assert written([]) == "{}"


def test_a_file_looks_as_go_writes_it() -> None:
    record = Record(
        name='<a> & "b" \\ \b\f\n\r\t\x01\x7f\u2028\u2029é😀', tags={"b": 1, "a": -1, "é": 0}
    )

    text = written([("k<", document("k<", record)), ("l", {"tags": {}, "x": [], "y": [1]})])

    expected = r"""{
  "k\u003c": {
    "fileSHA256": "k\u003c",
    "ipfsCID": "",
    "fileName": "\u003ca\u003e \u0026 \"b\" \\ \b\f\n\r\t\u0001DEL\u2028\u2029é😀",
    "fileType": "",
    "lastUpdated": "0001-01-01T00:00:00Z",
    "addedAt": "0001-01-01T00:00:00Z",
    "moderationVotes": 0,
    "tags": {
      "a": -1,
      "b": 1,
      "é": 0
    },
    "banSet": 0
  },
  "l": {
    "tags": {},
    "x": [],
    "y": [
      1
    ]
  }
}"""
    assert text == expected.replace("DEL", "\x7f")


def test_what_was_absent_or_null_is_so_only_while_it_has_no_value() -> None:
    names = tuple(name for name in pinshare._NAMES if name != "fileSHA256")
    absent = Record(absent=names)
    null = Record(extra=dict.fromkeys(n for n in names if n != "tags"))
    values = Record("c", "n", "t", TIME, TIME, 1, {"a": 0}, 3)

    for odd in (absent, null):
        filled = replace(values, absent=odd.absent, extra=odd.extra)
        assert document("k", filled) == document("k", values)
    assert document("k", absent) == {"fileSHA256": "k"}
    assert document("k", replace(absent, tags={})) == {"fileSHA256": "k"}
    assert document("k", null) == {"fileSHA256": "k", **dict.fromkeys(names)}


def test_unknown_keys_come_last() -> None:
    fields = list(document("k", Record(extra={"z": 1, "a": 2})))

    assert fields == [*pinshare._NAMES, "a", "z"]


@pytest.mark.parametrize("keys", [["b", "a"], ["a", "a"], ["\U00010000", "\uffff"]])
def test_keys_out_of_order_are_an_error_of_the_caller(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="comes after"):
        written([(key, {}) for key in keys])


# --- there and back -------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
ODD_TEXTS = st.text(st.characters(), max_size=8).map(lambda text: json.loads(json.dumps(text)))
INTEGERS = st.integers(-(2**63), 2**63 - 1)
TIMES = st.sampled_from([times.ZERO_TIME, TIME, "2025-08-05T21:44:29+01:00"])
UNKNOWN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | ODD_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXTS, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@st.composite
def records(draw: st.DrawFn) -> Record:
    record = Record(
        cid=draw(ODD_TEXTS),
        name=draw(TEXTS),
        type=draw(ODD_TEXTS),
        added_at=draw(TIMES),
        last_updated=draw(TIMES),
        moderation_votes=draw(INTEGERS),
        tags=draw(st.none() | st.dictionaries(TEXTS, INTEGERS, max_size=4)),
        ban_set=draw(INTEGERS),
    )
    absent = draw(st.sets(st.sampled_from(pinshare._NAMES)))
    null = draw(st.sets(st.sampled_from(pinshare._NAMES))) - absent - {"tags"}
    for name in absent | null:
        record = replace(record, **ZEROS[name])  # type: ignore[arg-type]
    extra = {f"x{name}": value for name, value in draw(st.dictionaries(TEXTS, UNKNOWN)).items()}
    return replace(
        record,
        extra=extra | dict.fromkeys(null),
        absent=tuple(name for name in pinshare._NAMES if name in absent),
    )


ZEROS: dict[str, dict[str, object]] = {
    "fileSHA256": {},
    "ipfsCID": {"cid": ""},
    "fileName": {"name": ""},
    "fileType": {"type": ""},
    "lastUpdated": {"last_updated": times.ZERO_TIME},
    "addedAt": {"added_at": times.ZERO_TIME},
    "moderationVotes": {"moderation_votes": 0},
    "tags": {"tags": None},
    "banSet": {"ban_set": 0},
}


@given(st.dictionaries(TEXTS.filter(bool), records(), max_size=4))
def test_what_is_written_is_read_as_it_was(files: dict[str, Record]) -> None:
    text = written([(key, document(key, files[key])) for key in sorted(files)])

    with TemporaryDirectory() as folder:
        entries = read(Path(folder), text)

    assert {entry.key: entry.record for entry in entries} == files
    assert written([(entry.key, document(entry.key, kept(entry))) for entry in entries]) == text


# --- real files -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["metadata.small.json", "metadata.v0.1.1.json"])
def test_a_real_file_comes_back_byte_for_byte(name: str) -> None:
    entries = list(pinshare.read(REAL[name]))

    text = written([(entry.key, document(entry.key, kept(entry))) for entry in entries])

    assert text == REAL[name].read_text(encoding="utf-8")


def test_boolean_tags_come_back_as_numbers() -> None:
    entries = list(pinshare.read(REAL["metadata.booltags.json"]))

    text = written([(entry.key, document(entry.key, kept(entry))) for entry in entries])

    expected = json.loads(REAL["metadata.booltags.json"].read_text(encoding="utf-8"))
    for fields in expected.values():
        tags = fields["tags"]
        fields["tags"] = tags and {tag: 0 for tag, stands in tags.items() if stands}
    assert json.loads(text) == expected


def test_a_nul_in_a_real_name_is_kept_and_noted() -> None:
    entries = list(pinshare.read(REAL["metadata.small.json"]))

    [odd] = [entry for entry in entries if "\0" in kept(entry).name]
    assert odd.key == WITH_NUL
    assert "tables show NUL and lone surrogates as \u2400 and \ufffd" in odd.notes


@pytest.mark.parametrize("name", REAL)
def test_the_totals_are_those_counted_by_others(name: str) -> None:
    counted = json.loads((TESTS / "data/pinshare/expected.json").read_text(encoding="utf-8"))[name]
    entries = list(pinshare.read(REAL[name]))
    notes = Counter(note.partition(" code")[0] for entry in entries for note in entry.notes)
    records = [kept(entry) for entry in entries]
    tags = [count for record in records for count in (record.tags or {}).values()]

    totals = {
        "records": len(entries),
        "tags": len(tags),
        "sum_of_tag_votes": sum(tags),
        "sum_of_moderation_votes": sum(record.moderation_votes for record in records),
        "by_ban_code": {str(k): n for k, n in Counter(r.ban_set for r in records).items()},
        "tags_null": sum(r.tags is None and "tags" not in r.absent for r in records),
        "missing_fields": Counter(name for record in records for name in record.absent),
        "key_differs_from_inner_sum": notes["key differs from fileSHA256"],
        "records_with_boolean_tags": notes["boolean tags: true counts 0, false is no tag"],
        "unknown_ban_codes": notes["unknown ban"],
        "keys_colliding_ignoring_case": notes["another key differs only in case"] // 2,
    }
    assert totals == {total: counted[total] for total in totals}
    assert notes["raw CID holds another sum"] == counted["cids_against_key"].get(
        "raw_differs_from_sum", 0
    )
    assert notes["key is not 64 lower-case hex digits"] == (
        counted["key_not_64_hex"] + counted["key_not_lower_case_hex"]
    )


def read(folder: Path, content: object) -> list[Entry]:
    path = folder / "metadata.json"
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else str(content).encode())
    return list(pinshare.read(path))


def written(documents: list[tuple[str, dict[str, object]]]) -> str:
    out = StringIO()
    assert pinshare.write(documents, out) == len(documents)
    return out.getvalue()


def kept(entry: Entry) -> Record:
    assert entry.record is not None, entry.refusal
    return entry.record


def without(*names: str) -> dict[str, object]:
    return {name: value for name, value in FULL.items() if name not in names}
