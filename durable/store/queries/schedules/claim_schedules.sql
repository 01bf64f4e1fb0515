-- Due schedules of workflows that this worker has, locked until the transaction that moves them forward commits.
SELECT schedule_id, workflow_name, version, expression, timezone, input::text, catch_up, overlap, jitter::numeric,
       run_timeout::numeric, priority, tags::text AS tags, headers::text AS headers, (extract(epoch FROM starts_at) * 1e6)::bigint AS starts_at,
       (extract(epoch FROM ends_at) * 1e6)::bigint AS ends_at, (extract(epoch FROM anchor_at) * 1e6)::bigint AS anchor_at,
       (extract(epoch FROM next_tick_at) * 1e6)::bigint AS next_tick_at, (extract(epoch FROM buffered_tick_at) * 1e6)::bigint AS buffered_tick_at,
       last_run, (extract(epoch FROM now()) * 1e6)::bigint AS now
FROM durable.schedules
WHERE NOT paused AND problem IS NULL AND due_at <= now() AND workflow_name = ANY(%(workflows)s::text[])
ORDER BY due_at
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED
