SELECT created_at
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid
