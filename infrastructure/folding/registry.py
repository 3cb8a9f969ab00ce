"""The registry of query tables: which there are, and how far each of them is."""

from typing import Any, Final

import sqlalchemy as sa

from refold.infrastructure.folding.generations import DROPPED
from refold.projections.columns import integer, text

REGISTRY: Final = ("projections", "checkpoints", "plans", "parked")
"""The tables that say how far the query tables are."""


class Registry:
    """The tables of the registry, and the texts of what each fold asks of them."""

    def __init__(self, engine: sa.Engine, schema: str | None) -> None:
        metadata = self.metadata = sa.MetaData(schema=schema)
        self.generations = sa.Table(
            "projections",
            metadata,
            text("name", "the query table, as its view is called", key=True),
            _part_of_key("generation", "counts the fillings of the table"),
            integer("version", "version of the projection that fills it"),
            text("fingerprint", "SHA-256 of the projection's name, version and columns"),
            text("state", "building, rehearsing, current, previous or dropped"),
            comment="Which table (name_generation) is behind the view of each projection.",
            sqlite_strict=True,
        )
        self.checkpoints = sa.Table(
            "checkpoints",
            metadata,
            text("projection", "the query table", key=True),
            _part_of_key("generation", "its generation"),
            _part_of_key("partition", "partition of the log"),
            _part_of_key("part", "part of the families, 0 when they are all in the table"),
            integer("parts", "how many parts there are, 1 when they are all in the table"),
            text("store_id", "the store whose log was folded"),
            integer("position", "the last position that is in the table"),
            sa.Column("record_hash", sa.LargeBinary, comment="SHA-256 of the record there"),
            comment="How far each generation is folded.",
            sqlite_strict=True,
        )
        self.plans = sa.Table(
            "plans",
            metadata,
            text("projection", "the query table", key=True),
            _part_of_key("generation", "its generation"),
            _part_of_key("partition", "partition of the log"),
            integer("parts", "how many parts it is filled in, split by family"),
            integer("position", "up to where the log is folded by that"),
            sa.Column("record_hash", sa.LargeBinary, comment="SHA-256 of the record there"),
            comment="How each generation is filled, whoever does it.",
            sqlite_strict=True,
        )
        self.parked = sa.Table(
            "parked",
            metadata,
            text("projection", "the query table", key=True),
            _part_of_key("generation", "its generation"),
            text("key", "key of the row that waits, as a JSON array", key=True),
            integer("position", "the event at which its fold broke off, or where it was refused"),
            text("error", "why, and where in the projection"),
            integer("since", "when it was parked, in microseconds since 1970 UTC"),
            comment="Rows that are not up to date: see refold retry.",
            sqlite_strict=True,
        )
        # What each fold asks is text, for the driver's own cursor: SQLAlchemy would take twice to
        # six times as long.
        generations, checkpoints, parked = self.generations, self.checkpoints, self.parked
        self.read_generations = _text(
            engine,
            sa.select(generations)
            .where(generations.c.state != sa.literal_column(f"'{DROPPED}'"))
            .order_by(generations.c.name, generations.c.generation),
        )
        whole = checkpoints.c.parts == sa.literal_column("1")
        self.read_checkpoints = _text(engine, sa.select(checkpoints).where(whole))
        moved = ("store_id", "position", "record_hash")
        self.move_checkpoints = _text(
            engine,
            checkpoints.update()
            .where(whole, checkpoints.c.partition == sa.bindparam("of_partition"))
            .values({name: sa.bindparam(name) for name in moved}),
        )
        told = ("projection", "generation", "key", "position", "error")
        self.read_parked = _text(engine, sa.select(*(parked.c[name] for name in told)))


def _text(engine: sa.Engine, query: sa.Select[Any] | sa.Update) -> str:
    return str(query.compile(engine))


def _part_of_key(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, primary_key=True, autoincrement=False, comment=comment)
