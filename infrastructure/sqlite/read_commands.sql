-- Those commands that are in the log: id, partition, position and stream of the first event.
-- Parameter: command ids (a JSON array).
SELECT command_id, partition, position, stream FROM events
WHERE command_id IN (SELECT value FROM json_each(?)) AND command_no = 0
