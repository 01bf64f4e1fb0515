-- Of events that were moved, encoded for the runs to which they were.
UPDATE durable.events AS event
SET payload = ours.payload::json
FROM unnest(%(run_ids)s::uuid[], %(event_ids)s::uuid[], %(payloads)s::text[]) AS ours (run_id, event_id, payload)
WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = ours.run_id AND event.event_id = ours.event_id
  AND event.run_id = ANY (%(run_ids)s::uuid[]) AND event.consumed_by IS NULL
