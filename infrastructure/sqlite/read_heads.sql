-- The head of every partition.
SELECT partition,
    coalesce((SELECT max(place) & 281474976710655 FROM events
        WHERE place > heads.partition << 48 AND place < (heads.partition + 1) << 48), 0),
    state, successor
FROM heads ORDER BY partition
