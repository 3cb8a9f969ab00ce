-- The events of a stream. Parameter: stream (text).
SELECT * FROM refold.events WHERE stream = %b ORDER BY version
