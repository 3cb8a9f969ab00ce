-- The versions of those streams that have events. Parameter: streams (text[]).
SELECT s.stream, e.version
FROM unnest(%b::text[]) AS s (stream)
CROSS JOIN LATERAL (
    SELECT version FROM refold.events WHERE events.stream = s.stream ORDER BY version DESC LIMIT 1
) AS e
