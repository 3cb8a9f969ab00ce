"""`refold demo`: the main job on real files, each step said and shown."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from os import environ
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from time import time_ns
from uuid import uuid4

import psycopg

from refold.domain import times
from refold.domain.errors import Conflict, Moved, Unavailable
from refold.infrastructure import commands, config
from refold.infrastructure.legacy.pinshare.importing import import_pinshare
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.cutover import move
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.cluster import throwaway
from refold.infrastructure.postgres.connection import connect
from refold.infrastructure.services import files, sessions
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.scripts import certificates, output


def demo() -> None:
    """Show the main job: import, search, vote, ban, decide, a session, rebuild, copy with proof.

    Everything happens in a temporary folder, on SQLite and, if one can be had, on PostgreSQL:
    the one at REFOLD_DEMO_POSTGRES or PGHOST, else a throw-away one from the binaries at hand.

    Example: refold demo
    """
    with (
        TemporaryDirectory(prefix="refold-demo-") as folder,
        _environment(REFOLD_BLOBS=f"{folder}/blobs", REFOLD_VAULT_KEY=token_hex(32)),
    ):
        address = f"sqlite:///{folder}/files.db"
        with open_store(address, create=True) as store:
            _import(store)
            sha256 = _search(store)
            _vote(store, sha256)
            _ban(store, sha256)
            _decide(store)
            sid = _log_in(store)
        with open_store(address) as store:
            print(f"   after a restart: {_body(store, sid)}")
            _rebuild(store)
            with _target(Path(folder)) as target:
                _copy(store, target)
                _move(store, target, sha256)
                _log_out(target, sid)
    _say("That was the main job. The folder is gone again.")


def _import(store: Store) -> None:
    _say("1. Import a metadata.json of PinShare: each record becomes an event in the log.")
    data = resources.files("refold.scripts") / "demo-data" / "metadata.small.json"
    with resources.as_file(data) as path:
        first, again = import_pinshare(store, path), import_pinshare(store, path)
    print(f"   {first.records} records, {first.events} events, {len(first.notes)} notes, such as:")
    for key, note in first.notes[:3]:
        print(f"     {key[:16]}…: {note}")
    print(f"   the same file again: {again.unchanged} unchanged, {again.events} events")


def _search(store: Store) -> str:
    _say("2. Search the table that is folded from the log.")
    for text in ("python3 -doc", "role::documentation", "lib*"):
        hits = files.search(store, text, limit=3)
        print(f"   {text!r}: {hits.total} files, first {', '.join(name for _, name in hits.rows)}")
    return files.search(store, "python3 -doc", limit=1).rows[0][0]


def _vote(store: Store, sha256: str) -> None:
    _say("3. Vote on a tag. The id of a command makes asking twice harmless.")
    fields = {"sha256": sha256, "tag": "reviewed", "voter": "ada", "stance": 1}
    for _ in range(2):
        done = commands.run(store, "tag_vote.cast", fields, command_id="vote-1", actor="ada")
        print(f"   {done.outcome} at position {done.position}")
    print(f"   the tag now counts {files.show_file(store, sha256).tags['reviewed']}")


def _ban(store: Store, sha256: str) -> None:
    _say("4. Ban the file: 9 means malware.")
    fields = {"sha256": sha256, "code": 9}
    done = commands.run(store, "file.ban", fields, command_id=uuid4().hex, actor="bo")
    print(f"   {done.outcome} at position {done.position}")
    print(f"   {files.show_file(store, sha256)}")


def _decide(store: Store) -> None:
    _say("5. Two reviewers look at one push; the one who comes second saw an older version.")
    push = {"id": "0000__beef", "type": "push", "timestamp": 1_795_000_000_000, "blocked": True}
    seen = commands.run(
        store, "push.record", {"document": push}, command_id=uuid4().hex, actor="proxy"
    ).version
    decisions: list[tuple[str, str, dict[str, object]]] = [
        ("carol", "push.authorise", {"attestation": {"reviewer": {"username": "carol"}}}),
        ("dave", "push.reject", {"rejection": {"reason": "no tests"}}),
    ]
    for reviewer, name, fields in decisions:
        said = {"id": push["id"], **fields}
        try:
            done = commands.run(
                store, name, said, command_id=uuid4().hex, actor=reviewer, expected=seen
            )
            print(f"   {reviewer}, {name}: {done.outcome} at version {done.version}")
        except Conflict as conflict:
            print(f"   {reviewer}, {name}: refused, {conflict}")


def _log_in(store: Store) -> str:
    _say("6. A session: found by the hash of its id, what is in it is sealed.")
    sid = token_hex(16)
    expires_at = times.text(time_ns() // 1_000 + 3_600_000_000)
    fields = {"sid": sid, "body": '{"cart":3}', "user": "ada", "expires_at": expires_at}
    done = commands.run(store, "session.set", fields, command_id=uuid4().hex, actor="web")
    print(f"   {done.outcome} at position {done.position}, as {done.stream[:24]}…")
    print(f"   in the log: {store.log.stream(done.stream)[0].data[:60].decode()}…")
    return sid


def _rebuild(store: Store) -> None:
    _say("7. Fold all tables again from the first event: the rows must be the same.")
    store.folder.catch_up()
    for rebuilt in store.rebuilder.rebuild(catalog.ALL):
        same = "equal" if rebuilt.is_equal else "DIFFERENT"
        print(f"   {rebuilt.name}: {rebuilt.rows} rows, {same}")


def _copy(store: Store, target: Store) -> None:
    _say(f"8. Copy the store to {target.address.engine} and prove it.")
    certificates.show(copy(store, target))


def _move(store: Store, target: Store, sha256: str) -> None:
    _say("9. Move it there: the old store now says where it went.")
    print(f"   equal: {move(store, target).equal}")
    fields = {"sha256": sha256, "tag": "seen"}
    try:
        commands.run(store, "file.add_tag", fields, command_id=uuid4().hex, actor="ada")
    except Moved as moved:
        print(f"   a command there: {moved}")
    done = commands.run(target, "file.add_tag", fields, command_id=uuid4().hex, actor="ada")
    print(f"   the same command here: {done.outcome} at position {done.position}")


def _log_out(store: Store, sid: str) -> None:
    _say("10. The session moved along. With its end, the key is destroyed.")
    print(f"   there: {_body(store, sid)}")
    commands.run(store, "session.end", {"sid": sid}, command_id=uuid4().hex, actor="web")
    print(f"   ended: {_body(store, sid)}")


def _body(store: Store, sid: str) -> str | None:
    found = sessions.show_session(store, sid)
    return found.body if found else None


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables for a while; REFOLD_VAULT_KEY would else be a file beside the store."""
    before = dict(environ)
    environ.update(values)
    try:
        yield
    finally:
        environ.clear()
        environ.update(before)


