-- The head of every partition.
SELECT partition,
    coalesce((SELECT max(position) FROM events WHERE events.partition = heads.partition), 0),
    state, successor
FROM heads ORDER BY partition
