"""What version 2 of `files` kept in one table is in two since version 3."""

import psycopg
import pytest

from refold.domain.errors import StaleProjection
from refold.infrastructure.open import open_store
from refold.infrastructure.services.files import search
from refold.projections import files
from refold.tests.contract.query_tables import register

OLDER = """
DROP TABLE refold.files_1_search;
ALTER TABLE refold.files_1 ADD COLUMN search tsvector;
CREATE INDEX files_1_search ON refold.files_1 USING gin (search);
UPDATE refold.projections SET version = 2, fingerprint = 'of version 2' WHERE name = 'files';
"""


def test_a_table_of_before_is_replaced_and_dropped(postgres_url: str) -> None:
    with open_store(postgres_url, create=True) as store:
        register(store, "holiday")
        search(store, "holiday")
    with psycopg.connect(postgres_url) as connection:
        connection.execute(OLDER)

    with open_store(postgres_url) as store:
        with pytest.raises(StaleProjection):
            search(store, "holiday")
        [compared] = store.rebuilder.rebuild([files])
        found = search(store, "holiday").total
        store.rebuilder.rebuild([files])

    assert compared.difference
    assert compared.difference.dropped == ["search"]
    assert found == 1
    with psycopg.connect(postgres_url) as connection:
        left = connection.execute("SELECT to_regclass('refold.files_1')").fetchone()
    assert left == (None,)
