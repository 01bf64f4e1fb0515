-- For people: across all shards. Null filters are ignored.
SELECT workflow_name_shard, run_id::text, workflow_name, version, status,
       CASE WHEN status = 'sleeping' AND set_asides > 0 THEN 'set_aside' END AS status_reason,
       attempts, takeovers, priority, tags::text,
       (extract(epoch FROM created_at) * 1e6)::bigint AS created_at,
       (extract(epoch FROM updated_at) * 1e6)::bigint AS updated_at,
       (extract(epoch FROM completed_at) * 1e6)::bigint AS completed_at,
       (extract(epoch FROM next_wake_at) * 1e6)::bigint AS next_wake_at
FROM durable.runs AS run
WHERE (%(workflow_name)s::text IS NULL OR workflow_name = %(workflow_name)s)
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(before_created_at)s::timestamptz IS NULL
       OR (created_at, run_id) < (%(before_created_at)s::timestamptz, %(before_run_id)s::uuid))
ORDER BY run.created_at DESC, run.run_id DESC
LIMIT %(limit)s
