"""What tests of every part share: a real PostgreSQL, and how hard hypothesis tries."""

import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import settings
from psycopg.sql import SQL, Identifier

from refold.domain.ports import Recorded
from refold.infrastructure.postgres.cluster import throwaway
from refold.tests.addresses import in_schema
from refold.tests.s3_server import S3Server

for profile, examples in {"dev": 16, "night": 5000}.items():
    settings.register_profile(profile, max_examples=examples, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "dev")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The url of a server where databases can be made; there being none is an error, not a skip."""
    if url := os.environ.get("REFOLD_TEST_POSTGRES"):
        yield url
        return
    binaries = os.environ.get("REFOLD_TEST_POSTGRES_BINARIES")
    with throwaway(Path(binaries) if binaries else None) as cluster:
        yield cluster.url


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """The url of an empty database of the test's own: see `schema_url` for what is made faster."""
    with _database(postgres) as url:
        yield url


@pytest.fixture(scope="session")
def shared_database(postgres: str) -> Iterator[str]:
    """The url of a database for all tests that need no more of it than a schema of their own."""
    with _database(postgres) as url:
        yield url


@pytest.fixture
def schema_url(shared_database: str) -> Iterator[str]:
    """The url of no store yet, in a database where others are."""
    name = f"t_{secrets.token_hex(6)}"
    yield in_schema(shared_database, name)
    with psycopg.connect(shared_database, autocommit=True) as server:
        server.execute("SET lock_timeout TO '10s'")  # a test that leaves a connection fails
        server.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(name)))


@contextmanager
def _database(server: str) -> Iterator[str]:
    name = f"refold_test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name)))
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture
def vault_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key for stores that cannot make one themselves, the same for all, also where they start."""
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server of this run's own."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def golden() -> list[Recorded]:
    """A log of stored samples with every event type among them."""
    path = Path(__file__).parent / "infrastructure" / "golden" / "events.jsonl"
    versions = Counter[str]()
    records = []
    for position, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        sample = json.loads(line)
        versions[sample["stream"]] += 1
        records.append(
            Recorded(
                0,
                position,
                sample["stream"],
                versions[sample["stream"]],
                sample["type"],
                sample["schema"],
                sample["data"].encode(),
                sample["metadata"].encode(),
                1_750_000_000_000_000 + position * 1_000_001,
                f"golden-{position}",
                0,
            )
        )
    return records
