-- Whether there are events left that this worker could route, whose runs were locked just now, and whether there are
-- ended runs to be retried.
SELECT coalesce(bool_or(event.kind <> 'retry'), false) AS is_more,
       coalesce(bool_or(event.kind = 'retry'), false) AS is_retry
FROM durable.events AS event
JOIN durable.runs AS run ON run.workflow_name_shard = %(shard_value)s AND run.run_id = event.run_id
WHERE event.workflow_name_shard = %(shard_value)s AND event.routed_at IS NULL
  AND run.run_id = ANY (ARRAY(SELECT run_id
                              FROM durable.events
                              WHERE workflow_name_shard = %(shard_value)s AND routed_at IS NULL))
  AND (run.status <> 'running' OR run.worker_id = %(worker_id)s)
  AND run.run_id <> ALL (%(left_out)s::uuid[])
