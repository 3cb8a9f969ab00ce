"""What may happen to a file, and what is refused."""

from base64 import b32encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain import cids, tag_vote, times
from refold.domain.errors import Refused
from refold.domain.file import (
    Banned,
    Changed,
    CidDoesNotMatch,
    File,
    GossipApplied,
    Imported,
    Record,
    Registered,
    Replaced,
    TagAdded,
    TagRemoved,
    Tie,
    Unbanned,
    UnknownBanCode,
    UnknownFile,
    add_tag,
    after,
    apply_gossip,
    ban,
    change,
    evolve,
    import_record,
    last_updated,
    register,
    remove_tag,
    replace_all,
    reset_tag,
    unban,
)
from refold.domain.texts import IllFormedText, NotASha256

SHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
RAW = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
CHUNKED = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
OTHER_RAW = "b" + b32encode(b"\x01\x55\x12\x20" + bytes(32)).decode().lower().rstrip("=")

REGISTERED = Registered(SHA, RAW, "paper.pdf", "pdf")
NEWER, OLDER = "2025-08-05T20:44:29.123456789Z", "2025-08-05T20:44:29.123456788Z"
MONDAY = "2025-08-04T12:00:00Z"

# --- making files known -----------------------------------------------------------


def test_a_new_file_is_registered() -> None:
    unknown = File()

    assert register(unknown, SHA, RAW, "paper.pdf", "pdf", MONDAY) == [
        Registered(SHA, RAW, "paper.pdf", "pdf", MONDAY)
    ]


def test_a_file_may_have_neither_name_nor_type_nor_cid() -> None:
    unknown = File()

    assert register(unknown, SHA, "bafy") == [Registered(SHA, "bafy", "", "")]


@pytest.mark.parametrize(
    "odd", ["", "2cf2", SHA.upper(), SHA + "0", SHA + "\n", "g" * 64, "\uff12" + SHA[1:]]
)
def test_a_new_file_needs_64_lower_case_hex_digits(odd: str) -> None:
    unknown = File()

    with pytest.raises(NotASha256):
        register(unknown, odd, CHUNKED)


def test_a_raw_cid_must_hold_the_files_own_sum() -> None:
    unknown = File()

    with pytest.raises(CidDoesNotMatch, match=r"0{64}, not 2cf24dba"):
        register(unknown, SHA, OTHER_RAW)


