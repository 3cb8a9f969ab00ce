CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE claims (
    kind   TEXT NOT NULL,
    value  TEXT NOT NULL,
    stream TEXT NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;

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

CREATE TABLE heads (
    partition INTEGER PRIMARY KEY,
    state     TEXT NOT NULL CHECK (state IN ('open', 'filling', 'sealed')),
    successor TEXT
) STRICT;

CREATE TABLE keys (
    subject   TEXT PRIMARY KEY,
    key       BLOB,
    erased_at INTEGER,
    CHECK ((key IS NULL) = (erased_at IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE seals (
    partition INTEGER NOT NULL,
    position  INTEGER NOT NULL,
    chain     BLOB    NOT NULL,
    PRIMARY KEY (partition, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshots (
    stream  TEXT    NOT NULL,
    version INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    data    BLOB    NOT NULL,
    PRIMARY KEY (stream, version)
) STRICT;

CREATE TABLE store (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    store_id TEXT NOT NULL,
    log_id   TEXT NOT NULL
) STRICT;

CREATE TABLE trackings (
    application TEXT    PRIMARY KEY,
    position    INTEGER NOT NULL,
    command_id  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
BEGIN
    SELECT raise(ABORT, 'the log is append-only');
END;

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

CREATE TRIGGER events_are_not_updated BEFORE UPDATE ON events
BEGIN
    SELECT raise(ABORT, 'the log is append-only');
END;

CREATE UNIQUE INDEX events_command_id ON events (command_id) WHERE command_no = 0;

CREATE UNIQUE INDEX events_stream_version ON events (stream, version);
