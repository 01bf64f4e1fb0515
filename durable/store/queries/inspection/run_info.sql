-- Moments that no client could read are shown as the nearest that it can.
SELECT status, CASE WHEN status = 'sleeping' AND set_asides > 0 THEN 'set_aside' END AS status_reason, error::text,
       attempts, takeovers, created_at,
       least(greatest(updated_at, '0002-01-02Z'), '9999-06-01Z') AS updated_at,
       CASE WHEN next_wake_at IS NOT NULL THEN least(greatest(next_wake_at, '0002-01-02Z'), '9999-06-01Z') END AS next_wake_at
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid
