-- The name of a cancel is its cause.
SELECT run_id::text, step_key, kind, coalesce(cancel_cause, fn) AS name, seq, carried, output::text, error::text,
       (extract(epoch FROM completed_at) * 1e6)::bigint AS at
FROM durable.steps
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY(%(run_ids)s::uuid[])
