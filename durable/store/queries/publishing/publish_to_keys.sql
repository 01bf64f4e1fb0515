-- Like publish_to_runs, for the runs that were begun last with these keys, as far as there are any under this shard value.
INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload, sender_run_id)
SELECT %(shard_value)s, newest.run_id, sent.event_id, 'event', sent.name, sent.payload::json, sent.sender_run_id
FROM unnest(%(keys)s::text[], %(event_ids)s::uuid[], %(names)s::text[], %(payloads)s::text[], %(sender_run_ids)s::uuid[])
     AS sent (key, event_id, name, payload, sender_run_id)
CROSS JOIN LATERAL (
    SELECT run.run_id, run.status
    FROM durable.runs AS run
    WHERE run.workflow_name_shard = %(shard_value)s AND run.key = sent.key
    ORDER BY run.generation DESC NULLS LAST
    LIMIT 1
) AS newest
WHERE newest.status NOT IN ('completed', 'cancelled')
   OR newest.status = 'cancelled' AND EXISTS (
        SELECT FROM durable.events AS request
        WHERE request.workflow_name_shard = %(shard_value)s AND request.run_id = newest.run_id
          AND request.kind = 'retry' AND request.routed_at IS NULL)
ON CONFLICT DO NOTHING
RETURNING event_id::text
