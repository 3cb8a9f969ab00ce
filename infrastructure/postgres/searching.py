"""The statement that searches in PostgreSQL: block after block, newest first, rank after rank."""

from typing import Any, Final

from refold.infrastructure.folding.rows import FIELDS_BY_RANK, PLACE, Hits
from refold.infrastructure.postgres import tsquery
from refold.projections.query import Query

WORDS: Final = "words"
"""The column that a search looks at, in a table beside the other."""


def parameters(query: Query, limit: int, offset: int) -> dict[str, Any]:
    """Return what `statement` asks for."""
    sought = {name: tsquery.render(query, fields) for name, fields in FIELDS_BY_RANK.items()}
    return {**sought, "limit": limit, "offset": offset}


def statement(table: str, words: str) -> str:
    """Return the text of a search in `words` for rows of `table`, as `Hits.of` takes them."""

    def sought(name: str, block: str = "block") -> str:
        return f"replace(%({name})s, '{tsquery.BLOCK}', ({block})::text)::tsquery"

    def hits(query: str) -> str:
        # OFFSET has it parsed once, and not again for every row that is looked at.
        once = f"(SELECT {query} AS query OFFSET 0) AS asked"
        return f"FROM {once} CROSS JOIN {words} WHERE {WORDS} @@ query"

    def newest(query: str) -> str:
        own = f"(SELECT {PLACE} {hits(query)} ORDER BY {PLACE} DESC)"
        return f"FROM blocks CROSS JOIN LATERAL {own} AS newest"

    in_name, in_name_or_tags, anywhere = map(sought, FIELDS_BY_RANK)
    ranks = in_name, f"{in_name_or_tags} && !!{in_name}", f"{anywhere} && !!{in_name_or_tags}"
    by_rank = " UNION ALL ".join(
        f"SELECT {rank} AS rank, {PLACE}, total {newest(query)} WHERE here > 0"
        for rank, query in enumerate(ranks)
    )
    return f"""
    WITH RECURSIVE blocks AS (  -- newest first, until there is enough
        SELECT
            1 + (max({PLACE}) >> {tsquery.BITS_OF_BLOCK}) AS block,
            0::bigint AS here,
            0::bigint AS total
        FROM {words}
        UNION ALL
        SELECT block - 1, next.here, total + next.here
        FROM blocks CROSS JOIN LATERAL (
            SELECT count(*) AS here {hits(sought("anywhere", "block - 1"))}
        ) AS next
        WHERE block > 0 AND total <= {Hits.MOST}
    ), counted AS MATERIALIZED (
        SELECT max(total) AS total FROM blocks
    ), page AS MATERIALIZED (  -- rank after rank, and none behind its end
        SELECT rank, {PLACE} FROM ({by_rank}) AS ranked
        WHERE total <= {Hits.MOST} OR {PLACE} > (  -- the newest of those that are not told
            SELECT {PLACE} {newest(anywhere)} WHERE total > {Hits.MOST}
            OFFSET (SELECT {Hits.MOST} - total + here FROM blocks WHERE total > {Hits.MOST})
            LIMIT 1
        )
        LIMIT (
            SELECT greatest(0, least(%(limit)s, least(total, {Hits.MOST}) - %(offset)s))
            FROM counted
        ) OFFSET %(offset)s
    )
    SELECT total, key, name
    FROM counted LEFT JOIN (page JOIN {table} USING ({PLACE})) ON true
    ORDER BY rank, {PLACE} DESC
    """
