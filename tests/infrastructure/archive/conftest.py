"""Stores whose logs are archived, and what is known of the archives that are made."""

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from refold.domain.ports import Recorded
from refold.infrastructure.address import Archive
from refold.infrastructure.archive import writing
from refold.infrastructure.commands import run
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.tests.infrastructure.faults.events import many

LATER = "2990-01-01T00:00:00Z"
LONG = "x" * 9_000
"""A text that is kept as a blob."""


@pytest.fixture(autouse=True)
def vault_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of sealed fields, which every store of a test has."""
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Makes empty stores on SQLite, each with blobs of its own."""
    with ExitStack() as cleanup:

        def new() -> Store:
            url = f"sqlite:///{tmp_path}/{secrets.token_hex(4)}.db"
            return cleanup.enter_context(open_store(url, create=True))

        yield new


@pytest.fixture
def source(new_store: Callable[[], Store]) -> Store:
    """A store with events of many kinds, sealed fields, an erased user, claims and a blob."""
    store = new_store()
    for name in "ada", "bo", "gone":
        profile = {"username": name, "email": f"{name}@example.org"}
        do(store, "user.register", id=name, profile=profile, password_hash="$2b$10$hash")
    do(store, "user.add_key", id="ada", record={"key": "ssh-rsa AAAA"})
    do(store, "user.erase", id="gone")
    do(store, "session.set", sid="lives", body="its body", expires_at=LATER)
    do(store, "session.set", sid="ended", body="another", expires_at=LATER)
    do(store, "session.end", sid="ended")
    document = {"project": "p", "name": "n", "url": "https://example.org/p/n.git"}
    do(store, "repo.register", id="r", document=document)
    do(store, "push.record", document={"id": "a__b", "steps": [{"content": LONG}]})
    do(store, "file.register", sha256="ab" * 32, cid="bafy1", name="paper.pdf")
    return store


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of 2 500 events, two blocks and a half, and its archive."""
    folder = tmp_path_factory.mktemp("templates")
    with open_store(f"sqlite:///{folder}/long.db", create=True) as store:
        store.log.append(list(many(2_500)))
        writing.write(store, Archive(folder / "backup.zst"))
    return folder


@pytest.fixture
def long(templates: Path, tmp_path: Path) -> Iterator[Store]:
    """A store with 2 500 events: two blocks and a half."""
    shutil.copy(templates / "long.db", tmp_path)
    with open_store(f"sqlite:///{tmp_path}/long.db") as store:
        yield store


@pytest.fixture
def place(tmp_path: Path) -> Archive:
    """Where no archive is yet."""
    return Archive(tmp_path / "backup.zst")


@pytest.fixture
def archive(templates: Path, place: Archive) -> Archive:
    """The archive of 2 500 events."""
    shutil.copy(templates / "backup.zst", place.path)
    return place


@pytest.fixture
def archive_of_source(source: Store, place: Archive) -> Archive:
    """The archive of events of many kinds, without keys."""
    writing.write(source, place)
    return place


def do(store: Store, name: str, /, **fields: Any) -> None:
    run(store, name, fields, command_id=secrets.token_hex(8), actor="ada")


def everything(store: Store) -> list[Recorded]:
    return store.log.page(0, 0, 100_000)
