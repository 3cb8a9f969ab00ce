"""A store on PostgreSQL holds texts as they are, whatever encoding a client says it has."""

import secrets
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from refold.domain.errors import BadInput
from refold.domain.ports import Appended, Command, NewEvent, Tracking, Write
from refold.infrastructure.open import open_store

STREAM = "aggregate-hé"


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "UTF8"])
@pytest.mark.parametrize("where", ["environment", "address"])
def test_a_client_encoding_changes_no_text(
    schema_url: str, monkeypatch: pytest.MonkeyPatch, encoding: str, where: str
) -> None:
    url = schema_url
    if where == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", encoding)
    elif where == "address":
        url = f"{url}&client_encoding={encoding}"
    with open_store(url, create=True) as store:
        event = NewEvent("tôpic", 1, b"{}", b"{}")
        outcomes = store.log.append(
            [
                Command("exact", (Write(STREAM, 0, (event,)),), trackings=(Tracking("üp", 1),)),
                Command("any", (Write(STREAM, None, (event,)),)),
            ]
        )
        records = store.log.stream(STREAM)
        tracked = store.log.tracked("üp")

    assert [type(each) for each in outcomes] == [Appended, Appended]
    assert [(each.stream, each.version, each.type) for each in records] == [
        (STREAM, 1, "tôpic"),
        (STREAM, 2, "tôpic"),
    ]
    assert tracked


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_takes_no_store(
    postgres: str, encoding: str
) -> None:
    name = sql.Identifier(f"refold_test_{secrets.token_hex(6)}")
    url = urlsplit(postgres)._replace(path=f"/{name._obj[0]}").geturl()
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(
            sql.SQL(
                "CREATE DATABASE {} ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
            ).format(name, sql.Literal(encoding))
        )
        with pytest.raises(BadInput, match=f"is a database of the encoding {encoding}, and"):
            open_store(url, create=True)
        server.execute(sql.SQL("DROP DATABASE {}").format(name))
