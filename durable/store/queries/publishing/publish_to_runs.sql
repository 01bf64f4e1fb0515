-- Like publish_event, for events that runs send, in the transaction of the flush that stores their memos. Reads the runs
-- that they are for without a lock, so that two runs that send to each other never wait for each other.
INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload, sender_run_id)
SELECT %(shard_value)s, run.run_id, sent.event_id, 'event', sent.name, sent.payload::json, sent.sender_run_id
FROM unnest(%(run_ids)s::uuid[], %(event_ids)s::uuid[], %(names)s::text[], %(payloads)s::text[], %(sender_run_ids)s::uuid[])
     AS sent (run_id, event_id, name, payload, sender_run_id)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = sent.run_id AND run.run_id = ANY (%(run_ids)s::uuid[])
WHERE run.status NOT IN ('completed', 'cancelled')
   OR run.status = 'cancelled' AND EXISTS (
        SELECT FROM durable.events AS request
        WHERE request.workflow_name_shard = %(shard_value)s AND request.run_id = run.run_id
          AND request.kind = 'retry' AND request.routed_at IS NULL)
ON CONFLICT DO NOTHING
RETURNING event_id::text
