-- delay and timeout are in seconds; delay and at are null for a run that starts at once. No row is returned if a run
-- with that id exists.
INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, version, status, priority, next_wake_at, deadline_at,
                          key, tags, input, headers)
SELECT %(shard_value)s, %(run_id)s::uuid, %(workflow_name)s, %(version)s, %(status)s, %(priority)s, start.wake_at,
       coalesce(start.wake_at, now()) + make_interval(secs => %(timeout)s::float8),
       %(key)s, %(tags)s::jsonb, %(input)s::json, %(headers)s::json
FROM (SELECT coalesce(%(at)s::timestamptz, now() + make_interval(secs => %(delay)s::float8))) AS start (wake_at)
ON CONFLICT DO NOTHING
RETURNING run_id::text
