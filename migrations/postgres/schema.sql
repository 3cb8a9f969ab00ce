CREATE TABLE refold.alembic_version (
    version_num character varying(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE refold.claims (
    kind text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    CONSTRAINT claims_pkey PRIMARY KEY (kind, value)
);

CREATE TABLE refold.events (
    partition integer NOT NULL,
    "position" bigint NOT NULL,
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    type text COLLATE "C" NOT NULL,
    schema integer NOT NULL,
    data bytea NOT NULL,
    metadata bytea NOT NULL,
    recorded_at bigint NOT NULL,
    command_id text COLLATE "C" NOT NULL,
    command_no integer NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (partition, "position")
);

CREATE TABLE refold.heads (
    partition integer NOT NULL,
    state text NOT NULL,
    successor text,
    CONSTRAINT heads_pkey PRIMARY KEY (partition),
    CONSTRAINT heads_state_check CHECK ((state = ANY (ARRAY['open'::text, 'filling'::text, 'sealed'::text])))
);

CREATE TABLE refold.keys (
    subject text COLLATE "C" NOT NULL,
    key bytea,
    erased_at bigint,
    CONSTRAINT keys_check CHECK (((key IS NULL) = (erased_at IS NOT NULL))),
    CONSTRAINT keys_pkey PRIMARY KEY (subject)
);

CREATE TABLE refold.seals (
    partition integer NOT NULL,
    "position" bigint NOT NULL,
    chain bytea NOT NULL,
    CONSTRAINT seals_pkey PRIMARY KEY (partition, "position")
);

CREATE TABLE refold.snapshots (
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    type text COLLATE "C" NOT NULL,
    data bytea NOT NULL,
    CONSTRAINT snapshots_pkey PRIMARY KEY (stream, version)
);

CREATE TABLE refold.store (
    id integer NOT NULL,
    store_id text NOT NULL,
    log_id text NOT NULL,
    CONSTRAINT store_id_check CHECK ((id = 1)),
    CONSTRAINT store_pkey PRIMARY KEY (id)
);

CREATE TABLE refold.trackings (
    application text COLLATE "C" NOT NULL,
    "position" bigint NOT NULL,
    command_id text COLLATE "C" NOT NULL,
    CONSTRAINT trackings_pkey PRIMARY KEY (application)
);

CREATE UNIQUE INDEX events_command_id ON refold.events USING btree (command_id) WHERE (command_no = 0);

CREATE UNIQUE INDEX events_stream_version ON refold.events USING btree (stream, version);

CREATE OR REPLACE FUNCTION refold.append_exact(home integer, clock bigint, guard_streams text[], guard_versions bigint[], streams text[], versions bigint[], types text[], schemas integer[], datas bytea[], metadatas bytea[], command_ids text[], command_nos integer[])
 RETURNS bigint
 LANGUAGE plpgsql
AS $function$
DECLARE
    last bigint;
    stamp bigint;
BEGIN
    PERFORM 1 FROM "refold".heads h
        WHERE h.partition = home AND h.state = 'open' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF cardinality(guard_streams) > 0 AND cardinality(guard_streams) <> (
        SELECT count(*) FROM unnest(guard_streams, guard_versions) AS g (stream, version)
        JOIN "refold".events e USING (stream, version)
    ) THEN
        RETURN NULL;
    END IF;
    SELECT e.position, e.recorded_at INTO last, stamp FROM "refold".events e
        WHERE e.partition = home ORDER BY e.position DESC LIMIT 1;
    INSERT INTO "refold".events
        SELECT home, coalesce(last, 0) + n.number, n.stream, n.version, n.type, n.schema, n.data,
            n.metadata, greatest(stamp, clock), n.command_id, n.command_no
        FROM unnest(streams, versions, types, schemas, datas, metadatas, command_ids, command_nos)
            WITH ORDINALITY
            AS n (stream, version, type, schema, data, metadata, command_id, command_no, number);
    RETURN coalesce(last, 0);
END
$function$
;

CREATE OR REPLACE FUNCTION refold.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION 'the log is append-only' USING ERRCODE = 'restrict_violation';
END
$function$
;

CREATE OR REPLACE FUNCTION refold.track_and_append_exact(home integer, clock bigint, guard_streams text[], guard_versions bigint[], streams text[], versions bigint[], types text[], schemas integer[], datas bytea[], metadatas bytea[], command_ids text[], command_nos integer[], applications text[], positions bigint[], tracking_ids text[])
 RETURNS bigint
 LANGUAGE plpgsql
AS $function$
DECLARE
    last bigint;
BEGIN
    PERFORM 1 FROM "refold".heads h WHERE h.partition = home FOR NO KEY UPDATE;
    IF EXISTS (
        SELECT 1 FROM unnest(applications, positions) AS n (application, position)
        JOIN "refold".trackings t ON t.application = n.application AND t.position >= n.position
    ) OR EXISTS (
        SELECT 1 FROM "refold".events e WHERE e.command_id = ANY (tracking_ids) AND e.command_no = 0
    ) THEN
        RETURN NULL;
    END IF;
    last := "refold".append_exact(home, clock, guard_streams, guard_versions, streams, versions,
        types, schemas, datas, metadatas, command_ids, command_nos);
    IF last IS NOT NULL THEN
        INSERT INTO "refold".trackings
            SELECT * FROM unnest(applications, positions, tracking_ids)
            ON CONFLICT (application)
            DO UPDATE SET position = excluded.position, command_id = excluded.command_id;
    END IF;
    RETURN last;
END
$function$
;

CREATE TRIGGER events_are_not_changed BEFORE DELETE OR UPDATE OR TRUNCATE ON refold.events FOR EACH STATEMENT EXECUTE FUNCTION refold.refuse_change();
ALTER TABLE refold.events ENABLE ALWAYS TRIGGER events_are_not_changed;
