-- Like load_waits, for runs whose machine is resident: only what is still open.
SELECT run_id::text, wait_key, coalesce(wake_at <= now(), false) AS is_due,
       CASE WHEN wake_at > '-infinity' AND wake_at < 'infinity' THEN extract(epoch FROM wake_at - now())::numeric END AS remaining
FROM durable.waits
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY(%(run_ids)s::uuid[]) AND satisfied_at IS NULL
ORDER BY wake_at, created_at, length(wait_key), wait_key
