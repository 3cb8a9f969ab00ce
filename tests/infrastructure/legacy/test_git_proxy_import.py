"""git-proxy's data through a store and back: nothing lost, nothing doubled, nothing told."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Barrier
from typing import Any, Final

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from refold.domain.errors import BadInput
from refold.infrastructure.commands import run
from refold.infrastructure.erasing import erasing, person
from refold.infrastructure.folding import workers
from refold.infrastructure.legacy import importing
from refold.infrastructure.legacy.git_proxy.exporting import Format, export_git_proxy
from refold.infrastructure.legacy.git_proxy.importing import import_git_proxy
from refold.infrastructure.legacy.git_proxy.writing import NotLoadable
from refold.infrastructure.legacy.importing import Report
from refold.infrastructure.open import open_store
from refold.infrastructure.services.pushes import push_activity
from refold.infrastructure.store import Store
from refold.infrastructure.systems.express_sessions import SessionStore
from refold.infrastructure.systems.git_proxy import Sink

Json = dict[str, Any]

SMALL: Final = Path(__file__).parents[2] / "data" / "git-proxy" / "small"
NEDB, MONGO = SMALL / "nedb", SMALL / "mongo"
EXPECTED: Final = json.loads((SMALL / "expected.json").read_text("utf-8"))
IN_SMALL_STEPS: Final = (
    "from refold.infrastructure.legacy import importing; importing.BATCH = 50;"
    "from refold.scripts.cli import main; main()"
)
HASH: Final = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBbr4hKymqyaVWWeqODStc8zkhGN8F2Rh/I5MFh2CTSG"
ATTESTATION: Final[Json] = {"reviewer": {"username": "carol"}, "answers": []}
LATER, PAST = "2999-01-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z"


pytestmark = pytest.mark.usefixtures("vault_key")


@pytest.fixture(params=["sqlite", "postgres"])
def url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The address of a store that outlives a process, and is not there yet."""
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "blobs"))
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    server, schema = request.getfixturevalue("postgres"), f"import_{os.urandom(6).hex()}"
    yield f"{server}{'&' if '?' in server else '?'}schema={schema}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))


# --- totals counted by others -----------------------------------------------------


def test_every_document_of_nedb_is_imported(store: Store) -> None:
    report = import_git_proxy(store, [NEDB])

    documents = sum(each["documents"] for each in EXPECTED["nedb"].values())
    assert (report.records, report.imported) == (documents, documents)
    assert (report.unchanged, report.refused) == (0, [])


@pytest.mark.parametrize("folder", [NEDB, MONGO], ids=["nedb", "mongo"])
def test_the_pushes_have_the_totals_that_were_counted(store: Store, folder: Path) -> None:
    name = "pushes.db" if folder == NEDB else "pushes.json"
    expected = EXPECTED[folder.name][name]

    import_git_proxy(store, [folder])

    listed = Sink(store).get_pushes({})
    activity = {
        each.canonical_url: {
            "counts": {
                status: count
                for status in ("pending", "approved", "canceled", "rejected", "error")
                if (count := getattr(each, status))
            },
            **{
                name: time
                for name, time in [
                    ("latest_pending_ms", each.latest_pending_ms),
                    ("latest_push_ms", each.latest_push_ms),
                ]
                if time is not None
            },
        }
        for each in push_activity(store)
    }
    whole = [Sink(store).get_push(each["id"]) or {} for each in listed]
    totals = {
        "documents": len(listed),
        "by_type": dict(Counter(each["type"] for each in listed)),
        "push_ids_sha256": joined(each["id"] for each in listed),
        "with_legacy_id": sum("legacyId" in each for each in whole),
        "steps": sum(len(each.get("steps", ())) for each in whole),
        "commits": sum(len(each.get("commitData") or ()) for each in whole),
        "with_last_step": sum("lastStep" in each for each in whole)
        - expected["with_last_step_index"],
    }
    assert totals == {name: expected[name] for name in totals}
    assert activity == {
        url: {name: value for name, value in rollup.items() if value is not None}
        for url, rollup in expected["rollup_by_canonical_url"].items()
    }


