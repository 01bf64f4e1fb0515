SELECT EXISTS (
    SELECT 1
    FROM durable.runs
    WHERE workflow_name_shard = %(shard_value)s AND status = 'running' AND worker_id = %(owner)s) AS are_left
