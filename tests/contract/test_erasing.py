"""Erasing a person, on every engine: what was sealed is nowhere, and what is left is named."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from refold.domain.sealing import ERASED, Sealed
from refold.domain.user import UnknownUser
from refold.infrastructure import past
from refold.infrastructure.commands import Done, run
from refold.infrastructure.erasing import person
from refold.infrastructure.erasing.certificate import Certificate, Finding
from refold.infrastructure.erasing.erasing import erase
from refold.infrastructure.folding.generations import BUILDING, REHEARSING
from refold.infrastructure.folding.rebuilding import Rebuilder
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.verifying import compare, verify
from refold.infrastructure.open import open_store
from refold.infrastructure.services import attachments, media
from refold.infrastructure.services.users import find_user, list_users, show_user
from refold.infrastructure.store import Store
from refold.projections import files, public_keys, repo_permissions, sessions, users
from refold.projections import media as media_table
from refold.projections.projection import Projection, Row

OF_PEOPLE: Sequence[Projection] = (users, public_keys, sessions, repo_permissions, media_table)
LATER = "2990-01-01T00:00:00Z"
ADA = {
    "username": "ada.lovelace",
    "email": "ada@lovelace.example",
    "displayName": "Ada Lovelace",
    "gitAccount": "Ada-GH",
    "street": "12 St James's Square",
    "createdAt": "2024-10-25T15:57:49.883Z",
}
HASH = "$2b$10$adaslongpasswordhash"
BODY = '{"cookie":{},"passport":{"user":"ada.lovelace"},"csrf":"a-long-token-of-adas"}'
KEY = {"key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBbr4hKymqyaVWWeqODStc8zkhGN8F2R ada@desk"}
REPO = {"project": "p", "name": "n", "url": "https://example.org/p/n.git"}


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key and a place for blobs, for stores that have none of their own."""
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "blobs"))


@pytest.fixture
def peopled(store: Store) -> Store:
    """A store with Ada, of whom there is everything, and Bo, who shares some of it."""
    people(store)
    return store


def test_what_was_sealed_of_a_person_is_gone_and_others_stay_as_they_were(peopled: Store) -> None:
    store = peopled
    [hash] = [key for key in store.vault.open_all(passwords(store, "user-1")) if key is not ERASED]
    assert hash == HASH
    before = tables(store)
    old = store.history("user-1")[0].value

    made = erase(store, person.find(store, "Ada.Lovelace"), actor="dpo")

    assert (made.clean, made.again, made.found) == (True, False, [])
    assert made.sought["e-mail"] >= 1
    assert made.sought["session"] >= 1
    assert {"user name", "password hash", "display name", "public key"} <= made.sought.keys()
    assert (made.sessions, made.roles, made.uploads) == (2, 2, 2)
    assert (made.blobs_removed, made.blobs_kept) == (1, 1)
    assert made.pushes == ["push-a__b"]
    assert {"session.started", "repo.access_granted"} <= made.named.keys()
    live = {f"session-{row[0]}" for row in tables(store)["sessions"]}
    assert {key.subject for key in store.log.keys() if key.wrapped} == {"~vault", "user-2", *live}
    assert store.vault.open(old.password) is ERASED  # type: ignore[attr-defined]
    assert show_user(store, "1") is None
    assert [each["_id"] for each in list_users(store)] == ["2"]
    assert not any("lovelace" in claim.value.lower() for claim in store.log.claims()[1])
    after = tables(store)
    others = {name: [row for row in rows if row in after[name]] for name, rows in before.items()}
    assert others["users"] == after["users"]
    assert len(after["sessions"]) == 1
    assert after["tag_votes"] == before["tag_votes"]
    assert after["pushes"] == before["pushes"]
    assert [(row[0], row[6]) for row in after["media"]] == [("m2", "")]
    assert_sound(store)


def test_asked_again_it_looks_again_and_the_name_gives_nothing_to_who_takes_it(
    peopled: Store,
) -> None:
    store = peopled
    first = erase(store, person.find(store, "ada.lovelace"), actor="dpo")
    end = store.advance.head()

    by_name = erase(store, person.find(store, "ADA.lovelace"), actor="dpo")
    by_id = erase(store, person.find_by_id(store, "1"), actor="dpo")

    assert store.advance.head() == end
    for again in by_name, by_id:
        assert (again.again, again.found) == (True, [])
        assert (again.position, again.erased_at) == (first.position, first.erased_at)
        assert (again.sessions, again.roles, again.uploads, again.blobs_removed) == (0, 0, 0, 0)
    assert "e-mail" not in by_name.sought
    assert by_name.sought["user name"] == 1
    for nobody in "nobody", "nul\0", "half \ud800", "":
        with pytest.raises(UnknownUser, match="nobody of that name or id"):
            person.find(store, nobody)

    do(store, "user.register", id="3", profile=ADA, password_hash="$2b$10$another")
    store.folder.catch_up()
    assert [row[2] for row in tables(store)["repo_permissions"]] == ["bo"]
    assert [row[1] for row in tables(store)["sessions"]] == ["bo"]
    second = erase(store, person.find(store, "ada.lovelace"), actor="dpo")

    assert (second.stream, second.again, second.found) == ("user-3", False, [])
    do(store, "user.register", id="3", profile={"username": "cy", "displayName": "Ada Lovelace"})
    third = erase(store, person.find(store, "ada.lovelace"), actor="dpo")
    assert (third.stream, third.again, third.found) == ("user-3", True, [])
    assert (show_user(store, "3") or {})["username"] == "cy"
    assert person.find(store, "1").again


