"""How far other applications' logs are processed, and snapshots."""

from refold.migrations.script import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables of trackings and snapshots."""
    run("0003_pre_trackings.sql")
