-- For people: across all shards. Null filters are ignored. A run whose retry was requested no longer counts as ended.
SELECT workflow_name_shard, run_id::text, workflow_name, version, status,
       CASE WHEN status <> 'sleeping' THEN NULL
            WHEN set_asides > 0 THEN 'set_aside'
            WHEN isolation <> 'trial' THEN 'suspect' END AS status_reason,
       attempts, takeovers, priority, tags::text, created_at, updated_at,
       CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN completed_at END AS completed_at, next_wake_at
FROM (
    SELECT run.workflow_name_shard, run.run_id, run.workflow_name, run.version, run.attempts, run.takeovers, run.set_asides,
           run.isolation, run.priority, run.tags, run.created_at, run.updated_at, run.completed_at, run.next_wake_at,
           CASE WHEN run.status IN ('failed', 'cancelled') AND EXISTS (
                    SELECT FROM durable.events AS request
                    WHERE request.workflow_name_shard = run.workflow_name_shard AND request.run_id = run.run_id
                      AND request.kind = 'retry' AND request.routed_at IS NULL)
                THEN 'queued' ELSE run.status END AS status
    FROM durable.runs AS run
    WHERE (%(workflow_name)s::text IS NULL OR run.workflow_name = %(workflow_name)s)
      AND (%(before_created_at)s::timestamptz IS NULL
           OR (run.created_at, run.run_id) < (%(before_created_at)s::timestamptz, %(before_run_id)s::uuid))
) AS found
WHERE %(status)s::text IS NULL OR status = %(status)s
ORDER BY created_at DESC, run_id DESC
LIMIT %(limit)s
