-- Keeps snapshots, all or none. Parameters: streams (text[]), versions (bigint[]), types (text[]),
-- datas (bytea[]).
INSERT INTO refold.snapshots
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::bytea[])
