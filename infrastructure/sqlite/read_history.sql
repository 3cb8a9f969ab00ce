-- What decisions need of a stream's events. Parameter: stream.
SELECT type, schema, data, position, command_id, command_no
FROM events WHERE stream = ? ORDER BY version
