"""Events in SQLite lie in the order of their places."""

from typing import Any

from alembic import op

from refold.migrations.script import run

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Write the table of events again in SQLite; PostgreSQL keeps it."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.set_authorizer(None)  # which lets nobody drop events; it is closed after this
    run("0004_pre_places.sql")
