-- The time of a partition's last event. Parameters: partition, position of its head.
SELECT recorded_at FROM events WHERE partition = ? AND position = ?
