SELECT status, CASE WHEN status = 'sleeping' AND set_asides > 0 THEN 'set_aside' END AS status_reason, error::text,
       attempts, takeovers, created_at, updated_at, next_wake_at
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid
