-- What decisions need of a stream's events. Parameter: stream (text).
SELECT type, schema, data, position, command_id, command_no
FROM refold.events WHERE stream = %b ORDER BY version
