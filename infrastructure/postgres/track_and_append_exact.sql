-- Appends members with exact versions, and moves trackings: see the function in the migrations.
SELECT refold.track_and_append_exact(%b::int, %b::bigint, %b::text[], %b::bigint[], %b::text[],
    %b::bigint[], %b::text[], %b::int[], %b::bytea[], %b::bytea[], %b::text[], %b::int[],
    %b::text[], %b::bigint[], %b::text[])
