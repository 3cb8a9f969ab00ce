-- The first event of a command. Parameter: command id.
SELECT partition, position, stream FROM events WHERE command_id = ? AND command_no = 0
