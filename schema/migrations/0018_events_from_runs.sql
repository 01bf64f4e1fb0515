-- Why: that a run has sent an event to another one is a memo of its own kind.
-- Locks: steps, exclusively, for a moment; the check is validated without blocking.
-- Old workers: they go on working. Runs that send events fail on them, so deploy all workers before code that does.

ALTER TABLE durable.steps
    DROP CONSTRAINT steps_kind,
    ADD CONSTRAINT steps_kind CHECK (kind IN
        ('execute', 'transaction', 'undo', 'patched', 'random_uuid7', 'random_uint64', 'random', 'now', 'cancel',
         'child', 'reply', 'publish')) NOT VALID;
ALTER TABLE durable.steps VALIDATE CONSTRAINT steps_kind;

COMMENT ON COLUMN durable.events.sender_run_id IS
    'For an event that a run has sent: that run. For the end of a child: the child. For the request of a parent that '
    'cancels it: the parent. Otherwise null.';
COMMENT ON COLUMN durable.waits.payload IS
    'A copy of the payload of the event, or an array of those of several, so that a replay reads no events, of a request '
    'with its id; what is known of the tries of a step. True for an open wait for several events of which the first has '
    'come: it ends at wake_at.';
COMMENT ON COLUMN durable.waits.event_id IS
    'The event or request that ended it, or the first one of several events.';
