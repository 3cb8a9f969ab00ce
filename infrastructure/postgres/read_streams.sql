-- The events of several streams. Parameter: streams (text[]).
SELECT * FROM refold.events WHERE stream = ANY (%b::text[]) ORDER BY stream, version
