-- The events of a stream behind a version. Parameters: stream, version.
SELECT partition, position, stream, version, type, schema, data, metadata, recorded_at,
    command_id, command_no
FROM events WHERE stream = ? AND version > ? ORDER BY version
