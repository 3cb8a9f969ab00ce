-- Brings the tables of rebuild.sql forward by the events of view reference.arrived, which follow
-- those that they hold. Their indexes are there and kept up.
BEGIN;
CREATE TEMPORARY TABLE fresh ON COMMIT DROP AS
SELECT position, stream, type, recorded_at, substr(split_part(stream, '/', 1), 6) AS sha256,
    convert_from(data, 'UTF8')::jsonb AS data
FROM reference.arrived;
ANALYZE fresh;

WITH last AS (
    SELECT DISTINCT ON (stream) sha256, type, data FROM fresh
    WHERE type LIKE 'tag\_vote.%' ORDER BY stream, position DESC
), gone AS (
    DELETE FROM reference.tag_votes AS old USING last
    WHERE type = 'tag_vote.withdrawn' AND old.sha256 = last.sha256
        AND old.tag = data ->> 'tag' AND old.voter = data ->> 'voter'
)
INSERT INTO reference.tag_votes
SELECT sha256, data ->> 'tag', data ->> 'voter', (data ->> 'generation')::bigint,
    (data ->> 'stance')::bigint
FROM last WHERE type <> 'tag_vote.withdrawn'
ON CONFLICT (sha256, tag, voter)
DO UPDATE SET generation = excluded.generation, stance = excluded.stance;

WITH last AS (
    SELECT DISTINCT ON (sha256, data ->> 'tag') sha256, data ->> 'tag' AS tag,
        (data ->> 'generation')::bigint AS generation, type
    FROM fresh WHERE type IN ('file.tag_added', 'file.tag_removed')
    ORDER BY sha256, data ->> 'tag', position DESC
), gone AS (
    DELETE FROM reference.file_tags AS old USING last
    WHERE type = 'file.tag_removed' AND old.sha256 = last.sha256 AND old.tag = last.tag
)
INSERT INTO reference.file_tags
SELECT sha256, tag, generation, 0, 0 FROM last WHERE type = 'file.tag_added'
ON CONFLICT (sha256, tag) DO UPDATE SET generation = excluded.generation, tag_count = 0;

UPDATE reference.file_tags AS old SET tag_count = tag_count + swing
FROM (
    SELECT sha256, data ->> 'tag' AS tag, (data ->> 'generation')::bigint AS generation,
        sum(coalesce((data ->> 'stance')::bigint, 0) - coalesce((data ->> 'previous')::bigint, 0))
            AS swing
    FROM fresh WHERE type LIKE 'tag\_vote.%' GROUP BY 1, 2, 3
) AS votes
WHERE old.sha256 = votes.sha256 AND old.tag = votes.tag AND old.generation = votes.generation;

INSERT INTO reference.file_counts AS old
SELECT sha256, sum(swing), 0,
    rtrim(rtrim(to_char(
        timestamp 'epoch' + max(recorded_at) * interval '1 microsecond',
        'YYYY-MM-DD"T"HH24:MI:SS.US'), '0'), '.') || 'Z',
    max(recorded_at)
FROM (
    SELECT sha256, recorded_at,
        CASE WHEN type LIKE 'removal\_vote.%' THEN coalesce((data ->> 'stance')::bigint, 0)
            - coalesce((data ->> 'previous')::bigint, 0) ELSE 0 END AS swing
    FROM fresh
) AS changes
GROUP BY sha256
ON CONFLICT (sha256) DO UPDATE SET
    moderation_votes = old.moderation_votes + excluded.moderation_votes,
    last_updated = excluded.last_updated, last_updated_us = excluded.last_updated_us;

CREATE TEMPORARY TABLE banned ON COMMIT DROP AS
SELECT DISTINCT ON (sha256) sha256, (data ->> 'code')::bigint AS code
FROM fresh WHERE type = 'file.banned' ORDER BY sha256, position DESC;

UPDATE reference.files AS old SET ban_set = code FROM banned
WHERE old.sha256 = banned.sha256;

CREATE TEMPORARY TABLE tagged ON COMMIT DROP AS
SELECT sha256, '[' || coalesce(string_agg('"' || tag || '"', ',' ORDER BY tag), '') || ']' AS tags,
    string_agg(tag, ' ') AS words
FROM (
    SELECT DISTINCT sha256 FROM fresh WHERE type IN ('file.tag_added', 'file.tag_removed')
) AS changed LEFT JOIN reference.file_tags USING (sha256)
GROUP BY sha256;

UPDATE reference.files AS old SET tags = tagged.tags,
    search = setweight(to_tsvector('english', name), 'A')
        || setweight(to_tsvector('english', coalesce(words, '')), 'B')
        || setweight(to_tsvector('english', type), 'C')
FROM tagged WHERE old.sha256 = tagged.sha256;

INSERT INTO reference.files
SELECT sha256, data ->> 'sha256', data ->> 'cid', data ->> 'name', data ->> 'type',
    coalesce(code, 0), data ->> 'added_at',
    (extract(epoch FROM (data ->> 'added_at')::timestamptz) * 1000000)::bigint,
    256 * position, coalesce(tags, '[]'), NULL,
    setweight(to_tsvector('english', data ->> 'name'), 'A')
        || setweight(to_tsvector('english', coalesce(words, '')), 'B')
        || setweight(to_tsvector('english', data ->> 'type'), 'C')
FROM (SELECT * FROM fresh WHERE type = 'file.registered') AS registered
LEFT JOIN banned USING (sha256) LEFT JOIN tagged USING (sha256);
COMMIT;
