"""`refold import eventsourcing`: sentences, documents and exit codes."""

from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import InfrastructureFactory, StoredEvent, Tracking
from eventsourcing.utils import Environment

from refold.tests.scripts.conftest import Refold


@pytest.fixture
def own(tmp_path: Path) -> str:
    """The address of a file with the library's own tables: two events, and one that has a gap."""
    named = {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(tmp_path / "own.db"),
    }
    factory = InfrastructureFactory.construct(Environment("", named))
    a, b = uuid4(), uuid4()
    events = [StoredEvent(id, version, "t", b"") for id, version in ((a, 1), (a, 2), (b, 9))]
    factory.process_recorder().insert_events(events, tracking=Tracking("Elsewhere", 5))
    factory.close()
    return f"sqlite:///{tmp_path / 'own.db'}"


def test_an_import_says_what_became_of_each_application(refold: Refold, own: str) -> None:
    ran = refold(
        "import", "eventsourcing", own, "--application", "Shop", "--store", "sqlite:///all"
    )

    assert ran.code == 0
    first, counts, refused, note = ran.out.splitlines()
    assert first.startswith("Shop into sqlite:///")
    assert first.endswith("/all/shop.db: 0 snapshots, 1 applications processed")
    assert counts.startswith("3 records: 2 imported, 0 unchanged, 1 refused; 2 events in ")
    assert refused.startswith("refused stored_events:3 ")
    assert note == ("note on Elsewhere: is not in this database: 5 events are taken as processed")


def test_again_it_finds_nothing_new_and_the_store_is_whole(refold: Refold, own: str) -> None:
    refold("import", "eventsourcing", own, "--store", "sqlite:///all")

    again = refold("import", "eventsourcing", own, "--store", "sqlite:///all", "--json").json
    verified = refold("verify", "sqlite:///all/stored.db")

    [application] = again["applications"]
    assert (application["imported"], application["unchanged"], application["events"]) == (0, 2, 0)
    assert application["trackings"] == {"Elsewhere": 5}
    assert verified.code == 0
    assert "events of 1 other applications are processed" in verified.out.splitlines()


def test_trackings_are_no_part_of_an_archive_and_that_is_said(refold: Refold, own: str) -> None:
    refold("import", "eventsourcing", own, "--store", "sqlite:///all")

    ran = refold("copy", "sqlite:///all/stored.db", "archive:stored.zst")

    assert ran.code == 1
    assert ran.sentence.startswith("an archive cannot keep up to where other applications'")
    assert not Path("stored.zst").exists()


def test_what_holds_no_events_is_refused(refold: Refold, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()

    ran = refold("import", "eventsourcing", "sqlite:///empty.db", "--store", "sqlite:///all")

    assert ran.code == 1
    assert ran.sentence.endswith("holds no events of the eventsourcing library")


def test_what_is_said_of_the_store_s_server_is_not_said_of_another(
    refold: Refold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFOLD_PASSWORD_COMMAND", "touch asked")
    monkeypatch.setenv("REFOLD_DATABASE", "own")

    ran = refold("import", "eventsourcing", "postgresql://localhost:1", "--store", "sqlite:///all")

    assert ran.code == 4
    assert ran.sentence.startswith("PostgreSQL at localhost:1/ cannot be used")
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(("mode", "code"), [(None, 1), ("verify-full", 4)])
def test_how_a_connection_is_secured_is_said_of_every_server(
    refold: Refold, monkeypatch: pytest.MonkeyPatch, mode: str | None, code: int
) -> None:
    if mode:
        monkeypatch.setenv("REFOLD_SSLMODE", mode)

    ran = refold("import", "eventsourcing", "postgresql://db.invalid/", "--store", "sqlite:///all")

    assert (ran.code, "is not on this machine" in ran.sentence) == (code, mode is None)


def test_tables_are_in_public_unless_the_address_names_a_schema(
    refold: Refold, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as server:
        server.execute(
            "CREATE TABLE shop_events (originator_id uuid, originator_version bigint, topic text,"
            " state bytea, notification_id bigint)"
        )
    joined = "&" if "?" in postgres_url else "?"
    url = f"{postgres_url}{joined}application_name=schema="

    ran = refold("import", "eventsourcing", url, "--store", "sqlite:///all")
    elsewhere = refold("import", "eventsourcing", f"{url}&schema=own", "--store", "sqlite:///all")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("shop into sqlite:///")
    assert elsewhere.sentence.endswith("holds no events of the eventsourcing library")
