SELECT run_id::text
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[])
