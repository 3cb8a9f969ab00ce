"""Who may do what in PostgreSQL, and that each role suffices for what it is for."""

import re
import secrets
from collections.abc import Iterator
from time import sleep
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.errors import RaiseException

from refold.domain import times
from refold.domain.errors import Unavailable
from refold.domain.ports import State
from refold.infrastructure import chain, clock
from refold.infrastructure.address import Postgres
from refold.infrastructure.daemon import Daemon
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.roles import make_roles
from refold.infrastructure.services.files import search, show_file
from refold.infrastructure.store import Store
from refold.infrastructure.systems.express_sessions import SessionStore
from refold.projections import catalog
from refold.tests.infrastructure.security.conftest import CID, SHA, Place, do, new_place

pytestmark = pytest.mark.usefixtures("vault_key")


# --- statements and roles -----------------------------------------------------------------

EVENT = "(0, 3, 'x', 1, 'x', 1, '', '', 0, 'x', 0)"
APPEND = "append_exact(0, 0, '{}', '{}', '{x}', '{1}', '{x}', '{1}', '{x}', '{x}', '{x}', '{0}')"

# The columns are WHO: a login without any role, logins that are members of one role each, and an
# operator's after SET ROLE refold_owner. yes: it works. no: 42501. guard: 23001, by the trigger.
MATRIX: Final = f"""
no    yes   yes   no    no    yes   | SELECT FROM refold.events
no    yes   no    no    no    yes   | INSERT INTO refold.events VALUES {EVENT}
no    yes   no    no    no    yes   | SELECT refold.{APPEND}
no    no    no    no    no    guard | UPDATE refold.events SET type = type
no    no    no    no    no    guard | DELETE FROM refold.events
no    no    no    no    no    guard | TRUNCATE refold.events
no    no    no    no    no    yes   | ALTER TABLE refold.events DISABLE TRIGGER ALL
no    no    no    no    no    yes   | DROP TRIGGER events_are_not_changed ON refold.events
no    no    no    no    no    yes   | ALTER FUNCTION refold.refuse_change() RESET ALL
no    no    no    no    no    yes   | DROP TABLE refold.events
no    no    no    no    no    no    | SET session_replication_role = replica
no    yes   yes   no    no    yes   | SELECT FROM refold.heads
no    yes   no    no    no    yes   | SELECT FROM refold.heads FOR NO KEY UPDATE
no    no    no    no    no    yes   | UPDATE refold.heads SET state = 'sealed'
no    no    no    no    no    yes   | UPDATE refold.heads SET partition = partition
no    no    no    no    no    yes   | DELETE FROM refold.heads
no    yes   yes   no    no    yes   | SELECT FROM refold.store
no    no    no    no    no    yes   | UPDATE refold.store SET log_id = 'x'
no    yes   yes   no    no    yes   | SELECT FROM refold.seals
no    no    yes   no    no    yes   | INSERT INTO refold.seals VALUES (0, 1000, '')
no    no    no    no    no    yes   | UPDATE refold.seals SET chain = ''
no    no    no    no    no    yes   | DELETE FROM refold.seals
no    yes   yes   no    no    yes   | SELECT FROM refold.keys
no    yes   no    no    no    yes   | INSERT INTO refold.keys VALUES ('x', 'x', NULL)
no    yes   no    no    no    yes   | UPDATE refold.keys SET key = NULL, erased_at = 1
no    no    no    no    no    yes   | UPDATE refold.keys SET subject = 'x'
no    no    no    no    no    yes   | DELETE FROM refold.keys
no    yes   yes   no    no    yes   | SELECT FROM refold.claims
no    yes   no    no    no    yes   | INSERT INTO refold.claims VALUES ('x', 'x', 'x')
no    yes   no    no    no    yes   | DELETE FROM refold.claims
no    no    no    no    no    yes   | UPDATE refold.claims SET stream = 'x'
no    yes   yes   yes   no    yes   | SELECT FROM refold.files
no    yes   yes   yes   no    yes   | SELECT FROM refold.push_activity
no    yes   yes   no    no    yes   | SELECT FROM refold.files_1
no    yes   yes   no    no    yes   | SELECT FROM refold.files_1_search
no    yes   yes   no    no    yes   | SELECT FROM refold.checkpoints
no    no    yes   no    no    yes   | UPDATE refold.files SET name = 'x'
no    no    yes   no    no    yes   | UPDATE refold.files_1 SET name = 'x'
no    no    yes   no    no    yes   | UPDATE refold.files_1_search SET added_place = 1
no    no    yes   no    no    yes   | DELETE FROM refold.file_tags_1
no    no    yes   no    no    yes   | UPDATE refold.checkpoints SET position = 0
no    no    yes   no    no    yes   | DROP TABLE refold.files_1 CASCADE
no    no    yes   no    no    yes   | CREATE TABLE refold.files_2 (x int)
no    no    no    no    no    yes   | ALTER TABLE refold.events OWNER TO CURRENT_USER
no    no    no    no    no    no    | CREATE TABLE public.events (x int)
no    no    no    no    no    no    | CREATE TEMPORARY TABLE events (x int)
no    no    no    no    no    no    | CREATE SCHEMA refold_2
no    no    no    no    no    no    | CREATE ROLE refold_other
no    yes   no    no    yes   yes   | SET ROLE refold_writer
no    no    yes   no    yes   yes   | SET ROLE refold_projector
no    no    no    no    yes   yes   | SET ROLE refold_owner
"""
WHO: Final = ("stranger", "writer", "projector", "analyst", "operator", "owner")
CELLS: Final = [
    pytest.param(statement, expected, who, id=f"{who}: {statement}")
    for line in MATRIX.strip().splitlines()
    for cells, _, statement in [line.partition(" | ")]
    for who, expected in zip(WHO, cells.split(), strict=True)
]