def test_generations_that_are_not_live_are_cleared_too(peopled: Store) -> None:
    store = peopled
    store.rebuilder.rebuild([users, sessions, repo_permissions])
    for state in BUILDING, REHEARSING:
        Rebuilder(store.advance, state).fill([users])
    do(store, "user.change", id="1", profile={"displayName": "Countess Lovelace"})
    stale(store, "sessions", "previous")

    made = erase(store, person.find(store, "ada.lovelace"), actor="dpo")

    assert made.clean
    assert sorted(name.rpartition("_")[0] for name in made.generations_dropped) == [
        *("sessions", "users", "users")
    ]
    assert "lovelace" not in everything(store)
    rolled_back = store.rebuilder.roll_back([users, repo_permissions])
    assert len(rolled_back) == 2
    assert [each["_id"] for each in list_users(store)] == ["2"]


def test_rows_that_cannot_be_folded_go_as_well(
    peopled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = peopled
    list(list_users(store))
    with monkeypatch.context() as patch:
        patch.setattr(users, "apply", fails)
        do(store, "user.change", id="1", profile={"displayName": "Countess Lovelace"})
        store.folder.catch_up()
    stale(store, "sessions", "current")

    made = erase(store, person.find(store, "ada.lovelace"), actor="dpo")

    assert made.found == []
    assert "lovelace" not in everything(store)
    store.rebuilder.build([sessions])
    assert all(each.is_equal for each in store.rebuilder.rebuild([users, sessions]))


def test_what_is_left_is_named_without_saying_it(peopled: Store) -> None:
    store = peopled
    do(store, "tag_vote.cast", sha256="ab" * 32, tag="x", voter="ada.lovelace", stance=1)
    do(store, "file.register", sha256="cd" * 32, cid="bafy2", name="letter to Ada Lovelace.pdf")
    with past.as_of(store, store.advance.head(), users) as then:
        past.keep(store, then, users, "users_then")

    made = erase(store, person.find(store, "ada.lovelace"), actor="dpo")

    assert not made.clean
    found = set(made.found)
    assert Finding("e-mail", "users_then", "email", ("1",)) in found
    assert Finding("display name", "users_then", "profile", ("1",)) in found
    assert Finding("user name", "tag_votes_1", "voter", ("ab" * 32, "x", "(erased)")) in found
    assert Finding("display name", "files_1", "name", ("cd" * 32,)) in found
    [event] = {each for each in found if each.table == "events"}
    assert (event.what, event.column) == ("display name", "data")
    assert not is_told(made, [*ADA.values(), HASH, BODY])


def test_a_search_that_another_version_filled_is_said_not_to_be_asked(peopled: Store) -> None:
    store = peopled
    do(store, "file.register", sha256="cd" * 32, cid="bafy2", name="to Ada_LOVELACE.pdf")
    store.rebuilder.rebuild([files])
    stale(store, "files", "previous")

    made = erase(store, person.find(store, "ada.lovelace"), actor="dpo")

    assert [*made.not_scanned][:1] == [
        "the search of files_1, which version 99 of its projection filled"
    ]
    assert Finding("display name", "files_2", "search", ("cd" * 32,)) in made.found


def test_another_process_reads_nothing_of_who_was_erased(
    new_kept_url: Callable[[], str],
) -> None:
    url = new_kept_url()
    with open_store(url, create=True) as store, open_store(url) as service:
        people(store)
        assert [each["_id"] for each in list_users(service)] == ["1", "2"]
        [password] = passwords(service, "user-1")
        assert service.vault.open(password) == HASH

        assert erase(store, person.find(store, "ada.lovelace"), actor="dpo").clean

        assert service.vault.open(password) is ERASED
        assert show_user(service, "1") is None
        assert find_user(service, email="ada@lovelace.example") is None
        assert [each["_id"] for each in list_users(service, after=None)] == ["2"]


def test_a_copy_that_was_made_before_follows_and_is_equal(
    engines: tuple[str, str],
    new_at: Callable[[str], Store],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = new_at(engines[0])
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "other"))
    other = new_at(engines[1])
    people(store)
    assert copy(store, other).equal
    blobs = {blob.sha256 for blob in other.blobs.list()}

    assert erase(store, person.find(store, "ada.lovelace"), actor="dpo").clean
    followed = copy(store, other)

    assert followed.equal
    assert followed.blobs.missing == ()
    assert compare(store, other).equal
    assert len(blobs) - len({blob.sha256 for blob in other.blobs.list()}) == 1
    assert copy(store, new_at(engines[1])).equal
    again = erase(other, person.find(other, "ada.lovelace"), actor="dpo")
    assert (again.again, again.found) == (True, [])
    assert "lovelace" not in everything(other)


