-- Why: runs have headers, which their children inherit, and schedules give their runs a priority, tags and headers.
-- Locks: short ones on runs and schedules, of which nothing is read or rewritten: the checks are not validated, and no row
-- of before has a value that they could refuse. Workers and clients of version 11 go on working: they fill none of the new
-- columns, and what they begin has no headers.

ALTER TABLE durable.runs
    ADD COLUMN headers json,
    ADD CONSTRAINT runs_headers CHECK (
        headers IS NULL OR json_typeof(headers) = 'object' AND octet_length(headers::text) <= 8192) NOT VALID;

ALTER TABLE durable.schedules
    ADD COLUMN priority smallint,
    ADD COLUMN tags     jsonb,
    ADD COLUMN headers  json,
    ADD CONSTRAINT schedules_given CHECK (
        (tags IS NULL OR jsonb_typeof(tags) = 'object' AND octet_length(tags::text) <= 524288)
        AND (headers IS NULL OR json_typeof(headers) = 'object' AND octet_length(headers::text) <= 8192)) NOT VALID;

CREATE OR REPLACE VIEW durable.run_payloads AS
    SELECT workflow_name_shard, run_id, workflow_name, status, tags,
           input::jsonb AS input, output::jsonb AS output, error::jsonb AS error, status_detail::jsonb AS status_detail,
           headers::jsonb AS headers
    FROM durable.runs;
CREATE OR REPLACE VIEW durable.schedule_overview AS
    SELECT schedule_id, workflow_name, version, expression, timezone, catch_up, overlap, jitter, run_timeout, starts_at,
           ends_at, anchor_at, paused, problem, next_tick_at, due_at, last_tick_at, last_run, buffered_tick_at, created_at,
           updated_at, priority, tags
    FROM durable.schedules;

COMMENT ON COLUMN durable.runs.headers IS
    'A map from text to text that the application has given it and that its children inherit; a payload.';
COMMENT ON COLUMN durable.schedules.priority IS
    'The priority of every run; null: 0.';
COMMENT ON COLUMN durable.schedules.tags IS
    'The tags of every run.';
COMMENT ON COLUMN durable.schedules.headers IS
    'The headers of every run; a payload.';
