-- Reads one stream of 100 events, another one each time. :streams is how many there are.
\set number random(0, :streams - 1)
SELECT * FROM refold.events WHERE stream = 'file-bench' || (:number)::text ORDER BY version;
