-- Trackings and snapshots.

-- Up to which position the events of other applications have been processed here, and the command
-- that said so. A tracking changes in the transaction of the events that came of it.
CREATE TABLE trackings (
    application TEXT    PRIMARY KEY,
    position    INTEGER NOT NULL,
    command_id  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- States of aggregates at a version: a cache, which may be deleted and no copy carries.
CREATE TABLE snapshots (
    stream  TEXT    NOT NULL,
    version INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    data    BLOB    NOT NULL,
    PRIMARY KEY (stream, version)
) STRICT;
