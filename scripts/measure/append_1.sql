-- Appends an event with a commit of its own. :before is a position that no client has reached yet.
-- The clients go on from places far apart, without an order among them: no lock, no gapless count.
\set before :before + 1
INSERT INTO reference.events
SELECT 0, place, 'file-' || sum || sum, 1, 'file.registered', 1,
    convert_to(rpad('{"sha256":"' || sum, :data_bytes, 'x'), 'UTF8'),
    convert_to(rpad('{"actor":"' || place, :metadata_bytes, 'x'), 'UTF8'),
    1750000000000000, sum, 0
FROM (VALUES (:client_id * 1000000000::bigint + :before)) AS places (place), md5(place::text) AS sum;
