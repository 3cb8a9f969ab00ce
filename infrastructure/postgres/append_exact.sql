-- Appends members with exact versions in one round trip: see the function in the migrations.
-- All types are named, so that no other function of this name is a better match.
SELECT refold.append_exact(%b::int, %b::bigint, %b::text[], %b::bigint[], %b::text[], %b::bigint[],
    %b::text[], %b::int[], %b::bytea[], %b::bytea[], %b::text[], %b::int[])
