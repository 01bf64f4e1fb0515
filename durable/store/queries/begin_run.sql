-- delay is in seconds; it and at are null for a run that starts at once. No row: a run of that id exists.
INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, version, status, priority, next_wake_at, key, tags,
                          input)
VALUES (%(shard_value)s, %(run_id)s::uuid, %(workflow_name)s, %(version)s, %(status)s, %(priority)s,
        coalesce(%(at)s::timestamptz, now() + make_interval(secs => %(delay)s::float8)),
        %(key)s, %(tags)s::jsonb, %(input)s::json)
ON CONFLICT DO NOTHING
RETURNING run_id::text
