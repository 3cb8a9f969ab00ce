-- How many of some events are there. Parameter: their streams and versions (a JSON array of pairs).
SELECT count(*) FROM json_each(?) AS guard
JOIN events ON stream = guard.value ->> 0 AND version = guard.value ->> 1
