"""PostgreSQL stores that were given to roles, and logins that are members of these."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from refold.infrastructure.commands import run
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres import roles
from refold.infrastructure.store import Store

SHA = "ab" * 32
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"

NewLogin = Callable[..., str]


@dataclass(frozen=True)
class Place:
    """A database with a store of two events; `url` is a superuser's."""

    url: str
    new_login: NewLogin
    """Makes a login that is a member of these roles, and returns the store's address for it."""


@pytest.fixture(scope="module")
def place(postgres: str) -> Iterator[Place]:
    """A store that was given to roles, for a module's tests."""
    with new_place(postgres) as made:
        with open_store(made.url, create=True) as store:
            do(store, "file.register", sha256=SHA, cid=CID, name="paper.pdf")
            do(store, "file.add_tag", sha256=SHA, tag="physics")
            store.folder.catch_up()
            roles.make_roles(store.address)  # type: ignore[arg-type]
        yield made


@contextmanager
def new_place(postgres: str) -> Iterator[Place]:
    """Give an empty database; logins that are made for it are gone with it."""
    name = f"refold_test_{secrets.token_hex(6)}"
    url = urlsplit(postgres)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres, autocommit=True) as server, ExitStack() as cleanup:
        server.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name)))

        def new_login(*roles: str, may: str = "") -> str:
            login, password = f"refold_test_{secrets.token_hex(6)}", secrets.token_hex(6)
            server.execute(f"CREATE ROLE {login} LOGIN {may} PASSWORD '{password}'".encode())
            cleanup.callback(lambda: server.execute(f"DROP ROLE {login}".encode()))
            for role in roles:
                server.execute(f"GRANT {role} TO {login}".encode())
            where = urlsplit(url).netloc.rpartition("@")[2]
            return urlsplit(url)._replace(netloc=f"{login}:{password}@{where}").geturl()

        try:
            yield Place(url, new_login)
        finally:
            server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def do(store: Store, name: str, /, **fields: object) -> None:
    """Carry out a command."""
    run(store, name, fields, command_id=secrets.token_hex(8), actor="ada")
