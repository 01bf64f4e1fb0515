-- The status of the run, whether the event is in its inbox, whether that is this very event, and whether there is a newer
-- run with its key.
SELECT run.status, EXISTS (
    SELECT FROM durable.events AS event
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = %(run_id)s::uuid
      AND (event.event_id = %(event_id)s::uuid
           OR (event.kind = %(kind)s AND event.name = %(name)s AND event.key = %(key)s))) AS is_stored,
    EXISTS (
    SELECT FROM durable.events AS event
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = %(run_id)s::uuid
      AND event.event_id = %(event_id)s::uuid) AS is_same,
    EXISTS (
    SELECT FROM durable.runs AS newer
    WHERE newer.workflow_name_shard = %(shard_value)s AND newer.key = run.key
      AND newer.generation > coalesce(run.generation, 0)) AS is_replaced
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
