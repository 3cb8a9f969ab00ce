-- The events of a partition behind a position. Parameters: partition, position, limit.
SELECT partition, position, stream, version, type, schema, data, metadata, recorded_at,
    command_id, command_no
FROM events WHERE place > (?1 << 48) + ?2 AND place < (?1 + 1) << 48 ORDER BY place LIMIT ?3
