SELECT run_id::text, wait_key, wait_type, event_name, seq, carried, timed_out, payload::text,
       satisfied_at IS NOT NULL, coalesce(wake_at <= now(), false),
       extract(epoch FROM wake_at - now())::float8
FROM durable.waits
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY(%(run_ids)s::uuid[])
