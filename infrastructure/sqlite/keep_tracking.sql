-- Keeps a tracking in place of the one that stands. Parameters: application, position, command_id.
INSERT INTO trackings (application, position, command_id) VALUES (?, ?, ?)
ON CONFLICT (application)
DO UPDATE SET position = excluded.position, command_id = excluded.command_id
