-- The events of several streams. Parameter: streams (a JSON array).
SELECT partition, position, stream, version, type, schema, data, metadata, recorded_at,
    command_id, command_no
FROM events WHERE stream IN (SELECT value FROM json_each(?)) ORDER BY stream, version
