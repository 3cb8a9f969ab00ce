-- Trackings and snapshots.

-- Up to which position the events of other applications have been processed here, and the command
-- that said so. A tracking changes in the transaction of the events that came of it.
CREATE TABLE refold.trackings (
    application text COLLATE "C" PRIMARY KEY,
    position    bigint NOT NULL,
    command_id  text COLLATE "C" NOT NULL
);

-- States of aggregates at a version: a cache, which may be deleted and no copy carries.
CREATE TABLE refold.snapshots (
    stream  text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    type    text COLLATE "C" NOT NULL,
    data    bytea NOT NULL,
    PRIMARY KEY (stream, version)
);
