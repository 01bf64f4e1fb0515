-- Events of runs that do not exist: nobody will ever receive them, and routing would look at them again and again. A run
-- is never committed after its events.
WITH unrouted AS MATERIALIZED (
    SELECT run_id, event_id
    FROM durable.events
    WHERE workflow_name_shard = %(shard_value)s AND routed_at IS NULL
    ORDER BY run_id
    LIMIT %(limit)s
), known AS MATERIALIZED (
    SELECT run_id
    FROM durable.runs
    WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (ARRAY(SELECT run_id FROM unrouted))
)
UPDATE durable.events AS event
SET routed_at = now(), consumed_by = ''
FROM unrouted
WHERE event.workflow_name_shard = %(shard_value)s
  AND event.run_id = unrouted.run_id AND event.event_id = unrouted.event_id
  AND event.run_id = ANY (ARRAY(SELECT run_id FROM unrouted))
  AND NOT EXISTS (SELECT FROM known WHERE known.run_id = unrouted.run_id)
RETURNING event.run_id::text
