-- For people: across all shards. Null filters are ignored. Moments that no client could read are shown as the nearest
-- that it can.
SELECT workflow_name_shard, run_id::text, workflow_name, version, status,
       CASE WHEN status = 'sleeping' AND set_asides > 0 THEN 'set_aside' END AS status_reason,
       attempts, takeovers, priority, tags::text,
       (extract(epoch FROM created_at) * 1e6)::bigint AS created_at,
       (extract(epoch FROM least(greatest(updated_at, '0002-01-02Z'), '9999-06-01Z')) * 1e6)::bigint AS updated_at,
       (extract(epoch FROM CASE WHEN completed_at IS NOT NULL THEN least(greatest(completed_at, '0002-01-02Z'), '9999-06-01Z') END) * 1e6)::bigint AS completed_at,
       (extract(epoch FROM CASE WHEN next_wake_at IS NOT NULL THEN least(greatest(next_wake_at, '0002-01-02Z'), '9999-06-01Z') END) * 1e6)::bigint AS next_wake_at
FROM durable.runs AS run
WHERE (%(workflow_name)s::text IS NULL OR workflow_name = %(workflow_name)s)
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(before_created_at)s::timestamptz IS NULL
       OR (created_at, run_id) < (%(before_created_at)s::timestamptz, %(before_run_id)s::uuid))
ORDER BY run.created_at DESC, run.run_id DESC
LIMIT %(limit)s
