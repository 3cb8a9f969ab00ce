-- Inserts events as they are. Parameters: the fields of Recorded, in order, as arrays.
INSERT INTO refold.events
SELECT * FROM unnest(%b::int[], %b::bigint[], %b::text[], %b::bigint[], %b::text[], %b::int[],
    %b::bytea[], %b::bytea[], %b::bigint[], %b::text[], %b::int[])
