-- The head of a partition, and the time of its last event. Parameter: partition.
SELECT heads.partition, coalesce(position, 0), state, successor, coalesce(recorded_at, 0)
FROM heads LEFT JOIN events ON place > heads.partition << 48
    AND place < (heads.partition + 1) << 48
WHERE heads.partition = ? ORDER BY place DESC LIMIT 1
