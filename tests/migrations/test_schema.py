"""All migrations together make what is checked in as `migrations/<engine>/schema.sql`.

After a new migration, a failing test leaves the file as it should be and says where.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from refold.infrastructure import schema
from refold.infrastructure.sqlite.connection import connect

MIGRATIONS = Path(__file__).parents[2] / "migrations"
DUMP = "schema.sql"


# --- SQLite -----------------------------------------------------------------------------


def test_sqlite_migrations_make_the_schema_that_is_checked_in(tmp_path: Path) -> None:
    migrate_sqlite(tmp_path / "store")

    compare(dump_sqlite(tmp_path / "store"), MIGRATIONS / "sqlite" / DUMP, tmp_path)


def test_the_tables_of_the_log_are_named(tmp_path: Path) -> None:
    migrate_sqlite(tmp_path / "store")

    with closing(sqlite3.connect(tmp_path / "store")) as connection:
        made = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert sorted(name for (name,) in made) == sorted(schema.LOG_TABLES)


def test_the_sqlite_schema_can_be_run(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "copy")) as connection:
        connection.executescript((MIGRATIONS / "sqlite" / DUMP).read_text())

    compare(dump_sqlite(tmp_path / "copy"), MIGRATIONS / "sqlite" / DUMP, tmp_path)


def test_migrating_sqlite_twice_changes_nothing(tmp_path: Path) -> None:
    migrate_sqlite(tmp_path / "store")
    before = (tmp_path / "store").read_bytes()

    migrate_sqlite(tmp_path / "store")

    assert (tmp_path / "store").read_bytes() == before


def migrate_sqlite(path: Path) -> None:
    migrate(sa.create_engine("sqlite://", creator=lambda: connect(path)), None)


def dump_sqlite(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        statements = connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type <> 'table', name"
        ).fetchall()
    return script(statement for (statement,) in statements)


# --- PostgreSQL -------------------------------------------------------------------------


def test_postgresql_migrations_make_the_schema_that_is_checked_in(
    postgres_url: str, tmp_path: Path
) -> None:
    migrate_postgres(postgres_url)

    compare(dump_postgres(postgres_url), MIGRATIONS / "postgres" / DUMP, tmp_path)


def test_the_postgresql_schema_can_be_run(postgres_url: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE SCHEMA refold")
        connection.execute("SET search_path = ''")
        connection.execute((MIGRATIONS / "postgres" / DUMP).read_bytes())

    compare(dump_postgres(postgres_url), MIGRATIONS / "postgres" / DUMP, tmp_path)


def test_migrating_postgresql_twice_changes_nothing(postgres_url: str) -> None:
    migrate_postgres(postgres_url)
    before = rows(postgres_url)

    migrate_postgres(postgres_url)

    assert rows(postgres_url) == before
    assert before["alembic_version"] == [(schema.NEWEST,)]


def migrate_postgres(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS refold")
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    migrate(engine, "refold")


def rows(url: str) -> dict[str, list[Any]]:
    with psycopg.connect(url) as connection:
        return {
            name: connection.execute(f"SELECT * FROM refold.{name}".encode()).fetchall()
            for name in ("store", "heads", "alembic_version")
        }


# pg_dump says the same in other words from version to version; the catalogs do not. Not-null
# constraints (contype n) are there only from PostgreSQL 18 on, and stand with their columns.
TABLES = """
SELECT c.oid::regclass::text FROM pg_class c
WHERE c.relnamespace = 'refold'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
"""
COLUMNS = """
SELECT concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || quote_ident(l.collname) END,
    CASE WHEN a.attnotnull THEN 'NOT NULL' END,
    'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid))
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
CONSTRAINTS = """
SELECT format('CONSTRAINT %%I %%s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
WHERE conrelid = %s::regclass AND contype NOT IN ('n', 't') ORDER BY conname
"""
INDEXES = """
SELECT pg_get_indexdef(i.indexrelid) || ';' FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'refold'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
ORDER BY c.relname
"""
FUNCTIONS = """
SELECT pg_get_functiondef(oid) || ';' FROM pg_proc
WHERE pronamespace = 'refold'::regnamespace ORDER BY oid::regprocedure::text COLLATE "C"
"""
TRIGGERS = """
SELECT pg_get_triggerdef(t.oid) || ';' || CASE t.tgenabled WHEN 'O' THEN '' ELSE
    format(E'\\nALTER TABLE %s %s TRIGGER %I;', t.tgrelid::regclass, CASE t.tgenabled
        WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END, t.tgname)
    END
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'refold'::regnamespace AND NOT t.tgisinternal ORDER BY c.relname, t.tgname
"""
OTHERS = """
SELECT format('-- %s is not told by this dump', c.relname) FROM pg_class c
WHERE c.relnamespace = 'refold'::regnamespace AND c.relkind NOT IN ('r', 'i') ORDER BY c.relname
"""


def dump_postgres(url: str) -> str:
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path = ''")  # so that all names are told in full

        def ask(query: str, *parameters: str) -> list[str]:
            found = connection.execute(query.encode(), parameters or None)
            return [text for (text,) in found]

        tables = [
            f"CREATE TABLE {name} (\n    "
            + ",\n    ".join(ask(COLUMNS, name) + ask(CONSTRAINTS, name))
            + "\n);"
            for name in ask(TABLES)
        ]
        others = [each for query in (INDEXES, FUNCTIONS, TRIGGERS, OTHERS) for each in ask(query)]
        return script(tables + others)


# --- both -------------------------------------------------------------------------------


def test_both_engines_have_the_same_scripts() -> None:
    scripts = [
        sorted(path.name for path in (MIGRATIONS / engine).glob("*.sql"))
        for engine in ("sqlite", "postgres")
    ]

    assert scripts[0] == scripts[1]
    assert "0001_pre_log.sql" in scripts[0]


def test_every_script_belongs_to_a_version() -> None:
    versions = {path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")}

    scripts = [path.name for path in (MIGRATIONS / "sqlite").glob("*.sql") if path.name != DUMP]

    assert {name[:4] for name in scripts} <= versions
    assert all(name[4:].startswith(("_pre_", "_post_")) for name in scripts)
    assert max(versions) == schema.NEWEST


def migrate(engine: sa.Engine, namespace: str | None) -> None:
    try:
        with engine.begin() as connection:
            schema.upgrade(connection, namespace)
    finally:
        engine.dispose()


def script(statements: Iterator[str] | Sequence[str]) -> str:
    """Return one text without white space at the ends of lines."""
    ended = (each if each.endswith(";") else f"{each};" for each in map(str.strip, statements))
    lines = "\n\n".join(ended).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def compare(made: str, checked_in: Path, beside: Path) -> None:
    wanted = beside / DUMP
    wanted.write_text(made)
    assert checked_in.read_text() == made, f"{checked_in} should be what {wanted} is"
