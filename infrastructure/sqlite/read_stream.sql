-- The events of a stream. Parameter: stream.
SELECT partition, position, stream, version, type, schema, data, metadata, recorded_at,
    command_id, command_no
FROM events WHERE stream = ? ORDER BY version
