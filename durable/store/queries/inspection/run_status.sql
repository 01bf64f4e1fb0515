SELECT status, error::text, attempts, takeovers, created_at, updated_at, next_wake_at, status_detail::text
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid
