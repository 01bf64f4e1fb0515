-- The status of the run, whether the event is in its inbox, and whether that is this very event.
SELECT run.status, EXISTS (
    SELECT FROM durable.events AS event
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = %(run_id)s::uuid
      AND (event.event_id = %(event_id)s::uuid
           OR (event.kind = %(kind)s AND event.name = %(name)s AND event.key = %(key)s))) AS is_stored,
    EXISTS (
    SELECT FROM durable.events AS event
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = %(run_id)s::uuid
      AND event.event_id = %(event_id)s::uuid) AS is_same
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
