-- For people. A null filter is ignored. The times of the row itself are whatever its author wrote.
SELECT schedule_id, workflow_name, version, expression, timezone, input::text, catch_up, overlap, jitter, run_timeout,
       starts_at, ends_at, anchor_at, next_tick_at, last_run, paused, problem, last_tick_at,
       least(greatest(created_at, '0002-01-02Z'), '9999-06-01Z') AS created_at,
       least(greatest(updated_at, '0002-01-02Z'), '9999-06-01Z') AS updated_at
FROM durable.schedules
WHERE %(schedule_id)s::text IS NULL OR schedule_id = %(schedule_id)s
ORDER BY schedule_id
