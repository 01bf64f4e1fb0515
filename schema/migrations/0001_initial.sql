-- Why: the first schema.
-- Locks: none on existing tables.

-- What every client and worker must agree on; one row.
CREATE TABLE durable.settings (
    singleton      boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    schema_version integer NOT NULL,
    shard_count    integer NOT NULL DEFAULT 1 CHECK (shard_count BETWEEN 1 AND 4096)
);

-- One row per run. Applications insert rows; only the engine updates them. The row is also the run's mutex: a
-- transaction that writes memos, waits or events on behalf of a run holds this row's lock.
CREATE TABLE durable.runs (
    workflow_name_shard text        NOT NULL,
    run_id              uuid        NOT NULL,
    workflow_name       text        NOT NULL CHECK (octet_length(workflow_name) BETWEEN 1 AND 200),
    version             integer     NOT NULL DEFAULT 1,
    status              text        NOT NULL DEFAULT 'queued',
    priority            smallint    NOT NULL DEFAULT 0,
    attempts            integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),   -- failed attempts
    takeovers           integer     NOT NULL DEFAULT 0 CHECK (takeovers >= 0),  -- workers that died holding it
    strikes             integer     NOT NULL DEFAULT 0 CHECK (strikes >= 0),    -- takeovers in a row without a new memo
    memos_at_takeover   integer     NOT NULL DEFAULT 0,
    set_asides          integer     NOT NULL DEFAULT 0 CHECK (set_asides >= 0), -- in a row, for code that does not match
    epoch               bigint      NOT NULL DEFAULT 0 CHECK (epoch >= 0),      -- raised by every claim and takeover
    worker_id           uuid,
    awaits              text[],                                                 -- names of the events it waits for
    next_wake_at        timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz,
    updated_at          timestamptz NOT NULL DEFAULT now(),
    completed_at        timestamptz,
    key                 text        CHECK (octet_length(key) BETWEEN 1 AND 200),
    tags                jsonb       CHECK (jsonb_typeof(tags) = 'object'),
    -- json keeps the text as it was given; jsonb would turn 1e16 into an integer.
    input               json        NOT NULL,
    output              json,
    error               json,
    status_detail       json,
    PRIMARY KEY (workflow_name_shard, run_id),
    CONSTRAINT runs_status CHECK (status IN
        ('queued', 'running', 'sleeping', 'waiting_event', 'completed', 'failed', 'cancelled')),
    CONSTRAINT runs_owned_while_running CHECK ((status = 'running') = (worker_id IS NOT NULL)),
    CONSTRAINT runs_wake CHECK (CASE status
        WHEN 'sleeping' THEN next_wake_at IS NOT NULL
        WHEN 'waiting_event' THEN awaits IS NOT NULL
        ELSE next_wake_at IS NULL END),
    CONSTRAINT runs_awaits CHECK (awaits IS NULL OR status = 'waiting_event'),
    CONSTRAINT runs_completed CHECK ((completed_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
    CONSTRAINT runs_output CHECK ((output IS NOT NULL) = (status = 'completed')),
    CONSTRAINT runs_error CHECK (status <> 'failed' OR error IS NOT NULL)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);

-- Partial, so that their size follows the backlog and not the history.
CREATE INDEX runs_queued ON durable.runs (workflow_name_shard, priority DESC, created_at, run_id)
    WHERE status = 'queued';
CREATE INDEX runs_asleep ON durable.runs (workflow_name_shard, next_wake_at)
    WHERE status IN ('sleeping', 'waiting_event') AND next_wake_at IS NOT NULL;
CREATE INDEX runs_owned ON durable.runs (workflow_name_shard, worker_id)
    WHERE status = 'running';

-- The memos of steps. There is no foreign key to runs: a row is only ever inserted through a join with its locked run,
-- and the check would cost a second lock per memo.
CREATE TABLE durable.steps (
    workflow_name_shard text        NOT NULL,
    run_id              uuid        NOT NULL,
    step_key            text        NOT NULL,
    kind                text        NOT NULL CHECK (kind IN
        ('execute', 'transaction', 'random_uuid7', 'random_uint64', 'random', 'now')),
    status              text        NOT NULL CHECK (status IN ('completed', 'failed')),
    seq                 integer     CHECK (seq > 0),              -- the order in which the run saw it; null: not yet known
    carried             boolean     NOT NULL DEFAULT false,       -- kept by a retry of the run: answers, but need not be called
    fn                  text        NOT NULL,
    attempts            integer     NOT NULL DEFAULT 1 CHECK (attempts >= 1),
    started_at          timestamptz NOT NULL,
    completed_at        timestamptz NOT NULL DEFAULT now(),
    input               json,                                     -- for the eye; null where it is not JSON
    output              json,
    error               json,
    PRIMARY KEY (workflow_name_shard, run_id, step_key),
    CONSTRAINT steps_outcome CHECK (CASE status
        WHEN 'completed' THEN output IS NOT NULL AND error IS NULL
        ELSE error IS NOT NULL AND output IS NULL END)
) WITH (
    fillfactor = 95,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.2
);

-- Durable sleeps and event waits; open while satisfied_at is null.
CREATE TABLE durable.waits (
    workflow_name_shard text        NOT NULL,
    run_id              uuid        NOT NULL,
    wait_key            text        NOT NULL,
    wait_type           text        NOT NULL CHECK (wait_type IN ('sleep', 'event')),
    event_name          text,
    wake_at             timestamptz,
    seq                 integer     CHECK (seq > 0),
    carried             boolean     NOT NULL DEFAULT false,
    timed_out           boolean     NOT NULL DEFAULT false,
    event_id            uuid,
    created_at          timestamptz NOT NULL DEFAULT now(),
    satisfied_at        timestamptz,
    payload             json,
    PRIMARY KEY (workflow_name_shard, run_id, wait_key),
    CONSTRAINT waits_type CHECK (CASE wait_type
        WHEN 'sleep' THEN wake_at IS NOT NULL AND event_name IS NULL AND event_id IS NULL AND NOT timed_out
        ELSE event_name IS NOT NULL END),
    CONSTRAINT waits_satisfied CHECK (satisfied_at IS NULL OR
        CASE wait_type WHEN 'sleep' THEN true ELSE timed_out <> (event_id IS NOT NULL) END)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.05
);

-- The inbox of every run, append-only: an event is buffered from its commit until a wait consumes it.
CREATE TABLE durable.events (
    workflow_name_shard text        NOT NULL,
    run_id              uuid        NOT NULL,
    event_id            uuid        NOT NULL,
    name                text        NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 200),
    key                 text        CHECK (octet_length(key) BETWEEN 1 AND 200),
    payload             json        NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now(),
    routed_at           timestamptz,                              -- when a worker turned it into a wake
    consumed_by         text,                                     -- the wait key
    PRIMARY KEY (workflow_name_shard, run_id, event_id)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.05
);

