-- Appends 100 events. :before is the position before them; it goes on within one run of pgbench.
-- Each is a file of its own, as random as a real one in both of the indexes that it enters.
INSERT INTO reference.events
SELECT 0, :before + n, 'file-' || sum || sum, 1, 'file.registered', 1,
    convert_to(rpad('{"sha256":"' || sum, :data_bytes, 'x'), 'UTF8'),
    convert_to(rpad('{"actor":"' || n, :metadata_bytes, 'x'), 'UTF8'),
    1750000000000000, sum, 0
FROM generate_series(1, 100) AS n, md5((:before + n)::text) AS sum;
\set before :before + 100
