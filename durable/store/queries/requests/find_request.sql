-- The run that is asked, and the id of the request that is there already with that id, or with that name and key. A run
-- whose retry was requested no longer counts as ended.
SELECT CASE WHEN run.status IN ('failed', 'cancelled') AND EXISTS (
                SELECT FROM durable.events AS retry
                WHERE retry.workflow_name_shard = %(shard_value)s AND retry.run_id = run.run_id
                  AND retry.kind = 'retry' AND retry.routed_at IS NULL)
            THEN 'queued' ELSE run.status END AS status,
       (SELECT request.event_id::text
        FROM durable.events AS request
        WHERE request.workflow_name_shard = %(shard_value)s AND request.run_id = %(run_id)s::uuid
          AND request.kind = 'request'
          AND (request.event_id = %(event_id)s::uuid OR request.name = %(name)s AND request.key = %(key)s)
        LIMIT 1) AS request_id
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
