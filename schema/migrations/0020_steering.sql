-- Why: a workflow can be paused: workers claim no runs of it. And the time at which a run goes on can be changed.
-- Locks: a short one on events, whose check is not validated. Workers of the version before go on claiming and change no
-- time, so replace all of them before applications use this.

ALTER TABLE durable.events
    DROP CONSTRAINT events_kind,
    ADD CONSTRAINT events_kind CHECK (kind IN
        ('event', 'cancel', 'terminate', 'pause', 'resume', 'reschedule', 'retry', 'child', 'next', 'request')) NOT VALID;

CREATE TABLE durable.workflow_pauses (
    workflow_name text        PRIMARY KEY CHECK (octet_length(workflow_name) BETWEEN 1 AND 200),
    paused        boolean     NOT NULL,
    reason        text        CHECK (octet_length(reason) <= 8192),
    changed_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workflow_pauses_moments CHECK (changed_at > '0002-01-02Z' AND changed_at < '9999-06-01Z')
);

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
