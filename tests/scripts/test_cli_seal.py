"""`refold seal` and `refold verify --anchor`, and the roles that `refold init` makes."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg

from refold.tests.s3_server import BUCKET, S3Server
from refold.tests.scripts.conftest import Refold

SMALL = Path(__file__).parents[2] / "scripts" / "demo-data" / "metadata.small.json"


def test_deleted_newest_events_are_a_difference(refold: Refold, tmp_path: Path) -> None:
    store, anchor = f"sqlite:///{tmp_path}/store.db", tmp_path / "elsewhere.anchor"
    assert refold("import", "pinshare", SMALL, "--store", store).code == 0
    assert refold("seal", "--store", store).out == "sealed up to 0\n"
    sealed = refold("seal", "--anchor", anchor, "--store", store)
    kept = json.loads(anchor.read_text())
    assert sealed.out == f"anchored at position 202, chain {kept['chain']}\n"
    assert refold("seal", "--anchor", anchor, "--store", store, "--json").json["differences"] == []
    assert refold("verify", store, "--anchor", anchor).out == "equal\n"

    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.execute("DROP TRIGGER events_are_not_deleted")
        connection.execute("DELETE FROM events WHERE position > 200")
        connection.commit()
    assert refold("verify", store).code in (0, 3)
    verified = refold("verify", store, "--anchor", anchor)
    again = refold("seal", "--anchor", anchor, "--store", store)
    told = refold("seal", "--anchor", anchor, "--store", store, "--json").json

    assert (verified.code, again.code) == (3, 3)
    assert (told["anchors"], len(told["differences"])) == ([], 1)
    assert verified.out.startswith("difference: the log ends at position 200, but at 20")
    assert "position 202" in again.out
    assert len(anchor.read_text().splitlines()) == 2


def test_an_anchor_is_put_into_the_bucket_that_is_named(
    refold: Refold, tmp_path: Path, s3: S3Server
) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    (tmp_path / "refold.toml").write_text(
        f"""
        [storage]
        backend = "sqlite"
        database_path = "{tmp_path}/store.db"
        [storage.media]
        provider = "s3"
        bucket = "other"
        endpoint = "{s3.endpoint}"
        region = "us-east-1"
        path_style = true
        access_key = "{s3.access_key}"
        secret_key = "{s3.secret_key}"
        """
    )
    assert refold("init", "--store", store).code == 0

    sealed = refold("seal", "--anchor", f"s3://{BUCKET}/cli.anchor", "--config", "refold.toml")

    verified = refold(
        "verify", store, "--anchor", f"s3://{BUCKET}/cli.anchor", "--config", "refold.toml"
    )

    assert sealed.out.startswith("anchored at position 0")
    assert verified.out == "equal\n"
    refused = refold("seal", "--anchor", f"s3://{BUCKET}", "--store", store)
    assert (refused.code, refused.sentence) == (1, f"s3://{BUCKET} is not s3://BUCKET/KEY")


def test_only_one_thing_is_what_a_store_is_checked_against(refold: Refold) -> None:
    assert refold("verify", "memory:", "memory:", "--anchor", "x").code == 2
    assert refold("verify", "memory:", "--anchor", "x").sentence == "there are no anchors at x"


def test_the_roles_are_made_with_a_store(refold: Refold, postgres_url: str) -> None:
    for _ in range(2):
        made = refold("init", "--roles", "--store", postgres_url)
        assert (made.code, made.err) == (0, "")
    refused = refold("init", "--roles", "--store", "sqlite:///x.db")
    assert refused.sentence.endswith("x.db has no roles: those are PostgreSQL's")

    with psycopg.connect(postgres_url) as connection:
        owners = connection.execute(
            "SELECT relname, relowner::regrole::text FROM pg_class"
            " WHERE oid IN ('refold.events'::regclass, 'refold.files'::regclass) ORDER BY 1"
        ).fetchall()
    assert owners == [("events", "refold_owner"), ("files", "refold_projector")]
