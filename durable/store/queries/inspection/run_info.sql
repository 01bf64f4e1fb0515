-- A run whose retry was requested no longer counts as ended: a worker will queue it. Moments that no client could read
-- are shown as the nearest that it can.
SELECT CASE WHEN run.status IN ('failed', 'cancelled') AND EXISTS (
                SELECT FROM durable.events AS request
                WHERE request.workflow_name_shard = %(shard_value)s AND request.run_id = run.run_id
                  AND request.kind = 'retry' AND request.routed_at IS NULL)
            THEN 'queued' ELSE run.status END AS status,
       CASE WHEN run.status <> 'sleeping' THEN NULL
            WHEN run.set_asides > 0 THEN 'set_aside'
            WHEN run.isolation <> 'trial' THEN 'suspect'
            WHEN run.follows IS NOT NULL THEN 'following' END AS status_reason,
       run.error::text, run.attempts, run.takeovers, (extract(epoch FROM run.created_at) * 1e6)::bigint AS created_at,
       (extract(epoch FROM least(greatest(run.updated_at, '0002-01-02Z'), '9999-06-01Z')) * 1e6)::bigint AS updated_at,
       (extract(epoch FROM CASE WHEN run.next_wake_at IS NOT NULL
                                THEN least(greatest(run.next_wake_at, '0002-01-02Z'), '9999-06-01Z') END) * 1e6)::bigint AS next_wake_at,
       coalesce(run.chapter, 1) AS chapter,
       run.status_detail::text AS detail
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
