-- Like begin_run, for a run with a key outside a transaction: no row is returned either if the shard count is another by
-- now or is being raised, because another shard value may then get a run with that key at the same time.
INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, version, status, priority, next_wake_at, deadline_at,
                          key, tags, input, headers)
SELECT %(shard_value)s, %(run_id)s::uuid, %(workflow_name)s, %(version)s, %(status)s, %(priority)s, start.wake_at,
       coalesce(start.wake_at, now()) + make_interval(secs => %(timeout)s::float8),
       %(key)s, %(tags)s::jsonb, %(input)s::json, %(headers)s::json
FROM (SELECT coalesce(%(at)s::timestamptz, now() + make_interval(secs => %(delay)s::float8))) AS start (wake_at)
WHERE EXISTS (SELECT FROM durable.settings WHERE shard_count = %(shard_count)s AND raising_to IS NULL)
ON CONFLICT DO NOTHING
RETURNING run_id::text
