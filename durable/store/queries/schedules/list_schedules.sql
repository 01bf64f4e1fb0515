-- For people; a null filter does not filter.
SELECT schedule_id, workflow_name, expression, timezone, catch_up, overlap, jitter, starts_at, ends_at, anchor_at, paused,
       problem, next_tick_at, last_tick_at, last_run, version, run_timeout, input::text, created_at, updated_at
FROM durable.schedules
WHERE %(schedule_id)s::text IS NULL OR schedule_id = %(schedule_id)s
ORDER BY schedule_id
