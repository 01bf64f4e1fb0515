-- What became of requests, and of the runs that were asked, as one snapshot sees them: a run that has ended in it without
-- an answer will not give one. is_followed: it has ended, but what it has not read may still go to another run. A run
-- whose retry was requested no longer counts as ended.
SELECT wanted.run_id::text, wanted.request_id::text, request.event_id IS NOT NULL AS is_there, request.reply::text,
       coalesce(request.refused, false) AS is_refused,
       CASE WHEN run.status IN ('failed', 'cancelled') AND EXISTS (
                SELECT FROM durable.events AS retry
                WHERE retry.workflow_name_shard = %(shard_value)s AND retry.run_id = run.run_id
                  AND retry.kind = 'retry' AND retry.routed_at IS NULL)
            THEN 'queued' ELSE run.status END AS status,
       run.status IN ('completed', 'failed', 'cancelled') AND EXISTS (
            SELECT FROM durable.events AS next
            WHERE next.workflow_name_shard = %(shard_value)s AND next.run_id = run.run_id
              AND next.kind = 'next' AND next.routed_at IS NULL) AS is_followed
FROM unnest(%(run_ids)s::text::uuid[], %(request_ids)s::text::uuid[]) AS wanted (run_id, request_id)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = wanted.run_id
 AND run.run_id = ANY (%(run_ids)s::text::uuid[])
LEFT JOIN durable.events AS request
  ON request.workflow_name_shard = %(shard_value)s AND request.run_id = wanted.run_id
 AND request.event_id = wanted.request_id AND request.kind = 'request'
 AND request.run_id = ANY (%(run_ids)s::text::uuid[])
