"""Connections to PostgreSQL, and what the driver's errors mean."""

from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from refold.domain.errors import Unavailable

CONNECT_SECONDS: Final = 10
"""How long a server may take to answer a new connection."""


def connect(address: str, *, autocommit: bool) -> psycopg.Connection:
    """Return a connection. Raises `Unavailable`."""
    try:
        return psycopg.connect(address, autocommit=autocommit, connect_timeout=CONNECT_SECONDS)
    except psycopg.Error as error:
        raise unavailable(address, error) from None  # the driver's text may hold parameters


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
