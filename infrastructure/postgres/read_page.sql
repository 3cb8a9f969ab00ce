-- The events of a partition behind a position. Parameters: partition (int), position, limit (bigint).
SELECT * FROM refold.events WHERE partition = %b AND position > %b ORDER BY position LIMIT %b
