"""Commands end to end on a store in memory: what they do to a file, and what they refuse."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest

from refold.domain.errors import BadInput, CommandIdTaken, Conflict, Refused
from refold.domain.file import UnknownBanCode, UnknownFile
from refold.domain.tag_vote import NotAStance
from refold.domain.texts import IllFormedText, NotASha256
from refold.infrastructure import commands
from refold.infrastructure.commands import Done
from refold.infrastructure.open import open_store
from refold.infrastructure.requests.catalog import REQUESTS
from refold.infrastructure.requests.files import ApplyGossip, OfFile
from refold.infrastructure.services.files import FileView, show_file
from refold.infrastructure.store import Store

SHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
CID = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
OTHER = "ff" * 32
ABOUT_FILES = [name for name, model in REQUESTS.items() if issubclass(model, (OfFile, ApplyGossip))]
FILE = f"file-{SHA}"


@pytest.fixture
def store() -> Iterator[Store]:
    """A store in memory that knows one file."""
    with open_store("memory:") as store:
        run(store, "file.register", cid=CID, name="paper.pdf", type="pdf")
        yield store


# --- votes on tags ----------------------------------------------------------------


def test_voting_on_an_absent_tag_adds_it_first(store: Store) -> None:
    done = run(store, "tag_vote.cast", id="vote", tag="LENR", voter="ada", stance=-1)

    added, voted = store.log.page(0, 1, 10)
    assert (added.type, added.command_id) == ("file.tag_added", "vote/tag")
    assert (voted.type, voted.command_id) == ("tag_vote.cast", "vote")
    assert done == Done("appended", f"{FILE}/tag_vote/LENR/ada", 1, voted.position)
    assert shown(store).tags == {"LENR": -1}


def test_a_vote_that_is_refused_adds_no_tag(store: Store) -> None:
    with pytest.raises(NotAStance):
        run(store, "tag_vote.cast", tag="LENR", voter="ada", stance=2)
    with pytest.raises(IllFormedText):
        run(store, "tag_vote.cast", tag="LENR", voter="", stance=1)

    assert shown(store).tags == {}


def test_a_voter_counts_once_and_may_turn_and_withdraw(store: Store) -> None:
    for voter, stance in [("ada", 1), ("bo", 1), ("ada", 1), ("ada", -1)]:
        run(store, "tag_vote.cast", tag="LENR", voter=voter, stance=stance)
    assert shown(store).tags == {"LENR": 0}

    run(store, "tag_vote.withdraw", tag="LENR", voter="ada")

    assert shown(store).tags == {"LENR": 1}


def test_votes_of_another_generation_do_not_count(store: Store) -> None:
    run(store, "tag_vote.cast", tag="LENR", voter="ada", stance=1)
    run(store, "file.remove_tag", tag="LENR")
    assert shown(store).tags == {}
    run(store, "file.add_tag", tag="LENR")
    assert shown(store).tags == {"LENR": 0}

    withdrawn = run(store, "tag_vote.withdraw", tag="LENR", voter="ada")
    run(store, "tag_vote.cast", tag="LENR", voter="bo", stance=-1)

    assert withdrawn.outcome == "unchanged"
    assert shown(store).tags == {"LENR": -1}


def test_add_tag_keeps_the_votes_and_reset_tag_sets_them_to_0(store: Store) -> None:
    run(store, "tag_vote.cast", tag="LENR", voter="ada", stance=1)

    again = run(store, "file.add_tag", tag="LENR")
    assert (again.outcome, shown(store).tags) == ("unchanged", {"LENR": 1})
    reset = run(store, "file.reset_tag", tag="LENR")

    assert (reset.outcome, shown(store).tags) == ("appended", {"LENR": 0})


def test_a_vote_on_a_tag_that_is_gone_is_not_taken_back(store: Store) -> None:
    run(store, "tag_vote.cast", tag="LENR", voter="ada", stance=1)
    run(store, "file.remove_tag", tag="LENR")

    assert run(store, "tag_vote.withdraw", tag="LENR", voter="ada").outcome == "unchanged"


# --- votes for removal, bans, PUT -------------------------------------------------


def test_votes_for_removal_may_go_below_zero_and_never_ban(store: Store) -> None:
    for n in range(30):
        run(store, "removal_vote.cast", voter=f"v{n}", stance=1)
    assert (shown(store).moderation_votes, shown(store).ban_set) == (30, 0)

    for n in range(30):
        run(store, "removal_vote.cast", voter=f"v{n}", stance=-1)

    assert shown(store).moderation_votes == -30


def test_registering_again_does_not_unban(store: Store) -> None:
    run(store, "file.ban", code=9)
    run(store, "removal_vote.cast", voter="ada", stance=1)

    run(store, "file.register", cid=CID, name="new name.pdf")

    assert (shown(store).name, shown(store).type) == ("new name.pdf", "")
    assert (shown(store).ban_set, shown(store).moderation_votes) == (9, 1)


def test_replacing_resets_all_moderation_and_later_votes_add_up_from_zero(store: Store) -> None:
    run(store, "file.ban", code=9)
    for voter in ("ada", "bo", "cy"):
        run(store, "removal_vote.cast", voter=voter, stance=1)
    run(store, "tag_vote.cast", tag="LENR", voter="ada", stance=1)

    run(store, "file.replace", cid=CID, name="put.pdf")
    view = shown(store)
    assert (view.ban_set, view.moderation_votes, view.tags) == (0, 0, {})
    run(store, "removal_vote.withdraw", voter="ada")

    assert shown(store).moderation_votes == -1


def test_a_ban_is_given_replaced_and_lifted(store: Store) -> None:
    for code in (3, 6, 0):
        run(store, "file.ban", code=code)
        assert shown(store).ban_set == code

    assert run(store, "file.unban").outcome == "unchanged"


# --- gossip -----------------------------------------------------------------------


def gossip(**fields: object) -> dict[str, Any]:
    return {"record": {"fileSHA256": SHA} | fields, "peer": "peer-1"}


def test_votes_at_two_nodes_survive_gossip() -> None:
    with open_store("memory:") as here:
        run(here, "file.register", cid=CID)
        run(here, "tag_vote.cast", tag="LENR", voter="ada", stance=1)
        run(here, "removal_vote.cast", voter="ada", stance=1)
        theirs = gossip(
            ipfsCID=CID,
            lastUpdated="2999-01-01T00:00:00Z",
            tags={"LENR": 5, "far": 2},
            moderationVotes=-3,
        )

        run(here, "file.apply_gossip", **theirs)

        assert shown(here).tags == {"LENR": 6, "far": 2}
        assert shown(here).moderation_votes == -2


@pytest.mark.parametrize(
    ("vote", "fields"),
    [("tag_vote.cast", {"tag": "LENR"}), ("removal_vote.cast", {})],
)
def test_gossip_older_than_the_last_vote_is_no_news(
    store: Store, vote: str, fields: dict[str, Any]
) -> None:
    run(store, "file.add_tag", tag="LENR")
    before = now_of(store)
    run(store, vote, voter="ada", stance=1, **fields)

    stale = gossip(lastUpdated=before, fileName="old")
    outcome = run(store, "file.apply_gossip", **stale, tie="replace").outcome

    assert (outcome, shown(store).name) == ("unchanged", "paper.pdf")


@pytest.mark.parametrize(("tie", "name"), [("keep", "paper.pdf"), ("replace", "theirs.pdf")])
def test_gossip_as_new_as_what_is_known_follows_the_tie_rule(
    store: Store, tie: str, name: str
) -> None:
    same = gossip(lastUpdated=now_of(store), fileName="theirs.pdf")

    run(store, "file.apply_gossip", **same, tie=tie)

    assert shown(store).name == name


def test_the_same_gossip_again_is_no_news(store: Store) -> None:
    newer = gossip(lastUpdated="2999-01-01T00:00:00.000000001Z", tags={"LENR": 1})

    outcomes = [run(store, "file.apply_gossip", **newer).outcome for _ in range(3)]

    assert outcomes == ["appended", "unchanged", "unchanged"]


def test_gossip_keeps_the_text_of_its_times(store: Store) -> None:
    late = "2999-01-01T01:00:00.120000000+01:00"

    run(store, "file.apply_gossip", **gossip(lastUpdated=late, addedAt="0001-01-01T00:00:00Z"))

    assert (shown(store).last_updated, shown(store).added_at) == (late, "0001-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"fileSHA256": ""},
        {"fileSHA256": 3},
        {"fileSHA256": OTHER, "tags": []},
        {"fileSHA256": OTHER, "lastUpdated": "yesterday"},
        {"fileSHA256": "ODD KEY"},
        {"fileSHA256": OTHER, "banSet": 2**63},
    ],
)
def test_a_gossip_record_that_cannot_be_kept_is_refused(
    store: Store, record: dict[str, Any]
) -> None:
    with pytest.raises(Refused):
        run(store, "file.apply_gossip", record=record, peer="peer-1")

    assert store.log.heads()[0].position == 1


# --- the command loop -------------------------------------------------------------


def test_a_command_id_does_its_command_once(store: Store) -> None:
    first = run(store, "file.ban", id="ban-1", code=9)
    run(store, "file.unban")

    again = run(store, "file.ban", id="ban-1", code=9)

    assert first == Done("appended", FILE, 2, 2)
    assert again == Done("duplicate", FILE, 2, 2)
    assert shown(store).ban_set == 0


def test_what_changes_nothing_tells_where_the_stream_ends(store: Store) -> None:
    run(store, "file.ban", code=9)
    run(store, "file.register", sha256=OTHER, cid="bafy1")

    assert run(store, "file.ban", code=9) == Done("unchanged", FILE, 2, 2)
    assert run(store, "tag_vote.withdraw", tag="LENR", voter="ada") == Done(
        "unchanged", f"{FILE}/tag_vote/LENR/ada", 0, 0
    )


def test_a_vote_asked_for_twice_is_cast_once(store: Store) -> None:
    first = run(store, "tag_vote.cast", id="v", tag="LENR", voter="ada", stance=1)

    again = run(store, "tag_vote.cast", id="v", tag="LENR", voter="ada", stance=1)

    assert (again.outcome, again.position) == ("duplicate", first.position)
    assert store.log.heads()[0].position == first.position


def test_a_vote_goes_on_where_only_its_tag_got_in(store: Store) -> None:
    run(store, "file.add_tag", id="v/tag", tag="LENR")

    done = run(store, "tag_vote.cast", id="v", tag="LENR", voter="ada", stance=1)

    assert done.outcome == "appended"
    assert shown(store).tags == {"LENR": 1}


def test_a_command_id_of_another_stream_is_refused(store: Store) -> None:
    run(store, "file.ban", id="mine", code=9)

    with pytest.raises(CommandIdTaken, match=f"command id mine was already used on {FILE}"):
        run(store, "removal_vote.cast", id="mine", voter="ada", stance=1)


def test_a_command_that_changes_nothing_is_not_recorded(store: Store) -> None:
    done = run(store, "file.unban", id="nothing")

    assert done == Done("unchanged", FILE, 1, 1)
    assert run(store, "file.ban", id="nothing", code=3).outcome == "appended"


@pytest.mark.parametrize("expected", [0, 1, 3, 99, -1])
def test_a_version_behind_or_ahead_of_what_is_there_is_a_conflict(
    store: Store, expected: int
) -> None:
    run(store, "file.add_tag", tag="LENR")

    with pytest.raises(Conflict, match=f"{FILE} is at version 2, not {expected}"):
        run(store, "file.ban", expected=expected, code=9)

    assert shown(store).ban_set == 0


def test_the_version_that_was_seen_is_taken(store: Store) -> None:
    assert run(store, "file.ban", expected=1, code=9).version == 2


def test_writers_to_one_file_all_get_in(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: run(store, "file.add_tag", tag=f"t{n}"), range(40)))
        list(
            pool.map(
                lambda n: run(store, "tag_vote.cast", tag="all", voter=f"v{n}", stance=1),
                range(40),
            )
        )

    assert shown(store).tags == {f"t{n}": 0 for n in range(40)} | {"all": 40}


def test_the_actor_is_kept_with_the_events(store: Store) -> None:
    run(store, "tag_vote.cast", tag="LENR", voter="ada", stance=1)

    assert [record.metadata for record in store.log.page(0, 1, 10)] == [b'{"actor":"tester"}'] * 2


# --- bad input --------------------------------------------------------------------


def test_an_unknown_command_is_refused_and_the_known_ones_are_named(store: Store) -> None:
    with pytest.raises(BadInput, match=r"there is no command 'file.eat'; there are file.register,"):
        run(store, "file.eat")


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("file.ban", {}, "code: Field required"),
        ("file.ban", {"code": "9"}, "code: Input should be a valid integer"),
        ("file.ban", {"code": True}, "code: Input should be a valid integer"),
        ("file.ban", {"code": 9, "why": "x"}, "why: Extra inputs are not permitted"),
        ("file.add_tag", {"tag": None}, "tag: Input should be a valid string"),
        ("file.apply_gossip", {"record": {}, "peer": "p", "tie": "x"}, "tie: Input should be"),
    ],
)
def test_a_malformed_field_is_named(
    store: Store, name: str, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadInput, match=f"{name}: {why}"):
        run(store, name, **fields)


@pytest.mark.parametrize("name", [name for name in ABOUT_FILES if "gossip" not in name])
def test_a_malformed_sum_is_refused_and_nothing_is_written(store: Store, name: str) -> None:
    with pytest.raises(NotASha256, match="is not a SHA-256 of 64 lower-case hex digits"):
        run(store, name, **sample(name, SHA.upper()))

    assert store.log.heads()[0].position == 1


@pytest.mark.parametrize(
    "name",
    [name for name in ABOUT_FILES if name not in ("file.register", "file.apply_gossip")],
)
def test_an_unknown_file_is_refused_and_nothing_is_written(store: Store, name: str) -> None:
    with pytest.raises(UnknownFile, match=f"no file {OTHER} is known"):
        run(store, name, **sample(name, OTHER))

    assert store.log.heads()[0].position == 1


def test_ban_code_4_is_refused_and_nothing_is_written(store: Store) -> None:
    with pytest.raises(UnknownBanCode, match="ban code 4 is not one of 0, 3, 6, 9"):
        run(store, "file.ban", code=4)

    assert store.log.heads()[0].position == 1


@pytest.mark.parametrize("bad", ["nul\0", "\ud800"])
def test_ids_and_tags_hold_neither_nul_nor_lone_surrogates(store: Store, bad: str) -> None:
    with pytest.raises(IllFormedText):
        run(store, "file.ban", id=bad, code=9)
    with pytest.raises(IllFormedText):
        run(store, "file.add_tag", tag=bad)
    with pytest.raises(IllFormedText):
        run(store, "tag_vote.cast", tag="LENR", voter=bad, stance=1)

    assert store.log.heads()[0].position == 1


SAMPLES: dict[str, dict[str, Any]] = {
    "file.register": {"cid": "Qm"},
    "file.change": {"name": "x"},
    "file.replace": {"cid": "Qm"},
    "file.ban": {"code": 9},
    "file.unban": {},
    "file.add_tag": {"tag": "LENR"},
    "file.reset_tag": {"tag": "LENR"},
    "file.remove_tag": {"tag": "LENR"},
    "tag_vote.cast": {"tag": "LENR", "voter": "ada", "stance": 1},
    "tag_vote.withdraw": {"tag": "LENR", "voter": "ada"},
    "removal_vote.cast": {"voter": "ada", "stance": 1},
    "removal_vote.withdraw": {"voter": "ada"},
}


def sample(name: str, sha256: str) -> dict[str, Any]:
    return {"sha256": sha256, **SAMPLES[name]}


def run(
    store: Store, command: str, /, *, id: str = "", expected: int | None = None, **fields: Any
) -> Done:
    if "record" not in fields:
        fields = {"sha256": SHA} | fields
    return commands.run(
        store,
        command,
        fields,
        command_id=id or f"c{next(NUMBERS)}",
        actor="tester",
        expected=expected,
    )


NUMBERS = count()


def shown(store: Store) -> FileView:
    return show_file(store, SHA)


def now_of(store: Store) -> str:
    return shown(store).last_updated
