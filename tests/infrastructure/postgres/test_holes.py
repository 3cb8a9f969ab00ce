"""A hole in the log, made by one who may change the database, is named and never folded over."""

import psycopg
import pytest

from refold.domain.errors import BrokenLog
from refold.infrastructure import commands
from refold.infrastructure.folding import pages
from refold.infrastructure.open import open_store


def test_a_hole_as_long_as_a_page_stops_the_fold(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 2)
    with open_store(postgres_url, create=True) as store:
        for n in range(6):
            fields = {"sha256": f"{n:064x}", "cid": "bafy"}
            commands.run(store, "file.register", fields, command_id=str(n), actor="ada")
        with psycopg.connect(postgres_url) as owner:
            owner.execute("ALTER TABLE refold.events DISABLE TRIGGER ALL")
            owner.execute("DELETE FROM refold.events WHERE position IN (3, 4)")

        with pytest.raises(BrokenLog) as refusal:
            store.folder.catch_up()

    assert (refusal.value.first, refusal.value.last) == (3, 6)
