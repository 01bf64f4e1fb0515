-- For people: across all shards. Null filters are ignored. A run whose retry was requested no longer counts as ended.
-- Moments that no client could read are shown as the nearest that it can.
SELECT workflow_name_shard, run_id::text, workflow_name, version, status,
       CASE WHEN status <> 'sleeping' THEN NULL
            WHEN set_asides > 0 THEN 'set_aside'
            WHEN isolation <> 'trial' THEN 'suspect'
            WHEN follows IS NOT NULL THEN 'following' END AS status_reason,
       attempts, takeovers, priority, tags::text,
       (extract(epoch FROM created_at) * 1e6)::bigint AS created_at,
       (extract(epoch FROM least(greatest(updated_at, '0002-01-02Z'), '9999-06-01Z')) * 1e6)::bigint AS updated_at,
       (extract(epoch FROM CASE WHEN status IN ('completed', 'failed', 'cancelled') AND completed_at IS NOT NULL
                                THEN least(greatest(completed_at, '0002-01-02Z'), '9999-06-01Z') END) * 1e6)::bigint AS completed_at,
       (extract(epoch FROM CASE WHEN next_wake_at IS NOT NULL
                                THEN least(greatest(next_wake_at, '0002-01-02Z'), '9999-06-01Z') END) * 1e6)::bigint AS next_wake_at,
       key, generation
FROM (
    SELECT run.workflow_name_shard, run.run_id, run.workflow_name, run.version, run.attempts, run.takeovers, run.set_asides,
           run.isolation, run.priority, run.tags, run.created_at, run.updated_at, run.completed_at, run.next_wake_at,
           run.key, coalesce(run.generation, 0) AS generation, run.follows,
           CASE WHEN run.status IN ('failed', 'cancelled') AND EXISTS (
                    SELECT FROM durable.events AS request
                    WHERE request.workflow_name_shard = run.workflow_name_shard AND request.run_id = run.run_id
                      AND request.kind = 'retry' AND request.routed_at IS NULL)
                THEN 'queued' ELSE run.status END AS status
    FROM durable.runs AS run
    WHERE (%(workflow_name)s::text IS NULL OR run.workflow_name = %(workflow_name)s)
      AND (%(key)s::text IS NULL OR run.key = %(key)s)
      AND (%(before_created_at)s::timestamptz IS NULL
           OR (run.created_at, run.run_id) < (%(before_created_at)s::timestamptz, %(before_run_id)s::uuid))
) AS found
WHERE %(status)s::text IS NULL OR status = %(status)s
ORDER BY found.created_at DESC, found.run_id DESC
LIMIT %(limit)s