@pytest.mark.parametrize(
    "cid", [CHUNKED, "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "b", "b1"]
)
def test_a_cid_that_does_not_tell_a_sum_is_taken_as_it_is(cid: str) -> None:
    unknown = File()

    assert register(unknown, SHA, cid) == [Registered(SHA, cid, "", "")]


@pytest.mark.parametrize("header", [b"\x01\x70\x12\x20", b"\x01\x55\x13\x20", b"\x00\x55\x12\x20"])
def test_only_version_1_raw_sha256_cids_tell_a_sum(header: bytes) -> None:
    cid = "b" + b32encode(header + bytes(32)).decode().lower().rstrip("=")

    assert cids.raw_digest(cid) is None
    assert cids.raw_digest(OTHER_RAW) == "00" * 32


@pytest.mark.parametrize("length", [31, 33])
def test_a_cid_with_a_sum_of_another_length_tells_none(length: int) -> None:
    header = b"\x01\x55\x12\x20"
    cid = "b" + b32encode(header + bytes(length)).decode().lower().rstrip("=")

    assert cids.raw_digest(cid) is None


@given(st.text(max_size=80))
def test_no_text_is_too_odd_to_be_looked_at_as_a_cid(text: str) -> None:
    assert len(cids.raw_digest("b" + text) or "x" * 64) == 64


def test_registering_a_time_that_is_none_is_refused() -> None:
    unknown = File()

    with pytest.raises(times.NotATime):
        register(unknown, SHA, RAW, added_at="yesterday")


# --- changing fields --------------------------------------------------------------


def test_registering_a_known_file_again_changes_what_differs() -> None:
    known = after(REGISTERED)

    assert register(known, SHA, CHUNKED, "paper.pdf", "pdf") == [Changed(cid=CHUNKED)]


def test_registering_a_known_file_as_it_is_is_no_news() -> None:
    known = after(REGISTERED)

    assert register(known, SHA, RAW, "paper.pdf", "pdf", MONDAY) == []


def test_registering_again_does_not_lift_a_ban_nor_touch_tags() -> None:
    banned = after(REGISTERED, TagAdded("LENR", 1), Banned(9))

    again = register(banned, SHA, RAW, "other.pdf", "pdf")

    assert again == [Changed(name="other.pdf")]
    assert after(REGISTERED, TagAdded("LENR", 1), Banned(9), *again).ban_set == 9
    assert after(REGISTERED, TagAdded("LENR", 1), Banned(9), *again).tags == {"LENR"}


def test_a_field_that_is_not_given_stays() -> None:
    known = after(REGISTERED)

    changed = change(known, SHA, name="")

    assert changed == [Changed(name="")]
    assert after(REGISTERED, *changed) == after(Registered(SHA, RAW, "", "pdf"))


@pytest.mark.parametrize("fields", [{"cid": "bafy"}, {"name": ""}, {"type": "epub"}])
def test_a_change_touches_only_the_fields_that_it_has(fields: dict[str, str]) -> None:
    before = after(REGISTERED, TagAdded("LENR", 1), Banned(9))

    assert evolve(before, Changed(**fields)) == before._replace(**fields)  # type: ignore[arg-type]


def test_changing_nothing_is_no_news() -> None:
    known = after(REGISTERED)

    assert change(known, SHA) == []
    assert change(known, SHA, RAW, "paper.pdf", "pdf") == []


def test_a_raw_cid_must_match_when_it_is_changed() -> None:
    known = after(REGISTERED)

    with pytest.raises(CidDoesNotMatch):
        change(known, SHA, cid=OTHER_RAW)


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", "line\nbreak", "x" * 257, "del\x7f"])
@pytest.mark.parametrize("field", ["cid", "name", "type"])
def test_a_field_that_no_table_could_show_is_refused(field: str, bad: str) -> None:
    known = after(REGISTERED)

    with pytest.raises(IllFormedText, match=field):
        change(known, SHA, **{field: bad})
    with pytest.raises(IllFormedText, match=field):
        register(File(), SHA, **{"cid": CHUNKED} | {field: bad})
    with pytest.raises(IllFormedText, match=field):
        replace_all(known, SHA, removal_votes=0, **{"cid": CHUNKED} | {field: bad})


def test_an_empty_cid_is_refused() -> None:
    known = after(REGISTERED)

    with pytest.raises(IllFormedText, match="has 0 characters"):
        change(known, SHA, cid="")


def test_a_name_of_256_characters_is_taken() -> None:
    known = after(REGISTERED)

    assert change(known, SHA, name="ü" * 256) == [Changed(name="ü" * 256)]


# --- PinShare's own PUT -----------------------------------------------------------


def test_replacing_as_pinshare_does_forgets_tags_votes_and_ban() -> None:
    history = (REGISTERED, TagAdded("spam", 1), TagAdded("LENR", 1), Banned(3))

    replaced = replace_all(after(*history), SHA, CHUNKED, removal_votes=-2)

    assert replaced == [Replaced(CHUNKED, "", "", 2, ("LENR", "spam"))]
    assert after(*history, *replaced) == File(
        True, SHA, CHUNKED, "", "", 0, frozenset(), {"spam": 1, "LENR": 1}
    )


def test_a_raw_cid_must_match_when_a_file_is_replaced() -> None:
    known = after(REGISTERED)

    with pytest.raises(CidDoesNotMatch):
        replace_all(known, SHA, OTHER_RAW, removal_votes=0)


# --- bans -------------------------------------------------------------------------


@pytest.mark.parametrize("code", [3, 6, 9])
def test_a_file_is_banned_for_a_reason(code: int) -> None:
    known = after(REGISTERED)

    assert ban(known, SHA, code) == [Banned(code)]


@pytest.mark.parametrize("code", [-3, 1, 4, 7, 10, 2**64])
def test_an_unknown_ban_code_is_refused_by_name(code: int) -> None:
    known = after(REGISTERED)

    with pytest.raises(UnknownBanCode, match=f"ban code {code} is not one of 0, 3, 6, 9"):
        ban(known, SHA, code)


def test_a_ban_for_another_reason_replaces_the_first() -> None:
    banned = after(REGISTERED, Banned(3))

    assert ban(banned, SHA, 9) == [Banned(9)]
    assert after(REGISTERED, Banned(3), Banned(9)).ban_set == 9


def test_the_same_ban_again_is_no_news() -> None:
    banned = after(REGISTERED, Banned(6))

    assert ban(banned, SHA, 6) == []


def test_code_0_lifts_a_ban() -> None:
    banned = after(REGISTERED, Banned(6))

    assert ban(banned, SHA, 0) == [Unbanned()]
    assert unban(banned, SHA) == [Unbanned()]
    assert after(REGISTERED, Banned(6), Unbanned()).ban_set == 0


def test_lifting_a_ban_that_is_not_there_is_no_news() -> None:
    known = after(REGISTERED)

    assert ban(known, SHA, 0) == []
    assert unban(known, SHA) == []


@pytest.mark.parametrize("odd", [7, -1, 2**63 - 1])
def test_an_imported_odd_ban_code_is_kept_and_can_be_lifted(odd: int) -> None:
    imported = import_record(File(), SHA, Record(cid=CHUNKED, ban_set=odd))

    assert after(*imported).ban_set == odd
    assert unban(after(*imported), SHA) == [Unbanned()]


# --- tags -------------------------------------------------------------------------


def test_the_first_adding_of_a_tag_opens_its_first_generation() -> None:
    known = after(REGISTERED)

    assert add_tag(known, SHA, "LENR") == [TagAdded("LENR", 1)]


def test_adding_a_tag_that_is_there_changes_nothing() -> None:
    tagged = after(REGISTERED, TagAdded("LENR", 1))

    assert add_tag(tagged, SHA, "LENR") == []


def test_tags_that_differ_in_case_or_space_are_different() -> None:
    tagged = after(REGISTERED, TagAdded("LENR", 1))

    assert add_tag(tagged, SHA, "lenr") == [TagAdded("lenr", 1)]
    assert add_tag(tagged, SHA, "LENR ") == [TagAdded("LENR ", 1)]


def test_adding_a_tag_again_after_it_was_removed_opens_the_next_generation() -> None:
    removed = after(REGISTERED, TagAdded("LENR", 1), TagRemoved("LENR", 1))

    assert add_tag(removed, SHA, "LENR") == [TagAdded("LENR", 2)]


def test_resetting_a_tag_removes_it_and_opens_the_next_generation() -> None:
    tagged = after(REGISTERED, TagAdded("LENR", 1))

    assert reset_tag(tagged, SHA, "LENR") == [TagRemoved("LENR", 1), TagAdded("LENR", 2)]


def test_resetting_a_tag_that_is_not_there_adds_it() -> None:
    known = after(REGISTERED)

    assert reset_tag(known, SHA, "LENR") == [TagAdded("LENR", 1)]


def test_removing_a_tag_tells_its_generation() -> None:
    tagged = after(REGISTERED, TagAdded("LENR", 1), TagRemoved("LENR", 1), TagAdded("LENR", 2))

    assert remove_tag(tagged, SHA, "LENR") == [TagRemoved("LENR", 2)]


def test_removing_a_tag_that_is_not_there_is_no_news() -> None:
    removed = after(REGISTERED, TagAdded("LENR", 1), TagRemoved("LENR", 1))

    assert remove_tag(removed, SHA, "LENR") == []
    assert remove_tag(removed, SHA, "never there") == []


@pytest.mark.parametrize("bad", ["", "a\0b", "\udfff", "tab\t", "x" * 257])
def test_a_tag_that_no_table_could_show_is_refused(bad: str) -> None:
    known = after(REGISTERED)

    with pytest.raises(IllFormedText):
        add_tag(known, SHA, bad)
    with pytest.raises(IllFormedText):
        reset_tag(known, SHA, bad)


def test_an_imported_tag_too_long_for_a_command_can_still_be_voted_on_and_removed() -> None:
    long = "x" * 300
    imported = after(*import_record(File(), SHA, Record(tags={long: 2})))

    assert add_tag(imported, SHA, long) == []
    assert remove_tag(imported, SHA, long) == [TagRemoved(long, 1)]


# --- files that nobody knows ------------------------------------------------------


@pytest.mark.parametrize(
    "decide",
    [
        lambda state, sha: change(state, sha, name="x"),
        lambda state, sha: replace_all(state, sha, CHUNKED, removal_votes=0),
        lambda state, sha: ban(state, sha, 9),
        lambda state, sha: ban(state, sha, 0),
        unban,
        lambda state, sha: add_tag(state, sha, "LENR"),
        lambda state, sha: reset_tag(state, sha, "LENR"),
        lambda state, sha: remove_tag(state, sha, "LENR"),
    ],
    ids=["change", "replace_all", "ban", "ban 0", "unban", "add_tag", "reset_tag", "remove_tag"],
)
def test_nothing_is_decided_about_an_unknown_file(decide) -> None:  # type: ignore[no-untyped-def]
    unknown = File()

    with pytest.raises(UnknownFile, match=f"no file {SHA} is known"):
        decide(unknown, SHA)
    with pytest.raises(NotASha256):
        decide(unknown, "not a sum")


def test_a_file_under_an_odd_imported_key_takes_commands() -> None:
    imported = after(*import_record(File(), "ODD/Key%", Record(cid="Qm")))

    assert ban(imported, "ODD/Key%", 9) == [Banned(9)]
    assert register(imported, "ODD/Key%", "Qm", "named") == [Changed(name="named")]


# --- gossip -----------------------------------------------------------------------


def test_gossip_about_an_unknown_file_makes_it_known() -> None:
    record = Record(CHUNKED, "a", "pdf", MONDAY, NEWER, 3, {"LENR": -2}, 7)

    applied = apply_gossip(File(), SHA, record, "peer-1", newest=None)

    assert applied == [GossipApplied(SHA, "peer-1", record, {"LENR": 1}, ())]
    assert after(*applied) == File(
        True, SHA, CHUNKED, "a", "pdf", 7, frozenset({"LENR"}), {"LENR": 1}
    )


@pytest.mark.parametrize("odd", ["", "abc", SHA.upper()])
def test_gossip_makes_no_file_known_under_an_odd_key(odd: str) -> None:
    with pytest.raises(Refused):
        apply_gossip(File(), odd, Record(), "peer-1", newest=None)


def test_gossip_about_a_file_under_an_odd_imported_key_is_applied() -> None:
    imported = after(*import_record(File(), SHA.upper(), Record()))
    record = Record(last_updated=NEWER)

    assert apply_gossip(imported, SHA.upper(), record, "peer-1", newest=OLDER) == [
        GossipApplied(SHA.upper(), "peer-1", record, {}, ())
    ]


def test_gossip_newer_by_a_nanosecond_is_applied() -> None:
    known = after(REGISTERED)
    record = Record(last_updated=NEWER)

    assert apply_gossip(known, SHA, record, "peer-1", newest=OLDER) == [
        GossipApplied(SHA, "peer-1", record, {}, ())
    ]


def test_gossip_older_by_a_nanosecond_is_no_news() -> None:
    known = after(REGISTERED)
    record = Record(last_updated=OLDER)

    assert apply_gossip(known, SHA, record, "peer-1", newest=NEWER) == []
    assert apply_gossip(known, SHA, record, "peer-1", newest=NEWER, tie=Tie.REPLACE) == []


@pytest.mark.parametrize(
    ("newest", "same"),
    [
        (NEWER, NEWER),
        ("2025-08-05T20:44:29Z", "2025-08-05T21:44:29+01:00"),
        ("2025-08-05T20:44:29.1Z", "2025-08-05T15:14:29.100000000-05:30"),
    ],
)
def test_a_tie_is_decided_by_the_rule_that_was_asked_for(newest: str, same: str) -> None:
    known = after(REGISTERED)
    record = Record(last_updated=same)

    assert apply_gossip(known, SHA, record, "peer-1", newest, Tie.KEEP) == []
    assert apply_gossip(known, SHA, record, "peer-1", newest, Tie.REPLACE) == [
        GossipApplied(SHA, "peer-1", record, {}, ())
    ]


def test_offsets_count_when_gossip_is_compared() -> None:
    known = after(REGISTERED)
    later_by_the_text_alone = Record(last_updated="2025-08-05T21:44:29+02:00")

    assert apply_gossip(known, SHA, later_by_the_text_alone, "p", "2025-08-05T20:44:29Z") == []


def test_gossip_opens_generations_for_new_tags_alone_and_removes_those_it_lacks() -> None:
    tagged = after(
        REGISTERED,
        TagAdded("stays", 1),
        TagAdded("goes", 1),
        TagAdded("was", 1),
        TagRemoved("was", 1),
    )
    record = Record(last_updated=NEWER, tags={"stays": 5, "new": 1, "was": 0})

    [applied] = apply_gossip(tagged, SHA, record, "peer-1", newest=OLDER)

    assert applied == GossipApplied(SHA, "peer-1", record, {"new": 1, "was": 2}, ("goes",))


def test_a_removed_tag_stays_removed_when_stale_gossip_has_it() -> None:
    removed = after(REGISTERED, TagAdded("spam", 1), TagRemoved("spam", 1))
    stale = Record(last_updated=OLDER, tags={"spam": 9})

    assert apply_gossip(removed, SHA, stale, "peer-1", newest=NEWER) == []


@pytest.mark.parametrize("bad", ["peer\0", "\ud800"])
def test_a_peer_is_named_by_plain_text(bad: str) -> None:
    with pytest.raises(IllFormedText, match="peer"):
        apply_gossip(after(REGISTERED), SHA, Record(), bad, newest=None)


# --- how new a file is ------------------------------------------------------------


def test_a_record_from_elsewhere_brings_its_own_clock() -> None:
    record = Record(last_updated="2025-08-05T21:44:29.5+01:00")

    assert last_updated(Imported(SHA, record, {}, ()), 0) == "2025-08-05T21:44:29.5+01:00"
    assert last_updated(GossipApplied(SHA, "p", record, {}, ()), 0) == record.last_updated


@pytest.mark.parametrize(
    "value", [REGISTERED, Unbanned(), TagAdded("a", 1), tag_vote.Cast("a", "ada", 1, 1)]
)
def test_everything_else_is_as_new_as_its_record_votes_included(value: object) -> None:
    assert last_updated(value, 1_500_000) == "1970-01-01T00:00:01.5Z"


# --- import -----------------------------------------------------------------------


def test_an_import_takes_a_record_as_it_is() -> None:
    record = Record(OTHER_RAW, "n\0", "x", MONDAY, NEWER, -4, {"LENR": 3}, 7, {"more": 1}, ("x",))

    imported = import_record(File(), "Odd Key", record)

    assert imported == [Imported("Odd Key", record, {"LENR": 1}, ())]
    assert after(*imported).cid == OTHER_RAW


def test_null_tags_are_no_tags() -> None:
    tagged = after(REGISTERED, TagAdded("LENR", 1))
    record = Record(tags=None)

    assert import_record(tagged, SHA, record) == [Imported(SHA, record, {}, ("LENR",))]


def test_a_second_import_opens_generations_for_new_tags_alone() -> None:
    first = import_record(File(), SHA, Record(tags={"a": 1, "b": 2}))
    second = Record(tags={"b": 3, "c": 1})
    third = Record(tags={"a": 1, "c": 1})

    [again] = import_record(after(*first), SHA, second)
    [back] = import_record(after(*first, again), SHA, third)

    assert again == Imported(SHA, second, {"c": 1}, ("a",))
    assert back == Imported(SHA, third, {"a": 2}, ("b",))


@pytest.mark.parametrize(
    ("key", "record"),
    [
        ("", Record()),
        ("nul\0", Record()),
        ("\ud800", Record()),
        (SHA, Record(tags={"nul\0": 1})),
        (SHA, Record(tags={"\udfff": 1})),
        ("k" * 1025, Record()),
        (SHA, Record(cid="c" * 1025)),
        (SHA, Record(type="ü" * 513)),
        (SHA, Record(tags={"t" * 1025: 1})),
        (SHA, Record(moderation_votes=2**63)),
        (SHA, Record(ban_set=-(2**63) - 1)),
        (SHA, Record(tags={"a": 2**63})),
        (SHA, Record(added_at="2025-13-01T00:00:00Z")),
        (SHA, Record(last_updated="")),
    ],
)
def test_a_record_that_tables_cannot_hold_is_refused(key: str, record: Record) -> None:
    with pytest.raises(Refused):
        import_record(File(), key, record)
    with pytest.raises(Refused):
        apply_gossip(after(REGISTERED), key, record, "peer-1", newest=None)


def test_a_record_at_the_limits_is_taken() -> None:
    record = Record(
        cid="\ud800" * 341,
        name="n" * 100_000 + "\0",
        type="t" * 1024,
        moderation_votes=-(2**63),
        tags={"t" * 1024: 2**63 - 1},
        ban_set=2**63 - 1,
    )

    assert import_record(File(), "k" * 1024, record) == [
        Imported("k" * 1024, record, {"t" * 1024: 1}, ())
    ]
