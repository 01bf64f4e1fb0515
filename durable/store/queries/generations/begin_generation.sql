-- Like begin_run, for a run that may be a later one with its key. One that follows another one sleeps until that one has
-- ended; when it starts and its timeout are settled then.
INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, version, status, priority, next_wake_at, deadline_at,
                          key, tags, headers, input, generation, follows, begin_id)
SELECT %(shard_value)s, %(run_id)s::uuid, %(workflow_name)s, %(version)s, %(status)s, %(priority)s, start.wake_at,
       CASE WHEN %(follows)s::uuid IS NULL
            THEN coalesce(start.wake_at, now()) + make_interval(secs => %(timeout)s::float8) END,
       %(key)s, %(tags)s::jsonb, %(headers)s::json, %(input)s::json, %(generation)s::int, %(follows)s::uuid, %(begin_id)s::uuid
FROM (SELECT CASE WHEN %(follows)s::uuid IS NULL
                  THEN coalesce(%(at)s::timestamptz, now() + make_interval(secs => %(delay)s::float8)) END)
     AS start (wake_at)
ON CONFLICT DO NOTHING
RETURNING run_id::text