@pytest.fixture(scope="module")
def connections(place: Place) -> Iterator[dict[str, psycopg.Connection[Any]]]:
    """A connection for each of WHO."""
    logins = {who: place.new_login(f"refold_{who}") for who in WHO[1:5]}
    logins |= {"stranger": place.new_login(), "owner": logins["operator"]}
    made = {who: psycopg.connect(url) for who, url in logins.items()}

    yield made
    for each in made.values():
        each.close()


@pytest.mark.parametrize(("statement", "expected", "who"), CELLS)
def test_a_role_may_do_what_it_is_for_and_nothing_else(
    connections: dict[str, psycopg.Connection[Any]], statement: str, expected: str, who: str
) -> None:
    found = "yes"
    try:
        with connections[who].transaction(force_rollback=True):
            if who == "owner":
                connections[who].execute("SET ROLE refold_owner")
            connections[who].execute(statement.encode())
    except psycopg.Error as error:
        found = {"42501": "no", "23001": "guard"}.get(error.sqlstate or "", str(error.sqlstate))

    assert found == expected


def test_the_settings_of_analysts_hold_their_statements_short(place: Place) -> None:
    with psycopg.connect(place.url) as connection:
        found = connection.execute(
            "SELECT rolconfig, rolcanlogin FROM pg_roles WHERE rolname = 'refold_analyst'"
        ).fetchone()

    assert found == (["default_transaction_read_only=on", "statement_timeout=60s"], False)


# --- services and people ------------------------------------------------------------------


def test_a_writer_issues_commands_and_reads_what_others_folded(place: Place) -> None:
    name = f"{secrets.token_hex(4)}.pdf"
    with open_store(place.new_login("refold_writer")) as store:
        do(store, "file.change", sha256=SHA, name=name)
        do(store, "user.register", id="ada", profile={"username": "ada", "email": "a@b.c"})
        sessions = SessionStore(store)
        sessions.set("sid", {"n": 1})
        sessions.set("sid", {"n": 2})
        sessions.destroy("sid")

        assert sessions.get("sid") is None
        assert show_file(store, SHA).name == name
        assert search(store, "paper", after=None).total == 1
        with pytest.raises(Unavailable, match="42501"):
            store.folder.catch_up()


def test_roles_suffice_for_several_partitions(postgres: str) -> None:
    with new_place(postgres) as place:
        with open_store(place.url, create=True, partitions=3) as store:
            make_roles(store.address)  # type: ignore[arg-type]
        with open_store(place.new_login("refold_writer")) as store:
            for id in ("ada", "bo", "cleo"):
                do(store, "user.register", id=id, profile={"username": id, "email": f"{id}@b.c"})
            written = store.advance.head()
        with open_store(place.new_login("refold_projector")) as store:
            folded = store.folder.catch_up()

    assert folded == written
    assert written.total == 3


def test_a_projector_folds_seals_and_rebuilds_and_appends_nothing(place: Place) -> None:
    with open_store(place.url) as store:
        do(store, "user.register", id="bo", profile={"username": "bo"})
    said: list[str] = []
    with open_store(place.new_login("refold_projector")) as store:
        Daemon(store, lambda what, _: said.append(what)).step()

        assert said == ["folded"]
        assert all(each.is_equal for each in store.rebuilder.rebuild(catalog.ALL))
        with pytest.raises(Unavailable, match="42501"):
            do(store, "file.ban", sha256=SHA, code=3)