def test_repositories_and_users_have_the_totals_that_were_counted(store: Store) -> None:
    repos, users = EXPECTED["nedb"]["repos.db"], EXPECTED["nedb"]["users.db"]

    import_git_proxy(store, [NEDB])

    sink = Sink(store)
    permissions = [each["users"] for each in sink.get_repos()]
    assert (
        sum(len(each["canPush"]) for each in permissions)
        == (repos["distinct_after_normalising_can_push"])
    )
    assert (
        sum(len(each["canAuthorise"]) for each in permissions)
        == (repos["distinct_after_normalising_can_authorise"])
    )
    assert joined(each["_id"] for each in sink.get_repos()) == repos["ids_sha256"]
    listed = sink.get_users()
    assert joined(each["_id"] for each in listed) == users["ids_sha256"]
    assert sum(each.get("admin") is True for each in listed) == users["admins"]
    assert sum(len(each["publicKeys"]) for each in listed) == users["public_keys"]
    assert sum(not each.get("email") for each in listed) == users["without_email"]
    assert sink.get_applied_migrations() == sorted(EXPECTED["nedb"]["migrations.db"]["ids"])


# --- there and back ---------------------------------------------------------------


def test_a_second_import_adds_no_event(store: Store) -> None:
    for folder in (NEDB, MONGO):
        import_git_proxy(store, [folder], source=folder.name)
        before = head(store)

        again = import_git_proxy(store, [folder], source=folder.name)

        assert (again.imported, again.events, head(store)) == (0, 0, before)
        assert again.unchanged == again.records - len(again.refused)


@pytest.mark.parametrize("format", ["nedb", "mongoexport"])
def test_what_is_exported_is_imported_again_without_an_event(
    store: Store, tmp_path: Path, format: Format
) -> None:
    import_git_proxy(store, [NEDB])
    before = head(store)

    counts = export_git_proxy(store, tmp_path / "out", format)
    again = import_git_proxy(store, [tmp_path / "out"])

    assert counts["pushes"] == EXPECTED["nedb"]["pushes.db"]["documents"]
    assert (again.refused, again.events, head(store)) == ([], 0, before)
    assert again.unchanged == again.records == sum(counts.values())


@pytest.mark.parametrize("format", ["nedb", "mongoexport"])
def test_an_export_makes_the_same_store_elsewhere(
    store: Store, memory: Store, tmp_path: Path, format: Format
) -> None:
    import_git_proxy(store, [NEDB])
    export_git_proxy(store, tmp_path / "out", format)

    import_git_proxy(memory, [tmp_path / "out"])

    assert everything(memory) == everything(store)


def test_a_password_that_was_imported_is_exported_for_its_owner_alone(
    memory: Store, tmp_path: Path
) -> None:
    import_git_proxy(memory, [written(tmp_path, "users", user())])

    export_git_proxy(memory, tmp_path / "out")

    path = tmp_path / "out" / "users.db"
    assert json.loads(path.read_text().splitlines()[0])["password"] == HASH
    assert path.stat().st_mode & 0o077 == 0


def test_users_whom_nedb_would_not_take_are_not_exported_to_it(
    memory: Store, tmp_path: Path
) -> None:
    import_git_proxy(memory, [MONGO])

    with pytest.raises(NotLoadable, match="have the same email"):
        export_git_proxy(memory, tmp_path / "out", "nedb")

    assert list((tmp_path / "out").iterdir()) == []


# --- again, after a change ----------------------------------------------------------


