-- What these runs have not read goes to the runs after them, with what is to happen if those do not read it either. What
-- was committed since that was loaded stays, because nothing was decided about it: entries that are not among those, and
-- the events and requests that they are about. An event stays as well if one with its name and key is there already.
UPDATE durable.events AS event
SET run_id = ours.successor_id, routed_at = NULL,
    sender_run_id = CASE WHEN event.kind = 'next' THEN event.run_id ELSE event.sender_run_id END
FROM unnest(%(run_ids)s::uuid[], %(successor_ids)s::uuid[]) AS ours (run_id, successor_id)
WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = ours.run_id
  AND event.run_id = ANY (%(run_ids)s::uuid[]) AND event.consumed_by IS NULL
  AND (event.kind IN ('event', 'request') OR event.kind = 'next' AND event.event_id = ANY (%(next_ids)s::uuid[]))
  AND NOT EXISTS (SELECT FROM durable.events AS later
                  WHERE later.workflow_name_shard = %(shard_value)s AND later.run_id = event.run_id
                    AND later.run_id = ANY (%(run_ids)s::uuid[]) AND later.name = event.event_id::text
                    AND later.kind = 'next' AND later.consumed_by IS NULL AND later.event_id <> ALL (%(next_ids)s::uuid[]))
  AND NOT EXISTS (SELECT FROM durable.events AS other
                  WHERE other.workflow_name_shard = %(shard_value)s AND other.run_id = ours.successor_id
                    AND other.run_id = ANY (%(successor_ids)s::uuid[])
                    AND other.kind = event.kind AND other.name = event.name AND other.key = event.key)
