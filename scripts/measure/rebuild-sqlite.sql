-- Makes the four query tables of the events by set-based SQL, and their indexes afterwards, as
-- rebuild.sql does, in SQLite's words: in an empty file, with the log attached.
BEGIN IMMEDIATE;
CREATE TABLE files (
    sha256 TEXT PRIMARY KEY, key TEXT NOT NULL, cid TEXT NOT NULL, name TEXT NOT NULL,
    type TEXT NOT NULL, ban_set INTEGER NOT NULL, added_at TEXT NOT NULL,
    added_at_us INTEGER NOT NULL, added_place INTEGER NOT NULL, tags TEXT NOT NULL, source TEXT
) STRICT, WITHOUT ROWID;
CREATE VIRTUAL TABLE search USING fts5(name, tags, type);
CREATE TABLE file_counts (
    sha256 TEXT PRIMARY KEY, moderation_votes INTEGER NOT NULL,
    moderation_baseline INTEGER NOT NULL, last_updated TEXT NOT NULL, last_updated_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE file_tags (
    sha256 TEXT, tag TEXT, generation INTEGER NOT NULL, baseline INTEGER NOT NULL,
    tag_count INTEGER NOT NULL, PRIMARY KEY (sha256, tag)
) STRICT, WITHOUT ROWID;
CREATE TABLE tag_votes (
    sha256 TEXT, tag TEXT, voter TEXT, generation INTEGER NOT NULL, stance INTEGER NOT NULL,
    PRIMARY KEY (sha256, tag, voter)
) STRICT, WITHOUT ROWID;

INSERT INTO tag_votes
SELECT sha256, tag, voter, data ->> 'generation', data ->> 'stance'
FROM (
    SELECT substr(stream, 6, instr(stream, '/') - 6) AS sha256, type, CAST(data AS TEXT) AS data,
        CAST(data AS TEXT) ->> 'tag' AS tag, CAST(data AS TEXT) ->> 'voter' AS voter, max(position)
    FROM events WHERE type GLOB 'tag_vote.*' GROUP BY stream
)
WHERE type <> 'tag_vote.withdrawn' ORDER BY 1, 2, 3;

INSERT INTO file_tags
WITH votes AS (
    SELECT substr(stream, 6, instr(stream, '/') - 6) AS sha256, data ->> 'tag' AS tag,
        data ->> 'generation' AS generation,
        sum(coalesce(data ->> 'stance', 0) - coalesce(data ->> 'previous', 0)) AS swing
    FROM (
        SELECT stream, CAST(data AS TEXT) AS data FROM events WHERE type GLOB 'tag_vote.*'
    )
    GROUP BY 1, 2, 3
), tags AS (
    SELECT substr(stream, 6) AS sha256, data ->> 'tag' AS tag, data ->> 'generation' AS generation,
        type, max(position)
    FROM (
        SELECT stream, position, type, CAST(data AS TEXT) AS data FROM events
        WHERE type IN ('file.tag_added', 'file.tag_removed')
    )
    GROUP BY 1, 2
)
SELECT sha256, tag, generation, 0, coalesce(swing, 0)
FROM tags LEFT JOIN votes USING (sha256, tag, generation)
WHERE type = 'file.tag_added' ORDER BY 1, 2;

INSERT INTO file_counts
SELECT sha256, votes, 0, rtrim(rtrim(
        strftime('%Y-%m-%dT%H:%M:%S', at / 1000000, 'unixepoch')
        || printf('.%06d', at % 1000000), '0'), '.') || 'Z', at
FROM (
    SELECT substr(stream, 6, coalesce(nullif(instr(stream, '/'), 0), 999) - 6) AS sha256,
        max(recorded_at) AS at,
        sum(CASE WHEN type GLOB 'removal_vote.*' THEN
            coalesce(CAST(data AS TEXT) ->> 'stance', 0)
            - coalesce(CAST(data AS TEXT) ->> 'previous', 0) ELSE 0 END) AS votes
    FROM events GROUP BY 1
)
ORDER BY 1;

INSERT INTO files
WITH registered AS (
    SELECT substr(stream, 6) AS sha256, position, CAST(data AS TEXT) AS data
    FROM events WHERE type = 'file.registered'
), banned AS (
    SELECT substr(stream, 6) AS sha256, CAST(data AS TEXT) ->> 'code' AS code, max(position)
    FROM events WHERE type = 'file.banned' GROUP BY 1
), tagged AS (
    SELECT sha256, json_group_array(tag) AS tags FROM file_tags GROUP BY sha256
)
SELECT sha256, data ->> 'sha256', data ->> 'cid', data ->> 'name', data ->> 'type',
    coalesce(code, 0), data ->> 'added_at',
    CAST(strftime('%s', data ->> 'added_at') AS INTEGER) * 1000000
        + CAST(substr(rtrim(substr(data ->> 'added_at', 21), 'Z') || '000000', 1, 6) AS INTEGER),
    256 * position, coalesce(tags, '[]'), NULL
FROM registered LEFT JOIN banned USING (sha256) LEFT JOIN tagged USING (sha256) ORDER BY 1;

INSERT INTO search (rowid, name, tags, type)
SELECT added_place, name, tags, type FROM files ORDER BY 1;

CREATE INDEX files_cid ON files (cid);
CREATE INDEX files_type ON files (type);
CREATE INDEX files_added_at ON files (added_at_us, sha256);
CREATE INDEX files_place ON files (added_place);
CREATE INDEX file_tags_tag ON file_tags (tag);
CREATE INDEX tag_votes_voter ON tag_votes (voter);
COMMIT;
