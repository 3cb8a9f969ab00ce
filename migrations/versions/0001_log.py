"""The log, its heads, claims and seals."""

from uuid import uuid4

from alembic import context, op
from sqlalchemy import column, table

from refold.migrations.script import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make an empty store of one partition."""
    run("0001_pre_log.sql")
    schema = context.config.attributes["schema"]
    store = table("store", column("id"), column("store_id"), column("log_id"), schema=schema)
    heads = table("heads", column("partition"), column("state"), schema=schema)
    op.execute(store.insert().values(id=1, store_id=uuid4().hex, log_id=uuid4().hex))
    op.execute(heads.insert().values(partition=0, state="open"))
