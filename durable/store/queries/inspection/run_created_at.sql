SELECT (extract(epoch FROM created_at) * 1e6)::bigint AS created_at
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid
