"""Who follows a log by position misses nothing, however many write; an identity column would."""

from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE
from typing import Final

import psycopg

from refold.tests.infrastructure.faults.events import open_log
from refold.tests.infrastructure.faults.processes import begin_together, started, succeed

WRITERS: Final = 8
COMMANDS: Final = 60
TOTAL: Final = WRITERS * COMMANDS


def test_two_readers_see_each_event_of_eight_writers_once(url: str, tmp_path: Path) -> None:
    notes = [tmp_path / "reader-1", tmp_path / "reader-2"]
    with ExitStack() as stack:
        readers = []
        for note in notes:
            output = stack.enter_context(note.open("wb"))
            reader = started("following", url, str(TOTAL), output=output)
            readers.append(stack.enter_context(reader))
        writers = [
            stack.enter_context(
                started("appending", url, f"writer-{n}", str(COMMANDS), output=PIPE)
            )
            for n in range(WRITERS)
        ]

        begin_together(writers)
        succeed([*writers, *readers])

    log = open_log(url)
    kept = [(record.position, record.command_id) for record in log.page(0, 0, 2 * TOTAL)]
    log.close()
    assert [position for position, _ in kept] == list(range(1, TOTAL + 1))
    assert len({id for _, id in kept}) == TOTAL
    assert _turns(kept) > 3 * WRITERS
    for path in notes:
        seen = [line.split() for line in path.read_text().splitlines()]
        assert [(int(position), id) for position, id in seen] == kept


def _turns(kept: list[tuple[int, str]]) -> int:
    """Count how often another writer wrote than the one before; one after the other makes 7."""
    writers = [id.rsplit("-", 1)[0] for _, id in kept]
    return sum(one != next for one, next in pairwise(writers))


def test_who_follows_an_identity_column_skips_what_is_committed_late(postgres_url: str) -> None:
    with (
        psycopg.connect(postgres_url, autocommit=True) as reader,
        psycopg.connect(postgres_url) as slow,
        psycopg.connect(postgres_url) as fast,
    ):
        reader.execute("CREATE TABLE naive (position bigserial PRIMARY KEY, writer text)")
        behind = "SELECT position FROM naive WHERE position > %s ORDER BY position"
        slow.execute("INSERT INTO naive (writer) VALUES ('slow')")
        fast.execute("INSERT INTO naive (writer) VALUES ('fast')")
        fast.commit()

        seen = reader.execute(behind, (0,)).fetchall()
        slow.commit()
        seen += reader.execute(behind, seen[-1]).fetchall()

        assert seen == [(2,)]
        assert reader.execute(behind, (0,)).fetchall() == [(1,), (2,)]
