-- What lies in the inbox of a run, and the events that it took last, oldest first.
SELECT kind, name,
       (extract(epoch FROM least(greatest(created_at, '0002-01-02Z'), '9999-06-01Z')) * 1e6)::bigint AS created_at,
       routed_at IS NOT NULL AS is_routed, consumed_by
FROM (
    SELECT kind, name, created_at, routed_at, consumed_by
    FROM durable.event_overview
    WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid AND (consumed_by IS NULL OR kind = 'event')
    ORDER BY consumed_by IS NULL DESC, created_at DESC
    LIMIT %(limit)s
) AS last
ORDER BY last.created_at
