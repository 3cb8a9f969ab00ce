-- The last event of the command that starts at a position. Parameters: partition, position.
SELECT partition, position, stream, version FROM events
WHERE partition = ?1 AND position < coalesce(
    (SELECT position FROM events
     WHERE partition = ?1 AND position > ?2 AND command_no = 0 ORDER BY position LIMIT 1),
    9223372036854775807)
ORDER BY position DESC LIMIT 1