def test_who_may_both_ends_sessions_by_the_daemon(place: Place) -> None:
    said: list[str] = []
    with open_store(place.new_login("refold_writer", "refold_projector")) as store:
        soon = clock.now(store.log) + 100_000
        do(store, "session.set", sid="s", body="{}", expires_at=times.text(soon))
        while clock.now(store.log) <= soon:
            sleep(0.01)

        Daemon(store, lambda what, _: said.append(what)).step()

    assert said == ["folded", "purged"]


@pytest.mark.parametrize("who", ["projector", "superuser", "operator"])
def test_tables_that_one_has_made_are_read_folded_and_dropped_by_others(
    place: Place, who: str
) -> None:
    analyst = place.new_login("refold_analyst")
    others = {
        "projector": place.new_login("refold_projector"),
        "superuser": place.url,
        "operator": place.new_login("refold_operator") + "?options=-c%20role%3Drefold_owner",
    }
    with open_store(others[who]) as store:
        store.rebuilder.rebuild(catalog.ALL)
        made = numbers(store)

    with open_store(place.url) as store:
        do(store, "file.change", sha256=SHA, name=f"paper {who}.pdf")
    with open_store(place.new_login("refold_projector")) as store:
        store.folder.catch_up()
        store.rebuilder.rebuild(catalog.ALL)
        dropped = store.rebuilder.drop(catalog.ALL, "previous")
    with open_store(place.new_login("refold_writer")) as store:
        assert search(store, "paper", after=None).total == 1

    assert {each.number for each in dropped} == set(made.values())
    with psycopg.connect(analyst) as connection:
        for each in catalog.ALL:
            connection.execute(f"SELECT * FROM refold.{each.NAME}".encode())


def numbers(store: Store) -> dict[str, int]:
    with store.tables.reading() as connection:
        return {name: each.number for name, each in store.tables.current(connection).items()}


# --- who makes them -----------------------------------------------------------------------

RIGHTS: Final = """
SELECT 'relation', relname, relowner::regrole::text, relacl::text, relrowsecurity::text
    FROM pg_class WHERE relnamespace = 'refold'::regnamespace
UNION ALL SELECT 'column', attrelid::regclass::text, attname, attacl::text, ''
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    WHERE relnamespace = 'refold'::regnamespace AND attacl IS NOT NULL
UNION ALL SELECT 'function', oid::regprocedure::text, proowner::regrole::text, proacl::text,
    proconfig::text FROM pg_proc WHERE pronamespace = 'refold'::regnamespace
UNION ALL SELECT 'schema', nspname, nspowner::regrole::text, nspacl::text, ''
    FROM pg_namespace WHERE nspname = 'refold'
UNION ALL SELECT 'default', defaclrole::regrole::text, defaclobjtype::text, defaclacl::text, ''
    FROM pg_default_acl
UNION ALL SELECT 'policy', policyname, roles::text, qual, with_check FROM pg_policies
UNION ALL SELECT 'database', datname, datacl::text, '', ''
    FROM pg_database WHERE datname = current_database()
UNION ALL SELECT 'member', roleid::regrole::text, member::regrole::text, '', ''
    FROM pg_auth_members WHERE roleid::regrole::text LIKE 'refold%'
UNION ALL SELECT 'role', rolname, rolconfig::text, rolinherit::text, rolcanlogin::text
    FROM pg_roles WHERE rolname LIKE 'refold%'
ORDER BY 1, 2, 3, 4, 5
"""

HARM: Final = [
    "REVOKE SELECT ON refold.events FROM refold_writer",
    "REVOKE INSERT ON refold.seals FROM refold_projector",
    "REVOKE SELECT ON refold.checkpoints FROM refold_writer",
    "REVOKE SELECT ON refold.files FROM refold_analyst",
    "REVOKE CREATE ON SCHEMA refold FROM refold_projector",
    "REVOKE EXECUTE ON FUNCTION refold.append_exact FROM refold_writer",
    "REVOKE refold_projector FROM refold_operator",
    "GRANT UPDATE (data) ON refold.events TO refold_writer",
    "GRANT SELECT ON refold.keys TO PUBLIC",
    "GRANT CREATE ON SCHEMA refold TO refold_writer",
    "ALTER TABLE refold.events OWNER TO CURRENT_USER",
    "ALTER VIEW refold.files OWNER TO CURRENT_USER",
    (
        "DO $$ BEGIN EXECUTE (SELECT format('ALTER TABLE %s OWNER TO CURRENT_USER', oid::regclass)"
        " FROM pg_class WHERE relname ~ '^files_[0-9]+_search$' LIMIT 1); END $$"
    ),
    "ALTER FUNCTION refold.refuse_change() OWNER TO CURRENT_USER",
    "ALTER FUNCTION refold.append_exact RESET search_path",
    "ALTER TABLE refold.heads DISABLE ROW LEVEL SECURITY",
    "DROP POLICY heads_are_locked ON refold.heads",
    "ALTER ROLE refold_analyst RESET statement_timeout",
]