# --- given ------------------------------------------------------------------------------


def people(store: Store) -> None:
    do(store, "user.register", id="1", profile=ADA, password_hash=HASH)
    do(store, "user.add_key", id="1", record=KEY)
    bo = {"username": "bo", "email": "bo@b", "createdAt": ADA["createdAt"], "town": "London"}
    do(store, "user.register", id="2", profile=bo, password_hash="$2b$10$bo")
    do(store, "user.change", id="1", profile={"town": "London", "displayName": "Ada Byron"})
    do(store, "user.change", id="1", profile={"displayName": "Ada Lovelace"})
    for sid, owner in (("s1", "ada.lovelace"), ("s2", "1"), ("s3", "bo")):
        body = BODY.replace("ada.lovelace", owner)
        do(store, "session.set", sid=sid, body=body, expires_at=LATER, user=owner)
    do(store, "repo.register", id="r", document=REPO)
    for role, name in (("canPush", "Ada.Lovelace"), ("canAuthorise", "ada.lovelace")):
        do(store, "repo.grant", id="r", role=role, username=name)
    do(store, "repo.grant", id="r", role="canPush", username="bo")
    document = {"id": "a__b", "user": "Ada-GH", "userEmail": "Ada@Lovelace.example", "url": "u"}
    do(store, "push.record", document=document)
    do(store, "push.record", document={"id": "c__d", "user": "bo"})
    media.put(store, [b"only of ada"], id="m1", mime_type="image/png", uploader="1")
    media.put(store, [b"of both"], id="m2", mime_type="image/png", uploader="1")
    for id, uploader in (("a1", "1"), ("a2", "2")):
        attach(store, b"of both", id, uploader)
    do(store, "file.register", sha256="ab" * 32, cid="bafy1", name="paper.pdf")
    do(store, "tag_vote.cast", sha256="ab" * 32, tag="x", voter="bo", stance=1)
    store.folder.catch_up()


def attach(store: Store, content: bytes, id: str, uploader: str) -> None:
    attachments.create(
        store, [content], id=id, channel="c", uploader=uploader, filename="f", mime_type="a/b"
    )


def do(store: Store, name: str, /, **fields: Any) -> Done:
    return run(store, name, fields, command_id=secrets.token_hex(8), actor="refold")


def fails(*_: object) -> Row | None:
    raise ZeroDivisionError("the projection fails")


def stale(store: Store, name: str, state: str) -> None:
    """Have a generation look like one that another version fills."""
    with store.tables.writing() as connection:
        registry = store.tables._registry.generations
        connection.execute(
            registry.update()
            .where(registry.c.name == name, registry.c.state == state)
            .values(version=99, fingerprint="another")
        )


# --- then -------------------------------------------------------------------------------


def passwords(store: Store, stream: str) -> list[Sealed]:
    values: Iterator[Any] = (event.value for event in store.history(stream))
    found = (getattr(value, "password", None) for value in values)
    return [each for each in found if isinstance(each, Sealed)]


def tables(store: Store) -> dict[str, list[Row]]:
    with store.tables.reading() as connection:
        current = store.tables.current(connection)
        return {
            name: [tuple(row) for row in store.tables.rows.scan(connection, generation)]
            for name, generation in current.items()
        }


def everything(store: Store) -> str:
    """All rows of all generations but those of pushes, as one text in lower case."""
    with store.tables.reading() as connection:
        rows = [
            str(row).lower()
            for generation in store.tables.generations(connection)
            if "push" not in generation.projection.NAME
            for row in store.tables.rows.scan(connection, generation)
        ]
    return "\n".join(rows)


def is_told(made: Certificate, texts: Sequence[str]) -> bool:
    told = str(made.document()).lower()
    return any(text.lower() in told for text in texts if text != ADA["createdAt"])


def assert_sound(store: Store) -> None:
    """Seals, blobs and tables fit, and another fold makes the same rows."""
    assert verify(store).ok
    assert all(each.is_equal for each in store.rebuilder.rebuild(OF_PEOPLE))
