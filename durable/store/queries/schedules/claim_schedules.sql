-- Due schedules of workflows that this worker has, locked until the transaction that moves them forward commits.
SELECT schedule_id, workflow_name, version, expression, timezone, input::text, catch_up, overlap, jitter, run_timeout,
       starts_at, ends_at, anchor_at, next_tick_at, buffered_tick_at, last_run, now() AS now
FROM durable.schedules
WHERE NOT paused AND problem IS NULL AND due_at <= now() AND workflow_name = ANY(%(workflows)s::text[])
ORDER BY due_at
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED
