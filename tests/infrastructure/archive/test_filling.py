"""A store that is filled from an archive is the store that was archived, or it says what is not."""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from refold.domain.errors import (
    ForeignTarget,
    KeyErased,
    Moved,
    NoPlaceForBlobs,
    NoVaultKey,
    Refused,
    WrongVaultKey,
)
from refold.domain.ports import Recorded, Seal, State
from refold.domain.positions import Positions
from refold.infrastructure import chain
from refold.infrastructure.address import Archive
from refold.infrastructure.archive import format, writing
from refold.infrastructure.archive.filling import KeysLeftOut, fill, survey
from refold.infrastructure.checking.doctor import examine
from refold.infrastructure.config import of_environment
from refold.infrastructure.moving import verifying
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.heads import head
from refold.infrastructure.open import open_store
from refold.infrastructure.services.sessions import list_sessions, show_session
from refold.infrastructure.store import Store
from refold.tests.contract.two_stores import register, states
from refold.tests.infrastructure.archive.conftest import do, everything


@pytest.fixture
def target(new_store: Callable[[], Store]) -> Store:
    """An empty store."""
    return new_store()


@pytest.fixture(params=["sqlite", "postgres"])
def any_target(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """An empty store of each engine, with a place for blobs."""
    url = f"sqlite:///{tmp_path / 'target.db'}"
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres_url"))
    with monkeypatch.context() as patch:
        patch.setenv("REFOLD_BLOBS", str(tmp_path / "target-blobs"))
        store = open_store(url, create=True)
    with store:
        yield store


def test_a_store_comes_back_with_everything(
    source: Store, place: Archive, any_target: Store
) -> None:
    writing.write(source, place, with_keys=True)
    carry_blobs(source, any_target)

    certificate = fill(survey(place), any_target)

    assert certificate.equal, certificate.differences
    assert everything(any_target) == everything(source)
    assert any_target.log.identity().log_id == source.log.identity().log_id
    assert any_target.log.identity().store_id != source.log.identity().store_id
    assert any_target.log.claims()[1] == source.log.claims()[1]
    assert len(any_target.log.claims()[1]) >= 7
    assert any_target.log.keys() == source.log.keys()
    assert any_target.log.seals(0) == source.log.seals(0)
    assert states(any_target) == [State.OPEN]
    compared = verifying.compare(source, any_target)
    assert compared.equal, compared.differences
    assert all(table.source == table.target for table in compared.tables)
    assert [each.target for each in certificate.tables] == [each.target for each in compared.tables]
    assert {each.source for each in certificate.tables} == {None}


def test_the_golden_log_comes_back(
    golden: Sequence[Recorded], new_store: Callable[[], Store], place: Archive
) -> None:
    store = new_store()
    store.log.change_state(State.FILLING)
    store.log.receive(golden)
    store.log.change_state(State.OPEN)
    writing.write(store, place)
    target = new_store()

    fill(survey(place), target, without_keys=True)

    assert everything(target) == golden


def test_what_goes_on_at_the_new_store_is_sealed_with_the_same_key(
    source: Store, place: Archive, target: Store
) -> None:
    writing.write(source, place, with_keys=True)
    fill(survey(place), target)

    do(target, "session.set", sid="lives", body="set here", expires_at="2990-01-01T00:00:00Z")

    assert shown(target, "lives") == "set here"
    assert target.vault.blind("e-mail", "ada") == source.vault.blind("e-mail", "ada")


def test_a_second_run_does_nothing(archive: Archive, target: Store) -> None:
    first = fill(survey(archive), target)
    before = (target.log.heads(), target.log.identity(), target.log.seals(0))
    seen = set()

    second = fill(survey(archive), target, progress=lambda *_: seen.update(states(target)))

    assert (second.equal, second.ends, second.tables) == (True, first.ends, first.tables)
    assert seen == {State.OPEN}
    assert (target.log.heads(), target.log.identity(), target.log.seals(0)) == before


def test_an_archive_that_grew_brings_what_is_new(
    long: Store, archive: Archive, any_target: Store
) -> None:
    fill(survey(archive), any_target)
    register(long, "new")
    writing.write(long, archive)

    certificate = fill(survey(archive), any_target)

    assert (certificate.equal, certificate.positions) == (True, Positions((2_501,)))
    assert everything(any_target) == everything(long)
    assert copy(long, any_target).equal
    register(any_target, "newer")
    assert writing.write(any_target, archive).appended == 1


def test_a_target_takes_no_commands_until_it_has_all(
    archive: Archive, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(what: str, done: int, total: int | None) -> None:
        seen.append((what, target.log.heads()[0].state))

    monkeypatch.setattr(chain, "PAGE", 1_000)
    fill(survey(archive), target, progress=look)

    assert ("copy", State.FILLING) in seen
    assert ("fold", State.FILLING) in seen
    assert states(target) == [State.OPEN]


# --- keys ---------------------------------------------------------------------------


def test_sealed_fields_are_not_lost_unless_that_is_said(
    source: Store, place: Archive, target: Store
) -> None:
    writing.write(source, place)

    with pytest.raises(KeysLeftOut, match="of 5 subjects and not their keys"):
        fill(survey(place), target)

    assert (target.log.heads()[0].position, states(target)) == (0, [State.OPEN])


def test_without_keys_what_was_sealed_is_erased_for_ever(
    source: Store, place: Archive, any_target: Store
) -> None:
    writing.write(source, place)
    carry_blobs(source, any_target)

    certificate = fill(survey(place), any_target, without_keys=True)

    assert certificate.equal, certificate.differences
    assert everything(any_target) == everything(source)
    subjects = {key.subject for key in source.log.keys()} - {"~vault"}
    assert {key.subject for key in any_target.log.keys()} == subjects
    assert all(key.wrapped is None for key in any_target.log.keys())
    assert (shown(any_target, "lives"), list(list_sessions(any_target))) == (None, [])
    assert {claim.kind for claim in any_target.log.claims()[1]} == {
        "public key",
        "push id",
        "repo url",
    }
    with pytest.raises(KeyErased):
        do(any_target, "user.change", id="ada", profile={"username": "ada"})
    do(any_target, "user.register", id="new", profile={"username": "ada", "email": "a@example.org"})
    do(any_target, "session.end", sid="lives")
    do(any_target, "session.set", sid="lives", body="anew", expires_at="2990-01-01T00:00:00Z")
    assert shown(any_target, "lives") == "anew"
    report = examine(any_target.address, of_environment())
    assert [each for each in report.findings if each.check == "claims"] == []


def test_keys_that_the_target_has_already_are_enough(
    source: Store, place: Archive, target: Store
) -> None:
    carry_blobs(source, target)
    writing.write(source, place)
    copy(source, target)
    do(source, "session.set", sid="lives", body="later", expires_at="2990-01-01T00:00:00Z")
    writing.write(source, place)

    certificate = fill(survey(place), target)

    assert certificate.equal, certificate.differences
    assert shown(target, "lives") == "later"


def test_what_was_erased_since_is_erased_at_the_target(
    source: Store, place: Archive, target: Store
) -> None:
    carry_blobs(source, target)
    copy(source, target)
    do(source, "user.erase", id="bo")
    writing.write(source, place, with_keys=True)

    certificate = fill(survey(place), target)

    assert certificate.equal, certificate.differences
    assert target.log.keys() == source.log.keys()


def test_a_store_that_cannot_open_the_keys_stays_closed(
    source: Store, place: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing.write(source, place, with_keys=True)
    url = f"sqlite:///{tmp_path / 'other.db'}"
    monkeypatch.delenv("REFOLD_VAULT_KEY")
    with open_store(url, create=True) as without, pytest.raises(NoVaultKey, match="vault-key"):
        fill(survey(place), without)
    monkeypatch.setenv("REFOLD_VAULT_KEY", "a5" * 32)
    with open_store(url) as wrong, pytest.raises(WrongVaultKey):
        fill(survey(place), wrong)
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)
    with open_store(url) as right:
        assert (right.log.heads()[0].position, states(right)) == (0, [State.FILLING])
        carry_blobs(source, right)

        assert fill(survey(place), right).equal
        assert shown(right, "lives") == "its body"


def test_a_store_with_a_vault_of_its_own_is_not_filled(
    source: Store, place: Archive, target: Store
) -> None:
    writing.write(source, place, with_keys=True)
    target.vault.blind("e-mail", "makes a secret")

    certificate = fill(survey(place), target)

    assert certificate.differences == ["the vaults differ"]
    assert (len(target.log.keys()), states(target)) == (1, [State.OPEN])


# --- blobs --------------------------------------------------------------------------


def test_missing_blobs_are_told_and_do_not_keep_the_store_closed(
    source: Store, place: Archive, target: Store
) -> None:
    writing.write(source, place, with_keys=True)
    [blob] = source.blobs.list()

    certificate = fill(survey(place), target)

    assert certificate.differences == ["missing blobs: 1"]
    assert (certificate.blobs.count, certificate.blobs.missing) == (1, (blob.sha256,))
    assert states(target) == [State.OPEN]
    carry_blobs(source, target)
    assert fill(survey(place), target).equal


def test_a_store_without_a_place_for_blobs_is_not_filled(
    source: Store, place: Archive, postgres_url: str
) -> None:
    writing.write(source, place, with_keys=True)

    with open_store(postgres_url, create=True) as target, pytest.raises(NoPlaceForBlobs):
        fill(survey(place), target)


# --- what is refused ------------------------------------------------------------------


def test_a_store_with_other_events_is_not_filled(archive: Archive, target: Store) -> None:
    register(target, "own")

    with pytest.raises(ForeignTarget, match="holds 1 events of another history"):
        fill(survey(archive), target)

    assert (len(everything(target)), states(target)) == (1, [State.OPEN])


def test_a_store_that_goes_on_further_is_not_filled(archive: Archive, target: Store) -> None:
    fill(survey(archive), target)
    register(target, "new")

    with pytest.raises(ForeignTarget, match="goes on to position 2501, the archive ends at 2500"):
        fill(survey(archive), target)

    assert states(target) == [State.OPEN]


def test_a_store_that_went_another_way_differs_and_keeps_its_events(
    long: Store, archive: Archive, target: Store
) -> None:
    fill(survey(archive), target)
    register(target, "there")
    before = everything(target)
    for name in "here", "too":
        register(long, name)
    writing.write(long, archive)

    certificate = fill(survey(archive), target)

    assert certificate.differences == ["the logs differ from position 2501 on"]
    assert (everything(target), states(target)) == (before, [State.OPEN])


def test_a_store_that_went_another_way_goes_on_and_gets_no_keys(
    source: Store, place: Archive, target: Store
) -> None:
    copy(source, target)
    register(target, "there")
    do(source, "user.register", id="new", profile={"username": "new", "email": "new@example.org"})
    do(source, "file.register", sha256="cd" * 32, cid="bafy2", name="more.pdf")
    writing.write(source, place, with_keys=True)
    before = everything(target), target.log.keys()

    certificate = fill(survey(place), target)

    where = len(before[0])
    assert certificate.differences == [f"the logs differ from position {where} on"]
    assert (everything(target), target.log.keys()) == before
    assert states(target) == [State.OPEN]


@pytest.mark.parametrize("step", ["replace_claims", "add_seals"])
def test_a_store_that_another_fills_further_is_not_opened_without_its_claims(
    source: Store,
    place: Archive,
    tmp_path: Path,
    target: Store,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    newer = Archive(tmp_path / "newer.zst")
    writing.write(source, place, with_keys=True)
    do(source, "user.register", id="new", profile={"username": "new", "email": "new@example.org"})
    writing.write(source, newer, with_keys=True)
    go_on = getattr(target.log, step)

    def filled_further(*given: Any) -> Any:
        monkeypatch.undo()
        there = head(target).positions.total
        target.log.receive(everything(source)[there:])
        return go_on(*given)

    monkeypatch.setattr(target.log, step, filled_further)
    with pytest.raises(ForeignTarget, match="was filled further meanwhile"):
        fill(survey(place), target)

    assert states(target) == [State.FILLING]
    carry_blobs(source, target)
    assert fill(survey(newer), target).equal
    assert target.log.claims().claims == source.log.claims().claims


def test_a_sealed_store_is_not_filled(archive: Archive, target: Store) -> None:
    target.log.change_state(State.SEALED, successor="elsewhere")

    with pytest.raises(Moved, match="elsewhere"):
        fill(survey(archive), target)


@pytest.mark.parametrize("taken", ["stream and version", "command id"])
def test_an_event_that_is_there_already_is_refused(
    source: Store, place: Archive, any_target: Store, taken: str
) -> None:
    copy(source, any_target)
    before = everything(source)
    new = before[-1]._replace(position=len(before) + 1)
    new = new._replace(stream="s") if taken == "command id" else new._replace(command_id="new")
    forge(place, source, [*before, new])

    with pytest.raises(Refused, match=f"one of the events {new.position} to {new.position} has"):
        fill(survey(place), any_target, without_keys=True)

    assert everything(any_target) == before


def test_a_text_that_postgresql_cannot_keep_is_refused(
    source: Store,
    place: Archive,
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "blobs"))
    before = everything(source)
    new = before[-1]._replace(position=len(before) + 1, stream="file-\0", command_id="new")
    forge(place, source, [*before, new])

    with (
        open_store(postgres_url, create=True) as target,
        pytest.raises(Refused, match="PostgreSQL cannot keep"),
    ):
        fill(survey(place), target, without_keys=True)


def test_a_store_that_a_move_fills_is_not_filled(
    source: Store, place: Archive, any_target: Store
) -> None:
    target, at = any_target, source.address.public
    target.log.change_state(State.FILLING, successor=at, log_id=source.log.identity().log_id)
    target.log.receive(everything(source)[:1])
    target.log.merge_keys(source.log.keys())
    before = everything(target), target.log.keys(), target.log.heads()
    writing.write(source, place)

    with pytest.raises(Refused, match=f"is being filled by a move from {at}, which has to be done"):
        fill(survey(place), target, without_keys=True)

    assert (everything(target), target.log.keys(), target.log.heads()) == before


def test_a_target_whose_seals_differ_stays_closed(archive: Archive, target: Store) -> None:
    target.log.add_seals([Seal(0, 1_000, b"\0" * 32)])

    certificate = fill(survey(archive), target)

    assert certificate.differences == ["the target's seal at position 1000 differs"]
    assert states(target) == [State.FILLING]


def test_a_command_that_comes_between_is_not_lost(archive: Archive, target: Store) -> None:
    found = survey(archive)

    def come_between(what: str, done: int, total: int | None) -> None:
        if not everything(target):
            register(target, "between")

    with pytest.raises(ForeignTarget, match="took a command at position 1 while"):
        fill(found, target, progress=come_between)

    assert (len(everything(target)), states(target)) == (1, [State.OPEN])


def test_a_command_that_comes_right_before_the_target_is_closed_is_not_lost(
    long: Store, archive: Archive, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(survey(archive), target)
    register(long, "new")
    writing.write(long, archive)
    page = target.log.page

    def page_and_more(partition: int, after: int, limit: int) -> list[Recorded]:
        found = page(partition, after, limit)
        if not found and target.log.heads()[0].position == 2_500:  # there was no more to compare
            register(target, "between")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(target.log, "page", page_and_more)
        with pytest.raises(ForeignTarget, match="took a command at position 2501 while"):
            fill(survey(archive), target)

    assert (len(everything(target)), states(target)) == (2_501, [State.OPEN])


# --- what is done to stores -----------------------------------------------------------


def forge(place: Archive, source: Store, records: Sequence[Recorded]) -> None:
    """Write an archive of `records`, whose checksums fit, as one of the history of `source`."""
    chained = reduce(chain.link, records, chain.genesis(0))
    header = format.Header(1, source.log.identity().log_id, 0, "x", "2025-01-02T03:04:05+00:00")
    place.path.write_bytes(
        format.header_frame(header)
        + format.block_frame(records, chained, [])
        + format.end_frame(len(records), chained)
    )


def carry_blobs(source: Store, target: Store) -> None:
    for blob in source.blobs.list():
        target.blobs.put(source.blobs.get(blob.sha256))


def shown(store: Store, sid: str) -> str | None:
    found = show_session(store, sid)
    return found.body if found else None
