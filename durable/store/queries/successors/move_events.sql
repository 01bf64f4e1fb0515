-- What these runs have not read goes to the runs after them, with what is to happen if those do not read it either. An
-- event stays if one with its name and key is there already.
UPDATE durable.events AS event
SET run_id = ours.successor_id, routed_at = NULL,
    sender_run_id = CASE WHEN event.kind = 'next' THEN event.run_id ELSE event.sender_run_id END
FROM unnest(%(run_ids)s::uuid[], %(successor_ids)s::uuid[]) AS ours (run_id, successor_id)
WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = ours.run_id
  AND event.run_id = ANY (%(run_ids)s::uuid[]) AND event.kind IN ('event', 'next') AND event.consumed_by IS NULL
  AND NOT EXISTS (SELECT FROM durable.events AS other
                  WHERE other.workflow_name_shard = %(shard_value)s AND other.run_id = ours.successor_id
                    AND other.run_id = ANY (%(successor_ids)s::uuid[])
                    AND other.kind = event.kind AND other.name = event.name AND other.key = event.key)
