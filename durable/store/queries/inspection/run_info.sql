-- Moments that no client could read are shown as the nearest that it can.
SELECT status, CASE WHEN status = 'sleeping' AND set_asides > 0 THEN 'set_aside' END AS status_reason, error::text,
       attempts, takeovers, (extract(epoch FROM created_at) * 1e6)::bigint AS created_at,
       (extract(epoch FROM least(greatest(updated_at, '0002-01-02Z'), '9999-06-01Z')) * 1e6)::bigint AS updated_at,
       (extract(epoch FROM CASE WHEN next_wake_at IS NOT NULL THEN least(greatest(next_wake_at, '0002-01-02Z'), '9999-06-01Z') END) * 1e6)::bigint AS next_wake_at
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid
