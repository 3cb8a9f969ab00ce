-- Keeps trackings in place of those that stand; under the lock of the head, which orders them.
-- Parameters: applications (text[]), positions (bigint[]), command_ids (text[]).
INSERT INTO refold.trackings
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::text[])
ON CONFLICT (application)
DO UPDATE SET position = excluded.position, command_id = excluded.command_id
