"""Connections to PostgreSQL, and what the driver's errors mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction
from sqlalchemy.exc import DBAPIError

from refold.domain.errors import Unavailable

UNAVAILABLE: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    InsufficientPrivilege,
    ReadOnlySqlTransaction,
)
"""The driver's errors that say that a store cannot be used, now or by this role."""

CONNECT_SECONDS: Final = 10
"""How long a server may take to answer a new connection."""


def connect(address: str, *, autocommit: bool) -> psycopg.Connection:
    """Return a connection. Raises `Unavailable`."""
    try:
        connection = psycopg.connect(address, connect_timeout=CONNECT_SECONDS, autocommit=True)
        configure(connection)
        connection.autocommit = autocommit
        return connection
    except psycopg.Error as error:
        raise unavailable(address, error) from None  # the driver's text may hold parameters


def configure(connection: psycopg.Connection) -> None:
    """Let each statement see what was committed before it, whatever the server's default is."""
    connection.execute("SET default_transaction_isolation TO 'read committed'")


@contextmanager
def available(address: str) -> Iterator[None]:
    """Raise `Unavailable` for what the driver says of a server, also through SQLAlchemy."""
    try:
        yield
    except UNAVAILABLE as error:
        raise unavailable(address, error) from None
    except DBAPIError as error:
        if not isinstance(error.orig, UNAVAILABLE):
            raise
        raise unavailable(address, error.orig) from None


def is_passing(error: BaseException) -> bool:
    """Tell whether it may help to try again: not where a right is missing."""
    return not isinstance(error, InsufficientPrivilege | ReadOnlySqlTransaction)


def unavailable(address: str, error: BaseException | None) -> Unavailable:
    """Return what the caller is told of `error`: where, and SQLSTATE or the driver's class."""
    try:
        known = conninfo_to_dict(address)
    except psycopg.Error:
        return Unavailable("the PostgreSQL address cannot be read")
    where = f"{known.get('host', 'localhost')}:{known.get('port', 5432)}/{known.get('dbname', '')}"
    state = getattr(error, "sqlstate", None)
    reason = f"SQLSTATE {state}" if state else "there is no connection"
    return Unavailable(f"PostgreSQL at {where} cannot be used: {reason}")
