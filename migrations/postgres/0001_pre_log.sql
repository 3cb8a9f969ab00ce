-- The log, its heads, claims and seals, and the fast append. Append-only by triggers.

CREATE TABLE refold.store (
    id       int PRIMARY KEY CHECK (id = 1),
    store_id text NOT NULL,
    log_id   text NOT NULL
);

CREATE TABLE refold.heads (
    partition int PRIMARY KEY,
    state     text NOT NULL CHECK (state IN ('open', 'filling', 'sealed')),
    successor text
);

CREATE TABLE refold.events (
    partition   int    NOT NULL,
    position    bigint NOT NULL,
    stream      text   COLLATE "C" NOT NULL,
    version     bigint NOT NULL,
    type        text   COLLATE "C" NOT NULL,
    schema      int    NOT NULL,
    data        bytea  NOT NULL,
    metadata    bytea  NOT NULL,
    recorded_at bigint NOT NULL,
    command_id  text   COLLATE "C" NOT NULL,
    command_no  int    NOT NULL,
    PRIMARY KEY (partition, position)
);

CREATE UNIQUE INDEX events_stream_version ON refold.events (stream, version);

CREATE UNIQUE INDEX events_command_id ON refold.events (command_id) WHERE command_no = 0;

CREATE TABLE refold.claims (
    kind   text COLLATE "C" NOT NULL,
    value  text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, value)
);

CREATE TABLE refold.seals (
    partition int    NOT NULL,
    position  bigint NOT NULL,
    chain     bytea  NOT NULL,
    PRIMARY KEY (partition, position)
);

CREATE FUNCTION refold.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER events_are_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON refold.events
    FOR EACH STATEMENT EXECUTE FUNCTION refold.refuse_change();

ALTER TABLE refold.events ENABLE ALWAYS TRIGGER events_are_not_changed;

REVOKE UPDATE, DELETE, TRUNCATE ON refold.events FROM PUBLIC;

-- Appends events whose versions are exact, in one round trip. Returns the position before the
-- first, or null where the locked path has to decide: the store is not open, or the event that a
-- member builds on (the guards) is not there. The statements inside see what was committed while
-- the first one waited for the lock; in a single statement they would not.
CREATE FUNCTION refold.append_exact(
    home int, clock bigint, guard_streams text[], guard_versions bigint[],
    streams text[], versions bigint[], types text[], schemas int[],
    datas bytea[], metadatas bytea[], command_ids text[], command_nos int[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
    stamp bigint;
BEGIN
    PERFORM 1 FROM refold.heads h
        WHERE h.partition = home AND h.state = 'open' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF cardinality(guard_streams) > 0 AND cardinality(guard_streams) <> (
        SELECT count(*) FROM unnest(guard_streams, guard_versions) AS g (stream, version)
        JOIN refold.events e USING (stream, version)
    ) THEN
        RETURN NULL;
    END IF;
    SELECT e.position, e.recorded_at INTO last, stamp FROM refold.events e
        WHERE e.partition = home ORDER BY e.position DESC LIMIT 1;
    INSERT INTO refold.events
        SELECT home, coalesce(last, 0) + n.number, n.stream, n.version, n.type, n.schema, n.data,
            n.metadata, greatest(stamp, clock), n.command_id, n.command_no
        FROM unnest(streams, versions, types, schemas, datas, metadatas, command_ids, command_nos)
            WITH ORDINALITY
            AS n (stream, version, type, schema, data, metadata, command_id, command_no, number);
    RETURN coalesce(last, 0);
END
$$;
