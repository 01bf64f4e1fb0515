SELECT status, CASE WHEN status = 'sleeping' AND set_asides > 0 THEN 'set_aside' END AS status_reason, error::text,
       attempts, takeovers, (extract(epoch FROM created_at) * 1e6)::bigint AS created_at,
       (extract(epoch FROM updated_at) * 1e6)::bigint AS updated_at,
       (extract(epoch FROM next_wake_at) * 1e6)::bigint AS next_wake_at
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid
