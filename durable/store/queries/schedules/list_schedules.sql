-- For people. A null filter is ignored. The times of the row itself are whatever its author wrote.
SELECT schedule_id, workflow_name, version, expression, timezone, input::text, catch_up, overlap, jitter::numeric,
       run_timeout::numeric, priority, tags::text AS tags, headers::text AS headers, (extract(epoch FROM starts_at) * 1e6)::bigint AS starts_at,
       (extract(epoch FROM ends_at) * 1e6)::bigint AS ends_at, (extract(epoch FROM anchor_at) * 1e6)::bigint AS anchor_at,
       (extract(epoch FROM next_tick_at) * 1e6)::bigint AS next_tick_at, last_run, paused, problem,
       (extract(epoch FROM last_tick_at) * 1e6)::bigint AS last_tick_at,
       (extract(epoch FROM least(greatest(created_at, '0002-01-02Z'), '9999-06-01Z')) * 1e6)::bigint AS created_at,
       (extract(epoch FROM least(greatest(updated_at, '0002-01-02Z'), '9999-06-01Z')) * 1e6)::bigint AS updated_at
FROM durable.schedules
WHERE %(schedule_id)s::text IS NULL OR schedule_id = %(schedule_id)s
ORDER BY schedule_id