def test_roles_that_are_made_again_stay_as_they_are_and_are_mended(place: Place) -> None:
    with open_store(place.url) as store, psycopg.connect(place.url, autocommit=True) as connection:
        assert isinstance(store.address, Postgres)
        before = connection.execute(RIGHTS.encode()).fetchall()

        assert make_roles(store.address) == []
        assert connection.execute(RIGHTS.encode()).fetchall() == before

        for harm in HARM:
            connection.execute(harm.encode())
            assert connection.execute(RIGHTS.encode()).fetchall() != before
            make_roles(store.address)
            assert connection.execute(RIGHTS.encode()).fetchall() == before, harm


def test_who_is_no_superuser_makes_a_store_and_its_roles(postgres: str) -> None:
    with new_place(postgres) as place, psycopg.connect(place.url, autocommit=True) as server:
        maker = place.new_login(may="CREATEROLE")
        [name] = re.findall(r"//(\w+):", maker)
        server.execute(f"GRANT CREATE ON DATABASE {urlsplit(maker).path[1:]} TO {name}".encode())
        grants_left(server, name)
        with open_store(maker, create=True) as store:
            do(store, "file.register", sha256=SHA, cid=CID)
            store.folder.catch_up()
            assert isinstance(store.address, Postgres)
            left = make_roles(store.address)
        with open_store(maker) as store:
            store.rebuilder.rebuild(catalog.ALL)
            chain.seal(store.log, 0, 1)
            store.log.change_state(State.SEALED, successor="memory:")
            store.log.change_state(State.OPEN)
        with open_store(place.new_login("refold_writer")) as store:
            do(store, "file.add_tag", sha256=SHA, tag="t")
            assert len(store.log.page(0, 0, 9)) == 2

    assert left == [f"REVOKE TEMPORARY ON DATABASE {urlsplit(maker).path[1:]} FROM PUBLIC"]


def grants_left(server: psycopg.Connection[Any], name: str) -> None:
    """Let a login grant the roles that others have made here before, as from PostgreSQL 16 on."""
    for role in "owner", "writer", "projector", "analyst", "operator":
        server.execute(f"GRANT refold_{role} TO {name} WITH ADMIN OPTION".encode())


# --- names that others have taken ---------------------------------------------------------

TRAP: Final = "AS $$ BEGIN RAISE EXCEPTION 'a trap'; END $$ LANGUAGE plpgsql"
IN_PUBLIC: Final = f"CREATE FUNCTION public.cardinality(text[]) RETURNS int {TRAP}"
IN_REFOLD: Final = (
    "CREATE FUNCTION refold.append_exact(smallint, bigint, text[], bigint[], text[], bigint[],"
    f" text[], int[], bytea[], bytea[], text[], int[]) RETURNS bigint {TRAP}"
)
GUARDED: Final = (
    "SELECT refold.append_exact(0, 0, '{{{0}}}', '{{1}}', '{{x}}', '{{1}}', '{{x}}', '{{1}}',"
    " '{{x}}', '{{x}}', '{{x}}', '{{0}}')"
)


def test_functions_of_others_do_not_take_the_place_of_those_that_are_meant(place: Place) -> None:
    with (
        psycopg.connect(place.url, autocommit=True) as server,
        open_store(place.new_login("refold_writer")) as store,
    ):
        server.execute(IN_PUBLIC.encode())
        server.execute(IN_REFOLD.encode())
        with pytest.raises(RaiseException, match="a trap"):
            server.execute("SELECT cardinality('{x}'::text[])")
        do(store, "tag_vote.cast", sha256=SHA, tag="physics", voter="ada", stance=1)

        before = server.execute("SELECT count(*) FROM refold.events").fetchone()
        server.execute(GUARDED.format(f"file-{SHA}").encode())
        after = server.execute("SELECT count(*) FROM refold.events").fetchone()

    assert before is not None
    assert after == (before[0] + 1,)


def test_no_function_in_public_takes_the_place_of_one_that_is_meant(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(IN_PUBLIC.encode())
    with open_store(postgres_url, create=True) as store:
        do(store, "file.register", sha256=SHA, cid=CID)
        do(store, "tag_vote.cast", sha256=SHA, tag="physics", voter="ada", stance=1)

        assert store.folder.catch_up() == store.advance.head()
        assert store.advance.head().total > 1