def test_a_then_b_then_a_ends_at_a(store: Store, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for folder in (a, b):
        folder.mkdir()
    written(a, "users", user(title="Dr"), user("bob", publicKeys=[]))
    written(b, "users", user(publicKeys=[]), user("bob", email="new@x.y"))
    written(a, "repos", repo(users={"canPush": ["alice", "bob"], "canAuthorise": []}))
    written(b, "repos", repo(name="renamed", users={"canPush": ["bob"]}))
    written(a, "pushes", push(message="a"))
    written(b, "pushes", push(error=True))

    import_git_proxy(store, [a])
    first = everything(store)
    assert import_git_proxy(store, [b]).refused == []
    second = everything(store)
    assert import_git_proxy(store, [a]).refused == []

    assert everything(store) == first != second
    assert import_git_proxy(store, [a]).events == 0


def test_what_one_user_lets_go_another_takes_whoever_comes_first(
    memory: Store, tmp_path: Path
) -> None:
    before = written(tmp_path, "users", user("bob", publicKeys=[]), user("alice"))
    import_git_proxy(memory, [before])
    moved = {"key": KEY, "name": "moved"}

    after = written(
        tmp_path, "users", user("bob", publicKeys=[moved]), user("alice", publicKeys=[])
    )
    report = import_git_proxy(memory, [after])

    assert (report.imported, report.refused) == (2, [])
    assert (Sink(memory).find_user_by_ssh_key(KEY) or {})["username"] == "bob"


def test_a_decision_that_was_made_here_stays(memory: Store, tmp_path: Path) -> None:
    sink = Sink(memory)
    import_git_proxy(memory, [written(tmp_path, "pushes", push())])
    sink.authorise("p", ATTESTATION)

    import_git_proxy(memory, [written(tmp_path, "pushes", push(message="new", rejected=True))])

    assert sink.get_push("p") == {
        **{name: value for name, value in push().items() if name != "_id"},
        "message": "new",
        "authorised": True,
        "canceled": False,
        "rejected": False,
        "attestation": ATTESTATION,
    }


def test_what_was_deleted_here_does_not_come_back_unless_it_changed(
    memory: Store, tmp_path: Path
) -> None:
    sink = Sink(memory)
    paths = [written(tmp_path, "pushes", push()), written(tmp_path, "users", user())]
    import_git_proxy(memory, paths)
    sink.delete_push("p")
    sink.delete_user("alice")

    assert import_git_proxy(memory, paths).unchanged == 2
    assert (sink.get_push("p"), sink.find_user("alice")) == (None, None)
    import_git_proxy(memory, [written(tmp_path, "pushes", push(message="new"))])

    assert (sink.get_push("p") or {})["message"] == "new"


def test_who_was_erased_here_does_not_come_back_unless_they_are_registered_anew(
    memory: Store, tmp_path: Path
) -> None:
    sink = Sink(memory)
    import_git_proxy(memory, [written(tmp_path, "users", user())])
    erasing.erase(memory, person.find(memory, "alice"), actor="op")

    same = import_git_proxy(memory, [written(tmp_path, "users", user())])
    changed = import_git_proxy(memory, [written(tmp_path, "users", user(title="new"))])

    assert (same.unchanged, same.refused) == (1, [])
    assert [each.reason for each in changed.refused] == [
        "this user was erased here: to import them again, register them first"
    ]
    assert sink.find_user("alice") is None
    fields = {"id": "u-alice", "profile": {"username": "alice"}}
    run(memory, "user.register", fields, command_id="anew", actor="op")
    assert import_git_proxy(memory, [tmp_path / "users.json"]).imported == 1
    assert (sink.find_user("alice") or {})["title"] == "new"
    run(memory, "user.delete", {"id": "u-alice"}, command_id="gone", actor="op")
    assert import_git_proxy(memory, [written(tmp_path, "users", user())]).imported == 1


def test_a_push_that_was_re_keyed_between_two_imports_is_the_same_push(
    store: Store, tmp_path: Path
) -> None:
    sink = Sink(store)
    import_git_proxy(store, [written(tmp_path, "pushes", push("old"))])
    sink.authorise("old", ATTESTATION)

    report = import_git_proxy(store, [written(tmp_path, "pushes", push("new", legacyId="old"))])

    assert (report.imported, report.refused) == (1, [])
    assert len(sink.get_pushes({})) == 1
    assert sink.get_push("old") == sink.get_push("new")
    assert (sink.get_push("new") or {})["attestation"] == ATTESTATION
    assert import_git_proxy(store, [tmp_path / "pushes.json"]).unchanged == 1


def test_two_pushes_with_one_older_id_stay_two(memory: Store, tmp_path: Path) -> None:
    pushes = [push("one", legacyId="old"), push("two", legacyId="old", _id="2")]
    path = written(tmp_path, "pushes", *pushes)

    report = import_git_proxy(memory, [path])

    sink = Sink(memory)
    assert (report.imported, report.refused) == (2, [])
    assert {each["id"] for each in sink.get_pushes({})} == {"one", "two"}
    assert (sink.get_push("old") or {})["id"] == "one"
    assert import_git_proxy(memory, [path]).unchanged == 2


def test_a_push_whose_id_stands_twice_is_taken_once(memory: Store, tmp_path: Path) -> None:
    path = written(tmp_path, "pushes", push(message="first"), push(_id="2", message="second"))

    import_git_proxy(memory, [path])
    report = import_git_proxy(memory, [path])
    [refusal] = report.refused

    assert (refusal.line, refusal.reason) == (2, "the id of the push stands already in line 1")
    assert (report.unchanged, head(memory)) == (1, 1)
    assert (Sink(memory).get_push("p") or {})["message"] == "first"


# --- what is refused or noted -------------------------------------------------------


def test_duplicates_are_listed_with_file_and_line(memory: Store) -> None:
    report = import_git_proxy(memory, [MONGO])

    by_file = Counter(Path(each.file).name for each in report.refused)
    users, repos = EXPECTED["mongo"]["users.json"], EXPECTED["mongo"]["repos.json"]
    assert by_file == {
        "users.json": users["duplicate_usernames_exact"] + 1,  # and one by a public key alone
        "repos.json": repos["duplicate_urls_after_normalising"],
        "user_session.json": EXPECTED["mongo"]["user_session.json"]["documents"],
    }
    for each in report.refused:
        line = Path(each.file).read_text("utf-8").split("\n")[each.line - 1]
        if not each.key.startswith("session "):
            assert each.key.partition(" ")[2] in line
    reasons = " ".join(each.reason for each in report.refused)
    assert all(f"this {what} is already taken by" in reasons for what in ("e-mail", "repo url"))


@pytest.mark.parametrize("folder", [NEDB, MONGO], ids=["nedb", "mongo"])
def test_users_without_an_address_and_names_of_no_user_are_listed_and_kept(
    memory: Store, folder: Path
) -> None:
    expected = EXPECTED[folder.name]["repos.db" if folder == NEDB else "repos.json"]

    report = import_git_proxy(memory, [folder])

    without_email = EXPECTED[folder.name]["users.db" if folder == NEDB else "users.json"]
    assert without_email["without_email"] == sum(
        note == "it has no e-mail" for _, note in report.notes
    )
    orphans = {note.split()[0] for _, note in report.notes if "is no user" in note}
    assert orphans == set(expected["orphan_names"])
    roles = [names for each in Sink(memory).get_repos() for names in each["users"].values()]
    assert orphans <= {name for names in roles for name in names}


def test_where_there_are_no_users_nobody_with_a_role_is_one(memory: Store, tmp_path: Path) -> None:
    path = written(tmp_path, "repos", repo(users={"canPush": ["Ghost"]}))
    alone = import_git_proxy(memory, [path])

    written(tmp_path, "users")
    beside = import_git_proxy(memory, [tmp_path])

    assert alone.notes == []  # nothing tells who is a user
    assert beside.notes == [("repos r", "ghost has a role and is no user")]


def test_keys_of_a_user_with_one_fingerprint_are_noted_and_the_last_one_is_kept(
    memory: Store, tmp_path: Path
) -> None:
    keys = [{"key": f"ssh-rsa {name}", "fingerprint": "SHA256:1"} for name in ("AAAA", "BBBB")]
    other = {"key": KEY, "name": "desk"}

    report = import_git_proxy(
        memory, [written(tmp_path, "users", user(publicKeys=[keys[0], other, keys[1]]))]
    )

    assert report.notes == [
        ("users u-alice", "several of its keys have the fingerprint SHA256:1: the last one counts")
    ]
    assert Sink(memory).get_public_keys("alice") == [keys[1], other]


def test_addresses_that_are_missing_or_differ_in_spaces_alone_are_noted(
    memory: Store, tmp_path: Path
) -> None:
    users = [
        user("a", email="dup@x.com", publicKeys=[]),
        user("b", email=" DUP@x.com ", publicKeys=[]),
        user("c", email="", publicKeys=[]),
        user("d", email="  ", publicKeys=[]),
        user("e", email=None, publicKeys=[]),
        {"_id": "u-f", "username": "f"},
    ]

    report = import_git_proxy(memory, [written(tmp_path, "users", *users)])

    assert (report.imported, report.refused) == (6, [])
    assert report.notes == [
        ("users u-b", "its e-mail differs from that of users u-a in spaces alone"),
        *((f"users u-{name}", "it has no e-mail") for name in "cdef"),
    ]


@pytest.mark.parametrize(
    ("collection", "odd"),
    [
        ("users", {"username": 5}),
        ("users", {"publicKeys": "x"}),
        ("users", {"publicKeys": ["x"]}),
        ("users", {"publicKeys": [{"name": "no key"}]}),
        ("users", {"password": {"hash": "x"}}),
        ("users", {"email": ["a@b.c"]}),
        ("users", {"username": "x" * 5_000}),
        ("repos", {"url": None}),
        ("repos", {"url": " "}),
        ("repos", {"url": "git@github.com:finos/demo"}),
        ("repos", {"users": ["bob"]}),
        ("repos", {"users": {"canPush": "bob"}}),
        ("repos", {"users": {"canPush": [5]}}),
        ("repos", {"users": {"canAuthorise": ["\0"]}}),
        ("pushes", {"id": 5}),
        ("pushes", {"id": ""}),
        ("pushes", {"id": "x\0"}),
        ("pushes", {"legacyId": "x\0"}),
        ("user_session", {"expires": None}),
        ("user_session", {"expires": "soon"}),
        ("user_session", {"session": "{"}),
        ("user_session", {"session": 5}),
        ("user_session", {"session": "[]"}),
        ("migrations", {"id": None}),
        ("migrations", {"id": "x" * 300}),
    ],
)
def test_an_odd_document_is_refused_by_name_and_the_others_go_in(
    memory: Store, tmp_path: Path, collection: str, odd: Json
) -> None:
    sound = {
        "users": user(),
        "repos": repo(),
        "pushes": push(),
        "user_session": session("sid"),
        "migrations": {"_id": "1", "id": "a"},
    }[collection]
    path = written(tmp_path, collection, {**sound, **odd, "_id": "odd"}, sound)

    report = import_git_proxy(memory, [path])

    [refusal] = report.refused
    assert (report.records, report.imported, refusal.line) == (2, 1, 1)
    assert refusal.reason


def test_a_line_that_cannot_be_read_is_refused_by_its_collection(
    memory: Store, tmp_path: Path
) -> None:
    path = written(tmp_path, "user_session", *(session(f"sid-{n}") for n in range(10)))
    path.write_text(path.read_text() + "{canary\n")

    [refusal] = import_git_proxy(memory, [path]).refused

    assert (refusal.key, refusal.line, refusal.reason) == ("user_session", 11, "not JSON")


def test_a_password_in_a_url_is_in_no_note(memory: Store, tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "repos",
        repo(url="https://ada:hunter2@github.com/finos/demo/"),
        repo(_id="r2", url="ftp://ada:hunter2@github.com/finos/demo"),
    )

    report = import_git_proxy(memory, [path])

    assert (len(report.notes), len(report.refused)) == (1, 1)
    assert "hunter2" not in repr(report)


# --- sessions ---------------------------------------------------------------------


def test_a_session_that_lives_is_found_by_its_id_afterwards(store: Store, tmp_path: Path) -> None:
    text, whole = session("text"), session("object")
    whole["session"] = json.loads(whole["session"])

    report = import_git_proxy(store, [written(tmp_path, "user_session", text, whole)])

    assert report.imported == 2
    for sid in ("text", "object"):
        assert SessionStore(store).get(sid) == whole["session"]


def test_an_expired_session_is_refused_by_its_hash(memory: Store, tmp_path: Path) -> None:
    sid = "Zk3vQmTq0n5sid"
    path = written(tmp_path, "user_session", session(sid, expires={"$date": PAST}))

    [refusal] = import_git_proxy(memory, [path]).refused

    assert refusal.key == "session " + sha256(sid.encode()).hexdigest()[:12]
    assert refusal.reason == f"the session has expired: {PAST}"


def test_no_secret_is_in_a_report(memory: Store, tmp_path: Path) -> None:
    secrets = [f"canary-{n}" for n in range(8)]
    sids, bodies, hashes = secrets[:5], secrets[5:7], secrets[7:]
    written(
        tmp_path,
        "user_session",
        session(sids[0], token=bodies[0]),
        session(sids[0], token=bodies[1]),  # again
        session(sids[1], expires={"$date": PAST}, token=bodies[0]),
        {**session(sids[2]), "session": f"{{{bodies[0]}"},
        {**session(sids[3]), "$odd": bodies[0]},
        {**session(sids[4]), "expires": None},
    )
    written(
        tmp_path,
        "users",
        user(password=hashes[0]),
        user(_id="again", password=hashes[0]),
        user("odd", password={"hash": hashes[0]}),
    )

    report = import_git_proxy(memory, [tmp_path])

    assert len(report.refused) == 7
    assert not [each for each in secrets if each in repr(report)]


def test_nothing_in_the_log_tells_what_is_sealed(memory: Store, tmp_path: Path) -> None:
    document = user(password=None)
    import_git_proxy(memory, [written(tmp_path, "users", document)])

    [event] = memory.log.page(0, 0, 10)

    data = {name: value for name, value in document.items() if name != "_id"}
    guesses = [
        data,
        {name: value for name, value in data.items() if name != "publicKeys"},
    ]
    origin = json.loads(event.metadata)["import"]["hash"]
    for guess in guesses:
        text = json.dumps(guess, sort_keys=True, separators=(",", ":"))
        assert sha256(text.encode()).hexdigest() != origin
    with open_store("memory:") as other:  # which has a secret of its own
        import_git_proxy(other, [tmp_path / "users.json"])
        assert json.loads(other.log.page(0, 0, 1)[0].metadata)["import"]["hash"] != origin


# --- broken off, and at once ----------------------------------------------------------


def test_an_import_that_was_killed_goes_on_where_it_was(
    url: str, tmp_path: Path, memory: Store
) -> None:
    many = 2_000
    path = written(tmp_path, "pushes", *(push(f"p{n}", _id=str(n)) for n in range(many)))
    command = [sys.executable, "-c", IN_SMALL_STEPS, "import", "git-proxy", str(path)]
    with open_store(url, create=True) as store:
        process = subprocess.Popen([*command, "--store", url], stdout=subprocess.DEVNULL)
        wait_for(lambda: head(store) > 0)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        there = head(store)
        assert 0 < there < many

        resumed = import_git_proxy(store, [path])
        import_git_proxy(memory, [path])

        assert (resumed.unchanged, resumed.imported) == (there, many - there)
        assert contents(store) == contents(memory)
        assert everything(store) == everything(memory)


@pytest.mark.parametrize("killed", [False, True], ids=["living", "killed"])
def test_another_process_folds_what_an_import_has_appended(
    url: str, tmp_path: Path, memory: Store, monkeypatch: pytest.MonkeyPatch, *, killed: bool
) -> None:
    monkeypatch.setattr(importing, "BATCH", 50)
    path = written(tmp_path, "pushes", *(push(f"p{n}", _id=str(n)) for n in range(200)))
    folding = list[int]()

    def advance(what: str, done: int, total: int | None) -> None:
        if what == "import" and done == 150:
            wait_for(lambda: folded(store) > 0)
            if killed:
                [worker] = children()
                os.kill(worker, signal.SIGKILL)
        folding.append(folded(store))

    with open_store(url, create=True) as store, workers.helping(store, 2):
        report = import_git_proxy(store, [path], progress=advance)
        import_git_proxy(memory, [path])

        assert report.imported == 200
        assert any(0 < position < head(store) for position in folding)
        assert folded(store) == head(store)
        assert everything(store) == everything(memory)


def test_who_waits_for_the_process_that_folds_is_told_how_far_it_is(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 50)
    monkeypatch.setattr(importing, "LOOK_SECONDS", 0.02)
    path = written(tmp_path, "pushes", *(push(f"p{n}", _id=str(n)) for n in range(120)))
    told: list[tuple[str, int, int | None]] = []

    with open_store(url, create=True) as store, workers.helping(store, 2):
        import_git_proxy(store, [path], progress=lambda *step: told.append(step))
        end = head(store)

    waiting = [(done, total) for what, done, total in told if what == "fold"]
    assert waiting == sorted(waiting)
    assert {total for _, total in waiting} == {end}
    assert waiting[0][0] < end  # the process takes longer to start than all of the import


def test_two_imports_at_once_import_each_document_once(url: str, store: Store) -> None:
    line_up = Barrier(2, timeout=60)

    def run_one(_: int) -> Report:
        with open_store(url) as own:
            line_up.wait()
            return import_git_proxy(own, [NEDB])

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(run_one, range(2)))

    documents = sum(each["documents"] for each in EXPECTED["nedb"].values())
    assert sum(report.imported for report in reports) == documents
    assert sum(report.events for report in reports) == head(store)
    assert [report.refused for report in reports] == [[], []]
    with open_store("memory:") as straight:
        import_git_proxy(straight, [NEDB])
        assert everything(store) == everything(straight)


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused_before_anything_is_done(
    memory: Store, tmp_path: Path, kept: float
) -> None:
    text = gzip.decompress((NEDB / "pushes.db.gz").read_bytes())
    written(tmp_path, "users", user())
    (tmp_path / "pushes.db").write_bytes(text[: int(len(text) * kept)])

    with pytest.raises(BadInput, match="cut off"):
        import_git_proxy(memory, [tmp_path])

    assert head(memory) == 0


