-- Before version 5 of the schema, the child's id was kept as the name of an event.
SELECT run_id::text, wait_key, wait_type, coalesce(event_name, child_run_id::text, '') AS name, seq, carried, timed_out, payload::text,
       satisfied_at IS NOT NULL AS is_satisfied, coalesce(wake_at <= now(), false) AS is_due,
       CASE WHEN wake_at > '-infinity' AND wake_at < 'infinity' THEN extract(epoch FROM wake_at - now())::numeric END AS remaining,
       (extract(epoch FROM CASE WHEN satisfied_at > '-infinity' AND satisfied_at < '9999-01-01Z' THEN satisfied_at END) * 1e6)::bigint AS at
FROM durable.waits
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY(%(run_ids)s::uuid[])
ORDER BY wake_at, created_at, length(wait_key), wait_key
