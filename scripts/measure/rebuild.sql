-- Makes the four query tables of the events by set-based SQL, and their indexes afterwards. Takes
-- only what the workload holds: files registered, tagged, banned, and votes; no records, no gossip.
CREATE TABLE reference.files (
    sha256 text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, cid text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL, type text COLLATE "C" NOT NULL, ban_set bigint NOT NULL,
    added_at text COLLATE "C" NOT NULL, added_at_us bigint NOT NULL, added_place bigint NOT NULL,
    tags text COLLATE "C" NOT NULL, source text COLLATE "C", search tsvector
);
CREATE TABLE reference.file_counts (
    sha256 text COLLATE "C" NOT NULL, moderation_votes bigint NOT NULL,
    moderation_baseline bigint NOT NULL, last_updated text COLLATE "C" NOT NULL,
    last_updated_us bigint NOT NULL
);
CREATE TABLE reference.file_tags (
    sha256 text COLLATE "C" NOT NULL, tag text COLLATE "C" NOT NULL, generation bigint NOT NULL,
    baseline bigint NOT NULL, tag_count bigint NOT NULL
);
CREATE TABLE reference.tag_votes (
    sha256 text COLLATE "C" NOT NULL, tag text COLLATE "C" NOT NULL,
    voter text COLLATE "C" NOT NULL, generation bigint NOT NULL, stance bigint NOT NULL
);

INSERT INTO reference.tag_votes
SELECT substr(split_part(stream, '/', 1), 6), data ->> 'tag', data ->> 'voter',
    (data ->> 'generation')::bigint, (data ->> 'stance')::bigint
FROM (
    SELECT DISTINCT ON (stream) stream, type, convert_from(data, 'UTF8')::jsonb AS data
    FROM refold.events WHERE type LIKE 'tag\_vote.%' ORDER BY stream, version DESC
) AS last
WHERE type <> 'tag_vote.withdrawn';

INSERT INTO reference.file_tags
WITH votes AS (
    SELECT substr(split_part(stream, '/', 1), 6) AS sha256, data ->> 'tag' AS tag,
        (data ->> 'generation')::bigint AS generation,
        sum(coalesce((data ->> 'stance')::bigint, 0) - coalesce((data ->> 'previous')::bigint, 0))
            AS swing
    FROM (
        SELECT stream, convert_from(data, 'UTF8')::jsonb AS data
        FROM refold.events WHERE type LIKE 'tag\_vote.%'
    ) AS cast_votes
    GROUP BY 1, 2, 3
), tags AS (
    SELECT DISTINCT ON (stream, data ->> 'tag') substr(stream, 6) AS sha256, data ->> 'tag' AS tag,
        (data ->> 'generation')::bigint AS generation, type
    FROM (
        SELECT stream, position, type, convert_from(data, 'UTF8')::jsonb AS data
        FROM refold.events WHERE type IN ('file.tag_added', 'file.tag_removed')
    ) AS changes
    ORDER BY stream, data ->> 'tag', position DESC
)
SELECT sha256, tag, generation, 0, coalesce(swing, 0)
FROM tags LEFT JOIN votes USING (sha256, tag, generation)
WHERE type = 'file.tag_added';

INSERT INTO reference.file_counts
SELECT substr(split_part(stream, '/', 1), 6), sum(swing), 0,
    rtrim(rtrim(to_char(
        timestamp 'epoch' + max(recorded_at) * interval '1 microsecond',
        'YYYY-MM-DD"T"HH24:MI:SS.US'), '0'), '.') || 'Z',
    max(recorded_at)
FROM (
    SELECT stream, recorded_at,
        CASE WHEN type LIKE 'removal\_vote.%' THEN (
            SELECT coalesce((v ->> 'stance')::bigint, 0) - coalesce((v ->> 'previous')::bigint, 0)
            FROM (SELECT convert_from(data, 'UTF8')::jsonb) AS vote (v)
        ) ELSE 0 END AS swing
    FROM refold.events
) AS changes
GROUP BY 1;

INSERT INTO reference.files
WITH registered AS (
    SELECT substr(stream, 6) AS sha256, position, convert_from(data, 'UTF8')::jsonb AS data
    FROM refold.events WHERE type = 'file.registered'
), banned AS (
    SELECT DISTINCT ON (stream) substr(stream, 6) AS sha256,
        (convert_from(data, 'UTF8')::jsonb ->> 'code')::bigint AS code
    FROM refold.events WHERE type = 'file.banned' ORDER BY stream, position DESC
), tagged AS (
    SELECT sha256, string_agg('"' || tag || '"', ',' ORDER BY tag) AS tags,
        string_agg(tag, ' ') AS words
    FROM reference.file_tags GROUP BY sha256
)
SELECT sha256, data ->> 'sha256', data ->> 'cid', data ->> 'name', data ->> 'type',
    coalesce(code, 0), data ->> 'added_at',
    (extract(epoch FROM (data ->> 'added_at')::timestamptz) * 1000000)::bigint,
    256 * position, '[' || coalesce(tags, '') || ']', NULL,
    setweight(to_tsvector('english', data ->> 'name'), 'A')
        || setweight(to_tsvector('english', coalesce(words, '')), 'B')
        || setweight(to_tsvector('english', data ->> 'type'), 'C')
FROM registered LEFT JOIN banned USING (sha256) LEFT JOIN tagged USING (sha256);

ALTER TABLE reference.files ADD PRIMARY KEY (sha256);
CREATE INDEX ON reference.files (cid);
CREATE INDEX ON reference.files (type);
CREATE INDEX ON reference.files (added_at_us, sha256);
CREATE INDEX ON reference.files (added_place);
CREATE INDEX ON reference.files USING gin (search);
ALTER TABLE reference.file_counts ADD PRIMARY KEY (sha256);
ALTER TABLE reference.file_tags ADD PRIMARY KEY (sha256, tag);
CREATE INDEX ON reference.file_tags (tag);
ALTER TABLE reference.tag_votes ADD PRIMARY KEY (sha256, tag, voter);
CREATE INDEX ON reference.tag_votes (voter);
