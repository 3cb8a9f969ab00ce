"""The keys of sealed fields."""

from refold.migrations.script import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the table of keys."""
    run("0002_pre_keys.sql")
