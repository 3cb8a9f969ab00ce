-- Events lie in the order of their places, partition << 48 | position, without an index for that.

ALTER TABLE events RENAME TO events_by_index;

CREATE TABLE events (
    place       INTEGER PRIMARY KEY,
    partition   INTEGER NOT NULL AS (place >> 48),
    position    INTEGER NOT NULL AS (place & 281474976710655),
    stream      TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    type        TEXT    NOT NULL,
    schema      INTEGER NOT NULL,
    data        BLOB    NOT NULL,
    metadata    BLOB    NOT NULL,
    recorded_at INTEGER NOT NULL,
    command_id  TEXT    NOT NULL,
    command_no  INTEGER NOT NULL
) STRICT;

INSERT INTO events (place, stream, version, type, schema, data, metadata, recorded_at,
    command_id, command_no)
SELECT partition << 48 | position, stream, version, type, schema, data, metadata, recorded_at,
    command_id, command_no
FROM events_by_index ORDER BY partition, position;

DROP TABLE events_by_index;

CREATE UNIQUE INDEX events_stream_version ON events (stream, version);

CREATE UNIQUE INDEX events_command_id ON events (command_id) WHERE command_no = 0;

CREATE TRIGGER events_are_not_updated BEFORE UPDATE ON events
BEGIN
    SELECT raise(ABORT, 'the log is append-only');
END;

CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
BEGIN
    SELECT raise(ABORT, 'the log is append-only');
END;

-- INSERT OR REPLACE deletes silently, without the trigger above: so nothing may be in its way. What
-- goes in stands behind the last event of its partition, and behind it at once.
-- ROLLBACK, as in the INSERT itself, spares a statement journal for every event.
CREATE TRIGGER events_are_not_replaced BEFORE INSERT ON events
WHEN (NEW.place & 281474976710655 <> 1
        AND NOT EXISTS (SELECT 1 FROM events WHERE place = NEW.place - 1))
    OR EXISTS (
        SELECT 1 FROM events WHERE place >= NEW.place AND place < ((NEW.place >> 48) + 1) << 48)
    OR EXISTS (SELECT 1 FROM events WHERE stream = NEW.stream AND version = NEW.version)
    OR (NEW.command_no = 0 AND EXISTS (
        SELECT 1 FROM events WHERE command_id = NEW.command_id AND command_no = 0))
BEGIN
    SELECT raise(ROLLBACK, 'the log is append-only');
END;
