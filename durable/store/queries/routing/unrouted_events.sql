-- Whether there are events left that this worker could route, whose runs were locked just now, whether there are ended
-- runs to be retried, or that something is to follow now, and whether there were more runs with events than routing looks at.
WITH unrouted AS MATERIALIZED (
    SELECT DISTINCT run_id
    FROM durable.events
    WHERE workflow_name_shard = %(shard_value)s AND routed_at IS NULL
    ORDER BY run_id
    LIMIT %(seen)s
)
SELECT coalesce(bool_or(event.kind NOT IN ('retry', 'reschedule')
                        AND (event.kind <> 'next' OR run.status NOT IN ('completed', 'failed', 'cancelled'))), false) AS is_more,
       coalesce(bool_or(event.kind = 'retry'), false) AS is_retry,
       coalesce(bool_or(event.kind = 'next' AND run.status IN ('completed', 'failed', 'cancelled') AND run.follows IS NULL),
                false) AS is_next,
       (SELECT count(*) FROM unrouted) >= %(seen)s AS is_crowded,
       coalesce(bool_or(event.kind = 'reschedule'), false) AS is_reschedule
FROM durable.events AS event
JOIN durable.runs AS run ON run.workflow_name_shard = %(shard_value)s AND run.run_id = event.run_id
WHERE event.workflow_name_shard = %(shard_value)s AND event.routed_at IS NULL
  AND event.run_id = ANY (ARRAY(SELECT run_id FROM unrouted))
  AND run.run_id = ANY (ARRAY(SELECT run_id FROM unrouted))
  AND (run.status <> 'running' OR run.worker_id = %(worker_id)s)
  AND run.run_id <> ALL (%(left_out)s::uuid[])
