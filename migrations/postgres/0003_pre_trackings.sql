-- Trackings and snapshots, and the fast append with trackings.

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

-- Appends as append_exact does, and moves trackings forward, each of another
-- application. Returns null where the locked path has to decide: also where one is not ahead, or
-- came with events whose command is in the log.
CREATE FUNCTION refold.track_and_append_exact(
    home int, clock bigint, guard_streams text[], guard_versions bigint[],
    streams text[], versions bigint[], types text[], schemas int[],
    datas bytea[], metadatas bytea[], command_ids text[], command_nos int[],
    applications text[], positions bigint[], tracking_ids text[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
BEGIN
    PERFORM 1 FROM refold.heads h WHERE h.partition = home FOR NO KEY UPDATE;
    IF EXISTS (
        SELECT 1 FROM unnest(applications, positions) AS n (application, position)
        JOIN refold.trackings t ON t.application = n.application AND t.position >= n.position
    ) OR EXISTS (
        SELECT 1 FROM refold.events e WHERE e.command_id = ANY (tracking_ids) AND e.command_no = 0
    ) THEN
        RETURN NULL;
    END IF;
    last := refold.append_exact(home, clock, guard_streams, guard_versions, streams, versions,
        types, schemas, datas, metadatas, command_ids, command_nos);
    IF last IS NOT NULL THEN
        INSERT INTO refold.trackings
            SELECT * FROM unnest(applications, positions, tracking_ids)
            ON CONFLICT (application)
            DO UPDATE SET position = excluded.position, command_id = excluded.command_id;
    END IF;
    RETURN last;
END
$$;
