"""Statements without the driver's cursor: parameters arrive as the driver would send them."""

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.infrastructure.postgres.prepared import Prepared

INTS = st.integers(-(2**31), 2**31 - 1)
BIGINTS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ROW = st.tuples(
    *(INTS, BIGINTS, st.lists(INTS), st.lists(BIGINTS), st.lists(TEXTS)),
    st.lists(st.binary()),
)
QUERY = b"""
    SELECT hashtextextended(ROW(%b::int, %b::bigint, %b::int[], %b::bigint[], %b::text[],
        %b::bytea[])::text, 0)
"""


@pytest.fixture(scope="module")
def connection(postgres: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres, autocommit=True) as connection:
        yield connection


def test_parameters_arrive_as_the_driver_sends_them(connection: psycopg.Connection) -> None:
    statement = Prepared(QUERY)
    statement.prepare(connection)

    @given(ROW)
    def check(row: tuple[object, ...]) -> None:
        [expected] = connection.execute(QUERY, row, binary=True).fetchone() or [None]
        assert statement.run(connection, row) == expected

    check()


@pytest.mark.parametrize(
    ("query", "number"),
    [
        (b"SELECT %b::bigint", -(2**63)),
        (b"SELECT %b::int", 7),
        (b"SELECT nullif(%b::int, 7)", None),
        (b"SELECT 1 WHERE %b::int > 7", None),
    ],
)
def test_the_answer_is_a_number_or_nothing(
    connection: psycopg.Connection, query: bytes, number: int | None
) -> None:
    statement = Prepared(query)
    statement.prepare(connection)

    given = number if number is not None else 7
    assert statement.run(connection, [given]) == number


def test_what_the_server_refuses_is_the_drivers_error(connection: psycopg.Connection) -> None:
    statement = Prepared(b"SELECT 1 / %b::int")
    statement.prepare(connection)

    with pytest.raises(psycopg.errors.DivisionByZero):
        statement.run(connection, [0])
    with pytest.raises(psycopg.errors.UndefinedTable):
        Prepared(b"SELECT 1 FROM nowhere").prepare(connection)
    assert statement.run(connection, [1]) == 1


def test_a_connection_that_is_lost_is_an_operational_error(postgres: str) -> None:
    statement = Prepared(b"SELECT %b::int")
    with psycopg.connect(postgres, autocommit=True) as lost:
        statement.prepare(lost)
        with psycopg.connect(postgres, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [lost.info.backend_pid])

        with pytest.raises(psycopg.OperationalError):
            statement.run(lost, [1])
        with pytest.raises(psycopg.OperationalError):
            statement.run(lost, [1])
