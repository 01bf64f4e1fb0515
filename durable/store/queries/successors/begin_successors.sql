-- The next generations of their keys.
INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, version, status, priority, next_wake_at, deadline_at,
                          key, tags, headers, input, generation)
SELECT %(shard_value)s, ours.run_id, ours.workflow_name, ours.version,
       CASE WHEN ours.wake_at > now() THEN 'sleeping' ELSE 'queued' END, ours.priority,
       CASE WHEN ours.wake_at > now() THEN ours.wake_at END,
       greatest(ours.wake_at, now()) + make_interval(secs => ours.timeout),
       ours.key, ours.tags::jsonb, ours.headers::json, ours.input::json, ours.generation
FROM unnest(%(run_ids)s::uuid[], %(workflow_names)s::text[], %(versions)s::int[], %(priorities)s::int[],
            %(wakes)s::timestamptz[], %(timeouts)s::float8[], %(keys)s::text[], %(tags)s::text[], %(headers)s::text[],
            %(inputs)s::text[], %(generations)s::int[])
     AS ours (run_id, workflow_name, version, priority, wake_at, timeout, key, tags, headers, input, generation)
ON CONFLICT DO NOTHING
