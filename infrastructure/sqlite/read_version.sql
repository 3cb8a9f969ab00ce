-- The version of a stream, null when it has no events. Parameter: stream.
SELECT max(version) FROM events WHERE stream = ?
