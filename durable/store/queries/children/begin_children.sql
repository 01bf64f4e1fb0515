-- Runs in the transaction of the flush that stores the memos of their parents. delay and timeout are in seconds.
INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, version, status, priority, next_wake_at, deadline_at,
                          tags, headers, input, parent_shard, parent_run_id)
SELECT %(shard_value)s, child.run_id, child.workflow_name, child.version,
       CASE WHEN child.wake_at IS NULL THEN 'queued' ELSE 'sleeping' END, child.priority, child.wake_at,
       coalesce(child.wake_at, now()) + make_interval(secs => child.timeout), child.tags::jsonb, child.headers::json,
       child.input::json, %(parent_shard)s, child.parent_run_id
FROM (
    SELECT given.*, coalesce(given.at, now() + make_interval(secs => given.delay)) AS wake_at
    FROM unnest(%(run_ids)s::uuid[], %(workflow_names)s::text[], %(versions)s::int[], %(priorities)s::int[],
                %(delays)s::float8[], %(ats)s::timestamptz[], %(timeouts)s::float8[], %(tags)s::text[],
                %(headers)s::text[], %(inputs)s::text[], %(parent_run_ids)s::uuid[])
         AS given (run_id, workflow_name, version, priority, delay, at, timeout, tags, headers, input, parent_run_id)
) AS child
ON CONFLICT DO NOTHING
