-- A run whose retry was requested no longer counts as ended: a worker will queue it.
SELECT CASE WHEN run.status IN ('failed', 'cancelled') AND EXISTS (
                SELECT FROM durable.events AS request
                WHERE request.workflow_name_shard = %(shard_value)s AND request.run_id = run.run_id
                  AND request.kind = 'retry' AND request.routed_at IS NULL)
            THEN 'queued' ELSE run.status END AS status,
       CASE WHEN run.status <> 'sleeping' THEN NULL
            WHEN run.set_asides > 0 THEN 'set_aside'
            WHEN run.isolation <> 'trial' THEN 'suspect' END AS status_reason,
       run.error::text, run.attempts, run.takeovers, run.created_at, run.updated_at, run.next_wake_at
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
