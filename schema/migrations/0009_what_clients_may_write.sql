-- Why: the client role could pretend that a child had ended, take the id under which its end or its cancel would be
-- stored, insert rows that are too large or too late to be read, and lock all schedules. Checks bound what it may write,
-- and it deletes schedules by a function.
-- Locks: one on schedules for as long as it takes to read them, then short ones on all tables. The checks are not
-- validated: nothing is scanned, and the rows of before need not meet them.

-- Of schedules, the rows of before must meet them as well, because workers update those again and again.
LOCK TABLE durable.schedules IN ACCESS EXCLUSIVE MODE;
UPDATE durable.schedules
SET problem = 'it was larger than a schedule may be; schedule it again', expression = pg_catalog.left(expression, 1000),
    timezone = pg_catalog.left(timezone, 50),
    input = CASE WHEN pg_catalog.octet_length(input::text) <= 16777216 THEN input ELSE 'null' END
WHERE pg_catalog.octet_length(input::text) > 16777216 OR pg_catalog.octet_length(expression) > 4000
   OR pg_catalog.octet_length(timezone) > 200 OR pg_catalog.octet_length(problem) > 65536;
UPDATE durable.schedules
SET created_at = now(), updated_at = now()
WHERE NOT (LEAST(created_at, updated_at) > '0002-01-02Z' AND GREATEST(created_at, updated_at) < '9999-06-01Z');

ALTER TABLE durable.schedules
    DROP CONSTRAINT schedules_moments,
    ADD CONSTRAINT schedules_moments CHECK (
        LEAST(starts_at, ends_at, anchor_at, next_tick_at, due_at, last_tick_at, buffered_tick_at, created_at, updated_at)
            > '0002-01-02Z'
        AND GREATEST(starts_at, ends_at, anchor_at, next_tick_at, due_at, last_tick_at, buffered_tick_at, created_at,
                     updated_at) < '9999-06-01Z') NOT VALID,
    ADD CONSTRAINT schedules_sizes CHECK (
        octet_length(input::text) <= 16777216 AND octet_length(expression) <= 4000 AND octet_length(timezone) <= 200
        AND octet_length(problem) <= 65536) NOT VALID;

CREATE FUNCTION durable.delete_schedule(schedule text) RETURNS boolean LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    WITH deleted AS (DELETE FROM durable.schedules WHERE schedule_id = schedule RETURNING schedule_id)
    SELECT EXISTS (SELECT FROM deleted)
$$;

ALTER TABLE durable.runs
    DROP CONSTRAINT runs_moments,
    ADD CONSTRAINT runs_moments CHECK (
        LEAST(next_wake_at, created_at, started_at, updated_at, completed_at, deadline_at, scheduled_at) > '0002-01-02Z'
        AND GREATEST(next_wake_at, created_at, started_at, updated_at, completed_at, deadline_at, scheduled_at)
            < '9999-06-01Z') NOT VALID,
    ADD CONSTRAINT runs_begun CHECK (
        updated_at <> created_at OR parent_run_id IS NOT NULL
        OR octet_length(input::text) <= 16777216 AND octet_length(tags::text) <= 524288) NOT VALID;

ALTER TABLE durable.steps
    ADD CONSTRAINT steps_moments CHECK (
        LEAST(started_at, completed_at) > '0002-01-02Z' AND GREATEST(started_at, completed_at) < '9999-06-01Z') NOT VALID;

ALTER TABLE durable.waits
    ADD CONSTRAINT waits_moments CHECK (
        LEAST(wake_at, created_at, satisfied_at) > '0002-01-02Z'
        AND GREATEST(wake_at, created_at, satisfied_at) < '9999-06-01Z') NOT VALID;

ALTER TABLE durable.events
    ADD COLUMN sender_run_id uuid,
    ADD CONSTRAINT events_moments CHECK (
        LEAST(created_at, routed_at) > '0002-01-02Z' AND GREATEST(created_at, routed_at) < '9999-06-01Z') NOT VALID,
    ADD CONSTRAINT events_sent CHECK (
        routed_at IS NOT NULL OR child_status IS NOT NULL OR sender_run_id IS NOT NULL
        OR kind <> 'child' AND octet_length(payload::text) <= 16777216
           AND (get_byte(uuid_send(event_id), 6) / 16 <> 8
                OR get_byte(uuid_send(event_id), 15) <> mod(get_byte(uuid_send(run_id), 15) + 1, 256))) NOT VALID;

ALTER TABLE durable.workers
    ADD CONSTRAINT workers_moments CHECK (
        LEAST(started_at, heartbeat_at) > '0002-01-02Z' AND GREATEST(started_at, heartbeat_at) < '9999-06-01Z') NOT VALID;

CREATE OR REPLACE VIEW durable.event_overview AS
    SELECT workflow_name_shard, run_id, event_id, name, key, created_at, routed_at, consumed_by, kind, child_status,
           sender_run_id
    FROM durable.events;

COMMENT ON COLUMN durable.events.sender_run_id IS
    'For the end of a child: the child. For the request of a parent that cancels it: the parent. Otherwise null.';
COMMENT ON FUNCTION durable.delete_schedule IS
    'Deletes a schedule; returns whether it existed.';
