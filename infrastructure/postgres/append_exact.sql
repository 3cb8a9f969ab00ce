-- Appends members with exact versions in one round trip: see the function in the migrations.
SELECT refold.append_exact(%b, %b, %b::text[], %b::bigint[], %b::text[], %b::bigint[], %b::text[],
    %b::int[], %b::bytea[], %b::bytea[], %b::text[], %b::int[])
