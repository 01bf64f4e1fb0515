-- The current schema, explained. `migrations/` leads to the same schema; a test checks that the two are equal except
-- for the comments.
--
-- One row in `runs` is one execution of a workflow. What the run has done is kept as memos in `steps` and `waits`; what
-- was sent to it waits in `events`. A run is claimed by a worker (`workers`) and belongs to it until the run parks or
-- ends or the worker dies. Every claim and every takeover raises `epoch`, and a write with an older epoch writes
-- nothing.
--
-- Everything about a run is found under (workflow_name_shard, run_id); no statement of the engine spans two shard
-- values.

CREATE SCHEMA IF NOT EXISTS durable;

-- What every client and worker must agree on; one row.
CREATE TABLE durable.settings (
    singleton      boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    schema_version integer NOT NULL,
    shard_count    integer NOT NULL DEFAULT 1 CHECK (shard_count BETWEEN 1 AND 4096),
    shard_counts   integer[] NOT NULL DEFAULT '{1}',                            -- every count that there ever was
    raising_to     integer                                                      -- the next count, while it is raised
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
    takeovers           integer     NOT NULL DEFAULT 0 CHECK (takeovers >= 0),  -- workers that died while holding it
    strikes             integer     NOT NULL DEFAULT 0 CHECK (strikes >= 0),    -- of these, in a row without a new memo
    memos_at_takeover   integer     NOT NULL DEFAULT 0,
    set_asides          integer     NOT NULL DEFAULT 0 CHECK (set_asides >= 0), -- in a row, because code did not match
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
    deadline_at         timestamptz,
    schedule_id         text,
    scheduled_at        timestamptz,
    parent_shard        text,
    parent_run_id       uuid,
    awaits_runs         uuid[],                                                 -- the children it waits for
    lone_strikes        integer     NOT NULL DEFAULT 0 CHECK (lone_strikes >= 0), -- strikes that it is to blame for
    isolation           text,                                                   -- how it is tried, under suspicion
    died_with           text[],                                                 -- keys of runs that died with it
    headers             json,                                                   -- a map from text to text
    chapter             integer     CONSTRAINT runs_chapter CHECK (chapter > 1), -- null: it has not continued as new
    generation          integer     CHECK (generation > 0),                     -- of its key; null: the first one
    follows             uuid,                                                   -- the run whose end it waits for
    begin_id            uuid,                                                   -- the call that began it
    PRIMARY KEY (workflow_name_shard, run_id),
    CONSTRAINT runs_status CHECK (status IN
        ('queued', 'running', 'sleeping', 'waiting_event', 'paused', 'completed', 'failed', 'cancelled')),
    CONSTRAINT runs_owned_while_running CHECK ((status = 'running') = (worker_id IS NOT NULL)),
    CONSTRAINT runs_isolation CHECK (isolation IN ('group', 'alone', 'sole', 'trial')),
    CONSTRAINT runs_wake CHECK (CASE status
        WHEN 'sleeping' THEN next_wake_at IS NOT NULL OR follows IS NOT NULL
        WHEN 'waiting_event' THEN awaits IS NOT NULL
        WHEN 'paused' THEN true
        ELSE next_wake_at IS NULL END),
    CONSTRAINT runs_awaits CHECK (awaits IS NULL OR status = 'waiting_event'),
    CONSTRAINT runs_completed CHECK ((completed_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
    CONSTRAINT runs_output CHECK ((output IS NOT NULL) = (status = 'completed')),
    CONSTRAINT runs_error CHECK (status <> 'failed' OR error IS NOT NULL),
    CONSTRAINT runs_parent CHECK ((parent_shard IS NULL) = (parent_run_id IS NULL)),
    -- It may be cancelled while it waits for the end of another run, and still have to wait for that.
    CONSTRAINT runs_follows CHECK (
        follows IS NULL
        OR key IS NOT NULL AND status IN ('sleeping', 'paused', 'cancelled') AND epoch = 0 AND next_wake_at IS NULL),
    -- Moments that every client and worker can read, no matter who inserted them.
    CONSTRAINT runs_moments CHECK (
        LEAST(next_wake_at, created_at, started_at, updated_at, completed_at, deadline_at, scheduled_at) > '0002-01-02Z'
        AND GREATEST(next_wake_at, created_at, started_at, updated_at, completed_at, deadline_at, scheduled_at)
            < '9999-06-01Z'),
    -- What an application begins is small enough to be loaded beside others. The first line is true once a worker has
    -- touched the row, so that no row from before this check can make a worker's statement fail.
    CONSTRAINT runs_begun CHECK (
        updated_at <> created_at OR parent_run_id IS NOT NULL
        OR octet_length(input::text) <= 16777216 AND octet_length(tags::text) <= 524288),
    CONSTRAINT runs_headers CHECK (
        headers IS NULL OR json_typeof(headers) = 'object' AND octet_length(headers::text) <= 8192)
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
-- All generations of a key lie under one shard value, that of the first.
CREATE INDEX runs_key ON durable.runs (workflow_name_shard, key, generation DESC NULLS LAST)
    WHERE key IS NOT NULL;

-- The memos of steps. There is no foreign key to runs: a row is only ever inserted through a join with its locked run,
-- and the check would cost a second lock per memo.
CREATE TABLE durable.steps (
    workflow_name_shard text        NOT NULL,
    run_id              uuid        NOT NULL,
    step_key            text        NOT NULL,
    kind                text        NOT NULL CONSTRAINT steps_kind CHECK (kind IN
        ('execute', 'transaction', 'undo', 'patched', 'random_uuid7', 'random_uint64', 'random', 'now', 'cancel',
         'child', 'reply', 'publish')),
    status              text        NOT NULL CHECK (status IN ('completed', 'failed')),
    seq                 integer     CHECK (seq > 0),              -- the order in which the run saw it; null: not yet known
    carried             boolean     NOT NULL DEFAULT false,       -- kept by a retry: answers, but need not be called
    fn                  text,
    attempts            integer     NOT NULL DEFAULT 1 CHECK (attempts >= 1),
    started_at          timestamptz NOT NULL,
    completed_at        timestamptz NOT NULL DEFAULT now(),
    input               json,                                     -- for people; null if it is not JSON
    output              json,
    error               json,
    child_shard         text,                                     -- with child_run_id, the key of the child it began
    child_run_id        uuid,
    cancel_cause        text,
    PRIMARY KEY (workflow_name_shard, run_id, step_key),
    CONSTRAINT steps_outcome CHECK (CASE status
        WHEN 'completed' THEN output IS NOT NULL AND error IS NULL
        ELSE error IS NOT NULL AND output IS NULL END),
    -- One check, whose first line settles it for almost every row.
    CONSTRAINT steps_columns CHECK (
        fn IS NOT NULL AND child_shard IS NULL AND child_run_id IS NULL AND cancel_cause IS NULL
        OR kind = 'child' AND fn IS NOT NULL AND child_shard IS NOT NULL AND child_run_id IS NOT NULL
           AND cancel_cause IS NULL
        OR kind = 'cancel' AND child_shard IS NULL AND child_run_id IS NULL AND cancel_cause IN ('request', 'deadline')),
    CONSTRAINT steps_moments CHECK (
        LEAST(started_at, completed_at) > '0002-01-02Z' AND GREATEST(started_at, completed_at) < '9999-06-01Z')
) WITH (
    fillfactor = 95,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.2
);

-- Durable sleeps, waits for events, requests and children; open while satisfied_at is null. Also, until a step has its memo,
-- its failed tries ('retry'; it is tried again at wake_at) and that it may have been called ('start').
CREATE TABLE durable.waits (
    workflow_name_shard text        NOT NULL,
    run_id              uuid        NOT NULL,
    wait_key            text        NOT NULL,
    wait_type           text        NOT NULL CONSTRAINT waits_kind CHECK (wait_type IN
        ('sleep', 'timer', 'event', 'child_result', 'retry', 'start', 'request')),
    event_name          text,                                                   -- the function, for tries of a step
    wake_at             timestamptz,
    seq                 integer     CHECK (seq > 0),
    carried             boolean     NOT NULL DEFAULT false,
    timed_out           boolean     NOT NULL DEFAULT false,
    event_id            uuid,
    created_at          timestamptz NOT NULL DEFAULT now(),
    satisfied_at        timestamptz,
    payload             json,
    child_run_id        uuid,
    unfit               boolean     NOT NULL DEFAULT false,                     -- the event did not fit the type
    PRIMARY KEY (workflow_name_shard, run_id, wait_key),
    -- Before version 5, the child was kept in event_name.
    CONSTRAINT waits_type CHECK (CASE wait_type
        WHEN 'sleep' THEN wake_at IS NOT NULL AND event_name IS NULL AND child_run_id IS NULL AND event_id IS NULL
                          AND NOT timed_out
        WHEN 'timer' THEN wake_at IS NOT NULL AND event_name IS NULL AND child_run_id IS NULL AND event_id IS NULL
        WHEN 'event' THEN event_name IS NOT NULL AND child_run_id IS NULL
        WHEN 'request' THEN event_name IS NOT NULL AND child_run_id IS NULL
        WHEN 'retry' THEN event_name IS NOT NULL AND child_run_id IS NULL AND wake_at IS NOT NULL AND satisfied_at IS NULL
        WHEN 'start' THEN event_name IS NOT NULL AND child_run_id IS NULL AND wake_at IS NULL AND satisfied_at IS NULL
        ELSE (event_name IS NULL) <> (child_run_id IS NULL) END),
    CONSTRAINT waits_satisfied CHECK (satisfied_at IS NULL OR
        CASE WHEN wait_type IN ('sleep', 'timer') THEN true ELSE timed_out <> (event_id IS NOT NULL) END),
    CONSTRAINT waits_moments CHECK (
        LEAST(wake_at, created_at, satisfied_at) > '0002-01-02Z'
        AND GREATEST(wake_at, created_at, satisfied_at) < '9999-06-01Z')
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.05
);

-- The inbox of every run, append-only: an event is buffered from its commit until a wait consumes it. So is a request,
-- which the run answers here. Requests to cancel, terminate or retry a run arrive here too: applications insert them and
-- the engine acts on them. So do the
-- ends of children, and what is to follow once the run has ended (next).
CREATE TABLE durable.events (
    workflow_name_shard text        NOT NULL,
    run_id              uuid        NOT NULL,
    event_id            uuid        NOT NULL,
    name                text        NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 200),
    key                 text        CHECK (octet_length(key) BETWEEN 1 AND 200),
    payload             json        NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now(),
    routed_at           timestamptz,                              -- when a worker turned it into a wake
    consumed_by         text,                                     -- the wait key; empty for a request that was met
    kind                text        NOT NULL DEFAULT 'event' CONSTRAINT events_kind CHECK (kind IN
        ('event', 'cancel', 'terminate', 'pause', 'resume', 'reschedule', 'retry', 'child', 'next', 'request')),
    child_status        text,
    sender_run_id       uuid,
    reply               json,                                     -- to a request: the answer, or why it is refused
    refused             boolean,
    replied_at          timestamptz,
    PRIMARY KEY (workflow_name_shard, run_id, event_id),
    CONSTRAINT events_child CHECK (
        child_status IS NULL OR kind = 'child' AND child_status IN ('completed', 'failed', 'cancelled')),
    CONSTRAINT events_reply CHECK (
        reply IS NULL AND refused IS NULL AND replied_at IS NULL
        OR kind = 'request' AND reply IS NOT NULL AND refused IS NOT NULL AND replied_at IS NOT NULL),
    CONSTRAINT events_moments CHECK (
        LEAST(created_at, routed_at) > '0002-01-02Z' AND GREATEST(created_at, routed_at) < '9999-06-01Z'),
    -- What a row must be like if nothing in its first line is set, which applications have no right to set: small enough
    -- to be loaded beside others, no end of a child, and under no id that the engine makes. Those have version 8 and a
    -- last byte that is one more than the run's. Rows from before this check are past it once they are routed.
    CONSTRAINT events_sent CHECK (
        routed_at IS NOT NULL OR child_status IS NOT NULL OR sender_run_id IS NOT NULL
        OR kind <> 'child' AND octet_length(payload::text) <= 16777216
           AND (get_byte(uuid_send(event_id), 6) / 16 <> 8
                OR get_byte(uuid_send(event_id), 15) <> mod(get_byte(uuid_send(run_id), 15) + 1, 256)))
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.05
);

CREATE UNIQUE INDEX events_key ON durable.events (workflow_name_shard, run_id, kind, name, key)
    WHERE key IS NOT NULL;
CREATE INDEX events_unrouted ON durable.events (workflow_name_shard, run_id)
    WHERE routed_at IS NULL;

-- The chapters that have ended of runs that continued as new. The present chapter is the row in runs.
CREATE TABLE durable.chapters (
    workflow_name_shard text        NOT NULL,
    run_id              uuid        NOT NULL,
    chapter             integer     NOT NULL CHECK (chapter > 0),
    version             integer     NOT NULL,
    memos               integer     NOT NULL CHECK (memos >= 0),
    began_at            timestamptz NOT NULL,
    ended_at            timestamptz NOT NULL,
    input               json        NOT NULL,
    PRIMARY KEY (workflow_name_shard, run_id, chapter),
    CONSTRAINT chapters_moments CHECK (
        LEAST(began_at, ended_at) > '0002-01-02Z' AND GREATEST(began_at, ended_at) < '9999-06-01Z')
);

-- What begins runs by the clock. A worker that has the workflow looks at a row when it is due, begins the runs of its
-- ticks, and moves the row forward, all in one transaction. The run's id follows from the schedule and the tick.
CREATE TABLE durable.schedules (
    schedule_id      text             PRIMARY KEY CHECK (octet_length(schedule_id) BETWEEN 1 AND 200),
    workflow_name    text             NOT NULL CHECK (octet_length(workflow_name) BETWEEN 1 AND 200),
    version          integer          NOT NULL DEFAULT 1,
    expression       text             NOT NULL,
    timezone         text             NOT NULL DEFAULT 'UTC',
    input            json             NOT NULL DEFAULT 'null',
    catch_up         text             NOT NULL DEFAULT 'one' CHECK (catch_up IN ('one', 'all', 'skip')),
    overlap          text             NOT NULL DEFAULT 'allow' CHECK (overlap IN
        ('allow', 'skip', 'cancel_other', 'buffer_one')),
    jitter           double precision NOT NULL DEFAULT 0 CHECK (jitter >= 0),
    run_timeout      double precision CHECK (run_timeout > 0),
    starts_at        timestamptz,
    ends_at          timestamptz,
    anchor_at        timestamptz      NOT NULL DEFAULT now(),
    paused           boolean          NOT NULL DEFAULT false,
    problem          text,
    next_tick_at     timestamptz,
    due_at           timestamptz      DEFAULT now(),
    last_tick_at     timestamptz,
    last_run         text             CHECK (last_run ~
        '^.+_[0-9]+:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'),
    buffered_tick_at timestamptz,
    created_at       timestamptz      NOT NULL DEFAULT now(),
    updated_at       timestamptz      NOT NULL DEFAULT now(),
    priority         smallint,                                    -- of each run; null: 0
    tags             jsonb,
    headers          json,
    -- Moments that every client can read: one bad row must not hide the others from it.
    CONSTRAINT schedules_moments CHECK (
        LEAST(starts_at, ends_at, anchor_at, next_tick_at, due_at, last_tick_at, buffered_tick_at, created_at, updated_at)
            > '0002-01-02Z'
        AND GREATEST(starts_at, ends_at, anchor_at, next_tick_at, due_at, last_tick_at, buffered_tick_at, created_at,
                     updated_at) < '9999-06-01Z'),
    CONSTRAINT schedules_sizes CHECK (
        octet_length(input::text) <= 16777216 AND octet_length(expression) <= 4000 AND octet_length(timezone) <= 200
        AND octet_length(problem) <= 65536),
    CONSTRAINT schedules_jitter CHECK (jitter <= 31622400),
    CONSTRAINT schedules_run CHECK (last_run !~ '_[0-9]{5,}:[^:]*$'),
    CONSTRAINT schedules_timeout CHECK (run_timeout <= 3155760000),
    -- What the checks of runs allow: a schedule whose runs cannot be inserted would hold up all others.
    CONSTRAINT schedules_given CHECK (
        (tags IS NULL OR jsonb_typeof(tags) = 'object' AND octet_length(tags::text) <= 524288)
        AND (headers IS NULL OR json_typeof(headers) = 'object' AND octet_length(headers::text) <= 8192))
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.05
);

CREATE INDEX schedules_due ON durable.schedules (due_at)
    WHERE NOT paused AND problem IS NULL;

-- The right to delete rows of a table is also the right to lock the table against everyone. roles.sql has applications
-- delete schedules by this function instead, with the rights of its owner; without these roles, it has the caller's.
CREATE FUNCTION durable.delete_schedule(schedule text) RETURNS boolean LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    WITH deleted AS (DELETE FROM durable.schedules WHERE schedule_id = schedule RETURNING schedule_id)
    SELECT EXISTS (SELECT FROM deleted)
$$;

-- Living workers. A worker is alive while its advisory lock is held or its heartbeat is fresh.
CREATE TABLE durable.workers (
    worker_id    uuid             PRIMARY KEY,
    lock_key     bigint,                                        -- null: behind a transaction pooler
    hostname     text             NOT NULL,
    process_id   integer          NOT NULL,
    workflows    text[]           NOT NULL,
    lease        double precision NOT NULL CHECK (lease > 0),   -- seconds
    started_at   timestamptz      NOT NULL DEFAULT now(),
    heartbeat_at timestamptz      NOT NULL DEFAULT pg_catalog.now(),
    login        oid,                                           -- the role as which it has logged in
    session_key  bigint,                                        -- marks its sessions
    is_listening boolean          NOT NULL DEFAULT false,
    offers       jsonb,                                         -- by workflow: its version, how many runs at once
    CONSTRAINT workers_lease CHECK (lease <= 3155760000),       -- a century
    CONSTRAINT workers_moments CHECK (
        LEAST(started_at, heartbeat_at) > '0002-01-02Z' AND GREATEST(started_at, heartbeat_at) < '9999-06-01Z')
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 200
);

-- Workflows that are paused, or were: workers claim no runs of a paused one. They read it along with each heartbeat.
CREATE TABLE durable.workflow_pauses (
    workflow_name text        PRIMARY KEY CHECK (octet_length(workflow_name) BETWEEN 1 AND 200),
    paused        boolean     NOT NULL,
    reason        text        CHECK (octet_length(reason) <= 8192),
    changed_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workflow_pauses_moments CHECK (changed_at > '0002-01-02Z' AND changed_at < '9999-06-01Z')
);

-- Payloads as jsonb, for queries by people. A payload that jsonb rejects makes the query fail, never the engine.
CREATE VIEW durable.run_payloads AS
    SELECT workflow_name_shard, run_id, workflow_name, status, tags,
           input::jsonb AS input, output::jsonb AS output, error::jsonb AS error, status_detail::jsonb AS status_detail,
           headers::jsonb AS headers
    FROM durable.runs;
CREATE VIEW durable.step_payloads AS
    SELECT workflow_name_shard, run_id, step_key, kind, status,
           input::jsonb AS input, output::jsonb AS output, error::jsonb AS error
    FROM durable.steps;
CREATE VIEW durable.event_payloads AS
    SELECT workflow_name_shard, run_id, event_id, name, consumed_by, payload::jsonb AS payload, kind, reply::jsonb AS reply
    FROM durable.events;

-- Everything but the payloads, for roles that may see runs but not read their payloads; see roles.sql.
CREATE VIEW durable.run_overview AS
    SELECT workflow_name_shard, run_id, workflow_name, version, status, priority, attempts, takeovers, strikes, set_asides,
           epoch, worker_id, awaits, next_wake_at, created_at, started_at, updated_at, completed_at, key, tags, deadline_at,
           schedule_id, scheduled_at, parent_shard, parent_run_id, awaits_runs, lone_strikes, isolation, died_with, chapter,
           generation, follows, xmax::text AS locked_by
    FROM durable.runs;
CREATE VIEW durable.step_overview AS
    SELECT workflow_name_shard, run_id, step_key, kind, status, seq, carried, fn, attempts, started_at, completed_at,
           child_shard, child_run_id, cancel_cause
    FROM durable.steps;
CREATE VIEW durable.wait_overview AS
    SELECT workflow_name_shard, run_id, wait_key, wait_type, event_name, wake_at, seq, carried, timed_out, event_id,
           created_at, satisfied_at, child_run_id, unfit
    FROM durable.waits;
CREATE VIEW durable.event_overview AS
    SELECT workflow_name_shard, run_id, event_id, name, key, created_at, routed_at, consumed_by, kind, child_status,
           sender_run_id, refused, replied_at
    FROM durable.events;
CREATE VIEW durable.chapter_overview AS
    SELECT workflow_name_shard, run_id, chapter, version, memos, began_at, ended_at
    FROM durable.chapters;
CREATE VIEW durable.schedule_overview AS
    SELECT schedule_id, workflow_name, version, expression, timezone, catch_up, overlap, jitter, run_timeout, starts_at,
           ends_at, anchor_at, paused, problem, next_tick_at, due_at, last_tick_at, last_run, buffered_tick_at, created_at,
           updated_at, priority, tags
    FROM durable.schedules;

COMMENT ON TABLE durable.settings IS
    'What every client and worker must agree on; one row.';
COMMENT ON COLUMN durable.settings.singleton IS
    'Always true: there is one row.';
COMMENT ON COLUMN durable.settings.schema_version IS
    'The number of the last migration applied.';
COMMENT ON COLUMN durable.settings.shard_count IS
    'How many shard values each workflow has. It can be raised but never lowered, because runs are found by it.';
COMMENT ON COLUMN durable.settings.shard_counts IS
    'Every shard count that there ever was: runs are looked for under these.';
COMMENT ON COLUMN durable.settings.raising_to IS
    'While the shard count is being raised: the new count. Meanwhile, begins with a key take turns. Otherwise null.';

COMMENT ON TABLE durable.runs IS
    'One row per execution of a workflow. Applications insert rows; only the engine updates them, under the row''s lock.';
COMMENT ON COLUMN durable.runs.workflow_name_shard IS
    'The shard value, <workflow>_<k>: half of the run key, and the distribution column.';
COMMENT ON COLUMN durable.runs.run_id IS
    'The other half of the run key: a UUID of version 7, or of version 5 derived from the workflow name and the key.';
COMMENT ON COLUMN durable.runs.workflow_name IS
    'The name of the workflow, as in its definition.';
COMMENT ON COLUMN durable.runs.version IS
    'The version of the workflow that its present chapter was begun with.';
COMMENT ON COLUMN durable.runs.status IS
    'queued: waiting to be claimed. running: claimed. sleeping, waiting_event: parked. paused: until it is resumed. The '
    'others are terminal.';
COMMENT ON COLUMN durable.runs.priority IS
    'Queued runs with a higher priority go first.';
COMMENT ON COLUMN durable.runs.attempts IS
    'The number of failed attempts.';
COMMENT ON COLUMN durable.runs.takeovers IS
    'The number of workers that died or gave up while holding it.';
COMMENT ON COLUMN durable.runs.strikes IS
    'The number of workers in a row that died while holding it, without a new memo in between; after two, it is tried '
    'apart from others.';
COMMENT ON COLUMN durable.runs.memos_at_takeover IS
    'The number of memos it had at the last takeover, by which the next takeover judges its progress.';
COMMENT ON COLUMN durable.runs.set_asides IS
    'How many times in a row it was set aside because the code did not match what is recorded.';
COMMENT ON COLUMN durable.runs.epoch IS
    'The fencing number, raised by every claim and takeover; a write that names an older one is ignored.';
COMMENT ON COLUMN durable.runs.worker_id IS
    'The worker that owns it while it is running, otherwise null.';
COMMENT ON COLUMN durable.runs.awaits IS
    'While it waits for events, requests or children: the names of the events that wake it, and those of requests after '
    'request:, empty if only children do. Otherwise null.';
COMMENT ON COLUMN durable.runs.next_wake_at IS
    'When it wakes if nothing wakes it earlier; null for a wait without a timeout and for runs that do not sleep.';
COMMENT ON COLUMN durable.runs.created_at IS
    'When it was begun.';
COMMENT ON COLUMN durable.runs.started_at IS
    'When its current attempt was first claimed; null before that. The clock of its asyncio loop begins here.';
COMMENT ON COLUMN durable.runs.updated_at IS
    'When its status last changed.';
COMMENT ON COLUMN durable.runs.completed_at IS
    'When it reached a terminal status; null before that.';
COMMENT ON COLUMN durable.runs.key IS
    'The key with which it was begun, if one was given.';
COMMENT ON COLUMN durable.runs.tags IS
    'A map from text to text, set by the application, by which people can find runs.';
COMMENT ON COLUMN durable.runs.input IS
    'The encoded input of its present chapter, exactly as it was given.';
COMMENT ON COLUMN durable.runs.output IS
    'The encoded output of a completed run.';
COMMENT ON COLUMN durable.runs.error IS
    'The last failure {type, message, traceback}, kept while the run is retried.';
COMMENT ON COLUMN durable.runs.status_detail IS
    'What the workflow last set as its status.';
COMMENT ON COLUMN durable.runs.deadline_at IS
    'When it is cancelled because it takes too long; null: never, or it has already been cancelled.';
COMMENT ON COLUMN durable.runs.schedule_id IS
    'The schedule that began it.';
COMMENT ON COLUMN durable.runs.scheduled_at IS
    'The tick of the schedule for which it was begun.';
COMMENT ON COLUMN durable.runs.parent_shard IS
    'For a child run: half of the key of its parent, which began it and is notified of its end.';
COMMENT ON COLUMN durable.runs.parent_run_id IS
    'For a child run: the other half of the key of its parent.';
COMMENT ON COLUMN durable.runs.awaits_runs IS
    'The children whose end wakes it, while it waits for them.';
COMMENT ON COLUMN durable.runs.lone_strikes IS
    'How many of these strikes it is to blame for: it was on trial, or broke the engine by itself. Too many fail the run '
    'as a crash loop.';
COMMENT ON COLUMN durable.runs.isolation IS
    'group, alone, sole: it sleeps until it is tried again, and with how much company. trial: it is being tried. Null: '
    'it is not under suspicion.';
COMMENT ON COLUMN durable.runs.died_with IS
    'Keys of runs that were executing on the same worker when it last died in company; at most 10.';
COMMENT ON COLUMN durable.runs.headers IS
    'A map from text to text that the application has given it and that its children inherit; a payload.';
COMMENT ON COLUMN durable.runs.chapter IS
    'The number of its present chapter; null: the first, because the run has not continued as new.';
COMMENT ON COLUMN durable.runs.generation IS
    'How many runs with its workflow and key were begun before it; null for the first one.';
COMMENT ON COLUMN durable.runs.follows IS
    'The run with the same key that must end before this one starts; null: it need not wait, or no longer.';
COMMENT ON COLUMN durable.runs.begin_id IS
    'The call of begin that began it, if that must be known when the call is repeated after a lost connection.';

COMMENT ON TABLE durable.steps IS
    'The memos of finished steps. A row is only inserted through a join with its run, which is locked and has the '
    'writer''s epoch.';
COMMENT ON COLUMN durable.steps.workflow_name_shard IS
    'The shard value of the run.';
COMMENT ON COLUMN durable.steps.run_id IS
    'The id of the run.';
COMMENT ON COLUMN durable.steps.step_key IS
    'The key by which the workflow names the step; empty for a cancel.';
COMMENT ON COLUMN durable.steps.kind IS
    'What was called, or cancel, which has a place in the order like an answer.';
COMMENT ON COLUMN durable.steps.status IS
    'completed, or failed once its retries were used up.';
COMMENT ON COLUMN durable.steps.seq IS
    'The place in the order in which the run saw its memos, including waits; null: not yet known, so it comes last.';
COMMENT ON COLUMN durable.steps.carried IS
    'Kept by a retry of the run: it answers if called, but need not be called.';
COMMENT ON COLUMN durable.steps.fn IS
    'The name of the function.';
COMMENT ON COLUMN durable.steps.attempts IS
    'How many times the function was run, at least 1.';
COMMENT ON COLUMN durable.steps.started_at IS
    'When its first attempt began.';
COMMENT ON COLUMN durable.steps.completed_at IS
    'When its memo was written.';
COMMENT ON COLUMN durable.steps.input IS
    'The arguments, for people to read; null if they are not JSON.';
COMMENT ON COLUMN durable.steps.output IS
    'The encoded result of a completed step.';
COMMENT ON COLUMN durable.steps.error IS
    'The failure {type, message, traceback} of a failed step.';

COMMENT ON COLUMN durable.steps.child_shard IS
    'For a step that began a child: the shard value of the child.';
COMMENT ON COLUMN durable.steps.child_run_id IS
    'For a step that began a child: the run id of the child.';
COMMENT ON COLUMN durable.steps.cancel_cause IS
    'For a cancel: request or deadline; its output is the reason.';

COMMENT ON TABLE durable.waits IS
    'Durable sleeps, waits for events, requests and children; open while satisfied_at is null.';
COMMENT ON COLUMN durable.waits.workflow_name_shard IS
    'The shard value of the run.';
COMMENT ON COLUMN durable.waits.run_id IS
    'The id of the run.';
COMMENT ON COLUMN durable.waits.wait_key IS
    'The key by which the workflow names the wait.';
COMMENT ON COLUMN durable.waits.wait_type IS
    'sleep, timer, event, request, child_result; retry: a step has failed and is tried again at wake_at; start: a step '
    'that may be called at most once may have been called.';
COMMENT ON COLUMN durable.waits.event_name IS
    'The event or request that is waited for; the function of a step that is tried again.';
COMMENT ON COLUMN durable.waits.child_run_id IS
    'The child whose end is waited for.';
COMMENT ON COLUMN durable.waits.wake_at IS
    'The end of a sleep, or the timeout of a wait for an event or a request; null: it waits indefinitely.';
COMMENT ON COLUMN durable.waits.seq IS
    'As in steps; null while the wait is open.';
COMMENT ON COLUMN durable.waits.carried IS
    'As in steps.';
COMMENT ON COLUMN durable.waits.timed_out IS
    'Whether the wait was ended by its timeout.';
COMMENT ON COLUMN durable.waits.event_id IS
    'The event or request that ended it, or the first one of several events.';
COMMENT ON COLUMN durable.waits.created_at IS
    'When it began.';
COMMENT ON COLUMN durable.waits.satisfied_at IS
    'When its end was recorded.';
COMMENT ON COLUMN durable.waits.payload IS
    'A copy of the payload of the event, or an array of those of several, so that a replay reads no events, of a request '
    'with its id; what is known of the tries of a step. True for an open wait for several events of which the first has '
    'come: it ends at wake_at.';
COMMENT ON COLUMN durable.waits.unfit IS
    'Whether the event that ended it did not fit the type that the code declared; a retry of the run forgets such an '
    'answer if it is the last one.';

COMMENT ON TABLE durable.events IS
    'The inbox of every run: an event or a request is buffered from its commit until a wait consumes it.';
COMMENT ON COLUMN durable.events.workflow_name_shard IS
    'The shard value of the run to which it was published.';
COMMENT ON COLUMN durable.events.run_id IS
    'The id of the run to which it was published.';
COMMENT ON COLUMN durable.events.event_id IS
    'A UUID of version 7: in order of publication within one publisher.';
COMMENT ON COLUMN durable.events.name IS
    'The name that waits ask for.';
COMMENT ON COLUMN durable.events.key IS
    'The key of an idempotent publication or request: one for each run, kind, name and key.';
COMMENT ON COLUMN durable.events.payload IS
    'The encoded payload, exactly as it was given.';
COMMENT ON COLUMN durable.events.created_at IS
    'When its transaction began. A run consumes the events with the same name in this order, then by event_id.';
COMMENT ON COLUMN durable.events.routed_at IS
    'When a worker turned it into a wake; null: not yet.';
COMMENT ON COLUMN durable.events.consumed_by IS
    'The key of the wait that took it; empty for a request that was met; null: still buffered.';
COMMENT ON COLUMN durable.events.kind IS
    'event, request: for the waits of the workflow. child: the child with that name and event_id has ended; the payload '
    'says how. next: once the run has ended, the run with that name starts, or if the event or request with that id is '
    'unread, another run with the same key begins. The others are requests to the engine; their payload is the reason.';

COMMENT ON COLUMN durable.events.child_status IS
    'For the end of a child: its status.';
COMMENT ON COLUMN durable.events.sender_run_id IS
    'For an event that a run has sent: that run. For the end of a child: the child. For the request of a parent that '
    'cancels it: the parent. Otherwise null.';
COMMENT ON COLUMN durable.events.reply IS
    'For a request that was answered: the encoded reply, or the reason for which it is refused, as text.';
COMMENT ON COLUMN durable.events.refused IS
    'For a request that was answered: whether it is refused.';
COMMENT ON COLUMN durable.events.replied_at IS
    'For a request that was answered: when. The first answer counts.';

COMMENT ON TABLE durable.chapters IS
    'The chapters of runs that have ended because the run continued as new. The present chapter is the row in runs.';
COMMENT ON COLUMN durable.chapters.workflow_name_shard IS
    'The shard value of the run.';
COMMENT ON COLUMN durable.chapters.run_id IS
    'The id of the run.';
COMMENT ON COLUMN durable.chapters.chapter IS
    'Its number, from 1.';
COMMENT ON COLUMN durable.chapters.version IS
    'The version of the workflow that it was begun with.';
COMMENT ON COLUMN durable.chapters.memos IS
    'How many memos it had, which were deleted at its end.';
COMMENT ON COLUMN durable.chapters.began_at IS
    'When it was begun: the run, or by the end of the chapter before it.';
COMMENT ON COLUMN durable.chapters.ended_at IS
    'When the run continued as new.';
COMMENT ON COLUMN durable.chapters.input IS
    'Its encoded input.';

COMMENT ON TABLE durable.schedules IS
    'What begins runs by the clock, by cron fields or an interval.';
COMMENT ON COLUMN durable.schedules.schedule_id IS
    'Its name, chosen by the application.';
COMMENT ON COLUMN durable.schedules.workflow_name IS
    'The workflow whose runs it begins.';
COMMENT ON COLUMN durable.schedules.version IS
    'The version with which the runs are begun.';
COMMENT ON COLUMN durable.schedules.expression IS
    'Five cron fields, or @every followed by a duration.';
COMMENT ON COLUMN durable.schedules.timezone IS
    'The IANA time zone in which the cron fields are read.';
COMMENT ON COLUMN durable.schedules.input IS
    'The encoded input of every run.';
COMMENT ON COLUMN durable.schedules.catch_up IS
    'Which of the ticks that were missed while no worker looked are begun: the last one, all, or none.';
COMMENT ON COLUMN durable.schedules.overlap IS
    'What happens to a tick while the run of the previous tick has not ended.';
COMMENT ON COLUMN durable.schedules.jitter IS
    'Each run begins up to this many seconds after its tick; the exact delay follows from the schedule and the tick.';
COMMENT ON COLUMN durable.schedules.run_timeout IS
    'The timeout of each run in seconds, from which its deadline is set; null: none.';
COMMENT ON COLUMN durable.schedules.starts_at IS
    'There is no tick before this; null: no bound.';
COMMENT ON COLUMN durable.schedules.ends_at IS
    'There is no tick after this; null: no bound.';
COMMENT ON COLUMN durable.schedules.anchor_at IS
    'The time from which intervals are counted, so that they never drift.';
COMMENT ON COLUMN durable.schedules.paused IS
    'Set by the application: no tick is begun.';
COMMENT ON COLUMN durable.schedules.problem IS
    'Set by the engine: why it cannot read the schedule, which is then suspended until it is scheduled again.';
COMMENT ON COLUMN durable.schedules.next_tick_at IS
    'The next tick; null: not yet computed, or never again.';
COMMENT ON COLUMN durable.schedules.due_at IS
    'When a worker will look at it; null: never again.';
COMMENT ON COLUMN durable.schedules.last_tick_at IS
    'The last tick that began a run.';
COMMENT ON COLUMN durable.schedules.last_run IS
    'The key of the run begun last.';
COMMENT ON COLUMN durable.schedules.buffered_tick_at IS
    'The tick that waits for the previous run to end.';
COMMENT ON COLUMN durable.schedules.created_at IS
    'When it was first scheduled.';
COMMENT ON COLUMN durable.schedules.updated_at IS
    'When it was last changed, by the application or by a tick.';
COMMENT ON COLUMN durable.schedules.priority IS
    'The priority of every run; null: 0.';
COMMENT ON COLUMN durable.schedules.tags IS
    'The tags of every run.';
COMMENT ON COLUMN durable.schedules.headers IS
    'The headers of every run; a payload.';

COMMENT ON TABLE durable.workers IS
    'Living workers. One is alive while its advisory lock is held or its heartbeat is fresh.';
COMMENT ON COLUMN durable.workers.worker_id IS
    'A new id, chosen at every start.';
COMMENT ON COLUMN durable.workers.lock_key IS
    'The session advisory lock that it holds for as long as it lives; null behind a transaction pooler, where there is no '
    'session lock and only the heartbeat counts.';
COMMENT ON COLUMN durable.workers.login IS
    'The role as which it has logged in; a lock that is held by another role does not count. Null: written by version 6, '
    'where the lock counts even if another role holds it.';
COMMENT ON COLUMN durable.workers.session_key IS
    'The advisory lock that its sessions share, by which they are found and ended when it is dead.';
COMMENT ON COLUMN durable.workers.hostname IS
    'The host on which it runs, for people.';
COMMENT ON COLUMN durable.workers.process_id IS
    'Its process id on that host.';
COMMENT ON COLUMN durable.workers.workflows IS
    'The workflows whose runs it claims.';
COMMENT ON COLUMN durable.workers.lease IS
    'The number of seconds without a heartbeat after which it counts as dead.';
COMMENT ON COLUMN durable.workers.started_at IS
    'When it registered.';
COMMENT ON COLUMN durable.workers.heartbeat_at IS
    'The last sign of life.';
COMMENT ON COLUMN durable.workers.is_listening IS
    'Whether it hears announcements and looks for what they announce.';
COMMENT ON COLUMN durable.workers.offers IS
    'By workflow, the version that it has and how many runs it executes at once; null: written before version 17.';

COMMENT ON TABLE durable.workflow_pauses IS
    'Workflows that are paused, or were: workers claim no runs of a paused one.';
COMMENT ON COLUMN durable.workflow_pauses.workflow_name IS
    'The workflow.';
COMMENT ON COLUMN durable.workflow_pauses.paused IS
    'Whether it is paused now.';
COMMENT ON COLUMN durable.workflow_pauses.reason IS
    'Why, in the words of who paused it.';
COMMENT ON COLUMN durable.workflow_pauses.changed_at IS
    'When it was last paused or resumed.';

COMMENT ON VIEW durable.run_payloads IS
    'Runs with their payloads as jsonb, for queries by people.';

COMMENT ON VIEW durable.step_payloads IS
    'Steps with their payloads as jsonb, for queries by people.';

COMMENT ON VIEW durable.event_payloads IS
    'Events with their payloads as jsonb, for queries by people.';

COMMENT ON VIEW durable.run_overview IS
    'Runs without what they were given, returned or failed with.';
COMMENT ON COLUMN durable.run_overview.locked_by IS
    'The transaction that last locked or changed the row; it may have ended.';

COMMENT ON VIEW durable.step_overview IS
    'Memos of steps without their payloads and errors.';

COMMENT ON VIEW durable.wait_overview IS
    'Waits without the payloads that ended them.';

COMMENT ON VIEW durable.event_overview IS
    'The inboxes without the payloads.';

COMMENT ON VIEW durable.chapter_overview IS
    'The chapters that have ended, without their inputs.';

COMMENT ON VIEW durable.schedule_overview IS
    'Schedules without the inputs of their runs.';
COMMENT ON FUNCTION durable.delete_schedule IS
    'Deletes a schedule; returns whether it existed.';

INSERT INTO durable.settings (schema_version) VALUES (20);
