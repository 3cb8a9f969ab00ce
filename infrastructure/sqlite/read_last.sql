-- The head of a partition, and the time of its last event. Parameter: partition.
SELECT heads.partition, coalesce(position, 0), state, successor, coalesce(recorded_at, 0)
FROM heads LEFT JOIN events ON events.partition = heads.partition
WHERE heads.partition = ? ORDER BY position DESC LIMIT 1
