SELECT run_id::text, step_key, kind, fn, seq, carried, output::text, error::text
FROM durable.steps
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY(%(run_ids)s::uuid[])