def test_big_documents_are_not_all_in_memory_at_once(
    memory: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.infrastructure.legacy.importing.MOST_BYTES", 1_000_000)
    big = [push(f"p{n}", _id=str(n), message="x" * 600_000) for n in range(5)]
    done: list[int] = []

    def progress(what: str, number: int, total: int | None) -> None:
        if what == "import":
            done.append(number)

    import_git_proxy(memory, [written(tmp_path, "pushes", *big)], progress=progress)

    assert done == [2, 4, 5]


def test_a_big_string_is_kept_beside_the_log_and_comes_back(memory: Store, tmp_path: Path) -> None:
    document = push(message="+" * 100_000, lone="\ud800" * 3_000)

    import_git_proxy(memory, [written(tmp_path, "pushes", document)])

    assert sum(len(each.data) for each in memory.log.page(0, 0, 10)) < 8_192
    assert Sink(memory).get_push("p") == {
        name: value for name, value in document.items() if name != "_id"
    }


def test_steps_of_more_than_an_event_takes_are_imported_and_exported(
    store: Store, tmp_path: Path
) -> None:
    logs = [f"diff - {'+' * 100}{n}" for n in range(12_000)]
    commits = [{"sha": "a" * 40, "authorEmail": "ann@example.com", "n": n} for n in range(20_000)]
    documents = [
        push("steps", _id="1", steps=[{"stepName": "diff", "logs": logs, "content": None}]),
        push("commits", _id="2", commitData=commits),
    ]

    report = import_git_proxy(store, [written(tmp_path, "pushes", *documents)])

    assert (report.imported, report.refused) == (2, [])
    for document in documents:
        kept = {name: value for name, value in document.items() if name != "_id"}
        assert Sink(store).get_push(document["id"]) == kept
    export_git_proxy(store, tmp_path / "out", "mongoexport")
    lines = (tmp_path / "out" / "pushes.json").read_bytes().splitlines()
    exported = list(map(json.loads, lines))
    assert [each["steps"] for each in exported] == [documents[0]["steps"], []]
    assert exported[1]["commitData"] == commits


# --- what the tests say things with -----------------------------------------------


def user(name: str = "alice", **fields: object) -> Json:
    return {
        "_id": f"u-{name}",
        "username": name,
        "password": HASH,
        "gitAccount": f"{name}-gh",
        "email": f"{name}@example.com",
        "admin": False,
        "publicKeys": [{"key": KEY, "name": "desk"}],
    } | fields


def repo(**fields: object) -> Json:
    url = "https://github.com/finos/demo.git"
    return {"_id": "r", "project": "finos", "name": "demo", "url": url, "users": {}} | fields


def push(id: str = "p", **fields: object) -> Json:
    flags = {"error": False, "blocked": True, "authorised": False}
    return {"_id": "1", "id": id, "type": "push", "timestamp": 5, "steps": [], **flags} | fields


def session(sid: str, expires: object = None, **fields: object) -> Json:
    body = {"cookie": {"path": "/"}, "passport": {"user": "alice"}, **fields}
    return {"_id": sid, "expires": expires or {"$date": LATER}, "session": json.dumps(body)}


def written(folder: Path, collection: str, *documents: Mapping[str, object]) -> Path:
    path = folder / f"{collection}.json"
    path.write_text("".join(f"{json.dumps(each)}\n" for each in documents), "utf-8")
    return path


def joined(ids: Any) -> str:
    return sha256("\n".join(sorted(ids)).encode()).hexdigest()


def head(store: Store) -> int:
    return store.log.heads()[0].position


def folded(store: Store) -> int:
    """How far all live tables are."""
    with store.tables.reading() as connection:
        live = store.tables.current(connection).values()
        standing = store.advance.standing(connection, live)
    return min((each.positions.total for each in standing), default=0)


def children() -> list[int]:
    """The processes that this one started, and that no other test left."""
    found = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [
        int(pid)
        for file in found
        for pid in file.read_text().split()
        if b"folding.workers" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def contents(store: Store) -> list[tuple[object, ...]]:
    """Everything in the log but the instants."""
    return [each._replace(recorded_at=0) for each in store.log.page(0, 0, 10_000)]


def everything(store: Store) -> list[object]:
    """What can be asked of a git-proxy, whole pushes included."""
    sink = Sink(store)
    pushes = sink.get_pushes({})
    whole = [sink.get_push(each["id"]) for each in pushes]
    repos = sink.get_repos()
    users = sorted(sink.get_users(), key=lambda each: str(each["_id"]))
    return [users, repos, pushes, whole, sink.get_applied_migrations()]


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)
