-- Why: runs answer requests, which arrive in their inbox and keep their answer there.
-- Locks: short ones on events, waits and steps; the checks are not validated, and no row of before has a value that they
-- could refuse. Workers of the version before know no requests, so replace all of them before applications make any.

ALTER TABLE durable.steps
    DROP CONSTRAINT steps_kind,
    ADD CONSTRAINT steps_kind CHECK (kind IN
        ('execute', 'transaction', 'undo', 'patched', 'random_uuid7', 'random_uint64', 'random', 'now', 'cancel',
         'child', 'reply')) NOT VALID;

ALTER TABLE durable.waits
    DROP CONSTRAINT waits_kind,
    ADD CONSTRAINT waits_kind CHECK (wait_type IN
        ('sleep', 'timer', 'event', 'child_result', 'retry', 'start', 'request')) NOT VALID,
    DROP CONSTRAINT waits_type,
    ADD CONSTRAINT waits_type CHECK (CASE wait_type
        WHEN 'sleep' THEN wake_at IS NOT NULL AND event_name IS NULL AND child_run_id IS NULL AND event_id IS NULL
                          AND NOT timed_out
        WHEN 'timer' THEN wake_at IS NOT NULL AND event_name IS NULL AND child_run_id IS NULL AND event_id IS NULL
        WHEN 'event' THEN event_name IS NOT NULL AND child_run_id IS NULL
        WHEN 'request' THEN event_name IS NOT NULL AND child_run_id IS NULL
        WHEN 'retry' THEN event_name IS NOT NULL AND child_run_id IS NULL AND wake_at IS NOT NULL AND satisfied_at IS NULL
        WHEN 'start' THEN event_name IS NOT NULL AND child_run_id IS NULL AND wake_at IS NULL AND satisfied_at IS NULL
        ELSE (event_name IS NULL) <> (child_run_id IS NULL) END) NOT VALID;

-- Without defaults, because Citus names every column that has one in the inserts of clients.
ALTER TABLE durable.events
    ADD COLUMN reply      json,
    ADD COLUMN refused    boolean,
    ADD COLUMN replied_at timestamptz,
    DROP CONSTRAINT events_kind,
    ADD CONSTRAINT events_kind CHECK (kind IN
        ('event', 'cancel', 'terminate', 'retry', 'child', 'next', 'request')) NOT VALID,
    ADD CONSTRAINT events_reply CHECK (
        reply IS NULL AND refused IS NULL AND replied_at IS NULL
        OR kind = 'request' AND reply IS NOT NULL AND refused IS NOT NULL AND replied_at IS NOT NULL) NOT VALID;

CREATE OR REPLACE VIEW durable.event_payloads AS
    SELECT workflow_name_shard, run_id, event_id, name, consumed_by, payload::jsonb AS payload, kind, reply::jsonb AS reply
    FROM durable.events;
CREATE OR REPLACE VIEW durable.event_overview AS
    SELECT workflow_name_shard, run_id, event_id, name, key, created_at, routed_at, consumed_by, kind, child_status,
           sender_run_id, refused, replied_at
    FROM durable.events;

COMMENT ON COLUMN durable.runs.awaits IS
    'While it waits for events, requests or children: the names of the events that wake it, and those of requests after '
    'request:, empty if only children do. Otherwise null.';
COMMENT ON TABLE durable.waits IS
    'Durable sleeps, waits for events, requests and children; open while satisfied_at is null.';
COMMENT ON COLUMN durable.waits.wait_type IS
    'sleep, timer, event, request, child_result; retry: a step has failed and is tried again at wake_at; start: a step '
    'that may be called at most once may have been called.';
COMMENT ON COLUMN durable.waits.event_name IS
    'The event or request that is waited for; the function of a step that is tried again.';
COMMENT ON COLUMN durable.waits.wake_at IS
    'The end of a sleep, or the timeout of a wait for an event or a request; null: it waits indefinitely.';
COMMENT ON COLUMN durable.waits.timed_out IS
    'Whether the wait was ended by its timeout.';
COMMENT ON COLUMN durable.waits.event_id IS
    'The event or request that ended it.';
COMMENT ON COLUMN durable.waits.payload IS
    'A copy of the payload of the event, so that a replay reads no events, of a request with its id; what is known of the '
    'tries of a step.';
COMMENT ON TABLE durable.events IS
    'The inbox of every run: an event or a request is buffered from its commit until a wait consumes it.';
COMMENT ON COLUMN durable.events.key IS
    'The key of an idempotent publication or request: one for each run, kind, name and key.';
COMMENT ON COLUMN durable.events.kind IS
    'event, request: for the waits of the workflow. child: the child with that name and event_id has ended; the payload '
    'says how. next: once the run has ended, the run with that name starts, or if the event or request with that id is '
    'unread, another run with the same key begins. The others are requests to the engine; their payload is the reason.';
COMMENT ON COLUMN durable.events.reply IS
    'For a request that was answered: the encoded reply, or the reason for which it is refused, as text.';
COMMENT ON COLUMN durable.events.refused IS
    'For a request that was answered: whether it is refused.';
COMMENT ON COLUMN durable.events.replied_at IS
    'For a request that was answered: when. The first answer counts.';
