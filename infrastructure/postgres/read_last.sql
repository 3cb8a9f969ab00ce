-- The position and time of a partition's last event. Parameter: partition (int).
SELECT position, recorded_at FROM refold.events WHERE partition = %b ORDER BY position DESC LIMIT 1
