-- Trackings as they stand. Parameter: applications (text[]), twice; null for all.
SELECT application, position, command_id FROM refold.trackings
WHERE %b::text[] IS NULL OR application = ANY (%b::text[]) ORDER BY application
