-- Those commands that are in the log: id, stream of the first event, facts of the last one.
-- Parameter: command ids (text[]).
SELECT a.command_id, a.stream, z.partition, z.position, z.stream, z.version
FROM refold.events a
CROSS JOIN LATERAL (
    -- the last event before the next command's first
    SELECT * FROM refold.events e
    WHERE e.partition = a.partition AND e.position < coalesce(
        (SELECT position FROM refold.events n
         WHERE n.partition = a.partition AND n.position > a.position AND n.command_no = 0
         ORDER BY position LIMIT 1),
        9223372036854775807)
    ORDER BY e.position DESC LIMIT 1
) AS z
WHERE a.command_id = ANY (%b::text[]) AND a.command_no = 0
