-- Why: a run can go on in another chapter, with another input and without its memos; compensations and what ctx.patched
-- has decided are memos of their own kinds.
-- Locks: runs and steps, exclusively, for a moment; the check is validated without blocking.
-- Old workers: they go on working. Runs that use what is new fail on them, so deploy all workers before code that does.

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

-- Without a default, because Citus names every column that has one in the inserts of clients.
ALTER TABLE durable.runs ADD COLUMN chapter integer CONSTRAINT runs_chapter CHECK (chapter > 1);

ALTER TABLE durable.steps
    DROP CONSTRAINT steps_kind,
    ADD CONSTRAINT steps_kind CHECK (kind IN
        ('execute', 'transaction', 'undo', 'patched', 'random_uuid7', 'random_uint64', 'random', 'now', 'cancel',
         'child')) NOT VALID;
ALTER TABLE durable.steps VALIDATE CONSTRAINT steps_kind;

CREATE OR REPLACE VIEW durable.run_overview AS
    SELECT workflow_name_shard, run_id, workflow_name, version, status, priority, attempts, takeovers, strikes, set_asides,
           epoch, worker_id, awaits, next_wake_at, created_at, started_at, updated_at, completed_at, key, tags, deadline_at,
           schedule_id, scheduled_at, parent_shard, parent_run_id, awaits_runs, lone_strikes, isolation, died_with, chapter
    FROM durable.runs;
CREATE VIEW durable.chapter_overview AS
    SELECT workflow_name_shard, run_id, chapter, version, memos, began_at, ended_at
    FROM durable.chapters;

COMMENT ON COLUMN durable.runs.version IS
    'The version of the workflow that its present chapter was begun with.';
COMMENT ON COLUMN durable.runs.input IS
    'The encoded input of its present chapter, exactly as it was given.';
COMMENT ON COLUMN durable.runs.chapter IS
    'The number of its present chapter; null: the first, because the run has not continued as new.';
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
COMMENT ON VIEW durable.chapter_overview IS
    'The chapters that have ended, without their inputs.';
