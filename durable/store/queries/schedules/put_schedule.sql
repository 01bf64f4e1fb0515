-- keeps: the schedule fires as it did before, so its next tick stays. A pause stays in any case.
INSERT INTO durable.schedules AS schedule
    (schedule_id, workflow_name, version, expression, timezone, input, catch_up, overlap, jitter, run_timeout,
     priority, tags, headers, starts_at, ends_at, anchor_at, next_tick_at, due_at, created_at, updated_at)
VALUES (%(schedule_id)s, %(workflow_name)s, %(version)s, %(expression)s, %(timezone)s, %(input)s::json, %(catch_up)s,
        %(overlap)s, %(jitter)s::float8, %(run_timeout)s::float8, %(priority)s::smallint, %(tags)s::jsonb,
        %(headers)s::json, %(starts_at)s::timestamptz, %(ends_at)s::timestamptz,
        %(anchor_at)s::timestamptz, %(next_tick_at)s::timestamptz, %(due_at)s::timestamptz, now(), now())
ON CONFLICT (schedule_id) DO UPDATE
SET workflow_name = excluded.workflow_name, version = excluded.version, expression = excluded.expression,
    timezone = excluded.timezone, input = excluded.input, catch_up = excluded.catch_up, overlap = excluded.overlap,
    jitter = excluded.jitter, run_timeout = excluded.run_timeout, priority = excluded.priority,
    tags = excluded.tags, headers = excluded.headers, starts_at = excluded.starts_at,
    ends_at = excluded.ends_at, problem = NULL, updated_at = excluded.updated_at,
    anchor_at = CASE WHEN %(keeps)s::boolean THEN schedule.anchor_at ELSE excluded.anchor_at END,
    next_tick_at = CASE WHEN %(keeps)s::boolean THEN schedule.next_tick_at ELSE excluded.next_tick_at END,
    due_at = CASE WHEN %(keeps)s::boolean THEN schedule.due_at ELSE excluded.due_at END
RETURNING created_at = updated_at AS is_new