@contextmanager
def _target(folder: Path) -> Iterator[Store]:
    """Open the store to copy to: on PostgreSQL if one can be had, else on SQLite, saying why."""
    with ExitStack() as opened:
        try:
            address = opened.enter_context(_postgres())
        except Unavailable as reason:
            print(f"   no PostgreSQL here, so the copy goes to another SQLite file: {reason}")
            address = f"sqlite:///{folder}/copy.db"
        yield opened.enter_context(open_store(address, create=True))


@contextmanager
def _postgres() -> Iterator[str]:
    """Give the address of a store to be on a server that is named, or on a throw-away one."""
    named = environ.get("REFOLD_DEMO_POSTGRES") or ("postgresql://" if "PGHOST" in environ else "")
    if named and _answers(named):
        with _schema_of_its_own(named) as address:
            yield address
        return
    with throwaway() as cluster:
        print(f"   (a throw-away PostgreSQL {cluster.version} on loopback)")
        yield cluster.url


def _answers(url: str) -> bool:
    try:
        connect(url, config.of_environment().storage.connecting, autocommit=True).close()
    except Unavailable:
        print("   the PostgreSQL that the environment names does not answer")
        return False
    return True


@contextmanager
def _schema_of_its_own(url: str) -> Iterator[str]:
    """Give the address of a schema of a database that others use, and drop it afterwards."""
    schema = f"refold_demo_{uuid4().hex[:8]}"
    mark = "&" if "?" in url else "?"
    try:
        yield f"{url}{mark}schema={schema}"
    finally:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())


def _say(text: str) -> None:
    output.STDOUT.print(f"\n{text}", style="bold", markup=False)
