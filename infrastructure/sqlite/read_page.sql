-- The events of a partition behind a position. Parameters: partition, position, limit.
SELECT partition, position, stream, version, type, schema, data, metadata, recorded_at,
    command_id, command_no
FROM events WHERE partition = ? AND position > ? ORDER BY position LIMIT ?
