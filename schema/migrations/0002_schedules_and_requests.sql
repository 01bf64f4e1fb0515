-- Why: schedules; requests to a run (cancel, terminate, retry); deadlines.
-- Locks: short ones on runs, steps and events; the new columns rewrite nothing, and the check is validated without
-- blocking.

ALTER TABLE durable.runs
    ADD COLUMN deadline_at  timestamptz,
    ADD COLUMN schedule_id  text,
    ADD COLUMN scheduled_at timestamptz;

ALTER TABLE durable.events
    ADD COLUMN kind text NOT NULL DEFAULT 'event' CONSTRAINT events_kind CHECK (kind IN
        ('event', 'cancel', 'terminate', 'retry'));

ALTER TABLE durable.steps
    DROP CONSTRAINT steps_kind_check,
    ADD CONSTRAINT steps_kind CHECK (kind IN
        ('execute', 'transaction', 'random_uuid7', 'random_uint64', 'random', 'now', 'cancel')) NOT VALID;
ALTER TABLE durable.steps VALIDATE CONSTRAINT steps_kind;

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
    -- Moments that every client can read: one bad row must not hide the others from it.
    CONSTRAINT schedules_moments CHECK (
        LEAST(starts_at, ends_at, anchor_at, next_tick_at, due_at, last_tick_at, buffered_tick_at) > '0002-01-02Z'
        AND GREATEST(starts_at, ends_at, anchor_at, next_tick_at, due_at, last_tick_at, buffered_tick_at) < '9999-06-01Z'),
    CONSTRAINT schedules_jitter CHECK (jitter <= 31622400)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.05
);

CREATE INDEX schedules_due ON durable.schedules (due_at)
    WHERE NOT paused AND problem IS NULL;

CREATE OR REPLACE VIEW durable.event_payloads AS
    SELECT workflow_name_shard, run_id, event_id, name, consumed_by, payload::jsonb AS payload, kind
    FROM durable.events;
