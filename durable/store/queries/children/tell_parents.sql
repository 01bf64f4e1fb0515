-- Runs in the transaction that ends the children. A child that was retried may end again: until the parent takes the
-- end, the last one counts. Under the id of a child that was begun before version 9 of the schema, an application may
-- have inserted something else; the end takes its place.
INSERT INTO durable.events AS event
    (workflow_name_shard, run_id, event_id, kind, name, child_status, payload, sender_run_id)
SELECT %(shard_value)s, parent.run_id, ended.child_id, 'child', ended.child_id::text, ended.status,
       ended.payload::json, ended.child_id
FROM unnest(%(run_ids)s::uuid[], %(child_ids)s::uuid[], %(statuses)s::text[], %(payloads)s::text[])
     AS ended (run_id, child_id, status, payload)
JOIN durable.runs AS parent ON parent.workflow_name_shard = %(shard_value)s AND parent.run_id = ended.run_id
 AND parent.run_id = ANY (%(run_ids)s::uuid[])
ORDER BY parent.run_id, ended.child_id
ON CONFLICT (workflow_name_shard, run_id, event_id) DO UPDATE
SET kind = 'child', name = excluded.name, key = NULL, child_status = excluded.child_status, payload = excluded.payload,
    sender_run_id = excluded.sender_run_id, consumed_by = NULL,
    routed_at = CASE WHEN event.kind = 'child' THEN event.routed_at END
WHERE event.consumed_by IS NULL OR event.kind <> 'child'