CREATE UNIQUE INDEX events_key ON durable.events (workflow_name_shard, run_id, name, key)
    WHERE key IS NOT NULL;
CREATE INDEX events_unrouted ON durable.events (workflow_name_shard, run_id)
    WHERE routed_at IS NULL;

-- Living workers. A worker is alive while its advisory lock is held or its heartbeat is fresh.
CREATE TABLE durable.workers (
    worker_id    uuid             PRIMARY KEY,
    lock_key     bigint           NOT NULL,
    hostname     text             NOT NULL,
    process_id   integer          NOT NULL,
    workflows    text[]           NOT NULL,
    lease        double precision NOT NULL CHECK (lease > 0),   -- seconds
    started_at   timestamptz      NOT NULL DEFAULT now(),
    heartbeat_at timestamptz      NOT NULL DEFAULT now()
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 200
);

-- Payloads as jsonb, for queries by people. A payload that jsonb rejects makes the query fail, never the engine.
CREATE VIEW durable.run_payloads AS
    SELECT workflow_name_shard, run_id, workflow_name, status, tags,
           input::jsonb AS input, output::jsonb AS output, error::jsonb AS error, status_detail::jsonb AS status_detail
    FROM durable.runs;
CREATE VIEW durable.step_payloads AS
    SELECT workflow_name_shard, run_id, step_key, kind, status,
           input::jsonb AS input, output::jsonb AS output, error::jsonb AS error
    FROM durable.steps;
CREATE VIEW durable.event_payloads AS
    SELECT workflow_name_shard, run_id, event_id, name, consumed_by, payload::jsonb AS payload
    FROM durable.events;

INSERT INTO durable.settings (schema_version) VALUES (1);
